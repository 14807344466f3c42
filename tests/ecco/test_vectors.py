import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.ecco.vectors import to_centres, to_east_north
from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.grids.llc import as_tiles, left_values, lower_values, tiles_from_compact
from dor_ecco_assets.samples.llc_grid import sample_grid_fields, solid_body_flow
from tests.support.data import llc90_fields, real_data


def random_tiles(seed, *lead, side=4, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((*lead, 13, side, side)).astype(dtype)


def random_angles(seed, side=4):
    angle = np.random.default_rng(seed).uniform(-np.pi, np.pi, (13, side, side))
    return np.cos(angle), np.sin(angle)


def angles_of(fields):
    return as_tiles(fields["AngleCS"]), as_tiles(fields["AngleSN"])


def errors_of_solid_body(fields, **axis):
    """Largest error of either component per cell, from faces, in float64."""
    flow = solid_body_flow(fields, **axis)
    east, north = to_east_north(flow.u, flow.v, *angles_of(fields), location="faces", dtype=float)
    return np.abs(east - flow.east), np.abs(north - flow.north)


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds)
def test_the_pattern_of_the_angles_is_a_unit_vector_to_the_east(seed):
    cs, sn = random_angles(seed)
    east, north = to_east_north(cs, -sn, cs, sn, location="centres")
    npt.assert_array_equal(east, np.ones_like(east))
    npt.assert_array_equal(north, np.zeros_like(north))


@pytest.mark.parametrize("fields", [sample_grid_fields, lambda side: llc90_fields()])
def test_the_pattern_of_a_grids_own_angles_is_a_unit_vector_to_the_east(fields):
    cs, sn = angles_of(fields(12))
    east, north = to_east_north(cs, -sn, cs, sn, location="centres")
    npt.assert_array_equal(east, np.ones_like(east))
    npt.assert_array_equal(north, np.zeros_like(north))


@given(seed=seeds, location=st.sampled_from(["faces", "centres"]))
def test_rotation_keeps_the_squared_magnitude(seed, location):
    x, y = random_tiles(seed, 2), random_tiles(seed + 1, 2)
    east, north = to_east_north(x, y, *random_angles(seed), location=location)
    xc, yc = to_centres(x, y) if location == "faces" else (x, y)
    npt.assert_allclose(
        east.astype(float) ** 2 + north.astype(float) ** 2,
        xc.astype(float) ** 2 + yc.astype(float) ** 2,
        rtol=1e-6,
    )


@given(seed=seeds)
def test_turning_back_by_the_opposite_angle_gives_the_components(seed):
    x, y = random_tiles(seed, dtype=np.float64), random_tiles(seed + 1, dtype=np.float64)
    cs, sn = random_angles(seed)
    east, north = to_east_north(x, y, cs, sn, location="centres", dtype=float)
    back_x, back_y = to_east_north(east, north, cs, -sn, location="centres", dtype=float)
    npt.assert_allclose(back_x, x, atol=1e-13)
    npt.assert_allclose(back_y, y, atol=1e-13)


@given(seed=seeds, factor=st.sampled_from([-4.0, -1.0, 0.5, 2.0]))
def test_rotation_is_linear(seed, factor):
    x, y = random_tiles(seed), random_tiles(seed + 1)
    angles = random_angles(seed)
    east, north = to_east_north(x, y, *angles, location="faces")
    scaled = to_east_north(
        np.float32(factor) * x, np.float32(factor) * y, *angles, location="faces"
    )
    npt.assert_array_equal(scaled[0], np.float32(factor) * east)
    npt.assert_array_equal(scaled[1], np.float32(factor) * north)


@given(seed=seeds, levels=st.integers(1, 3))
def test_levels_are_rotated_independently_of_each_other(seed, levels):
    x, y = random_tiles(seed, 2, levels), random_tiles(seed + 1, 2, levels)
    angles = random_angles(seed)
    east, north = to_east_north(x, y, *angles, location="faces")
    assert east.shape == north.shape == x.shape
    for at in np.ndindex(2, levels):
        one_east, one_north = to_east_north(x[at], y[at], *angles, location="faces")
        npt.assert_array_equal(east[at], one_east)
        npt.assert_array_equal(north[at], one_north)


@given(seed=seeds)
def test_every_face_value_counts_half_in_each_cell_it_touches(seed):
    """No value is lost or doubled: faces of all tiles are shared, save those on closed edges."""
    x, y = random_tiles(seed, dtype=np.float64), random_tiles(seed + 1, dtype=np.float64)
    y[[0, 3], 0, :] = 0.0
    xc, yc = to_centres(x, y)
    assert np.isclose(xc.sum() + yc.sum(), x.sum() + y.sum(), atol=1e-9)


def test_interpolation_averages_inside_a_tile_and_halves_at_a_closed_edge():
    x = np.zeros((13, 3, 3), np.float32)
    x[9] = [[1, 3, 5]] * 3
    xc, yc = to_centres(x, np.zeros_like(x))
    npt.assert_array_equal(xc[9], [[2, 4, 2.5]] * 3)
    npt.assert_array_equal(xc[8][:, 2], [0.5] * 3)
    # Tile 3's i axis runs on as tile 9's j axis, whose south edges carry y: nothing of x there.
    npt.assert_array_equal(xc[3], np.zeros((3, 3)))
    npt.assert_array_equal(yc, np.zeros_like(yc))


