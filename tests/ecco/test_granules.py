"""Published granules of the analytic sample: names, header, encoding, time and every value."""

import json
import shutil
import subprocess
import uuid
from dataclasses import asdict, replace
from pathlib import Path

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from scipy.spatial import cKDTree

from dor_ecco_assets.ecco import granules
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.grids.llc import as_tiles, left_values, lower_values
from dor_ecco_assets.lineage.record import Record, record_key
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.ecco_output import (
    etan_m,
    exf_stress_n_m2,
    oce_stress_n_m2,
    open_on_all_sides,
    sample_record,
    ssh_m,
    sshibc_m,
    sshnoibc_m,
)
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import config_path
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.storage.base import digest_of_path
from tests.ecco.production import (
    DAYS,
    MONTHLY,
    MONTHS,
    SIDE,
    SSH_LATLON,
    SSH_LATLON_DAILY,
    SSH_NATIVE,
    SSH_NATIVE_DAILY,
    STRESS_LATLON,
    STRESS_NATIVE,
    granule_of,
    made_sample,
    own_sample,
    production,
    record_of,
    root_of,
    write_inputs,
)

HEIGHTS = {"SSH": ssh_m, "SSHIBC": sshibc_m, "SSHNOIBC": sshnoibc_m, "ETAN": etan_m}
STRESSES = ("EXFtaux", "EXFtauy", "oceTAUX", "oceTAUY")
STEPS = {"1992-01": 732, "1992-02": 1428, "2017-12": 227904}
EVERY = [
    *((key, partition) for key in MONTHLY for partition in MONTHS),
    *((key, partition) for key in (SSH_NATIVE_DAILY, SSH_LATLON_DAILY) for partition in DAYS),
]
#: Radius of the sphere that distances are measured on, m.
SPHERE_M = 6_370_997.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_sample(tmp_path_factory)


@pytest.fixture(scope="module")
def grid():
    return sample_grid_fields(SIDE)


def position(grid):
    return as_tiles(grid["XC"]), as_tiles(grid["YC"]), as_tiles(grid["Depth"]) > 0


def opened(made, key, partition, **options):
    with xr.open_dataset(granule_of(made, key, partition), **options) as granule:
        return granule.load()


# Names and header


@pytest.mark.parametrize(
    ("key", "partition", "name"),
    [
        (SSH_NATIVE, "1992-01", "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0010"),
        (SSH_LATLON, "2017-12", "SEA_SURFACE_HEIGHT_mon_mean_2017-12_ECCO_V4r4_latlon_0p50deg"),
        (
            STRESS_NATIVE,
            "1992-02",
            "OCEAN_AND_ICE_SURFACE_STRESS_mon_mean_1992-02_ECCO_V4r4_native_llc0010",
        ),
        (
            SSH_NATIVE_DAILY,
            "1992-01-01",
            "SEA_SURFACE_HEIGHT_day_mean_1992-01-01_ECCO_V4r4_native_llc0010",
        ),
        (
            SSH_LATLON_DAILY,
            "1992-01-02",
            "SEA_SURFACE_HEIGHT_day_mean_1992-01-02_ECCO_V4r4_latlon_0p50deg",
        ),
    ],
)
def test_a_granule_is_named_by_its_period_and_the_grid_of_its_files(made, key, partition, name):
    record = record_of(made, key, partition)
    assert record.uri == f"{key}/{name}.nc"
    assert record.details["granule"] == f"{name}.nc"
    granule = opened(made, key, partition)
    assert granule.attrs["product_name"] == f"{name}.nc"
    assert granule.attrs["source"] == "analytic sample"


