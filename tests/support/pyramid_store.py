"""A small atlas as the page opens it, made by zarr-python, every value of it known."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
import zarr
from numcodecs import Zlib

from dor_ecco_assets.atlas.published import efficiency_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILL = np.float32(9.969209968386869e36)
EXTENT_M = 20037508.342789244
BANDS = ("delta", "experimental")
MONTHS = (1, 4, 7, 10)
LEVELS = 2
RADII_M = (500_000, 1_000_000, 2_000_000)
VARIABLES = ("DIC", "FG", "PH")


@dataclass(frozen=True)
class SmallAtlas:
    """Two polygons, four injection months.

    Of polygon 1, month 4 lacks the north-west chunks of level 1, month 7 was never made, and
    month 10 is being written: its chunks are there and its status is 0.
    """

    folder: Path
    side: int = 16
    years: int = 3
    polygons: int = 2

    @property
    def index(self) -> Path:
        """What the page opens."""
        return self.folder / "pyramids/atlas/index.json"

    def centres(self, level: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude of columns and latitude of rows, degrees; row 0 is the north."""
        n = self.side << level
        at = (np.arange(n) + 0.5) / n
        return 360 * at - 180, np.rad2deg(np.arctan(np.sinh(np.pi * (1 - 2 * at))))

    def field(
        self, variable: str, band: str, polygon: int, month: int, elapsed: int, level: int
    ) -> NDArray[np.float32]:
        """Stored values of one map, NaN on land, a block between 20°W and 40°E."""
        lon, lat = (part.astype(np.float64) for part in np.meshgrid(*self.centres(level)))
        east = (-150.0, 75.0)[polygon % 2] + 1.5 * elapsed
        off = (lon - east + 180) % 360 - 180
        spread = 18.0 + 0.4 * elapsed
        plume = np.exp(-(off**2 + (lat - (20.0, -30.0)[polygon % 2]) ** 2) / (2 * spread**2))
        size = {"DIC": -900.0, "FG": -0.0016, "PH": 0.009}[variable] * (1 + 0.02 * month)
        delta = size * plume * np.exp(-elapsed / 24)
        if band == "delta":
            value = delta
        else:
            swell = np.cos(np.deg2rad(2 * lon)) * np.cos(np.deg2rad(lat))
            middle, half = {"DIC": (7e6, 5e6), "FG": (0.0, 0.012), "PH": (8.05, 0.12)}[variable]
            value = middle + half * swell * np.cos(np.deg2rad(3 * elapsed)) + delta
        land = (lon > -20) & (lon < 40)
        return np.where(land, np.nan, value).astype(np.float32)

    def efficiency(self, polygon: int, month: int) -> NDArray[np.float64]:
        """Efficiency of a case at the end of each month."""
        elapsed = np.arange(1, 12 * self.years + 1)
        return (0.82 - 0.12 * polygon - 0.005 * month) * (1 - np.exp(-elapsed / 9))

    def uptake(self, polygon: int, month: int) -> NDArray[np.float64]:
        """Uptake inside each radius, % of the final total, shape (elapsed, radius)."""
        whole = self.efficiency(polygon, month)
        return 100 * (whole / whole[-1])[:, None] * np.array([0.45, 0.72, 0.93])

    def published(self, polygon: int, month: int) -> NDArray[np.float64]:
        """Published efficiency at the end of each year, NaN between."""
        found = np.full(12 * self.years, np.nan)
        found[11::12] = self.efficiency(polygon, month)[11::12] * 0.96
        return found

    def write(self) -> SmallAtlas:
        """Write everything."""
        self._maps("v2.zarr", 2)
        self._maps("v3.zarr", 3)
        self._curves()
        self._polygons()
        self._index()
        return self

    def is_whole(self, polygon: int, month: int) -> bool:
        """Whether a case's status is 1."""
        return polygon == 0 or month in (1, 4)

    def _maps(self, name: str, zarr_format: int) -> None:
        place = self.index.parent / name
        root = zarr.open_group(place, mode="w", zarr_format=zarr_format)
        sizes = (2, self.polygons, len(MONTHS), 12, self.years)
        coordinates = {
            "polygon_id": np.arange(self.polygons, dtype=np.int32),
            "intervention_date": np.array(MONTHS, np.int32),
            "month": np.arange(1, 13, dtype=np.int32),
            "year": np.arange(1, self.years + 1, dtype=np.int32),
        }
        for level in range(LEVELS):
            group = root.create_group(str(level))
            n = self.side << level
            _coordinates(group, coordinates, zarr_format)
            dims = ("band", *coordinates, "y", "x")
            for variable in VARIABLES:
                options = _options(zarr_format, (1, 1, 1, 12, self.years, n, n))
                array = group.create_array(
                    variable,
                    shape=(*sizes, n, n),
                    chunks=(1, 1, 1, 1, self.years, self.side, self.side),
                    dtype="f4",
                    fill_value=FILL,
                    **_named(dims, zarr_format),
                    **options,
                )
                self._fill(array, variable, level)
        if zarr_format == 3:
            _coordinates(root, coordinates, zarr_format)
        status = root.create_array(
            "case_status",
            shape=(self.polygons, len(MONTHS)),
            chunks=(1, 1),
            dtype="u1",
            fill_value=0,
            **_named(("polygon_id", "intervention_date"), zarr_format),
        )
        for polygon in range(self.polygons):
            for at, month in enumerate(MONTHS):
                if polygon == 0 or month != 7:
                    status[polygon, at] = np.uint8(self.is_whole(polygon, month))
        root.attrs.update(_about(self.side, zarr_format))
        zarr.consolidate_metadata(place, zarr_format=zarr_format)
        if zarr_format == 2:
            for lost in place.glob("1/*/*.1.1.*.0.0"):
                if lost.name.split(".")[1:3] == ["1", "1"]:
                    lost.unlink()

    def _fill(self, array: zarr.Array, variable: str, level: int) -> None:
        for polygon in range(self.polygons):
            for at, month in enumerate(MONTHS):
                if polygon == 1 and month == 7:
                    continue
                for place, band in enumerate(BANDS):
                    maps = [
                        self.field(variable, band, polygon, month, elapsed, level)
                        for elapsed in range(12 * self.years)
                    ]
                    n = maps[0].shape[0]
                    stacked = np.nan_to_num(np.array(maps), nan=FILL)
                    stacked = stacked.reshape(self.years, 12, n, n).swapaxes(0, 1)
                    array[place, polygon, at] = stacked

    def _curves(self) -> None:
        states = np.array(
            [[self.is_whole(polygon, month) for month in MONTHS] for polygon in range(2)], np.uint8
        )
        states[1, 3] = 2  # failed

        def gathered(curve) -> NDArray[np.float64]:
            cases = [[curve(polygon, month) for month in MONTHS] for polygon in range(2)]
            return np.moveaxis(np.array(cases), 2, 0)

        held = states[None] == 1
        for path, forcing, values in (
            ("efficiency_store", "DOR", np.where(held, gathered(self.efficiency), np.nan)),
            ("published_efficiency", "OAE", gathered(self.published)),
        ):
            _curve_store(
                self.folder, path, efficiency_dataset(values, MONTHS, forcing=forcing), states
            )
        store = efficiency_dataset(gathered(self.efficiency), MONTHS, forcing="DOR")
        uptake = np.where(held[..., None], gathered(self.uptake), FILL).astype(np.float32)
        dims = ("elapsed_time", "polygon_id", "intervention_month", "dist2center")
        store = store.drop_vars("DOR_efficiency").assign(
            FG_CO2_percent_cumulative=(dims, uptake, {"units": "percent"})
        )
        store = store.assign_coords(dist2center=np.array(RADII_M, np.int32))
        store["FG_CO2_percent_cumulative"].encoding = {
            "_FillValue": FILL,
            "chunks": (*uptake.shape[:2], 1, 3),
        }
        _curve_store(self.folder, "uptake_by_distance", store, states)

    def _polygons(self) -> None:
        def box(number: int, west: float, south: float) -> dict:
            east, north = west + 24, south + 18
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            return {
                "type": "Feature",
                "id": number,
                "properties": {
                    "polygon_id": number,
                    "basin": ("North_Pacific", "South_Indian")[number],
                    "polygon": number,
                    "centre_lon": west + 12,
                    "centre_lat": south + 9,
                    "area_m2": 1e12,
                },
                "geometry": {"type": "MultiPolygon", "coordinates": [[ring]]},
            }

        features = [box(0, -162, 11), box(1, 63, -39)]
        collection = {"type": "FeatureCollection", "features": features}
        (self.index.parent / "polygons.geojson").write_text(json.dumps(collection))

    def _index(self) -> None:
        self.index.write_text(json.dumps(self.index_content()))

    def index_content(self) -> dict:
        """The index as a value."""
        both = dict.fromkeys(BANDS)
        looks = {
            "DIC": ("column integral of DIC", "mmol/m^2", 0.001, "mol/m^2"),
            "FG": ("air-sea flux of CO2", "mmol/m^3 cm/s", -315.36, "mol/m^2/yr"),
            "PH": ("surface pH", "1", 1.0, "1"),
        }
        limits = {
            "DIC": {"delta": [-1000, 1000], "experimental": [0, 13e6]},
            "FG": {"delta": [-0.002, 0.002], "experimental": [-0.015, 0.015]},
            "PH": {"delta": [-0.01, 0.01], "experimental": [7.9, 8.2]},
        }
        colours = {
            "DIC": {"delta": "RdBu_r", "experimental": "viridis"},
            "FG": {"delta": "RdBu_r", "experimental": "PuOr"},
            "PH": {"delta": "PuOr", "experimental": "plasma"},
        }
        curves = {
            "efficiency": ("efficiency_store", "DOR_efficiency"),
            "uptake": ("uptake_by_distance", "FG_CO2_percent_cumulative"),
            "published": ("published_efficiency", "OAE_efficiency"),
        }
        return {
            "title": "Small atlas of direct ocean removal",
            "kind": "atlas",
            "atlas": "small",
            "forcing": "DOR",
            "stores": {
                "maps": {"v2": "v2.zarr", "v3": "v3.zarr"},
                **{
                    key: {"url": f"../../dor/{path}.zarr", "variable": variable}
                    for key, (path, variable) in curves.items()
                },
            },
            "polygons": "polygons.geojson",
            "variables": [
                {
                    "name": name,
                    "long_name": long_name,
                    "units": units,
                    "display_factor": factor,
                    "display_units": shown,
                    "clim": {band: limits[name][band] for band in both},
                    "colormap": {band: colours[name][band] for band in both},
                }
                for name, (long_name, units, factor, shown) in looks.items()
            ],
            "bands": list(BANDS),
            "injection_dim_name": "intervention_date",
            "injection_months": list(MONTHS),
            "polygon_ids": list(range(self.polygons)),
            "years": list(range(1, self.years + 1)),
            "months": 12 * self.years,
            # Polygon 1 in month 10 was whole when the index was written, and is being replaced.
            "cases": {"1": [0, 1], "4": [0, 1], "7": [0], "10": [0, 1]},
            "times": None,
            "pixels_per_tile": self.side,
            "levels": LEVELS,
        }


