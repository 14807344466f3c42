"""Map pyramids against the libraries that people regrid and write them with."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from benchmarks.measure import (
    Row,
    cpu_seconds,
    forget_peak,
    interleaved,
    limit_row,
    median_cpu_seconds,
    peak_rss_mb,
    row,
)
from benchmarks.processes import Children
from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.mapping.cells import SourceCells, source_cells
from dor_ecco_assets.mapping.webmercator import WebMercatorWeights, build_webmercator
from dor_ecco_assets.pyramids.configuration import load_atlas_maps
from dor_ecco_assets.pyramids.index import STORES
from dor_ecco_assets.pyramids.making import Region, Source, make_region, put_region
from dor_ecco_assets.pyramids.schema import BANDS, EXTENT_M, atlas_layout, groups_of
from dor_ecco_assets.samples.pop_grid import sample_pop_grid
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.stores.browser import ZarrFormat, objects_of

PYRESAMPLE = "regrid one field to zoom levels 0 and 1, from pyresample's bilinear"
SPARSE = "regrid one field to zoom levels 0 and 1, from a float64 sparse product"
WRITE = "write one case as Zarr v2"
WEIGHTS = "weights of zoom levels 0 and 1"
COARSEN = "zoom levels of a regular source, from ndpyramid's coarsen"
RESAMPLE = "zoom levels of a regular source, from ndpyramid's resample"
MEMORY = "peak memory of a case as maps"
NAMES = (PYRESAMPLE, SPARSE, WRITE, WEIGHTS, COARSEN, RESAMPLE, MEMORY)

#: nlat and nlon of gx1v7; months and injection month of a published case; its place.
SHAPE, MONTHS = (384, 320), 180
PLACE = (123, 2)
#: Most that a written case may take of zarr-python's size, s of weights, MB of a case.
MOST_SIZE, MOST_WEIGHTS_S, MOST_MB = 1.03, 0.5, 1000.0
#: Fields of a baseline that are timed, and steps of the regular source.
BASELINE_FIELDS, STEPS = 10, 30
#: How far around a pixel pyresample looks for cells, m.
REACH_M = 200e3


def rows(scratch: Path, *, quick: bool) -> Iterator[Row]:
    """All rows but the last; see `memory_row`."""
    cells = source_cells(sample_pop_grid(*SHAPE, 4))
    weights = web_weights(cells)
    yield from regrid_rows(cells, weights, quick=quick)
    yield write_row(scratch, cells, weights, quick=quick)
    yield weights_row(cells)
    yield from ndpyramid_rows()


def web_weights(cells: SourceCells) -> WebMercatorWeights:
    return build_webmercator(
        cells.lon,
        cells.lat,
        cells.corner_lon,
        cells.corner_lat,
        cells.wet,
        levels=(0, 1),
    )


def fields_of(cells: SourceCells, band: int, months: int = MONTHS) -> np.ndarray[Any, Any]:
    """Fields of one band, float32 (months, cells), NaN on land: eddies that drift, or a plume."""
    rng = np.random.default_rng(band)
    lat, lon = (np.deg2rad(np.nan_to_num(a)) for a in (cells.lat, cells.lon))
    waves = [(int(k), int(m), p) for k, m, p in rng.uniform(3, 40, (12, 3))]
    made = np.empty((months, cells.wet.size), np.float32)
    for month in range(months):
        field = np.sin(lat) ** 2
        for k, m, phase in waves:
            field = field + 0.05 * np.cos(k * lon + phase + 0.07 * month) * np.cos(m * lat)
        if band == 0:
            away = np.hypot((lon - 3.5) * np.cos(lat), lat - 0.1) / (0.05 + 0.004 * month)
            field = np.where(away < 3, field * np.exp(-(away**2)), 0.0)
        made[month] = np.where(cells.wet, 8 + field if band else field, np.nan).reshape(-1)
    return made


# Regridding


def regrid_rows(cells: SourceCells, weights: WebMercatorWeights, *, quick: bool) -> Iterator[Row]:
    """The kernel with its check of the mask, against two ways people regrid on the same grid."""
    from dor_ecco_assets.pyramids.apply import Regridder, month_major, survey

    fields, wet = fields_of(cells, 1), weights.wet.reshape(-1)
    regridder = Regridder(weights, month_major(MONTHS))

    def ours() -> None:
        assert not survey(fields, wet).unlike.any()
        regridder.regrid(fields)

    bilinear, setup_s = _pyresample(cells, fields)
    runs = 3 if quick else 5
    floor_s = median_cpu_seconds(lambda: fields.copy())
    ours_s, baseline_s = interleaved(ours, bilinear, runs)
    each_ms = 1e3 * ours_s / MONTHS
    yield row(
        line="pyramids",
        name=PYRESAMPLE,
        ours=ours_s / MONTHS,
        baseline=baseline_s / BASELINE_FIELDS,
        target=5.0,
        note=(
            f"{each_ms:.2f} ms per field of {wet.size} cells, with the check of its mask (about "
            f"0.35 ms without); conservative; baseline: NumpyBilinearResampler, its neighbours "
            f"found before ({setup_s:.2f} s); anchor: copying a field "
            f"{1e3 * floor_s / MONTHS:.3f} ms"
        ),
    )
    product = _sparse(weights, fields)
    ours_s, baseline_s = interleaved(ours, product, runs)
    yield row(
        line="pyramids",
        name=SPARSE,
        ours=ours_s / MONTHS,
        baseline=baseline_s / MONTHS,
        target=2.5,
        note="ours with tiles, months before years and the check of masks; baseline: the same "
        "weights as float64 CSR, the product that xESMF applies, and nothing after it",
    )


def _pyresample(cells: SourceCells, fields: Any) -> tuple[Callable[[], None], float]:
    """Regrids some fields by pyresample; what its setup took."""
    from pyresample import AreaDefinition, SwathDefinition
    from pyresample.bilinear import NumpyBilinearResampler

    swath = SwathDefinition((cells.lon + 180) % 360 - 180, cells.lat)
    extent = (-EXTENT_M, -EXTENT_M, EXTENT_M, EXTENT_M)
    areas = [AreaDefinition("m", "m", "m", "EPSG:3857", n, n, extent) for n in (128, 256)]
    made = [NumpyBilinearResampler(swath, area, REACH_M) for area in areas]

    def setup() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in made:
                each.get_bil_info()

    setup_s = cpu_seconds(setup)
    planes = [np.nan_to_num(each).reshape(cells.wet.shape) for each in fields[:BASELINE_FIELDS]]

    def call() -> None:
        for plane in planes:
            for each in made:
                each.get_sample_from_bil_info(plane)

    return call, setup_s


def _sparse(weights: WebMercatorWeights, fields: Any) -> Callable[[], Any]:
    import scipy.sparse

    matrices = [
        scipy.sparse.csr_matrix(
            (of.data.astype(np.float64), weights.cells[of.indices], of.indptr),
            (of.n * of.n, weights.wet.size),
        )
        for of in weights.levels
    ]

    def call() -> None:
        source = np.nan_to_num(fields.astype(np.float64)).T
        for matrix in matrices:
            matrix @ source  # pyright: ignore[reportUnusedExpression]

    return call


def weights_row(cells: SourceCells) -> Row:
    """Both zoom levels from nothing; beside it pyresample's search for neighbours."""
    _, setup_s = _pyresample(cells, np.zeros((BASELINE_FIELDS, cells.wet.size), np.float32))
    ours_s = median_cpu_seconds(lambda: web_weights(cells))
    return limit_row(
        line="pyramids",
        name=WEIGHTS,
        ours=ours_s,
        baseline=setup_s,
        limit=MOST_WEIGHTS_S,
        peak_mb=peak_rss_mb(),
        note="conservative, with corners and land; baseline: get_bil_info of pyresample",
    )


