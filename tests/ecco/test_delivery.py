"""Deliveries: what archives are told is what lies there, and the same whenever it is told."""

import csv
import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dor_ecco_assets.ecco.comparison import content_hash
from dor_ecco_assets.ecco.gathered import DELIVERY, DeliverySettings, gathered_products
from dor_ecco_assets.errors import ConfigurationError, InputMissing, OutputCorrupt, WorkFailed
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.lineage.record import recorded_partitions
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.settings import Place
from tests.ecco.production import (
    DAYS,
    SSH_LATLON,
    SSH_NATIVE,
    SSH_NATIVE_DAILY,
    STRESS_LATLON,
    granule_of,
    model_file,
    own_sample,
    production,
    record_of,
    root_of,
)

GEOMETRY = "ecco/ECCO_L4_GEOMETRY_05DEG_V4R4"


@pytest.fixture
def made(tmp_path, tmp_path_factory):
    """A production with two monthly granules of January, one of February and two daily ones."""
    own = own_sample(tmp_path_factory, tmp_path)
    space = own.workspace()
    for key, partition in (
        (SSH_NATIVE, "1992-01"),
        (SSH_LATLON, "1992-01"),
        (SSH_NATIVE, "1992-02"),
        *((SSH_NATIVE_DAILY, day) for day in DAYS),
    ):
        space.make(key, partition)
    return own


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_a_delivery_holds_every_granule_of_its_month_and_no_other(made):
    outcome = made.workspace().make(DELIVERY, "1992-01")
    folder = root_of(made) / "ecco/delivery/1992-01"
    rows = manifest(folder)
    assert outcome.record.details["granules"] == 4
    wanted = [(SSH_NATIVE, "1992-01"), (SSH_LATLON, "1992-01")]
    wanted += [(SSH_NATIVE_DAILY, day) for day in DAYS]
    files = {granule_of(made, *granule).name: granule for granule in wanted}
    assert {row["name"] for row in rows} == set(files)
    for row in rows:
        path = root_of(made) / row["uri"]
        data = path.read_bytes()
        assert path.name == row["name"]
        assert row["bytes"] == len(data)
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["md5"] == hashlib.md5(data).hexdigest()
        assert row["content_hash"] == content_hash(path)
        assert row["doi"].startswith("10.5067/EC")
        key, partition = files[row["name"]]
        assert row["time_coverage_start"].startswith(partition[:7])
        assert f"ecco/{row['dataset']}" == key
    with (folder / "manifest.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {name: str(value) for name, value in row.items()} for row in rows
        ]


def test_md5sum_accepts_every_checksum_file(made, tmp_path):
    made.workspace().make(DELIVERY, "1992-02")
    folder = root_of(made) / "ecco/delivery/1992-02"
    granule = granule_of(made, SSH_NATIVE, "1992-02")
    (side,) = (folder / "md5").iterdir()
    shutil.copyfile(granule, tmp_path / granule.name)
    subprocess.run(["md5sum", "--check", "--strict", side], cwd=tmp_path, check=True)


def test_a_notification_names_both_files_with_size_and_checksum(made):
    made.workspace().make(DELIVERY, "1992-02")
    folder = root_of(made) / "ecco/delivery/1992-02"
    (path,) = (folder / "notifications").iterdir()
    told = json.loads(path.read_text())
    granule = granule_of(made, SSH_NATIVE, "1992-02")
    assert told["collection"] == {"name": SSH_NATIVE.split("/")[1], "version": "V4r4"}
    assert told["submissionTime"] == "2021-02-26T00:00:00Z"
    assert told["product"]["name"] == granule.stem == path.stem
    data, side = told["product"]["files"]
    assert (data["type"], side["type"]) == ("data", "metadata")
    for file in (data, side):
        found = root_of(made) / file["uri"]
        assert found.name == file["name"]
        assert found.stat().st_size == file["size"]
        assert hashlib.md5(found.read_bytes()).hexdigest() == file["checksum"]
        assert file["checksumType"] == "md5"


def test_it_is_the_same_again_wherever_the_root_lies(made, tmp_path):
    made.workspace().make(DELIVERY, "1992-01")
    moved = tmp_path / "moved"
    shutil.copytree(root_of(made), moved / "root", ignore=shutil.ignore_patterns("delivery"))
    shutil.rmtree(moved / "root/.records/ecco/delivery", ignore_errors=True)
    other = production(moved / "root", tmp_path / "inputs")
    other.workspace().make(DELIVERY, "1992-01")
    assert record_of(other, DELIVERY, "1992-01").sha256 == (
        record_of(made, DELIVERY, "1992-01").sha256
    )


