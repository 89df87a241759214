"""Stored events out again: which recording answers a request, its exact bytes, when each is due, and how it ends.

A `Player` finds the recording for a request and makes a `Playback` of it. This package refuses to know HTTP libraries
and sockets: who carries the bytes to a client (a transport, a server) waits until they are due and ends as told.

The same store and the same requests in the same order give the same bytes, in any process on any machine.

**Which recordings are chosen.** Those with the request's key whose stored bytes are all there was to answer: a
recording that is still running, whose writer died, whose capture was cut short, or whose client left in the middle is
chosen only with `include_partial`. A client that left after the protocol's last word did not leave in the middle (SDKs
close at `data: [DONE]` without reading on), nor did one that the answer made to leave: it left the body of an error or
a redirect unread, or could not read it. What the server did itself (reset, early end, refusal) is an answer like any
other. Recordings without payloads (another content setting, a body above the limit, erased) are never replayed.

**Several with one key** are handed out in recorded order, once each, within a session. Then `repeat` decides. A
session is one player's, or has a name: all processes of one user on one machine share that while one of them lives.

**Another rule.** Keys of two match rules cannot be compared. A recording made under another rule than the player's
counts as equal when its stored request gives the wanted key under the player's rule. That is tried where a stored key
decides nothing, among the latest recordings; headers that the rule names and the store withholds make it fail.

    player     Player: which recording answers; Miss: why none does; emit
    playback   Playback: one recording on its way out
    chunks     rows to bytes, cut as recorded or otherwise
    pace       when something is due
    whole      whether a recording has its end
    sessions   whose turn it is, where processes share that
    source     what is asked of whoever holds the recordings
"""

from __future__ import annotations

from .chunks import Chunk, Chunking, parse_chunks
from .pace import SILENCE, Pacer, parse_pace
from .playback import Playback
from .player import Miss, Player, emit
from .source import Source

__all__ = [
    "SILENCE",
    "Chunk",
    "Chunking",
    "Miss",
    "Pacer",
    "Playback",
    "Player",
    "Source",
    "emit",
    "parse_chunks",
    "parse_pace",
]
