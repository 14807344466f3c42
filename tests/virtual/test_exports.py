"""Exports read as the originals do, by S3 and HTTPS, are equal bytes, and change at once."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pystac
import pytest
import xarray as xr

from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.virtual_granules import BUCKET, DAILY, write_daily
from dor_ecco_assets.virtual.products import (
    exports_key,
    granules_key,
    references_key,
    store_key,
)
from tests.support.ranges import RangeServer
from tests.support.s3 import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.virtual.sample_collection import NAME, sample_collection

EXPORTS = exports_key(NAME)

# What fsspec reads Parquet references with.
pytestmark = pytest.mark.filterwarnings("ignore:The 'fastparquet' engine is deprecated")


def build(collection):
    """List, reference, store and export what has arrived."""
    collection.workspace().make(granules_key(NAME), "", Policy(force=True))
    workspace = collection.workspace()
    for partition in workspace.product(references_key(NAME)).partitioning.keys:
        workspace.make(references_key(NAME), partition)
    collection.workspace().make(store_key(NAME), "")
    return collection.workspace().make(EXPORTS, "").record


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("collection")
        with (
            sample_collection(folder, patch, days=20) as found,
            RangeServer(folder / "archive") as server,
        ):
            found.configure(
                access={
                    "local": f"{folder}/archive/",
                    "s3": f"s3://{BUCKET}/",
                    "https": f"{server.endpoint}/",
                },
                exports={"kerchunk_parquet": {"record_size": 7}},
            )
            # The records name the archive's own host.
            for granule in found.granules:
                for link in granule.item["umm"]["RelatedUrls"]:
                    link["URL"] = link["URL"].replace(
                        "https://archive.example.org/sample-archive-protected", server.endpoint
                    )
            found.arrive()
            yield found


@pytest.fixture(scope="module")
def record(collection):
    return build(collection)


def latest(collection):
    folder = collection.folder / "data" / EXPORTS
    told = json.loads((folder / "latest.json").read_text())
    return told, folder / told["release"]


def originals(collection):
    files = sorted((collection.folder / "archive" / DAILY.short_name).glob("*.nc"))
    found = [xr.open_dataset(path, decode_times=False, mask_and_scale=False) for path in files]
    yield from zip(files, found, strict=True)
    for dataset in found:
        dataset.close()


def opened(target, **storage_options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.open_dataset(
            str(target),
            engine="kerchunk",
            storage_options=storage_options,
            decode_times=False,
            mask_and_scale=False,
        )


def assert_equals_originals(dataset, collection):
    count = 0
    for number, (path, original) in enumerate(originals(collection)):
        for name in ("analysed_sst", "analysis_error"):
            found = dataset[name].isel(time=number).values
            np.testing.assert_array_equal(found, original[name].values[0], err_msg=path.name)
            assert dataset[name].attrs["scale_factor"] == original[name].attrs["scale_factor"]
        count += 1
    assert count == dataset.sizes["time"] == 20


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_every_value_by_https_is_the_originals(collection, record, form):
    told, folder = latest(collection)
    dataset = opened(folder / told["files"][f"kerchunk_{form}_https"], remote_protocol="http")
    assert_equals_originals(dataset, collection)


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_every_value_by_s3_is_the_originals(collection, record, form, s3_server):
    client = s3_server.client()
    s3_server.create_bucket(BUCKET)
    for path in (collection.folder / "archive").rglob("*.nc"):
        key = path.relative_to(collection.folder / "archive").as_posix()
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    told, folder = latest(collection)
    dataset = opened(
        folder / told["files"][f"kerchunk_{form}_s3"],
        remote_protocol="s3",
        remote_options={
            "key": ACCESS_KEY_ID,
            "secret": SECRET_ACCESS_KEY,
            "endpoint_url": s3_server.endpoint,
        },
    )
    assert_equals_originals(dataset, collection)


def test_physical_values_and_times_are_what_each_file_decodes_to(collection, record):
    told, folder = latest(collection)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.open_dataset(
            str(folder / told["files"]["kerchunk_json_https"]),
            engine="kerchunk",
            storage_options={"remote_protocol": "http"},
        )
    for number, (path, _) in enumerate(originals(collection)):
        with xr.open_dataset(path) as original:
            np.testing.assert_array_equal(
                dataset.analysed_sst[number].values, original.analysed_sst[0].values
            )
            assert dataset.time.values[number] == original.time.values[0]
            np.testing.assert_array_equal(dataset.lat.values, original.lat.values)


def test_the_two_ways_differ_in_one_line(collection, record):
    told, folder = latest(collection)
    lines = [
        (folder / told["files"][f"kerchunk_json_{way}"]).read_text().splitlines()
        for way in ("s3", "https")
    ]
    different = [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]]
    assert len(different) == 1
    assert "templates" in different[0][0]


def test_the_json_is_kerchunks(collection, record):
    told, folder = latest(collection)
    found = json.loads((folder / told["files"]["kerchunk_json_s3"]).read_text())
    assert found["version"] == 1
    sst = [k for k in found["refs"] if k.startswith("analysed_sst/") and "." not in k[13:14]]
    assert len(sst) == 20 * 4
    assert told["count"] == record.details["references"]


def test_exports_are_equal_bytes_when_they_are_made_again(collection, record):
    _, folder = latest(collection)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    again = collection.workspace().make(EXPORTS, "", Policy(force=True)).record
    assert again.sha256 == record.sha256
    _, folder = latest(collection)
    assert before == {
        p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert collection.workspace().make(EXPORTS, "", Policy(verify=True)).skipped


def test_the_catalogue_entry_is_stac(collection, record):
    _, folder = latest(collection)
    item = pystac.Item.from_file(str(folder / "stac.json"))
    assert item.id == NAME
    assert item.bbox == [-179.5, -89.5, 179.5, 89.5]
    assert item.properties["start_datetime"] == "2002-06-01T00:00:00.000Z"
    assert item.properties["dor_ecco:granules"] == 20
    for name, asset in item.assets.items():
        assert (folder / asset.href).resolve().exists(), name
    document = json.loads((folder / "stac.json").read_text())
    for needed in (
        "type",
        "stac_version",
        "id",
        "geometry",
        "bbox",
        "properties",
        "links",
        "assets",
    ):
        assert needed in document


def test_it_is_up_to_date_until_the_store_changes(collection, record):
    assert collection.workspace().make(EXPORTS, "").skipped
    assert collection.workspace().state(EXPORTS, "").standing == "up to date"


def test_a_new_release_takes_the_place_of_the_old_at_once(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=9) as collection:
        releases = []
        for count in (3, 3, 3):
            collection.arrive(count)
            build(collection)
            told, _ = latest(collection)
            assert told["granules"] == count + (releases[-1][1] if releases else 0)
            releases.append((told["release"], told["granules"]))
        there = {p.name for p in (tmp_path / "data" / EXPORTS).iterdir() if p.is_dir()}
        # The last one stays for those who just read it.
        assert there == {releases[-1][0], releases[-2][0]}


def test_a_hole_reads_as_missing(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=9) as collection:
        collection.granules[:] = [g for g in collection.granules if "20020604" not in g.path.name]
        with RangeServer(tmp_path / "archive") as server:
            collection.configure(
                access={
                    "local": f"{tmp_path}/archive/",
                    "https": f"{server.endpoint}/",
                    "s3": f"s3://{BUCKET}/",
                }
            )
            collection.arrive()
            build(collection)
            told, folder = latest(collection)
            dataset = opened(folder / told["files"]["kerchunk_json_https"], remote_protocol="http")
            assert dataset.sizes["time"] == 9
            assert (dataset.analysed_sst[3].values == -32768).all()
            assert (dataset.analysed_sst[4].values != -32768).any()


def test_copied_granules_stand_in_the_files(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=9) as collection:
        path = Path(collection.granules[4].path)
        write_daily(path, 4, deviation="no filters")
        for info in collection.granules[4].item["umm"]["DataGranule"][
            "ArchiveAndDistributionInformation"
        ]:
            info.pop("SizeInBytes", None)
        with RangeServer(tmp_path / "archive") as server:
            collection.configure(
                incompatible="materialise",
                access={
                    "local": f"{tmp_path}/archive/",
                    "https": f"{server.endpoint}/",
                    "s3": f"s3://{BUCKET}/",
                },
            )
            collection.arrive()
            record = build(collection)
            assert record.details["left_out"] == {}
            told, folder = latest(collection)
            refs = json.loads((folder / told["files"]["kerchunk_json_https"]).read_text())["refs"]
            assert str(refs["analysed_sst/4.0.0"]).startswith("base64:")
            for form in ("json", "parquet"):
                dataset = opened(
                    folder / told["files"][f"kerchunk_{form}_https"], remote_protocol="http"
                )
                with xr.open_dataset(path, decode_times=False, mask_and_scale=False) as original:
                    np.testing.assert_array_equal(
                        dataset.analysed_sst[4].values, original.analysed_sst[0].values
                    )


def test_too_many_references_for_json_leave_parquet_alone(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=3) as collection:
        collection.configure(exports={"kerchunk_json": {"max_refs": 5}})
        collection.arrive()
        files = build(collection).details["files"]
        assert set(files) == {"kerchunk_parquet_s3", "kerchunk_parquet_https", "stac"}
