"""Storage on a local or mounted disk: hidden sibling, fsync, atomic rename."""

import errno
import fcntl
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from dor_ecco_assets.errors import PartitionBusy, StorageRefused
from dor_ecco_assets.storage.base import Stat, digest_of_path, files_below

#: Every name that a writer may leave behind when it is killed ends so and starts with a dot.
SCRATCH_SUFFIX = ".part"


class Directory:
    """A `Storage` in one local directory, made when the first object is put into it.

    Parameters
    ----------
    root : Path
        Absolute path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def uri(self) -> str:
        return str(self.root)

    def locate(self, key: str) -> str:
        return str(self._at(key))

    def _at(self, key: str) -> Path:
        return Path(self._text(key))

    def _text(self, key: str) -> str:
        """The path of a key, which may not lead out of the root."""
        if key.startswith("/"):
            raise ValueError(
                f"key {key!r} begins with a slash, expected one relative to {self.root}"
            )
        return f"{self.root}/{key}"

    # Walks of many partitions read and ask thousands of times: as text, a path costs a tenth.

    def read(self, key: str) -> bytes | None:
        path = self._text(key)
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise refusal(error, Path(path)) from error

    def fetch(self, key: str, path: Path) -> bool:
        with _refusals(self._at(key), path):
            if not self._at(key).is_file():
                return False
            shutil.copyfile(self._at(key), path)
        return True

    def stat(self, key: str) -> Stat | None:
        path = self._text(key)
        try:
            found = os.stat(path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise refusal(error, Path(path)) from error
        return Stat(found.st_size, str(found.st_mtime_ns))

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        with _refusals(self._at(prefix)):
            found = _walk(self._text(prefix), prefix.strip("/"))
            yield from sorted(found, key=lambda found: found[0])

    def list_folder(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        with _refusals(self._at(prefix)):
            yield from _entries(self._text(prefix), prefix.strip("/"), [])

    def put(self, key: str, data: bytes, label: str | None = None) -> None:
        # A case of maps is hundreds of objects, so paths are text here too.
        target, label = self._text(key), label or f"{os.getpid()}-{threading.get_ident()}"
        folder, _, name = target.rpartition("/")
        scratch = f"{folder}/.{name}.{label}{SCRATCH_SUFFIX}"
        with _refusals(Path(target), Path(scratch)):
            try:
                _write_durably(scratch, data)
            except (FileNotFoundError, IsADirectoryError):
                _write_durably(self.scratch(key, label), data)
            os.replace(scratch, target)  # noqa: PTH105
            sync_folder(folder)

    def put_new(self, key: str, data: bytes) -> bool:
        scratch = self.scratch(key, f"{os.getpid()}-{threading.get_ident()}")
        with _refusals(self._at(key), scratch):
            _write_durably(scratch, data)
            try:
                os.link(scratch, self._at(key))
            except FileExistsError:
                return False
            finally:
                scratch.unlink()
            sync_folder(scratch.parent)
        return True

    def publish(self, key: str, scratch: Path, sha256: str) -> None:
        target = self._at(key)
        with _refusals(target, scratch):
            target.parent.mkdir(parents=True, exist_ok=True)
            _sync_tree(scratch)
            if digest_of_path(scratch)[1] != sha256:
                raise OSError(errno.EIO, "the bytes changed between closing and reading them back")
            if target.is_dir():
                _remove(target)
            scratch.replace(target)
            sync_folder(target.parent)

    def delete(self, key: str) -> None:
        path = self._at(key)
        with _refusals(path):
            _remove(path)
            if path.parent.is_dir():  # a removed record must not come back after a power cut
                sync_folder(path.parent)

    def scratch(self, key: str, label: str) -> Path:
        target = self._at(key)
        path = target.with_name(f".{target.name}.{label}{SCRATCH_SUFFIX}")
        with _refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(path)
        return path

    def workshop(self, name: str) -> Path:
        return self.root / ".work" / name

    def sweep(self, prefix: str, claims: str) -> Sequence[str]:
        with _refusals(self._at(prefix)):
            return sweep_scratch(self._at(prefix), lambda label: self.claim(f"{claims}/{label}"))

    def held(self, name: str) -> bool:
        try:
            with self.claim(name):
                return False
        except PartitionBusy:
            return True

    @contextmanager
    def claim(self, name: str) -> Generator[Callable[[], None]]:
        path = self.root / ".locks" / f"{name}.lock"
        with _refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _lock(path, name)
        try:
            yield lambda: None  # the kernel keeps the lock as long as this process lives
        finally:
            # Unlinked while still held, so that no waiter can lock a name that is about to go.
            path.unlink(missing_ok=True)
            os.close(descriptor)

    @contextmanager
    def faults(self, key: str) -> Generator[None]:
        with _refusals(self._at(key)):
            yield

    def digest(self, key: str) -> tuple[int, str]:
        with _refusals(self._at(key)):
            return digest_of_path(self._at(key))

    def zarr_store(self, key: str) -> Any:
        from zarr.storage import LocalStore

        return LocalStore(self._at(key), read_only=True)

    def reader(self, key: str) -> Any:
        return self._at(key).open("rb")


def sweep_scratch(
    folder: Path, claim: Callable[[str], AbstractContextManager[object]]
) -> Sequence[str]:
    """Remove the scratch files and folders in `folder` whose label nobody holds."""
    swept: list[str] = []
    for path in sorted(folder.glob(f".*{SCRATCH_SUFFIX}")) if folder.is_dir() else ():
        label = path.name.removesuffix(SCRATCH_SUFFIX).rpartition(".")[2]
        with suppress(PartitionBusy), claim(label):  # held, so that no writer starts meanwhile
            _remove(path)
            swept.append(str(path))
    return swept


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, Stat]]:
    below: list[str] = []
    yield from _entries(folder, prefix, below)
    for name in below:
        yield from _walk(f"{folder}/{name}", f"{prefix}/{name}" if prefix else name)


def _entries(folder: str, prefix: str, below: list[str]) -> Iterator[tuple[str, Stat]]:
    """Files right in a folder; the names of folders in it are added to `below`."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        try:
            if entry.is_dir():
                below.append(entry.name)
                continue
            found = entry.stat()
        except FileNotFoundError:  # removed by another writer since the folder was read
            continue
        key = f"{prefix}/{entry.name}" if prefix else entry.name
        yield key, Stat(found.st_size, str(found.st_mtime_ns))


