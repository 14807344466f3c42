"""Sample model output: its layout on disk and its closed-form values."""

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.model_output import index_records, read_record
from dor_ecco_assets.ecco.quality import survey_field
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.ecco.vectors import to_east_north
from dor_ecco_assets.errors import ConfigurationError, InputUnusable
from dor_ecco_assets.grids.llc import as_tiles, left_values, lower_values
from dor_ecco_assets.grids.llc_binaries import read_grid_fields
from dor_ecco_assets.samples import ecco_output
from dor_ecco_assets.samples.ecco_output import (
    SAMPLE_FIELDS,
    etan_m,
    exf_stress_n_m2,
    model_interval_s,
    oce_stress_n_m2,
    open_on_all_sides,
    sample_record,
    ssh_m,
    sshibc_m,
    sshnoibc_m,
    write_sample_output,
)
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.storage.directory import Directory

SIDE = 12
HEIGHTS = {"SSH": ssh_m, "SSHIBC": sshibc_m, "SSHNOIBC": sshnoibc_m, "ETAN": etan_m}

longitudes = st.floats(-180, 180)
latitudes = st.floats(-90, 90)
steps = st.integers(1, V4R4_CLOCK.last_step)


@pytest.fixture(scope="module")
def grid():
    return sample_grid_fields(SIDE)


def position(grid):
    return as_tiles(grid["XC"]), as_tiles(grid["YC"]), as_tiles(grid["Depth"]) > 0


def angles(grid):
    return as_tiles(grid["AngleCS"]), as_tiles(grid["AngleSN"])


def test_every_record_and_the_grid_are_read_back(tmp_path, grid):
    written = write_sample_output(tmp_path, grid, months=(732, 1428, 227904), days=(12,))
    source = Directory(tmp_path)
    assert len(written) == len(set(written)) == len(grid) + 4 * len(SAMPLE_FIELDS)
    for name, values in read_grid_fields(source, "llc90").items():
        npt.assert_array_equal(values, grid[name])
    index = index_records(key for key, _ in source.list("V4r4"))
    assert {field for field, _ in index} == set(SAMPLE_FIELDS)
    for (field, frequency), keys in index.items():
        assert list(keys) == ([732, 1428, 227904] if frequency == "AVG_MON" else [12])
        for step, key in keys.items():
            found, _ = read_record(source, key, side=SIDE)
            npt.assert_array_equal(found, sample_record(field, grid, step).astype(np.float32))
    january = tmp_path / "V4r4/diags_monthly/SSH_mon_mean/SSH_mon_mean.0000000732.meta"
    assert "[  3.600000000000E+03  2.635200000000E+06 ]" in january.read_text()


def test_two_runs_write_the_same_bytes(tmp_path, grid):
    first, again = (write_sample_output(tmp_path / run, grid) for run in ("a", "b"))
    for one, other in zip(first, again, strict=True):
        assert one.relative_to(tmp_path / "a") == other.relative_to(tmp_path / "b")
        assert one.read_bytes() == other.read_bytes()
        assert one.with_suffix(".meta").read_bytes() == other.with_suffix(".meta").read_bytes()


def test_fields_and_steps_that_the_sample_lacks_are_refused(tmp_path, grid):
    with pytest.raises(ConfigurationError, match="no field TEMP"):
        write_sample_output(tmp_path, grid, fields=("SSH", "TEMP"))
    with pytest.raises(InputUnusable, match="no month ends") as error:
        write_sample_output(tmp_path, grid, months=(733,))
    assert error.value.code == "TimeAlignment"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", SAMPLE_FIELDS)
def test_land_and_closed_edges_hold_zero_and_water_holds_numbers(grid, field):
    _, _, wet = position(grid)
    neighbour = {"oceTAUX": left_values, "oceTAUY": lower_values}.get(field)
    open_points = wet & neighbour(wet) if neighbour else wet
    values = sample_record(field, grid, 732)
    found = survey_field(values, open_points)
    assert (found.on_land, found.non_finite) == (0, 0)
    assert np.count_nonzero(values) > 0.95 * np.count_nonzero(open_points)


@pytest.mark.parametrize("field", HEIGHTS)
def test_heights_are_the_closed_form_at_every_wet_centre(grid, field):
    lon, lat, wet = position(grid)
    values = sample_record(field, grid, 1428)
    npt.assert_array_equal(values[wet], HEIGHTS[field](lon, lat, 1428)[wet])


