"""Virtual stores of granules that the platform made itself, against those granules."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr
import yaml

import dor_ecco_assets
from dor_ecco_assets.errors import ConfigurationError, InputMissing
from dor_ecco_assets.lineage.record import read_record, record_key
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.products import Production, all_collections, all_products
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.products import (
    granules_key,
    references_key,
    store_key,
)
from dor_ecco_assets.virtual.published import PublishedGranules, located
from tests.cli.production import make_project
from tests.support.s3 import S3Server

MONTHS = ("1992-01", "1992-02", "1992-03")
LATLON, NATIVE = "ECCO_L4_SSH_05DEG_MONTHLY_V4R4", "ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4"
STRESS = "ECCO_L4_STRESS_LLC0090GRID_MONTHLY_V4R4"
SNAPSHOT = "ECCO_L4_SSH_LLC0090GRID_SNAPSHOT_V4R4"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Three months of granules on a small grid."""
    from dor_ecco_assets.ecco.times import V4R4_CLOCK

    steps = [V4R4_CLOCK.step_of(month, "AVG_MON") for month in MONTHS]
    folder = make_project(tmp_path_factory.mktemp("project"), side=10, months=steps, days=(12, 36))
    found = production(folder / "data", folder)
    workspace = found.workspace()
    for name in (LATLON, NATIVE, STRESS):
        for month in MONTHS:
            workspace.make(f"ecco/{name}", month)
    return folder


def production(root, folder):
    return Production(Place(root=str(root)), Place(root=str(folder / "data" / "inputs")))


def make_store(workspace, name):
    """Listing, references and store, as a run makes them."""
    workspace.make(granules_key(name), "", Policy(force=True))
    for state in workspace.states(references_key(name)):
        if state.standing != "up to date":
            workspace.make(references_key(name), state.partition)
    return workspace.make(store_key(name), "")


@pytest.mark.parametrize("name", [LATLON, NATIVE, STRESS])
def test_values_and_coordinates_equal_those_of_the_granules(project, monkeypatch, name):
    root = project / "data"
    make_store(production(root, project).workspace(), name)
    monkeypatch.setenv("DOR_ECCO_ROOT", str(root))
    paths = sorted((root / "ecco" / name).glob("*.nc"))
    with (
        dor_ecco_assets.open(store_key(name)) as found,
        xr.open_mfdataset(paths, data_vars="minimal", coords="minimal", compat="override") as files,
    ):
        assert len(paths) == len(MONTHS)
        assert set(found.data_vars) == set(files.data_vars)
        assert set(found.coords) == set(files.coords)
        for variable in files.variables:
            np.testing.assert_array_equal(found[variable].values, files[variable].values)
            assert found[variable].dims == files[variable].dims


def test_a_granule_made_anew_or_taken_away_changes_the_store(project, tmp_path, monkeypatch):
    import shutil

    root = tmp_path / "data"
    shutil.copytree(project / "data", root, ignore=shutil.ignore_patterns("virtual", "inputs"))
    shutil.rmtree(root / ".records" / "virtual", ignore_errors=True)
    source = f"ecco/{LATLON}"
    last = read_record(open_storage(Place(root=str(root))), source, MONTHS[2])
    (root / record_key(source, MONTHS[2])).rename(tmp_path / "later")
    workspace = production(root, project).workspace()
    first = make_store(workspace, LATLON)
    assert first.record.details["granules"]["published"] == 2

    (tmp_path / "later").rename(root / record_key(source, MONTHS[2]))
    workspace = production(root, project).workspace()
    assert workspace.state(granules_key(LATLON), "").standing != "up to date"
    second = make_store(workspace, LATLON)
    assert second.record.details["granules_new"] == 1
    assert last is not None

    (root / record_key(source, MONTHS[0])).unlink()
    third = make_store(production(root, project).workspace(), LATLON)
    assert third.record.details["granules"]["published"] == 2
    monkeypatch.setenv("DOR_ECCO_ROOT", str(root))
    with dor_ecco_assets.open(store_key(LATLON)) as found:
        assert found.time.dt.strftime("%Y-%m").values.tolist() == list(MONTHS[1:])


