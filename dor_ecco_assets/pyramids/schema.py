"""What map stores look like before anything is in them: the contract of the libraries that read.

A template follows from configuration and weights alone, so it is made offline, and it is the same
bytes whoever makes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.atlas.names_on_disk import (
    ELAPSED_DIMENSION,
    POLYGON_DIMENSION,
    injection_dimension,
)
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.pyramids.configuration import MapVariable
from dor_ecco_assets.stores.browser import FILL, Array, Group, ZarrFormat

__all__ = [
    "BANDS",
    "CASE_STATUS",
    "EXTENT_M",
    "SHARE",
    "STEP_STATUS",
    "Layout",
    "atlas_layout",
    "dataset_layout",
    "groups_of",
    "pixel_centres_m",
]

#: Half the side of the Mercator square, m.
EXTENT_M = 20037508.342789244
CRS = "EPSG:3857"
BANDS = ("delta", "experimental")
MONTHS_OF_YEAR = 12
#: Arrays at the root that say which cases, or steps, are whole.
CASE_STATUS, STEP_STATUS = "case_status", "step_status"
#: Part of each pixel that the source has, at every level.
SHARE = "source_share"

_CONVENTIONS = (
    ("d35379db-88df-4056-af3a-620245f8e347", "multiscales", "multiscales"),
    ("f17cb550-5864-4468-aeb7-f3180cfb622f", "proj", "geo-proj"),
    ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "spatial", "spatial"),
)
_SCHEMA_URL = "https://raw.githubusercontent.com/zarr-conventions/{}/refs/tags/v1/schema.json"


@dataclass(frozen=True, eq=False)
class Layout:
    """Dimensions of a pyramid without its zoom levels.

    Parameters
    ----------
    title : str
    coordinates : mapping of str to Array
        Of every dimension but ``y`` and ``x``, in the order of the data's dimensions, and those
        that belong to several of them.
    leading : tuple of str
        Dimensions of the data before ``y`` and ``x``.
    inner : tuple of int
        Steps of each leading dimension in one chunk.
    outer : tuple of int
        Steps of each leading dimension in one shard.
    status : str
        Name of the status array.
    status_dims : tuple of str
    variables : mapping of str to MapVariable
    pixels_per_tile, levels : int
    provenance : mapping
        Attributes of the root.
    """

    title: str
    coordinates: Mapping[str, Array]
    leading: tuple[str, ...]
    inner: tuple[int, ...]
    outer: tuple[int, ...]
    status: str
    status_dims: tuple[str, ...]
    variables: Mapping[str, MapVariable]
    pixels_per_tile: int
    levels: int
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def side(self, level: int) -> int:
        """Pixels along a zoom level."""
        return self.pixels_per_tile << level

    def tiles(self, level: int) -> int:
        """Tiles along a zoom level."""
        return 1 << level


def atlas_layout(
    atlas: Atlas,
    variables: Mapping[str, MapVariable],
    provenance: Mapping[str, Any],
) -> Layout:
    """The map store of an atlas: band, polygon, injection month, month and year.

    Parameters
    ----------
    atlas : Atlas
    variables : mapping of str to MapVariable
        At least those of the atlas.
    provenance : mapping
    """
    injection = injection_dimension("pyramid", atlas.pyramid_injection_dimension)
    month, year = np.arange(1, 13, dtype=np.int32), np.arange(1, atlas.years + 1, dtype=np.int32)
    elapsed = (MONTHS_OF_YEAR * (year - 1) + (month - 1)[:, None]).astype(np.int32)
    since = "counts from the injection: month 1 of year 1 is the month of the injection"
    coordinates = {
        "band": Array.whole(
            ("band",),
            np.array(BANDS, "<U12"),
            long_name="experiment minus counterfactual, experiment",
        ),
        POLYGON_DIMENSION: Array.whole(
            (POLYGON_DIMENSION,),
            np.arange(atlas.polygon_set.n_polygons, dtype=np.int32),
            long_name="polygon_master",
        ),
        injection: Array.whole(
            (injection,),
            np.array(atlas.injection_months, np.int32),
            long_name="calendar month of the injection",
        ),
        "month": Array.whole(("month",), month, long_name=since),
        "year": Array.whole(("year",), year, long_name=since),
        ELAPSED_DIMENSION: Array.whole(
            ("month", "year"), elapsed, long_name="months since the injection"
        ),
    }
    months = MONTHS_OF_YEAR
    return Layout(
        title=atlas.title,
        coordinates=coordinates,
        leading=("band", POLYGON_DIMENSION, injection, "month", "year"),
        inner=(1, 1, 1, 1, atlas.years),
        outer=(1, 1, 1, months, atlas.years),
        status=CASE_STATUS,
        status_dims=(POLYGON_DIMENSION, injection),
        variables={name: variables[name] for name in atlas.variables},
        pixels_per_tile=atlas.pixels_per_tile,
        levels=atlas.zoom_levels,
        provenance={"atlas": atlas.name, "forcing": atlas.forcing, **provenance},
    )


def dataset_layout(
    title: str,
    days: Sequence[int],
    variables: Mapping[str, MapVariable],
    *,
    pixels_per_tile: int,
    levels: int,
    provenance: Mapping[str, Any],
) -> Layout:
    """The map store of a gridded dataset: one step of time to a chunk.

    Parameters
    ----------
    title : str
    days : sequence of int
        First day of each step, days since 1970-01-01.
    variables : mapping of str to MapVariable
    pixels_per_tile, levels : int
    provenance : mapping
    """
    time = Array.whole(
        ("time",),
        np.array(days, np.int32),
        long_name="first day of the interval",
        standard_name="time",
        units="days since 1970-01-01",
        calendar="proleptic_gregorian",
    )
    return Layout(
        title=title,
        coordinates={"time": time},
        leading=("time",),
        inner=(1,),
        outer=(1,),
        status=STEP_STATUS,
        status_dims=("time",),
        variables=variables,
        pixels_per_tile=pixels_per_tile,
        levels=levels,
        provenance=provenance,
    )


def groups_of(
    layout: Layout, shares: Sequence[NDArray[np.float32]], zarr_format: ZarrFormat
) -> dict[str, Group]:
    """Groups and arrays of a store with nothing in it.

    Parameters
    ----------
    layout : Layout
    shares : sequence of ndarray of float32, shape (n * n,)
        Part of each pixel that the source has, by level.
    zarr_format : {"v2", "v3"}
    """
    sizes = {name: array.shape[0] for name, array in layout.coordinates.items()}
    shape = tuple(sizes[name] for name in layout.status_dims)
    status = Array(
        layout.status_dims,
        shape,
        (1,) * len(shape),
        "u1",
        None if zarr_format == "v2" else 0,
        {"long_name": "1 where everything is there, 0 elsewhere"},
    )
    arrays = {layout.status: status}
    if zarr_format == "v3":  # zarr-layer looks for the values of selectors at the root
        arrays |= {
            name: array for name, array in layout.coordinates.items() if array.dims == (name,)
        }
    about = _root_v2(layout) if zarr_format == "v2" else _root_v3(layout)
    root = {"title": layout.title, **layout.provenance, **about}
    levels = {
        str(level): _level(layout, level, shares[level], zarr_format)
        for level in range(layout.levels)
    }
    return {"": Group(root, arrays), **levels}


def _level(
    layout: Layout, level: int, share: NDArray[np.float32], zarr_format: ZarrFormat
) -> Group:
    n, side = layout.side(level), layout.pixels_per_tile
    x, y = pixel_centres_m(n)
    arrays = dict(layout.coordinates)
    for name, values in (("x", x), ("y", y)):
        about = {"units": "m", "standard_name": f"projection_{name}_coordinate"}
        arrays[name] = Array.whole((name,), values.astype(np.float32), **about)
    arrays[SHARE] = Array.whole(
        ("y", "x"),
        np.asarray(share, np.float32).reshape(n, n),
        long_name="part of the pixel that the source covers",
        units="1",
    )
    sizes = tuple(layout.coordinates[name].shape[0] for name in layout.leading)
    aside = [name for name, array in layout.coordinates.items() if array.dims != (name,)]
    for name, variable in layout.variables.items():
        about = {"units": variable.units, "long_name": variable.long_name}
        arrays[name] = Array(
            (*layout.leading, "y", "x"),
            (*sizes, n, n),
            (*layout.inner, side, side),
            "f4",
            FILL,
            about | ({"coordinates": " ".join(aside)} if aside else {}),
            shard=(*layout.outer, n, n) if zarr_format == "v3" else None,
        )
    if zarr_format == "v2":
        return Group({"multiscales": [_multiscales(layout, [(level, ".")])]}, arrays)
    proj = {"proj:code": CRS, "spatial:dimensions": ["y", "x"], **_spatial(n)}
    return Group({"zarr_conventions": _conventions()[1:], **proj}, arrays)


def pixel_centres_m(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of `n` pixels along x, eastwards, and along y, southwards, m."""
    across = 2 * EXTENT_M / n
    x = -EXTENT_M + (np.arange(n, dtype=np.float64) + 0.5) * across
    return x, np.negative(x)


