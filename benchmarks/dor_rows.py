"""Atlas cases against a faithful stage-by-stage xarray implementation of the published workflow."""

import dataclasses
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.measure import (
    Row,
    forget_peak,
    interleaved,
    interleaved_costs,
    limit_row,
    median_cpu_seconds,
    peak_rss_mb,
    row,
)
from benchmarks.processes import Children
from dor_ecco_assets.atlas.calendar import model_months
from dor_ecco_assets.atlas.cases import Case, case_at
from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.dor.case import CaseFolders, process_case
from dor_ecco_assets.dor.case_grid import case_grid
from dor_ecco_assets.dor.history import month_label, open_history
from dor_ecco_assets.dor.month import MOL_PER_M2_YEAR, MonthSetup, month_maps
from dor_ecco_assets.dor.research import research_name
from dor_ecco_assets.dor.rings import N_RINGS, RING_EDGES_M, great_circle_m, ring_index
from dor_ecco_assets.grids.llc_geometry import xyz_from_lonlat
from dor_ecco_assets.samples.pop_grid import sample_pop_grid
from dor_ecco_assets.samples.pop_history import (
    SampleCase,
    SampleOcean,
    history_folder,
    history_name,
)
from dor_ecco_assets.stores.deflate import HASTY, deflate_planes

MONTH = "all products of a full-size month"
MAPS = "map fields of a month"
DEFLATE = "deflate of one 3-D field"
RINGS = "ring sums, 180 months"
DISTANCE = "distance field"
MEMORY = "peak memory of 24 and 180 months"
NAMES = (MONTH, MAPS, DEFLATE, RINGS, DISTANCE, MEMORY)

#: nlat, nlon, depth levels of gx1v7.
SHAPE = (384, 320, 60)
CENTRE = (200.0, 10.0)
VOLUMES = ("DIC", "DIC_ALT_CO2", "ALK", "ALK_ALT_CO2")
MAP_VARIABLES = ("FG", "DIC_SURF", "DIC", "PH", "pCO2SURF")

#: Months of the case whose months are timed.
MONTHS = 4
#: Most that a deflated field may take, of zlib level 4.
MOST_SIZE = 1.03
#: Most memory of a case, MB, and how far 24 and 180 months may lie apart.
MOST_MB, FLAT = 1000.0, 1.1


def rows(scratch: Path, *, quick: bool) -> list[Row]:
    """All rows but the last; see `memory_row`."""
    sample = _sample(MONTHS)
    path = sample.write_month(scratch / "inputs", 0)
    return [
        month_row(scratch, sample, path, quick=quick),
        maps_row(scratch, sample, path, quick=quick),
        deflate_row(path),
        rings_row(sample, quick=quick),
        distance_row(sample, quick=quick),
    ]


def _case(months: int) -> Case:
    return dataclasses.replace(case_at(load_atlas("dor"), 123, 7), months=months)


def _sample(months: int) -> SampleCase:
    return SampleCase(SampleOcean(sample_pop_grid(*SHAPE)), _case(months), CENTRE)


# One month


def month_row(scratch: Path, sample: SampleCase, path: Path, *, quick: bool) -> Row:
    """Files and stores of a case by the month, less what a case costs once."""
    one, all_months = (_runner(scratch, sample, months) for months in (1, MONTHS))
    for k in range(1, MONTHS):
        sample.write_month(scratch / "inputs", k)
    baseline = _Stages(sample, path, scratch / "stages")

    def ours() -> float:
        # The template and the stores' coordinates are made once per case.
        return (all_months() - one()) / (MONTHS - 1)

    ours_s, baseline_s = interleaved_costs(ours, baseline.cost, runs=2 if quick else 5)
    planes = [_planes(path, name).tobytes() for name in VOLUMES]
    anchor_s = median_cpu_seconds(lambda: [zlib.compress(each, 4) for each in planes], runs=2)
    return row(
        line="dor",
        name=MONTH,
        ours=ours_s,
        baseline=baseline_s,
        target=8.0,
        note=(
            f"{path.stat().st_size / 1e6:.0f} MB history file; ours: a month of {MONTHS - 1} that "
            "a case has beyond its first, fsync included; baseline: xarray, stage by stage: "
            f"{baseline.said()}; anchor: zlib level 4 of the four fields {anchor_s:.2f} s, ours "
            f"costs {ours_s / anchor_s:.2f}, the baseline {baseline_s / anchor_s:.2f} times that"
            + ("; 2 runs of each" if quick else "")
        ),
    )


