"""Mapping factors: which source cells give each cell of a latitude-longitude grid its value.

Per depth level, a target cell is wet if the nearest of *all* source cells is wet there. Its value
is the mean of the wet source cells within its radius, or else that of the nearest source cell.
With a radius of about half a target cell nearly every bin holds one cell, so the factors are one
nearest index per target plus the short list of (target, source) pairs within the radius; both
are independent of depth and come from one tree over all source cells. What differs between
levels is the wet mask alone.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError, GridMismatch
from dor_ecco_assets.grids.latlon import EARTH_RADIUS_M
from dor_ecco_assets.mapping.bins import Bins, crowded_of_pairs, wet_bins
from dor_ecco_assets.mapping.search import (
    DISTANCE_SPHERE_RADIUS_M,
    TIE_TOLERANCE_M,
    RadiusMethod,
    find_neighbours,
    points_m,
    target_radius_m,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "NEIGHBOUR_CAP",
    "Level",
    "MappingFactors",
    "RadiusMethod",
    "WeightMethod",
    "build_factors",
    "check_grid",
    "crowded_bins",
    "from_dataset",
    "level_bins",
    "level_mask",
    "level_weights",
    "level_wet",
    "target_radius_m",
    "to_dataset",
]

#: `mean` averages the wet cells of a bin, `nearest` takes the nearest source cell everywhere.
WeightMethod = Literal["mean", "nearest"]
#: A depth level, or the columns that are wet at any level.
Level = int | Literal["any_wet"]

#: ECCO-Dataset-Production asks for at most this many neighbours of a target; we for all.
NEIGHBOUR_CAP = 100

#: Raised when the layout of `to_dataset` or the meaning of a manifest key changes.
FORMAT = 1


@dataclass(frozen=True, eq=False)
class MappingFactors:
    """Everything needed to map a source grid to a latitude-longitude grid, at every depth level.

    Parameters
    ----------
    latitude, longitude : ndarray of float64, shape (n_latitude,) and (n_longitude,), degrees
        Centres of the target cells; targets are numbered row by row.
    nearest : ndarray of int32, shape (n_target,)
        Flat index of the nearest of all source cells; -1 where none is near enough.
    nearest_distance_m : ndarray of float32, shape (n_target,), m
        Chord distance to the nearest source cell, also where it is too far to be used.
    radius_m : ndarray of float32, shape (n_target,), m
    bin_target, bin_source : ndarray of int32, shape (n_pair,)
        All pairs within the radius, wet or dry, in ascending order of target, then source.
        None if the weights are `nearest`.
    wet_bits : ndarray of uint8, shape (nk, ceil(n_source / 8))
        Wet mask of the source, packed by `numpy.packbits`.
    mask : ndarray of bool, shape (nk, n_target)
        True where the target is wet.
    manifest : mapping
        Method, spheres, radii, extent, counts per level and hashes, ready for JSON.
    """

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    nearest: NDArray[np.int32]
    nearest_distance_m: NDArray[np.float32]
    radius_m: NDArray[np.float32]
    bin_target: NDArray[np.int32]
    bin_source: NDArray[np.int32]
    wet_bits: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    manifest: Mapping[str, Any]

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Shape of one source level, ``(13, L, L)`` for a lat-lon-cap grid."""
        return tuple(self.manifest["source_shape"])

    @property
    def target_shape(self) -> tuple[int, int]:
        """Shape of one target level, (n_latitude, n_longitude)."""
        return self.latitude.size, self.longitude.size

    @property
    def n_levels(self) -> int:
        """Number of depth levels."""
        return self.mask.shape[0]

    @property
    def n_source(self) -> int:
        """Number of source cells."""
        return int(np.prod(self.source_shape))

    @property
    def n_target(self) -> int:
        """Number of target cells."""
        return self.mask.shape[1]

    @cached_property
    def wet(self) -> NDArray[np.bool_]:
        """Wet mask of the source, shape (nk, n_source)."""
        return np.unpackbits(self.wet_bits, axis=1, count=self.n_source).view(np.bool_)


