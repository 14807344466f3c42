"""NetCDF4 files at a fraction of the cost, readable by everything that reads NetCDF4.

The header, the coordinates and every small or special variable come from xarray and the netCDF
library. The heavy variables then get their chunks as finished bytes: NaN filled and
shuffled in one compiled pass, deflated by `dor_ecco_assets.stores.deflate`, put in place through
HDF5's direct-chunk call. The file says shuffle + deflate, and that is what it holds.

Nothing here publishes: the caller names a path in its own scratch space and moves the file.
"""

import errno
import os
import shutil
import threading
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import NetCDF4DataStore
from xarray.conventions import encode_cf_variable

from dor_ecco_assets.errors import ConfigurationError, OutputCorrupt
from dor_ecco_assets.stores.chunks import TolerantFile, chunk_layout, encoded_cells, region
from dor_ecco_assets.stores.deflate import deflate_planes, inflate_planes

__all__ = ["ValueRange", "WrittenNetcdf", "value_range", "verify_netcdf", "write_netcdf"]

type Encoding = Mapping[str, Mapping[str, Any]]
type Array = npt.NDArray[Any]

#: Uncompressed variables above this size are written block by block instead of in memory, bytes.
_LARGE_PLAIN_BYTES = 8 << 20
#: Room wanted for the header beside the small variables: a hundred variables' attributes, bytes.
_HEADER_BYTES = 1 << 20
#: Types that HDF5 and this machine hold alike.
_PLAIN_TYPES = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"})
#: Encodings that only the netCDF library applies.
_LIBRARY_ONLY = frozenset(
    {
        "fletcher32",
        "endian",
        "least_significant_digit",
        "significant_digits",
        "szip",
        "zstd",
        "bzip2",
        "blosc",
    }
)


@dataclass(frozen=True)
class WrittenNetcdf:
    """What `write_netcdf` left at its path.

    Parameters
    ----------
    path : Path
        The file.
    file_bytes : int
        Its size.
    array_bytes : int
        Size of the dataset's values in memory.
    """

    path: Path
    file_bytes: int
    array_bytes: int


@dataclass(frozen=True)
class ValueRange:
    """Smallest and largest value of an array, NaN left out.

    Parameters
    ----------
    minimum, maximum : numpy floating
        In the array's own type, so that they can become ``valid_min`` and ``valid_max`` as they
        are; NaN if there is no value.
    n_valid : int
        How many values are not NaN.
    """

    minimum: np.floating[Any]
    maximum: np.floating[Any]
    n_valid: int


def write_netcdf(
    dataset: xr.Dataset,
    path: Path,
    *,
    encoding: Encoding | None = None,
    unlimited_dims: Iterable[Hashable] = (),
) -> WrittenNetcdf:
    """Write a dataset as one NetCDF4 file that compares identical to ``Dataset.to_netcdf``'s.

    Parameters
    ----------
    dataset : Dataset
        Held in memory, or lazily by dask or by a file: lazy variables are read once, a chunk at
        a time (where their chunks and the file's disagree, in the smallest blocks that end on
        edges of both).
    path : Path
        Where the file is made; a file that is there is replaced. Left absent if writing fails.
    encoding : mapping of str to mapping, optional
        As for ``Dataset.to_netcdf``. Numeric variables with ``zlib`` take the fast way;
        ``complevel`` is then what the file declares, not how hard the encoder tries. All other
        variables are written by the netCDF library, from memory if they are small or are not
        plain numbers.
    unlimited_dims : iterable of hashable
        Dimensions that can grow; give their variables ``chunksizes``, the library's default
        along such a dimension is up to 1,024.

    Returns
    -------
    WrittenNetcdf

    Raises
    ------
    ConfigurationError
        If `encoding` names an absent variable or `chunksizes` do not fit a variable, or
        `unlimited_dims` an absent dimension.
    OSError
        If the disk is full (``ENOSPC``) or refuses the write.

    Notes
    -----
    The bytes depend on the dataset, the encoding and the versions of the libraries, not on
    threads or on how the data was held. Peak memory above the input's own is about three chunks
    and the size of the variables that do not take the fast way.
    """
    plan = _plan(dataset, encoding, unlimited_dims)
    try:
        _write_skeleton(plan, path)
        with TolerantFile(path, "r+") as file:
            try:
                with h5py.File(file, "r+") as hdf:
                    for name in plan.heavy:
                        _store_variable(plan, name, hdf[name], file)
            finally:
                file.raise_fault()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return WrittenNetcdf(path, path.stat().st_size, dataset.nbytes)