def _runner(scratch: Path, sample: SampleCase, months: int) -> Callable[[], float]:
    """CPU seconds of a whole case of so many months, made anew."""
    setup = _setup(sample, months)
    inputs = scratch / f"case{months}"
    source = history_folder(scratch / "inputs", setup.case.name)

    def run() -> float:
        inputs.mkdir(exist_ok=True)
        for k in range(months):
            link = inputs / sample.file_name(k)
            if not link.exists():
                os.link(source / link.name, link)
        out = scratch / f"made{months}"
        shutil.rmtree(out, ignore_errors=True)
        start = time.process_time()
        process_case(setup, _folders(inputs, out), threads=2)
        return time.process_time() - start

    return run


def _setup(sample: SampleCase, months: int) -> MonthSetup:
    grid = case_grid(sample.ocean.grid)
    return MonthSetup(_case(months), grid, CENTRE, MAP_VARIABLES)


def _folders(history: Path, out: Path) -> CaseFolders:
    return CaseFolders(history, out / "research", out / "stores", out / "checkpoint")


class _Stages:
    """The published workflow for one month: every stage opens the file it needs anew."""

    def __init__(self, sample: SampleCase, history: Path, folder: Path) -> None:
        self._grid = sample.ocean.grid
        self._history, self._folder = history, folder
        self._costs: dict[str, float] = {}

    def said(self) -> str:
        return ", ".join(f"{name} {cost:.2f} s" for name, cost in self._costs.items())

    def cost(self) -> float:
        """CPU seconds of all stages."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        stages = {
            "research file": self._research,
            "analysis": self._analysis,
            "map fields": self._maps,
            "flux excess": self._excess,
        }
        for name, stage in stages.items():
            start = time.process_time()
            stage()
            self._costs[name] = time.process_time() - start
        return sum(self._costs.values())

    def _open(self) -> xr.Dataset:
        return xr.open_dataset(self._history, decode_times=False)

    def _research(self) -> None:
        with self._open() as month:
            month.encoding = {}  # its unlimited dimension goes
            fields = [n for n, v in month.data_vars.items() if v.ndim > 2 and "time" in v.dims]
            made = month.drop_vars(["time_bound", "time"]).rename_dims(time="elapsed_time")
            made = made.set_coords([n for n in made.data_vars if n not in fields])
            made = made.assign_coords(
                KMT=(("nlat", "nlon"), self._grid["KMT"].values),
                area_m2=made["TAREA"] * 1e-4,
                elapsed_time=[0],
                time_delta=month["time_bound"].diff("d2").squeeze(),
            )
            data = {
                n: made[n].expand_dims(polygon_id=[123], intervention_date=[181]) for n in fields
            }
            made = made.drop_vars(fields).assign(data)
            for name in fields:
                made[name].encoding = {
                    "_FillValue": np.float32(9.969209968386869e36),
                    "zlib": True,
                    "complevel": 4,
                    "shuffle": True,
                    "chunksizes": made[name].shape,
                }
            for name in made.coords:
                made[name].attrs.pop("missing_value", None)
                made[name].encoding = {"_FillValue": np.nan} if made[name].dtype.kind == "f" else {}
            made.to_netcdf(self._folder / "research.nc")

    def _analysis(self) -> None:
        with self._open() as month:
            ocean = month["KMT"].fillna(0) > 0
            area = month["TAREA"] * 1e-4
            days = float(month["time_bound"].diff("d2").squeeze())
            added = -(month["FG_CO2"] - month["FG_ALT_CO2"]).where(ocean) * MOL_PER_M2_YEAR
            made = xr.Dataset({"FG_CO2_ADD": added})
            made["DIC_ADD_TOTAL"] = -(added * area).sum(("nlat", "nlon")) * days / 365
            for name in ("DIC_FLUX", "ALK_FLUX"):
                flux = month[name].where(ocean) * MOL_PER_M2_YEAR
                made[name] = (flux * area).sum(("nlat", "nlon")) * days / 365
                made[f"{name}_TOTAL"] = flux.sum("time") * days / 365
            for name in ("DIC", "ALK"):
                top, twin = (month[n].isel(z_t=0) for n in (name, f"{name}_ALT_CO2"))
                made[f"{name}_SURF"], made[f"{name}_ADD_SURF"] = top, top - twin
            for name in ("PH", "pCO2SURF"):
                made[f"{name}_ADD"] = month[name] - month[f"{name}_ALT_CO2"]
            _save(made, self._folder / "analysis.zarr")

    def _maps(self) -> None:
        _save(self.maps(), self._folder / "maps.zarr")

    def maps(self) -> xr.Dataset:
        """Fields of the maps from the research file."""
        with xr.open_dataset(self._folder / "research.nc", decode_times=False) as month:
            made = xr.Dataset()
            for name, twin in (
                ("FG_CO2", "FG_ALT_CO2"),
                ("PH", "PH_ALT_CO2"),
                ("pCO2SURF", "pCO2SURF_ALT_CO2"),
            ):
                made[name], made[f"{name}_delta"] = month[name], month[name] - month[twin]
            run, twin = month["DIC"], month["DIC_ALT_CO2"]
            made["DIC_SURF"] = run.isel(z_t=0)
            made["DIC_SURF_delta"] = (run - twin).isel(z_t=0)
            for label, field in (("DIC", run), ("DIC_delta", run - twin)):
                column = (field * month["dz"] / 100).sum("z_t", min_count=1)
                made[label] = column + field.isel(z_t=0) * month["SSH"] / 100
            return made.astype("f4").compute()

    def _excess(self) -> None:
        with xr.open_dataset(self._folder / "research.nc", decode_times=False) as month:
            made = (month["FG_CO2"] - month["FG_ALT_CO2"]).to_dataset(name="FG_CO2_excess")
            _save(made, self._folder / "excess.zarr", zarr_format=2)


def _save(made: xr.Dataset, path: Path, **options: Any) -> None:
    """Write a store with the coordinates that ours has."""
    kept = {"TLAT", "TLONG", "KMT", "area_m2"} & set(made.coords)
    made = made.drop_vars(set(made.coords) - kept).drop_encoding()
    made.to_zarr(path, mode="w", consolidated=False, **options)


# Parts


def maps_row(scratch: Path, sample: SampleCase, path: Path, *, quick: bool) -> Row:
    """Surface fields and column integrals in both bands, without writing them."""
    setup = _setup(sample, MONTHS)
    stages = _Stages(sample, path, scratch / "stages")  # its research file is there

    def ours() -> None:
        with open_history(path) as history:
            month_maps(history, setup, history.numbers("SSH")[0])

    ours_s, baseline_s = interleaved(ours, stages.maps, runs=2 if quick else 5)
    return row(
        line="dor",
        name=MAPS,
        ours=ours_s,
        baseline=baseline_s,
        target=15.0,
        note=(
            "ours: maps of all stores from the history file, in float64; baseline: xarray from the "
            "compressed research file, in float32"
        ),
    )


def deflate_row(path: Path) -> Row:
    planes = _planes(path, "DIC")
    plain = planes.tobytes()
    ours_s, baseline_s = interleaved(
        lambda: deflate_planes(planes, HASTY), lambda: zlib.compress(plain, 4)
    )
    size = len(deflate_planes(planes, HASTY)) / len(zlib.compress(plain, 4))
    made = row(
        line="dor",
        name=DEFLATE,
        ours=ours_s,
        baseline=baseline_s,
        target=5.0,
        note=(
            f"{planes.nbytes / 1e6:.0f} MB of shuffled float32; baseline and anchor: zlib level 4; "
            f"size {size:.4f} of its (at most {MOST_SIZE})"
        ),
    )
    return made | {"met": made["met"] and size <= MOST_SIZE}


def _planes(path: Path, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Byte planes of a field as NumPy makes them."""
    with open_history(path) as history:
        values = history.values(name).astype("<f4").reshape(-1)
    return np.ascontiguousarray(values.view(np.uint8).reshape(-1, 4).T)


