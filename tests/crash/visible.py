"""What a reader of a root may see at any moment of a writer's life, and what it must never see.

Every file or object that is visible holds the bytes that some clean run gives it, and wherever a
record exists, what it names exists and has the record's SHA-256.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from obstore.store import S3Store

#: Relative name to the SHA-256 of every content that a clean run publishes under it.
Known = Mapping[str, set[str]]


def of_clean_runs(trees: Iterable[Mapping[str, str]]) -> dict[str, set[str]]:
    """Gather `tree_digest` of several clean runs."""
    known: dict[str, set[str]] = {}
    for tree in trees:
        for name, digest in tree.items():
            known.setdefault(name, set()).add(digest)
    return known


def wrong_bytes(digests: Mapping[str, str], known: Known) -> list[str]:
    """Visible files that hold what no clean run published there."""
    return [
        f"{name} holds {digest[:12]}, which no clean run gives it"
        for name, digest in digests.items()
        if not name.startswith(".records/") and digest not in known.get(name, set())
    ]


def disagreement(record: Mapping[str, Any], digests: Mapping[str, str]) -> str | None:
    """How a record and the bytes it names disagree, given the digests of all visible files."""
    uri = record["uri"]
    below = {n.removeprefix(f"{uri}/"): d for n, d in digests.items() if n.startswith(f"{uri}/")}
    lines = "".join(f"{below[name]}  {name}\n" for name in sorted(below))
    found = digests.get(uri) or (hashlib.sha256(lines.encode()).hexdigest() if below else None)
    if found == record["sha256"]:
        return None
    return f"{uri} has sha256 {str(found)[:12]}, its record says {record['sha256'][:12]}"


class DirectoryView:
    """Looks at a local root; a file is hashed once for as long as it stays the same file."""

    def __init__(self, root: Path, known: Known) -> None:
        self._root = root
        self._known = known
        self._hashed: dict[tuple[str, int, int, int], str] = {}

    def look(self) -> list[str]:
        wrong = wrong_bytes(self._digests("", ".records"), self._known)
        records = self._root / ".records"
        for path in sorted(records.rglob("*.json")) if records.is_dir() else ():
            if not path.name.startswith("."):
                wrong += self._judge(path)
        return wrong

    def _judge(self, path: Path) -> list[str]:
        """Hold one record against its bytes; one that goes or changes meanwhile proves nothing."""
        try:
            before = path.read_bytes()
            record = json.loads(before)
            found = disagreement(record, self._digests(record["uri"]))
            return [f"{path.name}: {found}"] if found and path.read_bytes() == before else []
        except FileNotFoundError:
            return []

    def _digests(self, prefix: str, *without: str) -> dict[str, str]:
        """Digests of the visible files at or below a name."""
        top = self._root / prefix
        if top.is_file():
            found = [top]
        else:
            found = []
            for folder, folders, files in os.walk(top):
                folders[:] = [n for n in folders if not n.startswith(".") and n not in without]
                found += [Path(folder, name) for name in files if not name.startswith(".")]
        digests = {p.relative_to(self._root).as_posix(): self._digest(p) for p in found}
        return {name: digest for name, digest in digests.items() if digest is not None}

    def _digest(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                key = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
                if key not in self._hashed:
                    self._hashed[key] = hashlib.file_digest(file, "sha256").hexdigest()
                return self._hashed[key]
        except (FileNotFoundError, NotADirectoryError):  # gone since the folder was read
            return None


class Objects:
    """Objects below a prefix of a bucket; the bytes of each are fetched once for each ETag."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._bodies: dict[tuple[str, str], bytes] = {}
        #: Objects that came with a ``sha256`` in their metadata that is not that of their bytes.
        self.partial: list[str] = []

    def tags(self, folder: str | None = None) -> dict[str, str]:
        """ETag by key, all of one moment: the server answers with one page of up to 1,000."""
        found = {m["path"]: str(m["e_tag"]) for page in self._store.list(folder) for m in page}
        assert len(found) < 1000
        return found

    def body(self, key: str, tag: str) -> bytes | None:
        """Bytes of an object as it was listed; None where it was replaced since."""
        if (key, tag) not in self._bodies:
            try:
                reply = self._store.get(key)
            except FileNotFoundError:
                return None
            body = bytes(reply.bytes())
            claimed = reply.attributes.get("sha256", "")
            if claimed != hashlib.sha256(body).hexdigest() and not key.startswith(".locks/"):
                self.partial.append(f"{key} is not what its sha256 {claimed[:12]!r} says")
            self._bodies[key, str(reply.meta["e_tag"])] = body
        return self._bodies.get((key, tag))

    def contents(self) -> dict[str, bytes]:
        """Bytes of every object by key, while nobody writes."""
        bodies = {key: self.body(key, tag) for key, tag in self.tags().items()}
        return {key: body for key, body in bodies.items() if body is not None}


class BucketView:
    """Looks at a prefix of a bucket through single listings, which show one moment each."""

    def __init__(self, objects: Objects, known: Known) -> None:
        self._objects = objects
        self._known = known

    def look(self) -> list[str]:
        found = {
            key: self._objects.body(key, tag)
            for key, tag in self._objects.tags().items()
            if not key.startswith((".locks/", ".withdrawn/"))
        }
        bodies = {key: body for key, body in found.items() if body is not None}
        digests = {key: hashlib.sha256(body).hexdigest() for key, body in bodies.items()}
        wrong = wrong_bytes(digests, self._known) + self._objects.partial
        for name in bodies:
            if name.startswith(".records/"):
                record = json.loads(bodies[name])
                difference = disagreement(record, digests)
                replaced = [key for key in found if key not in bodies]
                if difference and not any(key.startswith(record["uri"]) for key in replaced):
                    wrong.append(f"{name}: {difference}")
        return wrong
