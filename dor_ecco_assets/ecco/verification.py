"""Check a published granule as its reader would: bytes, metadata, mask, range."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.comparison import blocks, open_raw
from dor_ecco_assets.ecco.metadata_check import covered_time, metadata_problems
from dor_ecco_assets.errors import InputUnusable, OutputCorrupt
from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.storage import Directory, Storage

__all__ = ["Found", "Masks", "header_of", "masks_of", "values_of", "verify_granule"]

#: Gives the wet mask of a variable by its dimensions without time, True where wet; None for those
#: that are not masked.
Masks = Callable[[tuple[str, ...]], NDArray[np.bool_] | None]

#: The mask of each kind of point on the native grid.
_NATIVE_MASKS: Mapping[tuple[str, ...], str] = {
    ("tile", "j", "i"): "maskC",
    ("tile", "j", "i_g"): "maskW",
    ("tile", "j_g", "i"): "maskS",
}


@dataclass
class Found:
    """What was found wrong with one granule.

    Parameters
    ----------
    metadata, checksum, mask, valid_range : list of str
    covered : tuple of str, or None
        First and last instant that it covers.
    """

    metadata: list[str] = field(default_factory=list[str])
    checksum: list[str] = field(default_factory=list[str])
    mask: list[str] = field(default_factory=list[str])
    valid_range: list[str] = field(default_factory=list[str])
    covered: tuple[str, str] | None = None

    def problems(self) -> list[str]:
        """All of them."""
        return [*self.checksum, *self.metadata, *self.mask, *self.valid_range]


def verify_granule(storage: Storage, key: str, partition: str) -> list[str]:
    """What is wrong with one published granule; the wet mask is not looked at.

    Parameters
    ----------
    storage : Storage
    key, partition : str

    Returns
    -------
    list of str
        Empty where nothing is.
    """
    try:
        record = read_record(storage, key, partition)
    except OutputCorrupt as error:
        return [error.message]
    if record is None:
        return ["has no record"]
    found = values_of(storage, record)
    if found.checksum:
        return found.checksum
    return [*header_of(storage, record).metadata, *found.problems()]


def header_of(storage: Storage, record: Record) -> Found:
    """What is wrong with a granule's metadata, and the time that it covers."""
    found = Found()
    try:
        with _opened(storage, record) as granule:
            found.metadata = metadata_problems(granule, record.uri.rpartition("/")[2])
            found.covered = covered_time(granule)
    except InputUnusable as error:
        found.metadata = [error.message]
    return found


def values_of(storage: Storage, record: Record, masks: Masks | None = None) -> Found:
    """What is wrong with a granule's bytes and values, read a block of depth levels at a time.

    Parameters
    ----------
    storage : Storage
    record : Record
    masks : callable, optional
        Without it the mask is not looked at.
    """
    found = Found()
    if storage.stat(record.uri) is None:
        found.checksum = [f"{record.uri} is gone"]
        return found
    size, sha256 = storage.digest(record.uri)
    if sha256 != record.sha256:
        found.checksum = [
            f"sha256 {sha256[:12]} of {size} bytes, recorded {record.sha256[:12]} of {record.bytes}"
        ]
        return found
    try:
        with _opened(storage, record) as granule:
            for name, variable in granule.variables.items():
                if "valid_min" in variable.attrs or variable.encoding.get("_FillValue") is not None:
                    _look_at(str(name), variable, masks, found)
    except InputUnusable as error:
        found.checksum = [error.message]
    return found


def _opened(storage: Storage, record: Record) -> xr.Dataset:
    if isinstance(storage, Directory):
        return open_raw(storage.root / record.uri)
    return open_raw(storage.reader(record.uri))


def _look_at(name: str, variable: xr.Variable, masks: Masks | None, found: Found) -> None:
    """Compare one variable with its stated range and its wet mask."""
    if variable.dtype.kind != "f":
        return
    if variable.dims[:1] == ("time",) and variable.shape[0] != 1:
        return  # a series, which has no land
    timed = int(variable.dims[:1] == ("time",))
    wet = masks(tuple(map(str, variable.dims[timed:]))) if masks else None
    low, high, cells = np.inf, -np.inf, 0
    too_many = too_few = 0
    for origin, block in blocks(variable):
        values = block[0] if timed else block
        present = np.isfinite(values)
        cells += int(np.count_nonzero(present))
        if present.any():
            low = min(low, float(values[present].min()))
            high = max(high, float(values[present].max()))
        if wet is not None:
            index = tuple(
                slice(o, o + n) for o, n in zip(origin[timed:], values.shape, strict=True)
            )
            too_many += int(np.count_nonzero(present & ~wet[index]))
            too_few += int(np.count_nonzero(~present & wet[index]))
    if too_many:
        found.mask.append(f"{name} holds values in {too_many} dry cells")
    if too_few:
        found.mask.append(f"{name} holds none in {too_few} wet cells")
    said_low, said_high = variable.attrs.get("valid_min"), variable.attrs.get("valid_max")
    if not cells:
        found.valid_range.append(f"{name} holds no value")
    elif said_low is None or said_high is None:
        found.valid_range.append(f"{name} lacks valid_min or valid_max")
    elif (low, high) != (float(said_low), float(said_high)):
        found.valid_range.append(
            f"{name} lies between {low:g} and {high:g}, valid_min and valid_max say "
            f"{float(said_low):g} and {float(said_high):g}"
        )


def masks_of(grid: xr.Dataset, factors: xr.Dataset | None) -> Masks:
    """Wet masks of granules on one grid.

    Parameters
    ----------
    grid : Dataset
        The model's grid.
    factors : Dataset or None
        Mapping factors to the grid of latitude-longitude granules; None for native ones.
    """
    loaded: dict[str, NDArray[np.bool_]] = {}

    def mask(name: str, source: Mapping[Any, Any]) -> NDArray[np.bool_]:
        if name not in loaded:
            loaded[name] = source[name].values.astype(np.bool_)
        return loaded[name]

    def of(dims: tuple[str, ...]) -> NDArray[np.bool_] | None:
        flat = dims[-2:] == ("latitude", "longitude")
        horizontal = dims[-2:] if flat else dims[-3:]
        if flat and factors is not None:
            levels = mask("mask", factors)
            levels = levels.reshape(len(levels), *levels.shape[-2:])
        elif horizontal in _NATIVE_MASKS:
            levels = mask(_NATIVE_MASKS[horizontal], grid)
        else:
            return None
        if dims == horizontal:
            return levels[0]
        return levels if dims[0] in ("Z", "k", "k_l", "k_u") else None

    return of
