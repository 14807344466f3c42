import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.names import (
    DATASETS,
    GranuleName,
    doi,
    granule_name,
    match_granule_name,
    native_label,
    parse_granule_name,
    short_name,
    title,
)
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.errors import ConfigurationError, InputUnusable
from tests.support.data import real_data

EXAMPLES = {
    "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0090.nc": GranuleName(
        "SEA_SURFACE_HEIGHT", "native", "mon_mean", "1992-01", "llc0090"
    ),
    "SEA_SURFACE_HEIGHT_day_mean_1992-01-01_ECCO_V4r4_latlon_0p50deg.nc": GranuleName(
        "SEA_SURFACE_HEIGHT", "latlon", "day_mean", "1992-01-01", "0p50deg"
    ),
    "OCEAN_TEMPERATURE_SALINITY_day_mean_2017-12-29_ECCO_V4r4_native_llc0090.nc": GranuleName(
        "OCEAN_TEMPERATURE_SALINITY", "native", "day_mean", "2017-12-29", "llc0090"
    ),
    "OCEAN_TEMPERATURE_SALINITY_day_mean_2007-01-01_ECCO_V4r4_latlon_0p50deg.nc": GranuleName(
        "OCEAN_TEMPERATURE_SALINITY", "latlon", "day_mean", "2007-01-01", "0p50deg"
    ),
    "OCEAN_BOTTOM_PRESSURE_snap_1992-01-01T000000_ECCO_V4r4_native_llc0090.nc": GranuleName(
        "OCEAN_BOTTOM_PRESSURE", "native", "snap", "1992-01-01T000000", "llc0090"
    ),
    "OCEAN_3D_MIXING_COEFFS_ECCO_V4r4_native_llc0090.nc": GranuleName(
        "OCEAN_3D_MIXING_COEFFS", "native", label="llc0090"
    ),
    "GRID_GEOMETRY_ECCO_v4r4_native_llc0090.nc": GranuleName(
        "GRID_GEOMETRY", "native", label="llc0090", version="v4r4"
    ),
    "GLOBAL_MEAN_SEA_LEVEL_mon_mean_ECCO_V4r4_1D.nc": GranuleName(
        "GLOBAL_MEAN_SEA_LEVEL", "1D", "mon_mean"
    ),
}

#: Frequencies and grids under which PO.DAAC lists a stem.
TOKENS = {"AVG_DAY": "day_mean", "AVG_MON": "mon_mean", "SNAP": "snap", "TI": None}

stems = st.sampled_from(sorted(DATASETS))
times = st.integers(0, V4R4_CLOCK.last_step).map(V4R4_CLOCK.time_of)


@pytest.mark.parametrize("text", EXAMPLES)
def test_published_names_are_read_and_written_back_unchanged(text):
    assert parse_granule_name(f"some/folder/{text}") == EXAMPLES[text]
    assert str(EXAMPLES[text]) == text


@given(
    stem=stems,
    grid=st.sampled_from(["native", "latlon", "1D"]),
    frequency=st.sampled_from(sorted(TOKENS)),
    centre=times,
    side=st.integers(1, 4320),
)
def test_every_generated_name_round_trips(stem, grid, frequency, centre, side):
    if grid == "1D" and frequency == "TI":
        return
    label = native_label(side) if grid == "native" else None
    name = granule_name(stem, grid=grid, frequency=frequency, centre=centre, label=label)
    assert parse_granule_name(str(name)) == name
    assert name.frequency == frequency


def test_a_granule_is_dated_by_the_centre_of_its_period():
    bounds = V4R4_CLOCK.period_bounds(12, "AVG_DAY")
    name = granule_name(
        "SEA_SURFACE_HEIGHT", grid="latlon", frequency="AVG_DAY", centre=bounds.centre
    )
    assert str(name) == "SEA_SURFACE_HEIGHT_day_mean_1992-01-01_ECCO_V4r4_latlon_0p50deg.nc"


def test_names_that_differ_in_case_belong_to_one_dataset():
    one = parse_granule_name("GRID_GEOMETRY_ECCO_v4r4_native_llc0090.nc")
    other = parse_granule_name("GRID_GEOMETRY_ECCO_V4r4_native_LLC0090.nc")
    assert one != other
    assert one.dataset_key == other.dataset_key


