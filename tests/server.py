"""A file server for tests of downloads."""

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Loopback file server that supports ranges and ETags, and can close connections early.

    Args:
        content: The file, at any path without ``missing``; may be replaced between requests.
        cut_first: Bytes of the first answer after which the connection is closed.

    Attributes:
        requests: The ``Range`` of each request.
        validators: True: answers have an ETag, and ``If-Range`` is honoured.
        answers: Path -> function that answers a request itself, with the handler as argument.
        headers: Headers that replace those of an answer; None leaves one out.
    """

    def __init__(self, content: bytes, cut_first: int | None = None):
        self.content = content
        self.requests: list[str | None] = []
        self.validators = True
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.headers: dict[str, str | None] = {}
        self._cuts = [cut_first] if cut_first else []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.headers.get("Range"))
                if self.path in server.answers:
                    server.answers[self.path](self)
                elif "missing" in self.path:
                    self.send_error(404)
                else:
                    server.send(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()}"'

    def send(self, request: BaseHTTPRequestHandler) -> None:
        """Answer with the file, or the asked part of it."""
        asked, condition = request.headers.get("Range"), request.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.validators and condition not in (None, self.etag):
            start = 0
        if start > len(self.content):
            request.send_error(416)
            return
        body, total = self.content[start:], len(self.content)
        headers = {
            "Content-Length": str(len(body)),
            "Content-Range": f"bytes {start}-{total - 1}/{total}" if start else None,
            "ETag": self.etag if self.validators else None,
            **self.headers,
        }
        request.send_response(206 if start else 200)
        for name, value in headers.items():
            if value is not None:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[: self._cuts.pop()] if self._cuts else body)