def _multiscales(layout: Layout, levels: Sequence[tuple[int, str]]) -> dict[str, Any]:
    datasets = [
        {"path": path, "level": level, "pixels_per_tile": layout.pixels_per_tile, "crs": CRS}
        for level, path in levels
    ]
    methods = layout.provenance.get("weights", {}).get("methods", [])
    method = methods[levels[0][0]] if methods else "conservative"
    about = {"method": method, "version": SCHEMA_VERSION, "args": [], "kwargs": {}}
    return {"datasets": datasets, "type": "reduce", "metadata": about}


#: Raised when the layout of stores changes.
SCHEMA_VERSION = "1"


def _root_v2(layout: Layout) -> dict[str, Any]:
    levels = [(level, str(level)) for level in range(layout.levels)]
    return {"multiscales": [_multiscales(layout, levels)]}


def _root_v3(layout: Layout) -> dict[str, Any]:
    finest = layout.levels - 1
    levels: list[dict[str, Any]] = []
    for level in range(finest, -1, -1):
        entry: dict[str, Any] = {"asset": str(level), **_spatial(layout.side(level))}
        if level < finest:
            entry["derived_from"] = str(level + 1)
            entry["transform"] = {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}
        levels.append(entry)
    return {
        "zarr_conventions": _conventions(),
        "multiscales": {"layout": levels, "resampling_method": "average"},
        "proj:code": CRS,
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": [-EXTENT_M, -EXTENT_M, EXTENT_M, EXTENT_M],
        "spatial:registration": "pixel",
    }


def _spatial(n: int) -> dict[str, Any]:
    across = 2 * EXTENT_M / n
    transform = [across, 0.0, -EXTENT_M, 0.0, -across, EXTENT_M]
    return {"spatial:shape": [n, n], "spatial:transform": transform}


def _conventions() -> list[dict[str, str]]:
    return [
        {"uuid": uuid, "name": name, "schema_url": _SCHEMA_URL.format(repository)}
        for uuid, name, repository in _CONVENTIONS
    ]
