"""The binaries of a lat-lon-cap grid: which files there are, what is missing, what they hold.

Files are reached through a `Storage`, local or remote.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.grids.llc import N_TILES
from dor_ecco_assets.grids.llc_geometry import (
    ALIASES,
    OPTIONAL_FIELDS,
    PROFILE_FIELDS,
    REQUIRED_FIELDS,
)
from dor_ecco_assets.grids.mds import (
    MdsMeta,
    check_shape,
    check_size,
    parse_meta,
    read_compact,
)
from dor_ecco_assets.storage.base import Readable

__all__ = [
    "binaries_of",
    "missing_fields",
    "missing_meta",
    "read_grid_fields",
]

_PROFILES = frozenset(PROFILE_FIELDS)
_FRACTIONS = frozenset(OPTIONAL_FIELDS)

#: Who needs a grid field, and what stands in for it; for the message that says it is missing.
_NEEDED_BY: dict[str, str] = {
    "XC": "every product",
    "YC": "every product",
    "XG": "native granules (cell corners)",
    "YG": "native granules (cell corners)",
    "RAC": "mapping factors, global means and the geometry granule",
    "DXG": "mapping factors and the geometry granule",
    "DYG": "mapping factors and the geometry granule",
    "Depth": "wet masks, hence every product",
    "RC": "every 3-D product",
    "RF": "wet masks below the surface and every 3-D product",
    "DRF": "wet masks below the surface and every 3-D product",
    "AngleCS": "eastward and northward vectors",
    "AngleSN": "eastward and northward vectors",
    "hFacC": "wet masks",
    "hFacW": "wet masks of west edges",
    "hFacS": "wet masks of south edges",
}


def binaries_of(
    source: Readable,
    folder: str = "",
    *,
    fields: Sequence[str] = (*REQUIRED_FIELDS, *OPTIONAL_FIELDS),
) -> dict[str, str | None]:
    """Find the files of a grid.

    Parameters
    ----------
    source : Readable
    folder : str, optional
        Key of the folder that holds ``XC.data``, ``XC.meta`` and the rest.
    fields : sequence of str
        Under MITgcm's names; the published names (``rA`` for ``RAC``) are tried too.

    Returns
    -------
    dict
        ``XC.data``, ``XC.meta``, ... -> key, or None where the file is absent.
    """
    found: dict[str, str | None] = {}
    for field in fields:
        stems = _stems(folder, field)
        there = [stem for stem in stems if source.stat(f"{stem}.data") is not None]
        stem = there[0] if there else stems[0]
        for ending in ("data", "meta"):
            key = f"{stem}.{ending}"
            found[f"{field}.{ending}"] = key if source.stat(key) is not None else None
    return found


def missing_fields(
    source: Readable,
    folder: str,
    keys: Mapping[str, str | None],
    *,
    required: Sequence[str] = REQUIRED_FIELDS,
) -> InputMissing | None:
    """Say what keeps a grid from being read.

    Parameters
    ----------
    source : Readable
    folder : str
    keys : mapping
        As from `binaries_of`.
    required : sequence of str
        Fields without which there is no grid.

    Returns
    -------
    InputMissing or None
        Code ``MissingGridField``, listing every absent field, the files tried, what needs it and
        what stands in for it; else code ``MissingMeta`` for the first field without its ``.meta``.
    """
    absent = [field for field in required if keys.get(f"{field}.data") is None]
    if absent:
        listed = "; ".join(_describe_absent(folder, field) for field in absent)
        return InputMissing(
            f"{source.locate(folder)} lacks grid fields: {listed}; put the files beside the "
            f"others of the same grid",
            code="MissingGridField",
        )
    for name, key in keys.items():
        if name.endswith(".data") and key is not None and not keys.get(f"{name[:-5]}.meta"):
            return missing_meta(source, key.removesuffix(".data"))
    return None


def missing_meta(source: Readable, key: str) -> InputMissing:
    """Say that a ``.data`` file, whose key without extension is given, lacks its description."""
    return InputMissing(
        f"{source.locate(f'{key}.data')} has no description, {source.locate(f'{key}.meta')} is "
        f"missing; bring it, or write it: shape and precision as MITgcm states them",
        code="MissingMeta",
    )


def read_grid_fields(
    source: Readable,
    folder: str = "",
    *,
    required: Sequence[str] = REQUIRED_FIELDS,
    optional: Sequence[str] = OPTIONAL_FIELDS,
) -> dict[str, NDArray[np.float64]]:
    """Read the binaries of a grid.

    Parameters
    ----------
    source : Readable
    folder : str, optional
        Key of the folder that holds ``XC.data``, ``XC.meta`` and the rest.
    required : sequence of str
        Fields that must be there, under MITgcm's names; the published names (``rA`` for ``RAC``)
        are tried too.
    optional : sequence of str
        Fields that are read where they are there.

    Returns
    -------
    dict of str to ndarray of float64
        Under MITgcm's names: horizontal fields compact ``(13 L, L)``, open fractions
        ``(k, 13 L, L)``, profiles ``(k,)``.

    Raises
    ------
    InputMissing
        Code ``MissingGridField``, listing every missing field, the files tried, what needs it
        and what stands in for it; code ``MissingMeta``.
    InputUnusable
        Codes of `check_pair`, if a file does not fit the others; code ``GridValues``, if it
        holds what no grid can.
    """
    keys = binaries_of(source, folder, fields=tuple(dict.fromkeys((*required, *optional))))
    missing = missing_fields(source, folder, keys, required=required)
    if missing is not None:
        raise missing
    found = {n.removesuffix(".data"): k for n, k in keys.items() if k and n.endswith(".data")}
    metas: dict[str, MdsMeta] = {}
    for field, data in found.items():
        uri = source.locate(keys[f"{field}.meta"] or "")
        metas[field] = parse_meta(source.read(keys[f"{field}.meta"] or "") or b"", uri)
        stat = source.stat(data)
        check_size(metas[field], source.locate(data), stat.size if stat else 0)
    expected = _expected_shapes(metas)
    for field, data in found.items():
        check_shape(metas[field], source.locate(data), expected[field], "this grid")
    fields: dict[str, NDArray[np.float64]] = {}
    for field, data in found.items():
        uri = source.locate(data)
        raw = read_compact(source.read(data) or b"", metas[field], name=uri)
        fields[field] = raw.astype(np.float64)
        _check_values(field, fields[field], uri)
    return fields


#: Smallest and largest value that each grid field can have, in its own unit; 0 is not a length,
#: an area or a thickness. Angles may leave 1 by rounding.
_TINY, _ROUNDING = 1e-9, 1e-6
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("XC", "XG"), (-360.0, 360.0)),
    **dict.fromkeys(("YC", "YG"), (-90.0, 90.0)),
    **dict.fromkeys(("AngleCS", "AngleSN"), (-1 - _ROUNDING, 1 + _ROUNDING)),
    **dict.fromkeys(("DXG", "DYG"), (_TINY, 2e7)),
    **dict.fromkeys(OPTIONAL_FIELDS, (0.0, 1 + _ROUNDING)),
    "RAC": (_TINY, 6e14),
    "Depth": (0.0, 12_000.0),
    "DRF": (_TINY, 12_000.0),
    **dict.fromkeys(("RC", "RF"), (-12_000.0, 0.0)),
}


def _check_values(field: str, values: NDArray[np.float64], uri: str) -> None:
    """Refuse a grid file with a value that no grid has: it would spoil every product silently."""
    low, high = _RANGES[field]
    bad = int(np.count_nonzero(~((values >= low) & (values <= high))))  # NaN is neither
    if bad:
        finite = values[np.isfinite(values)]
        found = f"{finite.min():g} to {finite.max():g}" if finite.size else "no finite value"
        raise InputUnusable(
            f"{uri}: {field} holds {found}, expected {low:g} to {high:g}; {bad} values are outside "
            "or not numbers: fetch the file again",
            code="GridValues",
            uri=uri,
        )
    if field in ("RC", "RF") and (np.diff(values) >= 0).any():
        raise InputUnusable(
            f"{uri}: {field} does not decrease from level to level; fetch the file again",
            code="GridValues",
            uri=uri,
        )


def _expected_shapes(metas: Mapping[str, MdsMeta]) -> dict[str, tuple[int, ...]]:
    """Shapes that fit the first horizontal field's side and DRF's levels."""
    side = next((meta.dims[0][0] for field, meta in metas.items() if field not in _PROFILES), 0)
    shapes: dict[str, tuple[int, ...]] = {}
    for field, meta in metas.items():
        plane = (1, 1) if field in _PROFILES else (N_TILES * side, side)
        if field not in _PROFILES and field not in _FRACTIONS:
            shapes[field] = plane
            continue
        levels = metas["DRF"].shape[0] if "DRF" in metas else meta.shape[0]
        interfaces = field == "RF" and "DRF" in metas  # one more than levels
        shapes[field] = (levels + interfaces, *plane)
    return shapes


def _stems(folder: str, field: str) -> list[str]:
    """Keys without extension under which a field is looked for."""
    published = [name for name, mitgcm in ALIASES.items() if mitgcm == field]
    return ["/".join(part for part in (folder.strip("/"), n) if part) for n in (field, *published)]


def _describe_absent(folder: str, field: str) -> str:
    derivable = field in _FRACTIONS
    fallback = "can be derived from Depth, RF and DRF instead" if derivable else "no fallback"
    tried = " and ".join(f"{stem}.data" for stem in _stems(folder, field))
    needed = _NEEDED_BY.get(field, "the geometry granule")
    return f"{field} (tried {tried}; needed by {needed}; {fallback})"
