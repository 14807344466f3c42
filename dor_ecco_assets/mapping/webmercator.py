"""Weights from any curvilinear grid to the square of Web Mercator, one set per zoom level.

A zoom level is a square of ``n = pixels_per_tile * 2**level`` pixels a side, row 0 in the north.
Weights hold ocean cells alone, so land cannot leak whatever it holds; a pixel is covered where
the ocean has enough of it, and the weights of its row then sum to 1.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from dor_ecco_assets.errors import ConfigurationError, GridMismatch
from dor_ecco_assets.mapping.cells import (
    SourceCells,
    complete_corners,
    require_cells,
    source_cells,
    source_hashes,
)

__all__ = [
    "LevelWeights",
    "Method",
    "WebMercatorWeights",
    "apply_reference",
    "build_webmercator",
    "check_field",
    "check_source",
    "default_method",
    "from_dataset",
    "pixel_areas",
    "to_dataset",
    "weights_sha256",
]

#: `conservative` averages over the pixel, `bilinear` takes the value at its centre.
Method = Literal["conservative", "bilinear"]

#: Raised when the layout of `to_dataset` or the meaning of a manifest key changes.
FORMAT = 1


@dataclass(frozen=True, eq=False)
class LevelWeights:
    """Weights of one zoom level in compressed rows; row 0 is the pixel in the north-west.

    Parameters
    ----------
    level, n : int
        Zoom level; pixels a side.
    indptr : ndarray of int32, shape (n * n + 1,)
    indices : ndarray of int32, shape (nnz,)
        Into `WebMercatorWeights.cells`, ascending within a row.
    data : ndarray of float32, shape (nnz,)
        Above 0. Rows of uncovered pixels are empty, the others sum to 1.
    share : ndarray of float32, shape (n * n,)
        Part of the pixel that the ocean has, before rows are made to sum to 1: of its area
        (conservative), or of the weights (bilinear).
    method : {"conservative", "bilinear"}
    """

    level: int
    n: int
    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    share: NDArray[np.float32]
    method: Method


@dataclass(frozen=True, eq=False)
class WebMercatorWeights:
    """Weights of all zoom levels from one source grid.

    Parameters
    ----------
    cells : ndarray of int32, shape (n_cells,)
        Flat indices of the source cells that any level uses, ascending; all are ocean.
    source_shape : tuple of int
    pixels_per_tile : int
    threshold : float
        A pixel is covered where its share is at least this, and above 0.
    levels : tuple of LevelWeights
        In ascending order of zoom level.
    wet : ndarray of bool, shape source_shape
        The ocean mask that the weights were built with.
    sha256 : mapping of str to str
        Of what the weights were built from: ``lon``, ``lat``, ``corner_lon``, ``corner_lat``,
        ``wet``.
    """

    cells: NDArray[np.int32]
    source_shape: tuple[int, ...]
    pixels_per_tile: int
    threshold: float
    levels: tuple[LevelWeights, ...]
    wet: NDArray[np.bool_]
    sha256: Mapping[str, str]

    def level(self, level: int) -> LevelWeights:
        """The weights of one zoom level.

        Raises
        ------
        ConfigurationError
            Code ``LevelUnknown``.
        """
        for weights in self.levels:
            if weights.level == level:
                return weights
        there = ", ".join(str(weights.level) for weights in self.levels)
        raise ConfigurationError(
            f"there are no weights for zoom level {level}, only for {there}; add it to the"
            " mapping's configuration",
            code="LevelUnknown",
        )

    def mask(self, level: int) -> NDArray[np.bool_]:
        """Whether pixels are covered, shape (n, n)."""
        weights = self.level(level)
        return (np.diff(weights.indptr) > 0).reshape(weights.n, weights.n)


def default_method(level: int) -> Method:
    """What a zoom level is made with unless told otherwise: from level 2 on pixels are small."""
    return "conservative" if level < 2 else "bilinear"


def pixel_areas(n: int) -> NDArray[np.float64]:
    """Area of a pixel of every row of the square, shape (n,), steradian."""
    edges = np.pi * (1.0 - 2.0 * np.arange(n + 1) / n)
    # sinh(a - b) / (cosh a cosh b) is tanh a - tanh b, with all digits near the poles.
    north, south = edges[:-1], edges[1:]
    return 2 * np.pi / n * np.sinh(north - south) / (np.cosh(north) * np.cosh(south))


def build_webmercator(
    lon: NDArray[Any],
    lat: NDArray[Any],
    corner_lon: NDArray[Any] | None,
    corner_lat: NDArray[Any] | None,
    wet: NDArray[np.bool_],
    *,
    levels: Sequence[int],
    pixels_per_tile: int = 128,
    methods: Sequence[Method] | None = None,
    threshold: float = 0.5,
    dtype: DTypeLike = np.float32,
) -> WebMercatorWeights:
    """Build the weights from a source grid to Web Mercator.

    Parameters
    ----------
    lon, lat : ndarray, shape (j, i) or (13, L, L), degrees
        T points; NaN on land that the model leaves undefined. An array (j, i) may be cyclic in i.
    corner_lon, corner_lat : ndarray, shape (*lon.shape, 4), degrees, or None
        Corners of the T cells; those that are NaN are worked out from the points around them.
    wet : ndarray of bool, shape of `lon`
        True where there is ocean.
    levels : sequence of int
        Zoom levels.
    pixels_per_tile : int, default 128
    methods : sequence of {"conservative", "bilinear"}, optional
        One per level; conservative at zoom levels 0 and 1 and bilinear beyond if not given.
    threshold : float, default 0.5
        Share of ocean from which on a pixel is covered, 0 to 1.
    dtype : dtype, default float32
        Of weights and shares; float64 gives them as they are worked out.

    Returns
    -------
    WebMercatorWeights

    Raises
    ------
    GridMismatch
        Codes ``ShapeMismatch``, ``CoordinatesNotFinite``, ``LatitudeOutOfRange``,
        ``CornersMissing``: the arrays are no grid.
    ConfigurationError
        Codes ``LevelsInvalid``, ``MethodUnknown``, ``ThresholdInvalid``.

    Notes
    -----
    Conservative weights are overlaps of cells and pixels, in area on the sphere. Bilinear ones are
    those of the four points around the pixel's centre, on the plane that touches the sphere there;
    where no four or three points surround it, the cell in which it lies gives the value. Dry cells
    are left out of both.
    """
    chosen = _chosen(levels, methods, pixels_per_tile, threshold)
    cells = SourceCells(
        np.asarray(lon, np.float64),
        np.asarray(lat, np.float64),
        None if corner_lon is None else np.asarray(corner_lon, np.float64),
        None if corner_lat is None else np.asarray(corner_lat, np.float64),
        wet,
    )
    require_cells(cells)
    # Both import numba.
    from dor_ecco_assets.mapping.bilinear import bilinear_weights, patches_of
    from dor_ecco_assets.mapping.conservative import (
        cells_at_centres,
        outlines,
        overlaps,
        with_middles,
    )

    ocean = np.flatnonzero(wet.ravel())
    edges = (c.reshape(-1, 4)[ocean] for c in complete_corners(cells))
    outline = outlines(*with_middles(*edges))
    patches = patches_of(cells) if "bilinear" in chosen.values() else None
    made: list[tuple[int, int, Method, _Rows]] = []
    for level, method in sorted(chosen.items()):
        n = pixels_per_tile << level
        if patches is None or method == "conservative":
            pixel, near, weight = overlaps(outline, n)
            cell, whole = ocean[near], np.repeat(pixel_areas(n), n)
        else:
            (pixel, cell, weight), taken = bilinear_weights(cells, patches, n)
            more_pixel, near, more_weight = cells_at_centres(outline, n, taken)
            pixel, weight = np.append(pixel, more_pixel), np.append(weight, more_weight)
            cell, whole = np.append(cell, ocean[near]), np.ones(n * n)
        made.append((level, n, method, _rows(pixel, cell, weight, whole, wet.size, threshold)))
    used = np.zeros(wet.size, np.bool_)
    for *_, rows in made:
        used[rows.cell] = True
    place = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return WebMercatorWeights(
        cells=np.flatnonzero(used).astype(np.int32),
        source_shape=wet.shape,
        pixels_per_tile=pixels_per_tile,
        threshold=float(threshold),
        levels=tuple(
            LevelWeights(
                level=level,
                n=n,
                indptr=rows.indptr,
                indices=place[rows.cell],
                data=rows.weight.astype(dtype),
                share=rows.share.astype(dtype),
                method=method,
            )
            for level, n, method, rows in made
        ),
        wet=np.ascontiguousarray(wet),
        sha256=source_hashes(cells),
    )


def _chosen(
    levels: Sequence[int], methods: Sequence[Method] | None, pixels_per_tile: int, threshold: float
) -> dict[int, Method]:
    """Method by zoom level."""
    if not levels or len(set(levels)) < len(levels) or min(levels) < 0 or pixels_per_tile < 1:
        raise ConfigurationError(
            f"zoom levels {list(levels)} of {pixels_per_tile} pixels a tile; expected different"
            " ones from 0 on, and at least 1 pixel",
            code="LevelsInvalid",
        )
    if methods is None:
        methods = [default_method(level) for level in levels]
    if len(methods) != len(levels) or not set(methods) <= set(get_args(Method)):
        raise ConfigurationError(
            f"methods {', '.join(map(str, methods))} for {len(levels)} zoom levels; expected one"
            f" of {', '.join(get_args(Method))} for each",
            code="MethodUnknown",
        )
    if not 0 <= threshold <= 1:
        raise ConfigurationError(
            f"a threshold of {threshold}; expected a share of ocean from 0 to 1",
            code="ThresholdInvalid",
        )
    return dict(zip(levels, methods, strict=True))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Weights by pixel, float64; `cell` is flat in the whole source grid."""

    indptr: NDArray[np.int32]
    cell: NDArray[np.int32]
    weight: NDArray[np.float64]
    share: NDArray[np.float64]


