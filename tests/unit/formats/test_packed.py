"""Packed records: what is kept of 100,000 tables, found again by any key, and small."""

from __future__ import annotations

import itertools
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldcopy.formats import packed
from goldcopy.formats.packed import BLOCK, Lookup, Packed, Table


class Record(msgspec.Struct, frozen=True, array_like=True):
    key: str
    number: int = 0


def key(record: Record) -> str:
    return record.key


def table(*records: Record) -> Table[str, Record]:
    made = Table(Record, key)
    for record in records:
        made.put(record)
    return made


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_rows_are_what_was_appended(count):
    records = [Record("x" * (n % 50), n) for n in range(count)]
    rows = Packed(Record, records)
    assert list(rows) == records
    assert [rows[i] for i in range(count)] == records
    assert rows[1:3] == records[1:3]
    assert len(rows) == count
    with pytest.raises(IndexError):
        rows[count]
    assert not records or rows[-1] == records[-1]


KEYS = st.sampled_from([f"k{n}" for n in range(40)])


@given(st.lists(st.tuples(st.sampled_from(["put", "discard"]), KEYS, st.integers(0, 9))), st.lists(KEYS))
def test_a_table_is_a_dict_that_is_small(steps, some):
    ours, theirs = table(), {}
    for what, name, number in steps:
        if what == "put":
            ours.put(Record(name, number))
            theirs[name] = Record(name, number)
        else:
            ours.discard(name)
            theirs.pop(name, None)
    assert {r.key: r for r in ours} == theirs
    assert len(list(ours)) == len(ours) == len(theirs)
    assert [ours.get(f"k{n}") for n in range(41)] == [theirs.get(f"k{n}") for n in range(41)]
    roll = ours.roll_call()
    assert [roll.get(name) for name in some] == [theirs.get(name) for name in some]
    assert {r.key for r in roll.missing()} == set(theirs) - set(some)


def test_keys_of_one_hash_are_told_apart():
    # the hash of an int is the int modulo 2**61 - 1
    keys = [7, 7 + (2**61 - 1), 7 + 2 * (2**61 - 1)]
    found = Lookup(keys[:2], lambda number: number)
    assert [found.get(number) for number in keys] == [*keys[:2], None]


def test_of_several_records_with_a_key_the_last_is_found():
    assert Lookup([Record("a", 1), Record("a", 2)], key).get("a") == Record("a", 2)


class Struck(Exception):
    """As out of a signal."""


def strike_at(step: int, work: Callable[[], None]) -> bool:
    """Do some work, struck before the ``step``th instruction in packed.py. Returns whether it had so many."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., object] | None:
        nonlocal count
        if frame.f_code.co_filename != packed.__file__:
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if count == step:
            raise Struck
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Struck:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_while_records_are_put_leaves_each_there_or_not_there():
    """Around the end of a block, where the hash table grows, and one record takes another's place."""
    old = [Record(f"k{n}", n) for n in range(BLOCK - 2)]
    new = [*(Record(f"n{n}", n) for n in range(5)), Record("k3", -3)]
    for step in itertools.count(1, 3):
        made = table(*old)
        if not strike_at(step, lambda made=made: [made.put(record) for record in new]):
            break
        made.put(Record("last", 1))
        assert {*old, Record("last", 1)} - {old[3]} <= set(made) <= {*old, *new, Record("last", 1)}
        assert made.get("k3") in (old[3], new[-1])
        assert all(made.get(r.key) == r for r in old if r != old[3])
    assert step > 500


def test_a_record_costs_its_bytes_and_its_place():
    tracemalloc.start()
    try:
        made = Table(Record, key)
        for n in range(20_000):
            made.put(Record(f"database/table{n:06d}.ibd", n))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # 28 to 31 bytes of row, 8 of its end, 16 to 32 of the hash table
    assert taken / 20_000 < 75
