"""Which option files, groups and login path belong to a command line of the peers (mysys/my_default.c).

How a file is read, ``server.option_files`` knows. ``--defaults-file`` and its kin must come before every other option.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from goldcopy.compat.options import options_of
from goldcopy.compat.options.declare import Face
from goldcopy.compat.options.parser import FileOption
from goldcopy.compat.options.values import OptionError
from goldcopy.errors import UsageError
from goldcopy.events import Event, Warn
from goldcopy.server import option_files

_TOOL_GROUPS_MARIADB = ("xtrabackup", "mariabackup", "mariadb-backup")
_LOGIN_HEADER_BYTES = 4
_LOGIN_KEY_BYTES = 20


@dataclass(frozen=True)
class Leading:
    """The options before all others, and the rest of the command line."""

    args: tuple[str, ...]
    defaults_file: str = ""
    extra_file: str = ""
    suffix: str = ""
    login_path: str = ""
    no_defaults: bool = False
    print_defaults: bool = False


@dataclass(frozen=True)
class Loaded:
    """What the option files say, in the order in which it counts, and the command line that is left."""

    options: tuple[FileOption, ...]
    args: tuple[str, ...]
    print_defaults: bool
    notes: tuple[Event, ...]


_LEADING = {
    "--defaults-file=": "defaults_file",
    "--defaults-extra-file=": "extra_file",
    "--defaults-group-suffix=": "suffix",
    "--login-path=": "login_path",
}


def leading(args: Sequence[str]) -> Leading:
    """Split the leading options off. Raises OptionError for one of them that stands later."""
    found: dict[str, str] = {}
    switches: set[str] = set()
    rest = list(args)
    while rest:
        prefix = next((p for p in _LEADING if rest[0].startswith(p)), "")
        if prefix:
            found[_LEADING[prefix]] = rest.pop(0).removeprefix(prefix)
        elif rest[0] in ("--no-defaults", "--print-defaults"):
            switches.add(rest.pop(0))
        else:
            break
    for word in rest:
        if word.startswith(("--defaults-file", "--defaults-extra-file", "--no-defaults")):
            name = word.partition("=")[0]
            raise OptionError(f"{name} must be specified first on the command line")
    return Leading(
        tuple(rest),
        no_defaults="--no-defaults" in switches,
        print_defaults="--print-defaults" in switches,
        **found,
    )


def groups(face: Face, server_group: str = "mysqld") -> tuple[str, ...]:
    """The groups that are read under one name. None of one series (``mysqld-10.11``): of which the server is, is not
    known before it was asked.
    """
    if not face.mariadb:
        # mysqld_multi's servers share [mysqld] and have a group of their own
        return ("xtrabackup", *dict.fromkeys(("mysqld", server_group)), "client")
    plain = (server_group, "server", "mariadb", "mariadbd", "client-server", "galera")
    return (*_TOOL_GROUPS_MARIADB, *plain, "client", "client-mariadb")


def load(face: Face, args: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Read the option files that belong to a command line.

    Raises OptionError for a file that was named and cannot be read, or a file that is no option file; and for
    --no-defaults beside a file that was named: mariadb-backup does so, XtraBackup only where --no-defaults is first.
    Behind the file it means nothing to XtraBackup, and the file counts.
    """
    first = leading(args)
    if first.no_defaults and (first.defaults_file or first.extra_file):
        if face.mariadb or args[0] == "--no-defaults":
            raise OptionError("--no-defaults reads no option file: it cannot stand beside one that is named")
        first = replace(first, no_defaults=False)
    server_group = _server_group(first.args)
    names = groups(face, server_group)
    suffix = first.suffix or environ.get("MYSQL_GROUP_SUFFIX", "")
    reader = Reader(names, suffix)
    options = [o for path, required in _files(face, first, environ) for o in reader.file(path, required)]
    if server_group != "mysqld":
        # wherever they stand, what is said of this server counts more than what is said of all
        options.sort(key=lambda option: option.group != "mysqld")
    options += _login_options(first.login_path or _last(first.args, "--login-path="), environ, suffix, reader)
    return Loaded(tuple(options), first.args, first.print_defaults, tuple(reader.notes))


def printed(program: str, face: Face, loaded: Loaded) -> str:
    """What ``--print-defaults`` prints, secrets masked."""
    secret = {o.name for o in options_of(face) if o.secret}
    words = [_word(option, secret) for option in loaded.options]
    return f"{program} would have been started with the following arguments:\n{' '.join((*words, *loaded.args))} \n"


