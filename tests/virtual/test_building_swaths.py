"""Swaths lie side by side, each as long as it is, without a byte copied; groups stay groups."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import netCDF4
import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.samples.virtual_granules import write_swath
from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.digest import content_digest
from dor_ecco_assets.virtual.listing import Listed
from dor_ecco_assets.virtual.reading import open_store
from tests.virtual.stores import Archive, deleted, spec, store_at

START = datetime(2010, 1, 1, tzinfo=UTC)


def swath_spec(**given):
    return spec(
        **(
            {
                "level": "L2",
                "swath": {"dim": "granule", "ragged": ["num_lines"]},
                "concat": {"order": "cycle_pass"},
                "load": [],
            }
            | given
        )
    )


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path / "archive", swath_spec())


@pytest.fixture
def store(tmp_path, archive):
    return store_at(tmp_path / "root", archive)


def swath(archive, cycle, number, lines, **options):
    path = write_swath(
        archive.folder / f"{cycle:03d}_{number:03d}.nc", cycle, number, lines, **options
    )
    begin = START + timedelta(days=10 * cycle, hours=number)
    return archive.listed(path, begin, cycle=cycle, pass_number=number)


LINES = {(1, 1): 70, (1, 2): 95, (2, 1): 64, (2, 2): 33}


def assert_reads_as_swaths(store, archive, tracks, group=""):
    found = open_store(store)
    inside = open_store(store, group=group) if group else found
    longest = max(LINES[track] for track in tracks)
    assert inside.sizes["num_lines"] == longest
    np.testing.assert_array_equal(found["cycle"].values, [cycle for cycle, _ in tracks])
    np.testing.assert_array_equal(found["pass"].values, [number for _, number in tracks])
    for slot, (cycle, number) in enumerate(tracks):
        path = archive.folder / f"{cycle:03d}_{number:03d}.nc"
        lines = LINES[cycle, number]
        assert found["filename"].values[slot] == path.name
        assert inside["num_lines_valid"].values[slot] == lines
        with xr.open_dataset(path, group=group or None) as wanted:
            for name in wanted.variables:
                assert name in inside
                here = inside[name][slot].values
                if "num_lines" not in wanted[name].dims:
                    np.testing.assert_array_equal(here, wanted[name].values, name)
                    continue
                np.testing.assert_array_equal(here[:lines], wanted[name].values, name)
                if here.dtype.kind == "f":
                    assert np.isnan(here[lines:]).all(), name


@pytest.mark.parametrize("group", [None, "data_01"])
def test_swaths_of_uneven_length_read_as_they_are(store, archive, group):
    listed = {track: swath(archive, *track, n, group=group) for track, n in LINES.items()}
    apply(store, archive.spec, [listed[1, 1], listed[2, 1]], archive)
    apply(store, archive.spec, [listed[1, 2], listed[2, 2]], archive)
    assert_reads_as_swaths(store, archive, sorted(LINES), group or "")
    clean = store_at(archive.folder.parent / "clean", archive)
    apply(clean, archive.spec, list(listed.values()), archive)
    assert content_digest(clean, values=True) == content_digest(store, values=True)
    # The longest goes: the axis becomes shorter.
    apply(store, archive.spec, [deleted(listed[1, 2])], archive)
    assert_reads_as_swaths(store, archive, [(1, 1), (2, 1), (2, 2)], group or "")


def test_loaded_values_of_uneven_length_are_kept_too(store, archive):
    archive.spec = swath_spec(load=["time"])
    listed = [swath(archive, *track, n) for track, n in LINES.items()]
    apply(store, archive.spec, listed[2:], archive)
    apply(store, archive.spec, listed[:2], archive)
    found = open_store(store)
    for slot, track in enumerate(sorted(LINES)):
        with xr.open_dataset(archive.folder / "{:03d}_{:03d}.nc".format(*track)) as wanted:
            np.testing.assert_array_equal(
                found["time"][slot].values[: LINES[track]], wanted["time"].values
            )


def test_nothing_of_a_longer_swath_is_left_behind_the_end_of_a_shorter(store, archive):
    """The longest is withdrawn, and after it comes one as long: its place is another's now."""
    archive.spec = swath_spec(load=["time"])
    listed = {track: swath(archive, *track, n) for track, n in LINES.items()}
    last = swath(archive, 3, 1, 95)
    first = [listed[1, 1], listed[1, 2], listed[2, 1]]
    apply(store, archive.spec, [listed[1, 2]], archive)  # its length is that of the chunks
    apply(store, archive.spec, first, archive)
    apply(store, archive.spec, [deleted(listed[1, 2])], archive)
    assert open_store(store).sizes["num_lines"] == 70
    apply(store, archive.spec, [last], archive)
    time = open_store(store, decode=False)["time"]
    assert time.shape == (3, 95)
    for slot, lines in enumerate((70, 64, 95)):
        there = time[slot].values
        assert np.isfinite(there[:lines]).all()
        fill = time.attrs["_FillValue"]
        assert (np.isnan(there[lines:]) | (there[lines:] == fill)).all(), slot
    clean = store_at(archive.folder.parent / "clean", archive)
    apply(clean, archive.spec, [*first, deleted(listed[1, 2]), last], archive)
    assert content_digest(clean, values=True) == content_digest(store, values=True)


