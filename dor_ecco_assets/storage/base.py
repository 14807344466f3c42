"""What every place that keeps bytes can do, whether a directory or an S3 prefix."""

import hashlib
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Stat:
    """Size of one object and the stamp that changes whenever its bytes do.

    `stamp` is ``mtime_ns`` on disk and the ETag on S3.
    """

    size: int
    stamp: str


class Readable(Protocol):
    """Bytes that can be listed and read, named by keys: relative paths with ``/`` between folders.

    Every method raises `StorageRefused` where the store says no (permission, credentials, no
    space) and `StorageUnavailable` where it does not answer after every retry.
    """

    @property
    def uri(self) -> str:
        """Absolute URI of the root: a path, or ``s3://bucket/prefix``."""
        ...

    def locate(self, key: str) -> str:
        """Absolute URI of one key, as other programs take it."""
        ...

    def read(self, key: str) -> bytes | None:
        """All bytes of `key`, or None where there is no such object."""
        ...

    def fetch(self, key: str, path: Path) -> bool:
        """Copy `key` to a local file in little memory; False where there is no such object."""
        ...

    def stat(self, key: str) -> Stat | None:
        """Size and stamp of `key`, or None where there is no such object."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Every object below the folder `prefix`, hidden ones included, in key order."""
        ...

    def list_folder(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Every object right in the folder `prefix`, not in folders below it."""
        ...


class Files(str):
    """Key of a folder some of whose files count as one input.

    Parameters
    ----------
    folder : str
    names : tuple of str
        Of the files, in order.
    stat : Stat
        Their size together, and a stamp that changes whenever that of one does.
    """

    names: tuple[str, ...]
    stat: Stat

    def __new__(cls, folder: str, names: tuple[str, ...], stat: Stat) -> "Files":
        """A text that reads as the folder."""
        made = super().__new__(cls, folder)
        made.names, made.stat = names, stat
        return made

    @classmethod
    def of(cls, storage: "Readable", folder: str, wanted: Container[str]) -> "Files | None":
        """Those of the wanted files that lie in a folder, or None where none does."""
        digest, total, names = hashlib.sha256(), 0, list[str]()
        for key, stat in storage.list(folder):
            name = key.removeprefix(f"{folder}/")
            if name in wanted:
                names.append(name)
                total += stat.size
                digest.update(f"{name} {stat.size} {stat.stamp}\n".encode())
        return cls(folder, tuple(names), Stat(total, digest.hexdigest())) if names else None

    def again(self, storage: "Readable") -> "Stat | None":
        """What size and stamp are now."""
        found = Files.of(storage, str(self), self.names)
        return None if found is None else found.stat


class Storage(Readable, Protocol):
    """Bytes under one root that can be published, replaced and held against other writers."""

    def put(self, key: str, data: bytes, label: str | None = None) -> None:
        """Store `data` at `key`, all of it or nothing; `label` names the scratch for `sweep`."""
        ...

    def put_new(self, key: str, data: bytes) -> bool:
        """Store `data` at `key` only where nothing is; False where something was."""
        ...

    def publish(self, key: str, scratch: Path, sha256: str) -> None:
        """Move the file or folder at `scratch` to `key`, verified; `scratch` is gone after.

        A file appears at once. A folder's objects appear one by one on S3 and at once on disk;
        either way its record, written later, is what makes it visible.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object or folder `key`; nothing happens where there is none."""
        ...

    def scratch(self, key: str, label: str) -> Path:
        """A local path where the bytes of `key` are made, named by `label` and swept of remains."""
        ...

    def workshop(self, name: str) -> Path:
        """A local folder for unfinished work that a later run may go on with; not made yet."""
        ...

    def sweep(self, prefix: str, claims: str) -> Sequence[str]:
        """Remove what killed writers left in the folder `prefix`; returns what was removed.

        The remains of a label that is claimed as ``{claims}/{label}`` belong to a live writer
        and stay.
        """
        ...

    def claim(self, name: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold `name` against every other writer; raises `PartitionBusy` where one holds it.

        The context gives a check that raises `PartitionBusy` if the hold was lost meanwhile.
        """
        ...

    def held(self, name: str) -> bool:
        """Whether a writer holds `name` now."""
        ...

    def faults(self, key: str) -> AbstractContextManager[None]:
        """Turn what libraries raise while they read or write `key` into this package's errors."""
        ...

    def digest(self, key: str) -> tuple[int, str]:
        """Bytes and SHA-256 of the file or folder at `key`, read from the store."""
        ...

    def zarr_store(self, key: str) -> Any:
        """A read-only store for zarr-python on the folder `key`."""
        ...

    def reader(self, key: str) -> Any:
        """A seekable binary file that reads `key` as it is asked to, for h5netcdf."""
        ...


def sha256_of_file(path: Path) -> str:
    """SHA-256 of one local file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_members(members: dict[str, str]) -> str:
    """SHA-256 of a folder: of the sorted lines ``sha256  relative-path`` of its files.

    Parameters
    ----------
    members : dict
        Relative path, ``/`` between folders, to the file's own SHA-256.
    """
    lines = "".join(f"{members[name]}  {name}\n" for name in sorted(members))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every file below `folder`, in name order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def digest_of_path(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a local file or folder."""
    if path.is_file():
        return path.stat().st_size, sha256_of_file(path)
    members = dict(files_below(path))
    total = sum(member.stat().st_size for member in members.values())
    digests = {name: sha256_of_file(member) for name, member in members.items()}
    return total, sha256_of_members(digests)
