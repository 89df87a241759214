"""HTML and SVG as nested elements: whatever is no markup yet is escaped, so that no text of a model's becomes any.

It refuses to know what a page says. Markup comes out of `element` alone; a text that goes into it, as a child or as an
attribute's value, is escaped, and characters that reorder or hide text are shown as escapes. There are no `style` and
no `on…` attributes: the page's policy forbids them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["Child", "Markup", "data_block", "element", "fragment", "head", "shown"]

# C0 but for tab and line feed, DEL, C1, the characters that reorder or hide text (Unicode UAX 9, zero-width ones), and
# lone surrogates, which no encoding takes.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_VOID: Final = frozenset({"meta", "br", "hr", "input", "col"})
_FORBIDDEN: Final = re.compile(r"style|on.*")

#: What would end a script, begin a comment, or be a line's end to an old reader of JavaScript.
_IN_SCRIPT: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | Iterable["Child"] | None


def shown(text: str) -> str:
    """The text, with escapes for the characters that nobody would see or that would turn others round."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """One element. `class_` and `for_` lose their underscore, others become hyphens (`aria_label`).

    An attribute that is None or False is left out; one that is True stands without a value. A float is written with one
    digit after the point, which is a tenth of a pixel in a drawing.
    """
    opened = f"<{name}{''.join(map(_attribute, attributes.items()))}>"
    return Markup(opened if name in _VOID else f"{opened}{fragment(*children)}</{name}>")


def fragment(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup("".join(map(_child, children)))


def head(title: str, style: str, script: str | None = None) -> Markup:
    """A page's head, with a policy under which nothing is loaded, and only this style and this script do anything."""
    allowed = [f"style-src '{_digest(style)}'", *([] if script is None else [f"script-src '{_digest(script)}'"])]
    policy = "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )


def _digest(text: str) -> str:
    """As a Content-Security-Policy names an inline element's text (CSP Level 3, 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def data_block(value: Any, *, id_: str) -> Markup:
    """The value as JSON in a script element that is never run."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    inert = _HIDDEN.sub(_unicode, text).translate(_IN_SCRIPT)
    return Markup(f'<script type="application/json" id="{html.escape(id_)}">{inert}</script>')


def _unicode(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return html.escape(shown(str(child)), quote=False)
    return "".join(map(_child, child))


def _attribute(pair: tuple[str, str | float | bool | None]) -> str:
    name, value = pair[0].rstrip("_").replace("_", "-"), pair[1]
    if _FORBIDDEN.fullmatch(name):
        raise ValueError(f"{name} is an attribute that the page's policy forbids")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.1f}".removesuffix(".0")
    return f' {name}="{html.escape(shown(str(value)))}"'
