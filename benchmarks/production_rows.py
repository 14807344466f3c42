"""Whole granules, from model output to published file; a month of all datasets by two workers."""

import hashlib
import time
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.granule_rows import MONTH, TRACERS, three_d_keys, three_d_production
from benchmarks.measure import Row, interleaved, row
from benchmarks.netcdf_rows import FILL
from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.model_output import record_key
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.grids.llc import tiles_from_compact
from dor_ecco_assets.lineage.workspace import Failure, Policy, Workspace
from dor_ecco_assets.mapping.factors import from_dataset, level_weights
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.ecco_output import EVERY_FIELD, write_sample_output
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Place
from resources.compute import Crew, Job

NATIVE = "native 3-D granule, read to published"
LATLON = "lat-lon 3-D granule, read to published"
WORKERS = "one month of all V4r4 monthly datasets, 2 workers against 1"
GRANULES = (NATIVE, LATLON)

#: Cells along a tile's side of the grid that `--quick` makes all datasets on; LLC90 has 90.
QUICK_SIDE = 30
#: Coordinates that a native granule carries beside its indices.
_NATIVE_COORDINATES = (
    *("XC", "YC", "XG", "YG", "XC_bnds", "YC_bnds"),
    *("Z", "Zu", "Zl", "Zp1", "Z_bnds"),
)
_STORED = {"zlib": True, "complevel": 5, "shuffle": True, "_FillValue": FILL}


def granule_rows(scratch: Path, *, quick: bool = False) -> list[Row]:
    """Both granule rows; `scratch` is a folder for 200 MB."""
    made = three_d_production(scratch, [MONTH])
    workspace = made.workspace()
    native, latlon = three_d_keys()
    plain = _Plain(scratch / "plain", made, workspace)
    force = Policy(force=True)
    note = f"{'2 measured of 5 runs; ' if quick else ''}" + (
        "THETA and SALT, 50 levels; ours also checks every input value, hashes inputs, content and"
        " file, syncs the disk, compares all bytes read back and draws a preview; "
    )
    rows: list[Row] = []
    for name, key, target, baseline, plainly in (
        (NATIVE, native, 2.5, plain.native, "fromfile, mask"),
        (LATLON, latlon, 4.0, plain.latlon, "fromfile, a stored scipy.sparse operator per level"),
    ):
        ours_s, plain_s = interleaved(
            lambda k=key: workspace.make(k, MONTH, force), baseline, runs=2 if quick else 5
        )
        found = row(
            line="ecco",
            name=name,
            ours=ours_s,
            baseline=plain_s,
            target=target,
            note=f"{note}baseline: {plainly}, to_netcdf, SHA-256, read back and compared",
        )
        rows.append(found)
    return rows


class _Plain:
    """The same granules as a script would make them."""

    def __init__(self, folder: Path, made: Production, workspace: Workspace) -> None:
        folder.mkdir()
        self._folder = folder
        inputs, step = Path(str(made.inputs.root)), V4R4_CLOCK.step_of(MONTH, "AVG_MON")
        self._records = {
            name: inputs / f"{record_key(name, 'mon_mean', step)}.data" for name in TRACERS
        }
        catalogue = load_catalogue()
        workspace.make(catalogue.factors, "")
        self._grid = workspace.open_upstream(catalogue.source_grid).load()
        factors = from_dataset(workspace.open_upstream(catalogue.factors))
        for k in range(factors.n_levels):
            sparse.save_npz(folder / f"{k}.npz", level_weights(factors, k), compressed=False)

    def native(self) -> None:
        wet = self._grid["maskC"].values
        fields = {name: np.where(wet, self._read(name), np.nan)[np.newaxis] for name in TRACERS}
        coordinates = {name: self._grid[name] for name in _NATIVE_COORDINATES}
        dims = ("time", "k", "tile", "j", "i")
        self._publish(fields, dims, (1, 10, *wet.shape[1:]), coordinates)

    def latlon(self) -> None:
        fields: dict[str, NDArray[np.float32]] = {}
        for name in TRACERS:
            tiles = self._read(name)
            mapped = np.empty((1, len(tiles), 360, 720), np.float32)
            for k, level in enumerate(tiles):
                # One file of weights per depth level, as ECCO-Dataset-Production keeps them.
                operator = sparse.load_npz(self._folder / f"{k}.npz")
                flat = operator @ level.ravel().astype(np.float64)
                flat[np.diff(operator.indptr) == 0] = np.nan
                mapped[0, k] = flat.reshape(360, 720)
            fields[name] = mapped
        self._publish(fields, ("time", "Z", "latitude", "longitude"), (1, 5, 360, 720), {})

    def _read(self, name: str) -> NDArray[np.float32]:
        side, levels = self._grid.sizes["i"], self._grid.sizes["k"]
        compact = np.fromfile(self._records[name], ">f4").reshape(levels, -1, side)
        return tiles_from_compact(compact).astype(np.float32)

    def _publish(
        self,
        fields: dict[str, NDArray[np.float32]],
        dims: tuple[str, ...],
        chunks: tuple[int, ...],
        coordinates: dict[str, xr.DataArray],
    ) -> None:
        coords = {"time": np.array(["1992-01-16T18"], "M8[ns]"), **coordinates}
        granule = xr.Dataset({name: (dims, each) for name, each in fields.items()}, coords)
        path = self._folder / "granule.nc"
        granule.to_netcdf(path, encoding={n: {**_STORED, "chunksizes": chunks} for n in fields})
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        with xr.open_dataset(path) as found:
            for name in fields:
                if not np.array_equal(found[name].values, fields[name], equal_nan=True):
                    raise AssertionError(name)


def worker_rows(scratch: Path, *, quick: bool = False) -> list[Row]:
    """Wall seconds of a crew of two workers and of a crew of one; up to 2 GB in `scratch`."""
    side = QUICK_SIDE if quick else 90
    inputs, root = scratch / "inputs", scratch / "root"
    step = V4R4_CLOCK.step_of(MONTH, "AVG_MON")
    write_sample_output(
        inputs, sample_grid_fields(side), months=[step], days=[], fields=EVERY_FIELD
    )
    made = Production(Place(root=str(root)), Place(root=str(inputs)))
    made.workspace().make(load_catalogue().factors, "")
    force = Policy(force=True)
    keys = [
        key
        for key, product in made.workspace().products.items()
        if product.line == "ecco" and product.partitioning.kind == "month" and not product.gathers
    ]
    jobs = [Job(key, MONTH, force) for key in keys]
    warm = [Job(key, MONTH, force) for key in three_d_keys()]

    def seconds(workers: int) -> float:
        crew = Crew(made, workers)
        try:
            list(crew.made(warm))  # libraries and compiled kernels are loaded
            started = time.monotonic()
            outcomes = list(crew.made(jobs))
            took = time.monotonic() - started
        finally:
            crew.close()
        failed = [str(found.error) for found in outcomes if isinstance(found, Failure)]
        if failed:
            raise RuntimeError("; ".join(failed))
        return took

    pairs = [(seconds(2), seconds(1)) for _ in range(1 if quick else 3)]
    two, one = (sorted(times)[len(pairs) // 2] for times in zip(*pairs, strict=True))
    scaled = f"1 of 3 runs, {side} of 90 cells a side; " if quick else ""
    return [
        row(
            line="ecco",
            name=WORKERS,
            unit="s",
            ours=two,
            baseline=one,
            target=1.7,
            note=f"{scaled}{len(jobs)} granules of {len(EVERY_FIELD)} fields, wall seconds of"
            " running workers; starting them takes 3 s more; baseline: one worker",
        )
    ]
