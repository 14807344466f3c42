"""Mapping factors between grids as products."""

from functools import lru_cache, partial
from typing import Literal

from pydantic import Field, model_validator

from dor_ecco_assets.lineage.product import Content, Product, Task
from dor_ecco_assets.settings import Strict, config_names, load_config

Weights = Literal["mean", "nearest"]


class Radius(Strict):
    """Radius around a target cell's centre within which source cells are averaged."""

    method: Literal["area", "constant", "constant_1p1", "fixed"] = "area"
    radius_m: float | None = Field(None, gt=0, description="m; of method fixed, and only there")

    @model_validator(mode="after")
    def _fixed_has_a_radius(self) -> "Radius":
        if (self.method == "fixed") != (self.radius_m is not None):
            raise ValueError("radius_m goes with method fixed, and only with it")
        return self


class Mapping(Strict):
    """One mapping: an entry of ``configs/mapping``."""

    source: str
    target: str
    radius: Radius = Radius.model_validate({})
    weights: Weights = "mean"


@lru_cache(maxsize=4)
def mapping_products(configs: str | None = None) -> tuple[Product, ...]:
    """One product per mapping.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    names = config_names("mapping/*_to_latlon_*", configs)
    return tuple(_product(name, configs) for name in names)


def _product(name: str, configs: str | None) -> Product:
    mapping = load_config(Mapping, f"mapping/{name}.yaml", configs)
    return Product(
        key=f"mapping/{name}",
        title=f"Weights from {mapping.source} to {mapping.target}, for every depth level",
        code_version="1",
        layer="core",
        format="zarr",
        make=partial(_make, f"mapping/{name}.zarr", mapping),
        upstream=(mapping.source, mapping.target),
        config=lambda _settings: mapping.model_dump(),
    )


def _make(key: str, mapping: Mapping, task: Task) -> Content:
    import numpy as np

    from dor_ecco_assets.mapping.factors import build_factors, to_dataset
    from dor_ecco_assets.stores.preview import field_preview
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    source, target = task.upstream(mapping.source), task.upstream(mapping.target)
    lengths = np.stack([source["dxG"].values, source["dyG"].values])
    factors = build_factors(
        source["XC"].values,
        source["YC"].values,
        source["maskC"].values,
        min_length_m=float(lengths.min()),
        max_length_m=float(lengths.max()),
        latitude=target["latitude"].values,
        longitude=target["longitude"].values,
        resolution_degrees=float(target.attrs["resolution_degrees"]),
        method=mapping.radius.method,
        radius_m=mapping.radius.radius_m,
        weights=mapping.weights,
    )
    shape = (target.sizes["latitude"], target.sizes["longitude"])
    column = factors.mask.sum(axis=0).reshape(shape).astype(float)
    return Content(
        key=key,
        write=partial(write_zarr, to_dataset(factors)),
        details={
            "shape": [len(factors.mask), *shape],
            "method": mapping.radius.method,
            "weights": mapping.weights,
            "wet_targets_at_the_surface": int(factors.mask[0].sum()),
            "wet_targets": int(factors.mask.sum()),
        },
        preview=lambda: field_preview(np.where(column > 0, column, np.nan)),
    )
