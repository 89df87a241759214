"""Whitespace and repetition that run away: found with their onset and length; honest layouts, tables and lists left."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.detect.runaway import ENOUGH, WINDOW, is_loop, repetition, whitespace
from recorder.recording import Spoken
from tests.cost import cost
from tests.spoken import FIRST, STEP_US, spoken, whole

RANDOM = random.Random(7)
WORDS = ["".join(RANDOM.choices(string.ascii_lowercase, k=RANDOM.randint(2, 9))) for _ in range(2000)]


def prose(words: int, seed: int = 1) -> list[str]:
    """Pieces that hardly repeat themselves."""
    return [f"{word} " for word in random.Random(seed).choices(WORDS, k=words)]


# -- whitespace -------------------------------------------------------------------------------------------------------


def test_a_json_mode_runaway_is_told_with_onset_length_and_pieces() -> None:
    """The way OpenAI's JSON mode runs away: a line break and blanks, again and again until the limit."""
    found = whitespace(spoken(['{"answer"', ": ", *[" \n"] * 40]), json=True)
    assert found is not None
    assert (found.at, found.chars, found.pieces, found.to_end) == (10, 81, 40, True)
    assert (found.position, found.elapsed_us) == (FIRST + 1, STEP_US), "it began with the blank behind the colon"
    assert (found.runs, found.all_chars) == (1, 81)


@pytest.mark.parametrize(
    ("pieces", "is_json", "runs"),
    [
        (['{"a":', " " * 64, "1}"], True, 1),
        (['{"a":', " " * 63, "1}"], True, 0),
        (['{"a":1}', " " * 64], True, 1),
        (['{"a": "', " " * 64, '"}'], True, 0),
        (['{"a": "\\"', " " * 64, '"}'], True, 0),
        (['{"a": "\\\\"', " " * 64, "}"], True, 1),
        (['{"a": "', " " * 256, '"}'], True, 1),
        (['{"a":', *[" "] * 20, "1}"], True, 1),
        (['{"a":', *[" "] * 19, "1}"], True, 0),
        (["name", " " * 255, "value"], False, 0),
        (["name", " " * 256, "value"], False, 1),
        (["the end.", "\n" * 64], False, 1),
        (["the end.", "\n" * 63], False, 0),
        (["so ", *["\n"] * 20, "on"], False, 1),
        (["so ", *["\n", ""] * 10, "on"], False, 0),
        (["[1,\n" + " " * 64 + "2]"], True, 1),
        (["[" * 8 + "\n" + " " * 64 + "2"], True, 0),
        (['{"a":', " " * 70, "1,", " " * 80, '"b":2}'], True, 2),
        (['{"a":', "\u3000\xa0" * 32, "1}"], True, 1),
    ],
)
def test_limits_of_whitespace(pieces: list[str], is_json: bool, runs: int) -> None:
    """64 characters outside of JSON's strings or at the end, 256 elsewhere, 20 pieces; a deep line may be indented."""
    found = whitespace(spoken(pieces), json=is_json)
    assert (found.runs if found else 0) == runs


def test_a_text_in_one_piece_has_no_time_and_no_pieces() -> None:
    found = whitespace(whole("{" + "\n" * 100), json=True)
    assert found is not None
    assert (found.position, found.elapsed_us, found.pieces) == (1, None, 0)


