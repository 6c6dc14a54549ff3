"""A restored server must recover to exactly the backup's end: not a byte of redo lost, altered or added."""

from __future__ import annotations

import random

import pytest
import redolab
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from goldcopy.formats.redo import LAYOUTS, LogFile, Window, blocks, identify, log_files, rebuild, verify
from goldcopy.formats.redo.layout import Layout, newest
from goldcopy.formats.redo.r56 import data_offset, empty_after, offset_with_headers
from goldcopy.formats.redo.r108 import HEADER_BYTES, circle
from goldcopy.formats.redo.window import Circle

BLOCKED = ["R56", "R57", "R105", "R8030"]


def reader(data: bytes):
    return lambda offset, length: data[offset : offset + length]


def built(window: Window, data: bytes, *, fresh: bool = False) -> dict[str, bytes]:
    """The files that a rebuild makes, as far as something was written into them: the rest stays zero."""
    sizes = {f.name: f.size for f in log_files(window, force_fresh=fresh)}
    files = {name: bytearray() for name in sizes}
    for piece in rebuild(window, reader(data), force_fresh=fresh):
        end = piece.offset + len(piece.data)
        assert len(piece.data) <= 2 << 20, "a piece must stay small"
        assert end <= sizes[piece.file]
        file = files[piece.file]
        file.extend(bytes(max(0, end - len(file))))
        file[piece.offset : end] = piece.data
    return {name: bytes(content) for name, content in files.items()}


def checkpoint_of(layout: Layout, file: bytes):
    found = [layout.checkpoint(file[at : at + layout.checkpoint_bytes]) for at in layout.checkpoint_at]
    assert all(found), "both checkpoint blocks must be valid"
    return newest(found)


# -- the stream of MariaDB >= 10.8 -------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), size=st.integers(1, 300_000), encrypted=st.booleans())
def test_a_fresh_stream_log_holds_the_window_with_all_bits_one(seed: int, size: int, encrypted: bool) -> None:
    window, data = redolab.stream_window(seed, size, 65_536, encrypted=encrypted)
    verify(window, reader(data))
    log = built(window, data, fresh=True)["ib_logfile0"]
    layout = LAYOUTS[identify(log[:512])]
    header, checkpoint = layout.header(log[:512]), checkpoint_of(layout, log)
    assert (header.first_lsn, checkpoint.lsn, header.encrypted) == (window.checkpoint, window.checkpoint, encrypted)
    assert log[48:508] == window.header[48:508], "the key parameters of an encrypted log"
    size = log_files(window, force_fresh=True)[0].size
    again = replace(window, first_lsn=window.checkpoint, capacity=size - HEADER_BYTES)
    stored = log[HEADER_BYTES:]
    assert len(stored) == len(data), "what follows must end the log"
    verify(again, reader(stored))
    assert sum(a != b for a, b in zip(stored, data, strict=True)) < len(data) / 5 + 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30), size=st.integers(1, 180_000))
def test_a_window_that_fits_goes_back_to_where_it_lay(seed: int, size: int) -> None:
    window, data = redolab.stream_window(seed, size, 300_000)
    log = built(window, data)["ib_logfile0"]
    size = log_files(window)[0].size
    assert size == window.capacity + HEADER_BYTES
    lies = circle(window.first_lsn, size).extents(window.checkpoint, window.end)
    assert b"".join(log[e.offset : e.offset + e.length] for e in lies) == data
    assert LAYOUTS["R108"].header(log[:512]).first_lsn == window.first_lsn


