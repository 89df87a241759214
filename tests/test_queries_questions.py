"""The head of a question's file: what it may say, what is refused, and how a question is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorder.errors import NotFound, UsageError
from recorder.queries.questions import USES, Chart, Given, find, questions, read

WHOLE = """\
-- X1 How many runs are there?
-- Counts them,
--
-- all of them.
-- among: over
-- among: model = 'a' OR model = 'b'
-- needs: output_tokens, max_completion_tokens|max_prompt_tokens
-- uses: costs, events
-- given: target DOUBLE = 0.99
-- given: word VARCHAR = 'a = b'
-- chart: bars slice share low high
-- default

-- a remark inside
SELECT slice, count(*) AS runs
FROM asked GROUP BY slice;
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_that_a_head_says_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path, WHOLE))
    assert (found.id, found.name, found.title) == ("X1", "mine", "How many runs are there?")
    assert found.text == "Counts them, all of them."
    assert found.among == "(over) AND (model = 'a' OR model = 'b')"
    assert found.needs == ("output_tokens", "max_completion_tokens|max_prompt_tokens")
    assert found.uses == {"costs", "events"}
    assert found.given == (Given("target", "DOUBLE", "0.99"), Given("word", "VARCHAR", "'a = b'"))
    assert found.chart == Chart("bars", ("slice", "share", "low", "high"))
    assert found.is_default
    assert found.sql == "-- a remark inside\nSELECT slice, count(*) AS runs\nFROM asked GROUP BY slice"


def test_a_head_may_say_next_to_nothing(tmp_path: Path) -> None:
    found = read(written(tmp_path, "-- X2 Why?\nSELECT 1"))
    assert (found.among, found.needs, found.uses, found.given, found.chart) == (None, (), frozenset(), (), None)
    assert not found.is_default


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the first line must be an id and the question"),
        ("SELECT 1", "the first line must be an id and the question"),
        ("-- why?\nSELECT 1", "the first line must be an id and the question"),
        ("-- X1 Why?\n-- uses: magic\nSELECT 1", f"it uses magic; there is {', '.join(sorted(USES))}"),
        ("-- X1 Why?\n-- given: target 0.99\nSELECT 1", "`given` must be a name, a type and a default"),
    ],
)
def test_a_head_that_is_wrong_is_told_of_with_its_file(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as raised:
        read(written(tmp_path, text))
    assert "mine.sql" in str(raised.value)


def test_a_file_that_is_no_text_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_bytes(b"-- X1 \xff\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read(path)


def test_a_question_is_found_by_its_id_its_name_and_its_file(tmp_path: Path) -> None:
    (first, *_) = questions()
    assert find(first.id) == find(first.id.lower()) == find(first.name) == find(first.name.replace("_", "-")) == first
    assert find(str(written(tmp_path, WHOLE))).id == "X1"


def test_what_is_not_there_is_told_with_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"did you mean B1 \(cap_use\)"):
        find("cap_used")
    with pytest.raises(NotFound, match="--list"):
        find("zzzzzzzz")
    with pytest.raises(NotFound, match="no file"):
        find(str(tmp_path / "absent.sql"))


def test_questions_come_in_the_order_of_what_they_are_about() -> None:
    ids = [question.id for question in questions()]
    assert ids == sorted(ids, key=lambda each: ("BTCLDF".index(each[0]), int(each[1:])))
