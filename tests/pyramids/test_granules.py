"""Pyramids of virtual stores: a step per granule, which follows that granule alone."""

from __future__ import annotations

import json

import dagster as dg
import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import yaml

from dor_ecco_assets.definitions import build_definitions
from dor_ecco_assets.errors import ConfigurationError, GridMismatch, InputMissing
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.mapping.cells import source_cells
from dor_ecco_assets.mapping.webmercator import build_webmercator, from_dataset
from dor_ecco_assets.pyramids.assess import (
    conservation_breaches,
    fill_breaches,
    map_stores,
    reader_breaches,
    status_breaches,
)
from dor_ecco_assets.pyramids.configuration import DatasetMaps, dataset_maps
from dor_ecco_assets.pyramids.granules import regular_grid
from dor_ecco_assets.pyramids.products import places_of
from dor_ecco_assets.samples.virtual_granules import DAILY, DailyGrid, write_daily
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from tests.pyramids.test_apply import expected_maps
from tests.virtual.sample_collection import NAME, sample_collection

SOURCE, MAPS = f"virtual/{NAME}/store", "pyramids/sst"
GRID = DailyGrid((180, 360), (90, 180), ("analysed_sst",), 1)
CONFIG = {
    "title": "sample temperature",
    "source": SOURCE,
    "mapping": "mapping/sst_to_webmercator",
    "period": ["2002-06-01", "2002-06-10"],
    "pixels_per_tile": 16,
    "variables": {
        "analysed_sst": {
            "long_name": "temperature",
            "units": "kelvin",
            "clim": {"value": [290, 300]},
            "colormap": {"value": "viridis"},
        }
    },
}
WEIGHTS = {"source": f"{MAPS}_grid", "mask": f"{MAPS}_grid", "pixels_per_tile": 16}


def day(number):
    return f"2002-06-{number:02d}"


