"""Real granules of archives: those that fit are read as they are, the others are named."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.layout import needs_loading
from dor_ecco_assets.virtual.other_formats import parse_other
from dor_ecco_assets.virtual.reading import open_store
from tests.support.data import real_data
from tests.virtual.stores import Archive, spec, store_at

START = datetime(2001, 1, 1, tzinfo=UTC)


def equal(found, wanted, name):
    """As xarray reads the file, bit for bit."""
    assert found.dtype == wanted.dtype, name
    np.testing.assert_array_equal(found, wanted, name)


def archive_of(tmp_path, *parts, pattern="*.nc", **given):
    folder = tmp_path / "archive"
    folder.mkdir()
    for path in sorted(real_data(*parts).glob(pattern)):
        shutil.copyfile(path, folder / path.name)
    return Archive(folder, spec(**({"level": "L4", "load": []} | given)))


def begin_of(path):
    with xr.open_dataset(path, decode_timedelta=False) as granule:
        first = np.atleast_1d(granule["time"].values)[0]
    return datetime.fromtimestamp(int(first.astype("M8[s]").astype(int)), UTC)


def test_gridded_altimetry(tmp_path):
    archive = archive_of(tmp_path, "imos", "gsla", pattern="*2024*.nc")
    files = sorted(archive.folder.iterdir())
    names = ("TIME", "LATITUDE", "LONGITUDE")
    concat = {"dim": "TIME"}
    archive.spec = spec(load=names, concat=concat)
    archive.spec = spec(
        load=[*names, *needs_loading(archive.spec, parse_hdf5(str(files[0]), load=names))],
        concat=concat,
    )
    listed = [
        archive.listed(path, datetime(2024, 1, day, tzinfo=UTC))
        for day, path in enumerate(files, 1)
    ]
    store = store_at(tmp_path / "root", archive)
    report = apply(store, archive.spec, listed, archive)
    assert report.published == len(files), report.quarantined
    found = open_store(store)
    for slot, path in enumerate(files):
        with xr.open_dataset(path) as wanted:
            for name in wanted.variables:
                here = found[name]
                here = here[slot : slot + 1] if "TIME" in here.dims else here
                equal(here.values, wanted[name].values, name)


def test_an_older_product_version_is_quarantined(tmp_path):
    """The NetCDF3 and other files of one folder that do not fit each other."""
    archive = archive_of(tmp_path, "imos", "gsla")
    files = sorted(archive.folder.iterdir())
    archive.spec = spec(
        load=["TIME", "LATITUDE", "LONGITUDE"], concat={"dim": "TIME"}, most_quarantined=1.0
    )
    listed = [archive.listed(p, START + timedelta(days=n)) for n, p in enumerate(files)]
    store = store_at(tmp_path / "root", archive)
    report = apply(store, archive.spec, listed, archive)
    assert report.granules["published"] + report.granules["quarantined"] == len(files)
    assert report.granules["quarantined"]
    assert all(": " in reason for reason in report.quarantined.values())


def test_a_gridded_ecco_granule(tmp_path):
    archive = archive_of(tmp_path, "ecco_granules")
    (path,) = sorted(archive.folder.iterdir())
    names = ["time", "latitude", "longitude", "time_bnds", "latitude_bnds", "longitude_bnds"]
    archive.spec = spec(load=names)
    listed = archive.listed(path, datetime(1992, 1, 1, tzinfo=UTC))
    store = store_at(tmp_path / "root", archive)
    report = apply(store, archive.spec, [listed], archive)
    assert report.published == 1, report.quarantined
    found = open_store(store)
    with xr.open_dataset(path) as wanted:
        assert set(found.variables) == set(wanted.variables)
        for name in wanted.variables:
            equal(found[name].values, wanted[name].values, name)


@pytest.mark.parametrize(
    ("parts", "groups", "ragged"),
    [
        (("podaac", "sentinel6_groups"), ("data_01", "data_01/ku"), "time"),
        (("podaac", "swot_gpr"), ("data_01", "data_01/ku"), "time"),
    ],
)
def test_altimeter_passes_with_groups(tmp_path, parts, groups, ragged):
    archive = archive_of(tmp_path, *parts)
    (path,) = sorted(archive.folder.iterdir())
    archive.spec = spec(
        level="L2", swath={"dim": "granule", "ragged": [ragged]}, load=[], most_quarantined=1.0
    )
    listed = archive.listed(path, START, cycle=14, pass_number=191)
    store = store_at(tmp_path / "root", archive)
    report = apply(store, archive.spec, [listed], archive)
    assert report.published == 1, report.quarantined
    for group in groups:
        found = open_store(store, group=group)
        with xr.open_dataset(path, group=group) as wanted:
            for name in wanted.data_vars:
                n = wanted[name].shape
                here = found[name][0].values[tuple(slice(0, size) for size in n)]
                if here.dtype.kind == "f" and wanted[name].dtype.kind != "f":
                    continue  # a time step
                equal(here, wanted[name].values, name)


def test_an_ocean_colour_swath_packed_in_single_precision(tmp_path):
    archive = archive_of(tmp_path, "podaac", "ghrsst_l2p")
    (path,) = sorted(archive.folder.iterdir())
    archive.spec = spec(load=["time"], level="L2")
    archive.spec = spec(load=["time", *needs_loading(archive.spec, parse_hdf5(str(path)))])
    listed = archive.listed(path, begin_of(path))
    store = store_at(tmp_path / "root", archive)
    report = apply(store, archive.spec, [listed], archive)
    assert report.published == 1, report.quarantined
    found = open_store(store)
    with xr.open_dataset(path) as wanted:
        for name in wanted.variables:
            equal(found[name].values, wanted[name].values, name)


def test_currents_in_netcdf3(tmp_path):
    from obstore.store import LocalStore

    archive = archive_of(tmp_path, "podaac", "globcurrent")
    files = sorted(archive.folder.iterdir())
    archive.spec = spec(load=["time", "lat", "lon"])

    def references(entries, *, load=(), described=False):
        store = LocalStore(archive.folder)
        for entry in entries:
            yield parse_other(
                store,
                f"file://{archive.folder}",
                entry.location,
                "netcdf3",
                load=(*archive.spec.load, *load),
            )

    listed = [archive.listed(path, begin_of(path)) for path in files]
    store = store_at(tmp_path / "root", archive)
    report = apply(store, archive.spec, [*listed[4:], *listed[:4]], references)
    assert report.published == len(files), report.quarantined
    found = open_store(store)
    for slot, path in enumerate(files):
        with xr.open_dataset(path) as wanted:
            for name in wanted.variables:
                here = found[name]
                here = here[slot : slot + 1] if "time" in here.dims else here
                np.testing.assert_array_equal(here.values, wanted[name].values, name)
