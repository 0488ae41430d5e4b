"""A company's network on loopback: a server with TLS, by an authority of its own, behind a proxy that opens tunnels to
it under any name. What cannot be resolved is reached through the proxy, or not at all."""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import select
import socket
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "far.example.com"
USER, PASSWORD = "us@er", "sEcret/1"


class Company:
    """`authority` is the file with its certificate; `refusal` is the status that the proxy answers with, 0 for none.
    `requests` are the paths that the server was asked for, `tunnels` the hosts that the proxy was asked for."""

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "authority.pem"
        self.refusal, self.needs_password = 0, False
        self.requests: list[str] = []
        self.tunnels: list[str] = []
        _write_certificates(self.authority, folder / "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        self._server = _Server(("127.0.0.1", 0), self._server_handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._proxy = _Server(("127.0.0.1", 0), self._proxy_handler())

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def proxy(self) -> str:
        return f"127.0.0.1:{self._proxy.server_port}"

    def __enter__(self) -> Company:
        for server in (self._server, self._proxy):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._server, self._proxy):
            server.shutdown()
            server.server_close()

    def _server_handler(company: Company) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(_Quiet):
            """Answers as each of the three services does to the smallest of its requests."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                company.requests.append(self.path)
                body, kind = json.dumps({"id": "x", "role_name": "write", "login": "ada"}).encode(), "application/json"
                if "/sandboxes" in self.path:
                    body = b"[]"
                elif "info/refs" in self.path:
                    line = f"{'1' * 40} refs/heads/main\0\n".encode()
                    body = b"001e# service=git-upload-pack\n0000%04x%s0000" % (len(line) + 4, line)
                    kind = "application/x-git-upload-pack-advertisement"
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler

    def _proxy_handler(company: Company) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(_Quiet):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                company.tunnels.append(self.path.partition(":")[0])
                status = company.refusal
                basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                if company.needs_password and self.headers.get("proxy-authorization") != f"Basic {basic}":
                    status = 407
                self.send_response(status or 200)
                if status:
                    self.send_header("proxy-authenticate", 'Basic realm="company"')
                    self.send_header("content-length", "0")
                self.end_headers()
                self.close_connection = not status
                if not status:
                    with socket.create_connection(("127.0.0.1", company.port)) as server:
                        _copy(self.connection, server)

        return Handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that does not trust us hangs up."""


class _Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def _copy(one: socket.socket, other: socket.socket) -> None:
    while ready := select.select([one, other], [], [], 10)[0]:
        for source in ready:
            data = source.recv(65_536)
            if not data:
                return
            (other if source is one else one).sendall(data)


def _write_certificates(authority: Path, server: Path) -> None:
    key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority.write_bytes(_certificate("Company", key, key).public_bytes(serialization.Encoding.PEM))
    secret = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = _certificate("server", server_key, key, "localhost", HOST)
    server.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, *hosts: str
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company")]),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        key.public_key(),
        x509.random_serial_number(),
        now - datetime.timedelta(days=1),
        now + datetime.timedelta(days=1),
    ).add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())
