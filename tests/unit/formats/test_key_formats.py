"""Keyrings and what was encrypted with their keys."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from goldcopy.formats.innodb.sums import crc
from goldcopy.formats.keys.ring import (
    INNODB_PREFIX,
    Key,
    component_ring,
    configured_path,
    newest,
    parse_ring,
    plugin_ring,
    reads_local,
)
from goldcopy.formats.keys.transition import seal, unseal
from goldcopy.formats.keys.wrapped import info_offset, wrapped_at

UUID = "83e487a5-e899-11f1-a41d-02fc00000001"
MASTER = bytes(range(32))
KEYS = (Key(f"INNODBKey-{UUID}-1", MASTER), Key("mine", b"x" * 16, "AES", "me@localhost"), Key("s", b"", "SECRET"))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
RINGS = st.lists(st.builds(Key, TEXT, st.binary(max_size=64), st.sampled_from(["AES", "RSA"]), TEXT), max_size=5)


@given(RINGS)
def test_both_kinds_of_keyring_come_back_as_they_went(keys: list[Key]) -> None:
    assert parse_ring(component_ring(keys)) == tuple(keys)
    assert parse_ring(plugin_ring(keys)) == tuple(keys)


def test_a_record_of_the_plugin_as_the_server_writes_it() -> None:
    """keyring_key.cc: five lengths, the fields, zeros; the data XORed with the server's text."""
    record = plugin_ring([Key("id", b"\x00\x01", "AES", "u")])[24:-35]
    assert [int.from_bytes(record[at : at + 8], "little") for at in range(0, 40, 8)] == [48, 2, 3, 1, 2]
    assert record[40:] == b"idAESu*2"


@pytest.mark.parametrize("at", [30, 60, -1, -36])
def test_a_damaged_keyring_is_found(at: int) -> None:
    data = bytearray(plugin_ring(KEYS))
    data[at] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        parse_ring(bytes(data))


@pytest.mark.parametrize("data", [b"[]", b"{}", b"\xff\xfe", b"keys", b'{"version":"1.0","elements":[{"user":""}]}'])
def test_what_is_no_keyring_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_ring(data)


def test_an_empty_file_is_an_empty_keyring() -> None:
    """A server makes it at its start."""
    assert parse_ring(b"") == ()


def test_a_configuration_names_its_keyring() -> None:
    assert configured_path(json.dumps({"path": "/k/ring", "read_only": False}).encode()) == "/k/ring"
    assert configured_path(component_ring(KEYS)) == configured_path(b"?") == ""
    assert reads_local(b'{"read_local_config": true}') and not reads_local(b'{"path": "x"}')


def test_the_newest_key_is_the_one_with_the_highest_number() -> None:
    names = [f"INNODBKey-{UUID}-{n}" for n in (9, 10, 2)] + ["INNODBKey-other-77"]
    assert newest(names, INNODB_PREFIX + UUID) == f"INNODBKey-{UUID}-10"
    assert newest([], INNODB_PREFIX + UUID) == ""


def test_a_secret_is_in_no_repr() -> None:
    assert str(KEYS[1].secret) not in repr(KEYS)


def info(number: int = 7, magic: bytes = b"lCC") -> bytes:
    """What a server would write for a tablespace's key."""
    plain = b"k" * 32 + b"i" * 32
    aes = Cipher(algorithms.AES(MASTER), modes.ECB()).encryptor()
    return magic + number.to_bytes(4, "big") + UUID.encode() + aes.update(plain) + crc(plain).to_bytes(4, "big")


def test_the_right_master_key_is_known_and_no_other() -> None:
    page = bytes(10390) + info() + bytes(5000)
    wrapped = wrapped_at(page, info_offset(16384, 16384))
    assert wrapped is not None
    assert wrapped.name == f"INNODBKey-{UUID}-7"
    assert wrapped.opened_by(MASTER)
    assert not wrapped.opened_by(bytes(32))


@pytest.mark.parametrize("data", [b"", info()[:100], info(0), info(magic=b"lCX"), bytes(200)])
def test_what_needs_no_master_key(data: bytes) -> None:
    assert wrapped_at(data, 0) is None


@pytest.mark.parametrize(
    ("page", "logical", "at"), [(4096, 4096, 1558), (16384, 16384, 10390), (65536, 65536, 41110), (8192, 16384, 5270)]
)
def test_where_page_0_has_it(page: int, logical: int, at: int) -> None:
    assert info_offset(page, logical) == at


def test_sealed_keys_open_with_their_phrase_only() -> None:
    data = seal(KEYS, "phrase")
    assert unseal(data, "phrase") == KEYS
    assert MASTER not in data
    with pytest.raises(ValueError, match="another one"):
        unseal(data, "other")
    for at in (0, 10, 30, len(data) - 1):
        bad = bytearray(data)
        bad[at] ^= 1
        with pytest.raises(ValueError):
            unseal(bytes(bad), "phrase")
    with pytest.raises(ValueError):
        unseal(data[:20], "phrase")