def build_factors(
    lon: NDArray[Any],
    lat: NDArray[Any],
    wet: NDArray[np.bool_],
    *,
    min_length_m: float,
    max_length_m: float,
    latitude: NDArray[Any],
    longitude: NDArray[Any],
    resolution_degrees: float,
    method: RadiusMethod = "area",
    radius_m: float | None = None,
    weights: WeightMethod = "mean",
) -> MappingFactors:
    """Build the factors from cell centres anywhere on the sphere to a regular grid, all levels.

    Parameters
    ----------
    lon, lat : ndarray, shape (tile, j, i) or any other, degrees
        Centres of all source cells, dry ones included. Their shape is the one that fields to
        be mapped must have.
    wet : ndarray of bool, shape (nk, *lon.shape)
        True where the cell holds water.
    min_length_m, max_length_m : float, m
        Smallest and largest edge of a source cell, over dry cells too. A source further than
        the whole metres of the largest is not used.
    latitude, longitude : ndarray, shape (n_latitude,) and (n_longitude,), degrees
        Centres of the target cells, global or not, across the date line or not.
    resolution_degrees : float
        Extent of a target cell in latitude and longitude.
    method : {"area", "constant", "constant_1p1", "fixed"}, default "area"
        Radius of the bins, see `target_radius_m`.
    radius_m : float, optional, m
        The radius of `fixed`.
    weights : {"mean", "nearest"}, default "mean"

    Returns
    -------
    MappingFactors

    Raises
    ------
    GridMismatch
        If the arrays disagree in shape or hold coordinates that are not finite.
    ConfigurationError
        If the method, the radius or the weights are not as above.

    Warns
    -----
    UserWarning
        If a limit of `NEIGHBOUR_CAP` neighbours, which ECCO-Dataset-Production has, would have
        given other weights.

    Notes
    -----
    The bins are cut at the whole metres of the largest radius, as in ECCO-Dataset-Production.
    """
    _require_grid(lon, lat, wet, latitude, longitude)
    _require_choices(weights, min_length_m, max_length_m)
    latitude, longitude = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
    row_radius_m = target_radius_m(
        latitude, resolution_degrees=resolution_degrees, method=method, radius_m=radius_m
    )
    reach_m = np.minimum(np.repeat(row_radius_m, longitude.size), np.floor(row_radius_m.max()))
    found = find_neighbours(
        points_m(np.ravel(lon), np.ravel(lat)),
        points_m(np.tile(longitude, latitude.size), np.repeat(latitude, longitude.size)),
        reach_m if weights == "mean" else None,
    )
    reached = found.distance_m <= np.floor(max_length_m)
    nearest = np.where(reached, found.nearest, -1).astype(np.int32)
    flat_wet = np.ascontiguousarray(wet.reshape(len(wet), -1))
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "method": method,
        "weights": weights,
        "resolution_degrees": float(resolution_degrees),
        "extent": _extent(latitude, longitude, resolution_degrees),
        "target_shape": [latitude.size, longitude.size],
        "source_shape": list(lon.shape),
        "n_levels": len(wet),
        "area_sphere_radius_m": EARTH_RADIUS_M,
        "distance_sphere_radius_m": DISTANCE_SPHERE_RADIUS_M,
        "radius_min_m": float(row_radius_m.min()),
        "radius_max_m": float(row_radius_m.max()),
        "search_radius_m": float(np.floor(row_radius_m.max())),
        "nearest_within_m": float(np.floor(max_length_m)),
        "source_min_length_m": float(min_length_m),
        "source_max_length_m": float(max_length_m),
        "largest_nearest_distance_m": float(found.distance_m.max()),
        "unreached_targets": int(np.count_nonzero(~reached)),
        "tie_tolerance_m": TIE_TOLERANCE_M,
        "ties": found.ties,
        "pairs": found.bin_source.size,
        "neighbour_cap": NEIGHBOUR_CAP,
        "sha256": _grid_hashes(lon, lat, flat_wet),
    }
    factors = MappingFactors(
        latitude=latitude,
        longitude=longitude,
        nearest=nearest,
        nearest_distance_m=found.distance_m.astype(np.float32),
        radius_m=np.repeat(row_radius_m, longitude.size).astype(np.float32),
        bin_target=found.bin_target,
        bin_source=found.bin_source,
        wet_bits=np.packbits(flat_wet, axis=1),
        mask=_mask_of(flat_wet, nearest),
        manifest=manifest,
    )
    manifest.update(_counts(factors))
    _require_consistent(factors)
    if capped := sum(manifest["levels"]["over_cap"]):
        warnings.warn(
            f"{capped} targets (over {len(wet)} levels) average more than {NEIGHBOUR_CAP} sources;"
            f" ECCO-Dataset-Production stops at {NEIGHBOUR_CAP} and would give them other weights",
            UserWarning,
            stacklevel=2,
        )
    return factors


