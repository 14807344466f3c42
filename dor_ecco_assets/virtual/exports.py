"""What readers without Icechunk open: kerchunk files by S3 and HTTPS, a catalogue entry, a page.

Each release is a folder of its own, named by its content; ``latest.json`` names the one that holds
and is replaced last, so that a reader finds the old release or the new one, whole.
"""

import json
import shutil
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.lineage.record import partition_label, read_record, region_digest
from dor_ecco_assets.storage.base import Readable, Storage, digest_of_path, files_below
from dor_ecco_assets.stores.ledger_arrays import GROUP, read_ledger, read_state
from dor_ecco_assets.virtual.access import chosen_way
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.kerchunk_files import (
    INLINE_BYTES,
    ArrayExport,
    StoreExport,
    as_written,
    inlined,
    v2_array,
    write_json,
    write_parquet,
)
from dor_ecco_assets.virtual.layout import Layout, Part
from dor_ecco_assets.virtual.shards import ReferenceShard, read_shard

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Entry
    from dor_ecco_assets.virtual.references import GranuleReferences

__all__ = ["COPIED", "LATEST", "collect", "latest_release", "make_exports", "write_release"]

LATEST = "latest.json"

#: What a release calls its page, and its name without suffix.
RUN_RECORD = "run_record"

#: Values of one array that stand in the files, at most, in bytes.
_MOST_INLINE = 8_000_000

#: How the ledger notes a granule of which the store keeps values.
COPIED = "copied:"


@dataclass
class Coverage:
    """What a catalogue says of a store."""

    begin: str
    end: str
    granules: int
    bbox: tuple[float, float, float, float]
    variables: list[str] = field(default_factory=list[str])


def collect(
    session: Any, shard_of: Callable[[str], ReferenceShard | None]
) -> tuple[StoreExport, Coverage]:
    """Everything of one version of a store: byte ranges from shards, values from the store.

    Parameters
    ----------
    session : icechunk session
    shard_of : callable
        The shard of a partition.
    """
    import zarr

    epochs = [
        (each["path"], Layout.decode(each["layout"]))
        for each in read_state(session.store).get("epochs", [])
    ]
    root: Any = zarr.open_group(session.store, mode="r", zarr_format=3)
    export = StoreExport({"": _plain(dict(root.attrs))}, [], [])
    virtual = {
        f"{path}/{part.target}".lstrip("/"): part
        for path, layout in epochs
        for part in layout.of_kind("virtual")
    }
    by_path: dict[str, ArrayExport] = {}
    for path, found in _members(root):
        if not hasattr(found, "shape"):
            export.groups[path] = _plain(dict(found.attrs))
        elif path in virtual:
            by_path[path] = _empty(path, found, virtual[path])
        elif found.size * found.dtype.itemsize > _MOST_INLINE:
            export.left_out[path] = (
                f"{found.size * found.dtype.itemsize} bytes by value; the files hold "
                f"{_MOST_INLINE} at most: open the Icechunk store"
            )
        else:
            attributes, fill = _described(found)
            export.arrays.append(inlined(path, found[...], attributes, fill))
    ledger = read_ledger(session.store)
    entries = sorted(
        ledger.at(ledger.rows_in("published")), key=lambda each: (each.partition, each.key)
    )
    for entry in entries:
        path, layout = epochs[entry.epoch]
        granule = _granule_of(entry, shard_of)
        if granule is None and COPIED not in entry.note:
            raise InputMissing(
                f"references of {entry.name} ({entry.key}, revision {entry.revision}) are not kept "
                f"in partition {entry.partition} any more; bring the store up to date, then export",
                code="ReferencesGone",
            )
        export.files.append((entry.container, entry.location))
        for part in layout.of_kind("virtual"):
            place = f"{path}/{part.target}".lstrip("/")
            _put(session, by_path[place], part, entry, granule, len(export.files) - 1, export)
    for place in export.left_out:
        by_path.pop(place, None)
    export.arrays = sorted([*export.arrays, *by_path.values()], key=lambda each: each.path)
    return export, _coverage(root, entries, sorted(by_path))


