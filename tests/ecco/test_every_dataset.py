"""One granule of every gridded dataset of the catalogue, made from samples and read back."""

import re

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from scipy.spatial import cKDTree

from dor_ecco_assets.ecco.catalogue import Dataset, load_catalogue
from dor_ecco_assets.ecco.names import doi, granule_name
from dor_ecco_assets.ecco.products import dataset_key
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.ecco.vectors import to_centres, to_east_north
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.grids.llc import as_tiles, left_values, lower_values
from dor_ecco_assets.grids.llc_geometry import hfac_from_depth
from dor_ecco_assets.samples.ecco_output import EVERY_FIELD, sample_record
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.samples.model_fields import EDGE_VECTORS, SampleGeometry, vector_values
from dor_ecco_assets.storage import Directory
from tests.ecco.production import (
    EVERY_PARTITION,
    SIDE,
    granule_of,
    made_of_every_field,
    record_of,
    root_of,
)

CATALOGUE = load_catalogue()
#: Every monthly dataset and every kind of snapshot; two daily ones stand for all, whose making
#: differs by nothing else.
DATASETS = [
    Dataset(grouping, grid, frequency)
    for grouping in CATALOGUE.groupings
    for grid in ("native", "latlon")
    for frequency in grouping.frequencies_on(grid)
    if frequency != "AVG_DAY" or grouping.stem in ("OCEAN_VELOCITY", "SEA_ICE_VELOCITY")
]


def each(*grids):
    chosen = [dataset for dataset in DATASETS if dataset.grid in grids]
    return pytest.mark.parametrize(
        "dataset", chosen, ids=lambda d: f"{d.grouping.stem}-{d.grid}-{d.frequency}"
    )


