"""Live redo logs of 512-byte blocks: ``ib_logfile0..n-1`` in a circle, and MySQL 8.0.30's files that come and go."""

from __future__ import annotations

import abc
import os
import time
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from goldcopy.capture.redo_base import (
    HEADER_TRIES,
    READ_PAUSE_S,
    READ_TRIES,
    SCAN_PAUSE_S,
    SCAN_TRIES,
    RedoSource,
    alone,
    checkpoints,
    open_log,
    read_exactly,
    refuse_disabled,
)
from goldcopy.errors import RedoOverrun, ServerRefused
from goldcopy.formats import Family, Lsn
from goldcopy.formats.redo import Checkpoint, Window
from goldcopy.formats.redo.blocks import (
    BLOCK,
    BLOCK_HEADER,
    BlockLayout,
    CircularLayout,
    block_number,
    ceiling,
    floor,
    found_number,
    mariadb_encrypted,
    used_bytes,
)
from goldcopy.formats.redo.layout import newest
from goldcopy.formats.redo.r57 import ENCRYPTION_AT, is_mariadb
from goldcopy.formats.redo.r8030 import R8030
from goldcopy.formats.redo.window import Circle

# log0encryption: key data of the versions of MySQL 5.7, 8.0 and 8.0.12
_KEY_MAGICS = (b"lCA", b"lCB", b"lCC")
_KEY_AT = 48


class BlockSource(RedoSource):
    """What the layouts of 512-byte blocks share: a block is right when its number and sum are."""

    def __init__(self, layout: BlockLayout) -> None:
        super().__init__(layout)
        self._blocks = layout
        self.retries = 0

    @abc.abstractmethod
    def _raw(self, start: int, end: int) -> bytes:
        """The bytes as they lie in the files now; both LSNs are on block borders."""

    @alone
    def read(self, start: Lsn, end: Lsn) -> bytes:
        """See ``RedoSource.read``."""
        # the block of an end on a border holds nothing yet and need not have been written
        whole = floor(end) if 0 < end % BLOCK <= BLOCK_HEADER else ceiling(end)
        data = self._right_blocks(start, whole) if whole > start else b""
        return data + bytes(ceiling(end) - max(whole, start))

    def _right_blocks(self, start: int, end: int) -> bytes:
        for attempt in range(READ_TRIES):
            data = self._raw(start, end)
            bad = self._blocks.first_bad(data, start)
            if bad is None and self._is_steady(data[-BLOCK:], end):
                return data
            if bad is not None and attempt > 3 and self._is_newer(data, bad, start + bad):
                break
            self.retries += 1
            time.sleep(READ_PAUSE_S)
        at = start + (bad or 0)
        raise RedoOverrun(
            f"the redo block of LSN {at} is gone: number {found_number(data, bad or 0)} stands where "
            f"{block_number(at)} was",
            hint="raise the server's redo log size, or take the backup at a quieter time",
        )

    def _is_steady(self, block: bytes, end: int) -> bool:
        """Whether the last block can be trusted: without a visible sum two reads must agree."""
        return not self._blocks.is_opaque(block) or self._raw(end - BLOCK, end) == block

    def _is_newer(self, data: bytes, offset: int, lsn: int) -> bool:
        """Whether a whole block of a later round stands there: no waiting brings the old one back."""
        number = found_number(data, offset)
        block = data[offset : offset + BLOCK]
        distance = (number - block_number(lsn)) * BLOCK
        return 0 < distance < 1 << 38 and self._blocks.first_bad(block, lsn + distance) is None

    @alone
    def exact_last_block(self, end: Lsn) -> bytes | None:
        """See ``RedoSource.exact_last_block``."""
        if end % BLOCK <= BLOCK_HEADER:
            return b""
        block = self.read(Lsn(floor(end)), end)
        if not self._blocks.is_opaque(block):
            return b""
        return block if used_bytes(block) == end % BLOCK else None


