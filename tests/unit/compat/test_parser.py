"""Command lines of runbooks must mean here what they mean to the originals, and fail with the same status."""

import re

import pytest

from goldcopy.compat.options import options_of
from goldcopy.compat.options.declare import Face
from goldcopy.compat.options.parser import FileOption, face_of, parse
from goldcopy.compat.options.usage import print_param, usage
from goldcopy.compat.options.values import OptionError
from goldcopy.events import Warn

M, X, IBX = Face.MARIABACKUP, Face.XTRABACKUP, Face.INNOBACKUPEX


def texts(settings):
    return [n.text for n in settings.notes if isinstance(n, Warn)]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--target-dir=/b", "target-dir", "/b"),
        ("--target-dir /b", "target-dir", "/b"),
        ("--target_dir=/b", "target-dir", "/b"),
        ("--target-d=/b", "target-dir", "/b"),
        ("--use-memory=3G", "use-memory", 3 << 30),
        ("--use-memory=1GB", "use-memory", 1 << 30),
        ("--use-memory=512m", "use-memory", 512 << 20),
        ("-uroot", "user", "root"),
        ("-u root", "user", "root"),
        ("-pSECRET", "password", "SECRET"),
        ("-p", "password", ""),
        ("--password", "password", ""),
        ("-P3307", "port", 3307),
        ("--skip-check-privileges", "check-privileges", False),
        ("--disable-check-privileges", "check-privileges", False),
        ("--enable-check-privileges", "check-privileges", True),
        ("--skip-check-privileges=0", "check-privileges", True),
        ("--check-privileges=OFF", "check-privileges", False),
        ("--loose-slave-info", "slave-info", True),
        ("--loose-skip-slave-info", "slave-info", False),
        ("--binlog-info=LOCKLESS", "binlog-info", "lockless"),
        ("--binlog-info", "binlog-info", "on"),
        ("--history", "history", ""),
        ("--history=weekly", "history", "weekly"),
        ("--ftwrl-wait-query-type=upd", "ftwrl-wait-query-type", "UPDATE"),
        ("--startup-wait-timeout=7", "ftwrl-wait-timeout", 7),
        ("--parallel=2 --parallel=4", "parallel", 4),
        ("--parallel=8 --maximum-parallel=4", "parallel", 4),
        ("--parallel=2 --loose-maximum-parallel=4", "parallel", 2),
        ("-VV", "verbose", True),
    ],
)
def test_an_option_is_understood_in_every_way_of_writing_it(words, name, value):
    settings = parse(M, words.split())
    assert settings.value(name) == value
    assert settings.given(name)
    assert settings.on_command_line(name)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("--nonsense", 2, "unknown option '--nonsense'"),
        ("--nonsense=1", 7, "unknown variable 'nonsense=1'"),
        ("-Z", 2, "unknown option '-Z'"),
        ("--bakcup", 2, "unknown option"),
        ("--inc=3", 3, "ambiguous option '--inc'"),
        ("--core-file=5", 4, "option '--core-file' cannot take an argument"),
        ("--stream", 5, "option '--stream' requires an argument"),
        ("--use-memory=3X", 9, "Unknown suffix 'X' used for variable 'use-memory' (value '3X')"),
        ("--use-memory=3Gx", 9, "Unknown suffix"),
        ("--use-memory=3.5M", 9, "Unknown suffix '.'"),
        ("--use-memory=-1", 13, "Error while setting value '-1' to 'use-memory'"),
        ("--binlog-info=foo", 13, "Error while setting value 'foo' to 'binlog-info'"),
        ("--backup foo bar", 1, "unknown argument: 'foo'"),
    ],
)
def test_mariadbs_exit_statuses_for_bad_command_lines(words, status, message):
    with pytest.raises(OptionError) as failure:
        parse(M, words.split()).refuse_unknown()
    assert failure.value.exit_status == status
    assert message in failure.value.message


def test_loose_lets_an_unknown_option_pass_with_a_word():
    settings = parse(M, ["--loose-nonsense=4", "--backup"])
    settings.refuse_unknown()
    assert settings.flag("backup")
    assert any("loose-nonsense" in t for t in texts(settings))


def test_skip_strict_turns_unknown_options_into_warnings_wherever_it_stands():
    settings = parse(X, ["--nonsense", "--skip-strict", "--backup"])
    settings.refuse_unknown()
    assert settings.flag("backup")
    assert "WARNING: unknown option '--nonsense'" in texts(settings)


def test_what_follows_mysqld_args_is_the_servers_business():
    settings = parse(M, ["--prepare", "--mysqld-args", "--max-connections=5", "--innodb-page-size=8k"])
    assert settings.number("innodb-page-size") == 8192


def test_values_out_of_range_are_pulled_in_and_said():
    settings = parse(M, ["--innodb-force-recovery=6", "--parallel=0"])
    assert settings.number("innodb-force-recovery") == 1
    assert settings.number("parallel") == 1
    assert "option 'innodb_force_recovery': unsigned value 6 adjusted to 1" in texts(settings)
    assert parse(X, ["--innodb-force-recovery=6"]).number("innodb-force-recovery") == 6