def test_configuration_says_where_the_archive_fetches_and_when_it_was_submitted(made, tmp_path):
    overlay = tmp_path / "overlay/ecco"
    overlay.mkdir(parents=True)
    (overlay / "delivery.yaml").write_text(
        "provider: ME\nnotification_version: 1.6.0\nuri_base: s3://bucket/data/\n"
    )
    own = production(
        root_of(made),
        tmp_path / "inputs",
        configs=overlay.parent,
        source_date="2024-05-06T07:08:09",
    )
    own.workspace().make(SSH_NATIVE, "1992-02")
    own.workspace().make(DELIVERY, "1992-02")
    (path,) = (root_of(own) / "ecco/delivery/1992-02/notifications").iterdir()
    told = json.loads(path.read_text())
    assert told["provider"] == "ME"
    assert told["submissionTime"] == "2024-05-06T07:08:09Z"
    uri = record_of(made, SSH_NATIVE, "1992-02").uri
    assert told["product"]["files"][0]["uri"] == f"s3://bucket/data/{uri}"


def test_a_granule_made_later_makes_its_month_stale_and_no_other(made):
    space = made.workspace()
    space.make(DELIVERY, "1992-01")
    space.make(DELIVERY, "1992-02")
    space.make(SSH_LATLON, "1992-02")
    fresh = space.refreshed()
    assert fresh.state(DELIVERY, "1992-01").standing == "up to date"
    state = fresh.state(DELIVERY, "1992-02")
    assert state.standing == "stale"
    assert state.reasons == (f"upstream {SSH_LATLON} 1992-02 is new",)


def test_a_month_without_granules_is_not_delivered(made):
    assert made.workspace().state(DELIVERY, "2000-01").standing == "waiting"
    with pytest.raises(InputMissing, match="none of the partitions"):
        made.workspace().make(DELIVERY, "2000-01")


