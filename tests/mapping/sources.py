"""Source grids for the tests of mapping: a small synthetic one, the real one, and an oracle."""

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.grids.latlon import LatLonGrid
from dor_ecco_assets.grids.llc import tiles_from_compact
from dor_ecco_assets.grids.llc_geometry import hfac_from_depth
from dor_ecco_assets.mapping.factors import MappingFactors, build_factors
from tests.support.data import llc90_fields

#: One of every radius method and weight method, as arguments of `Source.factors`.
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "area"},
    {"method": "constant"},
    {"method": "constant_1p1"},
    {"method": "fixed", "radius_m": 60_000.0},
    {"method": "area", "weights": "nearest"},
)


@dataclass(frozen=True, eq=False)
class Source:
    """Cell centres (degrees), wet mask behind depth, and extreme cell edges (m)."""

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    wet: NDArray[np.bool_]
    min_length_m: float
    max_length_m: float
    made: dict[str, MappingFactors] = field(default_factory=dict)

    def factors(self, target: LatLonGrid | None = None, **choices: Any) -> MappingFactors:
        """Factors to a target grid, half a degree if none is given; made once per choice."""
        target = target or LatLonGrid()
        key = repr((target, sorted(choices.items())))
        if key not in self.made:
            self.made[key] = build_factors(
                self.lon,
                self.lat,
                self.wet,
                min_length_m=self.min_length_m,
                max_length_m=self.max_length_m,
                latitude=target.latitude,
                longitude=target.longitude,
                resolution_degrees=target.resolution_degrees,
                **choices,
            )
        return self.made[key]


@cache
def synthetic_source(side: int = 14, nk: int = 5, seed: int = 7) -> Source:
    """Points all over the sphere in the shape of 13 tiles, some columns closed at the top."""
    rng = np.random.default_rng(seed)
    shape = (13, side, side)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, shape)))
    lon = rng.uniform(-180, 180, shape)
    depth = nk * (0.5 + np.sin(np.radians(3 * lon)) * np.cos(np.radians(2 * lat)))
    wet = depth > np.arange(nk).reshape(-1, 1, 1, 1)
    under_ice = rng.random(shape) < 0.05
    wet[0][under_ice] = False
    spacing_m = math.sqrt(4 * math.pi / lon.size) * 6.371e6
    return Source(lon, lat, wet, spacing_m / 10, spacing_m * 3)


@cache
def llc90() -> Source:
    """The real LLC90 grid, wet where its depth leaves water."""
    fields = llc90_fields()
    edges = np.concatenate([fields["DXG"].ravel(), fields["DYG"].ravel()])
    wet = hfac_from_depth(tiles_from_compact(fields["Depth"]), fields["RF"], fields["DRF"]) > 0
    lon, lat = (tiles_from_compact(fields[name]) for name in ("XC", "YC"))
    return Source(lon, lat, wet, float(edges.min()), float(edges.max()))


@dataclass(frozen=True)
class Oracle:
    """Weights of single targets by the definition: every source measured, nothing shared.

    Distances go through the haversine, unlike the factors' differences of vectors.
    """

    source: Source
    target: LatLonGrid
    choices: dict[str, Any]

    def near(self, lat: float, lon: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Sources that can matter to a target, and their chord distances in m."""
        reach = math.degrees(2 * max(self.source.max_length_m, self._radius(0.0)) / 6.37e6) + 1
        candidate = np.flatnonzero(np.abs(self.source.lat.ravel() - lat) < reach)
        phi, lam = (np.radians(a.ravel()[candidate]) for a in (self.source.lat, self.source.lon))
        half_phi, half_lam = (phi - math.radians(lat)) / 2, (lam - math.radians(lon)) / 2
        square = (
            np.sin(half_phi) ** 2
            + np.cos(phi) * math.cos(math.radians(lat)) * np.sin(half_lam) ** 2
        )
        return candidate, 2 * 6_370_997.0 * np.sqrt(square)

    def weights(
        self, lat: float, wet: NDArray[np.bool_], near: tuple[NDArray[np.int64], Any]
    ) -> dict[int, float]:
        """Weights of a target, by source; empty if the target is dry. `wet` is one flat level."""
        cells, distance = near
        within = distance <= math.floor(self.source.max_length_m)
        if not within.any():
            return {}
        if not wet[cells[np.argmin(distance)]]:
            return {}
        largest = max(self._radius(centre) for centre in self.target.latitude)
        inside = wet[cells] & (distance <= min(self._radius(lat), math.floor(largest)))
        if self.choices.get("weights") != "nearest" and inside.any():
            return {int(cell): 1 / int(inside.sum()) for cell in cells[inside]}
        only_wet = np.where(wet[cells] & within, distance, np.inf)
        return {int(cells[np.argmin(only_wet)]): 1.0}

    def _radius(self, lat: float) -> float:
        resolution = self.target.resolution_degrees
        match self.choices["method"]:
            case "fixed":
                return self.choices["radius_m"]
            case "constant":
                return 111_000 * resolution / math.sqrt(2)
            case "constant_1p1":
                return 1.1 * 111_000 * resolution / math.sqrt(2)
            case _:
                top = math.sin(math.radians(lat + resolution / 2))
                bottom = math.sin(math.radians(lat - resolution / 2))
                area = 6_371_008.8**2 * math.radians(resolution) * (top - bottom)
                return math.sqrt(area / math.pi)
