"""The fast parser: references of an HDF5 or NetCDF4 granule from its metadata alone.

It speaks h5py's low-level interface: attributes, not chunks, are what a granule's metadata is made
of, and each costs tenths of a millisecond through `h5py.File`.
"""

import io
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.virtual.formats import unusable_reason
from dor_ecco_assets.virtual.references import (
    PACKING_ATTRIBUTES,
    ArrayReferences,
    Codec,
    GranuleReferences,
)

__all__ = ["PARSER", "WhichAttributes", "parse_hdf5"]

#: h5py's low-level modules, which are compiled and have no stubs.
_h5: Any = h5py
h5a, h5d, h5ds, h5f, h5fd = _h5.h5a, _h5.h5d, _h5.h5ds, _h5.h5f, _h5.h5fd
h5g, h5o, h5p, h5r, h5s, h5t = _h5.h5g, _h5.h5o, _h5.h5p, _h5.h5r, _h5.h5s, _h5.h5t

#: Recorded with what was parsed: another version may tell more or otherwise.
PARSER = f"dor_ecco_assets.virtual.hdf5 1, HDF5 {h5py.version.hdf5_version}"

#: How NetCDF4 keeps its dimensions in HDF5; no attributes of the data.
_HIDDEN = frozenset(
    {
        *(b"REFERENCE_LIST", b"CLASS", b"DIMENSION_LIST", b"NAME"),
        *(b"_Netcdf4Dimid", b"_Netcdf4Coordinates", b"_nc3_strict", b"_NCProperties"),
    }
)
_PACKING = frozenset(name.encode() for name in PACKING_ATTRIBUTES)

type WhichAttributes = Literal["all", "packing"]

#: Deeper nesting than any archive's: a group that contains itself.
_DEEPEST_GROUP = 64


def parse_hdf5(
    source: str | io.RawIOBase,
    *,
    load: Collection[str] = (),
    drop: Collection[str] = (),
    inline_bytes: int = 0,
    attributes: WhichAttributes = "all",
) -> GranuleReferences:
    """References of one HDF5 or NetCDF4 file.

    Parameters
    ----------
    source : str or binary file
        Path of a local file, or an open one; only its metadata and what is loaded are read.
    load : collection of str
        Arrays whose values are read instead of referenced, by path or last name.
    drop : collection of str
        Arrays to leave out, by path or last name.
    inline_bytes : int
        Arrays of fewer bytes than this are loaded too.
    attributes : str
        ``packing`` leaves out those that decoding does not need, which halves the time: for
        granules whose descriptions are known from another of the same schema.

    Returns
    -------
    GranuleReferences
        Without NetCDF dimensions that hold no values. Compact and variable-length text arrays are
        loaded: their bytes are no chunks that a reader could fetch.

    Raises
    ------
    InputUnusable
        Codes ``Unreadable`` (not HDF5, cut or damaged; the message says what it looks like),
        ``FormatUnsupported``, ``CodecUnsupported``, ``FilterMask``, ``ExternalStorage``,
        ``AmbiguousDimension``.
    InputMissing
        Code ``NotFound``.
    """
    try:
        file = _open(source)
    except FileNotFoundError as error:
        raise InputMissing(f"{source} is not there", code="NotFound") from error
    except (OSError, RuntimeError) as error:
        _raise_fault(source)
        code, reason = unusable_reason(_head(source))
        raise InputUnusable(
            f"cannot be opened as HDF5: {reason} ({_brief(error)})", code=code
        ) from error
    try:
        size = int(file.get_filesize())
        parsing = _Parsing(frozenset(load), frozenset(drop), inline_bytes, attributes, size)
        parsing.group(h5g.open(file, b"/"), "")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        _raise_fault(source)
        raise InputUnusable(
            f"its HDF5 metadata are damaged ({_brief(error)}); fetch the granule again",
            code="Unreadable",
        ) from error
    finally:
        file.close()
    _raise_fault(source)
    return GranuleReferences(parsing.arrays, parsing.groups, size=size, parser=PARSER)


def _open(source: str | io.RawIOBase) -> Any:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)
    if isinstance(source, str):
        return h5f.open(source.encode(), h5f.ACC_RDONLY, fapl=access)
    access.set_fileobj_driver(h5fd.fileobj_driver, source)
    return h5f.open(repr(source).encode(), h5f.ACC_RDONLY, fapl=access)