def test_a_granule_that_is_not_what_its_record_says_stops_the_delivery(made):
    granule = granule_of(made, SSH_NATIVE, "1992-02")
    data = bytearray(granule.read_bytes())
    data[len(data) // 2] ^= 1
    granule.write_bytes(data)
    with pytest.raises(OutputCorrupt, match="--partition 1992-02 --verify") as caught:
        made.workspace().make(DELIVERY, "1992-02")
    assert caught.value.code == "ChecksumMismatch"
    assert list(recorded_partitions(made.workspace().storage, DELIVERY)) == []
    assert not (root_of(made) / "ecco/delivery/1992-02").exists()


def test_the_command_to_make_a_granule_without_partition_again_is_whole(made):
    made.workspace().make(GEOMETRY, "")
    granule = granule_of(made, GEOMETRY, "")
    data = bytearray(granule.read_bytes())
    data[len(data) // 2] ^= 1
    granule.write_bytes(data)
    with pytest.raises(OutputCorrupt, match="ecco granules ECCO_L4_GEOMETRY_05DEG_V4R4 --v"):
        made.workspace().make(DELIVERY, "1992-01")


@pytest.fixture
def incomplete(made, tmp_path):
    """A stress granule of February without two of its variables, beside a whole one of SSH."""
    for ending in ("data", "meta"):
        model_file(tmp_path / "inputs", "oceTAUY", "1992-02", ending).unlink()
    made.workspace().make(STRESS_LATLON, "1992-02", Policy(allow_partial=True))
    return made


def test_an_incomplete_granule_is_left_out_and_named(incomplete):
    outcome = incomplete.workspace().make(DELIVERY, "1992-02")
    folder = root_of(incomplete) / "ecco/delivery/1992-02"
    assert [row["dataset"] for row in manifest(folder)] == [SSH_NATIVE.split("/")[1]]
    assert len(list((folder / "notifications").iterdir())) == 1
    assert outcome.record.details["left_out_as_incomplete"] == [
        "ECCO_L4_STRESS_05DEG_MONTHLY_V4R4 1992-02 without oceTAUE, oceTAUN"
    ]


def test_an_incomplete_granule_is_delivered_when_told_and_says_what_it_lacks(incomplete):
    told = replace(incomplete, settings=RunSettings(deliver_partial=True))
    incomplete.workspace().make(DELIVERY, "1992-02")
    outcome = told.workspace().make(DELIVERY, "1992-02")
    assert not outcome.skipped
    assert "left_out_as_incomplete" not in outcome.record.details
    rows = manifest(root_of(told) / "ecco/delivery/1992-02")
    assert {row["dataset"].split("_")[2]: row["missing_variables"] for row in rows} == {
        "SSH": "",
        "STRESS": "oceTAUE, oceTAUN",
    }


def test_a_month_of_incomplete_granules_alone_is_not_delivered(incomplete):
    shutil.rmtree(root_of(incomplete) / ".records" / SSH_NATIVE)
    with pytest.raises(WorkFailed, match="--allow-partial") as caught:
        incomplete.workspace().make(DELIVERY, "1992-02")
    assert caught.value.code == "IncompleteGranules"
    assert not (root_of(incomplete) / "ecco/delivery/1992-02").exists()


def test_a_month_with_a_granule_that_is_out_of_date_is_not_delivered(made, tmp_path):
    made.workspace().make(DELIVERY, "1992-02")
    source = model_file(tmp_path / "inputs", "SSH", "1992-02")
    source.write_bytes(model_file(tmp_path / "inputs", "SSH", "1992-01").read_bytes())
    made.workspace().make(SSH_LATLON, "1992-02")
    with pytest.raises(WorkFailed, match="ecco granules ECCO_L4_SSH_LLC0090GRID_MO") as caught:
        made.workspace().make(DELIVERY, "1992-02")
    assert caught.value.code == "StaleGranules"
    assert "1 of its granules is out of date" in caught.value.message
    made.workspace().make(SSH_NATIVE, "1992-02")
    assert not made.workspace().make(DELIVERY, "1992-02").skipped


def test_granules_whose_inputs_were_taken_away_are_delivered(made, tmp_path):
    shutil.rmtree(tmp_path / "inputs")
    (tmp_path / "inputs").mkdir()
    assert made.workspace().make(DELIVERY, "1992-02").record.details["granules"] == 1


def test_uris_are_below_the_root_where_that_has_a_url():
    settings = DeliverySettings(provider="ME", notification_version="1.6.0")
    assert settings.at(None).uri_of("a/b.nc") == "a/b.nc"
    assert settings.at("s3://bucket/data").uri_of("a/b.nc") == "s3://bucket/data/a/b.nc"
    own = settings.model_copy(update={"uri_base": "https://here/"})
    assert own.at("s3://bucket/data").uri_of("a/b.nc") == "https://here/a/b.nc"


def test_only_an_object_store_has_a_url(made):
    assert made.workspace().settings.root_url is None
    bucket = replace(made, root=Place(root="s3://bucket/data"))
    space = bucket.workspace()
    assert space.settings.root_url == "s3://bucket/data"
    config = space.product(DELIVERY).config(space.settings)
    assert config["settings"]["uri_base"] == "s3://bucket/data"


def test_relative_uris_are_pointed_out(made, tmp_path):
    details = made.workspace().make(DELIVERY, "1992-02").record.details
    assert "set uri_base in ecco/delivery.yaml" in details["relative_uris"]
    overlay = tmp_path / "overlay/ecco"
    overlay.mkdir(parents=True)
    (overlay / "delivery.yaml").write_text(
        "provider: ME\nnotification_version: 1.6.0\nuri_base: s3://bucket/data/\n"
    )
    own = production(root_of(made), tmp_path / "inputs", configs=overlay.parent)
    assert "relative_uris" not in own.workspace().make(DELIVERY, "1992-02").record.details


def test_notifications_of_a_version_with_another_collection_are_refused(tmp_path):
    overlay = tmp_path / "ecco"
    overlay.mkdir()
    (overlay / "delivery.yaml").write_text("provider: ME\nnotification_version: 1.5.1\n")
    with pytest.raises(ConfigurationError, match="notification_version"):
        gathered_products(str(tmp_path))


def test_it_reads_a_granule_in_pieces(made, tmp_path):
    """A file of 40 MB is hashed in a few of them."""
    import tracemalloc

    from dor_ecco_assets.ecco.delivery import _digests

    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(40 << 20)
    with large.open("rb") as file:
        tracemalloc.start()
        md5, _ = _digests(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert md5 == hashlib.md5(bytes(40 << 20)).hexdigest()
    assert peak < 4 << 20
