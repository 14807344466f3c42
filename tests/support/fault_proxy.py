"""An HTTP proxy on loopback that misbehaves as told, in front of any HTTP/1.1 server.

A test points a client at `FaultProxy.endpoint` and scripts what goes wrong::

    with FaultProxy(server.host, server.port) as proxy:
        proxy.script([Status(503, times=3), Truncate(after_bytes=1000, match=on("GET"))])

Standard library only, one thread per connection. Bodies pass through in pieces, with
`Content-Length` or chunked, and connections to the client are kept alive.

A new kind of fault is a dataclass here and a line in `_Exchange.run`, whose steps (choose, read,
send, receive, answer) are separate so that a fault may change any one of them.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import TracebackType

__all__ = [
    "Fault",
    "FaultProxy",
    "IgnoreConditions",
    "LoseResponse",
    "Reset",
    "Seen",
    "Slow",
    "Status",
    "Truncate",
    "on",
]

type Match = Callable[[str, str], bool]
#: Length of a body in bytes, or None where only closing the connection ends it.
type Framing = int | Literal["chunked"] | None

PIECE_BYTES = 64 * 1024
#: A head longer than this is no HTTP; Python's own server stops there too.
MAX_HEAD_BYTES = 64 * 1024
#: How long the upstream or a client may stay silent within one exchange.
TIMEOUT_S = 60.0

#: What S3 calls the causes, and the text it sends with them.
S3_ERRORS = {
    400: ("ExpiredToken", "The provided token has expired."),
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    412: ("PreconditionFailed", "At least one of the pre-conditions you specified did not hold"),
    429: ("TooManyRequests", "Please reduce your request rate."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


def on(*methods: str, containing: str = "") -> Match:
    """Match requests by method (any if none is given) and by a part of path and query."""
    return lambda method, path: (not methods or method in methods) and containing in path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with the next `times` requests that `match` (all, if None)."""

    times: int = 1
    match: Match | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Status(Fault):
    """Answer with an error; the upstream never hears of the request.

    Parameters
    ----------
    code : int
        HTTP status.
    body : bytes, optional
        An S3 error document of that status if not given (503 says SlowDown).
    headers : tuple of (name, value)
        More headers, such as ``("Retry-After", "1")``.
    """

    code: int = 503
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Reset(Fault):
    """Reset the client's connection (RST) after so many bytes of a body.

    During a request the upstream never gets all of it; during a response the client never does.
    A body of `after_bytes` or less is cut before its last byte (chunked: before its end mark), so
    the reset always happens. A request without a body is reset before the upstream hears of it;
    a response without one is lost whole, though the upstream has done what was asked.
    """

    after_bytes: int = 0
    during: Literal["request", "response"] = "request"


@dataclass(frozen=True)
class Truncate(Fault):
    """End the response in good order after so many bytes of its body, though it promised more.

    A body of `after_bytes` or less is cut before its last byte (chunked: before its end mark);
    an empty one passes.
    """

    after_bytes: int = 0


@dataclass(frozen=True)
class LoseResponse(Fault):
    """Let the upstream do what is asked, all of it, and reset the connection before its answer.

    The client cannot know whether a put took place; one that is conditional meets its own bytes
    when it is tried again.
    """


@dataclass(frozen=True)
class IgnoreConditions(Fault):
    """Pass the request on without its conditions, as an object store that knows none.

    Parameters
    ----------
    headers : tuple of str
        In lower case.
    """

    headers: tuple[str, ...] = ("if-none-match", "if-match")


@dataclass(frozen=True)
class Slow(Fault):
    """Let both bodies pass no faster than this."""

    bytes_per_second: int = 100_000


class Seen(NamedTuple):
    """One request, logged just before its answer leaves the proxy.

    `status` is None where the client was sent none; `fault` is None where nothing went wrong.
    """

    method: str
    path: str
    status: int | None
    fault: Fault | None


