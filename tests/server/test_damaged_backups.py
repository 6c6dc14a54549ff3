"""A backup that is not what was taken is found out before ``--prepare`` changes anything of its base."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from goldcopy.errors import BackupInvalid, UsageError
from lab import program
from lab.fronts import back_up
from lab.server import LabServer

from .conftest import MakeServer
from .test_peer_directories import our_prepare, real_backup

PAGE = 16384


def rewrite(path: Path, data: bytes) -> None:
    """Another file in its place: the copy at hand shares its files with the backup."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, at: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    rewrite(path, bytes(data))


def cut(path: Path) -> None:
    """Lose the last page."""
    rewrite(path, path.read_bytes()[:-PAGE])


def two(folder: Path, pattern: str) -> list[Path]:
    """The files that fit: delta and meta."""
    found = list(folder.glob(pattern))
    assert len(found) == 2
    return found


def reword(path: Path, old: str, new: str) -> None:
    """Let a text say something else."""
    assert old in path.read_text()
    rewrite(path, path.read_text().replace(old, new).encode())


def redo(backup: Path) -> Path:
    """The file that holds the redo log."""
    names = ("ib_logfile0", "goldcopy.redo", "xtrabackup_logfile")
    return next(backup / name for name in names if (backup / name).exists())


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file, and what would tell that it was written."""
    states = {str(p.relative_to(folder)): p.stat() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns) for name, s in states.items()}


FULL: dict[str, Callable[[Path], object]] = {
    "a bit of a table": lambda d: flip(d / "d/t.ibd", 3 * PAGE + 500),
    "a bit of the system tablespace": lambda d: flip(d / "ibdata1", 500),
}
FULL_OF_OURS: dict[str, Callable[[Path], object]] = {
    "a table cut short": lambda d: cut(d / "d/t.ibd"),
    "a table that is gone": lambda d: (d / "d/t.ibd").unlink(),
    "a MyISAM file that is gone": lambda d: (d / "d/my.MYD").unlink(),
    "a bit of the redo log": lambda d: flip(redo(d), 300),
}
INCREMENT: dict[str, Callable[[Path], object]] = {
    "a bit of a page": lambda d: flip(d / "d/t.ibd.delta", 3 * PAGE + 500),
    "a bit of the page numbers": lambda d: flip(d / "d/t.ibd.delta", 9),
    "the head of a delta": lambda d: flip(d / "d/t.ibd.delta", 2),
    "a delta cut short": lambda d: cut(d / "d/t.ibd.delta"),
    "a page size": lambda d: reword(d / "d/t.ibd.meta", "16384", "8192"),
    "a meta that is gone": lambda d: (d / "d/t.ibd.meta").unlink(),
    "a delta that is gone": lambda d: (d / "d/t.ibd.delta").unlink(),
    "delta and meta gone": lambda d: [(d / f"d/t.ibd.{end}").unlink() for end in ("delta", "meta")],
    "all of a partition gone": lambda d: [path.unlink() for path in two(d / "d", "part#[pP]#p1.*")],
}
INCREMENT_OF_OURS: dict[str, Callable[[Path], object]] = {
    "a space id": lambda d: reword(d / "d/t.ibd.meta", "space_id = ", "space_id = 1"),
}


def take(server: LabServer, tool: str, to: Path, base: Path | None = None) -> Path:
    """A backup by our program, or the server's own."""
    if tool == "real":
        return real_backup(server, to, base)
    back_up(server, to, *([f"--incremental-basedir={base}"] if base else []))
    return to


def filled(server: LabServer) -> None:
    """A table of a dozen pages, and one of another engine."""
    server.sql(
        "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200)) ENGINE=InnoDB",
        "CREATE TABLE d.my (id INT PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO d.my VALUES (1)",
        "CREATE TABLE d.part (id INT PRIMARY KEY) ENGINE=InnoDB PARTITION BY HASH(id) PARTITIONS 2",
        "INSERT INTO d.t (v) SELECT REPEAT('x', 150) FROM information_schema.columns LIMIT 900",
    )  # fmt: skip
    server.restart()


