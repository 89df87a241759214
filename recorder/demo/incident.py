"""An incident to look into: a store of runs of which some were cut off on their way, and nobody's client noticed.

The bundled upstream answers each customer of the incident once; one of its two regions ends most answers in the middle.
docs/incident.md walks through what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from recorder.demo.upstream import ASSISTANTS, INCIDENT, upstream
from recorder.errors import RecorderError

__all__ = ["record_incident"]

#: Runs at the same time.
_AT_ONCE = 8


def record_incident(store: Path | str, say: Callable[[str], None]) -> int:
    """Record the incident into the store at this path; how many runs it has. `say` is told what is going on."""
    import httpx

    from recorder.handle import open as open_recorder

    with open_recorder(store, strict=True, tags={"app": "release-notes"}) as handle, upstream() as base_url:
        say(f"recording {len(INCIDENT)} runs of an assistant; one of its provider's regions is not well")
        with handle.instrument(httpx.Client(base_url=base_url)) as client:

            def ask(customer: int) -> None:
                body = {
                    "assistant_id": ASSISTANTS["release-notes"],
                    "metadata": {"customer": str(customer)},
                    "stream": True,
                }
                with client.stream("POST", f"/v1/threads/thread_demo{customer}/runs", json=body) as response:
                    response.read()

            with ThreadPoolExecutor(_AT_ONCE) as threads:
                list(threads.map(ask, INCIDENT))
        if not handle.flush(10):
            raise RecorderError("the store did not take the incident's runs in 10 seconds; is the disk very slow?")
    return len(INCIDENT)
