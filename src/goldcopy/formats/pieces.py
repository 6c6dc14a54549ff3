"""What the decoders of streams share: input comes in pieces of any size, what it means comes out as it is known."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

from goldcopy.formats import Bytes

Out = TypeVar("Out")


class PieceDecoder(Generic[Out]):
    """Base of a decoder whose format is read by one generator, ``_read``, from first byte to last.

    ``_read`` and the generators it calls yield what they found, and None when they need more input. They take input
    with ``_some``, ``_exactly`` and ``_up_to``, which raise ValueError (``cut``, and where) when the input ends too
    early. Memory does not grow with the input: a piece is handed on as a view.
    """

    def __init__(self, *, cut: str, damaged: str) -> None:
        self._cut, self._damaged = cut, damaged
        self._input = memoryview(b"")
        self._ended = False
        self._at = 0
        """Bytes of the input that were taken."""
        self._machine = self._read()

    def _read(self) -> Generator[Out | None, None, None]:
        raise NotImplementedError

    def feed(self, data: Bytes) -> Iterator[Out]:
        """What the next bytes mean. Consume all of it before the next call. Raises ValueError."""
        self._input = memoryview(data)
        for found in self._machine:
            if found is None:
                return
            yield found
        raise ValueError(self._damaged)

    def finish(self) -> list[Out]:
        """The input has ended: what came last. Raises ValueError when the format does not end here."""
        self._ended = True
        return [found for found in self._machine if found is not None]

    def _ends(self) -> Generator[None, None, bool]:
        """Whether the input ends here."""
        while not len(self._input):
            if self._ended:
                return True
            yield None
        return False

    def _some(self, most: int) -> Generator[None, None, memoryview]:
        """The next bytes at hand, at least one, as a view."""
        if (yield from self._ends()):
            raise ValueError(f"{self._cut}, at byte {self._at}")
        piece, self._input = self._input[:most], self._input[most:]
        self._at += len(piece)
        return piece

    def _exactly(self, count: int) -> Generator[None, None, bytes]:
        got = yield from self._up_to(count)
        if len(got) < count:
            raise ValueError(f"{self._cut}, at byte {self._at}")
        return got

    def _up_to(self, count: int) -> Generator[None, None, bytes]:
        """``count`` bytes, or what is left when the input ends before."""
        if 0 < count <= len(self._input):
            return bytes((yield from self._some(count)))
        got = bytearray()
        while len(got) < count and not (yield from self._ends()):
            got += yield from self._some(count - len(got))
        return bytes(got)
