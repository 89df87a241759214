"""What is never stored is nowhere in what is kept, and what replay and analysis need is untouched."""

from __future__ import annotations

from urllib.parse import quote, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.recording import HeaderList
from recorder.redact import (
    REDACTED,
    clean_text,
    clean_url,
    credential_field,
    credential_header,
    credential_query,
    keep_request_headers,
    keep_response_headers,
    mask,
    origin,
)

CANARY = "cAnArY-7f3e91"

REQUEST_HEADERS = [
    "Authorization",
    "authorization",
    "Proxy-Authorization",
    "X-Amz-Security-Token",
    "X-Forwarded-Authorization",
    "api-key",
    "Api-Key",
    "x-api-key",
    "x-goog-api-key",
    "Ocp-Apim-Subscription-Key",
    "x-functions-key",
    "x-auth-token",
    "X-Auth-Key",
    "X-CSRF-Token",
    "private-token",
    "cookie",
    "Cookie2",
    "openai-organization",
    "OpenAI-Project",
    "anthropic-organization-id",
    "x-ms-token-aad-access-token",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "x-goog-iap-jwt-assertion",
    "x-stainless-api-key",
    "x-stainless-auth-token",
    "x-recorder-token",
    "helicone-auth",
    "x-unheard-of",
    "referer",
    "x-forwarded-for",
    "authorization ",
]

RESPONSE_HEADERS = [
    "Set-Cookie",
    "set-cookie",
    "Set-Cookie2",
    "openai-organization",
    "OpenAI-Project",
    "anthropic-organization-id",
    "authorization",
    "authentication-info",
    "Proxy-Authentication-Info",
    "x-amzn-remapped-authorization",
    "x-auth-token",
    "x-auth",
    "X-CSRF-Token",
    "xsrf-token",
    "x-access-tokens",
    "x-token-id",
    "x-refreshed-jwt",
    "x-client-secret",
    "X-Secret",
    "x-api-key",
    "apikey",
    "x-password-hint",
    "x-credential",
    "x-tokens",
]

QUERY_NAMES = [
    "key",
    "KEY",
    "%6Bey",
    "%256bey",
    "k%65y",
    "key[]",
    "api_key",
    "api-key",
    "apiKey",
    "apikey",
    "x-api-key",
    "api%5Fkey",
    "api+key",
    "sig",
    "signature",
    "Signature",
    "token",
    "TOKEN",
    "access_token",
    "accessToken",
    "access%5ftoken",
    "refresh_token",
    "id_token",
    "id_token_hint",
    "code",
    "code_verifier",
    "client_secret",
    "client_assertion",
    "assertion",
    "password",
    "passwd",
    "pwd",
    "secret",
    "auth",
    "authorization",
    "jwt",
    "sas_token",
    "subscription-key",
    "AWSAccessKeyId",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "x-amz-security-token",
    "X-Goog-Signature",
    "X-Goog-Credential",
    "private_key",
    "session_token",
]

HARMLESS_NAMES = [
    "api-version",
    "max_tokens",
    "max_completion_tokens",
    "max_prompt_tokens",
    "max_output_tokens",
    "total_tokens",
    "tokens",
    "token_count",
    "page_token",
    "pageToken",
    "nextPageToken",
    "continuation_token",
    "$skiptoken",
    "eos_token",
    "after",
    "limit",
    "order",
    "include[]",
    "metadata[key]",
    "model",
    "thread_id",
    "session_id",
    "idempotency_key",
    "prompt_cache_key",
    "country_code",
    "keyword",
    "stop",
    "monkey",
    "seed",
]

