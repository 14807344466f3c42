"""Whether a granule fits a store whose arrays another granule opened, and if not, why.

A difference is named by its cause; what follows from it (quarantine, materialise, a new epoch) is
the store's policy and not decided here.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.virtual.references import (
    PACKING_ATTRIBUTES,
    ArrayReferences,
    GranuleReferences,
    decode_relevant,
)

__all__ = ["CAUSES", "Cause", "Difference", "check_size", "differences"]

Cause = Literal[
    "VariableMissing",
    "VariableExtra",
    "DtypeMismatch",
    "DimMismatch",
    "ChunkMismatch",
    "CodecMismatch",
    "FillMismatch",
    "PackingMismatch",
    "CoordMismatch",
]

#: What each cause means for a reader who would take the granule as one of the others.
CAUSES: dict[Cause, str] = {
    "VariableMissing": "an array of the store is not in the granule",
    "VariableExtra": "an array of the granule is not in the store",
    "DtypeMismatch": "bytes would be read as another type",
    "DimMismatch": "an axis other than the one along which granules follow has another length",
    "ChunkMismatch": "chunks would land in the wrong place",
    "CodecMismatch": "bytes could not be decoded",
    "FillMismatch": "missing values would be taken for data",
    "PackingMismatch": "stored numbers would become wrong physical values",
    "CoordMismatch": "values would be labelled with wrong coordinates",
}

_FILL = frozenset({"_FillValue", "missing_value"})


@dataclass(frozen=True)
class Difference:
    """One way in which a granule differs from those of the store."""

    code: Cause
    variable: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        """Say what was found where, and what was expected."""
        return (
            f"{self.code} in {self.variable}: found {self.found}, expected {self.expected}"
            f" ({CAUSES[self.code]})"
        )


def differences(
    reference: GranuleReferences,
    granule: GranuleReferences,
    *,
    concat_dim: str | None,
    tolerance: float = 0.0,
    variable_length: Collection[str] = (),
) -> list[Difference]:
    """Every way in which a granule cannot be read as `reference` is.

    Parameters
    ----------
    reference : GranuleReferences
        The granule that opened the store or epoch.
    granule : GranuleReferences
        Parsed with the same `load`.
    concat_dim : str or None
        Axis along which granules follow each other; loaded arrays on it may differ in values,
        units and calendar, since they are converted when they are written.
    tolerance : float
        Largest difference of other loaded coordinates, in their unit.
    variable_length : collection of str
        Axes that may be longer or shorter (ragged swaths).

    Returns
    -------
    list of Difference
        Empty if the granule fits. A deflate level is no difference.
    """
    free = {concat_dim, *variable_length}
    found: list[Difference] = []
    for name in sorted(reference.arrays.keys() | granule.arrays.keys()):
        expected, given = reference.arrays.get(name), granule.arrays.get(name)
        if given is None:
            found.append(Difference("VariableMissing", name, "an array", "none"))
        elif expected is None:
            found.append(Difference("VariableExtra", name, "none", "an array"))
        else:
            found += (
                Difference(code, name, want, have)
                for code, want, have in _array_differences(
                    expected, given, free, concat_dim, tolerance
                )
            )
    return found


type _Found = tuple[Cause, Any, Any]


def _array_differences(
    expected: ArrayReferences,
    given: ArrayReferences,
    free: Collection[str | None],
    concat_dim: str | None,
    tolerance: float,
) -> Iterator[_Found]:
    if (expected.values is None) != (given.values is None):
        want, have = ("byte ranges" if a.values is None else "values" for a in (expected, given))
        yield "CodecMismatch", want, have
        return
    if expected.dtype != given.dtype:
        yield "DtypeMismatch", expected.dtype.str, given.dtype.str
    if expected.dims != given.dims or any(
        dim not in free and want != have
        for dim, want, have in zip(expected.dims, expected.shape, given.shape, strict=False)
    ):
        yield (
            "DimMismatch",
            dict(zip(expected.dims, expected.shape, strict=True)),
            dict(zip(given.dims, given.shape, strict=True)),
        )
        return
    if expected.values is None:
        yield from _storage_differences(expected, given)
        yield from _packing_differences(expected, given, PACKING_ATTRIBUTES)
    elif concat_dim not in expected.dims:
        yield from _packing_differences(expected, given, PACKING_ATTRIBUTES)
        if not any(dim in free for dim in expected.dims):
            yield from _value_differences(expected, given, tolerance)


def _storage_differences(expected: ArrayReferences, given: ArrayReferences) -> Iterator[_Found]:
    if expected.chunks != given.chunks:
        yield "ChunkMismatch", expected.chunks, given.chunks
    codecs = [[decode_relevant(codec) for codec in array.codecs] for array in (expected, given)]
    if codecs[0] != codecs[1]:
        yield "CodecMismatch", codecs[0], codecs[1]
    if not _same(expected.fill_value, given.fill_value):
        yield "FillMismatch", expected.fill_value, given.fill_value


def _packing_differences(
    expected: ArrayReferences, given: ArrayReferences, names: Collection[str]
) -> Iterator[_Found]:
    for name in names:
        want, have = expected.attributes.get(name), given.attributes.get(name)
        if not _same(want, have):
            code: Cause = "FillMismatch" if name in _FILL else "PackingMismatch"
            yield code, f"{name} = {want}", f"{name} = {have}"


def _same(want: Any, have: Any) -> bool:
    # NaN is a common fill value.
    return want == have or (want != want and have != have)


def _value_differences(
    expected: ArrayReferences, given: ArrayReferences, tolerance: float
) -> Iterator[_Found]:
    assert expected.values is not None
    assert given.values is not None
    if expected.values.shape == given.values.shape:
        if expected.values.dtype.kind not in "iuf":
            if not np.array_equal(expected.values, given.values):
                yield "CoordMismatch", "equal values", "other values"
            return
        if expected.values.tobytes() == given.values.tobytes():
            return
        apart = np.abs(expected.values.astype(np.float64) - given.values.astype(np.float64))
        furthest = float(np.nanmax(apart)) if not np.isnan(apart).all() else 0.0
        holes = np.isnan(apart) & ~(_nan(expected.values) & _nan(given.values))
        if furthest <= tolerance and not holes.any():
            return
        yield "CoordMismatch", f"within {tolerance:g}", f"up to {furthest:g} apart"
    else:
        yield "CoordMismatch", expected.values.shape, given.values.shape


def _nan(values: Any) -> Any:
    return np.isnan(values.astype(np.float64))


def check_size(name: str, found: int, listed: int | None) -> None:
    """Compare a file's size with what CMR lists.

    Raises
    ------
    InputUnusable
        Code ``SizeMismatch``; the archive may still be copying it.
    """
    if listed is not None and found != listed:
        raise InputUnusable(
            f"{name} has {found} bytes, CMR lists {listed}; try again later", code="SizeMismatch"
        )
