"""What differs between two granules, or two folders of them; and the hash of what a granule says.

Values are read a block at a time, so that 3-D variables of any length fit in memory.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.storage.base import sha256_of_file

__all__ = [
    "Comparison",
    "Tolerance",
    "ValueDifference",
    "blocks",
    "compare",
    "content_hash",
    "granules_below",
    "is_dated",
    "open_raw",
]

#: Cells of a variable that are held at once; larger variables are cut along their first long axis.
_BLOCK_CELLS = 1 << 21


def is_dated(name: str) -> bool:
    """Whether a global attribute tells when or as which copy a granule was made."""
    return name == "uuid" or name.startswith("date_")


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may lie apart: ``atol + rtol * |second|``; NaN equals NaN."""

    rtol: float = 0.0
    atol: float = 0.0


@dataclass(frozen=True)
class ValueDifference:
    """How the values of one variable differ.

    Parameters
    ----------
    name : str
    kind : {"variable", "coordinate"}
    cells : int
        Cells that differ beyond the tolerance, one of the two being NaN included.
    missing : int
        Those of them where one of the two is NaN.
    max_abs, max_rel : float or None
        Largest difference, and largest relative to the second, among cells where both are numbers.
    where : mapping of str to int, or None
        Index along each dimension of the largest difference, else of the first missing value.
    """

    name: str
    kind: str
    cells: int
    missing: int
    max_abs: float | None
    max_rel: float | None
    where: Mapping[str, int] | None


@dataclass(frozen=True)
class Comparison:
    """What was found between two files.

    Parameters
    ----------
    same_bytes : bool
        The files hash alike and were not looked into.
    structure : tuple of str
        Variables, dimensions and types that one has and the other has not.
    attributes : tuple of str
    values : tuple of ValueDifference
    """

    same_bytes: bool = False
    structure: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    values: tuple[ValueDifference, ...] = field(default=())

    @property
    def equal(self) -> bool:
        """Whether nothing differs beyond the tolerance."""
        return not (self.structure or self.attributes or self.values)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"equal": self.equal, **asdict(self)}


def compare(
    first: Path, second: Path, tolerance: Tolerance | None = None, *, ignore_dates: bool = False
) -> Comparison:
    """What differs between two NetCDF files.

    Parameters
    ----------
    first, second : Path
    tolerance : Tolerance, optional
        For values and for attributes that are numbers; none if not given.
    ignore_dates : bool
        Leave out ``uuid`` and the attributes that begin with ``date_``.

    Raises
    ------
    InputMissing
        Code ``NoSuchFile``.
    InputUnusable
        Code ``NotNetcdf``, if a file that differs from the other cannot be read.
    """
    for path in (first, second):
        if not path.is_file():
            raise InputMissing(f"there is no file {path}", code="NoSuchFile")
    same_size = first.stat().st_size == second.stat().st_size
    if same_size and sha256_of_file(first) == sha256_of_file(second):
        return Comparison(same_bytes=True)
    allowed = tolerance or Tolerance()
    with open_raw(first) as one, open_raw(second) as other:
        shared = [name for name in one.variables if name in other.variables]
        alike = [name for name in shared if _layout(one, name) == _layout(other, name)]
        try:
            values = [_values(one, other, str(name), allowed) for name in alike]
        except OSError as error:
            raise InputUnusable(
                f"{first} or {second} cannot be read to its end ({error}); fetch or make it again",
                code="NotNetcdf",
                uri=str(first),
            ) from error
        return Comparison(
            structure=tuple(_structure(one, other)),
            attributes=tuple(_attributes(one, other, map(str, shared), allowed, ignore_dates)),
            values=tuple(found for found in values if found is not None),
        )


def granules_below(place: Path) -> dict[str, Path]:
    """NetCDF files below a folder by relative name, in name order; scratch and hidden ones not.

    Raises
    ------
    InputMissing
        Code ``NoSuchFile``, if there is no such folder.
    """
    if not place.is_dir():
        raise InputMissing(f"there is no folder {place}", code="NoSuchFile")
    found = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*.nc"))}
    return {name: path for name, path in found.items() if "/." not in f"/{name}"}


