"""Other tools and people read these files: they must be what the original of each series writes, byte for byte."""

import re
from pathlib import Path

import pytest

from goldcopy.compat.infofiles import (
    Checkpoints,
    ExternalSpace,
    Info,
    binlog_info,
    binlog_pos_innodb,
    binlog_words,
    config,
    external_spaces,
    file_name,
    galera_info,
    parse_binlog_info,
    parse_tablespaces,
    slave_info,
    tablespaces,
)
from goldcopy.compat.peerdir import parse_settings
from goldcopy.dialect.peers import PEERS, peer_of
from goldcopy.errors import BackupInvalid
from goldcopy.image.manifest import LockTime, Manifest, Position, Redo, Replica, Server, Space

GOLDEN = Path(__file__).parent / "golden"
SERIES = {"10.5": "10.5.23", "10.11": "10.11.19", "11.8": "11.8.9"}
FILES = [path for path in sorted(GOLDEN.glob("mariadb-*/*/*")) if path.is_file()]


def replicas_in(text):
    """The replicas that a ``*_slave_info`` of any series describes."""
    gtid = next(iter(re.findall(r"SET GLOBAL gtid_(?:slave_pos|purged) *= *'([^']*)'", text)), "")
    for named, start in re.findall(r"CHANGE (?:MASTER|REPLICATION SOURCE)(?: '([^']*)')? TO (.*)", text):
        channel = named or next(iter(re.findall(r"FOR CHANNEL '([^']*)'", start)), "")
        at = re.search(r"_LOG_FILE='([^']*)'.*_LOG_POS=(\d+)", start)
        if at is None:
            yield Replica(channel=channel, gtid=gtid, auto_position=True)
        else:
            yield Replica(channel=channel, source_log_file=at[1], source_log_pos=int(at[2]))


def golden_peer(path):
    return peer_of("mariadb", SERIES[re.search(r"mariadb-([\d.]+)", str(path))[1]])


def again(path, text):
    peer = golden_peer(path)
    if path.name.endswith("_checkpoints"):
        return Checkpoints.parse(text).render(peer)
    if path.name.endswith("_binlog_info"):
        return binlog_info(parse_binlog_info(text))
    if path.name.endswith("_slave_info"):
        return slave_info(tuple(replicas_in(text)), peer)
    if path.name.endswith("_innodb"):
        name, position = text.rstrip("\n").split("\t")
        return binlog_pos_innodb(name, int(position))
    if path.name == "backup-my.cnf":
        return config(dict(parse_settings(text)), peer)
    return Info.parse(text).render(peer)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(GOLDEN)))
def test_every_file_of_the_real_mariadb_backup_is_written_again_byte_for_byte(path):
    text = path.read_text()
    assert again(path, text) == text


def test_the_golden_files_are_there():
    assert len(FILES) == 59


@pytest.mark.parametrize("series", SERIES)
def test_file_names_are_those_of_the_series(series):
    peer = peer_of("mariadb", SERIES[series])
    names = {p.name for p in (GOLDEN / f"mariadb-{series}/full").iterdir()}
    ours = {file_name(peer, what) for what in ("checkpoints", "info", "binlog_info", "slave_info")}
    assert names == ours | {"backup-my.cnf"}


def manifest(series="10.11", kind="full", **changes):
    facts = {
        "id": "b", "kind": kind, "tool": "goldcopy", "started": "2026-11-25T02:11:18.250Z",
        "finished": "2026-11-25T02:11:20.000Z",
        "server": Server(
            family="mariadb", version="10.11.19-MariaDB-0+deb12u1-log", dialect="mariadb-10.8", identity="i",
            variables={
                "innodb_data_file_path": "ibdata1:12M:autoextend", "innodb_log_file_size": "100663296",
                "innodb_page_size": "16384", "innodb_undo_directory": "./", "innodb_undo_tablespaces": "0",
                "innodb_compression_level": "6", "innodb_checksum_algorithm": "full_crc32",
            },
        ),
        "redo": Redo(layout="mariadb-10.8", start=44404, checkpoint=44404, end=47045),
        "position": Position(
            binlog_file="binlog.000001", binlog_position=762, gtid="0-7-3",
            replicas=(Replica(source_log_file="binlog.000002", source_log_pos=10900),),
        ),
        "spaces": (), "plain": (), "locks": (LockTime(lock="BACKUP STAGE", waited_s=1.0, held_s=0.2),),
    }  # fmt: skip
    return Manifest(**(facts | changes))


