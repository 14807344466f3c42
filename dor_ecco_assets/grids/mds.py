"""MITgcm's MDS files: a ``.data`` of raw numbers and a ``.meta`` that describes it.

A pair is judged by its ``.meta`` and its size before any number is read, so that a truncated,
misplaced or foreign file costs a few hundred bytes to find. `write_mds` and `write_grid_file` write
the same layout to disk. Finding the files is the business of `model_output` and `llc_binaries`.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.grids.llc import N_TILES, as_tiles, compact_from_tiles, tiles_from_compact
from dor_ecco_assets.grids.mds_meta import (
    MdsMeta,
    MdsName,
    PeriodToken,
    Precision,
    assumed_meta,
    format_meta,
    match_mds_name,
    parse_mds_name,
    parse_meta,
)

__all__ = [
    "MdsMeta",
    "MdsName",
    "PeriodToken",
    "Precision",
    "assumed_meta",
    "check_pair",
    "check_shape",
    "check_size",
    "format_meta",
    "looks_byte_swapped",
    "match_mds_name",
    "parse_mds_name",
    "parse_meta",
    "read_compact",
    "read_field",
    "write_grid_file",
    "write_mds",
]


def check_pair(
    meta: MdsMeta,
    *,
    name: str,
    n_bytes: int,
    field: str,
    step: int | None,
    side: int,
    levels: int | None = None,
) -> None:
    """Judge a pair by its ``.meta`` and the size of its ``.data``, before the data are read.

    Parameters
    ----------
    meta : MdsMeta
    name : str
        URI of the ``.data`` file, for errors.
    n_bytes : int
        Its size.
    field : str
        Field that it must hold.
    step : int or None
        Step in its name; None for grid files, whose names have none.
    side : int
        Cells along a tile's edge, 90 on LLC90.
    levels : int, optional
        Depth levels of a 3-D field; None for a 2-D one.

    Raises
    ------
    InputUnusable
        With `name` as `uri` and one of the codes ``StepMismatch``, ``ShapeMismatch``,
        ``FieldNotInFile``, ``RecordMismatch``, ``PrecisionMismatch``, ``SizeMismatch``.
    """
    if step is not None and meta.step != step:
        raise InputUnusable(
            f"{name}: its .meta states timeStepNumber {meta.step}, expected {step} as in the "
            f"name; the two files are not a pair, fetch both again",
            code="StepMismatch",
            uri=name,
        )
    shape = (N_TILES * side, side) if levels is None else (levels, N_TILES * side, side)
    check_shape(meta, name, shape, f"llc{side}")
    _record_of(meta, field, name)
    check_size(meta, name, n_bytes)


def check_shape(meta: MdsMeta, name: str, expected: tuple[int, ...], grid: str) -> None:
    """Require one global array of the expected shape.

    Parameters
    ----------
    meta : MdsMeta
    name : str
        URI of the ``.data`` file, for errors.
    expected : tuple of int
        Slowest dimension first: ``(13 L, L)``, ``(k, 13 L, L)`` or ``(k, 1, 1)`` for a profile.
    grid : str
        What to call the grid in an error.

    Raises
    ------
    InputUnusable
        Code ``ShapeMismatch``; says so if it is the file of a single process.
    """
    partial = [dim for dim in meta.dims if dim[1:] != (1, dim[0])]
    if partial:
        size, first, last = partial[0]
        raise InputUnusable(
            f"{name}: holds indices {first} to {last} of {size}, the part of one process; join "
            f"the parts to one global file of shape {expected} for {grid}",
            code="ShapeMismatch",
            uri=name,
        )
    if meta.shape != expected:
        raise InputUnusable(
            f"{name}: its .meta gives shape {meta.shape}, expected {expected} for {grid}; bring "
            f"output of that grid, or set the grid to that of the output",
            code="ShapeMismatch",
            uri=name,
        )


def check_size(meta: MdsMeta, name: str, n_bytes: int) -> None:
    """Require as many bytes as shape, precision and number of records make.

    Parameters
    ----------
    meta : MdsMeta
    name : str
        URI of the ``.data`` file, for errors.
    n_bytes : int
        Its size.

    Raises
    ------
    InputUnusable
        Code ``PrecisionMismatch`` if the other precision would fit, else ``SizeMismatch`` with the
        number of whole records that are there.
    """
    if n_bytes == meta.n_bytes:
        return
    other: Precision = "float64" if meta.precision == "float32" else "float32"
    ratio = 2.0 if other == "float64" else 0.5
    if n_bytes == meta.n_bytes * ratio:
        raise InputUnusable(
            f"{name}: has {n_bytes} bytes, expected {meta.n_bytes} for {meta.precision} as its "
            f".meta states; {other} would fit: correct the .meta or fetch the pair again",
            code="PrecisionMismatch",
            uri=name,
        )
    raise InputUnusable(
        f"{name}: has {n_bytes} bytes, expected {meta.n_bytes} (shape {meta.shape} x "
        f"{meta.dtype.itemsize} bytes x {meta.n_records} records); "
        f"{n_bytes // meta.record_bytes} whole records are there; fetch it again",
        code="SizeMismatch",
        uri=name,
    )


def read_compact(
    data: bytes | bytearray | memoryview | Path, meta: MdsMeta, *, record: int = 0, name: str
) -> NDArray[Any]:
    """Read one record as it lies in the file.

    Parameters
    ----------
    data : bytes-like or Path
        The whole ``.data`` file; of a Path only the record asked for is read.
    meta : MdsMeta
    record : int, default 0
    name : str
        URI for errors.

    Returns
    -------
    ndarray of big-endian `meta.dtype`, shape `meta.shape`
        A read-only view of `data`; shape (k,) for a vertical profile.

    Raises
    ------
    InputUnusable
        As `check_size`.
    """
    offset = record * meta.record_bytes
    if isinstance(data, Path):
        check_size(meta, name, data.stat().st_size)
        with data.open("rb") as file:
            file.seek(offset)
            data, offset = file.read(meta.record_bytes), 0
    else:
        check_size(meta, name, memoryview(data).nbytes)
    raw = np.frombuffer(data, meta.dtype, prod(meta.shape), offset)
    return raw if meta.is_profile else raw.reshape(meta.shape)


def read_field(
    data: bytes | bytearray | memoryview | Path,
    meta: MdsMeta,
    *,
    field: str | None = None,
    name: str = "",
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Read one field as tiles.

    Parameters
    ----------
    data : bytes-like or Path
        The whole ``.data`` file; of a Path only the record asked for is read.
    meta : MdsMeta
    field : str, optional
        Chooses the record of a multi-field file; needed only there.
    name : str, optional
        URI for errors; the path if `data` is one.
    dtype : dtype, default float32
        Of the result; 64-bit numbers are rounded to it.

    Returns
    -------
    ndarray of `dtype`, native byte order, shape (13, L, L) or (k, 13, L, L)
        Shape (k,) for a vertical profile. Land is what the file holds, 0 in ECCO output.

    Raises
    ------
    InputUnusable
        Code ``SizeMismatch``, ``ShapeMismatch``, ``FieldNotInFile`` or ``RecordMismatch`` as
        `check_pair`, or ``EndianSuspect`` (see `looks_byte_swapped`).
    """
    name = name or (str(data) if isinstance(data, Path) else "MDS data")
    record = _record_of(meta, field, name) if field is not None or meta.n_records > 1 else 0
    raw = read_compact(data, meta, record=record, name=name)
    if looks_byte_swapped(raw):
        raise InputUnusable(
            f"{name}: read as big-endian {meta.precision}, its values are beyond 1e30, denormal or "
            f"scattered over the whole range of exponents; it was likely written little-endian (or "
            f"holds fill values only): convert it to big-endian",
            code="EndianSuspect",
            uri=name,
        )
    native = np.dtype(dtype).newbyteorder("=")
    with np.errstate(over="ignore"):  # what float32 cannot hold turns to inf, found as non-finite
        return raw.astype(native) if meta.is_profile else tiles_from_compact(raw, native)


