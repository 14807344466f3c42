"""Icechunk repositories: opening them, one commit at a time, byte ranges of files elsewhere.

Nothing here knows what the arrays mean. Icechunk prints warnings of its own unless ``ICECHUNK_LOG``
says otherwise before it is imported, so it is imported where it is used.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import (
    ConfigurationError,
    InputMissing,
    OutputCorrupt,
    PartitionBusy,
    StorageRefused,
    StorageUnavailable,
)
from dor_ecco_assets.storage.base import Storage

__all__ = [
    "BRANCH",
    "Container",
    "IcechunkStore",
    "Lost",
    "Version",
    "clear_chunks",
    "location",
    "move_chunks",
    "read_document",
    "remove_array",
    "remove_chunks",
    "write_documents",
    "write_references",
]

BRANCH = "main"

#: Container of files that lie in the store's own root, wherever that is moved to.
ROOT = "root"

#: What servers say that refuse.
_REFUSALS = ("401 Unauthorized", "403", "AccessDenied", "InvalidAccessKey")

#: Byte ranges that a process keeps in memory.
_CACHED_REFERENCES = 1_000_000


#: References of a manifest from which on Icechunk packs locations by a dictionary: its largest.
_UNPACKED = 65_535


@dataclass(frozen=True)
class Container:
    """Where files lie whose byte ranges a store refers to, under the name that the store uses.

    Parameters
    ----------
    name : str
    url : str
        ``s3://bucket/prefix/``, ``https://host/prefix/`` or ``file:///folder/``, slash included.
    endpoint, region : str, optional
        Of an S3 service other than AWS.
    path_style, anonymous : bool
    credentials : callable, optional
        Gives Icechunk's S3 credentials anew before they expire; importable, so that it can be
        sent to workers. The environment's are used without it.
    headers : mapping
        Sent with HTTP requests, such as a bearer token; never kept in the store.
    """

    name: str
    url: str
    endpoint: str | None = None
    region: str | None = None
    path_style: bool = False
    anonymous: bool = False
    credentials: Callable[[], Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def described(self, ic: Any, *, kept: bool) -> Any:
        """Icechunk's description; as it is `kept` in the store it has no secrets."""
        scheme, _, rest = self.url.partition("://")
        if scheme == "file":
            where = ic.local_filesystem_store(rest.rstrip("/"))
        elif scheme == "s3":
            where = ic.s3_store(
                region=self.region,
                endpoint_url=self.endpoint,
                allow_http=(self.endpoint or "").startswith("http://"),
                anonymous=self.anonymous,
                s3_compatible=self.endpoint is not None,
                force_path_style=self.path_style,
            )
        else:
            opts = {"allow_http": "true"} if scheme == "http" else None
            headers = None if kept or not self.headers else dict(self.headers)
            where = ic.http_store(opts=opts, headers=headers)
        return ic.VirtualChunkContainer(self.url, where, name=self.name)

    def access(self, ic: Any) -> Any:
        """Icechunk's credentials."""
        scheme = self.url.partition("://")[0]
        if scheme == "file":
            return ic.credentials.LocalFileSystemAccess
        if scheme != "s3":
            return ic.credentials.HttpAccess
        if self.anonymous:
            return ic.s3_anonymous_credentials()
        if self.credentials is not None:
            return ic.s3_refreshable_credentials(self.credentials, scatter_initial_credentials=True)
        return ic.s3_from_env_credentials()


def location(container: str, key: str) -> str:
    """How a store names a file of a container: an URL whose path is the key."""
    return f"vcc://{container}/{quote(key, safe='/:=+,;@!$&()*~.-_ ')}"


class Version(NamedTuple):
    """One version of a store."""

    snapshot: str
    written: str
    message: str
    metadata: Mapping[str, Any]


class Lost(Exception):
    """Another writer committed first; begin again from what it left."""


