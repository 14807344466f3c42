"""The server of the page, and what `dor-ecco vis view` takes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dor_ecco_assets.errors import ConfigurationError, InputMissing, StorageUnavailable
from dor_ecco_assets.pyramids.serving import PAGE, PageServer, find_shown, page_path
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Directory, open_storage

BODY = bytes(range(256)) * 5000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("root")
    for name, data in {
        "pyramids/atlas/index.json": json.dumps(INDEX).encode(),
        "pyramids/atlas/v2.zarr/.zmetadata": b"{}",
        "pyramids/atlas/v2.zarr/0/PH/0.0": BODY,
        "pyramids/atlas/v3.zarr/zarr.json": b"{}",
        "pyramids/ssh/index.json": b"{}",
        "dor/efficiency_store.zarr/.zmetadata": b"{}",
        ".records/secret.json": b"{}",
        "pyramids/empty": b"",
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    return made


INDEX = {
    "stores": {
        "maps": {"v2": "v2.zarr", "v3": None},
        "efficiency": {"url": "../../dor/efficiency_store.zarr", "variable": "DOR_efficiency"},
        "uptake": None,
    },
    "polygons": "polygons.geojson",
}
CHUNK = "/data/pyramids/atlas/v2.zarr/0/PH/0.0"


@pytest.fixture(scope="module")
def server(root):
    with PageServer(Directory(root)) as running:
        yield running


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=1279990-", 1279990, 1280000),
        ("bytes=-16", 1279984, 1280000),
        ("bytes=100-99999999", 100, 1280000),
        ("bytes=-99999999", 0, 1280000),
    ],
)
def test_a_range_is_answered_with_that_part(server, asked, first, last):
    status, headers, body = ask(server, CHUNK, Range=asked)
    assert (status, body) == (206, BODY[first:last])
    assert headers["Content-Range"] == f"bytes {first}-{last - 1}/{len(BODY)}"
    assert headers["Content-Length"] == str(last - first)


@pytest.mark.parametrize("asked", ["bytes=1280000-", "bytes=-0"])
def test_a_range_outside_the_object_is_refused(server, asked):
    status, headers, body = ask(server, CHUNK, Range=asked)
    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=-", "lines=0-1", "bytes=9-3"])
def test_what_is_not_one_range_gets_the_whole(server, asked):
    status, _, body = ask(server, CHUNK, Range=asked)
    assert (status, body) == (200, BODY)


def test_head_announces_what_get_sends(server):
    status, headers, body = ask(server, CHUNK, "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(BODY)))
    assert headers["Accept-Ranges"] == "bytes"
    status, headers, body = ask(server, CHUNK, "HEAD", Range="bytes=0-9")
    assert (status, body, headers["Content-Length"]) == (206, b"", "10")


def test_a_missing_chunk_is_404_and_an_empty_object_is_not(server):
    assert ask(server, "/data/pyramids/atlas/v2.zarr/0/PH/9.9")[0] == 404
    assert ask(server, "/data/pyramids/atlas/v2.zarr/0")[0] == 404
    assert ask(server, "/data/pyramids/empty")[::2] == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/data/../secret",
        "/data/%2e%2e/secret",
        "/data/.records/secret.json",
        "/data//etc/passwd",
        "/data/..%5csecret",
        "/%00",
        "//etc/passwd",
    ],
)
def test_nothing_outside_the_root_and_no_records_are_served(server, root, path):
    (root.parent / "secret").write_text("no")
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/?index=data/x.json", "text/html; charset=utf-8"),
        ("/LICENSES.txt", "text/plain; charset=utf-8"),
        ("/data/pyramids/atlas/index.json", "application/json"),
        ("/data/pyramids/atlas/v2.zarr/.zmetadata", "application/json"),
        (CHUNK, "application/octet-stream"),
    ],
)
def test_every_object_has_its_type(server, path, kind):
    status, headers, _ = ask(server, path)
    assert (status, headers["Content-Type"]) == (200, kind)


def test_scripts_of_the_page_are_served_as_scripts(server):
    scripts = sorted((PAGE / "assets").glob("*.js"))
    assert any("worker" in script.name for script in scripts)
    for script in scripts:
        status, headers, body = ask(server, f"/assets/{script.name}")
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert body == script.read_bytes()


def test_other_origins_may_read(server):
    for method, path in (("GET", CHUNK), ("HEAD", CHUNK), ("GET", "/data/none")):
        assert ask(server, path, method)[1]["Access-Control-Allow-Origin"] == "*"
    status, headers, _ = ask(server, CHUNK, "OPTIONS", Origin="https://maps.example")
    assert (status, headers["Access-Control-Allow-Headers"]) == (204, "Range, If-None-Match")


def test_a_copy_that_still_holds_is_not_sent_again(server, root):
    _, headers, _ = ask(server, CHUNK)
    status, _, body = ask(server, CHUNK, If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")
    path = root / CHUNK.removeprefix("/data/")
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert ask(server, CHUNK, If_None_Match=headers["ETag"])[0] == 200


def test_many_are_served_at_once_on_loopback_alone(server):
    assert server.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(server.url + CHUNK) as slow:  # the server waits for its reader
        slow.read(1)
        found: list[int] = []
        asking = [
            threading.Thread(target=lambda: found.append(ask(server, CHUNK)[0])) for _ in range(8)
        ]
        for each in asking:
            each.start()
        for each in asking:
            each.join(20)
    assert found == [200] * 8


def test_a_reader_that_goes_away_leaves_the_server_standing(server):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.request("GET", CHUNK)
    connection.close()
    assert ask(server, CHUNK)[0] == 200


def test_a_taken_port_is_named(server, root):
    with pytest.raises(StorageUnavailable, match=rf"port {server.port} .* name another") as error:
        PageServer(Directory(root), server.port).__enter__()
    assert error.value.code == "PortTaken"


@pytest.mark.parametrize(
    ("store", "opened"),
    [
        (None, "data/pyramids/atlas/index.json"),
        ("pyramids/atlas", "data/pyramids/atlas/index.json"),
        ("ssh", "data/pyramids/ssh/index.json"),
        ("pyramids/atlas/v3.zarr", "data/pyramids/atlas/v3.zarr/"),
        ("https://maps.example/a/index.json", "https://maps.example/a/index.json"),
    ],
)
def test_a_store_is_found_by_name(root, store, opened):
    assert page_path(find_shown(Directory(root), store)) == f"/?index={opened}"


def test_an_index_elsewhere_is_served_with_all_it_refers_to(root, tmp_path):
    shown = find_shown(Directory(tmp_path), str(root / "pyramids/atlas"))
    assert shown.storage.uri == str(root)
    assert page_path(shown) == "/?index=data/pyramids/atlas/index.json"
    bare = find_shown(Directory(tmp_path), str(root / "pyramids/atlas/v2.zarr"))
    assert (bare.storage.uri, bare.key) == (str(root / "pyramids/atlas"), "v2.zarr/")


def test_what_is_not_there_is_named_with_what_is(root, tmp_path):
    with pytest.raises(ConfigurationError, match="there are pyramids/atlas, pyramids/ssh") as error:
        find_shown(Directory(root), "pyramids/none")
    assert error.value.code == "UnknownStore"
    with pytest.raises(InputMissing, match="dor-ecco vis populate store2") as missing:
        find_shown(Directory(tmp_path))
    assert missing.value.code == "NothingToShow"
    (tmp_path / "index.json").write_text('{"stores": []}')
    with pytest.raises(ConfigurationError, match="not the index of a pyramid"):
        find_shown(Directory(tmp_path / "other"), str(tmp_path / "index.json"))


def test_objects_of_a_bucket_are_served_alike(s3_environment, bucket):
    storage = open_storage(Place(root=f"s3://{bucket}/p"))
    storage.put("pyramids/atlas/index.json", b"{}")
    storage.put("pyramids/atlas/v3.zarr/0/c/0", BODY)
    with PageServer(storage) as running:
        path = "/data/pyramids/atlas/v3.zarr/0/c/0"
        assert ask(running, path, Range="bytes=-16")[::2] == (206, BODY[-16:])
        status, headers, body = ask(running, path, "HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(len(BODY)), b"")
        assert ask(running, "/data/pyramids/none")[0] == 404
        assert page_path(find_shown(storage)) == "/?index=data/pyramids/atlas/index.json"


def test_view_prints_its_address_serves_and_ends_with_ctrl_c(root, tmp_path):
    argv = [str(Path(sys.executable).parent / "dor-ecco"), "vis", "view", "--no-open"]
    argv += ["--project", str(tmp_path), "--root", str(root)]

    def heed_ctrl_c():
        # A shell starts background jobs deaf to it, and children inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    ) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert re.fullmatch(
                r"http://127\.0\.0\.1:\d+/\?index=data/pyramids/atlas/index\.json", url
            )
            with urllib.request.urlopen(url) as page:
                assert page.read() == (PAGE / "index.html").read_bytes()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