def test_a_window_longer_than_the_log_is_laid_out_fresh() -> None:
    window, data = redolab.stream_window(4, 400_000, 65_536)
    assert log_files(window)[0].size > window.capacity + HEADER_BYTES
    assert built(window, data) == built(window, data, fresh=True)
    nearly, _ = redolab.stream_window(4, 60_000, 65_536)
    assert log_files(nearly)[0].size > nearly.capacity + HEADER_BYTES, "no room would be left to recover in"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_flipped_bit_anywhere_in_the_stream_is_found(encrypted: bool) -> None:
    window, data = redolab.stream_window(5, 9_000, 4_096, encrypted=encrypted)
    rnd = random.Random(1)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
        with pytest.raises(ValueError, match=r"LSN|cut short"):
            verify(window, reader(bytes(damaged)))


def test_a_stream_that_ends_early_is_found_with_its_lsn() -> None:
    window, data = redolab.stream_window(6, 5_000, 65_536)
    with pytest.raises(ValueError, match="cut short at byte"):
        verify(window, reader(data[:-1]))
    with pytest.raises(ValueError, match=r"within the mini-transaction at LSN \d+"):
        verify(replace(window, end=window.end - 1), reader(data))
    with pytest.raises(ValueError, match=f"no mini-transaction at LSN {window.end}"):
        verify(replace(window, end=window.end + 100), reader(data + bytes(100)))


def test_bytes_of_another_round_are_not_taken_for_redo() -> None:
    window, data = redolab.stream_window(7, 20_000, 65_536)
    wrong = replace(window, first_lsn=window.first_lsn - window.capacity)
    with pytest.raises(ValueError, match="another round"):
        verify(wrong, reader(data))
    verify(replace(wrong, capacity=0), reader(data))  # the log was replaced meanwhile: only sums count


# -- blocks ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(layout=st.sampled_from(BLOCKED), seed=st.integers(0, 1 << 30), count=st.integers(1, 40),
       used=st.integers(13, 507), cut=st.integers(0, 500))
def test_a_rebuilt_block_log_ends_exactly_at_the_end(layout: str, seed: int, count: int, used: int, cut: int) -> None:
    window, data = redolab.block_window(layout, seed, count + 1, last_used=used)
    end = max(window.end - cut, window.start + 512 + 13)
    window = replace(window, end=end if 12 < end % 512 < 508 else window.end)
    verify(window, reader(data))
    files = built(window, data)
    first = next(iter(files.values()))
    kind = LAYOUTS[identify(first[:512])]
    assert kind.key == layout
    assert kind.header(first[:512]).first_lsn == window.start
    checkpoint = checkpoint_of(kind, first)
    assert checkpoint.lsn == window.checkpoint
    log = read_log(kind, files, checkpoint, window)
    last = log[-512:]
    assert log[:-512] == data[: len(log) - 512], "all but the last block are the source's"
    assert blocks.used_bytes(last) == window.end % 512
    assert last[12 : window.end % 512] == data[len(log) - 500 : len(log) - 512 + window.end % 512]
    assert int.from_bytes(last[6:8], "big") <= window.end % 512
    assert kind.first_bad(log, window.start) is None


def read_log(kind: Layout, files: dict[str, bytes], checkpoint, window: Window) -> bytes:
    """The rebuilt log read back by LSN, as the server would find it from the checkpoint; nothing may follow."""
    start, end = window.start, blocks.ceiling(window.end)
    contents = list(files.values())
    sizes = [f.size for f in log_files(window)]
    if kind.key == "R8030":
        lies = Circle(window.start, 0, sizes[0] - 2048, 1, 2048)
    else:
        lies = kind.circle(checkpoint, sizes[0], len(sizes))
    after = b"".join(contents[e.file][e.offset : e.offset + e.length] for e in lies.extents(end, end + 4096))
    assert not any(after), "what follows must end the log"
    return b"".join(contents[e.file][e.offset : e.offset + e.length] for e in lies.extents(start, end))


@pytest.mark.parametrize("layout", BLOCKED)
def test_a_flipped_bit_in_any_field_of_a_block_is_found_with_its_lsn(layout: str) -> None:
    window, data = redolab.block_window(layout, 3, 9, last_used=300)
    for at in (0, 1, 3, 6, 8, 12, 200, 507, 508, 511):
        damaged = bytearray(data)
        damaged[4 * 512 + at] ^= 2
        with pytest.raises(ValueError, match=f"LSN {window.start + 2048}"):
            verify(window, reader(bytes(damaged)))