def _members(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, found in sorted(group.members()):
        inner = f"{path}/{name}".lstrip("/")
        if inner == GROUP:
            continue
        yield inner, found
        if not hasattr(found, "shape"):
            yield from _members(found, inner)


def _described(array: Any) -> tuple[dict[str, Any], Any]:
    """Attributes as Zarr version 2 has them, and what its readers take for missing.

    They take the array's fill value for it: an array that does not say what is missing has none.
    """
    attributes = _plain(dict(array.attrs))
    attributes["_ARRAY_DIMENSIONS"] = list(array.metadata.dimension_names or ())
    fill = attributes.pop("_FillValue", None)
    if isinstance(fill, str) and array.dtype.kind == "f":
        fill = struct.unpack("<d", b64decode(fill))[0]
    return attributes, fill


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(attributes.items()))


def _empty(path: str, array: Any, part: Part) -> ArrayExport:
    attributes, fill = _described(array)
    zarray = v2_array(array.shape, array.chunks, part.array.dtype.str, part.array.codecs, fill)
    return ArrayExport.without_chunks(path, zarray, attributes)


def _granule_of(
    entry: "Entry", shard_of: Callable[[str], ReferenceShard | None]
) -> "GranuleReferences | None":
    shard = shard_of(entry.partition)
    return None if shard is None else shard.granules.get(f"{entry.key}.{entry.revision}")


def _put(
    session: Any,
    array: ArrayExport,
    part: Part,
    entry: "Entry",
    granule: "GranuleReferences | None",
    file: int,
    export: StoreExport,
) -> None:
    """The chunks of one granule, in one array."""
    found = None if granule is None else granule.arrays.get(_source_in(granule, part))
    copied = found is None or found.values is not None or COPIED in entry.note
    if copied:
        _put_copied(session, array, part, entry, export)
        if found is None or found.values is not None:
            return
    lengths = part.grid(found.lengths)  # type: ignore[union-attr]
    offsets = part.grid(found.offsets)  # type: ignore[union-attr]
    numbers = _numbers(array, part, entry.slot, lengths.shape)
    there = (lengths.ravel() > 0) & ~np.isin(numbers, list(array.inline))
    array.files[numbers[there]] = file
    array.offsets[numbers[there]] = offsets.ravel()[there].astype(np.int64)
    array.lengths[numbers[there]] = lengths.ravel()[there].astype(np.int64)


def _source_in(granule: "GranuleReferences", part: Part) -> str:
    """Name of a part's array in the whole file, whose group the store leaves out."""
    if part.source in granule.arrays:
        return part.source
    ending = f"/{part.source}"
    return next((name for name in granule.arrays if name.endswith(ending)), part.source)


