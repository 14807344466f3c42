"""History files with known answers: what is in them, and that their oracle is exact."""

import dataclasses
import hashlib
import time
from fractions import Fraction

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.atlas.cases import case_at
from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.samples.classic_netcdf import ClassicLayout, ClassicVariable
from dor_ecco_assets.samples.pop_faults import FAULTS, plant
from dor_ecco_assets.samples.pop_grid import sample_pop_grid, with_sample_kmt
from dor_ecco_assets.samples.pop_history import (
    FILL,
    N_RINGS,
    SampleCase,
    SampleOcean,
    write_control_months,
    write_series,
)
from tests.grids.test_pop import gx1v7

CENTRE = (330.2, 30.1)
DOR = load_atlas("dor")


@pytest.fixture(scope="module")
def ocean() -> SampleOcean:
    return SampleOcean(sample_pop_grid(96, 80, 12, undefined_land=True))


def small_case(ocean, month=1, months=24, forcing="DOR", **options) -> SampleCase:
    atlas = load_atlas(forcing.lower())
    case = dataclasses.replace(case_at(atlas, 5, month), months=months)
    return SampleCase(ocean, case, options.pop("centre", CENTRE), **options)


def opened(path):
    file = netCDF4.Dataset(path)
    file.set_auto_mask(False)
    return file


def sums_of_files(paths, forcing="DIC_FLUX"):
    """Uptake and forcing since the start, mol, by the plainest float64 sums of what is on disk."""
    uptake, amount, rows = 0.0, 0.0, []
    for path in paths:
        with opened(path) as file:
            wet = file["KMT"][:] > 0
            area = file["TAREA"][:][wet] * 1e-4
            seconds = 86400 * float(np.diff(file["time_bound"][0])[0])
            excess = file["FG_CO2"][0][wet] - file["FG_ALT_CO2"][0][wet]
            uptake += (excess.astype("f8") * area).sum() * seconds * 1e-5
            amount += (file[forcing][0][wet].astype("f8") * area).sum() * seconds * 1e-5
        rows.append((uptake, amount))
    return np.array(rows).T


@pytest.mark.parametrize("month", [1, 4, 7, 10])
def test_files_give_the_efficiency_of_the_oracle(ocean, tmp_path, month):
    case = small_case(ocean, month)
    oracle = case.oracle()
    uptake, removed = sums_of_files(case.write(tmp_path))
    npt.assert_allclose(-uptake / removed, oracle.efficiency, rtol=1e-13)
    npt.assert_allclose(uptake, oracle.uptake_mol, rtol=1e-13)
    npt.assert_allclose(removed, oracle.forcing_mol, rtol=1e-13)
    npt.assert_allclose(oracle.efficiency, oracle.closed_form, rtol=2e-6)
    npt.assert_allclose(oracle.forcing_mol, -2e12, rtol=1e-6)
    assert set(oracle.dt_days) == {28.0, 30.0, 31.0}


@pytest.mark.parametrize("forcing", ["OAE", "ERW"])
def test_alkalinity_cases_force_with_alkalinity(ocean, tmp_path, forcing):
    case = small_case(ocean, 4, months=3, forcing=forcing)
    paths = case.write(tmp_path)
    uptake, added = sums_of_files(paths, "ALK_FLUX")
    npt.assert_allclose(uptake / added, case.oracle().efficiency, rtol=1e-13)
    with opened(paths[0]) as file:
        wet = file["KMT"][:] > 0
        assert (file["ALK"][0, 0][wet] >= file["ALK_ALT_CO2"][0, 0][wet]).all()
        npt.assert_array_equal(file["DIC"][:], file["DIC_ALT_CO2"][:])
        assert not file["DIC_FLUX"][0][wet].any()


def test_float32_differences_of_fluxes_are_exact(ocean, tmp_path):
    case = small_case(ocean)
    for path in case.write(tmp_path, [0, 1, 23]):
        with opened(path) as file:
            wet = file["KMT"][:] > 0
            run, twin = file["FG_CO2"][0][wet], file["FG_ALT_CO2"][0][wet]
            npt.assert_array_equal((run - twin).astype("f8"), run.astype("f8") - twin.astype("f8"))
            assert (run > twin).any()


