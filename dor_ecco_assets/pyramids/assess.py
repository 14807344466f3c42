"""Whether what lies in map stores is right: fill and NaN, integrals of zoom levels, status.

Each assessment is a pure function of a store; sentences say what is wrong, none that all is well.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.mapping.webmercator import pixel_areas
from dor_ecco_assets.pyramids.contract import contract_breaches, metadata_of
from dor_ecco_assets.pyramids.index import STORES
from dor_ecco_assets.pyramids.schema import CASE_STATUS, SHARE, STEP_STATUS
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.stores.browser import FILL, ZarrFormat

__all__ = [
    "MapStore",
    "conservation_breaches",
    "fill_breaches",
    "map_stores",
    "reader_breaches",
    "status_breaches",
    "status_chunks",
    "statuses",
]

type Floats = NDArray[np.float32]

#: How far the integrals of two zoom levels may lie apart, as a part of the integral of the
#: magnitude: float32 values and weights give some 1e-7.
MOST_APART = 1e-5

_SPATIAL = ("y", "x")


@dataclass(frozen=True)
class MapStore:
    """One map store, open for reading.

    Parameters
    ----------
    uri : str
    zarr_format : {"v2", "v3"}
    group : zarr.Group
    """

    uri: str
    zarr_format: ZarrFormat
    group: Any

    @property
    def levels(self) -> int:
        """How many zoom levels there are."""
        return len(list(self.group.group_keys()))

    @property
    def status(self) -> Any:
        """The array of statuses."""
        return self.group[CASE_STATUS if CASE_STATUS in self.group else STEP_STATUS]

    @property
    def threshold(self) -> float:
        """Share of a pixel from which on it is covered."""
        return float(self.group.attrs["weights"]["threshold"])

    def variables(self) -> list[str]:
        """Names of the map variables."""
        level = self.group["0"]
        return [
            name
            for name, array in level.arrays()
            if name != SHARE and self.dims(array)[-2:] == _SPATIAL
        ]

    def dims(self, array: Any) -> tuple[str, ...]:
        """Names of an array's dimensions."""
        named = array.attrs.get("_ARRAY_DIMENSIONS") if self.zarr_format == "v2" else None
        return tuple(named or array.metadata.dimension_names)

    def share(self, level: int) -> Floats:
        """Part of each pixel that the source covers."""
        return np.asarray(self.group[f"{level}/{SHARE}"][...])

    def covered(self, level: int) -> NDArray[np.bool_]:
        """Pixels that hold numbers."""
        share = self.share(level)
        return (share >= np.float32(self.threshold)) & (share > 0)

    def maps(self, level: int, variable: str, place: Sequence[int]) -> Floats:
        """Maps of the first month of every year, of both bands, of one case; or of one step.

        Parameters
        ----------
        level : int
        variable : str
        place : sequence of int
            Along the dimensions of the status.

        Returns
        -------
        ndarray of float32, shape (maps, n, n)
        """
        array = self.group[f"{level}/{variable}"]
        at = dict(zip(self.dims(self.status), place, strict=True)) | {"month": 0}
        found = np.asarray(array[tuple(at.get(dim, slice(None)) for dim in self.dims(array))])
        return found.reshape(-1, *found.shape[-2:])


def map_stores(storage: Storage, key: str) -> Iterator[MapStore]:
    """The map stores of a pyramid that are there."""
    import zarr

    for zarr_format, name in STORES.items():
        found, _ = metadata_of(lambda member, name=name: storage.read(f"{key}/{name}/{member}"))
        if found is not None:
            group = zarr.open_group(storage.zarr_store(f"{key}/{name}"), mode="r")
            yield MapStore(
                storage.locate(f"{key}/{name}"), "v2" if zarr_format == "v2" else "v3", group
            )


def reader_breaches(storage: Storage, key: str) -> list[str]:
    """What keeps the stores of a pyramid from being read."""
    told: list[str] = []
    for name in STORES.values():
        if next(iter(storage.list_folder(f"{key}/{name}")), None) is not None:
            found = contract_breaches(
                lambda member, name=name: storage.read(f"{key}/{name}/{member}")
            )
            told += [f"{storage.locate(f'{key}/{name}')}: {sentence}" for sentence in found]
    return told


def fill_breaches(store: MapStore, place: Sequence[int]) -> list[str]:
    """Whether maps hold numbers on covered pixels, the fill elsewhere, and NaN nowhere."""
    told: list[str] = []
    for level in range(store.levels):
        covered = store.covered(level)
        for variable in store.variables():
            maps = store.maps(level, variable, place)
            nans = int(np.isnan(maps).sum())
            filled = maps == np.float32(FILL)
            unlike = int((filled == covered).sum(axis=(1, 2)).max(initial=0))
            if nans or unlike:
                told.append(
                    f"{store.uri}: {level}/{variable} of {tuple(place)} has {nans} NaN and "
                    f"{unlike} pixels of a map that are covered but fill, or the other way"
                )
    return told


