"""What the tests' servers share: a handler that says nothing of itself, and processes that are
ended with their test.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Quiet(BaseHTTPRequestHandler):
    """Answers by `send`."""

    def log_message(self, *_: object) -> None:
        """Standard error is for errors."""

    def send(self, code: int, raw: bytes, **heads: str) -> None:
        """One whole answer."""
        self.send_response(code)
        for k, v in {"Content-Length": str(len(raw)), **heads}.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(raw)


def serve(handler: type[BaseHTTPRequestHandler]) -> None:
    """Print the port, then answer for ever."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def servers(script: str, log: Path) -> Iterator[Callable[[str], str]]:
    """Within: `start(mode)` runs tests/SCRIPT MODE LOG and gives its address."""
    started: list[subprocess.Popen[str]] = []

    def start(mode: str) -> str:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), mode, str(log)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    try:
        yield start
    finally:
        for process in started:
            process.terminate()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
