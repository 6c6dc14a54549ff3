"""A certificate that is somebody else's: who listens between us and the server must be found, the server believed."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from goldcopy.errors import ConnectFailed
from goldcopy.server.session import Account, Tls, open_session
from lab.server import LabServer

from .conftest import MakeServer

HOST = "127.0.0.1"
DEFAULT = Tls(as_server=True, proof=True)
_TLS_BIT, _HEAD_BYTES = 0x800, 4


def certificate(folder: Path, name: str, address: str) -> tuple[Path, Path]:
    """A certificate signed by itself for an address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem, key_pem = folder / f"{name}.pem", folder / f"{name}-key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return pem, key_pem


def _packet(from_: socket.socket) -> bytes:
    head = from_.recv(_HEAD_BYTES, socket.MSG_WAITALL)
    return head + from_.recv(int.from_bytes(head[:3], "little"), socket.MSG_WAITALL)


def _relay(near: ssl.SSLSocket, far: ssl.SSLSocket) -> None:
    """Pass on what either side says. In one thread: no SSL object may be read and written at the same time."""
    other = {near: far, far: near}
    while True:
        for end in [s for s in other if s.pending()] or select.select([near, far], [], [])[0]:
            end.setblocking(False)
            try:
                data = end.recv(65536)
            except ssl.SSLWantReadError:
                continue  # a session ticket, or half a record
            finally:
                end.setblocking(True)
            if not data:
                return
            other[end].sendall(data)


def _pass_on(client: socket.socket, port: int, context: ssl.SSLContext) -> None:
    """One login: the greeting and the wish for TLS as they are, then TLS to either side, and whatever is said."""
    with client, socket.create_connection((HOST, port)) as server:
        client.sendall(_packet(server))
        wish = _packet(client)
        server.sendall(wish)
        if not int.from_bytes(wish[4:8], "little") & _TLS_BIT:
            return
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError):
            near = context.wrap_socket(client, server_side=True)
            with near, blind.wrap_socket(server) as far:
                _relay(near, far)


@contextlib.contextmanager
def man_in_the_middle(port: int, folder: Path) -> Iterator[int]:
    """The port of somebody who passes all on, with a certificate of his own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder, "middle", HOST))
    with socket.create_server((HOST, 0)) as door:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    _pass_on(door.accept()[0], port, context)

        threading.Thread(target=serve, daemon=True).start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)


def seen_by(port: int, user: str, tls: Tls, password: str = "geheim") -> str:
    """The cipher of a login."""
    account = Account("", HOST, port, user, password if user != "open" else "", "", 10.0, tls)
    with open_session(account) as session:
        return str(session.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1])


def refused(port: int, user: str, tls: Tls) -> str:
    """Why a login was refused by us."""
    with pytest.raises(ConnectFailed) as failure:
        seen_by(port, user, tls)
    return failure.value.message


@pytest.fixture
def accounts(make_server: MakeServer, lab_dir: Path) -> LabServer:
    """With a certificate for another host than the one that we connect to."""
    pem, key = certificate(lab_dir, "server", "127.0.0.9")
    key.chmod(0o644)
    server = make_server("mariadb-11.8", f"--ssl-cert={pem}", f"--ssl-key={key}")
    server.sql(
        "INSTALL SONAME 'auth_ed25519'", f"CREATE USER native@'{HOST}' IDENTIFIED BY 'geheim'",
        f"CREATE USER modern@'{HOST}' IDENTIFIED VIA ed25519 USING PASSWORD('geheim')", f"CREATE USER open@'{HOST}'",
    )  # fmt: skip
    return server


def test_who_listens_in_between_is_found_and_the_server_is_believed(accounts: LabServer, lab_dir: Path) -> None:
    ca = str(lab_dir / "server.pem")
    with man_in_the_middle(accounts.port, lab_dir) as listener:
        for user in ("native", "modern"):
            assert seen_by(accounts.port, user, DEFAULT)
            assert "somebody listens in between" in refused(listener, user, DEFAULT)
        assert "CERTIFICATE_VERIFY_FAILED" in refused(accounts.port, "open", DEFAULT)
        assert "CERTIFICATE_VERIFY_FAILED" in refused(listener, "native", Tls(as_server=True, verify=True, ca=ca))
        assert seen_by(listener, "native", Tls()), "nobody asked who it is"
    assert "IP address mismatch" in refused(accounts.port, "native", Tls(as_server=True, verify=True, ca=ca))
    assert seen_by(accounts.port, "native", Tls(verify=True, ca=ca))
    assert not seen_by(accounts.port, "native", Tls(off=True)), "who cannot speak its TLS must get in without"


def test_a_server_of_before_is_verified_only_if_asked_and_never_by_the_password(make_server: MakeServer) -> None:
    server = make_server("mariadb-10.5")
    server.sql(f"CREATE USER native@'{HOST}' IDENTIFIED BY 'geheim'")
    assert not seen_by(server.port, "native", DEFAULT), "it offers no TLS, and nobody requires it"
    assert refused(server.port, "native", Tls(identity=True, proof=True))
