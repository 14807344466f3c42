"""Mapping factors and weights between grids as products."""

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


class WebMercatorMapping(Strict):
    """One mapping to Web Mercator: an entry ``*_to_webmercator`` of ``configs/mapping``."""

    source: str
    levels: tuple[int, ...] = Field((0, 1), min_length=1, description="zoom levels")
    pixels_per_tile: int = Field(128, gt=0)
    methods: tuple[Literal["conservative", "bilinear"], ...] | None = Field(
        None, description="one per level; conservative at levels 0 and 1 if not given"
    )
    threshold: float = Field(
        0.5, ge=0, le=1, description="share of ocean from which on a pixel is covered"
    )
    points: Literal["T", "U"] = Field(
        "T", description="U repeats the half cell by which published images are off"
    )
    mask: str | None = Field(
        None, description="mapping to the source whose top level is its ocean mask"
    )

    @model_validator(mode="after")
    def _a_method_per_level(self) -> "WebMercatorMapping":
        if self.methods is not None and len(self.methods) != len(self.levels):
            raise ValueError("methods and levels differ in number")
        if self.points == "U" and (self.methods is None or "conservative" in self.methods):
            raise ValueError("points U has no cells; it goes with methods that are all bilinear")
        return self


@lru_cache(maxsize=4)
def mapping_products(configs: str | None = None) -> tuple[Product, ...]:
    """One product per mapping.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    regular = config_names("mapping/*_to_latlon_*", configs)
    maps = config_names("mapping/*_to_webmercator", configs)
    return (
        *(_product(name, configs) for name in regular),
        *(_webmercator_product(name, configs) for name in maps),
    )


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


def _webmercator_product(name: str, configs: str | None) -> Product:
    mapping = load_config(WebMercatorMapping, f"mapping/{name}.yaml", configs)
    return Product(
        key=f"mapping/{name}",
        title=f"Weights from {mapping.source} to Web Mercator, by zoom level",
        code_version="1",
        layer="core",
        format="zarr",
        make=partial(_make_webmercator, f"mapping/{name}.zarr", mapping),
        upstream=(mapping.source, *(() if mapping.mask is None else (mapping.mask,))),
        config=lambda _settings: mapping.model_dump(),
    )


def _make_webmercator(key: str, mapping: WebMercatorMapping, task: Task) -> Content:
    import numpy as np

    from dor_ecco_assets.mapping.cells import source_cells
    from dor_ecco_assets.mapping.webmercator import build_webmercator, to_dataset, weights_sha256
    from dor_ecco_assets.stores.preview import field_preview
    from dor_ecco_assets.stores.zarr_objects import write_zarr

    mask = None if mapping.mask is None else task.upstream(mapping.mask)["mask"].values[0] > 0
    cells = source_cells(task.upstream(mapping.source), points=mapping.points, wet=mask)
    weights = build_webmercator(
        cells.lon,
        cells.lat,
        cells.corner_lon,
        cells.corner_lat,
        cells.wet,
        levels=mapping.levels,
        pixels_per_tile=mapping.pixels_per_tile,
        methods=mapping.methods,
        threshold=mapping.threshold,
    )
    finest = weights.levels[-1]
    share = finest.share.reshape(finest.n, finest.n)
    return Content(
        key=key,
        write=partial(write_zarr, to_dataset(weights)),
        details={
            "sha256_weights": weights_sha256(weights),
            "source_shape": list(weights.source_shape),
            "ocean_cells": int(weights.cells.size),
            "threshold": mapping.threshold,
            "covered_pixels": {
                str(of.level): int(weights.mask(of.level).sum()) for of in weights.levels
            },
            "weights": {str(of.level): int(of.data.size) for of in weights.levels},
            "methods": {str(of.level): of.method for of in weights.levels},
        },
        preview=lambda: field_preview(np.where(share > 0, share, np.nan)[::-1]),
    )
