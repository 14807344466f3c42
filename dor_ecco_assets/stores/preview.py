"""Small pictures of fields for people who look at a materialisation."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Blue through white to red, for fields around zero; dark blue through green to yellow for others.
_DIVERGING = ((36, 62, 140), (116, 160, 210), (247, 247, 247), (226, 140, 110), (150, 30, 45))
_SEQUENTIAL = ((48, 18, 90), (50, 85, 140), (32, 145, 140), (95, 200, 95), (250, 230, 40))
_LAND, _OUTSIDE = (190, 186, 178), (255, 255, 255)
_N_COLOURS = 254
_LARGEST = 360


def field_preview(field: NDArray[Any]) -> bytes:
    """A PNG of a field with rows from south to north; NaN is land, infinity is off the map.

    Parameters
    ----------
    field : ndarray, shape (y, x)
        Drawn between its 2nd and 98th percentile, or symmetrically about zero where it has both
        signs; land is grey, what is off the map transparent.

    Returns
    -------
    bytes
        A PNG of at most 360 pixels across.
    """
    from PIL import Image

    seen = np.flipud(_thinned(field)).astype(np.float64)
    wet = np.isfinite(seen)
    low, high = drawn_range(field)
    diverging = low < 0 < high
    scaled = (np.where(wet, seen, low) - low) / (high - low if high > low else 1.0)
    colour = 2 + np.clip(scaled * (_N_COLOURS - 1), 0, _N_COLOURS - 1)
    index = np.where(wet, colour, np.isinf(seen)).astype(np.uint8)
    picture = Image.fromarray(index, mode="P")
    picture.putpalette([*_LAND, *_OUTSIDE, *_ramp(_DIVERGING if diverging else _SEQUENTIAL)])
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=1)
    return file.getvalue()


def drawn_range(field: NDArray[Any]) -> tuple[float, float]:
    """Values that `field_preview` gives its first and its last colour; 0 to 1 where all is land."""
    seen = _thinned(field).astype(np.float64)
    wet = np.isfinite(seen)
    low, high = map(float, np.percentile(seen[wet], [2, 98])) if wet.any() else (0.0, 1.0)
    return (-max(-low, high), max(-low, high)) if low < 0 < high else (low, high)


def colours(low: float, high: float) -> list[str]:
    """Colours of a legend for a range, from low to high, as CSS takes them."""
    anchors = _DIVERGING if low < 0 < high else _SEQUENTIAL
    return ["#" + "".join(f"{channel:02x}" for channel in colour) for colour in anchors]


def _thinned(field: NDArray[Any]) -> NDArray[Any]:
    step = -(-max(field.shape) // _LARGEST)
    return field[::step, ::step]


def _ramp(anchors: tuple[tuple[int, int, int], ...]) -> list[int]:
    """Colours between the anchors, as a palette's flat list."""
    where = np.linspace(0, len(anchors) - 1, _N_COLOURS)
    places = range(len(anchors))
    channels = [np.interp(where, places, channel) for channel in zip(*anchors, strict=True)]
    return np.stack(channels, axis=1).round().astype(int).ravel().tolist()


def globe_of_tiles(tiles: NDArray[Any]) -> NDArray[Any]:
    """Tiles of the lat-lon-cap grid laid out as a map, for display only.

    Parameters
    ----------
    tiles : ndarray, shape (13, L, L)

    Returns
    -------
    ndarray, shape (4 L, 4 L)
        Four sectors side by side from the south, tiles 7 to 12 turned so that north is up, the
        Arctic cap above the second sector, whose northern edge it continues; infinity elsewhere.
    """
    side = tiles.shape[-1]
    globe = np.full((4 * side, 4 * side), np.inf, tiles.dtype)
    for sector, members in enumerate(((0, 1, 2), (3, 4, 5), (9, 8, 7), (12, 11, 10))):
        for row, tile in enumerate(members):
            # Tiles 7 to 12 run southward in i and eastward in j: rows must become -i.
            block = tiles[tile] if sector < 2 else tiles[tile].T[::-1]
            globe[row * side : (row + 1) * side, sector * side : (sector + 1) * side] = block
    globe[3 * side :, side : 2 * side] = tiles[6]
    return globe