def rings_row(sample: SampleCase, *, quick: bool) -> Row:
    """Uptake in 82 rings; the baseline masks and sums the whole series ring by ring."""
    from dor_ecco_assets.dor.reductions import area_sum

    n_timed = 12 if quick else 180
    grid = case_grid(sample.ocean.grid)
    rng = np.random.default_rng(0)
    excess = rng.standard_normal((180, *grid.kmt.shape)).astype(np.float32) * np.float32(1e-4)
    excess[:, ~grid.wet] = np.nan
    distance = great_circle_m(CENTRE, grid.directions)
    days = np.full(180, 30.0)

    def ours() -> np.ndarray[Any, Any]:
        ring = np.where(grid.wet, ring_index(distance), -1).astype(np.int32).reshape(-1)
        sums, counts = np.empty((180, N_RINGS)), np.empty(N_RINGS, np.int64)
        for k, month in enumerate(excess):
            values = month.astype(np.float64).reshape(-1)
            area_sum(values, grid.area_cm2.reshape(-1), ring, sums[k], counts)
        return np.cumsum(sums * (days * 86400e-6)[:, None], axis=0)

    plane = ("nlat", "nlon")
    field = xr.DataArray(excess[:n_timed], dims=("elapsed_time", *plane))
    area = xr.DataArray(grid.area_cm2, dims=plane)
    away = xr.DataArray(distance, dims=plane)
    length = xr.DataArray(days[:n_timed], dims="elapsed_time")
    edges = [*RING_EDGES_M, np.inf]

    def baseline() -> xr.DataArray:
        made: list[xr.DataArray] = []
        for low, high in itertools.pairwise(edges):
            first = (away == 0) if low == 0 else False
            inside = ((away > low) & (away <= high)) | first
            mass = field.where(inside) * area * length * 86400 / 1e6
            made.append(mass.sum(plane))
        return xr.concat(made, "ring").cumsum("elapsed_time")

    np.testing.assert_allclose(ours()[:n_timed].T, baseline(), rtol=1e-4, atol=1e6)
    ours_s, baseline_s = interleaved(ours, baseline, runs=1 if quick else 3)
    anchor_s = median_cpu_seconds(lambda: float(np.nansum(excess[:12], dtype=np.float64)))
    scaled = f"; baseline timed on {n_timed} months, scaled" if quick else ""
    return row(
        line="dor",
        name=RINGS,
        ours=ours_s,
        baseline=baseline_s * 180 / n_timed,
        target=100.0,
        note=(
            f"82 rings of {grid.kmt.size} cells, compensated; baseline: xarray where and sum per "
            f"ring; anchor: one np.nansum of all months {anchor_s * 15:.3f} s{scaled}"
        ),
    )


