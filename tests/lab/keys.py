"""Key rings for encrypted servers, each with what the server and a restore must be told."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from goldcopy.formats.keys.ring import parse_ring
from lab.server import info_of

__all__ = ["Ring", "component_for", "parse_ring", "ring_for"]

TABLES = ("bank.account", "bank.transfer", "forms.t_dynamic", "forms.t_redundant", "misc.child")


@dataclass(frozen=True)
class Ring:
    """``options`` for the server, ``binary`` where a private copy of it is needed, ``statements`` to encrypt with."""

    options: tuple[str, ...]
    restore_options: tuple[str, ...]
    statements: tuple[str, ...]
    file: Path
    binary: str = ""

    def secret(self) -> bytes:
        """Bytes of the key file that may be in no backup."""
        return self.file.read_bytes()[-64:-16]


def ring_for(name: str, folder: Path) -> Ring:
    """A new ring of the kind that the server has."""
    folder.mkdir()
    if name.startswith("mariadb"):
        return _file_key_management(folder)
    return _plugin(folder) if name == "mysql-8.0" else component_for(name, folder)


def _restore(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for o in options for part in ("--server-option", o.removeprefix("--")))


def _file_key_management(folder: Path) -> Ring:
    file = folder / "keys"
    file.write_text(f"1;{os.urandom(32).hex()}\n2;{os.urandom(32).hex()}\n")
    plugin = ("--plugin-load-add=file_key_management", f"--file-key-management-filename={file}")
    encrypt = ("--innodb-encrypt-tables=ON", "--innodb-encrypt-log=ON", "--innodb-encryption-threads=2")
    return Ring((*plugin, *encrypt, "--aria-encrypt-tables=ON"), _restore(plugin), (), file)


_MYSQL_ENCRYPT = ("--innodb-redo-log-encrypt=ON", "--innodb-undo-log-encrypt=ON")
_ALTERS = tuple(f"ALTER TABLE {t} ENCRYPTION = 'Y'" for t in TABLES)


def _plugin(folder: Path) -> Ring:
    plugin = ("--early-plugin-load=keyring_file.so", f"--keyring-file-data={folder}/ring")
    return Ring((*plugin, *_MYSQL_ENCRYPT), _restore(plugin), _ALTERS, folder / "ring")


def component_for(name: str, folder: Path) -> Ring:
    """MySQL's component is named beside the program and configured beside the plugins: both need their own copy."""
    info = info_of(name)
    folder.mkdir(exist_ok=True)
    home, plugins, ring = folder / "sbin", folder / "plugin", folder / "ring"
    home.mkdir()
    shutil.copy(info.server, home / "mysqld.real")
    (home / "mysqld.real.my").write_text(json.dumps({"components": "file://component_keyring_file"}))
    shutil.copytree(info.plugin_dir, plugins)
    (plugins / "component_keyring_file.cnf").write_text(json.dumps({"path": str(ring), "read_only": False}))
    wrapper = home / "mysqld"
    text = (info.bin / "mysqld").read_text().replace(info.server, str(home / "mysqld.real"))
    wrapper.write_text(text.replace(info.plugin_dir, str(plugins)))
    wrapper.chmod(0o755)
    (home / "mysqld.my").write_text(json.dumps({"components": "file://component_keyring_file"}))
    return Ring(_MYSQL_ENCRYPT, (), _ALTERS, ring, str(wrapper))
