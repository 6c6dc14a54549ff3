"""One capture of a live server, step by step. ``commands/backup.py`` tells the order; this knows how.

Everything taken from the server (locks, the redo consumer, threads) is given back when the ``Capture`` closes,
whatever happened.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence, Set
from typing import Literal, overload

import msgspec

from goldcopy import __version__
from goldcopy.capture.base import BackupBase
from goldcopy.capture.copier import SpaceCopier
from goldcopy.capture.copy_space import Base, SpaceJob, SpaceResult
from goldcopy.capture.follower import Follower
from goldcopy.capture.plain import PlainCopier
from goldcopy.capture.plain_set import PlainSet
from goldcopy.capture.redo_base import RedoSource
from goldcopy.capture.redo_source import open_source
from goldcopy.capture.rocksdb import RocksdbCheckpoint
from goldcopy.capture.spaces import CopiedSpaces, altered_since
from goldcopy.capture.spool import SpoolFile
from goldcopy.capture.throttle import Throttle
from goldcopy.capture.witness import NewestPages
from goldcopy.errors import PrivilegeMissing, RedoOverrun, ServerRefused
from goldcopy.events import Emit, Note, Progress, Warn
from goldcopy.formats import Lsn
from goldcopy.formats.redo import Checkpoint
from goldcopy.image.manifest import (
    BINLOG_TAIL_NAME,
    REDO_NAME,
    LockTime,
    Manifest,
    Plain,
    Position,
    Redo,
    Replica,
    Server,
)
from goldcopy.image.sink import FileWriter, Sink
from goldcopy.server.files import FileRef, Listing, Stray, list_files
from goldcopy.server.instance import Instance
from goldcopy.server.locks import BackupLocks, LockPolicy
from goldcopy.server.position import ConsistentPoint, read_position
from goldcopy.server.redo_guard import RedoConsumer
from goldcopy.server.session import Session

CATCH_UP_TRIES = 30
_STILL_WITHIN_S = 20.0
_ASK_EVERY_S = 2.0
"""A connection that was killed took the locks with it: hours of copying would be in vain."""

_BINLOG_PIECE_BYTES = 1 << 20

# binlog_encryption=ON (rpl_log_encryption.h): positions do not count the encryption header before the events
ENCRYPTED_BINLOG_MAGIC, ENCRYPTED_BINLOG_HEADER_BYTES = b"\xfdbin", 512

Finish = Callable[[Manifest], Manifest]


class CaptureOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to copy. ``on_corrupt``: ``stop`` at a page that stays bad, or ``list`` it and go on.
    ``extended_validation``: a page that says it is encrypted and is not, is bad.

    ``always_delta``: in an increment, what is new is stored as a delta of all its pages, as the peers have it.
    ``plain_from_base``: leave out other files that are provably as in the base. ``wanted``: which paths to take,
    None = all. ``redo_spool``: a local file for the redo window, "" = into the sink, as ``redo_name``. ``rocksdb``:
    take MyRocks along. ``own_dirs``: where the backup is written; never copied, though it lie in the data directory.
    """

    threads: int = 4
    bytes_per_s: int = 0
    iops: int = 0
    on_corrupt: Literal["stop", "list"] = "stop"
    extended_validation: bool = False
    consumer: bool = True
    always_delta: bool = False
    plain_from_base: bool = True
    redo_spool: str = ""
    redo_name: str = REDO_NAME
    rocksdb: bool = True
    own_dirs: tuple[str, ...] = ()
    name: str = ""
    wanted: Callable[[str], bool] | None = None
    policy: LockPolicy = LockPolicy()


class _Jobs(Sequence[SpaceJob]):
    """A job for each file, made when it is asked for. ``later``: the system tablespace's files after its ``head``."""

    def __init__(self, files: Sequence[FileRef], rule: Base | None, head: FileRef | None, later: Set[str]) -> None:
        self._files, self._rule, self._head, self._later = files, rule, head, later

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> SpaceJob: ...

    @overload
    def __getitem__(self, index: slice) -> list[SpaceJob]: ...

    def __getitem__(self, index: int | slice) -> SpaceJob | list[SpaceJob]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file = self._files[index]
        return SpaceJob(file, self._rule, self._head if file.source in self._later else None)


