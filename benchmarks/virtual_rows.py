"""Parsing granules against what VirtualiZarr, kerchunk and fsspec would cost."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from obstore.store import HTTPStore, LocalStore

from benchmarks.measure import (
    Row,
    interleaved,
    interleaved_costs,
    limit_row,
    median_cpu_seconds,
    peak_rss_mb,
    row,
)
from dor_ecco_assets.samples.virtual_granules import DailyGrid, write_daily
from dor_ecco_assets.virtual.hdf5 import parse_hdf5
from dor_ecco_assets.virtual.references import GranuleReferences
from dor_ecco_assets.virtual.remote import parse_granules
from tests.support.ranges import RangeServer

PARSE = "parse per granule, local, 48 chunks"
PARSE_KERCHUNK = "the same, against kerchunk"
REMOTE = "parse per granule, at 50 ms latency"
BYTES = "bytes read of a granule of about 1 MB"
NAMES = (PARSE, PARSE_KERCHUNK, REMOTE, BYTES)

#: As a daily analysis of sea-surface temperature: 3 packed fields of 16 chunks, 42 attributes.
GRID = DailyGrid((720, 1440), (180, 360), ("analysed_sst", "analysis_error", "wind_speed"), 37)
COORDINATES = ("time", "lat", "lon")
LATENCY_S = 0.05
LIMIT_KB = 300.0


def rows(scratch: Path, *, quick: bool = False) -> list[Row]:
    """All rows; `scratch` is a folder for some dozen granules."""
    paths = [
        write_daily(scratch / f"{day:03d}.nc", day, grid=GRID) for day in range(8 if quick else 40)
    ]
    return [*_local_rows(paths, 3 if quick else 7), *_remote_rows(scratch, paths)]


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