def test_rotated_wind_stress_is_the_closed_form_at_every_wet_centre(grid):
    lon, lat, wet = position(grid)
    x, y = (sample_record(field, grid, 1428) for field in ("EXFtaux", "EXFtauy"))
    found = to_east_north(x, y, *angles(grid), location="centres", dtype=float)
    for component, expected in zip(found, exf_stress_n_m2(lon, lat, 1428), strict=True):
        npt.assert_allclose(component[wet], expected[wet], atol=1e-15)
    trades = wet & (np.abs(lat) > 10) & (np.abs(lat) < 25)
    assert (found[0][trades] < 0).all()
    assert (found[0][wet & (lat > -55) & (lat < -45)] > 0).all()


def test_rotated_ocean_stress_is_the_closed_form_away_from_coasts():
    grid = sample_grid_fields(30)
    lon, lat, _ = position(grid)
    x, y = (sample_record(field, grid, 1428) for field in ("oceTAUX", "oceTAUY"))
    found = to_east_north(x, y, *angles(grid), location="faces")
    away = open_on_all_sides(grid)
    assert np.count_nonzero(away) > 5000
    assert away[6].any()
    for component, expected in zip(found, oce_stress_n_m2(lon, lat, 1428), strict=True):
        npt.assert_allclose(component[away], expected[away], atol=0.1 * 2e-3)


def test_cells_open_on_all_sides_have_four_wet_neighbours(grid):
    _, _, wet = position(grid)
    found = open_on_all_sides(grid)
    inner = wet[:, 1:-1, 1:-1] & wet[:, :-2, 1:-1] & wet[:, 2:, 1:-1]
    inner &= wet[:, 1:-1, :-2] & wet[:, 1:-1, 2:]
    npt.assert_array_equal(found[:, 1:-1, 1:-1], inner)
    assert not (found & ~(wet & left_values(wet) & lower_values(wet))).any()


@given(lon=longitudes, lat=latitudes, step=steps)
def test_fields_are_smooth_across_the_date_line_and_single_valued_at_the_poles(lon, lat, step):
    for field in HEIGHTS.values():
        npt.assert_allclose(field(lon + 360, lat, step), field(lon, lat, step), atol=1e-12)
        npt.assert_allclose(field(lon, 90, step), field(0, 90, step), atol=1e-12)
    npt.assert_allclose(exf_stress_n_m2(lon, -90, step), 0, atol=1e-15)


@given(lon=longitudes, lat=latitudes, step=steps)
def test_heights_are_consistent_and_in_range(lon, lat, step):
    height, correction = ssh_m(lon, lat, step), sshibc_m(lon, lat, step)
    npt.assert_allclose(sshnoibc_m(lon, lat, step) - correction, height, atol=1e-15)
    assert abs(height) <= 0.8 + 1e-12
    assert abs(correction) <= 0.1
    assert abs(etan_m(lon, lat, step)) <= 0.78


@given(lon=longitudes, lat=latitudes, step=steps)
def test_the_ocean_stress_stands_still_at_its_axis_and_is_strongest_across_it(lon, lat, step):
    at_axis = oce_stress_n_m2(ecco_output.STRESS_AXIS_LON, ecco_output.STRESS_AXIS_LAT, step)
    npt.assert_allclose(at_axis, 0, atol=1e-15)
    assert np.hypot(*oce_stress_n_m2(lon, lat, step)) <= 1.2 * ecco_output.STRESS_N_M2 + 1e-12


def test_fields_change_from_month_to_month(grid):
    for field in SAMPLE_FIELDS:
        assert not np.array_equal(sample_record(field, grid, 732), sample_record(field, grid, 1428))


@given(data=st.data(), frequency=st.sampled_from(["AVG_MON", "AVG_DAY"]))
def test_stated_intervals_pass_the_check_of_the_reader(data, frequency):
    key = data.draw(st.sampled_from(V4R4_CLOCK.partition_keys(frequency)))
    step = V4R4_CLOCK.step_of(key, frequency)
    V4R4_CLOCK.check_interval(model_interval_s(step, frequency), step, frequency, name="x")
