"""Vectors along the model's own axes turned into eastward and northward components.

On a lat-lon-cap grid i and j point east and north on some tiles, south and east on others, and
anywhere in the cap; cosine and sine of the angle between i and east say which.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.grids.llc import right_edge_values, upper_edge_values

__all__ = ["VectorPoints", "to_centres", "to_east_north"]

VectorPoints = Literal["faces", "centres"]


def to_east_north(
    x: NDArray[Any],
    y: NDArray[Any],
    cs: NDArray[Any],
    sn: NDArray[Any],
    *,
    location: VectorPoints,
    dtype: DTypeLike = np.float32,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Turn a vector into its eastward and northward components at the cell centres.

    Parameters
    ----------
    x, y : ndarray, shape (..., 13, L, L)
        Components along i and j, any unit; 0 on land and on closed edges, as the model writes
        them. With `location` "faces" they lie on west and south edges, with "centres" on T-points.
    cs, sn : ndarray, shape (13, L, L)
        Cosine and sine of the angle from east to i at T-points, ECCO ``AngleCS``, ``AngleSN``.
    location : {"faces", "centres"}
    dtype : dtype, default float32
        Of the result.

    Returns
    -------
    east, north : ndarray of `dtype`, shape (..., 13, L, L), in the unit of `x`
        At T-points; dry cells hold whatever their edges give, so mask them afterwards. NaN in
        the input spreads to the cells that touch it.

    Raises
    ------
    GridMismatch
        If shapes do not agree.

    Notes
    -----
    ``east = cs xc - sn yc``, ``north = sn xc + cs yc`` with xc, yc from `to_centres`. All of it in
    the precision of the input, to which the angles are rounded first: from float32 fields the
    result equals ECCO-Dataset-Production's bit for bit, because its grid file has float32 angles.
    In float64 the real wind stress would differ by up to 4e-8 N m⁻². Depth levels go one by one.
    """
    if x.shape != y.shape or x.ndim < 3 or cs.shape != x.shape[-3:] or sn.shape != x.shape[-3:]:
        raise GridMismatch(
            f"components have shapes {x.shape} and {y.shape}, angles {cs.shape} and {sn.shape}; "
            f"expected (..., 13, L, L) twice and (13, L, L) twice: take all from one grid",
            code="ShapeMismatch",
        )
    precision = np.result_type(x, y, np.float32)
    cosine, sine = cs.astype(precision), sn.astype(precision)
    east = np.empty(x.shape, dtype)
    north = np.empty(x.shape, dtype)
    for level in np.ndindex(x.shape[:-3]):
        xc, yc = x[level].astype(precision, copy=False), y[level].astype(precision, copy=False)
        if location == "faces":
            xc, yc = to_centres(xc, yc)
        east[level] = cosine * xc - sine * yc
        north[level] = sine * xc + cosine * yc
    return east, north


def to_centres(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Average components on west and south edges to the cell centres, across tile edges too.

    Parameters
    ----------
    x : ndarray of floating point, shape (..., 13, L, L)
        Component along i on the west edges.
    y : ndarray of floating point, shape (..., 13, L, L)
        Component along j on the south edges.

    Returns
    -------
    xc, yc : ndarray, shape and dtype of the input
        Still along i and j. A closed edge counts as 0.

    Raises
    ------
    GridMismatch
        If the two shapes differ or are not tiled.
    """
    right, upper = right_edge_values(x, y), upper_edge_values(x, y)
    xc, yc = np.empty_like(x), np.empty_like(y)
    xc[..., :-1] = x[..., :-1] + x[..., 1:]
    xc[..., -1] = x[..., -1] + right
    yc[..., :-1, :] = y[..., :-1, :] + y[..., 1:, :]
    yc[..., -1, :] = y[..., -1, :] + upper
    # Halving is exact, so the order of the sum and the product does not matter.
    xc *= 0.5
    yc *= 0.5
    return xc, yc
