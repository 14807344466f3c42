"""Atlases as configuration, and their cases: computed, named, numbered, found again."""

import hashlib

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.atlas import calendar
from dor_ecco_assets.atlas.cases import (
    CASE_COLUMNS,
    case_at,
    case_named,
    case_of_partition,
    case_table,
    cases_of,
    partition_path,
)
from dor_ecco_assets.atlas.names_on_disk import efficiency_name, injection_dimension
from dor_ecco_assets.atlas.specification import atlas_names, load_atlas
from dor_ecco_assets.errors import ConfigurationError

DOR = load_atlas("dor")
FIRST = "smyle.cdr-atlas-v0.glb-dor_North_Atlantic_basin_000_1999-01-01_00000.001"
LAST = "smyle.cdr-atlas-v0.glb-dor_Southern_Ocean_039_1999-10-01_02759.001"


def names_digest(atlas) -> str:
    return hashlib.sha256("\n".join(case.name for case in cases_of(atlas)).encode()).hexdigest()


def test_the_published_atlas_has_2760_cases():
    cases = cases_of(DOR)
    assert (len(cases), cases[0].name, cases[-1].name) == (2760, FIRST, LAST)
    worked = case_at(DOR, 388, 7)
    assert worked.name.endswith("_South_038_1999-07-01_01554.001")
    assert (worked.polygon, worked.basin, worked.partition) == (38, "South", "07|388")
    assert DOR.control_case == "smyle.cdr-atlas-v0.control.001"
    assert DOR.control_case not in {case.name for case in cases}


@pytest.mark.parametrize(
    ("basin", "first", "last", "master"),
    [
        ("North_Atlantic_basin", 0, 599, 0),
        ("North_Pacific_basin", 600, 1399, 150),
        ("South", 1400, 2599, 350),
        ("Southern_Ocean", 2600, 2759, 650),
    ],
)
def test_basins_have_the_published_ranges(basin, first, last, master):
    cases = [case for case in cases_of(DOR) if case.basin == basin]
    assert (cases[0].index, cases[-1].index, cases[0].polygon_master) == (first, last, master)
    assert cases[0].polygon == 0


@pytest.mark.parametrize("name", ["dor", "oae", "erw", "tiny", "tiny_full"])
def test_every_case_is_found_again_by_name_place_and_partition(name):
    atlas = load_atlas(name)
    for case in cases_of(atlas):
        assert case_named(atlas, case.name) is case
        assert case_at(atlas, case.polygon_master, case.injection_month) is case
        assert case_of_partition(atlas, case.partition) is case
        if atlas.forcing != "ERW":
            ordinal = atlas.injection_months.index(case.injection_month)
            assert case.index == len(atlas.injection_months) * case.polygon_master + ordinal


def test_only_coastal_polygons_weather_rocks():
    cases = cases_of(load_atlas("erw"))
    assert len(cases) == 4 * (90 + 100 + 120)
    assert [case.index for case in cases] == list(range(1240))
    assert {case.basin for case in cases} == {
        "North_Atlantic_basin",
        "North_Pacific_basin",
        "South",
    }
    assert max(case.polygon_master for case in cases) == 350 + 119
    assert cases[360].name.endswith("glb-erw_North_Pacific_basin_000_1999-01-01_00360.001")


def test_the_table_keeps_integers_and_the_published_columns():
    table = case_table(DOR)
    assert tuple(table) == CASE_COLUMNS
    for column in ("index", "polygon", "polygon_master", "injection_month", "stop_n"):
        assert table[column].dtype == np.int64
        assert table[column].shape == (2760,)
    assert set(table["stop_n"]) == {15}
    assert table["refdate"][1] == "0347-04-01"
    assert table["start_date"][3] == "1999-10"
    assert len(set(table["simulation_key"])) == 2760
    assert set(table["cdr_forcing"]) == {"DOR"}


def test_the_names_are_those_of_the_published_grammar():
    """Written out independently of the code's own loops."""
    names = []
    for basin, count in [
        ("North_Atlantic_basin", 150),
        ("North_Pacific_basin", 200),
        ("South", 300),
        ("Southern_Ocean", 40),
    ]:
        for polygon in range(count):
            for start in ("1999-01", "1999-04", "1999-07", "1999-10"):
                names.append(
                    "smyle.cdr-atlas-v0.glb-oae_"
                    + "_".join(
                        [basin, str(polygon).zfill(3), start + "-01", str(len(names)).zfill(5)]
                    )
                    + ".001"
                )
    expected = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert names_digest(load_atlas("oae")) == expected
    assert expected == "55c71f446ceeab751d1410a7bc4b3742c91603f15f9be8b65ddbc5636a117dcc"


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        (FIRST.replace("_00000.", "_00001."), "BadCaseIndex", f"did you mean {FIRST}"),
        (FIRST.replace("dor", "oae"), "UnknownCase", "nearest: "),
        (FIRST + "\n", "UnknownCase", FIRST),
        ("x" + FIRST, "UnknownCase", FIRST),
        (FIRST.replace("Atlantic", "Pacific"), "BadCaseIndex", "case 600"),
        (FIRST.replace("_000_", "_150_"), "UnknownCase", "nearest: "),
        (FIRST.replace(".001", ".002"), "UnknownCase", FIRST),
        ("smyle.cdr-atlas-v0.control.001", "ControlRun", "never a case"),
        ("", "UnknownCase", "read like"),
    ],
)
def test_a_wrong_name_is_refused_with_the_right_one(name, code, says):
    with pytest.raises(ConfigurationError) as caught:
        case_named(DOR, name)
    assert caught.value.code == code
    assert says in caught.value.message


