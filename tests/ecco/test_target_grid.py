"""Another target grid by configuration: label, coordinates and attributes follow it."""

import numpy as np
import pytest
import xarray as xr
import yaml

from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.gathered import DELIVERY
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import config_path
from tests.ecco.production import (
    SSH_LATLON,
    SSH_NATIVE,
    STRESS_LATLON,
    granule_of,
    own_sample,
    root_of,
)


def overlay(folder, name: str, grid: dict, **mapping):
    """An overlay whose lat-lon granules lie on another grid."""
    for part in ("ecco", "grids", "mapping"):
        (folder / part).mkdir(parents=True)
    release = yaml.safe_load(config_path("ecco/release.yaml").read_text())
    (folder / "ecco/release.yaml").write_text(yaml.safe_dump({**release, "latlon_grid": name}))
    (folder / f"grids/{name}.yaml").write_text(yaml.safe_dump(grid))
    described = {"source": "grids/llc90", "target": f"grids/{name}", **mapping}
    (folder / f"mapping/llc90_to_{name}.yaml").write_text(yaml.safe_dump(described))
    return folder


def test_granules_on_a_one_degree_grid_say_so_everywhere(tmp_path_factory, tmp_path):
    configs = overlay(tmp_path / "configs", "latlon_1p00deg", {"resolution_degrees": 1.0})
    made = own_sample(tmp_path_factory, tmp_path, configs=configs)
    made.workspace().make(SSH_LATLON, "1992-01")
    path = granule_of(made, SSH_LATLON, "1992-01")
    assert path.name == "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_latlon_1p00deg.nc"
    with xr.open_dataset(path) as granule:
        assert granule["SSH"].shape == (1, 180, 360)
        assert granule["latitude"].values[[0, -1]].tolist() == [-89.5, 89.5]
        assert granule["longitude_bnds"].values[0].tolist() == [-180, -179]
        assert granule.attrs["geospatial_lat_resolution"] == 1.0
        assert granule.attrs["geospatial_lon_resolution"] == 1.0
        assert 0.4 < np.isfinite(granule["SSH"].values).mean() < 0.9
    space = made.workspace()
    assert space.state("grids/latlon_1p00deg", "").standing == "up to date"
    assert space.state("grids/latlon_0p50deg", "").standing == "up to date"


def test_no_archive_is_told_of_a_granule_that_is_of_no_collection_of_its(
    tmp_path_factory, tmp_path
):
    configs = overlay(tmp_path / "configs", "latlon_1p00deg", {"resolution_degrees": 1.0})
    made = own_sample(tmp_path_factory, tmp_path, configs=configs)
    space = made.workspace()
    for key in (SSH_LATLON, SSH_NATIVE):
        space.make(key, "1992-01")
    details = space.make(DELIVERY, "1992-01").record.details
    folder = root_of(made) / DELIVERY / "1992-01"
    ours = "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_latlon_1p00deg.nc"
    assert details["without_notification"] == [ours]
    assert ours in (folder / "manifest.csv").read_text()
    assert (folder / "md5" / f"{ours}.md5").exists()
    (told,) = (folder / "notifications").iterdir()
    assert "native" in told.name


def test_a_regional_grid_across_the_date_line_is_a_target_too(tmp_path_factory, tmp_path):
    region = {"resolution_degrees": 2.0, "south": -20, "north": 20, "west": 160, "east": 200}
    configs = overlay(tmp_path / "configs", "latlon_pacific", region, weights="nearest")
    made = own_sample(tmp_path_factory, tmp_path, configs=configs)
    made.workspace().make(STRESS_LATLON, "1992-01")
    with xr.open_dataset(granule_of(made, STRESS_LATLON, "1992-01")) as granule:
        assert dict(granule.sizes) | {"latitude": 20, "longitude": 20} == dict(granule.sizes)
        assert granule["longitude"].values[0] == 161


def test_a_target_that_is_not_described_is_refused_before_anything_runs(tmp_path):
    configs = overlay(tmp_path / "configs", "latlon_1p00deg", {"resolution_degrees": 1.0})
    (configs / "mapping/llc90_to_latlon_1p00deg.yaml").unlink()
    with pytest.raises(ConfigurationError, match="llc90_to_latlon_1p00deg") as caught:
        load_catalogue(configs)
    assert caught.value.code == "NoConfig"