@pytest.mark.parametrize("layout", BLOCKED)
def test_a_block_window_cut_short_is_found(layout: str) -> None:
    window, data = redolab.block_window(layout, 3, 9, last_used=300)
    with pytest.raises(ValueError, match="cut short"):
        verify(window, reader(data[:-512]))
    with pytest.raises(ValueError, match=f"ends at LSN {window.end}"):
        verify(replace(window, end=window.end + 5), reader(data))


@pytest.mark.parametrize("layout", BLOCKED)
def test_an_end_on_a_blocks_border_needs_no_block_that_was_never_written(layout: str) -> None:
    window, data = redolab.block_window(layout, 8, 5)
    end = window.end + 12  # where the server's LSN stands after a full block
    log = built(replace(window, end=end), data + b"\xee" * 512)
    kind = LAYOUTS[layout]
    first = next(iter(log.values()))
    circle_end = first[2048 + 5 * 512 : 2048 + 6 * 512]
    assert blocks.used_bytes(circle_end) == 12
    assert kind.first_bad(circle_end, window.end) is None


def test_mysql_encrypted_blocks_are_kept_and_cannot_be_cut() -> None:
    window, data = redolab.block_window("R8030", 11, 6, last_used=300)
    rnd = random.Random(2)
    data = data[:-512] + redolab.block(rnd, window.end, legacy=False, used=300, encrypted=True)
    window = replace(window, encryption=rnd.randbytes(512))
    log = built(window, data)["#innodb_redo/#ib_redo10"]
    assert log[1024:1536] == window.encryption
    assert log[2048 : 2048 + len(data)] == data
    with pytest.raises(ValueError, match="holds bytes beyond"):
        verify(replace(window, end=window.end - 1), reader(data))


def test_an_lsn_that_no_server_has_is_refused() -> None:
    window, data = redolab.block_window("R105", 1, 3)
    with pytest.raises(ValueError, match="no LSN"):
        verify(replace(window, end=window.end - 2), reader(data))


def test_an_encrypted_mariadb_block_log_keeps_its_key_data() -> None:
    window, data = redolab.block_window("R105", 12, 3, last_used=100)
    key_data = random.Random(3).randbytes(512)
    header = (0xD0485953).to_bytes(4, "big") + window.header[4:]
    data = data[:-508] + random.Random(4).randbytes(504) + bytes(4)  # what the last block holds is ciphertext
    data = data[:-4] + redolab.crc(data[-512:-4]).to_bytes(4, "big")
    log = built(replace(window, header=header, encryption=key_data), data)["ib_logfile0"]
    assert log[2048 : 2048 + len(data)] == data, "the last block cannot be cut and stays as it is"
    assert log[512 + 32 : 512 + 496] == key_data[32:496]
    assert LAYOUTS["R105"].checkpoint(log[512:1024]).lsn == window.checkpoint
    assert identify(log) == "R105"


@given(st.binary(min_size=512, max_size=512), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_the_legacy_sum_is_the_same_with_and_without_numpy(block: bytes, count: int) -> None:
    expected = redolab.legacy_sum(block)
    assert list(blocks.legacy_sums(block * count)) == [expected] * count
    assert blocks.legacy_sum(block) == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "numpy_or_none", lambda: None)
        assert list(blocks.legacy_sums(block * count)) == [expected] * count


def test_the_number_of_a_block_wraps() -> None:
    lsn = (1 << 30) * 512 * 3
    rnd = random.Random(1)
    data = b"".join(redolab.block(rnd, lsn + i * 512, legacy=False) for i in range(-3, 3))
    assert LAYOUTS["R8030"].first_bad(data, lsn - 3 * 512) is None
    assert LAYOUTS["R8030"].first_bad(data, lsn - 2 * 512) == 0


