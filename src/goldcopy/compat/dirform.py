"""The files that make a backup of ours a directory of the peers', written when everything else is in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from goldcopy.compat import infofiles
from goldcopy.compat.infofiles import Checkpoints, Info
from goldcopy.compat.plugins import refuse_unreadable
from goldcopy.compat.transition import TransitionKeys
from goldcopy.compat.unwritten import UnwrittenSpaces
from goldcopy.dialect.peers import Peer
from goldcopy.errors import BackupInvalid, TargetRefused
from goldcopy.formats.redo import Window, rebuild
from goldcopy.image.manifest import KEYS_NAME, Manifest, Redo
from goldcopy.image.sink import FileWriter, Sink
from goldcopy.restore.recovery import recovery_need, window_of

_CORRUPT_NAME = "innodb_corrupted_pages"
_POOL_FILE, _POOL_FILE_DEFAULT = "innodb_buffer_pool_filename", "ib_buffer_pool"
_PAGE_BYTES = 16384
_TAIL_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the manifest does not know. ``variables``: of the server, all of them; ``binlog_path``: the current
    binlog on the server; ``info``: the fields that only the command line knows; ``plugin_settings``: lines of
    backup-my.cnf that recovery needs to load plugins; ``missing_algorithms``: see ``plugins``.
    ``transition``: keys to take along.
    """

    peer: Peer
    variables: dict[str, str]
    plugin_settings: tuple[str, ...] = ()
    missing_algorithms: frozenset[str] = frozenset()
    info: dict[str, str | int | bool] = field(default_factory=dict)
    spool: str = ""
    binlog_path: Callable[[str], str] = os.path.basename
    extra_lsndir: str = ""
    slave_info: bool = False
    galera_info: bool = False
    binlog_info: bool = True
    estimate_memory: bool = False
    transition: TransitionKeys | None = None