def conservation_breaches(store: MapStore, place: Sequence[int]) -> list[str]:
    """Whether each zoom level has the integral of the next finer one.

    Compared are pixels of which every finer one is covered or empty; where the threshold leaves
    out a part of a pixel, its levels differ on purpose. Levels by other than conservative weights
    are not compared.
    """
    told: list[str] = []
    methods = store.group.attrs["weights"]["methods"]
    for level in range(store.levels - 1):
        if {methods[level], methods[level + 1]} != {"conservative"}:
            continue
        for variable in store.variables():
            apart = _apart(store, level, variable, place)
            if apart > MOST_APART:
                told.append(
                    f"{store.uri}: integrals of {variable} of {tuple(place)} at zoom levels "
                    f"{level} and {level + 1} lie {apart:.1e} apart, expected {MOST_APART:.0e}"
                )
    return told


def _apart(store: MapStore, level: int, variable: str, place: Sequence[int]) -> float:
    n = store.share(level).shape[0]
    fine_share, fine_covered = store.share(level + 1), store.covered(level + 1)
    whole = _of_four(fine_covered | (fine_share == 0)).all(axis=-1) & store.covered(level)
    coarse = store.maps(level, variable, place)[:, whole].astype(np.float64)
    area = np.broadcast_to(pixel_areas(n)[:, None], (n, n))[whole]
    ours = (coarse * (store.share(level)[whole] * area)).sum(axis=-1)
    fine_area = pixel_areas(2 * n)[:, None] * np.where(fine_covered, fine_share, 0)
    maps = np.where(fine_covered, store.maps(level + 1, variable, place), 0).astype(np.float64)
    theirs = _of_four(maps * fine_area)[:, whole].sum(axis=(-1, -2))
    # Months after the end of a case hold nothing but fill.
    there = ~(coarse == FILL).any(axis=-1) if coarse.size else np.zeros(len(coarse), bool)
    scale = _of_four(np.abs(maps) * fine_area)[:, whole].sum(axis=(-1, -2))
    gaps = np.abs(ours - theirs)[there] / np.maximum(scale[there], 1e-300)
    return float(gaps.max(initial=0.0))


def _of_four(fine: NDArray[Any]) -> NDArray[Any]:
    """The four finer pixels of each pixel, in the last dimension."""
    n = fine.shape[-1] // 2
    split = fine.reshape(*fine.shape[:-2], n, 2, n, 2)
    return np.moveaxis(split, -3, -2).reshape(*fine.shape[:-2], n, n, 4)


def status_breaches(
    storage: Storage, key: str, places: Mapping[str, tuple[int, ...]], recorded: Sequence[str]
) -> list[str]:
    """Whether just those partitions are said to be whole that have a record.

    Parameters
    ----------
    storage : Storage
    key : str
    places : mapping of str to tuple of int
        Of every partition along the dimensions of the status.
    recorded : sequence of str
        Partitions that have a record.
    """
    shape = tuple(1 + max(each) for each in zip(*places.values(), strict=True))
    found, there = statuses(storage, key, shape), set(recorded)
    told: list[str] = []
    for partition, place in places.items():
        if partition in there and found[place] != 1:
            told.append(f"{key} {partition} has a record, but its status is {found[place]}")
        if partition not in there and found[place] == 1:
            told.append(f"{key} {partition} counts as whole, but has no record: make it again")
    return told


def statuses(storage: Storage, key: str, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Status of every case or step: 1 where each store of the pyramid says so.

    Parameters
    ----------
    storage : Storage
    key : str
    shape : sequence of int
        Of the status array.

    Returns
    -------
    ndarray of uint8
    """
    found: dict[str, NDArray[np.uint8]] = {}
    for place, name in status_chunks(storage, key):
        store = name.removeprefix(f"{key}/").partition("/")[0]
        values = found.setdefault(store, np.zeros(tuple(shape), np.uint8))
        data = storage.read(name) or b"\0"
        values[place] = (zlib.decompress(data) if store == STORES["v2"] else data)[0]
    return np.minimum.reduce(list(found.values())) if found else np.zeros(tuple(shape), np.uint8)


def status_chunks(storage: Storage, key: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Place and name of every status that was ever put into the stores of a pyramid."""
    for store in STORES.values():
        for status in (CASE_STATUS, STEP_STATUS):
            for name, _ in storage.list_folder(f"{key}/{store}/{status}"):
                words = name.rpartition("/")[2].removeprefix("c.").split(".")
                if all(word.isdigit() for word in words):
                    yield tuple(map(int, words)), name