def test_a_store_in_a_bucket_reads_granules_from_there(project, monkeypatch):
    name = NATIVE
    with S3Server() as server:
        server.create_bucket("products")
        for key, value in server.environment().items():
            monkeypatch.setenv(key, value)
        client = server.client()
        for folder in (f"ecco/{name}", f".records/ecco/{name}"):
            for path in sorted((project / "data" / folder).iterdir()):
                key = f"all/{folder}/{path.name}"
                client.put_object(Bucket="products", Key=key, Body=path.read_bytes())
        root = server.url("products/all")
        make_store(production(root, project).workspace(), name)
        monkeypatch.setenv("DOR_ECCO_ROOT", root)
        monkeypatch.chdir(project)
        (path, *_) = sorted((project / "data" / "ecco" / name).glob("*.nc"))
        with dor_ecco_assets.open(store_key(name)) as found, xr.open_dataset(path) as granule:
            np.testing.assert_array_equal(found["SSH"][0].values, granule["SSH"][0].values)


def test_a_root_that_is_moved_takes_its_granules_along(project, tmp_path, monkeypatch):
    import shutil

    make_store(production(project / "data", project).workspace(), NATIVE)
    moved = tmp_path / "elsewhere"
    shutil.copytree(project / "data", moved)
    paths = sorted((moved / "ecco" / NATIVE).glob("*.nc"))
    monkeypatch.setenv("DOR_ECCO_ROOT", str(moved))
    before = project / "data" / "ecco" / NATIVE
    before.rename(tmp_path / "hidden")
    try:
        with dor_ecco_assets.open(store_key(NATIVE)) as found, xr.open_dataset(paths[1]) as granule:
            np.testing.assert_array_equal(found["SSH"][1].values, granule["SSH"][0].values)
    finally:
        (tmp_path / "hidden").rename(before)


def test_records_are_listed_with_the_period_of_their_partition(project):
    storage = open_storage(Place(root=str(project / "data")))
    spec = all_collections(None)[LATLON]
    catalogue = PublishedGranules(storage, f"ecco/{LATLON}")
    found = catalogue.search(spec.query())
    assert [each.begin for each in sorted(found, key=lambda each: each.concept_id)] == [
        datetime(1992, month, 1, tzinfo=UTC) for month in (1, 2, 3)
    ]
    assert located(spec, storage).access[0].local == f"{project / 'data'}/"
    assert spec.access == ()
    assert PublishedGranules(storage, f"ecco/{SNAPSHOT}").search(spec.query()) == []


def test_without_granules_nothing_is_listed(project):
    with pytest.raises(InputMissing, match=SNAPSHOT):
        production(project / "data", project).workspace().make(granules_key(SNAPSHOT), "")


@pytest.fixture
def overlay(tmp_path):
    def write(**told):
        (tmp_path / "own_collections.yaml").write_text(yaml.safe_dump(told))
        for known in (all_products, load_collections):
            known.cache_clear()
        return str(tmp_path)

    return write


def test_a_product_that_does_not_exist_is_named(overlay):
    configs = overlay(products=["ecco/ECCO_L4_SHS_05DEG_MONTHLY_V4R4"])
    with pytest.raises(ConfigurationError, match=f"did you mean ecco/{LATLON}"):
        all_products(configs)


def test_every_dataset_of_the_catalogue_has_a_store():
    found = all_products()
    keys = [key for key in found if key.startswith("ecco/ECCO")]
    monthly_or_daily = [key for key in keys if found[key].partitioning.kind in ("month", "day")]
    assert len(monthly_or_daily) == 71
    own = {spec.collection.product for spec in all_collections().values()} - {None}
    assert own == set(monthly_or_daily)


def test_a_product_that_a_collection_describes_too_is_refused(overlay, tmp_path):
    configs = overlay(products=[f"ecco/{LATLON}"])
    (tmp_path / "collections").mkdir()
    told = {"collection": {"short_name": LATLON}, "level": "L4", "access": {"s3": "s3://b/"}}
    (tmp_path / "collections" / "same.yaml").write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigurationError, match="both describe") as caught:
        all_products(configs)
    assert caught.value.code == "TwoCollections"