def _numbers(
    array: ArrayExport, part: Part, slot: int, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Numbers of one slot's chunks in the array's grid, in C order of the slot."""
    if not shape:
        return np.zeros(1, np.int64)
    first = part.place(slot)
    places = np.indices(shape).reshape(len(shape), -1) + np.array(first)[:, None]
    return np.asarray(np.ravel_multi_index(tuple(places), array.grid), np.int64)


def _put_copied(
    session: Any, array: ArrayExport, part: Part, entry: "Entry", export: StoreExport
) -> None:
    """Chunks that the store keeps by value though it refers to those of other granules."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    if array.path in export.left_out:
        return
    grid = list(array.grid)
    grid[part.axis] = part.width
    for number in _numbers(array, part, entry.slot, tuple(grid)).tolist():
        place = np.unravel_index(number, array.grid)
        index = [int(each) for each in place]
        if str(session.chunk_type(f"/{array.path}", index)).rpartition(".")[2].lower() not in (
            "native",
            "inline",
        ):
            continue
        key = f"{array.path}/c/{'/'.join(map(str, index))}"
        data: Any = sync(session.store.get(key, default_buffer_prototype()))
        if data is None:
            continue
        if len(data) > INLINE_BYTES:
            export.left_out[array.path] = (
                f"{entry.name} is copied in chunks of {len(data)} bytes, the files hold "
                f"{INLINE_BYTES} at most: open the Icechunk store"
            )
            return
        array.inline[number] = data.to_bytes()


def _coverage(root: Any, entries: "list[Entry]", variables: list[str]) -> Coverage:
    begins = sorted(each.begin for each in entries if each.begin)
    ends = sorted(each.end for each in entries if each.end)
    return Coverage(
        begins[0] if begins else "",
        ends[-1] if ends else "",
        len(entries),
        _bbox(root),
        variables,
    )


def _bbox(root: Any) -> tuple[float, float, float, float]:
    """West, south, east, north of the coordinates; of the globe where there are none."""
    edges: list[float] = []
    for names, low, high in (
        (("lon", "longitude"), -180.0, 180.0),
        (("lat", "latitude"), -90.0, 90.0),
    ):
        values = next((root[name][...] for name in names if name in root), None)
        if values is None or values.dtype.kind != "f" or not np.isfinite(values).any():
            edges += [low, high]
        else:
            edges += [max(low, float(np.nanmin(values))), min(high, float(np.nanmax(values)))]
    west, east, south, north = edges
    return west, south, east, north


# Files


def ways_of(spec: StoreSpec) -> list[str]:
    """By which of S3 and HTTPS all places can be reached; by their folders if by neither."""
    found = [way for way in ("s3", "https") if all(getattr(place, way) for place in spec.access)]
    return found or ["local"]


def write_release(
    folder: Path, spec: StoreSpec, export: StoreExport, coverage: Coverage, run_record: str
) -> dict[str, str]:
    """Write all files of a release; gives each file's name, by what it is.

    Parameters
    ----------
    folder : Path
        Not there yet.
    spec : StoreSpec
    export : StoreExport
    coverage : Coverage
    run_record : str
        The page.
    """
    folder.mkdir(parents=True)
    files: dict[str, str] = {}
    count = export.count
    formats = spec.exports
    for way in ways_of(spec):
        roots = {place.name: str(getattr(place, way)) for place in spec.access}

        def url_of(place: str, key: str, roots: Mapping[str, str] = roots) -> str:
            return roots[place] + as_written(roots[place], key)

        if formats.kerchunk_json is not None and count <= formats.kerchunk_json.max_refs:
            name = files[f"kerchunk_json_{way}"] = f"{spec.name}_{way}.json"
            write_json(folder / name, export, roots)
        if formats.kerchunk_parquet is not None:
            name = files[f"kerchunk_parquet_{way}"] = f"{spec.name}_{way}.parquet"
            write_parquet(folder / name, export, url_of, formats.kerchunk_parquet.record_size)
    files[RUN_RECORD] = f"{RUN_RECORD}.html"
    (folder / files[RUN_RECORD]).write_text(run_record, encoding="utf-8")
    files["stac"] = "stac.json"
    item = stac_item(spec, coverage, files)
    (folder / "stac.json").write_text(json.dumps(item, indent=1, sort_keys=True) + "\n")
    return files


_MEDIA_TYPES = {"json": "application/json", "parquet": "application/vnd.apache.parquet"}


def stac_item(spec: StoreSpec, coverage: Coverage, files: Mapping[str, str]) -> dict[str, Any]:
    """A static STAC item that leads to the store and to its exports."""
    west, south, east, north = coverage.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    assets: dict[str, Any] = {
        "store": {
            "href": "../../store",
            "type": "application/vnd.zarr; version=3",
            "title": "Icechunk repository",
            "roles": ["data", "virtual"],
            "description": f"dor_ecco_assets.open('virtual/{spec.name}/store')",
        }
    }
    for what, name in files.items():
        if what == RUN_RECORD:
            assets[what] = {
                "href": f"./{name}",
                "type": "text/html",
                "title": "inputs, versions, checks and plots of this version",
                "roles": ["metadata"],
            }
        elif what != "stac":
            form, _, way = what.removeprefix("kerchunk_").partition("_")
            assets[what] = {
                "href": f"./{name}",
                "type": _MEDIA_TYPES[form],
                "title": f"kerchunk references by {way}",
                "roles": ["references"],
                "description": f"xarray.open_dataset('{name}', engine='kerchunk')",
            }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": spec.name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "title": spec.title or spec.collection.short_name,
            "datetime": None,
            "start_datetime": coverage.begin,
            "end_datetime": coverage.end or coverage.begin,
            "dor_ecco:short_name": spec.collection.short_name,
            "dor_ecco:concept_id": spec.collection.concept_id,
            "dor_ecco:granules": coverage.granules,
            "dor_ecco:variables": coverage.variables,
        },
        "links": [],
        "assets": assets,
    }


