"""PyMySQL's connection, but for what it does at every login and is of no use to us, and with what it lacks: that a
server of MariaDB proves its certificate by the password. Imported when one is made.

Servers list the statements of others as these sent them, also those that hold the bytes of an image: what is no UTF-8
in an answer comes as escapes, where PyMySQL would raise.
"""

from __future__ import annotations

import codecs
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pymysql.connections import Connection
from pymysql.constants import CLIENT, CR
from pymysql.err import OperationalError
from pymysql.protocol import MysqlPacket, OKPacketWrapper

from goldcopy.dialect import choose

if TYPE_CHECKING:
    from goldcopy.server.session import Tls

_ENCODING = "goldcopy_utf_8"
_SCRAMBLE_BYTES = 20
_SIGNED = b"\1"


def _codec(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(codecs.utf_8_encode, _decoded, name=_ENCODING) if name == _ENCODING else None


def _decoded(data: Any, _errors: str = "strict", /) -> tuple[str, int]:
    return codecs.utf_8_decode(data, "backslashreplace", True)


codecs.register(_codec)


class Unproven(OperationalError):  # type: ignore[misc]  # PyMySQL tells no types
    """The server offers no proof of its certificate: only the certificate itself is left to be looked at."""


def _native_hash(password: bytes) -> bytes:
    inner = hashlib.sha1(password, usedforsecurity=False).digest()
    return hashlib.sha1(inner, usedforsecurity=False).digest()


def _ed25519_hash(password: bytes) -> bytes:
    """The public key that the server keeps: of a secret key made of the password (auth_ed25519, ref10)."""
    from nacl.bindings import crypto_scalarmult_ed25519_base

    key: bytes = crypto_scalarmult_ed25519_base(hashlib.sha512(password).digest()[:32])
    return key


_HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "mysql_native_password": _native_hash,
    "client_ed25519": _ed25519_hash,
}
"""What the server knows of a password, by the ways to log in that tell nothing of it to whoever listens in between."""


class WireConnection(Connection):  # type: ignore[misc]
    """Uses TLS where the server offers it. What nobody asked for is not verified, so that reading the system's
    certificates, 25 ms a login, would be for nothing.

    ``tls``: how it was asked for. Raises Unproven where that lets the server prove its certificate, and it does not.
    """

    def __init__(self, *, tls: Tls | None = None, **options: Any) -> None:
        self._tls, self._proving, self._plugin = tls, False, ""
        asked = {} if tls is None else {"ssl_disabled": True} if tls.off else {"ssl": tls.context()}
        super().__init__(**options, **asked)

    @property
    def encoding(self) -> str:
        """Of statements and answers, whatever PyMySQL sets."""
        return _ENCODING

    @encoding.setter
    def encoding(self, _of_charset: str) -> None:
        pass

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp:
            asked: ssl.SSLContext = super()._create_ssl_ctx(sslp)
            return asked
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _request_authentication(self) -> None:
        if self._tls and not self._tls.off:
            self._settle(self._tls)
        super()._request_authentication()
        if self._proving:
            self._check_proof()

    def _settle(self, tls: Tls) -> None:
        """The greeting has told the server's version: what that means for TLS."""
        identity = tls.identity or (tls.as_server and choose(self.server_version, force=True).signs_certificate)
        self._ssl_required = tls.required or identity
        if not self._ssl_required:
            self.client_flag &= ~CLIENT.SSL
        if identity:
            self._proving = tls.proof and not (tls.ca or tls.capath) and bool(self.password)
            self.ctx = tls.context(identity=not self._proving)
            self._take_plugin(self._auth_plugin_name)

    def _take_plugin(self, name: str) -> None:
        """Whatever else a server asks for would tell somebody in between the password."""
        if self._proving and name not in _HASHES:
            raise Unproven(CR.CR_SSL_CONNECTION_ERROR, f"the login by {name} proves no certificate")
        self._plugin = name

    def _process_auth(self, plugin_name: bytes, auth_packet: MysqlPacket, handler: Any = None) -> Any:
        self._take_plugin(plugin_name.decode("ascii", "replace"))
        return super()._process_auth(plugin_name, auth_packet, handler)

    def _read_packet(self, packet_type: type = MysqlPacket) -> Any:
        packet = super()._read_packet(packet_type)
        if self._proving:
            self._answer = packet
        return packet

    def _check_proof(self) -> None:
        """The OK packet holds SHA2(what the server knows of the password, scramble, certificate's fingerprint), which
        nobody can make who only passes on what others say (MDEV-31855, run_plugin_auth in Connector/C's my_auth.c).
        """
        self._proving = False
        told: bytes = OKPacketWrapper(self._answer).message[1:]
        if not told.startswith(_SIGNED):
            raise Unproven(CR.CR_SSL_CONNECTION_ERROR, "the server proves no certificate")
        fingerprint = hashlib.sha256(self._sock.getpeercert(binary_form=True)).digest()
        known = _HASHES[self._plugin](self.password)
        proof = hashlib.sha256(known + self.salt[:_SCRAMBLE_BYTES] + fingerprint).hexdigest()
        if not hmac.compare_digest(told[1:].lower(), proof.encode()):
            raise OperationalError(
                CR.CR_SSL_CONNECTION_ERROR,
                "its certificate is not the one of the server that knows the password: somebody listens in between",
            )
