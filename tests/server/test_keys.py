"""Keys of encrypted servers: which a backup needs, where they may come from, and what happens when they are not there."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab import keys, program
from lab.fronts import back_up, ours
from lab.keys import Ring
from lab.server import LabServer

from .conftest import need
from .test_errors import fails
from .test_xtrabackup_mysql import ROWS, checksum, with_rows

SERVERS = {
    "8.0 plugin": ("mysql-8.0", keys.ring_for),
    "8.0 component": ("mysql-8.0", keys.component_for),
    "9.7 component": ("mysql-9.7", keys.component_for),
}
ROTATE = "ALTER INSTANCE ROTATE INNODB MASTER KEY"
NOBODY = (65534, 65534) if os.geteuid() == 0 else (-1, -1)
PHRASE = "an exceedingly long phrase"


@pytest.fixture(params=list(SERVERS))
def encrypted(request: pytest.FixtureRequest, lab_dir: Path) -> tuple[LabServer, Ring]:
    """A running server with encrypted tables, redo and undo, and the dictionary's tablespace."""
    name, ring_of = SERVERS[request.param]
    return started(name, lab_dir, ring_of, "--binlog-encryption=ON")


def started(
    name: str, lab_dir: Path, ring_of: Callable[[str, Path], Ring] = keys.ring_for, *options: str
) -> tuple[LabServer, Ring]:
    """A server with a keyring, and all its tables encrypted."""
    need(name)
    ring = ring_of(name, lab_dir / "keys")
    ring = replace(ring, options=(*ring.options, *options))
    server = LabServer(name, lab_dir / "source", ring.options, binary=ring.binary).create().start()
    with_rows(server)
    server.sql("ALTER TABLE d.t ENCRYPTION = 'Y'", "ALTER TABLESPACE mysql ENCRYPTION = 'Y'")
    return server, ring


def plain_binary(server: LabServer) -> str:
    """The server's program where no keyring is configured."""
    return server.info.tool("mysqld")


def ring_without_newest(ring: Ring, to: Path) -> Path:
    """A copy of a keyring, as it was before the first key was made."""
    to.write_text(json.dumps({"version": "1.0", "elements": []}))
    return to


def component_config(ring: Path, to: Path) -> Path:
    """A component's configuration that names it."""
    to.write_text(json.dumps({"path": str(ring), "read_only": True}))
    return to


def state(directory: Path) -> dict[Path, tuple[int, int]]:
    """What would show that anything was written."""
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in directory.rglob("*")}


@pytest.mark.parametrize("encrypted", ["8.0 plugin", "9.7 component"], indirect=True)
def test_keys_are_looked_at_before_anything_is_written(encrypted: tuple[LabServer, Ring], lab_dir: Path) -> None:
    """Missing, older than the backup, of the same name but another key; then a copy elsewhere, by any program."""
    server, ring = encrypted
    program.backup(server, lab_dir / "b")
    server.sql(ROTATE, ROWS)
    program.backup(server, lab_dir / "i", lab_dir / "b")
    want = checksum(server)
    server.stop()
    kept, target = lab_dir / "kept", lab_dir / "r"
    shutil.move(ring.file, kept)
    before = state(lab_dir / "i")
    call = ("restore", "--from", str(lab_dir / "i"), "--datadir", str(target), "--mysqld", plain_binary(server))

    said = fails(12, *call, hint="--keyring")
    assert "INNODBKey-" in said and str(ring.file) in said
    old = ring_without_newest(ring, lab_dir / "old")
    assert "does not have the key" in fails(12, *call, "--keyring", str(old), hint="--keyring")
    wrong = lab_dir / "wrong"
    wrong.write_text(json.dumps({"version": "1.0", "elements": [
        {"user": "", "data_id": k.name, "data_type": "AES", "data": "00" * 32, "extension": []}
        for k in keys.parse_ring(kept.read_bytes())
    ]}))
    assert "is another one" in fails(12, *call, "--keyring", str(wrong), hint="--keyring")
    assert not target.exists()
    assert state(lab_dir / "i") == before

    held = kept.read_bytes()
    program.run(*call, "--keyring", str(component_config(kept, lab_dir / "c.cnf")))
    assert kept.read_bytes() == held
    shutil.move(kept, ring.file)
    copy = LabServer(server.name, lab_dir / "copy", ring.options, binary=ring.binary, datadir=target).start()
    assert checksum(copy) == want
    assert not copy.errors()


