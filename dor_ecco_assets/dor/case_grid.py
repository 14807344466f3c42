"""What a case needs of its grid, taken out of the grid's dataset once per process."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.errors import GridMismatch
from dor_ecco_assets.grids.llc_geometry import xyz_from_lonlat

__all__ = ["CaseGrid", "case_grid", "grid_digest"]

type Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CaseGrid:
    """A POP grid as arrays.

    Parameters
    ----------
    name : str
    kmt : ndarray of int32, shape (nlat, nlon)
        Number of wet levels, 0 on land.
    area_cm2 : ndarray of float64, shape (nlat, nlon)
    dz_cm : ndarray of float64, shape (nz,)
    points : dict of str to ndarray of float64, shape (nlat, nlon), degrees
        ``TLAT TLONG ULAT ULONG``; NaN where land is undefined.
    """

    name: str
    kmt: NDArray[np.int32]
    area_cm2: Doubles
    dz_cm: Doubles
    points: dict[str, Doubles]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depth levels, rows and columns."""
        return (self.dz_cm.size, *self.kmt.shape)

    @cached_property
    def wet(self) -> NDArray[np.bool_]:
        """Cells whose top level holds water."""
        return self.kmt > 0

    @cached_property
    def directions(self) -> Doubles:
        """Unit vectors of the T points, shape (3, nlat, nlon)."""
        return xyz_from_lonlat(self.points["TLONG"], self.points["TLAT"])

    @cached_property
    def digest(self) -> str:
        """See `grid_digest`."""
        return grid_digest(self.kmt, self.area_cm2)


def case_grid(grid: xr.Dataset) -> CaseGrid:
    """Take what a case needs out of a POP grid.

    Parameters
    ----------
    grid : Dataset
        As `dor_ecco_assets.grids.pop.pop_grid_dataset` makes it.

    Raises
    ------
    GridMismatch
        ``GridKmtMissing``, if the grid does not say how deep its columns are.
    """
    name = str(grid.attrs.get("name", "grid"))
    if "KMT" not in grid:
        raise GridMismatch(
            f"grids/{name} has no KMT ({grid.attrs.get('kmt_source')}), which column integrals "
            "need; configure it from a grid or history file of the model and make it again",
            code="GridKmtMissing",
        )
    return CaseGrid(
        name=name,
        kmt=np.ascontiguousarray(grid["KMT"].values, np.int32),
        area_cm2=np.ascontiguousarray(grid["TAREA"].values, np.float64),
        dz_cm=np.ascontiguousarray(grid["dz"].values, np.float64),
        points={
            point: np.ascontiguousarray(grid[point].values, np.float64)
            for point in ("TLAT", "TLONG", "ULAT", "ULONG")
        },
    )


def grid_digest(kmt: NDArray[np.int32], area_cm2: Doubles) -> str:
    """SHA-256 of the depth of every column and the area of the wet ones.

    Areas of land cells play no part: runs with land blocks left out do not have them.
    """
    digest = hashlib.sha256(kmt.tobytes())
    digest.update(np.where(kmt > 0, area_cm2, 0.0).tobytes())
    return digest.hexdigest()
