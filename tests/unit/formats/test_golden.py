"""What real servers wrote is understood: no healthy page condemned, no redo misread."""

from __future__ import annotations

import re
from pathlib import Path

import golden
import pytest

from goldcopy.capture.redo_base import RedoSource
from goldcopy.capture.redo_source import open_source
from goldcopy.formats import Lsn
from goldcopy.formats.innodb import sums
from goldcopy.formats.innodb.page import (
    ChunkVerifier,
    Geometry,
    doublewrite_pages,
    geometry,
    is_unwritten,
    page_no,
    page_space_id,
)
from goldcopy.formats.redo import LAYOUTS, Window, blocks, rebuild, verify
from goldcopy.formats.redo.mtr import Walker
from goldcopy.restore.redo_files import write_logs

SPACES = sorted(golden.INDEX["spaces"])
# what nobody can verify, by the format itself
WITHOUT_SUMS = {"mariadb-crc32-compressed"}
LAYOUTS_SEEN = sorted(golden.INDEX["redo"])


def space(name: str, *, legacy: bool = False) -> tuple[bytearray, Geometry, ChunkVerifier]:
    data = bytearray(golden.load(name))
    found = geometry(data[:16384], golden.family(name))
    return data, found, ChunkVerifier(memoryview(data), found, legacy=legacy)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_every_page_of_a_healthy_tablespace_is_right(name: str, legacy: bool) -> None:
    data, found, verifier = space(name, legacy=legacy)
    assert not is_unwritten(data[:16384])
    assert page_space_id(data) == found.space_id
    assert verifier.bad(len(data)) == []
    assert bool(verifier.unverifiable(len(data))) == (name in WITHOUT_SUMS)


