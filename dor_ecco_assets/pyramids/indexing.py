"""``index.json`` and ``polygons.geojson``, gathered from what has been made."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any

import xarray as xr

from dor_ecco_assets.atlas.names_on_disk import efficiency_name, injection_dimension
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.lineage.product import Content, Member, Task
from dor_ecco_assets.lineage.record import partition_label
from dor_ecco_assets.pyramids.configuration import AtlasMaps, DatasetMaps, MapVariable
from dor_ecco_assets.pyramids.index import (
    INDEX,
    POLYGONS,
    STORES,
    CurveStore,
    MapStores,
    PageIndex,
    PageStores,
    PageVariable,
    Times,
)
from dor_ecco_assets.pyramids.outlines import cell_outlines
from dor_ecco_assets.pyramids.schema import BANDS
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.stores.browser import ZarrFormat

__all__ = [
    "days_of",
    "make_atlas_index",
    "make_dataset_index",
    "page_variable",
    "polygon_features",
]

#: The one band of a dataset's limits and colour maps.
VALUE = "value"

_PUBLISHED_FORCING = "OAE"
_UPTAKE_VARIABLE = "FG_CO2_percent_cumulative"


def make_atlas_index(
    key: str, atlas: Atlas, maps: AtlasMaps, grid: str, polygons: str, task: Task
) -> Content:
    """What the page opens to show an atlas."""
    members = list(task.members())
    cases = {month: list[int]() for month in atlas.injection_months}
    for member in members:
        if member.key == key:
            month, polygon = map(int, member.partition.split("|"))
            cases[month].append(polygon)
    index = PageIndex(
        title=atlas.title,
        kind="atlas",
        atlas=atlas.name,
        forcing=atlas.forcing,
        stores=PageStores(maps=_maps(maps.formats), **_curves(members, atlas.forcing)),
        polygons=POLYGONS,
        variables=tuple(page_variable(name, maps.variables[name]) for name in atlas.variables),
        bands=BANDS,
        injection_dim_name=injection_dimension("pyramid", atlas.pyramid_injection_dimension),
        injection_months=atlas.injection_months,
        polygon_ids=tuple(range(atlas.polygon_set.n_polygons)),
        years=tuple(range(1, atlas.years + 1)),
        months=atlas.months,
        cases={month: tuple(sorted(found)) for month, found in cases.items()},
        pixels_per_tile=atlas.pixels_per_tile,
        levels=atlas.zoom_levels,
    )
    features = polygon_features(atlas, task.upstream(polygons), task.upstream(grid))
    files = {INDEX: _json(index), POLYGONS: features}
    details = {"cases": sum(map(len, cases.values())), "polygons": atlas.polygon_set.n_polygons}
    return _content(key, files, details, task)


def _maps(formats: tuple[ZarrFormat, ...]) -> MapStores:
    stores: Mapping[str, str | None] = {
        name: path if name in formats else None for name, path in STORES.items()
    }
    return MapStores(**stores)


def _curves(members: list[Member], forcing: str) -> dict[str, CurveStore]:
    named = {
        "dor/efficiency_store": ("efficiency", efficiency_name(forcing)),
        "dor/uptake_by_distance": ("uptake", _UPTAKE_VARIABLE),
        "dor/published_efficiency": ("published", efficiency_name(_PUBLISHED_FORCING)),
    }
    found: dict[str, CurveStore] = {}
    for member in members:
        if member.key in named:
            name, variable = named[member.key]
            found[name] = CurveStore(url=f"../../{member.record.uri}", variable=variable)
    return found


def page_variable(name: str, variable: MapVariable) -> PageVariable:
    """How the page shows a variable that is configured for maps."""
    return PageVariable(
        name=name,
        long_name=variable.display_name or variable.long_name,
        units=variable.units,
        display_factor=variable.display_factor,
        display_units=variable.display_units or variable.units,
        clim=variable.clim,
        colormap=variable.colormap,
    )


def _json(index: PageIndex) -> bytes:
    return json.dumps(index.model_dump(mode="json"), indent=1, allow_nan=False).encode() + b"\n"


def polygon_features(atlas: Atlas, polygons: xr.Dataset, grid: xr.Dataset) -> bytes:
    """Outlines of the polygons of an atlas with where they are in their basins.

    Parameters
    ----------
    atlas : Atlas
    polygons : Dataset
        As `dor_ecco_assets.atlas.polygons.load_polygons` makes it.
    grid : Dataset
        With ``corner_lat corner_lon`` (nlat, nlon, corner).

    Returns
    -------
    bytes
        GeoJSON.
    """
    lon, lat = polygons["centre_lon"].values, polygons["centre_lat"].values
    area = polygons["area_m2"].values
    outlines = cell_outlines(
        polygons["polygon"].values,
        grid["corner_lat"].values,
        grid["corner_lon"].values,
        range(atlas.polygon_set.n_polygons),
    )
    basins = [
        (basin.name, number)
        for basin in atlas.polygon_set.basins
        for number in range(basin.polygons)
    ]
    features = [
        {
            "type": "Feature",
            "id": number,
            "properties": {
                "polygon_id": number,
                "basin": basins[number][0],
                "polygon": basins[number][1],
                "centre_lon": round((float(lon[number]) + 180.0) % 360.0 - 180.0, 3),
                "centre_lat": round(float(lat[number]), 3),
                "area_m2": round(float(area[number])),
            },
            "geometry": {"type": "MultiPolygon", "coordinates": coordinates},
        }
        for number, coordinates in outlines
    ]
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, separators=(",", ":"), allow_nan=False).encode()


def make_dataset_index(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    """What the page opens to show a dataset."""
    there = {member.partition for member in task.members()}
    labels = tuple(step for step in steps if step in there)
    index = PageIndex(
        title=maps.title,
        kind="dataset",
        stores=PageStores(maps=_maps(maps.formats)),
        variables=tuple(page_variable(name, each) for name, each in maps.variables.items()),
        bands=(VALUE,),
        times=Times(values=tuple(days_of(labels)), labels=labels),
        pixels_per_tile=maps.pixels_per_tile,
        levels=maps.zoom_levels,
    )
    return _content(key, {INDEX: _json(index)}, {"steps": len(labels)}, task)


def days_of(steps: tuple[str, ...]) -> list[int]:
    """First day of each month ``YYYY-MM`` or day ``YYYY-MM-DD``, days since 1970-01-01."""
    first = date(1970, 1, 1)
    return [(date.fromisoformat(f"{step}-01"[:10]) - first).days for step in steps]


def _content(
    key: str, files: Mapping[str, bytes], details: Mapping[str, Any], task: Task
) -> Content:
    label = partition_label(f"{key}_index", task.partition)
    put = partial(_put, key, files, label)
    return Content(key, None, {**details, "chunks": sorted(files)}, put=put)


def _put(
    key: str,
    files: Mapping[str, bytes],
    label: str,
    storage: Storage,
    still_held: Callable[[], None],
) -> tuple[int, str]:
    digest = hashlib.sha256()
    for name in sorted(files, reverse=True):  # the index last: it names the other
        still_held()
        storage.put(f"{key}/{name}", files[name], label)
    for name in sorted(files):
        digest.update(storage.read(f"{key}/{name}") or b"")
    return sum(map(len, files.values())), digest.hexdigest()
