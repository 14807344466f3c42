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


class BucketView:
    """Looks at a prefix of a bucket through single listings, which show one moment each.

    An object's bytes are fetched once for each ETag, and compared with the SHA-256 that it carries
    as metadata, so that a partial object would be seen.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, known: Known) -> None:
        self._client, self._bucket, self._prefix = client, bucket, f"{prefix}/"
        self._known = known
        self._fetched: dict[tuple[str, str], bytes] = {}
        self._hashed: dict[tuple[str, str], str] = {}
        self._broken: list[str] = []

    def look(self) -> list[str]:
        answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix)
        assert not answer["IsTruncated"], "one listing is one moment only while it is one page"
        tags = {
            found["Key"].removeprefix(self._prefix): found["ETag"]
            for found in answer.get("Contents", [])
            if f"{self._prefix}.locks/" not in found["Key"]
        }
        digests = {name: self._digest(name, tag) for name, tag in tags.items()}
        seen = {name: digest for name, digest in digests.items() if digest is not None}
        wrong = wrong_bytes(seen, self._known) + self._broken
        for name in seen:
            if name.startswith(".records/"):
                record = json.loads(self._fetched[name, tags[name]])
                whole = not any(d is None and n.startswith(record["uri"]) for n, d in digests.items())
                found = disagreement(record, seen)
                wrong += [f"{name}: {found}"] if found and whole else []
        return wrong

    def _digest(self, name: str, tag: str) -> str | None:
        """SHA-256 of an object as it was listed; None where it has been replaced since."""
        if (name, tag) not in self._hashed:
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}")
            except self._client.exceptions.NoSuchKey:
                return None
            data = answer["Body"].read()
            digest = hashlib.sha256(data).hexdigest()
            if answer["Metadata"].get("sha256") != digest:
                self._broken.append(f"{name} is not what its sha256 metadata says")
            tag_now = answer["ETag"]
            self._hashed[name, tag_now] = digest
            if name.startswith(".records/"):
                self._fetched[name, tag_now] = data
        return self._hashed.get((name, tag))
