"""The same request has the same key, another has another; a diff names what differs; repeats come in recorded order."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recorder.errors import UsageError
from recorder.match import (
    DEFAULT,
    KEY_VERSION,
    Claims,
    Difference,
    Repeat,
    Rule,
    canonical,
    claims,
    differences,
    key,
    nearest,
)
from recorder.match.diff import shortened
from recorder.recording import Recording, Request, uuid7
from recorder.redact import REDACTED, clean_url
from tests.needs import ROOT, examples

JSON = "application/json"
# Trees take longer to make than other examples: so many stay below the timeout of one test.
trees = settings(max_examples=examples(33, 3_000))
URL = "https://api.openai.com/v1/threads/runs"


def request(
    body: Any = b"", *, url: str = URL, method: str = "POST", content_type: str | None = JSON, **headers: str
) -> Request:
    """A request; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kept = [] if content_type is None else [("Content-Type", content_type)]
    kept += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request(method, url, tuple(kept), data, len(data))


def recording(of: Request, **fields: Any) -> Recording:
    return Recording(
        recording_id=uuid7(), started_at=0, writer=uuid7(), dialect="raw", origin="https://x", request=of, **fields
    )


def diff(wanted: Any, stored: Any, rule: Rule = DEFAULT) -> list[str]:
    """The differences of two bodies, as text."""
    return [str(one) for one in differences(request(wanted), request(stored), rule)]


# -- JSON, as a model ----------------------------------------------------------------------------------------------

# A value as its source means it: scalars by source, strings by characters, members in order with duplicates.
Value: TypeAlias = "tuple[str, Any]"

NUMBERS = ["0", "-0", "1", "1.0", "1.00", "10", "1e1", "1E1", "1e+1", "0.1", "1" * 40, "-12.5e-3", "1e400"]
SCALARS = [*NUMBERS, "true", "false", "null", "NaN", "Infinity", "-Infinity"]
characters = st.sampled_from('ab"\\/\n\x7f\u00e9\ud83d\ude00\U0001f600') | st.characters()
strings = st.text(characters, max_size=6).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
values: st.SearchStrategy[Value] = st.recursive(
    st.tuples(st.just("scalar"), st.sampled_from(SCALARS)) | st.tuples(st.just("string"), strings),
    lambda inner: (
        st.tuples(st.just("array"), st.lists(inner, max_size=4))
        | st.tuples(st.just("object"), st.lists(st.tuples(strings, inner), max_size=4))
    ),
    max_leaves=12,
)


def meaning(value: Value) -> Any:
    """What two sources must share to be the same: objects by name, duplicates in order."""
    kind, content = value
    if kind == "array":
        return kind, [meaning(item) for item in content]
    if kind == "object":
        members: dict[str, list[Any]] = {}
        for name, item in content:
            members.setdefault(name, []).append(meaning(item))
        return kind, members
    return value


def source(value: Value, rng: random.Random | None = None) -> str:
    """A JSON source of the value; with `rng` spaced, escaped and ordered at random."""
    kind, content = value

    def space() -> str:
        return rng.choice(["", " ", "\n", "\t\r"]) if rng else ""

    if kind == "scalar":
        return space() + str(content) + space()
    if kind == "string":
        return space() + quoted(content, rng) + space()
    if kind == "array":
        return space() + "[" + (",".join(source(item, rng) for item in content) or space()) + "]" + space()
    members = shuffled(content, rng) if rng else content
    pairs = (f"{space()}{quoted(name, rng)}{space()}:{source(item, rng)}" for name, item in members)
    return space() + "{" + (",".join(pairs) or space()) + "}" + space()


def shuffled(members: list[tuple[str, Value]], rng: random.Random) -> list[tuple[str, Value]]:
    """Another order of the members, in which those of one name keep theirs."""
    order = [name for name, _ in members]
    rng.shuffle(order)
    waiting: dict[str, list[Value]] = {}
    for name, item in members:
        waiting.setdefault(name, []).append(item)
    return [(name, waiting[name].pop(0)) for name in order]


def quoted(text: str, rng: random.Random | None) -> str:
    """A JSON string of the text; with `rng` each character escaped in one of the ways it may be."""
    if rng is None:
        return json.dumps(text)
    return '"' + "".join(rng.choice(spellings(char)) for char in text) + '"'