def _coordinates(group: zarr.Group, coordinates: dict, zarr_format: int) -> None:
    texts = np.array(BANDS, "<U12") if zarr_format == 2 else np.array(BANDS, object)
    band = group.create_array(
        "band",
        shape=(2,),
        chunks=(2,),
        dtype="<U12" if zarr_format == 2 else "string",
        **_named(("band",), zarr_format),
    )
    band[:] = texts
    for name, values in coordinates.items():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype="i4",
            fill_value=2147483647,
            **_named((name,), zarr_format),
        )
        array[:] = values


def _named(dims: tuple[str, ...], zarr_format: int) -> dict:
    if zarr_format == 3:
        return {"dimension_names": dims}
    return {"attributes": {"_ARRAY_DIMENSIONS": list(dims)}, "compressors": Zlib(1)}


def _options(zarr_format: int, shard: tuple[int, ...]) -> dict:
    if zarr_format == 2:
        return {}
    blosc = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")
    return {"shards": shard, "compressors": blosc}


def _about(side: int, zarr_format: int) -> dict:
    if zarr_format == 2:
        datasets = [
            {"path": str(level), "level": level, "pixels_per_tile": side, "crs": "EPSG:3857"}
            for level in range(LEVELS)
        ]
        return {"multiscales": [{"datasets": datasets, "type": "reduce"}]}
    layout = []
    for level in reversed(range(LEVELS)):
        n = side << level
        pixel = 2 * EXTENT_M / n
        entry = {
            "asset": str(level),
            "spatial:shape": [n, n],
            "spatial:transform": [pixel, 0, -EXTENT_M, 0, -pixel, EXTENT_M],
        }
        if level < LEVELS - 1:
            entry |= {
                "derived_from": str(level + 1),
                "transform": {"scale": [2, 2], "translation": [0, 0]},
            }
        layout.append(entry)
    return {
        "multiscales": {"layout": layout},
        "proj:code": "EPSG:3857",
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": [-EXTENT_M, -EXTENT_M, EXTENT_M, EXTENT_M],
        "spatial:registration": "pixel",
    }


def _curve_store(folder: Path, path: str, store: xr.Dataset, states: NDArray[np.uint8]) -> None:
    dims = ("polygon_id", "intervention_month")
    store = store.assign(case_status=(dims, states))
    store["case_status"].encoding = {"chunks": (states.shape[0], 1)}
    place = folder / "dor" / f"{path}.zarr"
    shutil.rmtree(place, ignore_errors=True)
    for variable in store.variables.values():
        variable.encoding["compressor"] = Zlib(1)
    store.to_zarr(place, zarr_format=2, consolidated=True)