def level_wet(factors: MappingFactors, level: Level) -> NDArray[np.bool_]:
    """Wet mask of the source at a level, shape (n_source,)."""
    return factors.wet.any(axis=0) if level == "any_wet" else factors.wet[level]


def level_mask(factors: MappingFactors, level: Level) -> NDArray[np.bool_]:
    """Wet mask of the target at a level, shape (n_target,)."""
    if level == "any_wet":
        return _mask_of(level_wet(factors, level)[None], factors.nearest)[0]
    return factors.mask[level]


def crowded_bins(factors: MappingFactors) -> Bins:
    """Bins that can make a target differ from its nearest source, the same for all levels."""
    return crowded_of_pairs(factors.bin_target, factors.bin_source, factors.nearest)


def level_bins(factors: MappingFactors, crowded: Bins, level: Level) -> Bins:
    """Bins of a level whose mean is not the value of the nearest source.

    Parameters
    ----------
    factors : MappingFactors
    crowded : Bins
        From `crowded_bins`, which is the same for all levels.
    level : int or "any_wet"

    Returns
    -------
    Bins
        Wet sources only, of wet targets only. Every other wet target takes its nearest source.
    """
    wet, mask = level_wet(factors, level), level_mask(factors, level)
    return wet_bins(crowded, wet, mask, factors.nearest)[0]


def level_weights(factors: MappingFactors, level: Level) -> "csr_array":
    """Expand one level into sparse weights, for comparison with other systems' operators.

    Parameters
    ----------
    factors : MappingFactors
    level : int or "any_wet"

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n_target, n_source)
        Rows of wet targets sum to 1, rows of the others and columns of dry sources are empty.
    """
    from scipy.sparse import csr_array

    bins = level_bins(factors, crowded_bins(factors), level)
    per_row = level_mask(factors, level).astype(np.int32)
    simple = per_row.astype(np.bool_)
    simple[bins.target] = False
    per_row[bins.target] = bins.sizes
    indptr = np.concatenate([[0], np.cumsum(per_row)]).astype(np.int32)
    indices = np.empty(indptr[-1], np.int32)
    data = np.ones(indptr[-1], np.float64)
    indices[indptr[:-1][simple]] = factors.nearest[simple]
    place = np.repeat(indptr[bins.target] - bins.start[:-1], bins.sizes)
    place += np.arange(bins.source.size)
    indices[place] = bins.source
    data[place] = np.repeat(1.0 / bins.sizes, bins.sizes)
    return csr_array((data, indices, indptr), shape=(factors.n_target, factors.n_source))


def check_grid(
    factors: MappingFactors, lon: NDArray[Any], lat: NDArray[Any], wet: NDArray[np.bool_]
) -> None:
    """Refuse factors that were built for another grid or another wet mask.

    Parameters
    ----------
    factors : MappingFactors
    lon, lat : ndarray, shape (tile, j, i), degrees
    wet : ndarray of bool, shape (nk, tile, j, i)

    Raises
    ------
    GridMismatch
        Code ``FactorsMismatch``: a SHA-256 of the coordinates or the wet mask differs.
    """
    flat_wet = np.ascontiguousarray(wet.reshape(len(wet), -1))
    found, expected = _grid_hashes(lon, lat, flat_wet), factors.manifest["sha256"]
    differing = [name for name in expected if found[name] != expected[name]]
    if differing:
        what = "; ".join(
            f"{name} has sha256 {found[name]}, the factors were built with {expected[name]}"
            for name in differing
        )
        raise _mismatch(f"mapping factors do not belong to this grid: {what}")