def spellings(char: str) -> list[str]:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    found = [json.dumps(char)[1:-1], "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))]
    if char >= " " and char not in '"\\' and not 0xD800 <= ord(char) < 0xE000:
        found.append(char)
    return [*found, "\\/"] if char == "/" else found


@given(values, st.integers())
@trees
def test_key_order_spacing_and_escapes_do_not_matter(value: Value, seed: int) -> None:
    one, other = source(value).encode(), source(value, random.Random(seed)).encode()
    assert canonical(one, JSON) == canonical(other, JSON)
    assert canonical(one, JSON).startswith(b"json:")
    assert key(request(one)) == key(request(other))
    assert differences(request(one), request(other)) == []


@given(values, values)
@trees
def test_two_bodies_share_canonical_bytes_only_if_they_mean_the_same(one: Value, other: Value) -> None:
    same = meaning(one) == meaning(other)
    ours, theirs = source(one).encode(), source(other).encode()
    assert (canonical(ours, JSON) == canonical(theirs, JSON)) is same
    assert (key(request(ours)) == key(request(theirs))) is same
    assert (differences(request(ours), request(theirs)) == []) is same


@given(values, st.data())
@trees
def test_any_changed_scalar_changes_the_key(value: Value, data: st.DataObject) -> None:
    """A needle put anywhere into a value: another needle, another key."""
    one, other = data.draw(st.lists(st.sampled_from(SCALARS), min_size=2, max_size=2, unique=True))
    text = source(("object", [("x", value), ("needle", ("array", [value, ("scalar", "@")]))]))
    place = text.rindex("@")
    ours, theirs = (f"{text[:place]}{needle}{text[place + 1 :]}".encode() for needle in (one, other))
    assert key(request(ours)) != key(request(theirs))
    assert len(differences(request(ours), request(theirs))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"temperature":1}', b'{"temperature":1.0}'),
        (b'{"temperature":0.7}', b'{"temperature":0.70}'),
        (b'{"temperature":0.7}', b'{"temperature":0.8}'),
        (b'{"a":"a"}', b'{"a":"b"}'),
        (b'{"a":"1"}', b'{"a":1}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":null}', b'{"a":false}'),
        (b"[1,2]", b"[2,1]"),
        (b"[[1],2]", b"[1,[2]]"),
        (b'{"a":1,"a":2}', b'{"a":2,"a":1}'),
        (b'{"a":1,"a":1}', b'{"a":1}'),
        (b'"\\ud83d"', b'"\\ude00"'),
        (b'"\\u0000"', b'""'),
        (b"NaN", b'"NaN"'),
        (b"Infinity", b"-Infinity"),
        (b"1e2", b"1E2"),
        (b"9" * 5000, b"9" * 4999 + b"8"),
        (b"[]", b"{}"),
        (b"{}", b""),
        (b"", b"null"),
    ],
)
def test_bodies_that_differ(one: bytes, other: bytes) -> None:
    assert canonical(one, JSON) != canonical(other, JSON)
    assert differences(request(one), request(other)) != []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b' { "b" : 2 ,\r\n"a":1}\t'),
        (b'"\\u00e9"', '"\u00e9"'.encode()),
        (b'"\\ud83d\\ude00"', '"\U0001f600"'.encode()),
        (b'"\\/"', b'"/"'),
        (b'"\x7f"', b'"\\u007f"'),
        (b'{"\\u0061":1}', b'{"a":1}'),
    ],
)
def test_bodies_that_mean_the_same(one: bytes, other: bytes) -> None:
    assert canonical(one, JSON) == canonical(other, JSON)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b"{,}",
        b"{1:2}",
        b"[}",
        b"{]",
        b"]",
        b"[1",
        b'{"a":1',
        b"1 2",
        b"[]]",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"--1",
        b"1e",
        b"tru",
        b"nan",
        b"'a'",
        b'"a',
        b'"\\x"',
        b'"\\u12"',
        b'"a\nb"',
        b'"\xff"',
        b'"\xed\xa0\xbd"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"{}\x00",
        b"\xd9\xa1",
    ],
)
def test_what_is_no_json_counts_by_its_exact_bytes(body: bytes) -> None:
    """It says JSON and is none: it is not refused, and a space more makes another."""
    assert canonical(body, JSON) == b"bytes:%d:%b" % (len(body), body)
    assert canonical(body + b" ", JSON) != canonical(body, JSON)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_any_nesting_is_read(opening: bytes, closing: bytes) -> None:
    """100,000 levels: neither the parser nor the comparison recurses."""

    def nested(core: bytes, levels: int) -> bytes:
        return opening * levels + core + closing * levels

    assert canonical(nested(b"1", 100_000), JSON).startswith(b"json:")
    assert canonical(nested(b"1", 2_000), JSON) == canonical(nested(b" 1 ", 2_000), JSON)
    assert key(request(nested(b"1", 2_000))) != key(request(nested(b"2", 2_000)))
    (found,) = differences(request(nested(b"1", 2_000)), request(nested(b"2", 2_000)))
    assert found.path.startswith("body")


def test_the_depth_of_the_caller_does_not_change_a_key() -> None:
    """A recursive parser would give up earlier for a caller that is deep in its own recursion."""
    deep = request(b"[" * 300 + b"]" * 300)

    def at(depth: int) -> bytes:
        return key(deep) if depth == 0 else at(depth - 1)

    assert at(700) == key(deep)


@given(
    st.binary(max_size=40), st.binary(max_size=40), st.sampled_from([JSON, None, "text/plain", "multipart/form-data"])
)
def test_any_bytes_have_a_canonical_form_of_their_own(one: bytes, other: bytes, content_type: str | None) -> None:
    assume(one != other)
    ours, theirs = canonical(one, content_type), canonical(other, content_type)
    assert ours != theirs or ours.startswith(b"json:")


# -- other bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", b"json:"),
        ("Application/JSON; charset=utf-8", b"json:"),
        ("application/vnd.api+json", b"json:"),
        ("text/json", b"json:"),
        (None, b"json:"),
        ("", b"json:"),
        ("text/plain", b"bytes:"),
        ("application/x-www-form-urlencoded", b"bytes:"),
        ("application/jsonl", b"bytes:"),
        ("multipart/form-data; boundary=x", b"bytes:"),
        ("multipart/form-data", b"bytes:"),
    ],
)
def test_the_content_type_says_how_a_body_is_read(content_type: str | None, form: bytes) -> None:
    assert canonical(b'{"a": 1}', content_type).startswith(form)


