"""A stream that is cut, altered, reordered or hostile must never pass for a good one."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldcopy.formats import xbstream
from goldcopy.formats.xbstream import Decoder, End, Hole, Payload, Remove, Rename, Seek


def chunk(path: str, offset: int, data: bytes) -> bytes:
    return xbstream.payload_header(path, offset, data) + data


def decode(stream: bytes, step: int | None = None) -> dict[str, bytes]:
    """All files of a stream, fed in pieces of ``step`` bytes; files that were removed are not there."""
    decoder, files, whole = Decoder(), dict[str, bytearray](), dict[str, bytes]()
    step = step or len(stream) or 1

    def obey(event):
        match event:
            case Payload(offset=offset) if offset > 1 << 26:
                pass  # behind a hole that a flipped bit made of gigabytes
            case Payload(path, offset, data):
                file = files.setdefault(path, bytearray())
                file.extend(bytes(max(0, offset - len(file))))
                file[offset : offset + len(data)] = data
            case Hole(path) | Seek(path):
                files.setdefault(path, bytearray())
            case End(path, size):
                file = files.pop(path, bytearray())
                whole[path] = bytes(file + bytes(max(0, size - len(file))))
            case Rename(path, new):
                whole[new] = whole.pop(path)
            case Remove(path):
                whole.pop(path, None)

    for at in range(0, len(stream), step):
        for event in decoder.feed(stream[at : at + step]):
            obey(event)
    for event in decoder.finish():
        obey(event)
    return whole


SMALL = (
    chunk("ibdata1", 0, b"first")
    + chunk("db/t.ibd", 0, b"0123456789")
    + chunk("ibdata1", 5, b"second")
    + xbstream.end("db/t.ibd")
    + xbstream.sparse_header("ibdata1", 11, [(4096, 3), (100, 0)], b"xyz")
    + b"xyz"
    + xbstream.end("ibdata1")
    + xbstream.end("db/empty")
)
FILES = {
    "ibdata1": b"firstsecond" + bytes(4096) + b"xyz" + bytes(100),
    "db/t.ibd": b"0123456789",
    "db/empty": b"",
}


@pytest.mark.parametrize("step", [1, 2, 7, 31, 1000])
def test_pieces_of_any_size_give_the_same_files(step):
    assert decode(SMALL, step) == FILES


def test_bytes_are_those_of_the_notes():
    data = b"page"
    assert xbstream.payload_header("a/b", 7, data) == (
        b"XBSTCK01" + b"\0P" + struct.pack("<I", 3) + b"a/b" + struct.pack("<QQI", 4, 7, zlib.crc32(data))
    )
    assert xbstream.end("a") == b"XBSTCK01\0E\x01\0\0\0a"
    assert xbstream.rename("a", "bc") == b"XBSTCK01\0R\x01\0\0\0a\x02\0\0\0bc"
    assert xbstream.remove("a") == b"XBSTCK01\0D\x01\0\0\0a"
    assert xbstream.seek("a", 9) == b"XBSTCK01\0S\x01\0\0\0a" + struct.pack("<Q", 9)


@pytest.mark.parametrize("at", range(1, len(SMALL)))
def test_a_stream_cut_anywhere_is_never_whole(at):
    """At a border between chunks a cut is noticed as long as some file has not ended."""
    last_file = SMALL.rindex(b"XBSTCK01")
    if at == last_file:
        assert set(decode(SMALL[:at])) == {"ibdata1", "db/t.ibd"}
        return
    with pytest.raises(ValueError):
        decode(SMALL[:at])


def test_an_empty_stream_is_valid():
    assert decode(b"") == {}


def flippable() -> list[int]:
    """Bytes whose change must be noticed: all but the flags and the paths (a path may become another one)."""
    free, at = set(), 0
    while at < len(SMALL):
        free.add(at + 8)
        (n,) = struct.unpack_from("<I", SMALL, at + 10)
        free.update(range(at + 14, at + 14 + n))
        following = SMALL.find(b"XBSTCK01", at + 14)
        at = following if following > 0 else len(SMALL)
    return [i for i in range(len(SMALL)) if i not in free]


@pytest.mark.parametrize("at", flippable())
def test_a_flipped_bit_never_changes_a_file_unnoticed(at):
    for bit in range(8):
        damaged = bytearray(SMALL)
        damaged[at] ^= 1 << bit
        try:
            files = decode(bytes(damaged))
        except ValueError:
            continue
        # the format has nothing that tells an E from a D for a file of which nothing came before
        lost = {"db/empty"} if damaged[at : at + 1] == b"D" else set()
        assert files == {p: d for p, d in FILES.items() if p not in lost}, f"byte {at}, bit {bit}"


def test_chunks_of_one_file_out_of_order_are_refused():
    a, b = chunk("f", 0, b"12"), chunk("f", 2, b"34")
    assert decode(a + b + xbstream.end("f")) == {"f": b"1234"}
    for wrong in (b + a, a + a, a, b):
        if wrong is a:
            continue
        with pytest.raises(ValueError, match="out of order"):
            decode(wrong + xbstream.end("f"))


def test_a_file_without_its_end_is_an_error():
    with pytest.raises(ValueError, match="not whole"):
        decode(chunk("f", 0, b"12"))


def test_after_an_error_nothing_more_is_given():
    decoder = Decoder()
    with pytest.raises(ValueError):
        list(decoder.feed(b"X" * 100))
    with pytest.raises(ValueError):
        list(decoder.feed(xbstream.end("f")))


@pytest.mark.parametrize(
    "name",
    [b"/etc/passwd", b"../up", b"a/../../up", b"a/..", b"..", b".", b"a/", b"a\0b", b"", b"x" * 512],
)
def test_names_that_lead_elsewhere_are_refused(name):
    stream = b"XBSTCK01\0E" + struct.pack("<I", len(name)) + name
    with pytest.raises(ValueError):
        decode(stream)


def test_a_rename_cannot_lead_elsewhere():
    with pytest.raises(ValueError):
        decode(xbstream.end("a") + b"XBSTCK01\0R\x01\0\0\0a" + struct.pack("<I", 4) + b"../b")


def test_absolute_names_only_when_asked_for():
    stream = xbstream.end("/tmp/x")
    assert list(Decoder(absolute=True).feed(stream)) == [End("/tmp/x", 0)]
    with pytest.raises(ValueError, match="absolute"):
        decode(stream)


def test_unknown_types_are_refused_whatever_the_flag_says():
    for flag in (0, 1):
        with pytest.raises(ValueError, match="unknown"):
            decode(b"XBSTCK01" + bytes([flag]) + b"Z\x01\0\0\0a" + bytes(20))


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_mariadb_seek_and_xtrabackup_sparse_are_told_apart(step):
    seek = chunk("f", 0, b"abcd") + xbstream.seek("f", 2) + chunk("f", 2, b"XY") + xbstream.end("f")
    assert decode(seek, step) == {"f": b"abXY"}
    forward = xbstream.seek("f", 6) + chunk("f", 6, b"z") + xbstream.end("f")
    assert decode(forward, step) == {"f": bytes(6) + b"z"}
    sparse = xbstream.sparse_header("f", 0, [(6, 1)], b"z") + b"z" + xbstream.end("f")
    assert decode(sparse, step) == {"f": bytes(6) + b"z"}


def test_a_seek_as_the_last_chunk_is_read_as_one():
    with pytest.raises(ValueError, match="not whole"):
        decode(xbstream.seek("f", 6))


def test_a_sparse_map_that_lies_is_refused():
    good = bytearray(xbstream.sparse_header("f", 0, [(6, 1)], b"z") + b"z" + xbstream.end("f"))
    at = good.index(struct.pack("<II", 6, 1))
    good[at + 4] = 2
    with pytest.raises(ValueError):
        decode(bytes(good))


def test_a_huge_sparse_map_is_not_allocated():
    head = b"XBSTCK01\0S\x01\0\0\0f" + struct.pack("<IQQI", 0xFFFFFFFF, 0, 0, 0)
    with pytest.raises(ValueError, match="ranges"):
        decode(head + bytes(100))


def test_renames_and_removals_of_whole_files():
    stream = chunk("a", 0, b"1") + xbstream.end("a") + xbstream.rename("a", "b") + xbstream.end("a")
    assert decode(stream) == {"b": b"1", "a": b""}
    assert decode(stream + xbstream.remove("b") + xbstream.remove("not there")) == {"a": b""}


def test_an_open_file_can_be_neither_renamed_nor_removed():
    for last in (xbstream.rename("a", "b"), xbstream.remove("a")):
        with pytest.raises(ValueError, match="before it is whole"):
            decode(chunk("a", 0, b"1") + last)


paths = st.text("abcXYZ@#-_.0123456789é", min_size=1, max_size=20).filter(lambda s: s.strip("."))


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(paths, st.binary(max_size=3000), max_size=5),
    st.integers(1, 900), st.integers(1, 500), st.integers(0, 2**32),
)
def test_any_files_in_any_order_come_back(files, piece, step, seed):
    rng = random.Random(seed)
    todo, stream = dict.fromkeys(files, 0), b""
    while todo:
        path = rng.choice(sorted(todo))
        at = todo[path]
        if at >= len(files[path]):
            stream += xbstream.end(path)
            del todo[path]
        else:
            stream += chunk(path, at, files[path][at : at + piece])
            todo[path] = at + piece
    assert decode(stream, step) == files


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_noise_is_an_error_and_nothing_else(noise, step):
    if noise:
        with pytest.raises(ValueError):
            decode(noise, step)
        with pytest.raises(ValueError):
            decode(b"XBSTCK01" + noise, step)
