"""Cap advice against plain arithmetic, a published table, another implementation, and a fleet whose truth is known."""

from __future__ import annotations

import contextlib
import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from recorder import queries
from recorder.queries import outside
from recorder.queries.asking import Scope, ask
from recorder.queries.questions import find
from recorder.store import Store
from tests import fleet as fleets
from tests.needs import NIGHTLY, examples

if TYPE_CHECKING:
    import duckdb

#: The whole fleet is written and copied once, for the first test that asks for it.
pytestmark = pytest.mark.timeout(600 if NIGHTLY else 300)

Z: Final = 1.959963984540054


class Seen(NamedTuple):
    """What was seen of one run: so many tokens, and whether it came to its end there."""

    tokens: int
    ended: bool
    weight: float = 1.0


def told(folder: Path, sets: Sequence[Sequence[Seen]]) -> outside.Outside:
    """A log of these sets, the number of each in its assistant's id."""
    path = folder / "log.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["assistant_id", "output_tokens", "finish_reason", "weight"])
        for number, seen in enumerate(sets):
            rows.writerows([number, one.tokens, "stop" if one.ended else "length", one.weight] for one in seen)
    return outside.connect(path)


def curves(folder: Path, sets: Sequence[Sequence[Seen]]) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = [[] for _ in sets]
    with contextlib.closing(told(folder, sets).connection) as connection:
        for row in ask(connection, find("need_curve"), Scope(by="assistant")):
            found[int(row["slice"])].append(row)
    return found


def advice(folder: Path, sets: Sequence[Sequence[Seen]], target: float) -> list[dict[str, Any]]:
    with contextlib.closing(told(folder, sets).connection) as connection:
        rows = list(ask(connection, find("cap_advice"), Scope(by="assistant"), given={"target": target}))
    return sorted(rows, key=lambda row: int(row["slice"]))


def random_sets(count: int, *, weights: Sequence[float] = (1.0,), seed: int = 7) -> list[list[Seen]]:
    """Sets of all sizes and degrees of censoring, with many ties."""
    random = Random(seed)
    sets = []
    for _ in range(count):
        ends, range_ = random.random(), random.choice([3, 10, 40, 1000])
        runs = random.choice([1, 2, 5, 30, 200])
        sets.append(
            [Seen(random.randint(0, range_), random.random() < ends, random.choice(list(weights))) for _ in range(runs)]
        )
    return sets


def product_limit(seen: Sequence[Seen]) -> dict[int, Fraction]:
    """Kaplan and Meier's estimate, as the books define it: at the same tokens ends come before cuts."""
    survival = Fraction(1)
    found: dict[int, Fraction] = {}
    for tokens in sorted({one.tokens for one in seen}):
        at_risk = sum((Fraction(one.weight) for one in seen if one.tokens >= tokens), Fraction())
        ends = sum((Fraction(one.weight) for one in seen if one.tokens == tokens and one.ended), Fraction())
        survival *= 1 - ends / at_risk
        found[tokens] = survival
    return found


# -- the estimate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1.0,), (4.0,), (1.0, 2.0, 5.0)])
def test_the_curve_is_the_product_limit(tmp_path: Path, weights: Sequence[float]) -> None:
    sets = random_sets(examples(60, 1000), weights=weights)
    for seen, curve in zip(sets, curves(tmp_path, sets), strict=True):
        expected = product_limit(seen)
        assert [row["tokens"] for row in curve] == list(expected)
        assert [row["survival_share"] for row in curve] == pytest.approx(list(map(float, expected.values())), abs=1e-9)


def test_the_advice_is_the_first_tokens_at_which_the_curve_is_low_enough(tmp_path: Path) -> None:
    """And there is none where it never is, or where the runs are too few for any."""
    sets = random_sets(examples(150, 2000), weights=(1.0, 3.0), seed=11)
    for target in (0.5, 0.9, 0.95):
        allowed = 1 - Fraction(str(target))
        for seen, row in zip(sets, advice(tmp_path, sets, target), strict=True):
            curve = product_limit(seen)
            reached = next((tokens for tokens, survival in curve.items() if survival <= allowed), None)
            weights = [Fraction(one.weight) for one in seen]
            enough = sum(weights) ** 2 / sum(weight * weight for weight in weights) * allowed >= 1
            assert row["advice_tokens"] == (reached if enough else None)
            assert row["known_share"] == pytest.approx(1 - float(min(curve.values())), abs=1e-9)
            assert (row["advice_tokens"] is None) == (row["low_tokens"] is None)
            if row["advice_tokens"] is None:
                assert row["why"]
                assert row["high_tokens"] is None
            else:
                assert row["low_tokens"] <= row["advice_tokens"]
                assert row["high_tokens"] is None or row["advice_tokens"] <= row["high_tokens"]
                assert bool(row["why"]) == (row["high_tokens"] is None)


