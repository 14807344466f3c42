"""The listing follows CMR, names files by content, and references follow the listing."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dor_ecco_assets.errors import (
    InputMissing,
    OutputCorrupt,
    StorageRefused,
    StorageUnavailable,
)
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.tracing import trace
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.virtual_granules import DAILY, umm_item
from dor_ecco_assets.storage import Directory
from dor_ecco_assets.virtual.discovery import Changes, Cursor, look
from dor_ecco_assets.virtual.granule_records import Tombstone, parse_umm
from dor_ecco_assets.virtual.listing import (
    UNPLACED,
    Listing,
    ask_again,
    listed_granule,
    parse_row,
    partition_files,
    read_listing,
    rows_of,
    with_changes,
    write_partitions,
)
from dor_ecco_assets.virtual.making import retry, take_in
from dor_ecco_assets.virtual.products import granules_key, references_key
from dor_ecco_assets.virtual.services import cmr_client
from dor_ecco_assets.virtual.shards import read_shard
from dor_ecco_assets.virtual.standing import waiting_granules
from tests.virtual.sample_collection import NAME, sample_collection
from tests.virtual.specs import spec_of

START = datetime(2002, 6, 1, tzinfo=UTC)
GRANULES, REFERENCES = granules_key(NAME), references_key(NAME)


def item(number, *, revision_id=1, revised=None, day=None):
    begin = START + timedelta(days=number if day is None else day)
    return umm_item(
        DAILY,
        f"granule-{number:04d}.nc",
        number=number,
        begin=begin,
        end=begin,
        revision_date=revised or begin + timedelta(days=1, hours=revision_id),
        revision_id=revision_id,
        data=b"bytes",
    )


def record(number, **changes):
    return parse_umm(item(number, **changes))


# --- what is listed ------------------------------------------------------------------------------


def test_a_granule_is_listed_with_a_key_relative_to_its_place():
    partition, granule = listed_granule(spec_of(), record(3))
    assert partition == "2002-06"
    assert (granule.access, granule.key) == ("granules", f"{DAILY.short_name}/granule-0003.nc")
    assert granule.identity == "2002-06-04T00:00:00"
    assert granule.size_bytes == 5
    assert granule.checksum[0] == "MD5"


def test_the_place_that_holds_a_granule_is_found_among_several():
    access = [
        {"name": "elsewhere", "s3": "s3://another-bucket/"},
        {"name": "here", "https": "https://archive.example.org/sample-archive-protected/"},
    ]
    assert listed_granule(spec_of(access=access), record(3)).granule.access == "here"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("no file", "LinkMissing"),
        ("two files", "LinkAmbiguous"),
        ("other bucket", "LinkElsewhere"),
        ("no time", "NoIdentity"),
    ],
)
def test_a_record_that_cannot_be_used_is_listed_with_the_reason(change, code):
    found = item(3)
    links = found["umm"]["RelatedUrls"]
    if change == "no file":
        found["umm"]["RelatedUrls"] = []
    if change == "two files":
        links.append({"URL": "s3://b/second.nc", "Type": "GET DATA"})
    if change == "other bucket":
        found["umm"]["RelatedUrls"] = [{"URL": "s3://other/a.nc", "Type": "GET DATA"}]
    if change == "no time":
        del found["umm"]["TemporalExtent"]
    partition, granule = listed_granule(spec_of(), parse_umm(found))
    assert granule.code == code
    assert granule.problem
    assert partition == (UNPLACED if change == "no time" else "2002-06")


def test_rows_come_back_as_they_were():
    granules = [listed_granule(spec_of(), record(n)).granule for n in range(3)]
    granules[1] = replace(granules[1], deleted="2003-01-01T00:00:00.000Z", tries=2, cycle=0)
    assert [parse_row(line) for line in rows_of(granules).splitlines()] == granules


# --- changes -------------------------------------------------------------------------------------


def test_any_order_of_news_with_repeats_gives_the_same_listing():
    news = [record(n, revision_id=r) for n in range(12) for r in (1, 2, 5)]
    gone = [Tombstone(f"G{n}-SAMPLES", "", START + timedelta(days=400), "") for n in (2, 7)]
    wanted = Listing()
    with_changes(spec_of(), wanted, news, gone)
    for seed in range(5):
        rng, found = random.Random(seed), Listing()
        with_changes(spec_of(), found, [record(n) for n in (2, 7)])
        for _ in range(4):
            rng.shuffle(news)
            with_changes(spec_of(), found, news[: rng.randrange(36)], gone[: rng.randrange(3)])
        with_changes(spec_of(), found, news, gone)
        assert found == wanted
    assert {each.revision_id for each in wanted} == {5}


def test_only_partitions_that_changed_are_named():
    listing = Listing()
    with_changes(spec_of(), listing, [record(n) for n in range(100)])
    assert with_changes(spec_of(), listing, [record(n) for n in range(100)]) == set()
    assert with_changes(spec_of(), listing, [record(40, revision_id=2)]) == {"2002-07"}
    moved = record(40, revision_id=3, day=5)
    assert with_changes(spec_of(), listing, [moved]) == {"2002-06", "2002-07"}


def test_an_older_revision_or_deletion_changes_nothing():
    listing = Listing()
    with_changes(spec_of(), listing, [record(1, revision_id=4)])
    early = Tombstone("G1-SAMPLES", "", START, "")
    assert with_changes(spec_of(), listing, [record(1, revision_id=3)], [early]) == set()


def test_asking_again_changes_the_partition_and_news_do_not_undo_it():
    listing = Listing()
    with_changes(spec_of(), listing, [record(1), record(40)])
    assert ask_again(listing, {"G1-SAMPLES.1"}) == {"2002-06"}
    assert with_changes(spec_of(), listing, [record(1)]) == set()


def test_files_are_named_by_their_content(tmp_path):
    listing, storage = Listing(), Directory(tmp_path)
    with_changes(spec_of(), listing, [record(n) for n in range(40)])
    files = write_partitions(storage, "x", listing, listing.partitions)
    assert sorted(files) == ["2002-06", "2002-07"]
    assert files["2002-06"].granules == 30
    with_changes(spec_of(), listing, [record(39, revision_id=2)])
    again = write_partitions(storage, "x", listing, listing.partitions)
    assert again["2002-06"] == files["2002-06"]
    assert again["2002-07"].name != files["2002-07"].name


# --- as products ---------------------------------------------------------------------------------


@pytest.fixture
def collection(tmp_path, monkeypatch):
    with sample_collection(tmp_path, monkeypatch) as found:
        yield found


def test_references_are_split_by_what_is_listed(collection):
    assert list(collection.workspace().states(REFERENCES)) == []
    with pytest.raises(InputMissing) as caught:
        collection.workspace().make(REFERENCES, "2002-06")
    assert caught.value.code == "NotListed"
    collection.arrive()
    workspace = collection.workspace()
    outcome = workspace.make(GRANULES, "")
    assert outcome.record.details["granules"] == 40
    states = list(collection.workspace().states(REFERENCES))
    assert [(each.partition, each.standing) for each in states] == [
        ("2002-06", "absent"),
        ("2002-07", "absent"),
    ]
    made = workspace.make(REFERENCES, "2002-06")
    assert made.record.details["granules"] == 30
    assert made.record.details["parsed_granules"] == 30
    assert collection.workspace().make(REFERENCES, "2002-06").skipped
    traced = trace(collection.workspace(), REFERENCES, "2002-06")
    assert traced["standing"] == "up to date"
    assert traced["inputs"][0]["name"] == "granules"
    assert "2002-06." in traced["inputs"][0]["uri"]


def test_one_new_granule_makes_stale_its_partition_alone_and_is_the_only_one_read(collection):
    collection.arrive(30)
    workspace = collection.workspace()
    workspace.make(GRANULES, "")
    for partition in workspace.product(REFERENCES).partitioning.keys:
        workspace.make(REFERENCES, partition)
    cursor = look(spec_of(), Cursor(), cmr_client(), START + timedelta(days=80)).cursor
    collection.arrive(1)
    changes = look(spec_of(), cursor, cmr_client(), START + timedelta(days=80))
    assert 0 < len(changes.records) < 4
    spec = workspace_spec(collection)
    take_in(collection.workspace(), spec, GRANULES, changes)
    stale = [s for s in collection.workspace().states(REFERENCES) if s.standing != "up to date"]
    assert len(stale) == 1
    assert "granules" in str(stale[0].reasons) or stale[0].standing == "absent"
    made = collection.workspace().make(REFERENCES, stale[0].partition)
    assert made.record.details["parsed_granules"] in (1, 2)  # and the one described, if it is first


def workspace_spec(collection):
    from dor_ecco_assets.virtual.collections import load_collections

    return load_collections(collection.configs)[NAME]


def test_any_order_of_arrival_gives_the_same_shard(tmp_path, monkeypatch):
    digests = set()
    for order in range(3):
        with sample_collection(tmp_path / str(order), monkeypatch, days=12) as found:
            random.Random(order).shuffle(found.granules)
            while found.come < len(found.granules):
                found.arrive(5)
                found.workspace().make(GRANULES, "", Policy(force=True))
                found.workspace().make(REFERENCES, "2002-06")
            folder = tmp_path / str(order) / "data" / REFERENCES / "2002-06"
            shard = read_shard(lambda name, folder=folder: (folder / name).read_bytes())
            # Stamps of files on this disk differ.
            digests.add(str([(k, sorted(v.groups[""]), v.size) for k, v in shard.granules.items()]))
    assert len(digests) == 1


def test_a_deleted_shard_costs_only_parsing_again(collection):
    import shutil

    collection.arrive()
    collection.workspace().make(GRANULES, "")
    before = collection.workspace().make(REFERENCES, "2002-06").record
    shutil.rmtree(collection.folder / "data" / REFERENCES / "2002-06")
    after = collection.workspace().make(REFERENCES, "2002-06").record
    assert after.details["parsed_granules"] == 30
    assert after.sha256 == before.sha256


def test_an_unusable_granule_keeps_its_reason_and_is_tried_again_when_it_is_revised(collection):
    collection.arrive()
    bad = collection.folder / "archive" / DAILY.short_name / "20020603-SAMPLE-L4-SST.nc"
    good = bad.read_bytes()
    bad.write_bytes(b"<html>log in</html>")
    collection.workspace().make(GRANULES, "")
    made = collection.workspace().make(REFERENCES, "2002-06").record
    (failed,) = made.details["failed"]
    assert failed["code"] == "Unreadable"
    assert "20020603" in failed["uri"]
    assert made.details["quarantined_granules"] == 1
    assert made.details["granules"] == 29
    bad.write_bytes(good)
    # Nothing says that it changed: it is not read again.
    forced = collection.workspace().make(REFERENCES, "2002-06", Policy(force=True)).record
    assert forced.details["failed"] == [failed]
    (row,) = [i for i in collection.server.items if i["umm"]["GranuleUR"].startswith("20020603")]
    row["meta"]["revision-id"] = 9
    collection.workspace().make(GRANULES, "", Policy(force=True))
    again = collection.workspace().make(REFERENCES, "2002-06").record
    assert again.details["failed"] == []
    assert again.details["parsed_granules"] == 1


def test_a_granule_that_the_archive_has_not_yet_is_asked_for_again(collection):
    collection.arrive()
    late = collection.folder / "archive" / DAILY.short_name / "20020603-SAMPLE-L4-SST.nc"
    bytes_of_it = late.read_bytes()
    late.unlink()
    collection.workspace().make(GRANULES, "")
    made = collection.workspace().make(REFERENCES, "2002-06").record
    assert made.details["pending_granules"] == 1
    assert made.details["failed"][0]["code"] == "NotFound"
    late.write_bytes(bytes_of_it)
    again = collection.workspace().make(REFERENCES, "2002-06", Policy(force=True)).record
    assert again.details["pending_granules"] == 0
    assert again.details["parsed_granules"] == 1


def test_a_size_that_cmr_does_not_list_is_pending(collection):
    collection.arrive()
    path = collection.folder / "archive" / DAILY.short_name / "20020603-SAMPLE-L4-SST.nc"
    path.write_bytes(path.read_bytes() + b"more")
    collection.workspace().make(GRANULES, "")
    made = collection.workspace().make(REFERENCES, "2002-06").record
    assert [each["code"] for each in made.details["failed"]] == ["SizeMismatch"]


def test_what_cmr_deleted_leaves_the_shard_and_stays_listed(collection):
    collection.arrive()
    collection.workspace().make(GRANULES, "")
    collection.workspace().make(REFERENCES, "2002-06")
    collection.withdraw("G2000004-SAMPLES", "2002-12-01T00:00:00Z")
    outcome = collection.workspace().make(GRANULES, "", Policy(force=True))
    assert outcome.record.details["deleted_granules"] == 1
    made = collection.workspace().make(REFERENCES, "2002-06").record
    assert made.details["granules"] == 29
    assert made.details["parsed_granules"] == 0


def test_the_list_is_made_anew_when_the_question_changes(collection):
    collection.arrive()
    collection.workspace().make(GRANULES, "")
    collection.configure(temporal=["2002-06-11", None])
    assert collection.workspace().state(GRANULES, "").standing == "stale"
    record_ = collection.workspace().make(GRANULES, "").record
    assert (record_.details["granules"], record_.details["deleted_granules"]) == (30, 10)


def test_a_listing_whose_run_was_ended_forgets_nothing(collection):
    collection.arrive()
    workspace = collection.workspace()
    workspace.make(GRANULES, "")
    collection.withdraw("G2000004-SAMPLES", "2002-12-01T00:00:00Z")
    workspace.storage.delete(f".records/{GRANULES}/_.json")  # ended before the record was written
    listing = read_listing(workspace.storage, GRANULES)
    assert len(list(listing)) == 40
    assert collection.workspace().make(GRANULES, "").record.details["deleted_granules"] == 1


def test_a_listed_file_that_is_gone_is_an_error_that_says_so(collection):
    collection.arrive()
    workspace = collection.workspace()
    file = partition_files(workspace.make(GRANULES, "").record)["2002-06"]
    workspace.storage.delete(f"{GRANULES}/{file.name}")
    assert collection.workspace().state(GRANULES, "").standing == "stale"
    with pytest.raises(OutputCorrupt) as caught:
        read_listing(workspace.storage, GRANULES)
    assert caught.value.code == "ListingGone"


def test_no_change_leaves_every_file_as_it_is(collection):
    collection.arrive()
    before = collection.workspace().make(GRANULES, "").record
    changes = Changes((), (), whole=False, cursor=Cursor())
    after = take_in(collection.workspace(), workspace_spec(collection), GRANULES, changes).record
    assert (after.sha256, after.uri) == (before.sha256, before.uri)
    storage = collection.workspace().storage
    assert read_record(storage, GRANULES, "").details["partitions"] == before.details["partitions"]


def test_an_archive_that_refuses_fails_the_partition_and_quarantines_nothing(
    collection, monkeypatch
):
    from tests.support.ranges import RangeServer

    collection.arrive()
    with RangeServer(collection.folder / "archive", token="right") as server:
        collection.configure(
            access={"s3": "s3://sample-archive-protected/", "https": f"{server.endpoint}/"}
        )
        monkeypatch.setenv("DOR_ECCO_ACCESS", "https")
        monkeypatch.setenv("EARTHDATA_TOKEN", "wrong")
        collection.workspace().make(GRANULES, "")
        with pytest.raises(StorageRefused) as caught:
            collection.workspace().make(REFERENCES, "2002-06")
        assert caught.value.code == "AccessDenied"
        assert "wrong" not in str(caught.value)
        monkeypatch.setenv("EARTHDATA_TOKEN", "right")
        made = collection.workspace().make(REFERENCES, "2002-06").record
    assert made.details["granules"] == 30


def test_bytes_that_were_not_there_are_asked_for_again_on_request(collection):
    collection.arrive()
    late = collection.folder / "archive" / DAILY.short_name / "20020603-SAMPLE-L4-SST.nc"
    bytes_of_it = late.read_bytes()
    late.unlink()
    collection.workspace().make(GRANULES, "")
    collection.workspace().make(REFERENCES, "2002-06")
    late.write_bytes(bytes_of_it)
    assert collection.workspace().state(REFERENCES, "2002-06").standing == "up to date"
    waiting = waiting_granules(collection.workspace(), workspace_spec(collection))
    assert len(waiting) == 1
    retry(collection.workspace(), workspace_spec(collection), GRANULES, waiting)
    made = collection.workspace().make(REFERENCES, "2002-06").record
    assert (made.details["pending_granules"], made.details["parsed_granules"]) == (0, 1)


def test_a_catalogue_that_has_nothing_any_more_deletes_nothing(collection):
    collection.arrive()
    collection.workspace().make(GRANULES, "")
    collection.server.items.clear()
    with pytest.raises(StorageUnavailable) as caught:
        collection.workspace().make(GRANULES, "", Policy(force=True))
    assert caught.value.code == "CmrEmpty"
    assert collection.workspace().state(GRANULES, "").standing == "up to date"
