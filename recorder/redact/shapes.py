"""The shapes of well-known credentials, in texts and in the bytes of bodies.

A shape begins with letters of its own (`sk-`, `AIza`, `eyJ`, `-----BEGIN `), or follows the name of what it is
(`authorization:`, `"password":`). No shape takes in a quotation mark or half of a JSON escape, so what is found in a
JSON string lies wholly inside of it; its beginning may follow an escape, or a percent-encoded byte.

A mask covers what it stands for byte by byte: `[redacted]` and as many stars as it takes, or stars alone where there is
no room. Lengths, and with them frames, chunk edges and JSON, stay what they were.

Every pattern is bounded, or anchored where a run begins, so the search is linear on any text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from .matcher import Matcher

__all__ = ["EDGES", "REDACTED", "SCREEN", "SPELLED", "Found", "cover", "find_shapes", "mask", "unfinished", "words"]

REDACTED: Final = "[redacted]"
_MASK: Final = REDACTED.encode()


class Found(NamedTuple):
    """What a rule of this name found: the bytes from `start` to `end`."""

    start: int
    end: int
    rule: str


def cover(size: int) -> bytes:
    """What stands in place of so many bytes."""
    return _MASK.ljust(size, b"*") if size >= len(_MASK) else b"*" * size


# -- credentials that are known by how they begin --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shape:
    """One of the `prefixes`, then `rest` (a pattern), which consists of `run` (the inside of a character class).

    At least `least` of these characters follow a prefix. `keeps`: the prefix is no part of the credential.
    `cuts`: where tokenizers cut a prefix in two, if not before its last character.
    """

    name: str
    prefixes: tuple[str, ...]
    rest: str
    run: str
    least: int
    keeps: bool = False
    cuts: tuple[int, ...] = (-1,)

    def prefix(self, text: str) -> str:
        """The pattern of a prefix, or of a part of one."""
        escaped = re.escape(text)
        return f"(?i:{escaped})" if self.keeps else escaped


_W: Final = "A-Za-z0-9"
_NUMBERED: Final = "(?=[A-Za-z_-]{0,64}[0-9])"

# Inside a PEM block: its characters, line breaks, and escapes of these (also of a text within a text).
_PEM_RUN: Final = f"{_W}+/=:,.() \r\n\t-"
_PEM_UNIT: Final = rf"(?:[{_PEM_RUN}]|\\{{1,4}}(?:[nrt/]|u00[0-9a-fA-F]{{2}}))"
_PEM_LABEL: Final = r"[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
#: Characters of a PEM block that are looked at; a key of 16,384 bits (RSA) has 12,500.
_PEM_MOST: Final = 20_000

_SHAPES: Final = (
    _Shape(
        "provider_key",  # OpenAI, Anthropic, OpenRouter, xAI, NVIDIA, Perplexity
        ("sk-", "rk-", "pk-", "xai-", "nvapi-", "pplx-"),
        rf"{_NUMBERED}[{_W}_-]{{16,}}",
        f"{_W}_-",
        16,
    ),
    _Shape(
        "provider_key",  # Hugging Face, Groq, Replicate, Fireworks, Stripe
        ("hf_", "gsk_", "r8_", "fw_", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"),
        rf"[{_W}]{{20,}}",
        _W,
        20,
        cuts=(2, -1),
    ),
    _Shape("google_key", ("AIza",), rf"[{_W}_-]{{30,}}", f"{_W}_-", 30, cuts=(2, 3)),
    _Shape("google_token", ("ya29.", "GOCSPX-"), rf"[{_W}_-]{{20,}}", f"{_W}_-", 20),
    _Shape("aws_key_id", ("AKIA", "ASIA"), rf"[A-Z0-9]{{16}}(?![{_W}])", "A-Z0-9", 16, cuts=(1, 2, 3)),
    _Shape("github_token", ("ghp_", "gho_", "ghs_", "ghr_", "ghu_"), rf"[{_W}]{{20,}}", _W, 20, cuts=(2, -1)),
    _Shape("github_token", ("github_pat_",), rf"[{_W}_]{{20,}}", f"{_W}_", 20, cuts=(6, -1)),
    _Shape("gitlab_token", ("glpat-",), rf"[{_W}_-]{{20,}}", f"{_W}_-", 20, cuts=(2, -1)),
    _Shape("npm_token", ("npm_",), rf"[{_W}]{{30,}}", _W, 30, cuts=(2, 3)),
    _Shape(
        "slack_token",
        ("xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-"),
        rf"[{_W}-]{{10,}}",
        f"{_W}-",
        10,
        cuts=(1, -1),
    ),
    _Shape("slack_token", ("xapp-",), rf"[{_W}-]{{10,}}", f"{_W}-", 10),
    _Shape("jwt", ("eyJ",), rf"[{_W}_-]{{8,}}+\.[{_W}_-]{{8,}}+\.[{_W}_-]*", f"{_W}_.-", 8),
    _Shape(
        "bearer",
        ("bearer ",),
        rf"(?=[A-Za-z._~+/-]{{0,64}}[0-9])[{_W}._~+/=-]{{8,}}",
        f"{_W}._~+/=-",
        8,
        keeps=True,
    ),
    _Shape(
        "private_key",
        ("-----BEGIN ",),
        rf"{_PEM_LABEL}(?:(?!-----END ){_PEM_UNIT}){{0,{_PEM_MOST}}}(?:-----END {_PEM_LABEL})?",
        _PEM_RUN,
        11,
        cuts=(5, -1),
    ),
)

# Before a credential stands no letter or digit, unless it is the end of an escape. (A hyphen or an underscore would put
# it in the middle of a run: base64url has them, and what is encrypted must come back as it was.)
_BEFORE: Final = r"(?:(?<![A-Za-z0-9_-])|(?<=\\[bfnrt])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2}))"
# What a backslash makes a line break and the like of.
_ESCAPES: Final = "bfnrtu"
# The same where its first letter would itself be the second half of an escape.
_BEFORE_ESCAPABLE: Final = r"(?:(?<![A-Za-z0-9_\\-])|(?<=\\[bfnrt])|(?<=\\u[0-9a-fA-F]{4})|(?<=%[0-9a-fA-F]{2}))"


def _begins(shape: _Shape, text: str) -> str:
    """The pattern of (a part of) a prefix where a credential may begin."""
    before = _BEFORE_ESCAPABLE if text[0].lower() in _ESCAPES else _BEFORE
    return before + shape.prefix(text)


def _prefixed(shape: _Shape) -> Iterator[str]:
    """A pattern for each prefix; the credential is what is not looked at from behind."""
    for prefix in shape.prefixes:
        if shape.keeps:
            yield rf"{_begins(shape, prefix)} {{0,3}}(?P<@>{shape.rest})"
        else:
            yield f"(?P<@>{_begins(shape, prefix)}{shape.rest})"


# -- credentials that are known by the name before them --------------------------------------------------------------

_NAMED: Final = (
    r"(?:authorization(?:[_-]?token)?|(?:api|account|private|subscription)[_-]?key|access[_-]?(?:key|token)"
    r"|(?:refresh|auth|session)[_-]?token|client[_-]?secret|secret[_-]?(?:access[_-]?)?key|passw(?:or)?d|passphrase)"
)
# Where the name stands in quotation marks, the value does too: a JSON number is no credential, and stays one.
_IS: Final = r"""(?:\\{0,3}["']\s{0,4}[:=]\s{0,4}\\{0,3}["']|\s{0,4}[:=]\s{0,4}\\{0,3}["']?)"""
_SCHEME: Final = r"(?:(?:bearer|basic|token|digest|negotiate|apikey) )?"
_PLAIN: Final = r"""[^\s"'\\,;&<>(){}\[\]]"""
_VALUE: Final = rf"(?![$%*])(?=[A-Za-z_-]{{0,64}}[0-9+/=]){_PLAIN}{{6,}}"

_COOKIE_IS: Final = r"""(?:\\{0,3}["']\s{0,4}:\s{0,4}\\{0,3}["']|:[ ]?)"""
_COOKIE_PART: Final = r"""[^\s"'\\;,]"""
_COOKIE: Final = rf"[A-Za-z0-9_.%-]{{1,64}}={_COOKIE_PART}{{4,}}(?:;[ ]?{_COOKIE_PART}{{1,400}}){{0,50}}"

#: Parameters of URLs that sign them: whoever has such a URL has what it leads to. (Signature Version 2 and 4 of AWS and
#: those like it, Google's V4, shared access signatures of Azure.) What begins in pieces is known by the longer ones.
_LONG_SIGNED: Final = "x-(?:amz|goog)-(?:signature|security-token)"
_SIGNED: Final = f"(?:{_LONG_SIGNED}|signature|sig)"
_SIGNED_IS: Final = "(?:=|%3[dD])"
_SIGNED_BEFORE: Final = r"(?:(?<=[?&;])|(?<=u0026)|(?<=%26)|(?<=%3[fF]))"
_SIGNATURE: Final = rf"(?=[A-Za-z_.~-]{{0,64}}[0-9%+/])[{_W}%+/=_.~-]{{16,}}"

#: User and password of a URL, but for those that stand for one.
_USER_RUN: Final = f"{_W}._~%!$&*+,;=-"
_BEHIND_COLON: Final = r"""[^\s/@:"'\\<>{}$*?#\[\]]"""
_STAND_IN: Final = r"(?i:(?:your[_-]?)?(?:pass(?:word|wd|phrase)?|pwd|secret|token|changeme|x{3,}|\.{3}))@"
_USER: Final = rf"(?P<@>[{_USER_RUN}]{{0,64}}:(?!{_STAND_IN}){_BEHIND_COLON}{{3,128}})@(?=[{_W}\[])"
_BEFORE_USER: Final = "://"

_NAMES: Final = (
    ("signed_url", rf"(?i:{_SIGNED_BEFORE}{_SIGNED}{_SIGNED_IS})(?P<@>{_SIGNATURE})"),
    ("named", rf"(?i:(?<![A-Za-z]){_NAMED}{_IS}{_SCHEME})(?P<@>{_VALUE})"),
    ("named", rf"(?i:(?<=[A-Za-z0-9][_-]){_NAMED}{_IS}{_SCHEME})(?P<@>{_VALUE})"),
    ("named", rf"(?i:authorization{_IS}basic )(?P<@>(?=[a-z0-9+/]+[A-Z])[{_W}+/]{{8,}}={{0,2}}(?![{_W}_]))"),
    ("cookie", rf"(?i:(?<![A-Za-z0-9_])(?:set-)?cookie{_COOKIE_IS})(?P<@>{_COOKIE})"),
)

# -- searching -------------------------------------------------------------------------------------------------------


class _Search(NamedTuple):
    """Looks where a prefix stands, which is much faster than a pattern that looks everywhere."""

    rule: str
    prefix: bytes
    any_case: bool
    pattern: re.Pattern[bytes]


@cache
def _searches() -> tuple[_Search, ...]:
    return tuple(
        _Search(shape.name, prefix.encode(), shape.keeps, re.compile(pattern.replace("@", "value").encode()))
        for shape in _SHAPES
        for prefix, pattern in zip(shape.prefixes, _prefixed(shape), strict=True)
    )


#: How far the beginning and the end of a name are from the part of it that is searched.
_BEFORE_PART: Final = 16
_BEHIND_PART: Final = 32


@cache
def _name_parts() -> re.Pattern[bytes]:
    return re.compile(rb"uthorization|key|token|secret|passw|passphrase|cookie|sig(?:nature)?(?:=|%3d)")


@cache
def _may_be_open() -> re.Pattern[bytes]:
    return re.compile(_name_parts().pattern + b"|signature|" + _BEFORE_USER.encode())


@cache
def _name() -> re.Pattern[bytes]:
    return re.compile(rf"(?i:{_NAMED}|(?:set-)?cookie|{_SIGNED})(?=[\\\"'\s:=%])".encode())


@cache
def _names() -> tuple[tuple[str, re.Pattern[bytes]], ...]:
    return tuple((rule, re.compile(pattern.replace("@", "value").encode())) for rule, pattern in _NAMES)


@cache
def _user() -> re.Pattern[bytes]:
    return re.compile((_BEFORE_USER + _USER.replace("@>", "value>", 1)).encode())


@cache
def _text() -> re.Pattern[str]:
    """In messages the scheme goes with the credential."""
    return re.compile(
        "|".join(
            rf"{_begins(shape, prefix)}{' {0,3}' if shape.keeps else ''}{shape.rest}"
            for shape in _SHAPES
            for prefix in shape.prefixes
        )
    )


@cache
def _may_be_masked() -> Matcher:
    return Matcher(_prefixed_screen())


#: Escapes in which JSON writers spell what credentials consist of: `\/` (PHP), `\u002B` (.NET). All backslashes
#: belong to it, so that none is left over before a mask; a text within a text has several.
_SPELLED: Final = r"(?:2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])"
_ESCAPED: Final = re.compile(rf"\\++(?:/|u00(?=2[bBfF]|3[dD]|7[eE]|{_SPELLED})(?P<code>..))".encode())


def find_shapes(data: bytes) -> list[Found]:
    """What has the shape of a credential, in order and without overlaps."""
    if b"\\/" not in data and b"\\u00" not in data:
        return _find(data)
    return _find_spelled(data)


def _find_spelled(data: bytes) -> list[Found]:
    """The same where characters are escaped: looked for in the text that is meant, found in the one that is there."""
    parts: list[bytes] = []
    ends, beyond = [0], [0]  # from this place of the text on, so many bytes are not in it
    done = size = 0
    for escaped in _ESCAPED.finditer(data):
        character = bytes([int(escaped["code"], 16)]) if escaped["code"] else b"/"
        parts += [data[done : escaped.start()], character]
        size += escaped.start() - done + 1
        done = escaped.end()
        ends.append(size)
        beyond.append(done - size)

    def place(at: int) -> int:
        return at + beyond[bisect_right(ends, at) - 1]

    finds = _find(b"".join([*parts, data[done:]]))
    return [Found(place(found.start), place(found.end), found.rule) for found in finds]


def _find(data: bytes) -> list[Found]:
    lower = data.lower()
    found: list[Found] = []
    for start, end in _spans(data):
        found += _find_prefixed(data, lower, start, end)
        found += _find_named(data, lower, start, end)
        found += _find_users(data, start, end)
    kept: list[Found] = []
    for each in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or each.start >= kept[-1].end:
            kept.append(each)
    return kept


#: A long text is looked through window by window, so that only those with something in them are searched for each
#: prefix; and how far beyond its window the beginning of a credential may reach.
_WINDOW: Final = 1 << 16
_BEYOND: Final = 512


@cache
def _holds() -> Matcher:
    return Matcher(SCREEN)


def _spans(data: bytes) -> Iterator[tuple[int, int]]:
    """The windows in which credentials may begin."""
    if len(data) <= 2 * _WINDOW:
        yield 0, len(data)
        return
    for start in range(0, len(data), _WINDOW):
        if _holds()(data[start : start + _WINDOW + _BEYOND]):
            yield start, min(start + _WINDOW, len(data))


def _find_prefixed(data: bytes, lower: bytes, start: int, end: int) -> Iterator[Found]:
    """What begins within the window with letters of its own."""
    for rule, prefix, any_case, pattern in _searches():
        text, last = lower if any_case else data, end + len(prefix) - 1
        at = text.find(prefix, start, last)
        while at >= 0:
            match = pattern.match(data, at)
            if match is not None:
                yield Found(*match.span("value"), rule)
            at = text.find(prefix, at + 1 if match is None else match.end(), last)


def _find_named(data: bytes, lower: bytes, start: int, end: int) -> Iterator[Found]:
    """What stands behind the name of a credential. Only where a part of such a name is, a pattern is tried."""
    tried = 0
    for part in _name_parts().finditer(lower, start, end + _BEHIND_PART):
        begin = max(tried, part.start() - _BEFORE_PART)
        name = _name().search(data, begin, part.end() + _BEHIND_PART)
        if name is None:
            continue
        for rule, pattern in _names():
            match = pattern.match(data, name.start())
            if match is not None:
                tried = match.end()
                yield Found(*match.span("value"), rule)
                break


def _find_users(data: bytes, start: int, end: int) -> Iterator[Found]:
    """Users and passwords of URLs."""
    before = _BEFORE_USER.encode()
    at = data.find(before, start, end + len(before) - 1)
    while at >= 0:
        match = _user().match(data, at)
        if match is not None:
            yield Found(*match.span("value"), "url_password")
        at = data.find(before, at + 1, end + len(before) - 1)


def mask(text: str, instead: str = REDACTED) -> str:
    """The text with everything that has the shape of a well-known credential replaced by `[redacted]`."""
    return _text().sub(instead, text) if _may_be_masked()(text) else text


# -- credentials that come in pieces ---------------------------------------------------------------------------------


@cache
def _begun() -> tuple[_Search, ...]:
    """For each prefix what may become a credential when more text follows."""
    return tuple(
        _Search(
            shape.name,
            prefix.encode(),
            shape.keeps,
            re.compile(rf"{_begins(shape, prefix)}{' *' if shape.keeps else ''}[{shape.run}]*\Z".encode()),
        )
        for shape in _SHAPES
        for prefix in shape.prefixes
    )


@cache
def _parts() -> tuple[bytes, ...]:
    """Beginnings of prefixes, the longest first. They are looked for in lower case."""
    prefixes = [prefix.lower().encode() for shape in _SHAPES for prefix in shape.prefixes]
    return tuple(sorted({each[:length] for each in prefixes for length in range(1, len(each))}, key=len, reverse=True))


@cache
def _before(*, escapable: bool) -> re.Pattern[bytes]:
    return re.compile((_BEFORE_ESCAPABLE if escapable else _BEFORE).encode())


#: A parameter that signs, or user information, as far as it has come.
_SIGNED_OPEN: Final = rf"(?i:{_LONG_SIGNED}{_SIGNED_IS}?|(?:signature|sig){_SIGNED_IS})"
_USER_OPEN: Final = rf"{_BEFORE_USER}[{_USER_RUN}]{{0,64}}(?::{_BEHIND_COLON}{{0,128}}@?)?"


@cache
def _named_and_open() -> re.Pattern[bytes]:
    name = rf"""(?i:(?<![A-Za-z])(?:{_NAMED}|cookie)[\\"'\s:=]{{0,12}}{_SCHEME})"""
    return re.compile(rf"(?:{name}|{_SIGNED_OPEN}){_PLAIN}{{0,4096}}\Z|{_USER_OPEN}\Z".encode())


@cache
def _unfinished_block() -> re.Pattern[bytes]:
    return re.compile(rf"-----BEGIN {_PEM_UNIT}{{0,{_PEM_MOST}}}\\{{0,4}}\Z".encode())


#: What no credential has within it, but for a PEM block.
_ENDS: Final = (b" ", b'"', b"'", b"\n")
#: What stands before the last run of a text, of a name and a scheme.
_BACK: Final = 64
#: Longer runs are no credentials.
_LONGEST: Final = 4096


def unfinished(data: bytes) -> int | None:
    """Where a credential may begin that the text breaks off in; None where it does in none."""
    block = data.rfind(b"-----BEGIN ", max(0, len(data) - _PEM_MOST - _LONGEST))
    if block >= 0 and _unfinished_block().match(data, block):
        return block
    run = max(data.rfind(end, max(0, len(data) - _LONGEST)) for end in _ENDS)
    start = max(0, run - _BACK, len(data) - _LONGEST)
    return min(_open(data, data.lower(), start), default=None)


def _open(data: bytes, lower: bytes, start: int) -> Iterator[int]:
    """From where on what may be open at the end of the text."""
    if lower.endswith(_parts()):
        for part in _parts():
            at = len(data) - len(part)
            if lower.endswith(part) and _before(escapable=part[:1].decode() in _ESCAPES).match(data, at):
                yield at
                break
    for _, prefix, any_case, pattern in _begun():
        text = lower if any_case else data
        at = text.find(prefix, start)
        while at >= 0:
            if pattern.match(data, at):
                yield at
                break
            at = text.find(prefix, at + 1)
    if _may_be_open().search(lower, start) and (named := _named_and_open().search(data, start)):
        yield named.start()


# -- the screen: a quick look in linear time, by the syntax that RE2 and Rust's `regex` share -----------------------


def _prefixed_screen() -> str:
    return "|".join(
        rf"{shape.prefix(prefix)} *[{_rust(shape.run)}]{{{shape.least}}}"
        for shape in _SHAPES
        for prefix in shape.prefixes
    )


def _screen() -> str:
    """Whatever holds a credential matches this, or SPELLED."""
    named = rf"""(?i:{_NAMED}|cookie)\\{{0,3}}["']?\s{{0,4}}[:=]|(?i:{_SIGNED}){_SIGNED_IS}"""
    user = rf":(?:\\{{0,4}}/){{2}}[{_USER_RUN}]{{0,64}}:{_BEHIND_COLON}{{3,128}}@"
    return f"{_prefixed_screen()}|{named}|{user}"


def _edges() -> str:
    """JSON strings that end with what may be a credential's beginning, or begin with what may be the rest of one."""
    tails, heads = [], []
    for shape in _SHAPES:
        run, blanks = _rust(shape.run), " *" if shape.keeps else ""
        tails += [shape.prefix(tail) for prefix in shape.prefixes for tail in _tails(shape, prefix)]
        tails += [rf"{shape.prefix(prefix)}{blanks}[{run}]*" for prefix in shape.prefixes]
        for head in (head for prefix in shape.prefixes for head in _heads(shape, prefix)):
            heads += [rf'{shape.prefix(head)}["{run}]', *(f'{head[:length]}"' for length in range(2, len(head)))]
    before = r"(?:^|[^A-Za-z0-9_-]|\\[bfnrt]|\\u[0-9a-fA-F]{4})"
    named = rf"""(?i:{_NAMED}|cookie)[\\"'\s:=]{{0,12}}(?i:{_SCHEME}){_rust(_PLAIN)}*"""
    url = rf"(?:{_SIGNED_OPEN}{_rust(_PLAIN)}*|{_USER_OPEN})"
    return rf'{before}(?:{"|".join(tails)}|{named})"|{url}"|"(?:{"|".join(heads)})'


#: Beginnings of prefixes that are words.
_WORDS: Final = frozenset({"AI", "AS"})


def _tails(shape: _Shape, prefix: str) -> list[str]:
    """What a cut prefix leaves at the end of one piece, unless that says too little."""
    return [tail for cut in shape.cuts if len(tail := prefix[:cut]) > 1 and tail not in _WORDS]


def _heads(shape: _Shape, prefix: str) -> list[str]:
    """What a cut prefix leaves at the beginning of the next piece, where the end of the first says too little."""
    return [prefix[cut:] for cut in shape.cuts if 0 < cut < 3 and (cut == 1 or prefix[:cut] in _WORDS)]


def words() -> Iterator[str]:
    """Whatever SCREEN and EDGES match, but for the names, holds one of these."""
    for shape in _SHAPES:
        for prefix in shape.prefixes:
            for form in (prefix, prefix.upper()) if shape.keeps else (prefix,):
                yield form[:3] if form.startswith("xox") else form[-6:]
                for tail in _tails(shape, form):
                    # Many a word ends in two such letters; a piece of text that is a token of its own is what counts.
                    yield from (f'"{tail}"', f' {tail}"') if len(tail) == 2 and tail != "sk" else (f'{tail[-5:]}"',)
                yield from ['"' + head[:2] for head in _heads(shape, form)]


def _rust(pattern: str) -> str:
    """The inside of a class, where `-` at its end and `[` need no escape in Python."""
    return pattern.replace("\r", r"\r").replace("\n", r"\n").replace("\t", r"\t")


#: ASCII letters and digits that are escaped without need: one never knows what they spell.
SPELLED: Final = rf"\\u00{_SPELLED}"
SCREEN: Final = _screen()
EDGES: Final = _edges()