#: By frequency and partition: start, end and centre in hours since 1992-01-01 12:00.
PERIODS = [
    (SSH_NATIVE, "1992-01", (0, 732, 366), ("1992-01-01T12", "1992-02-01T00", "1992-01-16T18")),
    (SSH_LATLON, "1992-02", (732, 1428, 1080), ("1992-02-01", "1992-03-01", "1992-02-15T12")),
    (
        STRESS_LATLON,
        "2017-12",
        (227172, 227904, 227538),
        ("2017-12-01", "2017-12-31T12", "2017-12-16T06"),
    ),
    (SSH_NATIVE_DAILY, "1992-01-01", (0, 12, 6), ("1992-01-01T12", "1992-01-02", "1992-01-01T18")),
    (SSH_LATLON_DAILY, "1992-01-02", (12, 36, 24), ("1992-01-02", "1992-01-03", "1992-01-02T12")),
]


@pytest.mark.parametrize(("key", "partition", "hours", "dates"), PERIODS)
def test_time_is_the_centre_of_the_period_between_its_bounds(made, key, partition, hours, dates):
    raw = opened(made, key, partition, decode_cf=False)
    assert raw["time"].dtype == raw["time_bnds"].dtype == np.int32
    assert raw["time"].attrs["units"] == "hours since 1992-01-01 12:00:00"
    assert raw["time"].attrs["calendar"] == "proleptic_gregorian"
    assert raw["time"].attrs["bounds"] == "time_bnds"
    npt.assert_array_equal(raw["time_bnds"], [hours[:2]])
    npt.assert_array_equal(raw["time"], hours[2:])
    decoded = opened(made, key, partition)
    start, end, centre = (np.datetime64(date, "ns") for date in dates)
    npt.assert_array_equal(decoded["time_bnds"], [[start, end]])
    npt.assert_array_equal(decoded["time"], [centre])
    assert decoded.attrs["time_coverage_start"] == str(start.astype("datetime64[s]"))
    assert decoded.attrs["time_coverage_end"] == str(end.astype("datetime64[s]"))
    span = "P1D" if partition in DAYS else "P1M"
    assert decoded.attrs["time_coverage_duration"] == span
    assert decoded.attrs["time_coverage_resolution"] == span


NATIVE_HEAD = {
    "i": (("i",), "int32"),
    "j": (("j",), "int32"),
    "i_g": (("i_g",), "int32"),
    "j_g": (("j_g",), "int32"),
    "tile": (("tile",), "int32"),
    "time": (("time",), "int32"),
    "time_bnds": (("time", "nv"), "int32"),
    "XC": (("tile", "j", "i"), "float32"),
    "YC": (("tile", "j", "i"), "float32"),
    "XG": (("tile", "j_g", "i_g"), "float32"),
    "YG": (("tile", "j_g", "i_g"), "float32"),
    "XC_bnds": (("tile", "j", "i", "nb"), "float32"),
    "YC_bnds": (("tile", "j", "i", "nb"), "float32"),
}
LATLON_HEAD = {
    "latitude": (("latitude",), "float32"),
    "longitude": (("longitude",), "float32"),
    "latitude_bnds": (("latitude", "nv"), "float32"),
    "longitude_bnds": (("longitude", "nv"), "float32"),
    "time": (("time",), "int32"),
    "time_bnds": (("time", "nv"), "int32"),
}
CENTRE, MAPPED = ("time", "tile", "j", "i"), ("time", "latitude", "longitude")
CONTENTS = {
    SSH_NATIVE: dict.fromkeys(("SSH", "SSHIBC", "SSHNOIBC", "ETAN"), CENTRE),
    SSH_LATLON: dict.fromkeys(("SSH", "SSHIBC", "SSHNOIBC"), MAPPED),
    STRESS_NATIVE: {
        "EXFtaux": CENTRE,
        "EXFtauy": CENTRE,
        "oceTAUX": ("time", "tile", "j", "i_g"),
        "oceTAUY": ("time", "tile", "j_g", "i"),
    },
    STRESS_LATLON: dict.fromkeys(("EXFtaue", "EXFtaun", "oceTAUE", "oceTAUN"), MAPPED),
}


