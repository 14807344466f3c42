"""Stores 1 and 3: the curves of all cases of an injection month, each month's plane written once.

A month owns its chunks. They are put between a status of 0 and one of 1, and the metadata are the
same bytes whoever creates them, so months are written side by side.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.atlas.calendar import INJECTION_YEAR
from dor_ecco_assets.atlas.names_on_disk import (
    DISTANCE_DIMENSION,
    ELAPSED_DIMENSION,
    POLYGON_DIMENSION,
    efficiency_name,
    injection_dimension,
)
from dor_ecco_assets.atlas.polygons import read_checked
from dor_ecco_assets.atlas.published import (
    EFFICIENCY_FILL,
    efficiency_dataset,
    read_published_efficiency,
)
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.dor.rings import RADII_M
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.lineage.record import region_digest
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.stores.regions import (
    chunk_name,
    encoded_chunk,
    put_chunks,
    put_schema,
    schema_of,
)

__all__ = [
    "DONE",
    "FAILED",
    "STATUS",
    "efficiency_schema",
    "make_efficiency_month",
    "make_published",
    "make_uptake_month",
    "uptake_schema",
]

type Floats = NDArray[np.float32]
type Status = NDArray[np.uint8]

#: Array that says which cases a store holds, and its values beside 0, absent.
STATUS, DONE, FAILED = "case_status", 1, 2
UPTAKE = "FG_CO2_percent_cumulative"


def _status(dims: tuple[int, int]) -> xr.DataArray:
    names = (POLYGON_DIMENSION, injection_dimension("efficiency"))
    about = {"long_name": "0 absent, 1 done, 2 failed"}
    made = xr.DataArray(np.zeros(dims, np.uint8), dims=names, attrs=about)
    made.encoding = {"chunks": (dims[0], 1)}
    return made


def efficiency_schema(atlas: Atlas, compat: str) -> xr.Dataset:
    """Store 1 with nothing in it."""
    sizes = atlas.months, atlas.polygon_set.n_polygons, len(atlas.injection_months)
    empty = efficiency_dataset(
        np.full(sizes, np.nan), atlas.injection_months, forcing=atlas.forcing
    )
    empty.attrs = {"title": atlas.title, "compat": compat}
    return empty.assign({STATUS: _status(sizes[1:])})


def uptake_schema(atlas: Atlas, compat: str) -> xr.Dataset:
    """Store 3 with nothing in it."""
    store = efficiency_schema(atlas, compat)
    name, month = efficiency_name(atlas.forcing), injection_dimension("uptake")
    sizes = (*store[name].shape, len(RADII_M))
    dims = (ELAPSED_DIMENSION, POLYGON_DIMENSION, month, DISTANCE_DIMENSION)
    about = {"long_name": "uptake inside a radius, of the case's last total", "units": "percent"}
    uptake = xr.DataArray(np.full(sizes, EFFICIENCY_FILL, np.float32), dims=dims, attrs=about)
    uptake.encoding = {"_FillValue": EFFICIENCY_FILL, "chunks": (*sizes[:2], 1, sizes[3])}
    radii = xr.Variable(DISTANCE_DIMENSION, np.array(RADII_M, np.int32), {"units": "m"})
    radii.encoding = {"_FillValue": store[month].encoding["_FillValue"]}
    made = store.drop_vars(name).assign({UPTAKE: uptake})
    made = made.assign_coords({DISTANCE_DIMENSION: radii})
    made.attrs |= {
        "long_name": "cumulative uptake of CO2 by distance from the polygon's centre",
        "units": "percent",
        "description": "uptake since the injection inside each radius, as a percentage of the "
        "uptake everywhere at the end of the case",
    }
    return made


def make_efficiency_month(key: str, atlas: Atlas, task: Task) -> Content:
    """The plane of one injection month of store 1."""
    name = efficiency_name(atlas.forcing)
    schema = efficiency_schema(atlas, task.settings.compat)
    return _month(key, atlas, task, schema, name, "efficiency")


def make_uptake_month(key: str, atlas: Atlas, task: Task) -> Content:
    """The plane of one injection month of store 3."""
    schema = uptake_schema(atlas, task.settings.compat)
    return _month(key, atlas, task, schema, UPTAKE, "uptake_percent")


def _month(
    key: str, atlas: Atlas, task: Task, store: xr.Dataset, name: str, rows_name: str
) -> Content:
    place = atlas.injection_months.index(int(task.partition))
    plane, status = _collected(task, store[name].encoding["chunks"], rows_name)
    rest = (0,) * (plane.ndim - 3)
    chunks = {
        chunk_name(name, (0, 0, place, *rest)): encoded_chunk(plane),
        chunk_name(STATUS, (0, place)): encoded_chunk(status[:, None]),
    }
    held = plane[plane != EFFICIENCY_FILL]
    last = plane[-1][plane[-1] != EFFICIENCY_FILL]
    return Content(
        key=f"{key}.zarr",
        write=None,
        details={
            "chunks": sorted(chunks),
            "shape": list(store[name].shape),
            "cases_done": int((status == DONE).sum()),
            "cases_failed": int((status == FAILED).sum()),
            "cases_absent": int((status == 0).sum()),
            "values": int(held.size),
            f"mean_last_{rows_name}": float(last.mean(dtype=np.float64)) if last.size else None,
        },
        put=partial(_put_month, f"{key}.zarr", schema_of(store), chunks),
    )


def _collected(task: Task, chunk: tuple[int, ...], rows_name: str) -> tuple[Floats, Status]:
    """Plane of one chunk, and the status of every polygon."""
    plane = np.full(chunk, EFFICIENCY_FILL, np.float32)
    status = np.zeros(chunk[1], np.uint8)
    for member in task.failed:
        status[int(member.rpartition("|")[2])] = FAILED
    for member in task.members():
        made_with = member.record.details.get("compat")
        if made_with != task.settings.compat:
            raise ConfigurationError(
                f"{member.key} {member.partition} was made with compat {made_with}, the store says "
                f"{task.settings.compat}; give --compat {made_with}, or make the case again",
                code="CompatMismatch",
            )
        polygon = int(member.partition.split("|")[1])
        values: Any = np.asarray(member.arrays()[rows_name][:], np.float64)
        plane[:, polygon, 0] = np.where(np.isfinite(values), values, EFFICIENCY_FILL)
        status[polygon] = DONE
    return plane, status


def _put_month(
    key: str,
    schema: Mapping[str, bytes],
    chunks: Mapping[str, bytes],
    storage: Storage,
    still_held: Callable[[], None],
) -> tuple[int, str]:
    """Put a month's plane between a status of 0 and its own."""
    put_schema(storage, key, schema)
    status = {name: data for name, data in chunks.items() if name.startswith(f"{STATUS}/")}
    for name in status:
        storage.delete(f"{key}/{name}")  # a chunk that is not there reads as 0
    still_held()
    put_chunks(storage, key, {name: chunks[name] for name in chunks if name not in status})
    still_held()
    put_chunks(storage, key, status)
    return region_digest(storage, key, chunks)