def verify_netcdf(
    path: Path,
    dataset: xr.Dataset,
    *,
    encoding: Encoding | None = None,
    unlimited_dims: Iterable[Hashable] = (),
) -> None:
    """Read a file back and compare all it holds with what it was meant to hold.

    Parameters
    ----------
    path : Path
        A file written by `write_netcdf`, or by ``to_netcdf`` under the same encoding.
    dataset, encoding, unlimited_dims
        As they were given when the file was written. Lazy data is computed a second time.

    Raises
    ------
    OutputCorrupt
        If the file does not open, or a dimension, an attribute, a filter, a chunk or a single
        value differs; its `code` is ``ReadBackDiffers``.

    Notes
    -----
    The netCDF library opens the file and compares its header and small variables with the
    encoded dataset. Every compressed chunk is fetched as stored, at the place where the file's
    own index has it, inflated, checked against its Adler-32 and compared byte for byte with
    the dataset. No checksum taken while writing is trusted.
    """
    plan = _plan(dataset, encoding, unlimited_dims)
    light = _light_variables(plan)
    with _read_back(path):
        _compare_headers(plan, light, path)
        hdf = h5py.File(path, "r")
    with hdf:
        for name in plan.heavy:
            with _read_back(path):
                target = hdf[name]
            _compare_variable(plan, name, target, path)


def value_range(values: Array) -> ValueRange:
    """Smallest and largest value and number of values of an array, in one pass.

    Parameters
    ----------
    values : ndarray of float32 or float64, any shape
        After the cast to the type that is stored, so that no value lies outside the range.

    Returns
    -------
    ValueRange

    Raises
    ------
    ConfigurationError
        If the array is of another type.
    """
    if values.dtype.kind != "f" or values.itemsize not in (4, 8):
        raise ConfigurationError(
            f"value_range takes float32 or float64, found {values.dtype}; cast the array first"
        )
    from dor_ecco_assets.stores.planes import ordered_range

    signed = np.dtype(f"i{values.itemsize}").type
    magnitude = np.iinfo(signed).max
    infinity = values.dtype.type(np.inf).view(signed)
    bits = values.ravel(order="K").view(signed)
    smallest, largest, n_valid = ordered_range(bits, signed(magnitude), infinity)
    if n_valid == 0:
        nan = values.dtype.type(np.nan)
        return ValueRange(nan, nan, 0)

    def value_of(key: int) -> np.floating[Any]:
        return signed(key if key >= 0 else key ^ magnitude).view(values.dtype)

    return ValueRange(value_of(smallest), value_of(largest), int(n_valid))


@dataclass(frozen=True)
class _Plan:
    """Which variables are stored how.

    Parameters
    ----------
    dataset : Dataset
    encoding : mapping
        As given by the caller; variables it does not name keep their own.
    unlimited_dims : tuple
    heavy : tuple
        Variables whose values are stored by this module, in the dataset's order.
    """

    dataset: xr.Dataset
    encoding: Encoding
    unlimited_dims: tuple[Hashable, ...]
    heavy: tuple[str, ...]

    def options(self, name: str) -> Mapping[str, Any]:
        return self.encoding.get(name, self.dataset.variables[name].encoding)


def _plan(
    dataset: xr.Dataset, encoding: Encoding | None, unlimited_dims: Iterable[Hashable]
) -> _Plan:
    """Check what was asked for and divide the variables."""
    given = dict(encoding or {})
    unlimited = tuple(unlimited_dims)
    if absent := [name for name in given if name not in dataset.variables]:
        raise ConfigurationError(
            f"encoding names {absent}, which the dataset lacks; it has {list(dataset.variables)}"
        )
    if absent := [name for name in unlimited if name not in dataset.dims]:
        raise ConfigurationError(
            f"unlimited_dims names {absent}, which the dataset lacks; it has {list(dataset.dims)}"
        )
    for name, options in given.items():
        _check_chunks(name, dataset.variables[name], options.get("chunksizes"), unlimited)
    plan = _Plan(dataset, given, unlimited, ())
    heavy = [
        name
        for name, variable in dataset.variables.items()
        if isinstance(name, str) and _is_heavy(variable, plan.options(name))
    ]
    return replace(plan, heavy=tuple(heavy))