@pytest.mark.parametrize("key", MONTHLY)
def test_a_granule_holds_its_variables_and_coordinates_in_published_types(made, key):
    native = "LLC0090" in key
    raw = opened(made, key, "1992-01", decode_cf=False)
    found = {
        str(name): (variable.dims, str(variable.dtype)) for name, variable in raw.variables.items()
    }
    wanted = {name: (dims, "float32") for name, dims in CONTENTS[key].items()}
    assert found == {**(NATIVE_HEAD if native else LATLON_HEAD), **wanted}
    assert list(CONTENTS[key]) == [name for name in raw.variables if name in CONTENTS[key]]
    sizes = {"time": 1, "nv": 2}
    if native:
        sizes |= {"tile": 13, "nb": 4} | dict.fromkeys(("i", "j", "i_g", "j_g"), SIDE)
    else:
        sizes |= {"latitude": 360, "longitude": 720}
    assert dict(raw.sizes) == sizes


@pytest.mark.parametrize("key", MONTHLY)
def test_variables_are_deflated_whole_and_coordinates_have_no_fill_value(made, key):
    with netCDF4.Dataset(granule_of(made, key, "1992-01")) as file:
        for name, variable in file.variables.items():
            if name not in CONTENTS[key]:
                assert "_FillValue" not in variable.ncattrs(), name
                continue
            filters = variable.filters()
            assert (filters["zlib"], filters["complevel"], filters["shuffle"]) == (True, 5, True)
            assert variable.chunking() == list(variable.shape)
            assert variable.dtype == np.float32
            assert variable._FillValue == np.float32(9.969209968386869e36)
            # After CF's units rule every value outside the range would be read as missing.
            assert np.asarray(variable.valid_min).dtype == np.float32


def test_a_variable_names_its_auxiliary_coordinates_in_a_fixed_order(made):
    raw = opened(made, STRESS_NATIVE, "1992-01", decode_cf=False)
    found = {name: raw[name].attrs["coordinates"] for name in STRESSES}
    assert found == {
        "EXFtaux": "time XC YC",
        "EXFtauy": "time XC YC",
        "oceTAUX": "time",
        "oceTAUY": "time",
    }
    decoded = opened(made, STRESS_NATIVE, "1992-01")
    assert set(decoded.coords) >= set(NATIVE_HEAD)
    assert set(decoded.data_vars) == set(STRESSES)


@pytest.mark.parametrize(("key", "partition"), EVERY)
def test_valid_range_is_that_of_the_stored_values(made, key, partition):
    granule = opened(made, key, partition)
    for name, variable in granule.data_vars.items():
        assert variable.attrs["valid_min"] == np.nanmin(variable.values), name
        assert variable.attrs["valid_max"] == np.nanmax(variable.values), name
        assert variable.attrs["valid_min"] < variable.attrs["valid_max"], name
        assert variable.attrs["coverage_content_type"] == "modelResult"


@pytest.mark.parametrize(
    ("key", "doi", "title"),
    [
        (
            SSH_NATIVE,
            "10.5067/ECL5M-SSH44",
            "ECCO Sea Surface Height - Monthly Mean llc90 Grid (Version 4 Release 4)",
        ),
        (
            SSH_LATLON_DAILY,
            "10.5067/ECG5D-SSH44",
            "ECCO Sea Surface Height - Daily Mean 0.5 Degree (Version 4 Release 4)",
        ),
        (
            STRESS_LATLON,
            "10.5067/ECG5M-STR44",
            "ECCO Ocean and Sea-Ice Surface Stress - Monthly Mean 0.5 Degree (Version 4 Release 4)",
        ),
    ],
)
def test_global_attributes_are_sorted_complete_and_name_the_dataset(made, key, doi, title):
    partition = "1992-01-01" if "DAILY" in key else "1992-01"
    with netCDF4.Dataset(granule_of(made, key, partition)) as file:
        attributes = {name: file.getncattr(name) for name in file.ncattrs()}
    # xarray itself adds the last one, for coordinates that belong to no variable.
    names = [name for name in attributes if name != "coordinates"]
    assert names == sorted(names, key=str.lower)
    assert attributes["id"] == attributes["identifier_product_doi"] == doi
    assert attributes["title"] == title
    assert attributes["metadata_link"].endswith(f"ShortName={key.removeprefix('ecco/')}")
    assert attributes["Conventions"] == "CF-1.8, ACDD-1.3"
    assert attributes["product_version"] == "Version 4, Release 4"
    assert attributes["product_time_coverage_start"] == "1992-01-01T12:00:00"
    resolution = 0.5 if "05DEG" in key else "variable"
    assert attributes["geospatial_lat_resolution"] == resolution
    assert attributes["geospatial_lon_resolution"] == resolution
    for name in ("created", "modified", "metadata_modified", "issued"):
        assert attributes[f"date_{name}"] == "2021-02-26T00:00:00"
    assert uuid.UUID(attributes["uuid"]).version == 5
    assert "EARTH SCIENCE > OCEANS" in attributes["keywords"]
    keywords = attributes["keywords"].split(", ")
    assert keywords == sorted(set(keywords))
    step = "0000000012" if "DAILY" in key else "0000000732"
    sources = attributes["source_files"].split(", ")
    assert all(step in name for name in sources)
    assert len(sources) == (6 if key == SSH_LATLON_DAILY else 8)
    assert not [name for name, text in attributes.items() if str(text).startswith("TBD")]
    assert not [name for name, text in attributes.items() if text == ""]


