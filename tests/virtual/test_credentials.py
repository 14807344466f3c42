"""Keys of an archive's bucket that end in the middle of a batch."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import xarray as xr

import dor_ecco_assets
from dor_ecco_assets.errors import StorageRefused
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.virtual_granules import BUCKET
from dor_ecco_assets.virtual.access import VARIABLE
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.earthdata import MARGIN
from dor_ecco_assets.virtual.probing import probe
from dor_ecco_assets.virtual.products import granules_key, references_key, store_key
from tests.support.ranges import RangeServer
from tests.virtual.sample_collection import NAME, sample_collection

GRANULES, REFERENCES, STORE = granules_key(NAME), references_key(NAME), store_key(NAME)


@dataclass
class KeyedBucket(RangeServer):
    """Objects as S3 gives them, to who signs with a key that holds."""

    holding: set[str] = field(default_factory=set)
    #: Number of the request at which something happens to the keys, and what.
    turn: int = -1
    happens: object = None
    used: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _reply(self, path, asked, login, wanted):
        found = re.search(r"Credential=([^/]+)/", login)
        key = found[1] if found else "unsigned"
        with self.lock:
            self.used.append(key)
            now, holds = len(self.used) == self.turn, key in self.holding
        if now:
            self.happens()
        if not holds:
            self.refused.append(key)
            return 403, {}, b""
        return super()._reply(path.removeprefix(f"{BUCKET}/"), asked, "", wanted)


def keys(number, expires):
    return {
        "accessKeyId": f"id-{number}",
        "secretAccessKey": f"secret-{number}",
        "sessionToken": f"session-{number}",
        "expiration": expires.isoformat(),
    }


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """A collection whose archive is a bucket, with keys from the archive's endpoint."""
    with (
        sample_collection(tmp_path, monkeypatch, days=30) as found,
        KeyedBucket(tmp_path / "archive") as bucket,
    ):
        monkeypatch.setenv(VARIABLE, "s3")
        monkeypatch.setenv("EARTHDATA_TOKEN", found.server.token)
        found.configure(access={"s3": f"s3://{BUCKET}/", "endpoint": bucket.endpoint})
        for granule in found.granules:
            for link in granule.item["umm"]["RelatedUrls"]:
                if link["URL"].endswith("/s3credentials"):
                    link["URL"] = f"{found.server.endpoint}/s3credentials"
        found.arrive()
        found.workspace().make(GRANULES, "")
        yield found, bucket


@pytest.mark.parametrize("way", ["s3", "https"])
def test_what_is_compared_is_read_with_the_login(collection, tmp_path, monkeypatch, way):
    collection, bucket = collection
    token = collection.server.token
    with RangeServer(tmp_path / "archive", token=token) as web:
        collection.configure(
            access={
                "s3": f"s3://{BUCKET}/",
                "https": f"{web.endpoint}/",
                "endpoint": bucket.endpoint,
            }
        )
        monkeypatch.setenv(VARIABLE, way)
        collection.server.keys = [keys(0, datetime.now(UTC) + timedelta(hours=1))]
        bucket.holding = {"id-0"}
        for key, partition in ((GRANULES, ""), (REFERENCES, "2002-06"), (STORE, "")):
            collection.workspace().make(key, partition)
        storage = collection.workspace().storage
        spec = load_collections(collection.configs)[NAME]
        found = probe(storage, spec, 2)
        assert {each.problem for each in found} == {""}
        assert sum(each.values for each in found) == 2 * 2 * 12 * 24
        assert token not in repr(found)
        monkeypatch.setenv("DOR_ECCO_ROOT", str(collection.folder / "data"))
        monkeypatch.setenv("DOR_ECCO_CONFIGS", collection.configs)
        monkeypatch.chdir(tmp_path)
        granule = collection.granules[0].path
        with dor_ecco_assets.open(STORE) as opened, xr.open_dataset(granule) as original:
            for name in original.data_vars:
                first = opened[name].sel(time=original["time"].values[0])
                np.testing.assert_array_equal(first, original[name][0])
        monkeypatch.delenv("EARTHDATA_TOKEN")
        assert all(each.problem for each in probe(storage, spec, 2))


def asked_for_keys(collection):
    return sum(asked.path == "/s3credentials" for asked in collection.server.asked)


def test_keys_are_renewed_in_the_middle_of_a_batch_before_they_are_refused(collection):
    collection, bucket = collection
    ends = datetime.now(UTC) + timedelta(seconds=1)
    collection.server.keys = [
        keys(0, ends + MARGIN),
        keys(1, datetime.now(UTC) + timedelta(hours=1)),
    ]
    bucket.holding = {"id-0", "id-1"}

    def the_first_end():
        time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 0.3)
        bucket.holding = {"id-1"}

    bucket.turn, bucket.happens = 4, the_first_end
    made = collection.workspace().make(REFERENCES, "2002-06").record
    assert made.details["granules"] == 30
    assert made.details["failed"] == []
    assert bucket.refused == []
    assert set(bucket.used) == {"id-0", "id-1"}
    assert asked_for_keys(collection) == 2


def test_keys_that_are_refused_in_the_middle_of_a_batch_leave_everything_as_it_was(collection):
    collection, bucket = collection
    collection.server.keys = [keys(0, datetime.now(UTC) + timedelta(hours=1))]
    bucket.holding = {"id-0"}
    collection.workspace().make(REFERENCES, "2002-06")
    before = collection.workspace().make(STORE, "").record
    assert before.details["granules"]["published"] == 30
    # All are revised, and the archive takes the keys back while they are read.
    for item in collection.server.items:
        item["meta"]["revision-id"] += 1
    collection.workspace().make(GRANULES, "", Policy(force=True))
    bucket.used.clear()
    bucket.turn, bucket.happens = 12, bucket.holding.clear
    with pytest.raises(StorageRefused, match="check the Earthdata login") as caught:
        collection.workspace().make(REFERENCES, "2002-06")
    assert caught.value.code == "AccessDenied"
    assert len(bucket.refused) >= 1
    storage = collection.workspace().storage
    assert read_record(storage, STORE, "") == before
    made = read_record(storage, REFERENCES, "2002-06")
    assert made.details["failed"] == []  # it is us: no granule is blamed
    # With new keys the same work finishes.
    bucket.holding, bucket.turn = {"id-1"}, -1
    collection.server.keys = [keys(1, datetime.now(UTC) + timedelta(hours=1))]
    made = collection.workspace().make(REFERENCES, "2002-06").record
    assert (made.details["granules"], made.details["failed"]) == (30, [])
    after = collection.workspace().make(STORE, "").record
    assert after.details["granules"]["published"] == 30
    assert after.details["granules"]["quarantined"] == 0