def test_a_swath_without_a_time_is_quarantined_and_stops_no_other(store, archive):
    listed = [swath(archive, *track, n) for track, n in LINES.items()]
    timeless = swath(archive, 3, 1, 50)
    timeless = Listed("0003", replace(timeless.granule, begin="", end=""))
    report = apply(store, archive.spec, [*listed, timeless], archive)
    assert report.published == 4
    assert report.quarantined == {"G-003_001": "TimeInvalid: 003_001 tells no time"}
    assert open_store(store).attrs["time_coverage_start"].startswith("2010-01-11")


def test_a_swath_in_other_chunks_is_quarantined(store, archive):
    listed = [swath(archive, *track, n) for track, n in LINES.items()]
    listed.append(swath(archive, 3, 1, 60, chunk_lines=16))
    report = apply(store, archive.spec, listed, archive)
    assert report.published == 4
    assert "ChunkMismatch" in report.quarantined["G-003_001"]


def test_numbers_after_the_end_of_a_swath_are_noticed(store, archive):
    path = archive.folder / "001_001.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("num_lines", None)
        file.createDimension("num_pixels", 4)
        values = file.createVariable(
            "ssh", "i4", ("num_lines", "num_pixels"), zlib=True, chunksizes=(32, 4), fill_value=-1
        )
        values[:] = np.ones((64, 4), "i4")
    listed = archive.listed(path, START, cycle=1, pass_number=1)

    def cut(entries, **options):
        """As if a writer had left numbers behind the last line."""
        for granule in archive(entries, **options):
            array = granule.arrays["ssh"]
            arrays = {"ssh": replace(array, shape=(50, 4))}
            yield replace(granule, arrays=arrays)

    with pytest.raises(ConfigurationError, match="not the fill value") as caught:
        apply(store, archive.spec, [listed], cut)
    assert caught.value.code == "PaddingNotFill"
    assert len(list(store.versions())) == 1


def test_granules_without_a_time_axis_get_one_from_their_listing(tmp_path):
    (tmp_path / "archive").mkdir()
    archive = Archive(tmp_path / "archive", spec(load=[], level="L3"))
    listed = []
    for day in range(3):
        path = archive.folder / f"map{day}.nc"
        with netCDF4.Dataset(path, "w") as file:
            file.createDimension("y", 4)
            file.createDimension("x", 6)
            values = file.createVariable("ice", "f4", ("y", "x"), zlib=True, fill_value=-9.0)
            values[:] = np.arange(24).reshape(4, 6) + 100 * day
        listed.append(archive.listed(path, START + timedelta(days=day)))
    store = store_at(tmp_path / "root", archive)
    apply(store, archive.spec, listed[1:], archive)
    apply(store, archive.spec, listed, archive)
    found = open_store(store)
    assert found["ice"].dims == ("time", "y", "x")
    np.testing.assert_array_equal(
        found["time"].values.astype("M8[D]"), np.arange("2010-01-01", "2010-01-04", dtype="M8[D]")
    )
    np.testing.assert_array_equal(found["ice"][2].values.ravel(), np.arange(24) + 200)
