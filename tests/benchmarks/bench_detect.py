"""What looking for runaways costs: live on the writer's thread, beside the Capture it rides on; and afterwards.

Streams of three protocols, prose that never repeats itself, one delta an event and one event a chunk; rows are taken
five hundred at a time. `examine` looks through the texts of the same events once they are over.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import median
from typing import Any, Final

from recorder.capture import Capture
from recorder.detect import LiveDetector, examine
from recorder.recording import Head, Reading, Recording, Request, Spoken, uuid7
from tests.benchmarks.figures import bar, heading, note, table, taking_turns

ROUNDS: Final = 11
EVENTS: Final = 5000
BATCH: Final = 500
HEAD: Final = Head(200, "OK", headers=(("Content-Type", "text/event-stream"),))
REQUEST: Final = Request("POST", "http://127.0.0.1/v1/chat/completions")


def pieces() -> list[str]:
    """Tokens: most begin with a blank, some are whitespace."""
    chance = random.Random(3)
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(1, 8))) for _ in range(3000)]
    return [chance.choice([f" {word}", f" {word}", word, ", ", "\n\n"]) for word in chance.choices(words, k=EVENTS)]


def assistants(text: str) -> bytes:
    content = [{"index": 0, "type": "text", "text": {"value": text, "annotations": []}}]
    delta = {"id": "msg_abc123abc123abc123abc123", "object": "thread.message.delta", "delta": {"content": content}}
    return _frame(delta, "thread.message.delta")


def chat(text: str) -> bytes:
    told = {"id": "chatcmpl-abc123", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt-4o"}
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return _frame({**told, "system_fingerprint": "fp_0123456789", "choices": [choice], "obfuscation": "abcdef"})


def responses(text: str) -> bytes:
    told = {"type": "response.output_text.delta", "sequence_number": len(text) * 37, "item_id": "msg_abc123abc123"}
    return _frame({**told, "output_index": 0, "content_index": 0, "delta": text}, told["type"])


def _frame(value: Any, name: Any = None) -> bytes:
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def captured(chunks: Sequence[bytes], detector: LiveDetector | None) -> None:
    """As a writer does it: rows are taken now and then, and are gone."""
    recording = Recording(
        recording_id=uuid7(),
        started_at=0,
        writer=uuid7(),
        dialect="chat",
        origin="http://127.0.0.1",
        request=REQUEST,
        salt=bytes(16),
    )
    capture = Capture(recording, detector.rows if detector else None)
    capture.head(HEAD, 1000)
    for number, chunk in enumerate(chunks, 1):
        capture.data(chunk, 1000 + number * 50)
        if number % BATCH == 0:
            capture.take()
    capture.end("eof", 1000 + len(chunks) * 50)
    capture.take()
    if detector is not None and detector.notices:
        raise AssertionError("prose was taken for a runaway")


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Nanoseconds of CPU per event."""

    def go() -> float:
        start = time.thread_time_ns()
        work()
        return (time.thread_time_ns() - start) / EVENTS

    return go


def live(chunks: Sequence[bytes]) -> tuple[dict[str, float], float]:
    """Median nanoseconds per event of each way, and the median ratio of the last to the first, round by round."""
    ways = {
        "Capture": timed(lambda: captured(chunks, None)),
        "with a detector": timed(lambda: captured(chunks, LiveDetector(uuid7(), json=False))),
        "with a detector, JSON mode": timed(lambda: captured(chunks, LiveDetector(uuid7(), json=True))),
    }
    results = taking_turns(ROUNDS, ways)
    ratios = [after / before for before, after in zip(results["Capture"], results["with a detector"], strict=True)]
    return {name: median(figures) for name, figures in results.items()}, median(ratios)


def afterwards(texts: Sequence[str]) -> dict[str, float]:
    """Median nanoseconds per event: a text, JSON, and what JSON costs the standard library."""

    def reading(parts: Sequence[str], response_format: str) -> Reading:
        spoken = Spoken(
            kind="text",
            text="".join(parts),
            offsets=list(accumulate(map(len, parts[:-1]), initial=0)),
            positions=range(len(parts)),
            times=range(len(parts)),
        )
        return Reading(dialect="chat", response_format=response_format, spoken=(spoken,), stop_reason="stop")

    members = [f'"{text.strip()}{number}": "{text.strip()}", ' for number, text in enumerate(texts)]
    as_json = ["{", *members, '"end": 1}']
    document = "".join(as_json)
    ways = {
        "examine, text": timed(lambda: examine(reading(texts, "text"), REQUEST)),
        "examine, JSON (a member each)": timed(lambda: examine(reading(as_json, "json_object"), REQUEST)),
        "json.loads of that JSON": timed(lambda: json.loads(document)),
    }
    return {name: median(figures) for name, figures in taking_turns(ROUNDS, ways).items()}


def main() -> None:
    texts = pieces()
    results = {make.__name__: live([make(text) for text in texts]) for make in (assistants, responses, chat)}
    heading("live, ns of CPU per event")
    table(("", *results), [(way, *(figures[way] for figures, _ in results.values())) for way in results["chat"][0]])
    heading("afterwards, ns of CPU per event")
    table(("", "ns"), list(afterwards(texts).items()))
    note("(each event of some 16 characters in the JSON)")
    bar(
        "detect: Capture with a detector beside one without (the worst protocol)",
        max(r for _, r in results.values()),
        most=1.5,
    )


if __name__ == "__main__":
    main()