def test_a_negative_count_of_threads_is_one_thread():
    settings = parse(Face.XTRABACKUP, ["--backup", "--parallel=-1"])
    assert settings.number("parallel") == 1
    assert "option 'parallel': signed value -1 adjusted to 1" in texts(settings)


def test_a_switch_with_a_value_that_is_none_keeps_its_setting():
    settings = parse(M, ["--backup", "--backup=5"])
    assert settings.flag("backup")
    assert "ignoring option '--backup' due to invalid value '5'" in texts(settings)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--apply-log-only", "--apply-redo-only"),
        ("--incremental-basedir=/b", "--backup-incremental-base=/c"),
        ("--incremental-dir=/b", "--prepare-incremental-from-dir=/c"),
    ],
)
def test_new_and_old_names_work_alone_and_are_refused_together(old, new):
    name = old.partition("=")[0].removeprefix("--")
    assert parse(X, [new]).value(name) == (parse(X, [old]).value(name) if "=" not in new else "/c")
    assert new.partition("=")[0] in texts(parse(X, [old]))[0]
    assert not texts(parse(X, [new]))
    with pytest.raises(OptionError, match="are the same option; pass only one"):
        parse(X, [old, new])
    with pytest.raises(OptionError, match="are the same option; pass only one"):
        parse(X, [new, old])


@pytest.mark.parametrize(
    "words",
    [
        "-uroot -pSECRET",
        "-uroot -p SECRET",
        "--password=SECRET",
        "--password SECRET",
        "--pass=SECRET",
    ],
)
def test_a_password_never_reaches_the_recorded_command(words):
    settings = parse(M, ["--backup", *words.split()])
    assert settings.text("password") == "SECRET"
    assert "SECRET" not in settings.command
    assert settings.command.startswith("--backup ")


def test_a_password_does_not_show_in_a_traceback():
    settings = parse(M, ["--password=SECRET"], [line("password", "SECRET", "client")])
    assert "SECRET" not in repr(settings)
    assert "SECRET" not in repr(line("password", "SECRET", "client"))


def test_an_encryption_key_never_reaches_the_recorded_command():
    settings = parse(X, ["--encrypt=AES256", "--encrypt-key", "K" * 32])
    assert "K" * 32 not in settings.command
    assert settings.text("encrypt-key") == "K" * 32


def test_the_recorded_command_is_cut_as_the_history_table_expects():
    assert len(parse(M, ["--backup", "--target-dir=" + "x" * 3000]).command) == 2047


def test_innobackupex_takes_a_directory_anywhere():
    settings = parse(IBX, ["--no-timestamp", "/backups", "--user=root"])
    assert settings.directories == ("/backups",)
    assert parse(IBX, ["--apply-log", "--redo-only", "/b"]).flag("apply-log-only")
    assert parse(IBX, ["--apply-log", "/b"]).flag("prepare")
    assert parse(IBX, ["--include=^d[.]t", "/b"]).text("tables") == "^d[.]t"
    assert parse(IBX, ["--", "--odd"]).directories == ("--odd",)


def test_stream_with_a_blank_and_without_a_value():
    assert parse(X, ["--stream", "tar"]).text("stream") == "tar"
    assert parse(X, ["--stream", "--backup"]).text("stream") == "xbstream"
    assert parse(M, ["--stream", "mbstream"]).text("stream") == "mbstream"


def test_defaults_are_each_programs_own():
    assert parse(M, []).flag("check-privileges")
    assert not parse(X, []).flag("check-privileges")
    assert parse(M, []).text("kill-long-query-type") == "SELECT"
    assert parse(IBX, []).text("kill-long-query-type") == "ALL"
    assert parse(X, []).number("use-memory") == 100 << 20
    assert parse(X, []).text("lock-ddl") == "ON"


@pytest.mark.parametrize(
    ("program", "args", "face", "rest"),
    [
        ("/usr/bin/mariabackup", ["--backup"], Face.MARIABACKUP, ("--backup",)),
        ("mariadb-backup", ["--innobackupex", "/b"], Face.MARIABACKUP_INNOBACKUPEX, ("/b",)),
        ("innobackupex", ["/b"], Face.INNOBACKUPEX, ("/b",)),
        ("/x/xtrabackup", ["--backup"], Face.XTRABACKUP, ("--backup",)),
    ],
)
def test_the_name_we_are_called_by_decides_whose_options_hold(program, args, face, rest):
    assert face_of(program, args) == (face, rest)


def line(name, value, group):
    return FileOption(name, value, group, "/etc/my.cnf")


def test_the_command_line_wins_over_files_and_later_lines_over_earlier():
    files = [line("parallel", "2", "xtrabackup"), line("parallel", "3", "xtrabackup")]
    assert parse(X, [], files).number("parallel") == 3
    assert parse(X, ["--parallel=9"], files).number("parallel") == 9
    assert not parse(X, [], files).on_command_line("parallel")


