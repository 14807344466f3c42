"""History files of the model: one interface over classic NetCDF (mapped) and NetCDF4.

Values come as big-endian arrays whatever the file holds, since that is what the model writes:
of a classic file they are views of the mapped bytes, and nothing is copied.
"""

import mmap
import os
import re
import struct
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.calendar import model_months
from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.dor.history_source import HistorySource, history_source
from dor_ecco_assets.errors import InputMissing, InputUnusable

__all__ = [
    "History",
    "HistoryVariable",
    "SelectedMonths",
    "month_label",
    "monthly_fields",
    "numbers_of",
    "open_history",
    "select_months",
]

type Array = NDArray[Any]
type ModelMonth = tuple[int, int]

_ENDINGS = r"\.(?:nc\d?|cdf)"

#: Classic type codes and what they are in the file; 7 to 11 exist in CDF-5 only.
_TYPES = {
    1: "i1",
    2: "S1",
    3: ">i2",
    4: ">i4",
    5: ">f4",
    6: ">f8",
    7: "u1",
    8: ">u2",
    9: ">u4",
    10: ">i8",
    11: ">u8",
}
_CHARACTER = 2
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_CLASSIC = {b"CDF\x01": (4, 4), b"CDF\x02": (4, 8), b"CDF\x05": (8, 8)}
_HDF5 = b"\x89HDF\r\n\x1a\n"


def month_label(month: ModelMonth) -> str:
    """A model month as its files are called, such as ``0347-01``."""
    return f"{month[0]:04d}-{month[1]:02d}"


@dataclass(frozen=True)
class SelectedMonths:
    """The history files of a case.

    Parameters
    ----------
    present : dict of (model year, month) to str
        File names, in the order of time.
    missing : tuple of (model year, month)
    """

    present: dict[ModelMonth, str]
    missing: tuple[ModelMonth, ...]

    def missing_error(self, case: str, folder: object) -> InputMissing:
        """What to raise for the months that are not there."""
        names = ", ".join(map(month_label, self.missing))
        return InputMissing(
            f"{case}: {len(self.missing)} of {len(self.missing) + len(self.present)} months are "
            f"missing in {folder}: {names}; bring their history files, then run again",
            code="MonthsMissing",
        )


def select_months(place: Path | HistorySource, case: Case) -> SelectedMonths:
    """Find the monthly history files of a case among all else its folder holds.

    Parameters
    ----------
    place : Path or HistorySource
        ``ROOT/{case}/ocn/hist``. Daily and once-only streams and other runs are passed over.
    case : Case

    Returns
    -------
    SelectedMonths

    Raises
    ------
    InputMissing
        ``HistoryMissing``, if there is no such folder.
    InputUnusable
        ``DuplicateMonth`` or ``MonthOutOfRange``, naming the files.
    """
    expected = dict.fromkeys(model_months(case.injection_month, case.months))
    folder = history_source(place)
    present = _monthly_files(folder, case)
    extra = [file for month, file in present.items() if month not in expected]
    if extra:
        first, last = (month_label(month) for month in (min(expected), max(expected)))
        raise InputUnusable(
            f"{case.name}: {', '.join(extra)} in {folder} are out of range, the case covers "
            f"{first} to {last}; remove them",
            code="MonthOutOfRange",
            uri=str(folder),
        )
    return SelectedMonths(
        {month: present[month] for month in expected if month in present},
        tuple(month for month in expected if month not in present),
    )


def _monthly_files(folder: HistorySource, case: Case) -> dict[ModelMonth, str]:
    try:
        names = folder.names()
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissing(
            f"{case.name}: there is no folder {folder}; bring the history files of this case",
            code="HistoryMissing",
        ) from None
    # What stands between month and ending: nothing in a history file; `-DD` is a daily stream,
    # anything else a copy that some program made.
    name = re.compile(
        rf"{re.escape(case.name)}\.pop\.h\.(\d{{4}})-(\d{{2}})(?P<more>(?!-\d).*?){_ENDINGS}\Z"
    )
    present: dict[ModelMonth, str] = {}
    copies: list[str] = []
    for file in names:
        parts = name.match(file)
        if parts is None:
            continue
        month = (int(parts[1]), int(parts[2]))
        if parts["more"] or not file.endswith(".nc"):
            copies.append(file)
        else:
            present[month] = file
    if copies:
        raise InputUnusable(
            f"{case.name}: {', '.join(copies)} in {folder} are further files of a month; keep one "
            "file per month, called like the others, and remove these",
            code="DuplicateMonth",
            uri=str(folder),
        )
    return present


