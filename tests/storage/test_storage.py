"""What both kinds of storage promise, tried on a directory and on a real S3 server."""

import hashlib
import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from dor_ecco_assets.errors import (
    ConfigurationError,
    PartitionBusy,
    StorageRefused,
    StorageUnavailable,
)
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Directory, Storage, open_storage
from dor_ecco_assets.storage.base import digest_of_path
from dor_ecco_assets.storage.bucket import Bucket, S3Options


@pytest.fixture(params=["directory", "s3"])
def storage(request, tmp_path) -> Storage:
    if request.param == "directory":
        return open_storage(Place(root=str(tmp_path / "root")))
    request.getfixturevalue("s3_environment")
    bucket = request.getfixturevalue("bucket")
    return open_storage(Place(root=f"s3://{bucket}/some/prefix"))


def published(storage: Storage, key: str, data: bytes) -> str:
    scratch = storage.scratch(key, "name@p")
    scratch.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    storage.publish(key, scratch, sha256)
    assert not scratch.exists()
    return sha256


def test_what_is_put_is_read_back_and_what_was_never_put_is_none(storage):
    storage.put("a/b.json", b"first")
    storage.put("a/b.json", b"second")
    assert storage.read("a/b.json") == b"second"
    assert storage.read("a/c.json") is None
    assert storage.stat("a/c.json") is None
    assert storage.stat("a/b.json").size == 6


def test_a_listing_names_every_object_below_a_folder_and_no_other(storage):
    for key in ("a/1", "a/deep/2", "ab/3"):
        storage.put(key, key.encode())
    assert [key for key, _ in storage.list("a")] == ["a/1", "a/deep/2"]
    assert [key for key, _ in storage.list("none")] == []
    assert len(list(storage.list(""))) == 3


def test_a_key_does_not_lead_out_of_the_root(tmp_path):
    (tmp_path / "outside").write_bytes(b"kept")
    storage, key = Directory(tmp_path / "root"), str(tmp_path / "outside")
    calls = [
        lambda: storage.locate(key),
        lambda: storage.read(key),
        lambda: storage.stat(key),
        lambda: list(storage.list(key)),
        lambda: storage.put(key, b"lost"),
        lambda: storage.put_new(key, b"lost"),
        lambda: storage.publish(key, tmp_path / "outside", ""),
        lambda: storage.delete(key),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="begins with a slash"):
            call()
    assert (tmp_path / "outside").read_bytes() == b"kept"


def test_only_the_first_of_two_creations_counts(storage):
    assert storage.put_new("claim", b"mine")
    assert not storage.put_new("claim", b"yours")
    assert storage.read("claim") == b"mine"


def test_the_stamp_changes_with_the_bytes(storage):
    storage.put("x", b"aaaa")
    before = storage.stat("x")
    storage.put("x", b"bbbb")
    assert storage.stat("x") != before


def test_a_published_file_has_the_digest_it_was_given(storage):
    data = os.urandom(7_000_000)  # beyond one part of a multipart upload
    sha256 = published(storage, "line/name/file.nc", data)
    assert storage.digest("line/name/file.nc") == (len(data), sha256)
    with storage.reader("line/name/file.nc") as file:
        file.seek(6_999_990)
        assert file.read() == data[-10:]


