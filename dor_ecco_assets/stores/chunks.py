"""How the values of one variable lie in the chunks of an HDF5 file, and come to lie there.

Nothing here knows of datasets or headers: a variable comes in, lazy or not, and its chunks come
out in the order in which the file keeps them.
"""

import io
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, override

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.conventions import encode_cf_variable

__all__ = ["ChunkLayout", "TolerantFile", "chunk_layout", "encoded_cells", "region"]

type Array = npt.NDArray[Any]
type PlaneArray = npt.NDArray[np.uint8]
type Slices = tuple[slice, ...]

#: Elements of one block of a variable that has no chunks on disk: 8 MiB of float64.
_CONTIGUOUS_BLOCK_VALUES = 1 << 20

#: Encodings under which stored values differ from the dataset's by more than a change of type.
_PACKING = frozenset({"scale_factor", "add_offset", "_Unsigned"})


@dataclass(frozen=True)
class ChunkLayout:
    """How one variable's values lie in the file.

    Parameters
    ----------
    cell : tuple of int
        Shape of a chunk, or of the blocks in which an unchunked variable is written.
    dtype : dtype
        Type of the stored values.
    shuffled : bool or None
        Whether chunks are shuffled before they are deflated; None if they are not deflated.
    padding : scalar
        What an edge chunk holds beyond the array.
    fill : scalar or None
        What stands for NaN; None if NaN is stored as it is.
    """

    cell: tuple[int, ...]
    dtype: np.dtype[Any]
    shuffled: bool | None
    padding: Any
    fill: Any

    @property
    def planes_shape(self) -> tuple[int, int]:
        """Shape of one chunk's bytes before deflate: byte planes, or one row of values."""
        n = math.prod(self.cell)
        size = self.dtype.itemsize
        return (size, n) if self.shuffled else (1, size * n)

    def split(self, values: Array, planes: PlaneArray) -> None:
        """Put the bytes of one chunk into `planes`, with the fill value for NaN."""
        bits = self._chunk_bits(values)
        if not self.shuffled:
            planes[0] = self.filled(bits.view(self.dtype)).view(np.uint8)
            return
        from dor_ecco_assets.stores.planes import shuffle_planes

        shuffle_planes(bits, *self._nan_rule(), planes)

    def matches(self, values: Array, planes: PlaneArray) -> bool:
        """Whether these are the bytes of one chunk that holds exactly these values."""
        bits = self._chunk_bits(values)
        if not self.shuffled:
            return self.filled(bits.view(self.dtype)).tobytes() == planes.tobytes()
        from dor_ecco_assets.stores.planes import unlike_planes

        return unlike_planes(bits, *self._nan_rule(), planes) == 0

    def filled(self, values: Array) -> Array:
        """Values with the fill value for NaN."""
        if self.fill is None:
            return values
        return np.where(np.isnan(values), self.fill, values)

    def _chunk_bits(self, values: Array) -> Array:
        """Bit patterns of a whole chunk in a row, padded where the array ends inside it."""
        if values.shape != self.cell or not values.flags.c_contiguous:
            chunk = np.full(self.cell, self.padding, self.dtype)
            chunk[tuple(map(slice, values.shape))] = values
            values = chunk
        return values.reshape(-1).view(f"u{self.dtype.itemsize}")

    def _nan_rule(self) -> tuple[Any, Any, Any]:
        """Give the `magnitude`, `limit` and `fill` that the compiled passes take."""
        unsigned = np.dtype(f"u{self.dtype.itemsize}").type
        if self.fill is None:
            return unsigned(0), unsigned(0), unsigned(0)
        infinity = self.dtype.type(np.inf).view(unsigned)
        return unsigned(np.iinfo(unsigned).max >> 1), infinity, self.fill.view(unsigned)


def chunk_layout(target: Any, options: Mapping[str, Any]) -> ChunkLayout:
    """Read off an HDF5 dataset how its values are stored.

    Parameters
    ----------
    target : h5py.Dataset
    options : mapping
        The variable's encoding: the file knows a fill value, the encoding whether it stands
        for NaN.

    Returns
    -------
    ChunkLayout
    """
    properties = target.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    deflated = filters in (
        [h5py.h5z.FILTER_DEFLATE],
        [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE],
    )
    fill = None
    if target.dtype.kind == "f" and not _is_packed(options):
        missing = _missing_keys(options)
        fill = target.dtype.type(target.attrs[missing[0]].item()) if missing else None
    return ChunkLayout(
        cell=target.chunks or _contiguous_cell(target.shape),
        dtype=target.dtype,
        shuffled=len(filters) == 2 if deflated else None,
        padding=target.fillvalue,
        fill=None if fill is None or np.isnan(fill) else fill,
    )