class DirectoryForm:
    """A ``Finish`` for the engine: puts the peers' files into the sink. ``info``: what was written, afterwards;
    its sizes are the whole backup's after ``complete``.
    """

    def __init__(self, sink: Sink, facts: Facts, unwritten: UnwrittenSpaces | None = None) -> None:
        self._sink, self._facts, self._peer = sink, facts, facts.peer
        self._unwritten = unwritten
        self._checkpoints_text = ""
        self.info = Info()

    def __call__(self, manifest: Manifest) -> Manifest:
        facts, peer = self._facts, self._peer
        refuse_unreadable(manifest.spaces, facts.missing_algorithms)
        self.info = Info.of(manifest, mariadb=peer.mariadb, **facts.info)
        if self._unwritten is not None:
            self._unwritten.write(manifest, self._sink)
        position = manifest.position
        if facts.binlog_info:
            self._named("binlog_info", infofiles.binlog_info(position))
        if facts.slave_info:
            self._named("slave_info", infofiles.slave_info(position.replicas, peer))
        if facts.galera_info:
            self._named("galera_info", infofiles.galera_info(position.galera))
        redo = self._redo(manifest)
        self._binlog(manifest)
        self._corrupt_pages(manifest)
        self._checkpoints_text = self._checkpoints(manifest).render(peer)
        self._named("checkpoints", self._checkpoints_text)
        self._put(infofiles.CONFIG_NAME, self._config())
        if facts.transition is not None:
            self._put_bytes(KEYS_NAME, facts.transition.sealed(manifest))
        self._measure()
        self._named("info", self.info.render(peer))
        if peer.tablespace_map:
            self._put(infofiles.TABLESPACES_NAME, infofiles.tablespaces(infofiles.external_spaces(manifest.spaces)))
        return msgspec.structs.replace(manifest, redo=redo)

    def complete(self) -> None:
        """The backup is whole and its sink closed. Raises TargetRefused for --extra-lsndir."""
        self._measure()
        self._extra()

    def _measure(self) -> None:
        sizes = self._sink.sizes()
        self.info = replace(
            self.info, backup_size=sizes.stored_bytes, uncompressed_backup_size=sizes.content_bytes
        )

    def _checkpoints(self, manifest: Manifest) -> Checkpoints:
        found = Checkpoints.of(manifest)
        if not self._facts.estimate_memory:
            return found
        need = recovery_need(manifest.redo.size)
        page_size = int(self._facts.variables.get("innodb_page_size") or _PAGE_BYTES)
        return replace(found, redo_memory=need, redo_frames=need // page_size)

    # -- text files ------------------------------------------------------------------------------------------------

    def _named(self, kind: str, text: str) -> None:
        if text:
            self._put(infofiles.file_name(self._peer, kind), text)

    def _put(self, name: str, text: str) -> None:
        self._put_bytes(name, text.encode("utf-8", "surrogateescape"))

    def _put_bytes(self, name: str, data: bytes) -> None:
        out = self._sink.put_file(name)
        out.write(data)
        out.finish()

    def _config(self) -> str:
        variables = dict(self._facts.variables)
        if self._peer.mariadb and variables.get(_POOL_FILE) == _POOL_FILE_DEFAULT:
            # only what was set stands there
            del variables[_POOL_FILE]
        text = infofiles.config(variables, self._peer)
        lines = "".join(line + "\n" for line in self._facts.plugin_settings)
        return text[:-1] + lines + text[-1:]

    def _corrupt_pages(self, manifest: Manifest) -> None:
        lines = [
            f"{s.path.removesuffix('.ibd')} {s.space_id}\n{' '.join(map(str, s.corrupt))}\n"
            for s in manifest.spaces
            if s.corrupt
        ]
        if lines:
            self._put(_CORRUPT_NAME, "".join(lines))

    def _extra(self) -> None:
        """--extra-lsndir: on this machine, beside a stream that has them as well. Only this info file can know
        what the backup takes: the other one is a part of it."""
        directory = self._facts.extra_lsndir
        if not directory:
            return
        try:
            os.makedirs(directory, exist_ok=True)
            for kind, text in (("checkpoints", self._checkpoints_text), ("info", self.info.render(self._peer))):
                path = os.path.join(directory, infofiles.file_name(self._peer, kind))
                with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
                    out.write(text)
        except OSError as e:
            raise TargetRefused(f"cannot write into --extra-lsndir={directory}: {e.strerror}") from e

    # -- logs ------------------------------------------------------------------------------------------------------

    def _redo(self, manifest: Manifest) -> Redo:
        """MariaDB's tools want a log that begins at the checkpoint; MySQL's window goes in as it is."""
        if not self._facts.spool:
            return manifest.redo
        out = self._sink.put_file(self._peer.redo_name)
        try:
            self._rebuild(window_of(manifest), out)
        except ValueError as e:
            raise BackupInvalid(
                f"the redo log that was copied is not whole: {e}",
                hint="take the backup again; if it happens again, look at the server's disk",
            ) from e
        sums = out.finish()
        return msgspec.structs.replace(
            manifest.redo, stored_as=self._peer.redo_name, rebuilt=True, size=out.size, sums=sums
        )

    def _rebuild(self, window: Window, out: FileWriter) -> None:
        with open(self._facts.spool, "rb", buffering=0) as stored:
            for piece in rebuild(window, lambda at, n: os.pread(stored.fileno(), n, at), force_fresh=True):
                _skip_to(out, piece.offset)
                out.write(piece.data)

    def _binlog(self, manifest: Manifest) -> None:
        """XtraBackup 8.0 and newer: the last binlog up to the backup's position, and an index of it alone."""
        name = manifest.position.binlog_file
        if not (self._peer.keeps_binlog and manifest.binlog_tail and name):
            return
        out = self._sink.put_file(name)
        with open(self._facts.binlog_path(name), "rb") as f:
            left = manifest.binlog_tail
            while left and (data := f.read(min(left, _TAIL_READ_BYTES))):
                out.write(data)
                left -= len(data)
        out.finish()
        self._put(name.rpartition(".")[0] + ".index", f"./{name}\n")


def _skip_to(out: FileWriter, offset: int) -> None:
    if offset > out.size:
        out.hole(offset - out.size)
