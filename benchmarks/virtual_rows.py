"""Parsing granules against what VirtualiZarr, kerchunk and fsspec would cost."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from obstore.store import HTTPStore, LocalStore

from benchmarks.measure import (
    Row,
    cpu_seconds,
    interleaved,
    interleaved_costs,
    limit_row,
    median_cpu_seconds,
    peak_rss_mb,
    row,
)
from dor_ecco_assets.lineage.ledger import Entry
from dor_ecco_assets.samples.virtual_granules import DailyGrid, write_daily
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.listing import Listed, ListedGranule
from dor_ecco_assets.virtual.reading import containers_of
from dor_ecco_assets.virtual.references import GranuleReferences
from dor_ecco_assets.virtual.remote import parse_granules
from tests.support.ranges import RangeServer

PARSE = "parse per granule, local, 48 chunks"
PARSE_KERCHUNK = "parse per granule, against kerchunk"
REMOTE = "parse per granule, at 50 ms latency"
BYTES = "bytes read of a granule of about 1 MB"
BUILD = "build 200 granules into a store"
BUILD_KERCHUNK = "build 200 granules, against kerchunk"
GROWTH = "append 1 granule to 10,000, against to 1,000"
APPEND = "append 1 granule to 10,000, against one manifest"
APPEND_FINE = "append 1 granule to 8,800 of 972 chunks"
MEMORY = "peak memory, build of 10,000 granules"
MEMORY_FINE = "peak memory, build of 10 million references"
SSH = "open and read 312 monthly granules of SSH"
NAMES = (
    *(PARSE, PARSE_KERCHUNK, REMOTE, BYTES, BUILD, BUILD_KERCHUNK),
    *(GROWTH, APPEND, APPEND_FINE, MEMORY, MEMORY_FINE, SSH),
)

#: As a daily analysis of sea-surface temperature: 3 packed fields of 16 chunks, 42 attributes.
GRID = DailyGrid((720, 1440), (180, 360), ("analysed_sst", "analysis_error", "wind_speed"), 37)
COORDINATES = ("time", "lat", "lon")
LATENCY_S = 0.05
LIMIT_KB = 300.0


def rows(scratch: Path, *, quick: bool = False) -> Iterator[Row]:
    """All rows; `scratch` is a folder for some thousand small files."""
    paths = [
        write_daily(scratch / f"{day:03d}.nc", day, grid=GRID) for day in range(8 if quick else 40)
    ]
    yield from _local_rows(paths, 3 if quick else 7)
    yield from _remote_rows(scratch, paths)
    yield from _build_rows(scratch, quick=quick)
    yield from _append_rows(scratch, quick=quick)
    yield from _memory_rows(scratch, quick=quick)
    yield from _ssh_rows(scratch, quick=quick)


def _local_rows(paths: list[Path], runs: int) -> list[Row]:
    def ours() -> None:
        for path in paths:
            parse_hdf5(str(path), load=COORDINATES, attributes="packing")

    def ours_all() -> None:
        for path in paths:
            parse_hdf5(str(path), load=COORDINATES)

    all_s = median_cpu_seconds(ours_all, runs)
    found: list[Row] = []
    for name, target, baseline, what in (
        (PARSE, 5.0, _open_virtual_dataset, "open_virtual_dataset with three loaded variables"),
        (PARSE_KERCHUNK, 9.0, _kerchunk, "SingleHdf5ToZarr(...).translate(), inline below 300 B"),
    ):
        parse = baseline(paths)
        ours_s, baseline_s = interleaved(ours, lambda parse=parse: _each(parse, paths), runs)
        found.append(
            row(
                line="virtual",
                name=name,
                ours=ours_s / len(paths),
                baseline=baseline_s / len(paths),
                target=target,
                note=(
                    f"{len(paths)} granules of {_size_mb(paths):.1f} MB, three coordinates loaded,"
                    " attributes that decoding needs, as of every granule but the first of a schema"
                    f" (all attributes: {all_s / len(paths) * 1e3:.1f} ms, ratio"
                    f" {baseline_s / all_s:.1f}); same byte ranges; baseline: {what}"
                ),
            )
        )
    return found


def _each(parse: Callable[[Path], Any], paths: list[Path]) -> None:
    for path in paths:
        parse(path)


def _size_mb(paths: list[Path]) -> float:
    return float(np.mean([path.stat().st_size for path in paths])) / 1e6


def _open_virtual_dataset(paths: list[Path]) -> Callable[[Path], Any]:
    from obspec_utils.registry import ObjectStoreRegistry
    from virtualizarr import open_virtual_dataset
    from virtualizarr.parsers import HDFParser

    registry, parser = ObjectStoreRegistry({"file://": LocalStore()}), HDFParser()

    def parse(path: Path) -> Any:
        return open_virtual_dataset(
            f"file://{path}",
            registry=registry,
            parser=parser,
            loadable_variables=list(COORDINATES),
        )

    theirs = parse(paths[0])
    for name in GRID.variables:
        manifest = theirs[name].data.manifest.dict()
        found = {key: (entry["offset"], entry["length"]) for key, entry in manifest.items()}
        assert found == _ranges(parse_hdf5(str(paths[0])), name)
    return parse


def _kerchunk(paths: list[Path]) -> Callable[[Path], Any]:
    from kerchunk.hdf import SingleHdf5ToZarr

    def parse(path: Path) -> Any:
        with path.open("rb") as file:
            return SingleHdf5ToZarr(file, str(path), inline_threshold=300).translate()

    references = parse(paths[0])["refs"]
    for name in GRID.variables:
        found = {
            key.rpartition("/")[2]: (value[1], value[2])
            for key, value in references.items()
            if key.startswith(f"{name}/") and isinstance(value, list)
        }
        assert found == _ranges(parse_hdf5(str(paths[0])), name)
    return parse


def _ranges(granule: GranuleReferences, name: str) -> dict[str, tuple[int, int]]:
    array = granule.arrays[name]
    return {
        ".".join(map(str, place)): (int(array.offsets[place]), int(array.lengths[place]))
        for place in np.ndindex(array.offsets.shape)
    }


def _remote_rows(folder: Path, paths: list[Path]) -> list[Row]:
    import fsspec

    keys = [path.name for path in paths]
    few = keys[:4]
    with RangeServer(folder, latency_s=LATENCY_S) as server:
        store = HTTPStore.from_url(server.endpoint, client_options={"allow_http": True})

        def ours() -> float:
            start = time.monotonic()
            for outcome in parse_granules(store, keys, load=COORDINATES):
                assert outcome.granule is not None
            return (time.monotonic() - start) / len(keys)

        def baseline() -> float:
            start = time.monotonic()
            for key in few:
                with fsspec.open(f"{server.endpoint}/{key}").open() as file:
                    parse_hdf5(file, load=COORDINATES)
            return (time.monotonic() - start) / len(few)

        ours_s, baseline_s = interleaved_costs(ours, baseline, 3)
        server.requests.clear()
        ours()
        kilobytes = sum(request.sent for request in server.requests) / len(keys) / 1e3
        requests = len(server.requests) / len(keys)
    latency = row(
        line="virtual",
        name=REMOTE,
        unit="wall s",
        ours=ours_s,
        baseline=baseline_s,
        target=3.0,
        note=(
            f"{len(keys)} granules over HTTP on loopback, each reply {LATENCY_S * 1e3:.0f} ms late,"
            f" {requests:.1f} requests each, nothing known of them before; baseline: the same"
            " parser on one file at a time through fsspec"
        ),
    )
    size = limit_row(
        line="virtual",
        name=BYTES,
        unit="kB",
        ours=kilobytes,
        baseline=_size_mb(paths) * 1e3,
        limit=LIMIT_KB,
        peak_mb=peak_rss_mb(),
        note="mean over the granules of the row above; baseline: the whole granule",
    )
    return [latency, size]


# Building


def _build_rows(scratch: Path, *, quick: bool) -> list[Row]:
    folder, count = scratch / "build", 30 if quick else 200
    folder.mkdir()
    paths = [write_daily(folder / f"{day:03d}.nc", day, grid=GRID) for day in range(count)]
    archive, number = GrowingArchive(folder, GRID), iter(range(1_000_000))

    def ours() -> None:
        store = archive.store(scratch / f"ours-{next(number)}")
        listed = [archive.listed(day, f"{day:03d}.nc") for day in range(count)]
        report = apply(store, archive.spec, listed, archive.parsed)
        assert (report.published, report.commits) == (count, 1)
        shutil.rmtree(store.storage.uri)

    def virtualizarr() -> None:
        _virtualizarr_store(paths, scratch / f"theirs-{next(number)}")

    def kerchunk() -> None:
        _kerchunk_file(paths, scratch / "combined.json")

    found: list[Row] = []
    for name, target, baseline, what in (
        (BUILD, 4.0, virtualizarr, "open_virtual_dataset, xarray.concat, to_icechunk and commit"),
        (BUILD_KERCHUNK, 5.0, kerchunk, "SingleHdf5ToZarr, MultiZarrToZarr and one JSON file"),
    ):
        ours_s, baseline_s = interleaved(ours, baseline, 1 if quick else 3)
        found.append(
            row(
                line="virtual",
                name=name,
                ours=ours_s,
                baseline=baseline_s,
                target=target,
                note=(
                    f"{count} granules of {_size_mb(paths):.1f} MB, parsed, compared, written with"
                    f" their ledger and committed; baseline: {what}, which compares nothing and"
                    f" keeps no ledger{SCALED if quick else ''}"
                ),
            )
        )
    return found


def _virtualizarr_store(paths: list[Path], place: Path) -> None:
    import icechunk
    import xarray as xr
    from obspec_utils.registry import ObjectStoreRegistry
    from virtualizarr import open_virtual_dataset
    from virtualizarr.parsers import HDFParser

    registry, parser = ObjectStoreRegistry({"file://": LocalStore()}), HDFParser()
    granules = [
        open_virtual_dataset(
            f"file://{path}",
            registry=registry,
            parser=parser,
            loadable_variables=list(COORDINATES),
        )
        for path in paths
    ]
    whole = xr.concat(
        granules,
        dim="time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="drop_conflicts",
    )
    config = icechunk.RepositoryConfig.default()
    url = f"file://{paths[0].parent}/"
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(url, icechunk.local_filesystem_store(str(paths[0].parent)))
    )
    repository = icechunk.Repository.create(
        icechunk.local_filesystem_storage(str(place)), config=config
    )
    session = repository.writable_session("main")
    whole.vz.to_icechunk(session.store)
    session.commit("all")


def _kerchunk_file(paths: list[Path], place: Path) -> None:
    import json

    from kerchunk.combine import MultiZarrToZarr
    from kerchunk.hdf import SingleHdf5ToZarr

    granules: list[Any] = []
    for path in paths:
        with path.open("rb") as file:
            granules.append(SingleHdf5ToZarr(file, str(path), inline_threshold=300).translate())
    combined = MultiZarrToZarr(granules, concat_dims=["time"], identical_dims=["lat", "lon"])
    place.write_text(json.dumps(combined.translate()))


# Growing

SCALED = "; scaled down for --quick, where fixed costs weigh more"
#: As a global analysis of one kilometre: 3 fields of 324 chunks.
FINE = DailyGrid((720, 1440), (40, 80), GRID.variables, 37)


class GrowingArchive:
    """Granules of which one was written and the others follow from it, however many.

    Parameters
    ----------
    folder : Path
    grid : DailyGrid
    """

    def __init__(self, folder: Path, grid: DailyGrid) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.spec = StoreSpec.model_validate(
            {
                "collection": {"short_name": "BENCHMARK"},
                "level": "L4",
                "load": list(COORDINATES),
                "access": {"local": f"{folder}/"},
                "checksum": "none",
            }
        )
        self._granule = parse_hdf5(
            str(write_daily(folder / "first.nc", 0, grid=grid)), load=COORDINATES
        )

    @property
    def chunks(self) -> int:
        """Chunks of one granule."""
        return self._granule.chunk_count

    def store(self, place: Path, split: int | None = None) -> IcechunkStore:
        """A store of these granules, of which so many share a manifest."""
        return IcechunkStore(
            Directory(place),
            "store",
            containers_of(self.spec, "local"),
            None if split is None else ("time", split),
        )

    def listed(self, day: int, name: str | None = None) -> Listed:
        """One granule of a day; a file of that name if given."""
        begin = datetime(2002, 6, 1, tzinfo=UTC) + timedelta(days=day)
        name = name or f"{begin:%Y%m%d}090000-BENCHMARK-L4-GLOBAL-v02.0-fv04.1.nc"
        granule = ListedGranule(
            concept_id=f"G{2_000_000_000 + day}-BENCHMARK",
            granule_ur=name,
            revision_id=1,
            revision_date="2003-01-01T00:00:00.000Z",
            begin=f"{begin:%Y-%m-%dT%H:%M:%S}.000Z",
            end=f"{begin:%Y-%m-%d}T23:59:59.000Z",
            production_date="",
            identity=name,
            access="granules",
            key=name,
            cycle=day,
        )
        return Listed(f"{begin:%Y-%m}", granule)

    def parsed(self, entries: Sequence[Entry], **_: Any) -> Iterator[GranuleReferences]:
        """References of files."""
        for entry in entries:
            yield parse_hdf5(
                str(self.folder / entry.location), load=COORDINATES, attributes="packing"
            )

    def made_up(self, entries: Sequence[Entry], **_: Any) -> Iterator[GranuleReferences]:
        """References as of the first granule, with another time."""
        time_array = self._granule.arrays["time"]
        for entry in entries:
            assert time_array.values is not None
            values = time_array.values + 86400 * int(entry.labels["cycle"])
            arrays = {**self._granule.arrays, "time": replace(time_array, values=values)}
            yield replace(self._granule, arrays=arrays, size=0)


def build_made_up(folder: str, place: str, grid: DailyGrid, count: int) -> GrowingArchive:
    """A store of so many granules that were never written."""
    archive = GrowingArchive(Path(folder), grid)
    listed = (archive.listed(day) for day in range(count))
    apply(archive.store(Path(place)), archive.spec, listed, archive.made_up)
    return archive


def _appending(
    archive: GrowingArchive, place: Path, count: int, split: int | None = None
) -> Callable[[], float]:
    """Appends one granule and says what that cost; every time to a store longer by one."""
    days = iter(range(count, count + 1000))

    def append() -> float:
        listed = [archive.listed(next(days))]
        store = archive.store(place, split)
        return cpu_seconds(lambda: apply(store, archive.spec, listed, archive.made_up))

    return append


#: More granules than any store has: all references of an array are in one manifest, as Icechunk
#: keeps them if it is not told otherwise.
_ALL = 1_000_000


def _unsplit(archive: GrowingArchive, place: Path, copy: Path) -> None:
    """The same store with one manifest for each array."""
    shutil.copytree(place, copy)
    archive.store(copy, _ALL).rewrite_manifests()


#: Granules of one manifest, of the collection's default number of references.
_SLOTS = 512


def _append_rows(scratch: Path, *, quick: bool) -> Iterator[Row]:
    few, fine = (300, 320) if quick else (1_000, 8_820)
    runs, note = (3, SCALED) if quick else (9, "")
    # Last manifests, of which an append rewrites one, equally full; those of 25 fine ones nearly.
    many = few + (5 if quick else 18) * _SLOTS
    places = {name: scratch / name for name in ("few", "many", "one", "fine", "fine-one")}
    archive = build_made_up(str(scratch / "made"), str(places["few"]), GRID, few)
    build_made_up(str(scratch / "made"), str(places["many"]), GRID, many)
    _unsplit(archive, places["many"], places["one"])
    ours_s, few_s = interleaved_costs(
        _appending(archive, places["many"], many), _appending(archive, places["few"], few), runs
    )
    yield limit_row(
        line="virtual",
        name=GROWTH,
        unit="times",
        ours=ours_s / few_s,
        baseline=many / few,
        limit=1.3,
        peak_mb=peak_rss_mb(),
        note=(
            f"{ours_s:.3f} against {few_s:.3f} CPU s, to {many} and to {few} granules of"
            f" {archive.chunks} chunks; baseline: as the store grows{note}"
        ),
    )
    again = many + runs + 1
    ours_s, one_s = interleaved_costs(
        _appending(archive, places["many"], again),
        _appending(archive, places["one"], many, _ALL),
        runs,
    )
    what = "baseline: the same append to a store that keeps an array's references in one manifest"
    yield row(
        line="virtual",
        name=APPEND,
        ours=ours_s,
        baseline=one_s,
        target=8.0,
        note=f"{many} granules of {archive.chunks} chunks; {what}{note}",
    )
    fine_archive = build_made_up(str(scratch / "fine-made"), str(places["fine"]), FINE, fine)
    _unsplit(fine_archive, places["fine"], places["fine-one"])
    ours_s, one_s = interleaved_costs(
        _appending(fine_archive, places["fine"], fine),
        _appending(fine_archive, places["fine-one"], fine, _ALL),
        min(runs, 3),
    )
    yield row(
        line="virtual",
        name=APPEND_FINE,
        ours=ours_s,
        baseline=one_s,
        target=7.0,
        note=f"{fine} granules of {fine_archive.chunks} chunks; {what}{note}",
    )


def _memory_rows(scratch: Path, *, quick: bool) -> Iterator[Row]:
    for name, grid, count, limit in (
        (MEMORY, GRID, 10_000, 700.0),
        (MEMORY_FINE, FINE, 10_300, 1_000.0),
    ):
        count = count // 20 if quick else count
        place = scratch / f"memory-{grid.chunks[0]}"
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            task = pool.submit(_built_in, str(scratch / "memory"), str(place), grid, count)
            peak_mb, chunks = task.result()
        yield limit_row(
            line="virtual",
            name=name,
            unit="MB",
            ours=peak_mb,
            baseline=limit,
            limit=limit,
            peak_mb=peak_mb,
            note=(
                f"{count} granules of {chunks} chunks, {count * chunks:,} references, in a"
                f" process of its own, imports included{SCALED if quick else ''}"
            ),
        )


def _built_in(folder: str, place: str, grid: DailyGrid, count: int) -> tuple[float, int]:
    archive = build_made_up(folder, place, grid, count)
    return peak_rss_mb(), archive.chunks


# Reading


def _ssh_rows(scratch: Path, *, quick: bool) -> list[Row]:
    import xarray as xr

    from dor_ecco_assets.products import all_collections
    from dor_ecco_assets.storage import open_storage
    from dor_ecco_assets.virtual.published import located
    from dor_ecco_assets.virtual.reading import open_store

    count = 48 if quick else 312
    root = scratch / "ssh"
    paths = _monthly_granules(root, count)
    storage = open_storage(Place.model_validate({"root": str(root)}))
    spec = located(all_collections(None)[SSH_DATASET], storage)
    listed = [
        Listed(path.stem[-7:], _listed_month(path, path.stem[-7:], path.relative_to(root)))
        for path in paths
    ]

    def parsed(entries: Sequence[Entry], **_: Any) -> Iterator[GranuleReferences]:
        for entry in entries:
            yield parse_hdf5(str(root / entry.location), load=spec.load)

    def store() -> IcechunkStore:  # a new one each time, which has nothing in memory
        return IcechunkStore(storage, "store", containers_of(spec, "local"))

    assert apply(store(), spec, listed, parsed).published == count

    def ours() -> Any:
        with open_store(store()) as dataset:
            return dataset["SSH"].values

    def baseline() -> Any:
        with xr.open_mfdataset(paths) as dataset:
            return dataset["SSH"].values

    def told() -> Any:
        options: Any = {"data_vars": "minimal", "coords": "minimal", "compat": "override"}
        with xr.open_mfdataset(
            paths, combine="nested", concat_dim="time", join="override", **options
        ) as dataset:
            return dataset["SSH"].values

    np.testing.assert_array_equal(ours(), told())
    open_s = median_cpu_seconds(lambda: open_store(store()).close(), 3)
    ours_s, baseline_s = interleaved(ours, baseline, 3)
    told_s = cpu_seconds(told)
    return [
        row(
            line="virtual",
            name=SSH,
            ours=ours_s,
            baseline=baseline_s,
            target=10.0,
            note=(
                f"{count} granules of {_size_mb(paths):.1f} MB at 0.5 degree on disk, equal values;"
                f" opening alone: {open_s * 1e3:.0f} ms;"
                " baseline: xarray.open_mfdataset of the files (told to compare nothing:"
                f" {told_s:.2f} s, ratio {told_s / ours_s:.1f}){SCALED if quick else ''}"
            ),
        )
    ]


SSH_DATASET = "ECCO_L4_SSH_05DEG_MONTHLY_V4R4"


def _monthly_granules(root: Path, count: int) -> list[Path]:
    """One granule as the platform makes it, and others that have its fields at other times."""
    import h5py

    from dor_ecco_assets.products import Production
    from dor_ecco_assets.samples.ecco_output import write_sample_output
    from dor_ecco_assets.samples.llc_grid import sample_grid_fields

    inputs = root / "inputs"
    write_sample_output(inputs, sample_grid_fields(30), months=(732,), days=())
    workspace = Production(
        Place.model_validate({"root": str(root)}), Place.model_validate({"root": str(inputs)})
    ).workspace()
    key = f"ecco/{SSH_DATASET}"
    first = root / workspace.make(key, "1992-01").record.uri
    found: list[Path] = []
    for number in range(count):
        path = first.with_name(f"{1992 + number // 12}-{number % 12 + 1:02d}.nc")
        shutil.copyfile(first, path)
        with h5py.File(path, "r+") as file:
            for name in ("time", "time_bnds"):
                times: Any = file[name]
                # Hours since 1992, a month of 30.4 days after the other.
                times[...] = times[...] + round(number * 730.5)
        found.append(path)
    first.unlink()
    return found


def _listed_month(path: Path, month: str, key: Path) -> ListedGranule:
    return ListedGranule(
        concept_id=path.name,
        granule_ur=path.name,
        revision_id=1,
        revision_date="2020-01-01T00:00:00.000Z",
        begin=f"{month}-01T00:00:00.000Z",
        end=f"{month}-28T00:00:00.000Z",
        production_date="",
        identity=path.name,
        access="root",
        key=str(key),
    )
