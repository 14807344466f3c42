"""NetCDF classic files with 64-bit offsets, laid out once and written again and again.

The model's own format, big-endian and uncompressed. A layout holds the bytes of a whole file;
what changes from file to file is assigned through views of those bytes, then written in one go.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError

__all__ = ["ClassicLayout", "ClassicVariable"]

#: Type codes of the format, by NumPy kind and size.
_TYPES = {"i4": 4, "f4": 5, "f8": 6}
_DIMENSION, _VARIABLE, _ATTRIBUTE, _CHARACTER = 10, 11, 12, 2

type Attribute = str | int | float | np.float32 | np.float64 | np.int32


@dataclass(frozen=True)
class ClassicVariable:
    """One variable.

    Parameters
    ----------
    name : str
    dtype : str
        ``i4``, ``f4`` or ``f8``.
    dims : sequence of str
        The unlimited one first, if at all.
    attributes : mapping
    values : array_like, optional
        Written into the layout; zeros if absent.
    """

    name: str
    dtype: str
    dims: Sequence[str]
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])
    values: Any = None


class ClassicLayout:
    """Bytes of one file, with a view of every variable.

    Parameters
    ----------
    dims : mapping of str to int or None
        Sizes; None is the unlimited dimension.
    variables : sequence of ClassicVariable
        Those of the unlimited dimension may stand anywhere; they are laid out last.
    attributes : mapping
        Global attributes.
    records : int
        Length of the unlimited dimension.

    Attributes
    ----------
    views : dict of str to ndarray
        Writable big-endian views; a record variable's first axis is the record.
    """

    def __init__(
        self,
        dims: Mapping[str, int | None],
        variables: Sequence[ClassicVariable],
        attributes: Mapping[str, Attribute],
        records: int = 1,
    ) -> None:
        numbers = {name: number for number, name in enumerate(dims)}
        unlimited = {name for name, size in dims.items() if size is None}
        unknown = {name for each in variables for name in each.dims} - numbers.keys()
        if unknown:
            raise ConfigurationError(f"variables use unknown dimensions {sorted(unknown)}")
        fixed = [each for each in variables if not unlimited & set(each.dims)]
        recorded = [each for each in variables if unlimited & set(each.dims)]

        def shape(each: ClassicVariable) -> tuple[int, ...]:
            return tuple(size for name in each.dims if (size := dims[name]) is not None)

        def size(each: ClassicVariable) -> int:
            return int(np.prod(shape(each), dtype=np.int64)) * int(each.dtype[1])

        def header(begins: Mapping[str, int]) -> bytes:
            parts = [b"CDF\x02", struct.pack(">i", records)]
            parts.append(struct.pack(">ii", _DIMENSION, len(dims)))
            parts += [_text(name) + struct.pack(">i", length or 0) for name, length in dims.items()]
            parts.append(_attributes(attributes))
            parts.append(struct.pack(">ii", _VARIABLE, len(variables)))
            for each in (*fixed, *recorded):
                parts.append(_text(each.name))
                parts.append(struct.pack(">i", len(each.dims)))
                parts += [struct.pack(">i", numbers[name]) for name in each.dims]
                parts.append(_attributes(each.attributes))
                stored = min(size(each), 2**32 - 4)
                parts.append(struct.pack(">iIq", _TYPES[each.dtype], stored, begins[each.name]))
            return b"".join(parts)

        at = len(header({each.name: 0 for each in variables}))
        begins: dict[str, int] = {}
        for each in (*fixed, *recorded):
            begins[each.name] = at
            at += size(each)
        first = begins[recorded[0].name] if recorded else at
        step = at - first
        head = header(begins)
        self._bytes = bytearray(first + records * step)
        self._bytes[: len(head)] = head
        self.views: dict[str, NDArray[Any]] = {}
        for each in (*fixed, *recorded):
            inner = np.dtype(f">{each.dtype}")
            view: NDArray[Any] = np.ndarray(
                (records, *shape(each)) if each in recorded else shape(each),
                inner,
                self._bytes,
                begins[each.name],
                (step, *_strides(shape(each), inner.itemsize))
                if each in recorded
                else _strides(shape(each), inner.itemsize),
            )
            self.views[each.name] = view
            if each.values is not None:
                view[...] = each.values

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._bytes)

    def write(self, path: Path) -> Path:
        """Write the bytes as they are now; returns `path`."""
        with path.open("wb") as file:
            file.write(self._bytes)
        return path


def _strides(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    sizes = [item]
    for length in shape[:0:-1]:
        sizes.append(sizes[-1] * length)
    return tuple(reversed(sizes)) if shape else ()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">i", len(data)) + _padded(data)


def _attributes(attributes: Mapping[str, Attribute]) -> bytes:
    if not attributes:
        return struct.pack(">ii", 0, 0)
    parts = [struct.pack(">ii", _ATTRIBUTE, len(attributes))]
    for name, value in attributes.items():
        parts.append(_text(name))
        if isinstance(value, str):
            parts.append(struct.pack(">i", _CHARACTER) + _text(value))
            continue
        number = np.asarray(value)
        kind = f"{number.dtype.kind}{min(number.dtype.itemsize, 8)}"
        kind = "i4" if kind == "i8" else kind
        data = number.astype(f">{kind}").tobytes()
        parts.append(struct.pack(">ii", _TYPES[kind], 1) + _padded(data))
    return b"".join(parts)
