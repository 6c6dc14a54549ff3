"""A new master key for a restored MySQL server: afterwards it needs nothing of the source's keyring.

Its own program is started on it, lent the old keys, and rotates; the new key goes into the keyring that it will have.
Until it is there it also lies beside it: files whose key is lost could never be read again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pymysql

from goldcopy.dialect import choose
from goldcopy.errors import KeyMissing, RecoveryFailed
from goldcopy.events import Emit, Note, Phase
from goldcopy.formats.keys.ring import BINLOG_PREFIX, INNODB_PREFIX, Key
from goldcopy.image.chain import Image
from goldcopy.restore.durable import write_file
from goldcopy.restore.keys import KeyOptions, keys_of
from goldcopy.restore.recovery import memory_for
from goldcopy.restore.redo_files import drop_spare_logs
from goldcopy.restore.served import asked, tidy
from goldcopy.server.binary import find_server_binary
from goldcopy.server.keyring import LentRing, home_of, installed, read_ring, written
from goldcopy.server.process import RecoveryRun

_LOG_NAME = "goldcopy-new-key.log"
_PENDING = ".goldcopy-new"
_LOG_BYTES = 64 << 20


@dataclass(frozen=True)
class Places:
    """Where a restored server has its files. See ``Dialect.recovery_options``; ``log_directory``: of its redo.

    ``system_files``: of the system tablespace, at least one.
    """

    datadir: str
    system_files: tuple[str, ...]
    undo_directory: str = ""
    log_directory: str = ""
    directories: tuple[str, ...] = ()


class NewMasterKey:
    """``image``: the prepared backup. ``keyring``: the restored server's: its file, or the component's configuration.

    Raises KeyMissing, and what ``find_server_binary`` raises, before anything is changed.
    """

    def __init__(self, image: Image, old: KeyOptions, keyring: str, binary: str) -> None:
        version = image.newest.server.version
        self._image = image
        self._dialect = choose(version, force=True)
        self._binary = find_server_binary(self._dialect.family, version, binary, home=image.newest.server.home)
        self._installed = installed(self._binary, old.plugin_dir)
        self._path, self._component = home_of(keyring)
        self._old = self._old_keys(old, keyring)

    def _old_keys(self, old: KeyOptions, keyring: str) -> tuple[Key, ...]:
        """Where the user says, or in the new keyring if it is the source's own, or where the source had them."""
        if not old.phrase and os.path.exists(self._path):
            with contextlib.suppress(KeyMissing):
                return keys_of(self._image, replace(old, keyring=keyring), self._binary)
        return keys_of(self._image, old, self._binary)

    def rotate(self, places: Places, emit: Emit) -> None:
        """Give the restored server its key. Raises RecoveryFailed, and then its files are as they were or have both."""
        if not self._old:
            emit(Note("nothing in the backup is encrypted: no master key is made"))
            return
        emit(Phase("keys", f"a new master key, by {self._binary}"))
        pending = self._path + _PENDING
        kept = [*_keys_in(self._path), *_keys_in(pending)]
        lent = _unique([*kept, *self._old])
        with LentRing(self._installed, lent, places.system_files[0], path=pending) as ring:
            self._run(ring, places, emit)
            made = [k for k in ring.made() if k.name.startswith(INNODB_PREFIX)]
            if not made:
                raise RecoveryFailed("the server says that it rotated its master key, and made none")
            # the binlog that came with the backup stays readable
            binlog = [k for k in self._old if k.name.startswith(BINLOG_PREFIX)]
            write_file(self._path, [written(_unique([*kept, *made, *binlog]), component=self._component)])
        os.unlink(pending)
        _give_to_owner(self._path, places.datadir)

    def _run(self, ring: LentRing, places: Places, emit: Emit) -> None:
        before = set(os.listdir(places.datadir))
        options = [*self._options(places), "--skip-grant-tables", *ring.options]
        try:
            log = os.path.join(places.datadir, _LOG_NAME)
            # the restored files may not have been given to the owner of the directory yet
            files = places.system_files[0]
            with RecoveryRun(ring.program, places.datadir, options, log, emit, owned_by=files) as run:
                run.wait_ready()
                _rotate(run)
                run.stop()
        finally:
            tidy(places.datadir, before)
            if places.log_directory:
                drop_spare_logs(places.log_directory)

    def _options(self, places: Places) -> list[str]:
        options = self._dialect.recovery_options(
            self._image.newest.server.variables, log_bytes=_LOG_BYTES, log_files=1, memory_bytes=memory_for(0, 0),
            system_files=places.system_files, undo_directory=places.undo_directory, directories=places.directories,
        )
        log = [f"--innodb-log-group-home-dir={places.log_directory}"] if places.log_directory else []
        return [*options, *log]


def _rotate(run: RecoveryRun) -> None:
    with asked(run) as cursor:
        try:
            cursor.execute("ALTER INSTANCE ROTATE INNODB MASTER KEY")
        except pymysql.Error as e:
            raise RecoveryFailed(f"the restored server cannot rotate its master key: {e.args[-1]}") from e


def _keys_in(path: str) -> Sequence[Key]:
    return read_ring(path).keys if os.path.exists(path) else ()


def _unique(keys: Sequence[Key]) -> list[Key]:
    return list({(k.name, k.owner): k for k in reversed(keys)}.values())


def _give_to_owner(path: str, datadir: str) -> None:
    if os.geteuid() == 0:
        owner = os.stat(datadir)
        os.chown(path, owner.st_uid, owner.st_gid)