def test_keys_travel_under_a_pass_phrase_and_are_replaced_at_the_end(
    encrypted: tuple[LabServer, Ring], lab_dir: Path
) -> None:
    """--transition-key, a full and an increment across a rotation; --generate-new-master-key into an empty keyring."""
    server, ring = encrypted
    full, one = lab_dir / "full", lab_dir / "one"
    sealed = f"--transition-key={PHRASE}"
    log = back_up(server, full, sealed)
    assert PHRASE not in log + (full / "xtrabackup_info").read_text()
    server.sql(ROTATE, ROWS)
    back_up(server, one, sealed, f"--incremental-basedir={full}")
    want = checksum(server)
    server.stop()
    secrets = [k.secret for k in keys.parse_ring(ring.file.read_bytes()) if k.kind == "AES" and any(k.secret[9:])]
    for path in (p for d in (full, one) for p in d.rglob("*") if p.is_file()):
        data = path.read_bytes()
        assert not [s for s in secrets if s in data or s.hex().upper().encode() in data], path
    ring.file.unlink()

    call = ("xtrabackup", "--prepare", f"--target-dir={full}", f"--mysqld={plain_binary(server)}")
    ours(*call, "--apply-log-only")
    before = state(full)
    assert "pass phrase is another one" in ours(
        *call, f"--incremental-dir={one}", "--transition-key=wrong", status=1
    ).stderr
    assert state(full) == before
    ours(*call, f"--incremental-dir={one}", sealed)

    copy = LabServer(server.name, lab_dir / "copy", ring.options, binary=ring.binary)
    mode = "--copy-back" if server.name == "mysql-9.7" else "--move-back"
    bring = (
        "xtrabackup", "--no-defaults", mode, f"--target-dir={full}", f"--datadir={copy.datadir}",
        "--generate-new-master-key", f"--mysqld={plain_binary(server)}",
    )  # fmt: skip
    before = state(full)
    assert "keyring of the restored server" in ours(*bring, sealed, status=1).stderr
    assert "needs the key" in ours(*bring, *new_keyring(ring, lab_dir), status=1).stderr
    assert state(full) == before
    assert not copy.datadir.exists()
    copy.datadir.mkdir()
    os.chown(copy.datadir, *NOBODY)
    ours(*bring, sealed, *new_keyring(ring, lab_dir))
    innodb = [k.name for k in keys.parse_ring(ring.file.read_bytes()) if k.name.startswith("INNODBKey-")]
    assert len(innodb) == 1
    assert checksum(copy.start()) == want
    binlog, position = (one / "xtrabackup_binlog_info").read_text().split()[:2]
    assert copy.sql(f"SHOW BINLOG EVENTS IN '{binlog}'")[-1][4] == int(position)
    copy.sql(ROTATE)
    assert not copy.errors()


def test_the_master_key_is_rotated_all_the_time(lab_dir: Path) -> None:
    """Pages, redo header and redo then name different keys."""
    server, ring = started("mysql-9.7", lab_dir, keys.component_for)
    stopped = threading.Event()

    def rotate() -> None:
        while not stopped.is_set():
            server.sql(ROTATE, ROWS)

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        program.backup(server, lab_dir / "b", None, "--throttle-mb", "30")
        program.backup(server, lab_dir / "i", lab_dir / "b")
    finally:
        stopped.set()
        thread.join()
    for number, backup in enumerate(("b", "i")):
        copy = program.restore(server, lab_dir / backup, lab_dir / f"r{number}", options=ring.options)
        with copy.start():
            assert copy.sql("CHECK TABLE d.t")[0][3] == "OK"
            assert int(copy.value("SELECT COUNT(*) FROM d.t")) % 700 == 0
            assert not copy.errors()


def new_keyring(ring: Ring, lab_dir: Path) -> tuple[str, ...]:
    """Where the restored server will have its keys."""
    if any("keyring-file-data" in option for option in ring.options):
        return (f"--keyring-file-data={ring.file}",)
    return (f"--component-keyring-config={component_config(ring.file, lab_dir / 'component_keyring_file.cnf')}",)


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mysql-9.7"])
def test_exported_tables_are_imported_with_their_keys(server_name: str, lab_dir: Path) -> None:
    """--export writes .cfp beside .cfg; the importing server has a keyring of its own."""
    server, ring = started(server_name, lab_dir)
    want, backup = checksum(server), lab_dir / "backup"
    back_up(server, backup)
    server.stop()
    options = (f"--keyring-file-data={ring.file}", f"--mysqld={plain_binary(server)}")
    ours("xtrabackup", "--prepare", "--export", f"--target-dir={backup}", *options)

    ring.file.rename(lab_dir / "gone")
    other = LabServer(server_name, lab_dir / "other", ring.options, binary=ring.binary).create().start()
    other.sql(
        "CREATE DATABASE d",
        "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200)) ENGINE=InnoDB ENCRYPTION='Y'",
        "ALTER TABLE d.t DISCARD TABLESPACE",
    )
    for suffix in (".ibd", ".cfg", ".cfp"):
        shutil.copy(backup / "d" / f"t{suffix}", other.datadir / "d")
    other.sql("ALTER TABLE d.t IMPORT TABLESPACE")
    assert checksum(other) == want


def test_a_key_file_without_a_key_that_is_needed(lab_dir: Path) -> None:
    """MariaDB: the file is there, but a table was encrypted with a key that it has no more."""
    need("mariadb-10.11")
    ring = keys.ring_for("mariadb-10.11", lab_dir / "keys")
    with LabServer("mariadb-10.11", lab_dir / "source", ring.options).create().start() as server:
        with_rows(server)
        server.sql("ALTER TABLE d.t ENCRYPTED=YES ENCRYPTION_KEY_ID=2")
        server.restart()
        program.backup(server, lab_dir / "b")
        back_up(server, lab_dir / "peer")
        server.stop()
        whole = ring.file.read_text()
        ring.file.write_text(whole.splitlines()[0] + "\n")
        call = ("restore", "--from", str(lab_dir / "b"), "--datadir", str(lab_dir / "r"), "--mysqld", server.mysqld)
        assert "with key 2" in fails(12, *call, hint="--server-option")
        assert not (lab_dir / "r").exists()
        before = state(lab_dir / "peer")
        prepare = ("mariadb-backup", "--prepare", f"--target-dir={lab_dir / 'peer'}", f"--mysqld={server.mysqld}")
        assert "with key 2" in ours(*prepare, status=1).stderr
        assert state(lab_dir / "peer") == before
        ring.file.write_text(whole)
        program.run(*call)
        ours(*prepare)