def test_a_backup_of_ours_is_described_as_the_real_tool_described_the_same_facts():
    peer = peer_of("mariadb", "10.11.19")
    full = GOLDEN / "mariadb-10.11/full"
    real = Info.parse((full / "xtrabackup_info").read_text())
    chain = Checkpoints.parse((full / "xtrabackup_checkpoints").read_text())
    ours = manifest(
        started=f"{real.start_time}.250Z".replace(" ", "T"),
        finished=f"{real.end_time}.000Z".replace(" ", "T"),
        redo=Redo(layout="mariadb-10.8", start=chain.to_lsn, checkpoint=chain.to_lsn, end=chain.last_lsn),
    )
    info = Info.of(
        ours, mariadb=True, uuid=real.uuid, tool_name=real.tool_name, tool_command=real.tool_command,
        tool_version=real.tool_version, ibbackup_version=real.ibbackup_version,
    )  # fmt: skip
    assert Checkpoints.of(ours).render(peer) == (full / "xtrabackup_checkpoints").read_text()
    assert info.render(peer) == (full / "xtrabackup_info").read_text()
    assert binlog_info(ours.position) == (full / "xtrabackup_binlog_info").read_text()
    assert slave_info(ours.position.replicas, peer) == (full / "xtrabackup_slave_info").read_text()
    assert config(ours.server.variables, peer) == (full / "backup-my.cnf").read_text()


def test_an_increment_chains_by_lsn():
    ours = Checkpoints.of(manifest(kind="incremental", since=40000))
    assert ours.render(peer_of("mariadb", "10.5.23")) == (
        "backup_type = incremental\nfrom_lsn = 40000\nto_lsn = 44404\nlast_lsn = 47045\n"
    )
    assert not ours.prepared


@pytest.mark.parametrize(
    ("family", "version", "last"), [("mariadb", "10.11.2", "log-applied"), ("mysql", "8.0.36", "full-prepared")]
)
def test_what_prepare_leaves_in_the_checkpoints(family, version, last):
    peer = peer_of(family, version)
    base = Checkpoints(backup_type="full-backuped", from_lsn=0, to_lsn=10, last_lsn=20)
    step = Checkpoints(backup_type="incremental", from_lsn=10, to_lsn=30, last_lsn=40)
    done = base.after_prepare(peer, step)
    assert (done.backup_type, done.from_lsn, done.to_lsn, done.last_lsn) == (last, 0, 30, 40)
    assert done.prepared
    assert base.after_prepare(peer, last=False).backup_type == "log-applied"


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        ("5.7.44", ["compact", "recover_binlog_info", "flushed_lsn"]),
        ("8.0.36", ["flushed_lsn", "redo_memory", "redo_frames"]),
        ("9.7.2", ["flushed_lsn", "redo_memory", "redo_frames"]),
    ],
)
def test_checkpoints_of_xtrabackup(version, keys):
    text = Checkpoints.of(manifest()).render(peer_of("mysql", version))
    assert [line.split(" = ")[0] for line in text.splitlines()][4:] == keys
    assert Checkpoints.parse(text).to_lsn == 44404


@pytest.mark.parametrize(
    ("version", "count", "there", "absent"),
    [
        ("5.7.44", 19, "compact", "server_flavor"),
        ("8.0.36", 18, "encrypted", "compact"),
        ("8.4.3", 22, "lock_ddl_type", "compact"),
        ("9.7.0", 22, "uncompressed_backup_size", "compact"),
    ],
)
def test_keys_of_the_info_file_by_series(version, count, there, absent):
    text = Info(compressed=True, encrypted=True).render(peer_of("mysql", version))
    keys = [line.split(" = ")[0] for line in text.splitlines()]
    assert len(keys) == count
    assert there in keys
    assert absent not in keys
    assert "compressed = compressed\n" in text
    assert "encrypted = Y\n" in text
    assert "name = \n" in text
    assert Info.parse(text).compressed
    assert "uncompressed_backup_size" not in Info().render(peer_of("mysql", version))


def test_each_server_has_the_peer_of_its_series():
    expected = {
        ("mariadb", "10.5.23"): "mariadb-backup 10.5", ("mariadb", "10.6.1"): "mariadb-backup 10.5",
        ("mariadb", "10.11.19-MariaDB-log"): "mariadb-backup 10.11", ("mariadb", "11.8.9"): "mariadb-backup 11.1",
        ("mysql", "5.6.51"): "XtraBackup 2.4", ("mysql", "8.0.45"): "XtraBackup 8.0",
        ("mysql", "8.4.3"): "XtraBackup 8.4", ("mysql", "9.7.0"): "XtraBackup 9",
    }  # fmt: skip
    assert {key: peer_of(*key).name for key in expected} == expected
    assert len({p.name for p in PEERS}) == len(PEERS)


def test_gtid_sets_stay_on_one_line():
    position = Position(binlog_file="b.1", binlog_position=4, gtid="a:1-5,\nb:1-7")
    assert binlog_info(position) == "b.1\t4\ta:1-5,b:1-7\n"
    assert binlog_words(position, mariadb=False).endswith("GTID of the last change 'a:1-5,b:1-7'")
    assert binlog_info(Position()) == ""
    assert binlog_words(Position(), mariadb=True) == ""


def test_of_several_binlogs_the_last_is_the_position():
    assert parse_binlog_info("b.1\t100\t[]\nb.2\t4\t0-1-2\n") == Position(
        binlog_file="b.2", binlog_position=4, gtid="0-1-2"
    )