class IcechunkStore:
    """A repository at a key of a storage.

    Parameters
    ----------
    storage : Storage
    key : str
    containers : sequence of Container
    split : tuple of (str, int)
        Axis and number of its chunks per manifest: an append rewrites one manifest of each array.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        containers: Sequence[Container] = (),
        split: tuple[str, int] | None = None,
    ) -> None:
        self.storage = storage
        self.key = key
        self.containers = tuple(containers)
        self.split = split
        self._opened: Any = None

    @property
    def uri(self) -> str:
        """Where it lies."""
        return self.storage.locate(self.key)

    def exists(self) -> bool:
        """Whether there is a repository."""
        ic = _icechunk()
        with self._faults():
            return ic.Repository.exists(self._place(ic))

    def create(self) -> None:
        """Make an empty repository; nothing happens where there is one.

        Raises
        ------
        StorageRefused
            Code ``NoConditionalWrites``: two writers could overwrite each other's versions.
        """
        if self.exists():
            return
        self._require_conditions()
        ic = _icechunk()
        with self._faults(), contextlib.suppress(ic.AlreadyExistsError):
            made = ic.Repository.create(
                self._place(ic),
                config=self._config(ic, kept=True),
                authorize_virtual_chunk_access=self._access(ic),
            )
            made.save_config()
        self._opened = None

    @property
    def repository(self) -> Any:
        """Icechunk's own object.

        Raises
        ------
        InputMissing
            Code ``StoreMissing``.
        """
        if self._opened is None:
            ic = _icechunk()
            with self._faults():
                try:
                    self._opened = ic.Repository.open(
                        self._place(ic),
                        config=self._config(ic, kept=False),
                        authorize_virtual_chunk_access=self._access(ic),
                    )
                except ic.RepositoryNotFoundError as error:
                    raise InputMissing(
                        f"there is no Icechunk store at {self.uri}; build it first",
                        code="StoreMissing",
                    ) from error
        return self._opened

    def with_own_containers(self) -> "IcechunkStore":
        """The same store, whose files are read from where its own configuration says they lie."""
        ic = _icechunk()
        with self._faults():
            config = ic.Repository.fetch_config(self._place(ic))
        found = {} if config is None else config.virtual_chunk_containers or {}
        containers = [
            self._own_root()
            if each.name == ROOT
            else Container(each.name, each.url_prefix, endpoint=os.environ.get("AWS_ENDPOINT_URL"))
            for each in found.values()
        ]
        return IcechunkStore(self.storage, self.key, containers, self.split)

    def _own_root(self) -> Container:
        options = getattr(self.storage, "options", None)
        if options is None:
            return Container(ROOT, f"file://{Path(self.storage.uri).absolute()}/")
        return Container(
            ROOT,
            f"{self.storage.uri}/",
            endpoint=options.endpoint or os.environ.get("AWS_ENDPOINT_URL"),
            region=options.region or os.environ.get("AWS_REGION"),
            path_style=options.path_style,
            anonymous=options.anonymous,
        )

    def _place(self, ic: Any) -> Any:
        options = getattr(self.storage, "options", None)
        if options is None:
            return ic.local_filesystem_storage(self.uri)
        endpoint = options.endpoint or os.environ.get("AWS_ENDPOINT_URL")
        bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        return ic.s3_storage(
            bucket=bucket,
            prefix=prefix,
            region=options.region or os.environ.get("AWS_REGION"),
            endpoint_url=endpoint,
            allow_http=(endpoint or "").startswith("http://"),
            anonymous=options.anonymous or None,
            from_env=None if options.anonymous else True,
            force_path_style=options.path_style,
        )

    def _config(self, ic: Any, *, kept: bool) -> Any:
        config = ic.RepositoryConfig.default()
        # The rest of the default is for references by the ten million, gigabytes of them.
        config.caching = ic.CachingConfig(num_chunk_refs=_CACHED_REFERENCES)
        for container in self.containers:
            config.set_virtual_chunk_container(container.described(ic, kept=kept))
        preload = splitting = None
        if not kept:
            # Else each session begins with manifests of which an append needs none: at 10,000
            # granules that is a fifth of its time.
            nothing = ic.ManifestPreloadCondition.false()
            preload = ic.ManifestPreloadConfig(max_total_refs=0, preload_if=nothing)
        if self.split is not None:
            axis, slots = self.split
            condition, dimension = ic.ManifestSplitCondition, ic.ManifestSplitDimCondition
            splitting = ic.ManifestSplittingConfig.from_dict(
                {condition.AnyArray(): {dimension.DimensionName(axis): max(slots, 1)}}
            )
        # Locations are not packed one by one, which takes half of a commit: the manifest as a whole
        # is, and comes out as small.
        plain = ic.ManifestVirtualChunkLocationCompressionConfig(min_num_chunks=_UNPACKED)
        config.manifest = ic.ManifestConfig(
            preload=preload, splitting=splitting, virtual_chunk_location_compression=plain
        )
        return config

    def _access(self, ic: Any) -> Any:
        return ic.containers_credentials({c.url: c.access(ic) for c in self.containers})

    def _require_conditions(self) -> None:
        honours = getattr(self.storage, "honours_conditions", None)
        if honours is not None and not honours(f"{self.key}.probe-{uuid.uuid4().hex[:8]}"):
            raise StorageRefused(
                f"{self.uri}: this object store ignores If-None-Match or If-Match, so that two "
                "writers would overwrite each other's versions; use one that honours them",
                code="NoConditionalWrites",
            )

    # Versions

    @property
    def head(self) -> str:
        """Snapshot of the newest version."""
        with self._faults():
            return self.repository.lookup_branch(BRANCH)

    def resolve(self, version: str | None = None) -> str:
        """The snapshot that a tag or a snapshot's own id names; the newest without one.

        Raises
        ------
        InputMissing
            Code ``VersionMissing``.
        """
        if version is None or version == BRANCH:
            return self.head
        ic = _icechunk()
        with self._faults():
            if version in self.repository.list_tags():
                return self.repository.lookup_tag(version)
            try:
                return self.repository.lookup_snapshot(version).id
            except ic.IcechunkError as error:
                tags = ", ".join(sorted(self.repository.list_tags())) or "none"
                raise InputMissing(
                    f"{self.uri} has no version {version!r}; its tags: {tags}",
                    code="VersionMissing",
                ) from error

    def reading(self, version: str | None = None) -> Any:
        """A read-only session on a version."""
        snapshot = self.resolve(version)
        with self._faults():
            return self.repository.readonly_session(snapshot_id=snapshot)

    def versions(self) -> Iterator[Version]:
        """Every version from the newest to the empty one."""
        with self._faults():
            for found in self.repository.ancestry(branch=BRANCH):
                yield Version(
                    found.id,
                    f"{found.written_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                    found.message,
                    found.metadata,
                )

    @contextlib.contextmanager
    def writing(self) -> Generator[Any]:
        """A session whose changes are seen by nobody until they are committed.

        A folder has one writer at a time: its file system cannot tell who came first. Whatever is
        not committed when the context ends is dropped.

        Raises
        ------
        PartitionBusy
            Where another process writes into the same folder.
        """
        with self._alone(), self._faults():
            session = self.repository.writable_session(BRANCH)
            try:
                yield session
            finally:
                if not session.read_only and session.has_uncommitted_changes:
                    session.discard_changes()

    def _alone(self) -> contextlib.AbstractContextManager[Any]:
        """Keep other writers out of a folder; of a bucket the conditions of its puts do."""
        if getattr(self.storage, "options", None) is None:
            return self.storage.claim(self.key.replace("/", "-"))
        return contextlib.nullcontext()

    def commit(self, session: Any, message: str, metadata: Mapping[str, Any]) -> str:
        """Make the session's changes the newest version; gives its snapshot.

        Raises
        ------
        Lost
            If another writer was first.
        """
        ic = _icechunk()
        try:
            return session.commit(message, metadata=dict(metadata))
        except ic.ConflictError as error:
            raise Lost(str(error)) from error

    def rewrite_manifests(self) -> str:
        """Split manifests anew, as this object says, as the newest version; gives its snapshot."""
        with self._alone(), self._faults():
            return self.repository.rewrite_manifests("manifests", branch=BRANCH)

    def tag(self, name: str, version: str | None = None) -> str:
        """Name a version for good, which keeps it from being collected; gives its snapshot."""
        ic = _icechunk()
        snapshot = self.resolve(version)
        with self._faults():
            try:
                self.repository.create_tag(name, snapshot)
            except ic.IcechunkError as error:
                if name in self.repository.list_tags():
                    if self.repository.lookup_tag(name) == snapshot:
                        return snapshot
                    raise ConfigurationError(
                        f"{self.uri} has a version {name!r} already; choose another name",
                        code="TagExists",
                    ) from error
                raise
        return snapshot

    def rollback(self, version: str) -> str:
        """Make another version the one that is read, an earlier one or back; gives its snapshot.

        Raises
        ------
        InputMissing
            Code ``VersionMissing``.
        PartitionBusy
            If another writer is at work in the same folder, or committed meanwhile.
        """
        ic = _icechunk()
        before, snapshot = self.head, self.resolve(version)
        with self._alone(), self._faults():
            try:
                self.repository.reset_branch(BRANCH, snapshot, from_snapshot_id=before)
            except ic.ConflictError as error:
                raise PartitionBusy(
                    f"{self.uri} got a new version meanwhile; look at it and roll back again"
                ) from error
        return snapshot

    def collect(self, keep: timedelta) -> dict[str, int]:
        """Forget versions older than this that no tag names, and remove what only they used."""
        limit = datetime.now(UTC) - keep
        with self._faults():
            expired = self.repository.expire_snapshots(older_than=limit)
            removed = self.repository.garbage_collect(limit)
        return {
            "versions": len(expired),
            "bytes": int(removed.bytes_deleted),
            "chunks": int(removed.chunks_deleted),
            "manifests": int(removed.manifests_deleted),
        }

    @contextlib.contextmanager
    def _faults(self) -> Generator[None]:
        """Turn Icechunk's errors into those that say what to do."""
        ic = _icechunk()
        try:
            yield
        except ic.StorageError as error:
            text = _brief(error)
            refused = any(word in text for word in _REFUSALS)
            kind = StorageRefused if refused else StorageUnavailable
            what = "the store refused; check the credentials" if refused else "try again later"
            raise kind(f"{self.uri}: {text}; {what}") from error
        except ic.FormatError as error:
            raise OutputCorrupt(
                f"{self.uri} cannot be read as an Icechunk store: {_brief(error)}",
                code="StoreUnreadable",
            ) from error


