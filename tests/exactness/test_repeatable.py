"""From the same input the same bytes: again from nothing, on two workers, on an object store.

The default run does so for the monthly datasets on two workers, ``uv run pytest -m slow
tests/exactness`` for all of them.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from dor_ecco_assets.lineage.workspace import Failure, Policy
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.ecco_output import SAMPLE_FIELDS
from resources.compute import ComputeResource
from tests.exactness.small import DAYS, MONTHS, PARTITIONS, make_inputs, pairs_of, production
from tests.support.kill import tree_digest
from tests.support.s3 import S3Server

IN_PROCESS = ComputeResource(mode="none")
TWO_WORKERS = ComputeResource(mode="local", workers=2)
#: What the sample has, and what a series of one dimension is made from.
FIELDS = (*SAMPLE_FIELDS, "EXFpress")
#: What in records differs by nature: seconds, memory.
COSTS = ("run",)


@pytest.fixture(scope="module", autouse=True)
def quick_disk() -> Iterator[None]:
    """Nothing here hangs on what survives a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of inputs stays out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeatable")
    return make_inputs(folder, fields=FIELDS, snapshots=DAYS[1:], static=True)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> dict[str, str]:
    """Sha256 of every file of one run in this process, on a disk."""
    return made_in(tmp_path_factory.mktemp("once") / "root", inputs, IN_PROCESS, PARTITIONS)


def make(made: Production, compute: ComputeResource, kinds: Iterable[str]) -> None:
    workspace = made.workspace()
    wanted: dict[str, list[str]] = {}
    for key, partition in pairs_of(workspace):
        if workspace.product(key).partitioning.kind in kinds:
            wanted.setdefault(key, []).append(partition)
    for key, partitions in wanted.items():
        results = list(compute.make_all(made, key, partitions, Policy()))
        assert {r.partition for r in results} == set(partitions)
        assert not [r.error for r in results if isinstance(r, Failure)]


def made_in(
    folder: Path, inputs: Path, compute: ComputeResource, kinds: Iterable[str]
) -> dict[str, str]:
    """Make all products that are split by these kinds from nothing; sha256 of every file."""
    make(production(folder, inputs), compute, kinds)
    return tree_digest(folder, ignore=COSTS)


def granules_of(tree: dict[str, str]) -> int:
    return sum(name.endswith(".nc") for name in tree)


def test_a_run_repeated_from_nothing_gives_the_same_bytes(
    tmp_path: Path, inputs: Path, once: dict[str, str]
) -> None:
    kinds = ("GRID_MONTHLY", "05DEG_DAILY", "SNAPSHOT", "GEOMETRY", "MIX_COEFFS", "TIME_SERIES")
    assert all(any(kind in name for name in once if name.endswith(".nc")) for kind in kinds)
    assert made_in(tmp_path / "root", inputs, IN_PROCESS, PARTITIONS) == once


def test_two_workers_give_the_bytes_of_one(
    tmp_path: Path, inputs: Path, once: dict[str, str]
) -> None:
    found = made_in(tmp_path / "root", inputs, TWO_WORKERS, ("none", "month"))
    assert granules_of(found) >= 8
    assert found.items() <= once.items()


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one_for_every_product(
    tmp_path: Path, inputs: Path, once: dict[str, str]
) -> None:
    assert made_in(tmp_path / "root", inputs, TWO_WORKERS, PARTITIONS) == once


def test_an_object_store_holds_the_bytes_of_a_disk(
    inputs: Path,
    once: dict[str, str],
    s3_server: S3Server,
    s3_environment: dict[str, str],
    bucket: str,
) -> None:
    place = s3_server.url(bucket, "root")
    make(production(place, inputs), IN_PROCESS, PARTITIONS)
    stored = s3_server.objects(place)
    assert all(found.metadata["sha256"] == found.sha256 for found in stored.values())
    assert tree_digest(s3_server.contents(place), ignore=COSTS) == once


def test_two_workers_give_the_same_bytes_on_an_object_store(
    inputs: Path,
    once: dict[str, str],
    s3_server: S3Server,
    s3_environment: dict[str, str],
    bucket: str,
) -> None:
    place = s3_server.url(bucket, "root")
    key = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
    compute = TWO_WORKERS.make_all(production(place, inputs), key, MONTHS, Policy())
    assert not [found.error for found in compute if isinstance(found, Failure)]
    stored = tree_digest(s3_server.contents(place), ignore=COSTS)
    assert granules_of(stored) == 2
    assert stored.items() <= once.items()
