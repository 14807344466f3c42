"""Granules against published headers and one published granule: each difference is listed."""

import pytest

from tests.ecco.headers import (
    Header,
    differences,
    read_cdl,
    read_header,
    read_storage,
    storage_differences,
)
from tests.ecco.known_differences import HEADERS, PAGE, STEMS, STORAGE, page, unknown, unused
from tests.ecco.production import EVERY_PARTITION, granule_of, made_of_every_field
from tests.support.data import real_data

ATMOSPHERE = "ATM_SURFACE_TEMP_HUM_WIND_PRES_day_mean_1992-01-01_ECCO_V4r4_latlon_0p50deg.nc"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_of_every_field(tmp_path_factory)


def counterpart(made, name):
    """Our granule of the dataset that a pre-release granule belongs to."""
    stem = next(stem for stem in STEMS if name.startswith((f"{stem}_day", f"{stem}_mon")))
    often, frequency = ("DAILY", "AVG_DAY") if "_day_mean_" in name else ("MONTHLY", "AVG_MON")
    key = f"ecco/ECCO_L4_{STEMS[stem][1]}_05DEG_{often}_V4R4"
    path = granule_of(made, key, EVERY_PARTITION[frequency])
    assert path.name.startswith(STEMS[stem][0])
    return path


def test_every_difference_from_the_pre_release_headers_is_listed_and_every_listed_one_occurs(made):
    files = sorted(real_data("ecco_granules", "cdl").glob("*.cdl"))
    assert len(files) == 20
    found = {
        line
        for file in files
        for line in differences(read_header(counterpart(made, file.name)), read_cdl(file))
    }
    assert unknown(found, HEADERS) == []
    assert unused(found, HEADERS) == []


def test_granules_are_stored_as_the_published_one_is(made):
    theirs = read_storage(real_data("ecco_granules", ATMOSPHERE))
    ours = read_storage(counterpart(made, ATMOSPHERE))
    assert len(ours.keys() & theirs.keys()) == 13
    found = storage_differences(ours, theirs)
    assert unknown(found, STORAGE) == []
    assert unused(found, STORAGE) == []


def test_a_header_from_text_is_the_one_of_the_file():
    text = read_cdl(real_data("ecco_granules", "cdl", f"{ATMOSPHERE}.cdl"))
    file = read_header(real_data("ecco_granules", ATMOSPHERE))
    assert text.variables == file.variables
    assert text.dimensions == file.dimensions
    for name in text.variables:
        for attribute in ("standard_name", "axis", "bounds"):
            one, other = (h.attributes[name].get(attribute) for h in (text, file))
            assert one == other, (name, attribute)
    assert text.attributes["EXFatemp"]["_FillValue"] == pytest.approx(9.969209968386869e36)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda h: h.dimensions.update(nv=3), "dimension nv: 2, there 3"),
        (lambda h: h.variables.pop("x"), "variable x only here"),
        (lambda h: h.attributes[""].update(title="T"), "global attribute title only there"),
        (lambda h: h.variables.update(x=("int", ("nv",))), "x: float (nv), there int (nv)"),
        (lambda h: h.attributes["x"].update(units="km"), "x:units m, there km"),
        (lambda h: h.attributes["x"].update(_FillValue=1.0), "x:_FillValue 2.0, there 1.0"),
    ],
)
def test_each_kind_of_difference_is_seen(change, line):
    def header():
        attributes = {"": {}, "x": {"units": "m", "_FillValue": 2.0, "comment": "a"}}
        return Header({"nv": 2}, {"x": ("float", ("nv",))}, attributes)

    other = header()
    assert differences(header(), other) == set()
    change(other)
    assert line in differences(header(), other)


def test_the_page_says_what_the_lists_say():
    assert PAGE.read_text() == page()