def test_the_ends_of_the_band_are_read_off_the_band_of_the_curve(tmp_path: Path) -> None:
    """Also of sampled runs, of which Greenwood's formula takes the effective number at risk: (sum w)^2 / sum w^2."""
    sets = random_sets(examples(100, 1000), weights=(1.0, 2.0, 9.0), seed=13)
    for seen, curve, row in zip(sets, curves(tmp_path, sets), advice(tmp_path, sets, 0.8), strict=True):
        variance = 0.0
        for step in curve:
            risk = [one.weight for one in seen if one.tokens >= step["tokens"]]
            ends = sum(one.weight for one in seen if one.tokens == step["tokens"] and one.ended)
            if not 0 < step["survival_share"] < 1:
                continue
            hazard, effective = ends / sum(risk), sum(risk) ** 2 / sum(weight * weight for weight in risk)
            variance += hazard / (effective * (1 - hazard))
            log = math.log(step["survival_share"])
            low, high = (step["survival_share"] ** math.exp(sign * Z * math.sqrt(variance) / log) for sign in (-1, 1))
            assert (step["low_share"], step["high_share"]) == pytest.approx((low, high), abs=1e-9)
        if row["advice_tokens"] is not None:
            for end in ("low", "high"):
                shares = [(step["tokens"], step[f"{end}_share"]) for step in curve if step[f"{end}_share"] is not None]
                assert row[f"{end}_tokens"] == next((at for at, share in shares if share <= 0.2 + 1e-12), None)


def test_the_curve_is_that_of_a_published_study(tmp_path: Path) -> None:
    """Remission under maintained chemotherapy (Embury et al. 1977; Miller, Survival Analysis, 1981, table 3.1)."""
    weeks = [(9, 1), (13, 1), (13, 0), (18, 1), (23, 1), (28, 0), (31, 1), (34, 1), (45, 0), (48, 1), (161, 0)]
    printed = {9: (0.909, 0.0867), 13: (0.818, 0.1163), 18: (0.716, 0.1397), 23: (0.614, 0.1526), 31: (0.491, 0.1642)}
    printed |= {34: (0.368, 0.1627), 48: (0.184, 0.1535)}
    (curve,) = curves(tmp_path, [[Seen(week, bool(ended)) for week, ended in weeks]])
    steps = {row["tokens"]: row for row in curve if row["ended_runs"]}
    assert {week: round(row["survival_share"], 3) for week, row in steps.items()} == {
        week: survival for week, (survival, _) in printed.items()
    }
    for week, (_, error) in printed.items():
        survival, low = steps[week]["survival_share"], steps[week]["low_share"]
        # The band is S ** exp(z * error / (S * |ln S|)).
        found = math.log(math.log(low) / math.log(survival)) / Z * survival * abs(math.log(survival))
        assert found == pytest.approx(error, abs=5.1e-5)


@pytest.mark.filterwarnings("ignore")  # what lifelines' own libraries say
@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 7.0)])
def test_another_implementation_says_the_same(tmp_path: Path, weights: Sequence[float]) -> None:
    """lifelines: the curve, and where all runs weigh the same its band (Greenwood, log-log), to nine digits."""
    lifelines = pytest.importorskip("lifelines", reason="lifelines is not installed")
    sets = random_sets(examples(100, 1000), weights=weights, seed=3)
    compared = 0
    for seen, curve in zip(sets, curves(tmp_path, sets), strict=True):
        fitter = lifelines.KaplanMeierFitter()
        fitter.fit([one.tokens for one in seen], [one.ended for one in seen], weights=[one.weight for one in seen])
        theirs = fitter.survival_function_["KM_estimate"]
        band = fitter.confidence_interval_
        for row in curve:
            at = float(row["tokens"])
            assert row["survival_share"] == pytest.approx(theirs[at], abs=1e-9)
            if len(weights) == 1 and 0 < row["survival_share"] < 1:
                low, high = band.loc[at]
                assert (row["low_share"], row["high_share"]) == pytest.approx((low, high), abs=1e-9)
                compared += 1
    assert len(weights) > 1 or compared > 1000