def _rows(
    pixel: NDArray[np.int32],
    cell: NDArray[Any],
    weight: NDArray[np.float64],
    whole: NDArray[np.float64],
    n_source: int,
    threshold: float,
) -> _Rows:
    """Sort triplets into rows, drop those of pixels with too little ocean, make rows sum to 1."""
    from scipy.sparse import coo_array

    # Cells are sorted and several pieces of one cell added up.
    matrix = coo_array((weight, (pixel, cell)), shape=(whole.size, n_source)).tocsr()
    matrix.sum_duplicates()
    sizes = np.diff(matrix.indptr)
    total = np.add.reduceat(np.append(matrix.data, 0.0), matrix.indptr[:-1])
    total[sizes == 0] = 0.0
    share = total / whole
    sizes[(share < threshold) | (total <= 0)] = 0
    keep = np.repeat(sizes > 0, np.diff(matrix.indptr))
    return _Rows(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        cell=matrix.indices[keep].astype(np.int32),
        weight=np.asarray(matrix.data[keep] / np.repeat(total, sizes), np.float64),
        share=share,
    )


def apply_reference(
    weights: WebMercatorWeights, level: int, fields: NDArray[Any]
) -> NDArray[np.float32]:
    """Apply weights plainly, in float64, one field after the other.

    Parameters
    ----------
    weights : WebMercatorWeights
    level : int
    fields : ndarray, shape (..., *source_shape)
        Land may hold anything.

    Returns
    -------
    ndarray of float32, shape (..., n, n)
        NaN where a pixel is not covered.

    Raises
    ------
    GridMismatch
        Code ``ShapeMismatch``.
    ConfigurationError
        Code ``LevelUnknown``.
    """
    from scipy.sparse import csr_array

    of = weights.level(level)
    lead = _lead(weights, fields)
    matrix = csr_array(
        (of.data.astype(np.float64), of.indices, of.indptr), shape=(of.n**2, weights.cells.size)
    )
    flat = fields.reshape(-1, weights.wet.size)
    out = np.full((len(flat), of.n**2), np.nan, np.float32)
    covered = np.diff(of.indptr) > 0
    for field, row in zip(flat, out, strict=True):
        row[covered] = (matrix @ field[weights.cells].astype(np.float64))[covered]
    return out.reshape(*lead, of.n, of.n)


