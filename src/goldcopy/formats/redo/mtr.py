"""Mini-transactions of MariaDB >= 10.8: walking a raw stream by record lengths only, never by content.

Source: MariaDB ``log0recv.cc`` ``recv_sys_t::parse``, ``mtr0types.h``, ``mtr0log.h`` ``mlog_decode_varint``. A
mini-transaction is its records, a terminator byte 0 or 1 (the *sequence bit*), 8 bytes of nonce if encrypted, and
the CRC-32C of records and nonce. A record begins with ``type << 4 | length``: length 1..15 = so many bytes follow;
0 = a variable-length number follows, which plus 15 counts the bytes after the first (its own included).
"""

from __future__ import annotations

import struct

from fastcrc import crc32

_STEP = [(byte & 15) + 1 if byte & 15 and byte > 1 else 0 for byte in range(256)]
_u32 = struct.Struct(">I").unpack_from


class Walker:
    """Checks a raw stream of mini-transactions piece by piece, and can make all sequence bits 1.

    ``lsn``: of the first byte fed, which must begin a mini-transaction. ``first_lsn`` and ``capacity`` say which
    sequence bit belongs where; capacity 0 = they are not checked. ``encrypted``: mini-transactions carry a nonce.
    """

    def __init__(self, lsn: int, first_lsn: int, capacity: int, *, encrypted: bool) -> None:
        self.lsn = lsn
        self._first_lsn, self._capacity = first_lsn, capacity
        self._nonce = 8 if encrypted else 0
        self._rest = b""

    def feed(self, data: bytes, *, set_bits: bool = False) -> bytearray:
        """Take the next bytes; returns those that are whole mini-transactions. ``lsn`` is where they end.

        Raises ValueError, naming the LSN, for a wrong sum, a wrong sequence bit or a record that cannot be.
        """
        buffer = bytearray(self._rest + data)
        done = self._walk(buffer, set_bits)
        self._rest = bytes(buffer[done:])
        self.lsn += done
        del buffer[done:]
        return buffer

    def finish(self) -> None:
        """The stream ends here. Raises ValueError when that is within a mini-transaction."""
        if self._rest:
            raise ValueError(f"the redo window ends within the mini-transaction at LSN {self.lsn}")

    def _expected(self, lsn: int) -> tuple[int, int]:
        """(sequence bit expected at ``lsn``, the LSN from which the other one is)."""
        generation, within = divmod(lsn - self._first_lsn, self._capacity)
        return 1 - (generation & 1), lsn - within + self._capacity

    def _walk(self, buf: bytearray, set_bits: bool) -> int:
        step, crc, u32 = _STEP, crc32.iscsi, _u32
        nonce, base, checked = self._nonce, self.lsn, bool(self._capacity)
        want, border = self._expected(base) if checked else (0, 0)
        border -= base
        data, size = bytes(buf), len(buf)
        view = memoryview(data)
        pos = start = 0
        try:
            while True:
                kind = data[pos]
                length = step[kind]
                if length:
                    pos += length
                    continue
                if kind > 1:
                    more = data[pos + 1]
                    if more < 0x80:
                        pos += more + 16
                    elif more < 0xC0:
                        pos += ((more & 0x3F) << 8 | data[pos + 2]) + 0x90
                    elif more < 0xE0:
                        pos += ((more & 0x1F) << 16 | data[pos + 2] << 8 | data[pos + 3]) + 0x4090
                    else:
                        raise ValueError(f"redo record at LSN {base + pos}: impossible length")
                    continue
                end = pos + 5 + nonce
                if end > size:
                    break
                if pos == start:
                    raise ValueError(f"the redo window holds no mini-transaction at LSN {base + pos}")
                total = crc(view[start:pos])
                if nonce:
                    total = crc(view[pos + 1 : pos + 9], total)
                if total != u32(view, end - 4)[0]:
                    raise ValueError(f"mini-transaction at LSN {base + start}: wrong checksum")
                if checked:
                    if pos >= border:
                        want, border = self._expected(base + pos)
                        border -= base
                    if kind != want:
                        raise ValueError(f"mini-transaction at LSN {base + start}: from another round of the log")
                if set_bits and not kind:
                    buf[pos] = 1
                pos = start = end
        except IndexError:
            pass  # the rest of this mini-transaction comes with the next piece
        return start
