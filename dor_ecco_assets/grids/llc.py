"""The lat-lon-cap grid: its 13 tiles, how they lie in a compact array, how they connect.

All arithmetic holds for any side length L. A field on T-points has shape ``(..., 13, L, L)``
with axes ``(tile, j, i)``; the compact form that MITgcm writes has shape ``(..., 13 L, L)``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch

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

    return {"left": parse(left), "right": parse(right), "below": parse(below), "above": parse(above)}


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


def connections() -> Iterator[tuple[int, Side, Neighbour]]:
    """Every directed connection of the 13 tiles: 48 of them."""
    for tile, sides in enumerate(CONNECTIONS):
        for side, neighbour in sides.items():
            if neighbour is not None:
                yield tile, side, neighbour


def tiles_from_compact(compact: NDArray[Any]) -> NDArray[Any]:
    """Rearrange MITgcm's compact layout into 13 tiles, without rotating or flipping any.

    Parameters
    ----------
    compact : ndarray, shape (..., 13 L, L)

    Returns
    -------
    ndarray, shape (..., 13, L, L)
        A new array in the dtype of `compact`.

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
    tiles = np.empty((*lead, N_TILES, side, side), compact.dtype)
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
    if tiles.ndim < 3 or tiles.shape[-3] != N_TILES or tiles.shape[-1] != tiles.shape[-2]:
        raise GridMismatch(
            f"a tiled field has shape {tiles.shape}; expected (..., 13, L, L)", code="ShapeMismatch"
        )
    side, lead = tiles.shape[-1], tiles.shape[:-3]
    compact = np.empty((*lead, N_TILES * side, side), tiles.dtype)
    compact[..., : 7 * side, :] = tiles[..., :7, :, :].reshape(*lead, 7 * side, side)
    for first, row in ((7, 7 * side), (10, 10 * side)):
        face = np.swapaxes(tiles[..., first : first + 3, :, :], -3, -2)
        compact[..., row : row + 3 * side, :] = face.reshape(*lead, 3 * side, side)
    return compact
