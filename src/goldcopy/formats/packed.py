"""Records by the hundred thousand in little memory: how a backup of 100,000 tables stays below 150 MB.

There are a dozen things to be known of each file of a server. As Python objects they take 0.5 to 1 KB, that is 100 MB
for each list of 100,000 tables and their .frm, and a backup needs several such lists at once. So none is kept as
objects: records are ``Rows``, 100 to 150 bytes each, and become objects one by one, when they are asked for. A
``Lookup`` finds them by a key in 16 to 32 bytes each; the keys themselves are not kept. What grows does so in small
blocks: one large buffer would be there twice whenever it has to move.

Kept so: the files of a server as listed (``server.files``), what became of each tablespace and other file
(``capture``), the names that a sink has written, and a new manifest's records. The records of a manifest on disk stay
there: its rows are read from the file (``image.manifest``), so that a chain of any length costs 8 bytes a record.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Generic, TypeVar, overload

import msgspec

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

BLOCK = 256
"""Rows that are read at once."""

_LOW_BITS = 32
_LOW = (1 << _LOW_BITS) - 1


class Rows(Sequence[T]):
    """Records as bytes, in the order in which they were added; a subclass says where the bytes are.

    ``_ends``: the offset of each row's end, 0 before the first.
    """

    def __init__(self, decode: Callable[[bytes | bytearray | memoryview], T]) -> None:
        self._decode = decode
        self._ends = array("Q", [0])

    @abstractmethod
    def _bytes(self, first: int, last: int) -> bytes | bytearray:
        """Rows ``first`` to ``last`` - 1, all of one block. Raises IndexError where there are none."""

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index = range(len(self))[index]
        return self._decode(self._bytes(index, index + 1))

    def __iter__(self) -> Iterator[T]:
        for first in range(0, len(self), BLOCK):
            last = min(first + BLOCK, len(self))
            block = memoryview(self._bytes(first, last))
            at = self._ends[first]
            for start, end in pairwise(self._ends[first : last + 1]):
                yield self._decode(block[start - at : end - at])


class Packed(Rows[T]):
    """Rows in memory. ``kind``: what a record is; a Struct that is ``array_like`` takes the least."""

    def __init__(self, kind: type[T], records: Iterable[T] = ()) -> None:
        super().__init__(msgspec.msgpack.Decoder(kind).decode)
        self._encode = msgspec.msgpack.Encoder().encode
        self._blocks: list[bytes] = []
        self._last = bytearray()
        self.extend(records)

    def append(self, record: T) -> None:
        """One more. A signal may come at any time: there is a row when its end is known, not before."""
        row = self._encode(record)
        number = len(self) // BLOCK
        if number > len(self._blocks):
            self._blocks.append(bytes(self._last))
        self._last[self._ends[-1] - self._ends[number * BLOCK] :] = row
        self._ends.append(self._ends[-1] + len(row))

    def extend(self, records: Iterable[T]) -> None:
        """Some more."""
        for record in records:
            self.append(record)

    def _bytes(self, first: int, last: int) -> bytes | bytearray:
        ends, number = self._ends, first // BLOCK
        block = self._blocks[number] if number < len(self._blocks) else self._last
        start = ends[number * BLOCK]
        return block[ends[first] - start : ends[last] - start]


class Lookup(Generic[K, T]):
    """Finds one of ``rows`` by its key; of several with the same key, the last one.

    A hash table with open addressing: of each record 32 bits of its key's hash and its place among the rows, so that a
    record is only looked at when it is, but for one in billions, the right one.
    """

    def __init__(self, rows: Sequence[T], key: Callable[[T], K]) -> None:
        self._rows, self._key = rows, key
        self._slots = array("Q", bytes(8 * 16))
        self._used = 0
        for place, record in enumerate(rows):
            self._note(self._find(key(record))[0], key(record), place)

    def get(self, key: K) -> T | None:
        """The record of this key."""
        return self._find(key)[2]

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def _find(self, key: K) -> tuple[int, int, T | None]:
        """The slot of a key, the place of its record, the record. None: it has none, the slot is free to be its."""
        slots, mark = self._slots, hash(key) & _LOW
        mask = len(slots) - 1
        slot = mark & mask
        while entry := slots[slot]:
            if entry >> _LOW_BITS == mark:
                place = (entry & _LOW) - 1
                record = self._rows[place]
                if self._key(record) == key:
                    return slot, place, record
            slot = (slot + 1) & mask
        return slot, -1, None

    def _note(self, slot: int, key: K, place: int) -> None:
        self._used += not self._slots[slot]
        self._slots[slot] = (hash(key) & _LOW) << _LOW_BITS | place + 1
        if 2 * self._used > len(self._slots):
            self._grow()

    def _grow(self) -> None:
        slots = array("Q", bytes(2 * 8 * len(self._slots)))
        mask = len(slots) - 1
        for entry in filter(None, self._slots):
            slot = entry >> _LOW_BITS & mask
            while slots[slot]:
                slot = (slot + 1) & mask
            slots[slot] = entry
        self._slots = slots


class Table(Lookup[K, T]):
    """Records that come and go, one for a key. One that is replaced or gone keeps its bytes: few ever are.

    Not thread-safe, but an exception out of a signal leaves it with the record that was being put, or without it.
    """

    def __init__(self, kind: type[T], key: Callable[[T], K]) -> None:
        self._packed = Packed(kind)
        self._dead = bytearray()
        super().__init__(self._packed, key)

    def get(self, key: K) -> T | None:
        """The record of this key."""
        _slot, place, record = self._find(key)
        return None if record is None or self._is_dead(place) else record

    def put(self, record: T) -> None:
        """Take a record, in the place of another one of the same key."""
        key = self._key(record)
        slot, place, old = self._find(key)
        self._packed.append(record)
        self._note(slot, key, len(self._packed) - 1)
        if old is not None:
            self._bury(place)

    def add(self, record: T) -> bool:
        """Take a record unless there is one of the same key. Returns whether it was taken."""
        key = self._key(record)
        slot, place, old = self._find(key)
        if old is not None and not self._is_dead(place):
            return False
        self._packed.append(record)
        self._note(slot, key, len(self._packed) - 1)
        return True

    def discard(self, key: K) -> None:
        """Forget the record of this key, if there is one."""
        _slot, place, record = self._find(key)
        if record is not None:
            self._bury(place)

    def _is_dead(self, place: int) -> bool:
        return place < len(self._dead) and bool(self._dead[place])

    def _bury(self, place: int) -> None:
        self._dead.extend(bytes(max(0, place + 1 - len(self._dead))))
        self._dead[place] = True

    def roll_call(self) -> RollCall[K, T]:
        """Ask for many, to know in the end whom nobody asked for."""
        return RollCall(self)

    def __iter__(self) -> Iterator[T]:
        return (record for place, record in enumerate(self._packed) if not self._is_dead(place))

    def __len__(self) -> int:
        return len(self._packed) - self._dead.count(True)


class RollCall(Generic[K, T]):
    """Finds records of a table, and remembers which of those that were in it at the beginning it has found."""

    def __init__(self, table: Table[K, T]) -> None:
        self._table = table
        self._called = table._dead.ljust(len(table._packed), b"\0")

    def get(self, key: K) -> T | None:
        """The record of this key."""
        _slot, place, record = self._table._find(key)
        if record is None or self._table._is_dead(place):
            return None
        if place < len(self._called):
            self._called[place] = True
        return record

    def missing(self) -> list[T]:
        """The records that were not asked for."""
        return [self._table._packed[place] for place, called in enumerate(self._called) if not called]
