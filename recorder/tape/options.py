"""What a tape is told: its mode, whose calls it takes, how it answers, and what must hold at its end.

Values come in layers (a test's marker, the command line, a fixture, the configuration file). Of a plain value the
nearest layer's holds; lists add up, so that no layer can take away what another one asked for. So it is with what is
never stored: options add to what `recorder.redact` withholds by itself. Pure; it knows neither pytest nor files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from recorder import config, match
from recorder.errors import UsageError
from recorder.redact import Hook, Redactor, split

__all__ = ["KNOWN_HOSTS", "MODES", "Mode", "Options", "age", "is_telemetry"]

#: replay: answered from the file, never from the network. once: recorded where there is no file, else replayed.
#: record: recorded, and put in the file's place after the test has passed. new: replayed, and what the file has no
#: answer for is recorded and added. live: neither replayed nor kept.
Mode: TypeAlias = Literal["replay", "once", "record", "new", "live"]
MODES: Final[tuple[str, ...]] = get_args(Mode)

#: Whose calls a tape takes when nothing else is said: the hosts of the public LLM APIs (each provider's reference).
KNOWN_HOSTS: Final = (
    "*.api.cognitive.microsoft.com",
    "*-aiplatform.googleapis.com",
    "*.api.openai.com",
    "*.cognitiveservices.azure.com",
    "*.cognitiveservices.azure.us",
    "*.models.ai.azure.com",
    "*.openai.azure.com",
    "*.openai.azure.us",
    "*.services.ai.azure.com",
    "aiplatform.*.rep.googleapis.com",
    "aiplatform.googleapis.com",
    "api.anthropic.com",
    "api.cerebras.ai",
    "api.cohere.com",
    "api.deepseek.com",
    "api.fireworks.ai",
    "api.groq.com",
    "api.mistral.ai",
    "api.openai.com",
    "api.perplexity.ai",
    "api.together.xyz",
    "api.x.ai",
    "bedrock-runtime.*.amazonaws.com",
    "bedrock-runtime.*.amazonaws.com.cn",
    "generativelanguage.googleapis.com",
    "openrouter.ai",
)

#: Where SDKs upload what they noted of themselves, from threads of their own and whenever they like: no call of a test.
#: (openai-agents, tracing/processors.py)
_TELEMETRY: Final = ("/v1/traces/ingest",)

_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": MODES,
    "others": ("pass", "block"),
    "repeat": get_args(match.Repeat),
    "stale": ("error", "warn"),
    "unused": ("error", "warn", "ignore"),
}


def is_telemetry(url: str) -> bool:
    """Whether a request is an SDK's own, which no tape takes."""
    return urlsplit(url).path.endswith(_TELEMETRY)


def age(text: str) -> int:
    """Seconds from a text such as `90d`, `12h`, `2w`. Raises UsageError."""
    seconds = config.seconds_of(text)
    if seconds is None:
        raise UsageError(f"max_age {text!r} is none: write a number and s, min, h, d or w, as in 90d")
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one tape works.

    hosts: whose calls are taken, beside KNOWN_HOSTS and the hosts of base URLs in the environment: `name`,
        `name:port`, with `*` for any text. others: calls to all other hosts `pass`, or are blocked (`block`).
    ignore, match_headers, normalise: what of a request counts, see `recorder.match.Rule`.
    repeat, pace, chunks, fault: how it is answered, see `recorder.replay.Player` and `recorder replay --fault`.
    redact: what is never stored, beside what never is: rules and functions, see `recorder.redact.Redactor`.
    unused: what happens where a recording was not used (error, warn, ignore). max_age: how old recordings may be, such
        as `90d`; stale: what happens to a test with an older one (error, warn).
    upstreams: `NAME=URL`, what the tape's server forwards to while it records; default: what the environment's base
        URLs say, else the public APIs.

    Raises UsageError for a word that is none.
    """

    mode: Mode = "replay"
    hosts: tuple[str, ...] = ()
    others: Literal["pass", "block"] = "pass"
    ignore: tuple[str, ...] = ()
    match_headers: tuple[str, ...] = ()
    normalise: tuple[str, ...] = ()
    repeat: match.Repeat = "error"
    pace: str | float = "instant"
    chunks: str = "recorded"
    fault: tuple[str, ...] = ()
    redact: tuple[str | Hook, ...] = ()
    unused: Literal["error", "warn", "ignore"] = "error"
    max_age: str | None = None
    stale: Literal["error", "warn"] = "warn"
    upstreams: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value not in words:
                raise UsageError(f"{name} {value!r} is none of {', '.join(words)}")
        if self.max_age is not None:
            age(self.max_age)
        if self.redact:
            rules, hooks = split(self.redact)
            Redactor(rules or (), hooks)
        if self.hosts:
            object.__setattr__(self, "hosts", tuple(map(_host, self.hosts)))

    @classmethod
    def layered(cls, *layers: Mapping[str, Any]) -> Options:
        """From layers, the nearest first. What is None in a layer is not said there. Raises UsageError."""
        known = {field.name: field for field in fields(cls)}
        given: Any = {}
        for layer in layers:
            for name, value in layer.items():
                if name not in known:
                    near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
                    raise UsageError(f"option {name!r} is unknown: did you mean {near!r}?")
                if value is None:
                    continue
                if isinstance(known[name].default, tuple):
                    given[name] = (*given.get(name, ()), *_items(name, value))
                else:
                    given.setdefault(name, value)
        lists = {name: _unique(value) for name, value in given.items() if isinstance(value, tuple)}
        return cls(**{**given, **lists})

    @property
    def rule(self) -> match.Rule:
        """What of a request counts. Raises UsageError."""
        return match.Rule(self.ignore, self.match_headers, self.normalise)


def _items(name: str, value: object) -> tuple[Any, ...]:
    def fits(one: object) -> bool:
        return isinstance(one, str) or (name == "redact" and callable(one))

    if fits(value):
        return (value,)
    if isinstance(value, Iterable):
        found = tuple(value)
        if all(map(fits, found)):
            return found
    raise UsageError(f"option {name!r} is wrong: it must be a text or a list of texts")


def _unique(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _host(name: str) -> str:
    """A host as it is compared. Raises UsageError for what is none, such as a URL."""
    wild, plain = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    return wild + config.hosts([plain])[0]
