"""A login is made several times in a backup, so what it costs counts; and it must not become a weaker one."""

from __future__ import annotations

import ssl

from pymysql.connections import Connection

from goldcopy.server.wire import WireConnection


def test_tls_that_is_only_offered_reads_no_certificates():
    ours, theirs = WireConnection(defer_connect=True).ctx, Connection(defer_connect=True).ctx
    assert ours.cert_store_stats()["x509"] == 0
    assert (ours.verify_mode, ours.check_hostname) == (theirs.verify_mode, theirs.check_hostname)


def test_tls_that_is_asked_for_is_verified_as_asked():
    context = ssl.create_default_context()
    assert WireConnection(defer_connect=True, ssl=context).ctx is context
    assert WireConnection(defer_connect=True, ssl={"ca": ssl.get_default_verify_paths().cafile}).ctx.check_hostname


def test_answers_may_hold_any_bytes():
    connection = WireConnection(defer_connect=True, charset="utf8mb4")
    assert b"caf\xe9 \xc3\xa9".decode(connection.encoding) == "caf\\xe9 é"
    assert "é".encode(connection.encoding) == b"\xc3\xa9"
