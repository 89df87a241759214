"""A fleet of runs made up by a seed, with the truth about each: what it needed, which the store never gets to know.

    fleet = make(100_000, seed=1)           # the same seed gives the same runs; a second or two
    fill(store, fleet)                      # straight into the tables of a store, readings and all; 15 s
    fleet.runs                              # a tuple of `Made`, by request: each run, with what is not stored
    fleet.of("support")                     # those of one application (its `group` and tag `app`)
    fleet.need(0.99, "support")             # what the requests of an application needed, as a true quantile

The applications (`APPS`) differ in protocol, model and what they need (lognormal), and in the caps they set: at random
among several and none, whatever the request needs; one always a cap that is too low. There are JSON modes with runaways
of blanks, tools, reasoning that starves the answer, prompt caps and truncation strategies, streams that were cut,
refused requests, streams that told no usage, an app that is sampled (weight 4), a model without a price, and requests
that were asked again with more room after they had been cut. They spread evenly over `DAYS` days from `FIRST` on.

The rows are what the reader makes of real streams, in the columns that questions look at. There are no payloads; with
`events` each recording has so many event rows too, and an `end`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from recorder import schema
from recorder.recording import Reading, Recording, Request, Row, StoredReading
from recorder.store import Store
from recorder.store.rows import reading_columns, recording_columns, tag_columns
from tests.rows import STARTED, WRITER

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ["APPS", "DAYS", "FIRST", "App", "Fleet", "Made", "fill", "make"]

DAYS: Final = 30
_DAY: Final = 86_400_000_000
#: A midnight, UTC.
FIRST: Final = STARTED - STARTED % _DAY

#: What a runaway goes on to where there is no cap.
_MODEL_LIMIT: Final = 16_384
_MESSAGE: Final = {"role": "user", "content": ""}


class App(NamedTuple):
    """One application: `share` of the requests; needs are exp(N(mu, sigma)) tokens; `caps` are (cap, chance)."""

    name: str
    share: float
    dialect: str
    model: str
    origin: str
    mu: float
    sigma: float
    caps: tuple[tuple[int | None, float], ...]
    prompt_mu: float = 7.0
    prompt_sigma: float = 0.5
    prompt_caps: tuple[tuple[int | None, float], ...] = ((None, 1.0),)
    strategies: tuple[tuple[str | None, float], ...] = ((None, 1.0),)
    json_mode: bool = False
    runaway: float = 0.0
    tools: float = 0.0
    reasoning: float = 0.0
    weight: float = 1.0
    again: float = 0.0
    silent: float = 0.0


_OPENAI: Final = "https://api.openai.com"
#: Spread so that a plain percentile of what was observed says a fifth too little.
_SPREAD: Final = ((256, 0.30), (512, 0.35), (1024, 0.10), (None, 0.25))

APPS: Final = (
    App("support", 0.50, "assistants", "gpt-4o", _OPENAI, 6.2, 0.5, _SPREAD, 7.5, 0.4,
        ((4000, 0.3), (None, 0.7)), (("auto", 0.6), ("last_messages:10", 0.4))),
    App("extract", 0.18, "chat", "gpt-4o-mini", _OPENAI, 5.4, 0.4, ((192, 0.3), (256, 0.3), (512, 0.1), (None, 0.3)),
        json_mode=True, runaway=0.04, again=0.5, silent=0.03),
    App("coder", 0.12, "messages", "claude-sonnet-4-5", "https://api.anthropic.com", 6.6, 0.5,
        ((512, 0.3), (1024, 0.4), (8192, 0.3)), tools=0.3),
    App("reason", 0.10, "responses", "o3", _OPENAI, 7.2, 0.5, ((1024, 0.3), (2048, 0.3), (None, 0.4)), reasoning=0.7,
        strategies=(("disabled", 1.0),)),
    App("short", 0.05, "chat", "gpt-4o", _OPENAI, 6.0, 0.6, ((256, 1.0),)),
    App("house", 0.05, "chat", "house-7b", "https://llm.example.com", 5.0, 0.4, ((256, 0.5), (None, 0.5)), weight=4.0),
)  # fmt: skip


class Made(NamedTuple):
    """One run. `need` output tokens would have brought it to its end; it used `output`; `known` says whether the store
    learns that (`output_tokens`, `input_tokens` are NULL else). `outcome` is what the questions must say.

    `request` numbers what was asked, the same for a run that was asked again; `again` is the run that it repeats.
    `blanks`: output tokens from the onset of a runaway on.
    """

    number: int
    run_id: UUID
    app: App
    started_at: int
    duration_us: int
    request: int
    again: int | None
    need: int
    cap: int | None
    output: int
    prompt_need: int
    prompt_cap: int | None
    prompt: int
    strategy: str | None
    outcome: str
    runaway: bool
    starved: bool
    known: bool
    reasoning: int
    blanks: int
    cached: int

    @property
    def weight(self) -> float:
        return self.app.weight

    @property
    def truncated(self) -> bool:
        return self.outcome in {"truncated_output", "truncated_prompt"}

    @property
    def day(self) -> int:
        """Counted from 0."""
        return (self.started_at - FIRST) // _DAY


@dataclass(frozen=True, slots=True)
class Fleet:
    """The runs, in the order of their requests: one that asks again follows what it repeats."""

    runs: tuple[Made, ...]
    seed: int

    def of(self, app: str | None = None) -> list[Made]:
        """The runs of an application; all of them without one."""
        return [run for run in self.runs if app is None or run.app.name == app]

    def needs(self, app: str | None = None) -> list[tuple[int, float]]:
        """(need, weight) of each request that did not run away, each once, in rising order."""
        return sorted((run.need, run.weight) for run in self.of(app) if run.again is None and not run.runaway)

    def need(self, quantile: float, app: str | None = None) -> int:
        """The smallest number of tokens that so much of the requests needed at most."""
        needs = self.needs(app)
        left = quantile * sum(weight for _, weight in needs) - 1e-9
        for need, weight in needs:
            left -= weight
            if left <= 0:
                return need
        raise ValueError("there are no runs")


# -- making ------------------------------------------------------------------------------------------------------------


def make(runs: int, *, seed: int = 1, days: int = DAYS) -> Fleet:
    """About that many runs: so many requests that, with those asked again, there are exactly `runs`."""
    random = Random(seed)
    made: list[Made] = []
    requests = 0
    while len(made) < runs:
        app = _chosen(random, tuple((app, app.share) for app in APPS))
        # As if each request came somewhere in its slot, so that they are in order.
        at = FIRST + int((requests + random.random()) * days * _DAY / runs)
        first = _run(random, app, at, number=len(made), request=requests, first=None)
        made.append(first)
        if first.outcome == "truncated_output" and random.random() < app.again and len(made) < runs:
            later = first.started_at + first.duration_us + int(random.uniform(1, 60) * 1e6)
            made.append(_run(random, app, later, number=len(made), request=requests, first=first))
        requests += 1
    return Fleet(tuple(made), seed)


def _chosen(random: Random, choices: Sequence[tuple[Any, float]]) -> Any:
    mark = random.random() * sum(chance for _, chance in choices)
    for value, chance in choices:
        mark -= chance
        if mark < 0:
            return value
    return choices[-1][0]


def _tokens(random: Random, mu: float, sigma: float) -> int:
    return max(1, round(math.exp(random.gauss(mu, sigma))))


def _run(random: Random, app: App, at: int, *, number: int, request: int, first: Made | None) -> Made:
    runaway = random.random() < app.runaway if first is None else first.runaway
    need = first.need if first else _tokens(random, app.mu, app.sigma)
    cap: int | None = _chosen(random, app.caps) if first is None else (None if first.cap is None else first.cap * 4)
    prompt_need = first.prompt_need if first else _tokens(random, app.prompt_mu, app.prompt_sigma)
    prompt_cap: int | None = _chosen(random, app.prompt_caps)
    strategy: str | None = _chosen(random, app.strategies)
    output, outcome, known = _ended(random, app, need, cap, runaway=runaway)
    prompt = prompt_need
    if prompt_cap is not None and prompt_need > prompt_cap:
        output, outcome, known, prompt = 0, "truncated_prompt", True, prompt_cap
    elif random.random() < 0.005:
        output, outcome, known, prompt = 0, "http_error", False, 0
    elif random.random() < app.silent:
        known = False
    reasoning = min(round(need * app.reasoning), output)
    blanks = max(0, output - need) if runaway else 0
    speed = random.lognormvariate(math.log(15_000), 0.3)
    return Made(
        number=number,
        run_id=_uuid7(random, at),
        app=app,
        started_at=at,
        duration_us=int(random.lognormvariate(math.log(500_000), 0.5) + output * speed),
        request=request,
        again=None if first is None else first.number,
        need=need,
        cap=cap,
        output=output,
        prompt_need=prompt_need,
        prompt_cap=prompt_cap,
        prompt=prompt,
        strategy=strategy,
        outcome=outcome,
        runaway=runaway and outcome == "truncated_output",
        starved=outcome == "truncated_output" and app.reasoning > 0 and reasoning == output,
        known=known,
        reasoning=reasoning,
        blanks=blanks if outcome == "truncated_output" else 0,
        cached=prompt // 2 if app.dialect in {"chat", "responses"} and random.random() < 0.4 else 0,
    )


def _ended(random: Random, app: App, need: int, cap: int | None, *, runaway: bool) -> tuple[int, str, bool]:
    """How much an answer wrote, how it ended, and whether that much was stated; of one that was let begin."""
    broken = math.ceil(random.expovariate(1 / 600)) if random.random() < 0.02 else None
    output, outcome = need, "completed"
    if runaway:
        output, outcome = cap or _MODEL_LIMIT, "truncated_output"
    elif cap is not None and need > cap:
        output, outcome = cap, "truncated_output"
    elif random.random() < app.tools:
        outcome = "tool_wait"
    if broken is None or broken >= output:
        return output, outcome, True
    # The time of the cut has nothing to do with what was needed.
    return broken, random.choice(["client_abort", "upstream_cut", "no_terminal"]), app.dialect == "messages"


def _uuid7(random: Random, micros: int) -> UUID:
    bits = (micros // 1000) << 80 | random.getrandbits(80)
    return UUID(int=bits & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


# -- writing -----------------------------------------------------------------------------------------------------------

_PATHS: Final = {
    "assistants": "/v1/threads/runs",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
#: outcome -> status, stop reason, complete, how the transport ended.
_SAID: Final[Mapping[str, tuple[str, str | None, bool | None, str]]] = {
    "completed": ("completed", "stop", True, "eof"),
    "tool_wait": ("completed", "tool_call", True, "eof"),
    "truncated_output": ("incomplete", "output_limit", True, "eof"),
    "truncated_prompt": ("incomplete", "input_limit", True, "eof"),
    "client_abort": ("in_progress", None, False, "client_closed"),
    "upstream_cut": ("in_progress", None, False, "reset"),
    "no_terminal": ("in_progress", None, False, "eof"),
    "http_error": ("failed", "error", None, "eof"),
}
_RAW: Final[Mapping[tuple[str, str], str]] = {
    ("assistants", "output_limit"): "max_completion_tokens",
    ("assistants", "input_limit"): "max_prompt_tokens",
    ("chat", "output_limit"): "length",
    ("chat", "stop"): "stop",
    ("chat", "tool_call"): "tool_calls",
    ("responses", "output_limit"): "max_output_tokens",
    ("messages", "output_limit"): "max_tokens",
    ("messages", "stop"): "end_turn",
    ("messages", "tool_call"): "tool_use",
}
_CAPS: Final = {
    "assistants": "max_completion_tokens",
    "chat": "max_completion_tokens",
    "responses": "max_output_tokens",
    "messages": "max_tokens",
}
_BATCH: Final = 5000


def fill(store: Store, fleet: Fleet, *, events: int = 0, size: int = 120) -> None:
    """Write the fleet down; with so many events of about `size` bytes for each recording."""
    for start in range(0, len(fleet.runs), _BATCH):
        _write(store, fleet.runs[start : start + _BATCH], events, size)


def _write(store: Store, runs: Sequence[Made], events: int, size: int) -> None:
    rows: dict[Table, list[dict[str, Any]]] = {
        table: [] for table in (schema.recordings, schema.tags, schema.endings, schema.readings)
    }
    for run in runs:
        recording, reading = _recording(run), _reading(run)
        ending = _ending(run, events)
        rows[schema.recordings].append(recording_columns(recording))
        rows[schema.tags] += tag_columns(recording)
        rows[schema.endings].append(ending)
        rows[schema.readings].append(_reading_row(run, recording, reading, ending))
    backend = store._backend  # no API of the store's takes a hundred thousand runs at once
    with backend.write() as connection:
        for table, values in rows.items():
            statement, order = _insert(table, backend.name)
            connection.exec_driver_sql(statement, [_in_order(row, order, backend.name) for row in values])
        if events:
            for run in runs:
                backend.insert_events(connection, list(_events(run, events, size)))


def _insert(table: Table, database: str) -> tuple[str, list[str]]:
    """An INSERT for the driver itself, and the order of its columns: SQLAlchemy takes as long as the database."""
    names = [column.name for column in table.columns]
    quoted = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(["?" if database == "sqlite" else "%s"] * len(names))
    return f'INSERT INTO "{table.name}" ({quoted}) VALUES ({marks})', names


def _in_order(row: Mapping[str, Any], order: Sequence[str], database: str) -> tuple[Any, ...]:
    values = tuple(row[name] for name in order)
    if database != "sqlite":
        return values
    return tuple(value.bytes if isinstance(value, UUID) else value for value in values)


def _recording(run: Made) -> Recording:
    app = run.app
    asked = {"model": app.model, "max_prompt_tokens": run.prompt_cap, "max_completion_tokens": run.cap}
    return Recording(
        recording_id=run.run_id,
        started_at=run.started_at,
        writer=WRITER,
        dialect=app.dialect,
        origin=app.origin,
        request=Request("POST", app.origin + _PATHS[app.dialect], (), None, 2000),
        match_key=run.request.to_bytes(32, "big"),
        match_rule="{}",
        weight=run.weight,
        tags={"app": app.name},
        parameters={**asked, "stream": True, "assistant_id": _assistant(app), "truncation_strategy": run.strategy},
    )


def _assistant(app: App) -> str | None:
    return f"asst_{app.name}" if app.dialect == "assistants" else None


def _ending(run: Made, events: int) -> dict[str, Any]:
    return {
        "recording_id": run.run_id,
        "ending": _SAID[run.outcome][3],
        "captured": "full",
        "elapsed_us": run.duration_us,
        "events": events or run.output + 4,
        "wire_bytes": 200 * (events or run.output + 4),
        "http_status": 429 if run.outcome == "http_error" else 200,
        "head_us": min(80_000, run.duration_us // 2),
        "facts_digest": b"f" * 32,
        "payload_digest": b"p" * 32,
        "seal": b"s" * 32,
    }


_EMPTY: Final = dict.fromkeys(column.name for column in schema.readings.c)


def _reading_row(run: Made, recording: Recording, reading: Reading, ending: Mapping[str, Any]) -> dict[str, Any]:
    stored = StoredReading(
        recording_id=run.run_id, run_id=run.run_id, reader_version=1, read_at=run.started_at, reading=reading
    )
    return {
        **_EMPTY,
        **reading_columns(stored),
        "run_id": run.run_id,
        "changed_at": run.started_at,
        "superseded": False,
        "duplicate": False,
        "started_at": run.started_at,
        "origin": recording.origin,
        "weight": run.weight,
        **{name: ending[name] for name in ("http_status", "ending", "captured", "events", "head_us")},
        "bytes": ending["wire_bytes"],
        "duration_us": run.duration_us,
    }


def _reading(run: Made) -> Reading:
    app, usage = run.app, _usage(run)
    status, stop_reason, complete, _ = _SAID[run.outcome]
    visible = max(0, run.output - run.reasoning - run.blanks)
    valid = None if not app.json_mode or run.outcome == "http_error" else run.outcome == "completed"
    answered = run.outcome not in {"http_error", "truncated_prompt"}
    ttft = min(400_000, run.duration_us) if answered and run.output else None
    return Reading(
        dialect=app.dialect,
        action="create",
        status=status,
        stop_reason=stop_reason,
        stop_reason_raw=_RAW.get((app.dialect, stop_reason or ""), stop_reason),
        complete=complete,
        provider_run_id=f"run_{run.number:08}",
        request_id=f"req_{run.number:08}",
        model=app.model,
        assistant_id=_assistant(app),
        parameters=_parameters(run),
        max_prompt_tokens=run.prompt_cap,
        max_completion_tokens=run.cap,
        truncation_strategy=run.strategy,
        response_format="json_object" if app.json_mode else None,
        **usage,
        ttft_us=ttft,
        ttft_visible_us=ttft if visible else None,
        longest_gap_us=ttft,
        stalls=0,
        stalled_us=0,
        text_chars=4 * (visible + run.blanks) if answered else None,
        blank_chars=4 * run.blanks if answered else None,
        json_valid=valid,
        json_damage="unclosed" if valid is False else None,
        group=_assistant(app) or app.name,
        metadata={"customer": f"c{run.request % 7}"},
        flags=_flags(run, valid),
        facts=_facts(run, visible),
    )


def _flags(run: Made, valid: bool | None) -> tuple[str, ...]:
    raised = {
        "whitespace_runaway": run.runaway,
        "reasoning_starved": run.starved,
        "json_damaged": valid is False,
        "output_cap_reached": run.outcome == "truncated_output",
        "no_terminal_event": run.outcome == "no_terminal",
        "http_error": run.outcome == "http_error",
    }
    return tuple(sorted(name for name, is_raised in raised.items() if is_raised))


def _usage(run: Made) -> dict[str, Any]:
    if not run.known:
        return {"usage_quality": "estimated" if run.output else "missing"}
    partial = run.outcome in {"client_abort", "upstream_cut", "no_terminal"}
    reasons = run.app.dialect == "responses"
    return {
        "usage_quality": "partial" if partial else "reported",
        "input_tokens": run.prompt,
        "output_tokens": run.output,
        "total_tokens": run.prompt + run.output,
        "cached_tokens": run.cached,
        "uncached_tokens": run.prompt - run.cached,
        "reasoning_tokens": run.reasoning if reasons else None,
        "visible_tokens": run.output - run.reasoning if reasons else None,
    }


def _parameters(run: Made) -> dict[str, Any]:
    app = run.app
    told: dict[str, Any] = {"model": app.model, "stream": True}
    if app.dialect == "assistants":
        told |= {"assistant_id": _assistant(app), "thread": {"messages": [{**_MESSAGE, "content": f"{run.request}"}]}}
    elif app.dialect == "responses":
        told["input"] = f"request {run.request}"
    else:
        told["messages"] = [{**_MESSAGE, "content": f"request {run.request}"}]
    if run.cap is not None:
        told[_CAPS[app.dialect]] = run.cap
    if run.prompt_cap is not None:
        told["max_prompt_tokens"] = run.prompt_cap
    if app.json_mode:
        told["response_format"] = {"type": "json_object"}
    if app.tools:
        told["tools"] = [{"name": "search"}]
    if app.dialect == "chat" and not app.silent:
        told["stream_options"] = {"include_usage": True}
    return told


def _facts(run: Made, visible: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"http_status": 429 if run.outcome == "http_error" else 200}
    if run.outcome == "tool_wait":
        facts["arguments"] = [{"name": "search", "valid": True, "chars": 40, "depth": 0}]
    if run.runaway:
        onset = 4 * visible
        facts["whitespace"] = {
            "of": "text", "at": onset, "chars": 4 * run.blanks, "all_chars": 4 * run.blanks, "pieces": run.blanks,
            "position": visible + 1, "elapsed_us": run.duration_us // 2, "to_end": True,
        }  # fmt: skip
    return facts


def _events(run: Made, count: int, size: int) -> Iterator[Row]:
    key = run.run_id.bytes
    data = json.dumps({"delta": "x" * max(1, size - 14)}).encode()
    step = max(1, run.duration_us // (count + 1))
    for at in range(count):
        yield (key, at, "sse", (at + 1) * step, "thread.message.delta", data, None, len(data) + 30, None)
    told = json.dumps({"ending": _SAID[run.outcome][3], "captured": "full"}).encode()
    yield (key, count, "end", run.duration_us, None, told, None, len(told), None)
