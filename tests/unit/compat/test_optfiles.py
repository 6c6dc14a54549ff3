"""Passwords and paths stand in option files: a line read otherwise than the server reads it locks people out."""

import os
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from goldcopy.compat.backup import check_combinations
from goldcopy.compat.optfiles import Reader, leading, load, login_text, printed
from goldcopy.compat.options.declare import Face
from goldcopy.compat.options.parser import parse
from goldcopy.compat.options.values import OptionError
from goldcopy.errors import UsageError

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def cnf(tmp_path):
    def write(text, name="my.cnf", mode=0o600):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return write


def lines(options):
    return [f"--{o.name}" if o.value is None else f"--{o.name}={o.value}" for o in options]


def test_quotes_comments_and_escapes_are_read_as_my_print_defaults_reads_them():
    reader = Reader(("xtrabackup", "mysqld"), ".2")
    said = "".join(f"{line}\n" for line in lines(reader.file(str(GOLDEN / "quoting.cnf"))))
    assert said == (GOLDEN / "quoting.txt").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=1\n", "without preceding group"),
        ("[client\n", "Wrong group definition"),
        ("!inkludes x\n", "Wrong '!inkludes' directive"),
        ("[client]\n!includedir /no/such/place\n", "Can't read dir"),
    ],
)
def test_a_broken_option_file_is_an_error_that_names_it(cnf, text, message):
    with pytest.raises(OptionError, match=message):
        list(Reader(("client",)).file(cnf(text)))


def test_includes_are_read_where_they_stand(cnf, tmp_path):
    (tmp_path / "d").mkdir()
    cnf("[client]\nuser=two\n", "d/b.cnf")
    cnf("[client]\nuser=one\n", "d/a.cnf")
    cnf("[client]\nuser=no\n", "d/c.txt")
    single = cnf("[client]\nport=1\n", "single.cnf")
    main = cnf(f"[client]\nuser=zero\n!includedir {tmp_path / 'd'}\n!include {single}\nuser=three\n")
    assert lines(Reader(("client",)).file(main)) == [
        "--user=zero",
        "--user=one",
        "--user=two",
        "--port=1",
        "--user=three",
    ]


def test_a_missing_include_is_no_error(cnf):
    assert lines(Reader(("client",)).file(cnf("!include /no/such\n[client]\nuser=u\n"))) == ["--user=u"]


def test_a_file_that_includes_itself_ends(cnf, tmp_path):
    path = str(tmp_path / "loop.cnf")
    cnf(f"[client]\nuser=u\n!include {path}\n", "loop.cnf")
    reader = Reader(("client",))
    assert 1 < len(list(reader.file(path))) < 20
    assert reader.notes


def test_a_file_that_everybody_may_write_is_ignored_with_a_word(cnf):
    reader = Reader(("client",))
    assert not list(reader.file(cnf("[client]\nuser=evil\n", mode=0o666)))
    assert "World-writable" in reader.notes[0].text


def test_leading_options_in_any_order_and_nowhere_else():
    first = leading(["--print-defaults", "--defaults-file=/a", "--defaults-group-suffix=.1", "--backup"])
    assert (first.defaults_file, first.suffix, first.print_defaults) == ("/a", ".1", True)
    assert first.args == ("--backup",)
    with pytest.raises(OptionError, match="--defaults-file must be specified first on the command line"):
        leading(["--backup", "--defaults-file=/a"])


@pytest.mark.parametrize("args", [("--no-defaults", "{}"), ("{}", "--no-defaults")])
def test_a_named_option_file_is_never_silently_unread(cnf, args):
    named = f"--defaults-file={cnf('[mysqld]')}"
    with pytest.raises(OptionError, match="--no-defaults reads no option file"):
        load(Face.MARIABACKUP, [a.format(named) for a in args], {})


def test_xtrabackup_reads_the_file_that_is_named_before_no_defaults(cnf):
    path = cnf("[client]\nuser=named\n")
    named = f"--defaults-file={path}"
    assert lines(load(Face.XTRABACKUP, [named, "--no-defaults", "--backup"], {}).options) == ["--user=named"]
    with pytest.raises(OptionError, match="--no-defaults reads no option file"):
        load(Face.XTRABACKUP, ["--no-defaults", named, "--backup"], {})


