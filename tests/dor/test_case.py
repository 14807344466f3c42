"""A whole case: known answers, the same bytes however it is run, and every bad input."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import shutil
import time
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

from dor_ecco_assets.dor import case as case_module
from dor_ecco_assets.dor import case_stores
from dor_ecco_assets.dor import month as month_module
from dor_ecco_assets.dor import research as research_module
from dor_ecco_assets.dor.case_grid import case_grid
from dor_ecco_assets.dor.case_stores import STORES
from dor_ecco_assets.dor.month import MOL_PER_M2_YEAR, MonthSetup
from dor_ecco_assets.dor.research import research_name
from dor_ecco_assets.dor.rings import N_RINGS
from dor_ecco_assets.dor.sea_level import open_sea_level
from dor_ecco_assets.errors import (
    GridMismatch,
    InputMissing,
    InputUnusable,
    PartitionBusy,
    StorageRefused,
)
from dor_ecco_assets.samples.pop_faults import plant
from dor_ecco_assets.samples.pop_history import write_series
from tests.dor.small import CENTRE, grid, ocean, write_sample
from tests.support.kill import tree_digest


def products(out: Path) -> str:
    """Digest of all that is published of a case."""
    return f"{tree_digest(out / 'research')} {tree_digest(out / 'stores')}"


def rows(made) -> xr.Dataset:
    return xr.open_zarr(made.stores["case_rows"], consolidated=False).load()


@pytest.mark.parametrize("injection_month", [1, 4, 7, 10])
def test_curves_are_those_of_the_closed_form(tmp_path, injection_month):
    sample = write_sample(tmp_path, injection_month, months=14)
    made, oracle = sample.run(), sample.sample.oracle()
    found = rows(made)
    assert found["ring_uptake_mmol"].shape == (14, N_RINGS)
    for name in ("efficiency", "uptake_percent", "ring_uptake_mmol"):
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name].values, getattr(oracle, name), rtol=1e-13)
    np.testing.assert_allclose(made.series.uptake_mol, oracle.uptake_mol, rtol=1e-13)
    np.testing.assert_allclose(made.series.dic_flux_mol, oracle.forcing_mol, rtol=1e-13)
    np.testing.assert_allclose(oracle.efficiency, oracle.closed_form, rtol=1e-4)
    # The oracle tells month lengths apart: one length for all of them fails.
    wrong = np.cumsum([each.excess_nmol_s for each in made.months]) * made.series.days[0]
    assert np.abs(wrong * 86400e-9 / oracle.uptake_mol - 1).max() > 0.005


@pytest.mark.parametrize("forcing", ["OAE", "ERW"])
def test_an_addition_of_alkalinity_has_its_efficiency_too(tmp_path, forcing):
    sample = write_sample(tmp_path, forcing=forcing)
    made = sample.run()
    np.testing.assert_allclose(
        rows(made)["efficiency"].values, sample.sample.oracle().efficiency, rtol=1e-13
    )
    assert f"glb-{forcing.lower()}.001-1999-07" in made.research[0].name


def test_maps_are_exact(tmp_path):
    sample = write_sample(tmp_path, months=13)
    made = sample.run()
    with xr.open_zarr(made.stores["map_fields"], consolidated=False) as maps:
        assert set(maps.data_vars) == {"FG", "DIC_SURF", "DIC", "PH", "pCO2SURF"}
        assert maps["DIC"].dims == ("band", "elapsed_time", "nlat", "nlon")
        assert list(maps["elapsed_time"].values) == list(range(13))
        assert maps["DIC"].attrs["band_names"] == ["delta", "experimental"]
        wet = sample.setup.grid.wet
        for k in (0, 12):
            exact = sample.sample.columns(k)
            for band, numerator in enumerate((exact.delta, exact.dic)):
                found = maps["DIC"].values[band, k]
                expected = (numerator / exact.denominator).astype(np.float32)
                np.testing.assert_array_max_ulp(found[wet], expected[wet], maxulp=1)
                assert np.isnan(found[~wet]).all()
            excess = (sample.sample.excess_steps(k) * 2.0**-32).astype(np.float32)
            np.testing.assert_array_equal(maps["FG"].values[0, k][wet], excess[wet])


def test_the_analysis_store_holds_what_its_definitions_say(tmp_path):
    sample = write_sample(tmp_path)
    made, oracle = sample.run(), sample.sample.oracle()
    with (
        xr.open_zarr(made.stores["analysis_store"], consolidated=False) as found,
        xr.open_dataset(sample.history(1), decode_times=False) as month,
    ):
        np.testing.assert_allclose(found["DIC_ADD_TOTAL"], oracle.uptake_mol, rtol=1e-13)
        np.testing.assert_allclose(found["DIC_FLUX"], oracle.forcing_mol, rtol=1e-13)
        assert (found["ALK_FLUX"] == 0).all()
        total = np.nansum(found["DIC_FLUX_TOTAL"] * found["AREA_M2"])
        assert total == pytest.approx(oracle.forcing_mol[-1], rel=1e-6)
        added = month["FG_CO2"].astype("f8") - month["FG_ALT_CO2"].astype("f8")
        np.testing.assert_allclose(
            found["FG_CO2_ADD"].values[1], -MOL_PER_M2_YEAR * added[0], rtol=1e-7
        )
        alk = month["ALK"][0, 0] - month["ALK_ALT_CO2"][0, 0]
        np.testing.assert_array_equal(found["ALK_ADD_SURF"].values[1], alk)
        np.testing.assert_array_equal(found["DIC_SURF"].values[1], month["DIC"][0, 0])
        for name, variable in found.data_vars.items():
            assert variable.attrs["units"], name
        assert found["DIC_ADD_TOTAL"].dtype == np.float64
        assert found.attrs["case"] == sample.setup.case.name
        assert found.attrs["compat"] == "none"


def test_the_excess_store_is_consolidated_and_knows_every_month_length(tmp_path):
    sample = write_sample(tmp_path)
    made = sample.run()
    path = made.stores["fg_co2_excess"]
    assert zarr.open_group(path, mode="r").metadata.zarr_format == 2
    with xr.open_zarr(path, consolidated=True, decode_times=False) as found:
        excess = found["FG_CO2_excess"]
        assert excess.shape == (1, 1, 3, 48, 40)
        assert excess.encoding["chunks"][:3] == (1, 1, 3)
        assert list(found["time_delta"].values) == [31, 31, 30]
        assert list(found["elapsed_time"].values) == [0, 31, 62]
        steps = sample.sample.excess_steps(2) * 2.0**-32
        wet = sample.setup.grid.wet
        np.testing.assert_array_equal(excess.values[0, 0, 2][wet], steps[wet].astype("f4"))


def test_rows_of_the_excess_store_are_read_in_blocks_without_a_seam(tmp_path, monkeypatch):
    sample = write_sample(tmp_path)
    made = sample.run()
    monkeypatch.setattr(case_stores, "_ROWS_BYTES", 4 * 3 * 40 * 7)
    other = sample.run(tmp_path / "blocks")
    one, two = (
        zarr.open_group(m.stores["fg_co2_excess"], mode="r")["FG_CO2_excess"] for m in (made, other)
    )
    assert two.chunks[3] < one.chunks[3] == 48
    np.testing.assert_array_equal(one[...], two[...])


# The same bytes however it is run


def test_threads_change_no_byte(tmp_path):
    sample = write_sample(tmp_path)
    digests = set()
    for threads in (1, 2, 5):
        sample.run(tmp_path / str(threads), threads=threads)
        digests.add(products(tmp_path / str(threads)))
    assert len(digests) == 1


def test_a_second_run_keeps_every_month_and_every_byte(tmp_path):
    sample = write_sample(tmp_path)
    sample.run()
    before = products(tmp_path / "out")
    again = sample.run()
    assert again.kept == 3
    assert products(tmp_path / "out") == before


class Killed(BaseException):
    """What ends a run in these tests, as nothing else does."""


#: What is done between two files that appear, all of it in the caller's thread.
STEPS = [
    (case_module, "make_month"),
    (case_module, "_checksum"),
    (case_module, "_replace_folder"),
    (month_module, "write_research_file"),
    (case_stores._Group, "geography"),
]


@pytest.mark.parametrize(("holder", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_run_killed_at_any_step_and_rerun_leaves_the_same_bytes(
    tmp_path, monkeypatch, holder, name
):
    sample = write_sample(tmp_path, months=2)
    sample.run(tmp_path / "clean")
    expected = products(tmp_path / "clean")
    original, out = getattr(holder, name), tmp_path / "victim"
    kills = 0
    for moment in range(20):
        for after in (False, True):
            shutil.rmtree(out, ignore_errors=True)
            calls = [0]

            def dying(*args, _at=moment, _after=after, _calls=calls, **kwargs):
                _calls[0] += 1
                if _calls[0] != _at + 1:
                    return original(*args, **kwargs)
                if _after:
                    original(*args, **kwargs)
                raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(holder, name, dying)
                try:
                    sample.run(out)
                except Killed:
                    kills += 1
                else:
                    assert kills >= 4
                    return
            sample.run(out)
            assert products(out) == expected, (moment, after)
    raise AssertionError(f"{name} is called more often than it was tried")


def test_a_run_over_finished_stores_killed_between_them_mends_itself(tmp_path, monkeypatch):
    sample = write_sample(tmp_path, months=2)
    sample.run()
    expected = products(tmp_path / "out")
    for moment in range(8):
        calls = [0]
        original = Path.replace

        def dying(self, target, _at=moment, _calls=calls, _of=original):
            if self.parent.name == "stores" and self.name.removesuffix(".part") in STORES:
                _calls[0] += 1
                if _calls[0] == _at + 1:
                    raise Killed
            return _of(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dying)
            with pytest.raises(Killed):
                sample.run()
        sample.run()
        assert products(tmp_path / "out") == expected


def _whole_case(root, out):
    write = write_sample  # the inputs are there: written again, the same bytes, another time
    sample = write(Path(root), months=6)
    sample.run(Path(out))


def test_a_killed_process_leaves_a_case_that_a_rerun_completes(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    sample = write_sample(tmp_path, months=6)
    sample.run(tmp_path / "clean")
    out = tmp_path / "victim"
    victim = spawn.Process(target=_whole_case, args=(tmp_path, out))
    victim.start()
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    victim.kill()
    victim.join()
    assert victim.exitcode == -9
    sample.run(out)
    assert products(out) == products(tmp_path / "clean")


def test_a_torn_file_of_a_finished_month_is_made_again(tmp_path):
    sample = write_sample(tmp_path)
    made = sample.run()
    before = products(tmp_path / "out")
    data = bytearray(made.research[1].read_bytes())
    data[len(data) // 2] ^= 1
    made.research[1].write_bytes(data)
    assert sample.run().kept == 2
    assert products(tmp_path / "out") == before


def test_a_changed_history_file_makes_its_own_month_again(tmp_path):
    sample = write_sample(tmp_path)
    made = sample.run()
    with netCDF4.Dataset(sample.history(2), "r+") as file:
        file.set_auto_maskandscale(False)
        file["PH"][0, 20, 20] = np.float32(8.5)
    again = sample.run()
    assert again.kept == 2
    with netCDF4.Dataset(made.research[2]) as file:
        assert file["PH"][0, 0, 0, 20, 20] == np.float32(8.5)


def test_other_options_make_every_month_again(tmp_path):
    sample = write_sample(tmp_path)
    sample.run()
    assert sample.run(compat="reference").kept == 0
    assert sample.run(compat="reference").kept == 3


def test_parts_of_a_dead_run_are_swept(tmp_path):
    sample = write_sample(tmp_path)
    made = sample.run()
    left = [
        made.research[0].with_name(".x.nc.part"),
        tmp_path / "out" / "stores" / "map_fields.part",
        tmp_path / "out" / "checkpoint" / "months" / "0347-07.json.part",
    ]
    left[0].touch()
    left[1].mkdir()
    left[2].touch()
    sample.run()
    assert not any(path.exists() for path in left)


def test_no_reader_of_the_folder_meets_a_file_that_is_not_whole(tmp_path, monkeypatch):
    sample = write_sample(tmp_path)
    original, seen, synced = research_module.h5py.File, [], []

    def watched(*args, **kwargs):
        folder = tmp_path / "out/research/001/07"
        seen.append(sorted(path.name for path in folder.glob("[!.]*")))
        return original(*args, **kwargs)

    monkeypatch.setattr(research_module.h5py, "File", watched)
    monkeypatch.setattr(research_module, "sync_folder", synced.append)
    made = sample.run()
    names = [path.name for path in made.research]
    assert seen == [names[:0], names[:1], names[:2]]
    assert synced == [made.research[0].parent] * 3


# Bad input


BAD_MONTHS = {
    "truncated": (InputUnusable, "HistoryTruncated"),
    "not netcdf": (InputUnusable, "HistoryUnreadable"),
    "wrong calendar": (InputUnusable, "CalendarMismatch"),
    "wrong epoch": (InputUnusable, "TimeUnitsMismatch"),
    "no bounds": (InputUnusable, "TimeBoundsMissing"),
    "bounds of a day": (InputUnusable, "TimeBoundsNotOneMonth"),
    "wrong title": (InputUnusable, "TitleMismatch"),
    "wrong kmt": (GridMismatch, "GridDigest"),
    "wrong area": (GridMismatch, "GridDigest"),
    "no area": (InputUnusable, "FieldMissing"),
    "no field": (InputUnusable, "FieldMissing"),
    "nan in a wet cell": (InputUnusable, "WetCellGaps"),
    "infinity in a wet cell": (InputUnusable, "WetCellGaps"),
    "fill in a wet cell": (InputUnusable, "WetCellGaps"),
}


@pytest.mark.parametrize("fault", BAD_MONTHS)
def test_a_bad_month_fails_its_case_and_a_rerun_mends_just_that(tmp_path, fault):
    sample = write_sample(tmp_path)
    sample.run(tmp_path / "clean")
    good = sample.history(1).read_bytes()
    plant(sample.history(1), fault)
    kind, code = BAD_MONTHS[fault]
    with pytest.raises(kind) as raised:
        sample.run()
    assert raised.value.code == code
    assert "0347-08" in str(raised.value)
    assert sample.setup.case.name in str(raised.value)
    # The other months are usable, the bad one and every store are absent.
    names = [path.name[-10:-3] for path in sorted((tmp_path / "out" / "research").rglob("*.nc"))]
    assert names == ["0347-07", "0347-09"]
    assert not list((tmp_path / "out" / "research").rglob("*.part"))
    assert not (tmp_path / "out" / "stores").exists()
    sample.history(1).write_bytes(good)
    assert sample.run().kept == 2
    assert products(tmp_path / "out") == products(tmp_path / "clean")


def test_a_month_that_goes_bad_takes_its_old_file_with_it_and_keeps_the_stores(tmp_path):
    sample = write_sample(tmp_path)
    made = sample.run()
    stores = tree_digest(tmp_path / "out" / "stores")
    plant(sample.history(1), "nan in a wet cell")
    with pytest.raises(InputUnusable):
        sample.run()
    assert [path.exists() for path in made.research] == [True, False, True]
    assert tree_digest(tmp_path / "out" / "stores") == stores


def test_a_truncated_month_is_told_with_both_sizes(tmp_path):
    sample = write_sample(tmp_path)
    whole = sample.history(1).stat().st_size
    plant(sample.history(1), "truncated")
    with pytest.raises(InputUnusable) as raised:
        sample.run()
    assert f"{whole * 2 // 3} bytes, its header asks for {whole}" in str(raised.value)


def test_all_missing_months_are_named_and_the_others_made(tmp_path):
    sample = write_sample(tmp_path)
    for k in (0, 2):
        plant(sample.history(k), "missing month")
    with pytest.raises(InputMissing) as raised:
        sample.run()
    assert raised.value.code == "MonthsMissing"
    assert "2 of 3" in str(raised.value)
    assert "0347-07, 0347-09" in str(raised.value)
    assert len(list((tmp_path / "out" / "research").rglob("*.nc"))) == 1
    assert not (tmp_path / "out" / "stores").exists()


def test_bad_and_missing_months_are_told_together(tmp_path):
    sample = write_sample(tmp_path)
    plant(sample.history(0), "missing month")
    plant(sample.history(1), "wrong calendar")
    plant(sample.history(2), "wrong title")
    with pytest.raises(InputUnusable) as raised:
        sample.run()
    assert raised.value.code == "MonthsUnusable"
    for part in ("0347-07", "calendar", "0347-08", "title", "0347-09"):
        assert part in str(raised.value)


def test_a_misnamed_month_is_told(tmp_path):
    sample = write_sample(tmp_path)
    one, two, three = (sample.history(k) for k in range(3))
    spare = tmp_path / "spare"
    two.rename(spare)
    three.rename(two)
    spare.rename(three)
    with pytest.raises(InputUnusable) as raised:
        sample.run()
    assert raised.value.code == "MonthMismatch"
    assert "its name says 0347-08, its time_bound 0347-09" in str(raised.value)
    assert one.exists()


def test_a_grid_of_other_size_is_refused(tmp_path):
    sample = write_sample(tmp_path)
    other = case_grid(grid(24, 20, 5))
    with pytest.raises(GridMismatch) as raised:
        sample.run(grid=other)
    assert raised.value.code == "GridSizes"


def test_a_grid_without_depths_is_refused():
    with pytest.raises(GridMismatch) as raised:
        case_grid(grid().drop_vars("KMT"))
    assert raised.value.code == "GridKmtMissing"


def test_gaps_that_are_allowed_are_missing_and_counted(tmp_path):
    sample = write_sample(tmp_path)
    plant(sample.history(1), "nan in a wet cell")
    made = sample.run(allow_gaps=True)
    j, i = np.argwhere(sample.setup.grid.wet)[0]
    assert made.gaps == 1
    assert made.months[1].gaps == {"FG_CO2": 1}
    with xr.open_zarr(made.stores["map_fields"], consolidated=False) as maps:
        assert np.isnan(maps["FG"].values[:, 1, j, i]).all()
        assert np.isfinite(maps["FG"].values[:, 0, j, i]).all()
        assert maps.attrs["gaps"] == 1
    whole = sample.sample.oracle()
    np.testing.assert_allclose(made.series.efficiency, whole.efficiency, rtol=1e-2)


def test_a_sum_over_nothing_is_missing(tmp_path):
    sample = write_sample(tmp_path)
    with netCDF4.Dataset(sample.history(1), "r+") as file:
        file.set_auto_maskandscale(False)
        file["FG_CO2"][:] = np.float32(np.nan)
    made = sample.run(allow_gaps=True)
    assert np.isnan(made.months[1].excess_nmol_s)
    assert np.isfinite(made.series.efficiency[0])
    assert np.isnan(made.series.efficiency[1:]).all()
    assert np.isnan(made.series.uptake_percent).all()


def test_numbers_on_land_are_masked_counted_and_told_once(tmp_path, caplog):
    sample = write_sample(tmp_path)
    for k in (0, 1):
        plant(sample.history(k), "value on land")
    with caplog.at_level(logging.WARNING):
        made = sample.run()
    assert made.strays == 2
    assert len([each for each in caplog.records if "dry cells" in each.message]) == 1
    np.testing.assert_allclose(
        made.series.efficiency, sample.sample.oracle().efficiency, rtol=1e-13
    )


def test_no_forcing_leaves_the_efficiency_missing(tmp_path):
    sample = write_sample(tmp_path)
    plant(sample.history(0), "no forcing")
    found = rows(sample.run())
    assert np.isnan(found["efficiency"]).all()
    assert np.isfinite(found["uptake_percent"]).all()


def test_a_removal_that_adds_is_an_error(tmp_path):
    sample = write_sample(tmp_path)
    plant(sample.history(0), "forcing of the wrong sign")
    with pytest.raises(InputUnusable) as raised:
        sample.run()
    assert raised.value.code == "ForcingSign"
    assert not (tmp_path / "out" / "stores").exists()


def _hold(checkpoint, case, ready, done):
    with case_module._alone(checkpoint, case):
        ready.set()
        done.wait()


def test_a_second_writer_is_told(tmp_path):
    sample = write_sample(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    args = (sample.folders.checkpoint, "other", ready, done)
    holder = spawn.Process(target=_hold, args=args)
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(PartitionBusy) as raised:
            sample.run()
        assert raised.value.code == "CaseBusy"
    finally:
        done.set()
        holder.join()
    sample.run()


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    sample = write_sample(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            "dor_ecco_assets.dor.research.os.fsync",
            lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device", "here")),
        )
        with pytest.raises(StorageRefused) as raised:
            sample.run()
    assert raised.value.code == "DiskRefused"
    assert not list((tmp_path / "out" / "research").rglob("*.*"))
    sample.run()


# Sea level


def test_sea_level_comes_from_a_series_where_history_files_have_none(tmp_path):
    with_ssh, without = tmp_path / "with", tmp_path / "without"
    one, two = write_sample(with_ssh), write_sample(without, ssh=False)
    months = [(347, 6), *one.sample.months]
    path = write_series(ocean(), tmp_path / "ssh.nc", "SSH", months)
    made = [one.run(), two.run(sea_level=open_sea_level(path, months[1:]))]
    maps = [xr.open_zarr(each.stores["map_fields"], consolidated=False) for each in made]
    np.testing.assert_array_equal(maps[0]["DIC"].values, maps[1]["DIC"].values)
    late = two.run(tmp_path / "compat", sea_level=open_sea_level(path, months), compat="reference")
    with xr.open_zarr(late.stores["map_fields"], consolidated=False) as found:
        change = np.nanmax(np.abs(found["DIC"].values[1] - maps[0]["DIC"].values[1]))
    assert change > 50  # a month's change of some cm times 2000 mmol/m³


def test_no_sea_level_at_all_is_an_error(tmp_path):
    sample = write_sample(tmp_path, ssh=False)
    with pytest.raises(InputUnusable, match="SSH series") as raised:
        sample.run()
    assert raised.value.code == "FieldMissing"


def test_a_series_must_hold_every_month(tmp_path):
    path = write_series(ocean(), tmp_path / "ssh.nc", "SSH", [(347, 7), (347, 9)])
    with pytest.raises(InputMissing, match="0347-08") as raised:
        open_sea_level(path, [(347, 7), (347, 8), (347, 9)])
    assert raised.value.code == "SeaLevelMissing"
    with pytest.raises(InputMissing):
        open_sea_level(tmp_path / "absent.nc", [])


def test_a_series_that_is_none_is_refused(tmp_path):
    sample = write_sample(tmp_path, ssh=False)
    with pytest.raises(InputUnusable) as raised:
        open_sea_level(sample.history(0), [])
    assert raised.value.code == "SeaLevelUnusable"


# What the published stores got wrong


def test_compat_repeats_the_four_defects_and_says_so(tmp_path):
    sample = write_sample(tmp_path, injection_month=4, months=12)
    right = sample.run()
    wrong = sample.run(tmp_path / "compat", compat="reference")
    # 1, month length: every month counts as the first, of 30 days.
    rates = np.array([each.rings_nmol_s for each in wrong.months])
    expected = np.cumsum(rates * 30 * 86400, axis=0) / 1e6
    np.testing.assert_allclose(wrong.series.ring_uptake_mmol, expected, rtol=1e-14)
    # 2, rings: what is said to be 500 km holds rings out to 550 km.
    percent = 100 * expected[:, :11].sum(axis=1) / expected[-1].sum()
    np.testing.assert_allclose(wrong.series.uptake_percent[:, 0], percent, rtol=1e-14)
    assert (wrong.series.uptake_percent[-1] > right.series.uptake_percent[-1] + 1).any()
    # 4, the column's delta is one of float32 integrals: noise where there is no plume.
    with (
        xr.open_zarr(right.stores["map_fields"], consolidated=False) as good,
        xr.open_zarr(wrong.stores["map_fields"], consolidated=False) as bad,
    ):
        error = np.abs(good["DIC"].values[0] - bad["DIC"].values[0])
        assert np.nanmax(error) > 0.5
        assert (good.attrs["compat"], bad.attrs["compat"]) == ("none", "reference")
    with xr.open_zarr(wrong.stores["fg_co2_excess"], decode_times=False) as excess:
        assert set(excess["time_delta"].values) == {30}
    # The efficiency has none of them.
    np.testing.assert_array_equal(wrong.series.efficiency, right.series.efficiency)


def test_scaling_the_forcing_scales_the_uptake_and_leaves_the_efficiency(tmp_path):
    one, two = (write_sample(tmp_path / str(mol), amount_mol=mol).run() for mol in (1e12, 2e12))
    np.testing.assert_allclose(two.series.uptake_mol, 2 * one.series.uptake_mol, rtol=1e-5)
    np.testing.assert_allclose(two.series.efficiency, one.series.efficiency, rtol=1e-5)


def test_rings_add_up_to_the_total(tmp_path):
    made = write_sample(tmp_path).run()
    rings = made.series.ring_uptake_mmol.sum(axis=1)
    np.testing.assert_allclose(rings * 1e-3, made.series.uptake_mol, rtol=1e-12)


def test_research_names_are_the_published_ones():
    made = dataclasses.replace(
        write_case(), name="smyle.cdr-atlas-v0.glb-dor_South_038_1999-07-01_01554.001"
    )
    assert research_name(made, (348, 2)) == (
        "388/07/smyle.cdr-atlas-v0.glb-dor.388-1999-07.pop.h.0348-02.nc"
    )


def write_case():
    from dor_ecco_assets.atlas.cases import case_at
    from dor_ecco_assets.atlas.specification import load_atlas

    return case_at(load_atlas("dor"), 388, 7)


def test_three_months_of_full_size(tmp_path):
    from dor_ecco_assets.samples.pop_grid import sample_pop_grid
    from dor_ecco_assets.samples.pop_history import SampleCase, SampleOcean
    from tests.dor.small import Sample, case

    full = sample_pop_grid(384, 320, 60)
    made = case(months=3)
    sample = SampleCase(SampleOcean(full), made, CENTRE)
    sample.write(tmp_path / "inputs")
    setup = MonthSetup(made, case_grid(full), CENTRE, ("FG", "DIC_SURF", "DIC", "PH", "pCO2SURF"))
    done, oracle = Sample(tmp_path, sample, setup).run(), sample.oracle()
    np.testing.assert_allclose(done.series.efficiency, oracle.efficiency, rtol=1e-13)
    np.testing.assert_allclose(done.series.uptake_percent, oracle.uptake_percent, rtol=1e-13)
    with (
        netCDF4.Dataset(done.research[2]) as file,
        netCDF4.Dataset(
            tmp_path / "inputs" / made.name / "ocn" / "hist" / sample.file_name(2)
        ) as source,
    ):
        file.set_auto_mask(False)
        source.set_auto_mask(False)
        for name in ("DIC", "ALK_ALT_CO2", "SSH"):
            np.testing.assert_array_equal(
                file[name][:].view("u4").ravel(), source[name][:].view("u4").ravel()
            )
