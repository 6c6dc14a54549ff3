"""innobackupex as its runbooks have it: time-stamped directories, tar streams, increments, --apply-log."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab.fronts import ours
from lab.server import LabServer

from .conftest import MakeServer
from .test_xtrabackup_mysql import ROWS, checksum, with_rows


def innobackupex(server: LabServer, *words: object, **streams: object) -> str:
    """Run it against the server. Returns the log."""
    login = ("--no-defaults", f"--socket={server.socket}", "--user=root")
    return ours("innobackupex", *login, *map(str, words), **streams).stderr


def as_tar(server: LabServer, to: Path, *words: object) -> Path:
    """A backup through a tar archive, unpacked by the system's own tar."""
    archive = to.with_suffix(".tar")
    with open(archive, "wb") as out:
        innobackupex(server, "--stream=tar", *words, to.parent, stdout=out)
    to.mkdir()
    subprocess.run(["tar", "-xi", "-C", to, "-f", archive], check=True)
    return to


def brought_back(server: LabServer, prepared: Path, folder: Path) -> LabServer:
    """A server on what --copy-back made of it."""
    copy = LabServer(server.name, folder, server.options)
    ours("innobackupex", "--no-defaults", "--copy-back", f"--datadir={copy.datadir}", str(prepared))
    return copy.start()


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mysql-5.6"])
def test_a_chain_of_tar_archives(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    """Full and increment by ``tar -i``; the increment has its base by directory."""
    source = make_server(server_name)
    with_rows(source)
    full = as_tar(source, lab_dir / "full")
    source.sql(ROWS, "CREATE TABLE d.later LIKE d.t", "INSERT INTO d.later SELECT * FROM d.t")
    one = as_tar(source, lab_dir / "one", "--incremental", f"--incremental-basedir={full}")
    want = checksum(source), checksum(source, "d.later")
    source.stop()

    apply = ("--apply-log", f"--mysqld={source.mysqld}")
    ours("innobackupex", *apply, "--redo-only", str(full))
    ours("innobackupex", *apply, "--redo-only", f"--incremental-dir={one}", str(full))
    ours("innobackupex", *apply, str(full))

    if server_name == "mysql-5.6":
        # its InnoDB remembers the binlog position of its last commit; no DDL came after it
        recorded = (one / "xtrabackup_binlog_info").read_text().split()[:2]
        assert (full / "xtrabackup_binlog_pos_innodb").read_text().split() == recorded
    copy = brought_back(source, full, lab_dir / "copy")
    assert (checksum(copy), checksum(copy, "d.later")) == want


def test_directories_have_the_time_for_a_name_and_the_newest_is_the_base(
    make_server: MakeServer, lab_dir: Path
) -> None:
    """Compressed and encrypted full, increment on the newest beside it, --decrypt and --decompress, --ibbackup."""
    source = make_server("mysql-8.0")
    with_rows(source)
    root, secret = lab_dir / "backups", "--encrypt-key=0123456789abcdef"
    how = ("--compress", "--encrypt=AES128", secret, "--ibbackup=xtrabackup", "--rsync")
    log = innobackupex(source, *how, "--innodb-flush-method=O_DIRECT", root)
    (full,) = root.iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", full.name)
    assert "innobackupex: Starting the backup operation\n" in log
    assert "xtrabackup: using O_DIRECT\n" in log
    source.sql(ROWS)
    innobackupex(source, "--incremental", "--no-timestamp", f"--incremental-basedir={full}", lab_dir / "one")
    want = checksum(source)
    source.stop()

    ours("innobackupex", "--decrypt=AES128", secret, "--decompress", "--remove-original", str(full))
    apply = ("--apply-log", f"--mysqld={source.mysqld}")
    ours("innobackupex", *apply, "--redo-only", str(full))
    ours("innobackupex", *apply, f"--incremental-dir={lab_dir / 'one'}", str(full))

    assert checksum(brought_back(source, full, lab_dir / "copy")) == want
