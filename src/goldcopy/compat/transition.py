"""--transition-key at a backup: the server's master keys travel with it, under a pass phrase."""

from __future__ import annotations

import os

from goldcopy.errors import KeyMissing, Unsupported
from goldcopy.formats.keys.ring import BINLOG_PREFIX, INNODB_PREFIX, Key
from goldcopy.formats.keys.transition import seal
from goldcopy.image.manifest import Manifest
from goldcopy.server.instance import Instance
from goldcopy.server.keyring import read_ring


class TransitionKeys:
    """The keys of a server, read when the backup is whole: redo may be about one that was made meanwhile.

    Raises KeyMissing at once when its keyring cannot be read here, Unsupported without the library.
    """

    def __init__(self, instance: Instance, phrase: str, keyring: str = "") -> None:
        facts = dict(instance.facts().variables)
        place = keyring or facts.get("keyring_data_file") or facts.get("keyring_file_data") or ""
        if not place:
            raise KeyMissing(
                "the server tells of no keyring whose keys --transition-key could take along",
                hint="leave --transition-key out if nothing is encrypted; else name the keyring with"
                " --keyring-file-data or --component-keyring-config",
            )
        self._path, self._phrase = os.path.join(instance.datadir, place), phrase
        self._keys()

    def sealed(self, manifest: Manifest) -> bytes:
        """For the backup."""
        keys = self._keys()
        if manifest.master_key and manifest.master_key not in {k.name for k in keys}:
            raise KeyMissing(f"{self._path} does not have the server's newest key {manifest.master_key}")
        try:
            return seal(keys, self._phrase)
        except ImportError as e:
            raise Unsupported(
                "--transition-key needs a Python library that is not here (cryptography)",
                hint="install it: pip install 'goldcopy[streams]'",
            ) from e

    def _keys(self) -> list[Key]:
        keys = read_ring(self._path).keys
        return [k for k in keys if k.name.startswith((INNODB_PREFIX, BINLOG_PREFIX))]
