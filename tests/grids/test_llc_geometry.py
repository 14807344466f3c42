"""Open fractions, corner bounds and the published names of a lat-lon-cap grid."""

from functools import cache

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.errors import GridMismatch, InputMissing
from dor_ecco_assets.grids.llc import as_tiles, compact_from_tiles, corner_points
from dor_ecco_assets.grids.llc_geometry import (
    ALIASES,
    CornerBounds,
    canonical_fields,
    corner_bounds,
    face_fractions,
    grid_dataset,
    hfac_from_depth,
    lonlat_from_xyz,
    xyz_from_lonlat,
)
from dor_ecco_assets.samples.llc_grid import cell_corners, sample_grid_fields, sample_levels
from tests.support.data import llc90_fields

SIDES = (1, 2, 3, 6, 7, 30)


@cache
def sample_dataset(side):
    return grid_dataset(sample_grid_fields(side), source="analytic sample")


def bounds_of(fields):
    raw = canonical_fields(fields)
    return corner_bounds(raw["XC"], raw["YC"], raw["XG"], raw["YG"])


def corners_xyz(bounds: CornerBounds):
    return xyz_from_lonlat(bounds.longitude, bounds.latitude)


def cells_with_unknown_corners(lower_left, passes):
    lost = np.isnan(corner_points(lower_left, passes=passes))
    return np.stack([lost[:, :-1, :-1], lost[:, :-1, 1:], lost[:, 1:, 1:], lost[:, 1:, :-1]])


@given(longitude=st.floats(-180, 180), latitude=st.floats(-89.999, 89.999))
def test_positions_survive_the_way_to_the_unit_sphere_and_back(longitude, latitude):
    points = xyz_from_lonlat(np.array([longitude]), np.array([latitude]))
    npt.assert_allclose(np.linalg.norm(points, axis=0), 1.0, rtol=1e-15)
    lon, lat = lonlat_from_xyz(3.0 * points)
    npt.assert_allclose(np.cos(np.radians(lon - longitude)), 1.0, rtol=1e-12)
    npt.assert_allclose(lat, latitude, atol=1e-9)


@given(depth=hnp.arrays(np.float64, (13, 2, 2), elements=st.floats(0, 7000)))
def test_open_fractions_add_up_to_the_depth_of_the_column(depth):
    _, rf, drf = sample_levels()
    fraction = hfac_from_depth(depth, rf, drf)
    assert fraction.dtype == np.float32
    assert ((fraction == 0) | ((fraction >= 1e-6) & (fraction <= 1))).all()
    assert (np.diff(fraction, axis=0) <= 0).all()
    column = np.tensordot(drf, fraction.astype(np.float64), axes=1)
    # float32 keeps 6e-8 of a level, the cut at 1e-6 drops up to 0.5 mm of the thickest.
    npt.assert_allclose(column, np.minimum(depth, -rf[-1]), atol=1e-3)


def test_profiles_of_different_runs_are_refused():
    with pytest.raises(GridMismatch, match="one interface more") as caught:
        hfac_from_depth(np.zeros((13, 2, 2)), np.zeros(50), np.ones(50))
    assert caught.value.code == "ShapeMismatch"


@given(hfac=hnp.arrays(np.float32, (2, 13, 3, 3), elements=st.floats(0, 1, width=32)))
def test_an_edge_is_never_more_open_than_its_cell_and_closed_edges_stay_closed(hfac):
    west, south = face_fractions(hfac)
    assert west.dtype == south.dtype == np.float32
    assert (west <= hfac).all()
    assert (south <= hfac).all()
    assert (south[:, (0, 3), 0, :] == 0).all()


@given(value=st.floats(0, 1, width=32))
def test_a_constant_fraction_is_that_constant_on_all_open_edges(value):
    west, south = face_fractions(np.full((13, 3, 3), value, np.float32))
    assert (west == np.float32(value)).all()
    south[(0, 3), 0, :] = value
    assert (south == np.float32(value)).all()


@pytest.mark.parametrize("side", SIDES)
def test_bounds_of_the_sample_grid_are_the_analytic_corners(side):
    bounds = bounds_of(sample_grid_fields(side))
    points = xyz_from_lonlat(*cell_corners(side))
    truth = np.stack(
        [points[..., :-1, :-1], points[..., :-1, 1:], points[..., 1:, 1:], points[..., 1:, :-1]],
        axis=-1,
    )
    error = np.linalg.norm(corners_xyz(bounds) - truth, axis=0).max(axis=-1)
    assert error[~bounds.completed].max(initial=0) < 1e-12
    # The vertex is exact too: the cap's corners form a rectangle.
    assert error[(2, 6, 10), -1, 0].max() < 1e-9
    assert bounds.completed.sum() == 2 * side + 4