def test_deeply_indented_json_is_no_runaway() -> None:
    value: Any = 1
    for level in range(60):
        value = {f"level{level}": [value]}
    text = json.dumps(value, indent=4)
    assert whitespace(whole(text), json=True) is None
    assert whitespace(spoken(list(text)), json=True) is None, "also where each character comes alone"
    assert whitespace(whole(text[: len(text) // 2].rstrip()), json=True) is None


def test_code_that_comes_character_by_character_is_no_runaway() -> None:
    text = "def function(argument):\n" + " " * 40 + "return argument\n" * 3
    assert whitespace(spoken(list(text)), json=False) is None


def test_a_stream_that_sends_words_is_not_taken_for_one_that_sends_characters() -> None:
    found = whitespace(spoken([*prose(10), *[" "] * 20]), json=False)
    assert found is not None
    assert found.pieces == 20


@given(st.lists(st.sampled_from([" ", "\n", "   ", "\t", "a", '"', "{", " b", "c "]), max_size=80), st.booleans())
def test_what_is_told_is_in_the_text(pieces: list[str], is_json: bool) -> None:
    told = spoken(pieces)
    found = whitespace(told, json=is_json)
    if found is None:
        assert not _pieces_in_a_row(pieces) or '"' in pieces or _typed(pieces)
        return
    run = told.text[found.at : found.at + found.chars]
    assert run.isspace()
    assert not told.text[: found.at][-1:].isspace()
    assert not told.text[found.at + found.chars :][:1].isspace()
    assert found.to_end == (found.at + found.chars == len(told.text))
    assert found.chars >= 64 or found.pieces >= 20
    assert found.chars <= found.all_chars <= sum(map(str.isspace, told.text))


def _pieces_in_a_row(pieces: list[str]) -> bool:
    row = best = 0
    for piece in pieces:
        row = row + 1 if piece.isspace() else 0
        best = max(best, row)
    return best >= 20


def _typed(pieces: list[str]) -> bool:
    return all(len(piece) <= 2 or piece.isspace() for piece in pieces)


# -- repetition -------------------------------------------------------------------------------------------------------


def test_a_loop_is_told_with_onset_length_and_period() -> None:
    pieces = [*prose(200), *["I am ", "a loop. "] * 400]
    told = spoken(pieces)
    onset = len("".join(pieces[:200]))
    found = repetition(told)
    assert found is not None
    assert found.period == len("I am a loop. ")
    # The blank before the first round may belong to the last one, as each round ends in one.
    assert onset - 1 <= found.at <= onset
    assert found.to_end
    assert found.chars == len(told.text.rstrip()) - found.at
    assert found.position in (FIRST + 199, FIRST + 200)
    assert found.elapsed_us == STEP_US * (found.position - FIRST)


def test_a_loop_that_changes_a_little_has_no_period() -> None:
    found = repetition(
        spoken(
            [
                *prose(300),
                *[f"{number}. And again, and again, and again, the same as ever it was.\n" for number in range(400)],
            ]
        )
    )
    assert found is not None
    assert found.period is None
    assert found.to_end


@pytest.mark.parametrize(
    "text",
    [
        "ha " * 600,  # shorter than the window
        "".join(prose(3000)),
        json.dumps({"numbers": list(range(3000))}),
        json.dumps([{"id": number, "name": WORDS[number], "on": True} for number in range(300)]),
        "\n".join(f"| {word} | {len(word)} | yes |" for word in WORDS[:400]),
        "[" + "0, " * 2000 + "0]" + "".join(prose(500)),  # a table of zeros in the middle of something
        "".join(prose(50)) + "\n" * 5000,  # whitespace has its own word
        "x" * 100 + " \n" * 5000 + "".join(prose(500)),
    ],
)
def test_honest_texts_are_no_repetition(text: str) -> None:
    assert repetition(whole(text)) is None


def test_a_long_repetition_counts_although_the_text_goes_on() -> None:
    told = whole("".join(prose(700)) + "~" + "no, " * 4000 + "".join(prose(700, 2)))
    found = repetition(told)
    assert found is not None
    assert not found.to_end
    assert found.chars >= ENOUGH
    assert found.at == told.text.index("no, no, no, ")
    assert found.period == 4


@given(st.integers(1, 120), st.integers(0, 5000), st.integers(0, 50))
def test_any_short_period_that_goes_on_to_the_end_is_found_where_it_begins(period: int, before: int, cut: int) -> None:
    block = "".join(random.Random(period).choices(string.ascii_letters, k=period))
    lead = "".join(random.Random(before).choices(string.ascii_letters + " .", k=before))
    text = lead + "~" + block * (6000 // period + 1)
    text = text[: len(text) - cut]
    found = repetition(whole(text))
    assert found is not None
    assert found.period is not None
    assert len(block) % found.period == 0
    assert found.at == len(lead) + 1


def test_other_scripts_repeat_themselves_too() -> None:
    found = repetition(whole("いいえ、そうではありません。" * 300))
    assert found is not None
    assert (found.at, found.period) == (0, 14)


def test_a_window_of_whitespace_or_of_little_repetition_is_no_loop() -> None:
    assert is_loop(b"no, " * (WINDOW // 4))
    assert not is_loop(b" \n" * (WINDOW // 2))
    assert not is_loop("".join(prose(600)).encode()[:WINDOW])


# -- cost -------------------------------------------------------------------------------------------------------------


def _texts(size: int) -> dict[str, Spoken]:
    typed = list(("x" + " " * 30) * size)
    return {
        "rows of blanks, typed": spoken(typed),
        "rows of blanks": spoken(["[", " " * 70, "1,"] * size),
        "deep": spoken(["[\n" + " " * 64] * size),
        "blank pieces": spoken([" ", "\n"] * (20 * size)),
        "loops with breaks": whole(("no, " * 1500 + "".join(prose(300))) * (size // 10)),
        "one loop": whole("no, " * (100 * size)),
    }


@pytest.mark.parametrize("name", sorted(_texts(10)))
@pytest.mark.parametrize(
    "look", [lambda told: whitespace(told, json=True), repetition], ids=["whitespace", "repetition"]
)
def test_work_grows_no_faster_than_the_text(name: str, look: Callable[[Spoken], object]) -> None:
    costs = [cost(partial(look, _texts(100 * 2**power)[name])) for power in range(4)]
    assert all(more <= 2.2 * less + 500 for less, more in pairwise(costs)), costs
