"""Virtual stores as sources of maps: which granule is which step, and the grid they lie on.

A step is one day or month of a configured period. It is made from the granule whose time falls
into it and from nothing else of the store, so that a new granule makes its own step alone.
"""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch, InputMissing
from dor_ecco_assets.lineage.product import Content, Published, Task
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.pyramids.configuration import DatasetMaps
from dor_ecco_assets.storage.base import Readable
from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.stores.ledger_arrays import read_ledger
from dor_ecco_assets.stores.opening import open_uri

__all__ = [
    "Granule",
    "granules_of",
    "make_grid",
    "no_granule",
    "open_step",
    "published_step",
    "regular_grid",
]

#: Names that latitudes and longitudes of regular grids go by.
_LATITUDES, _LONGITUDES = ("lat", "latitude"), ("lon", "longitude")
_POLE, _ROUND = 90.0, 360.0
#: Part of a cell by which edges may miss the full circle: coordinates come in single precision.
_SEAM = 0.01


@dataclass(frozen=True)
class Granule:
    """One published granule of a step.

    Parameters
    ----------
    name : str
    place : int
        Along the store's time.
    content : str
        Digest of what the store has of it.
    bytes : int
        Of its file; 0 where that is not known.
    """

    name: str
    place: int
    content: str
    bytes: int


def granules_of(storage: Readable, source: str, step: str) -> Mapping[str, tuple[Granule, ...]]:
    """Published granules of the recorded version of a store, by their day or month.

    Parameters
    ----------
    storage : Readable
    source : str
        Key of the store.
    step : str
        Any ``YYYY-MM-DD`` or ``YYYY-MM``, as those of the result are to be.

    Returns
    -------
    mapping of str to tuple of Granule
        Empty where there is no store yet. Granules of another schema than the store's first are
        left out.

    Raises
    ------
    GridMismatch
        Code ``NotOneStepEach``, if granules are not of one time each.
    """
    record = read_record(storage, source, "")
    if record is None:
        return {}
    unit = str(np.datetime_data(np.datetime64(step))[0])
    return _granules_at(storage, record.uri, str(record.details["snapshot"]), unit)


@lru_cache(maxsize=8)
def _granules_at(
    storage: Any, key: str, snapshot: str, unit: str
) -> Mapping[str, tuple[Granule, ...]]:
    """Of one version, which never changes."""
    session = IcechunkStore(storage, key).with_own_containers().reading(snapshot)
    ledger = read_ledger(session.store)
    entries = ledger.at(ledger.rows_in("published", 0))
    with xr.open_dataset(
        session.store, engine="zarr", consolidated=False, zarr_format=3
    ) as dataset:
        time = next((dataset[dim].values for dim in dataset.dims if _is_time(dim)), None)
    steps = 1 + max((entry.slot for entry in entries), default=-1)
    if time is None or time.dtype.kind != "M" or time.size != steps:
        there = "no times" if time is None else f"{time.size} times of type {time.dtype}"
        raise GridMismatch(
            f"{storage.locate(key)}: {there} for {steps} places of granules, expected one time of "
            "each: maps are made of granules with one step of time",
            code="NotOneStepEach",
        )
    found: dict[str, list[Granule]] = {}
    for entry in entries:
        step = str(time[entry.slot].astype(f"M8[{unit}]"))
        granule = Granule(entry.name, entry.slot, entry.content, entry.size or 0)
        found.setdefault(step, []).append(granule)
    return {step: tuple(granules) for step, granules in found.items()}


def _is_time(dim: Any) -> bool:
    return str(dim).lower() == "time"


def published_step(source: str, granules: Sequence[Granule]) -> Mapping[str, Published]:
    """What a step is made from, as an input: the granules of it, if there are any."""
    if not granules:
        return {"granule": Published(source, 0, "")}
    contents = "\n".join(sorted(granule.content for granule in granules))
    size = sum(granule.bytes for granule in granules)
    return {"granule": Published(source, size, hashlib.sha256(contents.encode()).hexdigest())}


@contextmanager
def open_step(storage: Readable, source: str, step: str) -> Generator[tuple[xr.Dataset, str]]:
    """The one granule of a step, lazily, and what messages call it.

    Raises
    ------
    InputMissing
        Code ``NoGranule``.
    GridMismatch
        Code ``SeveralGranules``.
    """
    granules = granules_of(storage, source, step).get(step, ())
    if not granules:
        raise no_granule(storage, source, step)
    if len(granules) > 1:
        names = ", ".join(granule.name for granule in granules[:3])
        raise GridMismatch(
            f"{storage.locate(source)} has {len(granules)} granules of {step}: {names}; a step of "
            "maps is made from one, so give the period in days, or choose another collection",
            code="SeveralGranules",
        )
    granule = next(iter(granules))
    record = read_record(storage, source, "")
    assert record is not None  # it has granules
    with open_uri(storage, record) as dataset:  # pyright: ignore[reportArgumentType] - only read
        axis = next(dim for dim in dataset.dims if _is_time(dim))
        yield dataset.isel({axis: granule.place}), f"{storage.locate(source)} {granule.name}"


