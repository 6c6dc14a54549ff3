"""``goldcopy backup``: a hot, verified copy of a running server, full or incremental."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from goldcopy.capture.base import open_base
from goldcopy.capture.engine import Capture, CaptureOptions, Finish
from goldcopy.events import Done, Emit, Phase
from goldcopy.image.directory import DirectorySink
from goldcopy.image.manifest import Manifest
from goldcopy.options import Connection, opt
from goldcopy.server.instance import open_instance
from goldcopy.server.locks import LockPolicy, SafeReplica
from goldcopy.server.privileges import check as check_privileges


@dataclass(frozen=True, kw_only=True)
class Backup:
    """Take a hot backup of a running server into a directory.

    Pages are copied while the server writes, each verified by its checksum, and with them the redo log that it
    writes meanwhile. The backup is listed only when it is whole and on disk.
    """

    to: str = opt("directory to create and write the backup into", example="/backup/mon", metavar="DIR")
    base: str = opt("take an increment: only what changed since this earlier backup", "", metavar="DIR")
    name: str = opt("a name to remember this backup by", "", metavar="TEXT")
    parallel: int = opt(
        "threads that copy; 2 is kinder to a busy server, 4 is faster", 2, metavar="N", minimum=1, maximum=256
    )
    throttle_mb: float = opt("read at most this many MB a second (0: no limit)", 0.0, metavar="MB")
    throttle_iops: int = opt("make at most this many reads of 1 MiB a second (0: no limit)", 0, metavar="N")
    on_corrupt: str = opt(
        "a page that stays bad: stop the backup, or list it and copy it as it is", "stop", choices=("stop", "list")
    )
    safe_replica: bool = opt("on a replica: stop its SQL thread until no temporary tables are open", False)
    safe_replica_timeout_s: float = opt("give up waiting for temporary tables after this many seconds", 300.0)
    lock_timeout_s: float = opt("give up when a lock is not given within this many seconds", 3600.0, metavar="S")
    wait_queries_s: float = opt("before a global lock, wait up to so long for long queries to end", 0.0, metavar="S")
    wait_queries_longer_than_s: float = opt("a query counts as long after so many seconds", 60.0, metavar="S")
    wait_query_type: str = opt("which queries to wait for", "all", choices=("all", "update"))
    kill_queries_s: float = opt("kill queries that keep a lock from us for so long (0: never)", 0.0, metavar="S")
    kill_query_type: str = opt("which queries may be killed", "select", choices=("all", "select"))
    redo_consumer: bool = opt("let MySQL 8.0.30+ keep redo until it is copied, where the account may", True)
    force_version: bool = opt("go on with a server newer than this program knows", False)

    def policy(self) -> LockPolicy:
        """The patience of this backup, as the locks want it."""
        return LockPolicy(
            lock_wait_timeout_s=self.lock_timeout_s,
            wait_query_timeout_s=self.wait_queries_s,
            wait_query_threshold_s=self.wait_queries_longer_than_s,
            wait_query_type="update" if self.wait_query_type == "update" else "all",
            kill_timeout_s=self.kill_queries_s,
            kill_query_type="all" if self.kill_query_type == "all" else "select",
        )

    def capture_options(self) -> CaptureOptions:
        """How the engine is to copy."""
        return CaptureOptions(
            threads=self.parallel,
            bytes_per_s=int(self.throttle_mb * 1_000_000),
            iops=self.throttle_iops,
            on_corrupt="list" if self.on_corrupt == "list" else "stop",
            consumer=self.redo_consumer,
            own_dirs=(self.to,),
            name=self.name,
            policy=self.policy(),
        )


def run(command: Backup, connection: Connection, emit: Emit) -> Manifest:
    """Take the backup. Whatever fails: locks released, replica restarted, nothing half-made left behind."""
    with open_instance(connection, force_version=command.force_version) as instance:
        check_privileges(instance, replica=command.safe_replica, kill=command.kill_queries_s > 0)
        base = open_base(command.base, instance) if command.base else None
        with (
            DirectorySink(command.to) as sink,
            SafeReplica(instance, command.safe_replica, command.safe_replica_timeout_s, emit),
            Capture(instance, sink, base, command.capture_options(), emit) as capture,
        ):
            manifest = take(capture, emit)
    emit(Done(f"backup complete: {command.to}", summary(manifest)))
    return manifest


def take(
    capture: Capture, emit: Emit, finish: Finish | None = None, at_lock: Callable[[], None] | None = None
) -> Manifest:
    """The life of a backup, in order.

    ``finish``: see ``Capture.write_manifest``. ``at_lock``: called when all stands still.
    """
    emit(Phase("guard", "keeping DDL away, following the redo log"))
    capture.guard()
    capture.follow_redo()
    emit(Phase("copy", "copying tablespaces, every page verified"))
    capture.copy_spaces()
    emit(Phase("lock", "looking for what DDL changed; consistent point"))
    capture.block_ddl()
    capture.block_commit()
    if at_lock is not None:
        at_lock()
    capture.release()
    emit(Phase("finish", "making the backup durable"))
    return capture.write_manifest(finish)


def summary(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """What a person wants to know of a backup, as label and text."""
    pages = sum(s.pages_stored for s in manifest.spaces)
    position = manifest.position
    facts = [
        ("kind", manifest.kind),
        ("server", f"{manifest.server.family} {manifest.server.version}"),
        ("tablespaces", f"{len(manifest.spaces)} ({pages:,} pages stored)"),
        ("redo window", f"LSN {manifest.redo.checkpoint} to {manifest.redo.end} ({manifest.redo.size:,} bytes)"),
        ("binlog", f"{position.binlog_file} {position.binlog_position}" if position.binlog_file else "none"),
        ("gtid", position.gtid or "none"),
    ]
    facts += [(f"lock {t.lock}", f"held {t.held_s:.3f} s, waited {t.waited_s:.3f} s") for t in manifest.locks]
    facts += [("warnings", str(len(manifest.warnings)))] if manifest.warnings else []
    return tuple(facts)