def multipart(boundary: str, *parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """A multipart body and its content type; a part is its header block and its content."""
    delimiter = f"--{boundary}".encode()
    body = b"".join(
        delimiter + b"\r\n" + head.encode() + b"\r\n" * (2 if head else 1) + content + b"\r\n"
        for head, content in parts
    )
    return body + delimiter + b"--\r\n", f"multipart/form-data; boundary={boundary}"


FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain'
PURPOSE = 'Content-Disposition: form-data; name="purpose"'


def test_the_boundary_and_the_spelling_of_part_headers_do_not_matter() -> None:
    parts = [(PURPOSE, b"assistants"), (FILE, b"\x00\xff\r\n--a")]
    spelled = [
        (PURPOSE.upper().replace("PURPOSE", "purpose").replace("FORM-DATA; NAME", "form-data; name"), b"assistants")
    ]
    assert spelled[0][0] != PURPOSE
    expected = canonical(*multipart("a1b2", *parts))
    assert expected.startswith(b"multipart:")
    assert canonical(*multipart("other", *parts)) == expected
    assert canonical(*multipart("other", *spelled, parts[1])) == expected
    body, content_type = multipart("q", *parts)
    assert canonical(body, content_type.replace("boundary=q", 'charset=utf-8; Boundary="q"')) == expected
    assert canonical(body.removesuffix(b"\r\n"), content_type) == expected


@pytest.mark.parametrize(
    "parts",
    [
        [(PURPOSE, b"fine-tune"), (FILE, b"text")],
        [(PURPOSE, b"assistants"), (FILE, b"texts")],
        [(PURPOSE, b"assistants"), (FILE.replace("a.txt", "b.txt"), b"text")],
        [(PURPOSE, b"assistants"), (FILE.replace("text/plain", "text/html"), b"text")],
        [(PURPOSE, b"assistants"), (FILE.partition("\r\n")[0], b"text")],
        [(PURPOSE.replace("purpose", "purposes"), b"assistants"), (FILE, b"text")],
        [(FILE, b"text"), (PURPOSE, b"assistants")],
        [(PURPOSE, b"assistants")],
        [(PURPOSE, b"assistants"), (FILE, b"text"), (FILE, b"text")],
        [(PURPOSE, b"assistants"), (FILE, b"text"), ("", b"")],
        [(PURPOSE, b"assistants\r\n"), (FILE, b"text")],
    ],
)
def test_any_change_of_a_part_matters(parts: list[tuple[str, bytes]]) -> None:
    ours = multipart("x", (PURPOSE, b"assistants"), (FILE, b"text"))
    theirs = multipart("x", *parts)
    assert canonical(*theirs).startswith(b"multipart:")
    assert canonical(*ours) != canonical(*theirs)
    assert differences(request(ours[0], content_type=ours[1]), request(theirs[0], content_type=theirs[1])) != []


@pytest.mark.parametrize(
    "body",
    [
        b"--x--\r\n",
        b"preamble\r\n--x\r\n\r\na\r\n--x--\r\n",
        b"--x\r\n\r\na\r\n--x--\r\nepilogue",
        b"--x\r\n\r\na\r\n--x",
        b"--x\r\n\r\na\r\n--xy--\r\n",
        b"--x \r\n\r\na\r\n--x--\r\n",
        b"--x\r\nA: b\r\n--x--\r\n",
        b"--x\r\nno colon\r\n\r\na\r\n--x--\r\n",
        b"--x\r\nA: b\r\n folded: c\r\n\r\na\r\n--x--\r\n",
        b"--x\n\na\n--x--\n",
    ],
)
def test_what_is_no_multipart_counts_by_its_exact_bytes(body: bytes) -> None:
    assert canonical(body, "multipart/form-data; boundary=x") == b"bytes:%d:%b" % (len(body), body)


def test_a_boundary_that_no_body_can_have_is_no_boundary() -> None:
    assert canonical(b"--x--", "multipart/form-data; boundary=\u20ac").startswith(b"bytes:")


contents = st.lists(st.tuples(st.sampled_from([PURPOSE, FILE, ""]), st.binary(max_size=8)), min_size=1, max_size=4)


@given(contents, contents)
def test_two_multipart_bodies_share_canonical_bytes_only_if_their_parts_are_the_same(
    one: list[tuple[str, bytes]], other: list[tuple[str, bytes]]
) -> None:
    ours, theirs = multipart("b1" * 20, *one), multipart("b2" * 20, *other)
    assert (canonical(*ours) == canonical(*theirs)) is (one == other)


# -- the key -------------------------------------------------------------------------------------------------------


def test_a_key_is_32_bytes_and_pinned() -> None:
    """If this fails, stored keys no longer match: give KEY_VERSION another number, or undo the change."""
    asked = request({"model": "gpt-4o", "temperature": 1.0}, url=f"{URL}?b=2&a=1&key=secret")
    assert KEY_VERSION == 1
    assert key(asked).hex() == "f209bc86bb0bb24098461772666433bb285762a9492d9033f6206f5ec163f04b"
    assert (
        key(asked, Rule(("body.model", "query.a"), ("content-type",))).hex()
        == "a57dae517ead02c8942a85c83fecb85d30818308fed59a0fda0a5cc1359cd359"
    )


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_a_key_is_the_same_in_any_process(seed: str) -> None:
    """Whatever PYTHONHASHSEED."""
    code = (
        "import json, sys; from recorder.match import *; from recorder.recording import Request;"
        "body = json.dumps({name: name for name in 'gfedcba'}).encode();"
        "asked = Request('POST', 'https://h/p?c=1&b=2&a=3', (('A', '1'), ('B', '2')), body, len(body));"
        "rule = Rule(('body.a', 'body.b', 'query.c'), ('b', 'a'));"
        "print(key(asked, rule).hex(), rule.to_text())"
    )
    here = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run([sys.executable, "-c", code], env=here, capture_output=True, text=True, check=True).stdout
    body = json.dumps({name: name for name in "abcdefg"}).encode()
    asked = Request("POST", "http://other/p?b=2&a=3", (("b", "2"), ("a", "1")), body, len(body))
    rule = Rule(("body.b", "query.c", "body.a"), ("A", "B"))
    assert printed.split() == [key(asked, rule).hex(), rule.to_text()]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1/threads/runs?a=1&b=2",
        "http://127.0.0.1:8080/v1/threads/runs?a=1&b=2",
        "https://user:pass@api.openai.com/v1/threads/runs?a=1&b=2",
        "/v1/threads/runs?a=1&b=2",
        "https://api.openai.com/v1/threads/runs?b=2&a=1",
        "https://api.openai.com/v1/threads/runs?b=2&a=1#fragment",
        "https://api.openai.com/v1/threads/runs?&b=2&&a=1&",
        "https://api.openai.com/v1/threads/runs?%62=2&a=%31",
        "https://api.openai.com/v1/thread%73/runs?b=2&a=1",
        "https://api.openai.com/v1/threads/runs?b=2&a=1&key=rotated",
        "https://api.openai.com/v1/threads/runs?b=2&api_key=x&a=1&X-Amz-Signature=y",
    ],
)
def test_origin_credentials_fragment_and_order_of_the_query_do_not_count(url: str) -> None:
    assert key(request({}, url=url)) == key(request({}, url=f"{URL}?a=1&b=2"))


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"{URL}?a=1",
        f"{URL}?a=1&b=3",
        f"{URL}?a=1&b=2&c=3",
        f"{URL}?a=1&b=2&b=2",
        f"{URL}?a=1&b=2&page_token=x",
        f"{URL}?a=1&b=2&api-version=2024",
        f"{URL}?a=1;b=2",
        f"{URL}/?a=1&b=2",
        "https://api.openai.com/v1/threads%2Fruns?a=1&b=2",
        "https://api.openai.com/v1/Threads/runs?a=1&b=2",
    ],
)
def test_path_and_query_count(url: str) -> None:
    ours, theirs = request({}, url=url), request({}, url=f"{URL}?a=1&b=2")
    assert key(ours) != key(theirs)
    assert differences(ours, theirs) != []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("?a=1&a=2", "?a=2&a=1", False),
        ("?a", "?a=", False),
        ("?a=b+c", "?a=b%20c", True),
        ("?a=b+c", "?a=b%2Bc", False),
        ("?a=%ff", "?a=%FF", True),
        ("?a=%ff", "?a=%fe", False),
        ("?include[]=x", "?include%5B%5D=x", True),
        ("?a=\u00e9", "?a=%C3%A9", True),
        ("?", "", True),
    ],
)
def test_the_query_counts_as_it_is_decoded(one: str, other: str, same: bool) -> None:
    assert (key(request({}, url=URL + one)) == key(request({}, url=URL + other))) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h", "https://h/", True),
        ("https://h?a=1", "https://h/?a=1", True),
        ("https://h/%7euser", "https://h/~user", True),
        ("https://h/%2f", "https://h/%2F", True),
        ("https://h/%2f", "https://h//", False),
        ("https://h/\u00e9 x", "https://h/%c3%a9%20x", True),
        ("https://h/\ud800", "https://h/?", False),
        ("https://h/a", "https://h/A", False),
    ],
)
def test_the_path_counts_as_rfc_3986_compares_it(one: str, other: str, same: bool) -> None:
    assert (key(request({}, url=one)) == key(request({}, url=other))) is same


