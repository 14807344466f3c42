"""What a granule must say of itself, checked on its header and coordinates alone."""

import re
from collections.abc import Iterator

import numpy as np
import xarray as xr

from dor_ecco_assets.ecco.names import GranuleName, match_granule_name
from dor_ecco_assets.ecco.times import FREQUENCIES

__all__ = ["covered_time", "metadata_problems", "required_attributes"]

#: Global attributes of every granule.
_ALWAYS = (
    *("Conventions", "title", "summary", "comment", "keywords", "keywords_vocabulary"),
    *("id", "naming_authority", "uuid", "product_name", "product_version", "processing_level"),
    *("institution", "project", "program", "source", "history", "references", "acknowledgement"),
    *("creator_name", "creator_type", "creator_email", "creator_url", "creator_institution"),
    *("publisher_name", "publisher_type", "publisher_email", "publisher_url"),
    *("license", "platform", "metadata_link", "standard_name_vocabulary"),
    *("date_created", "date_issued", "date_modified", "date_metadata_modified"),
)
_TIMED = (
    *("time_coverage_start", "time_coverage_end"),
    *("time_coverage_duration", "time_coverage_resolution"),
)
_GRIDDED = (
    *("geospatial_lat_min", "geospatial_lat_max", "geospatial_lat_units"),
    *("geospatial_lon_min", "geospatial_lon_max", "geospatial_lon_units"),
    *("geospatial_lat_resolution", "geospatial_lon_resolution", "cdm_data_type"),
)
_VERTICAL = ("geospatial_vertical_min", "geospatial_vertical_max", "geospatial_vertical_positive")

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def metadata_problems(granule: xr.Dataset, file: str) -> list[str]:
    """What a granule's metadata lacks or says wrongly; no data variable is read.

    Parameters
    ----------
    granule : Dataset
        As `comparison.open_raw` gives it.
    file : str
        Name of its file.

    Returns
    -------
    list of str
        Empty where nothing is wrong.
    """
    name = match_granule_name(file)
    if name is None:
        return [f"{file} is not a granule's name"]
    return [
        *_global_problems(granule, name, file),
        *_variable_problems(granule),
        *_coordinate_problems(granule),
        *_time_problems(granule, name),
    ]


def required_attributes(granule: xr.Dataset, name: GranuleName | None) -> list[str]:
    """Global attributes without which an archive does not take a granule of this name."""
    wanted = [*_ALWAYS]
    if granule.attrs.get("id") == str(name).removesuffix(".nc"):  # of no collection
        wanted.remove("metadata_link")
    if name is not None and name.token is not None:
        wanted += _TIMED
    if name is not None and name.grid != "1D":
        wanted += _GRIDDED
    if {"Z", "k"} & set(granule.dims):
        wanted += _VERTICAL
    return wanted


def _global_problems(granule: xr.Dataset, name: GranuleName, file: str) -> Iterator[str]:
    wanted = required_attributes(granule, name)
    absent = [text for text in wanted if str(granule.attrs.get(text, "")).strip() == ""]
    if absent:
        yield f"lacks {', '.join(absent)}"
    if granule.attrs.get("product_name") != file:
        yield f"product_name is {granule.attrs.get('product_name')}, the file {file}"
    holders = [("", granule.attrs)]
    holders += [(f"{key}:", variable.attrs) for key, variable in granule.variables.items()]
    for prefix, attributes in holders:
        for key, value in attributes.items():
            if str(value).startswith("TBD_"):
                yield f"{prefix}{key} is still {value}"
    for key in (
        "date_created",
        "date_issued",
        "date_modified",
        "date_metadata_modified",
        *_TIMED[:2],
    ):
        value = granule.attrs.get(key)
        if value is not None and not _INSTANT.fullmatch(str(value)):
            yield f"{key} is {value}, expected YYYY-MM-DDThh:mm:ss"


