"""Which recording answers a request, and why none does: one key for recording and replay, a diff, ordered repeats.

A request is read into one small tree: `method`, `path`, `query`, `headers`, `body`. The key is a hash of that tree,
the diff compares two of them, and a rule takes parts out before either. So what the key sees, the diff can name.

- The origin does not count (a replay server has another), nor do headers that the rule does not name, nor query
  values that carry credentials (a rotated key still matches). The body always counts.
- JSON counts by its value: object keys in any order, any spacing, strings by their characters; but numbers by their
  source text (1.0 is not 1), duplicate keys in their order, lone surrogates and NaN as they are.
- multipart/form-data counts by its parts, whatever the boundary. Everything else, and all that is not exactly what
  its content type says, counts by its exact bytes.

A rule's ignore paths read like the paths of a diff: `body` or `query`, then `.name`, `["any name"]`, `[0]` (an item)
or `[*]` (every item or member), as in `body.metadata.session_id`, `body.messages[*].id`, `query["include[]"]`.
What a path names is taken as if it were not there. A rule's normalisers (`ids`, `dates`, `/regex/`) let texts that
are made anew for each request count by their places alone; see `normal`.

The key is computed on the request before anything is redacted. This module refuses to know stores, clients and
clocks; it does no I/O, and the same request gives the same key in any process.
"""

from __future__ import annotations

from .claims import Claims, Repeat, turn
from .diff import Difference, differences, nearest
from .keys import key
from .rules import DEFAULT, KEY_VERSION, Rule
from .tree import canonical

__all__ = [
    "DEFAULT",
    "KEY_VERSION",
    "Claims",
    "Difference",
    "Repeat",
    "Rule",
    "canonical",
    "differences",
    "key",
    "nearest",
    "turn",
]
