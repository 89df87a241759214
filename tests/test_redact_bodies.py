"""Payloads as they may be stored: credentials in any context are masked, byte for byte, and nothing else changes."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.errors import UsageError
from recorder.recording import Request
from recorder.redact import DEFAULT, REDACTED, Redactor, hooks, split
from recorder.redact.leaves import leaves
from recorder.redact.screen import breaks_off, may_hold, suspicious
from recorder.redact.shapes import cover, find_shapes
from tests.needs import examples

PEM: Final = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA7+/x9Q==\n" * 20 + "-----END RSA PRIVATE KEY-----"

#: A credential of each shape, and the rule that finds it.
CREDENTIALS: Final = {
    "sk-proj-abcDEF0123456789abcDEF_-x": "provider_key",
    "sk-ant-api03-abcdefghijklmnop0123456789AA": "provider_key",
    "sk-or-v1-0123456789abcdef0123456789abcdef": "provider_key",
    "sk-0123456789abcdefABCDEF0123456789abcdefABCDEF0123": "provider_key",
    "xai-abcdefghijklmnop0123456789": "provider_key",
    "nvapi-abcdefghijklmnop0123456789": "provider_key",
    "pplx-abcdefghijklmnop0123456789": "provider_key",
    "rk-abcdefghijklmnop0123456789": "provider_key",
    "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH": "provider_key",
    "gsk_abcdefghijklmnopqrstuvwxyz0123456789": "provider_key",
    "r8_abcdefghijklmnopqrstuvwxyz0123456789": "provider_key",
    "fw_abcdefghijklmnopqrstuv": "provider_key",
    "sk_live_abcdefghijklmnopqrst": "provider_key",
    "whsec_abcdefghijklmnopqrst": "provider_key",
    "AIzaSyA0123456789abcdefghijklmnopqrstuvw": "google_key",
    "ya29.a0AfH6SMBx0123456789abcdef": "google_token",
    "GOCSPX-abcdefghijklmnopqrstuvwx": "google_token",
    "AKIAIOSFODNN7EXAMPLE": "aws_key_id",
    "ASIAIOSFODNN7EXAMPLE": "aws_key_id",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz": "github_token",
    "github_pat_11ABCDEFG0_abcdefghijklmnop": "github_token",
    "glpat-abcdefghij0123456789": "gitlab_token",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789": "npm_token",
    "xoxb-123456789012-abcdefghij": "slack_token",
    "xapp-1-A0123456789-abcdefghij": "slack_token",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N": "jwt",
    PEM: "private_key",
}

#: A credential behind its name: text, the part of it that is masked.
NAMED: Final = [
    ("Authorization: Bearer 0123456789abcdef", "0123456789abcdef"),
    ("curl -H 'authorization: bearer abc.def-123456'", "abc.def-123456"),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("Proxy-Authorization: Basic dXNlcjpwYXNzdzByZA==", "dXNlcjpwYXNzdzByZA=="),
    ('{"x-api-key": "0123456789abcdef0123456789abcdef"}', "0123456789abcdef0123456789abcdef"),
    ("api-key: 0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
    ("OPENAI_API_KEY=abcdef-0123456789", "abcdef-0123456789"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ('"authorization_token": "abc123def4"', "abc123def4"),
    ("'client_secret': 'abc123def4'", "abc123def4"),
    ('"refreshToken":"1//0abcdefgh"', "1//0abcdefgh"),
    ("password=hunter2", "hunter2"),
    ("Set-Cookie: sid=38afes7a8; Path=/; Secure", "sid=38afes7a8; Path=/; Secure"),
    ("cookie: a=b12345; session=0123456789", "a=b12345; session=0123456789"),
    ("AccountKey=abcdefgh+/0123456789==", "abcdefgh+/0123456789=="),
    ("postgresql://svc:Zr8kq2Lp@db.internal/x", "svc:Zr8kq2Lp"),
    ("redis://:Zr8kq2Lp@10.0.0.5:6379/0", ":Zr8kq2Lp"),
    ("https://x.blob.core.windows.net/c/f.png?sv=2024&sp=r&sig=aB3dEfGh%2FijKlMnOpQrS%3D", "aB3dEfGh%2FijKlMnOpQrS%3D"),
    (
        "https://b.s3.amazonaws.com/k?X-Amz-Signature=0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef",
    ),
    ("https://s.googleapis.com/b?a=1&X-Goog-Signature=0123456789abcdef01234567", "0123456789abcdef01234567"),
    (
        "https://b.s3.amazonaws.com/k?Expires=1&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D",
        "vjbyPxybdZaNmGa%2ByT272YEAiv4%3D",
    ),
    ("X-Amz-Date=2026&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEJ3%2F%2F", "IQoJb3JpZ2luX2VjEJ3%2F%2F"),
    ("/cb?to=https%3A%2F%2Fx.example%2Ff%3Fsig%3DaB3dEfGhijKlMnOpQrStUv0", "aB3dEfGhijKlMnOpQrStUv0"),
]

#: What looks like one, and is none.
HARMLESS: Final = [
    '{"max_tokens": 4096, "max_completion_tokens": 1024, "max_prompt_tokens": 20000, "total_tokens": 12345678901234}',
    '{"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25,"completion_tokens_details":{"a_token":1}}}',
    '{"token": "Hello", "logprob": -0.1, "next_page_token": "abc"}',
    '{"id":"chatcmpl-9f86d081884c7d659a2feaa0c55ad015","system_fingerprint":"fp_44709d6fcb"}',
    '{"id":"msg_01QbXxYzAbCdEfGhIjKlMnOp","run":"run_abc123def456ghi789","call_id":"call_abc123DEF456ghi789JKL012"}',
    '{"password": 123456, "api_key": null, "secret_key": {"type": "string"}, "access_token": true}',
    '{"properties":{"password":{"type":"string","description":"the password"}},"required":["password","api_key"]}',
    'export OPENAI_API_KEY="$OPENAI_API_KEY" # or <your-key>, YOUR_API_KEY, {{api_key}}, os.environ["OPENAI_API_KEY"]',
    "client = OpenAI(api_key=os.environ.get('OPENAI_API_KEY'), password=getpass.getpass())",
    "Authorization: Bearer YOUR_API_KEY, Authorization: Basic authentication, the bearer of this certificate",
    "sk-learn, a risk-assessment-of-the-monkey-model-2, pk-something, hf_transformers_model_configuration_name",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----, ---, -----, eyJ is how base64 of JSON begins",
    "Cookies: chocolate chip. cookie: yes. AKIA, ASIA-Pacific, AIza, ghp_, xoxb-",
    "postgresql://user:password@localhost/db, https://{user}:{pass}@host, http://localhost:8080/@scope, ssh://git@h",
    "https://medium.com/@user:abc@d, http://[::1]:80/, mailto:a@b.example, the sig=abc, a signature: yes, design=1",
    '{"signature":"EqoBCkgIARABGAIiQL8Y0sig0abcdefghijklmnop","type":"thinking","href":"https://h/?signature=YOUR_SIGNATURE"}',
    # Runs of base64url that happen to hold a prefix: what is encrypted must come back as it was.
    '{"encrypted_content":"gAAAAABo0_sk-abcdefghij0123456789-_eyJabcdefghij.x0-AKIAIOSFODNN7EXAMPLEABC_AIza"}',
    '{"data":"' + "aGVsbG8gd29ybGQ+/sk0123456789" * 10 + '"}',
]


def masked(text: str, secret: str) -> str:
    return text.replace(secret, cover(len(secret)).decode())


#: Ways in which a text stands in a payload.
CONTEXTS: Final[dict[str, Callable[[str], str]]] = {
    "alone": lambda text: text,
    "json": lambda text: json.dumps({"n": 1, "text": f"key {text}, ok"}),
    "line": lambda text: json.dumps({"text": f"a\n{text}\nb\t{text}"}),
    "escaped": lambda text: json.dumps({"text": f"<{text}>"}).replace("<", "\\u003c").replace(">", "\\u003E"),
    "nested": lambda text: json.dumps({"arguments": json.dumps({"a": [f"x\n{text}"], "b": f'"{text}"'})}),
    "name": lambda text: json.dumps({text: 1, "max_tokens": 7}),
    "url": lambda text: json.dumps({"url": f"https://example.com/a?to=x%3D{quote(text)}&b=1"}),
    "assigned": lambda text: f"KEY={text}; x\n",
    "unicode": lambda text: json.dumps({"text": f"é{text}ü"}, ensure_ascii=False),
    "broken": lambda text: json.dumps({"text": f"key {text}"})[:-2],
}


def clean(text: str, redactor: Redactor = DEFAULT, place: Any = "response") -> tuple[str, Counter[str]]:
    """The payload as it may be stored, and what was counted."""
    found: Counter[str] = Counter()
    data = redactor.clean(text.encode(), place, found)
    assert len(data) == len(text.encode())
    return data.decode(), found


# -- credentials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "context"),
    # Percent-encoded line breaks end a PEM block.
    [(secret, context) for secret in CREDENTIALS for context in CONTEXTS if (secret, context) != (PEM, "url")],
    ids=lambda text: text[:12],
)
def test_a_credential_is_masked_in_any_context_and_nothing_else_is(secret: str, context: str) -> None:
    """Same length, same JSON but for the mask, counted by its rule, and found again by nobody."""
    payload = CONTEXTS[context](secret)
    inside = {secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1], quote(secret)}
    expected = payload
    for form in sorted(inside, key=len, reverse=True):
        expected = masked(expected, form)
    cleaned, found = clean(payload)
    assert cleaned == expected != payload
    assert set(found) == {CREDENTIALS[secret]}
    assert clean(cleaned) == (cleaned, Counter())
    assert suspicious(payload.encode())
    if context not in ("alone", "assigned", "broken"):
        json.loads(cleaned)


@pytest.mark.parametrize(("text", "secret"), NAMED)
def test_what_stands_behind_the_name_of_a_credential_is_masked(text: str, secret: str) -> None:
    assert clean(text)[0] == masked(text, secret)
    nested = json.dumps({"output": text})
    assert clean(nested)[0] == masked(nested, secret)
    twice = json.dumps({"messages": [{"content": nested}]})
    assert clean(twice)[0] == masked(twice, secret)
    assert suspicious(text.encode())


@pytest.mark.parametrize("spelled", ["\\u0026", "\\\\u0026", "&amp;", "%26"])
def test_a_signature_is_found_however_the_ampersand_is_spelled(spelled: str) -> None:
    """Go and .NET escape it in JSON; HTML and URLs within URLs do it their way."""
    text = '{"url":"https://h/k?a=1' + spelled + 'sig=0123456789abcdef0123%2F"}'
    assert clean(text) == (masked(text, "0123456789abcdef0123%2F"), Counter({"signed_url": 1}))
    assert suspicious(text.encode())


def test_a_password_in_a_url_is_found_where_slashes_are_escaped() -> None:
    text = json.dumps({"dsn": "amqp://svc:Zr8kq2Lp@mq:5672/"}).replace("/", "\\/")
    assert clean(text) == (masked(text, "svc:Zr8kq2Lp"), Counter({"url_password": 1}))
    assert suspicious(text.encode())


@pytest.mark.parametrize("text", HARMLESS)
def test_counts_ids_placeholders_and_encrypted_text_are_not_touched(text: str) -> None:
    assert clean(text) == (text, Counter())
    assert clean(json.dumps({"content": text})) == (json.dumps({"content": text}), Counter())


@pytest.mark.parametrize("letter", "rbn")
def test_half_of_an_escape_is_never_part_of_a_mask(letter: str) -> None:
    """`\\rk-…` is a carriage return and `k-…`; `\\bearer` a backspace and `earer`."""
    rest = {
        "r": "k-abcdefghijklmnop0123456789",
        "b": "earer 0123456789abcdef",
        "n": "pm_abcdefghijklmnopqrstuvwxyz01234",
    }
    text = '{"text":"x\\' + letter + rest[letter] + '"}'
    assert json.loads(clean(text)[0])["text"][1] == {"r": "\r", "b": "\b", "n": "\n"}[letter]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (r'{"t":"\u0073\u006b-proj-abcDEF0123456789abcDEF_-x"}', ""),
        (r'{"t":"a sk\u002Dproj-abcDEF0123456789\u0061bcDEF_-x."}', "."),
        (r'{"t":"{\"k\":\"\\u0073k-proj-abcDEF0123456789abcDEF_-x\"}"}', r"\"}"),
        (r'{"AWS_SECRET_ACCESS_KEY":"wJalrXUtnFEMI\/K7MDENG\/bPxRfiCYEXAMPLEKEY"}', ""),
        (r'{"t":"AccountKey=abcdefgh\u002B0123456789==;x"}', ";x"),
        (r'{"t":"\\\u0073k-proj-abcDEF0123456789abcDEF_-x\\"}', r"\\"),
    ],
)
def test_escapes_that_no_text_needs_hide_nothing(text: str, rest: str) -> None:
    """PHP escapes each slash, .NET each plus; any JSON writer may escape anything. The JSON stays one."""
    cleaned, found = clean(text)
    assert found.total() == 1
    assert suspicious(text.encode())
    assert cleaned.endswith(f'*{rest}"}}')
    assert json.loads(cleaned).keys() == json.loads(text).keys()


@settings(max_examples=examples(66, 5_000))
@given(
    st.lists(
        st.sampled_from(["\\", "\\u0073k-", "\\u002d", "\\/", "\\u003c", *"sk-a1", "0123456789abcdef"]), max_size=30
    )
)
def test_escapes_are_masked_whole_or_not_at_all(parts: list[str]) -> None:
    try:
        json.loads(f'{{"t":"{"".join(parts)}"}}')
    except ValueError:
        return
    cleaned, _ = clean(f'{{"t":"{"".join(parts)}"}}')
    json.loads(cleaned)


@pytest.mark.parametrize(
    "name", ["api-key", "account_key", "private-key", "access_key", "secret-access-key", "access-token"]
)
def test_the_quick_look_knows_names_in_every_spelling(name: str) -> None:
    """What it passes over is never looked at, so it must know whatever is found."""
    words = re.split("[-_]", name)
    for mark in ("", "-", "_"):
        for written in (
            mark.join(words),
            mark.join(words).upper(),
            mark.join(word.capitalize() for word in words),
            mark.join([words[0].upper(), *words[1:]]),
            mark.join([words[0].upper(), *(word.capitalize() for word in words[1:])]),
            mark.join([words[0], *(word.capitalize() for word in words[1:])]),
        ):
            text = f"X-{written}: 0123456789abcdef".encode()
            assert find_shapes(text), written
            assert suspicious(text), written


def test_the_quick_look_passes_over_no_url_that_a_closer_one_stops_at() -> None:
    """A user and a password in it, or what may become them, however the slashes are spelled."""
    begins = ("://", ":\\/\\/", ":\\\\/\\\\/", ":/\\/")
    stopped = 0
    for parts in product(begins, ("", "svc"), ("", ":"), ("", "Zr8q", "/"), ("@", '"', "/", "?", " "), ("", "db", '"')):
        data = "".join(parts).encode()
        closer = may_hold(data) or breaks_off(data)
        assert suspicious(data) == closer, data
        stopped += closer
    assert stopped


def test_a_mask_has_the_length_of_what_it_covers() -> None:
    assert [cover(size) for size in (0, 1, 9, 10, 12)] == [b"", b"*", b"*" * 9, b"[redacted]", b"[redacted]**"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_can_be_cleaned(data: bytes) -> None:
    found: Counter[str] = Counter()
    once = DEFAULT.clean(data, "request", found)
    assert len(once) == len(data)
    assert DEFAULT.clean(once, "request", Counter()) == once
    if not may_hold(data):
        assert find_shapes(data) == []


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


Leaves = list[tuple[tuple[str | int, ...], Any]]


def _leaves_of(value: Any, path: tuple[str | int, ...] = ()) -> Leaves:
    """What holds no others, each with its path; written on its own, from the value."""
    inner: Iterable[tuple[str | int, Any]]
    if isinstance(value, list):
        inner = enumerate(value)
    elif isinstance(value, dict):
        inner = value.items()
    else:
        return [(path, value)]
    return [leaf for step, each in inner for leaf in _leaves_of(each, (*path, step))]


def _leaves_in(data: bytes, start: int = 0) -> Leaves:
    found: Leaves = []
    for leaf in leaves(data, start):
        raw = data[leaf.start : leaf.end]
        assert leaf.is_text == (data[leaf.start - 1 : leaf.start] == b'"')
        found.append((leaf.path, json.loads(b'"%b"' % raw if leaf.is_text else raw)))
    return found


@settings(max_examples=examples(50, 10_000))
@given(JSON, st.booleans(), st.sampled_from([None, 1]), st.integers(0, 1 << 16))
def test_each_value_of_a_json_text_is_found_with_its_path(value: Any, ascii_only: bool, indent: Any, cut: int) -> None:
    """Behind whatever comes before it; and where it is cut off, the values before the cut and the string in it."""
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    whole = _leaves_of(value)
    assert _leaves_in(b"data: " + data, 6) == whole
    part = data[: cut % (len(data) + 1)]
    found = list(leaves(part))
    assert [leaf.path for leaf in found] == [path for path, _ in whole[: len(found)]]
    quotes = re.sub(rb"\\\\.", b"", part).count(b'"')
    if quotes % 2 and len(found) < len(whole) and found:
        assert found[-1].end <= len(part)
    for leaf, (_, expected) in zip(found[:-1], whole, strict=False):
        raw = part[leaf.start : leaf.end]
        assert json.loads(b'"%b"' % raw if leaf.is_text else raw) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":"x","b":"cut of', [(("a",), "x"), (("b",), "cut of")]),
        ('["x", "', [((0,), "x"), ((1,), "")]),
        ('"x" "y"', [((), "x")]),
        ('{"a":["x"]} {"b":1}', [(("a", 0), "x")]),
        ('{"a":"x",["y"],"b":"z"}', [(("a",), "x")]),
        ('["x"}, "y"]', [((0,), "x")]),
        (']["x"]', []),
        ('{"\\u00e9\\n":1}', [(("é\n",), 1)]),
        ('{"\\x":1,"b":2}', [((r"\x",), 1), (("b",), 2)]),
        ("[[],{},[[1]],2]", [((2, 0, 0), 1), ((3,), 2)]),
        ('{"a":{"b":{}},"c":1}', [(("c",), 1)]),
        (r'["a\\\\","b\\\"c","d"]', [((0,), r"a\\"), ((1,), r"b\"c"), ((2,), "d")]),
        ("[" * 200 + '"x"', [((0,) * 200, "x")]),
        ("[" * 201 + '"x"', []),
    ],
)
def test_what_stops_being_json_ends_the_list_of_its_values(text: str, expected: Leaves) -> None:
    assert _leaves_in(text.encode()) == expected


def test_a_name_that_is_no_text_is_a_name_all_the_same() -> None:
    """Its bytes are taken as they are: nothing raises for what a stranger sent."""
    assert [leaf.path for leaf in leaves(b'{"\xff":[1]}')] == [("\xff", 0)]


def _planted(value: Any, secrets: Iterable[str]) -> Any:
    """The same value with a credential in each string."""
    given = iter(secrets)
    if isinstance(value, str):
        return f"{value} {next(given)} {value}"
    if isinstance(value, list):
        return [_planted(each, given) for each in value]
    if isinstance(value, dict):
        return {name: _planted(each, given) for name, each in value.items()}
    return value


def _shape_of(value: Any) -> Any:
    """The value with each string's length in its place."""
    if isinstance(value, str):
        return f"<{len(value)}>"
    if isinstance(value, list):
        return [_shape_of(each) for each in value]
    return {name: _shape_of(each) for name, each in value.items()} if isinstance(value, dict) else value