def _word(option: FileOption, secret: set[str]) -> str:
    if option.name.replace("_", "-") in secret:
        return f"--{option.name}=*****"
    return f"--{option.name}" if option.value is None else f"--{option.name}={option.value}"


def _server_group(args: Sequence[str]) -> str:
    return _last(args, "--defaults-group=") or "mysqld"


def _last(args: Sequence[str], prefix: str) -> str:
    """What an option that names a group says: unlike the server's programs, the originals take it wherever it is."""
    values = [a.partition("=")[2] for a in args if a.replace("_", "-").startswith(prefix)]
    return values[-1] if values else ""


def _files(face: Face, first: Leading, environ: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    if first.no_defaults:
        return
    if first.defaults_file:
        yield _absolute(first.defaults_file, environ), True
        return
    yield "/etc/my.cnf", False
    yield "/etc/mysql/my.cnf", False
    if not face.mariadb:
        yield "/usr/etc/my.cnf", False
    if environ.get("MYSQL_HOME"):
        yield os.path.join(environ["MYSQL_HOME"], "my.cnf"), False
    if first.extra_file:
        yield _absolute(first.extra_file, environ), True
    if environ.get("HOME"):
        yield os.path.join(environ["HOME"], ".my.cnf"), False


def _absolute(path: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "")
    return os.path.abspath(home + path[1:] if home and path.startswith("~/") else path)


@dataclass
class Reader:
    """Reads option files for a set of groups, with and without the suffix."""

    names: Sequence[str]
    suffix: str = ""
    notes: list[Event] = field(default_factory=list)

    def file(self, path: str, required: bool = False) -> Iterator[FileOption]:
        """The options of one file and what it includes. Raises OptionError."""
        try:
            if required:
                option_files.require(path)
            yield from self._ours(option_files.read_file(path, self._note))
        except UsageError as error:
            raise OptionError(error.message, hint=error.hint) from None

    def text(self, text: str, path: str) -> Iterator[FileOption]:
        """The options of the text of a file."""
        return self._ours(option_files.read_text(text, path, self._note))

    def _ours(self, lines: Iterator[option_files.Line]) -> Iterator[FileOption]:
        for line in lines:
            group = self._base(line.group)
            if group:
                yield FileOption(line.name, line.value, group, line.file)

    def _base(self, group: str) -> str:
        if group in self.names:
            return group
        base = group.removesuffix(self.suffix) if self.suffix else ""
        return base if base in self.names else ""

    def _note(self, why: str) -> None:
        self.notes.append(Warn("option-file", why))


def _login_options(
    login_path: str, environ: Mapping[str, str], suffix: str, reader: Reader
) -> tuple[FileOption, ...]:
    path = environ.get("MYSQL_TEST_LOGIN_FILE") or os.path.join(environ.get("HOME", ""), ".mylogin.cnf")
    if not os.path.isfile(path):
        if login_path:
            raise OptionError(
                f"--login-path={login_path}: there is no {path}", hint="make it with mysql_config_editor"
            )
        return ()
    if os.stat(path).st_mode & 0o177:
        reader.notes.append(Warn("option-file", f"{path} is ignored: others could read it; chmod 600 it"))
        return ()
    with open(path, "rb") as file:
        text = login_text(file.read(), path)
    wanted = dict.fromkeys(("client", login_path or "client"))
    lines = Reader(tuple(wanted), suffix).text(text, path)
    return tuple(FileOption(o.name, o.value, "client", path) for o in lines)


def login_text(data: bytes, path: str = ".mylogin.cnf") -> str:
    """The text of a login file: lines, each AES-128-ECB under a key that the file itself holds.

    The layout is 4 zero bytes, a key of 20 bytes folded into 16 by exclusive or, then per line its encrypted
    length (4 bytes, little-endian) and bytes (my_default.c, mysql_file_getline). Raises OptionError.
    """
    start = _LOGIN_HEADER_BYTES + _LOGIN_KEY_BYTES
    key = bytearray(16)
    for at, byte in enumerate(data[_LOGIN_HEADER_BYTES:start]):
        key[at % 16] ^= byte
    try:
        return "".join(_decrypted(line, bytes(key)) for line in _login_lines(data[start:]))
    except (ValueError, struct.error):
        raise OptionError(f"{path} is damaged", hint="make it anew with mysql_config_editor") from None


def _login_lines(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<i", data, at)
        at += 4
        if not 0 < length <= len(data) - at:
            raise ValueError("length")
        yield data[at : at + length]
        at += length


def _decrypted(line: bytes, key: bytes) -> str:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # noqa: S305 - the file's own format
    padded = decryptor.update(line) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    return (unpadder.update(padded) + unpadder.finalize()).decode()