def _lead(weights: WebMercatorWeights, fields: NDArray[Any]) -> tuple[int, ...]:
    lead = fields.shape[: max(0, fields.ndim - len(weights.source_shape))]
    if fields.shape != (*lead, *weights.source_shape):
        raise GridMismatch(
            f"a field has shape {fields.shape}, the weights expect (...,"
            f" {', '.join(map(str, weights.source_shape))}); rebuild them for this grid",
            code="ShapeMismatch",
        )
    return lead


def check_source(weights: WebMercatorWeights, grid: xr.Dataset | SourceCells) -> None:
    """Refuse weights that were built for another grid or another ocean mask.

    Parameters
    ----------
    weights : WebMercatorWeights
    grid : Dataset or SourceCells
        The grid as it is now; of a dataset the T points and its own mask are compared.

    Raises
    ------
    GridMismatch
        Code ``SourceChanged``: coordinates differ. Code ``MaskChanged``: the mask alone differs.
    """
    cells = grid if isinstance(grid, SourceCells) else source_cells(grid)
    found = source_hashes(cells)
    differing = [
        name
        for name in ("lon", "lat", "corner_lon", "corner_lat", "wet")
        if found.get(name) != weights.sha256.get(name)
    ]
    if not differing:
        return
    if differing == ["wet"]:
        other = np.count_nonzero(cells.wet != weights.wet)
        raise GridMismatch(
            f"the ocean mask differs from that of the weights in {other} cells: it has sha256"
            f" {found['wet']}, the weights were built with {weights.sha256['wet']}; make the"
            " mapping again",
            code="MaskChanged",
        )
    what = "; ".join(
        f"{name} has sha256 {found.get(name)}, expected {weights.sha256.get(name)}"
        for name in differing
    )
    raise GridMismatch(
        f"the grid has changed since the weights were built: {what}; make the mapping again",
        code="SourceChanged",
    )