def test_rings_add_up_and_hold_what_lies_within_them(ocean):
    case = small_case(ocean)
    oracle = case.oracle()
    assert oracle.ring_uptake_mmol.shape == (24, N_RINGS)
    npt.assert_allclose(oracle.ring_uptake_mmol.sum(axis=1) / 1e3, oracle.uptake_mol, rtol=1e-14)
    # Direct sums over cells within the radius, in plain float64
    excess = [case.excess_steps(k) * 2.0**-32 * case.dt_days[k] * 86400 for k in range(24)]
    area = np.where(ocean.wet, ocean.grid["TAREA"].values, 0)
    for n, radius in enumerate((5e5, 1e6, 2e6)):
        within = case.distance_m <= radius
        inside = np.cumsum([(e * area)[within].sum() for e in excess])
        total = sum((e * area).sum() for e in excess)
        npt.assert_allclose(oracle.uptake_percent[:, n], 100 * inside / total, rtol=1e-12)
    assert (np.diff(oracle.uptake_percent, axis=1) > 0).all()


@pytest.mark.parametrize("centre", [(359.9, 0.0), (0.1, 0.0), (-0.1, 0.0), (40.0, 84.0)])
def test_the_centre_may_lie_at_the_seam_or_near_the_pole(ocean, centre):
    oracle = small_case(ocean, centre=centre, cells=ocean.wet).oracle()
    npt.assert_allclose(oracle.efficiency, oracle.closed_form, rtol=1e-5)
    here = ocean.distance_m((centre[0] + 360, centre[1]))
    npt.assert_allclose(here, ocean.distance_m(centre), rtol=1e-9)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.25, 1.2))
def test_the_amount_scales_uptake_and_leaves_efficiency(ocean, scale):
    one, other = (small_case(ocean, amount_mol=2e12 * s).oracle() for s in (1.0, scale))
    npt.assert_allclose(other.uptake_mol, scale * one.uptake_mol, rtol=1e-5)
    npt.assert_allclose(other.efficiency, one.efficiency, rtol=1e-5)


def test_column_integrals_are_exact_rationals(ocean, tmp_path):
    case = small_case(ocean, months=3)
    columns = case.columns(2)
    with opened(case.write_month(tmp_path, 2)) as file:
        dic, twin, dz = file["DIC"][0], file["DIC_ALT_CO2"][0], file["dz"][:]
        ssh, kmt = file["SSH"][0], file["KMT"][:].astype(int)
        cells = np.argwhere((kmt > 0) & (columns.delta != 0))[::10]
        assert len(cells) > 5
        for j, i in cells:
            whole, delta = Fraction(0), Fraction(0)
            for k in range(kmt[j, i]):
                height = Fraction(float(dz[k])) / 100
                if k == 0:
                    height += Fraction(float(ssh[j, i])) / 100
                whole += Fraction(float(dic[k, j, i])) * height
                delta += (Fraction(float(dic[k, j, i])) - Fraction(float(twin[k, j, i]))) * height
            assert whole == Fraction(int(columns.dic[j, i]), columns.denominator)
            assert delta == Fraction(int(columns.delta[j, i]), columns.denominator)


def test_some_columns_differ_from_their_twin_by_one_step_on_every_level(ocean, tmp_path):
    case = small_case(ocean, months=1)
    with opened(case.write_month(tmp_path, 0)) as file:
        difference = (file["DIC_ALT_CO2"][0] - file["DIC"][0]).astype("f8")
        wet = file["DIC"][0] < 1e30
    least = np.where(wet, difference, 2.0**-12)
    single = (least == 2.0**-12).all(axis=0) & wet[0]
    assert single.any()
    # What integrals in float32 lose: the step is far below one unit in their last place
    assert np.spacing(np.float32(2200 * 5500)) > 2.0**-12 * 5500 / 4


