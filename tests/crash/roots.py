"""A local directory and a prefix of a bucket as the kill tests look at them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from obstore.store import S3Store

from tests.crash.visible import BucketView, DirectoryView, Known, Objects
from tests.support.kill import InvariantWatch, scratch_files, tree_digest
from tests.support.s3 import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY, S3Server

#: In records; it says what a run cost, which no two runs share.
DIFFERS_BY_NATURE = ("run",)


class Root(Protocol):
    """One root that victims publish into."""

    uri: str
    #: Pause between two looks of a watch.
    look_interval_s: float

    def digest(self) -> dict[str, str]:
        """What is visible, with what differs by nature left out of records."""
        ...

    def records(self) -> frozenset[str]:
        """Names of the records that exist now."""
        ...

    def remains(self) -> list[str]:
        """What a killed writer left that nobody publishes."""
        ...

    @contextmanager
    def watched(self, known: Known) -> Iterator[InvariantWatch]:
        """Fail at the end where anything wrong was visible at any moment."""
        ...

    def remove(self) -> None:
        """Remove all of it."""
        ...


class LocalRoot:
    """A directory."""

    look_interval_s = 0.02

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = str(folder)

    def digest(self) -> dict[str, str]:
        return tree_digest(self.folder, ignore=DIFFERS_BY_NATURE)

    def records(self) -> frozenset[str]:
        found = (self.folder / ".records").rglob("*.json")
        return frozenset(str(path) for path in found if not path.name.startswith("."))

    def remains(self) -> list[str]:
        memory = ".cache/remembered.sqlite"  # a cache of input digests, not a writer's
        return [name for name in scratch_files(self.folder) if name != memory]

    @contextmanager
    def watched(self, known: Known) -> Iterator[InvariantWatch]:
        with _watched(DirectoryView(self.folder, known).look, self.look_interval_s) as watch:
            yield watch

    def remove(self) -> None:
        shutil.rmtree(self.folder)


class BucketRoot:
    """A prefix of a bucket of its own, and the local folder where its objects are made.

    Parameters
    ----------
    server : S3Server
    bucket : str
        Of this root alone: the server's listings slow down with what lies beside.
    scratch : Path
        ``TMPDIR`` of the victims.
    """

    #: The server works in the process that looks: more often would slow the victim down.
    look_interval_s = 0.1

    def __init__(self, server: S3Server, bucket: str, scratch: Path) -> None:
        self._server, self._scratch = server, scratch
        self.uri = f"s3://{server.create_bucket(bucket)}/root"
        store = S3Store(
            bucket,
            prefix="root",
            endpoint=server.endpoint,
            access_key_id=ACCESS_KEY_ID,
            secret_access_key=SECRET_ACCESS_KEY,
            region=REGION,
            client_options={"allow_http": True},
        )
        self._objects = Objects(store)

    def digest(self) -> dict[str, str]:
        return tree_digest(self._objects.contents(), ignore=DIFFERS_BY_NATURE)

    def records(self) -> frozenset[str]:
        return frozenset(self._objects.tags(".records"))

    def remains(self) -> list[str]:
        half_made = self._scratch.glob("dor-ecco-*/**/*")
        return [
            *scratch_files(dict.fromkeys(self._objects.tags(), b"")),
            *self._server.unfinished_uploads(self.uri),
            *(str(path) for path in half_made if path.is_file()),
        ]

    @contextmanager
    def watched(self, known: Known) -> Iterator[InvariantWatch]:
        view = BucketView(self._objects, known)
        with _watched(view.look, self.look_interval_s) as watch:
            yield watch

    def remove(self) -> None:
        client = self._server.client()
        keys = [{"Key": f"root/{key}"} for key in self._objects.tags()]
        client.delete_objects(Bucket=self.uri.split("/")[2], Delete={"Objects": keys})
        client.close()


@contextmanager
def _watched(look: Callable[[], list[str]], interval_s: float) -> Iterator[InvariantWatch]:
    with InvariantWatch(look, interval_s) as watch:
        yield watch
    assert watch.looks > 1
    assert not watch.violations, "\n".join(watch.violations)