def test_the_method_counts_whatever_its_case() -> None:
    assert key(request({}, method="post")) == key(request({}))
    assert key(request({}, method="GET")) != key(request({}))


def test_headers_count_only_if_they_are_named() -> None:
    rule = Rule(headers=("OpenAI-Beta",))
    one, other, none = (request({}, **headers) for headers in ({"openai_beta": "v1"}, {"OpenAI_Beta": "v2"}, {}))
    assert key(one) == key(other) == key(none)
    assert len({key(asked, rule) for asked in (one, other, none)}) == 3
    assert key(request({}, OPENAI_BETA=" v1 "), rule) == key(one, rule)


def test_a_repeated_header_counts_in_order() -> None:
    rule = Rule(headers=("x-a",))
    one, other = (replace(request({}), headers=(("X-A", x), ("x-a", y))) for x, y in ("12", "21"))
    assert key(one, rule) != key(other, rule)


def test_a_named_content_type_counts_without_its_boundary() -> None:
    rule = Rule(headers=("content-type",))
    one, other = (multipart(boundary, (PURPOSE, b"x")) for boundary in ("a", "b"))
    ours, theirs = (request(body, content_type=content_type) for body, content_type in (one, other))
    assert key(ours, rule) == key(theirs, rule)
    assert key(request(b"x", content_type="text/plain"), rule) != key(request(b"x", content_type="text/html"), rule)


def test_the_body_counts_unless_it_is_ignored_as_a_whole() -> None:
    assert key(request({"a": 1})) != key(request({"a": 2}))
    assert key(request({"a": 1}), Rule(("body",))) == key(request(b"\xff", content_type=None), Rule(("body",)))