class FaultProxy:
    """Proxy from a free port of 127.0.0.1 to one upstream, from `__enter__` to `__exit__`.

    Faults of a script are used before random ones. Among the script's, a request takes the first
    that matches it, so faults of one kind of request come in the order given.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self.upstream = (upstream_host, upstream_port)
        self._seen: list[Seen] = []
        self._script: list[Fault] = []
        self._random: tuple[int, float, Sequence[Fault]] | None = None
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._stopping = False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host, self.port = self._listener.getsockname()
        self._acceptor = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        socket.create_connection((self.host, self.port)).close()  # wakes accept()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            threads, connections = list(self._threads), list(self._open)
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://{self.host}:{self.port}"

    @property
    def requests(self) -> list[Seen]:
        """What passed so far, in the order of the answers."""
        with self._lock:
            return list(self._seen)

    def script(self, faults: Sequence[Fault]) -> None:
        """Replace the faults to come."""
        with self._lock:
            self._script = [fault for fault in faults if fault.times > 0]

    @property
    def remaining(self) -> list[Fault]:
        """Scripted faults that no request has met yet; a test asserts that none are left."""
        with self._lock:
            return list(self._script)

    def random_faults(self, seed: int, rate: float, kinds: Sequence[Fault]) -> None:
        """Let a share `rate` of requests meet one of `kinds` (their `times` is not used).

        The draw depends on the seed, the method, the path without its query and how often that
        was asked for, so that it does not depend on the order of concurrent requests.
        """
        with self._lock:
            self._random = (seed, rate, tuple(kinds))
            self._attempts.clear()

    def behave(self) -> None:
        """Drop all faults; the log stays."""
        with self._lock:
            self._script, self._random = [], None

    def _choose(self, method: str, path: str) -> Fault | None:
        """Take the fault that this request meets."""
        with self._lock:
            for n, fault in enumerate(self._script):
                if fault.match is None or fault.match(method, path):
                    left = replace(fault, times=fault.times - 1)
                    self._script[n : n + 1] = [left] if left.times else []
                    return fault
            return self._draw(method, path)

    def _draw(self, method: str, path: str) -> Fault | None:
        if self._random is None:
            return None
        seed, rate, kinds = self._random
        bare = path.partition("?")[0]
        self._attempts[method, bare] += 1
        draw = random.Random(f"{seed} {method} {bare} {self._attempts[method, bare]}")
        if draw.random() >= rate:
            return None
        fault = draw.choice(kinds)
        return fault if fault.match is None or fault.match(method, path) else None

    def _log(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping:
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that leaves or talks no HTTP ends its connection, as with any server.
        with contextlib.suppress(OSError, _Malformed), self._tracked(connection) as client:
            while _Exchange(self, client).run():
                pass
        with self._lock:
            self._threads.discard(threading.current_thread())

    @contextlib.contextmanager
    def _tracked(self, connection: socket.socket) -> Generator[_Wire]:
        """Let `__exit__` end this connection, to client or upstream, while it is in use."""
        with connection:
            with self._lock:
                self._open.add(connection)
            try:
                if self._stopping:
                    raise ConnectionAbortedError("the proxy stops")
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield _Wire(connection)
            finally:
                with self._lock:
                    self._open.discard(connection)


class _Malformed(Exception):
    """What came is not HTTP/1.1 as we know it."""


class _ResetClient(ConnectionError):
    """The fault asks to reset the client's connection."""