def _brief(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _icechunk() -> Any:
    os.environ.setdefault("ICECHUNK_LOG", "error")
    import icechunk

    return icechunk


# Chunks

type Counts = npt.NDArray[np.uint64]


def write_references(
    session: Any,
    array: str,
    where: str,
    offsets: Counts,
    lengths: Counts,
    place: Sequence[int],
    checksum: str | datetime | None,
) -> int:
    """Refer to the chunks of one file; gives how many there are.

    Parameters
    ----------
    session : icechunk session
    array : str
        Path in the store.
    where : str
        The file, as `location` names it.
    offsets, lengths : ndarray of uint64, shape of the file's chunk grid, in bytes
        Length 0 leaves a chunk as it is.
    place : sequence of int
        Index of the first chunk in the array's grid.
    checksum : str or datetime, optional
        ETag, or time in UTC after which a change is noticed when the chunk is read.

    Raises
    ------
    ConfigurationError
        Code ``NoContainer``, if the store knows no container of this name.
    """
    flat = np.ascontiguousarray(lengths.ravel())
    count = int(np.count_nonzero(flat))
    there = [where] * flat.size
    if count < flat.size:
        there = [where if length else "" for length in flat.tolist()]
    refused = session.store.set_virtual_refs_arr(
        array,
        lengths.shape,
        there,
        np.ascontiguousarray(offsets.ravel()),
        flat,
        arr_offset=tuple(place),
        checksum=checksum,
    )
    if refused:
        raise ConfigurationError(
            f"{where} lies in no container of the store; name its place under access",
            code="NoContainer",
        )
    return count


def clear_chunks(session: Any, array: str, places: Iterable[Sequence[int]]) -> None:
    """Let chunks read as fill again."""
    from zarr.core.sync import sync

    async def clear() -> None:
        for place in places:
            await session.store.delete(f"{array}/c/{'/'.join(map(str, place))}")

    sync(clear())


def move_chunks(
    session: Any, array: str, axis: int, forward: Mapping[int, int], width: int = 1
) -> None:
    """Move slots of an array along an axis.

    Parameters
    ----------
    session : icechunk session
    array : str
    axis : int
    forward : mapping of int to int
        Old slot to new slot of every slot that is kept; what others held is cleared.
    width : int
        Chunks of one slot along the axis.
    """
    backward = {new: old for old, new in forward.items()}

    def through(places: Mapping[int, int]) -> Callable[[Any], list[int] | None]:
        def moved(index: Any) -> list[int] | None:
            slot, rest = divmod(index[axis], width)
            if slot not in places:
                return None
            found = list(index)
            found[axis] = places[slot] * width + rest
            return found

        return moved

    _fetch_manifests(session, array)
    session.reindex_array(f"/{array.lstrip('/')}", through(forward), through(backward))


def _fetch_manifests(session: Any, array: str) -> None:
    """Have an array's manifests at hand before its chunks move.

    While they move, Icechunk holds Python's lock for the functions that it calls: fetching then
    would stop every other thread of this process, and wait for ever for a server among them.
    """
    from zarr.core.sync import sync

    async def fetch() -> None:
        async for _ in session.chunk_coordinates(f"/{array.lstrip('/')}", batch_size=100_000):
            pass

    sync(fetch())


# Metadata


def read_document(session: Any, path: str) -> dict[str, Any] | None:
    """The ``zarr.json`` of an array or group, or None where there is none."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    key = f"{path}/zarr.json".lstrip("/")
    found: Any = sync(session.store.get(key, default_buffer_prototype()))
    return None if found is None else json.loads(found.to_bytes())


def write_documents(session: Any, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the ``zarr.json`` of arrays and groups by path; those above others come first."""
    from zarr.core.buffer import cpu
    from zarr.core.sync import sync

    async def write() -> None:
        for path in sorted(documents):
            text = json.dumps(documents[path]).encode()
            await session.store.set(f"{path}/zarr.json".lstrip("/"), cpu.Buffer.from_bytes(text))

    sync(write())


def remove_array(session: Any, path: str) -> None:
    """Remove an array with its chunks."""
    from zarr.core.sync import sync

    sync(session.store.delete_dir(path))


def remove_chunks(session: Any, path: str) -> None:
    """Let all of an array read as fill again."""
    remove_array(session, f"{path}/c")
