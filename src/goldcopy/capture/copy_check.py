"""Reads a chunk of a tablespace into memory and makes sure that every page of it is whole.

What is verified are the very bytes that are written: they lie in this thread's own buffer, never in a mapping of
the server's file. A page caught while the server wrote it is read again until it is right.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection

import msgspec
from msgspec.structs import replace

from goldcopy.capture.copy_source import Pause, Source, aligned
from goldcopy.formats import Lsn
from goldcopy.formats.innodb.page import MAX_PAGE_BYTES, SYSTEM_SPACE, ChunkVerifier, Geometry
from goldcopy.image import osfile
from goldcopy.image.osfile import ALIGN, PageCache
from goldcopy.image.pageheads import PageHeads

TORN_PAUSES_S = (0.001,) * 20 + (0.020,) * 80
"""A page being written is whole again within a millisecond; one still bad after 1.6 s is bad on disk."""

STEADY_PAUSES_S = (0.005,) * 20 + (0.020,) * 80
"""Pages without a sum count as whole when two reads so far apart agree."""

_FEW = 0.25
"""Where more of the pages changed, reading all in one go costs less than reading each alone."""


class Findings(msgspec.Struct):
    """What the pages of a chunk were like. Page numbers count within the file.

    ``older``: whether pages were left out as older than the base; only looked for where the caller sets it to False.
    """

    torn_rereads: int = 0
    unverifiable: int = 0
    corrupt: list[int] = []
    shrunk_to: int | None = None
    older: bool = True

    def shrunk(self, size: int) -> None:
        """The file ended at ``size`` when it was read."""
        self.shrunk_to = size if self.shrunk_to is None else min(self.shrunk_to, size)


class Checker:
    """One thread's buffer, and the verification of what is in it.

    ``chunk_bytes``: size of the buffer. ``pause`` sleeps, and raises when the copy is to stop. ``extended``: a page
    that only says it is encrypted is a bad one, see ``ChunkVerifier.disguised``.
    """

    def __init__(self, chunk_bytes: int, *, legacy: bool, pause: Pause, extended: bool = False) -> None:
        self.view = osfile.buffer(chunk_bytes)
        self._block = memoryview(mmap.mmap(-1, MAX_PAGE_BYTES))
        self._second: memoryview | None = None
        self._legacy, self.pause, self._extended = legacy, pause, extended
        self._cache = PageCache()
        self._heads = PageHeads(self.view)
        self._verifiers: dict[tuple[object, ...], ChunkVerifier] = {}

    def read(self, source: Source, offset: int, length: int) -> int:
        """Fill the buffer from ``offset``. Returns how many of ``length`` bytes the file still had."""
        return min(source.read(self.view[: aligned(length)], offset, self._cache), length)

    def read_newer(self, source: Source, offset: int, length: int, geometry: Geometry, since: Lsn) -> bool:
        """Fill the buffer with the pages that have this LSN or a later one, and of the others with the head alone.

        False: that would not pay, or cannot be done; ``read`` then. A page that changes after its head was read is in
        the redo, as with any other way of reading.
        """
        n = geometry.page_size
        pages = length // n
        if n % ALIGN or not source.read_heads(self._heads, offset, pages, n, self._cache):
            return False
        newer = self._verifier(self.view, geometry).changed(length, since)
        if len(newer) > pages * _FEW:
            return False
        return all(source.read(self.view[i * n : (i + 1) * n], offset + i * n, self._cache) == n for i in newer)

    def verify(
        self, source: Source, offset: int, length: int, geometry: Geometry, found: Findings, *,
        skip: Collection[int] = (), since: int | None = None,
    ) -> list[int]:
        """Check the pages in the first ``length`` bytes of the buffer, read from ``offset``; mend what is torn.

        ``skip``: numbers of pages that are not checked, and not taken into an increment (doublewrite extents).
        ``since``: only pages with this LSN or a later one matter. Adds to ``found`` what was found; returns the
        indices of the pages that matter.
        """
        page_size = geometry.page_size
        verifier = self._verifier(self.view, geometry)
        first = offset // page_size
        passed_over = {n - first for n in skip}
        if since is None:
            wanted = list(range(length // page_size))
        else:
            wanted = [i for i in verifier.changed(length, since) if i not in passed_over]
            found.older = found.older or verifier.any_older(length, since)
        if not wanted:
            return wanted
        bad = self._bad(verifier, length, None if since is None else wanted)
        opaque = verifier.unverifiable(length)
        if not bad and not opaque:
            return wanted
        mine = (set(wanted) - passed_over).__contains__
        opaque = list(filter(mine, opaque))
        found.unverifiable += len(opaque)
        stay_bad = self._reread_torn(source, offset, list(filter(mine, bad)), geometry, found)
        stay_bad += self._reread_opaque(source, offset, opaque, page_size, found)
        found.corrupt += [first + i for i in sorted(stay_bad)]
        return wanted

    def newest(self, length: int, geometry: Geometry) -> tuple[Lsn, int]:
        """The greatest page LSN in the first ``length`` bytes of the buffer, and the index of its page."""
        return self._verifier(self.view, geometry).newest(length)

    def _bad(self, verifier: ChunkVerifier, length: int, only: list[int] | None = None) -> list[int]:
        bad = verifier.bad(length, only)
        return sorted({*bad, *verifier.disguised(length)}) if self._extended else bad

    def _verifier(self, view: memoryview, geometry: Geometry) -> ChunkVerifier:
        """Made once per kind of tablespace, not once per tablespace: it holds a slice for every page."""
        g = geometry
        key = (len(view), g.family, g.page_size, g.checksum, g.page_compressed, g.encrypted)
        verifier = self._verifiers.get(key)
        if verifier is None:
            kind = replace(geometry, space_id=SYSTEM_SPACE, flags=0)
            verifier = ChunkVerifier(view, kind, legacy=self._legacy)
            self._verifiers[key] = verifier
        return verifier

    def _reread_torn(
        self, source: Source, offset: int, bad: list[int], geometry: Geometry, found: Findings
    ) -> list[int]:
        """Read bad pages again until they are right. Returns those that stay bad."""
        for seconds in TORN_PAUSES_S:
            if not bad:
                break
            self.pause(seconds)
            found.torn_rereads += len(bad)
            bad = [i for i in bad if not self._reread(source, offset, i, geometry, found)]
        return bad

    def _reread(self, source: Source, offset: int, index: int, geometry: Geometry, found: Findings) -> bool:
        """Read one page again (with the aligned block it lies in). Returns whether it is right now."""
        n = geometry.page_size
        at = offset + index * n
        start = at // ALIGN * ALIGN
        block = self._block[: max(n, ALIGN)]
        got = source.read(block, start, self._cache)
        inside = at - start
        if got < inside + n:
            found.shrunk(at)
            return True
        self.view[index * n : (index + 1) * n] = block[inside : inside + n]
        return inside // n not in self._bad(self._verifier(block, geometry), got)

    def _reread_opaque(
        self, source: Source, offset: int, opaque: list[int], page_size: int, found: Findings
    ) -> list[int]:
        """Read pages without a sum until two reads agree. Returns those that never did."""
        for seconds in STEADY_PAUSES_S:
            if not opaque:
                break
            self.pause(seconds)
            opaque = self._changed_meanwhile(source, offset, opaque, page_size, found)
            found.torn_rereads += len(opaque)
        return opaque

    def _changed_meanwhile(
        self, source: Source, offset: int, indices: list[int], page_size: int, found: Findings
    ) -> list[int]:
        """Read the span of these pages again; take over what differs, and say which did."""
        if self._second is None:
            self._second = osfile.buffer(len(self.view))
        start = indices[0] * page_size // ALIGN * ALIGN
        end = aligned((indices[-1] + 1) * page_size)
        got = start + source.read(self._second[start:end], offset + start, self._cache)
        differing = []
        for i in indices:
            a, b = i * page_size, (i + 1) * page_size
            if b > got:
                found.shrunk(offset + a)
                break
            page = self._second[a:b]
            if page.tobytes() != self.view[a:b].tobytes():
                self.view[a:b] = page
                differing.append(i)
        return differing
