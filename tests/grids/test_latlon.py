"""Regular latitude-longitude grids."""

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.latlon import EARTH_RADIUS_M, LatLonGrid


@st.composite
def grids(draw):
    resolution = draw(st.sampled_from([0.25, 0.5, 1 / 3, 1.0, 2.0, 5.0]))
    rows, columns = draw(st.integers(1, 18)), draw(st.integers(1, 36))
    south = draw(st.floats(-90, 90 - rows * resolution))
    west = draw(st.floats(-180, 180))
    return LatLonGrid(
        resolution, south, south + rows * resolution, west, west + columns * resolution
    )


def test_the_half_degree_grid_has_the_published_centres():
    grid = LatLonGrid()
    assert grid.shape == (360, 720)
    assert grid.size == 259_200
    npt.assert_array_equal(grid.latitude, -89.75 + 0.5 * np.arange(360))
    npt.assert_array_equal(grid.longitude, -179.75 + 0.5 * np.arange(720))
    npt.assert_array_equal(grid.latitude_bounds[:, 1] - grid.latitude, np.full(360, 0.25))
    npt.assert_array_equal(grid.longitude - grid.longitude_bounds[:, 0], np.full(720, 0.25))


def test_the_whole_sphere_has_510_065_880_97_square_kilometres():
    assert LatLonGrid().cell_area_m2().sum() / 1e6 == pytest.approx(510_065_880.97, abs=0.01)


@pytest.mark.parametrize("resolution", [0.25, 1 / 3, 1.0, 5.0, 45.0])
def test_the_areas_of_a_global_grid_add_up_to_the_sphere(resolution):
    area = LatLonGrid(resolution).cell_area_m2()
    npt.assert_allclose(area.sum(), 4 * np.pi * EARTH_RADIUS_M**2, rtol=1e-12)
    npt.assert_allclose(area, area[::-1], rtol=1e-9)
    assert (area > 0).all()


@given(grid=grids())
def test_bounds_touch_and_enclose_ascending_centres(grid):
    assert (grid.latitude.size, grid.longitude.size) == grid.shape
    assert grid.cell_area_m2().shape == grid.shape
    for centres, bounds in (
        (grid.latitude, grid.latitude_bounds),
        (grid.longitude, grid.longitude_bounds),
    ):
        npt.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
        assert ((bounds[:, 0] < centres) & (centres < bounds[:, 1])).all()
    assert grid.latitude_edges[-1] == grid.north
    assert grid.longitude_edges[-1] == grid.east


@pytest.mark.parametrize(
    ("resolution", "label"),
    [(0.5, "0p50deg"), (1, "1p00deg"), (0.25, "0p25deg"), (0.125, "0p125deg"), (10, "10p00deg")],
)
def test_the_label_spells_the_resolution(resolution, label):
    assert LatLonGrid(resolution).label == label


@pytest.mark.parametrize(
    "arguments",
    [
        {"resolution_degrees": 0.7},
        {"resolution_degrees": 0.0},
        {"resolution_degrees": float("nan")},
        {"resolution_degrees": 400.0},
        {"south": 10.0, "north": 10.0},
        {"north": 91.0},
        {"west": 180.0, "east": -180.0},
        {"west": -180.0, "east": 190.0},
        {"east": 179.9},
    ],
)
def test_what_is_no_whole_grid_is_refused(arguments):
    with pytest.raises(ConfigurationError, match="lat-lon grid of") as caught:
        LatLonGrid(**arguments)
    assert caught.value.code == "LatLonGridInvalid"


def test_the_dataset_holds_centres_bounds_and_areas():
    grid = LatLonGrid(10.0)
    dataset = grid.to_dataset()
    assert dataset["area"].dims == ("latitude", "longitude")
    assert dataset["area"].attrs["units"] == "m2"
    assert set(dataset.coords) == {"latitude", "longitude", "latitude_bnds", "longitude_bnds"}
    assert dataset["latitude_bnds"].shape == (18, 2)
    assert dataset["longitude_bnds"].shape == (36, 2)
    assert dataset.attrs["label"] == "10p00deg"
    npt.assert_array_equal(dataset["longitude"], grid.longitude)