@dataclass(frozen=True)
class HistoryVariable:
    """What the header says of one variable.

    Parameters
    ----------
    name : str
    dtype : dtype
        Big-endian.
    dims : tuple of str
    shape : tuple of int
    attributes : dict
        Text as str, numbers as NumPy values of the file's type.
    begin : int
        Offset of the first byte in a classic file.
    """

    name: str
    dtype: np.dtype[Any]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    begin: int = 0

    @property
    def monthly(self) -> bool:
        """Whether it has the time axis."""
        return "time" in self.dims

    @property
    def fill(self) -> float | None:
        """Declared fill value, if any."""
        for name in ("_FillValue", "missing_value"):
            if name in self.attributes:
                return float(np.ravel(self.attributes[name])[0])
        return None


class History:
    """One open history file; see `open_history`.

    Attributes
    ----------
    path : Path
    dims : dict of str to int
    attributes : dict
    variables : dict of str to HistoryVariable
        In the order of the file.
    """

    def __init__(
        self,
        path: Path,
        dims: dict[str, int],
        attributes: dict[str, Any],
        variables: dict[str, HistoryVariable],
    ) -> None:
        self.path, self.dims, self.attributes = path, dims, attributes
        self.variables = variables

    def values(self, name: str) -> Array:
        """Values of one variable as stored, big-endian."""
        raise NotImplementedError

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Values of one variable in float64, NaN for declared and undeclared fill."""
        return numbers_of(self.variables[name], self.values(name))


#: Magnitudes from here on are a fill that no attribute declares.
UNDECLARED_FILL = 1e30


def numbers_of(variable: HistoryVariable, values: Array) -> NDArray[np.float64]:
    """Values of a variable in float64, NaN for declared and undeclared fill."""
    numbers = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        absent = np.abs(numbers) >= UNDECLARED_FILL
    if variable.fill is not None:
        absent |= numbers == variable.fill
    return np.where(absent, np.nan, numbers)


@contextmanager
def open_history(path: Path) -> Generator[History]:
    """Open one history file: classic, 64-bit-offset, CDF-5 or NetCDF4.

    Parameters
    ----------
    path : Path

    Yields
    ------
    History

    Raises
    ------
    InputUnusable
        ``HistoryTruncated``, with the size found and the size that the header asks for, before
        any value is read; ``HistoryUnreadable`` for anything that is no NetCDF file.
    """
    with path.open("rb") as file:
        magic = file.read(8)
        if magic[:4] in _CLASSIC:
            opened = _classic(path, file)
        elif magic == _HDF5:
            opened = None
        else:
            raise _unreadable(path, f"it begins with {magic!r}")
    if opened is None:
        with _netcdf4(path) as history:
            yield history
        return
    # The map is closed by the last view that is let go: closing it here would fail while the
    # caller holds one.
    yield opened


def _unreadable(path: Path, why: str) -> InputUnusable:
    return InputUnusable(
        f"{path}: not a NetCDF file that can be read ({why}); fetch it again",
        code="HistoryUnreadable",
        uri=str(path),
    )


def _truncated(path: Path, found: int, expected: int) -> InputUnusable:
    return InputUnusable(
        f"{path}: {found} bytes, its header asks for {expected}; fetch it again",
        code="HistoryTruncated",
        uri=str(path),
    )


# Classic formats


class _Classic(History):
    """Views of a mapped file."""

    def __init__(
        self,
        path: Path,
        header: "_Header",
        variables: dict[str, HistoryVariable],
        mapped: mmap.mmap,
        record_bytes: int,
    ) -> None:
        dims = {name: size or header.records for name, size in header.dims}
        super().__init__(path, dims, header.attributes, variables)
        self._mapped, self._record_bytes = mapped, record_bytes
        self._record = next((name for name, size in header.dims if size == 0), None)

    def values(self, name: str) -> Array:
        variable = self.variables[name]
        item = variable.dtype.itemsize
        strides = [item]
        for length in variable.shape[:0:-1]:
            strides.append(strides[-1] * length)
        strides = strides[::-1][: len(variable.shape)]
        if variable.dims[:1] == (self._record,):
            strides[0] = self._record_bytes
        return np.ndarray(
            variable.shape, variable.dtype, self._mapped, variable.begin, tuple(strides)
        )


@dataclass
class _Header:
    """What the header of a classic file says."""

    records: int
    dims: list[tuple[str, int]]
    attributes: dict[str, Any]
    variables: list[tuple[str, list[int], dict[str, Any], int, int]]


class _HeaderReader:
    """Reads a classic header field by field; sizes come in 4 or 8 bytes."""

    def __init__(self, data: bytes | mmap.mmap, count: int, offset: int) -> None:
        self._data, self._at = data, 4
        self._count, self._offset = count, offset

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if size < 0 or len(part) != size:
            raise EOFError
        self._at += size
        return part

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def size(self) -> int:
        return int.from_bytes(self.take(self._count), "big")

    def begin(self) -> int:
        return int.from_bytes(self.take(self._offset), "big")

    def padded(self, size: int) -> bytes:
        data = self.take(size)
        self.take(-size % 4)
        return data

    def text(self) -> str:
        return self.padded(self.size()).decode("utf-8", "surrogateescape")

    def items(self, tag: int) -> range:
        found, n = self.number(), self.size()
        if found not in (0, tag) or (found == 0 and n):
            raise ValueError(f"list tag {found}, expected {tag}")
        return range(n)

    def attributes(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for _ in self.items(_ATTRIBUTE):
            name, kind = self.text(), self.number()
            n, dtype = self.size(), np.dtype(_TYPES[kind])
            data = self.padded(n * dtype.itemsize)
            if kind == _CHARACTER:
                made[name] = data.decode("utf-8", "surrogateescape")
            else:
                numbers = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
                made[name] = numbers[0] if n == 1 else numbers
        return made

    def header(self) -> _Header:
        records = self.size()
        dims = [(self.text(), self.size()) for _ in self.items(_DIMENSION)]
        attributes = self.attributes()
        variables: list[tuple[str, list[int], dict[str, Any], int, int]] = []
        for _ in self.items(_VARIABLE):
            name = self.text()
            ids = [self.size() for _ in range(self.size())]
            about = self.attributes()
            kind = self.number()
            self.size()  # bytes of the variable, which wrap around in large files
            variables.append((name, ids, about, kind, self.begin()))
        return _Header(records, dims, attributes, variables)


def _classic(path: Path, file: Any) -> _Classic:
    found = os.fstat(file.fileno()).st_size
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    count, offset = _CLASSIC[mapped[:4]]
    try:
        header = _HeaderReader(mapped, count, offset).header()
        fixed, recorded = _laid_out(header)
    except EOFError:
        raise _unreadable(path, f"it ends inside its header, after {found} bytes") from None
    except (ValueError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise _unreadable(path, f"damaged header: {error}") from error
    sizes = [_padded_size(each) for each in recorded]
    # A single record variable is not padded, by the format's own exception.
    record_bytes = _size(recorded[0]) if len(recorded) == 1 else sum(sizes)
    if header.records == (1 << 8 * count) - 1:  # written as a stream: as many as there are
        first = min((each.begin for each in recorded), default=found)
        header.records = (found - first) // record_bytes if record_bytes else 0
    ends = [each.begin + _size(each) for each in fixed]
    if header.records:
        ends += [
            each.begin + (header.records - 1) * record_bytes + _size(each) for each in recorded
        ]
    if found < max(ends, default=0):
        raise _truncated(path, found, max(ends))
    variables = {
        each.name: each
        if each in fixed
        else HistoryVariable(
            each.name,
            each.dtype,
            each.dims,
            (header.records, *each.shape[1:]),
            each.attributes,
            each.begin,
        )
        for each in _in_order(header, fixed, recorded)
    }
    return _Classic(path, header, variables, mapped, record_bytes)


def _laid_out(header: _Header) -> tuple[list[HistoryVariable], list[HistoryVariable]]:
    """Variables without and with the record axis; the record axis is 1 long here."""
    fixed: list[HistoryVariable] = []
    recorded: list[HistoryVariable] = []
    for name, ids, about, kind, begin in header.variables:
        dims = tuple(header.dims[number][0] for number in ids)
        shape = tuple(header.dims[number][1] or 1 for number in ids)
        grows = bool(ids) and header.dims[ids[0]][1] == 0
        made = HistoryVariable(name, np.dtype(_TYPES[kind]), dims, shape, about, begin)
        (recorded if grows else fixed).append(made)
    return fixed, recorded


def _in_order(
    header: _Header, fixed: list[HistoryVariable], recorded: list[HistoryVariable]
) -> list[HistoryVariable]:
    by_name = {each.name: each for each in (*fixed, *recorded)}
    return [by_name[name] for name, *_ in header.variables]


def _size(variable: HistoryVariable) -> int:
    return int(np.prod(variable.shape, dtype=np.int64)) * variable.dtype.itemsize


def _padded_size(variable: HistoryVariable) -> int:
    return -(-_size(variable) // 4) * 4


# NetCDF4


class _Netcdf4(History):
    """Values read through the netCDF library."""

    def __init__(self, path: Path, file: Any, lock: Any) -> None:
        variables: dict[str, HistoryVariable] = {}
        for name, variable in file.variables.items():
            variable.set_auto_maskandscale(False)
            variable.set_auto_chartostring(False)
            dtype = np.dtype(variable.dtype)
            variables[name] = HistoryVariable(
                name, dtype.newbyteorder(">"), variable.dimensions, variable.shape, _about(variable)
            )
        dims = {name: len(dimension) for name, dimension in file.dimensions.items()}
        super().__init__(path, dims, _about(file), variables)
        self._file, self._lock = file, lock

    def values(self, name: str) -> Array:
        try:
            with self._lock:
                found = np.ascontiguousarray(self._file[name][...])
        except (OSError, RuntimeError) as error:
            raise _unreadable(self.path, f"{name}: {error}") from error
        found = found.reshape(self.variables[name].shape)
        return found.astype(found.dtype.newbyteorder(">"), copy=False)


def _about(holder: Any) -> dict[str, Any]:
    return {name: holder.getncattr(name) for name in holder.ncattrs()}


@contextmanager
def _netcdf4(path: Path) -> Generator[History]:
    import netCDF4
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    try:
        with NETCDF4_PYTHON_LOCK:
            file = netCDF4.Dataset(path)
            history = _Netcdf4(path, file, NETCDF4_PYTHON_LOCK)
    except (OSError, RuntimeError) as error:
        expected = _hdf5_size(path)
        found = path.stat().st_size
        if expected is not None and found < expected:
            raise _truncated(path, found, expected) from error
        raise _unreadable(path, str(error)) from error
    try:
        yield history
    finally:
        with NETCDF4_PYTHON_LOCK:
            file.close()


def _hdf5_size(path: Path) -> int | None:
    """End of file that an HDF5 superblock notes, if it is one of today's kinds."""
    with path.open("rb") as file:
        block = file.read(64)
    if len(block) < 64:
        return None
    version = block[8]
    at = {0: 40, 1: 44, 2: 28, 3: 28}.get(version)
    return None if at is None else int.from_bytes(block[at : at + 8], "little")


def monthly_fields(history: History) -> Mapping[str, HistoryVariable]:
    """Monthly variables other than the time axis itself."""
    return {
        name: variable
        for name, variable in history.variables.items()
        if variable.monthly and name not in ("time", "time_bound")
    }