def check_field(weights: WebMercatorWeights, field: NDArray[Any]) -> None:
    """Refuse a field whose missing values are not just the land of the weights.

    Parameters
    ----------
    weights : WebMercatorWeights
    field : ndarray, shape (..., *source_shape)
        NaN on land and nowhere else.

    Raises
    ------
    GridMismatch
        Code ``ShapeMismatch``, or ``MaskDataMismatch``: NaN in the ocean or a number on land.
    """
    _lead(weights, field)
    wrong = np.isnan(field) == weights.wet
    if wrong.any():
        lost = int(np.count_nonzero(wrong & weights.wet))
        raise GridMismatch(
            f"mask and data disagree: {lost} values are missing in the ocean and"
            f" {int(np.count_nonzero(wrong)) - lost} are numbers on land, the first at"
            f" {tuple(map(int, np.argwhere(wrong)[0]))}; take data and grid of the same run, then"
            " make the mapping again",
            code="MaskDataMismatch",
        )


_ARRAYS: tuple[Literal["indptr", "indices", "data", "share"], ...] = (
    "indptr",
    "indices",
    "data",
    "share",
)


def to_dataset(weights: WebMercatorWeights) -> xr.Dataset:
    """Weights as a portable dataset, about 4 MB for two zoom levels of gx1v7.

    Parameters
    ----------
    weights : WebMercatorWeights
        In float32.

    Returns
    -------
    Dataset
        ``cells``, ``wet`` and, for every zoom level L, ``indptr_L``, ``indices_L``, ``data_L``
        and ``share_L``. The attribute ``manifest`` is JSON; its ``sha256_weights`` is the hash
        of all of it.
    """
    source_dims = ("tile", "j", "i")[-len(weights.source_shape) :]
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = {
        "cells": (
            ("cell",),
            weights.cells,
            {"long_name": "flat index of the source cells in use, row by row"},
        ),
        "wet": (
            source_dims,
            weights.wet.view(np.uint8),
            {"long_name": "ocean mask", "flag_values": [0, 1], "flag_meanings": "dry wet"},
        ),
    }
    for of in weights.levels:
        k = of.level
        variables |= {
            f"indptr_{k}": (
                (f"bound_{k}",),
                of.indptr,
                {"long_name": "where the weights of each pixel start, rows of pixels from north"},
            ),
            f"indices_{k}": ((f"weight_{k}",), of.indices, {"long_name": "place in `cells`"}),
            f"data_{k}": ((f"weight_{k}",), of.data, {"long_name": "weight", "units": "1"}),
            f"share_{k}": (
                (f"y_{k}", f"x_{k}"),
                of.share.reshape(of.n, of.n),
                {"long_name": "share of ocean before weights are made to sum to 1", "units": "1"},
            ),
        }
    dataset = xr.Dataset(
        variables,
        attrs={
            "title": "Weights from a model grid to Web Mercator (EPSG:3857)",
            "manifest": json.dumps(_manifest(weights), sort_keys=True),
        },
    )
    for variable in dataset.variables.values():
        variable.encoding = {"chunks": variable.shape, "_FillValue": None}
    return dataset