def test_a_body_that_was_not_kept_has_its_size_and_digest() -> None:
    gone = Request("POST", URL, (), None, 40_000_000, b"\x01" * 32)
    assert key(gone) == key(replace(gone, url="http://other/v1/threads/runs"))
    assert len({key(gone), key(replace(gone, body_sha256=b"\x02" * 32)), key(replace(gone, body_sha256=None))}) == 3
    (found,) = differences(request({}), gone)
    assert found.path == "body"
    assert (found.stored or "").startswith("not kept (40,000,000 bytes")


@given(
    st.text(max_size=20),
    st.text(max_size=40),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=30))),
    st.binary(max_size=30),
)
def test_a_key_never_raises(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> None:
    asked = Request(method, url, (*headers, ("content-type", "multipart/mixed; boundary=-")), body, len(body))
    assert len(key(asked)) == 32
    assert differences(asked, asked) == []


@pytest.mark.parametrize("query", ["key=a&b=1", "api_key=a&b=1&sig=c", "b=1&X-Amz-Signature=q"])
def test_a_url_matches_before_and_after_redaction(query: str) -> None:
    assert key(request({}, url=clean_url(f"{URL}?{query}"))) == key(request({}, url=f"{URL}?{query}"))


# -- rules ---------------------------------------------------------------------------------------------------------

BODY = {
    "metadata": {"session_id": "s1", "user.name": "u", "0": "zero"},
    "messages": [{"id": "m1", "content": "a"}, {"id": "m2", "content": "b"}],
    "model": "m",
}


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("body.metadata", {**BODY, "metadata": {"other": 1}}),
        ("body.metadata", {name: BODY[name] for name in ("messages", "model")}),
        ("body.metadata.session_id", {**BODY, "metadata": {**BODY["metadata"], "session_id": "s2"}}),  # type: ignore[dict-item]
        ('body.metadata["user.name"]', {**BODY, "metadata": {**BODY["metadata"], "user.name": "v"}}),  # type: ignore[dict-item]
        ('body["metadata"]["\\u0030"]', {**BODY, "metadata": {**BODY["metadata"], "0": "null"}}),  # type: ignore[dict-item]
        ("body.metadata[*]", {**BODY, "metadata": {}}),
        ("body.messages[*].id", {**BODY, "messages": [{"id": 1, "content": "a"}, {"content": "b"}]}),
        ("body.messages[1]", {**BODY, "messages": [{"id": "m1", "content": "a"}, "anything"]}),
        ("body.messages[*]", {**BODY, "messages": []}),
        ("body[*][*].id", {**BODY, "messages": [{"id": "x", "content": "a"}, {"id": "y", "content": "b"}]}),
        ("body[*]", {}),
        ("body", []),
    ],
)
def test_what_a_path_names_does_not_count(path: str, changed: Any) -> None:
    rule = Rule((path,))
    assert key(request(BODY), rule) == key(request(changed), rule)
    assert key(request(BODY)) != key(request(changed))
    assert diff(BODY, changed, rule) == []


@pytest.mark.parametrize(
    "path",
    [
        "body.absent",
        "body.model.deeper",
        "body.model[0]",
        "body.model[*]",
        "body.messages[7]",
        "body.messages.id",
        "body.messages[2][*].x",
        "body.metadata[0]",
        "query.absent",
        "query[0]",
    ],
)
def test_a_path_that_names_nothing_takes_nothing(path: str) -> None:
    assert key(request(BODY, url=f"{URL}?a=1"), Rule((path,))) == key(request(BODY, url=f"{URL}?a=1"))


def test_query_values_can_be_ignored() -> None:
    one, other = request({}, url=f"{URL}?seed=1&x[]=1&x[]=2"), request({}, url=f"{URL}?seed=2&x[]=3")
    assert key(one, Rule(("query.seed", 'query["x[]"]'))) == key(other, Rule(("query.seed", 'query["x[]"]')))
    assert key(one, Rule(("query",))) == key(other, Rule(("query",)))
    assert key(one, Rule(("query.seed",))) != key(other, Rule(("query.seed",)))


def test_indexes_count_the_items_as_they_were_sent() -> None:
    """Taking one item out does not move the next one under the next path."""
    rule = Rule(("body[0]", "body[1]"))
    assert key(request([1, 2, 3]), rule) == key(request([8, 9, 3]), rule)
    assert key(request([1, 2, 3]), rule) != key(request([1, 2, 4]), rule)


def test_every_duplicate_of_a_name_is_ignored() -> None:
    assert key(request(b'{"a":1,"a":2,"b":3}'), Rule(("body.a",))) == key(request(b'{"b":3}'))


def test_paths_reach_into_the_parts_of_multipart() -> None:
    one, other = (multipart("x", (PURPOSE, b"p"), (FILE, text)) for text in (b"1", b"2"))
    ours, theirs = (request(body, content_type=content_type) for body, content_type in (one, other))
    assert key(ours, Rule(("body[1].content",))) == key(theirs, Rule(("body[1].content",)))
    assert key(ours, Rule(("body[0].content",))) != key(theirs, Rule(("body[0].content",)))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", 1),
        ("metadata.session_id", 1),
        ("headers.x", 1),
        ("bod", 1),
        ("Body.x", 1),
        ("bodyguard", 5),
        ("body.", 5),
        ("body..a", 5),
        ("body.a.", 7),
        ("body.a b", 7),
        ("body.*", 5),
        ("body[", 5),
        ("body[]", 5),
        ("body[-1]", 5),
        ("body[a]", 5),
        ("body['a']", 5),
        ('body["a]', 5),
        ('body["\\x"]', 5),
        ("body[0]a", 8),
        ("query[1", 6),
        ("/body/a", 1),
        ("$.body", 1),
        ("body[99999999999999999999]", 5),
    ],
)
def test_a_path_of_another_form_is_refused_with_its_place_and_the_right_form(path: str, place: int) -> None:
    with pytest.raises(UsageError, match=f"at character {place}: write body or query, then") as caught:
        Rule((path,))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "x\n", "\u00e9"])
