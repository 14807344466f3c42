"""The store of a collection as it is made from its listing and its shards."""

from __future__ import annotations

import json

import netCDF4
import pytest

from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from dor_ecco_assets.virtual.reading import open_store, virtual_store
from tests.virtual.sample_collection import NAME, sample_collection


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """Thirty days of June and the first of July; nothing has arrived yet."""
    with sample_collection(tmp_path, monkeypatch, days=31) as found:
        yield found


def make_all(collection):
    collection.workspace().make(granules_key(NAME), "", Policy(force=True))
    workspace = collection.workspace()
    for partition in workspace.product(references_key(NAME)).partitioning.keys:
        workspace.make(references_key(NAME), partition)
    return collection.workspace().make(store_key(NAME), "").record


def opened(collection):
    spec = load_collections(collection.configs)[NAME]
    return open_store(virtual_store(collection.workspace().storage, spec, "local"))


def test_a_month_that_did_not_change_describes_the_store_when_the_first_is_withdrawn(collection):
    """Its one published granule is not the first of its shard, which alone keeps descriptions."""
    final = collection.granules[-1]
    first = next(g for g in collection.granules if "20020701" in g.path.name)
    path = first.path.with_name("20020701-FINAL.nc")
    path.write_bytes(first.path.read_bytes())
    with netCDF4.Dataset(path, "a") as file:
        file.setncattr("title", "the final product")
    told = json.dumps(first.item).replace("20020701-SAMPLE-L4-SST", "20020701-FINAL")
    item = json.loads(told)
    item["meta"] |= {"concept-id": "G9999999-SAMPLES"}
    item["umm"]["DataGranule"] |= {
        "ProductionDateTime": "2003-01-01T00:00:00.000Z",
        "ArchiveAndDistributionInformation": [],
    }
    collection.granules.append(type(final)(path, item))
    collection.arrive()
    assert make_all(collection).details["granules"]["published"] == 31
    assert opened(collection).attrs["title"] == "analytic sample"
    june = [i for i in collection.server.items if i["umm"]["GranuleUR"].startswith("200206")]
    for each in june:
        collection.withdraw(each["meta"]["concept-id"], "2003-02-01T00:00:00Z")
    record = make_all(collection)
    assert record.details["granules"]["published"] == 1
    assert record.details["partitions_applied"] == 1
    assert opened(collection).attrs["title"] == "the final product"
