"""A stand-in for CMR and Earthdata Login on loopback, with the faults that the real ones have.

It searches the records it is given as CMR documents it: scope, period, box, revision date, order,
pages chained by ``CMR-Search-After``, deletions. A test scripts what goes wrong::

    with CmrServer(items) as server:
        server.faults += [Fault(429, {"Retry-After": "2"}), Fault(body=LOGIN_PAGE)]
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["LOGIN_PAGE", "CmrServer", "Fault", "recorded_items", "recorded_pages"]

LOGIN_PAGE = b"<!DOCTYPE html><html><body>Earthdata Login</body></html>"
UMM_JSON = "application/vnd.nasa.cmr.umm_results+json;version=1.6.5; charset=utf-8"


@dataclass(frozen=True)
class Fault:
    """An answer to the next request instead of the right one.

    With status 200 and no body, the right answer is sent with `headers` added, `items` of it at
    most and `hits` for its count.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    items: int | None = None
    hits: int | None = None
    close: bool = False


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


type Answer = tuple[int, dict[str, str], bytes]


@dataclass
class CmrServer:
    """CMR at ``/search``, Earthdata Login at ``/api`` and one archive at ``/s3credentials``.

    Parameters
    ----------
    items : list of dict
        UMM-JSON items; a test may change the list between two requests.
    deleted : list of dict
        Rows of deleted-granules replies.
    collections : list of dict
    faults : list of Fault
        One for each of the next requests; None lets a request pass.
    between : callable, optional
        Called with the number of a page after it was answered: what happens to the collection
        while a client reads.
    chain : dict, optional
        Recorded pages by the ``CMR-Search-After`` that asked for them, replayed instead of
        `items`; after the last comes an empty one.
    token : str
        The one that opens ``/s3credentials``.
    keys : list of dict
        Replies of ``/s3credentials``, one after the other, the last again and again.
    """

    items: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    collections: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault | None] = field(default_factory=list)
    between: Callable[[int], None] | None = None
    chain: dict[str, tuple[dict[str, str], bytes]] | None = None
    token: str = "stand-in-token"
    keys: list[dict[str, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    tokens_made: int = 0

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer._serve(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer._serve(self)

        self._lock = threading.Lock()
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

    @property
    def pages(self) -> list[Asked]:
        """Requests for pages of a search."""
        return [asked for asked in self.asked if asked.path.startswith("/search/")]

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        asked = Asked(
            request.command,
            url.path,
            parse_qs(url.query, keep_blank_values=True),
            {name.lower(): value for name, value in request.headers.items()},
        )
        with self._lock:
            self.asked.append(asked)
            fault = self.faults.pop(0) if self.faults else None
            status, headers, body = self._answer(asked, fault)
            if self.between is not None:
                self.between(len(self.asked))
        if fault is not None and fault.close:
            request.close_connection = True
            return
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
        request.wfile.flush()

    def _answer(self, asked: Asked, fault: Fault | None) -> Answer:
        if fault is not None and (fault.status != 200 or fault.body is not None):
            told = json.dumps({"errors": [f"fault {fault.status}"]}).encode()
            return fault.status, dict(fault.headers), fault.body if fault.body is not None else told
        if asked.path == "/s3credentials":
            return self._bucket_keys(asked)
        if asked.path == "/api/users/find_or_create_token":
            return self._user_token(asked)
        if asked.path == "/search/deleted-granules.json":
            return self._deletions(asked)
        if self.chain is not None:
            headers, body = self._recorded(asked)
        elif asked.path == "/search/granules.umm_json":
            headers, body = self._page(asked, self._matching(asked.query), fault)
        elif asked.path == "/search/collections.umm_json":
            names = asked.query.get("short_name", [])
            fit = [c for c in self.collections if not names or c["umm"]["ShortName"] in names]
            headers, body = self._page(asked, fit, fault)
        else:
            return 404, {}, json.dumps({"errors": [f"no {asked.path}"]}).encode()
        return 200, headers | dict(fault.headers if fault else {}), body

    def _recorded(self, asked: Asked) -> tuple[dict[str, str], bytes]:
        assert self.chain is not None
        after = asked.headers.get("cmr-search-after", "")
        if after in self.chain:
            return self.chain[after]
        known = sum(len(json.loads(body)["items"]) for _, body in self.chain.values())
        empty = json.dumps({"hits": known, "took": 1, "items": []}).encode()
        return {"CMR-Hits": str(known), "Content-Type": UMM_JSON}, empty

    def _page(
        self, asked: Asked, items: list[dict[str, Any]], fault: Fault | None
    ) -> tuple[dict[str, str], bytes]:
        size = int(asked.query.get("page_size", ["10"])[0])
        if fault is not None and fault.items is not None:
            size = min(size, fault.items)
        hits = len(items) if fault is None or fault.hits is None else fault.hits
        by_revision = "revision_date" in asked.query.get("sort_key[]", [])
        ordered = sorted(items, key=lambda item: _order(item, by_revision))
        after = asked.headers.get("cmr-search-after")
        if after is not None:
            last = json.loads(after)
            ordered = [item for item in ordered if _order(item, by_revision) > last]
        page = ordered[:size]
        headers = {"CMR-Hits": str(hits), "Content-Type": UMM_JSON}
        if page:
            headers["CMR-Search-After"] = json.dumps(_order(page[-1], by_revision))
        return headers, json.dumps({"hits": hits, "took": 1, "items": page}).encode()

    def _matching(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        return [item for item in self.items if _fits(item, query)]

    def _deletions(self, asked: Asked) -> Answer:
        since = asked.query["revision_date"][0]
        parent = asked.query["parent_collection_id"][0]
        rows = [
            row
            for row in self.deleted
            if row["parent-collection-id"] == parent and row["revision-date"][:19] >= since[:19]
        ]
        return 200, {"Content-Type": "application/json"}, json.dumps(rows).encode()

    def _bucket_keys(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}, b"token not accepted"
        found = self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    def _user_token(self, asked: Asked) -> Answer:
        if not asked.headers.get("authorization", "").startswith("Basic "):
            return 401, {}, b"no user"
        self.tokens_made += 1
        made = {"access_token": self.token, "token_type": "Bearer", "expiration_date": "01/01/2100"}
        return 200, {"Content-Type": "application/json"}, json.dumps(made).encode()


def _order(item: dict[str, Any], by_revision: bool) -> list[Any]:
    meta = item["meta"]
    if by_revision:
        return [meta["revision-date"], meta["concept-id"]]
    extent = item["umm"].get("TemporalExtent", {}).get("RangeDateTime", {})
    return [extent.get("BeginningDateTime", ""), meta["concept-id"]]


def _fits(item: dict[str, Any], query: dict[str, list[str]]) -> bool:
    meta, umm = item["meta"], item["umm"]
    reference = umm.get("CollectionReference", {})
    scope = {
        "collection_concept_id": meta.get("collection-concept-id"),
        "short_name": reference.get("ShortName"),
        "version": reference.get("Version"),
        "provider": meta.get("provider-id"),
    }
    if any(name in query and query[name][0] != value for name, value in scope.items()):
        return False
    if "revision_date[]" in query:
        first, _, last = query["revision_date[]"][0].partition(",")
        if not _between(meta["revision-date"], meta["revision-date"], first, last):
            return False
    if "temporal[]" in query:
        extent = umm["TemporalExtent"]["RangeDateTime"]
        first, _, last = query["temporal[]"][0].partition(",")
        begin, end = extent["BeginningDateTime"], extent["EndingDateTime"]
        if not _between(begin, end, first, last):
            return False
    return "bounding_box" not in query or _overlaps(umm, query["bounding_box"][0])


def _between(begin: str, end: str, first: str, last: str) -> bool:
    """Whether a period meets another, both ends included, to the second as CMR's queries are."""
    return (not first or end[:19] >= first[:19]) and (not last or begin[:19] <= last[:19])


def _overlaps(umm: dict[str, Any], box: str) -> bool:
    west, south, east, north = map(float, box.split(","))
    geometry = umm["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]
    return any(
        part["WestBoundingCoordinate"] <= east
        and part["EastBoundingCoordinate"] >= west
        and part["SouthBoundingCoordinate"] <= north
        and part["NorthBoundingCoordinate"] >= south
        for part in geometry["BoundingRectangles"]
    )


def recorded_items(folder: Path) -> list[dict[str, Any]]:
    """All items of the recorded pages in a folder of ``data/cmr/responses``."""
    return [
        item for _, body in recorded_pages(folder).values() for item in json.loads(body)["items"]
    ]


def recorded_pages(folder: Path) -> dict[str, tuple[dict[str, str], bytes]]:
    """Recorded headers and bodies of granule pages by the ``CMR-Search-After`` that asked."""
    found: dict[str, tuple[dict[str, str], bytes]] = {}
    for path in sorted(folder.glob("*.http.json")):
        told = json.loads(path.read_text())
        if "page_size=0" in told["request"]["url"]:
            continue
        after = told["request"]["headers"].get("cmr-search-after", "")
        headers = {k: v for k, v in told["response"]["headers"].items() if k != "CMR-Took"}
        found[after] = (headers, (folder / told["response"]["body_file"]).read_bytes())
    return found