def _write_durably(path: Path | str, data: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(path: Path) -> None:
    for member in [path] if path.is_file() else [found for _, found in files_below(path)]:
        with member.open("rb+") as file:
            os.fsync(file.fileno())
    if path.is_dir():
        for folder, _, _ in os.walk(path):
            sync_folder(Path(folder))


def sync_folder(folder: Path | str) -> None:
    """Have the names in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _lock(path: Path, name: str) -> int:
    """Lock `path` for this process; the kernel frees it when the process ends, however it ends."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _flock(descriptor)
        except BlockingIOError:
            owner = os.pread(descriptor, 400, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise PartitionBusy(
                f"{name} is being written by {owner}; nothing was published here: wait for that "
                "writer or end it, then run again"
            ) from None
        try:
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)  # the holder removed the name before we got the lock: try the new one
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, describe_writer().encode(), 0)
    return descriptor


def _flock(descriptor: int) -> None:
    """Lock at once, or a moment later: a sweep or `held` may have the lock for an instant."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def describe_writer() -> str:
    """Who this process is, for the message another writer reads."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now})


@contextmanager
def _refusals(target: Path, scratch: Path | None = None) -> Generator[None]:
    """Turn what the operating system says no to into `StorageRefused`; nothing half-made stays."""
    try:
        yield
    except OSError as error:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.unlink(missing_ok=True)
        raise refusal(error, target) from error


def refusal(error: OSError, target: Path) -> StorageRefused:
    """`StorageRefused` that says what the operating system refused, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        code, advice = "DiskFull", "free space there or choose another root (DOR_ECCO_ROOT)"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        code, advice = "PermissionDenied", "give this user write permission or choose another root"
    else:
        code, advice = "StorageRefused", "mend the disk or choose another root (DOR_ECCO_ROOT)"
    reason = error.strerror or str(error)
    return StorageRefused(f"{target}: {reason}; nothing was published: {advice}", code=code)
