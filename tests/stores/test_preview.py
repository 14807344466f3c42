"""Previews: north is up, land is grey, tiles lie beside their neighbours."""

import io

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from dor_ecco_assets.grids.llc import as_tiles
from dor_ecco_assets.samples.llc_grid import cell_centres, sample_grid_fields
from dor_ecco_assets.stores.preview import field_preview, globe_of_tiles

GREY = (190, 186, 178, 255)
SIDE = 10


def pixels(field):
    """The preview of a field as red, green, blue and opacity, rows from the top."""
    with Image.open(io.BytesIO(field_preview(field))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGBA")).astype(int)


def test_the_last_row_is_drawn_at_the_top():
    field = np.zeros((4, 6), np.float32)
    field[3] = np.nan
    found = pixels(field)
    assert found.shape == (4, 6, 4)
    assert (found[0] == GREY).all()
    assert not (found[1:] == GREY).all(axis=-1).any()


def test_the_first_column_is_drawn_at_the_left():
    field = np.tile(np.linspace(-1, 1, 50), (3, 1))
    red, _, blue, _ = np.moveaxis(pixels(field), -1, 0)
    assert (blue[:, 0] > red[:, 0]).all()
    assert (red[:, -1] > blue[:, -1]).all()


def test_fields_of_both_signs_are_white_at_zero_whatever_their_extremes():
    field = np.concatenate([np.linspace(-0.1, 0, 100), np.linspace(0, 5, 100)])[np.newaxis]
    found = pixels(field)[0]
    npt.assert_allclose(found[99, :3], (247, 247, 247), atol=4)
    assert found[-1, 0] > found[-1, 2] + 80
    assert np.abs(np.diff(found[0:99, :3], axis=0)).max() <= 8  # faint: -0.1 is little beside 5


def test_fields_of_one_sign_are_drawn_in_order_of_brightness():
    found = pixels(np.linspace(3, 30, 200)[np.newaxis])[0]
    brightness = found[:, :3] @ [0.3, 0.6, 0.1]
    assert (np.diff(brightness) >= -1).all()
    assert brightness[-1] > brightness[0] + 100


def test_a_few_outliers_do_not_wash_the_picture_out():
    field = np.linspace(1, 2, 10_000).reshape(100, 100)
    field[0, 0] = 1e6
    assert len(np.unique(pixels(field).reshape(-1, 4), axis=0)) > 200


@pytest.mark.parametrize("value", [0.0, 4.0, -4.0])
def test_a_constant_field_is_one_colour(value):
    assert len(np.unique(pixels(np.full((5, 5), value)).reshape(-1, 4), axis=0)) == 1


def test_a_field_without_water_is_all_land():
    assert (pixels(np.full((5, 5), np.nan)) == GREY).all()


def test_what_is_off_the_map_is_transparent_and_land_is_not():
    found = pixels(np.array([[np.inf, np.nan, 1.0, 2.0]]))[0]
    assert found[:, 3].tolist() == [0, 255, 255, 255]
    assert tuple(found[1]) == GREY


@pytest.mark.parametrize(
    ("shape", "size"),
    [((360, 720), (180, 360)), ((100, 200), (100, 200)), ((1080, 1080), (360, 360))],
)
def test_a_preview_is_at_most_360_pixels_across(shape, size):
    field = np.random.default_rng(1).standard_normal(shape)
    assert pixels(field).shape[:2] == size
    assert len(field_preview(field)) < 150_000


def test_two_previews_of_a_field_are_the_same_bytes():
    field = np.random.default_rng(2).standard_normal((40, 50))
    assert field_preview(field) == field_preview(field.copy())


@pytest.fixture(scope="module")
def laid_out():
    """Unit vectors of the cells of the laid out map, shape (3, 4 L, 4 L); off the map infinite."""
    lon, lat = (np.radians(angle) for angle in cell_centres(SIDE))
    xyz = (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
    return np.stack([globe_of_tiles(component) for component in xyz])


def test_every_cell_is_on_the_map_once():
    index = np.arange(13.0 * SIDE * SIDE).reshape(13, SIDE, SIDE)
    globe = globe_of_tiles(index)
    assert globe.shape == (4 * SIDE, 4 * SIDE)
    on_map = globe[np.isfinite(globe)]
    npt.assert_array_equal(np.sort(on_map), index.reshape(-1))


def test_cells_that_touch_on_the_map_touch_on_the_globe(laid_out):
    """Within sectors, between sectors, and from the second sector into the cap."""
    largest = 2 * np.radians(90 / SIDE)
    with np.errstate(invalid="ignore"):
        upward = np.linalg.norm(np.diff(laid_out, axis=1), axis=0)
        sideward = np.linalg.norm(np.diff(laid_out, axis=2), axis=0)
    body = 3 * SIDE
    assert (upward[: body - 1] < largest).all()
    assert (sideward[:body] < largest).all()
    cap = slice(SIDE, 2 * SIDE)
    assert (upward[body - 1 :, cap] < largest).all()
    assert (sideward[body:, SIDE : 2 * SIDE - 1] < largest).all()


def test_north_is_up_and_longitude_grows_to_the_right(laid_out):
    body = laid_out[:, : 3 * SIDE]
    latitude = np.degrees(np.arcsin(body[2]))
    assert (np.diff(latitude, axis=0) > 0).all()
    longitude = np.unwrap(np.arctan2(body[1], body[0]), axis=1)
    assert (np.diff(longitude, axis=1) > 0).all()
    # From 38° W eastward around the world.
    west, east = np.degrees(longitude[SIDE, [0, -1]])
    assert -38 < west < -28
    assert 310 < east < 322


def test_a_native_field_and_its_land_are_recognised_in_the_picture():
    depth = sample_grid_fields(SIDE)["Depth"]
    tiles = as_tiles(depth)
    globe = globe_of_tiles(np.where(tiles > 0, tiles, np.nan))
    found = pixels(globe)
    land = (found == GREY).all(axis=-1)
    npt.assert_array_equal(land, np.isnan(np.flipud(globe)))
    npt.assert_array_equal(found[..., 3] == 0, np.isinf(np.flipud(globe)))
    assert np.count_nonzero(land) == np.count_nonzero(depth == 0)
