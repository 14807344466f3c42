"""Whether a granule can stand among those of an epoch, and at the time that is listed of it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.lineage.ledger import Entry
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.compatibility import Difference, differences
from dor_ecco_assets.virtual.layout import Part, ragged_of
from dor_ecco_assets.virtual.references import ArrayReferences, GranuleReferences
from dor_ecco_assets.virtual.times import (
    converted,
    is_time,
    milliseconds,
    stamp_ms,
    stamp_of,
)
from dor_ecco_assets.virtual.writing import Epoch, open_array

__all__ = ["Problem", "compare", "outside", "time_part", "times_of"]

#: How far times may be from a listing that tells no length, in milliseconds.
_DAY_MS = 86.4e6


class Problem(NamedTuple):
    """Why a granule does not fit: cause, array, and what was found and expected."""

    code: str
    variable: str
    text: str


def compare(
    spec: StoreSpec, session: Any, epoch: Epoch, granule: GranuleReferences
) -> tuple[list[Problem], list[str]]:
    """Why a granule does not fit an epoch, and what of it differs without harm.

    Parameters
    ----------
    spec : StoreSpec
    session : icechunk session
        Where values that are the same in all granules are read, if they seem to differ.
    epoch : Epoch
    granule : GranuleReferences
    """
    layout = epoch.layout
    parts = {part.source: part for part in layout.parts if part.source}
    problems: list[Problem] = []
    notes: list[str] = []
    for found in differences(
        layout.reference(granule, _Statics(session, epoch)),
        granule,
        concat_dim=layout.axis,
        tolerance=spec.tolerance,
        variable_length=ragged_of(spec),
    ):
        part = parts.get(found.variable)
        if found.code == "VariableExtra" and spec.variables != "strict":
            if spec.variables == "union":
                notes.append(f"{found.variable} is not in the store")
        elif found.code == "VariableMissing" and part is not None and _may_lack(spec, part):
            notes.append(f"{found.variable} is missing")
        elif part is None or not _is_kept_per_granule(part, found):
            problems.append(Problem(found.code, found.variable, str(found)))
    if not problems:
        for name, part in parts.items():
            array = granule.arrays.get(name)
            if array is not None and part.kind != "static":
                problems += _along(part, array)
    return problems, notes


def _may_lack(spec: StoreSpec, part: Part) -> bool:
    return spec.variables == "union" and part.kind != "static" and not _is_axis(spec, part)


def _is_axis(spec: StoreSpec, part: Part) -> bool:
    return part.kind == "native" and part.source == spec.concat.dim and not part.new_axis


def _is_kept_per_granule(part: Part, found: Difference) -> bool:
    """Whether the store keeps for every granule what differs here."""
    if part.packed:
        told = f"{found.expected} {found.found}"
        return found.code == "PackingMismatch" and ("scale_factor" in told or "add_offset" in told)
    # Their packing is compared by itself.
    return part.kind == "native" and found.code in ("CoordMismatch", "PackingMismatch")


def _along(part: Part, array: ArrayReferences) -> Iterator[Problem]:
    """What keeps an array from following the others along the axis."""
    if not part.new_axis and array.shape[part.axis] != part.span:
        text = f"{part.source} has {array.shape[part.axis]} steps, expected {part.span}"
        yield Problem("UnalignedAppend", part.source, text)
    if part.packed and dict(array.types) != dict(part.array.types):
        # The same numbers of another type decode to other digits.
        text = f"{part.source} is packed in {dict(array.types)}, expected {dict(part.array.types)}"
        yield Problem("PackingMismatch", part.source, text)
    if part.kind != "native" or array.values is None:
        return
    # Times are converted.
    free = {"units", "calendar"} if is_time(part.array.attributes) else set[str]()
    want, have = (
        {name: value for name, value in each.packing.items() if name not in free}
        for each in (part.array, array)
    )
    if str(want) != str(have):  # NaN, the commonest missing value, equals nothing
        text = f"{part.source} is packed by {have}, expected {want}"
        yield Problem("PackingMismatch", part.source, text)
    elif free:
        try:
            converted(array.values, array.attributes, part.array.attributes)
        except InputUnusable as error:
            yield Problem(error.code, part.source, f"{part.source}: {error.message}")


class _Statics(Mapping[str, Any]):
    """Values of an epoch's static arrays, read when they are asked for."""

    def __init__(self, session: Any, epoch: Epoch) -> None:
        self._session, self._epoch = session, epoch

    def __getitem__(self, target: str) -> Any:
        if target in self._epoch.statics:
            return self._epoch.statics[target]
        return open_array(self._session, self._epoch.array(target))[...]

    def __iter__(self) -> Iterator[str]:
        return iter(self._epoch.statics)

    def __len__(self) -> int:
        return len(self._epoch.statics)


# Times


def time_part(spec: StoreSpec, epoch: Epoch) -> Part | None:
    """The array of times along the axis, where granules have one."""
    return next(
        (
            part
            for part in epoch.layout.parts
            if _is_axis(spec, part)
            and len(part.array.shape) == 1
            and is_time(part.array.attributes)
        ),
        None,
    )


def times_of(
    spec: StoreSpec, epoch: Epoch, entry: Entry, granule: GranuleReferences
) -> tuple[float, float]:
    """First and last time of a granule in milliseconds since 1970; NaN where it has none.

    Raises
    ------
    InputUnusable
        Code ``TimeInvalid``: they do not rise, or are further from those that are listed than one
        step or what the granule covers.
    """
    part = time_part(spec, epoch)
    array = None if part is None else granule.arrays.get(part.source)
    if array is None or array.values is None or not is_time(array.attributes):
        return math.nan, math.nan
    times = milliseconds(array.values, array.attributes)
    name = spec.concat.dim
    if (np.diff(times) <= 0).any():
        raise InputUnusable(f"{name} does not rise", code="TimeInvalid")
    first, last = float(times[0]), float(times[-1])
    away = outside(entry, first, last)
    if away > _tolerance_ms(spec, entry):
        raise InputUnusable(
            f"{name} is {stamp_of(round(first))}, {away / 1000:.0f} s from the listed"
            f" {entry.begin} to {entry.end}",
            code="TimeInvalid",
        )
    return first, last


def outside(entry: Entry, first: float, last: float) -> float:
    """How far times are from those that are listed, in milliseconds."""
    begin, end = stamp_ms(entry.begin), stamp_ms(entry.end)
    if begin is None or math.isnan(first):
        return 0.0
    return max(begin - first, last - (end if end is not None else begin), 0.0)


def _tolerance_ms(spec: StoreSpec, entry: Entry) -> float:
    if spec.concat.step_s is not None:
        return spec.concat.step_s * 1000
    begin, end = stamp_ms(entry.begin), stamp_ms(entry.end)
    covered = 0 if begin is None or end is None else end - begin
    return float(covered) if covered > 0 else _DAY_MS
