"""Datasets of Icechunk sessions whose chunks are those of NetCDF files, read with less work.

The values are those that xarray and Zarr give by themselves. Deflated chunks are inflated by
libdeflate, at a sixth of zlib's time, and the number that stands for none among floats becomes NaN
where it was read to, not in a copy. Importing this module imports Zarr, so it is imported where it
is used.
"""

import math
from typing import Any

import deflate
import numpy as np
import xarray as xr
import zarr
from xarray.backends.common import BackendArray
from xarray.core import indexing
from zarr.codecs.numcodecs import Zlib
from zarr.registry import register_codec

__all__ = ["decoded", "open_numbers"]

_ZLIB = "numcodecs.zlib"
_FILL = ("_FillValue", "missing_value")
_PACKING = ("scale_factor", "add_offset", "_Unsigned")


class FastZlib(Zlib):
    """Zarr's ``numcodecs.zlib``, whose chunks libdeflate inflates."""

    def _decode_sync(self, chunk_data: Any, chunk_spec: Any) -> Any:
        size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        try:
            plain = deflate.zlib_decompress(chunk_data.as_numpy_array(), size)
        except deflate.DeflateError:  # longer than its array, or damaged: zlib tells
            return super()._decode_sync(chunk_data, chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(plain)


register_codec(_ZLIB, FastZlib)
_CODECS = {_ZLIB: f"{FastZlib.__module__}.{FastZlib.__qualname__}"}


def open_numbers(session: Any, group: str = "") -> xr.Dataset:
    """A group's arrays as they are stored, read whenever they are asked for.

    Parameters
    ----------
    session : icechunk session
    group : str
    """
    # Codecs are chosen as an array is opened: nobody else's arrays are changed.
    with zarr.config.set({"codecs": {**zarr.config.get("codecs"), **_CODECS}}):
        return xr.open_dataset(
            session.store,
            engine="zarr",
            group=group or None,
            consolidated=False,
            zarr_format=3,
            decode_cf=False,
            cache=False,
        )


def decoded(dataset: xr.Dataset) -> xr.Dataset:
    """What stored numbers mean by the CF conventions; what was read is kept.

    Parameters
    ----------
    dataset : Dataset
        Of `open_numbers`.
    """
    masked = {str(name): _masked(each.variable) for name, each in dataset.data_vars.items()}
    found = xr.decode_cf(dataset.assign(masked))
    for name, variable in found.variables.items():
        if name not in found.xindexes:
            kept: Any = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(variable._data))  # pyright: ignore[reportPrivateUsage] - not read yet
            variable.data = kept
    return found


def _masked(variable: xr.Variable) -> xr.Variable:
    """The same variable, or one of floats with NaN for the one number that stands for none."""
    given = {key: variable.attrs[key] for key in _FILL if key in variable.attrs}
    fills = set(given.values()) if all(np.isscalar(each) for each in given.values()) else set()
    dtype: np.dtype[Any] = variable.dtype
    packed = any(key in variable.attrs for key in _PACKING)
    if dtype.str not in ("<f4", "<f8") or packed or len(fills) != 1:
        return variable
    fill = fills.pop()
    if isinstance(fill, str | bytes):
        return variable
    with np.errstate(over="ignore"):
        stored = dtype.type(fill)
    if stored != fill:  # NaN, or a number that no value of this type is
        return variable
    numbers = variable._data  # pyright: ignore[reportPrivateUsage] - not read yet
    lazy = MaskedArray(numbers, variable.shape, dtype, stored)
    attributes = {key: value for key, value in variable.attrs.items() if key not in given}
    data: Any = indexing.LazilyIndexedArray(lazy)
    return xr.Variable(variable.dims, data, attributes, {**variable.encoding, **given})


class MaskedArray(BackendArray):
    """Floats in which one number stands for no value.

    Parameters
    ----------
    numbers : array
        As xarray reads them from the store.
    shape : tuple of int
    dtype : dtype
    fill : scalar of that type
    """

    def __init__(self, numbers: Any, shape: tuple[int, ...], dtype: Any, fill: Any) -> None:
        self.shape, self.dtype = shape, dtype
        self._numbers, self._fill = numbers, fill

    def __getitem__(self, key: Any) -> Any:
        """Values of what is selected; every indexer of xarray."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        values = np.asarray(self._numbers.oindex[indexing.OuterIndexer(key)].get_duck_array())
        np.copyto(values, np.nan, where=values == self._fill)
        return values
