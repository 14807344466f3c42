"""Values of a granule that is stored otherwise than its siblings, as its siblings store them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dor_ecco_assets.errors import InputUnusable
from dor_ecco_assets.virtual.references import ArrayReferences

__all__ = ["repacked"]

type Values = npt.NDArray[Any]


def repacked(name: str, given: ArrayReferences, wanted: ArrayReferences) -> Values:
    """The stored numbers by which `wanted` means the physical values of `given`.

    Parameters
    ----------
    name : str
        For messages.
    given : ArrayReferences
        With values.
    wanted : ArrayReferences
        Whose type, packing and missing values are the store's.

    Returns
    -------
    ndarray of the wanted type
        Within half a step of the wanted packing, which is not coarser than the given one.

    Raises
    ------
    InputUnusable
        Code ``NotRepresentable``, if some value would be lost.
    """
    values = given.values
    assert values is not None
    if given.dtype == wanted.dtype and given.packing == wanted.packing:
        return values
    if given.attributes.get("_Unsigned") != wanted.attributes.get("_Unsigned"):
        raise _lost(name, "one is unsigned")
    if given.attributes.get("units") != wanted.attributes.get("units"):
        raise _lost(
            name,
            f"units are {given.attributes.get('units')!r}, the store's "
            f"{wanted.attributes.get('units')!r}",
        )
    missing = _missing(values, given.attributes)
    scales = [_scale(array.attributes) for array in (given, wanted)]
    if scales[0] == scales[1]:
        found = _cast(name, values, missing, wanted.dtype)
    else:
        found = _quantised(name, values, missing, scales[0], scales[1], given, wanted)
    return _with_missing(name, found, missing, wanted)


def _scale(attributes: Mapping[str, Any]) -> tuple[float, float]:
    return float(attributes.get("scale_factor", 1.0)), float(attributes.get("add_offset", 0.0))


def _lost(name: str, why: str) -> InputUnusable:
    return InputUnusable(
        f"{name} cannot be stored as its siblings are without loss: {why}", code="NotRepresentable"
    )


def _missing(values: Values, attributes: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    found = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for key in ("_FillValue", "missing_value"):
        if isinstance(attributes.get(key), int | float):
            found |= values == attributes[key]
    return found


def _cast(
    name: str, values: Values, missing: npt.NDArray[np.bool_], dtype: np.dtype[Any]
) -> Values:
    with np.errstate(invalid="ignore", over="ignore"):
        found = values.astype(dtype)
    if not np.array_equal(found[~missing], values[~missing]):
        raise _lost(name, f"{values.dtype} values do not fit into {dtype}")
    return found


def _quantised(
    name: str,
    values: Values,
    missing: npt.NDArray[np.bool_],
    given_scale: tuple[float, float],
    wanted_scale: tuple[float, float],
    given: ArrayReferences,
    wanted: ArrayReferences,
) -> Values:
    physical = values.astype(np.float64) * given_scale[0] + given_scale[1]
    numbers = (physical - wanted_scale[1]) / wanted_scale[0]
    there = ~missing
    if wanted.dtype.kind == "f":
        return numbers.astype(wanted.dtype)
    if given.dtype.kind == "f" or abs(wanted_scale[0]) > abs(given_scale[0]) * (1 + 1e-9):
        step = "floating point" if given.dtype.kind == "f" else f"{given_scale[0]:g}"
        raise _lost(name, f"steps are {step}, the store's {wanted_scale[0]:g}")
    whole = np.rint(numbers)
    limits = np.iinfo(wanted.dtype)
    inside = (whole >= limits.min) & (whole <= limits.max)
    if not inside[there].all():
        raise _lost(name, f"values beyond the range of {wanted.dtype}")
    return np.where(there, whole, 0).astype(wanted.dtype)


def _with_missing(
    name: str, found: Values, missing: npt.NDArray[np.bool_], wanted: ArrayReferences
) -> Values:
    fill = wanted.attributes.get("_FillValue")
    if fill is None and wanted.dtype.kind == "f":
        fill = np.nan
    if fill is not None and wanted.dtype.kind != "f" and (found[~missing] == fill).any():
        raise _lost(name, f"a value would become {fill}, which means missing in the store")
    if not missing.any():
        return found
    if fill is None:
        raise _lost(name, "values are missing, and the store has no number for that")
    found = found.copy()
    found[missing] = fill
    return found