def distance_row(sample: SampleCase, *, quick: bool) -> Row:
    """Distance of every cell from one centre; the baseline visits cells one by one."""
    points = case_grid(sample.ocean.grid).directions
    lon, lat = (sample.ocean.grid[name].values for name in ("TLONG", "TLAT"))
    step = 8 if quick else 1

    # The published loop is given the centre as arrays of one value, as its file holds it.
    centre_lon, centre_lat = (np.array([value]) for value in CENTRE)

    def one_cell(lon1: Any, lat1: Any, lon2: Any, lat2: Any) -> Any:
        lon1, lat1, lon2, lat2 = map(np.radians, (lon1, lat1, lon2, lat2))
        half = (
            np.sin((lat2 - lat1) / 2.0) ** 2
            + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2.0) ** 2
        )
        return 6371e3 * 2 * np.arcsin(np.sqrt(half))

    def baseline() -> np.ndarray[Any, Any]:
        made = np.empty(lat[::step].shape)
        for j, i in np.ndindex(made.shape):
            away = one_cell(centre_lon, centre_lat, lon[j * step, i], lat[j * step, i])
            made[j, i] = away[0]
        return made

    np.testing.assert_allclose(great_circle_m(CENTRE, points)[::step], baseline(), atol=1e-5)
    ours_s = median_cpu_seconds(lambda: [great_circle_m(CENTRE, points) for _ in range(10)]) / 10
    once_s = median_cpu_seconds(lambda: xyz_from_lonlat(lon, lat))
    _, baseline_s = interleaved(lambda: None, baseline, runs=1 if quick else 3)
    anchor_s = median_cpu_seconds(lambda: [np.arcsin(np.sqrt(lat * lat / 8100)) for _ in range(10)])
    return row(
        line="dor",
        name=DISTANCE,
        ours=ours_s,
        baseline=baseline_s * step,
        target=300.0,
        note=(
            f"{lat.size} cells; ours: directions of the cells at hand, which a process makes once "
            f"for all centres in {once_s:.4f} s; baseline: a loop over cells by NumPy, as published"
            + (f", every {step}th row, scaled" if quick else "")
            + f"; anchor: arcsin and sqrt of the field {anchor_s / 10:.4f} s"
        ),
    )