def test_only_the_named_file_is_read(cnf, tmp_path):
    cnf("[client]\nuser=home\n", ".my.cnf")
    named = cnf("[client]\nuser=named\n", "named.cnf")
    environ = {"HOME": str(tmp_path)}
    assert lines(load(Face.XTRABACKUP, [f"--defaults-file={named}"], environ).options) == ["--user=named"]
    assert lines(load(Face.XTRABACKUP, ["--no-defaults"], environ).options) == []
    assert lines(load(Face.XTRABACKUP, [], environ).options)[-1] == "--user=home"
    both = load(Face.XTRABACKUP, [f"--defaults-extra-file={named}"], environ)
    assert lines(both.options)[-2:] == ["--user=named", "--user=home"]
    with pytest.raises(OptionError, match="Could not open required defaults file"):
        load(Face.XTRABACKUP, ["--defaults-file=/no/such"], environ)


@pytest.mark.parametrize(
    ("face", "args", "group", "read"),
    [
        (Face.XTRABACKUP, [], "mysqld", True),
        (Face.XTRABACKUP, ["--defaults-group=mysqld2"], "mysqld2", True),
        (Face.XTRABACKUP, ["--defaults-group=mysqld2"], "mysqld", True),
        (Face.XTRABACKUP, [], "mariabackup", False),
        (Face.MARIABACKUP, [], "mariabackup", True),
        (Face.MARIABACKUP, [], "mariadb-backup", True),
        (Face.MARIABACKUP, [], "mariadbd", True),
        (Face.MARIABACKUP, [], "mariadb-11.8", False),
        (Face.MARIABACKUP, [], "client-mariadb", True),
        (Face.INNOBACKUPEX, [], "xtrabackup", True),
    ],
)
def test_each_program_reads_its_groups(cnf, face, args, group, read):
    path = cnf(f"[{group}]\nport=1\n")
    assert bool(load(face, [f"--defaults-file={path}", *args], {}).options) is read
    assert bool(load(face, [f"--defaults-file={path}", "--defaults-group-suffix=.7", *args], {}).options) is read


def test_a_group_with_the_suffix_is_read_too_and_counts_by_its_place(cnf):
    path = cnf("[mysqld.2]\ndatadir=/two\n[mysqld]\ndatadir=/one\n[mysqld.3]\ndatadir=/three\n")
    loaded = load(Face.MARIABACKUP, [f"--defaults-file={path}", "--defaults-group-suffix=.2"], {})
    assert lines(loaded.options) == ["--datadir=/two", "--datadir=/one"]
    assert {o.group for o in loaded.options} == {"mysqld"}
    assert lines(load(Face.MARIABACKUP, [f"--defaults-file={path}"], {"MYSQL_GROUP_SUFFIX": ".3"}).options)[-1] == (
        "--datadir=/three"
    )


def test_print_defaults_masks_passwords(cnf):
    loaded = load(
        Face.XTRABACKUP, [f"--defaults-file={cnf('[client]' + chr(10) + 'password=SECRET' + chr(10) + 'quick')}"], {}
    )
    text = printed("xtrabackup", Face.XTRABACKUP, loaded)
    assert text.startswith("xtrabackup would have been started with the following arguments:\n")
    assert "SECRET" not in text
    assert "--quick" in text


def login_file(path, text, mode=0o600):
    key20 = bytes(range(20))
    key = bytearray(16)
    for at, byte in enumerate(key20):
        key[at % 16] ^= byte
    data = bytes(4) + key20
    for line in text.splitlines(keepends=True):
        padder = PKCS7(128).padder()
        padded = padder.update(line.encode()) + padder.finalize()
        encryptor = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor()
        sealed = encryptor.update(padded) + encryptor.finalize()
        data += struct.pack("<i", len(sealed)) + sealed
    path.write_bytes(data)
    path.chmod(mode)
    return data


LOGINS = '[client]\nuser = root\n[backup]\nuser = bkp\npassword = "s3#cret"\nsocket = /run/x.sock\n'


