"""Closed forms of the sample's model fields: one smooth pattern by position, depth and time.

A field on T-points or top faces is ``mean + amplitude w e^(-d/scale)`` with a wave w within ±1; a
vector is a solid-body rotation, ``amplitude e^(-d/scale) n × r``, so that its components to the
east and north are known too. Every field has its own phase, so that no two are alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dor_ecco_assets.grids.llc import left_values, lower_values
from dor_ecco_assets.grids.llc_geometry import canonical_fields, hfac_from_depth
from dor_ecco_assets.samples.llc_grid import solid_body_flow

__all__ = [
    "AXIS_LAT",
    "AXIS_LON",
    "CENTRE_VECTORS",
    "EDGE_VECTORS",
    "SCALARS",
    "SampleGeometry",
    "Scalar",
    "Vector",
    "open_edges",
    "scalar_values",
    "vector_values",
]

#: Where the axis of every rotation leaves the sphere, degrees. Tilted, so that the flow crosses
#: every kind of tile edge.
AXIS_LON, AXIS_LAT = 30.0, 60.0

Level = Literal["surface", "centres", "tops"]


@dataclass(frozen=True)
class Scalar:
    """A field on T-points or on the top faces of cells.

    Parameters
    ----------
    mean, amplitude : float
        In the field's unit; it stays within ``mean ± amplitude``.
    levels : {"surface", "centres", "tops"}
    scale_m : float
        Depth in which the amplitude falls to 1/e.
    """

    mean: float
    amplitude: float
    levels: Level = "surface"
    scale_m: float = 2000.0


@dataclass(frozen=True)
class Vector:
    """Two fields that hold the components of a solid-body rotation along i and j.

    Parameters
    ----------
    amplitude : float
        A quarter turn away from the axis, in the field's unit.
    levels, scale_m
        As of `Scalar`.
    """

    amplitude: float
    levels: Level = "surface"
    scale_m: float = 2000.0


_FLUX = (
    *("EXFhl", "EXFhs", "EXFqnet", "oceQnet", "SIatmQnt"),
    *("TFLUX", "EXFswnet", "EXFlwnet", "oceQsw", "SIaaflux"),
)
_WATER = ("SIsnPrcp", "oceFWflx", "SIatmFW", "SIacSubl", "SIrsSubl", "SIfwThru")
_VERTICAL = ("ADVr_TH", "DFrE_TH", "DFrI_TH", "ADVr_SLT", "DFrE_SLT", "DFrI_SLT")
#: Scalars by name, in the units of ``configs/ecco/variables.yaml``.
SCALARS: dict[str, Scalar] = {
    "OBP": Scalar(0.0, 0.4),
    "OBPGMAP": Scalar(10.0, 0.4),
    "PHIBOT": Scalar(0.0, 4.0),
    **{name: Scalar(0.0, 5e-8) for name in ("EXFpreci", "EXFevap", "EXFroff", "EXFempmr")},
    **{name: Scalar(0.0, 5e-5) for name in _WATER},
    "SFLUX": Scalar(0.0, 2e-3),
    **{name: Scalar(0.0, 120.0) for name in _FLUX},
    "EXFlwdn": Scalar(300.0, 80.0),
    "EXFswdn": Scalar(180.0, 90.0),
    "EXFatemp": Scalar(285.0, 15.0),
    "EXFaqh": Scalar(0.01, 0.006),
    "EXFwspee": Scalar(7.0, 4.0),
    "EXFpress": Scalar(101325.0, 1500.0),
    "MXLDEPTH": Scalar(80.0, 60.0),
    "SIarea": Scalar(0.5, 0.45),
    "SIheff": Scalar(1.0, 0.9),
    "SIhsnow": Scalar(0.2, 0.15),
    "sIceLoad": Scalar(900.0, 700.0),
    "oceSPflx": Scalar(0.0, 1e-3),
    "oceSPDep": Scalar(60.0, 40.0),
    "THETA": Scalar(12.0, 10.0, "centres"),
    "SALT": Scalar(34.7, 1.5, "centres"),
    "RHOAnoma": Scalar(5.0, 3.0, "centres"),
    "DRHODR": Scalar(-0.01, 0.008, "centres"),
    "PHIHYD": Scalar(0.0, 20.0, "centres"),
    "PHIHYDcR": Scalar(0.0, 20.0, "centres"),
    "oceSPtnd": Scalar(0.0, 1e-4, "centres"),
    "WVELMASS": Scalar(0.0, 1e-5, "tops"),
    "WVELSTAR": Scalar(0.0, 1e-6, "tops"),
    **{name: Scalar(0.0, 1e6, "tops") for name in _VERTICAL},
}
#: Vectors on west and south edges, by their two names.
EDGE_VECTORS: dict[tuple[str, str], Vector] = {
    ("SIuice", "SIvice"): Vector(0.2),
    ("ADVxHEFF", "ADVyHEFF"): Vector(3e4),
    ("ADVxSNOW", "ADVySNOW"): Vector(3e3),
    ("DFxEHEFF", "DFyEHEFF"): Vector(2e3),
    ("DFxESNOW", "DFyESNOW"): Vector(2e2),
    ("GM_PsiX", "GM_PsiY"): Vector(5.0, "tops"),
    ("UVELMASS", "VVELMASS"): Vector(0.28, "centres"),
    ("UVEL", "VVEL"): Vector(0.3, "centres"),
    ("UVELSTAR", "VVELSTAR"): Vector(0.02, "centres"),
    ("Um_dPHdx", "Vm_dPHdy"): Vector(1e-5, "centres"),
    ("ADVx_TH", "ADVy_TH"): Vector(5e7, "centres"),
    ("DFxE_TH", "DFyE_TH"): Vector(4e5, "centres"),
    ("ADVx_SLT", "ADVy_SLT"): Vector(6e7, "centres"),
    ("DFxE_SLT", "DFyE_SLT"): Vector(3e5, "centres"),
}
#: Vectors on T-points.
CENTRE_VECTORS: dict[tuple[str, str], Vector] = {("EXFuwind", "EXFvwind"): Vector(9.0)}

_PHASES = {name: float(place) for place, name in enumerate(SCALARS)}


@dataclass(frozen=True)
class SampleGeometry:
    """What the closed forms need of a grid, worked out once for all fields.

    Parameters
    ----------
    longitude, latitude : ndarray of float64, shape (13, L, L), degrees
    wet : ndarray of bool, shape (k, 13, L, L)
    cs, sn : ndarray of float64, shape (13, L, L)
        Cosine and sine of the angle from east to i.
    u, v, east, north : ndarray of float64, shape (13, L, L)
        Rotation of unit speed: on west and south edges, and at the centres.
    depth_m : mapping of str to ndarray, shape (k,)
        Depth of centres and top faces, positive.
    """

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    wet: NDArray[np.bool_]
    cs: NDArray[np.float64]
    sn: NDArray[np.float64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    east: NDArray[np.float64]
    north: NDArray[np.float64]
    depth_m: Mapping[Level, NDArray[np.float64]]

    @classmethod
    def of(cls, grid_fields: Mapping[str, NDArray[Any]]) -> "SampleGeometry":
        """Of grid fields under MITgcm's names, as `grid_dataset` takes them."""
        raw = canonical_fields(grid_fields)
        flow = solid_body_flow(grid_fields, axis_lon=AXIS_LON, axis_lat=AXIS_LAT)
        return cls(
            longitude=raw["XC"],
            latitude=raw["YC"],
            wet=hfac_from_depth(raw["Depth"], raw["RF"], raw["DRF"]) > 0,
            cs=raw["AngleCS"],
            sn=raw["AngleSN"],
            u=flow.u,
            v=flow.v,
            east=flow.east,
            north=flow.north,
            depth_m={"centres": -raw["RC"], "tops": -raw["RF"][:-1]},
        )

    def record(self, field: str, year: float) -> NDArray[np.float64]:
        """Values of one field as the model would write them: 0 on land and on closed edges.

        Parameters
        ----------
        field : str
            One of `SCALARS`, or a component of one of the vectors.
        year : float
            Years since the model's start.

        Returns
        -------
        ndarray of float64, shape (13, L, L) or (k, 13, L, L)
        """
        if field in SCALARS:
            scalar = SCALARS[field]
            depth = self._depth(scalar.levels)
            values = scalar_values(field, self.longitude, self.latitude, depth, year)
            return np.where(self._wet(scalar.levels), values, 0.0)
        pair, vector = _vector_of(field)
        first = field == pair[0]
        damping = vector_values(vector, self._depth(vector.levels), year)
        wet = self._wet(vector.levels)
        if pair in CENTRE_VECTORS:
            along_i = self.cs * self.east + self.sn * self.north
            along_j = self.cs * self.north - self.sn * self.east
            return np.where(wet, damping * (along_i if first else along_j), 0.0)
        west, south = open_edges(wet)
        return np.where(west if first else south, damping * (self.u if first else self.v), 0.0)

    def _depth(self, levels: Level) -> NDArray[np.float64]:
        """Depth to broadcast against (13, L, L)."""
        return np.zeros(()) if levels == "surface" else self.depth_m[levels][:, None, None, None]

    def _wet(self, levels: Level) -> NDArray[np.bool_]:
        return self.wet[0] if levels == "surface" else self.wet


