"""The S3 server keeps the promises of S3 that our storage relies on."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import obstore
import pytest
from botocore.exceptions import ClientError
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from tests.support.kill import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.s3 import S3Server


@pytest.fixture
def store(s3_environment: dict[str, str], bucket: str) -> S3Store:
    """Return a store configured by the environment alone."""
    return S3Store(bucket)


def test_objects_show_size_checksum_and_metadata(
    store: S3Store, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    data = os.urandom(12_000_000)
    (tmp_path / "large").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    obstore.put(store, "a/small", b"abc", attributes={"sha256": "f00d"})
    obstore.put(store, "a/b/large", tmp_path / "large", attributes={"sha256": digest})
    obstore.put(store, "ab", b"of another folder")
    url = s3_server.url(bucket, "a")
    assert url == f"s3://{bucket}/a"
    assert s3_server.objects(url) == {
        "small": (3, hashlib.sha256(b"abc").hexdigest(), {"sha256": "f00d"}),
        "b/large": (12_000_000, digest, {"sha256": digest}),
    }
    assert s3_server.contents(f"{bucket}/a") == {"small": b"abc", "b/large": data}
    assert set(s3_server.objects(bucket)) == {"a/small", "a/b/large", "ab"}


def test_a_create_only_put_has_one_winner(store: S3Store) -> None:
    def create(n: int) -> bool:
        try:
            obstore.put(store, "k", b"%d" % n, mode="create")
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(32))) == 1


def test_a_put_on_condition_of_an_etag_has_one_winner(store: S3Store) -> None:
    before = obstore.put(store, "k", b"before")

    def update(n: int) -> bool:
        try:
            obstore.put(store, "k", b"%d" % n, mode={"e_tag": before["e_tag"]})
        except PreconditionError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(update, range(32))) == 1


def test_boto3_finds_conditions_and_multipart_uploads(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    upload = client.create_multipart_upload(Bucket=bucket, Key="a/large")["UploadId"]
    part = client.upload_part(
        Bucket=bucket, Key="a/large", UploadId=upload, PartNumber=1, Body=b"x" * 6_000_000
    )
    assert set(s3_server.objects(bucket)) == {"k"}, "an upload shows only when complete"
    assert s3_server.unfinished_uploads(f"{bucket}/a") == ["large"]
    client.complete_multipart_upload(
        Bucket=bucket,
        Key="a/large",
        UploadId=upload,
        MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]},
    )
    assert s3_server.objects(bucket)["a/large"].size == 6_000_000
    assert s3_server.unfinished_uploads(bucket) == []
    client.close()


def test_a_body_that_does_not_arrive_whole_is_not_stored(s3_server: S3Server, bucket: str) -> None:
    head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((s3_server.host, s3_server.port)) as connection:
        connection.sendall(head.encode() + b"half of it")
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(1000)
    assert s3_server.objects(bucket) == {}


def test_a_body_that_differs_from_its_checksum_is_not_stored(
    s3_server: S3Server, bucket: str
) -> None:
    client = s3_server.client()
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=bucket, Key="k", Body=b"abc", ChecksumSHA256=other)
    client.put_object(Bucket=bucket, Key="l", Body=b"other", ChecksumSHA256=other)
    client.close()
    signed = {"x-amz-content-sha256": hashlib.sha256(b"other").hexdigest()}
    connection = http.client.HTTPConnection(s3_server.host, s3_server.port)
    connection.request("PUT", f"/{bucket}/m", body=b"abc", headers=signed)
    assert b"XAmzContentSHA256Mismatch" in connection.getresponse().read()
    connection.close()
    assert set(s3_server.objects(bucket)) == {"l"}


def test_a_part_of_an_aborted_upload_is_refused(s3_server: S3Server, bucket: str) -> None:
    client = s3_server.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    client.close()


def test_a_child_process_needs_only_the_environment(
    s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    code = "import obstore, sys; from obstore.store import S3Store; "
    code += "obstore.put(S3Store(sys.argv[1]), 'k', b'abc')"
    run([sys.executable, "-c", code, bucket], env=s3_server.environment(), cwd=tmp_path).check()
    assert s3_server.contents(bucket) == {"k": b"abc"}


@pytest.mark.parametrize("name", ["DAGSTER_HOME", "AWS_ENDPOINT_URL", "DOR_ECCO_ROOT"])
def test_a_test_finds_no_foreign_environment_and_leaves_none(name: str) -> None:
    assert {n for n in os.environ if n.startswith(("AWS_", "DOR_ECCO_", "DAGSTER_HOME"))} <= {
        "AWS_CONFIG_FILE",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_SHARED_CREDENTIALS_FILE",
        "DOR_ECCO_TEST_DATA",
    }
    assert os.environ["AWS_CONFIG_FILE"] == os.devnull
    os.environ[name] = "left by the test before"