def _variable_problems(granule: xr.Dataset) -> Iterator[str]:
    edges = {variable.attrs.get("bounds") for variable in granule.variables.values()}
    for key, variable in granule.variables.items():
        wanted = ["long_name"] if _is_coordinate(granule, str(key)) else ["long_name", "units"]
        wanted = [] if key in edges else wanted  # bounds say what their coordinate says
        absent = [text for text in wanted if not str(variable.attrs.get(text, "")).strip()]
        if absent:
            yield f"{key} lacks {', '.join(absent)}"
        low, high = variable.attrs.get("valid_min"), variable.attrs.get("valid_max")
        if (low is None) != (high is None):
            yield f"{key} has only one of valid_min and valid_max"
        elif low is not None and not low <= high:
            yield f"{key} has valid_min {low:g} above valid_max {high:g}"
        bounds = variable.attrs.get("bounds")
        if bounds is not None and bounds not in granule.variables:
            yield f"{key} names bounds {bounds}, which are not there"
        elif bounds is not None:
            found = granule.variables[bounds]
            if found.dims[:-1] != variable.dims or found.shape[-1] not in (2, 4):
                yield (
                    f"{bounds} has dimensions {', '.join(map(str, found.dims))}, expected those of "
                    f"{key} and one of size 2 or 4"
                )
        for other in str(variable.attrs.get("coordinates", "")).split():
            if other not in granule.variables:
                yield f"{key} names the coordinate {other}, which is not there"


def _is_coordinate(granule: xr.Dataset, key: str) -> bool:
    """Whether a variable is a dimension's, or one that another refers to."""
    if key in granule.dims:
        return True
    referring = [granule.attrs, *(variable.attrs for variable in granule.variables.values())]
    words = (str(a.get(k, "")).split() for a in referring for k in ("coordinates", "bounds"))
    if any(key in found for found in words):
        return True
    return granule.variables[key].attrs.get("coverage_content_type") == "coordinate"


def _coordinate_problems(granule: xr.Dataset) -> Iterator[str]:
    for key, variable in granule.variables.items():
        if not _is_coordinate(granule, str(key)) or variable.dtype.kind not in "iuf":
            continue
        values = variable.values
        if not np.isfinite(values).all():
            yield f"{key} holds NaN"
        elif key in granule.dims and values.size > 1:
            steps = np.diff(values.astype(np.float64))
            if not ((steps > 0).all() or (steps < 0).all()):
                yield f"{key} neither rises nor falls throughout"


def _time_problems(granule: xr.Dataset, name: GranuleName) -> Iterator[str]:
    """Time inside its bounds, bounds as the header states them."""
    if name.token is None:
        return
    if "time" not in granule.variables:
        yield "has no time"
        return
    time = granule.variables["time"].values
    averaged = FREQUENCIES[name.frequency].code != "SNAP" and name.grid != "1D"
    if averaged and "time_bnds" not in granule.variables:
        yield "has no time_bnds"
        return
    if "time_bnds" in granule.variables:
        bounds = granule.variables["time_bnds"].values
        if not ((bounds[:, 0] <= time) & (time <= bounds[:, 1])).all():
            yield "time lies outside time_bnds"
    covered = covered_time(granule)
    if covered is None:
        yield f"time has units {granule.variables['time'].attrs.get('units')!r}"
        return
    said = tuple(granule.attrs.get(key) for key in _TIMED[:2])
    if name.grid != "1D" and said != covered:
        yield f"time_coverage is {said[0]} to {said[1]}, time_bnds {covered[0]} to {covered[1]}"


def covered_time(granule: xr.Dataset) -> tuple[str, str] | None:
    """First and last instant of the bounds, else of the times; None where there is none.

    Returns
    -------
    tuple of str, or None
        ``YYYY-MM-DDThh:mm:ss``, UTC.
    """
    time = granule.variables.get("time")
    if time is None or not time.size:
        return None
    found = re.fullmatch(
        r"(seconds|hours|days) since (\S+)(?:[ T](\S+))?", str(time.attrs.get("units"))
    )
    if found is None:
        return None
    unit_s = {"seconds": 1, "hours": 3600, "days": 86400}[found[1]]
    start = np.datetime64(f"{found[2]}T{found[3] or '00:00:00'}", "s")
    values = granule.variables.get("time_bnds", time).values.astype(np.float64)
    first, last = (
        str(start + np.timedelta64(round(float(value) * unit_s), "s"))
        for value in (values.min(), values.max())
    )
    return first, last
