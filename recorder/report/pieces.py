"""What a page is put together from: sections, figures, tables, legends, tiles. It knows nothing of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .markup import Child, Markup, element, fragment

__all__ = [
    "Cell",
    "Column",
    "code",
    "figure",
    "fold",
    "legend",
    "note",
    "section",
    "strong",
    "subsection",
    "table",
    "tile",
]


class Column(NamedTuple):
    """A table's column: its title, whether it holds figures, and what the title means where that is not plain."""

    title: str
    is_number: bool = False
    meaning: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, and the number that it is sorted by."""

    shown: Child
    value: float | None = None


def section(id_: str, title: str, lead: Child, *children: Child) -> Markup:
    return element(
        "section",
        element("h2", title, id=f"{id_}-title"),
        element("p", lead, class_="lead") if lead else None,
        *children,
        id=id_,
        aria_labelledby=f"{id_}-title",
    )


def subsection(title: str, lead: Child, *children: Child, id_: str | None = None) -> Markup:
    return element(
        "div",
        element("h3", title),
        element("p", lead, class_="note") if lead else None,
        *children,
        class_="part",
        id=id_,
    )


def figure(drawing: Markup, caption: Child = None, *more: Child) -> Markup:
    if not drawing:
        return fragment()
    return element("figure", drawing, element("figcaption", caption) if caption else None, *more)


def fold(summary: Child, *children: Child, id_: str | None = None) -> Markup:
    """What is there for who opens it."""
    return element("details", element("summary", summary), *children, id=id_)


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """(class of a colour, what it stands for)"""
    return element(
        "ul",
        (element("li", element("span", class_=f"swatch {colour}"), name) for colour, name in entries),
        class_="legend",
    )


def tile(title: str, figure_: str, words: Child) -> Markup:
    return element(
        "div", element("dt", title), element("dd", element("strong", figure_), element("span", words)), class_="tile"
    )


def note(*children: Child) -> Markup:
    return element("p", *children, class_="note")


def strong(words: str) -> Markup:
    return element("strong", words)


def code(words: str) -> Markup:
    return element("code", words)


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell | Child]], *, class_: str = ""
) -> Markup:
    """A table that scrolls by itself where the page is narrow; its script sorts it by a click on a title."""
    head = element(
        "tr",
        (
            element(
                "th", column.title, scope="col", class_="number" if column.is_number else None, title=column.meaning
            )
            for column in columns
        ),
    )
    body = [element("tr", (_cell(cell, column) for cell, column in zip(row, columns, strict=True))) for row in rows]
    if not body:
        return note("Nothing to show.")
    return element(
        "div",
        element(
            "table", element("caption", caption), element("thead", head), element("tbody", body), class_=class_ or None
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _cell(cell: Cell | Child, column: Column) -> Markup:
    told = cell if isinstance(cell, Cell) else Cell(cell)
    value = None if told.value is None else f"{told.value:.12g}"
    return element("td", told.shown, class_="number" if column.is_number else None, data_value=value)