def content_hash(source: Path | BinaryIO) -> str:
    """SHA-256 of what a granule says: decoded values and attributes, but for uuid and dates.

    Parameters
    ----------
    source : Path or binary file

    Returns
    -------
    str
        The same for files that differ only in compression, chunks, order, byte order or the bits
        of their NaNs.

    Raises
    ------
    InputUnusable
        Code ``NotNetcdf``.
    """
    running = hashlib.sha256()

    def add(*parts: Any) -> None:
        running.update(json.dumps(parts, sort_keys=True).encode() + b"\n")

    with open_raw(source) as granule:
        for name in sorted(map(str, granule.variables)):
            variable = granule.variables[name]
            add(name, *_layout(granule, name), _plain_attributes(variable.attrs))
            for _, values in blocks(variable):
                running.update(_canonical(values))
        add({k: v for k, v in _plain_attributes(granule.attrs).items() if not is_dated(k)})
    return running.hexdigest()


def open_raw(source: Path | BinaryIO) -> xr.Dataset:
    """A NetCDF file with fill values as NaN and all else as it is stored, times as numbers.

    Raises
    ------
    InputUnusable
        Code ``NotNetcdf``.
    """
    engine: Any = "netcdf4" if isinstance(source, Path) else "h5netcdf"
    try:
        return xr.open_dataset(
            source, engine=engine, decode_times=False, decode_coords=False, cache=False
        )
    except (OSError, ValueError) as error:
        name = str(getattr(source, "name", source))
        raise InputUnusable(
            f"{name} cannot be read as NetCDF ({error}); fetch or make it again",
            code="NotNetcdf",
            uri=name,
        ) from error


def blocks(variable: xr.Variable) -> Iterator[tuple[tuple[int, ...], np.ndarray[Any, Any]]]:
    """Values of a variable by blocks of whole chunks: origin and values.

    Parameters
    ----------
    variable : Variable
        Lazy ones are read as they are asked for.
    """
    long = next((axis for axis, size in enumerate(variable.shape) if size > 1), None)
    if long is None or variable.size <= _BLOCK_CELLS:
        yield (0,) * variable.ndim, variable.values
        return
    chunks = variable.encoding.get("chunksizes")
    chunk = max(1, chunks[long]) if chunks else 1
    cells = variable.size // variable.shape[long] * chunk
    step = chunk * max(1, _BLOCK_CELLS // cells)
    for start in range(0, variable.shape[long], step):
        index = (*(slice(None),) * long, slice(start, start + step))
        origin = tuple(start if axis == long else 0 for axis in range(variable.ndim))
        yield origin, variable[index].values


def _layout(granule: xr.Dataset, name: Any) -> tuple[list[str], list[int], str]:
    variable = granule.variables[name]
    return list(map(str, variable.dims)), list(variable.shape), variable.dtype.str[1:]


def _canonical(values: np.ndarray[Any, Any]) -> bytes:
    """Bytes of a block, little-endian, every NaN with the same bits."""
    if values.dtype.kind not in "biuf":
        return json.dumps(values.tolist(), default=str).encode()
    plain = values.astype(values.dtype.newbyteorder("<"))
    if plain.dtype.kind == "f":
        plain[np.isnan(plain)] = np.nan
    return plain.tobytes()


def _plain_attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in attributes.items()}


def _plain(value: Any) -> Any:
    """An attribute as text, or its type with its numbers."""
    if isinstance(value, str):
        return value
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind in "OSU":
        return [str(item) for item in array.tolist()]
    return [array.dtype.str[1:], *array.tolist()]


