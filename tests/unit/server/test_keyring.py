"""Keyrings on this machine, and what a server of ours is lent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from goldcopy.errors import KeyMissing, Unsupported
from goldcopy.formats.keys.ring import Key, component_ring, plugin_ring
from goldcopy.server.keyring import Installed, LentRing, home_of, installed, read_ring

KEYS = (Key("INNODBKey-a-1", b"s" * 32),)


def server(tmp_path: Path, *libraries: str) -> Installed:
    """An installed server with these plugins."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for library in libraries:
        (plugins / library).write_bytes(b"")
    program = tmp_path / "mysqld"
    program.write_bytes(b"\x7fELF")
    return Installed(str(program), "/base", str(plugins))


def test_a_server_with_the_component_gets_a_manifest_and_plugins_of_its_own(tmp_path: Path) -> None:
    found = server(tmp_path, "component_keyring_file.so", "other.so")
    (tmp_path / "plugins/component_keyring_file.cnf").write_text('{"path": "/the/users/own"}')
    with LentRing(found, KEYS, str(tmp_path)) as ring:
        home = Path(ring.program).parent
        assert json.loads((home / "mysqld.my").read_text()) == {"components": "file://component_keyring_file"}
        plugins = Path(ring.options[-1].removeprefix("--plugin-dir="))
        assert (plugins / "other.so").exists()
        path = json.loads((plugins / "component_keyring_file.cnf").read_text())["path"]
        assert read_ring(path).keys == KEYS
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert ring.made() == ()
        new = Key("INNODBKey-a-2", b"t" * 32)
        Path(path).write_bytes(component_ring([*KEYS, new]))
        assert ring.made() == (new,)
    assert not home.exists()


def test_an_older_server_gets_the_plugin(tmp_path: Path) -> None:
    with LentRing(server(tmp_path, "keyring_file.so"), KEYS, str(tmp_path)) as ring:
        path = ring.options[-1].removeprefix("--keyring-file-data=")
        assert "--early-plugin-load=keyring_file.so" in ring.options
        assert Path(path).read_bytes() == plugin_ring(KEYS)


def test_a_server_with_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no keys can be lent"), LentRing(server(tmp_path), KEYS, str(tmp_path)):
        pass


def test_a_keyring_is_read_where_its_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "global.cnf").write_text('{"read_local_config": true}')
    (tmp_path / "data").mkdir()
    (tmp_path / "data/component_keyring_file.cnf").write_text(json.dumps({"path": str(tmp_path / "ring")}))
    (tmp_path / "ring").write_bytes(component_ring(KEYS))
    ring = read_ring(str(tmp_path / "global.cnf"), str(tmp_path / "data"))
    assert (ring.path, ring.keys, ring.component) == (str(tmp_path / "ring"), KEYS, True)
    for bad in ("nowhere", "plugins"):
        with pytest.raises(KeyMissing):
            read_ring(str(tmp_path / bad))


def test_where_a_server_will_have_its_keyring(tmp_path: Path) -> None:
    """The configuration stands before the first key is made."""
    (tmp_path / "c.cnf").write_text('{"path": "new"}')
    assert home_of(str(tmp_path / "c.cnf")) == (str(tmp_path / "new"), True)
    assert home_of(str(tmp_path / "none")) == (str(tmp_path / "none"), False)
    for data, component in ((component_ring(KEYS), True), (plugin_ring(KEYS), False), (b"", False)):
        (tmp_path / "ring").write_bytes(data)
        assert home_of(str(tmp_path / "ring")) == (str(tmp_path / "ring"), component)


def test_a_script_that_stays_a_script_can_be_lent_nothing(tmp_path: Path) -> None:
    script = tmp_path / "mysqld"
    script.write_text("#!/bin/sh\necho 'basedir     /b'\necho 'plugin-dir  /p'\n")
    script.chmod(0o755)
    with pytest.raises(Unsupported, match="a script around a server"):
        installed(str(script))