CREDENTIAL_URLS = [
    "https://{}@example.com/v1",
    "https://user:{}@example.com/v1",
    "https://{}:x@example.com/v1",
    "HTTPS://user:{}@[::1]:8443/v1",
    "//user:{}@example.com/v1",
    "https:\\\\user:{}@example.com\\v1",
    "https://us\\er:{}@example.com/v1",
    " https://user:{}@example.com/v1",
    "https://user:a@{}@example.com/v1",
    "https://proxy.example/https://user:{}@example.com/v1",
    "https://example.com/?next=https://user:{}@example.com/",
    "https://example.com/?next=https://example.com/?key={}",
    "https://example.com/v1?limit=1&key={}",
    "https://example.com/v1?key={}&limit=1",
    "https://example.com/v1?limit=1;key={}",
    "https://example.com/v1?key=a;{}",
    "https://example.com/v1?key=a={}",
    "https://example.com/v1?key={0}&key={0}",
    "https://example.com/v1?key=a b {}",
    "https://example.com/cb#access_token={}&state=1",
    "https://example.com/#/cb?code={}",
    "https://example.com/v1;jsessionid={}",
    "/v1?key={}",
    "?key={}",
    "key?key={}",
    "https://example.com:notaport/[v1?key={}",
]


def names(headers: HeaderList) -> list[str]:
    return [name for name, _ in headers]


# -- canaries ------------------------------------------------------------------------------------------------------


def test_there_are_many_canary_places() -> None:
    places = [*set(REQUEST_HEADERS), *set(RESPONSE_HEADERS), *set(QUERY_NAMES), *set(CREDENTIAL_URLS)]
    assert len(places) >= 120


@pytest.mark.parametrize("name", REQUEST_HEADERS)
def test_a_request_header_that_is_not_known_to_be_harmless_leaves_its_name_alone(name: str) -> None:
    headers = (("Accept", "*/*"), (name, f"Bearer {CANARY}"), ("Content-Length", "7"))
    assert keep_request_headers(headers) == (("Accept", "*/*"), (name, REDACTED), ("Content-Length", "7"))


@pytest.mark.parametrize("name", RESPONSE_HEADERS)
def test_a_response_header_that_carries_a_credential_leaves_its_name_alone(name: str) -> None:
    headers = (("Date", "now"), (name, f"a={CANARY}; Path=/"), ("Content-Length", "7"))
    assert keep_response_headers(headers) == (("Date", "now"), (name, REDACTED), ("Content-Length", "7"))


@pytest.mark.parametrize("name", QUERY_NAMES)
def test_a_query_value_that_carries_a_credential_is_withheld(name: str) -> None:
    """In a request's URL, a redirect's, and a percent-encoded URL within another."""
    assert credential_query(name)
    url = f"https://example.com/v1?limit=1&{name}={CANARY}&after=x"
    assert clean_url(url) == f"https://example.com/v1?limit=1&{name}={REDACTED}&after=x"
    assert CANARY not in str(keep_response_headers((("Location", f"/next?{name}={CANARY}"),)))
    assert CANARY not in str(keep_response_headers((("Link", f'<https://example.com/?{name}={CANARY}>; rel="next"'),)))
    assert CANARY not in clean_url(f"https://example.com/?to={quote_plus(url)}")
    assert CANARY not in clean_url(f"https://example.com/?to={quote(quote(url, safe=''), safe='')}")


@pytest.mark.parametrize("url", CREDENTIAL_URLS)
def test_no_place_in_a_url_keeps_a_credential(url: str) -> None:
    assert CANARY not in clean_url(url.format(CANARY))
    assert CANARY not in str(keep_response_headers((("location", url.format(CANARY)),)))


@pytest.mark.parametrize("url", CREDENTIAL_URLS)
def test_a_clean_url_stays_as_it_is_when_cleaned_again(url: str) -> None:
    cleaned = clean_url(url.format(CANARY))
    assert clean_url(cleaned) == cleaned


