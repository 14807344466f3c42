"""Numbers of one packing become those of another without loss, or not at all; times as well."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.virtual.references import ArrayReferences
from dor_ecco_assets.virtual.repacking import repacked
from dor_ecco_assets.virtual.times import converted, is_time, milliseconds, stamp_ms, stamp_of


def array(dtype, values=None, **attributes):
    return ArrayReferences(
        dims=("x",),
        shape=(4,),
        dtype=np.dtype(dtype),
        chunks=(4,),
        codecs=(),
        fill_value=0,
        attributes=attributes,
        offsets=np.zeros(1, np.uint64),
        lengths=np.zeros(1, np.uint64),
        values=None if values is None else np.array(values, dtype),
    )


@given(
    st.lists(st.integers(-3000, 3000), min_size=1, max_size=20),
    st.integers(1, 8),
    st.integers(-400, 400),
)
def test_a_finer_packing_holds_what_a_coarser_one_means(numbers, coarser, shift):
    given_array = array("i2", numbers, scale_factor=0.001 * coarser, add_offset=1.0, _FillValue=-9)
    wanted = array("i4", scale_factor=0.001, add_offset=1.0 - 0.001 * shift, _FillValue=-(10**9))
    found = repacked("sst", given_array, wanted)
    missing = np.array(numbers) == -9
    np.testing.assert_array_equal(found[missing], -(10**9))
    expected = np.array(numbers)[~missing] * coarser + shift
    np.testing.assert_array_equal(found[~missing], expected)


@pytest.mark.parametrize(
    ("given_array", "wanted", "why"),
    [
        (array("i2", [1], scale_factor=0.001), array("i2", scale_factor=0.01), "steps are 0.001"),
        (array("f4", [1.5]), array("i2", scale_factor=0.01), "steps are floating point"),
        (array("i2", [30000], scale_factor=0.01), array("i2", scale_factor=0.001), "beyond the"),
        (array("i4", [70000]), array("i2"), "do not fit into int16"),
        (array("f8", [0.1]), array("f4"), "do not fit into float32"),
        (array("i2", [5]), array("i2", _FillValue=5), "would become 5"),
        (array("i2", [5], _FillValue=5), array("i2"), "no number for that"),
        (array("i2", [5], units="K"), array("i2", units="degC"), "units are 'K'"),
        (array("i1", [5], _Unsigned="true"), array("i1"), "one is unsigned"),
    ],
)
def test_what_would_be_lost_is_refused(given_array, wanted, why):
    with pytest.raises(InputUnusable, match=why) as caught:
        repacked("sst", given_array, wanted)
    assert caught.value.code == "NotRepresentable"


def test_equal_packing_keeps_the_numbers():
    values = array("i2", [1, 2, -9], scale_factor=0.1, _FillValue=-9)
    assert repacked("sst", values, array("i2", scale_factor=0.1, _FillValue=-9)) is values.values
    found = repacked("sst", values, array("i4", scale_factor=0.1, _FillValue=-1))
    np.testing.assert_array_equal(found, [1, 2, -1])
    into_float = repacked("sst", array("i2", [1, -9], _FillValue=-9), array("f8"))
    assert into_float[0] == 1.0
    assert math.isnan(into_float[1])


def test_times_keep_their_meaning_in_other_units():
    hours = {"units": "hours since 2002-06-01"}
    seconds = {"units": "seconds since 1981-01-01", "calendar": "gregorian"}
    found = converted(np.array([0, 25], "i4"), hours, seconds)
    assert found.dtype == np.dtype("i4")
    np.testing.assert_array_equal(
        milliseconds(found, seconds), milliseconds(np.array([0, 25]), hours)
    )
    assert stamp_of(int(milliseconds(np.array([25]), hours)[0])) == "2002-06-02T01:00:00Z"
    same = np.array([1.5])
    assert (
        converted(same, hours, {"units": "hours since 2002-06-01", "calendar": "standard"}) is same
    )


def test_missing_times_stay_missing():
    hours = {"units": "hours since 2002-06-01", "_FillValue": -1.0}
    days = {"units": "days since 2002-06-02"}
    np.testing.assert_array_equal(converted(np.array([-1.0, 48.0]), hours, days), [-1.0, 1.0])
    with pytest.raises(InputUnusable, match="a time is missing"):
        milliseconds(np.array([-1.0]), hours)


@pytest.mark.parametrize(
    ("values", "given_units", "wanted", "why"),
    [
        ([1], {"units": "hours since 2002-06-01"}, {"units": "days since 2002-06-01"}, "no whole"),
        (
            [1],
            {"units": "days since 2002-06-01", "calendar": "noleap"},
            {"units": "hours since 2002-06-01"},
            "calendar noleap",
        ),
        (
            [1],
            {"units": "parsecs since 2002-06-01"},
            {"units": "hours since 2002-06-01"},
            "cannot be read",
        ),
    ],
)
def test_times_that_cannot_be_kept_are_refused(values, given_units, wanted, why):
    with pytest.raises(InputUnusable, match=why) as caught:
        converted(np.array(values, "i4"), given_units, wanted)
    assert caught.value.code == "TimeInvalid"


def test_stamps_of_a_listing():
    assert stamp_ms("") is None
    assert stamp_of(stamp_ms("2002-06-01T00:00:00.137Z")) == "2002-06-01T00:00:00.137Z"
    assert stamp_of(stamp_ms("2002-06-01T00:00:00.000Z")) == "2002-06-01T00:00:00Z"
    assert is_time({"units": "days since 1950-01-01"})
    assert not is_time({"units": "kelvin"})