LEVELS = 50
HORIZONTAL = {
    "C": ("tile", "j", "i"),
    "W": ("tile", "j", "i"),
    "U": ("tile", "j", "i_g"),
    "V": ("tile", "j_g", "i"),
}
#: Variables on the top faces of their cells.
ON_TOPS = {"WVEL", "WVELMASS", "WVELSTAR", "GM_PsiX", "GM_PsiY"}
ON_TOPS |= {f"{kind}_{of}" for kind in ("ADVr", "DFrE", "DFrI") for of in ("TH", "SLT")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_of_every_field(tmp_path_factory)


@pytest.fixture(scope="module")
def grid():
    return sample_grid_fields(SIDE)


def key_of(dataset):
    return dataset_key(dataset.grouping, dataset.grid, dataset.frequency, "V4r4")


def opened(made, dataset, **options):
    path = granule_of(made, key_of(dataset), EVERY_PARTITION[dataset.frequency])
    with xr.open_dataset(path, **options) as granule:
        return granule.load()


def wet_masks(grid):
    """Wet cells, west edges and south edges at every level."""
    wet = hfac_from_depth(as_tiles(grid["Depth"]), grid["RF"], grid["DRF"]) > 0
    return {"C": wet, "W": wet, "U": wet & left_values(wet), "V": wet & lower_values(wet)}


def model_field(grid, name, frequency):
    step = V4R4_CLOCK.step_of(EVERY_PARTITION[frequency], frequency)
    return sample_record(name, grid, step).astype(np.float32)


def test_every_model_field_has_a_sample_and_every_sample_a_use():
    needed = {
        field
        for grouping in CATALOGUE.groupings
        for name in (*grouping.native, *grouping.latlon)
        for field in CATALOGUE.sources(name)
    }
    assert set(EVERY_FIELD) == needed
    assert len(EVERY_FIELD) == len(needed)


def test_samples_lie_well_within_the_range_that_the_catalogue_accepts(grid):
    for name in EVERY_FIELD:
        low, high = CATALOGUE.variables[name].valid_range
        values = sample_record(name, grid, 732)
        values = values[values != 0]  # land, and water where a wave crosses 0
        assert low < values.min(), name
        assert values.max() < high, name
        assert np.unique(values).size > 100, name


@each("native", "latlon")
def test_a_granule_is_named_described_and_whole(made, dataset):
    key, partition = key_of(dataset), EVERY_PARTITION[dataset.frequency]
    record = record_of(made, key, partition)
    bounds = V4R4_CLOCK.period_bounds(
        V4R4_CLOCK.step_of(partition, dataset.frequency), dataset.frequency
    )
    name = granule_name(
        dataset.grouping.stem,
        grid=dataset.grid,
        frequency=dataset.frequency,
        centre=bounds.centre,
        label="llc0010" if dataset.grid == "native" else None,
    )
    assert record.uri == f"{key}/{name}"
    assert record.details["variables"] == list(dataset.variables)
    assert verify_granule(Directory(root_of(made)), key, partition) == []
    attributes = opened(made, dataset).attrs
    identifier = doi(dataset.grouping.stem, grid=dataset.grid, frequency=dataset.frequency)
    assert attributes["id"] == identifier
    assert attributes["product_name"] == str(name)
    assert attributes["title"].startswith(f"ECCO {dataset.grouping.title} - ")
    assert dataset.grouping.name in attributes["summary"]
    assert not [text for text in attributes.values() if str(text).startswith("TBD")]
    keywords = attributes["keywords"].split(", EARTH")
    assert len(keywords) == len(set(keywords))
    vertical = [key for key in attributes if key.startswith("geospatial_vertical")]
    assert len(vertical) == (5 if dataset.grouping.dimension == "3D" else 0)
    assert str(attributes["time_coverage_start"]) == str(bounds.start)
    assert str(attributes["time_coverage_end"]) == str(bounds.end)
    durations = {"AVG_MON": "P1M", "AVG_DAY": "P1D", "SNAP": "PT0S"}
    assert attributes["time_coverage_duration"] == durations[dataset.frequency]
    vectors = [n for n in dataset.variables if CATALOGUE.variables[n].components]
    assert attributes.get("vector_source") == ("rotate" if vectors else None)


def coordinates_of(dataset):
    """Dimensions of every coordinate that a granule of this kind has."""
    deep = dataset.grouping.dimension == "3D"
    found = {"time": ("time",)}
    if dataset.frequency != "SNAP":
        found["time_bnds"] = ("time", "nv")
    if dataset.grid == "latlon":
        found |= {name: (name,) for name in ("latitude", "longitude")}
        found |= {f"{name}_bnds": (name, "nv") for name in ("latitude", "longitude")}
        return found | ({"Z": ("Z",), "Z_bnds": ("Z", "nv")} if deep else {})
    found |= {name: (name,) for name in ("i", "j", "i_g", "j_g", "tile")}
    found |= dict.fromkeys(("XC", "YC"), HORIZONTAL["C"])
    found |= dict.fromkeys(("XG", "YG"), ("tile", "j_g", "i_g"))
    found |= dict.fromkeys(("XC_bnds", "YC_bnds"), (*HORIZONTAL["C"], "nb"))
    if deep:
        found |= {name: (name,) for name in ("k", "k_u", "k_l", "k_p1")}
        found |= {"Z": ("k",), "Zu": ("k_u",), "Zl": ("k_l",), "Zp1": ("k_p1",)}
        found["Z_bnds"] = ("k", "nv")
    return found


def dimensions_of(dataset, name):
    deep = dataset.grouping.dimension == "3D"
    if dataset.grid == "latlon":
        return ("time", *(["Z"] if deep else []), "latitude", "longitude")
    vertical = ["k_l" if name in ON_TOPS else "k"] if deep else []
    return ("time", *vertical, *HORIZONTAL[CATALOGUE.variables[name].location])


@each("native", "latlon")
def test_dimensions_types_and_encoding_are_those_of_the_kind(made, dataset):
    raw = opened(made, dataset, decode_cf=False)
    wanted = coordinates_of(dataset)
    wanted |= {name: dimensions_of(dataset, name) for name in dataset.variables}
    assert {str(name): variable.dims for name, variable in raw.variables.items()} == wanted
    for name, variable in raw.variables.items():
        whole = str(name) in ("tile", "time", "time_bnds") or re.fullmatch("[ijk](_.*)?", str(name))
        assert variable.dtype == ("int32" if whole else "float32"), name
    path = granule_of(made, key_of(dataset), EVERY_PARTITION[dataset.frequency])
    with netCDF4.Dataset(path) as file:
        for name in dataset.variables:
            variable = file[name]
            filters = variable.filters()
            assert (filters["zlib"], filters["complevel"], filters["shuffle"]) == (True, 5, True)
            assert variable._FillValue == np.float32(9.969209968386869e36)
            chunks = list(variable.shape)
            if dataset.grouping.dimension == "3D":
                chunks[1] = 10 if dataset.grid == "native" else 5
            assert variable.chunking() == chunks
        for name in wanted.keys() - set(dataset.variables):
            assert "_FillValue" not in file[name].ncattrs()


@each("native", "latlon")
def test_attributes_of_variables_and_coordinates_are_complete(made, dataset):
    raw = opened(made, dataset, decode_cf=False)
    deep = dataset.grouping.dimension == "3D"
    for name in dataset.variables:
        described, found = CATALOGUE.variables[name], raw[name].attrs
        assert found["long_name"] == described.long_name
        assert found["units"] == described.units
        assert found["comment"] == described.comment
        assert found.get("standard_name") == described.standard_name
        assert found.get("direction") == described.direction
        assert found["coverage_content_type"] == "modelResult"
        assert found["valid_min"] < found["valid_max"]
        assert not set(found) & {"keywords", "location", "on_land", "valid_range", "source"}
        above = dataset.grid == "latlon" and name in ON_TOPS
        assert ("vertical_location" in found) == above
        if dataset.grid == "native":
            own = ["XC", "YC"] if described.location in "CW" else []
            level = [("Zl" if name in ON_TOPS else "Z")] if deep else []
            assert found["coordinates"] == " ".join(["time", *own, *level])
    for name in coordinates_of(dataset):
        assert raw[name].attrs["long_name"]
        assert raw[name].attrs["coverage_content_type"] == "coordinate"
    time = raw["time"].attrs
    assert ("snapshot" in time["long_name"]) == (dataset.frequency == "SNAP")
    assert ("bounds" in time) == (dataset.frequency != "SNAP")
    for name, bounds in ((n, raw[n].attrs.get("bounds")) for n in map(str, raw.variables)):
        assert bounds is None or raw[bounds].dims[:-1] == raw[name].dims


@each("native")
def test_native_values_are_the_models_at_every_open_point_and_fill_elsewhere(made, grid, dataset):
    granule, masks = opened(made, dataset), wet_masks(grid)
    for name in dataset.variables:
        (source,) = CATALOGUE.sources(name)
        expected = model_field(grid, source, dataset.frequency)
        mask = masks[CATALOGUE.variables[name].location]
        mask = mask if expected.ndim == 4 else mask[0]
        npt.assert_array_equal(granule[name][0], np.where(mask, expected, np.nan), name)


@pytest.fixture(scope="module")
def nearest(grid):
    """Nearest cell of every half-degree target, and the targets that one cell alone decides."""
    lon, lat = (np.radians(as_tiles(grid[n]).reshape(-1)) for n in ("XC", "YC"))
    at = np.radians(np.meshgrid(np.arange(-179.75, 180, 0.5), np.arange(-89.75, 90, 0.5)))
    cell, target = (
        np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], -1)
        for x, y in ((lon, lat), at)
    )
    distance, index = cKDTree(cell).query(target, k=2)
    height = np.sin(at[1] + np.radians(0.25)) - np.sin(at[1] - np.radians(0.25))
    radius = np.sqrt(np.radians(0.5) * height / np.pi)
    alone = (distance[..., 1] > 1.01 * radius) & (distance[..., 1] - distance[..., 0] > 1e-9)
    return index[..., 0], alone