SHAPES = [
    "sk-proj-abcDEF0123456789abcDEF",
    "sk-ant-api03-abcdefghijklmnop0123456789",
    "AIzaSyA0123456789abcdefghijklmnopqrstuvw",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "github_pat_0123456789abcdefghijklmnop",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "xoxb-123456789012-abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "Bearer 0123456789abcdef",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIEow cut off",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_is_masked_where_it_has_the_shape_of_a_credential(shape: str) -> None:
    assert mask(f"before {shape}") == f"before {REDACTED}"
    assert REDACTED in clean_text(f"Incorrect key provided: {shape}")
    assert clean_url(f"https://example.com/?to={quote(shape)}") == f"https://example.com/?to={REDACTED}"
    assert shape.rsplit(maxsplit=1)[-1] not in str(keep_response_headers((("x-error-message", f"wrong: {shape}"),)))
    if " " not in shape:
        assert clean_url(f"https://example.com/{shape}/x?a=1") == "https://example.com/%5Bredacted%5D/x?a=1"
        assert urlsplit(clean_url(f"https://{shape}.example.com/")).path == "/"


@pytest.mark.parametrize(
    "text",
    [
        "a risk-assessment-of-the-monkey-model-2",
        "sk-learn",
        "gpt-4o-mini-2024-07-18",
        "the bearer of this certificate",
        "eyJ is how base64 of JSON begins",
        "-----BEGIN CERTIFICATE-----",
        "chatcmpl-9f86d081884c7d659a2feaa0c55ad015",
    ],
)
def test_ordinary_text_is_not_masked(text: str) -> None:
    assert mask(text) == text


def test_the_urls_in_a_message_are_cleaned() -> None:
    message = f"Max retries exceeded with url: /v1/models?key={CANARY} (Caused by <https://u:{CANARY}@h/> refused)"
    assert CANARY not in clean_text(message)
    assert clean_text(message).startswith("Max retries exceeded with url: /v1/models?key=")


# -- what stays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_parameters_cursors_and_counts_are_no_credentials(name: str) -> None:
    assert not credential_query(name)
    assert not credential_field(name)
    url = f"https://example.com/v1?{name}=value"
    assert clean_url(url) == url


@pytest.mark.parametrize("name", ["api_key", "apiKey", "Authorization", "client_secret", "password", "access_token"])
def test_a_field_of_a_body_carries_a_credential_by_its_name(name: str) -> None:
    assert credential_field(name)


@pytest.mark.parametrize("name", ["key", "code", "sig"])
def test_everyday_words_are_credentials_in_a_query_only(name: str) -> None:
    assert credential_query(name)
    assert not credential_field(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "application/json"),
        ("Content-Length", "12"),
        ("Accept", "text/event-stream"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("User-Agent", "OpenAI/Python 3.54.0"),
        ("Host", "api.openai.com"),
        ("OpenAI-Beta", "assistants=v2"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "tools-2024-04-04"),
        ("Idempotency-Key", "stainless-python-retry-6c3b"),
        ("X-Client-Request-Id", "b7c1"),
        ("x-ms-client-request-id", "4e4b1dd6"),
        ("traceparent", "00-3c526329d26a8d12e7866c1b4860a65f-33df48e0a9f4097a-01"),
        ("X-Stainless-Retry-Count", "0"),
        ("x-stainless-helper-method", "beta.chat.completions.parse"),
        ("x-fern-sdk-name", "cohere"),
    ],
)
def test_request_headers_for_replay_and_forensics_are_kept(name: str, value: str) -> None:
    assert keep_request_headers(((name, value),)) == ((name, value),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry-after", "20"),
        ("retry-after-ms", "1500"),
        ("x-should-retry", "false"),
        ("content-length", "581"),
        ("transfer-encoding", "chunked"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("location", "/v1/threads/thread_abc/runs?limit=2&api-version=2024-05-01"),
        ("x-request-id", "req_cea01fbc524946748fa2924fb03f89fe"),
        ("openai-processing-ms", "255"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-tokens", "150000000"),
        ("x-ratelimit-remaining-tokens", "149999992"),
        ("x-ratelimit-reset-tokens", "6m0s"),
        ("x-ratelimit-limit-tokens_usage_based", "40000, 40000;w=60"),
        ("X-RateLimit-RenewalPeriod-Tokens", "60"),
        ("anthropic-ratelimit-input-tokens-limit", "400000"),
        ("anthropic-ratelimit-tokens-reset", "2024-10-20T22:47:59Z"),
        ("anthropic-priority-input-tokens-remaining", "10000"),
        ("x-tokenlimit-remaining", "98304"),
        ("x-tokens-used", "12.5"),
        ("x-tokens-reset", "1.5ms"),
        ("www-authenticate", 'Bearer realm="Authentication required"'),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "X-Request-ID"),
        ("report-to", '{"endpoints":[{"url":"https:\\/\\/a.nel.cloudflare.com\\/report?s=xyz"}]}'),
        ("server-timing", "gfet4t7; dur=32"),
        ("cf-ray", "985a3df1fe32c148-AMS"),
        ("x-latin-1", "caf\xe9"),
    ],
)
def test_response_headers_for_replay_and_analysis_are_kept(name: str, value: str) -> None:
    assert keep_response_headers(((name, value),)) == ((name, value),)


