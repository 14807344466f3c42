"""The fault proxy does to real clients what its script says, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
import pytest
from botocore.exceptions import ClientError, ResponseStreamingError
from botocore.exceptions import ConnectionClosedError as BotoConnectionClosed
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import S3Store

from tests.support.fault_proxy import (
    FaultProxy,
    IgnoreConditions,
    LoseResponse,
    Reset,
    Slow,
    Status,
    Truncate,
    on,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.client import BaseClient

    from tests.support.s3 import S3Server

#: Retries that cost a test no time.
QUICK = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=5)}
TWELVE_MB = os.urandom(12_000_000)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.host, s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def store(s3_server: S3Server, proxy: FaultProxy, bucket: str) -> S3Store:
    return make_store(s3_server, proxy, bucket)


@pytest.fixture
def once(s3_server: S3Server, proxy: FaultProxy, bucket: str) -> S3Store:
    """Return a store that tries everything once."""
    return make_store(s3_server, proxy, bucket, max_retries=0)


@pytest.fixture
def boto(s3_server: S3Server, proxy: FaultProxy) -> Iterator[BaseClient]:
    client = s3_server.client(endpoint=proxy.endpoint, retries={"total_max_attempts": 1})
    yield client
    client.close()


def make_store(server: S3Server, proxy: FaultProxy, bucket: str, **retry: Any) -> S3Store:
    variables = server.environment(endpoint=proxy.endpoint)
    return S3Store(
        bucket,
        access_key_id=variables["AWS_ACCESS_KEY_ID"],
        secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region=variables["AWS_REGION"],
        endpoint=variables["AWS_ENDPOINT_URL"],
        client_options={"allow_http": True},
        retry_config={"backoff": QUICK, **retry},
    )


def methods(proxy: FaultProxy) -> list[tuple[str, int | None]]:
    return [(seen.method, seen.status) for seen in proxy.requests]


def test_without_faults_every_kind_of_request_passes(
    store: S3Store, s3_server: S3Server, bucket: str
) -> None:
    obstore.put(store, "small", b"abc", attributes={"sha256": "f00d"})
    obstore.put(store, "large", TWELVE_MB)
    obstore.put(store, "empty", b"")
    assert bytes(obstore.get(store, "large").bytes()) == TWELVE_MB
    assert bytes(obstore.get_range(store, "large", start=5, length=7)) == TWELVE_MB[5:12]
    assert obstore.head(store, "small")["size"] == 3
    assert sorted(o["path"] for page in obstore.list(store) for o in page) == [
        "empty",
        "large",
        "small",
    ]
    obstore.delete(store, "empty")
    stored = s3_server.objects(bucket)
    assert set(stored) == {"small", "large"}
    assert stored["small"].metadata == {"sha256": "f00d"}


def test_conditions_hold_through_the_proxy(store: S3Store) -> None:
    first = obstore.put(store, "k", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "k", b"2", mode="create")
    obstore.put(store, "k", b"3", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        obstore.put(store, "k", b"4", mode={"e_tag": first["e_tag"]})
    assert bytes(obstore.get(store, "k").bytes()) == b"3"


def test_a_put_whose_answer_is_lost_took_place(
    once: S3Store, store: S3Store, proxy: FaultProxy
) -> None:
    proxy.script([LoseResponse(match=on("PUT"), times=2)])
    with pytest.raises(GenericError):
        obstore.put(once, "a", b"done", mode="create")
    assert bytes(obstore.get(once, "a").bytes()) == b"done"
    obstore.put(store, "b", b"done twice")
    assert bytes(obstore.get(once, "b").bytes()) == b"done twice"
    with pytest.raises(AlreadyExistsError):  # who tries again meets what it did
        obstore.put(once, "a", b"done", mode="create")
    assert [seen.status for seen in proxy.requests if seen.fault] == [None, None]
    assert proxy.remaining == []


def test_a_store_without_conditions_lets_one_writer_overwrite_another(
    once: S3Store, proxy: FaultProxy
) -> None:
    obstore.put(once, "a", b"first")
    proxy.script([IgnoreConditions(times=2, match=on("PUT"))])
    obstore.put(once, "a", b"second", mode="create")
    obstore.put(once, "a", b"third", mode={"e_tag": '"of something else"'})
    assert bytes(obstore.get(once, "a").bytes()) == b"third"
    proxy.script([IgnoreConditions(headers=("if-match",), match=on("PUT"))])
    with pytest.raises(AlreadyExistsError):
        obstore.put(once, "a", b"fourth", mode="create")


def test_boto3_puts_with_expect_and_reads_back(boto: BaseClient, bucket: str) -> None:
    boto.put_object(Bucket=bucket, Key="k", Body=TWELVE_MB)
    assert boto.get_object(Bucket=bucket, Key="k")["Body"].read() == TWELVE_MB
    boto.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError, match="404"):
        boto.head_object(Bucket=bucket, Key="k")


def test_a_client_that_waits_to_send_its_body_is_told_to(proxy: FaultProxy, bucket: str) -> None:
    head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
    with socket.create_connection((proxy.host, proxy.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_connection_is_kept_alive_and_chunked_bodies_pass(
    proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=10)
    connection.connect()
    socket_before = connection.sock
    for key in ("a", "b"):
        pieces = iter([b"x" * 100_000, b"y", b"z" * 70_000])
        connection.request("PUT", f"/{bucket}/{key}", body=pieces, encode_chunked=True)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    assert connection.sock is socket_before
    connection.close()
    assert s3_server.objects(bucket)["a"].size == 170_001


def test_concurrent_clients_are_served_side_by_side(store: S3Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: obstore.put(store, f"k{n}", b"%d" % n), range(40)))
        got = list(pool.map(lambda n: bytes(obstore.get(store, f"k{n}").bytes()), range(40)))
    assert got == [b"%d" % n for n in range(40)]


def test_a_burst_of_503_is_ridden_out_and_logged(store: S3Store, proxy: FaultProxy) -> None:
    proxy.script([Status(503, times=3, match=on("PUT"))])
    obstore.put(store, "k", b"abc")
    assert methods(proxy) == [("PUT", 503)] * 3 + [("PUT", 200)]
    assert proxy.remaining == []


def test_a_503_without_retries_names_the_cause(once: S3Store, proxy: FaultProxy) -> None:
    proxy.script([Status(503)])
    with pytest.raises(GenericError, match="SlowDown"):
        obstore.put(once, "k", b"abc")


def test_refusals_reach_the_client_and_are_not_retried(store: S3Store, proxy: FaultProxy) -> None:
    proxy.script([Status(403), Status(404)])
    with pytest.raises(PermissionDeniedError, match="AccessDenied"):
        obstore.put(store, "k", b"abc")
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "k")
    assert methods(proxy) == [("PUT", 403), ("HEAD", 404)]


def test_boto3_sees_a_status_before_it_sends_a_body(
    boto: BaseClient, proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    proxy.script([Status(503)])
    with pytest.raises(ClientError, match="SlowDown"):
        boto.put_object(Bucket=bucket, Key="k", Body=TWELVE_MB)
    assert s3_server.objects(bucket) == {}


def test_a_script_is_used_in_order_by_the_requests_it_matches(
    once: S3Store, proxy: FaultProxy
) -> None:
    obstore.put(once, "k", b"abc")
    proxy.script([Status(500, match=on("GET", containing="k")), Status(403, match=on("PUT"))])
    with pytest.raises(PermissionDeniedError):
        obstore.put(once, "k", b"abc")
    with pytest.raises(GenericError):
        obstore.get(once, "k")
    obstore.get(once, "k")


@pytest.mark.parametrize("after_bytes", [0, 200_000, 10**9])
def test_a_reset_in_mid_upload_stores_nothing(
    once: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str, after_bytes: int
) -> None:
    proxy.script([Reset(after_bytes)])
    with pytest.raises(GenericError):
        obstore.put(once, "k", TWELVE_MB, use_multipart=False)
    assert s3_server.objects(bucket) == {}
    assert methods(proxy) == [("PUT", None)]


def test_a_reset_part_is_sent_again(
    store: S3Store, proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    proxy.script([Reset(1_000_000, times=2, match=on("PUT", containing="partNumber"))])
    obstore.put(store, "k", TWELVE_MB)
    assert s3_server.contents(bucket) == {"k": TWELVE_MB}
    assert s3_server.unfinished_uploads(bucket) == []


def test_boto3_sees_a_reset_connection(boto: BaseClient, proxy: FaultProxy, bucket: str) -> None:
    proxy.script([Reset(100_000)])
    with pytest.raises(BotoConnectionClosed):
        boto.put_object(Bucket=bucket, Key="k", Body=TWELVE_MB)


def test_a_chunked_upload_that_is_reset_stores_nothing(
    proxy: FaultProxy, s3_server: S3Server, bucket: str
) -> None:
    proxy.script([Reset(10**9)])
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=10)
    # One statement each: the reset is seen by the send or by the wait for an answer.
    with contextlib.suppress(ConnectionError):
        connection.request("PUT", f"/{bucket}/k", body=iter([b"x" * 1000]), encode_chunked=True)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()
    assert s3_server.objects(bucket) == {}


@pytest.mark.parametrize(
    "fault",
    [Truncate(after_bytes=5_000_000), Reset(5_000_000, during="response"), Truncate(10**9)],
)
def test_a_cut_response_is_resumed_or_seen(
    once: S3Store, boto: BaseClient, proxy: FaultProxy, bucket: str, fault: Truncate | Reset
) -> None:
    obstore.put(once, "k", TWELVE_MB)
    proxy.script([fault])
    with pytest.raises(GenericError):
        obstore.get(once, "k").bytes()
    proxy.script([fault])
    with pytest.raises((ResponseStreamingError, OSError)):
        boto.get_object(Bucket=bucket, Key="k")["Body"].read()


def test_obstore_resumes_a_cut_response_with_a_range(store: S3Store, proxy: FaultProxy) -> None:
    obstore.put(store, "k", TWELVE_MB)
    proxy.script([Truncate(5_000_000, match=on("GET"))])
    assert bytes(obstore.get(store, "k").bytes()) == TWELVE_MB
    assert [status for method, status in methods(proxy) if method == "GET"] == [200, 206]


def test_a_slow_connection_takes_its_time(store: S3Store, proxy: FaultProxy) -> None:
    proxy.script([Slow(1_000_000, times=2)])
    start = time.monotonic()
    obstore.put(store, "k", b"x" * 200_000)
    middle = time.monotonic()
    obstore.get(store, "k").bytes()
    assert middle - start >= 0.2
    assert time.monotonic() - middle >= 0.2


def test_random_faults_depend_on_the_seed_and_not_on_the_order(
    once: S3Store, proxy: FaultProxy
) -> None:
    def failures(seed: int, order: list[int]) -> set[int]:
        proxy.random_faults(seed, 0.5, [Status(503), Reset(0)])
        failed = set()
        for n in order:
            try:
                obstore.put(once, f"k{n}", b"abc")
            except GenericError:
                failed.add(n)
        return failed

    order = list(range(20))
    first = failures(1, order)
    assert 0 < len(first) < 20
    assert failures(1, order[::-1]) == first
    assert failures(2, order) != first
    proxy.behave()
    obstore.put(once, "k", b"abc")


def test_a_store_works_on_under_random_faults(
    s3_server: S3Server, proxy: FaultProxy, bucket: str
) -> None:
    store = make_store(s3_server, proxy, bucket)
    proxy.random_faults(7, 0.3, [Status(503), Reset(1000), Truncate(1), Status(500)])
    for n in range(20):
        obstore.put(store, f"k{n}", b"%04d" % n)
        assert bytes(obstore.get(store, f"k{n}").bytes()) == b"%04d" % n
    assert any(seen.fault for seen in proxy.requests)
