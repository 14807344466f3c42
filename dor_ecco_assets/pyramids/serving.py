"""A server on loopback for the page and what it shows: ranges, HEAD, and 404 for what is not there.

The page lies at ``/`` and a storage's objects below ``/data/``. Map libraries ask for parts of
shards by range, take 404 for a chunk without data, and read from other origins by CORS.
"""

import json
import mimetypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote, unquote, urlsplit

from dor_ecco_assets.errors import ConfigurationError, InputMissing, StorageUnavailable
from dor_ecco_assets.pyramids.index import INDEX
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.storage.base import Readable

__all__ = ["PAGE", "PageServer", "Shown", "find_shown", "page_path"]

#: The built page.
PAGE = Path(__file__).parent / "page"
DATA = "/data/"

#: Hidden names that are part of a store; all others, records among them, are not served.
_METADATA = frozenset({".zmetadata", ".zattrs", ".zarray", ".zgroup"})
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".wasm": "application/wasm",
}
_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class _Object:
    """Bytes to be sent, opened when they are."""

    size: int
    stamp: str
    source: Path | bytes

    def open(self) -> BinaryIO:
        return BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")


class PageServer:
    """Serves the page and one storage on loopback, from `__enter__` to `__exit__`.

    Parameters
    ----------
    storage : Readable
        What lies below ``/data/``.
    port : int
        0 takes a free one.
    page : Path, optional
        Folder of the built page.

    Raises
    ------
    StorageUnavailable
        ``PortTaken``, from `__enter__`.
    """

    def __init__(self, storage: Readable, port: int = 0, page: Path = PAGE) -> None:
        self.storage, self.port, self.page = storage, port, page

    def __enter__(self) -> Self:
        """Start to listen."""
        handler = type("Handler", (_Handler,), {"storage": self.storage, "page": self.page})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        except OSError as error:
            raise StorageUnavailable(
                f"port {self.port} cannot be listened on ({error.strerror}); name another by "
                "--port, or 0 for any that is free",
                code="PortTaken",
            ) from error
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, without waiting for downloads that are under way."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    storage: Readable
    page: Path

    protocol_version = "HTTP/1.1"
    # Head and body in one packet: without it a delayed acknowledgement costs 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_OPTIONS(self) -> None:
        self._head(HTTPStatus.NO_CONTENT, 0)
        self.send_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
        self.send_header("Access-Control-Allow-Headers", "Range, If-None-Match")
        self.send_header("Access-Control-Max-Age", "86400")
        self.end_headers()

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        found = self._find(path)
        if found is None:
            text = f"there is no {path}\n".encode()
            self._head(HTTPStatus.NOT_FOUND, len(text), "text/plain; charset=utf-8")
            self.end_headers()
            self._send(BytesIO(text), len(text), body=body)
            return
        tag = f'"{found.size:x}-{found.stamp.strip(chr(34))}"'
        if self.headers.get("If-None-Match") == tag:
            self._head(HTTPStatus.NOT_MODIFIED, None)
            self.send_header("ETag", tag)
            self.end_headers()
            return
        asked = _part(self.headers.get("Range"), found.size)
        if asked is None:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0)
            self.send_header("Content-Range", f"bytes */{found.size}")
            self.end_headers()
            return
        first, last, whole = asked
        status = HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT
        self._head(status, last - first, _type_of(path))
        if not whole:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{found.size}")
        self.send_header("ETag", tag)
        self.end_headers()
        with found.open() as source:
            source.seek(first)
            self._send(source, last - first, body=body)

    def _head(self, status: HTTPStatus, length: int | None, kind: str | None = None) -> None:
        self.send_response(status)
        if length is not None and status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(length))
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Accept-Ranges", "bytes")
        # A store may be written while it is looked at: a browser asks whether its copy still holds.
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header(
            "Access-Control-Expose-Headers", "Accept-Ranges, Content-Length, Content-Range, ETag"
        )

    def _send(self, source: BinaryIO, length: int, *, body: bool) -> None:
        if not body:
            return
        left = length
        try:
            while left and (block := source.read(min(left, _BLOCK))):
                self.wfile.write(block)
                left -= len(block)
            self.wfile.flush()
        except ConnectionError:  # the browser has gone on to something else
            left = length
        if left:  # or the file has become shorter: what was announced cannot be sent
            self.close_connection = True

    def _find(self, path: str) -> _Object | None:
        parts = path.removeprefix("/").split("/")
        hidden = [part for part in parts if part.startswith(".") and part not in _METADATA]
        if hidden or "" in parts[:-1] or any("\\" in part or "\0" in part for part in parts):
            return None
        if path.startswith(DATA):
            return self._stored(path.removeprefix(DATA))
        file = self.page / ("index.html" if path == "/" else path.removeprefix("/"))
        return _file(file)

    def _stored(self, key: str) -> _Object | None:
        if isinstance(self.storage, Directory):
            return _file(Path(self.storage.locate(key)))
        stat = self.storage.stat(key) if key else None
        if stat is None:
            return None
        if self.command == "HEAD":
            return _Object(stat.size, stat.stamp, b"")
        data = self.storage.read(key)
        return None if data is None else _Object(len(data), stat.stamp, data)