@settings(max_examples=examples(33, 5_000))
@given(
    JSON,
    st.lists(st.sampled_from([each for each in CREDENTIALS if each != PEM]), min_size=40, max_size=40),
    st.booleans(),
)
def test_json_stays_the_same_but_for_the_texts(value: Any, secrets: list[str], ascii_only: bool) -> None:
    """Names, numbers and lengths of all texts stay; no credential does."""
    planted = _planted(value, secrets)
    cleaned, _ = clean(json.dumps(planted, ensure_ascii=ascii_only).encode("utf-8", "replace").decode())
    assert _shape_of(json.loads(cleaned)) == _shape_of(json.loads(json.dumps(planted).encode("utf-8", "replace")))
    assert not any(secret in cleaned for secret in secrets)


#: What counts tokens or caps them, in any of the protocols.
_COUNTS: Final = (
    *(
        "max_tokens",
        "max_completion_tokens",
        "max_prompt_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "max_tool_calls",
    ),
    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "cached_tokens"),
    *("reasoning_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "promptTokenCount", "token", "key"),
    *("password", "secret_key", "access_token", "Signature", "sig"),
)


@settings(max_examples=examples(50, 10_000))
@given(
    st.recursive(
        st.dictionaries(
            st.sampled_from(_COUNTS), st.integers(-(10**18), 10**18) | st.floats(allow_nan=False), max_size=6
        ),
        lambda inner: (
            st.dictionaries(st.sampled_from(("usage", "truncation_strategy", *_COUNTS)), inner, max_size=3)
            | st.lists(inner, max_size=3)
        ),
        max_leaves=6,
    ),
    st.lists(st.sampled_from([each for each in CREDENTIALS if each != PEM]), max_size=3),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,  ", " :\n")]),
    st.booleans(),
)
def test_no_number_is_ever_touched_and_json_stays_json(
    value: Any, secrets: list[str], separators: tuple[str, str], own: bool
) -> None:
    """Counts and caps of tokens are facts, whatever their names sound like and whatever stands beside them."""
    rules = ["/[0-9]{3,}/", "/token/", "/max/"] if own else []
    text = json.dumps({"a": secrets, "b": value, "c": secrets}, separators=separators)
    said, _ = clean(text, Redactor(rules))
    assert json.loads(said)["b"] == value