def test_an_object_is_fetched_into_a_file(storage, tmp_path):
    data = os.urandom(3_000_000)
    storage.put("folder/x", data)
    assert storage.fetch("folder/x", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == data
    assert not storage.fetch("folder/absent", tmp_path / "z")
    assert not (tmp_path / "z").exists()
    with pytest.raises(StorageRefused):
        storage.fetch("folder/x", tmp_path / "no/such/folder")


def test_the_s3_object_carries_its_sha256(s3_server, s3_environment, bucket):
    storage = open_storage(Place(root=f"s3://{bucket}/p"))
    sha256 = published(storage, "f.nc", b"granule")
    stored = s3_server.objects(f"s3://{bucket}/p")
    assert list(stored) == ["f.nc"]
    assert stored["f.nc"].metadata == {"sha256": sha256}


def test_a_published_folder_replaces_the_one_before_it(storage, tmp_path):
    for members in (
        {"zarr.json": b"1", "c/0/0": b"2", "gone": b"3"},
        {"zarr.json": b"4", "c/0/0": b"2"},
    ):
        scratch = storage.scratch("grids/g.zarr", "g@_")
        for name, data in members.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(data)
        size, sha256 = digest_of_path(scratch)
        storage.publish("grids/g.zarr", scratch, sha256)
    assert {key: storage.read(key) for key, _ in storage.list("grids")} == {
        "grids/g.zarr/zarr.json": b"4",
        "grids/g.zarr/c/0/0": b"2",
    }
    assert storage.digest("grids/g.zarr") == (size, sha256)
    storage.delete("grids/g.zarr")
    assert list(storage.list("grids")) == []


def test_a_second_writer_is_told_who_holds_the_partition(storage):
    with storage.claim("ecco/x@1992-01"):
        with pytest.raises(PartitionBusy, match=str(os.getpid())):
            with storage.claim("ecco/x@1992-01"):
                pass
        with storage.claim("ecco/x@1992-02"):
            pass
    with storage.claim("ecco/x@1992-01"):
        pass
    assert [key for key, _ in storage.list("")] == []


def hold_and_die(place: dict, held, name: str) -> None:
    claim = open_storage(Place(**place)).claim(name)
    claim.__enter__()
    held.set()
    os.kill(os.getpid(), 9)


def test_the_claim_of_a_killed_writer_is_free_at_once(storage):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    child = context.Process(target=hold_and_die, args=({"root": storage.uri}, held, "ecco/x@1"))
    child.start()
    assert held.wait(60)
    child.join(60)
    with storage.claim("ecco/x@1"):
        pass


def test_a_sweep_takes_what_dead_writers_left_and_leaves_what_is_being_written(storage):
    dead = storage.scratch("ecco/x/a.nc", "x@1992-01")
    dead.write_bytes(b"half")
    alive = storage.scratch("ecco/x/b.nc", "x@1992-02")
    alive.write_bytes(b"half")
    with storage.claim("ecco/x@1992-02"):
        assert list(storage.sweep("ecco/x", claims="ecco")) == [str(dead)]
        assert alive.exists()
    alive.unlink()


def test_an_unknown_scheme_is_a_usage_error():
    with pytest.raises(ConfigurationError, match="local directory or s3://"):
        open_storage(Place(root="gs://bucket/x"))


# Directory


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_said_with_the_place_and_the_mend(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageRefused, match="give this user write permission") as caught:
        Directory(tmp_path / "closed").put("a/b", b"x")
    assert caught.value.code == "PermissionDenied"


def refused_put(folder: str, answer) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        Directory(Path(folder)).put("a/b", b"x")
    except StorageRefused as error:
        answer.put((error.code, error.message))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_without_permission_is_told_so(tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed")
    for parent in [folder, *folder.parents]:
        if (
            parent.stat().st_uid == 0
            and parent.stat().st_mode & stat.S_IXOTH == 0
            and parent != folder
        ):
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    folder.chmod(0o555)
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=refused_put, args=(str(folder), answer))
    child.start()
    code, message = answer.get(timeout=60)
    child.join(60)
    assert code == "PermissionDenied"
    assert "give this user write permission or choose another root" in message
    assert list(folder.iterdir()) == []


def test_a_file_is_not_published_when_its_bytes_are_not_those_that_were_hashed(tmp_path):
    storage = Directory(tmp_path)
    scratch = storage.scratch("a/f.nc", "a@1")
    scratch.write_bytes(b"other bytes")
    with pytest.raises(StorageRefused, match="changed between closing and reading"):
        storage.publish("a/f.nc", scratch, "0" * 64)
    assert not (tmp_path / "a/f.nc").exists()
    assert not scratch.exists()


# S3 with faults


@pytest.fixture
def behind_proxy(s3_server, bucket, monkeypatch):
    from tests.support.fault_proxy import FaultProxy

    monkeypatch.setattr("dor_ecco_assets.storage.bucket.LONGEST_WAIT_S", 0.2)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    with FaultProxy(s3_server.host, s3_server.port) as proxy:
        yield proxy, Bucket(bucket, "p", S3Options(endpoint=proxy.endpoint))


def test_a_burst_of_503_is_outlasted_and_shows_in_the_log(behind_proxy, caplog):
    from tests.support.fault_proxy import Status

    proxy, storage = behind_proxy
    proxy.script([Status(503, times=4)])
    storage.put("a", b"bytes")
    assert storage.read("a") == b"bytes"
    assert "attempt 1 of 8 failed, retrying" in caplog.text


def test_a_server_that_stays_busy_is_named_and_nothing_is_published(behind_proxy, s3_server):
    from tests.support.fault_proxy import Status, on

    proxy, storage = behind_proxy
    proxy.script([Status(503, times=100, match=on("PUT", "POST"))])
    scratch = storage.scratch("x/f.nc", "x@1")
    scratch.write_bytes(b"granule")
    with pytest.raises(StorageUnavailable, match="in 8 attempts.*nothing was published"):
        storage.publish("x/f.nc", scratch, hashlib.sha256(b"granule").hexdigest())
    assert s3_server.objects(f"s3://{storage.bucket}/p") == {}
    assert not scratch.exists()


def test_a_connection_cut_in_mid_upload_leaves_nothing_until_the_retry_succeeds(
    behind_proxy, s3_server
):
    from tests.support.fault_proxy import Reset, on

    proxy, storage = behind_proxy
    data = os.urandom(12_000_000)
    proxy.script([Reset(after_bytes=3_000_000, times=2, match=on("PUT"))])
    sha256 = published(storage, "x/f.nc", data)
    stored = s3_server.objects(f"s3://{storage.bucket}/p")
    assert stored["x/f.nc"].sha256 == sha256
    assert set(stored) == {"x/f.nc"}


def test_a_body_cut_short_on_the_way_back_is_read_again(behind_proxy):
    from tests.support.fault_proxy import Truncate, on

    proxy, storage = behind_proxy
    storage.put("a", b"x" * 100_000)
    proxy.script([Truncate(after_bytes=1000, times=2, match=on("GET"))])
    assert storage.read("a") == b"x" * 100_000


def test_wrong_credentials_are_named_without_their_values(behind_proxy):
    from tests.support.fault_proxy import Status

    proxy, storage = behind_proxy
    proxy.script([Status(403, times=10)])
    with pytest.raises(StorageRefused) as caught:
        storage.put("a", b"x")
    assert caught.value.code == "StorageAuth"
    assert "AWS_ACCESS_KEY_ID" in caught.value.message
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in caught.value.message


def test_an_unknown_aws_profile_is_named_with_the_mend(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(StorageRefused, match="nope.*correct AWS_PROFILE") as caught:
        open_storage(Place(root="s3://bucket/p"))
    assert caught.value.code == "StorageAuth"


def test_random_faults_never_change_what_is_stored(behind_proxy, s3_server):
    from tests.support.fault_proxy import Reset, Slow, Status

    proxy, storage = behind_proxy
    proxy.random_faults(
        7, 0.15, [Status(503), Reset(after_bytes=200), Slow(bytes_per_second=200_000)]
    )
    wanted = {f"k/{n}": json.dumps(n).encode() * 50 for n in range(12)}
    for key, data in wanted.items():
        storage.put(key, data)
    proxy.behave()
    assert s3_server.contents(f"s3://{storage.bucket}/p") == wanted