_PAIRS = ("bin_target", "bin_source")
_STORED = (
    *("latitude", "longitude", "nearest", "nearest_distance_m", "radius_m", "wet", "mask"),
    *_PAIRS,
)


def to_dataset(factors: MappingFactors) -> xr.Dataset:
    """Factors as a portable dataset, about 1 MB once compressed for LLC90 at half a degree.

    Parameters
    ----------
    factors : MappingFactors

    Returns
    -------
    xarray.Dataset
        Masks as 0 and 1, the manifest as JSON in the attribute ``manifest``. Each variable is
        one chunk, so that the stored bytes do not depend on the writer's choice. Without pairs
        (weights `nearest`) the bins are left out, as some writers refuse an empty array.
    """
    grid, shape = ("latitude", "longitude"), factors.target_shape
    flags = {"flag_values": [0, 1], "flag_meanings": "dry wet"}
    index = "flat index of the source cell, row by row"
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = {
        "nearest": (
            grid,
            factors.nearest.reshape(shape),
            {"long_name": f"nearest of all source cells: {index}; -1 where none is near enough"},
        ),
        "nearest_distance_m": (
            grid,
            factors.nearest_distance_m.reshape(shape),
            {"long_name": "chord distance to the nearest source cell", "units": "m"},
        ),
        "radius_m": (
            grid,
            factors.radius_m.reshape(shape),
            {"long_name": "radius within which sources belong to the target", "units": "m"},
        ),
        "bin_target": (
            ("pair",),
            factors.bin_target,
            {"long_name": "target within whose radius the source lies: flat index, row by row"},
        ),
        "bin_source": (
            ("pair",),
            factors.bin_source,
            {"long_name": f"source within the radius of the target: {index}"},
        ),
        "wet": (
            ("k", "source"),
            factors.wet.view(np.uint8),
            {"long_name": "wet mask of the source", **flags},
        ),
        "mask": (
            ("k", *grid),
            factors.mask.view(np.uint8).reshape(-1, *shape),
            {"long_name": "wet mask of the target", **flags},
        ),
    }
    if not factors.bin_target.size:
        for name in _PAIRS:
            del variables[name]
    dataset = xr.Dataset(
        variables,
        coords={
            "latitude": (
                "latitude",
                factors.latitude,
                {"standard_name": "latitude", "units": "degrees_north"},
            ),
            "longitude": (
                "longitude",
                factors.longitude,
                {"standard_name": "longitude", "units": "degrees_east"},
            ),
        },
        attrs={
            "title": "Mapping factors from a model grid to a regular latitude-longitude grid",
            "manifest": json.dumps(factors.manifest, sort_keys=True),
        },
    )
    for variable in dataset.variables.values():
        variable.encoding = {"chunks": variable.shape, "_FillValue": None}
    return dataset


