"""Check a published granule as its reader would: bytes, name, time, fill, range."""

import numpy as np
import xarray as xr

from dor_ecco_assets.ecco.names import match_granule_name
from dor_ecco_assets.errors import OutputCorrupt
from dor_ecco_assets.lineage.record import Record, read_record
from dor_ecco_assets.storage import Storage
from dor_ecco_assets.stores.opening import netcdf_source


def verify_granule(storage: Storage, key: str, partition: str) -> list[str]:
    """What is wrong with one published granule.

    Parameters
    ----------
    storage : Storage
    key, partition : str

    Returns
    -------
    list of str
        Empty where nothing is.
    """
    try:
        record = read_record(storage, key, partition)
    except OutputCorrupt as error:
        return [error.message]
    if record is None:
        return ["has no record"]
    if storage.stat(record.uri) is None:
        return [f"{record.uri} is gone"]
    size, sha256 = storage.digest(record.uri)
    if sha256 != record.sha256:
        return [f"sha256 {sha256[:12]} of {size} bytes, recorded {record.sha256[:12]}"]
    source, engine = netcdf_source(storage, record.uri)
    with xr.open_dataset(source, engine=engine, decode_times=False) as granule:
        return [*_name_problems(granule, record), *_value_problems(granule)]


def _name_problems(granule: xr.Dataset, record: Record) -> list[str]:
    file = record.uri.rpartition("/")[2]
    problems: list[str] = []
    if granule.attrs.get("product_name") != file:
        problems.append(f"product_name is {granule.attrs.get('product_name')}, the file {file}")
    if match_granule_name(file) is None:
        problems.append(f"{file} is not a granule's name")
    problems += [
        f"{name} is still {text}"
        for name, text in granule.attrs.items()
        if str(text).startswith("TBD_")
    ]
    return problems


def _value_problems(granule: xr.Dataset) -> list[str]:
    problems: list[str] = []
    time, bounds = granule["time"].values, granule["time_bnds"].values
    if not (bounds[:, 0] <= time).all() or not (time <= bounds[:, 1]).all():
        problems.append("time lies outside time_bnds")
    for name, coordinate in granule.coords.items():
        if coordinate.dtype.kind == "f" and not np.isfinite(coordinate.values).all():
            problems.append(f"{name} holds NaN")
    for name, variable in granule.data_vars.items():
        values = variable.values
        low, high = variable.attrs.get("valid_min"), variable.attrs.get("valid_max")
        if np.isnan(values).all():
            problems.append(f"{name} holds no value")
        elif low is None or high is None:
            problems.append(f"{name} lacks valid_min or valid_max")
        elif np.nanmin(values) != low or np.nanmax(values) != high:
            problems.append(f"{name} leaves valid_min to valid_max")
    return problems
