"""Grids as products: those of models from their files, the regular ones from configuration."""

from collections.abc import Mapping
from functools import lru_cache, partial

from pydantic import Field

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.product import Content, Product, Task
from dor_ecco_assets.settings import Strict, config_names, load_config
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


class PopGrid(Strict):
    """A POP grid that comes in files: an entry ``pop_*`` of ``configs/grids``."""

    nlat: int = Field(gt=1)
    nlon: int = Field(gt=1)
    nz: int = Field(gt=0, description="depth levels")
    horizontal: tuple[str, ...] = Field(
        min_length=1, description="keys below the inputs; the first that is there is read"
    )
    vertical: str | None = Field(None, description="key of the file of depth levels, if any")


@lru_cache(maxsize=4)
def grid_products(configs: str | None = None) -> tuple[Product, ...]:
    """One product per grid.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
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
        *(_regular_product(name, configs) for name in config_names("grids/latlon_*", configs)),
        *(_pop_product(name, configs) for name in config_names("grids/pop_*", configs)),
    )


def _regular_product(name: str, configs: str | None) -> Product:
    regular = load_config(RegularGrid, f"grids/{name}.yaml", configs)
    return Product(
        key=f"grids/{name}",
        title=f"Regular {regular.resolution_degrees:g} degree latitude-longitude grid",
        code_version="1",
        layer="core",
        format="zarr",
        make=partial(_make_regular, name, regular),
        config=lambda _settings: regular.model_dump(),
    )


def _pop_product(name: str, configs: str | None) -> Product:
    grid = load_config(PopGrid, f"grids/{name}.yaml", configs)
    return Product(
        key=f"grids/{name}",
        title=f"POP grid {name[4:]}: coordinates, corners, areas, levels, wet mask",
        code_version="1",
        layer="core",
        format="zarr",
        make=partial(_make_pop, name, grid),
        inputs=partial(_pop_inputs, grid),
        require=partial(_require_pop, name, grid),
        config=lambda _settings: grid.model_dump(),
    )


def _pop_inputs(grid: PopGrid, storage: Readable, _partition: str) -> Mapping[str, str | None]:
    there = (key for key in grid.horizontal if storage.stat(key) is not None)
    found: dict[str, str | None] = {"horizontal": next(there, None)}
    if grid.vertical is not None:
        found["vertical"] = grid.vertical if storage.stat(grid.vertical) is not None else None
    return found


def _require_pop(
    name: str,
    grid: PopGrid,
    storage: Readable,
    _partition: str,
    keys: Mapping[str, str | None],
    _allow_partial: bool,
) -> None:
    if keys["horizontal"] is None:
        raise InputMissing(
            f"grids/{name}: none of {', '.join(grid.horizontal)} is in {storage.uri}; bring one, "
            f"or name another in configs/grids/{name}.yaml",
            code="MissingGridFile",
        )


def _make_pop(name: str, described: PopGrid, task: Task) -> Content:
    import numpy as np

    from dor_ecco_assets.grids.pop import grid_summary, read_pop_grid
    from dor_ecco_assets.stores.preview import field_preview
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    horizontal, vertical = task.input_keys["horizontal"] or "", task.input_keys.get("vertical")
    grid = read_pop_grid(
        task.inputs.read(horizontal) or b"",
        name=name,
        shape=(described.nlat, described.nlon, described.nz),
        vertical=None if vertical is None else task.inputs.read(vertical),
        uri=task.inputs.locate(horizontal),
        vertical_uri="" if vertical is None else task.inputs.locate(vertical),
    )
    area = np.where(grid["wet"].values, grid["area_m2"].values, np.nan)
    return Content(
        key=f"grids/{name}.zarr",
        write=partial(write_zarr, grid),
        details=grid_summary(grid),
        preview=lambda: field_preview(area),
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


def _make_regular(name: str, regular: RegularGrid, _task: Task) -> Content:
    from dor_ecco_assets.grids.latlon import LatLonGrid
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    described = LatLonGrid(**regular.model_dump())
    grid = described.to_dataset()
    grid.attrs |= {"label": described.label, "resolution_degrees": regular.resolution_degrees}
    return Content(
        key=f"grids/{name}.zarr",
        write=partial(write_zarr, grid),
        details={"shape": list(described.shape), "area_m2": float(grid["area"].sum())},
    )