FILE = Replica(source_log_file="b.2", source_log_pos=9)
NAMED = Replica(channel="m2", source_log_file="b.3", source_log_pos=8)
AUTO = Replica(gtid="u:1-9", auto_position=True)
GROUP = Replica(channel="group_replication_applier", source_log_file="x", source_log_pos=1)


@pytest.mark.parametrize(
    ("family", "version", "replicas", "text"),
    [
        ("mariadb", "10.11.1", (FILE, NAMED),
         "CHANGE MASTER TO MASTER_LOG_FILE='b.2', MASTER_LOG_POS=9;\n"
         "CHANGE MASTER 'm2' TO MASTER_LOG_FILE='b.3', MASTER_LOG_POS=8;\n"),
        ("mysql", "8.0.36", (FILE, NAMED, GROUP),
         "CHANGE MASTER TO MASTER_LOG_FILE='b.2', MASTER_LOG_POS=9;\n"
         "CHANGE MASTER TO MASTER_LOG_FILE='b.3', MASTER_LOG_POS=8 FOR CHANNEL 'm2';\n"),
        ("mysql", "5.7.44", (AUTO,), "SET GLOBAL gtid_purged='u:1-9';\nCHANGE MASTER TO MASTER_AUTO_POSITION=1\n"),
        ("mysql", "8.0.36", (AUTO,), "SET GLOBAL gtid_purged='u:1-9';\nCHANGE MASTER TO MASTER_AUTO_POSITION=1;\n"),
        ("mysql", "8.4.3", (AUTO,),
         "SET GLOBAL gtid_purged='u:1-9';\nCHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1;\n"),
        ("mysql", "8.0.36", (), ""),
    ],
)  # fmt: skip
def test_another_replica_can_be_set_up_from_slave_info(family, version, replicas, text):
    assert slave_info(replicas, peer_of(family, version)) == text
    assert tuple(replicas_in(text)) == tuple(r for r in replicas if r is not GROUP)


@pytest.mark.parametrize(
    ("family", "version", "text"),
    [
        ("mariadb", "10.11.1", "CHANGE MASTER 'it''s \\\\m' TO MASTER_LOG_FILE='b.3', MASTER_LOG_POS=8;\n"),
        ("mysql", "8.0.36", "CHANGE MASTER TO MASTER_LOG_FILE='b.3', MASTER_LOG_POS=8 FOR CHANNEL 'it''s \\\\m';\n"),
    ],
)
def test_a_channels_name_is_quoted_in_slave_info(family, version, text):
    channel = Replica(channel="it's \\m", source_log_file="b.3", source_log_pos=8)
    assert slave_info((channel,), peer_of(family, version)) == text


def test_galera_state():
    assert galera_info("uuid:12") == "uuid:12\n"
    assert galera_info("") == ""


def test_config_of_mysql_names_the_server():
    text = config({"server_id": "7", "innodb_page_size": "16384", "server_uuid": "u"}, peer_of("mysql", "8.0.36"))
    assert text.startswith("# This MySQL options file was generated by innobackupex.\n\n# The MySQL server\n[mysqld]\n")
    assert dict(parse_settings(text))["server_id"] == "7"
    assert dict(parse_settings(text))["innodb_log_checksums"] == "ON"
    assert "innodb_undo_directory" not in text


def test_external_tablespaces_find_their_way_back():
    outside = Space(path="db/t.ibd", external="/ssd/db/t.ibd", space_id=5, identity="1:2", page_size=16384,
                    size=1, size_final=1, stored="full")  # fmt: skip
    spaces = external_spaces((outside, Space(path="db/u.ibd", space_id=6, identity="1:3", page_size=16384,
                                             size=1, size_final=1, stored="full")))  # fmt: skip
    text = tablespaces(spaces)
    assert text == (
        '{"version":2,"external_tablespaces":[{"file_name":"/ssd/db/t.ibd","tablespace_name":"db/t",'
        '"tablespace_type":"TABLESPACE"}]}'
    )
    assert parse_tablespaces(text) == (ExternalSpace("/ssd/db/t.ibd", "db/t"),)
    row = '{"file_name":"/u/a.ibu","tablespace_name":"a","tablespace_type":"UNDO_LOG"}'
    undo = f'{{"version":2,"external_tablespaces":[{row}]}}'
    assert parse_tablespaces(undo)[0].undo
    assert tablespaces(parse_tablespaces(undo)) == undo


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (Checkpoints.parse, ""),
        (Checkpoints.parse, "no equals sign"),
        (Checkpoints.parse, "backup_type = full-backuped\nfrom_lsn = 0\n"),
        (Checkpoints.parse, "backup_type = x\nfrom_lsn = a\nto_lsn = 1\nlast_lsn = 1\n"),
        (Info.parse, "garbage"),
        (Info.parse, "lock_time = soon\n"),
        (parse_binlog_info, ""),
        (parse_binlog_info, "b.1"),
        (parse_binlog_info, "b.1\tx"),
        (parse_tablespaces, "{}"),
        (parse_tablespaces, "nonsense"),
        (parse_tablespaces, "[]"),
    ],
)
def test_damaged_files_are_said_to_be(read, text):
    with pytest.raises(BackupInvalid):
        read(text)
