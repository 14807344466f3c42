"""The lat-lon-cap grid: its 13 tiles, how they lie in a compact array, how they connect.

All arithmetic holds for any side length L. A field on T-points has shape ``(..., 13, L, L)``
with axes ``(tile, j, i)``; the compact form that MITgcm writes has shape ``(..., 13 L, L)``.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dor_ecco_assets.errors import GridMismatch

__all__ = [
    "CONNECTIONS",
    "N_TILES",
    "OWN_AXIS",
    "Axis",
    "Neighbour",
    "Side",
    "as_tiles",
    "compact_from_tiles",
    "corner_points",
    "facing_values",
    "left_values",
    "lower_values",
    "right_edge_values",
    "tiles_from_compact",
    "upper_edge_values",
]

Side = Literal["left", "right", "below", "above"]
Axis = Literal["X", "Y"]

N_TILES = 13


@dataclass(frozen=True)
class Neighbour:
    """The tile that meets an edge, and which of its own axes runs across that edge."""

    tile: int
    axis: Axis


def _row(left: str, right: str, below: str, above: str) -> dict[Side, Neighbour | None]:
    def parse(entry: str) -> Neighbour | None:
        if entry == "-":
            return None
        tile, axis = entry.split()
        return Neighbour(int(tile), "X" if axis == "X" else "Y")

    return {
        "left": parse(left),
        "right": parse(right),
        "below": parse(below),
        "above": parse(above),
    }


#: Neighbour of every tile on its four sides; None is a closed edge. Left and right cross the
#: tile's own i axis ("X"), below and above its j axis ("Y").
CONNECTIONS: tuple[dict[Side, Neighbour | None], ...] = (
    _row("12 Y", "3 X", "-", "1 Y"),
    _row("11 Y", "4 X", "0 Y", "2 Y"),
    _row("10 Y", "5 X", "1 Y", "6 X"),
    _row("0 X", "9 Y", "-", "4 Y"),
    _row("1 X", "8 Y", "3 Y", "5 Y"),
    _row("2 X", "7 Y", "4 Y", "6 Y"),
    _row("2 Y", "7 X", "5 Y", "10 X"),
    _row("6 X", "8 X", "5 X", "10 Y"),
    _row("7 X", "9 X", "4 X", "11 Y"),
    _row("8 X", "-", "3 X", "12 Y"),
    _row("6 Y", "11 X", "7 Y", "2 X"),
    _row("10 X", "12 X", "8 Y", "1 X"),
    _row("11 X", "-", "9 Y", "0 X"),
)

OWN_AXIS: dict[Side, Axis] = {"left": "X", "right": "X", "below": "Y", "above": "Y"}


def tiles_from_compact(compact: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Rearrange MITgcm's compact layout into 13 tiles, without rotating or flipping any.

    Parameters
    ----------
    compact : ndarray, shape (..., 13 L, L)
    dtype : dtype, optional
        Of the result, that of `compact` by default; cast in the same pass.

    Returns
    -------
    ndarray, shape (..., 13, L, L)
        A new array.

    Raises
    ------
    GridMismatch
        If the last two axes are not ``(13 L, L)``.
    """
    if compact.ndim < 2 or compact.shape[-2] != N_TILES * compact.shape[-1]:
        raise GridMismatch(
            f"a compact field has shape {compact.shape}; expected (..., 13 L, L)",
            code="ShapeMismatch",
        )
    side, lead = compact.shape[-1], compact.shape[:-2]
    tiles = np.empty((*lead, N_TILES, side, side), compact.dtype if dtype is None else dtype)
    tiles[..., :7, :, :] = compact[..., : 7 * side, :].reshape(*lead, 7, side, side)
    for first, row in ((7, 7 * side), (10, 10 * side)):
        face = compact[..., row : row + 3 * side, :].reshape(*lead, side, 3, side)
        tiles[..., first : first + 3, :, :] = np.swapaxes(face, -3, -2)
    return tiles