def make_exports(
    spec: StoreSpec, key: str, store_key: str, versions: Mapping[str, str], task: Task
) -> Content:
    """The exports of the recorded version of the store.

    Parameters
    ----------
    spec : StoreSpec
    key, store_key : str
    versions : mapping of str to str
        Of what listed, referenced, stored and exports, for the run record.
    task : Task
    """
    from dor_ecco_assets.virtual.reading import virtual_store
    from dor_ecco_assets.virtual.referencing import parsing_of
    from dor_ecco_assets.virtual.run_record import make_run_record

    assert task.storage is not None
    root: Readable = task.storage
    record = read_record(root, store_key, "")
    assert record is not None  # it is upstream, and looked at before
    snapshot = str(record.details["snapshot"])
    told: dict[str, Any] = {}

    def put(storage: Storage, still_held: Callable[[], None]) -> tuple[int, str]:
        @lru_cache(maxsize=2)
        def shard_of(partition: str) -> ReferenceShard | None:
            folder = f"virtual/{spec.name}/references/{partition}"
            return read_shard(lambda name: storage.read(f"{folder}/{name}"), parsing_of(spec))

        store = virtual_store(storage, spec, chosen_way(spec.access[0]))
        export, coverage = collect(store.reading(snapshot), shard_of)
        told_by = make_run_record(storage, spec, snapshot, versions)
        scratch = storage.scratch(f"{key}/release", partition_label(key, ""))
        try:
            files = write_release(scratch, spec, export, coverage, told_by.html)
            _, sha256 = digest_of_path(scratch)
            names = [name for name, _ in files_below(scratch)]
            release = sha256[:16]
            still_held()
            if storage.stat(f"{key}/{release}/{files['stac']}") is None:
                storage.publish(f"{key}/{release}", scratch, sha256)
            shutil.rmtree(scratch, ignore_errors=True)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        before = latest_release(storage, key).get("release")
        latest = {
            "release": release,
            "snapshot": snapshot,
            "sha256": sha256,
            "count": export.count,
            "granules": coverage.granules,
            "begin": coverage.begin,
            "end": coverage.end,
            "access": ways_of(spec),
            "files": files,
        }
        text = json.dumps(latest, indent=1, sort_keys=True) + "\n"
        storage.put(f"{key}/{LATEST}", text.encode(), partition_label(key, ""))
        _remove_older(storage, key, {release, before})
        chunks = [f"{release}/{name}" for name in names]
        told.update(
            {
                "chunks": chunks,
                "release": release,
                "snapshot": snapshot,
                "references": export.count,
                "granules": coverage.granules,
                "begin": coverage.begin,
                "end": coverage.end,
                "files": files,
                "left_out": export.left_out,
                "compared_values": sum(each.values for each in told_by.checked.compared),
                "compared_problems": told_by.checked.problems,
            }
        )
        return region_digest(storage, key, chunks)

    return Content(key, write=None, put=put, details=lambda: told)


def latest_release(storage: Readable, key: str) -> dict[str, Any]:
    """What ``latest.json`` says; empty where nothing was exported yet."""
    return json.loads(storage.read(f"{key}/{LATEST}") or b"{}")


def _remove_older(storage: Storage, key: str, kept: set[str | None]) -> None:
    """Remove releases but the new one and the last: somebody may just be reading it."""
    found = {name.removeprefix(f"{key}/").partition("/")[0] for name, _ in storage.list(key)}
    for name in sorted(found - kept - {LATEST}):
        if not name.startswith("."):
            storage.delete(f"{key}/{name}")
