"""Keyrings of MySQL on this machine: read, and lent to a server of our own as a private copy.

A component is loaded when a manifest stands beside the program, by the name that it was called by, and finds its
configuration beside the plugins (``sql/server_component``, ``components/keyrings/keyring_file/config``). So a program
called by a private name, with a private plugin directory, has a private keyring, whatever is installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from goldcopy.errors import KeyMissing, Unsupported
from goldcopy.formats.keys.ring import Key, component_ring, configured_path, parse_ring, plugin_ring, reads_local

COMPONENT = "component_keyring_file"
PLUGIN_LIBRARY = "keyring_file.so"
CONFIG_NAME = f"{COMPONENT}.cnf"
_LIBRARY = f"{COMPONENT}.so"
_ELF = b"\x7fELF"
_NAME = "mysqld"
_ANSWER_S = 60
_IN_MEMORY = "/dev/shm"  # noqa: S108 - a directory of our own is made in it


@dataclass(frozen=True)
class Ring:
    """A keyring that was read. ``path``: the file with the keys. ``component``: it is the component's."""

    path: str
    keys: tuple[Key, ...]
    component: bool


@dataclass(frozen=True)
class Installed:
    """A server's program as it is installed. ``program``: the real one, where a script was named."""

    program: str
    basedir: str
    plugin_dir: str

    @property
    def component(self) -> bool:
        """Whether it has the component; else only the older plugin can keep its keys."""
        return os.path.exists(os.path.join(self.plugin_dir, _LIBRARY))


def read_ring(path: str, home: str = "") -> Ring:
    """The keyring of a path: a keyring file of either kind, or the component's configuration, which names it.

    ``home``: the data directory that a configuration may refer to. Raises KeyMissing when it cannot be read.
    """
    data = _read(path)
    if reads_local(data) and home:
        return read_ring(os.path.join(home, CONFIG_NAME))
    named = configured_path(data)
    if named:
        path = os.path.join(os.path.dirname(path), named)
        data = _read(path)
    try:
        return Ring(path, parse_ring(data), component=not data.startswith(b"Keyring file"))
    except ValueError as e:
        raise KeyMissing(f"{path} is no keyring: {e}", hint="name the keyring file, or the component's .cnf") from e


def home_of(path: str) -> tuple[str, bool]:
    """The keyring file that a server with this configuration has or will have, and whether it is the component's."""
    if not os.path.exists(path):
        return path, False
    data = _read(path)
    named = configured_path(data)
    if named:
        return os.path.join(os.path.dirname(path), named), True
    return path, bool(data) and read_ring(path).component


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise KeyMissing(f"the keyring {path} cannot be read: {e.strerror}") from e


def written(keys: Sequence[Key], *, component: bool) -> bytes:
    """A keyring file."""
    return component_ring(keys) if component else plugin_ring(keys)


def installed(binary: str, plugin_dir: str = "") -> Installed:
    """What a program says of itself, and which program a script becomes. ``plugin_dir``: what the user knows better.

    Raises Unsupported when it does not answer.
    """
    command = [binary, "--no-defaults", *(["--user=root"] if os.geteuid() == 0 else []), "--verbose", "--help"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        program = _became(run.pid)
        try:
            said = first + run.communicate(timeout=_ANSWER_S)[0]
        except subprocess.TimeoutExpired as e:
            run.kill()
            raise Unsupported(f"{binary} --help does not end", hint="name a mysqld with --mysqld") from e
    if not os.path.basename(program).startswith(_NAME):
        program = _program_itself(binary)
    rows = (line.split(maxsplit=1) for line in said.decode("utf-8", "replace").splitlines())
    values = {row[0]: row[1].strip() for row in rows if len(row) > 1 and row[0] in ("basedir", "plugin-dir")}
    if len(values) < 2:
        raise Unsupported(f"{binary} does not tell its directories", hint="name a mysqld with --mysqld")
    return Installed(program, values["basedir"], plugin_dir or values["plugin-dir"])


def _became(pid: int) -> str:
    """The program that a process runs: it waits for its output to be read, so it is still there."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _program_itself(binary: str) -> str:
    with open(binary, "rb") as f:
        if f.read(len(_ELF)) != _ELF:
            raise Unsupported(
                f"{binary} is a script around a server, which can be lent no keys",
                hint="name the server's program itself with --mysqld",
            )
    return os.path.realpath(binary)


class LentRing(contextlib.AbstractContextManager["LentRing"]):
    """A private copy of keys for one server, gone when the block ends.

    ``program`` is to be started instead of the installed one, with ``options``, by whoever owns ``owned_by``.
    """

    def __init__(self, server: Installed, keys: Sequence[Key], owned_by: str, *, path: str = "") -> None:
        """``path``: the file to keep them in, which then stays."""
        self._server, self._keys, self._owned_by, self._ring = server, tuple(keys), owned_by, path
        self.options: tuple[str, ...] = ()

    def __enter__(self) -> LentRing:
        memory = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        self._work = tempfile.TemporaryDirectory(prefix="goldcopy-keys-", dir=memory)
        self._ring = self._ring or os.path.join(self._work.name, "ring")
        self.program = os.path.join(self._work.name, os.path.basename(self._server.program))
        os.symlink(self._server.program, self.program)
        self._put(self._ring, written(self._keys, component=self._server.component))
        plugins = self._component() if self._server.component else self._plugin()
        self.options = (f"--basedir={self._server.basedir}", *plugins)
        if os.geteuid() == 0:
            owner = os.stat(self._owned_by)
            for path in (self._work.name, self._ring):
                os.chown(path, owner.st_uid, owner.st_gid)
        return self

    def _component(self) -> tuple[str, ...]:
        plugins = os.path.join(self._work.name, "plugin")
        os.mkdir(plugins, 0o755)
        for name in os.listdir(self._server.plugin_dir):
            if name != CONFIG_NAME:
                os.symlink(os.path.join(self._server.plugin_dir, name), os.path.join(plugins, name))
        self._put(os.path.join(plugins, CONFIG_NAME), _json({"path": self._ring, "read_only": False}), 0o644)
        self._put(f"{self.program}.my", _json({"components": f"file://{COMPONENT}"}), 0o644)
        return (f"--plugin-dir={plugins}",)

    def _plugin(self) -> tuple[str, ...]:
        library = os.path.join(self._server.plugin_dir, PLUGIN_LIBRARY)
        if not os.path.exists(library):
            raise Unsupported(
                f"{self._server.plugin_dir} has neither {_LIBRARY} nor {PLUGIN_LIBRARY}: no keys can be lent",
                hint="name the directory that has one with --xtrabackup-plugin-dir, or another server with --mysqld",
            )
        return (
            f"--plugin-dir={self._server.plugin_dir}", f"--early-plugin-load={PLUGIN_LIBRARY}",
            f"--keyring-file-data={self._ring}",
        )

    def _put(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """In one step: one that stays may be of a run that was killed, and have keys that nobody else has."""
        temporary = path + ".goldcopy-tmp"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
            f.write(data)
            os.fsync(f.fileno())
        os.rename(temporary, path)

    def made(self) -> tuple[Key, ...]:
        """Keys that the server has added."""
        known = {(k.name, k.owner) for k in self._keys}
        return tuple(k for k in read_ring(self._ring).keys if (k.name, k.owner) not in known)

    def __exit__(self, *exc: object) -> None:
        self._work.cleanup()


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode()
