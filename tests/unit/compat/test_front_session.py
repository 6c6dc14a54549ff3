"""From options to login, patience and places: what a user typed is what is done."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import goldcopy.compat
from goldcopy.commands.backup import Backup
from goldcopy.compat.backup import _spool, filters_of
from goldcopy.compat.options import OPTIONS
from goldcopy.compat.options.declare import Face, Standing
from goldcopy.compat.options.parser import FileOption, parse
from goldcopy.compat.requests import copy_back_request, memory_bytes, prepare_request
from goldcopy.compat.session import account_of, check_binlog_info, lock_policy
from goldcopy.compat.sinks import Packing, _DirectoryStream, packing_of, stream_of
from goldcopy.compat.words import in_peers_words
from goldcopy.dialect.peers import peer_of
from goldcopy.dialect.table import choose
from goldcopy.errors import KeyMissing, TargetRefused, UsageError
from goldcopy.options import Connection
from goldcopy.server.session import Tls

MARIADB, XTRABACKUP, IBX = Face.MARIABACKUP, Face.XTRABACKUP, Face.INNOBACKUPEX
YEAR_S = 31536000


def account(*words: str, face: Face = MARIADB, **environ: str):
    return account_of(parse(face, words), environ)


def test_localhost_means_the_socket_and_a_host_means_tcp() -> None:
    assert account("--socket=/s", "--port=3307").socket == "/s"
    assert account("--socket=/s", "--host=localhost").socket == "/s"
    tcp = account("--host=db1", "--port=3307")
    assert (tcp.socket, tcp.host, tcp.port) == ("", "db1", 3307)
    assert account("--socket=/s", "--protocol=tcp").socket == ""


def test_the_password_comes_from_where_the_user_gave_it_and_is_never_shown() -> None:
    assert account("--socket=/s", "-psecret").password == "secret"
    assert account("--socket=/s", MYSQL_PWD="env").password == "env"
    from_file = parse(MARIADB, ["--socket=/s"], [FileOption("password", "file", "client")])
    assert account_of(from_file, {}).password == "file"
    assert "secret" not in repr(account("--socket=/s", "-psecret"))


def test_tls_is_asked_for_as_the_servers_clients_do() -> None:
    assert account("--socket=/s").tls is None
    assert account("--host=db1").tls is not None
    assert not account("--host=db1").tls.required
    assert account("--socket=/s", "--ssl").tls.required
    strict = account("--host=db1", "--ssl-mode=VERIFY_IDENTITY", "--ssl-ca=/ca", face=XTRABACKUP).tls
    assert (strict.required, strict.identity, strict.ca) == (True, True, "/ca")
    assert account("--host=db1", "--ssl-mode=DISABLED", face=XTRABACKUP).tls == Tls(off=True)
    assert account("--socket=/s", "--skip-ssl").tls == Tls(off=True)


@pytest.mark.parametrize(
    ("words", "as_server", "identity"),
    [
        (("--host=db1",), True, False),
        (("--protocol=tcp",), True, False),
        (("--host=127.0.0.1",), False, False),
        (("--host=127.0.0.1", "--ssl-ca=/ca"), True, False),
        (("--host=db1", "--skip-ssl-verify-server-cert", "--ssl-ca=/ca"), False, False),
        (("--host=db1", "--disable-ssl-verify-server-cert"), False, False),
        (("--host=127.0.0.1", "--ssl-verify-server-cert"), False, True),
        (("--socket=/s", "--ssl"), False, False),
    ],
)
def test_mariadbs_certificates_are_verified_unless_the_user_or_the_way_makes_it_needless(
    words: tuple[str, ...], as_server: bool, identity: bool
) -> None:
    tls = account(*words).tls
    assert tls is not None and (tls.as_server, tls.identity) == (as_server, identity)
    ours = account(*words, face=XTRABACKUP).tls if words == ("--host=db1",) else None
    assert ours is None or not (ours.as_server or ours.proof)


@pytest.mark.parametrize(
    ("version", "variables", "possible"),
    [
        ("5.6.24-log", {}, False),
        ("5.6.51-91.0-log", {"have_backup_safe_binlog_info": "YES"}, True),
        ("8.0.45", {}, True),
        ("10.11.6-MariaDB", {}, False),
    ],
)
def test_a_position_without_a_lock_is_refused_where_the_server_tells_none(version, variables, possible) -> None:
    server = SimpleNamespace(dialect=choose(version), variables=variables)
    check_binlog_info(parse(XTRABACKUP, ["--binlog-info=ON"]), server)
    with contextlib.nullcontext() if possible else pytest.raises(UsageError, match="is not supported by the server"):
        check_binlog_info(parse(XTRABACKUP, ["--binlog-info=LOCKLESS"]), server)


def test_patience_with_locks_is_the_users() -> None:
    usual = lock_policy(parse(MARIADB, []))
    assert (usual.lock_wait_timeout_s, usual.wait_query_timeout_s, usual.kill_timeout_s) == (YEAR_S, 0, 0)
    hasty = lock_policy(parse(MARIADB, ["--ftwrl-wait-timeout=7", "--kill-long-queries-timeout=3"]))
    assert (hasty.lock_wait_timeout_s, hasty.wait_query_timeout_s, hasty.kill_timeout_s) == (7, 7, 3)
    assert hasty.kill_query_type == "select"
    assert lock_policy(parse(MARIADB, ["--kill-long-query-type=all"])).kill_query_type == "all"
    assert lock_policy(parse(MARIADB, ["--no-lock"])).no_lock


def test_a_ddl_lock_is_taken_early_late_or_as_long_as_told() -> None:
    def policy(*words: str):
        return lock_policy(parse(XTRABACKUP, words))

    assert not policy().late_guard
    assert policy("--lock-ddl=OFF").late_guard
    assert policy("--lock-ddl=reduced").late_guard
    assert policy("--lock-ddl-timeout=9").guard_wait_timeout_s == 9
    assert policy("--backup-lock-timeout=10", "--backup-lock-retry-count=2").lock_wait_timeout_s == 30
    assert policy("--no-backup-locks").heavy_commit
    with pytest.raises(UsageError):
        policy("--lock-ddl=perhaps")


def test_a_partial_backup_takes_what_was_named() -> None:
    keeps = filters_of(parse(MARIADB, ["--databases=a b.t"])).keeps
    assert [keeps(p) for p in ("a/x.ibd", "b/t.ibd", "b/u.ibd", "c/t.ibd", "ibdata1")] == [
        True, True, False, False, True,
    ]
    assert not filters_of(parse(MARIADB, [])).partial


def test_innobackupex_takes_a_list_of_databases_or_a_file_of_it(tmp_path) -> None:
    listed = tmp_path / "dbs"
    listed.write_text("a\nb.t\n")
    keeps = filters_of(parse(IBX, [f"--databases={listed}", "/backups"])).keeps
    assert (keeps("a/x.ibd"), keeps("c/x.ibd")) == (True, False)


def test_packing_is_what_the_options_say() -> None:
    assert not packing_of(parse(MARIADB, [])).compressed
    assert packing_of(parse(MARIADB, ["--compress"])).compress == "zstd"
    packed = packing_of(parse(XTRABACKUP, ["--compress=lz4", "--encrypt=AES128", "--encrypt-key=0123456789abcdef"]))
    assert (packed.compress, packed.encrypted, packed.wrapping().suffix) == ("lz4", True, ".lz4.xbcrypt")
    assert "0123456789abcdef" not in repr(packed)
    with pytest.raises(KeyMissing):
        packing_of(parse(XTRABACKUP, ["--encrypt=AES256", "--encrypt-key=short"]))
    with pytest.raises(UsageError):
        packing_of(parse(XTRABACKUP, ["--encrypt=AES256"]))


def test_pipes_are_a_stream(tmp_path) -> None:
    assert stream_of(parse(XTRABACKUP, ["--fifo-streams=2"])) == "xbstream"
    assert stream_of(parse(XTRABACKUP, ["--fifo-streams=1"])) == ""


def test_the_redo_of_a_backup_lies_where_room_was_made_for_it(tmp_path) -> None:
    """Above the target may be another file system, or nothing that one may write into."""
    peer = peer_of("mariadb", "10.11.2-MariaDB")
    streamed = ["--stream=xbstream", f"--tmpdir={tmp_path}/tmp"]
    for words, where in ((["--backup"], tmp_path / "to"), (streamed, tmp_path / "tmp")):
        where.mkdir()
        with _spool(parse(MARIADB, words), str(tmp_path / "to"), peer) as path:
            assert Path(path).parent == where
        assert not list(where.iterdir())
    with pytest.raises(TargetRefused), _spool(parse(MARIADB, ["--stream=xbstream", "--tmpdir=/nowhere"]), "", peer):
        pass


def test_sizes_are_told_while_files_take_their_names(tmp_path, monkeypatch) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr("os.walk", lambda _top: [(str(tmp_path), [], ["a", "gone.part"])])
    reading, writing = os.pipe()
    with _DirectoryStream(str(tmp_path), writing, Packing(), 1) as sink:
        assert sink.sizes().stored_bytes == 5
    os.close(reading)
    os.close(writing)


def test_recovery_gets_the_memory_that_was_asked_for() -> None:
    assert memory_bytes(parse(XTRABACKUP, ["--use-memory=1G"])) == 1 << 30
    assert memory_bytes(parse(XTRABACKUP, ["--use-memory=1M", "--use-free-memory-pct=50"])) > 1 << 20
    assert memory_bytes(parse(XTRABACKUP, ["--use-memory=1M", "--use-free-memory-pct=50"]), 5 << 20) == 5 << 20


def test_prepare_and_copy_back_are_told_everything() -> None:
    words = ["--incremental-dir=/i", "--export", "--parallel=3", "--innodb-force-recovery=1", "--mysqld=/bin/mysqld"]
    request = prepare_request(parse(MARIADB, words), "/t")
    assert (request.target_dir, request.incremental_dir, request.export) == ("/t", "/i", True)
    assert (request.parallel, request.force_recovery, request.mysqld) == (3, 1, "/bin/mysqld")
    back = copy_back_request(
        parse(MARIADB, ["--move-back", "--datadir=/d", "--innodb-undo-directory=/u", "--rocksdb-datadir=/r"]), "/t"
    )
    assert (back.move, back.datadir, back.undo_dir, back.rocksdb_dir) == (True, "/d", "/u", "/r")


def test_an_option_that_claims_a_meaning_is_read_by_somebody() -> None:
    """What is accepted in silence and then forgotten is worse than an error."""
    fronts = Path(goldcopy.compat.__file__).parent
    sources = [*fronts.glob("*.py"), fronts / "options/parser.py", fronts / "options/usage.py"]
    text = "".join(path.read_text() for path in sources)
    forgotten = [
        option.name
        for option in OPTIONS
        if option.standing is Standing.MEANING
        and not (option.alias_of or option.refuse or f'"{option.name}"' in text)
        and f"--{option.name}" not in text
    ]
    assert forgotten == ["get-server-public-key"], "asked for whenever it is needed"


def test_nobody_is_advised_to_give_an_option_that_is_unknown_here() -> None:
    root = Path(goldcopy.compat.__file__).parent.parent
    layers = (path.read_text() for name in ("server", "capture", "image") for path in (root / name).glob("*.py"))
    advised = {word for text in layers for word in re.findall(r"--[a-z][a-z-]*[a-z]", text)}
    ours = {f"--{n.replace('_', '-')}" for declared in (Backup, Connection) for n in declared.__annotations__}
    known = {f"--{option.name}" for option in OPTIONS}
    unknown = {word for word in advised & ours if not set(in_peers_words(word).split(", ")) <= known}
    assert unknown == set()