def test_a_header_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no header name"):
        Rule(headers=(name,))


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie"])
def test_a_header_that_carries_credentials_never_enters_a_key(name: str) -> None:
    with pytest.raises(UsageError, match="carries credentials"):
        Rule(headers=(name,))


def test_a_rule_survives_its_text() -> None:
    rule = Rule(("query.b", "body.a", "body.a"), ("X-B", "x-a", "x-b"))
    assert (rule.ignore, rule.headers) == (("body.a", "query.b"), ("x-a", "x-b"))
    assert Rule.from_text(rule.to_text()) == rule
    assert Rule.from_text(DEFAULT.to_text()) == DEFAULT
    assert rule == Rule(("body.a", "query.b"), ("x-a", "x-b"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "{}", '{"key":1,"ignore":3,"headers":[]}', '{"key":1,"ignore":[]}'),
        *('{"key":1,"ignore":[1],"headers":[]}', '{"key":1,"ignore":[],"headers":[null]}'),
        *('{"key":1,"ignore":[],"headers":[],"normalise":[["ids"]]}', "[" * 100_000),
    ],
    ids=lambda text: text[:40],
)
def test_a_damaged_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="damaged"):
        Rule.from_text(text)


def test_a_rule_of_a_later_version_is_told_apart() -> None:
    with pytest.raises(UsageError, match=r"of version 2, this is 1: upgrade recorder"):
        Rule.from_text('{"key":2,"ignore":[],"headers":[]}')


# -- differences ---------------------------------------------------------------------------------------------------


def test_differences_are_named_field_by_field() -> None:
    ours = request(
        {"model": "gpt-4o", "temperature": 1, "messages": [{"role": "user", "content": "Hi"}], "new": None},
        url=f"{URL}?limit=1&x[]=1",
        X_A="1",
    )
    theirs = request(
        {"model": "gpt-4o", "temperature": 0.7, "messages": [{"role": "user", "content": "Ho"}], "stream": True},
        url="http://h/v1/runs?limit=2",
        method="PUT",
    )
    assert [str(one) for one in differences(ours, theirs, Rule(headers=("x-a",)))] == [
        'method: wanted "POST", stored "PUT"',
        'path: wanted "/v1/threads/runs", stored "/v1/runs"',
        'query.limit: wanted "1", stored "2"',
        'query["x[]"]: wanted "1", stored absent',
        'headers.x-a: wanted ["1"], stored absent',
        'body.messages[0].content: wanted "Hi", stored "Ho"',
        "body.new: wanted null, stored absent",
        "body.temperature: wanted 1, stored 0.7",
        "body.stream: wanted absent, stored true",
    ]


def test_an_absent_side_is_none() -> None:
    assert differences(request({"a": 1}), request({})) == [Difference("body.a", "1", None)]
    assert differences(request({}), request({"a": 1})) == [Difference("body.a", None, "1")]


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"),
    [
        ([1, 2, 3], [1, 3], ["body[1]: wanted 2, stored absent"]),
        ([1, 3], [1, 2, 3], ["body[1]: wanted absent, stored 2"]),
        ([0, 1, 2], [1, 2], ["body[0]: wanted 0, stored absent"]),
        ([1, 2], [1, 2, 3], ["body[2]: wanted absent, stored 3"]),
        ([1, 1], [1], ["body[1]: wanted 1, stored absent"]),
        ([], [1], ["body[0]: wanted absent, stored 1"]),
        ([2, 1], [1, 2], ["body[0]: wanted 2, stored 1", "body[1]: wanted 1, stored 2"]),
        ([1, 8, 9, 4], [1, 7, 4], ["body[1]: wanted 8, stored 7", "body[2]: wanted 9, stored absent"]),
        ({"a": [1]}, {"a": {"0": 1}}, ['body.a: wanted [1], stored {"0":1}']),
        ({"a b": 1, "c.d": 2}, {}, ['body["a b"]: wanted 1, stored absent', 'body["c.d"]: wanted 2, stored absent']),
        ({"\u202e": 1}, {}, ['body["\\u202e"]: wanted 1, stored absent']),
        ("a\x1b[31m\u202e", "b", ['body: wanted "a\\u001b[31m\\u202e", stored "b"']),
    ],
)
def test_a_difference_is_small_where_the_change_is(wanted: Any, stored: Any, expected: list[str]) -> None:
    assert diff(wanted, stored) == expected


def test_duplicates_are_compared_in_order() -> None:
    found = differences(request(b'{"a":1,"a":2}'), request(b'{"a":1,"a":3,"a":4}'))
    assert [str(one) for one in found] == ["body.a: wanted 2, stored 3", "body.a: wanted absent, stored 4"]


def test_a_long_text_is_shown_where_it_begins_to_differ() -> None:
    (found,) = differences(request("x" * 500 + "here" + "y" * 500), request("x" * 500 + "there" + "y" * 500))
    assert found.wanted == "\u2026" + "x" * 20 + "here" + "y" * 56 + "\u2026"
    assert found.stored == "\u2026" + "x" * 20 + "there" + "y" * 55 + "\u2026"


