"""The published efficiencies of ocean alkalinity enhancement, in the schema of the store."""

import re
from typing import Any

import numpy as np
import xarray as xr

from dor_ecco_assets.atlas.names_on_disk import (
    ELAPSED_DIMENSION,
    POLYGON_DIMENSION,
    efficiency_name,
    injection_dimension,
)
from dor_ecco_assets.atlas.polygons import features_of
from dor_ecco_assets.errors import InputUnusable

__all__ = ["EFFICIENCY_FILL", "efficiency_dataset", "read_published_efficiency"]

#: What readers in the browser take for "nothing here".
EFFICIENCY_FILL = np.float32(9.969209968386869e36)
_COORDINATE_FILL = np.int32(2147483647)

_PROPERTY = re.compile(r"eff_inj_(\d+)_year_(\d+)")


def efficiency_dataset(
    values: Any, injection_months: Any, *, forcing: str, long_name: str = ""
) -> xr.Dataset:
    """Efficiencies with the names, types, units and fill that the store has.

    Parameters
    ----------
    values : array_like, shape (months, polygons, injection months)
        NaN or `EFFICIENCY_FILL` where there is none.
    injection_months : sequence of int
    forcing : str
        ``DOR``, ``OAE`` or ``ERW``; gives the variable its name.
    long_name : str, optional

    Returns
    -------
    Dataset
        float32 with `EFFICIENCY_FILL` in place of NaN, int32 coordinates; chunks, compression and
        fill in the encoding.
    """
    filled = np.asarray(values, np.float64)
    filled = np.where(np.isnan(filled), EFFICIENCY_FILL, filled).astype(np.float32)
    month = injection_dimension("efficiency")
    name = efficiency_name(forcing)
    made = xr.Dataset(
        {
            name: (
                (ELAPSED_DIMENSION, POLYGON_DIMENSION, month),
                filled,
                {"long_name": long_name or f"{forcing} efficiency", "units": "1"},
            )
        },
        {
            ELAPSED_DIMENSION: (
                ELAPSED_DIMENSION,
                np.arange(filled.shape[0], dtype=np.int32),
                {"units": "months"},
            ),
            POLYGON_DIMENSION: np.arange(filled.shape[1], dtype=np.int32),
            month: (
                month,
                np.asarray(injection_months, np.int32),
                {"units": "month of 1999"},
            ),
        },
    )
    made[name].encoding = {
        "_FillValue": EFFICIENCY_FILL,
        "chunks": (*filled.shape[:2], 1),
        "dtype": "<f4",
    }
    for coordinate in made.coords:
        made[coordinate].encoding = {"_FillValue": _COORDINATE_FILL, "dtype": "<i4"}
    return made


def read_published_efficiency(
    data: bytes,
    *,
    n_polygons: int = 690,
    injection_months: tuple[int, ...] = (1, 4, 7, 10),
    years: int = 15,
    uri: str = "",
) -> xr.Dataset:
    """Efficiencies of the published atlas from the regions file that carries them.

    Parameters
    ----------
    data : bytes
        GeoJSON; properties ``polygon_id`` and ``eff_inj_{month}_year_{year}``.
    n_polygons : int
    injection_months : tuple of int
    years : int
    uri : str, optional
        For messages.

    Returns
    -------
    Dataset
        ``OAE_efficiency`` as `efficiency_dataset` makes it. The value of year y stands at elapsed
        month ``12 y - 1``, its last; all other months hold the fill.

    Raises
    ------
    InputUnusable
        ``PublishedEfficiency``: a value is absent or not a number, a polygon or year is not
        expected, or two features of one polygon disagree.
    """

    def refuse(what: str) -> InputUnusable:
        return InputUnusable(
            f"{uri}: {what}; expected {n_polygons} polygons x {len(injection_months)} months x "
            f"{years} years: fetch the file again",
            code="PublishedEfficiency",
            uri=uri,
        )

    found = np.full((years, n_polygons, len(injection_months)), np.nan)
    for feature in features_of(data, uri):
        polygon = int(feature["properties"]["polygon_id"])
        if not 0 <= polygon < n_polygons:
            raise refuse(f"there is a polygon {polygon}")
        for name, value in feature["properties"].items():
            parts = _PROPERTY.fullmatch(name)
            if parts is None:
                continue
            month, year = int(parts[1]), int(parts[2])
            if month not in injection_months or not 1 <= year <= years:
                raise refuse(f"polygon {polygon} has {name}")
            if not isinstance(value, int | float) or not np.isfinite(value):
                raise refuse(f"{name} of polygon {polygon} is {value!r}")
            place = year - 1, polygon, injection_months.index(month)
            if not np.isnan(found[place]) and found[place] != value:
                raise refuse(f"{name} of polygon {polygon} is {found[place]} and {value}")
            found[place] = value
    if np.isnan(found).any():
        year, polygon, month = np.argwhere(np.isnan(found))[0]
        raise refuse(
            f"{int(np.isnan(found).sum())} values are absent, the first is "
            f"eff_inj_{injection_months[month]}_year_{year + 1} of polygon {polygon}"
        )
    monthly = np.full((12 * years, *found.shape[1:]), np.nan)
    monthly[11::12] = found
    return efficiency_dataset(
        monthly,
        injection_months,
        forcing="OAE",
        long_name="published efficiency at the end of each year after the injection",
    )