def no_granule(storage: Readable, source: str, step: str) -> InputMissing:
    """That a store has nothing of a step."""
    return InputMissing(
        f"{storage.locate(source)} has no granule of {step}; bring it up to date by `dor-ecco "
        f"virtual build {source.split('/')[1]}`, or wait until there is one",
        code="NoGranule",
    )


# The grid


def make_grid(key: str, maps: DatasetMaps, step: str, task: Task) -> Content:
    """Cells of a store's grid, and which of them have numbers in the granule of a step."""
    from dor_ecco_assets.stores.preview import field_preview
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    assert task.storage is not None
    name = next(iter(maps.variables))
    with open_step(task.storage, maps.source, step) as (dataset, origin):
        if name not in dataset:
            raise GridMismatch(
                f"{origin}: there is no {name} in it; it holds {', '.join(map(str, dataset))}",
                code="OtherVariables",
            )
        field = dataset[name].isel(maps.select, missing_dims="ignore").squeeze()
        grid = regular_grid(dataset, np.isfinite(field.values), origin)
    mask = grid["mask"].values[0]
    return Content(
        f"{key}.zarr",
        partial(write_zarr, grid),
        {"shape": list(mask.shape), "cells_with_numbers": int(mask.sum()), "mask_of": origin},
        preview=lambda: field_preview(np.where(mask > 0, 1.0, np.nan)),
    )


def regular_grid(dataset: xr.Dataset, wet: NDArray[np.bool_], origin: str) -> xr.Dataset:
    """A grid of latitudes and longitudes as weights are made from.

    Parameters
    ----------
    dataset : Dataset
        With one-dimensional coordinates of latitude and longitude, degrees, in any direction.
    wet : ndarray of bool, shape (latitude, longitude)
    origin : str
        For messages.

    Returns
    -------
    Dataset
        ``latitude longitude`` with bounds half way between cells, ``mask`` (level, latitude,
        longitude).

    Raises
    ------
    GridMismatch
        Code ``NotRegular``.
    """
    latitude = _axis(dataset, _LATITUDES, origin)
    longitude = _axis(dataset, _LONGITUDES, origin)
    if wet.shape != (latitude.size, longitude.size):
        raise GridMismatch(
            f"{origin}: a field of {wet.shape} on {latitude.size} latitudes and {longitude.size} "
            "longitudes; choose a place along other dimensions by `select`",
            code="NotRegular",
        )
    rows, columns = np.clip(_edges(latitude), -_POLE, _POLE), _edges(longitude)
    span, cell = columns[-1] - columns[0], abs(columns[1] - columns[0])
    if abs(abs(span) - _ROUND) < _SEAM * cell:
        columns[-1] = columns[0] + np.copysign(_ROUND, span)
    elif abs(span) > _ROUND:
        raise GridMismatch(
            f"{origin}: {longitude.size} longitudes from {longitude[0]} to {longitude[-1]} lap "
            "over, expected at most 360 degrees of cells",
            code="NotRegular",
        )
    return xr.Dataset(
        {
            "latitude_bnds": (("latitude", "nv"), np.stack([rows[:-1], rows[1:]], axis=1)),
            "longitude_bnds": (("longitude", "nv"), np.stack([columns[:-1], columns[1:]], axis=1)),
            "mask": (("level", "latitude", "longitude"), wet[None].astype(np.int8)),
        },
        {"latitude": latitude, "longitude": longitude},
    )


def _axis(dataset: xr.Dataset, names: tuple[str, ...], origin: str) -> NDArray[np.float64]:
    found = next((dataset[each] for each in dataset.variables if str(each).lower() in names), None)
    values = np.zeros(0) if found is None else np.asarray(found.values, np.float64)
    steps = np.diff(values) if values.ndim == 1 else np.zeros(0)
    if not steps.size or not (np.all(steps > 0) or np.all(steps < 0)):
        what = "none" if found is None else f"of shape {values.shape}"
        raise GridMismatch(
            f"{origin}: {names[0]} is {what}, expected one axis that rises or falls throughout: "
            "maps of a virtual store are for regular grids",
            code="NotRegular",
        )
    return values


def _edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges half way between centres, the outer ones as far out as the next ones are in."""
    inner = (centres[:-1] + centres[1:]) / 2
    outer = 2 * centres[[0, -1]] - inner[[0, -1]]
    return np.concatenate([outer[:1], inner, outer[1:]])