def configure_maps(collection, **changes):
    for name, text in {
        "pyramids/sst": {**CONFIG, **changes},
        "mapping/sst_to_webmercator": WEIGHTS,
    }.items():
        path = collection.folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(text))  # JSON is YAML
    dataset_maps.cache_clear()
    collection.configure()


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Five daily granules of one degree, of which three have arrived."""
    with (
        pytest.MonkeyPatch.context() as patch,
        sample_collection(tmp_path_factory.mktemp("maps"), patch, days=5) as found,
    ):
        for number, granule in enumerate(found.granules):
            write_daily(granule.path, number, grid=GRID)
            umm = granule.item["umm"]["DataGranule"]
            for each in umm["ArchiveAndDistributionInformation"]:
                each.pop("SizeInBytes", None)
                each.pop("Checksum", None)
        configure_maps(found)
        found.arrive(3)
        build(found)
        yield found


def build(collection):
    """Bring the store up to date."""
    collection.workspace().make(granules_key(NAME), "", Policy(force=True))
    workspace = collection.workspace()
    for partition in workspace.product(references_key(NAME)).partitioning.keys:
        workspace.make(references_key(NAME), partition)
    collection.workspace().make(store_key(NAME), "")


def standings(collection):
    return {s.partition: s.standing for s in collection.workspace().states(MAPS)}


@pytest.fixture(scope="module")
def made(collection):
    workspace = collection.workspace()
    for number in (1, 2, 3):
        workspace.make(MAPS, day(number))
    workspace.make(f"{MAPS}_index", "")
    return workspace


@pytest.mark.parametrize("zarr_format", ["v2", "v3"])
def test_every_step_is_its_granule_regridded(collection, made, zarr_format):
    weights = from_dataset(made.open_upstream("mapping/sst_to_webmercator"))
    path = made.storage.locate(f"{MAPS}/{zarr_format}.zarr")
    opened = xr.open_datatree(path, engine="zarr", chunks=None)
    for number, file in enumerate(sorted((collection.folder / "archive").rglob("*.nc")), 1):
        with xr.open_dataset(file) as granule:
            field = granule["analysed_sst"].values.reshape(1, -1)
        for level in (0, 1):
            found = opened[f"{level}/analysed_sst"].sel(time=day(number)).values
            npt.assert_allclose(found, expected_maps(weights, level, field)[0], rtol=1e-6)
            assert np.isfinite(found).any()
    assert np.isnan(opened["0/analysed_sst"].sel(time=day(4))).all()


def test_what_was_made_passes_every_check(made):
    assert reader_breaches(made.storage, MAPS) == []
    for store in map_stores(made.storage, MAPS):
        assert fill_breaches(store, (1,)) == []
        assert conservation_breaches(store, (1,)) == []
    places = places_of(made.product(MAPS))
    assert status_breaches(made.storage, MAPS, places, [day(n) for n in (1, 2, 3)]) == []


def test_a_step_is_made_from_its_granule_alone(collection, made):
    record = dict(made.records(MAPS))[day(2)]
    assert set(record.details["inputs"]) == {"granule"}
    assert SOURCE not in record.details["ingredients"]["upstream"]
    index = json.loads(made.storage.read(f"{MAPS}/index.json"))
    assert index["times"]["labels"] == [day(1), day(2), day(3)]
    found = standings(collection)
    assert [found[day(n)] for n in range(1, 5)] == ["up to date"] * 3 + ["waiting"]
    with pytest.raises(InputMissing) as raised:
        collection.workspace().make(MAPS, day(4))
    assert raised.value.code == "NoGranule"


def test_new_and_changed_granules_touch_their_own_steps_alone(collection, made):
    digests = {name: record.sha256 for name, record in made.records(MAPS)}
    collection.arrive(1)
    build(collection)
    found = standings(collection)
    assert [found[day(n)] for n in range(1, 6)] == ["up to date"] * 3 + ["absent", "waiting"]
    assert collection.workspace().state(f"{MAPS}_grid", "").standing == "up to date"
    assert not collection.workspace().make(MAPS, day(4)).skipped

    (item,) = [i for i in collection.server.items if "20020602" in i["umm"]["GranuleUR"]]
    item["meta"] = {
        **item["meta"],
        "revision-id": 2,
        "revision-date": "2003-01-01T00:00:00.000Z",
    }
    name = "20020602-SAMPLE-L4-SST.nc"
    with netCDF4.Dataset(collection.folder / "archive" / DAILY.short_name / name, "r+") as file:
        file["analysed_sst"].set_auto_maskandscale(False)
        file["analysed_sst"][0, 60:120, 60:300] = 7
    build(collection)
    found = standings(collection)
    assert [found[day(n)] for n in range(1, 5)] == ["up to date", "stale"] + ["up to date"] * 2
    assert not collection.workspace().make(MAPS, day(2)).skipped
    now = {name: record.sha256 for name, record in collection.workspace().records(MAPS)}
    assert {name for name in digests if digests[name] != now[name]} == {day(2)}


def test_dagster_knows_what_maps_hang_on(collection):
    graph = build_definitions(configs=collection.configs).resolve_asset_graph()
    parents = graph.get(dg.AssetKey(MAPS.split("/"))).parent_keys
    assert {"/".join(key.path) for key in parents} == {
        SOURCE,
        f"{MAPS}_template",
        "mapping/sst_to_webmercator",
    }
    (parent,) = graph.get(dg.AssetKey(f"{MAPS}_grid".split("/"))).parent_keys
    assert "/".join(parent.path) == SOURCE


def test_a_period_is_needed_and_fits_its_source(collection):
    for changes, code, told in (
        ({"period": None}, "NoPeriod", "which grows"),
        ({"source": "virtual/NOTHING/store"}, "NoPeriod", "alone"),
        ({"source": "grids/llc90", "period": None}, "UnknownSource", "split by none"),
        ({"period": ["2002-06-10", "2002-06-01"]}, None, "expected two days"),
        ({"period": ["2002-06-31", "2002-07-01"]}, None, "expected two days"),
        ({"period": ["2002-06", "2002-07-01"]}, None, "expected two days"),
        ({"mask_of": "2001-01-01"}, None, "expected a step of period"),
    ):
        configure_maps(collection, **changes)
        with pytest.raises(ConfigurationError, match=told) as raised:
            collection.workspace()
        assert code in (None, raised.value.code)
    configure_maps(collection)


@pytest.mark.parametrize(
    ("period", "steps"),
    [
        ("[2003-12-31, 2004-01-02]", ("2003-12-31", "2004-01-01", "2004-01-02")),
        ("[2003-11, 2004-01]", ("2003-11", "2003-12", "2004-01")),
    ],
)
def test_a_period_is_written_as_yaml_has_days_and_months(period, steps):
    text = yaml.safe_load(f"{{period: {period}, mask_of: {steps[1]}}}")
    maps = DatasetMaps.model_validate(CONFIG | text)
    assert (maps.steps, maps.mask_of) == (steps, steps[1])


def test_granules_that_share_a_step_are_refused(collection, made):
    configure_maps(collection, period=["2002-06", "2002-08"])
    try:
        workspace = collection.workspace()
        with pytest.raises(GridMismatch) as raised:
            workspace.make(f"{MAPS}_grid", "", Policy(force=True))
        assert raised.value.code == "SeveralGranules"
    finally:
        configure_maps(collection)


def coordinates(latitude, longitude):
    return xr.Dataset(coords={"lat": ("lat", latitude), "lon": ("lon", longitude)})


def test_grids_that_run_southward_or_from_zero_cover_the_same_pixels():
    rows, columns = np.arange(-87.5, 90, 5), np.arange(-177.5, 180, 5)
    wet = np.random.default_rng(3).random((rows.size, columns.size)) < 0.7
    shares = []
    for latitude, longitude, mask in (
        (rows, columns, wet),
        (rows[::-1], columns, wet[::-1]),
        (rows.astype(np.float32), np.arange(2.5, 360, 5), np.roll(wet, 36, axis=1)),
    ):
        grid = regular_grid(coordinates(latitude, longitude), mask, "test")
        cells = source_cells(grid, wet=grid["mask"].values[0] > 0)
        weights = build_webmercator(
            cells.lon,
            cells.lat,
            cells.corner_lon,
            cells.corner_lat,
            cells.wet,
            levels=(0, 1),
            pixels_per_tile=16,
        )
        shares.append([weights.level(level).share for level in (0, 1)])
    for other in shares[1:]:
        for level in (0, 1):
            npt.assert_allclose(other[level], shares[0][level], atol=1e-6)


def test_cells_meet_halfway_and_end_at_the_poles():
    grid = regular_grid(
        coordinates(np.linspace(-90, 90, 19), np.arange(-180, 180, 10.0)),
        np.ones((19, 36), bool),
        "test",
    )
    rows, columns = grid["latitude_bnds"].values, grid["longitude_bnds"].values
    assert (rows[0, 0], rows[0, 1], rows[-1, 1]) == (-90, -85, 90)
    npt.assert_array_equal(rows[1:, 0], rows[:-1, 1])
    assert columns[-1, 1] - columns[0, 0] == 360


@pytest.mark.parametrize(
    ("dataset", "shape"),
    [
        (coordinates(np.arange(3.0), np.array([0.0, 2.0, 1.0])), (3, 3)),
        (coordinates(np.arange(3.0), np.linspace(-179.5, 179.5, 24)), (3, 24)),
        (coordinates(np.arange(3.0), np.arange(4.0)), (5, 4)),
        (xr.Dataset({"lat": (("y", "x"), np.zeros((3, 4)))}), (3, 4)),
    ],
)
def test_what_is_no_regular_grid_is_refused(dataset, shape):
    with pytest.raises(GridMismatch) as raised:
        regular_grid(dataset, np.ones(shape, bool), "test")
    assert raised.value.code == "NotRegular"
