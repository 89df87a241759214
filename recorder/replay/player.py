"""Which recording answers a request, and what is said when none does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final, get_args
from uuid import UUID

from .. import match, redact
from ..dialects.base import path_of
from ..errors import ReplayMiss, UsageError
from ..recording import Ending, Recording, Request
from .chunks import RECORDED, Chunking, parse_chunks
from .pace import INSTANT, parse_pace
from .playback import Playback
from .sessions import claims_of
from .source import Source
from .whole import is_whole, made_to_leave

__all__ = ["Miss", "Player", "emit"]

#: How many of the latest recordings are looked through for the nearest one, and for those made under another rule.
CANDIDATES: Final = 200

#: How many fields a message names.
_NAMED: Final = 8

#: What stands for something withheld, at its beginning.
_MASK: Final = redact.REDACTED.encode("ascii")

#: `Claims.claim` or `Claims.next`.
_Claim = Callable[..., UUID | None]


class Miss(ReplayMiss):
    """No recording answers this request.

    request_summary: method, path and size of what was asked.
    nearest: the recording that differs least; None where the store has none with a body to compare.
    differences: the fields in which it differs, with short texts of both sides. They may quote the request, so they
        are not part of the message; `report` has them.
    """

    def __init__(
        self,
        message: str,
        *,
        request_summary: str = "",
        nearest: Recording | None = None,
        differences: Sequence[match.Difference] = (),
    ) -> None:
        super().__init__(message)
        self.request_summary = request_summary
        self.nearest = nearest
        self.differences = tuple(differences)

    def report(self) -> str:
        """The message, and under it one line for each field that differs."""
        return "\n".join([str(self), *(f"  {difference}" for difference in self.differences)])


class Player:
    """Answers requests from a store. Any number of threads may use one.

    pace: "instant", "recorded", "xN", or N as a number. chunks: "recorded", "event", "joined", "size:N", "seed:N".
    repeat: what comes when all recordings of one request have been handed out: "error", "last", or "cycle".
    rule: what of a request counts. redactor: what was withheld from the store: a request that is found nowhere is
        looked for as it would have been stored. include_partial: whether what is not whole may be chosen.
    session: whose repeats are counted; all players of one machine share a session that has a name, and a player
        without one counts for itself.

    Raises UsageError for a word that is none of these.
    """

    def __init__(
        self,
        store: Source,
        *,
        pace: str | float = "instant",
        chunks: str = "recorded",
        repeat: match.Repeat = "error",
        rule: match.Rule = match.DEFAULT,
        session: str | None = None,
        include_partial: bool = False,
        redactor: redact.Redactor = redact.DEFAULT,
    ) -> None:
        if repeat not in get_args(match.Repeat):
            raise UsageError(f"repeat {repeat!r} is none: say {', '.join(get_args(match.Repeat))}")
        self.store = store
        self.speed = parse_pace(pace)
        self.chunking = parse_chunks(chunks)
        self.repeat: match.Repeat = repeat
        self.rule = rule
        self.redactor = redactor
        self.session = session
        self.include_partial = include_partial
        self._claims = match.Claims()
        # What a key gave last: a poll is repeated a hundred times. Read again when all of it is used up.
        self._known_usable: dict[bytes, tuple[UUID, ...]] = {}
        self._known_whole: dict[UUID, bool] = {}  # of ended recordings: they change no more

    # -- finding -------------------------------------------------------------------------------------------------------

    def find(
        self, request: Request, *, session: str | None = None, others: Sequence[str] = (), use_up: bool = True
    ) -> Recording:
        """The recording that answers this request (given as sent, unredacted), which is then used up for the session.

        `session` stands for the player's own for this one request. `others`: URLs under which the request may have been
        recorded, should it not have been under its own. Without `use_up` it is the turn of the same recording again.
        Raises Miss, and UsageError where the session cannot be kept.
        """
        claims = self._claims_of(session or self.session)
        claim = claims.claim if use_up else claims.next
        asked = [request, *(replace(request, url=url) for url in others)]
        keys: list[bytes] = []
        for each in asked:
            key = match.key(each, self.rule)
            keys.append(key)
            claimed = claim(key, self._known_usable.get(key, ()))
            if claimed is not None:
                return self.store.recording(claimed)
            found = self._keyed(each, key)
            if found:
                return self._choose(each, key, found, claim)
        for each, key in zip(asked, keys, strict=True):
            found = self._made_otherwise(each, key)
            if found:
                return self._choose(each, key, found, claim)
        raise self._miss(request, [], [])

    def _choose(self, request: Request, key: bytes, found: Sequence[Recording], claim: _Claim) -> Recording:
        """Of the recordings with this key the one whose turn it is. Raises Miss."""
        usable = {recording.recording_id: recording for recording in found if self._may_choose(recording)}
        self._known_usable[key] = tuple(usable)
        claimed = claim(key, tuple(usable), self.repeat)
        if claimed is None:
            raise self._miss(request, found, list(usable.values()))
        return usable[claimed]

    def _keyed(self, request: Request, key: bytes) -> list[Recording]:
        """The recordings of this key under this player's rule, in recorded order."""
        rule = self.rule.to_text()
        stored = self.store.find(key)
        if all(recording.match_rule == rule for recording in stored):
            return stored
        keys = self._stored_keys(request, key)
        return [one for one in stored if one.match_rule == rule or match.key(one.request, self.rule) in keys]

    def _made_otherwise(self, request: Request, key: bytes) -> list[Recording]:
        """The recordings whose stored request gives this key under this player's rule, in recorded order.

        Those that were made under another one; and all of them where the request has what a mask left of an earlier
        answer: it was another one when it was recorded, and is stored as it is asked now.
        """
        rule = self.rule.to_text()
        masked = _MASK in (request.body or b"")
        others = [one for one in self._candidates(request) if masked or one.match_rule != rule]
        keys = self._stored_keys(request, key)
        return sorted(
            (one for one in others if match.key(one.request, self.rule) in keys), key=lambda one: one.recording_id
        )

    def _stored_keys(self, request: Request, key: bytes) -> set[bytes]:
        """The key of a request, and that of the same request as it would be stored."""
        return {key, match.key(self.stored(request), self.rule)}

    def stored(self, request: Request) -> Request:
        """The request as it would be stored."""
        return self.redactor.request(replace(request, url=redact.clean_url(request.url)))

    def _candidates(self, request: Request) -> list[Recording]:
        """The recordings to compare with, if they have a body: those of the same path and method first."""
        found = self.store.candidates(request.method, path_of(request), CANDIDATES)
        return [recording for recording in found if recording.request.body is not None]

    def _nearest(self, request: Request) -> tuple[Recording, Sequence[match.Difference]] | None:
        """The recording that differs least, with the differences: what is only masked in it is none."""
        candidates = self._candidates(request)
        stored = self.stored(request)
        asked = [request] if (stored.url, stored.body) == (request.url, request.body) else [request, stored]
        found = [one for each in asked if (one := match.nearest(each, candidates, self.rule)) is not None]
        return min((one for one in found if one[1]), key=lambda one: len(one[1]), default=found[0] if found else None)

    def _not_kept(self, request: Request) -> Recording | None:
        """The newest recording of this very body that kept its SHA-256 alone."""
        digest = sha256(request.body or b"").digest()
        found = self.store.candidates(request.method, path_of(request), CANDIDATES)
        return next((recording for recording in found if recording.request.body_sha256 == digest), None)

    def _claims_of(self, session: str | None) -> match.Claims:
        return self._claims if session is None else claims_of(self.store.url, session)

    def _may_choose(self, recording: Recording) -> bool:
        if not _is_kept(recording):
            return False
        return self.include_partial or self._is_whole(recording) or made_to_leave(recording.ending)

    def _is_whole(self, recording: Recording) -> bool:
        known = self._known_whole.get(recording.recording_id)
        if known is None:
            known = is_whole(self.store, recording)
            if recording.ending is not None:
                self._known_whole[recording.recording_id] = known
        return known

    def _miss(self, request: Request, found: Sequence[Recording], usable: Sequence[Recording]) -> Miss:
        kept = [recording for recording in found if _is_kept(recording)]
        nearest = next(reversed(usable or kept or found), None)
        differences: Sequence[match.Difference] = ()
        if usable:
            why = f"it was recorded {_times(usable)} and replayed as often; record more, or say repeat=last or cycle"
        elif kept:
            why = (
                f"it was recorded {_times(kept)}, but never to its end (it still goes on, the client left, capture was"
                " cut short, or the writer died); record it again, or say include_partial to play what is there"
            )
        elif found:
            why = "it was recorded, but its body was not kept (too large, or erased); record it again"
        elif (twin := self._not_kept(request)) is not None:
            nearest = twin
            why = (
                f"{twin.recording_id} had the same body, of which only the SHA-256 was kept because it is larger"
                " than body_limit; record it again with a higher body_limit"
            )
        elif (compared := self._nearest(request)) is None:
            why = "the store has no recording with a body to compare; record it first"
        else:
            nearest, differences = compared
            why = (
                f"{nearest.recording_id} is nearest and differs in {_listed(differences)}; record it, or let the"
                " rule ignore these"
            )
        summary = (
            f"{request.method} {redact.mask(path_of(request))} ({request.body_size or len(request.body or b'')} bytes)"
        )
        return Miss(
            f"no recording answers {summary}: {why}",
            request_summary=summary,
            nearest=nearest,
            differences=differences,
        )

    def refused(self, request: str, why: str) -> None:
        """A request (method, host and path) was refused before it was looked for. Nothing is done about it here."""

    # -- playing -------------------------------------------------------------------------------------------------------

    def play(self, recording: Recording) -> Playback:
        """The recording on its way out, whether or not it is whole. Raises NotFound where it has no payloads."""
        whole = self._is_whole(recording)
        return Playback(self.store, recording, whole=whole, speed=self.speed, chunking=self.chunking)


def _is_kept(recording: Recording) -> bool:
    """Whether request and answer are in the store."""
    return recording.content == "full" and recording.request.body is not None


def _times(recordings: Sequence[Recording]) -> str:
    return "once" if len(recordings) == 1 else f"{len(recordings)} times"


def _listed(differences: Sequence[match.Difference]) -> str:
    """The fields by name alone: a message holds no values."""
    fields = [difference.path for difference in differences]
    more = f" and {len(fields) - _NAMED} more" if len(fields) > _NAMED else ""
    return ", ".join(fields[:_NAMED]) + more


def emit(
    store: Source, recording: Recording, write: Callable[[bytes], object], pace: str | float = "instant"
) -> Ending:
    """Give the exact bytes of a recording's body to `write`, each when it is due; how the recording ended.

    Content codings stay on. Raises UsageError for a pace that is none, NotFound where there are no payloads.
    """
    speed = parse_pace(pace)
    chunking = Chunking("size", 1 << 16) if speed == INSTANT else RECORDED
    playback = Playback(store, recording, whole=is_whole(store, recording), speed=speed, chunking=chunking)
    pacer = playback.pacer()
    for due_us, chunk in playback.chunks():
        pacer.wait(due_us)
        write(chunk)
    return playback.ending
