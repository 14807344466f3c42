"""Virtual stores of our own datasets of every shape: 3-D, on faces and edges, snapshots."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import dor_ecco_assets
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from tests.ecco.production import EVERY_PARTITION, granule_of, production, write_every_field

DATASETS = {
    "ECCO_L4_OCEAN_3D_VOLUME_FLUX_LLC0090GRID_MONTHLY_V4R4": "AVG_MON",
    "ECCO_L4_TEMP_SALINITY_05DEG_MONTHLY_V4R4": "AVG_MON",
    "ECCO_L4_OCEAN_VEL_05DEG_DAILY_V4R4": "AVG_DAY",
    "ECCO_L4_SSH_LLC0090GRID_SNAPSHOT_V4R4": "SNAP",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("every")
    write_every_field(made / "inputs")
    return made


@pytest.mark.parametrize(("name", "often"), DATASETS.items())
def test_a_store_equals_the_granule_in_every_variable(folder, monkeypatch, name, often):
    own = production(folder / "root", folder / "inputs")
    key, partition = f"ecco/{name}", EVERY_PARTITION[often]
    own.workspace().make(key, partition)
    own.workspace().make(granules_key(name), "")
    workspace = own.workspace()
    for state in workspace.states(references_key(name)):
        workspace.make(references_key(name), state.partition)
    own.workspace().make(store_key(name), "")
    monkeypatch.setenv("DOR_ECCO_ROOT", str(folder / "root"))
    with (
        dor_ecco_assets.open(store_key(name)) as found,
        xr.open_dataset(granule_of(own, key, partition)) as granule,
    ):
        assert set(found.variables) == set(granule.variables)
        for each in granule.variables:
            values = granule[each].values
            np.testing.assert_array_equal(found[each].values.reshape(values.shape), values, each)
            assert np.asarray(values).size
