"""``index.json``: what the page opens to find stores, polygons, units and limits.

It lies beside the map stores, ``pyramids/atlas/index.json`` or ``pyramids/<dataset>/index.json``,
and every URL in it is relative to it. An atlas, with its two bands and cases:

.. code-block:: json

    {
      "title": "Direct ocean removal, global atlas v0",
      "kind": "atlas",
      "atlas": "dor",
      "forcing": "DOR",
      "stores": {
        "maps": {"v2": "v2.zarr", "v3": "v3.zarr"},
        "efficiency": {"url": "../../dor/efficiency_store.zarr", "variable": "DOR_efficiency"},
        "uptake": {"url": "../../dor/uptake_by_distance.zarr",
                   "variable": "FG_CO2_percent_cumulative"},
        "published": {"url": "../../dor/published_efficiency.zarr",
                      "variable": "OAE_efficiency"}
      },
      "polygons": "polygons.geojson",
      "variables": [{
        "name": "FG", "long_name": "air-sea flux of CO2, positive out of the ocean",
        "units": "mmol/m^3 cm/s", "display_factor": -315.36, "display_units": "mol/m^2/yr",
        "clim": {"delta": [-0.01, 0.01], "experimental": [-0.02, 0.02]},
        "colormap": {"delta": "RdBu_r", "experimental": "PuOr"}
      }],
      "bands": ["delta", "experimental"],
      "injection_dim_name": "intervention_date",
      "injection_months": [1, 4, 7, 10],
      "polygon_ids": [0, 1, 2],
      "years": [1, 2, 3],
      "months": 36,
      "cases": {"1": [0, 2], "4": [], "7": [0], "10": []},
      "times": null,
      "pixels_per_tile": 128,
      "levels": 2
    }

Dimensions of a map variable are ``(band, polygon_id, <injection_dim_name>, month, year, y, x)``
and ``case_status (polygon_id, <injection_dim_name>)`` at the root of each map store, one chunk per
case, is 1 where a case is whole. ``cases`` names the polygons of each injection month that were
whole when the index was written: a page need ask for the status of no others, and believes the
status where the two differ. A pyramid of another dataset has ``"kind": "dataset"``, null for
``atlas``, ``forcing``, ``polygons`` and all from ``injection_dim_name`` to ``cases``, variables of
dimensions ``(time, y, x)``, ``step_status (time)`` in the place of ``case_status``, the one band
``"value"`` in ``bands``, ``clim`` and ``colormap`` (no dimension of the store), and the steps that
were whole, a part of the store's coordinate:

.. code-block:: json

    {"times": {"dimension": "time", "values": [0, 31], "labels": ["1992-01", "1992-02"]}}

``clim`` is in stored units and ascends; what is shown is the stored value times
``display_factor``, so that a negative factor turns the colour bar round. Stores of curves and
``published`` are null where they have not been made. ``polygons.geojson`` has one feature per
polygon, ``id`` its polygon_master, with the properties ``polygon_id``, ``basin``, ``polygon``
(number in its basin), ``centre_lon``, ``centre_lat`` and ``area_m2``; no ring crosses ±180°.
"""

from typing import Literal

from pydantic import Field

from dor_ecco_assets.settings import Strict

__all__ = [
    "INDEX",
    "POLYGONS",
    "STORES",
    "Colormap",
    "CurveStore",
    "MapStores",
    "PageIndex",
    "PageStores",
    "PageVariable",
    "Times",
]

#: Names below a pyramid's folder.
INDEX, POLYGONS = "index.json", "polygons.geojson"
STORES = {"v2": "v2.zarr", "v3": "v3.zarr"}

#: Colour maps by Matplotlib's names; those of two names diverge, ``_r`` is the other way round.
Colormap = Literal[
    "viridis",
    "plasma",
    "magma",
    "inferno",
    "cividis",
    "RdBu",
    "RdBu_r",
    "PuOr",
    "PuOr_r",
    "BrBG",
    "BrBG_r",
    "PRGn",
    "PRGn_r",
]


class MapStores(Strict):
    """URLs of the map stores; null where that format is not written."""

    v2: str | None = STORES["v2"]
    v3: str | None = STORES["v3"]


class CurveStore(Strict):
    """URL of a store of curves, and the variable in it."""

    url: str
    variable: str


class PageStores(Strict):
    """URLs of all stores."""

    maps: MapStores
    efficiency: CurveStore | None = None
    uptake: CurveStore | None = None
    published: CurveStore | None = None


class PageVariable(Strict):
    """One variable of the maps and how to show it."""

    name: str
    long_name: str = Field(description="of what is shown")
    units: str = Field(description="of the stored values")
    display_factor: float = 1.0
    display_units: str
    clim: dict[str, tuple[float, float]] = Field(description="by band, stored units, ascending")
    colormap: dict[str, Colormap] = Field(description="by band")


class Times(Strict):
    """The time steps of a dataset: values of the coordinate, and what to call them."""

    dimension: str = "time"
    values: tuple[int, ...]
    labels: tuple[str, ...]


class PageIndex(Strict):
    """The whole of ``index.json``; see the module."""

    title: str
    kind: Literal["atlas", "dataset"]
    atlas: str | None = None
    forcing: str | None = None
    stores: PageStores
    polygons: str | None = None
    variables: tuple[PageVariable, ...]
    bands: tuple[str, ...]
    injection_dim_name: str | None = None
    injection_months: tuple[int, ...] | None = None
    polygon_ids: tuple[int, ...] | None = None
    years: tuple[int, ...] | None = None
    #: Length of a case.
    months: int | None = None
    #: Polygons of each injection month that are whole.
    cases: dict[int, tuple[int, ...]] | None = None
    times: Times | None = None
    pixels_per_tile: int
    levels: int
