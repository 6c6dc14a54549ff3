"""PyMySQL's connection, but for what it does at every login and is of no use to us. Imported when one is made."""

from __future__ import annotations

import ssl
from typing import Any

from pymysql.connections import Connection


class WireConnection(Connection):  # type: ignore[misc]  # PyMySQL tells no types
    """Uses TLS where the server offers it. What nobody asked for is not verified, so that reading the system's
    certificates, 25 ms a login, would be for nothing."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp:
            asked: ssl.SSLContext = super()._create_ssl_ctx(sslp)
            return asked
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
