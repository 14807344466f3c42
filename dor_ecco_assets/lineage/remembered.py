"""What was worked out about bytes that have not changed since: a cache, never the truth."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dor_ecco_assets.storage import Stat

_SELECT = "SELECT text FROM remembered WHERE kind = ? AND uri = ? AND size = ? AND stamp = ?"
_INSERT = "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?, ?)"


class Remembered:
    """Texts remembered by (kind, URI, size, stamp), such as the SHA-256 of an input file.

    Parameters
    ----------
    path : Path
        A SQLite file, made on first use. A file that cannot be written costs time, not results.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def recall(self, kind: str, uri: str, stat: Stat, work_out: Callable[[], str]) -> str:
        """The remembered text, worked out again only where size or stamp changed."""
        key = (kind, uri, stat.size, stat.stamp)
        with suppress(sqlite3.Error):  # a full or foreign disk: go on without a memory
            row = self._open().execute(_SELECT, key).fetchone()
            if row is not None:
                return str(row[0])
        text = work_out()
        with suppress(sqlite3.Error), self._open() as database:
            database.execute(_INSERT, (*key, text))
        return text

    def __del__(self) -> None:
        if self._database is not None:
            self._database.close()

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                database = _connect(str(self._path))
            except (OSError, sqlite3.Error):
                database = _connect(":memory:")
            self._database = database
        return self._database


def _connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60, check_same_thread=False)
    # A power cut may cost the memory, which is only a cache; waiting for the disk costs more.
    database.execute("PRAGMA synchronous = OFF")
    with database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS remembered (kind TEXT, uri TEXT, size INTEGER, "
            "stamp TEXT, text TEXT, PRIMARY KEY (kind, uri))"
        )
    return database
