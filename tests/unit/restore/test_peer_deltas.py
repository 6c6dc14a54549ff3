"""A damaged page in an increment that has no sums of ours is found before it is laid over the backup."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from fastcrc import crc32

from goldcopy.compat.increments import read_increment
from goldcopy.compat.peerdir import PeerDir, read_peer_dir
from goldcopy.compat.verify import refuse_damaged
from goldcopy.errors import BackupInvalid
from goldcopy.events import silent
from goldcopy.formats.delta import DeltaEncoder

PAGE, FLAGS, MAGIC = 16384, 0x15, 536853855


def page(number: int, *, doublewrite: bool = False) -> bytes:
    """A page of MariaDB's system tablespace."""
    data = bytearray(PAGE)
    struct.pack_into(">I", data, 4, number)
    struct.pack_into(">Q", data, 16, 1000)
    if number == 0:
        struct.pack_into(">I", data, 54, FLAGS)
    if doublewrite:
        struct.pack_into(">III", data, PAGE - 200 + 10, MAGIC, 64, 128)
    data[-4:] = crc32.iscsi(bytes(data[:-4])).to_bytes(4, "big")
    return bytes(data)


def described(home: Path, checkpoints: str) -> PeerDir:
    """A directory of the real mariadb-backup."""
    (home / "xtrabackup_checkpoints").write_text(checkpoints)
    (home / "xtrabackup_info").write_text("server_version = 10.11.2-MariaDB\n")
    (home / "backup-my.cnf").write_text("[mysqld]\ninnodb_data_file_path=ibdata1:12M:autoextend\n")
    return read_peer_dir(str(home))


def chain(root: Path, pages: dict[int, bytes], *, doublewrite: bool) -> tuple[PeerDir, PeerDir]:
    """A prepared base, and an increment with these pages of ibdata1."""
    (root / "base").mkdir()
    (root / "base/ibdata1").write_bytes(b"".join(page(n, doublewrite=doublewrite and n == 5) for n in range(8)))
    (root / "inc").mkdir()
    encoder, blocks = DeltaEncoder(PAGE), []
    for number, data in pages.items():
        blocks += encoder.add(number, data)
    blocks += encoder.finish()
    (root / "inc/ibdata1.delta").write_bytes(b"".join(block.data for block in sorted(blocks, key=lambda b: b.offset)))
    (root / "inc/ibdata1.meta").write_text(f"page_size = {PAGE}\nzip_size = 0 \nspace_id = 0\n")
    base = described(root / "base", "backup_type = log-applied\nfrom_lsn = 0\nto_lsn = 5\nlast_lsn = 6\n")
    return base, described(root / "inc", "backup_type = incremental\nfrom_lsn = 5\nto_lsn = 7\nlast_lsn = 8\n")


@pytest.mark.parametrize(
    ("number", "doublewrite", "refused"),
    # other tablespaces' pages lie in the doublewrite extents, where the base has such
    [(3, True, True), (70, True, False), (70, False, True), (200, True, True)],
)
def test_a_wrong_page_is_found_wherever_the_tablespaces_own_pages_lie(
    tmp_path: Path, number: int, doublewrite: bool, refused: bool
) -> None:
    wrong = page(number)[:-5] + b"x" + page(number)[-4:]
    base, increment = chain(tmp_path, {2: page(2), number: wrong}, doublewrite=doublewrite)
    contents = read_increment(increment, partial=False)
    if refused:
        with pytest.raises(BackupInvalid, match=f"page {number}"):
            refuse_damaged(base, increment, contents, silent, go_on=False)
    else:
        refuse_damaged(base, increment, contents, silent, go_on=False)


def test_pages_that_are_right_are_no_damage(tmp_path: Path) -> None:
    base, increment = chain(tmp_path, {n: page(n) for n in (1, 70, 200)}, doublewrite=True)
    refuse_damaged(base, increment, read_increment(increment, partial=False), silent, go_on=False)
