"""Mappings to Web Mercator as products of a production: configuration, records, staleness."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr

from dor_ecco_assets.atlas.specification import atlas_names, load_atlas
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.products import grid_products
from dor_ecco_assets.lineage.product import by_key
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.mapping.products import WebMercatorMapping, mapping_products
from dor_ecco_assets.mapping.webmercator import (
    WebMercatorWeights,
    apply_reference,
    check_source,
    from_dataset,
    weights_sha256,
)
from dor_ecco_assets.samples.ecco_output import write_sample_output
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.samples.pop_grid import sample_pop_grid, write_pop_grid
from dor_ecco_assets.settings import load_config
from dor_ecco_assets.storage.directory import Directory
from tests.mapping.webmercator_sources import centres, smooth

POP, MAP = "grids/pop_tiny", "mapping/pop_tiny_to_webmercator"


def workspace(folder: Path, configs: Path | None = None) -> Workspace:
    overlay = None if configs is None else str(configs)
    products = (*grid_products(overlay), *mapping_products(overlay))
    return Workspace(Directory(folder / "data"), Directory(folder / "inputs"), by_key(products))


def write_grid(folder: Path, **choices: bool) -> xr.Dataset:
    grid = sample_pop_grid(36, 30, 2, **choices)
    write_pop_grid(folder / "inputs/pop/grid_tiny/pop-grid-vars.nc", grid)
    return grid


def made(folder: Path, key: str, configs: Path | None = None) -> WebMercatorWeights:
    place = workspace(folder, configs)
    for upstream in place.products[key].upstream:
        for before in (*place.products[upstream].upstream, upstream):
            place.make(before, "")
    assert place.make(key, "").record is not None
    with xr.open_zarr(folder / f"data/{key}.zarr", consolidated=False) as dataset:
        return from_dataset(dataset)


def write_config(folder: Path, name: str, text: str) -> Path:
    path = folder / "configs/mapping" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder / "configs"


def test_a_configured_mapping_is_a_product_of_its_grid(tmp_path: Path) -> None:
    write_grid(tmp_path)
    weights = made(tmp_path, MAP)
    assert [(of.level, of.n, of.method) for of in weights.levels] == [
        (0, 32, "conservative"),
        (1, 64, "conservative"),
    ]
    place = workspace(tmp_path)
    check_source(weights, place.open_upstream(POP))
    assert place.state(MAP, "").standing == "up to date"
    details = read_record(place.storage, MAP, "").details
    assert details["sha256_weights"] == weights_sha256(weights)
    assert details["covered_pixels"]["1"] == weights.mask(1).sum()


def test_twice_is_the_same_bytes_and_a_changed_grid_is_found(tmp_path: Path) -> None:
    write_grid(tmp_path)
    weights = made(tmp_path, MAP)
    place = workspace(tmp_path)
    first = read_record(place.storage, MAP, "")
    assert place.make(MAP, "").record == first
    write_grid(tmp_path / "other")
    made(tmp_path / "other", MAP)
    other = read_record(workspace(tmp_path / "other").storage, MAP, "")
    assert (other.sha256, other.fingerprint) == (first.sha256, first.fingerprint)
    write_grid(tmp_path, undefined_land=True)
    assert workspace(tmp_path).state(MAP, "").standing == "stale"
    assert weights_sha256(made(tmp_path, MAP)) == weights_sha256(weights)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("treshold: 0.4", "did you mean 'threshold'"),
        ("methods: [bilinear]", "methods and levels differ in number"),
        ("methods: [bilinear, cubic]", "methods"),
        ("threshold: 1.5", "threshold"),
        ("points: U", "goes with methods that are all bilinear"),
        ("levels: []", "levels"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path, line, message) -> None:
    configs = write_config(tmp_path, MAP.split("/")[1], f"source: {POP}\n{line}\n")
    with pytest.raises(ConfigurationError, match=message):
        mapping_products(str(configs))


def test_the_half_cell_of_published_images_comes_on_demand_only(tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    text = f"source: {POP}\npixels_per_tile: 32\nlevels: [1]\nmethods: [bilinear]\n"
    field = np.where(grid["wet"], smooth(grid["TLONG"].values, grid["TLAT"].values), np.nan)
    errors = []
    for points in "TU":
        configs = write_config(tmp_path / points, MAP.split("/")[1], f"{text}points: {points}\n")
        write_grid(tmp_path / points)
        found = apply_reference(made(tmp_path / points, MAP, configs), 1, field)
        errors.append(np.nanmean(np.abs(found - smooth(*centres(64)))))
    assert errors[1] > 5 * errors[0]


def test_regular_grids_take_their_ocean_from_a_mapping(tmp_path: Path) -> None:
    overlay = tmp_path / "configs"
    (overlay / "grids").mkdir(parents=True)
    (overlay / "grids/latlon_5p00deg.yaml").write_text("resolution_degrees: 5.0\n")
    factors = "llc90_to_latlon_5p00deg"
    write_config(tmp_path, factors, "source: grids/llc90\ntarget: grids/latlon_5p00deg\n")
    write_config(
        tmp_path,
        "latlon_5p00deg_to_webmercator",
        f"source: grids/latlon_5p00deg\nmask: mapping/{factors}\npixels_per_tile: 32\n",
    )
    write_sample_output(tmp_path / "inputs", sample_grid_fields(10), months=[], days=[])
    weights = made(tmp_path, "mapping/latlon_5p00deg_to_webmercator", overlay)
    mask = workspace(tmp_path, overlay).open_upstream(f"mapping/{factors}")["mask"].values[0]
    npt.assert_array_equal(weights.wet, mask > 0)
    native = made(tmp_path, "mapping/llc90_to_webmercator", overlay)
    assert native.source_shape == (13, 10, 10)
    alike = native.mask(0).reshape(32, 4, 32, 4).mean(axis=(1, 3)) > 0.5
    assert (alike == weights.mask(0)).mean() > 0.85


def test_every_grid_that_an_atlas_names_has_a_mapping() -> None:
    keys = {product.key for product in mapping_products()}
    for atlas in map(load_atlas, atlas_names()):
        name = f"mapping/{atlas.grid}_to_webmercator"
        assert name in keys
        mapping = load_config(WebMercatorMapping, f"{name}.yaml")
        assert mapping.pixels_per_tile == atlas.pixels_per_tile
        assert mapping.levels == tuple(range(atlas.zoom_levels))