class _Head(NamedTuple):
    """First line and headers of a request or a response."""

    start: str
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        """Value of a header in lower case, or an empty string."""
        return next((v.lower() for n, v in self.headers if n.lower() == name), "")

    def without(self, *names: str) -> _Head:
        return _Head(self.start, [(n, v) for n, v in self.headers if n.lower() not in names])

    def encode(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @property
    def framing(self) -> Framing:
        """How the body is delimited."""
        if "chunked" in self.get("transfer-encoding"):
            return "chunked"
        length = self.get("content-length")
        return int(length) if length else None


class _Wire:
    """Buffered reading from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def head(self) -> _Head | None:
        """Return the next head, or None where the other side has closed between messages."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise _Malformed("head too long")
            piece = self.socket.recv(PIECE_BYTES)
            if not piece:
                if self._buffer:
                    raise ConnectionError("closed within a head")
                return None
            self._buffer += piece
        raw, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        start, *lines = raw.decode("latin-1").lstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return _Head(start, [(name.strip(), value.strip()) for name, _, value in pairs])

    def body(self, framing: Framing, *, whole: bool = True) -> Iterator[bytes]:
        """Pieces of a body as they stand on the wire, chunk headers included.

        Without `whole`, the last byte, or the end mark of a chunked body, stays unread.
        """
        if framing == "chunked":
            yield from self._chunked(whole=whole)
        elif framing is None:
            while piece := self._some(PIECE_BYTES):
                yield piece
        else:
            yield from self._exactly(framing if whole else max(0, framing - 1))

    def _some(self, most: int) -> bytes:
        if not self._buffer:
            return self.socket.recv(min(most, PIECE_BYTES))
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self._some(length)
            if not piece:
                raise ConnectionError("closed within a body")
            length -= len(piece)
            yield piece

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            piece = self.socket.recv(PIECE_BYTES)
            if not piece:
                raise ConnectionError("closed within a chunk's header")
            self._buffer += piece
        line, self._buffer = self._buffer[: end + 2], self._buffer[end + 2 :]
        return line

    def _chunked(self, *, whole: bool) -> Iterator[bytes]:
        while size := int((header := self._line()).partition(b";")[0], 16):
            yield header
            yield from self._exactly(size + 2)  # with the line end after the data
        if not whole:
            return
        end = [header]
        while end[-1] != b"\r\n":  # trailers, then an empty line
            end.append(self._line())
        yield b"".join(end)


class _Exchange:
    """One request and its answer."""

    def __init__(self, proxy: FaultProxy, client: _Wire) -> None:
        self._proxy = proxy
        self._client = client

    def run(self) -> bool:
        """Return whether the client's connection stays open for another exchange."""
        self._client.socket.settimeout(None)  # an idle connection may stay idle
        request = self._client.head()
        if request is None:
            return False
        self._client.socket.settimeout(TIMEOUT_S)
        self._method, self._path, version = request.start.split(" ")
        self._keep = version == "HTTP/1.1" and request.get("connection") != "close"
        self._fault = self._proxy._choose(self._method, self._path)
        try:
            if isinstance(self._fault, Status):
                self._refuse(request, self._fault)
            else:
                self._relay(request)
        except _ResetClient:
            # Linger zero makes close() send RST.
            linger = struct.pack("ii", 1, 0)
            self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        return self._keep

    def _refuse(self, request: _Head, fault: Status) -> None:
        """Answer in the upstream's place, after the body, as a client that sends expects."""
        if request.get("expect") == "100-continue":
            self._keep = False  # it is free to send the body or not: only closing is unambiguous
        else:
            for _ in self._client.body(request.framing or 0):
                pass
        cause, text = S3_ERRORS.get(fault.code, ("InternalError", "Injected by the fault proxy."))
        document = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{cause}</Code><Message>{text}</Message>"
            "<RequestId>FAULTPROXY</RequestId></Error>"
        )
        body = document.encode() if fault.body is None else fault.body
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        headers += fault.headers
        self._answer(_Head(f"HTTP/1.1 {fault.code} {cause}", headers))
        if self._method != "HEAD":
            self._client.socket.sendall(body)

    def _relay(self, request: _Head) -> None:
        fault = self._fault
        cut = fault.after_bytes if isinstance(fault, Reset) and fault.during == "request" else None
        if cut is not None and not request.framing:
            self._reset()
        if request.get("expect") == "100-continue":
            self._client.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection = socket.create_connection(self._proxy.upstream, timeout=TIMEOUT_S)
        with self._proxy._tracked(connection) as upstream:
            self._send(request, upstream, cut)
            if cut is not None:
                self._reset()
            response = self._receive(upstream)
            if isinstance(fault, LoseResponse):
                self._reset()
            self._return(response, upstream)

    def _send(self, request: _Head, upstream: _Wire, cut: int | None) -> None:
        """Pass the request on; an upstream that answers before its end is heard all the same."""
        onward = request.without("expect", "connection", "proxy-connection", "keep-alive")
        if isinstance(self._fault, IgnoreConditions):
            onward = onward.without(*self._fault.headers)
        onward.headers.append(("Connection", "close"))
        upstream.socket.sendall(onward.encode())
        listening = True
        for piece in self._passing(self._client, request.framing or 0, cut):
            if listening:
                try:
                    upstream.socket.sendall(piece)
                except OSError:
                    listening = False

    def _receive(self, upstream: _Wire) -> _Head:
        while (response := upstream.head()) is not None:
            if not response.start.split(" ")[1].startswith("1"):
                return response
        raise ConnectionError("the upstream closed without an answer")

    def _return(self, response: _Head, upstream: _Wire) -> None:
        fault = self._fault
        status = int(response.start.split(" ")[1])
        framing = 0 if self._method == "HEAD" or status in {204, 304} else response.framing
        cut = fault.after_bytes if isinstance(fault, Reset | Truncate) else None
        if isinstance(fault, Reset) and framing == 0:
            self._reset()
        # Only closing tells the client that a body without a length has ended, or was cut.
        self._keep = self._keep and framing is not None and (cut is None or framing == 0)
        self._answer(response.without("connection", "keep-alive"))
        for piece in self._passing(upstream, framing, cut):
            self._client.socket.sendall(piece)
        if isinstance(fault, Reset):
            raise _ResetClient

    def _passing(self, source: _Wire, framing: Framing, cut: int | None) -> Iterator[bytes]:
        """Pieces of a body that get through: at most `cut` bytes, at the fault's pace."""
        pieces = source.body(framing, whole=cut is None)
        if cut is not None:
            pieces = _first_bytes(pieces, cut)
        if isinstance(self._fault, Slow):
            pieces = _paced(pieces, self._fault.bytes_per_second)
        return pieces

    def _answer(self, head: _Head) -> None:
        closing = [] if self._keep else [("Connection", "close")]
        self._log(int(head.start.split(" ")[1]))
        self._client.socket.sendall(_Head(head.start, head.headers + closing).encode())

    def _reset(self) -> None:
        self._log(None)
        raise _ResetClient

    def _log(self, status: int | None) -> None:
        self._proxy._log(Seen(self._method, self._path, status, self._fault))


def _first_bytes(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    while most > 0 and (piece := next(pieces, None)) is not None:
        yield piece[:most]
        most -= len(piece)


def _paced(pieces: Iterator[bytes], bytes_per_second: int) -> Iterator[bytes]:
    step = max(1, bytes_per_second // 20)
    for piece in pieces:
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            time.sleep(len(part) / bytes_per_second)
            yield part