def test_the_servers_groups_give_server_settings_only():
    files = [
        line("user", "mysql", "mysqld"),
        line("datadir", "/data", "mysqld"),
        line("datadir", "/other", "client"),
        line("user", "backup", "client"),
    ]
    settings = parse(M, [], files)
    assert settings.text("user") == "backup"
    assert settings.text("datadir") == "/data"


def test_the_keyring_that_the_server_names_is_known():
    assert parse(X, [], [line("keyring_file_data", "/ring", "mysqld")]).text("keyring-file-data") == "/ring"


def test_what_was_understood_is_told_and_no_secret_with_it():
    files = [line("datadir", "/d", "mysqld"), line("port", "3307", "client"), line("port", "3308", "mysqld")]
    settings = parse(X, ["--backup", "--password=geheim", "--skip-strict"], files)
    assert list(settings.recognized()) == [
        "recognized server arguments: --datadir=/d ",
        "recognized client arguments: --port=3307 --backup=1 --password=* --strict=0 ",
    ]
    assert not list(parse(X, []).recognized())


def test_a_leading_tilde_is_a_home_since_no_shell_expands_it_behind_an_equals_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    settings = parse(X, ["--target-dir=~/b", "--incremental-basedir=~/a", "--socket=~/s"])
    assert settings.text("target-dir") == "/home/me/b"
    assert settings.text("incremental-basedir") == "/home/me/a"
    assert settings.text("socket") == "~/s"


def test_unknown_lines_matter_in_our_own_groups_only():
    parse(M, [], [line("max_connections", "5", "mysqld"), line("no-beep", None, "client")]).refuse_unknown()
    with pytest.raises(OptionError) as failure:
        parse(M, [], [line("nonsense_mb", "1", "mariabackup")]).refuse_unknown()
    assert failure.value.exit_status == 7
    parse(M, [], [line("loose-nonsense", "1", "mariabackup")]).refuse_unknown()


def test_a_servers_variable_is_not_taken_for_the_beginning_of_an_option_of_ours():
    settings = parse(M, [], [line("innodb_undo", "5", "mysqld"), line("rocksdb", "x", "mysqld")])
    assert not settings.given_options


def test_tuning_in_my_cnf_is_no_reason_for_a_note_but_on_our_command_line_it_is():
    assert not parse(X, [], [line("innodb_io_capacity", "800", "mysqld")]).notes
    assert parse(X, [], [line("innodb_io_capacity", "800", "xtrabackup")]).notes
    assert parse(X, ["--innodb-io-capacity=800"]).notes


def test_an_option_without_effect_is_told_in_the_words_that_its_users_search_for():
    (text,) = texts(parse(X, ["--close-files"]))
    assert re.search(r"warning: close-files specified; it has no effect here: \w", text)


def test_what_only_spares_room_keeps_no_runbook_from_its_backup():
    (text,) = texts(parse(IBX, ["--compact", "/backups"]))
    assert "no effect" in text


def test_the_recorded_command_begins_with_the_options_about_option_files():
    settings = parse(X, ["--backup", "--password=SECRET"], leading=["--defaults-file=/etc/db.cnf"])
    assert settings.command == "--defaults-file=/etc/db.cnf --backup --password=..."


def test_print_param_is_an_option_file_of_what_was_given_under_the_group_asked_for():
    words = "--datadir=/x --innodb-page-size=8k --tmpdir=/t --defaults-group=my2 --innodb-io-capacity=5"
    assert print_param(parse(M, words.split())) == (
        "# This MySQL options file was generated by XtraBackup.\n[my2]\ndatadir=/x\ninnodb_page_size=8192\ntmpdir=/t\n"
    )


def test_print_param_has_a_line_each_time_a_setting_was_given_and_knows_those_of_old_servers():
    words = "--innodb-log-file-size=8M --maximum-innodb-log-file-size=4M --skip-innodb-fast-checksum"
    assert print_param(parse(X, words.split())).splitlines()[2:] == [
        "innodb_log_file_size=8388608", "innodb_log_file_size=4194304", "innodb_fast_checksum=0",
    ]  # fmt: skip


def test_what_is_no_number_has_no_maximum():
    with pytest.raises(OptionError, match="Maximum value of 'target-dir' cannot be set") as failure:
        parse(M, ["--maximum-target-dir=/x"])
    assert failure.value.exit_status == 10


@pytest.mark.parametrize("face", list(Face))
def test_help_names_every_option_of_the_program_and_says_what_has_no_effect(face):
    text = usage(parse(face, []), "PROGRAM")
    assert text.startswith("Usage: PROGRAM ")
    for option in options_of(face):
        assert f"--{option.name}" in text
    assert "(no effect)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_help_tells_what_is_in_force_once_the_option_files_are_read():
    files = [line("parallel", "7", "xtrabackup"), line("password", "geheim", "client")]
    text = usage(parse(X, ["--skip-check-privileges"], files), "PROGRAM")
    shown = dict(row.split(None, 1) for row in text.partition("Value (after reading options)")[2].splitlines() if row)
    assert (shown["parallel"], shown["check-privileges"], shown["binlog-info"]) == ("7", "FALSE", "auto")
    assert (shown["password"], shown["user"]) == ("*", "(No default value)")
    assert "geheim" not in text