@pytest.mark.filterwarnings("ignore")
def test_another_implementation_reads_the_same_quantiles_off(tmp_path: Path) -> None:
    """The advice, and the ends of its band, as Brookmeyer and Crowley read them off the band of the curve."""
    lifelines = pytest.importorskip("lifelines", reason="lifelines is not installed")
    utils = pytest.importorskip("lifelines.utils", reason="lifelines is not installed")
    random = Random(5)
    sets = [
        [Seen(min(need, cap), need <= cap) for need, cap in _needs_and_caps(random, runs=random.randint(200, 900))]
        for _ in range(examples(25, 200))
    ]
    for target in (0.5, 0.9):
        for seen, row in zip(sets, advice(tmp_path, sets, target), strict=True):
            fitter = lifelines.KaplanMeierFitter()
            fitter.fit([one.tokens for one in seen], [one.ended for one in seen])
            mark = 1 - target + 1e-12
            band = fitter.confidence_interval_
            ends = [utils.qth_survival_times(mark, band[[name]]) for name in band.columns]
            theirs = [fitter.percentile(mark), *map(float, ends)]
            ours = [row["advice_tokens"], row["low_tokens"], row["high_tokens"]]
            assert [math.inf if value is None else value for value in ours] == theirs


def _needs_and_caps(random: Random, *, runs: int) -> Iterator[tuple[int, int]]:
    for _ in range(runs):
        yield math.ceil(random.lognormvariate(5.6, 0.8)), random.choice([256, 512, 1024, 10**6])


def test_the_band_holds_the_truth_as_often_as_it_says(tmp_path: Path) -> None:
    """Nineteen times of twenty, of many small fleets (a binomial's room left)."""
    random = Random(2)
    rounds, held = examples(400, 4000), 0
    sets = [
        [Seen(min(need, cap), need <= cap) for need, cap in _needs_and_caps(random, runs=400)] for _ in range(rounds)
    ]
    truth = math.exp(5.6 + 0.8 * 1.2815515655446004)
    for row in advice(tmp_path, sets, 0.9):
        held += row["low_tokens"] <= math.ceil(truth) and (row["high_tokens"] or math.inf) >= truth
    assert 0.92 <= held / rounds <= 0.98


# -- a fleet -----------------------------------------------------------------------------------------------------------

#: The whole of it where there is time.
RUNS: Final = 100_000 if NIGHTLY else 10_000
ESTIMABLE: Final = ("support", "extract", "coder", "reason", "house")
FLEET: Final = fleets.make(RUNS, seed=1)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = str(tmp_path_factory.mktemp("fleet") / "recorder.db")
    with Store.open(path, create=True) as store:
        fleets.fill(store, FLEET)
    with contextlib.closing(queries.connect(path)) as connected:
        yield connected


def counted(runs: Sequence[fleets.Made]) -> tuple[list[fleets.Made], list[fleets.Made]]:
    """The runs that tell a need: of a request that was asked again the one that went furthest. And the runaways."""
    told = [run for run in runs if run.known]
    later = {run.again: run for run in told if run.again is not None and not run.runaway}
    again = {run.number for run in told if run.number in later and later[run.number].output >= run.output}
    return [run for run in told if not run.runaway and run.number not in again], [run for run in told if run.runaway]


def by_app(connection: duckdb.DuckDBPyConnection, question: str, **options: Any) -> list[dict[str, Any]]:
    return list(ask(connection, find(question), Scope(by="tag:app"), **options))


@pytest.mark.parametrize("target", [0.95, 0.99])
def test_the_advice_is_near_what_the_fleet_needs(connection: duckdb.DuckDBPyConnection, target: float) -> None:
    rows = {row["slice"]: row for row in by_app(connection, "B5", given={"target": target})}
    for app in ESTIMABLE:
        truth, row = FLEET.need(target, app), rows[app]
        assert row["low_tokens"] <= truth
        assert row["high_tokens"] is None or truth <= row["high_tokens"]
        if NIGHTLY:
            assert row["advice_tokens"] == pytest.approx(truth, rel=0.02)
    support, truth = rows["support"], FLEET.need(target, "support")
    assert support["advice_tokens"] == pytest.approx(truth, rel=0.02 if NIGHTLY else 0.06)
    assert support["naive_tokens"] < 0.8 * truth, "a plain percentile of the same runs"


def test_what_cannot_be_known_is_not_advised(connection: duckdb.DuckDBPyConnection) -> None:
    row = next(row for row in by_app(connection, "B5") if row["slice"] == "short")
    runs = [run for run in FLEET.of("short") if run.known]
    assert (row["advice_tokens"], row["low_tokens"], row["high_tokens"]) == (None, None, None)
    known = max(run.output for run in runs if run.outcome == "completed" and run.output < 256)
    assert row["known_tokens"] == known
    assert row["why"] == f"the tail is censored: {math.floor(1000 * row['known_share']) / 10} % is known up to {known}"


