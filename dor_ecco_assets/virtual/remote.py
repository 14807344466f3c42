"""Parsing granules that lie in an object store: few requests, many at a time, few bytes.

HDF5 asks for its metadata one small piece after another, and h5py lets one thread read at a time.
So the blocks that granules of the same producer needed before are fetched ahead, together, and
each granule is then parsed from memory; a block that nobody foresaw is fetched when it is missed.
"""

import io
import re
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC
from typing import Any, NamedTuple, override

import obstore
from obstore.exceptions import (
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from dor_ecco_assets.errors import (
    DorEccoError,
    InputMissing,
    InputUnusable,
    StorageRefused,
    StorageUnavailable,
)
from dor_ecco_assets.virtual.hdf5 import WhichAttributes, parse_hdf5
from dor_ecco_assets.virtual.references import GranuleReferences

__all__ = ["BlockHints", "Parsed", "RemoteFile", "parse_granules"]

#: Bytes of one block: metadata lie scattered, and larger blocks carry more data along.
BLOCK = 16 * 1024
#: Blocks fetched ahead at most, 288 KiB of a granule.
MOST_BLOCKS = 18
#: Of the first granule of a producer these many blocks are fetched, 4 MiB: most granules whole, in
#: one request, so that what HDF5 asks for is known after one reply and not after one of each.
_FIRST_BLOCKS = 256
#: Blocks nearer to each other than this travel in one request.
_GAP = 2
#: Granules whose blocks are remembered.
_MEMORY = 16
#: Granules fetched ahead of the one that is parsed, and requests under way for them.
AHEAD = 16
REQUESTS = 48


class BlockHints:
    """Which blocks of a granule HDF5 will ask for, learned from those parsed before."""

    def __init__(self) -> None:
        self._recent: deque[frozenset[int]] = deque(maxlen=_MEMORY)
        self._lock = threading.Lock()

    @property
    def known(self) -> bool:
        """Whether anything was learned yet."""
        return bool(self._recent)

    def learn(self, blocks: Collection[int]) -> None:
        """Remember what one granule needed."""
        with self._lock:
            self._recent.append(frozenset(blocks))

    def expected(self) -> list[int]:
        """Blocks to fetch ahead, in order; the first block at least."""
        if not self.known:
            return list(range(_FIRST_BLOCKS))
        with self._lock:
            counted = Counter(block for blocks in self._recent for block in blocks)
        likely = [block for block, _ in counted.most_common(MOST_BLOCKS - 1)]
        return sorted({0, *likely})


class _Reply(NamedTuple):
    first: int
    data: bytes
    size: int
    e_tag: str
    modified: str


class RemoteFile(io.RawIOBase):
    """A binary file in an object store, whose blocks are fetched once and kept.

    Parameters
    ----------
    store : obstore store
    key : str
    hints : BlockHints, optional
        What to fetch first.
    pool : executor, optional
        Fetches the foreseen blocks side by side; they are fetched in turn without it.

    Notes
    -----
    No error leaves `seek` or `readinto`, which HDF5 calls back: h5py can pass none on. What reading
    met is kept in `fault`; all that is read after it is zeros, and not to be used.
    """

    def __init__(
        self,
        store: Any,
        key: str,
        hints: BlockHints | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        super().__init__()
        self.key = key
        self.requests = 0
        self.bytes_read = 0
        self.fault: DorEccoError | None = None
        self.touched: set[int] = set()
        self.size = -1
        self.e_tag = ""
        self.modified = ""
        self._store = store
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        expected = hints.expected() if hints is not None else [0]
        submit = pool.submit if pool is not None else _at_once
        self._coming: list[Future[_Reply | None]] = [
            submit(self._get, *part) for part in _runs(expected)
        ]

    def _settle(self) -> None:
        """Take in what was fetched ahead."""
        coming, self._coming = self._coming, []
        replies = [future.result() for future in coming]
        for reply in replies:
            if reply is not None:
                self._take(reply)
        if self.size < 0:
            raise InputUnusable(f"{self.key} is empty; fetch it again", code="Unreadable")

    def _take(self, reply: _Reply) -> None:
        if self.size >= 0 and (reply.size, reply.e_tag) != (self.size, self.e_tag):
            raise InputUnusable(
                f"{self.key} changed while it was read; parse it again", code="ChangedWhileRead"
            )
        self.size, self.e_tag, self.modified = reply.size, reply.e_tag, reply.modified
        for start in range(0, len(reply.data), BLOCK):
            self._blocks[reply.first + start // BLOCK] = reply.data[start : start + BLOCK]

    def _get(self, first: int, count: int) -> _Reply | None:
        """Blocks from the store; None where the file ends before them."""
        span = (first * BLOCK, (first + count) * BLOCK)
        try:
            reply = obstore.get(self._store, self.key, options={"range": span})
            data = bytes(reply.bytes())
        except (BaseError, OSError) as error:
            if _is_beyond_the_end(error):
                return None
            raise _explained(self.key, error) from error
        size = reply.meta["size"]
        wanted = min(span[1], size) - span[0]
        if len(data) != wanted:
            raise StorageUnavailable(
                f"{self.key}: {len(data)} bytes of {wanted} arrived; try again later"
            )
        self.requests += 1
        self.bytes_read += len(data)
        modified = reply.meta["last_modified"].astimezone(UTC).isoformat()
        return _Reply(first, data, size, reply.meta["e_tag"] or "", modified)

    def _block(self, number: int) -> bytes:
        self.touched.add(number)
        if number not in self._blocks:
            found = self._get(number, 1)
            if found is None:
                raise InputUnusable(f"{self.key} is cut; fetch it again", code="Unreadable")
            self._take(found)
        return self._blocks[number]

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            self._settled()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    @override
    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._settled():
            try:
                return self._fill(view)
            except DorEccoError as error:
                self.fault = error
        view[:] = bytes(len(view))
        return len(view)

    def _settled(self) -> bool:
        """Whether the file can be read; takes in what was fetched ahead, the first time."""
        if self._coming and self.fault is None:
            try:
                self._settle()
            except DorEccoError as error:
                self.fault = error
                self.size = max(self.size, 0)
        return self.fault is None

    def _fill(self, view: memoryview) -> int:
        wanted = max(0, min(len(view), self.size - self._position))
        done = 0
        while done < wanted:
            number, inside = divmod(self._position + done, BLOCK)
            part = self._block(number)[inside : inside + wanted - done]
            view[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done


def _at_once(call: Callable[..., _Reply | None], *given: int) -> Future[_Reply | None]:
    future: Future[_Reply | None] = Future()
    try:
        future.set_result(call(*given))
    except DorEccoError as error:
        future.set_exception(error)
    return future


def _runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """First block and count of the requests that fetch these blocks, small gaps included."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and block - sum(runs[-1]) < _GAP:
            runs[-1] = (runs[-1][0], block - runs[-1][0] + 1)
        else:
            runs.append((block, 1))
    return runs


def _is_beyond_the_end(error: BaseException) -> bool:
    """Whether the store says that a range lies behind the object's last byte."""
    text = str(error).strip().partition("\n")[0]
    return isinstance(error, GenericError) and (_status(text) == 416 or "range was invalid" in text)


def _status(text: str) -> int | None:
    """HTTP status that the store reports; it has a message for each, but no number of its own."""
    found = re.search(r"status code: (\d{3})\b", text)
    return int(found[1]) if found else None


def _explained(key: str, error: BaseException) -> DorEccoError:
    text = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
    if isinstance(error, FileNotFoundError):
        return InputMissing(
            f"{key} is not there ({text}); CMR may list it before the archive has it: try later",
            code="NotFound",
        )
    refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if refused or _status(text) in (401, 403):
        return StorageRefused(
            f"{key}: the archive refused ({text}); check the Earthdata login, its agreements (EULA)"
            " and, for s3://, that this runs in the archive's region: from elsewhere set"
            " DOR_ECCO_ACCESS=https",
            code="AccessDenied",
        )
    return StorageUnavailable(f"{key} could not be read: {text}; try again later")


def head_of(store: Any, key: str) -> tuple[int, str, str]:
    """Size, ETag and time of writing of a file, as `GranuleReferences` has them.

    Raises
    ------
    InputMissing, StorageRefused, StorageUnavailable
    """
    try:
        meta = obstore.head(store, key)
    except (BaseError, OSError) as error:
        raise _explained(key, error) from error
    modified = meta["last_modified"].astimezone(UTC).isoformat()
    return meta["size"], meta["e_tag"] or "", modified


class Parsed(NamedTuple):
    """What came of one granule: its references, or why there are none."""

    key: str
    granule: GranuleReferences | None
    error: InputUnusable | InputMissing | None
    requests: int
    bytes_read: int


def parse_granules(
    store: Any,
    keys: Iterable[str],
    *,
    load: Collection[str] = (),
    drop: Collection[str] = (),
    inline_bytes: int = 0,
    attributes: WhichAttributes = "all",
    hints: BlockHints | None = None,
) -> Iterator[Parsed]:
    """References of many HDF5 granules of one producer, in the order of `keys`.

    Parameters
    ----------
    store : obstore store
        That of the archive: S3, HTTPS or a local folder; it retries by itself.
    keys : iterable of str
        Taken as they are needed.
    load, drop, inline_bytes, attributes
        As `parse_hdf5` takes them.
    hints : BlockHints, optional
        Kept by a caller that parses more of the same producer later.

    Yields
    ------
    Parsed
        A granule that is absent or unusable is an outcome, not the end.

    Raises
    ------
    StorageRefused
        Code ``AccessDenied``: it is us, not the granule.
    StorageUnavailable
        If the archive did not answer.
    """
    hints = hints or BlockHints()
    waiting = iter(keys)
    ahead: deque[RemoteFile] = deque()
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="granule") as pool:
        while True:
            # One alone first: what it needs is what the others are asked for at once.
            width = AHEAD if hints.known else 1
            while len(ahead) < width and (key := next(waiting, None)) is not None:
                ahead.append(RemoteFile(store, key, hints, pool))
            if not ahead:
                return
            file = ahead.popleft()
            yield _outcome(
                *(file, hints),
                load=load,
                drop=drop,
                inline_bytes=inline_bytes,
                attributes=attributes,
            )


def _outcome(file: RemoteFile, hints: BlockHints, **options: Any) -> Parsed:
    granule, error = None, None
    try:
        granule = replace(parse_hdf5(file, **options), e_tag=file.e_tag, modified=file.modified)
        hints.learn(file.touched)
    except InputUnusable as problem:
        error = InputUnusable(f"{file.key}: {problem.message}", code=problem.code, uri=file.key)
    except InputMissing as problem:
        error = problem
    return Parsed(file.key, granule, error, file.requests, file.bytes_read)