class CircularSource(BlockSource):
    """``ib_logfile0..n-1`` with blocks (R56, R57, R105)."""

    def __init__(self, redo_dir: str, layout: CircularLayout, family: Family) -> None:
        super().__init__(layout)
        self._circular = layout
        self._fds: list[int] = []
        try:
            self._open_files(redo_dir, family)
            self._file_bytes = os.fstat(self._fds[0]).st_size
            self._checkpoint = self._find_checkpoint()
        except BaseException:
            self.close()
            raise

    def _open_files(self, redo_dir: str, family: Family) -> None:
        self._fds.append(open_log(os.path.join(redo_dir, "ib_logfile0"), family))
        while self.layout != "R105":
            try:
                self._fds.append(os.open(os.path.join(redo_dir, f"ib_logfile{len(self._fds)}"), os.O_RDONLY))
            except FileNotFoundError:
                break

    def _header_block(self) -> bytes:
        block = os.pread(self._fds[0], BLOCK, 0)
        try:
            refuse_disabled(self._layout.header(block))
        except ValueError as e:
            raise ServerRefused(str(e)) from e
        return block

    def _find_checkpoint(self) -> Checkpoint:
        for _ in range(HEADER_TRIES):
            found = newest(checkpoints(self._fds[0], self._layout))
            if found is not None:
                return found
            time.sleep(READ_PAUSE_S)
        raise ServerRefused("the redo log has no valid checkpoint")

    @property
    def _circle(self) -> Circle:
        return self._circular.circle(self._checkpoint, self._file_bytes, len(self._fds))

    @property
    def capacity(self) -> int:
        """Bytes of all files without their headers."""
        return self._circle.capacity

    @alone
    def checkpoint(self) -> Checkpoint:
        """See ``RedoSource.checkpoint``."""
        self._header_block()
        self._checkpoint = self._find_checkpoint()
        return self._checkpoint

    def _raw(self, start: int, end: int) -> bytes:
        extents = self._circle.extents(start, end)
        return b"".join(read_exactly(self._fds[e.file], e.length, e.offset) for e in extents)

    @alone
    def exact_last_block(self, end: Lsn) -> bytes | None:
        """See ``RedoSource.exact_last_block``; MariaDB's encrypted blocks are kept as they are."""
        if is_mariadb(self._layout.header(self._header_block()).format):
            return b""
        return super().exact_last_block(end)

    @alone
    def idle_end(self, checkpoint: Checkpoint) -> Lsn:
        """See ``RedoSource.idle_end``: in the first block that is not full, or where no next block stands."""
        if mariadb_encrypted(self._header_block()):
            return super().idle_end(checkpoint)
        for lsn in range(floor(checkpoint.lsn), floor(checkpoint.lsn) + self.capacity, BLOCK):
            block = self._raw(lsn, lsn + BLOCK)
            if self._blocks.first_bad(block, lsn) is not None:
                return Lsn(max(checkpoint.lsn, lsn))
            if used_bytes(block) < BLOCK:
                return Lsn(max(checkpoint.lsn, lsn + used_bytes(block)))
        return super().idle_end(checkpoint)

    def refresh(self) -> None:
        """Nothing to do: these servers replace their log only when they start."""

    @alone
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """See ``RedoSource.window``."""
        header = self._header_block()
        return Window(
            layout=self.layout, start=start, checkpoint=checkpoint.lsn, checkpoint_end=checkpoint.end_lsn,
            checkpoint_no=checkpoint.number, end=end, header=header, capacity=self.capacity,
            encryption=self._encryption(checkpoint, header),
        )

    def _encryption(self, checkpoint: Checkpoint, header: bytes) -> bytes:
        if self._blocks.legacy:
            return b""
        parsed = self._layout.header(header)
        if is_mariadb(parsed.format):
            return checkpoint.block if parsed.encrypted else b""
        return _mysql_encryption(self._fds[0])

    def close(self) -> None:
        """Give the files back."""
        while self._fds:
            os.close(self._fds.pop())


def _mysql_encryption(fd: int) -> bytes:
    """MySQL's encryption block of a log file, b"" when it has none. (Its only sum lies within the key data.)"""
    block = os.pread(fd, BLOCK, ENCRYPTION_AT)
    return block if block[_KEY_AT:].startswith(_KEY_MAGICS) else b""


class _RedoFile(msgspec.Struct, frozen=True):
    """One #ib_redoN: it holds the LSNs of ``[start, end)``. ``header``: its first block, whole."""

    start: int
    end: int
    fd: int
    header: bytes