def test_land_and_what_lies_below_the_bottom_is_fill(ocean, tmp_path):
    case = small_case(ocean, months=1)
    with opened(case.write_month(tmp_path, 0)) as file:
        for name in ("DIC", "ALK_ALT_CO2"):
            npt.assert_array_equal(file[name][0] == FILL, ~ocean.wet_levels)
            assert file[name].getncattr("_FillValue") == FILL
        for name in ("FG_CO2", "DIC_FLUX", "PH", "pCO2SURF", "ECOSYS_IFRAC", "SSH"):
            npt.assert_array_equal(file[name][0] == FILL, ~ocean.wet)
            assert np.isfinite(file[name][0]).all()
        npt.assert_array_equal(file["TLAT"][:] > 1e30, np.isnan(ocean.grid["TLAT"].values))
        surface = {
            n: file[n][0][ocean.wet] for n in ("PH", "PH_ALT_CO2", "pCO2SURF", "ECOSYS_IFRAC")
        }
    assert 7.5 < surface["PH"].min() <= surface["PH"].max() < 8.5
    assert (surface["PH"] >= surface["PH_ALT_CO2"]).all()
    assert 250 < surface["pCO2SURF"].min() <= surface["pCO2SURF"].max() < 450
    assert 0 <= surface["ECOSYS_IFRAC"].min() <= surface["ECOSYS_IFRAC"].max() <= 1


def test_a_file_is_what_the_model_writes(ocean, tmp_path):
    case = small_case(ocean, 10, months=4)
    paths = case.write(tmp_path)
    assert [path.name[-10:-3] for path in paths] == ["0347-10", "0347-11", "0347-12", "0348-01"]
    assert paths[0].parent == tmp_path / case.case.name / "ocn" / "hist"
    with opened(paths[3]) as file:
        assert file.data_model == "NETCDF3_64BIT_OFFSET"
        assert file.dimensions["time"].isunlimited()
        assert file.title == case.case.name
        assert file["time"].units == "days since 0000-01-01 00:00:00"
        assert (file["time"].calendar, file["time"].bounds) == ("noleap", "time_bound")
        assert file["time_bound"][0].tolist() == [348 * 365, 348 * 365 + 31]
        assert file["time"][0] == 348 * 365 + 31  # the end of the interval
        assert {"UAREA", "KMU", "HTN", "ANGLET", "nsurface_u", "T0_Kelvin"} <= set(file.variables)
        assert file["REGION_MASK"].dtype == np.int32
        assert file["dz"].dtype == np.float32
    with xr.open_dataset(paths[3]) as read:
        assert read["time"].dt.month.item() == 2


def test_two_writes_give_the_same_bytes(ocean, tmp_path):
    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    first = [digest(path) for path in small_case(ocean, months=3).write(tmp_path / "a")]
    case = small_case(SampleOcean(sample_pop_grid(96, 80, 12, undefined_land=True)), months=3)
    again = [digest(case.write_month(tmp_path / "b", k)) for k in (2, 0, 1)]
    assert again == [first[2], first[0], first[1]]


def test_optional_parts_can_be_left_out(ocean, tmp_path):
    case = small_case(ocean, months=1, ssh=False, statics="few")
    with opened(case.write_month(tmp_path, 0)) as file:
        assert "SSH" not in file.variables
        assert "UAREA" not in file.variables
        assert {"TAREA", "KMT", "dz", "TLAT"} <= set(file.variables)
    assert (case.columns(0).dic[ocean.wet] > 0).all()


def test_the_control_holds_what_every_twin_holds(ocean, tmp_path):
    case = small_case(ocean, 7, months=2)
    control = write_control_months(ocean, tmp_path, DOR.control_case, case.months)
    for run, reference in zip(case.write(tmp_path), control, strict=True):
        with opened(run) as a, opened(reference) as b:
            assert b.title == "smyle.cdr-atlas-v0.control.001"
            npt.assert_array_equal(a["time_bound"][:], b["time_bound"][:])
            for name in ("DIC", "ALK"):
                npt.assert_array_equal(a[f"{name}_ALT_CO2"][:], b[name][:])
            npt.assert_array_equal(a["FG_ALT_CO2"][:], b["FG_CO2"][:])
            npt.assert_array_equal(a["ECOSYS_IFRAC"][:], b["ECOSYS_IFRAC"][:])


