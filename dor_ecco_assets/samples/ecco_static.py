"""Sample static fields in MITgcm's layout: mixing coefficients and the grid's lesser metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dor_ecco_assets.grids.llc import left_values, lower_values
from dor_ecco_assets.grids.llc_geometry import canonical_fields, hfac_from_depth
from dor_ecco_assets.grids.mds import write_grid_file

__all__ = ["MIXING_M2_S", "sample_metrics", "sample_mixing", "write_sample_mixing"]

#: Each coefficient at the surface of the equator, m² s⁻¹.
MIXING_M2_S = {"DIFFKR": 1e-5, "KAPGM": 1000.0, "KAPREDI": 800.0}


def sample_mixing(field: str, grid_fields: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """One mixing coefficient.

    Parameters
    ----------
    field : str
        A key of `MIXING_M2_S`.
    grid_fields : mapping of str to ndarray
        As `sample_grid_fields` gives.

    Returns
    -------
    ndarray of float64, shape (k, 13, L, L), m² s⁻¹
        ``K (1 + cos²φ e^(z / 1000 m)) / 2`` in wet cells at latitude φ and height z, 0 on land.
    """
    raw = canonical_fields(grid_fields)
    wet = hfac_from_depth(raw["Depth"], raw["RF"], raw["DRF"]) > 0
    shape = np.cos(np.radians(raw["YC"])) ** 2
    decay = np.exp(raw["RC"] / 1000.0)[:, None, None, None]
    return np.where(wet, MIXING_M2_S[field] * (1.0 + shape * decay) / 2.0, 0.0)


def write_sample_mixing(
    folder: Path,
    grid_fields: Mapping[str, NDArray[Any]],
    *,
    place: str = "V4r4/static",
    dtype: DTypeLike = ">f4",
) -> list[Path]:
    """Write every mixing coefficient, ``<FIELD>.data`` and ``.meta``, below ``folder/place``.

    Returns
    -------
    list of Path
        The ``.data`` files.
    """
    return [
        write_grid_file(folder / place, field, sample_mixing(field, grid_fields), dtype=dtype)
        for field in MIXING_M2_S
    ]


def sample_metrics(grid_fields: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Areas around edges and corners, and distances between centres, nominal on the sample grid.

    Parameters
    ----------
    grid_fields : mapping of str to ndarray
        As `sample_grid_fields` gives.

    Returns
    -------
    dict of str to ndarray of float64, shape (13, L, L)
        ``RAW``, ``RAS`` (m²): mean area of the cells that meet at the edge; ``RAZ`` (m²): mean of
        the two; ``DXC``, ``DYC`` (m): those areas over the edges' lengths.
    """
    raw = canonical_fields(grid_fields)
    area = raw["RAC"]
    left, lower = left_values(area), lower_values(area)  # 0 where an edge is closed
    west = (area + np.where(left > 0, left, area)) / 2
    south = (area + np.where(lower > 0, lower, area)) / 2
    return {
        "RAW": west,
        "RAS": south,
        "RAZ": (west + south) / 2,
        "DXC": west / raw["DYG"],
        "DYC": south / raw["DXG"],
    }
