"""What ``info`` leaves out, nobody finds on the worst day."""

from __future__ import annotations

import errno

import pytest

from goldcopy.cli import main
from goldcopy.commands.info import of
from goldcopy.errors import NoSpace, TargetRefused, system_failure, write_failure
from goldcopy.image.manifest import LockTime, Manifest, Position, Redo, Replica, Server

REPLICAS = (
    Replica(source_host="db1", source_port=3306, source_log_file="binlog.000002", source_log_pos=10900),
    Replica(channel="m2", source_host="db2", source_port=3307, source_log_file="b.3", source_log_pos=8, gtid="u:1-9"),
)


def manifest(position):
    return Manifest(
        id="b", kind="full", tool="goldcopy", started="2026-11-25T02:11:18.250Z", finished="2026-11-25T02:11:20.000Z",
        server=Server(family="mysql", version="9.7.0", dialect="mysql-8.0.30", identity="i"),
        redo=Redo(layout="mysql-8.0.30", start=512, checkpoint=600, end=1024), position=position,
        spaces=(), plain=(), locks=(LockTime(lock="instance", waited_s=0.0, held_s=0.10570624799947836),),
    )


def test_where_a_replicas_sources_stood_is_shown():
    shown = of(manifest(Position(binlog_file="x.1", binlog_position=4, replicas=REPLICAS))).replica_of
    assert shown == ("db1:3306 binlog.000002:10900", "m2 db2:3307 b.3:8 u:1-9")


@pytest.mark.parametrize(("position", "lines"), [(Position(), 0), (Position(binlog_file="x.1", binlog_position=4), 2)])
def test_people_see_a_position_only_where_there_is_one(position, lines, capsys):
    main._show(of(manifest(position)), as_json=False)
    text = capsys.readouterr().out
    assert text.count("binlog ") == lines
    assert "locked s         0.105706\n" in text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_a_quota_and_a_file_that_are_full_have_one_status(number):
    e = OSError(number, "what the system said", "/backup/f")
    for error in (write_failure(e, "/backup/f"), system_failure(e)):
        assert isinstance(error, NoSpace) and "/backup/f" in error.message and error.hint


def test_what_may_not_be_written_is_no_full_disk():
    error = write_failure(PermissionError(errno.EACCES, "Permission denied"), "/backup/f", hint="who are you?")
    assert isinstance(error, TargetRefused) and error.hint == "who are you?"
