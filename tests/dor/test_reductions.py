"""Kernels: exact on dyadic numbers, equal to exact sums, the same with the JIT off."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dor_ecco_assets.dor import reductions
from dor_ecco_assets.dor.rings import (
    EARTH_RADIUS_M,
    N_RINGS,
    RADII_M,
    RING_EDGES_M,
    great_circle_m,
    inside,
    ring_index,
)
from dor_ecco_assets.grids.llc_geometry import xyz_from_lonlat

FILL = np.float32(9.969209968386869e36)


def compiled_and_plain(kernel):
    return [kernel, kernel.py_func]


def to_bits(values):
    values = np.asarray(values, np.float32)
    return reductions.file_bits(values.astype(">f4"), values.shape[-1])


@pytest.mark.parametrize("split", compiled_and_plain(reductions.planes_of_bits))
@given(
    bits=hnp.arrays(np.uint32, (3, 7)),
    kmt=hnp.arrays(np.int32, 7, elements=st.integers(0, 3)),
)
@settings(max_examples=30, deadline=None)
def test_planes_hold_every_bit_and_odd_cells_are_counted(split, bits, kmt):
    file = bits.astype(">u4").view(np.uint32).reshape(3, 7)
    planes = np.empty((4, 21), np.uint8)
    with np.errstate(all="ignore"):
        gaps, strays = split(file, kmt, FILL.view(np.uint32), planes)
    assert planes.T.tobytes() == bits.astype("<u4").tobytes()
    values = bits.view(np.float32)
    with np.errstate(all="ignore"):
        number = np.abs(values.astype(np.float64)) < np.float32(1e30)
    wet = np.arange(3)[:, None] < kmt
    assert (gaps, strays) == ((wet & ~number).sum(), (~wet & number).sum())


@pytest.mark.parametrize("columns", compiled_and_plain(reductions.column_delta))
def test_columns_are_the_rational_numbers_and_one_ulp_survives(columns):
    nz, n = 6, 4
    level = np.arange(nz)[:, None]
    twin = np.float32(2000.0) + np.float32(0.25) * level + np.zeros((1, n), np.float32)
    run = np.nextafter(twin.astype(np.float32), np.float32(np.inf))
    dz, ssh = 1000.0 + 2.0 ** np.arange(nz), np.array([50.5, -12.25, 0.0, 3.0])
    kmt = np.array([6, 3, 1, 0], np.int32)
    column, delta = np.empty(n), np.empty(n)
    fills = np.full(2, FILL).view(np.uint32)
    columns(to_bits(run), to_bits(twin), dz, ssh, kmt, fills, column, delta)
    for cell in range(3):
        exact = [Fraction(0), Fraction(0)]
        for k in range(kmt[cell]):
            thick = Fraction(dz[k]) + (Fraction(ssh[cell]) if k == 0 else 0)
            exact[0] += Fraction(float(run[k, cell])) * thick / 100
            exact[1] += (
                (Fraction(float(run[k, cell])) - Fraction(float(twin[k, cell]))) * thick / 100
            )
        assert column[cell] == float(exact[0])
        assert delta[cell] == float(exact[1]) > 0
    assert np.isnan(column[3])
    assert np.isnan(delta[3])
    # Float32 integrals lose it.
    reductions.column_delta_float32(to_bits(run), to_bits(twin), dz, ssh, kmt, fills, column, delta)
    assert abs(delta[0] - float(exact[1])) > 1e-3


@pytest.mark.parametrize("columns", compiled_and_plain(reductions.column_delta))
def test_a_column_with_a_gap_is_missing_and_its_bottom_is_not_read(columns):
    field = np.ones((3, 3), np.float32)
    field[1, 0], field[2, 1], field[2, 2] = np.nan, np.inf, FILL
    kmt = np.array([3, 2, 2], np.int32)
    column, delta = np.empty(3), np.empty(3)
    fills = np.full(2, FILL).view(np.uint32)
    args = (np.full(3, 100.0), np.zeros(3), kmt, fills, column, delta)
    columns(to_bits(field), to_bits(field), *args)
    np.testing.assert_array_equal(column, [np.nan, 2.0, 2.0])
    np.testing.assert_array_equal(delta, [np.nan, 0.0, 0.0])


@pytest.mark.parametrize("area_sum", compiled_and_plain(reductions.area_sum))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_sums_are_exact_sums_to_the_last_bits(area_sum, data):
    values = data.draw(hnp.arrays(np.float64, 30, elements=st.floats(-1e6, 1e6, width=32)))
    values[::7] = np.nan
    area = data.draw(hnp.arrays(np.float64, 30, elements=st.floats(1.0, 2.0, width=16)))
    group = data.draw(hnp.arrays(np.int32, 30, elements=st.integers(-1, 3)))
    sums, counts = np.empty(4), np.empty(4, np.int64)
    area_sum(values, area, group, sums, counts)
    for place in range(4):
        chosen = (group == place) & np.isfinite(values)
        assert counts[place] == chosen.sum()
        exact = math.fsum(values[chosen] * area[chosen])
        scale = np.abs(values[chosen] * area[chosen]).sum()
        assert abs(sums[place] - exact) <= 4e-16 * abs(exact) + 1e-30 * scale


def test_cancellation_is_compensated():
    sums, counts = np.empty(1), np.empty(1, np.int64)
    values = np.array([1.0, 1e100, 1.0, -1e100])
    reductions.area_sum(values, np.ones(4), np.zeros(4, np.int32), sums, counts)
    assert sums[0] == 2.0


# Rings


CENTRES = [(0.0, 0.0), (359.9, -10.0), (0.1, 10.0), (123.0, 84.0), (200.0, -89.0), (360.0, 0.1)]


def _haversine_m(centre, lon, lat):
    """In extended precision."""
    radian = np.longdouble("3.14159265358979323846264338327950288") / 180
    lon, lat = np.asarray(lon, np.longdouble) * radian, np.asarray(lat, np.longdouble) * radian
    lam, phi = (np.longdouble(angle) * radian for angle in centre)
    half = np.sin((lat - phi) / 2) ** 2
    half += np.cos(lat) * np.cos(phi) * np.sin((lon - lam) / 2) ** 2
    return 2 * np.longdouble(EARTH_RADIUS_M) * np.arcsin(np.sqrt(np.minimum(half, 1)))


@pytest.mark.parametrize("centre", CENTRES)
def test_distance_agrees_with_the_haversine_formula_in_extended_precision(centre):
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 540, 500), rng.uniform(-90, 90, 500)
    # Near the centre, and near the point opposite, where the formula is at its worst.
    near = rng.uniform(-1e-3, 1e-3, (2, 50))
    lon = np.concatenate([lon, centre[0] + near[0], centre[0] + 180 + near[0]])
    lat = np.concatenate([lat, centre[1] + near[1], -centre[1] + near[1]])
    found = great_circle_m(centre, xyz_from_lonlat(lon, lat))
    exact = _haversine_m(centre, lon, lat).astype(np.float64)
    np.testing.assert_allclose(found[:550], exact[:550], atol=2e-6)
    np.testing.assert_allclose(found, exact, atol=0.5)


@pytest.mark.parametrize("centre", CENTRES)
def test_cells_put_at_the_centre_and_on_edges_are_there(centre):
    away = np.array([0.0, 500e3, 550e3, 1000e3, 2000e3])
    lat = centre[1] + np.rad2deg(away / EARTH_RADIUS_M)
    over_pole = lat > 90
    for turn in (-360.0, 0.0, 360.0):
        lon = centre[0] + turn + np.where(over_pole, 180.0, 0.0)
        found = great_circle_m(centre, xyz_from_lonlat(lon, np.where(over_pole, 180 - lat, lat)))
        np.testing.assert_array_equal(found, away)
        np.testing.assert_array_equal(ring_index(found), [0, 9, 10, 19, 39])
    nowhere = xyz_from_lonlat(np.array([np.nan]), np.array([np.nan]))
    assert np.isnan(great_circle_m(centre, nowhere))[0]


def test_membership_is_up_to_and_including_the_radius():
    distance = np.array([0.0, 1.0, 5e4, 500e3, np.nextafter(500e3, 1e9), 550e3, 1e6, 4.05e6])
    expected = [0, 0, 0, 9, 10, 10, 19, 80]
    np.testing.assert_array_equal(ring_index(distance), expected)
    np.testing.assert_array_equal(ring_index(np.array([4.06e6, 2e7, np.nan])), [81, 81, 81])
    np.testing.assert_array_equal(ring_index(distance, published=True), [-1, *expected[1:]])
    ring = ring_index(distance)
    sums = np.bincount(ring, minlength=N_RINGS)[None].astype(np.float64)
    for place, radius in enumerate(RADII_M):
        assert inside(sums)[0, place] == (distance <= radius).sum()
    assert inside(sums, published=True)[0, 0] == (distance <= 550e3).sum()
    assert (N_RINGS, RING_EDGES_M[-1]) == (82, 4.05e6)
