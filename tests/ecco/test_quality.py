import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dor_ecco_assets.ecco.quality import survey_field
from dor_ecco_assets.errors import GridMismatch

SHAPE = (3, 2, 4, 4)

fields = hnp.arrays(np.float32, SHAPE, elements=st.floats(-100, 100, width=32))
masks = hnp.arrays(bool, SHAPE[1:])


@given(field=fields, wet=masks)
def test_a_field_masked_to_zero_has_nothing_on_land(field, wet):
    found = survey_field(np.where(wet, field, np.float32(0)), wet)
    assert (found.on_land, found.largest_on_land) == (0, 0.0)


@given(field=fields, wet=masks, bad=hnp.arrays(bool, SHAPE))
def test_bad_values_count_where_it_is_wet_and_only_there(field, wet, bad):
    field[bad] = np.nan
    found = survey_field(field, wet)
    assert found.non_finite == np.count_nonzero(bad & wet)
    assert found.finite == np.count_nonzero(~bad & wet)
    assert found.on_land == np.count_nonzero((bad | (field != 0)) & ~wet)
    finite = np.abs(field[~bad & ~np.broadcast_to(wet, SHAPE)])
    assert found.largest_on_land == finite.max(initial=0)


@given(field=fields, wet=masks, low=st.floats(-50, 0), high=st.floats(0, 50))
def test_a_range_counts_what_lies_outside_it(field, wet, low, high):
    values = field[:, wet].astype(np.float64)
    found = survey_field(field, wet, low=low, high=high)
    assert found.outside == np.count_nonzero(values < low) + np.count_nonzero(values > high)
    if wet.any():
        assert (found.minimum, found.maximum) == (values.min(), values.max())
        assert survey_field(field, wet, low=found.minimum, high=found.maximum).outside == 0


def test_infinities_are_not_finite_and_stay_out_of_the_range():
    field, wet = np.array([1.0, np.inf, -np.inf, 2.0]), np.array([True, True, False, False])
    found = survey_field(field, wet, low=0, high=1)
    assert found == (1, 0, 1.0, 1.0, 1, 2, 2.0)


@given(wet=masks, value=st.floats(-10, 10, width=32))
def test_a_constant_is_found_whatever_stands_on_land(wet, value):
    field = np.where(wet, np.float32(value), np.arange(32, dtype=np.float32).reshape(SHAPE[1:]))
    assert survey_field(field, wet).constant == (wet.sum() > 1)
    if wet.sum() > 1:
        field[tuple(np.argwhere(wet)[0])] += 1
        assert not survey_field(field, wet).constant


def test_a_field_without_wet_cells_has_no_range_and_no_constant():
    found = survey_field(np.ones(SHAPE), np.zeros(SHAPE[1:], bool), low=2, high=3)
    assert (found.outside, found.finite, found.constant) == (0, 0, False)
    assert np.isnan([found.minimum, found.maximum]).all()


def test_the_compiled_pass_gives_what_the_interpreter_gives():
    from dor_ecco_assets.ecco.quality import _survey

    rng = np.random.default_rng(4)
    rows, wet = rng.normal(size=(3, 50)).astype(np.float32), rng.random(50) > 0.4
    rows[0, :5], rows[1, 7] = np.nan, np.inf
    assert _survey(rows, wet, -1.0, 1.0) == pytest.approx(_survey.py_func(rows, wet, -1.0, 1.0))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(GridMismatch, match=r"\(5,\)") as error:
        survey_field(np.ones(SHAPE), np.ones(5, bool))
    assert error.value.code == "ShapeMismatch"
