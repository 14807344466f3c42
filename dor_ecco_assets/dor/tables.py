"""The case table and the polygons of an atlas, as products."""

from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from dor_ecco_assets.atlas.cases import case_table
from dor_ecco_assets.atlas.polygons import load_polygons
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.lineage.product import Content, Task
from dor_ecco_assets.stores.netcdf import write_netcdf
from dor_ecco_assets.stores.preview import field_preview
from dor_ecco_assets.stores.zarr_objects import write_zarr

__all__ = ["make_cases", "make_polygons"]


def make_cases(key: str, atlas: Atlas) -> Content:
    """The case table, computed from the atlas alone."""
    columns = case_table(atlas)
    case = columns.pop("case")
    table = xr.Dataset(
        {
            name: ("case", values.astype(object) if values.dtype.kind == "U" else values)
            for name, values in columns.items()
        },
        {"case": case.astype(object)},
        {"title": atlas.title, "atlas": atlas.name, "control_case": atlas.control_case},
    )

    def write(path: Path) -> None:
        write_netcdf(table, path)

    return Content(f"{key}.nc", write, {"shape": [case.size], "cases": int(case.size)})


def make_polygons(key: str, atlas: Atlas, task: Task) -> Content:
    """Cells and centres of the polygons on the atlas's grid."""
    polygons = load_polygons(task.inputs, atlas.polygon_set, task.upstream(f"grids/{atlas.grid}"))
    mask = polygons["polygon"].values
    return Content(
        f"{key}.zarr",
        partial(write_zarr, polygons),
        {
            "shape": list(mask.shape),
            "polygons": int(polygons.sizes["polygon_id"]),
            "cells": int(polygons["cells"].sum()),
            "area_m2": float(polygons["area_m2"].sum()),
            "centre_source": str(polygons.attrs.get("centre_source", "")),
        },
        lambda: field_preview(np.where(mask < 0, np.nan, mask)),
    )
