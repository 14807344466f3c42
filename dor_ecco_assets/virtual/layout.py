"""How the arrays of a collection's granules lie in its store: which axis, which kind, which name.

A layout is made from the granule that opens a store or epoch and kept, without byte ranges, in the
store: every later granule is compared with it.
"""

import base64
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.references import (
    ArrayReferences,
    Codec,
    GranuleReferences,
    schema_fingerprint,
    v3_metadata,
)

__all__ = [
    "ADD_OFFSET",
    "PACKED",
    "PHYSICAL_UNITS",
    "SCALE_FACTOR",
    "TYPES",
    "Layout",
    "Part",
    "axis_of",
    "describing",
    "fingerprint",
    "length_name",
    "needs_loading",
]

type Kind = Literal["virtual", "native", "static"]

#: What follows an array's name where its packing differs from granule to granule.
PACKED, SCALE_FACTOR, ADD_OFFSET = "_packed", "_scale_factor", "_add_offset"
#: Attribute of packed arrays that names the unit of what they mean.
PHYSICAL_UNITS = "physical_units"
#: Attribute that names types of the packing that JSON does not keep.
TYPES = "packing_types"

#: Attributes that are true of one granule only.
PER_GRANULE = frozenset(
    {
        *("uuid", "tracking_id", "history", "date_created", "date_modified", "date_issued"),
        *("date_metadata_modified", "creation_date", "start_time", "stop_time", "start_date"),
        *("stop_date", "time_coverage_start", "time_coverage_end", "time_coverage_duration"),
        *("netcdf_version_id", "first_measurement_time", "last_measurement_time", "granule_name"),
        *("equator_time", "equator_longitude", "cycle_number", "pass_number", "orbit_number"),
        *("start_orbit_number", "stop_orbit_number", "file_name", "production_time"),
        *("equator_crossing_date", "equator_crossing_longitude", "rev_number", "rev_orbit_period"),
    }
)

#: Of granules that are copied; readers do not need it.
_LEVEL = 4
_ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
#: Bytes of a native chunk of arrays that hold more than one number per slot.
_NATIVE_BYTES = 1 << 20


def axis_of(spec: StoreSpec) -> str:
    """The axis along which granules follow each other."""
    return spec.concat.dim if spec.swath is None else spec.swath.dim


def ragged_of(spec: StoreSpec) -> tuple[str, ...]:
    """Axes that are longer in some granules than in others."""
    return () if spec.swath is None else spec.swath.ragged


def length_name(path: str, dim: str) -> str:
    """How an axis of an array is called: groups of a file may use one name for several axes."""
    group = path.partition("/")[0] if "/" in path else ""
    return f"{group}/{dim}".lstrip("/")


def needs_loading(spec: StoreSpec, granule: GranuleReferences) -> list[str]:
    """Arrays that are the same in all granules: their values must be known to tell."""
    axis = axis_of(spec)
    if spec.swath is not None or not any(axis in a.dims for a in granule.arrays.values()):
        return []
    return sorted(
        name
        for name, array in granule.arrays.items()
        if array.values is None and axis not in array.dims
    )


def fingerprint(spec: StoreSpec, granule: GranuleReferences) -> str:
    """The schema's fingerprint, without what may differ in this store."""
    ragged, raw = set(ragged_of(spec)), spec.packing == "raw"
    arrays: dict[str, ArrayReferences] = {}
    for name, array in granule.arrays.items():
        if ragged.intersection(array.dims):
            sizes = zip(array.dims, array.shape, strict=True)
            array = replace(array, shape=tuple(0 if dim in ragged else n for dim, n in sizes))
        if raw and is_packed(array):
            array = replace(array, attributes=_without_packing(array.attributes))
        arrays[name] = array
    return schema_fingerprint(replace(granule, arrays=arrays), axis_of(spec))


def is_packed(array: ArrayReferences) -> bool:
    """Whether stored integers are not the physical values."""
    return array.dtype.kind in "iu" and bool({"scale_factor", "add_offset"} & set(array.attributes))


def _without_packing(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in attributes.items() if k not in ("scale_factor", "add_offset")}