def _is_packed(options: Mapping[str, Any]) -> bool:
    return any(options.get(key) is not None for key in _PACKING)


def _missing_keys(options: Mapping[str, Any]) -> list[str]:
    return [key for key in ("_FillValue", "missing_value") if options.get(key) is not None]


def _contiguous_cell(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks of whole trailing axes, as many values as `_CONTIGUOUS_BLOCK_VALUES` allows."""
    cell = list(shape)
    for axis in range(len(shape)):
        rest = math.prod(shape[axis + 1 :])
        cell[axis] = max(1, min(shape[axis], _CONTIGUOUS_BLOCK_VALUES // rest))
        if cell[axis] > 1:
            break
    return tuple(cell)


def encoded_cells(
    variable: xr.Variable, name: str, options: Mapping[str, Any], layout: ChunkLayout
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Every chunk's origin and stored values, in row-major order of the chunks.

    Parameters
    ----------
    variable : Variable
        Lazy values are computed once, region by region.
    name : str
        The variable's name, for xarray's messages.
    options : mapping
        The variable's encoding; packing is applied, NaN stays for the layout to fill.
    layout : ChunkLayout

    Yields
    ------
    origin : tuple of int
        Index of the chunk's first value.
    values : ndarray
        In the layout's type; smaller than a chunk where the array ends inside it.
    """
    for block in _read_blocks(variable.shape, layout.cell, variable.chunks):
        values = _encoded(variable[block], name, options, layout)
        for origin in itertools.product(
            *(
                range(part.start, part.stop, step)
                for part, step in zip(block, layout.cell, strict=True)
            )
        ):
            inside = tuple(o - part.start for o, part in zip(origin, block, strict=True))
            yield origin, values[region(inside, layout.cell)]


def _read_blocks(
    shape: tuple[int, ...],
    cell: tuple[int, ...],
    source_chunks: tuple[tuple[int, ...], ...] | None,
) -> Iterator[Slices]:
    """Regions to read at once: each chunk of the source once, chunks of the file in order.

    Along an axis a region ends where a chunk of the file and one of the source end together.
    Once an axis has several chunks of the file in one region, the later axes are read whole:
    the file's chunks then come in the same order however the source is divided.
    """
    axes: list[list[slice]] = []
    whole = False
    for axis, (size, step) in enumerate(zip(shape, cell, strict=True)):
        edges = {*range(0, size, step), size}
        if source_chunks is not None:
            edges &= {0, *itertools.accumulate(source_chunks[axis])}
        if whole:
            edges = {0, size}
        parts = [slice(*pair) for pair in itertools.pairwise(sorted(edges))]
        whole = whole or any(part.stop - part.start > step for part in parts)
        axes.append(parts)
    return itertools.product(*axes)


def _encoded(
    variable: xr.Variable, name: str, options: Mapping[str, Any], layout: ChunkLayout
) -> Array:
    """Values of a part of a variable as the file stores them, but for NaN."""
    values = variable.values
    kinds = values.dtype.kind + layout.dtype.kind
    as_is = kinds == "ff" or (values.dtype == layout.dtype and not _missing_keys(options))
    if _is_packed(options) or not as_is:
        part = xr.Variable(variable.dims, values, variable.attrs, dict(options))
        values = encode_cf_variable(part, name=name).values
    return values.astype(layout.dtype, copy=False)


def region(origin: tuple[int, ...], shape: tuple[int, ...]) -> Slices:
    """Slices of the block of this shape that begins at `origin`."""
    return tuple(slice(start, start + size) for start, size in zip(origin, shape, strict=True))


class TolerantFile(io.FileIO):
    """File that keeps its first write error to itself until asked.

    HDF5 cannot close a file whose metadata it fails to write: the handle leaks and the library
    tries again when the process ends. It therefore never sees a failure; `raise_fault` tells
    the caller, and the file is not to be used.
    """

    _fault: OSError | None = None

    def raise_fault(self) -> None:
        """Raise the first error a write or truncation met, if there was one."""
        if self._fault is not None:
            raise OSError(self._fault.errno, self._fault.strerror, str(self.name))

    @override
    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            # The system may take only a part: at most 2 GiB, or what the disk has left.
            while self._fault is None and done < len(view):
                done += super().write(view[done:])
        except OSError as error:
            self._fault = error
        return len(view)

    @override
    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._fault = self._fault or error
            return self.tell() if size is None else size

    @override
    def readinto(self, buffer: Any, /) -> int:
        # Zeros beyond the end: what a failed write left out, and as HDF5's own driver reads.
        view = memoryview(buffer).cast("B")
        n = super().readinto(view) or 0
        view[n:] = bytes(len(view) - n)
        return len(view)