def _check_chunks(
    name: str,
    variable: xr.Variable,
    chunks: Sequence[int] | None,
    unlimited_dims: Sequence[Hashable],
) -> None:
    if chunks is None:
        return
    fits = len(chunks) == variable.ndim and all(
        chunk >= 1 and (chunk <= size or dim in unlimited_dims)
        for dim, size, chunk in zip(variable.dims, variable.shape, chunks, strict=True)
    )
    if not fits:
        raise ConfigurationError(
            f"chunksizes of {name} are {tuple(chunks)}, which do not fit its shape "
            f"{variable.shape}; give one size per dimension, at most its length"
        )


def _is_heavy(variable: xr.Variable, options: Mapping[str, Any]) -> bool:
    """Whether a variable is plain numbers, and compressed with zlib or too large for memory."""
    if variable.ndim == 0 or variable.size == 0 or any(options.get(key) for key in _LIBRARY_ONLY):
        return False
    if not all(map(_is_plain_number, (variable.dtype, options.get("dtype", variable.dtype)))):
        return False
    # As in xarray, an explicit `compression` wins over the older flag.
    compression = options.get("compression") or ("zlib" if options.get("zlib") else None)
    return compression == "zlib" or (compression is None and variable.nbytes > _LARGE_PLAIN_BYTES)


def _is_plain_number(dtype: Any) -> bool:
    """Whether HDF5 holds this type as this machine does."""
    try:
        plain = np.dtype(dtype)
    except TypeError:
        return False
    # A dtype with metadata stands for an enumeration, which the file declares as its own type.
    return plain.str[1:] in _PLAIN_TYPES and plain.isnative and not plain.metadata


def _light_variables(plan: _Plan) -> xr.Dataset:
    """Compute what the netCDF library will write: all but the heavy variables."""
    return plan.dataset.drop_vars(plan.heavy).compute()


def _write_skeleton(plan: _Plan, path: Path) -> None:
    """Have the netCDF library make the whole file but for the values of the heavy variables."""
    import netCDF4

    light = _light_variables(plan)
    # HDF5 keeps a file open for ever that it could not close for want of space.
    _check_room(path, light.nbytes + _HEADER_BYTES)
    with _netcdf_lock(), netCDF4.Dataset(path, mode="w", format="NETCDF4") as file:
        _dump_skeleton(plan, light, file)


def _check_room(path: Path, needed_bytes: int) -> None:
    if shutil.disk_usage(path.parent).free < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _dump_skeleton(
    plan: _Plan, light: xr.Dataset, file: Any, kept: dict[str, Any] | None = None
) -> None:
    """Fill an open netCDF4 dataset with all but the values of the heavy variables.

    Where `kept` is given the other values go there instead of into the file.
    """

    def without_heavy_values(
        variables: Mapping[Hashable, xr.Variable], attributes: Mapping[Any, Any]
    ) -> tuple[dict[Hashable, xr.Variable], Mapping[Any, Any]]:
        def replaced(name: Hashable, variable: xr.Variable) -> xr.Variable:
            if isinstance(variable, xr.IndexVariable) and name not in plan.heavy:
                return variable
            dims, attrs, encoding = variable.dims, variable.attrs, variable.encoding
            if name not in plan.heavy:
                return xr.Variable(dims, light.variables[name].data, attrs, encoding)
            # Encoded without its values first, so that nothing is left to do to the stand-in.
            empty = xr.Variable(dims, np.empty((0,) * len(dims), variable.dtype), attrs, encoding)
            encoded = encode_cf_variable(empty, name=name)
            nothing = np.broadcast_to(np.zeros((), encoded.dtype), variable.shape)
            return xr.Variable(dims, nothing, encoded.attrs, encoded.encoding)

        return {name: replaced(name, var) for name, var in variables.items()}, attributes

    plan.dataset.dump_to_store(
        NetCDF4DataStore(file, lock=threading.Lock()),
        writer=_SkeletonWriter(plan, file, kept),
        encoder=without_heavy_values,
        encoding={name: dict(options) for name, options in plan.encoding.items()},
        unlimited_dims=plan.unlimited_dims,
    )


@dataclass(frozen=True)
class _SkeletonWriter:
    """What xarray hands each variable's values to, once the variable is declared."""

    plan: _Plan
    file: Any
    kept: dict[str, Any] | None

    def add(self, source: Any, target: Any) -> None:
        """Write light values; of a heavy variable only what a write would have caused."""
        if target.variable_name in self.plan.heavy:
            # The library's first write creates the dimensions; the order of things in the file
            # then is what it would be had the values been written here.
            if self.kept is None:
                self.file.sync()
        elif self.kept is None:
            target[...] = source
        else:
            self.kept[target.variable_name] = source