def test_making_a_granule_again_elsewhere_gives_the_same_bytes_and_identifier(
    made, tmp_path, tmp_path_factory
):
    other = own_sample(tmp_path_factory, tmp_path)
    for key in (SSH_LATLON, STRESS_NATIVE):
        record = other.workspace().make(key, "1992-02").record
        assert record.sha256 == record_of(made, key, "1992-02").sha256
    identifiers = {opened(made, *pair).attrs["uuid"] for pair in EVERY}
    assert len(identifiers) == len(EVERY)


# Values


@pytest.mark.parametrize("partition", MONTHS)
def test_native_heights_are_the_closed_form_in_every_wet_cell(made, grid, partition):
    lon, lat, wet = position(grid)
    granule = opened(made, SSH_NATIVE, partition)
    for name, closed_form in HEIGHTS.items():
        expected = closed_form(lon, lat, STEPS[partition]).astype(np.float32)
        npt.assert_array_equal(granule[name][0], np.where(wet, expected, np.nan), name)
    record = record_of(made, SSH_NATIVE, partition)
    assert record.details["wet_cells"] == wet.sum()
    area = as_tiles(grid["RAC"])[wet]
    mean = np.average(ssh_m(lon, lat, STEPS[partition])[wet], weights=area)
    assert record.details["mean_SSH_m"] == pytest.approx(mean, abs=2e-6)


def test_native_daily_heights_are_those_of_the_day(made, grid):
    lon, lat, wet = position(grid)
    for partition, step in zip(DAYS, (12, 36), strict=True):
        found = opened(made, SSH_NATIVE_DAILY, partition)["SSH"][0]
        expected = ssh_m(lon, lat, step).astype(np.float32)
        npt.assert_array_equal(found, np.where(wet, expected, np.nan))


def test_native_stresses_are_the_closed_form_at_every_open_point(made, grid):
    lon, lat, wet = position(grid)
    granule = opened(made, STRESS_NATIVE, "1992-01")
    east, north = exf_stress_n_m2(lon, lat, 732)
    cs, sn = as_tiles(grid["AngleCS"]), as_tiles(grid["AngleSN"])
    along = {"EXFtaux": cs * east + sn * north, "EXFtauy": cs * north - sn * east}
    points = {"EXFtaux": wet, "EXFtauy": wet}
    points |= {"oceTAUX": wet & left_values(wet), "oceTAUY": wet & lower_values(wet)}
    for name, at in points.items():
        expected = along[name] if name in along else sample_record(name, grid, 732)
        npt.assert_array_equal(
            granule[name][0], np.where(at, expected.astype(np.float32), np.nan), name
        )


