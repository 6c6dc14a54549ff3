"""MyRocks: a checkpoint of its own (hard links to files that never change), copied after the locks are given back."""

from __future__ import annotations

import contextlib
import os

from goldcopy.capture.plain import PlainCopier
from goldcopy.errors import GoldcopyError, ServerRefused
from goldcopy.events import Emit, Warn
from goldcopy.image.manifest import Plain
from goldcopy.server.files import file_ref
from goldcopy.server.instance import Instance

DIRECTORY = "#rocksdb"
"""Where its files lie in a backup, and in the data directory by default."""

_PREFIX = ".goldcopy-checkpoint-"


class RocksdbCheckpoint(contextlib.AbstractContextManager["RocksdbCheckpoint"]):
    """Made under the commit lock by ``make``, copied by ``copy``; leaving the block removes it from the server.

    It lies inside MyRocks' own directory: the same file system, and no database of the server.
    """

    def __init__(self, instance: Instance, emit: Emit) -> None:
        self._instance, self._emit = instance, emit
        told = instance.variables.get("rocksdb_datadir", "")
        self._home = os.path.normpath(os.path.join(instance.datadir, told)) if told else ""
        self._made = ""

    def make(self, found_dir: str) -> None:
        """Have the server make the checkpoint. ``found_dir``: where the files were seen, "" = nowhere.

        Raises ServerRefused when the server does not make it. Does nothing where MyRocks is not loaded.
        """
        if not self._home:
            if found_dir:
                self._emit(Warn("rocksdb", f"{found_dir} is not in the backup: the server has not loaded RocksDB"))
            return
        place = os.path.join(self._home, _PREFIX + os.urandom(4).hex())
        self._made = place
        try:
            self._instance.session.run(f"SET GLOBAL rocksdb_create_checkpoint = '{place}'")
        except GoldcopyError as e:
            raise ServerRefused(
                f"RocksDB made no checkpoint for the backup: {e.message}",
                hint="the account needs SUPER for it; --skip-rocksdb-backup leaves RocksDB's tables out",
            ) from e

    def copy(self, copier: PlainCopier) -> tuple[Plain, ...]:
        """Copy its files under the names that a restored server looks for. Raises ServerRefused when one is gone."""
        if not self._made:
            return ()
        outside = not self._home.startswith(self._instance.datadir.rstrip("/") + "/")
        records = []
        for name in sorted(os.listdir(self._made)):
            external = os.path.join(self._home, name) if outside else ""
            ref = file_ref(f"{DIRECTORY}/{name}", "", external, link=os.path.join(self._made, name))
            record = copier.copy(ref) if ref is not None else None
            if record is None:
                raise ServerRefused(f"{name} has gone from RocksDB's checkpoint in {self._made} while it was copied")
            records.append(record)
        return tuple(records)

    def __exit__(self, *exc: object) -> None:
        if self._made and os.path.isdir(self._made):
            import shutil  # with all its compressors, that few backups need

            try:
                shutil.rmtree(self._made)
            except OSError as e:
                self._emit(Warn("rocksdb", f"{self._made} could not be removed ({e.strerror}): remove it by hand"))
        self._made = ""