@pytest.mark.parametrize("side", SIDES)
def test_consecutive_cells_share_two_corners(side):
    corners = corners_xyz(bounds_of(sample_grid_fields(side)))
    npt.assert_array_equal(corners[..., :-1, 1], corners[..., 1:, 0])
    npt.assert_array_equal(corners[..., :-1, 2], corners[..., 1:, 3])
    across = np.s_[:, :, 1:-1, :-1]  # a constructed corner belongs to its own cell alone
    npt.assert_array_equal(corners[:, :, :-1][across][..., 3], corners[:, :, 1:][across][..., 0])


def centre_is_inside(fields):
    raw = canonical_fields(fields)
    corners, centres = corners_xyz(bounds_of(fields)), xyz_from_lonlat(raw["XC"], raw["YC"])
    edges = [np.cross(corners[..., c], corners[..., (c + 1) % 4], axis=0) for c in range(4)]
    return np.all([(edge * centres).sum(axis=0) > 0 for edge in edges], axis=0)


@pytest.mark.parametrize("side", [2, 3, 6, 7, 30])
def test_every_centre_of_the_sample_grid_lies_inside_its_bounds(side):
    assert centre_is_inside(sample_grid_fields(side)).all()


def test_every_centre_of_the_real_grid_lies_inside_its_bounds():
    assert centre_is_inside(llc90_fields()).all()


def test_the_real_grid_leaves_184_cells_with_an_unowned_corner_and_none_of_them_wet():
    raw = canonical_fields(llc90_fields())
    wet = raw["Depth"] > 0
    bounds = corner_bounds(raw["XC"], raw["YC"], raw["XG"], raw["YG"])
    assert bounds.completed.sum() == 184
    assert not (bounds.completed & wet).any()

    first = cells_with_unknown_corners(raw["XG"], passes=1)
    assert first.any(axis=0).sum() == 192
    # Four upper-right corners belong to a diagonal neighbour; the other 188 cells are those that
    # a halo with corner exchange leaves too.
    diagonal = first[2] & ~first[[0, 1, 3]].any(axis=0) & ~bounds.completed
    assert (first.any(axis=0) & ~diagonal).sum() == 188
    assert (first.any(axis=0) & ~diagonal & wet).sum() == 4


def test_the_unowned_cap_vertex_of_the_real_grid_is_at_38_west_67_5_north():
    bounds = bounds_of(llc90_fields())
    npt.assert_allclose(bounds.longitude[(2, 6, 10), -1, 0, 3], -38.0, atol=1e-9)
    npt.assert_allclose(bounds.latitude[(2, 6, 10), -1, 0, 3], 67.5, atol=1e-9)


def test_wet_cells_of_the_real_grid_number_what_the_model_has():
    dataset = grid_dataset(llc90_fields(), source="LLC90")
    wet = dataset["maskC"].to_numpy().sum(axis=(1, 2, 3))
    assert [wet[k] for k in (0, 10, 25, 40, 49)] == [60_646, 57_022, 51_259, 44_793, 818]
    assert wet.sum() == 2_406_992
    fraction = dataset["hFacC"].to_numpy()
    assert fraction[fraction > 0].min() == np.float32(0.2)
    assert dataset.attrs == {
        "side": 90,
        "wet_mask_source": "Depth and RF",
        "completed_corners": 184,
        "source": "LLC90",
    }


def test_the_real_tiles_lie_where_they_are_known_to_lie():
    dataset = grid_dataset(llc90_fields())
    for tile, lon, lat in ((0, -111.61, -88.24), (6, 52.00, 67.57), (10, -127.84, 67.47)):
        first = dataset.isel(tile=tile, j=0, i=0)
        assert float(first["XC"]) == pytest.approx(lon, abs=0.006)
        assert float(first["YC"]) == pytest.approx(lat, abs=0.006)


