"""The questions about truncation and waste, asked of a made-up fleet of runs: what they say is the truth, exactly."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

from recorder import queries
from recorder.queries.asking import ask
from recorder.queries.questions import find
from recorder.store import Store
from tests.fleet import FIRST, Fleet, Made, fill, make

if TYPE_CHECKING:
    import duckdb

_BROKEN: Final = {"client_abort", "upstream_cut", "no_terminal"}


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return make(5_000, seed=11)


@pytest.fixture(scope="module")
def connection(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    url = str(tmp_path_factory.mktemp("fleet") / "recorder.db")
    with Store.open(url, create=True) as store:
        fill(store, fleet)
    with contextlib.closing(queries.connect(url)) as connected:
        yield connected


def answer(connection: duckdb.DuckDBPyConnection, name: str, **given: Any) -> list[dict[str, Any]]:
    return list(ask(connection, find(name), given=given, prices={}))


def spent_on(run: Made, again: set[int]) -> str:
    """What became of the tokens of a run."""
    if run.outcome in {"completed", "tool_wait"}:
        return "usable"
    if run.number in again:
        return "retried"
    if run.truncated:
        nothing_to_see = run.output - run.reasoning - run.blanks <= 0
        return "truncated_useless" if run.app.json_mode or nothing_to_see else "truncated_partial"
    return "aborted" if run.outcome in _BROKEN else "other"


def test_every_token_is_where_it_was_spent(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """T4, tokens and runs; what ran away as whitespace is taken out of what it was in."""
    again = {run.again for run in fleet.runs if run.again is not None}
    tokens: dict[str, float] = defaultdict(float)
    runs: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for run in fleet.runs:
        use = spent_on(run, again)
        runs[use] += 1
        unknown[use] += not run.known
        if run.known:
            tokens[use] += run.weight * (run.prompt + run.output - run.blanks)
            tokens["whitespace"] += run.weight * run.blanks
            runs["whitespace"] += run.blanks > 0
    found = {row["spent_on"]: row for row in answer(connection, "waste")}
    assert {name: row["runs"] for name, row in found.items()} == dict(runs)
    assert {name: row["tokens"] or 0 for name, row in found.items()} == {name: round(tokens[name]) for name in runs}
    assert {name: row["unknown_runs"] for name, row in found.items()} == {name: unknown[name] for name in runs}
    assert sum(row["tokens_share"] or 0 for row in found.values()) == pytest.approx(1)
    assert len(found) == 7


def test_each_strategy_has_the_truncations_that_it_had(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """T2: runs, and shares by weight."""
    weights: dict[str, float] = defaultdict(float)
    cut: dict[tuple[str, str], float] = defaultdict(float)
    for run in fleet.runs:
        weights[run.strategy or "none"] += run.weight
        cut[run.strategy or "none", run.outcome] += run.weight
    found = answer(connection, "truncation_by_strategy")
    assert {row["strategy"] for row in found} == set(weights)
    for row in found:
        assert row["outcome_share"] == pytest.approx(cut[row["strategy"], row["outcome"]] / weights[row["strategy"]])
        assert row["low_share"] <= row["outcome_share"] <= row["high_share"]


def test_runaways_and_what_they_took_are_known(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """T6 in JSON mode, and nowhere else."""
    mode = [run for run in fleet.runs if run.app.json_mode]
    ran = [run for run in mode if run.runaway]
    found = {row["format"]: row for row in answer(connection, "whitespace_runaway")}
    row = found["json_object"]
    assert (row["runs"], row["runaway_runs"]) == (len(mode), len(ran))
    assert row["after_onset_tokens"] == sum(run.blanks for run in ran if run.known)
    assert row["runaway_output_tokens"] == sum(run.output for run in ran if run.known)
    assert row["cut_share"] == 1
    assert found["none"]["runaway_runs"] == 0


def test_starved_runs_are_those_whose_reasoning_took_all(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """B10"""
    starved = [run for run in fleet.runs if run.starved]
    (row,) = answer(connection, "reasoning_starvation")
    assert starved
    assert row["starved_runs"] == len(starved)
    assert row["cut_runs"] == sum(run.outcome == "truncated_output" for run in fleet.runs)
    assert row["starved_output_tokens"] == sum(round(run.weight * run.output) for run in starved if run.known)


def test_each_retry_is_found_with_its_end(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """T11: of those whose first run the output limit cut, who was asked again, and how that ended."""
    later = {run.again: run for run in fleet.runs if run.again is not None}
    firsts = [run for run in fleet.runs if run.outcome == "truncated_output" and run.again is None]
    ends = Counter(later[run.number].outcome for run in firsts if run.number in later)
    found = [row for row in answer(connection, "retried") if row["first_outcome"] == "truncated_output"]
    asked_again: Counter[str] = Counter()
    for row in found:
        if row["linked_by"] == "request":
            asked_again[row["last_outcome"]] += row["runs"]
            assert row["attempts"] == 2
    assert asked_again == ends
    assert sum(row["runs"] for row in found) == len(firsts)
    assert sum(row["runs_share"] for row in found) == pytest.approx(1)


def test_streams_that_broke_off_are_counted_by_who_ended_them(
    fleet: Fleet, connection: duckdb.DuckDBPyConnection
) -> None:
    """T13, and what they had stated."""
    broken = [run for run in fleet.runs if run.outcome in _BROKEN]
    found = {row["outcome"]: row for row in answer(connection, "broken_streams")}
    assert {name: row["runs"] for name, row in found.items()} == Counter(run.outcome for run in broken)
    for name, row in found.items():
        stated = [run.weight * run.output for run in broken if run.outcome == name and run.known]
        assert (row["stated_tokens"] or 0) == round(sum(stated))


def test_room_and_overshoot_are_those_of_the_caps(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """B2 and B3: the made-up servers keep to their caps."""
    ended = {"completed", "tool_wait", "truncated_output", "truncated_prompt"}
    capped = [run for run in fleet.runs if run.cap == 512 and run.known and run.outcome in ended]
    used = sorted((run.output, run.weight) for run in capped)
    rows = {(row["cap_kind"], row["cap_tokens"]): row for row in answer(connection, "headroom")}
    row = rows["output", 512]
    assert row["runs"] == len(capped)
    left = 0.5 * sum(weight for _, weight in used)
    for tokens, weight in used:
        left -= weight
        if left <= 0:
            assert row["p50_tokens"] == tokens
            break
    assert all(row["beyond_runs"] == 0 for row in answer(connection, "overshoot"))


def test_what_goes_with_a_fault_is_counted_as_it_was(fleet: Fleet, connection: duckdb.DuckDBPyConnection) -> None:
    """F6: of the last ten days those that a network cut, by model and by output cap, against the others and before."""
    since = FIRST + 20 * 86_400_000_000
    sides: dict[tuple[str, str], list[list[Made]]] = defaultdict(lambda: [[], [], []])
    for run in fleet.runs:
        side = 2 if run.started_at < since else int(run.outcome != "upstream_cut")
        for feature, value in (("model", run.app.model), ("output_cap", str(run.cap or "none"))):
            sides[feature, value][side].append(run)
    given = {"feature": "outcome", "value": "upstream_cut", "at": since, "at_most": 1000}
    found = {(row["feature"], row["value"]): row for row in answer(connection, "blast_radius", **given)}
    cut = [run for run in fleet.runs if run.outcome == "upstream_cut" and run.started_at >= since]
    compared = 0
    for (feature, value), (faulty, others, before) in sides.items():
        if not faulty:
            assert (feature, value) not in found
            continue
        row = found[feature, value]
        compared += 1
        assert (row["fault_runs"], row["rest_runs"], row["before_runs"]) == (len(faulty), len(others), len(before))
        assert row["fault_all"] == len(cut)
        assert row["fault_share"] == pytest.approx(sum(run.weight for run in faulty) / sum(run.weight for run in cut))
        assert row["low_ratio"] <= row["ratio"] <= row["high_ratio"]
    assert compared == sum(feature in {"model", "output_cap"} for feature, _ in found) > 0
    listed = answer(connection, "fault_runs", **given)
    assert {str(row["run_id"]) for row in listed} == {str(run.run_id) for run in cut}
    spans = answer(connection, "fault_times", **{name: given[name] for name in ("feature", "value", "at")})
    assert sum(row["fault_runs"] for row in spans) == sum(run.outcome == "upstream_cut" for run in fleet.runs)
    assert sum(row["runs"] for row in spans) == len(fleet.runs)