def test_a_login_path_gives_user_and_password(tmp_path):
    login_file(tmp_path / ".mylogin.cnf", LOGINS)
    loaded = load(Face.XTRABACKUP, ["--no-defaults", "--login-path=backup", "--backup"], {"HOME": str(tmp_path)})
    settings = parse(Face.XTRABACKUP, loaded.args, loaded.options)
    assert (settings.text("user"), settings.text("password")) == ("bkp", "s3#cret")
    assert settings.text("socket") == "/run/x.sock"
    later = load(Face.XTRABACKUP, ["--no-defaults", "--backup", "--login-path=backup"], {"HOME": str(tmp_path)})
    assert lines(later.options) == lines(loaded.options)
    plain = load(Face.XTRABACKUP, ["--no-defaults"], {"HOME": str(tmp_path)})
    assert lines(plain.options) == ["--user=root"]


def test_a_login_file_that_others_can_read_is_ignored(tmp_path):
    login_file(tmp_path / "login", LOGINS, mode=0o644)
    loaded = load(Face.XTRABACKUP, ["--no-defaults"], {"MYSQL_TEST_LOGIN_FILE": str(tmp_path / "login")})
    assert not loaded.options
    assert loaded.notes


def test_a_missing_or_damaged_login_file_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="--login-path=x"):
        load(Face.XTRABACKUP, ["--login-path=x"], {"HOME": str(tmp_path)})
    data = login_file(tmp_path / "login", LOGINS)
    assert login_text(data) == LOGINS
    for broken in (data[:-1], data[:40] + b"\xff" * 8, data[:24] + b"\x00\x00\x00\x00"):
        with pytest.raises(OptionError, match="damaged"):
            login_text(broken)


def test_the_working_directory_does_not_matter_for_a_relative_defaults_file(cnf, tmp_path, monkeypatch):
    cnf("[client]\nuser=rel\n", "rel.cnf")
    monkeypatch.chdir(tmp_path)
    loaded = load(Face.XTRABACKUP, ["--defaults-file=rel.cnf"], dict(os.environ, HOME="/nonexistent"))
    assert loaded.options[0].path == str(tmp_path / "rel.cnf")


def test_the_group_of_one_of_several_servers_counts_more_than_mysqld(tmp_path):
    path = tmp_path / "my.cnf"
    path.write_text("[mysqld2]\ndatadir=/two\n[mysqld]\ndatadir=/all\nport=1\n")
    loaded = load(Face.XTRABACKUP, [f"--defaults-file={path}", "--defaults-group=mysqld2"], {})
    assert parse(Face.XTRABACKUP, loaded.args, loaded.options).text("datadir") == "/two"


def test_an_option_that_the_server_is_to_pass_over_is_ours(tmp_path):
    path = tmp_path / "my.cnf"
    path.write_text("[mysqld]\nloose-encrypt=AES256\nencrypt-threads=3\n")
    settings = parse(Face.XTRABACKUP, ["--backup"], load(Face.XTRABACKUP, [f"--defaults-file={path}"], {}).options)
    assert settings.text("encrypt") == "AES256"
    assert settings.number("encrypt-threads") != 3


def test_innobackupex_is_not_let_guess_whether_an_increment_was_meant():
    settings = parse(Face.INNOBACKUPEX, ["--incremental-basedir=/full", "/to"])
    with pytest.raises(UsageError, match="require the --incremental option"):
        check_combinations(settings)
    check_combinations(parse(Face.INNOBACKUPEX, ["--incremental", "--incremental-basedir=/full", "/to"]))
    check_combinations(parse(Face.XTRABACKUP, ["--backup", "--incremental-basedir=/full"]))


def test_ddl_is_held_off_in_one_way_only():
    with pytest.raises(UsageError, match="mutually exclusive"):
        check_combinations(parse(Face.XTRABACKUP, ["--backup", "--lock-ddl=ON", "--lock-ddl-per-table"]))
    check_combinations(parse(Face.XTRABACKUP, ["--backup", "--lock-ddl=OFF", "--lock-ddl-per-table"]))
    check_combinations(parse(Face.XTRABACKUP, ["--backup", "--lock-ddl-per-table"]))
