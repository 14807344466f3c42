"""The same store read over S3, HTTP and from disk; what changed at the source is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from obstore.store import S3Store

from dor_ecco_assets.errors import (
    ConfigurationError,
    InputMissing,
    StorageRefused,
)
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.digest import content_digest
from dor_ecco_assets.virtual.reading import containers_of, open_store, virtual_store
from dor_ecco_assets.virtual.remote import parse_granules
from tests.support.fault_proxy import FaultProxy, IgnoreConditions, LoseResponse, on
from tests.support.ranges import RangeServer
from tests.support.s3 import S3Server
from tests.virtual.stores import Archive, deleted, spec


@pytest.fixture(scope="module")
def server():
    with S3Server() as server:
        server.create_bucket("granules")
        server.create_bucket("products")
        yield server


@pytest.fixture
def environment(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


class Remote(Archive):
    """Parses granules from a store as the asset does."""

    where: object = None

    def __call__(self, entries, *, load=(), described=False):
        keys = [entry.location for entry in entries]
        self.asked += [entry.key for entry in entries]
        for found in parse_granules(self.where, keys, load=(*self.spec.load, *load)):
            yield found.granule or found.error


def upload(server, archive, place):
    client = server.client()
    for path in sorted(archive.folder.iterdir()):
        client.put_object(Bucket="granules", Key=f"{place}/{path.name}", Body=path.read_bytes())


def equals_originals(store, archive, days):
    found = open_store(store)
    for slot, day in enumerate(days):
        with xr.open_dataset(archive.folder / f"day{day:04d}.nc") as wanted:
            np.testing.assert_array_equal(
                found["analysed_sst"][slot].values, wanted["analysed_sst"].values[0]
            )
    assert found.sizes["time"] == len(days)


@pytest.mark.parametrize("checksum", ["etag", "last_modified"])
def test_one_store_is_read_over_s3_and_http(environment, tmp_path, checksum):
    place = f"collection-{checksum}"
    (tmp_path / place).mkdir()
    archive = Remote(tmp_path / place)
    listed = [archive.daily(day, f"day{day:04d}.nc") for day in range(4)]
    # A name in which what URLs reserve must be escaped.
    odd = archive.daily(4, "day 4 100%#1?.nc")
    upload(environment, archive, place)
    with RangeServer(tmp_path) as web:
        archive.spec = spec(
            access={
                "s3": f"s3://granules/{place}/",
                "https": f"{web.endpoint}/{place}/",
                "endpoint": environment.endpoint,
            },
            checksum=checksum,
        )
        archive.where = S3Store(
            "granules",
            prefix=place,
            client_options={"allow_http": True},
            virtual_hosted_style_request=False,
        )
        storage = open_storage(Place(root=f"s3://products/{checksum}", path_style=True))
        writer = virtual_store(storage, archive.spec, "s3")
        report = apply(writer, archive.spec, [*listed[:3], odd], archive)
        assert report.published == 4
        apply(writer, archive.spec, [listed[3]], archive)
        with xr.open_dataset(archive.folder / odd.granule.key) as wanted:
            np.testing.assert_array_equal(
                open_store(writer)["analysed_sst"][4].values, wanted["analysed_sst"].values[0]
            )
        apply(writer, archive.spec, [deleted(odd)], archive)
        equals_originals(writer, archive, range(4))
        reader = virtual_store(storage, archive.spec, "https")
        equals_originals(reader, archive, range(4))
        with pytest.raises(ConfigurationError, match="has no local, only s3, https"):
            virtual_store(storage, archive.spec, "local")
        # A server that insists on quotes, which Icechunk leaves out, needs the other checksum.
        web.strict = True
        if checksum == "last_modified":
            equals_originals(reader, archive, range(4))
        else:
            with pytest.raises(Exception, match="has changed"):
                open_store(reader)["analysed_sst"][0].load()
        web.strict = False
        # Now a granule changes behind the store's back.
        client = environment.client()
        data = (archive.folder / "day0002.nc").read_bytes()
        client.put_object(Bucket="granules", Key=f"{place}/day0002.nc", Body=data[:-4] + b"ABCD")
        if checksum == "etag":
            with pytest.raises(Exception, match="has changed"):
                open_store(writer)["analysed_sst"][2].load()
            (archive.folder / "day0002.nc").write_bytes(data[:-4] + b"ABCD")
            with pytest.raises(Exception, match="has changed"):
                open_store(reader)["analysed_sst"][2].load()
        open_store(writer)["analysed_sst"][1].load()


def test_secrets_are_not_kept_in_the_store(environment, tmp_path):
    (tmp_path / "a").mkdir()
    archive = Archive(tmp_path / "a", spec(access={"https": "http://127.0.0.1:9/a/"}))
    storage = open_storage(Place(root="s3://products/secrets", path_style=True))
    containers = containers_of(archive.spec, headers={"authorization": "Bearer hush"})
    store = IcechunkStore(storage, "store", containers)
    apply(store, archive.spec, [archive.daily(0)], archive)
    contents = environment.contents("products/secrets")
    assert contents
    assert not any(b"hush" in data for data in contents.values())
    assert "hush" not in repr(containers)


def test_a_store_that_is_not_there_says_so(environment, tmp_path):
    storage = open_storage(Place(root="s3://products/none", path_style=True))
    store = virtual_store(storage, spec())
    with pytest.raises(InputMissing, match="build it first") as caught:
        open_store(store)
    assert caught.value.code == "StoreMissing"


def test_an_object_store_without_conditional_writes_is_refused(environment, tmp_path):
    (tmp_path / "a").mkdir()
    archive = Archive(tmp_path / "a")
    with FaultProxy(environment.host, environment.port) as proxy:
        for only in (("if-none-match",), ("if-match",), ("if-none-match", "if-match")):
            proxy.script([IgnoreConditions(times=10_000, headers=only)])
            root = f"s3://products/careless-{len(only)}-{only[0]}"
            storage = open_storage(Place(root=root, endpoint=proxy.endpoint, path_style=True))
            store = IcechunkStore(storage, "store", containers_of(archive.spec, "local"))
            with pytest.raises(StorageRefused, match="ignores If-None-Match") as caught:
                apply(store, archive.spec, [archive.daily(0)], archive)
            assert caught.value.code == "NoConditionalWrites"
            assert environment.contents(root) == {}


def test_a_commit_whose_answer_is_lost_is_not_applied_twice(environment, tmp_path):
    (tmp_path / "a").mkdir()
    archive = Archive(tmp_path / "a", spec(access={"local": f"{tmp_path}/a/"}))
    listed = [archive.daily(day) for day in range(5)]
    with FaultProxy(environment.host, environment.port) as proxy:
        storage = open_storage(
            Place(root="s3://products/lost", endpoint=proxy.endpoint, path_style=True)
        )
        store = IcechunkStore(storage, "store", containers_of(archive.spec, "local"))
        apply(store, archive.spec, listed[:2], archive)
        for number, day in enumerate((2, 3)):
            times = 1 + 2 * number
            proxy.script([LoseResponse(times=times, match=on("PUT", containing="/repo"))])
            apply(store, archive.spec, [listed[day]], archive)
            assert proxy.remaining == []
        proxy.behave()
        apply(store, archive.spec, listed, archive)
    equals_originals(store_again(environment, archive), archive, range(5))
    clean = IcechunkStore(
        open_storage(Place(root=str(tmp_path / "clean"))),
        "store",
        containers_of(archive.spec, "local"),
    )
    apply(clean, archive.spec, listed, archive)
    assert content_digest(clean) == content_digest(store_again(environment, archive))


def store_again(server, archive):
    storage = open_storage(
        Place(root="s3://products/lost", endpoint=server.endpoint, path_style=True)
    )
    return IcechunkStore(storage, "store", containers_of(archive.spec, "local"))