@given(st.integers(0, 1 << 40))
def test_offsets_with_and_without_file_headers_agree(at: int) -> None:
    file_bytes = 48 << 20
    assert data_offset(offset_with_headers(at, file_bytes - 2048), file_bytes) == at


@given(st.integers(0, 10**6), st.integers(0, 3000), st.integers(0, 999))
def test_extents_cover_every_byte_once(anchor_lsn: int, length: int, anchor: int) -> None:
    lies = Circle(anchor_lsn, anchor, 500, 2, 20)
    extents = lies.extents(anchor_lsn + 7, anchor_lsn + 7 + length)
    places = [(e.file, e.offset + i) for e in extents for i in range(e.length)]
    expected = [divmod((anchor + 7 + i) % 1000, 500) for i in range(length)]
    assert places == [(file, 20 + at) for file, at in expected]


# -- which layout ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "key"),
    [(1, "R57"), (5, "R57"), (103, "R57"), (0x80000068, "R57"), (6, "R8030"), (0x50485953, "R105"),
     (0xD0485953, "R105"), (0x50687973, "R108"), (0xF09F979D, "R108"), (0xD0687973, "R108")],
)
def test_the_layout_is_told_by_the_bytes(version: int, key: str) -> None:
    assert identify(version.to_bytes(4, "big") + bytes(508)) == key


def test_an_unknown_layout_is_refused() -> None:
    for first in (b"", bytes(512), (7).to_bytes(4, "big") + bytes(508)):
        with pytest.raises(ValueError, match=r"unknown format|no redo log header"):
            identify(first)
    with pytest.raises(ValueError, match="unknown redo layout"):
        log_files(Window(layout="R999", start=0, checkpoint=0, end=0))


@pytest.mark.parametrize("layout", ["R57", "R105", "R8030", "R108"])
def test_a_damaged_header_is_refused(layout: str) -> None:
    window, data = redolab.stream_window(1, 10, 4096) if layout == "R108" else redolab.block_window(layout, 1, 2)
    header = bytearray(window.header)
    LAYOUTS[layout].header(bytes(header))
    header[9] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        LAYOUTS[layout].header(bytes(header))
    assert data


def test_mysqls_switched_off_redo_is_noticed() -> None:
    header = bytearray(redolab.block_header("R8030", 512))
    header[51] = 1
    header[508:512] = redolab.crc(bytes(header[:508])).to_bytes(4, "big")
    assert LAYOUTS["R8030"].header(bytes(header)).redo_disabled


def test_log_files_have_room_to_go_on() -> None:
    for layout in BLOCKED:
        window, _ = redolab.block_window(layout, 1, 9)
        files = log_files(window)
        assert sum(f.size for f in files) >= window.end - window.start + (4 << 20)
        assert all(isinstance(f, LogFile) for f in files)
    two = log_files(redolab.block_window("R57", 1, 9)[0])
    assert [f.name for f in two] == ["ib_logfile0", "ib_logfile1"]
    assert two[0].size == two[1].size
    assert two[0].size % (1 << 20) == 0


def test_the_log_after_a_recovery_has_no_record_and_begins_where_the_last_block_ended() -> None:
    window, _ = redolab.block_window("R56", 5, 4, last_used=77)
    empty = empty_after(window, window.end)
    files = built(empty, bytes(512))
    layout = LAYOUTS["R56"]
    assert checkpoint_of(layout, files["ib_logfile0"]).lsn == window.start + 4 * 512 + 12
    first = files["ib_logfile0"][2048 : 2048 + 512]
    assert (blocks.used_bytes(first), first[6:8]) == (12, b"\0\0"), "no record group starts in it"
    assert layout.first_bad(first, empty.start) is None
    assert not any(files["ib_logfile0"][2048 + 512 :])
