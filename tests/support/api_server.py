"""A stand-in for the server's HTTP API, in a thread of its own, for commands that block."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = tuple[int, object]


@dataclass
class ApiServer:
    """Answers ``(method, path)`` with what ``answers`` says, anything else with 404."""

    url: str = ""
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    requests: list[tuple[str, str, str, object]] = field(default_factory=list)
    """Method, path, query and decoded JSON body of each request."""
    headers: list[dict[str, str]] = field(default_factory=list)

    def bodies(self, method: str, path: str) -> list[object]:
        return [body for verb, at, _, body in self.requests if (verb, at) == (method, path)]


def refusal(status: int, code: str, message: str, **details: object) -> Answer:
    return status, {"error": {"code": code, "message": message, "details": details}}


@contextmanager
def api_server(answers: dict[tuple[str, str], Answer] | None = None) -> Iterator[ApiServer]:
    """Serve on a free loopback port until the context is left. A ``bytes`` answer is a WAV file."""
    served = ApiServer(answers=answers or {})

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            raw = self.rfile.read(length)
            parts = urlsplit(self.path)
            body = json.loads(raw) if raw else None
            served.requests.append((self.command, parts.path, parts.query, body))
            served.headers.append({name.lower(): value for name, value in self.headers.items()})
            missing = refusal(404, "not_found", f"no {parts.path}")
            status, answer = served.answers.get((self.command, parts.path), missing)
            if isinstance(answer, bytes):
                content, kind = answer, "audio/wav"
            else:
                content = b"" if answer is None else json.dumps(answer).encode()
                kind = "application/json"
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
