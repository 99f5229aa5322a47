"""The objects of a cleanup, taken by two processes: its own and a companion, if one is to be had.

Each object goes by the same steps in either, into the same trash folder, whose path is the fence of both
(safety.md section 9). An object is given to one of them only. What a companion had taken when it was killed
is finished here; what it had unlinked and not told is not given back: then the count of what is used says
too much until it is made anew, never too little (I5).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from worker.store.blobs import StoreBlobs
from worker.store.companion.messages import CompanionLost
from worker.store.objects import Objects
from worker.store.staging import Staging
from worker.store.taking import Taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from worker.store.companion.owner import Companion
    from worker.store.companion.session import Session
    from worker.store.taking import Taker
    from worker.store.volume import Volume

#: So many objects are taken without a look at the lease, or at what the companion says.
PIECE_OBJECTS = 32
#: With fewer objects at once it is not worth the messages.
WORTH_OBJECTS = 256
#: So many messages are on their way at most, and so many pieces in one: then there is no pause.
AHEAD = 2
MOST_PIECES = 16
#: How often the lease is looked at while all that is left is done by the companion, in seconds.
WATCH_S = 0.1


class Piece(NamedTuple):
    """Some of the objects of one group, and who is told what became of them."""

    hashes: tuple[bytes, ...]
    told: Callable[[Taken], None]


def cut(hashes: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """In pieces; an empty one for none."""
    return (tuple(hashes[at : at + PIECE_OBJECTS]) for at in range(0, max(1, len(hashes)), PIECE_OBJECTS))


class Sharing:
    """One cleanup's objects, in a context. Alone until ``begin``, and after the companion was lost."""

    def __init__(self, taker: Taker, *, still_free: Callable[[Iterable[bytes]], list[bytes]] = list) -> None:
        """``still_free`` is asked right before objects go, or are given to the companion."""
        self._taker = taker
        self.still_free = still_free
        self._waiting: deque[Piece] = deque()
        self._session: Session | None = None
        self._heard = False
        self._is_broken = False
        self._sent: deque[list[Piece]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *trouble: object) -> None:
        if self._session is not None:
            self._session.__exit__(*trouble)

    def begin(self, companion: Companion | None) -> None:
        """Have it get ready, if it is to be had; nothing waits for it."""
        if companion is None:
            return
        blobs = StoreBlobs(_Unstaged(self._taker.volume, self._taker.trash.id), Objects(self._taker.volume))
        session = companion.session(
            "take", blobs, trash_id=self._taker.trash.id, horizon_ns=self._taker.horizon_ns
        )
        if session.begin():
            self._session = session
            try:
                session.send([])
                self._sent.append([])
            except CompanionLost:
                self._lose()

    def take(self, pieces: Iterable[Piece], *, check: Callable[[], None]) -> None:
        """Take what is still free of all pieces, in order as far as this process does it.

        Returns when there is nothing more to do here: the companion may still be at some of it. ``check``
        raises when the lease is lost. Raises what goes wrong in either process.
        """
        self._waiting.extend(pieces)
        is_worth_it = sum(len(piece.hashes) for piece in self._waiting) >= WORTH_OBJECTS
        while self._waiting:
            self._step(check, more=is_worth_it)

    def finish(self, is_over: Callable[[], bool], *, check: Callable[[], None]) -> None:
        """Until all that somebody waits for was told, or something has gone wrong before."""
        while not (self._is_broken or is_over()):
            self._step(check, more=False)

    def _step(self, check: Callable[[], None], *, more: bool) -> None:
        self._is_broken = True  # unless it comes to its end
        check()
        if self._session is not None:
            try:
                self._tend(self._session, 0.0 if self._waiting else WATCH_S, more=more)
            except CompanionLost:
                self._take_over()
        if self._waiting:
            piece = self._waiting.popleft()
            piece.told(self._taker.take_objects(self._free(piece)))
        self._is_broken = False

    def _free(self, piece: Piece) -> bytes:
        return b"".join(self.still_free(piece.hashes))

    def _tend(self, session: Session, wait_s: float, *, more: bool) -> None:
        """Take what was done by the companion, and send more: the last ones."""
        while self._sent and (done := session.receive(wait_s)) is not None:
            self._heard, wait_s = True, 0.0
            pieces = self._sent.popleft()
            self._waiting.extend(reversed(pieces[len(done) :]))
            for piece, taken in zip(pieces, done, strict=False):
                self._taker.kept_young += taken.young
                self._taker.kept_young_bytes += taken.young_bytes
                piece.told(taken)
        while more and self._heard and len(self._sent) < AHEAD and len(self._waiting) > AHEAD:
            most = min(MOST_PIECES, len(self._waiting) // AHEAD)
            pieces = [self._waiting.pop() for _ in range(most)]
            self._sent.append(pieces)
            session.send([self._free(piece) for piece in pieces])

    def _take_over(self) -> None:
        """What the companion was given and has not told: finish what it took, and take the rest."""
        pieces = [piece for sent in self._sent for piece in sent]
        has_ended = self._lose()
        for piece in pieces:
            if has_ended:
                finished = self._taker.finish(b"".join(piece.hashes))
                taken = self._taker.take_objects(self._free(piece))
                piece.told(Taken(*(one + other for one, other in zip(finished, taken, strict=True))))
            else:  # what it was at may still happen: the next cleanup puts back what lies in the trash
                piece.told(Taken(0, len(piece.hashes), 0, 0))

    def _lose(self) -> bool:
        """Go on alone. False: nobody knows whether the companion has ended."""
        session, self._session = self._session, None
        self._sent.clear()
        if session is None:
            return True
        session.__exit__(None, None, None)
        return session.has_ended


class _Unstaged(Staging):
    """For a cleanup, which writes nothing and so has no folder below ``tmp/`` and no room to spend."""

    def __init__(self, volume: Volume, cleanup_id: str) -> None:
        super().__init__(volume, cleanup_id, spend=_nothing, refund=_nothing, check=lambda: None)

    def place_apart(self) -> str:
        """None: what a companion takes away goes into the trash folder."""
        return ""


def _nothing(charged_bytes: int) -> None:
    assert not charged_bytes, "a cleanup writes nothing"