def _store_variable(plan: _Plan, name: str, target: Any, file: "TolerantFile") -> None:
    """Put a heavy variable's values into its dataset of an open HDF5 file."""
    variable = plan.dataset.variables[name]
    if target.shape != variable.shape:
        target.resize(variable.shape)
    layout = chunk_layout(target, plan.options(name))
    planes = np.empty(layout.planes_shape, np.uint8)
    for origin, values in encoded_cells(variable, name, plan.options(name), layout):
        if layout.shuffled is None:
            target[region(origin, values.shape)] = layout.filled(values)
        else:
            layout.split(values, planes)
            target.id.write_direct_chunk(origin, deflate_planes(planes))
        file.raise_fault()


def _compare_variable(plan: _Plan, name: str, target: Any, path: Path) -> None:
    """Compare the chunks of a heavy variable, as they lie in the file, with its values."""
    layout = chunk_layout(target, plan.options(name))
    shape = layout.planes_shape
    cells = encoded_cells(plan.dataset.variables[name], name, plan.options(name), layout)
    for origin, values in cells:
        if layout.shuffled is None:
            with _read_back(path):
                found = target[region(origin, values.shape)]
            same = _same_bits(found, layout.filled(values))
        else:
            with _read_back(path):
                mask, stream = target.id.read_direct_chunk(origin)
                planes = inflate_planes(stream, shape)
            # A filter mask says that a filter was left out for this chunk.
            same = mask == 0 and layout.matches(values, planes)
        if not same:
            raise _read_back_differs(path, f"values of {name} from {origin} on")


def _netcdf_lock() -> AbstractContextManager[Any]:
    """Lock of the netCDF library, which is not thread-safe; xarray's readers hold the same."""
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    return NETCDF4_PYTHON_LOCK


def _compare_headers(plan: _Plan, light: xr.Dataset, path: Path) -> None:
    """Compare all but the heavy values of a file with the skeleton it should have."""
    import netCDF4

    with (
        _netcdf_lock(),
        netCDF4.Dataset("skeleton.nc", mode="w", format="NETCDF4", memory=0) as expected,
        netCDF4.Dataset(path) as found,
    ):
        values: dict[str, Any] = {}
        # A dimension that grows gets its length, and what hangs on it, from what is written.
        _dump_skeleton(plan, light, expected, None if plan.unlimited_dims else values)
        sizes = {
            name: (plan.dataset.sizes.get(name, len(dimension)), dimension.isunlimited())
            for name, dimension in expected.dimensions.items()
        }
        if sizes != {n: (len(d), d.isunlimited()) for n, d in found.dimensions.items()}:
            raise _read_back_differs(path, "dimensions")
        if expected.variables.keys() != found.variables.keys():
            raise _read_back_differs(path, "the list of variables")
        if not _same_attributes(expected, found):
            raise _read_back_differs(path, "global attributes")
        for name, variable in expected.variables.items():
            other = found.variables[name]
            for part in (variable, other):
                part.set_auto_maskandscale(False)
                part.set_auto_chartostring(False)
            if not (_same_declaration(variable, other) and _same_attributes(variable, other)):
                raise _read_back_differs(path, f"declaration or attributes of {name}")
            if name in plan.heavy:
                continue
            wanted = values[name] if name in values else variable[...]
            if not _same_bits(wanted, other[...]):
                raise _read_back_differs(path, f"values of {name}")


def _same_declaration(one: Any, other: Any) -> bool:
    return (one.dtype, one.dimensions, one.filters(), one.chunking()) == (
        other.dtype,
        other.dimensions,
        other.filters(),
        other.chunking(),
    )


def _same_attributes(one: Any, other: Any) -> bool:
    return set(one.ncattrs()) == set(other.ncattrs()) and all(
        _same_bits(one.getncattr(key), other.getncattr(key)) for key in one.ncattrs()
    )


def _same_bits(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return bool(np.array_equal(one, other))
    return one.tobytes() == other.tobytes()


def _read_back_differs(path: Path, what: str) -> OutputCorrupt:
    return OutputCorrupt(
        f"{path}: {what} read back differ from what was written; write the file again",
        code="ReadBackDiffers",
    )


@contextmanager
def _read_back(path: Path) -> Generator[None]:
    """Name what a library says of a damaged file as what it is."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _read_back_differs(path, f"bytes ({error})") from error