def test_a_location_keeps_its_path_and_loses_its_credentials() -> None:
    location = f"https://u:{CANARY}@files.example/f/1?sv=2024&sig={CANARY}&se=1#key={CANARY}"
    kept = keep_response_headers((("Location", location),))
    assert kept == (
        ("Location", "https://%5Bredacted%5D@files.example/f/1?sv=2024&sig=[redacted]&se=1#key=[redacted]"),
    )


@pytest.mark.parametrize("url", CREDENTIAL_URLS[:4])
def test_a_url_with_withheld_user_information_can_still_be_split(url: str) -> None:
    """Raw brackets before the @ make `urlsplit` of some Python versions raise."""
    assert urlsplit(clean_url(url.format(CANARY))).username == "%5Bredacted%5D"


def test_an_empty_credential_is_left_empty() -> None:
    assert clean_url("https://example.com/?key=&limit=1") == "https://example.com/?key=&limit=1"


# -- names ---------------------------------------------------------------------------------------------------------


def test_identities_are_no_credentials() -> None:
    """They are withheld, but a rule may tell requests apart by them."""
    assert not credential_header("openai-organization")
    assert credential_header("Authorization")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1/chat", "https://api.openai.com"),
        ("HTTPS://API.OpenAI.com:443/v1", "https://api.openai.com"),
        ("http://127.0.0.1:8080?x=1", "http://127.0.0.1:8080"),
        ("http://host:80", "http://host"),
        ("http://host:", "http://host"),
        ("https://host:80/", "https://host:80"),
        ("https://user:p@ss@host/x", "https://host"),
        ("https://[::1]:8443/x", "https://[::1]:8443"),
        ("ws://host:1/", "ws://host:1"),
        ("/v1/chat", "null"),
        ("", "null"),
        ("https://", "null"),
        ("https://user@", "null"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, expected: str) -> None:
    assert origin(url) == expected


# -- any input -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=60)), max_size=8))
def test_any_headers_keep_names_and_order(headers: list[tuple[str, str]]) -> None:
    assert names(keep_request_headers(tuple(headers))) == [name for name, _ in headers]
    assert names(keep_response_headers(tuple(headers))) == [name for name, _ in headers]


@given(st.text(alphabet=st.sampled_from("aks:/\\@?&;#=%25 .ey") | st.characters(), max_size=80))
def test_any_text_can_be_cleaned_as_a_url(text: str) -> None:
    cleaned = clean_url(text)
    assert clean_url(cleaned) == cleaned
    assert CANARY not in clean_url(f"{text}?key={CANARY}")
    origin(text)


@pytest.mark.parametrize(
    "unit",
    [
        "?a=",
        "&key=1;",
        ";key=a",
        "sk-",
        "eyJ",
        "eyJa.",
        "://",
        ":\\\\",
        "%25",
        "?a=%25",
        "bearer ",
        "-----BEGIN ",
        "@",
        "//@",
    ],
)
def test_hostile_repetition_is_cleaned_in_linear_time(unit: str) -> None:
    """100 kB of what could make a pattern backtrack; a quadratic search would run into the test's timeout."""
    text = unit * (100_000 // len(unit))
    clean_url(text)
    clean_url("https://" + text)
    clean_text(text)
