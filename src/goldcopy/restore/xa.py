"""Roll back what XA PREPARE left: recovery keeps such transactions until somebody decides them."""

from __future__ import annotations

from contextlib import closing

import pymysql

from goldcopy.errors import RecoveryFailed
from goldcopy.events import Emit, Note


def rollback_prepared(socket: str, emit: Emit) -> int:
    """Roll back every XA PREPARED transaction of a running server. Returns how many. Raises RecoveryFailed."""
    try:
        # one byte a character: the parts of an xid are bytes
        connection = pymysql.connect(
            unix_socket=socket, user="root", charset="latin1", autocommit=True, ssl_disabled=True
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("XA RECOVER")
            found = cursor.fetchall()
            for number, gtrid_bytes, _bqual_bytes, data in found:
                xid = _literal(int(number), int(gtrid_bytes), data)
                cursor.execute(f"XA ROLLBACK {xid}")
                emit(Note(f"XA PREPARED transaction {xid} rolled back"))
    except pymysql.Error as e:
        raise RecoveryFailed(f"the XA PREPARED transactions could not be rolled back: {e}") from e
    return len(found)


def _literal(number: int, gtrid_bytes: int, data: str | bytes) -> str:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return f"X'{raw[:gtrid_bytes].hex()}',X'{raw[gtrid_bytes:].hex()}',{number}"