# Memory


def memory_row(scratch: Path, *, quick: bool) -> Row:
    """Peak memory of whole cases whose inputs are made a month ahead and removed."""
    lengths = (3, 9) if quick else (24, 180)
    peaks: list[float] = []
    cpu: list[float] = []
    for months in lengths:
        folder = scratch / f"memory{months}"
        children = Children(folder, scratch / "bytecode")
        ended = children.run(["-m", "benchmarks.dor_rows", str(folder), str(months)])
        said = json.loads(ended.output.splitlines()[-1])
        peaks.append(said["peak_mb"])
        cpu.append(said["cpu_s"] / months)
        shutil.rmtree(folder)
    made = limit_row(
        line="dor",
        name=MEMORY,
        unit="MB",
        ours=max(peaks),
        baseline=peaks[0],
        limit=MOST_MB,
        peak_mb=max(peaks),
        note=(
            f"2 threads, {SHAPE[2]} levels of {SHAPE[0]} x {SHAPE[1]} cells; {lengths[0]} months "
            f"{peaks[0]:.0f} MB, {lengths[1]} months {peaks[1]:.0f} MB (at most {FLAT} times), "
            f"{cpu[1]:.2f} CPU s per month"
            + (f"; scaled to {lengths[0]} and {lengths[1]} months" if quick else "")
        ),
    )
    return made | {"met": made["met"] and peaks[1] <= FLAT * peaks[0]}


def _whole_case(folder: Path, months: int) -> None:
    """Make one case in this process, its inputs by another a month ahead; print the peak."""
    spawn = multiprocessing.get_context("spawn")
    room, ready = spawn.Semaphore(2), spawn.Semaphore(0)
    case = _case(months)
    history = history_folder(folder / "inputs", case.name)
    history.mkdir(parents=True)
    names = [history_name(case.name, *month) for month in model_months(7, months)]
    for name in names:  # a case looks its folder through once, at the start
        (history / name).touch()
    source = spawn.Process(
        target=_generate, args=(folder / "inputs", months, room, ready), daemon=True
    )
    source.start()
    setup = MonthSetup(case, case_grid(sample_pop_grid(*SHAPE)), CENTRE, MAP_VARIABLES)
    folders = _folders(history, folder / "out")
    ready.acquire()
    forget_peak()
    start = time.process_time()

    def told(month: tuple[int, int], _kept: bool) -> None:
        (history / history_name(case.name, *month)).write_bytes(b"")
        (folders.research / research_name(case, month)).unlink()
        room.release()
        if month_label(month) not in names[-1]:
            ready.acquire()

    process_case(setup, folders, threads=2, told=told)
    print(json.dumps({"peak_mb": peak_rss_mb(), "cpu_s": time.process_time() - start}))
    source.join()


def _generate(folder: Path, months: int, room: Any, ready: Any) -> None:
    """Write month after month, two of them at most before one is used."""
    sample = _sample(months)
    for k in range(months):
        room.acquire()
        sample.write_month(folder, k)
        ready.release()


if __name__ == "__main__":
    _whole_case(Path(sys.argv[1]), int(sys.argv[2]))