def _manifest(weights: WebMercatorWeights) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "source_shape": list(weights.source_shape),
        "pixels_per_tile": weights.pixels_per_tile,
        "threshold": weights.threshold,
        "levels": [{"level": of.level, "n": of.n, "method": of.method} for of in weights.levels],
        "sha256": dict(weights.sha256),
        "sha256_weights": weights_sha256(weights),
    }


def weights_sha256(weights: WebMercatorWeights) -> str:
    """Hash of all arrays in order, which is published with what they are applied to."""
    digest = hashlib.sha256()
    arrays = [weights.cells, weights.wet]
    arrays += [getattr(of, name) for of in weights.levels for name in _ARRAYS]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def from_dataset(dataset: xr.Dataset) -> WebMercatorWeights:
    """Weights from the dataset that `to_dataset` made.

    Parameters
    ----------
    dataset : Dataset
        As opened from a store; it is read completely.

    Raises
    ------
    GridMismatch
        Code ``WeightsDamaged``: something is missing, of another format, or not what the
        manifest's hash says.
    """
    try:
        manifest: dict[str, Any] = json.loads(dataset.attrs["manifest"])
        if (found := manifest.get("format")) != FORMAT:
            raise _damaged(f"they have format {found}, expected {FORMAT}")
        weights = WebMercatorWeights(
            cells=dataset["cells"].to_numpy(),
            source_shape=tuple(manifest["source_shape"]),
            pixels_per_tile=manifest["pixels_per_tile"],
            threshold=manifest["threshold"],
            levels=tuple(
                LevelWeights(
                    level=of["level"],
                    n=of["n"],
                    method=of["method"],
                    indptr=dataset[f"indptr_{of['level']}"].to_numpy(),
                    indices=dataset[f"indices_{of['level']}"].to_numpy(),
                    data=dataset[f"data_{of['level']}"].to_numpy(),
                    share=dataset[f"share_{of['level']}"].to_numpy().ravel(),
                )
                for of in manifest["levels"]
            ),
            wet=dataset["wet"].to_numpy().astype(np.bool_),
            sha256=manifest["sha256"],
        )
    except KeyError as missing:
        raise _damaged(f"the dataset lacks something: {missing}") from missing
    if (found := weights_sha256(weights)) != manifest["sha256_weights"]:
        raise _damaged(f"they have sha256 {found}, the manifest says {manifest['sha256_weights']}")
    return weights


def _damaged(what: str) -> GridMismatch:
    return GridMismatch(
        f"weights to Web Mercator cannot be used: {what}; make the mapping again",
        code="WeightsDamaged",
    )
