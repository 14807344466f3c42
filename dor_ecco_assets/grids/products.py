"""Grids as products: the model's own from its binaries, and the regular ones from configuration."""

from collections.abc import Mapping
from functools import lru_cache, partial

from dor_ecco_assets.lineage.product import Content, Product, Task
from dor_ecco_assets.settings import Strict, load_config
from dor_ecco_assets.storage.base import Readable

LLC_FOLDER = "llc90"

#: A text file beside the grid's binaries that says where they come from, if they say it.
ORIGIN_FILE = "source.txt"


class RegularGrid(Strict):
    """A regular latitude-longitude grid: an entry of ``configs/grids``."""

    resolution_degrees: float
    south: float = -90.0
    north: float = 90.0
    west: float = -180.0
    east: float = 180.0


@lru_cache(maxsize=4)
def grid_products(configs: str | None = None) -> tuple[Product, ...]:
    """One product per grid.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    regular = load_config(RegularGrid, "grids/latlon_0p50deg.yaml", configs)
    return (
        Product(
            key="grids/llc90",
            title="Lat-lon-cap model grid: tiles, coordinates, cell corners, areas, wet masks",
            code_version="1",
            layer="core",
            format="zarr",
            make=_make_llc,
            inputs=_llc_inputs,
            require=_require_llc,
        ),
        Product(
            key="grids/latlon_0p50deg",
            title="Regular 0.5 degree latitude-longitude grid",
            code_version="1",
            layer="core",
            format="zarr",
            make=partial(_make_regular, regular),
            config=lambda _settings: regular.model_dump(),
        ),
    )


def _llc_inputs(storage: Readable, _partition: str) -> Mapping[str, str | None]:
    from dor_ecco_assets.grids.llc_binaries import binaries_of

    found = binaries_of(storage, LLC_FOLDER)
    origin = f"{LLC_FOLDER}/{ORIGIN_FILE}"
    return {**found, ORIGIN_FILE: origin if storage.stat(origin) is not None else None}


def _require_llc(
    storage: Readable, _partition: str, keys: Mapping[str, str | None], _allow_partial: bool
) -> None:
    from dor_ecco_assets.grids.llc_binaries import missing_fields

    missing = missing_fields(storage, LLC_FOLDER, keys)
    if missing is not None:
        raise missing


def _make_llc(task: Task) -> Content:
    import numpy as np

    from dor_ecco_assets.grids.llc_binaries import read_grid_fields
    from dor_ecco_assets.grids.llc_geometry import grid_dataset
    from dor_ecco_assets.stores.preview import field_preview, globe_of_tiles
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    origin = task.input_keys[ORIGIN_FILE]
    source = (task.inputs.read(origin) or b"").decode().strip() if origin else ""
    grid = grid_dataset(read_grid_fields(task.inputs, LLC_FOLDER), source=source)
    wet = grid["maskC"].values
    ocean_area_m2 = round(float(grid["rA"].values[wet[0]].sum()))
    depth = np.where(wet[0], grid["Depth"].values, np.nan)
    return Content(
        key="grids/llc90.zarr",
        write=partial(write_zarr, grid),
        details={
            "shape": dict(grid["hFacC"].sizes),
            "ocean_area_m2": ocean_area_m2,
            "wet_cells": int(wet.sum()),
            "wet_mask_source": grid.attrs["wet_mask_source"],
            "completed_corners": grid.attrs["completed_corners"],
        },
        preview=lambda: field_preview(globe_of_tiles(depth)),
    )


def _make_regular(regular: RegularGrid, _task: Task) -> Content:
    from dor_ecco_assets.grids.latlon import LatLonGrid
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    described = LatLonGrid(**regular.model_dump())
    grid = described.to_dataset()
    grid.attrs |= {"label": described.label, "resolution_degrees": regular.resolution_degrees}
    return Content(
        key="grids/latlon_0p50deg.zarr",
        write=partial(write_zarr, grid),
        details={"shape": list(described.shape), "area_m2": float(grid["area"].sum())},
    )
