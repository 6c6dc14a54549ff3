"""A recovered directory served by its own server for a moment: privately, and to whoever asks without a password."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pymysql
from pymysql.cursors import Cursor

from goldcopy.dialect import choose
from goldcopy.errors import RecoveryFailed
from goldcopy.events import Emit
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import MANIFEST_NAME, load
from goldcopy.restore.keys import NO_KEYS, KeyOptions, Lent, lent
from goldcopy.restore.redo_files import drop_spare_logs
from goldcopy.restore.redo_only import server_options
from goldcopy.restore.remote import confined
from goldcopy.server.binary import find_server_binary, home_options
from goldcopy.server.process import RecoveryRun

_ANSWER_S = 24 * 3600


@dataclass(frozen=True)
class Table:
    """A table by its real name."""

    schema: str
    name: str

    @property
    def quoted(self) -> str:
        """For SQL."""
        return ".".join("`" + part.replace("`", "``") + "`" for part in (self.schema, self.name))

    @property
    def shown(self) -> str:
        """For people, as InnoDB names it."""
        return f"{self.schema}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A recovered directory. ``settings``: of backup-my.cnf, or the source's variables by name.

    ``memory_bytes``: buffer pool. ``binary``, ``force_binary``, ``home``: see ``find_server_binary``. ``extra``: server
    options. ``keys``: of MySQL.
    """

    directory: str
    version: str
    settings: tuple[tuple[str, str], ...]
    memory_bytes: int
    binary: str = ""
    force_binary: bool = False
    home: str = ""
    extra: tuple[str, ...] = ()
    keys: KeyOptions = NO_KEYS

    @functools.cached_property
    def mysqld(self) -> str:
        """The server binary that serves it. Raises Unsupported, UsageError."""
        return find_server_binary(choose(self.version, force=True).family, self.version, self.binary,
                                  force=self.force_binary, home=self.home)

    @contextlib.contextmanager
    def serve(self, log_name: str, emit: Emit, *options: str) -> Iterator[RecoveryRun]:
        """A running server that answers; stop it, or leave the block to have it killed. ``log_name``: of its log in
        the directory, gone afterwards as all else is that only this run made. Raises what RecoveryRun raises."""
        dialect = choose(self.version, force=True)
        command = [
            *home_options(self.mysqld),
            *server_options(dialect, self.settings, self.memory_bytes),
            "--skip-grant-tables",
            "--loose-innodb-encryption-threads=0",
            *options,
            *self.extra,
        ]
        before = set(os.listdir(self.directory))
        log = os.path.join(self.directory, log_name)
        try:
            with (
                self._with_keys() as server,
                confined(self.directory, server.program) as program,
                RecoveryRun(program, self.directory, [*command, *server.options], log, emit) as run,
            ):
                run.wait_ready()
                yield run
        finally:
            tidy(self.directory, before)

    def _with_keys(self) -> contextlib.AbstractContextManager[Lent]:
        if not os.path.exists(os.path.join(self.directory, MANIFEST_NAME)):
            return contextlib.nullcontext(Lent(self.mysqld))
        image = Image((Member(self.directory, load(self.directory)),))
        return lent(image, self.keys, self.mysqld, self.directory)


@contextlib.contextmanager
def asked(run: RecoveryRun) -> Iterator[Cursor]:
    """A cursor of the running server. Raises RecoveryFailed when it lets nobody in, or fails a question that the block
    does not expect it to fail."""
    try:
        connection = pymysql.connect(
            unix_socket=run.socket_path, user="root", read_timeout=_ANSWER_S, ssl_disabled=True
        )
    except pymysql.Error as e:
        raise RecoveryFailed(f"the recovered server cannot be asked for its tables: {e}") from e
    with contextlib.closing(connection), connection.cursor() as cursor:
        try:
            yield cursor
        except pymysql.Error as e:
            raise RecoveryFailed(f"the recovered server failed at a question: {e.args[-1]}") from e


def tables_of(cursor: Cursor, sql: str) -> list[Table]:
    """The tables that a query tells by schema and name."""
    cursor.execute(sql)
    return [Table(_text(schema), _text(name)) for schema, name in cursor.fetchall()]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def tidy(directory: str, before: set[str]) -> None:
    """Take away what only a run has made, but for tablespaces and logs that hold something."""
    drop_spare_logs(directory)
    keep = ("ib_logfile", "undo", "aria_log", "#innodb_redo", "ibtmp")
    for name in set(os.listdir(directory)) - before:
        path = os.path.join(directory, name)
        if not name.startswith(keep) and not os.path.isdir(path):
            os.unlink(path)
