"""Writing one epoch of a virtual store: references, values, coordinates and descriptions."""

import math
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.ledger import Entry, Ledger
from dor_ecco_assets.stores.icechunk_store import (
    IcechunkStore,
    clear_chunks,
    location,
    move_chunks,
    read_document,
    remove_chunks,
    write_documents,
    write_references,
)
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.layout import (
    ADD_OFFSET,
    SCALE_FACTOR,
    Layout,
    Part,
    describing,
    length_name,
    ragged_of,
)
from dor_ecco_assets.virtual.references import (
    PACKING_ATTRIBUTES,
    ArrayReferences,
    GranuleReferences,
)
from dor_ecco_assets.virtual.times import (
    UNITS,
    converted,
    is_time,
    milliseconds,
    stamp_ms,
    stamp_of,
)

__all__ = ["VALID", "Epoch", "Fresh", "Placed", "open_array", "own_parts", "write_epoch"]

#: What follows a ragged axis's name in the array of its lengths.
VALID = "_valid"

type Values = npt.NDArray[Any]
type Source = Callable[..., Any]


@dataclass
class Epoch:
    """Arrays of one schema: a group of the store.

    Parameters
    ----------
    path : str
        Of the group; the first epoch is the root.
    layout : Layout
    opening : str
        Key of the first granule, which describes all.
    statics : mapping of str to ndarray
        Values that are the same in all granules, by path; of a store they are in the store.
    """

    path: str
    layout: Layout
    opening: str = ""
    statics: Mapping[str, Values] = field(default_factory=dict[str, Values])

    @classmethod
    def opened_by(cls, spec: StoreSpec, path: str, granule: GranuleReferences) -> "Epoch":
        """An epoch that is not written yet."""
        layout = Layout.of(spec, granule)
        statics: dict[str, Values] = {}
        for part in layout.of_kind("static"):
            values = granule.arrays[part.source].values
            assert values is not None
            statics[part.target] = values
        return cls(path, layout, "", statics)

    def array(self, target: str) -> str:
        """Path of one of its arrays in the store."""
        return f"{self.path}/{target}".lstrip("/")

    @property
    def references_per_slot(self) -> int:
        """Byte ranges of a granule."""
        return sum(
            math.prod(-(-n // c) for n, c in zip(p.array.shape, p.array.chunks, strict=True))
            for p in self.layout.of_kind("virtual")
        )


@dataclass(frozen=True)
class Fresh:
    """A granule that fits an epoch and is to be written.

    Parameters
    ----------
    entry : Entry
    granule : GranuleReferences
    epoch : int
    schema, note : str
    materialised : bool
        Whether some of its arrays come by value though the store refers to them.
    first, last : float
        Times in milliseconds since 1970; NaN without a time axis.
    """

    entry: Entry
    granule: GranuleReferences
    epoch: int
    schema: str
    note: str = ""
    materialised: bool = False
    first: float = math.nan
    last: float = math.nan


@dataclass(frozen=True)
class Placed:
    """Granules of an epoch in the order of the axis.

    Parameters
    ----------
    rows, slots, old : ndarray of int
        Rows of the ledger, their slots, and those that they had, -1 for none.
    gone : ndarray of int
        Slots that granules had which are not here any more.
    fresh : mapping of int to Fresh
        By position, what is to be written.
    step : int or None
        Milliseconds from slot to slot of a regular axis.
    """

    rows: Any
    slots: Any
    old: Any
    gone: Any
    fresh: Mapping[int, Fresh]
    step: int | None

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.fresh) or bool(len(self.gone)) or self.is_moved

    @property
    def is_moved(self) -> bool:
        """Whether a granule stands elsewhere than before."""
        kept = self.old >= 0
        return bool((self.old[kept] != self.slots[kept]).any())

    @property
    def length(self) -> int:
        """Slots from now on."""
        return int(self.slots.max(initial=-1)) + 1

    @property
    def old_length(self) -> int:
        """Slots before."""
        return int(max(self.old.max(initial=-1), self.gone.max(initial=-1))) + 1

    def region(self) -> tuple[int, int]:
        """First slot of those that change and the one after the last."""
        changed = [int(self.slots[n]) for n in self.fresh] + self.gone.tolist()
        if self.length > self.old_length:
            changed += [self.old_length, self.length - 1]
        low = min(changed, default=self.length)
        if self.is_moved or low == 0:
            kept = (self.old >= 0) & (self.old != self.slots)
            low = min([low, *np.minimum(self.old[kept], self.slots[kept]).tolist()])
            return low, self.length
        return low, min(max(changed, default=-1) + 1, self.length)


def open_array(session: Any, path: str) -> Any:
    """An array of a session's store."""
    import zarr

    return zarr.open_array(session.store, path=path, mode="r+", zarr_format=3)


def own_parts(spec: StoreSpec, layout: Layout) -> list[Part]:
    """Arrays along the axis that no granule has: what tells granules apart, and their packing."""
    found: list[tuple[str, Any, Any, dict[str, Any]]] = []
    span = max((part.span for part in layout.parts if part.kind != "static"), default=1)
    if spec.swath is not None:
        for name in spec.swath.coords:
            found += _track_array(name)
    elif any(part.new_axis for part in layout.parts):
        time = {"units": UNITS, "calendar": "standard", "standard_name": "time", "axis": "T"}
        found.append((layout.axis, np.dtype("i8"), 0, time))
    for dim in layout.ragged(spec):
        text = f"length of {posixpath.basename(dim)} of this granule; what follows is fill"
        found.append((f"{dim}{VALID}", np.dtype("i4"), 0, {"long_name": text}))
    for part in layout.parts:
        if part.packed:
            for suffix in (SCALE_FACTOR, ADD_OFFSET):
                text = f"{suffix.strip('_')} of {part.source}"
                found.append((part.source + suffix, np.dtype("f8"), math.nan, {"long_name": text}))
    taken = {part.target for part in layout.parts}
    none = np.empty((0,), np.uint64)
    return [
        Part(
            "",
            name,
            "native",
            ArrayReferences(
                dims=(layout.axis,),
                shape=(span,),
                dtype=dtype,
                chunks=(span,),
                codecs=(),
                fill_value=fill,
                attributes=attributes,
                offsets=none,
                lengths=none,
            ),
        )
        for name, dtype, fill, attributes in found
        if name not in taken
    ]


def _track_array(name: str) -> list[tuple[str, Any, Any, dict[str, Any]]]:
    if name in ("cycle", "pass"):
        return [(name, np.dtype("i4"), -1, {"long_name": f"{name} number", "_FillValue": -1})]
    if name in ("begin", "end"):
        what = {"long_name": f"{name} of the granule", "units": UNITS, "calendar": "standard"}
        return [(name, np.dtype("i8"), 0, what)]
    if name == "filename":
        return [(name, np.dtypes.StringDType(), "", {"long_name": "name of the granule's file"})]
    return []  # the lengths of ragged axes are always there


def write_epoch(
    store: IcechunkStore,
    spec: StoreSpec,
    session: Any,
    epoch: Epoch,
    placed: Placed,
    ledger: Ledger,
    source: Source,
) -> int:
    """Write what changes of one epoch; gives how many byte ranges were written.

    Raises
    ------
    ConfigurationError
        Code ``PaddingNotFill``: the end of a ragged granule's last chunk is not fill.
    """
    return _Writing(store, spec, session, epoch, placed, ledger, source).write()


class _Writing:
    def __init__(
        self,
        store: IcechunkStore,
        spec: StoreSpec,
        session: Any,
        epoch: Epoch,
        placed: Placed,
        ledger: Ledger,
        source: Source,
    ) -> None:
        self.store, self.spec, self.session, self.source = store, spec, session, source
        self.epoch, self.placed, self.ledger = epoch, placed, ledger
        self.parts = [*epoch.layout.parts, *own_parts(spec, epoch.layout)]
        self.is_new = read_document(session, epoch.array(self.parts[0].target)) is None
        self.local = {c.name for c in store.containers if c.url.startswith("file:")}
        #: Native arrays that are written from their first slot on.
        self.whole: set[str] = set()

    def write(self) -> int:
        """All of it, in the order in which nothing is lost on the way."""
        placed = self.placed
        lengths = self._ragged_lengths()
        self.whole = self._shortened(lengths)
        described = self._described()
        if placed.is_moved and not self.is_new:
            self._resize(max(placed.length, placed.old_length), lengths, grow=True)
            forward = {
                int(old): int(new)
                for old, new in zip(placed.old, placed.slots, strict=True)
                if old >= 0
            }
            kept = self._tails()
            for part in self.epoch.layout.of_kind("virtual"):
                move_chunks(
                    self.session, self.epoch.array(part.target), part.axis, forward, part.width
                )
        else:
            kept = self._tails()
            empty = set(placed.gone.tolist()) - set(placed.slots.tolist())
            if empty:
                for part in self.epoch.layout.of_kind("virtual"):
                    self._clear(part, sorted(empty))
        for target in self.whole:
            remove_chunks(self.session, self.epoch.array(target))
        if described is not None:
            self._describe(described, lengths)
        else:
            self._resize(placed.length, lengths, grow=False)
        count = self._write_references()
        for part in self.parts:
            if part.kind == "native":
                self._write_native(part, kept[part.target], lengths)
        self._cover()
        if self.is_new and ragged_of(self.spec):
            self._check_padding()
        return count

    # Sizes and descriptions

    def _ragged_lengths(self) -> dict[str, int]:
        """Length of each ragged axis: that of the longest granule."""
        found: dict[str, int] = {}
        for dim in self.epoch.layout.ragged(self.spec):
            placed = self.placed
            values = np.zeros(placed.length, np.int64)
            if not self.is_new:
                had = open_array(self.session, self.epoch.array(dim + VALID))[:]
                kept = placed.old >= 0
                values[placed.slots[kept]] = had[placed.old[kept]]
            for position, fresh in placed.fresh.items():
                values[placed.slots[position]] = _length_along(fresh.granule, dim)
            found[dim] = max(int(values.max(initial=0)), 1)
        return found

    def _shortened(self, lengths: Mapping[str, int]) -> set[str]:
        """Native arrays whose ragged axis ends earlier: what was beyond may not come back."""
        found: set[str] = set()
        for part in self.parts if lengths and not self.is_new else ():
            document = read_document(self.session, self.epoch.array(part.target))
            if part.kind == "native" and document is not None:
                axes = zip(document["shape"], self._shape(part, 0, lengths), strict=True)
                if any(n != part.axis and had > now for n, (had, now) in enumerate(axes)):
                    found.add(part.target)
        return found

    def _region(self, part: Part) -> tuple[int, int]:
        """First slot that is written of a native array, and the one after the last."""
        return (0, self.placed.length) if part.target in self.whole else self.placed.region()

    def _resize(self, slots: int, lengths: Mapping[str, int], *, grow: bool) -> None:
        documents: dict[str, Any] = {}
        for part in self.parts:
            if part.kind == "static":
                continue
            path = self.epoch.array(part.target)
            document = read_document(self.session, path)
            if document is None:
                continue
            shape = self._shape(part, slots, lengths)
            if grow:
                shape = [max(a, b) for a, b in zip(shape, document["shape"], strict=True)]
            if document["shape"] != shape:
                document["shape"] = shape
                documents[path] = document
        write_documents(self.session, documents)

    def _shape(self, part: Part, slots: int, lengths: Mapping[str, int]) -> list[int]:
        return self._document(part, slots, lengths, {})["shape"]

    def _document(
        self, part: Part, slots: int, lengths: Mapping[str, int], attributes: Mapping[str, Any]
    ) -> dict[str, Any]:
        return part.document(
            self.epoch.layout.axis, slots, lengths, attributes, self.spec.time_chunk
        )

    def _described(self) -> GranuleReferences | None:
        """The granule that describes all, if that is another one than before."""
        first = self.placed.rows[:1]
        if not len(first):
            return None
        (entry,) = self.ledger.at(first)
        fresh = self.placed.fresh.get(0)
        if entry.key == self.epoch.opening and not self.is_new and fresh is None:
            return None
        granule = self._with_attributes(entry, None if fresh is None else fresh.granule)
        if granule is not None:
            self.epoch.opening = entry.key
        return granule

    def _with_attributes(
        self, entry: Entry, known: GranuleReferences | None
    ) -> GranuleReferences | None:
        """A granule with the attributes that decoding does not need, if it can be had so."""
        if known is not None and any(known.groups.values()):
            return known
        (found,) = self.source([entry], described=True)
        if not isinstance(found, GranuleReferences):
            return known
        inside = self.spec.group and self.spec.group in found.groups
        return found.select(self.spec.group) if inside else found

    def _first_with(self, part: Part) -> ArrayReferences | None:
        """An array that the describing granule lacks, of the first new one that has it."""
        for _, fresh in sorted(self.placed.fresh.items()):
            if part.source in fresh.granule.arrays:
                granule = self._with_attributes(fresh.entry, fresh.granule)
                return None if granule is None else granule.arrays.get(part.source)
        return None

    def _describe(self, granule: GranuleReferences, lengths: Mapping[str, int]) -> None:
        """Write every array's metadata and the attributes of all groups."""
        documents: dict[str, Any] = {}
        statics: dict[str, Values] = {}
        for part in self.parts:
            array = granule.arrays.get(part.source) if part.source else part.array
            path = self.epoch.array(part.target)
            had = read_document(self.session, path) if array is None else None
            if array is None and had is None:
                array = self._first_with(part)
            given = {} if array is None else describing(array.attributes)
            given = {k: v for k, v in given.items() if k not in PACKING_ATTRIBUTES}
            if not part.source:
                given = dict(part.array.attributes)
            elif had is not None:
                given = had["attributes"]
            if _is_native_time(part):
                given["axis"] = given.get("axis", "T")
            documents[path] = self._document(part, self.placed.length, lengths, given)
            if part.kind == "static" and array is not None and array.values is not None:
                statics[path] = array.values
        for name in {"", *granule.groups}:
            path = self.epoch.array(name).rstrip("/")
            documents[path] = _group(describing(granule.groups.get(name, {})))
        for path in [path for path in documents if path]:
            above = posixpath.dirname(path)
            while above:
                documents.setdefault(above, _group({}))
                above = posixpath.dirname(above)
        if self.epoch.path:
            documents.pop("", None)
        write_documents(self.session, documents)
        for path, values in statics.items():
            open_array(self.session, path)[...] = values

    def _cover(self) -> None:
        """Say what time the committed granules cover."""
        rows = self.placed.rows
        document = read_document(self.session, self.epoch.path) or _group({})
        attributes = {
            name: value
            for name, value in document["attributes"].items()
            if name not in ("time_coverage_start", "time_coverage_end")
        }
        if len(rows):
            begin = int(self.ledger.column("begin_ms")[rows].min())
            end = int(max(self.ledger.column(c)[rows].max() for c in ("begin_ms", "end_ms")))
            attributes |= {
                "time_coverage_start": stamp_of(begin),
                "time_coverage_end": stamp_of(end),
            }
        if attributes != document["attributes"]:
            write_documents(self.session, {self.epoch.path: {**document, "attributes": attributes}})

    # References

    def _clear(self, part: Part, slots: Sequence[int]) -> None:
        path = self.epoch.array(part.target)
        document = read_document(self.session, path)
        if document is None:
            return
        for slot in slots:
            clear_chunks(self.session, path, part.chunks_of(slot, document))

    def _write_references(self) -> int:
        placed, count = self.placed, 0
        # Where chunks of a former revision, or of a granule that went, may be.
        had = set(placed.slots[placed.old >= 0].tolist()) | set(placed.gone.tolist())
        for position, fresh in placed.fresh.items():
            slot = int(placed.slots[position])
            where = location(fresh.entry.container, fresh.entry.location)
            checksum = self._checksum(fresh)
            for part in self.epoch.layout.of_kind("virtual"):
                array = fresh.granule.arrays.get(part.source)
                path = self.epoch.array(part.target)
                whole = array is not None and array.values is None and bool(array.lengths.all())
                if slot in had and not whole:
                    self._clear(part, [slot])
                if array is None:
                    continue
                if array.values is not None:
                    self._write_values(part, slot, array.values)
                    continue
                count += write_references(
                    self.session,
                    path,
                    where,
                    part.grid(array.offsets),
                    part.grid(array.lengths),
                    part.place(slot),
                    checksum,
                )
        return count

    def _checksum(self, fresh: Fresh) -> str | datetime | None:
        """What a changed original is known by when it is read."""
        kind = self.spec.checksum
        if kind == "none":
            return None
        granule = fresh.granule
        if kind == "etag" and granule.e_tag and fresh.entry.container not in self.local:
            # Icechunk sends it without quotes either way.
            return granule.e_tag.removeprefix("W/").strip('"')
        if not granule.modified:
            return None
        when = datetime.fromisoformat(granule.modified).astimezone(UTC)
        # Whole seconds are kept: a change within the same second is not noticed.
        up = timedelta(seconds=1) if when.microsecond else timedelta()
        return when.replace(microsecond=0, tzinfo=UTC) + up

    def _write_values(self, part: Part, slot: int, values: Values) -> None:
        array = open_array(self.session, self.epoch.array(part.target))
        place: list[Any] = [slice(0, n) for n in values.shape]
        if part.new_axis:
            place, values = [slice(0, 1), *place], values[None]
        place[part.axis] = slice(slot * part.span, (slot + 1) * part.span)
        array[tuple(place)] = values

    # Values along the axis

    def _tails(self) -> dict[str, Values | None]:
        """Values of native arrays from the first slot that changes, as they are now."""
        found: dict[str, Values | None] = {}
        for part in self.parts:
            if part.kind == "native":
                low, high = self._region(part)
                stop = self.placed.old_length if self.placed.is_moved else high
                stop = min(stop, self.placed.old_length)
                found[part.target] = None
                if not self.is_new and stop > low:
                    array = open_array(self.session, self.epoch.array(part.target))
                    found[part.target] = _taken(array, part, low, stop)
        return found

    def _write_native(self, part: Part, had: Values | None, lengths: Mapping[str, int]) -> None:
        placed, (low, high) = self.placed, self._region(part)
        if high <= low:
            return
        shape = self._shape(part, high - low, lengths)
        fill = part.array.fill_value
        values = np.full(shape, fill, part.array.dtype)
        span, axis = part.span, part.axis
        if had is not None:
            had = _fitted(had, shape, axis, fill)
            if placed.is_moved:
                for old, new in zip(placed.old.tolist(), placed.slots.tolist(), strict=True):
                    if old >= low and new >= low:
                        _slot(values, axis, new - low, span)[...] = _slot(
                            had, axis, old - low, span
                        )
            else:
                stop = min(had.shape[axis], values.shape[axis])
                _part(values, axis, 0, stop)[...] = _part(had, axis, 0, stop)
                for slot in placed.gone.tolist():
                    if low <= slot < high:
                        _slot(values, axis, slot - low, span)[...] = fill
        for position, fresh in placed.fresh.items():
            target = _slot(values, axis, int(placed.slots[position]) - low, span)
            self._fill_in(target, part, fresh)
        if placed.step is not None and _is_native_time(part) and values.ndim == 1:
            self._time_of_holes(part, values, low)
        array = open_array(self.session, self.epoch.array(part.target))
        _assign(array, part, low, high, values)

    def _fill_in(self, target: Values, part: Part, fresh: Fresh) -> None:
        if not part.source:
            target[...] = _own_value(part, fresh)
            return
        array = fresh.granule.arrays.get(part.source)
        if array is None or array.values is None:
            return
        values = array.values
        if is_time(part.array.attributes):
            values = converted(values, array.attributes, part.array.attributes)
        if part.new_axis:
            values = values[None]
        target[tuple(slice(0, n) for n in values.shape)] = values

    def _time_of_holes(self, part: Part, values: Values, low: int) -> None:
        """Give slots without a granule the time that a granule there would have."""
        placed = self.placed
        span = part.span
        there = set(placed.slots.tolist())
        holes = [n for n in range(low, low + len(values) // span) if n not in there]
        if not holes:
            return
        if low == 0:
            first = values[:span]
        else:
            first = open_array(self.session, self.epoch.array(part.target))[:span]
        zero, one = milliseconds(np.array([0, 1], "f8"), {**part.array.packing, "_FillValue": None})
        step = (placed.step or 0) / (one - zero)
        for slot in holes:
            moved = first + step * slot
            if values.dtype.kind in "iu":
                moved = np.rint(moved)
            values[(slot - low) * span : (slot - low + 1) * span] = moved

    def _check_padding(self) -> None:
        """See, at one granule, that what follows its end in its last chunk is fill."""
        for position, fresh in self.placed.fresh.items():
            looked = False
            for part in self.epoch.layout.of_kind("virtual"):
                array = fresh.granule.arrays.get(part.source)
                if array is not None and array.values is None:
                    looked |= self._check_tail(part, array, int(self.placed.slots[position]), fresh)
            if looked:
                return

    def _check_tail(self, part: Part, array: ArrayReferences, slot: int, fresh: Fresh) -> bool:
        """Compare the tail of one array with fill; False where it has none."""
        ragged = ragged_of(self.spec)
        whole = [-(-n // c) * c for n, c in zip(array.shape, array.chunks, strict=True)]
        tails = [
            axis
            for axis, dim in enumerate(array.dims)
            if dim in ragged and whole[axis] > array.shape[axis]
        ]
        path = self.epoch.array(part.target)
        document = read_document(self.session, path)
        if not tails or document is None:
            return False
        # As long as its chunks are: readers see a tail where another granule is longer.
        longer = [max(a, b) for a, b in zip(document["shape"], [1, *whole], strict=True)]
        write_documents(self.session, {path: {**document, "shape": longer}})
        stored = open_array(self.session, path)
        fill = np.asarray(array.fill_value, array.dtype)
        for axis in tails:
            place: list[Any] = [slice(0, n) for n in array.shape]
            place[axis] = slice(array.shape[axis], whole[axis])
            values = stored[(slot, *place)]
            if not (np.isnan(values) if fill != fill else values == fill).all():
                raise ConfigurationError(
                    f"{part.source}: what follows the last line of {fresh.entry.name} in its chunk "
                    f"is not the fill value {array.fill_value}, so that shorter granules would "
                    "show numbers that are none; add it to load",
                    code="PaddingNotFill",
                )
        write_documents(self.session, {path: document})
        return True


def _group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def _is_native_time(part: Part) -> bool:
    return part.kind == "native" and is_time(part.array.attributes) and part.target == part.dims[0]


def _length_along(granule: GranuleReferences, ragged: str) -> int:
    for name, array in granule.arrays.items():
        for dim, size in zip(array.dims, array.shape, strict=True):
            if length_name(name, dim) == ragged:
                return size
    return 0


def _own_value(part: Part, fresh: Fresh) -> Any:
    name, entry = part.target, fresh.entry
    if name in ("cycle", "pass"):
        return entry.labels.get(name, part.array.fill_value)
    if name == "filename":
        return posixpath.basename(entry.location)
    if name.endswith(VALID):
        return _length_along(fresh.granule, name.removesuffix(VALID))
    for suffix, attribute, neutral in (
        (SCALE_FACTOR, "scale_factor", 1.0),
        (ADD_OFFSET, "add_offset", 0.0),
    ):
        if name.endswith(suffix):
            array = fresh.granule.arrays.get(name.removesuffix(suffix))
            return math.nan if array is None else array.attributes.get(attribute, neutral)
    return stamp_ms(entry.end if name == "end" else entry.begin) or 0


def _part(values: Values, axis: int, start: int, stop: int) -> Values:
    return values[
        tuple(slice(start, stop) if n == axis else slice(None) for n in range(values.ndim))
    ]


def _slot(values: Values, axis: int, slot: int, span: int) -> Values:
    return _part(values, axis, slot * span, (slot + 1) * span)


def _taken(array: Any, part: Part, low: int, stop: int) -> Values:
    place = [slice(None)] * array.ndim
    place[part.axis] = slice(low * part.span, stop * part.span)
    return array[tuple(place)]


def _assign(array: Any, part: Part, low: int, high: int, values: Values) -> None:
    place = [slice(None)] * array.ndim
    place[part.axis] = slice(low * part.span, high * part.span)
    array[tuple(place)] = values


def _fitted(values: Values, shape: Sequence[int], axis: int, fill: Any) -> Values:
    """Values on axes that may have become longer or shorter, except the one of granules."""
    wanted = [values.shape[n] if n == axis else size for n, size in enumerate(shape)]
    if list(values.shape) == wanted:
        return values
    found = np.full(wanted, fill, values.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(values.shape, wanted, strict=True))
    found[common] = values[common]
    return found