def _file(path: Path) -> _Object | None:
    with suppress(OSError):
        if path.is_file():
            stat = path.stat()
            return _Object(stat.st_size, str(stat.st_mtime_ns), path)
    return None


def _part(asked: str | None, size: int) -> tuple[int, int, bool] | None:
    """First byte, byte after the last, and whether that is all; None where there is no such part.

    A header that is not one simple range counts as none, as RFC 9110 has it.
    """
    found = _RANGE.fullmatch((asked or "").strip())
    if found is None or found.group(0) == "bytes=-":
        return 0, size, True
    first, last = found.groups()
    if not first:
        wanted = min(int(last), size)
        return (size - wanted, size, False) if wanted else None
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    if last and int(last) < int(first):
        return 0, size, True
    return (start, stop, False) if start < size else None


def _type_of(path: str) -> str:
    name = "index.html" if path.endswith("/") else path.rpartition("/")[2]
    if name in _METADATA:
        return "application/json"
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a URL, not a path
    known = _TYPES.get(ending) or (mimetypes.types_map.get(ending) if ending else None)
    return known or "application/octet-stream"


@dataclass(frozen=True)
class Shown:
    """What the page is to open: an object of a storage, or a URL elsewhere."""

    storage: Readable
    key: str | None = None
    url: str | None = None


def page_path(shown: Shown) -> str:
    """Path and query of the page that opens it."""
    target = shown.url or f"{DATA.removeprefix('/')}{shown.key}"
    return f"/?index={quote(target, safe='/:')}"


def find_shown(storage: Readable, store: str | None = None) -> Shown:
    """What ``vis view STORE`` means.

    Parameters
    ----------
    storage : Readable
        The production's.
    store : str, optional
        A product (``pyramids/atlas``), a store below the root, a path to an ``index.json`` or a
        store elsewhere, or a URL. The atlas when none is given, else the first dataset.

    Raises
    ------
    InputMissing
        ``NothingToShow``: none has been made yet.
    ConfigurationError
        ``UnknownStore``: what is named is not there, or is neither an index nor a store.
    """
    if store is None:
        found = next(_indexes(storage), None)
        if found is None:
            raise InputMissing(
                f"{storage.locate('pyramids')}: no maps have been made yet; make them by "
                "`dor-ecco vis populate store2`, or see sample ones by `dor-ecco demo`",
                code="NothingToShow",
            )
        return Shown(storage, found)
    if re.match(r"https?://", store):
        return Shown(storage, url=store)
    for key in (store.strip("/"), f"pyramids/{store.strip('/')}"):
        held = _opened(storage, key)
        if held is not None:
            return Shown(storage, held)
    elsewhere = _elsewhere(Path(store).absolute())
    if elsewhere is None:
        raise ConfigurationError(
            f"{store} is no product, index.json or store, below {storage.uri} or on this disk; "
            f"there {_there_are(storage)}",
            code="UnknownStore",
        )
    return elsewhere


def _indexes(storage: Readable) -> Iterator[str]:
    if storage.stat(f"pyramids/atlas/{INDEX}"):
        yield f"pyramids/atlas/{INDEX}"
    if isinstance(storage, Directory):
        yield from (
            str(path.relative_to(storage.root))
            for path in sorted((storage.root / "pyramids").glob(f"*/{INDEX}"))
        )
        return
    for key, _ in storage.list("pyramids"):
        if key.count("/") == 2 and key.endswith(f"/{INDEX}"):
            yield key


def _there_are(storage: Readable) -> str:
    found = sorted({key.removesuffix(f"/{INDEX}") for key in _indexes(storage)})
    return f"are {', '.join(found)}" if found else "is nothing to show yet"


def _opened(storage: Readable, key: str) -> str | None:
    """The key that the page opens for a product or a store, or None where there is none."""
    if not key or key.startswith(".."):
        return None
    if key.endswith(".json"):
        return key if storage.stat(key) else None
    if storage.stat(f"{key}/{INDEX}"):
        return f"{key}/{INDEX}"
    names = (".zmetadata", "zarr.json", ".zgroup")
    return f"{key}/" if any(storage.stat(f"{key}/{name}") for name in names) else None


def _elsewhere(path: Path) -> Shown | None:
    """A path of this disk, served from the lowest folder that holds all that it refers to."""
    held = _opened(Directory(path.parent), path.name)
    if held is None:
        return None
    file = path.parent / held
    folder = path.parent
    if file.name.endswith(".json"):
        referred = [file, *(file.parent / each for each in _references(file))]
        folder = Path(os.path.commonpath([os.path.abspath(each.parent) for each in referred]))  # noqa: PTH100 - without following links
    key = file.relative_to(folder).as_posix()
    return Shown(Directory(folder), f"{key}/" if held.endswith("/") else key)


def _references(index: Path) -> Iterator[str]:
    """Relative URLs in an index."""
    try:
        found = json.loads(index.read_bytes())
        stores = found["stores"]
        named = [*stores["maps"].values(), found.get("polygons")]
        named += [(stores.get(each) or {}).get("url") for each in stores if each != "maps"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{index} is not the index of a pyramid ({error!r}); name an index.json or a store",
            code="UnknownStore",
        ) from error
    yield from (each for each in named if each and "://" not in each)