def test_native_coordinates_are_those_of_the_grid(made, grid):
    granule = opened(made, SSH_NATIVE, "1992-01")
    for name in ("XC", "YC", "XG", "YG"):
        npt.assert_array_equal(granule[name], as_tiles(grid[name]).astype(np.float32))
    for name in ("i", "j", "i_g", "j_g", "tile"):
        npt.assert_array_equal(granule[name], np.arange(granule.sizes[name]))
    # The first of a cell's four corners is its own lower left one.
    npt.assert_array_equal(granule["XC_bnds"][..., 0], granule["XG"])
    npt.assert_array_equal(granule["YC_bnds"][..., 0], granule["YG"])
    npt.assert_array_equal(granule["YC_bnds"][:, :, :-1, 1], granule["YG"][:, :, 1:])


def test_latlon_coordinates_are_half_degree_cells_from_the_south_west(made):
    granule = opened(made, SSH_LATLON, "1992-01")
    for name, first, count in (("latitude", -90.0, 360), ("longitude", -180.0, 720)):
        west = first + 0.5 * np.arange(count)
        npt.assert_array_equal(granule[name], west + 0.25)
        npt.assert_array_equal(granule[f"{name}_bnds"], np.stack([west, west + 0.5], axis=-1))


def unit_vectors(lon, lat):
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def mapped_by_hand(grid, field, radius_m, latitudes, longitudes):
    """Sections 4.4 and 5 of the recipe, target by target, from all distances.

    NaN where the nearest source is dry or farther than the longest cell edge; the mean of the
    wet sources within the radius; else the nearest source.
    """
    lon, lat, wet = (array.reshape(-1) for array in position(grid))
    flat = field.reshape(-1).astype(np.float64)
    source = SPHERE_M * unit_vectors(lon, lat)
    longest = np.floor(max(grid["DXG"].max(), grid["DYG"].max()))
    within = np.minimum(radius_m, np.floor(radius_m.max()))
    out = np.full((latitudes.size, longitudes.size), np.nan)
    for row, latitude in enumerate(latitudes):
        target = SPHERE_M * unit_vectors(longitudes, np.full(longitudes.size, latitude))
        squares = sum((target[:, None, axis] - source[None, :, axis]) ** 2 for axis in range(3))
        distance = np.sqrt(squares)
        closest = distance.min(axis=1)
        # Of sources within a millimetre of the closest the first one counts.
        nearest = np.argmax(distance <= closest[:, None] + 1e-3, axis=1)
        inside = wet & (distance <= within[row])
        count = inside.sum(axis=1)
        mean = np.where(count > 0, inside @ np.where(wet, flat, 0.0), flat[nearest])
        value = mean / np.maximum(count, 1)
        out[row] = np.where(wet[nearest] & (closest <= longest), value, np.nan)
    return out


def area_radius_m(latitudes):
    """Radius of the circle that has the area of a half-degree cell."""
    top, bottom = np.radians(latitudes + 0.25), np.radians(latitudes - 0.25)
    area = 6_371_008.8**2 * np.radians(0.5) * (np.sin(top) - np.sin(bottom))
    return np.sqrt(area / np.pi)


@pytest.mark.parametrize(
    ("partition", "rows"), [("1992-01", slice(0, None, 4)), ("1992-02", slice(3, None, 6))]
)
def test_latlon_values_are_those_of_a_plain_implementation(made, grid, partition, rows):
    granule = opened(made, SSH_LATLON, partition).isel(latitude=rows)
    latitudes, longitudes = (granule[n].values.astype(float) for n in ("latitude", "longitude"))
    lon, lat, _ = position(grid)
    expected = mapped_by_hand(
        grid,
        ssh_m(lon, lat, STEPS[partition]).astype(np.float32),
        area_radius_m(np.arange(-89.75, 90, 0.5))[rows],
        latitudes,
        longitudes,
    )
    found = granule["SSH"].values[0]
    assert 0.4 < np.isfinite(found).mean() < 0.9
    npt.assert_array_equal(found, expected.astype(np.float32))