def _head(source: str | io.RawIOBase) -> bytes:
    if isinstance(source, str):
        with Path(source).open("rb") as file:
            return file.read(512)
    source.seek(0)
    return source.read(512) or b""


def _raise_fault(source: Any) -> None:
    """Raise what a remote file met while HDF5 read it."""
    fault = getattr(source, "fault", None)
    if fault is not None:
        raise fault


def _brief(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


@dataclass
class _Parsing:
    """One pass over a file."""

    load: frozenset[str]
    drop: frozenset[str]
    inline_bytes: int
    attributes: WhichAttributes
    size: int
    arrays: dict[str, ArrayReferences] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def group(self, group: Any, path: str) -> None:
        """Take in one group and what lies in it."""
        if path.count("/") > _DEEPEST_GROUP:
            raise InputUnusable(f"groups nest without end at {path[:80]}", code="Unreadable")
        names = _names(group) if self.attributes == "all" else ()
        self.groups[path] = dict(_attributes(group, names))
        for key in sorted(group):
            inner = f"{path}/{key.decode()}".lstrip("/")
            if _chosen(inner, self.drop):
                continue
            try:
                item = h5o.open(group, key)
            except KeyError:  # a soft or external link to nothing
                continue
            if isinstance(item, h5d.DatasetID):
                self.dataset(item, inner)
            elif isinstance(item, h5g.GroupID):
                self.group(item, inner)

    def dataset(self, item: Any, path: str) -> None:
        """Take in one array, if it is more than a dimension."""
        names = _names(item)
        scale = b"CLASS" in names and h5ds.is_scale(item)
        properties = item.get_create_plist()
        layout = properties.get_layout()
        if scale and _is_empty(item, layout):
            return
        dtype, shape = item.dtype, item.shape
        if shape is None:
            raise InputUnusable(f"{path} has no shape", code="CodecUnsupported")
        text = h5py.check_string_dtype(dtype)
        is_text = text is not None and text.length is None
        stored_chunks = properties.get_chunk() if layout == h5d.CHUNKED else None
        common: dict[str, Any] = {
            "dims": tuple(_dims(item, path, names, scale)),
            "shape": shape,
            "dtype": np.dtypes.StringDType() if is_text else dtype,
            "attributes": dict(_attributes(item, self._wanted(names))),
            "types": dict(_packing_types(item, names)),
            "fill_value": _fill_value(properties, dtype, is_text=is_text),
        }
        loaded = (
            is_text
            or layout == h5d.COMPACT
            or _chosen(path, self.load)
            or math.prod(shape) * dtype.itemsize < self.inline_bytes
        )
        if loaded:
            self.arrays[path] = _loaded(item, path, common, is_text=is_text)
            return
        _require_plain(dtype, properties, layout, path)
        filters = [properties.get_filter(i)[:3] for i in range(properties.get_nfilters())]
        codecs = tuple(_codec(path, number, values) for number, _, values in filters)
        chunks = _chunk_shape(shape, stored_chunks, unfiltered=not filters)
        grid = tuple(-(-n // c) for n, c in zip(shape, chunks, strict=True))
        if stored_chunks is None:
            offsets, lengths = _contiguous(item, grid)
        else:
            offsets, lengths = _chunk_index(item, path, stored_chunks, grid)
            if chunks != stored_chunks:  # the array ends inside its only chunk along the first axis
                lengths[lengths > 0] = math.prod(chunks) * dtype.itemsize
        if lengths.size and int((offsets + lengths).max()) > self.size:
            raise InputUnusable(
                f"chunks of {path} end beyond the {self.size} bytes of the file; fetch it again",
                code="Unreadable",
            )
        self.arrays[path] = ArrayReferences(
            **common, chunks=chunks, codecs=codecs, offsets=offsets, lengths=lengths
        )

    def _wanted(self, names: Collection[bytes]) -> Collection[bytes]:
        return names if self.attributes == "all" else [n for n in names if n in _PACKING]


def _chosen(path: str, wanted: frozenset[str]) -> bool:
    return bool(wanted) and (path in wanted or path.rpartition("/")[2] in wanted)


def _is_empty(item: Any, layout: int) -> bool:
    if layout == h5d.CHUNKED:
        return item.chunk_iter(lambda _: True) is None
    return item.get_storage_size() == 0


def _require_plain(dtype: np.dtype[Any], properties: Any, layout: int, path: str) -> None:
    if dtype.kind not in "biufS":
        raise InputUnusable(
            f"{path} is of type {dtype}, whose bytes no Zarr reader decodes; drop it",
            code="CodecUnsupported",
        )
    if layout == h5d.VIRTUAL or properties.get_external_count():
        raise InputUnusable(
            f"the values of {path} lie in other files; drop it or load it", code="ExternalStorage"
        )


def _loaded(item: Any, path: str, common: dict[str, Any], *, is_text: bool) -> ArrayReferences:
    shape, dtype = common["shape"], common["dtype"]
    try:
        if is_text:
            found = h5py.Dataset(item).asstr(errors="replace")[()]
            values = np.array(found, dtype=dtype).reshape(shape)
        elif dtype.kind in "biufS":
            values = np.empty(shape, dtype)
            item.read(h5s.ALL, h5s.ALL, values)
        else:
            raise InputUnusable(
                f"{path} is of type {dtype}, which no Zarr reader decodes; drop it",
                code="CodecUnsupported",
            )
    except OSError as error:
        raise InputUnusable(
            f"the values of {path} cannot be read ({_brief(error)}); drop it or fetch it again",
            code="CodecUnsupported",
        ) from error
    none = np.zeros([min(size, 1) for size in shape], np.uint64)
    chunks = tuple(max(size, 1) for size in shape)
    return ArrayReferences(
        **common, chunks=chunks, codecs=(), offsets=none, lengths=none, values=values
    )


def _chunk_shape(
    shape: tuple[int, ...], stored: tuple[int, ...] | None, *, unfiltered: bool
) -> tuple[int, ...]:
    """Chunk shape in Zarr: of an array shorter than its only, unfiltered chunk, its own length."""
    whole = tuple(max(size, 1) for size in shape)
    if stored is None:
        return whole
    clipped = tuple(min(c, n) for c, n in zip(stored, whole, strict=True))
    return clipped if unfiltered and clipped[1:] == stored[1:] else stored


type _Ranges = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]


def _contiguous(item: Any, grid: tuple[int, ...]) -> _Ranges:
    offset = item.get_offset()
    offsets, lengths = np.zeros(grid, np.uint64), np.zeros(grid, np.uint64)
    if offset is not None:
        offsets[...], lengths[...] = offset, item.get_storage_size()
    return offsets, lengths


def _chunk_index(item: Any, path: str, stored: tuple[int, ...], grid: tuple[int, ...]) -> _Ranges:
    found: list[Any] = []
    item.chunk_iter(found.append)
    offsets, lengths = np.zeros(grid, np.uint64), np.zeros(grid, np.uint64)
    if not found:
        return offsets, lengths
    skipped = sum(info.filter_mask != 0 for info in found)
    if skipped:
        raise InputUnusable(
            f"{skipped} of {len(found)} chunks of {path} were stored without all of its filters, "
            "which Zarr readers cannot know; materialise it",
            code="FilterMask",
        )
    origins = np.array([info.chunk_offset for info in found])
    place = tuple((origins // stored).T)
    offsets[place] = [info.byte_offset for info in found]
    lengths[place] = [info.size for info in found]
    return offsets, lengths


_FILTER_NAMES = {4: "szip", 5: "n-bit", 6: "scale-offset", 32000: "lzf", 32001: "blosc"}


def _codec(path: str, number: int, values: tuple[int, ...]) -> Codec:
    made = _codec_of(number, values[:1])
    if made is None:
        raise InputUnusable(
            f"{path} is stored with HDF5 filter {_FILTER_NAMES.get(number, number)}, for which "
            "Zarr readers have no codec; drop it, load it or materialise it",
            code="CodecUnsupported",
        )
    return made


@cache
def _codec_of(number: int, values: tuple[int, ...]) -> Codec | None:
    settings: dict[int, tuple[str, tuple[str, ...]]] = {
        h5py.h5z.FILTER_DEFLATE: ("zlib", ("level",)),
        h5py.h5z.FILTER_SHUFFLE: ("shuffle", ("elementsize",)),
        h5py.h5z.FILTER_FLETCHER32: ("fletcher32", ()),
        32015: ("zstd", ("level",)),
    }
    if number not in settings:
        return None
    name, keys = settings[number]
    configuration: dict[str, Any] = dict(zip(keys, values, strict=False))
    if name == "zstd":
        configuration["checksum"] = False
    return {"name": f"numcodecs.{name}", "configuration": configuration}


def _dims(item: Any, path: str, names: Collection[bytes], scale: bool) -> Iterator[str]:
    rank = item.rank
    if scale:
        yield from [path.rpartition("/")[2]] * rank
        return
    listed = _dimension_scales(item) if b"DIMENSION_LIST" in names else [()] * rank
    for axis, scales in enumerate(listed):
        if len(scales) > 1:
            raise InputUnusable(
                f"axis {axis} of {path} has {len(scales)} dimension scales, expected one",
                code="AmbiguousDimension",
            )
        name = h5r.get_name(scales[0], item) if len(scales) else None
        yield f"phony_dim_{axis}" if name is None else name.decode().rpartition("/")[2]


def _dimension_scales(item: Any) -> Any:
    """References to the scales of each axis; `h5ds.iterate` would open each scale for its name."""
    attribute = h5a.open(item, b"DIMENSION_LIST")
    found = np.empty(attribute.shape, attribute.dtype)
    attribute.read(found)
    return found


def _fill_value(properties: Any, dtype: np.dtype[Any], *, is_text: bool) -> Any:
    if is_text:
        return ""
    found = np.zeros((), dtype)
    if dtype.kind in "biufS":
        try:
            properties.get_fill_value(found)
        except RuntimeError:
            return np.ma.default_fill_value(dtype)
    return found.item()


def _names(item: Any) -> list[bytes]:
    found: list[bytes] = []
    h5a.iterate(item, found.append)
    return found


def _attributes(item: Any, names: Collection[bytes]) -> Iterator[tuple[str, Any]]:
    for name in names:
        if name not in _HIDDEN:
            value = _attribute(h5a.open(item, name))
            if value is not None:
                yield name.decode("utf-8", "replace"), value


def _packing_types(item: Any, names: Collection[bytes]) -> Iterator[tuple[str, str]]:
    """Types of the packing, where they are not those of numbers in JSON."""
    for name in (b"scale_factor", b"add_offset"):
        if name in names:
            dtype, _ = _memory_type(h5a.open(item, name).get_type().encode())
            if dtype is not None and dtype.str != "<f8":
                yield name.decode(), dtype.name


def _attribute(attribute: Any) -> Any:
    """An attribute in JSON's types; None for references, which mean nothing outside the file."""
    kind = attribute.get_type()
    dtype, clean = _memory_type(kind.encode())
    if dtype is None:
        return None
    if clean and dtype.kind != "S" and _stored_bytes(attribute) == dtype.itemsize:
        # One number in its own type: what most are. It need not ask for its shape.
        value = np.empty((1,), dtype)
        attribute.read(value, kind)
        return value[0].item()
    shape = attribute.shape
    if shape is None:
        return ""
    value = np.empty(shape, dtype)
    if clean:
        attribute.read(value, kind)
    else:
        attribute.read(value)
    if dtype.kind == "S" and shape == ():
        return value.item().partition(b"\0")[0].decode("utf-8", "replace") or " "
    if dtype.kind in "SO":
        text = [_text(part) for part in value.ravel().tolist()]
        if dtype.kind == "O" and len(text) == 1:
            return text[0]
        return np.array(text, object).reshape(shape).tolist()
    return value.ravel()[0].item() if value.size == 1 else value.tolist()


def _stored_bytes(attribute: Any) -> int:
    try:
        return attribute.get_storage_size()
    except RuntimeError:  # an attribute without a value
        return 0


def _text(part: Any) -> str:
    return part.partition(b"\0")[0].decode("utf-8", "replace") if isinstance(part, bytes) else part


@lru_cache(maxsize=4096)
def _memory_type(encoded: bytes) -> tuple[np.dtype[Any] | None, bool]:
    """The NumPy type of an encoded HDF5 type, and whether its stored bytes are NumPy's own."""
    kind = h5t.decode(encoded)
    dtype = kind.dtype
    if dtype.kind == "O":
        return (dtype, False) if h5py.check_string_dtype(dtype) is not None else (None, False)
    if dtype.kind == "S":
        return dtype, kind.get_strpad() != h5t.STR_SPACEPAD
    return (dtype, True) if dtype.kind in "biuf" else (None, False)