def test_a_series_is_stamped_with_the_end_of_each_month(ocean, tmp_path):
    months = [(346, 12), (347, 1), (347, 2)]
    case = small_case(ocean, months=2)
    with opened(write_series(ocean, tmp_path / "ssh.nc", "SSH", months)) as series:
        assert series["SSH"].shape == (3, 96, 80)
        npt.assert_array_equal(series["time"][:], series["time_bound"][:, 1])
        npt.assert_array_equal(series["time_bound"][1:, 0], series["time_bound"][:-1, 1])
        for k, path in enumerate(case.write(tmp_path)):
            with opened(path) as file:
                npt.assert_array_equal(series["SSH"][k + 1], file["SSH"][0])
                assert (series["SSH"][k] != file["SSH"][0]).any()


def test_cases_share_their_ocean_whatever_their_polygon(ocean, tmp_path):
    one = small_case(ocean, 4, months=1).write_month(tmp_path / "a", 0)
    other = small_case(ocean, 1, months=4, centre=(200.0, -30.0)).write_month(tmp_path / "b", 3)
    with opened(one) as a, opened(other) as b:
        npt.assert_array_equal(a["DIC_ALT_CO2"][:], b["DIC_ALT_CO2"][:])
        assert (a["DIC"][:] != b["DIC"][:]).any()


def test_too_strong_a_forcing_is_refused(ocean):
    with pytest.raises(ConfigurationError) as caught:
        small_case(ocean, amount_mol=1e15)
    assert caught.value.code == "SampleOffLattice"


def test_a_forcing_on_land_is_refused(ocean):
    with pytest.raises(ConfigurationError, match="no wet cell"):
        small_case(ocean, cells=~ocean.wet)


def test_a_grid_without_kmt_needs_one():
    grid = sample_pop_grid(24, 20, 3)
    with pytest.raises(ConfigurationError, match="with_sample_kmt"):
        SampleOcean(grid.drop_vars("KMT"))
    with_kmt = with_sample_kmt(grid.drop_vars("KMT"))
    npt.assert_array_equal(with_kmt["KMT"].values > 0, grid["wet"].values)


def test_the_real_grid_gives_exact_answers_and_quick_months(tmp_path):
    ocean = SampleOcean(with_sample_kmt(gx1v7()))
    case = small_case(ocean, months=2)
    oracle = case.oracle()
    npt.assert_allclose(oracle.efficiency, oracle.closed_form, rtol=2e-7)
    path = case.write_month(tmp_path, 0)
    assert 143e6 < path.stat().st_size < 144e6
    uptake, removed = sums_of_files([path])
    npt.assert_allclose(-uptake / removed, oracle.efficiency[:1], rtol=1e-13)
    columns = case.columns(0)
    assert 0 < columns.dic.max() < 2**62
    began = time.process_time()
    case.write_month(tmp_path, 1)
    assert time.process_time() - began < 5  # 0.4 s on an idle machine


# Faults


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_changes_the_files(ocean, tmp_path, fault):
    case = small_case(ocean, months=2, statics="few")
    clean = case.write_month(tmp_path / "clean", 0).read_bytes()
    path = case.write_month(tmp_path / "run", 0)
    changed = plant(path, fault)
    if changed == path:
        assert not path.exists() or path.read_bytes() != clean
    else:
        assert changed.read_bytes() == clean


# The classic format


def test_a_layout_writes_every_type_and_odd_lengths(tmp_path):
    layout = ClassicLayout(
        {"t": None, "x": 3},
        [
            ClassicVariable("a", "f4", ("t", "x"), {"units": "m", "n": 7, "r": 0.5}),
            ClassicVariable("b", "i4", ("x",), {}, [1, 2, 3]),
            ClassicVariable("c", "f8", (), {"_FillValue": np.float64(9.0)}, 2.5),
        ],
        {"title": "odd"},
        records=2,
    )
    layout.views["a"][1] = [4, 5, 6]
    path = layout.write(tmp_path / "x.nc")
    assert path.stat().st_size == layout.size
    with opened(path) as file:
        npt.assert_array_equal(file["a"][:], [[0, 0, 0], [4, 5, 6]])
        assert (file["a"].units, file["a"].n, file["a"].r) == ("m", 7, 0.5)
        assert file["b"][:].tolist() == [1, 2, 3]
        assert float(file["c"][:]) == 2.5
        assert file.title == "odd"


def test_a_layout_with_an_unknown_dimension_is_refused():
    with pytest.raises(ConfigurationError, match="unknown dimensions"):
        ClassicLayout({"x": 1}, [ClassicVariable("a", "f4", ("y",))], {})