def test_the_dataset_has_the_published_names_on_the_published_dimensions():
    dataset = sample_dataset(6)
    dims = {name: " ".join(map(str, array.dims)) for name, array in dataset.variables.items()}
    assert dims == {
        **{name: name for name in ("i", "j", "i_g", "j_g", "k", "k_u", "k_l", "k_p1", "tile")},
        **dict.fromkeys(("XC", "YC", "rA", "Depth", "CS", "SN"), "tile j i"),
        **dict.fromkeys(("XG", "YG"), "tile j_g i_g"),
        **dict.fromkeys(("XC_bnds", "YC_bnds"), "tile j i nb"),
        **dict.fromkeys(("Z", "drF"), "k"),
        "Z_bnds": "k nv",
        **{f"Z{at}": f"k_{at}" for at in ("u", "l", "p1")},
        "dxG": "tile j_g i",
        "dyG": "tile j i_g",
        **dict.fromkeys(("hFacC", "maskC"), "k tile j i"),
        **dict.fromkeys(("hFacW", "maskW"), "k tile j i_g"),
        **dict.fromkeys(("hFacS", "maskS"), "k tile j_g i"),
    }
    assert dataset["tile"].dtype == dataset["k_p1"].dtype == np.int32
    assert dataset["hFacW"].dtype == np.float32
    assert dataset["maskS"].dtype == np.bool_
    assert dataset["XC"].dtype == dataset["rA"].dtype == np.float64
    assert {"XC", "YC_bnds", "Z_bnds", "Zp1"} <= set(dataset.coords)
    assert dataset.attrs["completed_corners"] == 2 * 6 + 4
    assert dataset.attrs["source"] == "analytic sample"
    assert all({"long_name", "units"} <= set(dataset[name].attrs) for name in dataset.data_vars)


def test_bounds_of_the_levels_touch_and_enclose_their_centres():
    dataset = sample_dataset(6)
    top, bottom = dataset["Z_bnds"].to_numpy().T
    npt.assert_array_equal(top[1:], bottom[:-1])
    npt.assert_allclose(top, dataset["Zl"], atol=1e-9)
    npt.assert_allclose(bottom, dataset["Zu"], atol=1e-9)
    assert ((bottom < dataset["Z"].to_numpy()) & (dataset["Z"].to_numpy() < top)).all()
    npt.assert_array_equal(dataset["Zp1"][:-1], dataset["Zl"])


def test_tiles_compact_arrays_aliases_and_byte_orders_give_the_same_dataset():
    fields = sample_grid_fields(3)
    published = {mitgcm: name for name, mitgcm in ALIASES.items()}
    other = {
        published.get(name, name): as_tiles(field).astype(">f8")
        if field.ndim == 2
        else field.astype(">f8").reshape(-1, 1, 1)
        for name, field in fields.items()
    }
    from_other = grid_dataset(other)
    assert from_other.identical(grid_dataset(fields))
    assert from_other["rA"].dtype.isnative


def test_fractions_of_the_model_take_the_place_of_derived_ones():
    fields = sample_grid_fields(3)
    derived = grid_dataset(fields)
    half = (0.5 * derived["hFacC"].to_numpy()).astype(np.float64)
    given_c = grid_dataset(fields | {"hFacC": compact_from_tiles(half)})
    assert given_c.attrs["wet_mask_source"] == "hFacC files"
    npt.assert_array_equal(given_c["hFacC"], half.astype(np.float32))
    npt.assert_array_equal(given_c["hFacW"], 0.5 * derived["hFacW"])
    npt.assert_array_equal(given_c["maskC"], derived["maskC"])

    closed = grid_dataset(fields | {"hFacC": half, "hFacS": np.zeros_like(half)})
    assert not closed["maskS"].any()
    assert closed["maskW"].any()


def test_masks_say_where_the_fractions_are_open():
    dataset = sample_dataset(6)
    for place in "CWS":
        npt.assert_array_equal(dataset[f"mask{place}"], dataset[f"hFac{place}"] > 0)


def test_all_missing_fields_are_named_at_once():
    fields = sample_grid_fields(2)
    del fields["RAC"], fields["RF"]
    with pytest.raises(InputMissing, match=r"RAC \(or rA\), RF; found AngleCS") as caught:
        grid_dataset(fields)
    assert caught.value.code == "MissingGridField"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("Depth", np.zeros((13, 5, 5))),
        ("XC", np.zeros((26, 3))),
        ("YG", np.zeros(117)),
        ("RF", np.zeros(50)),
        ("RC", np.zeros(51)),
        ("hFacC", np.zeros((13, 3, 3))),
        ("hFacW", np.zeros((49, 13, 3, 3))),
    ],
)
def test_a_field_of_another_grid_is_named_with_both_shapes(name, wrong):
    with pytest.raises(GridMismatch, match=rf"grid field {name} has shape .* expected") as caught:
        grid_dataset(sample_grid_fields(3) | {name: wrong})
    assert caught.value.code == "ShapeMismatch"
