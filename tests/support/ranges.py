"""An archive on loopback: a folder served over HTTP with byte ranges, ETags, latency and faults."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["RangeServer", "Request"]

LOGIN_PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@lru_cache(maxsize=64)
def _bytes_of(file: Path, _changed_ns: int) -> bytes:
    return file.read_bytes()


@lru_cache(maxsize=64)
def _e_tag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Request:
    """What was asked, and how many bytes of body the answer had."""

    path: str
    range: str
    status: int
    sent: int


@dataclass
class RangeServer:
    """Serves a folder on 127.0.0.1, from `__enter__` to `__exit__`.

    Parameters
    ----------
    folder : Path
    latency_s : float
        Before every answer; requests that come together wait together.
    token : str, optional
        Bearer token without which the answer is 401.
    strict : bool
        Whether an ``If-Match`` without the quotes of its ETag matches nothing, as HTTP has it.
    replies : dict
        Instead of a file: its path to ``html``, ``forbidden``, ``unavailable``, ``cut``.
    """

    folder: Path
    latency_s: float = 0.0
    token: str | None = None
    strict: bool = False
    replies: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet: without it a delayed acknowledgement costs 40 ms.
            wbufsize = -1
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                outer._answer(self, body=False)

            def do_GET(self) -> None:
                outer._answer(self, body=True)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        if self.latency_s:
            time.sleep(self.latency_s)
        path = unquote(urlsplit(request.path).path).lstrip("/")
        asked = request.headers.get("Range", "")
        login, wanted = (request.headers.get(n, "") for n in ("Authorization", "If-Match"))
        status, headers, data = self._reply(path, asked, login, wanted)
        cut = self.replies.get(path) == "cut" and len(data) > 1
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        sent = (data[: len(data) // 2] if cut else data) if body else b""
        # Before the client has it and looks whether it was asked for.
        self.requests.append(Request(path, asked, status, len(sent)))
        request.wfile.write(sent)
        request.wfile.flush()
        request.close_connection = cut

    def _reply(
        self, path: str, asked: str, login: str, wanted: str
    ) -> tuple[int, dict[str, str], bytes]:
        told = self.replies.get(path)
        if self.token is not None and login != f"Bearer {self.token}":
            return 401, {}, b"no token"
        if told == "html":
            return self._part(LOGIN_PAGE, asked, {"Content-Type": "text/html"})
        if told in ("forbidden", "unavailable"):
            return {"forbidden": 403, "unavailable": 503}[told], {}, b""
        file = self.folder / path
        if not file.is_file():
            return 404, {}, b""
        data = _bytes_of(file, file.stat().st_mtime_ns)
        if wanted and not self._matches(wanted, data):
            return 412, {}, b""
        return self._part(data, asked, {})

    def _matches(self, wanted: str, data: bytes) -> bool:
        return wanted == f'"{_e_tag(data)}"' or (not self.strict and wanted == _e_tag(data))

    def _part(
        self, data: bytes, asked: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        headers = headers | {
            "ETag": f'"{_e_tag(data)}"',
            "Accept-Ranges": "bytes",
            "Last-Modified": "Sat, 01 Jun 2002 00:00:00 GMT",
        }
        if not asked:
            return 200, headers, data
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
        if start >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return 206, headers, data[start:stop]
