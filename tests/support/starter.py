"""`flue-ci` as a program that a job starts, whose processes come from the fork server."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.fork_server import Process, fork_server

CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({address!r})
request = {{"arguments": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}
socket.send_fds(server, [json.dumps(request).encode()], [1, 2])
sys.exit(int(server.recv(16) or 70))
"""


class Starter(socketserver.ThreadingUnixStreamServer):
    """x"""

    socket_type = socket.SOCK_SEQPACKET  # a request arrives as a whole
    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__(address, socketserver.BaseRequestHandler)
        self.client = CLIENT.format(python=sys.executable, address=address)
        self.processes: list[Process] = []

    def finish_request(self, request: Any, client_address: Any) -> None:
        data, streams, _, _ = socket.recv_fds(request, 1_000_000, 2)
        parts = json.loads(data)
        stdout, stderr = streams
        process = fork_server().start(
            parts["arguments"], env=parts["env"], cwd=Path(parts["cwd"]), stdout=stdout, stderr=stderr
        )
        self.processes.append(process)
        for stream in streams:
            os.close(stream)
        request.send(str(process.wait(120)).encode())


@contextmanager
def running_starter() -> Iterator[Starter]:
    with tempfile.TemporaryDirectory() as folder, Starter(f"{folder}/starter") as server:  # an address is short
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