@pytest.mark.parametrize(
    "unit", ["sk-", "eyJa.", "eyJ", "-----BEGIN ", "-----BEGIN RSA PRIVATE KEY-----", "bearer ", "\\", '"']
)
@pytest.mark.parametrize("more", ["", "a", "password:", "\\n", "-----END "])
def test_hostile_repetition_is_cleaned_in_linear_time(unit: str, more: str) -> None:
    """300 kB of what could make a pattern backtrack; a quadratic search would run into the test's timeout."""
    text = (unit + more) * (300_000 // len(unit + more))
    clean(text, Redactor(["/x[0-9]+/", "response.**.email"]))


@pytest.mark.parametrize("secret", [each for each in CREDENTIALS if each != PEM] + [text for text, _ in NAMED])
def test_a_long_text_is_masked_wherever_its_windows_end(secret: str) -> None:
    """At each place round the end of a window, among text that holds nothing: as in a short text."""
    size = 1 << 16
    mask, _ = clean(f" {secret} ")
    for at in {size - len(secret) - 2, size - len(secret) // 2, size - 2, size - 1, size, size + 1, 3 * size - 3}:
        text = "word " * (4 * size // 5)
        said, found = clean(text[:at] + f" {secret} " + text[at:])
        assert said == text[:at] + mask + text[at:], at
        assert found.total() >= 1


# -- a user's rules ----------------------------------------------------------------------------------------------------


def test_a_pattern_is_held_against_the_spelled_out_texts_and_never_against_names_and_numbers() -> None:
    redactor = Redactor(["employee: /E[0-9]{6}/", "/jos\u00e9 \u2713 \\S+@example/i"])
    text = '{"E123456":1,"a":"x E123456 y","b":"Jos\\u00e9 \\u2713 a\\u0042@example",'
    text += '"n":[123456,{"c":"\\u00450\\u00312345"}]}'
    cleaned, found = clean(text, redactor)
    value = json.loads(cleaned)
    assert value["E123456"] == 1
    assert value["a"] == "x ******* y"
    assert re.fullmatch(r"\[redacted\]\**", value["b"])
    assert value["n"] == [123456, {"c": "[redacted]*******"}]
    assert found == {"employee": 2, "rule 2": 1}


@settings(max_examples=examples(66, 10_000))
@given(
    JSON,
    st.lists(
        st.sampled_from(
            [
                r"/\bab/",
                r"/b\b/",
                r"/\Ba/",
                "/^a/",
                "/b$/",
                "/[^b]a/",
                "/a.b/",
                r"/\Aa/",
                "/(?P<secret>a)b/",
                "/é/",
                "/A+/i",
            ]
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_the_quick_look_of_a_users_patterns_overlooks_nothing(value: Any, rules: list[str], ascii_only: bool) -> None:
    """Payloads in which plainly nothing matches are not parsed: the same comes out as where each is."""
    text = json.dumps([value, "ab", {"a b": ["b", "aab é", 1]}], ensure_ascii=ascii_only)
    data = text.encode("utf-8", "surrogatepass")
    quick, slow = Redactor(rules), Redactor(rules)
    slow._is_innocent = lambda data: False  # type: ignore[method-assign]
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    assert quick.clean(data, "response", counts[0]) == slow.clean(data, "response", counts[1])
    assert counts[0] == counts[1]
    small = json.dumps({"x": value}).encode()
    assert quick.clean(small, "response", Counter()) == slow.clean(small, "response", Counter())


def test_only_the_group_named_secret_is_masked() -> None:
    cleaned, _ = clean('{"a":"customer Alice said"}', Redactor(["/customer (?P<secret>[A-Z][a-z]+)/"]))
    assert cleaned == '{"a":"customer ***** said"}'


@pytest.mark.parametrize("rule", [r"/\b/", "/account(?: (?P<secret>[0-9]+))?/"])
def test_a_match_of_nothing_masks_nothing(rule: str) -> None:
    redactor = Redactor([rule])
    assert redactor.text("my account") == "my account"
    assert redactor.headers((("user-agent", "my account"),)) == (("user-agent", "my account"),)
    assert clean('{"t":"my account"}', redactor) == ('{"t":"my account"}', Counter())


def test_json_without_a_text_is_no_text() -> None:
    """Names and numbers stay, also where there is nothing else; what only begins like JSON is a text."""
    redactor = Redactor(["/[0-9]{3}|max/"], [lambda text, place: ["max", "100"]])
    for text in ('{"max_tokens":100}', '{"max":{}}', "[[],[100, -1e100]]", "100", "{}"):
        assert clean(text, redactor) == ((text, Counter()) if text != "100" else ("***", Counter({"rule 1": 1})))
    assert clean("{max 100}", redactor)[0] == "{*** ***}"


def test_json_deeper_than_can_be_parsed_is_json() -> None:
    """Its numbers stay."""
    deep = "[" * 100_000 + "111" + "]" * 100_000
    assert clean(deep, Redactor(["/1+/"])) == (deep, Counter())


def test_half_a_character_is_masked_as_it_is_spelled() -> None:
    """A pair of escapes is one character, half of one is one too, which hides nothing of the text that it stands in."""
    text = r'{"a":"x\ud83d\ude00y","b":"\ude00z","c":"\ud83dz\ude00"}'
    cleaned, found = clean(text, Redactor(["emoji: /x.y/", "half: /.z/"]))
    assert cleaned == r'{"a":"[redacted]****","b":"*******","c":"*******\ude00"}'
    assert found == {"emoji": 1, "half": 2}


def test_a_pattern_sees_what_is_no_json_as_one_text() -> None:
    assert clean("mail me: a@b.example", Redactor([r"/\S+@\S+/"]))[0] == "mail me: [redacted]*"
    assert clean("a\\n@b", Redactor(["/n@b/"]))[0] == "a\\***"


def test_a_path_masks_all_values_there_and_below() -> None:
    redactor = Redactor(
        ["body.metadata.email", "body.messages[*].name", "body.user", "response.**.email", 'body["a b"][0]']
    )
    body = {
        "metadata": {"email": "a@b.example", "app": "x"},
        "messages": [{"role": "user", "name": "Alice Smith"}, {"name": "Bob"}],
        "user": {"id": 123456, "vip": True, "age": 42, "tags": ["abc", None]},
        "a b": ["first value", "second"],
        "max_tokens": 100,
    }
    cleaned, found = clean(json.dumps(body), redactor, "request")
    assert json.loads(cleaned) == {
        "metadata": {"email": "[redacted]*", "app": "x"},
        "messages": [{"role": "user", "name": "[redacted]*"}, {"name": "***"}],
        "user": {"id": None, "vip": None, "age": 0, "tags": ["***", None]},
        "a b": ["[redacted]*", "second"],
        "max_tokens": 100,
    }
    assert found == {"body.metadata.email": 1, "body.messages[*].name": 2, "body.user": 4, 'body["a b"][0]': 1}
    answer = '{"run":{"metadata":[{"email":"a@b.example"}]},"usage":{"total_tokens":5}}'
    assert clean(answer, redactor)[0] == answer.replace("a@b.example", "[redacted]*")
    assert clean(answer, redactor, "request")[0] == answer


def test_query_and_headers_are_withheld_by_name() -> None:
    redactor = Redactor(["query.user", "headers.x-account", r"acct: /acct-\d+/"])
    asked = Request("GET", "https://h/v1?user=al&limit=2&a=acct-123", (("X-Account", "al"), ("via", "acct-9")), b"", 0)
    found: Counter[str] = Counter()
    kept = redactor.request(asked, found)
    assert kept.url == f"https://h/v1?user={REDACTED}&limit=2&a={REDACTED}"
    assert kept.headers == (("X-Account", REDACTED), ("via", REDACTED))
    assert found["query.user"] == 1
    assert redactor.request(kept) is kept
    other = Request("GET", "https://h/v1?limit=2&users=al", (("via", "a"),), b"", 0)
    found.clear()
    assert redactor.request(other, found) is other
    assert found == {}


def test_what_a_pattern_masks_outside_of_payloads_is_counted_by_its_rule() -> None:
    """Each time; what only its shape tells is counted as a text."""
    redactor = Redactor([r"acct: /acct-\d+/"])
    found: Counter[str] = Counter()
    assert redactor.text("acct-1, acct-22", found) == f"{REDACTED}, {REDACTED}"
    assert found == {"acct": 2}
    assert redactor.text("sk-proj-abcDEF0123456789abcDEF_-x acct", found).endswith(" acct")
    assert found == {"acct": 2, "text": 1}


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "x",
        "/",
        "//",
        "/a*/",
        "/(/",
        "/(?=a)b/",
        r"/(a)\1/",
        "body",
        "body.",
        "body.**",
        "answer.x",
        "body..x",
        "query",
        "/[/",
    ],
)
def test_a_rule_that_is_none_is_refused_without_being_quoted_where_it_is_a_pattern(rule: str) -> None:
    with pytest.raises(UsageError, match="redact") as raised:
        Redactor(["/ok/", rule])
    assert len(rule) < 3 or not rule.startswith("/(") or rule not in str(raised.value)


def test_a_pattern_that_backtracks_for_ever_is_never_searched_where_it_does_not_match() -> None:
    """The classic (a+)+$ on 100,000 letters; without the linear engine this would not end."""
    redactor = Redactor(["/(a+)+$/"])
    text = json.dumps({"a": "a" * 100_000 + "b"})
    assert clean(text, redactor) == (text, Counter())


def test_rules_add_to_the_shapes() -> None:
    cleaned, found = clean('{"a":"sk-proj-abcDEF0123456789abcDEF E123456"}', Redactor(["/E[0-9]+/"]))
    assert cleaned == '{"a":"[redacted]******************** *******"}'
    assert found == {"provider_key": 1, "rule 1": 1}


def test_what_rules_and_hooks_an_option_holds() -> None:
    def hook(text: str, place: str) -> list[str]:
        return []

    assert split(None) == (None, ())
    assert split("/x/") == (("/x/",), ())
    assert split(hook) == (None, (hook,))
    assert split(["/x/", hook, "body.a"]) == (("/x/", "body.a"), (hook,))
    for wrong in (5, [5], {"a": 1}.values()):
        with pytest.raises(UsageError, match="redact"):
            split(wrong)


# -- hooks -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that answers is waited for: on a busy machine its thread may stand still for longer than a user would."""
    monkeypatch.setattr(hooks, "DEADLINE", 60.0)


def test_a_hook_names_the_texts_that_are_not_stored() -> None:
    seen = []

    def hook(text: str, place: str) -> list[str]:
        seen.append(place)
        return ["Alice", 'O"Brien', "Zo\u00eb", "", "absent"]

    text = json.dumps({"Alice": 'Alice and O"Brien and Zo\u00eb', "n": 1})
    cleaned, found = clean(text, Redactor(hooks=[hook]))
    value = json.loads(cleaned)
    assert "Alice" in value, "the name of a member stays"
    assert not any(name in value["Alice"] for name in ("Alice", "Brien", "Zo\u00eb"))
    assert found == {"hook": 3}
    assert seen == ["response"]


@pytest.mark.parametrize("spelled", [r"Zo\u00EB \/ Bo", r"Zo\u00eb / Bo", r"\u005Ao\u00eb \u002f Bo", "Zo\u00eb / Bo"])
def test_a_text_of_a_hook_is_masked_however_it_is_spelled(spelled: str) -> None:
    """A hook that reads the JSON gives what the JSON spells; encoders spell it in many ways."""

    def hook(text: str, place: str) -> list[str]:
        return [json.loads(text)["who"]]

    cleaned, found = clean(f'{{"who":"{spelled}","n":17}}', Redactor(hooks=[hook]))
    said = json.loads(cleaned)
    assert ("Bo" in said["who"], said["n"], found) == (False, 17, {"hook": 1})


@pytest.mark.parametrize(
    "given", [lambda text: text, lambda text: '"n":4711', lambda text: '"who":"Zo', lambda text: 'Zo","n']
)
def test_a_piece_of_json_that_a_hook_names_withholds_the_payload(given: Callable[[str], str]) -> None:
    text = '{"who":"Zo","n":4711}'
    cleaned, found = clean(text, Redactor(hooks=[lambda text, place: [given(text)]]))
    assert ("4711" in cleaned, "Zo" in cleaned, found) == (False, False, {"withheld": 1})


@pytest.mark.parametrize(
    "hook",
    [
        lambda text, place: 1 / 0,
        lambda text, place: None,
        lambda text, place: text,
        lambda text, place: b"x",
        lambda text, place: [1],
        lambda text: [],
        lambda text, place: (each for each in [text, 1 / 0]),
    ],
)
def test_a_hook_that_fails_withholds_the_payload_and_raises_nothing(
    hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "recorder"):
        cleaned, found = clean('{"secret":"very secret text","n":12345}', Redactor(hooks=[hook]))
    assert json.loads(cleaned)["redacted"].strip("*") == ""
    assert "secret text" not in cleaned
    assert "12345" not in cleaned
    assert found == {"withheld": 1}
    assert "withheld" in caplog.text
    assert "secret text" not in caplog.text
    assert clean("tiny", Redactor(hooks=[hook]))[0] == "****"


def test_a_hook_that_hangs_withholds_what_it_was_asked_and_holds_up_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few times it is not asked any more; it is told of once. Another hook, and other payloads, go on."""
    asked = []
    forever = threading.Event()

    def hook(text: str, place: str) -> list[str]:
        asked.append(text)
        if "hang" in text:
            forever.wait(60)
        return ["Alice"]

    redactor = Redactor(hooks=[hook])
    try:
        with caplog.at_level(logging.WARNING, "recorder"):
            assert clean('{"a":"Alice"}', redactor)[0] == '{"a":"*****"}'
            monkeypatch.setattr(hooks, "DEADLINE", 0.05)
            for number in range(5):
                said, found = clean(json.dumps({"secret text": f"hang {number}"}), redactor)
                assert json.loads(said)["redacted"].strip("*") == ""
                assert found == {"withheld": 1}
        # Its thread may be so late that it is asked when nobody waits for the answer any more.
        until = time.monotonic() + 30
        while len([text for text in asked if "hang" in text]) < 3 and time.monotonic() < until:
            time.sleep(0.002)
        assert len([text for text in asked if "hang" in text]) == 3
        assert clean('{"a":"Alice"}', redactor)[1] == {"withheld": 1}
        assert caplog.text.count("no answer within 0.05 s") == 1
        assert "secret text" not in caplog.text
    finally:
        forever.set()


def test_a_failing_hook_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    def hook(text: str, place: str) -> list[str]:
        raise ValueError(text)

    redactor = Redactor(hooks=[hook])
    with caplog.at_level(logging.WARNING, "recorder"):
        for _ in range(5):
            clean('{"a":"x"}', redactor)
    assert caplog.text.count("a redact hook failed (ValueError)") == 1


def test_a_hook_is_asked_in_a_forked_child_as_well() -> None:
    """The thread that asked it in the parent does not exist there."""
    redactor = Redactor(hooks=[lambda text, place: ["Alice"]])
    assert clean('{"a":"Alice"}', redactor)[0] == '{"a":"*****"}'
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if clean('{"a":"Alice"}', redactor)[0] == '{"a":"*****"}' else 1
        finally:
            os._exit(code)  # whatever is raised: the rest of the tests is the parent's
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert clean('{"a":"Alice"}', redactor)[0] == '{"a":"*****"}'


def test_half_a_character_is_masked_where_a_hook_names_it() -> None:
    """A hook that reads the JSON gets it from the escape, which is all that UTF-8 has of it."""
    cleaned, found = clean(
        r'{"who":"\ud800 Bo","n":1}', Redactor(hooks=[lambda text, place: [json.loads(text)["who"]]])
    )
    assert (json.loads(cleaned)["who"], found) == (cover(9).decode(), {"hook": 1})
    assert clean('{"a":"x"}', Redactor(hooks=[lambda text, place: ["\ud800", "x"]]))[0] == '{"a":"*"}'


def test_a_text_of_a_class_of_the_users_own_is_a_text() -> None:
    class Own(str):
        def __len__(self) -> int:
            raise ValueError

    assert clean('{"a":"Alice"}', Redactor(hooks=[lambda text, place: [Own("Alice")]]))[0] == '{"a":"*****"}'


def test_the_thread_of_a_hook_ends_with_its_redactor() -> None:
    before = set(threading.enumerate())  # threads of other tests' hooks may end at any time: they are not counted
    redactor = Redactor(hooks=[lambda text, place: []])
    clean('{"a":"x"}', redactor)
    (mine,) = [one for one in set(threading.enumerate()) - before if one.name == "recorder-redact"]
    assert mine.is_alive()
    del redactor
    gc.collect()
    mine.join(20)
    assert not mine.is_alive()