def refused(server: LabServer, target: Path, increment: Path | None = None) -> str:
    """The complaint of a prepare that must not have changed its base."""
    before = tree(target)
    with pytest.raises((BackupInvalid, UsageError)) as caught:
        our_prepare(server, target, increment, **({"apply_log_only": True} if not server.mariadb else {}))
    assert tree(target) == before
    return caught.value.message


@pytest.mark.parametrize(
    ("server_name", "tool"), [("mariadb-10.11", "ours"), ("mariadb-10.11", "real"), ("mysql-8.0", "ours")]
)
def test_damage_is_found_before_anything_is_changed(
    server_name: str, tool: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """Bits, lengths, files that are gone, in a full backup and in increments; and increments in a wrong order."""
    source = make_server(server_name)
    filled(source)
    chain = [take(source, tool, lab_dir / "full")]
    for number in (1, 2):
        source.sql(f"UPDATE d.t SET v = REPEAT('{number}', 150)")
        source.restart()
        chain.append(take(source, tool, lab_dir / f"inc{number}", chain[-1]))
    source.stop()
    full, one, two = chain
    work = lab_dir / "work"

    def damaged(backup: Path, damage: Callable[[Path], object]) -> Path:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(backup, work, copy_function=os.link)
        damage(work)
        return work

    mine = tool == "ours"
    for what, damage in {**FULL, **(FULL_OF_OURS if mine else {})}.items():
        assert refused(source, damaged(full, damage)), what
    salvaged = lab_dir / "salvaged"
    shutil.copytree(full, salvaged)
    FULL["a bit of a table"](salvaged)
    our_prepare(source, salvaged, force_recovery=1)
    refused(source, full, one)
    only = {} if source.mariadb else {"apply_log_only": True}
    our_prepare(source, full, **only)
    refused(source, full, two)
    for what, damage in {**INCREMENT, **(INCREMENT_OF_OURS if mine else {})}.items():
        assert refused(source, full, damaged(one, damage)), what
    (one / "d/db.opt").unlink(missing_ok=True)
    our_prepare(source, full, one, **only)
    our_prepare(source, full, one, **only)
    our_prepare(source, full, two, **only)
    refused(source, full, one)


def test_the_order_is_kept_although_the_server_was_idle(make_server: MakeServer, lab_dir: Path) -> None:
    """Then LSNs tell nothing: the backups' own names do."""
    source = make_server("mariadb-10.11")
    filled(source)
    full = take(source, "ours", lab_dir / "full")
    source.sql("INSERT INTO d.my VALUES (2)")
    one = take(source, "ours", lab_dir / "one", full)
    source.sql("INSERT INTO d.my VALUES (3)")
    two = take(source, "ours", lab_dir / "two", one)
    our_prepare(source, full)

    refused(source, full, two)
    our_prepare(source, full, one)
    our_prepare(source, full, two)
    refused(source, full, one)


def test_a_system_tablespace_of_several_files_is_no_damage(lab_dir: Path) -> None:
    """Its pages are numbered through all of them, and only the first file tells what they are like."""
    init = ("--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",)
    source = LabServer("mariadb-10.11", lab_dir / "source", ("--innodb-file-per-table=0",), init=init)
    source.create(cached=False).start()
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(4000)) ENGINE=InnoDB")
    source.sql("USE d", "INSERT INTO d.t SELECT seq, REPEAT('x', 3000) FROM seq_1_to_5000")
    source.restart()
    mine, theirs = take(source, "ours", lab_dir / "mine"), take(source, "real", lab_dir / "theirs")
    source.sql("UPDATE d.t SET v = 'y' WHERE id % 5 = 0")
    increment = take(source, "real", lab_dir / "increment", theirs)
    source.stop()
    for backup in (mine, theirs):
        damaged = lab_dir / f"damaged-{backup.name}"
        shutil.copytree(backup, damaged, copy_function=os.link)
        flip(damaged / "ibdata2", 300 * PAGE + 500)
        assert "ibdata2" in refused(source, damaged)

    program.run("check", str(mine))
    our_prepare(source, mine)
    our_prepare(source, theirs)
    our_prepare(source, theirs, increment)
