"""Where the history files of a case lie: a local folder, or a store they are fetched from."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from dor_ecco_assets.errors import DorEccoError, InputMissing, InputUnusable
from dor_ecco_assets.storage.base import Readable, Stat

__all__ = ["HistorySource", "LocalHistory", "RemoteHistory", "history_source"]


class HistorySource(Protocol):
    """The folder of a case's history files; its text says where it is."""

    def names(self) -> list[str]:
        """Every file of the folder, in order; `FileNotFoundError` where there is no folder."""
        ...

    def identity(self, name: str) -> list[int | str]:
        """What changes whenever the bytes of a file do."""
        ...

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """A local file with the bytes of one of the names, as long as the context lasts."""
        ...


def history_source(place: Path | HistorySource) -> HistorySource:
    """A source as it is, a path as the local folder that it names."""
    return LocalHistory(place) if isinstance(place, Path) else place


class LocalHistory:
    """History files in a local folder, read where they lie.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def names(self) -> list[str]:
        """Every file of the folder, in order."""
        return sorted(path.name for path in self._folder.iterdir())

    def identity(self, name: str) -> list[int | str]:
        """Size and time of change."""
        found = (self._folder / name).stat()
        return [found.st_size, found.st_mtime_ns]

    def opened(self, name: str) -> AbstractContextManager[Path]:
        """The file itself."""
        return nullcontext(self._folder / name)


class RemoteHistory:
    """History files in a store; each is fetched when its turn has come, and removed after.

    Parameters
    ----------
    inputs : Readable
    folder : str
        Key below the inputs.
    scratch : Path
        Local folder that holds one file at a time.
    """

    def __init__(self, inputs: Readable, folder: str, scratch: Path) -> None:
        self._inputs, self._folder, self._scratch = inputs, folder, scratch
        self._listed: dict[str, Stat] = {}

    def __str__(self) -> str:
        return self._inputs.locate(self._folder)

    def names(self) -> list[str]:
        """Every object right below the folder, in order."""
        found = self._inputs.list_folder(self._folder)
        self._listed = {key.rpartition("/")[2]: stat for key, stat in found}
        if not self._listed:
            raise FileNotFoundError(str(self))
        return sorted(self._listed)

    def identity(self, name: str) -> list[int | str]:
        """Size and the store's own stamp, as listed."""
        stat = self._listed[name]
        return [stat.size, stat.stamp]

    @contextmanager
    def opened(self, name: str) -> Generator[Path]:
        """A copy of the file; what is said of it names the file in the store."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        path, uri = self._scratch / name, f"{self}/{name}"
        try:
            if not self._inputs.fetch(f"{self._folder}/{name}", path):
                raise InputMissing(
                    f"{uri} was listed and is gone; run again when its writer has finished",
                    code="InputChanged",
                )
            yield path
        except DorEccoError as error:
            error.message = error.message.replace(str(path), uri)
            error.args = (error.message,)
            if isinstance(error, InputUnusable):
                error.uri = uri
            raise
        finally:
            path.unlink(missing_ok=True)
