"""Each way in which a granule can differ from its siblings is found and named."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.samples.virtual_granules import write_daily, write_swath
from dor_ecco_assets.virtual.compatibility import check_size, differences
from dor_ecco_assets.virtual.hdf5 import parse_hdf5

COORDINATES = ("time", "lat", "lon")


def granule(folder, deviation="none", day=2, **options):
    path = write_daily(folder / f"{deviation}.nc", day, deviation=deviation, **options)
    return parse_hdf5(str(path), load=COORDINATES)


@pytest.mark.parametrize(
    ("deviation", "codes"),
    [
        ("none", set()),
        ("other level", set()),
        ("other epoch", set()),
        ("packing", {"PackingMismatch"}),
        ("fill", {"FillMismatch"}),
        ("chunks", {"ChunkMismatch"}),
        ("dtype", {"DtypeMismatch", "CodecMismatch"}),
        ("no filters", {"CodecMismatch"}),
        ("fletcher32", {"CodecMismatch"}),
        ("fewer rows", {"DimMismatch"}),
        ("shifted latitude", {"CoordMismatch"}),
        ("variable missing", {"VariableMissing"}),
        ("variable extra", {"VariableExtra"}),
    ],
)
def test_a_deviation_is_named_by_its_cause(tmp_path, deviation, codes):
    reference = granule(tmp_path, day=1)
    other = granule(tmp_path, deviation)
    assert {d.code for d in differences(reference, other, concat_dim="time")} == codes


def test_only_the_packing_of_one_granule_is_named(tmp_path):
    found = differences(
        granule(tmp_path), granule(tmp_path, scale_factor=0.01, day=3), concat_dim="time"
    )
    assert {(d.variable, d.expected, d.found) for d in found} == {
        (name, "scale_factor = 0.001", "scale_factor = 0.01")
        for name in ("analysed_sst", "analysis_error")
    }


def test_coordinates_may_differ_within_a_tolerance(tmp_path):
    pair = granule(tmp_path), granule(tmp_path, "shifted latitude")
    assert differences(*pair, concat_dim="time", tolerance=0.26) == []
    assert differences(*pair, concat_dim="time", tolerance=0.24)


def test_an_array_referenced_here_and_loaded_there_does_not_fit(tmp_path):
    loaded = granule(tmp_path)
    referenced = parse_hdf5(str(tmp_path / "none.nc"), load=("time",))
    assert {d.variable for d in differences(loaded, referenced, concat_dim="time")} == {
        "lat",
        "lon",
    }


def test_nan_as_fill_value_is_the_same_as_nan(tmp_path):
    one = granule(tmp_path)
    array = replace(one.arrays["analysed_sst"], fill_value=math.nan)
    same = replace(one, arrays=one.arrays | {"analysed_sst": array})
    assert differences(same, same, concat_dim="time") == []
    assert {d.code for d in differences(one, same, concat_dim="time")} == {"FillMismatch"}


def test_swaths_may_be_of_any_length(tmp_path):
    one, other = (
        parse_hdf5(str(write_swath(tmp_path / f"{n}.nc", 1, n, n)), load=("time",))
        for n in (70, 95)
    )
    assert differences(one, other, concat_dim=None, variable_length=("num_lines",)) == []
    assert {d.code for d in differences(one, other, concat_dim=None)} == {"DimMismatch"}


def test_a_size_other_than_listed_is_refused():
    check_size("x.nc", 10, 10)
    check_size("x.nc", 10, None)
    with pytest.raises(InputUnusable, match="has 9 bytes, CMR lists 10") as caught:
        check_size("x.nc", 9, 10)
    assert caught.value.code == "SizeMismatch"