# Writing


def write_row(
    scratch: Path, cells: SourceCells, weights: WebMercatorWeights, *, quick: bool
) -> Row:
    """Encode and put a case that is regridded, against zarr-python with zlib on the same tiles."""
    atlas = load_atlas("dor")
    variables = atlas.variables[:1] if quick else atlas.variables
    atlas = atlas.model_copy(update={"variables": variables})
    layout = atlas_layout(atlas, load_atlas_maps().variables, provenance_of(weights))
    schema = objects_of(groups_of(layout, [of.share for of in weights.levels], "v2"), "v2")
    regridded = _Regridded(weights, [fields_of(cells, band) for band in (0, 1)])
    ours_folder, theirs_folder = scratch / "ours", scratch / "theirs"
    for folder in (ours_folder, theirs_folder):
        for name, data in schema.items():
            path = folder / STORES["v2"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    region = Region(layout, ("v2",), PLACE)

    def ours() -> None:
        sources = [
            Source(name, (band,), name, lambda band=band: regridded.chosen(band))
            for name in variables
            for band in range(len(BANDS))
        ]
        spool = scratch / "spool"
        made = make_region(region, sources, weights, regridded, spool, origin="benchmark")
        put_region("ours", made, {}, "benchmark", Directory(scratch), lambda: None)

    group = zarr.open_group(theirs_folder / STORES["v2"], mode="r+", use_consolidated=False)

    def theirs() -> None:
        for name in variables:
            for band in range(len(BANDS)):
                for level, maps in enumerate(regridded.maps[band]):
                    group[f"{level}/{name}"][band, *PLACE] = maps

    check_s = cpu_seconds(lambda: regridded.check(len(variables)))
    runs = 2 if quick else 3
    ours_s, baseline_s = interleaved(ours, theirs, runs)
    _require_same(ours_folder, theirs_folder, variables)
    sizes = [_bytes_of(folder, variables) for folder in (ours_folder, theirs_folder)]
    raw_mb = len(variables) * regridded.nbytes / 1e6
    made = row(
        line="pyramids",
        name=WRITE,
        ours=ours_s - check_s,
        baseline=baseline_s,
        target=2.0,
        note=(
            f"{raw_mb:.0f} MB raw, size {sizes[0] / sizes[1]:.3f} of the baseline's (at most "
            f"{MOST_SIZE}); ours with spool, fsync, reading back and SHA-256, and without the "
            f"check of masks ({check_s:.2f} s); baseline: zarr-python, zlib level 1, equal values"
            + ("; one variable of five" if quick else "")
        ),
    )
    return made | {"met": made["met"] and sizes[0] <= MOST_SIZE * sizes[1]}


def provenance_of(weights: WebMercatorWeights) -> dict[str, Any]:
    methods = [of.method for of in weights.levels]
    return {"weights": {"methods": methods, "threshold": weights.threshold}}


class _Regridded:
    """Stands where the regridder does and gives tiles that were made before."""

    def __init__(self, weights: WebMercatorWeights, bands: list[Any]) -> None:
        from dor_ecco_assets.pyramids.apply import Regridder, month_major

        self._wet, self._fields = weights.wet.reshape(-1), bands
        regridder = Regridder(weights, month_major(MONTHS))
        self._tiles = [[tiles.copy() for tiles in regridder.regrid(each)] for each in bands]
        self._band = 0
        self.maps = [[_as_maps(tiles) for tiles in each] for each in self._tiles]
        self.nbytes = sum(tiles.nbytes for each in self._tiles for tiles in each)

    def chosen(self, band: int) -> Any:
        """The fields of a band, which `regrid` is asked for next."""
        self._band = band
        return self._fields[band]

    def regrid(self, _fields: Any) -> list[Any]:
        return self._tiles[self._band]

    def check(self, times: int) -> None:
        """What `make_region` spends on masks."""
        from dor_ecco_assets.pyramids.apply import survey

        for _ in range(times):
            for fields in self._fields:
                survey(fields, self._wet)


def _as_maps(tiles: Any) -> Any:
    across, side = int(np.sqrt(len(tiles))), int(np.sqrt(tiles.shape[-1]))
    split = tiles.reshape(across, across, 12, -1, side, side).transpose(2, 3, 0, 4, 1, 5)
    return np.ascontiguousarray(split.reshape(12, -1, across * side, across * side))


def _require_same(ours: Path, theirs: Path, variables: tuple[str, ...]) -> None:
    groups = [zarr.open_group(folder / STORES["v2"], mode="r") for folder in (ours, theirs)]
    for name in variables[:1]:
        found = [np.asarray(group[f"1/{name}"][1, *PLACE, 5]) for group in groups]
        np.testing.assert_array_equal(*found)


def _bytes_of(folder: Path, variables: tuple[str, ...]) -> int:
    files = (folder / STORES["v2"]).rglob("*")
    return sum(f.stat().st_size for f in files if f.parent.name in variables and f.name[0] != ".")


# ndpyramid


def ndpyramid_rows() -> Iterator[Row]:
    """Steps of a regular source of one degree; ndpyramid cannot take a curvilinear one."""
    import ndpyramid
    import rioxarray  # noqa: F401 - ndpyramid's resample takes its accessor

    from dor_ecco_assets.grids.latlon import LatLonGrid
    from dor_ecco_assets.pyramids.apply import Regridder

    weights = web_weights(source_cells(LatLonGrid(1.0).to_dataset()))
    values = np.random.default_rng(0).normal(size=(STEPS, 180, 360)).astype(np.float32)
    fields = values.reshape(STEPS, -1)
    regridder = Regridder(weights, np.arange(STEPS))
    source = _regular(values)

    def coarsen() -> None:
        ndpyramid.pyramid_coarsen(source, factors=[2, 1], dims=["y", "x"]).compute()

    def resample() -> None:
        ndpyramid.pyramid_resample(source, x="x", y="y", levels=2, pixels_per_tile=128).compute()

    for name, call in ((COARSEN, coarsen), (RESAMPLE, resample)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
            ours_s, baseline_s = interleaved(lambda: regridder.regrid(fields), call, 3)
        yield row(
            line="pyramids",
            name=name,
            ours=ours_s / STEPS,
            baseline=baseline_s / STEPS,
            target=1.0,
            note=f"stated; 1 degree, {STEPS} steps in memory; baseline with its graph"
            + (", which keeps the projection" if call is coarsen else ""),
        )


def _regular(values: Any) -> xr.Dataset:
    along = {"standard_name": "longitude", "units": "degrees_east"}
    up = {"standard_name": "latitude", "units": "degrees_north"}
    return xr.Dataset(
        {"ssh": (("time", "y", "x"), values)},
        {
            "time": np.arange(len(values), dtype=np.int32),
            "y": ("y", np.linspace(89.5, -89.5, 180), up),
            "x": ("x", np.linspace(-179.5, 179.5, 360), along),
        },
    ).chunk()


# Memory


def memory_row(scratch: Path, *, quick: bool) -> Row:
    """Peak memory of a process that makes one whole case in both formats from its stores."""
    names = load_atlas("dor").variables[: 1 if quick else None]
    cells = source_cells(sample_pop_grid(*SHAPE, 4))
    group = zarr.create_group(scratch / "fields.zarr")
    for band in range(len(BANDS)):
        made = fields_of(cells, band).reshape(MONTHS, *SHAPE)
        for name in names:
            if name not in group:
                group.create_array(
                    name,
                    shape=(len(BANDS), *made.shape),
                    chunks=(1, 12, *SHAPE),
                    dtype="f4",
                    compressors=BloscCodec(cname="zstd", clevel=1),
                )
            group[name][band] = made  # pyright: ignore[reportIndexIssue]
    children = Children(scratch / "child", scratch / "bytecode")
    said: dict[str, dict[str, float]] = {}
    for formats in ("v2", "v2,v3"):
        ended = children.run(["-m", "benchmarks.pyramids_rows", str(scratch), *names, formats])
        said[formats] = json.loads(ended.output.splitlines()[-1])
    shutil.rmtree(scratch / "fields.zarr")
    both = said["v2,v3"]
    return limit_row(
        line="pyramids",
        name=MEMORY,
        unit="MB",
        ours=both["peak_mb"],
        baseline=said["v2"]["peak_mb"],
        limit=MOST_MB,
        peak_mb=both["peak_mb"],
        note=(
            f"{MONTHS} months of {len(names)} variables, read, regridded, encoded and put in "
            f"{both['cpu_s']:.1f} CPU s in both formats, {said['v2']['cpu_s']:.1f} s as v2 alone, "
            "which is the baseline" + ("; one variable of five" if quick else "")
        ),
    )


def _whole_case(scratch: Path, names: list[str], formats: tuple[ZarrFormat, ...]) -> None:
    """Make one case in this process; print its peak."""
    from dor_ecco_assets.pyramids.apply import Regridder, month_major
    from dor_ecco_assets.pyramids.atlas import read_fields

    weights = web_weights(source_cells(sample_pop_grid(*SHAPE, 4)))
    group: Any = zarr.open_group(scratch / "fields.zarr", mode="r")
    atlas = load_atlas("dor").model_copy(update={"variables": tuple(names)})
    layout = atlas_layout(atlas, load_atlas_maps().variables, provenance_of(weights))
    sources = [
        Source(name, (band,), name, lambda n=name, b=band: read_fields(group[n], b, MONTHS))
        for name in names
        for band in range(len(BANDS))
    ]
    regridder = Regridder(weights, month_major(MONTHS))
    warm = Regridder(weights, np.zeros(1, np.int64))
    warm.regrid(np.zeros((1, weights.wet.size), np.float32))
    forget_peak()
    region = Region(layout, formats, PLACE)

    def call() -> None:
        made = make_region(
            region, sources, weights, regridder, scratch / "spool", origin="benchmark"
        )
        put_region("made", made, {}, "benchmark", Directory(scratch), lambda: None)

    cpu_s = cpu_seconds(call)
    print(json.dumps({"peak_mb": peak_rss_mb(), "cpu_s": cpu_s}))


if __name__ == "__main__":
    folder, *chosen, stored = sys.argv[1:]
    _whole_case(Path(folder), chosen, tuple(stored.split(",")))  # type: ignore[arg-type]