@each("latlon")
def test_latlon_values_are_those_of_the_nearest_cell_at_every_level(made, grid, nearest, dataset):
    granule, (index, alone) = opened(made, dataset), nearest
    wet = wet_masks(grid)["C"].reshape(LEVELS, -1)
    for name in dataset.variables:
        components = CATALOGUE.variables[name].components
        fields = [model_field(grid, n, dataset.frequency) for n in CATALOGUE.sources(name)]
        if components is not None:
            turned = to_east_north(
                *fields,
                as_tiles(grid["AngleCS"]),
                as_tiles(grid["AngleSN"]),
                location=components.points,
            )
            fields = [turned[components.orientation == "meridional"]]
        field = fields[0].reshape(-1, 13 * SIDE * SIDE)
        found = granule[name].values[0].reshape(len(field), *index.shape)
        for level, values in enumerate(field):
            shown = np.isfinite(found[level])
            assert not (shown & ~wet[level][index])[alone].any(), (name, level)
            npt.assert_array_equal(found[level][shown & alone], values[index][shown & alone], name)
        assert np.isfinite(found[0]).mean() > 0.4


def test_velocities_are_turned_to_the_rotation_that_they_follow_at_every_level(made, grid, nearest):
    dataset = next(
        d for d in DATASETS if d.grouping.stem == "OCEAN_VELOCITY" and d.grid == "latlon"
    )
    granule, (index, alone) = opened(made, dataset), nearest
    step = V4R4_CLOCK.step_of(EVERY_PARTITION[dataset.frequency], dataset.frequency)
    year = step * 3600 / (86400 * 365.25)
    geometry = SampleGeometry.of(grid)
    masks = wet_masks(grid)
    right, upper = to_centres(masks["U"].astype(np.float32), masks["V"].astype(np.float32))
    inside = ((right == 1) & (upper == 1)).reshape(LEVELS, -1)
    outside_cap = index // SIDE**2 != 6
    speeds = vector_values(EDGE_VECTORS["UVEL", "VVEL"], -grid["RC"], year)
    for level in (0, 20, 40):
        for name, exact in (("EVEL", geometry.east), ("NVEL", geometry.north)):
            found = granule[name].values[0, level]
            at = inside[level][index] & alone & outside_cap & np.isfinite(found)
            assert at.sum() > 10_000
            expected = speeds[level] * exact.reshape(-1)[index]
            npt.assert_allclose(found[at], expected[at], atol=0.02 * speeds[0])
