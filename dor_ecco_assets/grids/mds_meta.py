"""What the names and the ``.meta`` files of MITgcm's MDS output say.

Text in, values out, and back: no file is opened here.
"""

import re
from dataclasses import dataclass
from math import prod
from pathlib import PurePosixPath
from typing import Any, Literal, cast, get_args

import numpy as np

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.grids.llc import N_TILES

__all__ = [
    "MdsMeta",
    "MdsName",
    "PeriodToken",
    "Precision",
    "assumed_meta",
    "format_meta",
    "match_mds_name",
    "parse_mds_name",
    "parse_meta",
]

Precision = Literal["float32", "float64"]
PeriodToken = Literal["day_mean", "mon_mean", "day_inst", "day_snap", "mon_snap", "snap"]


@dataclass(frozen=True)
class MdsName:
    """What the name of a file of model output says; `str` gives the name back.

    Parameters
    ----------
    field : str
        May contain underscores (``GM_PsiX``, ``Um_dPHdx``).
    period : str
        Period token, such as ``mon_mean``.
    step : int
    ext : {"data", "meta"}
    """

    field: str
    period: PeriodToken
    step: int
    ext: Literal["data", "meta"] = "data"

    @property
    def stem(self) -> str:
        """The name that the two files of a pair share."""
        return f"{self.field}_{self.period}.{self.step:010d}"

    def __str__(self) -> str:
        return f"{self.stem}.{self.ext}"


# Field names contain underscores themselves, so the period is what stands before the dot; the field
# is as short as that allows, lest SSH_day_snap be read as the field SSH_day and the period snap.
_NAME = re.compile(
    rf"(?P<field>.+?)_(?P<period>{'|'.join(get_args(PeriodToken))})"
    r"\.(?P<step>\d{10})\.(?P<ext>data|meta)"
)


def match_mds_name(path: str) -> MdsName | None:
    """Parse the last part of a path; None if it does not name a file of model output."""
    found = _NAME.fullmatch(PurePosixPath(path).name)
    if found is None:
        return None
    return MdsName(
        found["field"],
        cast("PeriodToken", found["period"]),
        int(found["step"]),
        cast('Literal["data", "meta"]', found["ext"]),
    )


def parse_mds_name(path: str) -> MdsName:
    """Parse the last part of a path, which must name a file of model output.

    Raises
    ------
    InputUnusable
        Code ``NotAnMdsName``.
    """
    name = match_mds_name(path)
    if name is None:
        raise InputUnusable(
            f"{path}: not a name of model output; expected "
            f"<FIELD>_<period>.<ten-digit step>.data or .meta, with a period of "
            f"{', '.join(get_args(PeriodToken))}",
            code="NotAnMdsName",
            uri=path,
        )
    return name


@dataclass(frozen=True)
class MdsMeta:
    """Contents of a ``.meta`` file.

    Parameters
    ----------
    dims : tuple of (size, first, last)
        Fastest dimension first; first and last count from 1 and differ from 1 and size only in
        the files of single processes.
    precision : {"float32", "float64"}
    n_records : int
        Multi-field files hold one field per record.
    step : int or None
    time_interval_s : tuple of float
        Two values for an average, one for a snapshot, none where the file states none.
    missing_value : float or None
        Informative only: land holds 0.
    fields : tuple of str
        Without their padding; empty where the file lists none.
    """

    dims: tuple[tuple[int, int, int], ...]
    precision: Precision
    n_records: int = 1
    step: int | None = None
    time_interval_s: tuple[float, ...] = ()
    missing_value: float | None = None
    fields: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record, slowest dimension first."""
        return tuple(size for size, _, _ in reversed(self.dims))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numbers as they lie in the file, big-endian."""
        return np.dtype(">f4" if self.precision == "float32" else ">f8")

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def n_bytes(self) -> int:
        """Bytes that the ``.data`` file must have."""
        return self.record_bytes * self.n_records

    @property
    def is_profile(self) -> bool:
        """Whether it describes one vertical column instead of a horizontal field."""
        return len(self.dims) == 3 and self.dims[0][0] == self.dims[1][0] == 1


def parse_meta(text: str | bytes, name: str) -> MdsMeta:
    """Read the text of a ``.meta`` file.

    Parameters
    ----------
    text : str or bytes
        ``key = [ values ];`` statements, ``fldList`` in braces; white space, line breaks and
        trailing commas are free, keys that are not known are ignored.
    name : str
        File or URI, for errors.

    Returns
    -------
    MdsMeta

    Raises
    ------
    InputUnusable
        Code ``MetaUnreadable``, if a statement is missing, cut off or contradicts another; code
        ``PrecisionMismatch``, if `dataprec` is neither float32 nor float64.
    """
    found = _Statements(text, name)
    fields = found.words("fldList")
    n_fields = found.integer("nFlds", len(fields))
    if n_fields != len(fields):
        raise _unreadable(name, f"nFlds is {n_fields}, fldList names {', '.join(fields) or 'none'}")
    missing_values = found.numbers("missingValue")
    return MdsMeta(
        dims=found.dims(),
        precision=found.precision(),
        n_records=found.integer("nrecords", 1),
        step=found.integer("timeStepNumber", None),
        time_interval_s=found.numbers("timeInterval"),
        missing_value=missing_values[0] if missing_values else None,
        fields=fields,
    )


