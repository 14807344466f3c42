"""One changed byte rebuilds exactly what depends on it; every other byte on disk stays.

The default run makes a dozen changes, ``uv run pytest -m slow tests/exactness`` all fifty.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dor_ecco_assets.errors import ConfigurationError, DorEccoError, InputUnusable
from dor_ecco_assets.lineage.quarantine import read_quarantined
from dor_ecco_assets.lineage.record import record_key
from dor_ecco_assets.lineage.workspace import Workspace
from tests.exactness.changes import (
    BASE,
    GRID,
    MADE_FROM,
    TARGET,
    Change,
    Pair,
    random_changes,
    walk,
)
from tests.exactness.small import (
    make_everything,
    make_inputs,
    overlay,
    pairs_of,
    production,
    published,
)

CHANGES, CHANGES_IN_THE_DEFAULT_RUN = 50, 12


class Made:
    """A production with everything made, which each change finds as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.inputs = make_inputs(folder / "inputs")
        self.root = folder / "root"
        make_everything(self.workspace(overlay(folder / "base", BASE)))
        shutil.copytree(self.root, folder / "pristine")

    def workspace(self, configs: str) -> Workspace:
        return production(self.root, self.inputs, configs).workspace()

    def restore(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self._folder / "pristine", self.root)

    def changed(self, change: Change, number: int) -> Workspace:
        found = self.workspace(change.configs(self._folder / f"configs-{number}"))
        products = change.products(dict(found.products))
        return Workspace(found.storage, found.inputs, products, found.settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with pytest.MonkeyPatch.context() as patch:
        # Nothing here hangs on what survives a power failure, and it halves the time.
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield Made(tmp_path_factory.mktemp("exactness"))


def walked(space: Workspace) -> set[str]:
    """Products that `changes` has in its tables: of the ECCO line those that are split by time."""
    return {key for key in space.products if key in MADE_FROM or key in (GRID, TARGET)}


def remake(space: Workspace) -> tuple[set[Pair], dict[Pair, DorEccoError]]:
    """Ask for every partition once; those that were made, and those that could not be."""
    rebuilt: set[Pair] = set()
    failed: dict[Pair, DorEccoError] = {}
    for key, partition in pairs_of(space):
        if key not in walked(space):
            continue
        try:
            if not space.make(key, partition).skipped:
                rebuilt.add((key, partition))
        except DorEccoError as error:
            failed[key, partition] = error
    return rebuilt, failed


def check(made: Made, change: Change, number: int) -> tuple[int, int]:
    """How many partitions one change rebuilt and how many it made fail."""
    before, expected = published(made.root), walk(set(change.roots))
    change.apply()
    try:
        space = made.changed(change, number)
        stale = {
            (state.product, state.partition)
            for key in walked(space)
            for state in space.states(key)
            if state.standing not in ("up to date", "waiting")
        }
        assert stale == expected, change.what
        rebuilt, failed = remake(space)
        assert rebuilt | set(failed) == expected, change.what
        check_files(before, published(made.root), expected, rebuilt, change.what)
        check_failures(space, change, failed)
        again = remake(made.changed(change, number))
        assert again[0] == set(), f"{change.what}: made again although nothing changed"
        assert set(again[1]) == set(failed), change.what
    finally:
        change.apply()
        made.restore()
    return len(rebuilt), len(failed)


def check_files(
    before: dict[str, str],
    after: dict[str, str],
    expected: set[Pair],
    rebuilt: set[Pair],
    what: str,
) -> None:
    """What came, went or changed belongs to what was rebuilt, and all records of that changed."""
    differing = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    records = {record_key(*pair): pair for pair in expected}
    others = {
        name
        for name in differing - set(records)
        if not name.startswith(".quarantine/") and not any(belongs(name, pair) for pair in rebuilt)
    }
    assert not others, f"{what}: {sorted(others)}"
    changed = {records[name] for name in differing if name in records}
    assert changed == rebuilt, what


def belongs(name: str, pair: Pair) -> bool:
    """Whether a published file is one of a partition's."""
    key, partition = pair
    return name.startswith((f"{key}.zarr/", f"{key}/")) and (
        not partition or f"_{partition}_" in name
    )


def check_failures(space: Workspace, change: Change, failed: dict[Pair, DorEccoError]) -> None:
    """A failure comes from an unusable input, which is set aside with its place and reason."""
    if not failed:
        return
    assert change.file is not None, change.what
    assert all(isinstance(error, InputUnusable) for error in failed.values()), (change, failed)
    noted = {
        pair: note
        for pair in pairs_of(space)
        if (note := read_quarantined(space.storage, *pair)) is not None
    }
    # What is made from a grid that cannot be used waits for the grid, whose note says why.
    own = {(GRID, "")} & set(failed) or set(failed)
    assert set(noted) == own, change.what
    for note in noted.values():
        assert note.uri.startswith(str(space.inputs.locate(""))), note
        assert note.reason, note


def test_a_changed_byte_rebuilds_what_depends_on_it_and_nothing_else(made: Made) -> None:
    changes = random_changes(12, CHANGES_IN_THE_DEFAULT_RUN, made.inputs)
    found = [check(made, change, number) for number, change in enumerate(changes)]
    assert any(rebuilt for rebuilt, _ in found)


@pytest.mark.slow
def test_fifty_changed_bytes_rebuild_what_depends_on_them_and_nothing_else(made: Made) -> None:
    changes = random_changes(50, CHANGES, made.inputs)
    found = [check(made, change, 100 + number) for number, change in enumerate(changes)]
    assert any(failed for _, failed in found)
    assert any(rebuilt == len(walk({(GRID, "")})) for rebuilt, _ in found)
    assert (0, 0) in found  # a byte that nothing depends on


def test_a_misspelt_key_stops_everything_and_changes_nothing(made: Made, tmp_path: Path) -> None:
    before = published(made.root)
    files = {**BASE, "grids/latlon_0p50deg.yaml": "resolution_degreez: 2.0\n"}
    with pytest.raises(ConfigurationError, match="did you mean 'resolution_degrees'"):
        made.workspace(overlay(tmp_path, files))
    assert published(made.root) == before