def compact_from_tiles(tiles: NDArray[Any]) -> NDArray[Any]:
    """Rearrange 13 tiles into MITgcm's compact layout; the exact reverse of `tiles_from_compact`.

    Parameters
    ----------
    tiles : ndarray, shape (..., 13, L, L)

    Returns
    -------
    ndarray, shape (..., 13 L, L)

    Raises
    ------
    GridMismatch
        If the last three axes are not ``(13, L, L)``.
    """
    _require_tiles(tiles)
    side, lead = tiles.shape[-1], tiles.shape[:-3]
    compact = np.empty((*lead, N_TILES * side, side), tiles.dtype)
    compact[..., : 7 * side, :] = tiles[..., :7, :, :].reshape(*lead, 7 * side, side)
    for first, row in ((7, 7 * side), (10, 10 * side)):
        face = np.swapaxes(tiles[..., first : first + 3, :, :], -3, -2)
        compact[..., row : row + 3 * side, :] = face.reshape(*lead, 3 * side, side)
    return compact


def as_tiles(field: NDArray[Any]) -> NDArray[Any]:
    """Give a field as 13 tiles, whichever of the two layouts it comes in.

    Parameters
    ----------
    field : ndarray, shape (..., 13, L, L) or (..., 13 L, L)
        No array fits both shapes, so the layout needs no flag.

    Returns
    -------
    ndarray, shape (..., 13, L, L)
        `field` itself where it is tiled already, a new array otherwise.

    Raises
    ------
    GridMismatch
        If the shape is neither.
    """
    if field.ndim >= 3 and field.shape[-3] == N_TILES and field.shape[-1] == field.shape[-2]:
        return field
    return tiles_from_compact(field)


def facing_values(tiles: NDArray[Any], tile: int, side: Side) -> NDArray[Any] | None:
    """Values of the neighbouring tile's cells that touch one edge, in this tile's own order.

    Parameters
    ----------
    tiles : ndarray, shape (..., 13, L, L)
        One value per cell.
    tile : int
        The tile whose edge is meant, 0 to 12.
    side : {"left", "right", "below", "above"}

    Returns
    -------
    ndarray, shape (..., L), or None
        A view; element n touches this tile's cell n along that edge. None at a closed edge.

    Notes
    -----
    The order is the neighbour's own where its axis has the letter of ours, else reversed. Going
    left or down one enters a neighbour at its far end, going right or up at its near end.
    """
    neighbour = CONNECTIONS[tile][side]
    if neighbour is None:
        return None
    row = -1 if side in ("left", "below") else 0
    there = tiles[..., neighbour.tile, :, :]
    line = there[..., :, row] if neighbour.axis == "X" else there[..., row, :]
    return line if neighbour.axis == OWN_AXIS[side] else line[..., ::-1]


