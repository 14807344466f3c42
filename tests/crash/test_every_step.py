"""A writer that ends between any two steps of a publication leaves nothing that the next one keeps.

Kills at random moments find long steps; here every short one has its turn, on toy products.
"""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dor_ecco_assets.lineage.product import Content
from dor_ecco_assets.lineage.record import read_record, recorded_assets, recorded_partitions
from dor_ecco_assets.lineage.workspace import Policy, Workspace, make_all
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Storage, open_storage
from tests.lineage.toy import MONTHS, make_inputs, products

CHANGES = frozenset({"put", "put_new", "publish", "delete"})


class Ended(BaseException):
    """The writer is no more."""


class Mortal:
    """A storage whose writer ends just before its n-th change, and changes nothing after."""

    def __init__(self, storage: Storage, life: int) -> None:
        self._storage = storage
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name not in CHANGES:
            return found

        def change(*args: Any, **kwargs: Any) -> Any:
            self._life -= 1
            if self._life < 0:
                raise Ended
            return found(*args, **kwargs)

        return change


@pytest.fixture(params=["directory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "directory":
        return open_storage(Place(root=str(tmp_path / "root")))
    request.getfixturevalue("s3_environment")
    bucket = request.getfixturevalue("bucket")
    return open_storage(Place(root=f"s3://{bucket}/root"))


def workspace(storage: Any, inputs: Path, *, renamed: bool) -> Workspace:
    """The toy production; `renamed` gives its months other values under other names."""
    made = products(factor=3 if renamed else 2)
    if renamed:
        months = made["toy/sum"]

        def make(task: Any) -> Content:
            content = months.make(task)
            return replace(content, key=content.key.replace(".txt", ".dat"))

        made["toy/sum"] = replace(months, make=make)
    return Workspace(storage, open_storage(Place(root=str(inputs))), made)


def publish(space: Workspace) -> None:
    assert all(
        not hasattr(result, "error") for result in make_all(space, "toy/base", [""], Policy())
    )
    assert all(
        not hasattr(result, "error") for result in make_all(space, "toy/sum", MONTHS[:1], Policy())
    )


def contents(storage: Storage) -> dict[str, bytes | None]:
    """Everything below the root but for records, whose costs differ, and the input digests."""
    return {
        key: storage.read(key)
        for key, _ in storage.list("")
        if not key.startswith((".records/", ".cache/"))
    }


def check_records(storage: Storage) -> None:
    for asset in recorded_assets(storage):
        for partition in recorded_partitions(storage, asset):
            record = read_record(storage, asset, partition)
            assert record is not None
            assert storage.digest(record.uri) == (record.bytes, record.sha256)


def test_a_writer_may_end_before_any_of_its_changes(storage: Storage, tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "inputs")
    publish(workspace(storage, inputs, renamed=True))
    clean = contents(storage)
    assert set(clean) == {"toy/base.txt", "toy/sum/1992-01.dat"}
    for life in count():
        for key in list(clean):
            storage.delete(key)
        for key, _ in list(storage.list(".records")):
            storage.delete(key)
        publish(workspace(storage, inputs, renamed=False))
        ended = False
        try:
            publish(workspace(Mortal(storage, life), inputs, renamed=True))
        except Ended:
            ended = True
        check_records(storage)
        publish(workspace(storage, inputs, renamed=True))
        check_records(storage)
        assert contents(storage) == clean, f"ended before change {life + 1}"
        if not ended:
            assert life >= 5  # note, record, bytes, note, new bytes, new record, quarantine note
            return


def test_the_claim_of_a_writer_that_nobody_has_reaped_is_free(
    s3_environment: dict[str, str], bucket: str
) -> None:
    code = (
        "import os, sys; from dor_ecco_assets.settings import Place; "
        "from dor_ecco_assets.storage import open_storage; "
        f"claim = open_storage(Place(root='s3://{bucket}/root')).claim('toy/x'); "
        "claim.__enter__(); "
        "os.write(1, b'held'); os._exit(9)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.read() == b"held"  # to the end of the stream: the child has ended
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with open_storage(Place(root=f"s3://{bucket}/root")).claim("toy/x"):
        pass
    child.wait()
    child.stdout.close()