@dataclass(frozen=True)
class Part:
    """One array of the granules, and the array of the store that it goes into.

    Parameters
    ----------
    source, target : str
        Paths in the granule and in the store, relative to the epoch.
    kind : str
        ``virtual`` by byte range, ``native`` by value, both along the axis; ``static`` by value,
        once for all granules.
    array : ArrayReferences
        As in the granule that opened the epoch, without byte ranges or values.
    axis : int
        Of granules, in the store's array.
    new_axis : bool
        Whether the granule's array lacks that axis.
    packed : bool
        Whether the packing of each granule is kept beside it.
    digest : str
        SHA-256 of the values of a static array.
    """

    source: str
    target: str
    kind: Kind
    array: ArrayReferences
    axis: int = 0
    new_axis: bool = False
    packed: bool = False
    digest: str = ""

    @property
    def dims(self) -> tuple[str, ...]:
        """Axes of the granule's array."""
        return self.array.dims

    @property
    def width(self) -> int:
        """Chunks of one slot along the axis."""
        return 1 if self.new_axis else self.array.shape[self.axis] // self.array.chunks[self.axis]

    @property
    def span(self) -> int:
        """Length of one slot along the axis."""
        return 1 if self.new_axis else self.array.shape[self.axis]

    def place(self, slot: int) -> tuple[int, ...]:
        """Index of a slot's first chunk in the grid of the store's array."""
        rank = self.array.offsets.ndim + self.new_axis
        return tuple(slot * self.width if n == self.axis else 0 for n in range(rank))

    def grid(self, counts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """A granule's chunk grid as it lies in the store's array."""
        return counts[None] if self.new_axis else counts

    def chunks_of(self, slot: int, document: Mapping[str, Any]) -> list[list[int]]:
        """Index of every chunk that a slot can have in the array that a ``zarr.json`` tells of."""
        chunks = document["chunk_grid"]["configuration"]["chunk_shape"]
        ranges = [range(-(-n // c)) for n, c in zip(document["shape"], chunks, strict=True)]
        ranges[self.axis] = range(slot * self.width, (slot + 1) * self.width)
        return [list(place) for place in itertools.product(*ranges)]

    def _needs_fill(self, attributes: set[str]) -> bool:
        """Whether what no granule wrote would be taken for values by a reader."""
        array, fill = self.array, self.array.fill_value
        if self.kind == "static" or {"_FillValue", "missing_value"} & attributes:
            return False
        if array.dtype.kind == "f":
            return fill != 0 and fill == fill
        # As a time a whole number becomes none that has an integer's digits to lose.
        uneven = self.new_axis and self.kind == "native" and len(array.shape) > 0
        return (
            uneven and array.dtype.kind in "iu" and " since " in str(array.attributes.get("units"))
        )

    def document(
        self,
        axis_name: str,
        slots: int,
        lengths: Mapping[str, int],
        attributes: Mapping[str, Any],
        time_chunk: int,
    ) -> dict[str, Any]:
        """The store's ``zarr.json``.

        Parameters
        ----------
        axis_name : str
        slots : int
        lengths : mapping of str to int
            Of ragged axes, as `length_name` calls them.
        attributes : mapping
            Descriptive ones; those that decoding needs are added.
        time_chunk : int
            Slots of one native chunk, if each holds one number.
        """
        described = {**attributes, **self.array.packing}
        if self.packed:
            described = _without_packing(described)
            if "units" in described:  # the numbers are in no unit
                described[PHYSICAL_UNITS] = described.pop("units")
        if self._needs_fill(set(described)):
            described["_FillValue"] = self.array.fill_value
        array = replace(self.array, attributes=described)
        if self.kind != "virtual":
            array = replace(array, codecs=(), chunks=tuple(max(n, 1) for n in array.shape))
        document = v3_metadata(array)
        shape = [
            lengths.get(length_name(self.source, dim), size)
            for dim, size in zip(self.array.dims, self.array.shape, strict=True)
        ]
        dims = list(self.array.dims)
        chunks = list(document["chunk_grid"]["configuration"]["chunk_shape"])
        if self.kind != "static":
            if self.new_axis:
                shape, dims, chunks = [1, *shape], [axis_name, *dims], [1, *chunks]
            shape[self.axis] = slots * self.span
        if self.kind == "native":
            # Not from today's lengths: a chunk's shape stays for as long as the array.
            rest = math.prod(n for axis, n in enumerate(chunks) if axis != self.axis)
            itemsize = 64 if self.array.dtype.kind == "T" else self.array.dtype.itemsize
            most = max(self.span, _NATIVE_BYTES // max(rest * itemsize, 1))
            chunks[self.axis] = max(min(time_chunk, most), 1)
        if self.kind != "virtual":
            document["codecs"].append(_ZSTD)
        document["shape"], document["dimension_names"] = shape, dims
        document["chunk_grid"]["configuration"]["chunk_shape"] = chunks
        if self.array.types:
            document["attributes"][TYPES] = dict(self.array.types)
        if self.packed:
            document["attributes"]["packing"] = (
                f"physical value = number * {_name(self.source)}{SCALE_FACTOR}"
                f" + {_name(self.source)}{ADD_OFFSET}, of the same place along {axis_name}"
            )
        return document


def _name(path: str) -> str:
    return path.rpartition("/")[2]


@dataclass(frozen=True)
class Layout:
    """All arrays of one epoch.

    Parameters
    ----------
    axis : str
    parts : tuple of Part
    schema : str
        Fingerprint.
    """

    axis: str
    parts: tuple[Part, ...]
    schema: str

    @classmethod
    def of(cls, spec: StoreSpec, granule: GranuleReferences) -> "Layout":
        """The layout that a granule asks for.

        Raises
        ------
        ConfigurationError
            Code ``StaticNotLoaded`` where an array is the same in all granules but is not loaded;
            ``NothingAlongAxis`` where there is no array at all.
        """
        axis = axis_of(spec)
        missing = needs_loading(spec, granule)
        if missing:
            raise ConfigurationError(
                f"{', '.join(missing)}: no axis {axis!r}, so the values must be the same in all "
                "granules, which only their values tell; add them to load, or to drop",
                code="StaticNotLoaded",
            )
        inside = spec.swath is None and any(axis in a.dims for a in granule.arrays.values())
        parts = [
            part
            for name in sorted(granule.arrays)
            for part in _parts(spec, name, granule.arrays[name], axis, inside=inside)
        ]
        if not any(part.kind == "virtual" for part in parts):
            raise ConfigurationError(
                "no array of the granule would be referenced; load fewer, or check drop and group",
                code="NothingAlongAxis",
            )
        return cls(axis, tuple(parts), fingerprint(spec, granule))

    def of_kind(self, kind: Kind) -> list[Part]:
        """Its parts of one kind."""
        return [part for part in self.parts if part.kind == kind]

    def ragged(self, spec: StoreSpec) -> list[str]:
        """Ragged axes of all groups, as `length_name` calls them."""
        uneven = set(ragged_of(spec))
        return sorted(
            {length_name(p.source, dim) for p in self.parts for dim in p.dims if dim in uneven}
        )

    def reference(
        self, granule: GranuleReferences, statics: Mapping[str, npt.NDArray[Any]]
    ) -> GranuleReferences:
        """What a granule is compared with: the opening one, its values only where they differ.

        `statics` reads an array's values by path in the store.
        """
        arrays: dict[str, ArrayReferences] = {}
        for part in self.parts:
            array = part.array
            if part.kind != "virtual":
                given = granule.arrays.get(part.source)
                values: Any = np.empty(0)
                if part.kind == "static":
                    same = given is not None and given.values is not None
                    same = same and values_digest(given.values) == part.digest  # type: ignore[union-attr, arg-type]
                    values = given.values if same else statics[part.target]  # type: ignore[union-attr]
                array = replace(array, values=values)
            arrays[part.source] = array
        return GranuleReferences(arrays)

    def encode(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "axis": self.axis,
            "schema": self.schema,
            "parts": [_encoded(part) for part in self.parts],
        }

    @classmethod
    def decode(cls, text: Mapping[str, Any]) -> "Layout":
        """From what `encode` gave."""
        return cls(text["axis"], tuple(_decoded(each) for each in text["parts"]), text["schema"])


def values_digest(values: npt.NDArray[Any]) -> str:
    """SHA-256 of an array's values."""
    if values.dtype.kind == "T":
        return hashlib.sha256("\0".join(values.ravel().tolist()).encode()).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _parts(
    spec: StoreSpec, name: str, array: ArrayReferences, axis: str, *, inside: bool
) -> Iterator[Part]:
    bare = replace(
        array,
        attributes=dict(array.packing),
        codecs=tuple(_at_one_level(codec) for codec in array.codecs),
        offsets=np.empty((0,) * len(array.shape), np.uint64),
        lengths=np.empty((0,) * len(array.shape), np.uint64),
        values=None,
    )
    if array.values is not None and not array.chunks:
        bare = replace(bare, chunks=array.shape)
    if inside:
        place = array.dims.index(axis) if axis in array.dims else 0
        kind: Kind = "virtual" if array.values is None else "native"
        if axis not in array.dims:
            kind, place = "static", 0
        elif kind == "virtual" and array.shape[place] % array.chunks[place]:
            raise ConfigurationError(
                f"{name}: chunks of {array.chunks[place]} along {axis}, of which a granule has "
                f"{array.shape[place]}, cannot follow each other; add it to load",
                code="UnalignedAppend",
            )
        new_axis = False
    else:
        ragged = bool(set(ragged_of(spec)).intersection(array.dims))
        kind = "virtual" if array.values is None else "static"
        if kind == "static" and (ragged or not array.shape):
            kind = "native"
        place, new_axis = 0, kind != "static"
    packed = spec.packing == "raw" and kind == "virtual" and is_packed(array)
    digest = values_digest(array.values) if kind == "static" and array.values is not None else ""
    yield Part(
        name, name + PACKED * packed, kind, bare, place, new_axis, packed=packed, digest=digest
    )


def _at_one_level(codec: Codec) -> Codec:
    """A codec as the store names it, however hard the first granule's writer tried."""
    settings = codec.get("configuration", {})
    if "level" not in settings:
        return codec
    return {**codec, "configuration": {**settings, "level": _LEVEL}}


def describing(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that are true of a whole collection."""
    return {name: value for name, value in attributes.items() if name not in PER_GRANULE}


def _encoded(part: Part) -> dict[str, Any]:
    array = part.array
    return {
        "source": part.source,
        "target": part.target,
        "kind": part.kind,
        "axis": part.axis,
        "new_axis": part.new_axis,
        "packed": part.packed,
        "digest": part.digest,
        "dims": list(array.dims),
        "shape": list(array.shape),
        "chunks": list(array.chunks),
        "dtype": "text" if array.dtype.kind == "T" else array.dtype.str,
        "codecs": [dict(codec) for codec in array.codecs],
        "fill": _fill(array.fill_value),
        "attributes": {name: _fill(value) for name, value in array.packing.items()},
        "types": dict(array.types),
    }


def _fill(value: Any) -> Any:
    """A number in JSON, also where JSON has none for it."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, complex):
        return {"complex": repr(value)}
    return value


def _unfilled(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    return {"bytes": base64.b64decode, "float": float, "complex": complex}[kind](text)


def _decoded(text: Mapping[str, Any]) -> Part:
    dtype: Any = np.dtypes.StringDType() if text["dtype"] == "text" else np.dtype(text["dtype"])
    empty = np.empty((0,) * len(text["shape"]), np.uint64)
    array = ArrayReferences(
        dims=tuple(text["dims"]),
        shape=tuple(text["shape"]),
        dtype=dtype,
        chunks=tuple(text["chunks"]),
        codecs=tuple(text["codecs"]),
        fill_value=_unfilled(text["fill"]),
        attributes={name: _unfilled(value) for name, value in text["attributes"].items()},
        offsets=empty,
        lengths=empty,
        types=text["types"],
    )
    names = ("source", "target", "kind")
    source, target, kind = (text[name] for name in names)
    return Part(
        source,
        target,
        kind,
        array,
        text["axis"],
        text["new_axis"],
        packed=text["packed"],
        digest=text["digest"],
    )
