"""Time-invariant granules: read or derive the fields, mask or map them, describe; no time axis."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset
from dor_ecco_assets.ecco.fields import Fields
from dor_ecco_assets.ecco.granules import regrid_plan, variable_attributes
from dor_ecco_assets.ecco.layout import (
    dimensions,
    granule_encoding,
    latlon_coordinates,
    native_coordinates,
)
from dor_ecco_assets.ecco.metadata import (
    check_complete,
    coordinate_attributes,
    global_attributes,
    in_order,
)
from dor_ecco_assets.ecco.names import GranuleName, granule_name, native_label, short_name
from dor_ecco_assets.ecco.static import GEOMETRY, GeometryVariable, model_files
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.grids.mds import check_pair, parse_meta, read_field
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.mapping.apply import RegridPlan, regrid
from dor_ecco_assets.storage.base import Readable
from dor_ecco_assets.stores.netcdf import verify_netcdf, write_netcdf
from dor_ecco_assets.stores.preview import field_preview, globe_of_tiles

__all__ = ["GRAVITY_M_S2", "make_static", "read_static"]

#: Gravity of ECCO V4r4's runs (MITgcm's `gravity`), m s⁻².
GRAVITY_M_S2 = 9.81


def make_static(dataset: Dataset, catalogue: Catalogue, task: Task) -> Content:
    """The granule of one time-invariant dataset.

    Parameters
    ----------
    dataset : Dataset
    catalogue : Catalogue
        As from `load_static`.
    task : Task

    Returns
    -------
    Content

    Raises
    ------
    InputMissing, InputUnusable
        If a field cannot be read, is not what its name says, or holds values that no field of
        its kind can.
    GridMismatch
        If the mapping factors belong to another grid.
    """
    grid = task.upstream(f"grids/{catalogue.release.grid_folder}")
    reader = _StaticFields(task, grid, catalogue, dataset)
    present = reader.present()
    native = dataset.grid == "native"
    target = grid if native else task.upstream(catalogue.target_grid)
    plan = None if native else regrid_plan(task, grid, catalogue.factors)
    source: Callable[[str], NDArray[Any]]
    if dataset.grouping.stem == GEOMETRY:
        source = partial(_geometry, reader, grid, target, plan)
    else:
        source = partial(_mixing, reader, plan)
    granule = _described(
        native_coordinates(grid, dataset) if native else latlon_coordinates(target, grid, dataset),
        {name: source(name) for name in present},
        catalogue,
        dataset,
    )
    name = granule_name(
        dataset.grouping.stem,
        grid=dataset.grid,
        frequency="TI",
        label=native_label(grid.attrs["side"]) if native else target.attrs["label"],
        version=catalogue.release.version,
    )
    resolution = None if native else float(target.attrs["resolution_degrees"])
    granule.attrs = global_attributes(
        granule, name, dataset, catalogue, task, None, grid.attrs["source"], resolution
    )
    missing = [found for found in dataset.variables if found not in present]
    if missing:
        granule.attrs = in_order({**granule.attrs, "missing_variables": ", ".join(missing)})
    check_complete(granule)
    return _content(granule, name, dataset, reader, missing)


def read_static(
    source: Readable, key: str, field: str, *, side: int, levels: int | None
) -> NDArray[np.float32]:
    """Read a field that MITgcm wrote once, without a step in its name.

    Parameters
    ----------
    source : Readable
    key : str
        Without extension.
    field : str
        Must be among the fields of the ``.meta``, if that lists any.
    side : int
        Cells along a tile's edge.
    levels : int or None
        Depth levels of a 3-D field.

    Returns
    -------
    ndarray of float32, shape (13, L, L) or (k, 13, L, L)

    Raises
    ------
    InputMissing
        Code ``MissingInput``, if a file of the pair went away.
    InputUnusable
        As `parse_meta`, `check_pair` and `read_field`.
    """
    uri, meta_uri = source.locate(f"{key}.data"), source.locate(f"{key}.meta")
    text, data = source.read(f"{key}.meta"), source.read(f"{key}.data")
    if text is None or data is None:
        raise InputMissing(f"{uri} and {meta_uri} are not both there", code="MissingInput")
    meta = parse_meta(text, meta_uri)
    check_pair(meta, name=uri, n_bytes=len(data), field=field, step=None, side=side, levels=levels)
    return read_field(data, meta, field=field, name=uri)


class _StaticFields(Fields):
    """Reads static fields, and refuses what cannot be true."""

    def present(self) -> list[str]:
        """Variables whose file is there, or that need none."""
        files, keys = model_files(self._catalogue, self._dataset), self._task.input_keys
        return [
            name
            for name in self._dataset.variables
            if name not in files or keys[f"{files[name]}.data"] is not None
        ]

    def read(self, name: str) -> NDArray[Any]:
        """One field as tiles: a mixing coefficient in all levels, a length or area in one."""
        file = model_files(self._catalogue, self._dataset)[name]
        key = str(self._task.input_keys[f"{file}.data"]).removesuffix(".data")
        variable = self._catalogue.variables[name]
        flat = isinstance(variable, GeometryVariable)
        field = read_static(
            self._task.inputs,
            key,
            file,
            side=self._grid.attrs["side"],
            levels=None if flat else self._grid.sizes["k"],
        )
        uri = self._task.inputs.locate(f"{key}.data")
        if flat:
            _check_metric(name, field, uri)
        else:
            self.check(name, variable, field, uri)
        return field


def _check_metric(name: str, field: NDArray[Any], uri: str) -> None:
    """Refuse a length or an area that is negative or not a number, on land too."""
    bad = int(np.count_nonzero(~(np.isfinite(field) & (field >= 0))))
    if bad:
        raise InputUnusable(
            f"{uri}: {name} holds {bad} values that are negative or not numbers, expected lengths "
            "or areas; fetch the file again",
            code="GridValues",
            uri=uri,
        )


def _mixing(reader: _StaticFields, plan: RegridPlan | None, name: str) -> NDArray[Any]:
    field = reader.read(name)
    if plan is not None:
        return regrid(field, plan)
    return np.where(reader.wet(name), field, np.float32(np.nan))


def _geometry(
    reader: _StaticFields, grid: xr.Dataset, target: xr.Dataset, plan: RegridPlan | None, name: str
) -> NDArray[Any]:
    """One geometry variable; what is 0 on native land is 0 on mapped land."""
    if plan is not None:
        if name in ("Depth", "hFacC"):
            return np.nan_to_num(regrid(grid[name].values, plan))
        if name == "maskC":
            return ~np.isnan(regrid(grid["hFacC"].values, plan))
        return (target if name in target else grid)[name].values
    centre, face = grid["Z"].values, grid["Zp1"].values
    if name == "drC":
        return -np.diff(np.concatenate([face[:1], centre, face[-1:]]))
    if name in ("PHrefC", "PHrefF"):
        return 0.0 - GRAVITY_M_S2 * (centre if name == "PHrefC" else face)  # never -0.0
    return grid[name].values if name in grid else reader.read(name)


def _described(
    granule: xr.Dataset, variables: dict[str, NDArray[Any]], catalogue: Catalogue, dataset: Dataset
) -> xr.Dataset:
    coordinates = coordinate_attributes(catalogue, dataset.grid, "TI")
    for name in granule.coords:
        granule[name].attrs = {**coordinates.get(str(name), {}), **granule[name].attrs}
    precision = np.dtype(catalogue.release.precision)
    for name, values in variables.items():
        variable = catalogue.variables[name]
        if isinstance(variable, GeometryVariable):
            dims = variable.dims[dataset.grid]
        else:
            dims = dimensions(variable, dataset, values.ndim + 1)[1:]
        if values.dtype == bool:
            flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "dry wet"}
            attributes = catalogue.attributes(name) | flags
        else:
            values = values.astype(precision, copy=False)
            attributes = variable_attributes(catalogue, name, values, dataset.grid)
        attributes.pop("coordinates", None)
        auxiliary = [n for n in _AUXILIARY if n in granule and set(granule[n].dims) <= set(dims)]
        if auxiliary and dataset.grid == "native":
            attributes["coordinates"] = " ".join(auxiliary)
        granule[name] = dims, values, attributes
    return granule


#: Auxiliary coordinates of native variables, in the order in which they are named.
_AUXILIARY = ("XC", "YC", "XG", "YG", "Z", "Zp1")


def _encoding(granule: xr.Dataset, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """As of other granules; masks are bytes without a fill value."""
    encoding = granule_encoding(granule, dataset.grid)
    for name, variable in granule.data_vars.items():
        if variable.dtype == bool:
            encoding[str(name)]["_FillValue"] = None
    return encoding


def _content(
    granule: xr.Dataset,
    name: GranuleName,
    dataset: Dataset,
    reader: _StaticFields,
    missing: list[str],
) -> Content:
    encoding = _encoding(granule, dataset)

    def write(path: Path) -> None:
        write_netcdf(granule, path, encoding=encoding)
        verify_netcdf(path, granule, encoding=encoding)

    first = granule[next(iter(granule.data_vars))]
    units = str(first.attrs["units"]).replace(" ", "_").replace("-", "")
    details: dict[str, Any] = {
        "granule": str(name),
        "variables": list(granule.data_vars),
        "shape": dict(granule.sizes),
        f"largest_{first.name}_{units}": float(np.nanmax(first.values)),
    }
    if missing:
        details["missing_variables"] = missing
    details |= reader.remarks()
    collection = short_name(name.stem, grid=name.grid, frequency="TI", version=name.version)
    return Content(
        f"ecco/{collection}/{name}", write, details, partial(_picture, first.values, dataset)
    )


def _picture(values: NDArray[Any], dataset: Dataset) -> bytes:
    native = dataset.grid == "native"
    surface = values[0] if values.ndim == (4 if native else 3) else values
    return field_preview(globe_of_tiles(surface) if native else surface)