@pytest.mark.parametrize(
    ("wanted", "stored", "expected"),
    [
        (
            b"\x00" * 17 + b"\x01" * 1187,
            b"\x00" * 17 + b"\x02" * 1187,
            "body: wanted 1,204 bytes, stored 1,204 bytes, different from offset 17",
        ),
        (b"\x00" * 1204, b"\x00" * 1190, "body: wanted 1,204 bytes, stored 1,190 bytes"),
        (b"seed=1", b"seed=2", 'body: wanted "seed=1", stored "seed=2"'),
        (b"a\nb", b"a", 'body: wanted 3 bytes, stored "a"'),
        (b"\xff", b"a", 'body: wanted 1 bytes, stored "a"'),
        (b"", b"a", 'body: wanted "", stored "a"'),
    ],
)
def test_bytes_are_shown_if_they_are_a_short_text(wanted: bytes, stored: bytes, expected: str) -> None:
    ours, theirs = (request(body, content_type="text/plain") for body in (wanted, stored))
    assert [str(one) for one in differences(ours, theirs)] == [expected]


def test_a_json_body_against_another_form() -> None:
    (found,) = differences(request({"a": 1}), request(b"a=1", content_type="application/x-www-form-urlencoded"))
    assert str(found) == 'body: wanted {"a":1}, stored "a=1"'


def test_parts_are_compared_part_by_part() -> None:
    one = multipart("x", (PURPOSE, b"assistants"), (FILE, b"\x00" * 200))
    other = multipart("y", (PURPOSE, b"batch"), (FILE.replace("a.txt", "b.txt"), b"\x00" * 199 + b"\x01"), ("", b"z"))
    disposition = 'form-data; name="file"; filename="a.txt"'
    other_disposition = disposition.replace("a.txt", "b.txt")
    found = differences(request(one[0], content_type=one[1]), request(other[0], content_type=other[1]))
    assert [str(each) for each in found] == [
        'body[0].content: wanted "assistants", stored "batch"',
        f"body[1].content-disposition: wanted {json.dumps(disposition)}, stored {json.dumps(other_disposition)}",
        "body[1].content: wanted 200 bytes, stored 200 bytes, different from offset 199",
        'body[2]: wanted absent, stored {"content":"z"}',
    ]


CANARY = "cAnArY-7f3e91"


@pytest.mark.parametrize(
    ("wanted", "stored"),
    [
        ({"api_key": CANARY}, {"api_key": "other"}),
        ({"api_key": CANARY}, {}),
        ({}, {"tools": [{"type": "mcp", "authorization": CANARY, "headers": {"Authorization": CANARY}}]}),
        ({"a": {"b": {"client_secret": {"value": CANARY}}}}, {"a": {"b": {"client_secret": {"value": 1}}}}),
        ({"a": {"password": CANARY}}, {"a": 1}),
        ({"prompt": f"my key is sk-proj-{CANARY}0123456789abcdef"}, {"prompt": "x"}),
        ([f"Bearer {CANARY}0123456789"], []),
        (b"grant=1&client_secret=" + CANARY.encode(), b"grant=2"),
        ({f"Bearer {CANARY}0123456789": 1}, {}),
    ],
)
def test_a_difference_never_shows_a_credential(wanted: Any, stored: Any) -> None:
    content_type = "application/x-www-form-urlencoded" if isinstance(wanted, bytes) else JSON
    ours, theirs = request(wanted, content_type=content_type), request(stored, content_type=content_type)
    for one, other in ((ours, theirs), (theirs, ours)):
        found = differences(one, other)
        assert found
        assert REDACTED in str(found)
        assert CANARY not in str(found)


def test_a_difference_never_shows_a_part_that_is_a_credential() -> None:
    one, other = (multipart("x", (PURPOSE.replace("purpose", "api_key"), text)) for text in (CANARY.encode(), b"1"))
    found = differences(request(one[0], content_type=one[1]), request(other[0], content_type=other[1]))
    assert CANARY not in str(found)
    assert REDACTED in str(found)


def test_credentials_in_the_query_are_no_difference() -> None:
    assert differences(request({}, url=f"{URL}?key={CANARY}"), request({}, url=f"{URL}?key={REDACTED}")) == []


@given(values, values)
@trees
def test_a_difference_is_short_and_safe_to_print(one: Value, other: Value) -> None:
    for each in differences(request(source(one).encode()), request(source(other).encode())):
        for side in filter(None, (each.wanted, each.stored, each.path)):
            assert side.isprintable()
        for side in filter(None, (each.wanted, each.stored)):
            assert len(side.replace("\\u", "").replace("\\x", "").replace("\\U", "")) <= 80 * 8 + 2


