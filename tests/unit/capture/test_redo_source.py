"""Redo that a server overwrites or replaces under our eyes is never taken for the redo that was wanted."""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from pathlib import Path

import pytest
from fastcrc import crc32

from goldcopy.capture import redo_base, redo_blocks
from goldcopy.capture.redo_source import open_source
from goldcopy.errors import RedoOverrun, ServerRefused, Unsupported
from goldcopy.formats import Lsn

crc = crc32.iscsi
START = 512 * 1000


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (redo_base, redo_blocks):
        for name in ("READ_TRIES", "SCAN_TRIES", "HEADER_TRIES"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 20)


def sealed(block: bytearray) -> bytes:
    struct.pack_into(">I", block, len(block) - 4, crc(bytes(block[:-4])))
    return bytes(block)


def block(lsn: int, used: int = 512, *, encrypted: bool = False) -> bytes:
    data = bytearray(random.Random(lsn).randbytes(512))
    struct.pack_into(">IHHI", data, 0, (lsn // 512 & 0x3FFFFFFF) + 1, used | encrypted << 15, 12, 1)
    return bytes(data) if encrypted else sealed(data)


def header(version: int, first_lsn: int, flags: int = 0) -> bytes:
    data = bytearray(512)
    struct.pack_into(">IIQ", data, 0, version, 0, first_lsn)
    struct.pack_into(">I", data, 48, flags)
    return sealed(data)


def redo_file(directory: Path, number: int, start: int, blocks: int, *, checkpoint: int = 0, flags: int = 0) -> Path:
    """One #ib_redoN, full of blocks."""
    point = bytearray(512)
    struct.pack_into(">Q", point, 8, checkpoint)
    first = header(6, start, flags) + sealed(point) + bytes(1024)
    path = directory / f"#ib_redo{number}"
    path.write_bytes(first + b"".join(block(start + i * 512) for i in range(blocks)))
    return path


@pytest.fixture
def file_set(tmp_path: Path) -> Path:
    """Two files of 8 blocks; the first one has a stale checkpoint of a former life besides."""
    directory = tmp_path / "#innodb_redo"
    directory.mkdir()
    redo_file(directory, 7, START, 8, checkpoint=START + 8 * 512 * 40)
    redo_file(directory, 8, START + 8 * 512, 8, checkpoint=START + 8 * 512 + 100)
    (directory / "#ib_redo9_tmp").write_bytes(b"spare")
    return directory


def stream_log(path: Path, first_lsn: int, data_bytes: int, content: bytes, at: int, *, checkpoint: int) -> None:
    """An ib_logfile0 of MariaDB >= 10.8 with ``content`` from LSN ``at`` on."""
    log = bytearray(12288 + data_bytes)
    log[:512] = header(0x50687973, first_lsn)
    point = bytearray(64)
    struct.pack_into(">QQ", point, 0, checkpoint, checkpoint)
    log[4096:4160] = sealed(point)
    for i, byte in enumerate(content):
        log[12288 + (at + i - first_lsn) % data_bytes] = byte
    temporary = path.with_suffix(".new")
    temporary.write_bytes(log)
    os.rename(temporary, path)


def test_blocks_are_read_across_files(file_set: Path) -> None:
    with open_source(str(file_set.parent), "mysql") as source:
        assert (source.layout, source.block, source.capacity) == ("R8030", 512, None)
        assert source.checkpoint().lsn == START + 8 * 512 + 100, "not the stale one"
        data = source.read(Lsn(START + 7 * 512), Lsn(START + 9 * 512 - 100))
        assert data == block(START + 7 * 512) + block(START + 8 * 512)


def test_a_removed_file_is_an_overrun(file_set: Path) -> None:
    with open_source(str(file_set.parent), "mysql") as source:
        os.unlink(file_set / "#ib_redo7")
        redo_file(file_set, 9, START + 16 * 512, 8)
        assert source.read(Lsn(START + 16 * 512), Lsn(START + 17 * 512)) == block(START + 16 * 512)
        with pytest.raises(RedoOverrun, match=f"LSN {START} is gone"):
            source.read(Lsn(START), Lsn(START + 512))


def test_a_recycled_file_is_an_overrun_although_it_is_still_open(file_set: Path) -> None:
    with open_source(str(file_set.parent), "mysql") as source:
        path = file_set / "#ib_redo7"
        recycled = redo_file(file_set, 99, START + 16 * 512, 8).read_bytes()
        os.unlink(file_set / "#ib_redo99")
        with path.open("r+b") as f:
            f.write(recycled)
        os.rename(path, file_set / "#ib_redo9")
        with pytest.raises(RedoOverrun):
            source.read(Lsn(START), Lsn(START + 512))


def test_a_block_that_is_being_written_is_read_again(file_set: Path) -> None:
    path = file_set / "#ib_redo8"
    whole = path.read_bytes()
    torn = bytearray(whole)
    torn[2048 + 200] ^= 1
    path.write_bytes(torn)
    with open_source(str(file_set.parent), "mysql") as source:
        writer = threading.Timer(0.02, path.write_bytes, [whole])
        writer.start()
        assert source.read(Lsn(START + 8 * 512), Lsn(START + 9 * 512)) == block(START + 8 * 512)
        writer.join()


def test_a_block_that_stays_wrong_is_no_redo(file_set: Path) -> None:
    path = file_set / "#ib_redo8"
    torn = bytearray(path.read_bytes())
    torn[2048 + 200] ^= 1
    path.write_bytes(torn)
    with open_source(str(file_set.parent), "mysql") as source, pytest.raises(RedoOverrun):
        source.read(Lsn(START + 8 * 512), Lsn(START + 9 * 512))


def test_a_set_with_a_gap_is_refused(file_set: Path) -> None:
    redo_file(file_set, 9, START + 20 * 512, 8)
    with pytest.raises(ServerRefused, match="gapless"):
        open_source(str(file_set.parent), "mysql")


def test_an_encrypted_last_block_must_end_where_the_backup_does(file_set: Path) -> None:
    path = file_set / "#ib_redo8"
    data = bytearray(path.read_bytes())
    last = START + 15 * 512
    data[-512:] = block(last, 300, encrypted=True)
    path.write_bytes(data)
    with open_source(str(file_set.parent), "mysql") as source:
        assert source.exact_last_block(Lsn(last + 300)) == data[-512:]
        assert source.exact_last_block(Lsn(last + 250)) is None
        assert source.exact_last_block(Lsn(last)) == b""
        assert source.exact_last_block(Lsn(last - 100)) == b""


def test_the_encryption_block_is_found_in_whichever_file_has_it(file_set: Path) -> None:
    key = bytearray(512)
    key[48:51] = b"lCC"
    path = file_set / "#ib_redo7"
    data = bytearray(path.read_bytes())
    data[1024:1536] = key
    path.write_bytes(data)
    with open_source(str(file_set.parent), "mysql") as source:
        window = source.window(Lsn(START), source.checkpoint(), Lsn(START + 100))
        assert window.encryption == bytes(key)


def test_an_end_on_a_border_does_not_wait_for_a_block_never_written(file_set: Path) -> None:
    with open_source(str(file_set.parent), "mysql") as source:
        end = START + 16 * 512 + 12
        data = source.read(Lsn(START + 15 * 512), Lsn(end))
        assert data == block(START + 15 * 512) + bytes(512)


def test_switched_off_redo_logging_is_refused(file_set: Path) -> None:
    redo_file(file_set, 8, START + 8 * 512, 8, checkpoint=START + 8 * 512 + 100, flags=1)
    with open_source(str(file_set.parent), "mysql") as source, pytest.raises(Unsupported, match="disabled"):
        source.checkpoint()


def test_circular_blocks_of_a_later_round_are_an_overrun_at_once(tmp_path: Path) -> None:
    blocks, data_bytes = 8, 8 * 512
    point = bytearray(512)
    struct.pack_into(">QQQ", point, 0, 3, START + 100, 2048 + 100)
    log = header(0x50485953, START) + sealed(point) + bytes(1024)
    path = tmp_path / "ib_logfile0"
    path.write_bytes(log + b"".join(block(START + i * 512) for i in range(blocks)))
    with open_source(str(tmp_path), "mariadb") as source:
        assert (source.layout, source.capacity) == ("R105", data_bytes)
        assert source.checkpoint().lsn == START + 100
        wrapped = source.read(Lsn(START + 7 * 512), Lsn(START + 8 * 512))
        assert wrapped == block(START + 7 * 512)
        with path.open("r+b") as f:
            f.seek(2048)
            f.write(block(START + data_bytes))
        assert source.read(Lsn(START + data_bytes), Lsn(START + data_bytes + 512)) == block(START + data_bytes)
        before = time.monotonic()
        with pytest.raises(RedoOverrun, match=f"LSN {START} is gone"):
            source.read(Lsn(START), Lsn(START + 512))
        assert time.monotonic() - before < 1


@pytest.mark.parametrize(("full", "used", "end"), [(3, 200, 3 * 512 + 200), (3, 0, 3 * 512), (0, 90, 100)])
def test_circular_blocks_that_no_server_writes_end_where_they_do(
    tmp_path: Path, full: int, used: int, end: int
) -> None:
    """The server runs without InnoDB: whole blocks, then one that is not full, or what an earlier round left."""
    point = bytearray(512)
    struct.pack_into(">QQQ", point, 0, 3, START + 100, 2048 + 100)
    log = header(0x50485953, START) + sealed(point) + bytes(1024)
    blocks = [block(START + i * 512) for i in range(full)]
    blocks += [block(START + full * 512, used)] if used else []
    blocks += [block(START - 50 * 512)] * 4
    (tmp_path / "ib_logfile0").write_bytes(log + b"".join(blocks))
    with open_source(str(tmp_path), "mariadb") as source:
        assert source.idle_end(source.checkpoint()) == START + end


def test_a_stream_is_read_around_the_end_of_its_file(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(700)
    stream_log(tmp_path / "ib_logfile0", 20000, 1000, content, 20800, checkpoint=20800)
    with open_source(str(tmp_path), "mariadb") as source:
        assert (source.layout, source.block, source.capacity) == ("R108", 1, 1000)
        assert source.checkpoint().lsn == 20800
        assert source.read(Lsn(20800), Lsn(21500)) == content
        with pytest.raises(RedoOverrun):
            source.read(Lsn(20000), Lsn(21001))


def test_a_stream_log_that_is_replaced_goes_on_at_the_same_lsn(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(900)
    path = tmp_path / "ib_logfile0"
    stream_log(path, 20000, 1000, content[:700], 20800, checkpoint=20800)
    with open_source(str(tmp_path), "mariadb") as source:
        checkpoint = source.checkpoint()
        assert source.read(Lsn(20800), Lsn(21000)) == content[:200]
        assert source.window(checkpoint.lsn, checkpoint, Lsn(21000)).capacity == 1000
        stream_log(path, 21300, 5000, content[500:], 21300, checkpoint=21300)
        assert source.read(Lsn(21000), Lsn(21700)) == content[200:], "the old file, then the new one"
        assert source.capacity == 5000
        window = source.window(checkpoint.lsn, checkpoint, Lsn(21700))
        assert window.capacity == 0, "its sequence bits follow two geometries"
        newer = source.checkpoint()
        assert source.window(newer.lsn, newer, Lsn(21700)).capacity == 5000


def test_no_redo_log_and_an_unknown_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ServerRefused, match="no redo log"):
        open_source(str(tmp_path), "mysql")
    (tmp_path / "ib_logfile0").write_bytes(header(77, 1))
    with pytest.raises(Unsupported, match="unknown format"):
        open_source(str(tmp_path), "mysql")


def test_an_empty_new_directory_does_not_hide_the_old_log(tmp_path: Path) -> None:
    (tmp_path / "#innodb_redo").mkdir()
    stream_log(tmp_path / "ib_logfile0", 20000, 1000, b"", 20000, checkpoint=20000)
    with open_source(str(tmp_path), "mariadb") as source:
        assert source.layout == "R108"
