"""Exports read as the originals do, by S3 and HTTPS, are equal bytes, and change at once."""

from __future__ import annotations

import base64
import io
import json
import os
import warnings
from html.parser import HTMLParser

import icechunk
import numpy as np
import pystac
import pytest
import xarray as xr
from PIL import Image

from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.virtual_granules import BUCKET, DAILY, HTTPS_ROOT, SWATHS, write_daily
from dor_ecco_assets.stores.preview import field_preview
from dor_ecco_assets.virtual.collections import collection_name
from dor_ecco_assets.virtual.products import (
    EXPORTS_VERSION,
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


def build(collection, name=NAME):
    """List, reference, store and export what has arrived."""
    collection.workspace().make(granules_key(name), "", Policy(force=True))
    workspace = collection.workspace()
    for partition in workspace.product(references_key(name)).partitioning.keys:
        workspace.make(references_key(name), partition)
    collection.workspace().make(store_key(name), "")
    return collection.workspace().make(exports_key(name), "").record


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


def granule_of(collection, day):
    """The sample granule that begins on a day, "20020604"."""
    return next(g for g in collection.granules if g.path.name.startswith(day))


def of_any_size(granule):
    """Let the record not say how large the file is, because a test writes it anew."""
    described = granule.item["umm"]["DataGranule"]["ArchiveAndDistributionInformation"]
    for each in described:
        each.pop("SizeInBytes", None)


def latest(collection, name=NAME):
    folder = collection.folder / "data" / exports_key(name)
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
        granule = granule_of(collection, "20020605")
        path = granule.path
        write_daily(path, 4, deviation="no filters")
        of_any_size(granule)
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
        assert set(files) == {"kerchunk_parquet_s3", "kerchunk_parquet_https", "run_record", "stac"}


# The run record


def run_record(collection):
    told, folder = latest(collection)
    return (folder / told["files"]["run_record"]).read_text()


class _Page(HTMLParser):
    """Cells of every table by its caption, and whatever a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self._caption, self._inside = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = tag
        self.fetched += [value for name, value in attrs if name in ("src", "href", "data")]
        if tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_data(self, data):
        if self._inside == "caption":
            self._caption += data
        elif self._inside in ("td", "th"):
            self.tables[self._caption][-1][-1] += data

    def handle_endtag(self, tag):
        self._inside = ""


def test_the_run_record_tells_inputs_versions_and_checks(collection, record):
    page = _Page(run_record(collection))
    inputs = dict(page.tables["Collection"])
    assert inputs["collection"] == DAILY.short_name
    assert inputs["concept id"] == DAILY.concept_id
    assert inputs["granules listed"] == "20"
    assert inputs["revisions"] == "1 to 2"
    newest = {g.item["meta"]["concept-id"]: g.item["meta"] for g in collection.granules}
    revised = sorted(meta["revision-date"] for meta in newest.values())
    assert inputs["revised"] == f"{revised[0]} to {revised[-1]}"
    assert dict(page.tables["Granules by state"])["published"] == "20"

    versions = dict(page.tables["What made it"])
    told, _ = latest(collection)
    assert versions["store snapshot"] == told["snapshot"]
    assert versions["export code"] == EXPORTS_VERSION
    assert versions["icechunk"] == icechunk.__version__
    assert "HDF5" in versions["parser"]

    coverage = page.tables["Coverage"][1]
    assert coverage[1:3] == [told["begin"], told["end"]]
    assert coverage[3:] == ["20", "0"]
    compared = page.tables["Compared with the originals"][1:]
    assert {row[1] for row in compared} == {"analysed_sst", "analysis_error"}
    assert {row[4] for row in compared} == {"equal"}
    assert sum(int(row[3]) for row in compared) == 3 * 2 * 12 * 24
    assert record.details["compared_values"] == 3 * 2 * 12 * 24
    assert record.details["compared_problems"] == 0


def test_the_run_record_draws_the_last_granule_and_the_months(collection, record):
    text = run_record(collection)
    page = _Page(text)
    assert page.tables["Granules per month"][1:] == [["2002-06", "20"]]
    assert page.tags.count("rect") == 1
    *_, (path, _) = originals(collection)
    assert f"analysed_sst of {path.name.removesuffix('.nc')}" in text
    (image,) = [each for each in page.fetched if each.startswith("data:image/png;base64,")]
    png = base64.b64decode(image.partition(",")[2])
    with xr.open_dataset(path) as original:
        # Latitudes rise, as the preview takes them.
        assert png == field_preview(original.analysed_sst.values[0].astype(np.float64))


def test_the_run_record_asks_for_nothing_and_runs_nothing(collection, record):
    page = _Page(run_record(collection))
    assert all(each.startswith("data:") for each in page.fetched)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    style = run_record(collection).partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_run_record_names_what_is_not_in_the_store(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=40) as collection:
        for day, deviation in ((3, "packing"), (9, "fewer rows")):
            granule = granule_of(collection, f"200206{day + 1:02d}")
            write_daily(granule.path, day, deviation=deviation)
            of_any_size(granule)
        umm = granule_of(collection, "20020604").item["umm"]
        umm["GranuleUR"] = "<script>alert('x')</script>&\"day\""
        collection.configure(most_quarantined=0.2)
        collection.arrive()
        build(collection)
        text = run_record(collection)
        assert "<script>" not in text
        page = _Page(text)
        assert "script" not in page.tags
        reasons = {row[1]: row[2] for row in page.tables["Not in the store"][1:]}
        assert sum(map(int, reasons.values())) == 2
        assert "PackingMismatch" in reasons
        named = page.tables["The first 2 of 2"][1:]
        assert umm["GranuleUR"] in {row[0] for row in named}
        assert page.tables["Granules per month"][1:] == [["2002-06", "28"], ["2002-07", "10"]]
        assert page.tables["Coverage"][1][3:] == ["38", "2"]


def test_a_granule_that_differs_from_its_file_is_told(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=2) as collection:
        collection.configure(checksum="none")
        collection.arrive()
        build(collection)
        for day in (0, 1):
            name = f"2002060{day + 1}-SAMPLE-L4-SST.nc"
            path = tmp_path / "archive" / DAILY.short_name / name
            write_daily(path, day, deviation="no filters")
        record = collection.workspace().make(EXPORTS, "", Policy(force=True)).record
        assert record.details["compared_problems"] > 0
        assert "are not as in their files" in run_record(collection)


def test_both_ways_are_compared_where_both_answer(tmp_path, monkeypatch, s3_server, s3_environment):
    monkeypatch.setenv("DOR_ECCO_ACCESS", "s3")
    s3_server.create_bucket(BUCKET)
    with sample_collection(tmp_path, monkeypatch, days=3) as collection:
        with RangeServer(tmp_path / "archive") as server:
            for granule in collection.granules:
                for link in granule.item["umm"]["RelatedUrls"]:
                    link["URL"] = link["URL"].replace(HTTPS_ROOT, server.endpoint)
            collection.configure(
                access={"s3": f"s3://{BUCKET}/", "https": f"{server.endpoint}/"},
                checksum="last_modified",
            )
            collection.arrive()
            for path in (tmp_path / "archive").rglob("*.nc"):
                key = path.relative_to(tmp_path / "archive").as_posix()
                s3_server.client().put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
                changed = s3_server.client().head_object(Bucket=BUCKET, Key=key)["LastModified"]
                os.utime(path, (changed.timestamp(), changed.timestamp()))
            record = build(collection)
            assert record.details["compared_problems"] == 0
            compared = _Page(run_record(collection)).tables["Compared with the originals"][1:]
            assert [row[2] for row in compared] == ["s3"] * 6 + ["https"] * 6
        collection.workspace().make(EXPORTS, "", Policy(force=True))
        text = run_record(collection)
        compared = _Page(text).tables["Compared with the originals"][1:]
        assert [row[2] for row in compared] == ["s3"] * 6
        assert "By HTTPS nothing could be read from here" in text


def test_large_granules_are_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("dor_ecco_assets.virtual.run_record._MOST_COMPARED", 1000)
    monkeypatch.setattr("dor_ecco_assets.virtual.run_record._MOST_CELLS", 100)
    monkeypatch.setattr("dor_ecco_assets.virtual.run_record._WINDOW", 10)
    with sample_collection(tmp_path, monkeypatch, days=2) as collection:
        collection.arrive()
        record = build(collection)
        text = run_record(collection)
        assert record.details["compared_values"] == 0
        assert f"dor-ecco virtual check {NAME}" in text
        assert "12 lat by 24 lon; the middle of it is shown" in text
        (image,) = [e for e in _Page(text).fetched if e.startswith("data:image/png;base64,")]
        picture = Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2])))
        assert picture.size == (10, 10)


def test_the_run_record_of_an_archive_that_cannot_be_read_says_so(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, days=3) as collection:
        collection.arrive()
        build(collection)
        for path in (tmp_path / "archive").rglob("*.nc"):
            path.unlink()
        record = collection.workspace().make(EXPORTS, "", Policy(force=True)).record
        assert record.details["compared_problems"] == 3
        text = run_record(collection)
        assert "No preview" in text
        assert "the original cannot be read" in text


def test_the_run_record_of_swaths(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch, swaths=True) as collection:
        name = collection_name(SWATHS.short_name)
        collection.configure(
            collection={"concept_id": SWATHS.concept_id, "short_name": SWATHS.short_name},
            level="L2",
            identity="cycle_pass",
            concat={"dim": "num_lines", "order": "cycle_pass"},
            swath={"ragged": ["num_lines"]},
            load=[],
        )
        collection.arrive()
        build(collection, name)
        told, folder = latest(collection, name)
        text = (folder / told["files"]["run_record"]).read_text()
        page = _Page(text)
        assert {row[4] for row in page.tables["Compared with the originals"][1:]} == {"equal"}
        assert "num_lines by 9 num_pixels" in text
        assert [e for e in page.fetched if e.startswith("data:image/png;base64,")]