def test_latlon_values_average_wet_cells_within_a_configured_radius(
    grid, tmp_path, tmp_path_factory
):
    configs = tmp_path / "configs"
    (configs / "mapping").mkdir(parents=True)
    (configs / "mapping" / "llc90_to_latlon_0p50deg.yaml").write_text(
        "source: grids/llc90\ntarget: grids/latlon_0p50deg\n"
        "radius: {method: fixed, radius_m: 900000.5}\n"
    )
    own = own_sample(tmp_path_factory, tmp_path, configs=configs)
    own.workspace().make(SSH_LATLON, "1992-01")
    rows = slice(0, None, 12)
    granule = opened(own, SSH_LATLON, "1992-01").isel(latitude=rows)
    latitudes, longitudes = (granule[n].values.astype(float) for n in ("latitude", "longitude"))
    lon, lat, _ = position(grid)
    field = ssh_m(lon, lat, 732).astype(np.float32)
    expected = mapped_by_hand(grid, field, np.full(latitudes.size, 900000.5), latitudes, longitudes)
    found = granule["SSH"].values[0]
    npt.assert_array_equal(np.isnan(found), np.isnan(expected))
    npt.assert_allclose(found, expected, rtol=1.5e-7, atol=1e-9)
    assert np.mean(np.isin(found, field)) < 0.5  # most are averages, not single cells


@pytest.mark.parametrize(
    ("files", "title", "summary", "comment"),
    [
        (
            {
                "ecco/release.yaml": "latlon_grid: latlon_5p00deg\n",
                "grids/latlon_5p00deg.yaml": "resolution_degrees: 5.0\n",
                "mapping/llc90_to_latlon_5p00deg.yaml": "source: grids/llc90\n"
                "target: grids/latlon_5p00deg\n",
            },
            "Monthly Mean 5 Degree (Version 4 Release 4)",
            "regular 5-degree latitude",
            "grid: mean of the wet source cells",
        ),
        (
            {
                "mapping/llc90_to_latlon_0p50deg.yaml": "source: grids/llc90\n"
                "target: grids/latlon_0p50deg\nweights: nearest\n",
            },
            "Monthly Mean 0.5 Degree (Version 4 Release 4)",
            "regular 0.5-degree latitude",
            "grid: the nearest source cell. Mapping",
        ),
    ],
)
def test_another_target_grid_or_other_weights_bear_no_published_identity(
    tmp_path, tmp_path_factory, files, title, summary, comment
):
    for name, text in files.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shipped = Path(config_path(name)).read_text() if "release" in name else ""
        path.write_text(text + shipped)
    own = own_sample(tmp_path_factory, tmp_path, configs=tmp_path / "configs")
    own.workspace().make(SSH_LATLON, "1992-01")
    attributes = opened(own, SSH_LATLON, "1992-01").attrs
    assert attributes["title"].endswith(title)
    assert summary in attributes["summary"]
    assert comment in attributes["comment"]
    assert f"{attributes['id']}.nc" == attributes["product_name"]
    assert not {"identifier_product_doi", "metadata_link"} & set(attributes)
    assert "identifier_product_doi_authority" not in attributes
    assert not verify_granule(own.workspace().storage, SSH_LATLON, "1992-01")
    own.workspace().make(SSH_NATIVE, "1992-01")
    assert "identifier_product_doi" in opened(own, SSH_NATIVE, "1992-01").attrs


def nearest_cells(grid, latitudes, longitudes):
    """Flat index of the nearest source of every target, and whether the target is an average.

    Of several sources within 1 mm the first counts. A target may average two cells where tiles
    meet: there the sample's cells lie close together.
    """
    lon, lat, _ = (array.reshape(-1) for array in position(grid))
    radius = area_radius_m(latitudes.astype(float))
    longitudes, latitudes = np.meshgrid(longitudes, latitudes)
    tree = cKDTree(SPHERE_M * unit_vectors(lon, lat))
    distance, index = tree.query(SPHERE_M * unit_vectors(longitudes, latitudes), k=4)
    nearest = np.where(distance <= distance[..., :1] + 1e-3, index, lon.size).min(axis=-1)
    return nearest, distance[..., 1] <= radius[:, np.newaxis]