class Capture(contextlib.AbstractContextManager["Capture"]):
    """A backup being taken. Use as a context manager; call the steps in the order in which they stand here."""

    def __init__(
        self, instance: Instance, sink: Sink, base: BackupBase | None, options: CaptureOptions, emit: Emit
    ) -> None:
        self._instance, self._sink, self._base, self._options, self._emit = instance, sink, base, options, emit
        self._stack = contextlib.ExitStack()
        self._cancelled = threading.Event()
        self._started = time.time()
        self._looked_ns = time.time_ns()
        self._warnings: list[str] = []
        self._spaces = CopiedSpaces()
        self._newest = NewestPages()
        self._throttle = Throttle(options.bytes_per_s, options.iops)
        known = base.plain if base is not None and options.plain_from_base else None
        self._plain_copier = PlainCopier(sink, self._throttle, self._pulse)
        self._plain = PlainSet(self._plain_copier, known, base.started_ns if base is not None else 0)
        self._torn = 0
        self._ask_again = 0.0

    def __enter__(self) -> Capture:
        self._stack.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._cancelled.set()
        self._stack.close()

    # -- the steps ------------------------------------------------------------------------------------------

    def guard(self) -> None:
        """Take what keeps DDL away, or at least tells of it, where the server has such a thing."""
        self._locks = self._stack.enter_context(BackupLocks(self._instance, self._options.policy, self._emit))
        self._locks.guard()

    def follow_redo(self) -> None:
        """Read the checkpoint and start the redo follower; nothing is copied before its first read succeeded."""
        instance = self._instance
        self._check_binlog()
        source = open_source(instance.redo_dir, instance.dialect.family)
        self._stack.callback(source.close)
        instance.dialect.check_redo_layout(source.layout)
        session = self._stack.enter_context(instance.new_session())
        consumer = self._consumer()
        for _ in range(CATCH_UP_TRIES):
            checkpoint = source.checkpoint()
            self._lsns = self._lsns_from(source, checkpoint)
            if self._base is not None:
                self._base.check_lsns(checkpoint.lsn, self._lsns(session)[1])
            self._redo_out = self._open_redo()
            follower = Follower(
                source, self._redo_out, functools.partial(self._lsns, session),
                capacity_bytes=instance.redo_capacity_bytes(session),
                setting=instance.dialect.redo_size_setting,
                advance=consumer,
            )
            try:
                follower.start(checkpoint.lsn)
            except RedoOverrun:
                self._redo_out.abort()
                continue
            self._source, self._checkpoint, self._follower = source, checkpoint, follower
            self._stack.callback(follower.stop)
            return
        raise RedoOverrun(
            "the server writes redo faster than it can be read even once",
            hint=f"raise {instance.dialect.redo_size_setting}",
        )

    def copy_spaces(self) -> None:
        """Copy every InnoDB tablespace, in parallel, each page verified; and plain files a first time."""
        self._indexes = self._index_sums()
        listing = self._list()
        if self._base is not None:
            self._base.check_pages(listing.spaces, self._checkpoint.lsn, self._instance.dialect.family)
        self._warn_unknown(listing)
        self._copy(listing.spaces.only(self._options.wanted))
        self._copy_plain(listing)

    def block_ddl(self) -> None:
        """Keep DDL out for the rest, look at the data directory again by identity, and mend what DDL moved."""
        self._locks.block_ddl()
        built = frozenset(space for space, told in self._index_sums().items() if self._indexes.get(space) != told)
        listing = self._list()
        self._follow_ddl(listing, built)
        self._copy_plain(listing)
        self._outside_innodb = listing.has_user_tables_outside_innodb

    def block_commit(self) -> None:
        """The consistent point: no commit, plain files as they are now, position and LSN as one."""
        self._locks.block_commit(non_innodb=self._outside_innodb)
        listing = self._list()
        self._follow_ddl(listing)
        self._copy_plain(listing)
        self._checkpoint_rocksdb(listing.rocksdb_dir)
        self._warn_dead_links(listing)
        spaces, strays = listing.spaces, listing.strays
        # the other files' names make room for what is recorded of the tablespaces
        del listing
        self._point, self._end, last_block = self._consistent_point()
        self._follower.finish(self._end, last_block=last_block)
        self._copy_binlog_tail()
        self._master_key = self._instance.master_key() if self._instance.dialect.server_uuid else ""
        self._locks.assert_held()
        self._leave_strays_out(strays)
        self._records = self._spaces.records(spaces)

    def release(self) -> None:
        """Give the locks back: the server goes on as before."""
        self._locks.release()

    def write_manifest(self, finish: Finish | None = None) -> Manifest:
        """Make all durable, then write the manifest: only now is there a backup.

        ``finish``: may put more files into the sink, and returns the manifest to write.
        """
        plain = self._plain.records()
        plain.extend(self._rocksdb.copy(self._plain_copier))
        redo = self._redo_record()
        manifest = self._manifest(plain, redo)
        if finish is not None:
            manifest = finish(manifest)
        self._sink.sync()
        self._sink.commit(manifest)
        return manifest

    # -- how ------------------------------------------------------------------------------------------------

    def _list(self) -> Listing:
        self._follower.check()
        return list_files(self._instance, self._options.own_dirs)

    def _follow_ddl(self, listing: Listing, built: Set[int] = frozenset()) -> None:
        """Make what was copied of the tablespaces what there is now. ``built``: ids of those with new indexes.

        Asked again at the consistent point: where no lock keeps DDL out from before (MySQL), undo tablespaces are
        truncated, that is, replaced, at any time.
        """
        changes = self._spaces.compare(
            listing.spaces.only(self._options.wanted), self._built_without_redo(listing), built
        )
        self._spaces.mend(changes, self._sink)
        if changes.fresh or changes.renamed or changes.gone:
            self._emit(Note(
                f"DDL meanwhile: {len(changes.fresh)} tablespaces new, {len(changes.renamed)} renamed, "
                f"{len(changes.gone)} dropped", detail=True,
            ))
        self._copy(changes.fresh)

    def _index_sums(self) -> dict[int, int]:
        """What tells that MySQL 8+ built an index, whose pages are never in the redo; {} where no DDL can run."""
        instance = self._instance
        late = self._options.policy.late_guard and instance.dialect.family == "mysql" and instance.dialect.locks.guard
        return instance.index_sums() if late else {}

    def _built_without_redo(self, listing: Listing) -> frozenset[str]:
        """Where nothing keeps DDL away, MySQL 5.7 may have published indexes whose pages were never in the redo."""
        if self._instance.dialect.locks.guard:
            return frozenset()
        since, self._looked_ns = self._looked_ns, time.time_ns()
        return altered_since(listing.plain, since)

    def _copy_plain(self, listing: Listing) -> None:
        wanted = self._options.wanted
        # a database that would be empty is taken when its own file would be
        dirs = [d for d in listing.empty_dirs if wanted is None or wanted(f"{d}/db.opt")]
        self._plain.copy(listing.plain.only(wanted), dirs, self._cancelled.is_set)

    def _checkpoint_rocksdb(self, found_dir: str) -> None:
        self._rocksdb = self._stack.enter_context(RocksdbCheckpoint(self._instance, self._emit))
        if self._options.rocksdb:
            self._rocksdb.make(found_dir)

    def _warn(self, code: str, text: str) -> None:
        self._warnings.append(text)
        self._emit(Warn(code, text))

    def _warn_unknown(self, listing: Listing) -> None:
        for file in listing.unknown:
            self._warn("unknown-file", f"{file.path}: not a file of an engine that Goldcopy knows; copied as it is")

    def _warn_dead_links(self, listing: Listing) -> None:
        for path in listing.dead_links:
            self._warn("dead-link", f"{path}: the tablespace that it points to is not there; left out")

    def _leave_strays_out(self, known: Sequence[Stray]) -> None:
        for stray in (*known, *self._spaces.leave_strays_out(self._instance.owners, self._sink)):
            self._warn(
                "stray-file",
                f"{stray.path}: it says that it is tablespace {stray.space_id}, which the server has in {stray.owner};"
                " left out: does it await IMPORT TABLESPACE, or was a copy forgotten there?",
            )

    def _copy(self, files: Sequence[FileRef]) -> None:
        rule = self._base.page_rule(always_delta=self._options.always_delta) if self._base is not None else None
        head = next((f for f in files if f.source == self._instance.system_files[0]), None)
        jobs = _Jobs(files, rule, head, frozenset(self._instance.system_files[1:]))
        copier = SpaceCopier(
            self._sink,
            family=self._instance.dialect.family,
            threads=self._options.threads,
            throttle=self._throttle,
            legacy=self._instance.dialect.legacy_checksums,
            on_corrupt=self._options.on_corrupt,
            extended=self._options.extended_validation,
            newest=self._newest,
            progress=self._progress,
            cancelled=self._cancelled,
        )
        twice: list[str] = []
        told = len(self._warnings)
        copier.copy(jobs, functools.partial(self._take, time.time_ns(), twice))
        for path in twice:
            self._sink.remove_space(path)
        for text in self._warnings[told:]:
            self._emit(Warn("page-corrupt", text))

    def _take(self, started_ns: int, twice: list[str], result: SpaceResult) -> None:
        """What became of a tablespace. ``twice``: paths to remove from the sink when all is copied."""
        if not self._spaces.add(result, started_ns):
            twice.append(result.path)
        self._torn += result.torn_rereads
        self._warnings += (
            f"{result.path}: page {page} is corrupt on the server and was copied as it is" for page in result.corrupt
        )

    def _progress(self, done: int, total: int) -> None:
        self._pulse()
        self._emit(Progress("copy", done, total, redo_head_start_s=self._follower.head_start_s))

    def _pulse(self) -> None:
        """Raise what makes it vain to go on."""
        self._follower.check()
        if time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + _ASK_EVERY_S
            self._locks.assert_connected()

    def _lsns_from(self, source: RedoSource, checkpoint: Checkpoint) -> Callable[[Session], tuple[Lsn, Lsn]]:
        """Who tells (flushed, current): the server, or the log itself when the server leaves it alone."""
        if self._instance.has_innodb:
            return self._instance.lsns
        end = source.idle_end(checkpoint)
        return lambda _session: (end, end)

    def _open_redo(self) -> FileWriter:
        options = self._options
        return SpoolFile(options.redo_spool) if options.redo_spool else self._sink.put_file(options.redo_name)

    def _consumer(self) -> Callable[[Lsn], None] | None:
        if not (self._options.consumer and self._instance.dialect.redo_consumer):
            return None
        consumer = self._stack.enter_context(RedoConsumer(self._instance, self._emit))
        return consumer.advance

    def _consistent_point(self) -> tuple[ConsistentPoint, Lsn, bytes]:
        """Position and LSN.

        Redo encrypted by MySQL cannot be trimmed, so there we wait for an LSN at which the last block holds exactly
        what belongs to it.
        """
        deadline = time.monotonic() + _STILL_WITHIN_S
        while time.monotonic() < deadline:
            point = self._position_now()
            end = point.lsn if point.lsn is not None else self._committed_lsn()
            if point.lsn is not None:
                self._locks.flush_redo()
            last = self._source.exact_last_block(end)
            if last is not None:
                return point, end, last
            self._locks.flush_redo()
        raise ServerRefused(
            "the encrypted redo log never stood still at a consistent point",
            hint="take the backup at a quieter time",
        )

    def _committed_lsn(self) -> Lsn:
        """An LSN that has every commit before it.

        What has been flushed does, where the lock's flush was a durable one; to wait for more would be to wait, under
        the lock, for what is not committed. MariaDB before 11 only syncs the log for FLUSH ENGINE LOGS when commits do
        (ha_innodb.cc, innobase_flush_logs): else the log's end counts, and is waited for: its thread syncs each second.
        """
        instance = self._instance
        flushed, current = self._lsns(instance.session)
        if flushed == current:
            return current
        durable = instance.session.value("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit") == 1
        return flushed if durable and not self._options.policy.no_lock else current

    def _position_now(self) -> ConsistentPoint:
        try:
            return read_position(self._instance)
        except PrivilegeMissing as e:
            if not self._options.policy.no_lock:
                raise
            # without locks the position would only be near; the backup is of use without it
            self._emit(Warn("position", f"the binlog position is not known: {e.message}"))
            return ConsistentPoint(binlog_file="", binlog_position=0, gtid="")

    def _check_binlog(self) -> None:
        """What will be read at the end, under the lock, must be readable: that is known before hours of copying."""
        if not self._instance.dialect.binlog_tail or self._options.policy.no_lock:
            return
        name = read_position(self._instance).binlog_file
        path = self._instance.binlog_path(name) if name else ""
        if path and not os.access(path, os.R_OK):
            raise PrivilegeMissing(f"cannot read {path}", hint="run as the account that the server runs as, or as root")

    def _copy_binlog_tail(self) -> None:
        """MySQL decides transactions in doubt by its last binlog: keep it up to the recorded position."""
        self._tail_bytes, self._tail_sums = 0, ""
        if not (self._instance.dialect.binlog_tail and self._point.binlog_file):
            return
        path = self._instance.binlog_path(self._point.binlog_file)
        out = self._sink.put_file(BINLOG_TAIL_NAME)
        with open(path, "rb") as f:
            ahead = ENCRYPTED_BINLOG_HEADER_BYTES if f.read(4) == ENCRYPTED_BINLOG_MAGIC else 0
            f.seek(0)
            left = ahead + self._point.binlog_position
            # rotated a moment ago, but one transaction may be of any size
            while data := f.read(min(left, _BINLOG_PIECE_BYTES)):
                out.write(data)
                left -= len(data)
        if left:
            raise ServerRefused(f"{path} is shorter than the server's position {self._point.binlog_position}")
        self._tail_bytes, self._tail_sums = out.size, out.finish()

    def _redo_record(self) -> Redo:
        window = self._source.window(self._follower.start_lsn, self._checkpoint, self._end)
        sums = self._redo_out.finish()
        return Redo(
            layout=window.layout, start=window.start, checkpoint=window.checkpoint,
            checkpoint_end=window.checkpoint_end, checkpoint_no=window.checkpoint_no, end=window.end,
            header=window.header.hex(), first_lsn=window.first_lsn, capacity=window.capacity,
            encryption=window.encryption.hex(), size=self._redo_out.size, sums=sums,
            stored_as=self._options.redo_name,
        )

    def _manifest(self, plain: Sequence[Plain], redo: Redo) -> Manifest:
        base = self._base
        return Manifest(
            id=str(uuid.uuid4()),
            kind="full" if base is None else "incremental",
            base_id="" if base is None else base.id,
            base_path="" if base is None or not base.directory else self._sink.relative(base.directory),
            since=0 if base is None else base.since,
            partial=self._options.wanted is not None,
            tool=f"goldcopy {__version__}",
            started=_utc(self._started),
            finished=_utc(time.time()),
            server=self._server(),
            redo=redo,
            position=_position(self._point),
            spaces=self._records,
            plain=plain,
            binlog_tail=self._tail_bytes,
            binlog_tail_sums=self._tail_sums,
            locks=tuple(LockTime(lock=t.lock, waited_s=t.waited_s, held_s=t.held_s) for t in self._locks.times),
            torn_rereads=self._torn,
            warnings=tuple(self._warnings),
            name=self._options.name,
            master_key=self._master_key,
            witnesses=self._newest.records(),
        )

    def _server(self) -> Server:
        facts = self._instance.facts()
        return Server(
            family=self._instance.dialect.family,
            version=self._instance.version,
            dialect=self._instance.dialect.name,
            identity=self._instance.identity,
            hostname=self._instance.variables.get("hostname", socket.gethostname()),
            datadir=os.path.abspath(self._instance.datadir),
            variables=dict(facts.variables),
            plugins=tuple(facts.plugins),
        )


def _position(point: ConsistentPoint) -> Position:
    return Position(
        binlog_file=point.binlog_file,
        binlog_position=point.binlog_position,
        gtid=point.gtid,
        replicas=tuple(
            Replica(
                channel=r.channel, source_host=r.source_host, source_port=r.source_port,
                source_log_file=r.source_log_file, source_log_pos=r.source_log_pos,
                gtid=r.gtid, auto_position=r.auto_position,
            )
            for r in point.replicas
        ),
        galera=point.galera,
    )


def _utc(t: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + f".{int(t % 1 * 1000):03d}Z"
