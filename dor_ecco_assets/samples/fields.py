"""Made-up ocean fields whose bytes compress as those of real granules do, for benchmarks and tests.

What decides the cost of shuffle + deflate is not the physics but three habits of real granules:
about a third of the cells are dry and come in long runs; a value mapped from a 1° model to a 0.5°
grid stands in about three cells; the two low bytes of a float32 are noise while the two high bytes
change slowly. The fields here have all three, in proportions measured on a published ECCO V4r4
granule (see `compression_profile`), and depend on nothing but their arguments.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "LATLON_REPEAT",
    "CompressionProfile",
    "compression_profile",
    "latlon_wet",
    "native_wet",
    "ocean_field",
]

type BoolArray = npt.NDArray[np.bool_]
type FloatArray = npt.NDArray[np.float32]
type Tracer = Literal["THETA", "SALT"]

#: Share of the columns that are dry at the surface: 0.347 in a 0.5° granule, 0.424 on LLC90.
_DRY_LATLON = 0.347
_DRY_NATIVE = 0.424
#: Share of the wet surface columns that are still wet at the deepest of 50 levels is near zero;
#: half of them end below about 4,000 m, level 43 of 50.
_HALF_DEPTH = 0.86

#: Cells along y and x of a 0.5° grid that hold one cell of a 1° model, as `ocean_field` takes
#: them: a third of the wet values of a published granule are distinct.
LATLON_REPEAT = (1.5, 2.0)


def latlon_wet(levels: int = 50, n_latitude: int = 360, n_longitude: int = 720) -> BoolArray:
    """Wet mask of a lat-lon grid with rounded continents that widen with depth.

    Parameters
    ----------
    levels, n_latitude, n_longitude : int
        The mask's shape; the published 0.5° granules have 50, 360 and 720.

    Returns
    -------
    ndarray of bool, shape (levels, n_latitude, n_longitude)
        A third of the columns are dry at the surface, nearly all at the last level.
    """
    return _wet(_relief((n_latitude, n_longitude), seed=11), levels, _DRY_LATLON)


def native_wet(levels: int = 50, tiles: int = 13, n: int = 90) -> BoolArray:
    """Wet mask of LLC tiles, continents as in `latlon_wet`.

    Parameters
    ----------
    levels, tiles, n : int
        Depth levels, tiles and cells along a tile's side; LLC90 has 50, 13 and 90.

    Returns
    -------
    ndarray of bool, shape (levels, tiles, n, n)
    """
    return _wet(_relief((tiles, n, n), seed=12), levels, _DRY_NATIVE)


def ocean_field(
    tracer: Tracer, wet: BoolArray, *, repeat: tuple[float, float] = (1.0, 1.0), seed: int = 0
) -> FloatArray:
    """Temperature- or salinity-like field on the wet cells of a mask.

    Parameters
    ----------
    tracer : {"THETA", "SALT"}
        Potential temperature in °C or salinity in 1e-3; the two differ in how fast their high
        bytes change.
    wet : ndarray of bool, shape (levels, ..., y, x)
        True where the cell holds water.
    repeat : (float, float)
        Cells along y and x that hold one and the same model cell: 1 on the model's own grid,
        `LATLON_REPEAT` for a field mapped from 1° to 0.5° by nearest neighbour.
    seed : int
        Another seed is another month of the same ocean.

    Returns
    -------
    ndarray of float32, shape of `wet`, in the unit of `tracer`; NaN where dry
    """
    *outer, n_y, n_x = wet.shape
    levels = outer[0]
    source = (max(1, round(n_y / repeat[0])), max(1, round(n_x / repeat[1])))
    rows = np.arange(n_y) * source[0] // n_y
    columns = np.arange(n_x) * source[1] // n_x
    rng = np.random.default_rng([seed, len(tracer)])
    slices = wet.reshape(levels, -1, n_y, n_x)
    background = 3.0 * _relief((slices.shape[1], *source), seed=seed + 20)
    latitude = np.cos(np.linspace(-np.pi / 2, np.pi / 2, source[0], dtype=np.float32))[:, None]
    field = np.empty(slices.shape, np.float32)
    for level in range(levels):
        decay = np.float32(np.exp(-12 * level / max(levels, 1)))
        eddies = _eddies(rng, (slices.shape[1], *source))
        if tracer == "THETA":
            values = 1.0 + decay * latitude * (24 + background) + (0.05 + 0.6 * decay) * eddies
        else:
            values = (
                34.7 + decay * latitude * (1 + 0.4 * background) + (0.03 + 0.1 * decay) * eddies
            )
        field[level] = values[:, rows[:, None], columns]
    field[~slices] = np.nan
    return field.reshape(wet.shape)


@dataclass(frozen=True)
class CompressionProfile:
    """How the bytes of a field behave under shuffle and deflate.

    Parameters
    ----------
    ratio : float
        Deflated size over raw size, zlib level 5 after the shuffle.
    plane_ratios : tuple of float
        The same for each byte plane alone, lowest byte first.
    plane_entropies : tuple of float
        Shannon entropy of each plane in bits per byte, lowest byte first.
    """

    ratio: float
    plane_ratios: tuple[float, ...]
    plane_entropies: tuple[float, ...]


def compression_profile(values: npt.NDArray[Any], fill: float) -> CompressionProfile:
    """Measure a field's bytes as a NetCDF4 file would hold them.

    Parameters
    ----------
    values : ndarray
        NaN is replaced by `fill`, as when the field is written.
    fill : float
        The file's ``_FillValue``.

    Returns
    -------
    CompressionProfile

    Notes
    -----
    The six 2-D fields of the published 0.5° granule of 1992-01-01 measure 0.22 to 0.34 (ratio),
    0.44, 0.38 to 0.44, 0.05 to 0.40 and 0.02 to 0.07 (planes), 6.1, 6.1, 3 to 6.1 and 0.9 to 2.6
    (entropies).
    """
    import zlib

    filled = np.where(np.isnan(values), values.dtype.type(fill), values)
    planes = np.ascontiguousarray(filled.reshape(-1).view(np.uint8).reshape(filled.size, -1).T)
    return CompressionProfile(
        ratio=len(zlib.compress(planes, 5)) / planes.nbytes,
        plane_ratios=tuple(len(zlib.compress(plane, 5)) / plane.size for plane in planes),
        plane_entropies=tuple(_entropy_bits(plane) for plane in planes),
    )


def _entropy_bits(plane: npt.NDArray[np.uint8]) -> float:
    share = np.bincount(plane, minlength=256) / plane.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _wet(relief: FloatArray, levels: int, dry_share: float) -> BoolArray:
    """Columns sorted by relief: the highest are land, the others end at a depth of their own."""
    rank = np.argsort(np.argsort(relief, axis=None)).reshape(relief.shape) / relief.size
    depth = np.clip((1 - dry_share - rank) / (1 - dry_share), 0, 1)
    # A power of the rank that sends the median wet column to _HALF_DEPTH of the levels.
    bottom = np.ceil(levels * depth ** (np.log(_HALF_DEPTH) / np.log(0.5)))
    return np.arange(levels).reshape(-1, *[1] * relief.ndim) < bottom


def _relief(shape: tuple[int, ...], *, seed: int) -> FloatArray:
    """Smooth random surface of a few bumps per slice, between about -2 and 2."""
    rng = np.random.default_rng(seed)
    n_y, n_x = shape[-2:]
    bumps = rng.standard_normal((*shape[:-2], 7, 9), dtype=np.float32)
    return (_stretch(n_y, 7) @ bumps @ _stretch(n_x, 9).T).astype(np.float32)


def _eddies(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Noise smooth over eight cells, and a tenth as much from cell to cell."""
    n_y, n_x = shape[-2:]
    low_y, low_x = n_y // 8 + 2, n_x // 8 + 2
    coarse = rng.standard_normal((*shape[:-2], low_y, low_x), dtype=np.float32)
    fine = rng.standard_normal(shape, dtype=np.float32)
    smooth = _stretch(n_y, low_y) @ coarse @ _stretch(n_x, low_x).T
    return (smooth + 0.1 * fine).astype(np.float32)


def _stretch(n: int, n_knots: int) -> FloatArray:
    """Linear interpolation from `n_knots` to `n` points, shape (n, n_knots)."""
    position = np.linspace(0, n_knots - 1, n)[:, None]
    hat = np.clip(1 - np.abs(position - np.arange(n_knots)), 0, 1)
    return hat.astype(np.float32)
