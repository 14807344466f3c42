"""Archives are reached the nearest way, and the login comes from where it is said to lie."""

from __future__ import annotations

import boto3
import obstore
import pytest
from moto import mock_aws

from dor_ecco_assets.errors import ConfigurationError, StorageRefused
from dor_ecco_assets.virtual.access import Archives, chosen_way, open_place
from dor_ecco_assets.virtual.collections import Access
from resources.cmr import CmrResource
from tests.support.ranges import RangeServer
from tests.virtual.specs import spec_of

BOTH = Access(s3="s3://bucket/", https="https://host/bucket/")


@pytest.mark.parametrize(
    ("place", "environ", "way"),
    [
        (BOTH, {}, "https"),
        (BOTH, {"AWS_REGION": "us-west-2"}, "s3"),
        (BOTH, {"AWS_REGION": "eu-west-1"}, "https"),
        (BOTH, {"DOR_ECCO_ACCESS": "s3"}, "s3"),
        (Access(s3="s3://bucket/"), {}, "s3"),
        (Access(s3="s3://bucket/", local="/archive/"), {"AWS_REGION": "us-west-2"}, "local"),
        (Access(name="root", local="/root/"), {"DOR_ECCO_ACCESS": "https"}, "local"),
    ],
)
def test_the_nearest_way_is_taken(place, environ, way):
    assert chosen_way(place, environ) == way


@pytest.mark.parametrize("wanted", ["local", "ftp"])
def test_a_way_that_a_place_has_not_is_refused(wanted):
    with pytest.raises(ConfigurationError, match="s3, https only") as caught:
        chosen_way(BOTH, {"DOR_ECCO_ACCESS": wanted})
    assert caught.value.code == "NoSuchAccess"


def test_keys_are_relative_to_a_place_whichever_way(tmp_path, s3_server, bucket, s3_environment):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.nc").write_bytes(b"the bytes")
    s3_server.client().put_object(Bucket=bucket, Key="prefix/a/x.nc", Body=b"the bytes")
    with RangeServer(tmp_path, token="token") as server:
        place = Access(
            local=f"{tmp_path}/",
            https=f"{server.endpoint}/",
            s3=f"s3://{bucket}/prefix/",
            region="us-east-1",
        )
        for way in ("local", "https", "s3"):
            store = open_place(place, way, token=lambda: "token")
            assert bytes(obstore.get(store, "a/x.nc").bytes()) == b"the bytes", way


def test_several_places_are_opened_by_their_names(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(name.encode())
    access = [{"name": name, "local": f"{tmp_path / name}/"} for name in ("one", "two")]
    archives = Archives(spec_of(access=access))
    assert bytes(obstore.get(archives.store("two"), "x").bytes()) == b"two"
    assert archives.url("one", "x") == f"{tmp_path}/one/x"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="absent") as caught:
        open_place(Access(local=f"{tmp_path}/absent/"), "local")
    assert caught.value.code == "NoSuchAccess"


@pytest.fixture
def parameters(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield boto3.client("ssm", region_name="us-west-2")


def resource(path="/earthdata"):
    return CmrResource(parameters=path, region="us-west-2")


def test_the_login_comes_from_the_parameter_store(parameters, monkeypatch):
    parameters.put_parameter(Name="/earthdata/token", Value="very-secret", Type="SecureString")
    login = resource().login()
    assert login is not None
    assert login.token() == "very-secret"
    assert "very-secret" not in repr(resource())


def test_a_user_and_password_come_together(parameters, monkeypatch):
    parameters.put_parameter(Name="/earthdata/username", Value="somebody", Type="String")
    with pytest.raises(StorageRefused, match="/earthdata/password") as caught:
        resource().prepare()
    assert caught.value.code == "NoEarthdataLogin"
    parameters.put_parameter(Name="/earthdata/password", Value="secret", Type="SecureString")
    assert resource().login() is not None


def test_a_parameter_store_that_is_not_there_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    gone = CmrResource(parameters="/x", region="us-west-2", endpoint="http://127.0.0.1:9")
    with pytest.raises(StorageRefused, match="Parameter Store") as caught:
        gone.prepare()
    assert caught.value.code == "NoEarthdataLogin"


def test_without_any_login_open_data_are_read():
    assert CmrResource().login() is None