# Published efficiencies


def make_published(key: str, sha256: str | None, task: Task) -> Content:
    """The published efficiencies as a store of the same schema; `sha256` is that of their file."""
    source = task.input_keys["regions"] or ""
    data = read_checked(task.inputs, source, sha256)
    found = read_published_efficiency(data, uri=task.inputs.locate(source))
    name = efficiency_name("OAE")
    sizes = found[name].shape
    status = _status((sizes[1], sizes[2]))
    status[...] = DONE
    about = {"title": f"Published OAE efficiencies of {INJECTION_YEAR}", "source": source}
    store = found.assign({STATUS: status}).assign_attrs(about)
    store[STATUS].encoding = status.encoding

    def write(path: Path) -> None:
        objects = schema_of(store)
        for place in range(sizes[2]):
            plane = found[name].values[:, :, place : place + 1]
            objects[chunk_name(name, (0, 0, place))] = encoded_chunk(plane)
            objects[chunk_name(STATUS, (0, place))] = encoded_chunk(
                store[STATUS].values[:, place : place + 1]
            )
        for member, data in objects.items():
            (path / member).parent.mkdir(parents=True, exist_ok=True)
            (path / member).write_bytes(data)

    held = found[name].values[found[name].values != EFFICIENCY_FILL]
    details = {
        "shape": list(sizes),
        "values": int(held.size),
        "mean_efficiency": float(held.mean(dtype=np.float64)),
        "year": INJECTION_YEAR,
    }
    return Content(f"{key}.zarr", write, details)
