"""Live checks against real sockets on loopback: what is well is said to be well, and why the rest is not."""

import json
import socket
import sqlite3
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from gateway.config.live import check_folder, check_provider, check_store, check_upstream
from gateway.config.schema import Provider
from tests.ports import free_ports

BASE = Path("/")


@pytest.fixture
def ca(tmp_path):
    """Return a certificate authority whose certificate is in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


class Metadata(BaseHTTPRequestHandler):
    """A provider that answers with what the test set."""

    answer: bytes = b""
    status = 200

    def do_GET(self):
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_):
        """Stay quiet."""


@pytest.fixture
def idp():
    """Run a provider on loopback; returns its issuer, and what sets its answer."""
    handler = type("Handler", (Metadata,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def provider(issuer):
    return Provider(name="corp", issuer=issuer, client_id="gate")


def metadata(issuer, **more):
    endpoints = {
        name: f"{issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
    }
    return json.dumps({"issuer": issuer, **endpoints, **more}).encode()


def test_a_provider_that_is_well(idp):
    issuer, handler = idp
    handler.answer = metadata(issuer)
    assert check_provider(provider(issuer), BASE) is None


@pytest.mark.parametrize(
    ("answer", "status", "part"),
    [
        (b"{}", 404, "answered 404"),
        (b"", 302, "answered 302"),
        (b"no json", 200, "Expecting value"),
        (b"[]", 200, "is no metadata"),
        (b'{"issuer": "https://other.example"}', 200, "calls itself `https://other.example`"),
    ],
)
def test_a_provider_that_is_not(idp, answer, status, part):
    issuer, handler = idp
    handler.answer, handler.status = answer, status
    assert part in check_provider(provider(issuer), BASE)


def test_a_provider_that_lacks_an_endpoint(idp):
    issuer, handler = idp
    handler.answer = metadata(issuer, jwks_uri=None)
    assert check_provider(provider(issuer), BASE) == "its metadata lacks jwks_uri"


def test_nobody_is_there():
    (port,) = free_ports(1)
    assert "connection refused" in check_provider(provider(f"http://127.0.0.1:{port}"), BASE)
    assert check_upstream(f"http://127.0.0.1:{port}", None, BASE) == "connection refused"
    assert check_upstream("unix:/nowhere/app.sock", None, BASE) == "no such file or directory"


def test_upstreams_by_tcp_and_unix(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert check_upstream(f"http://127.0.0.1:{server.getsockname()[1]}", None, BASE) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "app.sock"))
        server.listen()
        assert check_upstream(f"unix:{tmp_path}/app.sock", None, BASE) is None


def test_an_upstream_by_tls_needs_a_certificate_that_its_ca_signed(ca, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"https://127.0.0.1:{server.getsockname()[1]}"
        for upstream_ca, expected in (("ca.pem", None), (None, "certificate: ")):
            thread = threading.Thread(target=_shake_hands, args=(server, context))
            thread.start()
            fault = check_upstream(address, upstream_ca, tmp_path)
            thread.join()
            assert fault == expected or fault.startswith(expected)


def _shake_hands(server, context):
    connection, _ = server.accept()
    with connection:
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            return


def test_a_store_that_is_there_is_sound(tmp_path):
    path = tmp_path / "state.db"
    assert check_store(path) is None
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    assert check_store(path) is None
    path.write_bytes(b"not a database" * 100)
    assert "not a database" in check_store(path)


def test_a_folder_that_can_be_made(tmp_path):
    assert check_folder(tmp_path / "a/b/c") is None
    (tmp_path / "file").write_text("")
    assert "is not a folder" in check_folder(tmp_path / "file/x")