def scalar_values(
    field: str, longitude: ArrayLike, latitude: ArrayLike, depth_m: ArrayLike, year: float
) -> NDArray[np.float64]:
    """Closed form of one of `SCALARS`.

    Parameters
    ----------
    field : str
    longitude, latitude : array_like, degrees
    depth_m : array_like, m
        Positive downwards; 0 for a 2-D field.
    year : float

    Returns
    -------
    ndarray of float64, in the shape the arguments broadcast to
        ``mean + amplitude (½ sin²φ + ½ cos²φ cos(2λ + p - 2π year)) e^(-d/scale)`` with a phase p
        that is the field's place in the list, radians: smooth at the poles too.
    """
    scalar = SCALARS[field]
    lon, lat = np.radians(np.asarray(longitude)), np.radians(np.asarray(latitude))
    phase = _PHASES[field] - 2 * np.pi * year
    wave = 0.5 * np.sin(lat) ** 2 + 0.5 * np.cos(lat) ** 2 * np.cos(2 * lon + phase)
    return scalar.mean + scalar.amplitude * wave * np.exp(-np.asarray(depth_m) / scalar.scale_m)


def vector_values(vector: Vector, depth_m: ArrayLike, year: float) -> NDArray[np.float64]:
    """What a rotation of unit speed is multiplied by: amplitude, season and depth.

    Parameters
    ----------
    vector : Vector
    depth_m : array_like, m
        Positive downwards; 0 for a 2-D field.
    year : float

    Returns
    -------
    ndarray of float64, in the shape of `depth_m`
        ``amplitude (1 + 0.2 cos 2π year) e^(-d/scale)``.
    """
    season = 1.0 + 0.2 * float(np.cos(2 * np.pi * year))
    return vector.amplitude * season * np.exp(-np.asarray(depth_m) / vector.scale_m)


def open_edges(wet: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """West and south edges with water on both sides.

    Parameters
    ----------
    wet : ndarray of bool, shape (..., 13, L, L)

    Returns
    -------
    west, south : ndarray of bool, shape of `wet`
    """
    return wet & left_values(wet), wet & lower_values(wet)


def _vector_of(field: str) -> tuple[tuple[str, str], Vector]:
    for pair, vector in {**EDGE_VECTORS, **CENTRE_VECTORS}.items():
        if field in pair:
            return pair, vector
    raise KeyError(field)
