"""The peers' files in a directory of ours: other tools and people find what they look for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from goldcopy.compat.dirform import DirectoryForm, Facts
from goldcopy.compat.plugins import refuse_unreadable
from goldcopy.dialect.peers import peer_of
from goldcopy.errors import BackupInvalid, Unsupported
from goldcopy.image.directory import DirectorySink
from goldcopy.image.manifest import Manifest, Position, Redo, Replica, Server, Space

VARIABLES = {
    "innodb_data_file_path": "ibdata1:12M:autoextend", "innodb_log_file_size": "50331648", "innodb_page_size": "16384",
    "innodb_undo_directory": "./", "innodb_undo_tablespaces": "2", "innodb_checksum_algorithm": "crc32",
    "innodb_compression_level": "6", "innodb_buffer_pool_filename": "ib_buffer_pool", "server_id": "7",
}  # fmt: skip


def manifest(family="mysql", version="8.0.45", *, spaces=(), **rest) -> Manifest:
    return Manifest(
        id="m", kind="full", tool="goldcopy", started="2026-01-01T00:00:00.000Z", finished="2026-01-01T00:00:09.000Z",
        server=Server(family=family, version=version, dialect="d", identity="i"),
        redo=Redo(layout="r8030", start=512, checkpoint=700, end=900, size=1000),
        position=Position(
            binlog_file="binlog.000003", binlog_position=157, gtid="u:1-5", galera="cluster:9",
            replicas=(Replica(source_log_file="source.000001", source_log_pos=4),),
        ),
        spaces=spaces, plain=(), **rest,
    )  # fmt: skip


def written(directory: Path, given: Manifest, **facts) -> dict[str, str]:
    peer = peer_of(given.server.family, given.server.version)
    with DirectorySink(str(directory)) as sink:
        form = DirectoryForm(sink, Facts(peer=peer, variables=VARIABLES, **facts))
        form(given)
        form.complete()
        return {p.name: p.read_text() for p in directory.iterdir()}


def test_mysql_gets_xtrabackups_files(tmp_path: Path) -> None:
    outside = Space(
        path="d/t.ibd", external="/ssd/d/t.ibd", space_id=5, identity="x", page_size=16384, size=1, size_final=1,
        stored="full",
    )  # fmt: skip
    files = written(tmp_path / "b", manifest(spaces=(outside,)), slave_info=True)
    assert set(files) == {
        "backup-my.cnf", "xtrabackup_binlog_info", "xtrabackup_checkpoints", "xtrabackup_info",
        "xtrabackup_slave_info", "xtrabackup_tablespaces",
    }
    assert files["xtrabackup_binlog_info"] == "binlog.000003\t157\tu:1-5\n"
    assert "to_lsn = 700\nlast_lsn = 900\n" in files["xtrabackup_checkpoints"]
    assert '"file_name":"/ssd/d/t.ibd","tablespace_name":"d/t"' in files["xtrabackup_tablespaces"]
    assert "source.000001" in files["xtrabackup_slave_info"]


def test_mariadb_gets_its_own_names_and_key_settings(tmp_path: Path) -> None:
    settings = ('plugin_dir="/p/"', "plugin_load=k=k")
    files = written(tmp_path / "b", manifest("mariadb", "11.8.6-MariaDB"), plugin_settings=settings, galera_info=True)
    assert {"mariadb_backup_checkpoints", "mariadb_backup_info", "mariadb_backup_galera_info"} < set(files)
    assert files["backup-my.cnf"].endswith('innodb_compression_level=6\n\nplugin_dir="/p/"\nplugin_load=k=k\n\n')
    assert files["mariadb_backup_galera_info"] == "cluster:9\n"


def test_what_was_not_asked_for_is_not_written(tmp_path: Path) -> None:
    files = written(tmp_path / "b", manifest(), binlog_info=False)
    assert not {"xtrabackup_binlog_info", "xtrabackup_slave_info", "xtrabackup_galera_info"} & set(files)


def test_a_second_copy_of_the_lsns_goes_where_the_user_wants_it(tmp_path: Path) -> None:
    files = written(tmp_path / "b", manifest(), extra_lsndir=str(tmp_path / "lsn" / "new"))
    extra = {p.name: p.read_text() for p in (tmp_path / "lsn" / "new").iterdir()}
    assert extra == {name: files[name] for name in ("xtrabackup_checkpoints", "xtrabackup_info")}


def test_the_need_of_memory_is_recorded_on_request(tmp_path: Path) -> None:
    files = written(tmp_path / "b", manifest(), estimate_memory=True)
    assert "redo_memory = 4000\n" in files["xtrabackup_checkpoints"]


def test_corrupt_pages_that_were_let_through_are_listed(tmp_path: Path) -> None:
    bad = Space(
        path="d/t.ibd", space_id=5, identity="x", page_size=16384, size=1, size_final=1, stored="full", corrupt=(3, 7)
    )
    files = written(tmp_path / "b", manifest(spaces=(bad,)))
    assert files["innodb_corrupted_pages"] == "d/t 5\n3 7\n"


def test_redo_that_is_not_whole_is_no_backup(tmp_path: Path) -> None:
    given = manifest("mariadb", "11.8.6-MariaDB")
    given = msgspec.structs.replace(given, redo=Redo(layout="R108", start=700, checkpoint=700, end=900, header="50687973" + "00" * 508))
    (tmp_path / "spool").write_bytes(bytes(100))
    with pytest.raises(BackupInvalid, match="not whole"):
        written(tmp_path / "b", given, spool=str(tmp_path / "spool"))


def test_a_table_that_no_server_could_recover_is_refused() -> None:
    lz4 = Space(
        path="d/t.ibd", space_id=5, identity="x", page_size=16384, size=1, size_final=1, stored="full",
        flags=0x10 | 5 | 2 << 5,
    )  # fmt: skip
    refuse_unreadable((lz4,), frozenset({"snappy"}))
    with pytest.raises(Unsupported, match="lz4"):
        refuse_unreadable((lz4,), frozenset({"lz4"}))
