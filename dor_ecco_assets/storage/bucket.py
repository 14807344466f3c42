"""Storage on S3: one put or multipart upload straight to the final key, read back."""

import hashlib
import io
import json
import logging
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import psutil
import tenacity
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from dor_ecco_assets.errors import (
    DorEccoError,
    OutputCorrupt,
    PartitionBusy,
    StorageRefused,
    StorageUnavailable,
)
from dor_ecco_assets.storage.base import (
    Stat,
    files_below,
    sha256_of_file,
    sha256_of_members,
)
from dor_ecco_assets.storage.directory import SCRATCH_SUFFIX, refusal, sweep_scratch

log = logging.getLogger(__name__)

#: Attempts of one request, the first included; with jittered waits of at most 8 s they outlast a
#: minute-long burst of 503 replies.
ATTEMPTS = 8
LONGEST_WAIT_S = 8.0

#: A claim whose owner has not renewed it for this long is another writer's to take.
LEASE_S = 90.0

#: Objects of one folder that travel at the same time.
CONCURRENT_OBJECTS = 8


@dataclass(frozen=True)
class S3Options:
    """How to reach an S3 service; None leaves a point to the ``AWS_*`` variables.

    Credentials are never among them: they come from the environment or the AWS credential chain.
    """

    endpoint: str | None = None
    region: str | None = None
    path_style: bool = True
    anonymous: bool = False