def looks_byte_swapped(values: NDArray[Any]) -> bool:
    """Whether numbers look as if they had been read in the wrong byte order.

    Parameters
    ----------
    values : ndarray of floating point
        In the byte order they were read with; at most some 65,000 of them are looked at.

    Returns
    -------
    bool
        False for an array of zeros, which is the same in both orders.

    Notes
    -----
    Swapped, a number of few significant bits (1.0, 0.5) is denormal and others get a random
    exponent. So: all non-zero values exceed 1e30 or are denormal; or, given 32 non-zero ones,
    under 60 % have an exponent in 1e±15 as read (39 % would at random in float32), while over 95 %
    do when swapped.
    """
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // 65536)]
    sample = sample[sample != 0]
    if sample.size == 0:
        return False
    size = np.abs(sample)
    # Comparisons with NaN are False on both sides: NaN alone is a matter of data quality.
    if np.all((size > 1e30) | (size < np.finfo(size.dtype).tiny)):
        return True
    swapped = np.abs(sample.byteswap())
    as_read = np.mean((size > 1e-15) & (size < 1e15))
    as_swapped = np.mean((swapped > 1e-15) & (swapped < 1e15))
    return bool(sample.size >= 32 and as_read < 0.6 and as_swapped > 0.95)


def write_mds(
    folder: Path,
    field: str,
    period: PeriodToken,
    step: int,
    tiles: NDArray[Any],
    *,
    dtype: DTypeLike = ">f4",
    time_interval_s: tuple[float, ...] | None = None,
    missing_value: float | None = -999.0,
    others: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """Write one record as MITgcm does.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    field, period, step
        For the name.
    tiles : ndarray, shape (..., 13, L, L) or compact (..., 13 L, L)
    dtype : dtype, default ">f4"
        Precision; the file is big-endian whatever its byte order.
    time_interval_s : tuple of float, optional
        Two values for an average, one for a snapshot; left out if not given.
    missing_value : float, optional
    others : mapping of str to ndarray, optional
        Further fields of a multi-field file, one record each, after `field`.

    Returns
    -------
    Path
        Of the ``.data`` file; the ``.meta`` lies beside it.
    """
    return _write_pair(
        folder / MdsName(field, period, step).stem,
        {field: tiles, **(others or {})},
        dtype,
        step=step,
        time_interval_s=time_interval_s or (),
        missing_value=missing_value,
        fields=(field, *(others or {})),
    )


def write_grid_file(
    folder: Path, field: str, values: NDArray[Any], *, dtype: DTypeLike = ">f8"
) -> Path:
    """Write a grid field, ``XC.data`` and ``XC.meta``, as MITgcm does.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    field : str
    values : ndarray, shape (..., 13, L, L), compact (..., 13 L, L) or (k,) for a profile
    dtype : dtype, default ">f8"

    Returns
    -------
    Path
        Of the ``.data`` file.
    """
    return _write_pair(folder / field, {field: values}, dtype)


def _write_pair(
    stem: Path, records: Mapping[str, NDArray[Any]], dtype: DTypeLike, **details: Any
) -> Path:
    arrays = [
        np.asarray(v)[:, None, None] if np.ndim(v) == 1 else compact_from_tiles(as_tiles(v))
        for v in records.values()
    ]
    raw = np.stack(arrays).astype(np.dtype(dtype).newbyteorder(">"))
    meta = MdsMeta(
        dims=tuple((size, 1, size) for size in reversed(raw.shape[1:])),
        precision="float32" if raw.itemsize == 4 else "float64",
        n_records=len(arrays),
        **details,
    )
    stem.parent.mkdir(parents=True, exist_ok=True)
    data = stem.parent / f"{stem.name}.data"
    data.write_bytes(raw.tobytes())
    (stem.parent / f"{stem.name}.meta").write_text(format_meta(meta), encoding="ascii")
    return data


def _record_of(meta: MdsMeta, field: str | None, name: str) -> int:
    """Find the number of the record that holds a field."""
    if meta.fields and field not in meta.fields:
        raise InputUnusable(
            f"{name}: holds {', '.join(meta.fields)}, expected {field}; bring the "
            f"file that holds it, or mend fldList in its .meta if it does",
            code="FieldNotInFile",
            uri=name,
        )
    if meta.n_records != max(1, len(meta.fields)):
        raise InputUnusable(
            f"{name}: its .meta states {meta.n_records} records and lists "
            f"{', '.join(meta.fields) or 'no fields'}, expected one record per field; it is not "
            f"the output of a diagnostic",
            code="RecordMismatch",
            uri=name,
        )
    return meta.fields.index(field) if meta.fields and field else 0