def format_meta(meta: MdsMeta) -> str:
    """Write the text of a ``.meta`` file the way MITgcm lays it out."""
    rows = ",\n".join(f"{size:6d},{first:5d},{last:5d}" for size, first, last in meta.dims)
    lines = [
        f" nDims = [ {len(meta.dims):3d} ];",
        f" dimList = [\n{rows}\n ];",
        f" dataprec = [ '{meta.precision}' ];",
        f" nrecords = [ {meta.n_records:5d} ];",
    ]
    if meta.step is not None:
        lines.append(f" timeStepNumber = [ {meta.step:10d} ];")
    if meta.time_interval_s:
        values = "".join(f"{value:20.12E}" for value in meta.time_interval_s)
        lines.append(f" timeInterval = [{values} ];")
    if meta.missing_value is not None:
        lines.append(f" missingValue = [ {meta.missing_value:21.14E} ];")
    if meta.fields:
        names = " ".join(f"'{field:<8s}'" for field in meta.fields)
        lines += [f" nFlds = [ {len(meta.fields):4d} ];", f" fldList = {{\n {names}\n }};"]
    return "\n".join(lines) + "\n"


def assumed_meta(
    *,
    side: int,
    levels: int | None = None,
    precision: Precision = "float32",
    field: str | None = None,
    step: int | None = None,
    time_interval_s: tuple[float, ...] = (),
) -> MdsMeta:
    """Describe a ``.data`` file that came without its ``.meta``, for one record on a LLC grid."""
    sizes = (side, N_TILES * side) if levels is None else (side, N_TILES * side, levels)
    return MdsMeta(
        dims=tuple((size, 1, size) for size in sizes),
        precision=precision,
        step=step,
        time_interval_s=time_interval_s,
        fields=() if field is None else (field,),
    )


_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STATEMENT = re.compile(r"\s*(\w+)\s*=\s*(?:\[([^\[\]]*)\]|\{([^{}]*)\})\s*;")
_QUOTED = re.compile(r"'([^']*)'")


class _Statements:
    """The statements of a ``.meta`` text, by key; every character must belong to one."""

    def __init__(self, text: str | bytes, name: str) -> None:
        self.name = name
        self.values: dict[str, str] = {}
        try:
            text = _COMMENT.sub(" ", text if isinstance(text, str) else text.decode("ascii"))
        except UnicodeDecodeError:
            raise _unreadable(name, "it is not text") from None
        at = 0
        while text[at:].strip():
            found = _STATEMENT.match(text, at)
            if found is None:
                rest = " ".join(text[at:].split())
                raise _unreadable(name, f"no statement can be read from {rest[:40]!r} on")
            self.values[found[1]] = found[2] if found[2] is not None else found[3]
            at = found.end()
        for key in ("nDims", "dimList", "dataprec"):
            if key not in self.values:
                there = ", ".join(self.values) or "nothing"
                raise _unreadable(name, f"{key} is missing, found {there}")

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in _QUOTED.findall(self.values.get(key, "")))

    def numbers(self, key: str) -> tuple[float, ...]:
        text = self.values.get(key, "")
        try:
            # Fortran may write the exponent of a double with a D.
            return tuple(float(v.upper().replace("D", "E")) for v in re.findall(r"[^\s,]+", text))
        except ValueError:
            raise _unreadable(
                self.name, f"{key} holds {' '.join(text.split())!r}, not numbers"
            ) from None

    def integers(self, key: str) -> list[int]:
        numbers = self.numbers(key)
        if not all(number.is_integer() and number >= 0 for number in numbers):
            raise _unreadable(self.name, f"{key} holds {numbers}, not whole numbers")
        return [int(number) for number in numbers]

    def integer[Absent: int | None](self, key: str, absent: Absent) -> int | Absent:
        if key not in self.values:
            return absent
        numbers = self.integers(key)
        if len(numbers) != 1:
            raise _unreadable(self.name, f"{key} holds {numbers}, expected one number")
        return numbers[0]

    def dims(self) -> tuple[tuple[int, int, int], ...]:
        n_dims, sizes = self.integers("nDims"), self.integers("dimList")
        if not n_dims or n_dims[0] < 1 or len(sizes) != 3 * n_dims[0] or min(sizes) < 1:
            raise _unreadable(
                self.name, f"nDims {n_dims} wants three positive numbers each, dimList is {sizes}"
            )
        return tuple((sizes[n], sizes[n + 1], sizes[n + 2]) for n in range(0, len(sizes), 3))

    def precision(self) -> Precision:
        found = self.words("dataprec")
        if found not in (("float32",), ("float64",)):
            raise InputUnusable(
                f"{self.name}: dataprec is {', '.join(found) or 'empty'}, expected float32 or "
                f"float64; correct the .meta to the one that the size of the .data fits",
                code="PrecisionMismatch",
                uri=self.name,
            )
        return cast("Precision", found[0])


def _unreadable(name: str, why: str) -> InputUnusable:
    return InputUnusable(
        f"{name}: cannot be read as an MDS .meta file: {why}; fetch it again",
        code="MetaUnreadable",
        uri=name,
    )