def test_interpolation_crosses_to_the_other_component_in_reversed_order():
    y = np.zeros((13, 3, 3), np.float32)
    y[9, 0] = [2, 4, 6]
    xc, _ = to_centres(np.zeros_like(y), y)
    npt.assert_array_equal(xc[3][:, 2], [3, 2, 1])


@given(seed=seeds)
def test_float32_fields_are_computed_in_float32_with_rounded_angles(seed):
    x, y = random_tiles(seed), random_tiles(seed + 1)
    cs, sn = random_angles(seed)
    east, north = to_east_north(x, y, cs, sn, location="faces")
    xc, yc = to_centres(x, y)
    c, s = cs.astype(np.float32), sn.astype(np.float32)
    npt.assert_array_equal(east, xc * c - yc * s)
    npt.assert_array_equal(north, xc * s + yc * c)
    rounded = to_east_north(x, y, c, s, location="faces")
    npt.assert_array_equal(rounded[0], east)
    assert east.dtype == north.dtype == np.float32


def test_big_endian_input_gives_native_output():
    x, y = random_tiles(1), random_tiles(2)
    angles = random_angles(3)
    expected, _ = to_east_north(x, y, *angles, location="faces")
    east, _ = to_east_north(x.astype(">f4"), y.astype(">f4"), *angles, location="faces")
    assert east.dtype.isnative
    npt.assert_array_equal(east, expected)


def test_shapes_that_do_not_agree_are_refused():
    x, (cs, sn) = random_tiles(1), random_angles(1)
    for wrong in (
        (x, x[:, :3], cs, sn),
        (x, x, cs[:12], sn),
        (x, x, cs, sn[0]),
        (x[0], x[0], cs[0], sn[0]),
    ):
        with pytest.raises(GridMismatch, match="expected") as error:
            to_east_north(*wrong, location="centres")
        assert error.value.code == "ShapeMismatch"


@settings(max_examples=10, deadline=None)
@given(axis_lon=st.floats(-180, 180), axis_lat=st.floats(-90, 90))
def test_solid_body_flow_is_recovered_on_the_sample_grid(axis_lon, axis_lat):
    fields = sample_grid_fields(30)
    wet = as_tiles(fields["Depth"]) > 0
    cap = np.arange(13)[:, None, None] == 6
    errors = errors_of_solid_body(fields, axis_lon=axis_lon, axis_lat=axis_lat)
    for error in errors:
        assert error[wet & cap].max() < 1e-2
        assert error[wet & ~cap].max() < 1e-3


def test_solid_body_flow_is_recovered_on_the_real_grid():
    fields = llc90_fields()
    wet = as_tiles(fields["Depth"]) > 0
    eastward, northward = errors_of_solid_body(fields)
    assert eastward[wet].max() < 5e-4
    assert northward[wet].max() < 2.2e-4


@pytest.fixture(scope="module")
def real_stress():
    """TauX, TauY of LLC90 (compact, big-endian float32, without .meta) and the wet mask."""
    tau = [
        tiles_from_compact(np.fromfile(real_data("llc90", name), ">f4").reshape(1170, 90))
        for name in ("TauX.bin", "TauY.bin")
    ]
    fields = llc90_fields()
    return *(t.astype(np.float32) for t in tau), as_tiles(fields["Depth"]) > 0, fields


def test_real_stress_lies_on_faces(real_stress):
    """It is zero exactly on faces with land on a side, those on tile edges included."""
    tau_x, tau_y, wet, _ = real_stress
    npt.assert_array_equal(tau_x != 0, wet & left_values(wet))
    npt.assert_array_equal(tau_y != 0, wet & lower_values(wet))


def test_real_stress_keeps_its_magnitude(real_stress):
    tau_x, tau_y, wet, fields = real_stress
    angles = angles_of(fields)
    for precision, rtol in ((np.float32, 1e-6), (np.float64, 1e-12)):
        x, y = tau_x.astype(precision), tau_y.astype(precision)
        centred = [c.astype(float)[wet] for c in to_centres(x, y)]
        turned = to_east_north(x, y, *angles, location="faces", dtype=precision)
        east, north = (c.astype(float)[wet] for c in turned)
        npt.assert_allclose(east**2 + north**2, centred[0] ** 2 + centred[1] ** 2, rtol=rtol)


def test_real_stress_in_float32_differs_from_float64_by_4e_8_at_most(real_stress):
    tau_x, tau_y, wet, fields = real_stress
    angles = angles_of(fields)
    single = to_east_north(tau_x, tau_y, *angles, location="faces")
    double = to_east_north(tau_x.astype(float), tau_y.astype(float), *angles, location="faces")
    for one, other in zip(single, double, strict=True):
        assert np.abs(one - other)[wet].max() < 4.5e-8


@pytest.mark.parametrize(("south", "north", "sign"), [(10, 25, -1), (-25, -10, -1), (-55, -45, 1)])
def test_real_stress_blows_west_in_the_trades_and_east_in_the_roaring_forties(
    real_stress, south, north, sign
):
    tau_x, tau_y, wet, fields = real_stress
    east, _ = to_east_north(tau_x, tau_y, *angles_of(fields), location="faces")
    latitude = as_tiles(fields["YC"])
    band = wet & (latitude > south) & (latitude < north)
    mean = np.average(east[band], weights=as_tiles(fields["RAC"])[band])
    assert sign * mean > 0.02
    # The model's own i component would not: on tiles 7 to 12 it points south.
    turned = band & (np.arange(13)[:, None, None] >= 7)
    assert sign * np.average(east[turned]) > 0.02