def right_edge_values(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Values on every tile's right edge of a vector that lives on west and south edges.

    Parameters
    ----------
    u : ndarray, shape (..., 13, L, L)
        Component along i, on the west edges of the cells.
    v : ndarray, shape (..., 13, L, L)
        Component along j, on the south edges of the cells.

    Returns
    -------
    ndarray, shape (..., 13, L)
        ``u[..., j, L]``: the neighbour's first column of `u`, or its first row of `v` reversed
        where our i axis runs on as its j axis (no sign changes); 0 at a closed edge.

    Raises
    ------
    GridMismatch
        If the two shapes differ or are not tiled.
    """
    return _edge_values(u, v, "right")


def upper_edge_values(u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Values on every tile's upper edge of a vector that lives on west and south edges.

    Parameters
    ----------
    u, v : ndarray, shape (..., 13, L, L)
        As for `right_edge_values`.

    Returns
    -------
    ndarray, shape (..., 13, L)
        ``v[..., L, i]``: the neighbour's first row of `v`, or its first column of `u` reversed
        where our j axis runs on as its i axis (no sign changes); 0 at a closed edge.

    Raises
    ------
    GridMismatch
        If the two shapes differ or are not tiled.
    """
    return _edge_values(u, v, "above")


def _edge_values(u: NDArray[Any], v: NDArray[Any], side: Side) -> NDArray[Any]:
    _require_tiles(u)
    if u.shape != v.shape:
        raise GridMismatch(
            f"the components of a vector have shapes {u.shape} and {v.shape}; they must be equal",
            code="ShapeMismatch",
        )
    edge = np.zeros(u.shape[:-1], np.result_type(u, v))
    for tile, sides in enumerate(CONNECTIONS):
        neighbour = sides[side]
        if neighbour is not None:
            edge[..., tile, :] = facing_values(u if neighbour.axis == "X" else v, tile, side)
    return edge


def left_values(tiles: NDArray[Any]) -> NDArray[Any]:
    """Value of each cell's left neighbour (index i - 1), across tile edges too.

    Parameters
    ----------
    tiles : ndarray, shape (..., 13, L, L)
        A field on T-points.

    Returns
    -------
    ndarray, shape (..., 13, L, L)
        In the dtype of `tiles`; 0 (False) left of a closed edge.

    Raises
    ------
    GridMismatch
        If `tiles` is not tiled.
    """
    _require_tiles(tiles)
    shifted = np.zeros_like(tiles)
    shifted[..., 1:] = tiles[..., :-1]
    for tile in range(N_TILES):
        facing = facing_values(tiles, tile, "left")
        if facing is not None:
            shifted[..., tile, :, 0] = facing
    return shifted


def lower_values(tiles: NDArray[Any]) -> NDArray[Any]:
    """Value of each cell's lower neighbour (index j - 1), across tile edges too.

    Parameters
    ----------
    tiles : ndarray, shape (..., 13, L, L)
        A field on T-points.

    Returns
    -------
    ndarray, shape (..., 13, L, L)
        In the dtype of `tiles`; 0 (False) below a closed edge.

    Raises
    ------
    GridMismatch
        If `tiles` is not tiled.
    """
    _require_tiles(tiles)
    shifted = np.zeros_like(tiles)
    shifted[..., 1:, :] = tiles[..., :-1, :]
    for tile in range(N_TILES):
        facing = facing_values(tiles, tile, "below")
        if facing is not None:
            shifted[..., tile, 0, :] = facing
    return shifted


def corner_points(lower_left: NDArray[np.float64], *, passes: int = 2) -> NDArray[np.float64]:
    """Complete a field on lower-left corners (G-points) with each tile's right and upper edge.

    Parameters
    ----------
    lower_left : ndarray, shape (..., 13, L, L)
        One value per cell, at its lower-left corner.
    passes : int, default 2
        How often values travel across edges. One pass reaches all points that a direct neighbour
        owns, a second one those that only a neighbour's neighbour owns; a third adds nothing.

    Returns
    -------
    ndarray of float64, shape (..., 13, L + 1, L + 1)
        NaN where no tile owns the point: on the closed right edges of tiles 9 and 12, at tile
        3's lower-right corner, and at the cap vertex that tiles 2, 6 and 10 share.

    Raises
    ------
    GridMismatch
        If `lower_left` is not tiled.

    Notes
    -----
    Two connected tiles share the L + 1 points of an edge: in the same order where the letters of
    the connection agree, reversed (n becomes L - n) where they differ.
    """
    _require_tiles(lower_left)
    side = lower_left.shape[-1]
    points = np.full((*lower_left.shape[:-2], side + 1, side + 1), np.nan)
    points[..., :side, :side] = lower_left
    for _ in range(passes):
        before = points.copy()
        for tile, edge in product(range(N_TILES), OWN_AXIS):
            theirs = facing_values(before, tile, edge)
            if theirs is None:
                continue
            at = 0 if edge in ("left", "below") else -1
            own = points[..., tile, :, :]
            line = own[..., :, at] if OWN_AXIS[edge] == "X" else own[..., at, :]
            line[...] = np.where(np.isnan(line), theirs, line)
    return points


def _require_tiles(tiles: NDArray[Any]) -> None:
    if tiles.ndim < 3 or tiles.shape[-3] != N_TILES or tiles.shape[-1] != tiles.shape[-2]:
        raise GridMismatch(
            f"a tiled field has shape {tiles.shape}; expected (..., 13, L, L)", code="ShapeMismatch"
        )