def test_latlon_winds_are_the_closed_form_of_the_nearest_cell(made, grid):
    lon, lat, _ = position(grid)
    granule = opened(made, STRESS_LATLON, "1992-02")
    nearest, averaged = nearest_cells(grid, granule["latitude"].values, granule["longitude"].values)
    for name, closed_form in zip(
        ("EXFtaue", "EXFtaun"), exf_stress_n_m2(lon, lat, 1428), strict=True
    ):
        found = granule[name].values[0]
        wet = np.isfinite(found) & ~averaged
        assert wet.mean() > 0.4
        npt.assert_allclose(found[wet], closed_form.reshape(-1)[nearest][wet], atol=2e-8)


def test_stress_on_edges_is_turned_to_the_rotation_that_it_follows(tmp_path):
    """The demo's own side of 30: 1e-3 of the strongest stress outside the cap, 1e-2 in it."""
    inputs = write_inputs(tmp_path / "inputs", side=30, months=("1992-01",), days=())
    made = production(tmp_path / "root", inputs)
    made.workspace().make(STRESS_LATLON, "1992-01")
    made.workspace().make(STRESS_NATIVE, "1992-01")
    assert "native_llc0030.nc" in record_of(made, STRESS_NATIVE, "1992-01").uri
    grid = sample_grid_fields(30)
    granule = opened(made, STRESS_LATLON, "1992-01")
    nearest, averaged = nearest_cells(grid, granule["latitude"].values, granule["longitude"].values)
    away = open_on_all_sides(grid)
    lon, lat, _ = position(grid)
    strongest = 0.12
    for name, expected in zip(("oceTAUE", "oceTAUN"), oce_stress_n_m2(lon, lat, 732), strict=True):
        off = np.abs(granule[name].values[0] - expected.reshape(-1)[nearest])
        inside = away.reshape(-1)[nearest] & np.isfinite(off) & ~averaged
        cap = nearest // 900 == 6
        assert off[inside & ~cap].max() < 1e-3 * strongest
        assert off[inside & cap].max() < 1e-2 * strongest
        assert np.count_nonzero(inside & cap) > 1000


# Readers


@pytest.mark.parametrize("key", [SSH_LATLON, STRESS_NATIVE])
def test_the_file_is_the_one_that_xarray_would_have_written(
    key, tmp_path, tmp_path_factory, monkeypatch
):
    seen = []

    def spy(dataset, path, *, encoding):
        seen.append((dataset, encoding))
        return write(dataset, path, encoding=encoding)

    write = granules.write_netcdf
    monkeypatch.setattr(granules, "write_netcdf", spy)
    own = own_sample(tmp_path_factory, tmp_path)
    own.workspace().make(key, "1992-01")
    ((dataset, encoding),) = seen
    ours, plain = granule_of(own, key, "1992-01"), tmp_path / "plain.nc"
    dataset.to_netcdf(plain, encoding=encoding)
    for engine in ("netcdf4", "h5netcdf"):
        for decode in (True, False):
            with (
                xr.open_dataset(ours, engine=engine, decode_cf=decode) as one,
                xr.open_dataset(plain, engine=engine, decode_cf=decode) as other,
            ):
                xr.testing.assert_identical(one, other)
                for name in one.variables:
                    npt.assert_array_equal(one[name].values, other[name].values)