def test_each_run_of_the_fleet_counts_as_what_it_is(connection: duckdb.DuckDBPyConnection) -> None:
    for row in by_app(connection, "B5"):
        runs = FLEET.of(row["slice"])
        over = [run for run in runs if run.known]
        telling, runaways = counted(runs)
        ended = [one for one in telling if one.outcome in {"completed", "tool_wait"} and one.output != one.cap]
        assert row["runaway_runs"] == len(runaways)
        assert row["starved_runs"] == sum(run.starved for run in telling)
        assert row["retried_runs"] == len(over) - len(telling) - len(runaways)
        assert (row["runs"], row["ended_runs"], row["censored_runs"]) == (
            len(telling),
            len(ended),
            len(telling) - len(ended),
        )
        cut = sum(run.weight for run in telling if run.outcome == "truncated_output")
        assert row["cut_share"] == pytest.approx(cut / sum(run.weight for run in telling))


def test_how_the_runs_of_a_fleet_ended_is_exact(connection: duckdb.DuckDBPyConnection) -> None:
    expected = Counter((run.app.name, run.outcome) for run in FLEET.runs)
    found: Counter[tuple[str, str]] = Counter()
    for row in by_app(connection, "T1"):
        found[row["slice"], row["outcome"]] += row["runs"]
    assert found == expected


def test_how_often_caps_were_hit_is_exact(connection: duckdb.DuckDBPyConnection) -> None:
    hits: defaultdict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for run in FLEET.runs:
        done = run.known or run.outcome in {"completed", "truncated_output"}
        if run.cap and done:
            hits[run.app.name, "output", run.cap][0] += 1
            hits[run.app.name, "output", run.cap][1] += run.outcome == "truncated_output" or run.output >= run.cap
        if run.prompt_cap and done:
            hits[run.app.name, "prompt", run.prompt_cap][0] += 1
            hits[run.app.name, "prompt", run.prompt_cap][1] += run.prompt >= run.prompt_cap
    found = {
        (row["slice"], row["cap_kind"], row["cap_tokens"]): [row["runs"], row["hits"]]
        for row in by_app(connection, "B4")
    }
    assert found == dict(hits)


@pytest.mark.parametrize("cap", [256, 700, 1024])
def test_what_another_cap_would_have_done_is_exact(connection: duckdb.DuckDBPyConnection, cap: int) -> None:
    """What is certain, unknown, harmed, saved and wasted; and between the two, what is expected, is near the truth."""
    for row in by_app(connection, "B6", candidates=[cap], prices={}):
        runs = FLEET.of(row["slice"])
        telling, runaways = counted(runs)
        told = [run for run in runs if run.known]
        truncated = [run for run in told if run.outcome == "truncated_output"]
        numbers = {run.number for run in telling}
        ended = {run.number for run in telling if run.outcome in {"completed", "tool_wait"} and run.output != run.cap}
        cut = [run for run in told if run.output > cap or (run.output == cap and run.outcome == "truncated_output")]
        cut_telling = [run for run in cut if run.number in numbers]
        open_ = numbers - ended - {run.number for run in cut}
        assert row["certain_runs"] == len(cut_telling)
        assert row["unknown_runs"] == len(open_)
        assert row["harmed_runs"] == sum(run.number in ended for run in cut)
        assert row["avoided_runs"] == sum(run.output < cap and not run.runaway for run in truncated)
        assert row["runaway_runs"] == len(runaways)
        assert row["saved_tokens"] == sum(max(0, run.output - cap) * run.weight for run in told)
        assert row["wasted_tokens"] == sum(min(run.output, cap) * run.weight for run in cut)
        whole = sum(run.weight for run in telling)
        assert row["certain_share"] == pytest.approx(sum(run.weight for run in cut_telling) / whole)
        if row["expected_share"] is not None:
            needs = FLEET.needs(row["slice"])
            truth = sum(weight for need, weight in needs if need > cap) / sum(weight for _, weight in needs)
            assert row["expected_share"] == pytest.approx(truth, abs=0.015 if NIGHTLY else 0.05)
            assert row["certain_share"] <= row["expected_share"] + 1e-12
            assert row["expected_share"] <= row["at_most_share"] + 1e-12


def test_a_cap_saves_money_only_where_there_is_a_price(connection: duckdb.DuckDBPyConnection) -> None:
    rows = {row["slice"]: row for row in by_app(connection, "B6", candidates=[512], prices={})}
    assert rows["house"]["saved_usd"] is None
    assert rows["house"]["unpriced_runs"] == rows["house"]["runs"]
    saved = sum(max(0, run.output - 512) for run in FLEET.of("support") if run.known)
    assert rows["support"]["saved_usd"] * 1_000_000 == saved * 10  # gpt-4o: 10 USD for a million
