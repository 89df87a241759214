"""What runs cost, for the commands that list and show them, on demand: loading the price list takes a moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .options import url_of_store

if TYPE_CHECKING:
    import click

    from recorder.prices import Use
    from recorder.recording import Run
    from recorder.store import Store

__all__ = ["priced"]


def priced(context: click.Context, store: Store, runs: Iterable[Run]) -> Iterator[tuple[Run, str | None]]:
    """The runs with what they cost, and why that is not known where it is not.

    Raises UsageError where the configuration's prices are wrong.
    """
    from recorder import config, prices, queries

    lists = prices.load(config.load().prices, queries.folder_of(url_of_store(context)))
    for run in runs:
        use = _use(store, run)
        cost = None if use is None else lists.cost_of(use)
        if cost is None:
            yield run, "it has no reading yet"
        elif isinstance(cost, prices.Unpriced):
            yield run, cost.reason
        else:
            yield dataclasses.replace(run, cost_usd=f"{cost:f}"), None


def _use(store: Store, run: Run) -> Use | None:
    """What the run's price depends on.

    Of a call that went through a proxy of ours there are two records: the client's, whose origin is the proxy, and the
    proxy's, whose origin is the provider. The second counts as a duplicate, and says where it went.
    """
    from recorder.prices import Use

    told = {name: stored for name in store.members(run.run_id) if (stored := store.reading(name))}
    standing = told.get(store.standing(run.run_id) or run.run_id)
    if standing is None:
        return None
    doubles = [name for name, stored in told.items() if "duplicate" in stored.reading.flags]
    recording = store.recording(standing.recording_id)
    return Use.of(
        standing.reading,
        origin=store.recording(doubles[-1]).origin if doubles else recording.origin,
        started_at=run.started_at,
        duration_us=run.duration_us,
        http_status=None if recording.ending is None else recording.ending.http_status,
    )