@pytest.mark.skipif(shutil.which("ncdump") is None, reason="ncdump is not installed")
@pytest.mark.parametrize(
    ("key", "partition"), [(SSH_NATIVE, "1992-01"), (STRESS_LATLON, "2017-12")]
)
def test_ncdump_reads_a_granule_and_its_fill_pattern(made, key, partition):
    path = granule_of(made, key, partition)
    first = next(iter(CONTENTS[key]))
    text = subprocess.run(
        ["ncdump", "-s", "-v", first, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert f'{first}:_Shuffle = "true"' in text
    assert f"{first}:_DeflateLevel = 5" in text
    assert ':_Format = "netCDF-4"' in text
    values = text.rpartition(f" {first} =")[2].rpartition(";")[0].replace("\n", " ").split(",")
    wet = np.array([value.strip() != "_" for value in values])
    expected = opened(made, key, partition)[first].values
    npt.assert_array_equal(wet, np.isfinite(expected).reshape(-1))


# Verification


def test_a_good_granule_has_nothing_wrong(made):
    storage = Directory(root_of(made))
    for key, partition in EVERY:
        assert verify_granule(storage, key, partition) == []


@pytest.fixture
def planted(made, tmp_path):
    """A root of its own with one granule, and what records a change of its file as if made so."""
    key, partition = SSH_NATIVE, "1992-01"
    record = record_of(made, key, partition)
    storage = Directory(tmp_path)
    path = tmp_path / record.uri
    path.parent.mkdir(parents=True)
    shutil.copyfile(root_of(made) / record.uri, path)

    def write_record(changed: Record) -> None:
        storage.put(record_key(key, partition), json.dumps(asdict(changed)).encode())

    def plant(change) -> list[str]:
        with netCDF4.Dataset(path, "r+") as file:
            change(file)
        size, sha256 = digest_of_path(path)
        write_record(replace(record, bytes=size, sha256=sha256))
        return verify_granule(storage, key, partition)

    write_record(record)
    return storage, record, plant


def set_value(name, value):
    def change(file):
        file[name][(0,) * file[name].ndim] = value

    return change


def all_fill(file):
    file["ETAN"][...] = file["ETAN"]._FillValue


def set_attribute(place, name, value):
    return lambda file: (file if place == "" else file[place]).setncattr(name, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_attribute("", "product_name", "OTHER.nc"), "product_name is OTHER.nc, the file SEA_"),
        (set_attribute("", "title", "TBD_TITLE"), "title is still TBD_TITLE"),
        (set_value("time", 733), "time lies outside time_bnds"),
        (set_value("XC", np.nan), "XC holds NaN"),
        (set_value("YG", np.inf), "YG holds NaN"),
        (set_value("SSH", 30.0), "SSH lies between"),
        (set_attribute("SSHIBC", "valid_max", np.float32(5)), "SSHIBC lies between"),
        (lambda file: file["SSH"].delncattr("valid_min"), "SSH lacks valid_min or valid_max"),
        (all_fill, "ETAN holds no value"),
    ],
)
def test_a_planted_fault_is_found(planted, change, says):
    _, _, plant = planted
    assert plant(lambda file: None) == []
    problems = plant(change)
    assert any(says in problem for problem in problems)
    subject = says.split()[0]  # one fault may break two rules, but never another variable's
    assert all(problem.startswith(subject) for problem in problems)


def test_changed_bytes_a_lost_file_and_a_lost_record_are_found(planted):
    storage, record, _ = planted
    path = storage.root / record.uri
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = verify_granule(storage, SSH_NATIVE, "1992-01")
    assert record.sha256[:12] in problem
    path.unlink()
    assert verify_granule(storage, SSH_NATIVE, "1992-01") == [f"{record.uri} is gone"]
    storage.put(record_key(SSH_NATIVE, "1992-01"), b"{")
    (problem,) = verify_granule(storage, SSH_NATIVE, "1992-01")
    assert "is not a record" in problem
    storage.delete(record_key(SSH_NATIVE, "1992-01"))
    assert verify_granule(storage, SSH_NATIVE, "1992-01") == ["has no record"]


def test_a_damaged_granule_is_made_again_to_the_same_bytes(made, tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    record = own.workspace().make(SSH_NATIVE, "1992-01").record
    path = granule_of(own, SSH_NATIVE, "1992-01")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = own.workspace().make(SSH_NATIVE, "1992-01", Policy(verify=True))
    assert not again.skipped
    assert again.record.sha256 == record.sha256 == digest_of_path(path)[1]
