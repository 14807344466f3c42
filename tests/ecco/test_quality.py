import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dor_ecco_assets.ecco.quality import (
    is_constant,
    non_finite_in_wet,
    non_zero_on_land,
    outside_range,
)
from dor_ecco_assets.errors import GridMismatch

SHAPE = (3, 2, 4, 4)

fields = hnp.arrays(np.float32, SHAPE, elements=st.floats(-100, 100, width=32))
masks = hnp.arrays(bool, SHAPE[1:])


@given(field=fields, wet=masks)
def test_a_field_masked_to_zero_has_nothing_on_land(field, wet):
    assert non_zero_on_land(np.where(wet, field, 0), wet) == (0, 0.0)


@given(field=fields, wet=masks, bad=hnp.arrays(bool, SHAPE))
def test_bad_values_count_where_it_is_wet_and_only_there(field, wet, bad):
    field[bad] = np.nan
    assert non_finite_in_wet(field, wet) == np.count_nonzero(bad & wet)
    found = non_zero_on_land(field, wet)
    assert found.cells == np.count_nonzero((bad | (field != 0)) & ~wet)
    finite = np.abs(field[~bad & ~np.broadcast_to(wet, SHAPE)])
    assert found.largest == finite.max(initial=0)


@given(field=fields, wet=masks, low=st.floats(-50, 0), high=st.floats(0, 50))
def test_a_range_counts_what_lies_outside_it(field, wet, low, high):
    values = field[:, wet]
    report = outside_range(field, wet, low=low, high=high)
    assert report.cells == np.count_nonzero(values < low) + np.count_nonzero(values > high)
    if wet.any():
        assert (report.minimum, report.maximum) == (values.min(), values.max())
        within = outside_range(field, wet, low=report.minimum, high=report.maximum)
        assert within.cells == 0


def test_infinities_are_not_finite_and_stay_out_of_the_range():
    field, wet = np.array([1.0, np.inf, -np.inf, 2.0]), np.array([True, True, False, False])
    assert non_finite_in_wet(field, wet) == 1
    assert non_zero_on_land(field, wet) == (2, 2.0)
    assert outside_range(field, wet, low=0, high=1) == (0, 1.0, 1.0)


@given(wet=masks, value=st.floats(-10, 10, width=32))
def test_a_constant_is_found_whatever_stands_on_land(wet, value):
    field = np.where(wet, np.float32(value), np.arange(32, dtype=np.float32).reshape(SHAPE[1:]))
    assert is_constant(field, wet) == (wet.sum() > 1)
    if wet.sum() > 1:
        field[tuple(np.argwhere(wet)[0])] += 1
        assert not is_constant(field, wet)


def test_a_field_without_wet_cells_has_no_range_and_no_constant():
    field, dry = np.ones(SHAPE), np.zeros(SHAPE[1:], bool)
    report = outside_range(field, dry, low=2, high=3)
    assert report.cells == 0
    assert np.isnan([report.minimum, report.maximum]).all()
    assert not is_constant(field, dry)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(GridMismatch, match=r"\(5,\)") as error:
        non_finite_in_wet(np.ones(SHAPE), np.ones(5, bool))
    assert error.value.code == "ShapeMismatch"