def from_dataset(dataset: xr.Dataset) -> MappingFactors:
    """Factors from the dataset that `to_dataset` made.

    Parameters
    ----------
    dataset : xarray.Dataset
        As opened from a store; it is read completely.

    Returns
    -------
    MappingFactors

    Raises
    ------
    GridMismatch
        Code ``FactorsMismatch``: something is missing, of another format, or inconsistent.
    """
    try:
        manifest: dict[str, Any] = json.loads(dataset.attrs["manifest"])
        if (found := manifest.get("format")) != FORMAT:
            raise _mismatch(f"mapping factors have format {found}, expected {FORMAT}")
        n_pair = int(manifest["pairs"])
        arrays: dict[str, NDArray[Any]] = {
            name: dataset[name].to_numpy()
            if n_pair or name not in _PAIRS
            else np.empty(0, np.int32)
            for name in _STORED
        }
    except KeyError as missing:
        raise _mismatch(f"the dataset of mapping factors lacks something: {missing}") from missing
    wet = np.ascontiguousarray(arrays["wet"]).astype(np.bool_)
    if (found := _sha256(wet)) != manifest["sha256"]["wet"]:
        raise _mismatch(
            f"the stored wet mask has sha256 {found}, its manifest says {manifest['sha256']['wet']}"
        )
    factors = MappingFactors(
        latitude=arrays["latitude"],
        longitude=arrays["longitude"],
        nearest=arrays["nearest"].astype(np.int32).ravel(),
        nearest_distance_m=arrays["nearest_distance_m"].astype(np.float32).ravel(),
        radius_m=arrays["radius_m"].astype(np.float32).ravel(),
        bin_target=arrays["bin_target"].astype(np.int32),
        bin_source=arrays["bin_source"].astype(np.int32),
        wet_bits=np.packbits(wet, axis=1),
        mask=np.ascontiguousarray(arrays["mask"]).astype(np.bool_).reshape(len(wet), -1),
        manifest=manifest,
    )
    _require_consistent(factors)
    if not np.array_equal(factors.mask, _mask_of(wet, factors.nearest)):
        raise _mismatch("the stored target mask is not that of the nearest sources")
    return factors