spelled = st.sampled_from(["a", "b", "a b", "c[0]", "", "\u00e9", "d.e", '"', "*"])
objects = st.dictionaries(
    spelled,
    st.recursive(
        st.none() | st.integers() | st.lists(st.integers(), max_size=2, min_size=2),
        lambda inner: st.dictionaries(spelled, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)


@given(objects, objects)
@trees
def test_the_path_of_a_difference_is_an_ignore_path(one: Any, other: Any) -> None:
    """Ignoring all that differs makes two requests match, where lists have the same length."""
    rule = Rule(tuple(each.path for each in differences(request(one), request(other))))
    assert key(request(one), rule) == key(request(other), rule)


# -- the nearest ---------------------------------------------------------------------------------------------------


def test_nothing_is_near_where_there_is_nothing() -> None:
    assert nearest(request({}), []) is None


def test_the_nearest_differs_in_the_fewest_fields() -> None:
    far = recording(request({"a": 1, "b": 2, "c": 3}))
    near = recording(request({"a": 1, "b": 2, "c": 9}))
    found = nearest(request({"a": 1, "b": 9, "c": 9}), [far, near, far])
    assert found == (near, [Difference("body.b", "9", "2")])


def test_method_and_path_go_before_the_number_of_fields() -> None:
    elsewhere = recording(request({"a": 1}, url="https://h/other"))
    here = recording(request({"b": 1, "c": 2, "d": 3}))
    other_method = recording(request({"a": 1}, method="PUT"))
    wanted = request({"a": 1})
    for candidates in ([elsewhere, here, other_method], [here, other_method, elsewhere]):
        found = nearest(wanted, candidates)
        assert found is not None
        assert found[0] is here
    only = nearest(wanted, [elsewhere])
    assert only is not None
    assert [one.path for one in only[1]] == ["path"]


def test_of_as_many_fields_the_one_with_less_other_text_is_nearer() -> None:
    wanted = request({"prompt": "The quick brown fox jumps over the lazy dog"})
    other = recording(request({"prompt": "Summarise this article in three short points"}))
    typo = recording(request({"prompt": "The quick brown fax jumps over the lazy dog"}))
    for candidates in ([other, typo], [typo, other]):
        found = nearest(wanted, candidates)
        assert found is not None
        assert found[0] is typo


def test_the_first_of_equals_is_the_nearest() -> None:
    one, other = recording(request({"a": 1})), recording(request({"a": 2}))
    found = nearest(request({"a": 3}), [one, other])
    assert found is not None
    assert found[0] is one


def test_the_nearest_under_another_rule_says_so() -> None:
    rule = Rule(("body.id",))
    stored = recording(request({"id": 1}), match_rule=DEFAULT.to_text())
    found = nearest(request({"id": 2}), [stored], rule)
    assert found is not None
    assert [one.path for one in found[1]] == ["rule"]
    same = nearest(request({"id": 2}), [recording(request({"id": 1}), match_rule=rule.to_text())], rule)
    assert same is not None
    assert same[1] == []


# -- repeats -------------------------------------------------------------------------------------------------------

A, B, C = (UUID(int=number) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("repeat", "after"), [("error", [None, None, None, None]), ("last", [C, C, C, C]), ("cycle", [A, B, C, A])]
)
def test_identical_requests_are_answered_in_recorded_order(repeat: Repeat, after: list[UUID | None]) -> None:
    session = Claims()
    assert [session.claim(b"k", [A, B, C], repeat) for _ in range(7)] == [A, B, C, *after]


def test_claims_of_one_key_leave_another_alone() -> None:
    session = Claims()
    assert [session.claim(b"k", [A]), session.claim(b"l", [B]), session.claim(b"k", [A]), session.claim(b"l", [B])] == [
        A,
        B,
        None,
        None,
    ]


@pytest.mark.parametrize("repeat", ["error", "last", "cycle"])
def test_without_candidates_there_is_no_answer(repeat: Repeat) -> None:
    assert Claims().claim(b"k", [], repeat) is None


def test_a_recording_that_comes_later_is_the_next_answer() -> None:
    """Candidates may grow or shrink between two claims: what was claimed is known by its id, not by a count."""
    session = Claims()
    assert session.claim(b"k", [A]) == A
    assert session.claim(b"k", [A, B]) == B
    assert session.claim(b"k", [B, C]) == C
    assert session.claim(b"k", [B, C], "cycle") == B


def test_reset_starts_again() -> None:
    session = Claims()
    assert session.claim(b"k", [A]) == A
    session.reset()
    assert session.claim(b"k", [A]) == A


def test_an_unknown_word_for_repeats_is_refused() -> None:
    with pytest.raises(UsageError, match="'first' is none of error, last, cycle"):
        Claims().claim(b"k", [A], "first")  # type: ignore[arg-type]


def test_many_threads_never_get_the_same_recording() -> None:
    session, candidates = Claims(), [uuid7() for _ in range(400)]
    start = threading.Barrier(8)

    def take() -> list[UUID | None]:
        start.wait()
        return [session.claim(b"k", candidates) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        taken = [one for part in pool.map(lambda _: take(), range(8)) for one in part]
    assert sorted(taken, key=str) == candidates


def test_a_lock_that_nobody_can_release_is_replaced() -> None:
    """What a forked child does first."""
    with claims._lock:
        claims._renew_lock()
        assert Claims().claim(b"k", [A]) == A


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_can_claim_while_the_parent_held_the_lock() -> None:
    code = (
        "import os; from uuid import UUID; from recorder.match import Claims, claims\n"
        "one = Claims()\n"
        "with claims._lock:\n"
        "    child = os.fork()\n"
        "    if child == 0: os._exit(0 if one.claim(b'k', [UUID(int=1)]) else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=here, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "0\n"


def test_a_text_is_shortened_only_where_it_is_longer() -> None:
    """Dots stand where something is left out, and nowhere else."""
    assert shortened("x" * 80) == "x" * 80
    assert shortened("x" * 81) == "x" * 80 + "…"
    assert shortened("a" * 20 + "b" * 80, 40) == "…" + "b" * 80
    assert shortened("a" * 20 + "b" * 81, 40) == "…" + "b" * 80 + "…"
    assert shortened("a" * 20 + "b" * 81, 20) == "a" * 20 + "b" * 60 + "…"
    assert shortened("x" * 200, 150, None) == "x" * 200
    assert shortened("a\0b", 0, None) == r"a\x00b"