@pytest.mark.parametrize("name", SPACES)
def test_every_page_of_a_real_tablespace_is_watched(name: str) -> None:
    data, found, verifier = space(name)
    n = found.page_size
    unwatched = set(verifier.unverifiable(len(data)))
    used = [i for i in range(len(data) // n) if any(data[i * n : (i + 1) * n]) and i not in unwatched]
    assert used
    for index in used:
        at = index * n + 10  # the previous page's number: every sum covers it
        data[at] ^= 0x10
        assert verifier.bad(len(data)) == ([] if name == "mysql-none" else [index])
        data[at] ^= 0x10


def test_the_shapes_are_told_by_page_0() -> None:
    shapes = {name: space(name)[1] for name in SPACES}
    assert {n for n, g in shapes.items() if g.encrypted} == {n for n in SPACES if "encrypted" in n}
    compressed = {"full_crc32-compressed", "mariadb-crc32-compressed"}
    assert {n for n, g in shapes.items() if g.page_compressed} == compressed
    zips = {n: g.zip_size for n, g in shapes.items() if g.zip_size}
    assert zips == {"mariadb-zip": 8192, "mariadb-zip-encrypted": 4096, "mysql-zip": 2048, "mysql-zip-innodb": 8192}
    assert all(g.logical_size == 16384 for g in shapes.values())


def test_mysqls_compressed_pages_are_decompressed_and_their_sum_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _, verifier = space("mysql-lz4")
    kinds = [verifier.page_type(i) for i in range(len(data) // 16384)]
    assert sums.MYSQL_COMPRESSED in kinds
    assert sums.MYSQL_COMPRESSED in [space("mysql-zlib")[2].page_type(i) for i in range(len(kinds))]
    monkeypatch.setattr(sums, "_lz4_decompress", lambda: None)
    assert verifier.bad(len(data)) == []
    assert verifier.unverifiable(len(data)) == [i for i, k in enumerate(kinds) if k == sums.MYSQL_COMPRESSED]


@pytest.mark.parametrize(("name", "family"), [("full_crc32", "mariadb"), ("mysql-innodb", "mysql")])
def test_the_doublewrite_extents_of_a_real_system_tablespace(name: str, family: str) -> None:
    data = golden.load(f"{name}.system")
    found = geometry(data[:16384], family)
    extents = doublewrite_pages(data[16384:], found)
    assert page_no(data[16384:]) == 5
    assert len(extents) == 128
    assert min(extents) == 64


def end_of_log(source: RedoSource, checkpoint: Lsn) -> tuple[Lsn, Lsn, bytes]:
    """Where a dead server's log ends: (start of the window, end, its bytes)."""
    if source.block == 1:
        return stream_end(source, checkpoint)
    layout = LAYOUTS[source.layout]
    assert isinstance(layout, blocks.BlockLayout)
    start = at = blocks.floor(checkpoint)
    data = b""
    while True:
        block = source.read(Lsn(at), Lsn(at + 512))
        data += block
        at += 512
        if blocks.used_bytes(block) < 512:
            return Lsn(start), Lsn(at - 512 + blocks.used_bytes(block)), data


def stream_end(source: RedoSource, checkpoint: Lsn) -> tuple[Lsn, Lsn, bytes]:
    assert source.capacity
    data = source.read(checkpoint, Lsn(checkpoint + source.capacity - 1))
    facts = source.window(checkpoint, source.checkpoint(), checkpoint)
    walker = Walker(checkpoint, facts.first_lsn, facts.capacity, encrypted=False)
    with pytest.raises(ValueError, match=r"LSN \d+") as stopped:
        walker.feed(data)
    end = int(re.findall(r"LSN (\d+)", str(stopped.value))[0])
    return checkpoint, Lsn(end), data[: end - checkpoint]


@pytest.fixture(params=LAYOUTS_SEEN)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Window, bytes]:
    """The window from the last checkpoint to the end of a killed server's log."""
    log = golden.log_directory(request.param, tmp_path)
    family = "mariadb" if golden.INDEX["redo"][request.param]["server"].startswith("mariadb") else "mysql"
    with open_source(log, family) as source:
        assert source.layout == request.param
        checkpoint = source.checkpoint()
        start, end, data = end_of_log(source, checkpoint.lsn)
        assert source.exact_last_block(end) == b""
        return source.window(start, checkpoint, end), data


def test_the_redo_of_a_killed_server_is_whole(real: tuple[Window, bytes]) -> None:
    window, data = real
    assert window.end - window.checkpoint > 20_000, "the inserts of the golden script"
    assert b"q" * 300 in data, "its last UPDATE"
    verify(window, lambda offset, length: data[offset : offset + length])


def test_one_wrong_byte_in_real_redo_is_found(real: tuple[Window, bytes]) -> None:
    window, data = real
    for at in range(window.checkpoint - window.start, window.end - window.start, 997):
        damaged = bytearray(data)
        damaged[at] ^= 0x40
        with pytest.raises(ValueError, match=r"LSN|cut short"):
            verify(window, lambda offset, length, d=bytes(damaged): d[offset : offset + length])


@pytest.mark.parametrize("fresh", [False, True])
def test_a_rebuilt_log_reads_back_as_the_same_window(
    real: tuple[Window, bytes], fresh: bool, tmp_path: Path
) -> None:
    window, data = real
    stored, target = tmp_path / "goldcopy.redo", tmp_path / "restored"
    stored.write_bytes(data)
    (target / "#innodb_redo").mkdir(parents=True)
    for stale in ("ib_logfile7", "#innodb_redo/#ib_redo3_tmp"):
        (target / stale).write_bytes(b"old")
    files = write_logs(window, str(stored), str(target), force_fresh=fresh)
    left = {str(p.relative_to(target)): p.stat().st_size for p in target.rglob("*") if p.is_file()}
    assert left == {f.name: f.size for f in files}
    family = "mysql" if window.layout in ("R8030", "R56") else "mariadb"
    with open_source(str(target), family) as source:
        checkpoint = source.checkpoint()
        assert (checkpoint.lsn, checkpoint.end_lsn) == (window.checkpoint, window.checkpoint_end)
        start, end, again = end_of_log(source, checkpoint.lsn)
    assert (start, end) == (window.start, window.end)
    changed = sum(a != b for a, b in zip(data, again, strict=True))
    assert changed == 0 or (fresh and window.layout == "R108")


def test_rebuilding_never_needs_the_whole_window_at_once(real: tuple[Window, bytes]) -> None:
    window, data = real
    asked = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return data[offset : offset + length]

    assert sum(len(p.data) for p in rebuild(window, read)) > len(data)
    assert max(asked) <= 1 << 20