def _mask_of(wet: NDArray[np.bool_], nearest: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether the nearest source is wet, shape (nk, n_target); False where there is none."""
    mask = np.take(wet, nearest, axis=1, mode="clip")
    mask[:, nearest < 0] = False
    return mask


def _counts(factors: MappingFactors) -> dict[str, Any]:
    """Count for the manifest: `levels`, a list per count, and `any_wet`, a number per count."""
    crowded = crowded_bins(factors)
    is_lone = np.zeros(factors.n_target, np.bool_)
    is_lone[factors.bin_target] = True
    is_lone[crowded.target] = False
    lone = np.flatnonzero(is_lone)

    def of_level(level: Level) -> dict[str, int]:
        wet, mask = level_wet(factors, level), level_mask(factors, level)
        bins, n_wet = wet_bins(crowded, wet, mask, factors.nearest)
        wet_targets = int(np.count_nonzero(mask))
        averaged = int(np.count_nonzero(n_wet > 1))
        one_cell = int(np.count_nonzero(mask[lone]) + np.count_nonzero(n_wet == 1))
        return {
            "wet_sources": int(np.count_nonzero(wet)),
            "wet_targets": wet_targets,
            "nearest_only": wet_targets - one_cell - averaged,
            "one_cell_bins": one_cell,
            "averaged": averaged,
            "largest_bin": int(max(n_wet.max(initial=0), one_cell > 0)),
            "weights": wet_targets - bins.target.size + bins.source.size,
            "over_cap": int(np.count_nonzero(n_wet > NEIGHBOUR_CAP)),
        }

    levels = [of_level(k) for k in range(factors.n_levels)]
    return {
        "levels": {name: [level[name] for level in levels] for name in levels[0]},
        "any_wet": of_level("any_wet"),
    }


def _grid_hashes(
    lon: NDArray[Any], lat: NDArray[Any], flat_wet: NDArray[np.bool_]
) -> dict[str, str]:
    """SHA-256 of XC and YC as little-endian float64 and of the wet mask as one byte per cell."""
    xc, yc = (_sha256(np.ascontiguousarray(array, "<f8")) for array in (lon, lat))
    return {"XC": xc, "YC": yc, "wet": _sha256(flat_wet)}


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.data).hexdigest()


def _extent(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], resolution_degrees: float
) -> dict[str, float]:
    half = resolution_degrees / 2
    return {
        "south": float(latitude.min() - half),
        "north": float(latitude.max() + half),
        "west": float(longitude[0] - half),
        "east": float(longitude[-1] + half),
    }


def _require_grid(
    lon: NDArray[Any],
    lat: NDArray[Any],
    wet: NDArray[np.bool_],
    latitude: NDArray[Any],
    longitude: NDArray[Any],
) -> None:
    if lat.shape != lon.shape or wet.shape[1:] != lon.shape or not wet.size:
        raise GridMismatch(
            f"lon {lon.shape}, lat {lat.shape} and wet {wet.shape} do not share a grid; expected"
            " wet to have the shape of lon and lat behind at least one depth level",
            code="ShapeMismatch",
        )
    if wet.dtype != np.bool_:
        raise GridMismatch(
            f"the wet mask has type {wet.dtype}, expected bool; pass hFacC > 0",
            code="ShapeMismatch",
        )
    if latitude.ndim != 1 or longitude.ndim != 1 or not (latitude.size and longitude.size):
        raise GridMismatch(
            f"target latitude {latitude.shape} and longitude {longitude.shape}; expected two"
            " lists of cell centres",
            code="ShapeMismatch",
        )
    for name, array in (
        ("lon", lon), ("lat", lat), ("longitude", longitude), ("latitude", latitude)
    ):  # fmt: skip
        if not np.isfinite(array).all():
            raise GridMismatch(
                f"{name} holds {np.count_nonzero(~np.isfinite(array))} values that are not finite;"
                " every cell centre, dry ones included, needs coordinates",
                code="CoordinatesNotFinite",
            )
    for name, array in (("lat", lat), ("latitude", latitude)):
        if np.abs(array).max() > 90:
            raise GridMismatch(
                f"{name} reaches {np.abs(array).max()}, expected -90 to 90 degrees",
                code="LatitudeOutOfRange",
            )


def _require_choices(weights: str, min_length_m: float, max_length_m: float) -> None:
    if weights not in get_args(WeightMethod):
        raise ConfigurationError(
            f"weights {weights!r} are unknown; choose one of {', '.join(get_args(WeightMethod))}",
            code="WeightMethodUnknown",
        )
    if not 0 < min_length_m <= max_length_m:
        raise ConfigurationError(
            f"source cells measure {min_length_m} to {max_length_m} m; expected"
            " 0 < min_length_m <= max_length_m",
            code="CellLengthInvalid",
        )


def _require_consistent(factors: MappingFactors) -> None:
    """Refuse factors that break what applying them relies on.

    Every index exists, and the nearest source of a target is one of its bin, so that a wet target
    (whose nearest source is wet) always has a wet source.
    """
    shapes = {
        "nearest": factors.nearest.shape == (factors.n_target,),
        "mask": factors.n_target == np.prod(factors.target_shape),
        "pairs": factors.bin_target.shape
        == factors.bin_source.shape
        == (factors.manifest["pairs"],),
        "wet mask": factors.wet_bits.shape == (factors.n_levels, -(-factors.n_source // 8)),
    }
    for name, fits in shapes.items():
        if not fits:
            raise _mismatch(f"mapping factors hold arrays of unequal shape: {name}")
    target, source = factors.bin_target, factors.bin_source
    for name, index, size in (
        ("nearest", factors.nearest, factors.n_source),
        ("bin_source", source, factors.n_source),
        ("bin_target", target, factors.n_target),
    ):
        lowest = -1 if name == "nearest" else 0
        if index.size and (index.min() < lowest or index.max() >= size):
            raise _mismatch(f"mapping factors hold a {name} outside {lowest} to {size - 1}")
    if np.any(np.diff(target) < 0):
        raise _mismatch("mapping factors hold pairs that are not in the order of their targets")
    binned = np.zeros(factors.n_target, np.bool_)
    binned[target] = True
    with_nearest = np.zeros(factors.n_target, np.bool_)
    with_nearest[target[source == factors.nearest[target]]] = True
    # A tie may leave the chosen nearest a millimetre outside a radius that holds the other, and
    # bins end at whole metres.
    edge = np.abs(factors.nearest_distance_m - factors.radius_m) <= 1.0
    lacking = binned & ~with_nearest & (factors.nearest >= 0) & ~edge
    if lacking.any():
        raise _mismatch(
            f"in the mapping factors {np.count_nonzero(lacking)} targets have a bin without their"
            " nearest source"
        )


def _mismatch(what: str) -> GridMismatch:
    return GridMismatch(
        f"{what}; rebuild them with `dor-ecco ecco factors`", code="FactorsMismatch"
    )