@pytest.mark.parametrize(
    "text",
    [
        "SEA_SURFACE_HEIGHT_mon_mean_1992-01-01_ECCO_V4r4_native_llc0090.nc",
        "SEA_SURFACE_HEIGHT_day_mean_1992-01_ECCO_V4r4_native_llc0090.nc",
        "SEA_SURFACE_HEIGHT_mon_mean_ECCO_V4r4_native_llc0090.nc",
        "SEA_SURFACE_HEIGHT_1992-01_ECCO_V4r4_native_llc0090.nc",
        "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native.nc",
        "GLOBAL_MEAN_SEA_LEVEL_mon_mean_1992-01_ECCO_V4r4_1D.nc",
        "GLOBAL_MEAN_SEA_LEVEL_ECCO_V4r4_1D.nc",
        "SSH.nc",
        "",
    ],
)
def test_a_name_whose_parts_do_not_fit_is_refused(text):
    assert match_granule_name(text) is None
    with pytest.raises(InputUnusable, match="not a granule's name") as error:
        parse_granule_name(text)
    assert error.value.code == "NotAGranuleName"
    assert error.value.uri == text


def test_a_dated_granule_needs_its_time_and_a_series_its_token():
    with pytest.raises(ConfigurationError, match="centre of its period"):
        granule_name("SEA_SURFACE_HEIGHT", grid="native", frequency="AVG_MON")
    with pytest.raises(ConfigurationError, match="series have times"):
        granule_name("SBO_CORE_PRODUCTS", grid="1D", frequency="TI")


def test_short_names_dois_and_titles_follow_the_worked_examples():
    height = {"stem": "SEA_SURFACE_HEIGHT", "grid": "latlon", "frequency": "AVG_MON"}
    tracers = {"stem": "OCEAN_TEMPERATURE_SALINITY", "grid": "native", "frequency": "SNAP"}
    assert short_name(**height) == "ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
    assert doi(**height) == "10.5067/ECG5M-SSH44"
    assert short_name(**tracers) == "ECCO_L4_TEMP_SALINITY_LLC0090GRID_SNAPSHOT_V4R4"
    assert doi(**tracers) == "10.5067/ECL5S-OTS44"
    assert title(**height) == (
        "ECCO Sea Surface Height - Monthly Mean 0.5 Degree (Version 4 Release 4)"
    )
    assert title(**height, version="V4r5").endswith("(Version 4 Release 5)")


def test_25_stems_have_names_and_no_two_share_one():
    assert len(DATASETS) == 25
    assert len({names.code for names in DATASETS.values()}) == 25
    assert len({names.suffix for names in DATASETS.values()}) == 25


def test_a_stem_or_release_without_rule_is_refused():
    with pytest.raises(ConfigurationError, match="SEA_SURFACE_HEIGHT"):
        short_name("SEA_LEVEL", grid="native", frequency="AVG_MON")
    with pytest.raises(ConfigurationError, match="V4r5"):
        doi("SEA_SURFACE_HEIGHT", grid="native", frequency="AVG_MON", version="V4r5")
    with pytest.raises(ConfigurationError, match="form V4r4"):
        title("SEA_SURFACE_HEIGHT", grid="native", frequency="AVG_MON", version="4.4")


def test_all_79_rows_of_the_published_table_are_generated():
    path = real_data("ecco_meta", "V4r4", "PODAAC_datasets-revised_20210226.5.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = set()
    for row in rows:
        name = parse_granule_name(row["DATASET.FILENAME"].strip())
        words = {"stem": name.stem, "grid": name.grid, "frequency": name.frequency}
        assert short_name(**words) == row["DATASET.SHORT_NAME"].strip()
        assert doi(**words) == row["DATASET.PERSISTENT_ID"].strip().replace("PODAAC-", "10.5067/")
        assert title(**words) == " ".join(row["DATASET.LONG_NAME"].split())
        keys.add(name.dataset_key)
    assert len(rows) == len(keys) == 79


@pytest.mark.parametrize("grid", ["native", "latlon", "1D"])
def test_every_grouping_of_the_production_has_names(grid):
    path = real_data("ecco_meta", "V4r4", f"ECCOv4r4_groupings_for_{grid}_datasets.json")
    for grouping in json.loads(path.read_text()):
        for code in grouping["frequency"].replace(" ", "").split(","):
            name = granule_name(
                grouping["filename"],
                grid=grid,
                frequency=code,
                centre=np.datetime64("2000-02-29T12:00:00"),
            )
            assert parse_granule_name(str(name)) == name
