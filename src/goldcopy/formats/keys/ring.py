"""Files that keep a MySQL server's keys: the keyring_file plugin's, component_keyring_file's, and its configuration.

The plugin's file (``plugin/keyring``: buffered_file_io.cc, keyring_key.cc, checker_ver_2_0.cc), words of 8 bytes,
little-endian:

    24   ``Keyring file version:2.0`` (``1.0`` without the sum at the end)
    n    keys, each: length of the record, of id, type, owner, data; then these four; zeros up to a multiple of 8
    3    ``EOF``
    32   SHA-256 of the keys

The data are XORed with a fixed text. The component's file (``components/keyrings/common/json_data``) is JSON: a
version and ``elements``, each with user, data_id, data_type and the data in hex.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle

INNODB_PREFIX = "INNODBKey-"
BINLOG_PREFIX = "MySQLReplicationKey_"
_VERSIONS = {b"Keyring file version:1.0": 0, b"Keyring file version:2.0": 32}
_HEAD_BYTES = 24
_EOF = b"EOF"
_WORD = 8
_LENGTHS = struct.Struct("<5Q")
_OBFUSCATION = b"*305=Ljt0*!@$Hnm(*-9-w;:"
_NUMBERED = re.compile(r"(.*)-(\d+)")


@dataclass(frozen=True)
class Key:
    """One key by its id; ``owner`` is empty for the server's own. The secret is in no ``repr``."""

    name: str
    secret: bytes = field(repr=False)
    kind: str = "AES"
    owner: str = ""


def parse_ring(data: bytes) -> tuple[Key, ...]:
    """The keys of a keyring file of either form; an empty file has none. Raises ValueError for anything else."""
    if not data:
        return ()
    if data[:_HEAD_BYTES] in _VERSIONS:
        return tuple(_plugin_keys(data))
    elements = _json(data).get("elements")
    if not isinstance(elements, list):
        raise ValueError("neither a file of the keyring_file plugin nor of component_keyring_file")
    try:
        return tuple(
            Key(e["data_id"], bytes.fromhex(e["data"]), e["data_type"], e["user"]) for e in elements
        )
    except (KeyError, TypeError) as e:
        raise ValueError(f"a key of the keyring is incomplete: {e}") from e


def configured_path(data: bytes) -> str:
    """The keyring file that a ``component_keyring_file.cnf`` names, "" when these bytes are no such configuration."""
    try:
        return str(_json(data).get("path") or "")
    except ValueError:
        return ""


def reads_local(data: bytes) -> bool:
    """Whether a ``component_keyring_file.cnf`` refers to the one in the data directory."""
    try:
        return _json(data).get("read_local_config") is True
    except ValueError:
        return False


def component_ring(keys: Iterable[Key]) -> bytes:
    """The component's file."""
    elements = [
        {"user": k.owner, "data_id": k.name, "data_type": k.kind, "data": k.secret.hex().upper(), "extension": []}
        for k in keys
    ]
    return json.dumps({"version": "1.0", "elements": elements}, separators=(",", ":")).encode()


def plugin_ring(keys: Iterable[Key]) -> bytes:
    """The plugin's file, version 2.0."""
    body = b"".join(map(_plugin_record, keys))
    head = next(head for head, sum_bytes in _VERSIONS.items() if sum_bytes)
    return head + body + _EOF + hashlib.sha256(body).digest()


def newest(names: Iterable[str], prefix: str) -> str:
    """The name with the highest number behind ``prefix``, "" without one."""
    found = [m for m in map(_NUMBERED.fullmatch, names) if m is not None and m[1] == prefix]
    return max(found, key=lambda m: int(m[2]))[0] if found else ""


def _json(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data)
    except UnicodeDecodeError as e:
        raise ValueError("not a keyring") from e
    if not isinstance(document, dict):
        raise ValueError("not a keyring")
    return document


def _plugin_keys(data: bytes) -> Iterator[Key]:
    sum_bytes = _VERSIONS[data[:_HEAD_BYTES]]
    body, tail = data[_HEAD_BYTES : len(data) - sum_bytes - len(_EOF)], data[len(data) - sum_bytes - len(_EOF) :]
    if not tail.startswith(_EOF) or (sum_bytes and tail[len(_EOF) :] != hashlib.sha256(body).digest()):
        raise ValueError("the keyring file is damaged: its checksum is wrong")
    at = 0
    while at + _LENGTHS.size <= len(body):
        whole, *lengths = _LENGTHS.unpack_from(body, at)
        if whole < _LENGTHS.size + sum(lengths) or at + whole > len(body):
            raise ValueError("the keyring file is damaged: a record ends behind it")
        fields, start = [], at + _LENGTHS.size
        for length in lengths:
            fields.append(body[start : start + length])
            start += length
        yield Key(fields[0].decode(), _obfuscated(fields[3]), fields[1].decode(), fields[2].decode())
        at += whole


def _plugin_record(key: Key) -> bytes:
    fields = (key.name.encode(), key.kind.encode(), key.owner.encode(), _obfuscated(key.secret))
    length = _LENGTHS.size + sum(map(len, fields))
    padding = -length % _WORD
    return _LENGTHS.pack(length + padding, *map(len, fields)) + b"".join(fields) + bytes(padding)


def _obfuscated(secret: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(secret, cycle(_OBFUSCATION), strict=False))
