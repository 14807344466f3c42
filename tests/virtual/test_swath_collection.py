"""Swaths from CMR's listing to the reader: references by cycle, one store of all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.virtual_granules import BUCKET, SWATHS, write_archive
from dor_ecco_assets.virtual.access import VARIABLE
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.probing import probe
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from dor_ecco_assets.virtual.reading import open_store, virtual_store
from dor_ecco_assets.virtual.services import CMR_VARIABLE
from tests.support.cmr import CmrServer
from tests.support.ranges import RangeServer
from tests.virtual.sample_collection import SampleCollection

NAME = SWATHS.short_name.replace("-", "_")
GRANULES, REFERENCES, STORE = granules_key(NAME), references_key(NAME), store_key(NAME)

SWATH = {
    "collection": {"concept_id": SWATHS.concept_id, "short_name": SWATHS.short_name},
    "level": "L2",
    "identity": "cycle_pass",
    "swath": {"dim": "granule", "ragged": ["num_lines"]},
    "concat": {"order": "cycle_pass"},
    "load": ["time"],
}


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """Four passes of each of cycles 2 and 4; nothing has arrived yet."""
    granules = [
        granule
        for granule in write_archive(tmp_path / "to_come", days=0, repacked=0, cycles=4, passes=4)
        if granule.item["meta"]["collection-concept-id"] == SWATHS.concept_id
    ]
    with CmrServer() as server:
        monkeypatch.setenv(CMR_VARIABLE, server.endpoint)
        found = SampleCollection(tmp_path, server, granules)
        found.configure(**SWATH)
        yield found


def make_all(collection):
    """List, reference and store what there is; gives how many granules were read, by cycle."""
    collection.workspace().make(GRANULES, "", Policy(force=True))
    workspace = collection.workspace()
    read = {}
    for cycle in workspace.product(REFERENCES).partitioning.keys:
        outcome = workspace.make(REFERENCES, cycle)
        read[cycle] = 0 if outcome.skipped else outcome.record.details["parsed_granules"]
    collection.workspace().make(STORE, "")
    return read


def store_of(collection):
    spec = load_collections(collection.configs)[NAME]
    return virtual_store(collection.workspace().storage, spec, "local")


def assert_reads_as(collection, tracks):
    found = open_store(store_of(collection))
    assert list(zip(found["cycle"].values, found["pass"].values, strict=True)) == tracks
    for slot, (cycle, number) in enumerate(tracks):
        name = f"SAMPLE_L2_{cycle:03d}_{number:03d}.nc"
        assert found["filename"].values[slot] == name
        with xr.open_dataset(collection.folder / "archive" / SWATHS.short_name / name) as wanted:
            lines = wanted.sizes["num_lines"]
            assert found["num_lines_valid"].values[slot] == lines
            for variable in wanted.variables:
                here = found[variable][slot].values
                np.testing.assert_array_equal(here[:lines], wanted[variable].values, variable)


def test_swaths_are_referenced_by_cycle_and_read_as_they_are(collection):
    collection.arrive(6)  # all of cycle 2, half of cycle 4
    assert make_all(collection) == {"0002": 4, "0004": 2}
    tracks = [(2, 1), (2, 2), (2, 3), (2, 4), (4, 1), (4, 2)]
    assert_reads_as(collection, tracks)
    # Only the cycle that grew is read again, and only what is new of it.
    collection.arrive()
    assert make_all(collection) == {"0002": 0, "0004": 2}
    tracks += [(4, 3), (4, 4)]
    assert_reads_as(collection, tracks)
    # A withdrawn pass closes up.
    gone = next(g for g in collection.granules if "002_002" in g.path.name)
    collection.withdraw(gone.item["meta"]["concept-id"], "2011-01-01T00:00:00Z")
    assert make_all(collection) == {"0002": 0, "0004": 0}
    tracks.remove((2, 2))
    assert_reads_as(collection, tracks)


def test_swaths_of_an_archive_that_asks_for_a_login(collection, monkeypatch):
    """What follows the end of a swath in its last chunk is read through the new store."""
    with RangeServer(collection.folder / "archive", token=collection.server.token) as web:
        access = {"s3": f"s3://{BUCKET}/", "https": f"{web.endpoint}/"}
        collection.configure(**SWATH, access=access)
        monkeypatch.setenv(VARIABLE, "https")
        monkeypatch.setenv("EARTHDATA_TOKEN", collection.server.token)
        collection.arrive()
        assert make_all(collection) == {"0002": 4, "0004": 4}
        assert 401 not in {request.status for request in web.requests}
        found = probe(collection.workspace().storage, load_collections(collection.configs)[NAME], 8)
        assert {each.problem for each in found} == {""}


def test_a_reprocessed_pass_takes_the_place_of_the_old_one(collection):
    collection.arrive()
    make_all(collection)
    old = next(g for g in collection.granules if "002_003" in g.path.name)
    place = collection.folder / "archive" / SWATHS.short_name
    (place / "SAMPLE_L2_002_003_v2.nc").write_bytes((place / "SAMPLE_L2_002_004.nc").read_bytes())
    item = _renamed(old.item, "SAMPLE_L2_002_003.nc", "SAMPLE_L2_002_003_v2.nc")
    item["meta"] |= {"concept-id": "G999-SAMPLES", "revision-date": "2012-01-01T00:00:00.000Z"}
    item["umm"]["DataGranule"]["ProductionDateTime"] = "2012-01-01T00:00:00.000Z"
    item["umm"]["DataGranule"]["ArchiveAndDistributionInformation"] = []
    collection.server.items.append(item)
    make_all(collection)
    found = open_store(store_of(collection))
    assert found.sizes["granule"] == 8
    assert found["filename"].values[2] == "SAMPLE_L2_002_003_v2.nc"
    with xr.open_dataset(place / "SAMPLE_L2_002_003_v2.nc") as wanted:
        lines = wanted.sizes["num_lines"]
        np.testing.assert_array_equal(found["ssha"][2, :lines].values, wanted["ssha"].values)


def _renamed(item, old, new):
    return json.loads(json.dumps(item).replace(old.removesuffix(".nc"), new.removesuffix(".nc")))
