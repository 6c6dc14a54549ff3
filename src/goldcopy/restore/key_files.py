"""MariaDB's key files (file_key_management): there, readable, and with the keys that a backup's tablespaces name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from goldcopy.errors import KeyMissing
from goldcopy.formats.innodb.page import MAX_PAGE_BYTES, mariadb_key_id
from goldcopy.image.chain import Image
from goldcopy.restore.keys import newest_page0

KEY_FILE = "file_key_management_filename"
_PHRASE = "file_key_management_filekey"
_NAMES = (KEY_FILE, _PHRASE)
_FILE_PREFIX = "FILE:"
_SEALED = b"Salted__"
_HINT = "bring the file there, or change that line of backup-my.cnf; nothing was changed yet"


def mariadb_key_ids(image: Image) -> frozenset[int]:
    """Numbers of the keys that the tablespaces of a restore point are encrypted with."""
    return frozenset(filter(None, (mariadb_key_id(newest_page0(source)) for source in image.spaces())))


def key_ids_in(paths: Iterable[str]) -> frozenset[int]:
    """The same for tablespace files."""
    return frozenset(filter(None, map(_key_id_in, paths)))


def check_key_files(settings: Mapping[str, str], ids: frozenset[int] = frozenset(), hint: str = _HINT) -> None:
    """Raises KeyMissing when a key file that the settings name cannot be read here, or lacks one of these keys."""
    for name in _NAMES:
        value = settings.get(name, "")
        if name == _PHRASE and not value.upper().startswith(_FILE_PREFIX):
            # a pass phrase, not the name of a file
            continue
        path = value[len(_FILE_PREFIX) :] if value.upper().startswith(_FILE_PREFIX) else value
        if path and not os.access(path, os.R_OK):
            raise KeyMissing(
                f"the backup is encrypted and its keys are in {path} ({name}), which cannot be read here",
                hint=hint,
            )
    if path := settings.get(KEY_FILE, ""):
        _check_inside(path, ids, settings, hint)


def _check_inside(path: str, ids: frozenset[int], settings: Mapping[str, str], hint: str) -> None:
    with open(path, "rb") as f:
        data = f.read()
    if data.startswith(_SEALED):
        # encrypted itself: only the server looks into it
        if not settings.get(_PHRASE):
            raise KeyMissing(
                f"{path} is encrypted, and its pass phrase ({_PHRASE}) is in no backup",
                hint=f"give it: --server-option {_PHRASE}=FILE:PATH, or a line of backup-my.cnf",
            )
        return
    lines = (line.partition(b";")[0].strip() for line in data.splitlines())
    missing = ids - {int(number) for number in lines if number.isdigit()}
    if missing:
        raise KeyMissing(f"the backup is encrypted with key {min(missing)}, which {path} does not have", hint=hint)


def _key_id_in(path: str) -> int:
    with open(path, "rb") as f:
        return mariadb_key_id(f.read(MAX_PAGE_BYTES))