def _structure(one: xr.Dataset, other: xr.Dataset) -> Iterator[str]:
    for a, b, side in ((one, other, "first"), (other, one, "second")):
        yield from (f"{name} is only in the {side}" for name in a.variables if name not in b)
    for name in one.variables:
        if name in other.variables and _layout(one, name) != _layout(other, name):
            texts = [
                f"{kind} ({', '.join(f'{d}: {n}' for d, n in zip(dims, shape, strict=True))})"
                for dims, shape, kind in (_layout(one, name), _layout(other, name))
            ]
            yield f"{name} is {texts[0]} in the first, {texts[1]} in the second"


def _attributes(
    one: xr.Dataset, other: xr.Dataset, shared: Any, allowed: Tolerance, ignore_dates: bool
) -> Iterator[str]:
    holders = [("", one.attrs, other.attrs)]
    holders += [(f"{n}:", one.variables[n].attrs, other.variables[n].attrs) for n in shared]
    for prefix, a, b in holders:
        for name in sorted({*map(str, a), *map(str, b)}):
            if not prefix and ignore_dates and is_dated(name):
                continue
            if name not in b or name not in a:
                yield f"{prefix}{name} is only in the {'first' if name in a else 'second'}"
            elif not _same_attribute(_plain(a[name]), _plain(b[name]), allowed):
                said = _short(a[name]), _short(b[name])
                yield f"{prefix}{name}: {said[0]} in the first, {said[1]} in the second"


def _same_attribute(a: Any, b: Any, allowed: Tolerance) -> bool:
    if a == b or isinstance(a, str) or isinstance(b, str):
        return a == b
    numbers = len(a) == len(b) and a[0] == b[0] and a[0][0] in "iuf"
    return numbers and bool(np.allclose(a[1:], b[1:], allowed.rtol, allowed.atol, equal_nan=True))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _values(
    one: xr.Dataset, other: xr.Dataset, name: str, allowed: Tolerance
) -> ValueDifference | None:
    """How the values of one variable differ; None where they do not."""
    first, second = one.variables[name], other.variables[name]
    cells = missing = 0
    max_abs = max_rel = None
    where: tuple[int, ...] | None = None
    first_missing: tuple[int, ...] | None = None
    for origin, a in blocks(first):
        index = tuple(slice(o, o + n) for o, n in zip(origin, a.shape, strict=True))
        b = second[index].values
        if a.dtype.kind not in "biuf":
            cells += int(np.count_nonzero(a != b))
            continue
        if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        gone = np.isnan(a) != np.isnan(b)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.where(a == b, 0.0, np.abs(a - b))
            beyond = gap > allowed.atol + allowed.rtol * np.abs(b)
            relative = np.where(gap > 0, gap / np.abs(b), 0.0)
        cells += int(np.count_nonzero(beyond | gone))
        if gone.any():
            missing += int(np.count_nonzero(gone))
            first_missing = first_missing or _place(gone, int(np.argmax(gone)), origin)
        gap = np.where(beyond, gap, 0.0)
        largest = int(np.argmax(gap))
        if gap.flat[largest] > (max_abs or 0.0):
            max_abs, where = float(gap.flat[largest]), _place(gap, largest, origin)
        if beyond.any():
            max_rel = max(max_rel or 0.0, float(relative[beyond].max()))
    if not cells:
        return None
    found = where or first_missing
    return ValueDifference(
        name,
        "coordinate" if name in one.dims or name in _auxiliary(one) else "variable",
        cells,
        missing,
        max_abs,
        max_rel,
        None if found is None else dict(zip(map(str, first.dims), found, strict=True)),
    )


def _place(cells: np.ndarray[Any, Any], flat: int, origin: tuple[int, ...]) -> tuple[int, ...]:
    found = np.unravel_index(flat, cells.shape)
    return tuple(int(n) + o for n, o in zip(found, origin, strict=True))


def _auxiliary(granule: xr.Dataset) -> set[str]:
    """Names of auxiliary coordinates and bounds that variables refer to."""
    found: set[str] = set()
    for variable in granule.variables.values():
        for reference in ("coordinates", "bounds"):
            found.update(str(variable.attrs.get(reference, "")).split())
    found.update(str(granule.attrs.get("coordinates", "")).split())
    return found