@given(text=st.text(max_size=90))
def test_no_text_but_a_case_name_is_a_case(text):
    with pytest.raises(ConfigurationError):
        case_named(DOR, text)


@pytest.mark.parametrize(("polygon", "month"), [(690, 1), (-1, 1), (0, 2), (0, 13)])
def test_a_place_without_case_says_what_there_is(polygon, month):
    with pytest.raises(ConfigurationError, match="0 to 689 and months 01, 04, 07, 10"):
        case_at(DOR, polygon, month)


@pytest.mark.parametrize("key", ["7|123", "123|07", "07|12", "07/123", "07|1234", ""])
def test_a_wrong_partition_key_is_refused(key):
    with pytest.raises(ConfigurationError):
        case_of_partition(DOR, key)


def test_a_partition_is_two_folders_of_a_path():
    assert partition_path("07|123") == "07/123"


# Configuration


def overlay(folder, atlas=None, polygons=None):
    (folder / "atlases/polygons").mkdir(parents=True)
    base = {"title": "x", "forcing": "DOR", "grid": "pop_sample", "polygons": "mine"}
    (folder / "atlases/mine.yaml").write_text(yaml.safe_dump(base | (atlas or {})))
    one = {"basins": [{"name": "South", "polygons": 3}], "mask": "m.nc", "regions": "r.geojson"}
    (folder / "atlases/polygons/mine.yaml").write_text(yaml.safe_dump(one | (polygons or {})))
    return str(folder)


def test_an_own_atlas_is_two_files(tmp_path):
    configs = overlay(tmp_path, {"injection_months": [2, 8], "months": 30})
    atlas = load_atlas("mine", configs)
    assert [case.index for case in cases_of(atlas)] == list(range(6))
    assert case_at(atlas, 1, 8).index == 3
    assert atlas.years == 3
    assert "mine" in atlas_names(configs)
    assert "dor" in atlas_names(configs)


@pytest.mark.parametrize(
    ("atlas", "polygons", "says"),
    [
        ({"forcing": "CDR"}, {}, "forcing"),
        ({"injection_month": [1]}, {}, "did you mean 'injection_months'"),
        ({"injection_months": [4, 1]}, {}, "ascending months"),
        ({"injection_months": [0]}, {}, "ascending months"),
        ({"months": 0}, {}, "months"),
        ({"pixels_per_tile": 100}, {}, "power of two"),
        ({"forcing": "ERW"}, {}, "coastal polygons"),
        ({"polygons": "none"}, {}, "none"),
        ({}, {"mask": None}, "either mask or basin_masks"),
        ({}, {"regions": None}, "polygon 0 cannot be told"),
        ({}, {"basin_centres": {"North": "c.npy"}}, "unknown basins"),
        ({}, {"basins": [{"name": "South", "polygons": 3, "coastal": 4}]}, "4 coastal"),
        ({}, {"basins": [{"name": "South", "polygons": 3}] * 2}, "two basins"),
    ],
)
def test_an_impossible_atlas_is_refused(tmp_path, atlas, polygons, says):
    with pytest.raises(ConfigurationError, match=says):
        load_atlas("mine", overlay(tmp_path, atlas, polygons))


def test_a_misspelt_atlas_is_answered_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"did you mean tiny\.yaml"):
        load_atlas("tini")


# Calendar and names on disk


@pytest.mark.parametrize(
    ("start", "last"), [(1, (361, 12)), (4, (362, 3)), (7, (362, 6)), (10, (362, 9))]
)
def test_a_case_covers_180_months_from_its_injection(start, last):
    months = list(calendar.model_months(start, 180))
    assert (months[0], months[-1], len(months)) == ((347, start), last, 180)
    days = 0
    for k, (year, month) in enumerate(months):
        assert calendar.elapsed_month(start, year, month) == k
        assert calendar.elapsed_days(start, year, month) == days
        days += calendar.month_length_days(month)
    assert days == 15 * 365


def test_the_model_year_347_is_1999():
    assert calendar.calendar_year(347) == 1999
    assert calendar.days_since_epoch(347, 2) == 347 * 365 + 31


def test_readers_find_the_published_dimension_names():
    assert (
        injection_dimension("efficiency") == injection_dimension("uptake") == "intervention_month"
    )
    assert injection_dimension("research") == "intervention_date"
    assert injection_dimension("pyramid") == "intervention_date"
    assert injection_dimension("pyramid", "injection_date") == "injection_date"
    assert efficiency_name("DOR") == "DOR_efficiency"