class Bucket:
    """A `Storage` below ``s3://bucket/prefix``.

    Parameters
    ----------
    bucket, prefix : str
    options : S3Options
    """

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.options = options
        self._store = _s3_store(bucket, self.prefix, options)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def locate(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def read(self, key: str) -> bytes | None:
        found = self._get(key)
        return None if found is None else found[0]

    def _get(self, key: str) -> tuple[bytes, str] | None:
        def get() -> tuple[bytes, str]:
            reply = obstore.get(self._store, key)
            data = bytes(reply.bytes())
            if len(data) != reply.meta["size"]:
                raise _CutError(f"{len(data)} bytes of {reply.meta['size']} arrived")
            return data, reply.meta["e_tag"] or ""

        return self._ask("read", key, get, absent=None)

    def fetch(self, key: str, path: Path) -> bool:
        def get() -> bool:
            reply, size = obstore.get(self._store, key), 0
            try:
                with path.open("wb") as file:
                    for part in reply.stream(min_chunk_size=1 << 20):
                        size += file.write(part)
            except OSError as error:
                if error.errno is None:  # of the connection, not of this machine's disk
                    raise
                path.unlink(missing_ok=True)
                raise refusal(error, path) from error
            if size != reply.meta["size"]:
                raise _CutError(f"{size} bytes of {reply.meta['size']} arrived")
            return True

        return self._ask("read", key, get, absent=False)

    def stat(self, key: str) -> Stat | None:
        def head() -> Stat:
            meta = obstore.head(self._store, key)
            return Stat(meta["size"], meta["e_tag"] or str(meta["last_modified"]))

        return self._ask("look at", key, head, absent=None)

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        def listing() -> list[tuple[str, Stat]]:
            pages = obstore.list(self._store, prefix.strip("/") or None)
            return [
                (meta["path"], Stat(meta["size"], meta["e_tag"] or str(meta["last_modified"])))
                for page in pages
                for meta in page
            ]

        yield from sorted(self._ask("list", prefix, listing, absent=[]), key=lambda found: found[0])

    def list_folder(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        def listing() -> list[tuple[str, Stat]]:
            found = obstore.list_with_delimiter(self._store, prefix.strip("/") or None)
            return [
                (meta["path"], Stat(meta["size"], meta["e_tag"] or str(meta["last_modified"])))
                for meta in found["objects"]
            ]

        yield from self._ask("list", prefix, listing, absent=[])

    def put(self, key: str, data: bytes, label: str | None = None) -> None:  # noqa: ARG002 - scratch labels are a disk's
        sha256 = hashlib.sha256(data).hexdigest()
        self._ask("write", key, lambda: self._put(key, data, sha256))

    def _put(self, key: str, data: bytes | Path, sha256: str) -> None:
        try:
            obstore.put(self._store, key, data, attributes={"sha256": sha256})
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise
            # The last reply of a multipart upload was lost: it may have succeeded; send it again.
            raise _CutError(_brief(error)) from error

    def put_new(self, key: str, data: bytes) -> bool:
        def put() -> bool:
            try:
                obstore.put(self._store, key, data, mode="create")
            except AlreadyExistsError:
                return self._is_ours(key, data)
            return True

        return self._ask("create", key, put)

    def _is_ours(self, key: str, data: bytes) -> bool:
        """Whether a refused conditional put meets itself: it succeeded and its reply was lost."""
        try:
            return bytes(obstore.get(self._store, key).bytes()) == data
        except FileNotFoundError as error:  # a 409: somebody is at it right now
            raise _CutError("another conditional write is under way") from error

    def honours_conditions(self, key: str) -> bool:
        """Whether the service refuses puts whose condition does not hold; `key` is left unused."""
        try:
            if not self.put_new(key, b"one") or self.put_new(key, b"two"):
                return False
            return not self._replace(key, b"three", '"0123456789abcdef0123456789abcdef"')
        finally:
            self.delete(key)

    def publish(self, key: str, scratch: Path, sha256: str) -> None:
        try:
            if scratch.is_dir():
                self._publish_folder(key, scratch, sha256)
            else:
                self._publish_file(key, scratch, sha256)
        finally:
            _discard(scratch)

    def _publish_file(self, key: str, path: Path, sha256: str) -> None:
        def put_and_read_back() -> None:
            self._put(key, path, sha256)
            if self._digest_object(key)[1] != sha256:
                obstore.delete(self._store, key)
                raise _CutError("the store gave other bytes back than were sent")

        self._ask("write", key, put_and_read_back)

    def _publish_folder(self, key: str, folder: Path, sha256: str) -> None:
        members = {f"{key}/{name}": path for name, path in files_below(folder)}
        stale = [name for name, _ in self.list(key) if name not in members]
        with ThreadPoolExecutor(CONCURRENT_OBJECTS) as pool:
            jobs = [
                pool.submit(self._publish_file, name, path, sha256_of_file(path))
                for name, path in members.items()
            ]
            for job in jobs:
                job.result()
        for name in stale:
            self.delete(name)
        if self.digest(key)[1] != sha256:
            raise OutputCorrupt(
                f"{self.locate(key)}: the stored folder differs from the one made; another program "
                "writes there: end it, then run again",
                code="ChecksumMismatch",
            )

    def delete(self, key: str) -> None:
        below = [name for name, _ in self.list(key)]
        for name in [key, *below]:
            self._ask(
                "delete", name, lambda name=name: obstore.delete(self._store, name), absent=None
            )

    def scratch(self, key: str, label: str) -> Path:
        folder = self._scratch_folder(key.rpartition("/")[0])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".{key.rpartition('/')[2]}.{label}{SCRATCH_SUFFIX}"
        _discard(path)
        return path

    def workshop(self, name: str) -> Path:
        return self._scratch_folder(".work") / name

    def _scratch_folder(self, prefix: str) -> Path:
        """Local folder for what is made before it is sent; the same for every run of this root."""
        place = hashlib.sha256(f"{self.options.endpoint}{self.uri}".encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"dor-ecco-{os.getuid()}" / place / prefix

    def sweep(self, prefix: str, claims: str) -> Sequence[str]:
        return sweep_scratch(
            self._scratch_folder(prefix), lambda label: self.claim(f"{claims}/{label}")
        )

    def held(self, name: str) -> bool:
        found = self._get(_lock_key(name))
        return found is not None and not _Claim.parse(found[0]).abandoned()

    @contextmanager
    def claim(self, name: str) -> Generator[Callable[[], None]]:
        lease = _Lease(self, name)
        lease.take()
        try:
            yield lease.check
        finally:
            lease.release()

    @contextmanager
    def faults(self, key: str) -> Generator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of this machine's disk
                raise refusal(error, Path(str(error.filename or tempfile.gettempdir()))) from error
            raise self._explained("read", key, error) from error

    def get_claim(self, name: str) -> "tuple[_Claim, str] | None":
        """The claim on `name` and its ETag, or None where nobody has one."""
        found = self._get(_lock_key(name))
        return None if found is None else (_Claim.parse(found[0]), found[1])

    def put_claim(self, name: str, claim: "_Claim", e_tag: str | None) -> bool:
        """Store a claim over the one with this ETag, or where there is none; False where not."""
        if e_tag is None:
            return self.put_new(_lock_key(name), claim.encode())
        return self._replace(_lock_key(name), claim.encode(), e_tag)

    def delete_claim(self, name: str) -> None:
        """Remove a claim."""
        self._ask("delete", name, lambda: obstore.delete(self._store, _lock_key(name)), absent=None)

    def _replace(self, key: str, data: bytes, e_tag: str) -> bool:
        def put() -> bool:
            try:
                obstore.put(self._store, key, data, mode={"e_tag": e_tag})
            except PreconditionError:
                return self._is_ours(key, data)
            return True

        return self._ask("replace", key, put, absent=False)

    def digest(self, key: str) -> tuple[int, str]:
        if self.stat(key) is not None:
            return self._ask("read", key, lambda: self._digest_object(key))
        members = [name for name, _ in self.list(key)]
        with ThreadPoolExecutor(CONCURRENT_OBJECTS) as pool:
            found = list(
                pool.map(
                    lambda name: self._ask("read", name, lambda: self._digest_object(name)), members
                )
            )
        digests = {
            name[len(key) + 1 :]: digest for name, (_, digest) in zip(members, found, strict=True)
        }
        return sum(size for size, _ in found), sha256_of_members(digests)

    def _digest_object(self, key: str) -> tuple[int, str]:
        reply = obstore.get(self._store, key)
        running, size = hashlib.sha256(), 0
        for part in reply.stream(min_chunk_size=1 << 20):
            running.update(part)
            size += len(part)
        if size != reply.meta["size"]:
            raise _CutError(f"{size} bytes of {reply.meta['size']} arrived")
        return size, running.hexdigest()

    def zarr_store(self, key: str) -> Any:
        from zarr.storage import ObjectStore

        below = _s3_store(self.bucket, f"{self.prefix}/{key}".strip("/"), self.options, ATTEMPTS)
        return ObjectStore(below, read_only=True)

    def reader(self, key: str) -> Any:
        return io.BufferedReader(_ObjectFile(obstore.open_reader(self._store, key)), 1 << 18)

    def _ask[T, A](self, verb: str, key: str, request: Callable[[], T], **absent: A) -> T | A:
        """Send one request, again after what waiting can mend, and name what cannot be mended.

        With `absent` given, that is the answer where the object is not there.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passing),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            before_sleep=lambda state: log.warning(
                "%s %s: attempt %d of %d failed, retrying in %.1f s: %s",
                verb,
                self.locate(key),
                state.attempt_number,
                ATTEMPTS,
                state.upcoming_sleep,
                _brief(state.outcome.exception() if state.outcome else None),
            ),
            reraise=True,
        )
        try:
            return retrying(request)
        except (BaseError, _CutError, OSError) as error:
            missing = isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error)
            if missing and "absent" in absent:
                return absent["absent"]
            raise self._explained(verb, key, error) from error

    def _explained(self, verb: str, key: str, error: BaseException) -> DorEccoError:
        """The error a caller can act on; obstore tells many causes by their text alone."""
        uri = self.locate(key)
        if isinstance(error, FileNotFoundError) or "NoSuchBucket" in str(error):
            return _no_bucket(verb, uri, error)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or _denied(error):
            return _no_access(verb, uri, error)
        return StorageUnavailable(
            f"could not {verb} {uri} in {ATTEMPTS} attempts: {_brief(error)}; nothing was "
            "published: check the endpoint, then run again",
        )


def _no_bucket(verb: str, uri: str, error: BaseException) -> StorageRefused:
    return StorageRefused(
        f"could not {verb} {uri}: {_brief(error)}; check the bucket's name and region",
        code="NoSuchBucket",
    )


def _no_access(verb: str, uri: str, error: BaseException) -> StorageRefused:
    return StorageRefused(
        f"could not {verb} {uri}: the store refused ({_brief(error)}); give credentials by "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, renew them if they expired, "
        "or set anonymous access, and check the bucket's policy",
        code="StorageAuth",
    )


class _ObjectFile(io.RawIOBase):
    """An S3 object as Python's own kind of binary file."""

    def __init__(self, reader: "obstore.ReadableFile") -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readinto(self, buffer: Any, /) -> int:
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = memoryview(data)
        return len(data)


class _CutError(Exception):
    """Fewer bytes arrived than were promised, or other ones; asking again may help."""


def _passing(error: BaseException) -> bool:
    """Whether waiting may mend `error`: busy server, cut connection, but no refusal."""
    if _denied(error) or "NoSuchBucket" in str(error):
        return False
    return isinstance(error, GenericError | _CutError | TimeoutError | ConnectionError)


def _denied(error: BaseException) -> bool:
    text = str(error)
    return any(word in text for word in ("403 Forbidden", "ExpiredToken", "InvalidAccessKeyId"))


def _brief(error: BaseException | None) -> str:
    """First line of what the S3 client says; its debug text runs over pages."""
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def _discard(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lock_key(name: str) -> str:
    return f".locks/{name}.lock"


def _s3_store(bucket: str, prefix: str, options: S3Options, retries: int = 0) -> S3Store:
    config: dict[str, Any] = {"virtual_hosted_style_request": not options.path_style}
    if options.endpoint is not None:
        config["endpoint"] = options.endpoint
    if options.region is not None:
        config["region"] = options.region
    if options.anonymous:
        config["skip_signature"] = True
    endpoint = options.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": timedelta(minutes=5),
        },
        retry_config={"max_retries": retries},
        credential_provider=_credentials(options),
        **config,
    )


def _credentials(options: S3Options) -> Any:
    """The AWS credential chain, where the environment itself holds no keys."""
    if options.anonymous or "AWS_ACCESS_KEY_ID" in os.environ:
        return None
    import boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        session = boto3.Session()
    except BotoCoreError as error:
        raise StorageRefused(
            f"AWS credentials: {error}; correct AWS_PROFILE or the AWS configuration files",
            code="StorageAuth",
        ) from error
    return None if session.get_credentials() is None else Boto3CredentialProvider(session)


class _Lease:
    """A claim that is renewed while it is held, and knows when it no longer is."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket, self._name = bucket, name
        self._claim = _Claim.new()
        self._good_until = 0.0
        self._released = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> None:
        """Claim the name, over an abandoned claim if there is one."""
        started = time.monotonic()
        if not self._bucket.put_claim(self._name, self._claim, None):
            found = self._bucket.get_claim(self._name)
            free = found is None or found[0].abandoned()
            if not free or not self._bucket.put_claim(
                self._name, self._claim, None if found is None else found[1]
            ):
                raise self._busy("another process" if found is None else found[0].owner)
        self._good_until = started + LEASE_S
        self._renewer.start()

    def check(self) -> None:
        """Raise `PartitionBusy` where the lease ran out or another writer took it over."""
        if time.monotonic() > self._good_until:
            raise self._busy("another process, which took over while this one did not answer")

    def release(self) -> None:
        """Give the claim up, if it is still this writer's."""
        self._released.set()
        self._renewer.join()
        try:
            found = self._bucket.get_claim(self._name)
            if found is not None and found[0].token == self._claim.token:
                self._bucket.delete_claim(self._name)
        except DorEccoError as error:  # it lapses by itself
            log.warning("claim of %s was not given up: %s", self._name, error)

    def _renew(self) -> None:
        while not self._released.wait(LEASE_S / 3):
            started = time.monotonic()
            try:
                found = self._bucket.get_claim(self._name)
                mine = found is not None and found[0].token == self._claim.token
                renewed = self._claim.renewed()
                if found is None or not mine:
                    self._good_until = 0.0
                elif self._bucket.put_claim(self._name, renewed, found[1]):
                    self._good_until = started + LEASE_S
            except DorEccoError as error:  # the next renewal may succeed; `check` will tell
                log.warning("claim of %s was not renewed: %s", self._name, error)

    def _busy(self, owner: str) -> PartitionBusy:
        return PartitionBusy(
            f"{self._name} is being written by {owner}; nothing was published here: wait for that "
            f"writer or end it (its claim lapses after {LEASE_S:.0f} s), then run again"
        )


@dataclass(frozen=True)
class _Claim:
    """Who writes a partition, and until when that holds unless renewed."""

    token: str
    host: str
    pid: int
    process_started: float
    until: float

    @classmethod
    def new(cls) -> "_Claim":
        started = psutil.Process().create_time()
        return cls(
            uuid.uuid4().hex, socket.gethostname(), os.getpid(), started, time.time() + LEASE_S
        )

    @classmethod
    def parse(cls, data: bytes) -> "_Claim":
        """A claim from its JSON; one that cannot be read is nobody's."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return cls("", "an unknown host", 0, 0.0, 0.0)

    def renewed(self) -> "_Claim":
        return _Claim(self.token, self.host, self.pid, self.process_started, time.time() + LEASE_S)

    def encode(self) -> bytes:
        return json.dumps(self.__dict__).encode()

    @property
    def owner(self) -> str:
        return f"process {self.pid} on {self.host}"

    def abandoned(self) -> bool:
        """Whether the owner is known to be gone: its lease ran out, or its process ended."""
        if time.time() > self.until:
            return True
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            ended = process.status() == psutil.STATUS_ZOMBIE  # its parent has yet to look
            return ended or abs(process.create_time() - self.process_started) > 1.0
        except psutil.NoSuchProcess:
            return True