class FileSetSource(BlockSource):
    """MySQL >= 8.0.30: ``#innodb_redo/#ib_redoN``, made, renamed and removed while the server runs."""

    capacity = None

    def __init__(self, directory: str) -> None:
        super().__init__(R8030())
        self._directory = directory
        self._files: list[_RedoFile] = []
        self._encryption = b""
        self.refresh()

    @alone
    def refresh(self) -> None:
        """List the files anew, until the list is one without gaps."""
        for _ in range(SCAN_TRIES):
            found = self._scan()
            if found:
                self.close()
                self._files = found
                self._note_encryption()
                return
            time.sleep(SCAN_PAUSE_S)
        raise ServerRefused(f"{self._directory} holds no gapless set of redo log files")

    def _note_encryption(self) -> None:
        """Keep the newest encryption block: not every file that holds encrypted redo has one."""
        blocks = (_mysql_encryption(file.fd) for file in reversed(self._files))
        self._encryption = next(filter(None, blocks), self._encryption)

    def _scan(self) -> list[_RedoFile]:
        """All files in order; empty when they changed while we looked."""
        found: list[_RedoFile] = []
        whole = True
        for name in self._names():
            try:
                fd = os.open(os.path.join(self._directory, name), os.O_RDONLY)
            except FileNotFoundError:
                whole = False
                continue
            block = os.pread(fd, BLOCK, 0)
            try:
                start = self._layout.header(block).first_lsn
            except ValueError:
                whole = False
                start = Lsn(0)
            found.append(_RedoFile(start, start + os.fstat(fd).st_size - self._layout.header_bytes, fd, block))
        found.sort(key=lambda file: file.start)
        if whole and all(a.end == b.start for a, b in pairwise(found)):
            return found
        for file in found:
            os.close(file.fd)
        return []

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._directory)
        except PermissionError:
            raise ServerRefused(
                f"{self._directory} cannot be read: permission denied",
                hint="run as root or as the server's own user",
            ) from None
        return [n for n in names if n.startswith("#ib_redo") and not n.endswith("_tmp")]

    @alone
    def checkpoint(self) -> Checkpoint:
        """The greatest one whose LSN lies in the file it stands in: files are recycled with old blocks in them."""
        for _ in range(HEADER_TRIES):
            self.refresh()
            refuse_disabled(self._layout.header(self._files[-1].header))
            found = [
                c
                for file in self._files
                for c in checkpoints(file.fd, self._layout)
                if file.start <= c.lsn <= file.end
            ]
            best = newest(found)
            if best is not None:
                return best
            time.sleep(READ_PAUSE_S)
        raise ServerRefused("the redo log has no valid checkpoint")

    def _raw(self, start: int, end: int) -> bytes:
        if not (self._files[0].start <= start and end <= self._files[-1].end):
            self.refresh()
        return b"".join(self._parts(start, end))

    def _parts(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            file = self._file_of(start)
            length = min(end, file.end) - start
            data = read_exactly(file.fd, length, self._layout.header_bytes + start - file.start)
            yield data.ljust(length, b"\0")
            start += length

    def _file_of(self, lsn: int) -> _RedoFile:
        for _ in range(SCAN_TRIES):
            for file in self._files:
                if file.start <= lsn < file.end:
                    return file
            if lsn < self._files[0].start:
                break
            time.sleep(SCAN_PAUSE_S)
            self.refresh()
        raise RedoOverrun(
            f"the redo of LSN {lsn} is gone: the server's files begin at LSN {self._files[0].start} and end at "
            f"{self._files[-1].end}",
            hint="raise innodb_redo_log_capacity, or let the backup use the redo log consumer (BACKUP_ADMIN)",
        )

    def _right_blocks(self, start: int, end: int) -> bytes:
        try:
            return super()._right_blocks(start, end)
        except RedoOverrun:
            # a file may have been recycled under its open descriptor while the LSNs went on elsewhere
            self.refresh()
            return super()._right_blocks(start, end)

    @alone
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """See ``RedoSource.window``."""
        self.refresh()
        header = self._files[-1].header
        refuse_disabled(self._layout.header(header))
        return Window(
            layout=self.layout, start=start, checkpoint=checkpoint.lsn, end=end, header=header,
            encryption=self._encryption,
        )

    def close(self) -> None:
        """Give the files back."""
        while self._files:
            os.close(self._files.pop().fd)
