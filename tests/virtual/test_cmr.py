"""The CMR client loses nothing and repeats nothing, whatever CMR does between two pages."""

from __future__ import annotations

import copy
import logging
import random
from datetime import UTC, datetime, timedelta

import pytest

from dor_ecco_assets.errors import (
    ConfigurationError,
    InputUnusable,
    StorageRefused,
    StorageUnavailable,
)
from dor_ecco_assets.samples.virtual_granules import DAILY, SWATHS, umm_item, write_archive
from dor_ecco_assets.virtual.asking import Asking
from dor_ecco_assets.virtual.cmr import CmrClient, CmrQuery, parse_date
from dor_ecco_assets.virtual.granule_records import parse_umm
from tests.support.cmr import LOGIN_PAGE, CmrServer, Fault, recorded_items, recorded_pages
from tests.support.data import real_data

EPOCH = datetime(2002, 6, 1, tzinfo=UTC)
DAILY_QUERY = CmrQuery(concept_id=DAILY.concept_id)


def record(number, *, day=None, revised=None, revision_id=1, collection=DAILY):
    begin = EPOCH + timedelta(days=number if day is None else day)
    return umm_item(
        collection,
        f"granule-{number:04d}.nc",
        number=number,
        begin=begin,
        end=begin + timedelta(hours=23),
        revision_date=revised or EPOCH + timedelta(days=number + 1),
        revision_id=revision_id,
    )


class Waits:
    """Keeps what a client would have slept."""

    def __init__(self):
        self.seconds = []

    def __call__(self, seconds):
        self.seconds.append(seconds)


def client(server, page_size=7, waits=None, token=None):
    return CmrClient(server.endpoint, token, page_size, Asking("CMR", waits or Waits()))


def ids(records):
    return sorted(found.concept_id for found in records)


def wanted(items):
    return sorted(item["meta"]["concept-id"] for item in items)


# --- queries -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1-1-2022", "01-01-2022", "1/1/2022", "2022-01-01"])
def test_a_day_may_be_written_in_several_ways(text):
    assert parse_date(text) == datetime(2022, 1, 1, tzinfo=UTC)


def test_month_comes_before_day():
    assert parse_date("2-1-2022") == datetime(2022, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["13-1-2022", "2022-02-30", "", "yesterday"])
def test_what_is_no_date_is_refused_with_the_ways_to_write_one(text):
    with pytest.raises(ConfigurationError, match="month-day-year") as caught:
        parse_date(text)
    assert caught.value.code == "BadDate"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"version": "1"},
        {"concept_id": "G1-X"},
        {"short_name": "A", "start": EPOCH, "end": EPOCH},
        {"short_name": "A", "bounding_box": (0.0, 10.0, 5.0, -10.0)},
        {"short_name": "A", "bounding_box": (-190.0, 0.0, 5.0, 1.0)},
    ],
)
def test_an_impossible_query_is_refused_before_it_is_sent(given):
    with pytest.raises(ConfigurationError) as caught:
        CmrQuery(**given)
    assert caught.value.code == "CmrQuery"


def test_a_concept_id_wins_over_names():
    asked = CmrQuery(concept_id="C1-X", short_name="A", version="1").parameters()
    assert asked == [("collection_concept_id", "C1-X")]


def test_the_lower_bound_of_revisions_is_rounded_down_to_the_second():
    since = datetime(2022, 1, 1, 0, 0, 5, 999_000, tzinfo=UTC)
    asked = dict(CmrQuery(concept_id="C1-X", revised_since=since).parameters())
    assert asked["revision_date[]"] == "2022-01-01T00:00:05Z,"


# --- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 7, 50, 51, 2000])
def test_every_granule_comes_once_whatever_the_page_size(page_size):
    items = [record(number) for number in range(50)]
    with CmrServer(items) as server:
        found = client(server, page_size).search(DAILY_QUERY)
    assert ids(found) == wanted(items)
    assert found == sorted(found, key=lambda r: (r.revision_date, r.concept_id))


def test_many_revisions_of_one_millisecond_pass_page_boundaries():
    items = [record(number, revised=EPOCH) for number in range(62)]
    with CmrServer(items) as server:
        assert ids(client(server, 10).search(DAILY_QUERY)) == wanted(items)


def test_every_page_asks_the_same_question():
    with CmrServer([record(number) for number in range(20)]) as server:
        client(server, 6).search(CmrQuery(concept_id=DAILY.concept_id, start=EPOCH))
        questions = [page.query for page in server.pages]
    assert len(questions) == 5
    assert all(question == questions[0] for question in questions)


def test_a_short_page_is_no_end():
    items = [record(number) for number in range(30)]
    with CmrServer(items, faults=[Fault(items=3), None, Fault(items=1)]) as server:
        assert ids(client(server).search(DAILY_QUERY)) == wanted(items)


def test_hit_counts_that_change_do_not_end_a_search_early():
    items = [record(number) for number in range(20)]
    faults = [Fault(hits=652), Fault(hits=3), Fault(hits=0)]
    with CmrServer(items, faults=faults) as server:
        assert ids(client(server).search(DAILY_QUERY)) == wanted(items)


def test_a_granule_revised_between_pages_comes_once_and_new():
    items = [record(number) for number in range(20)]
    with CmrServer(items) as server:

        def revise(asked):
            if asked == 1:
                items[2] = record(2, revised=EPOCH + timedelta(days=99), revision_id=2)

        server.between = revise
        found = client(server).search(DAILY_QUERY)
    assert ids(found) == wanted(items)
    assert [r.revision_id for r in found if r.concept_id == "G2-SAMPLES"] == [2]


def test_a_granule_indexed_behind_the_page_that_was_read_is_found_by_a_second_scan():
    items = [record(number) for number in range(20)]
    with CmrServer(items) as server:

        def index(asked):
            if asked == 2:
                items.append(record(900, revised=EPOCH))

        server.between = index
        found = client(server).search(DAILY_QUERY)
        assert len(server.pages) == 8
    assert ids(found) == wanted(items)


def test_a_granule_deleted_between_pages_ends_in_no_error():
    items = [record(number) for number in range(20)]
    with CmrServer(items) as server:

        def delete(asked):
            if asked == 1:
                del items[15]

        server.between = delete
        assert ids(client(server).search(DAILY_QUERY)) == wanted(items)


def test_a_count_that_is_never_reached_is_an_error_and_gives_nothing():
    items = [record(number) for number in range(5)]
    with CmrServer(items, faults=[Fault(hits=9)] * 8) as server:
        with pytest.raises(StorageUnavailable, match="counts 9 granules and gave 5") as caught:
            client(server).search(DAILY_QUERY)
    assert caught.value.code == "CmrPageDrift"


def test_random_changes_while_paging_leave_what_there_is_at_the_end():
    for seed in range(8):
        rng = random.Random(seed)
        items = [record(number) for number in range(40)]
        with CmrServer(items) as server:

            def change(_, rng=rng, items=items, seed=seed):
                place = rng.randrange(len(items))
                if rng.random() < 0.7 and len(server.pages) < 3:  # never after the last
                    old = items[place]["meta"]
                    number = int(old["concept-id"][1:].partition("-")[0])
                    items[place] = record(
                        number,
                        revised=EPOCH + timedelta(days=500 + len(server.pages)),
                        revision_id=old["revision-id"] + 1,
                    )

            server.between = change
            found = client(server, rng.randint(3, 15)).search(DAILY_QUERY)
        newest = {i["meta"]["concept-id"]: i["meta"]["revision-id"] for i in items}
        assert {r.concept_id: r.revision_id for r in found} == newest, seed


def test_a_period_is_half_open_though_cmr_matches_what_overlaps():
    items = [record(number) for number in range(10)]
    query = CmrQuery(
        concept_id=DAILY.concept_id, start=EPOCH + timedelta(days=2), end=EPOCH + timedelta(days=5)
    )
    reaching_in = record(50, day=1)
    reaching_in["umm"]["TemporalExtent"]["RangeDateTime"]["EndingDateTime"] = (
        "2002-06-03T10:00:00.000Z"
    )
    with CmrServer([*items, reaching_in]) as server:
        found = client(server).search(query)
    assert ids(found) == wanted(items[2:5])


def test_a_box_and_a_collection_narrow_the_search():
    far = record(3)
    geometry = far["umm"]["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]
    geometry["BoundingRectangles"][0] |= {"WestBoundingCoordinate": 100}
    items = [record(1), far, record(2, collection=SWATHS)]
    with CmrServer(items) as server:
        query = CmrQuery(short_name=DAILY.short_name, bounding_box=(-20.0, -10.0, 20.0, 10.0))
        assert ids(client(server).search(query)) == ["G1-SAMPLES"]
        assert client(server).count(CmrQuery(provider="SAMPLES")) == 3


def test_deletions_are_read_in_every_way_their_time_is_written():
    stamps = ["2003-01-01T00:00:00+0000", "2003-01-02T00:00:00.123Z", "2003-01-03T00:00:00Z"]
    rows = [
        {
            "granule-ur": f"granule-{n}",
            "concept-id": f"G{n}-SAMPLES",
            "revision-date": stamp,
            "parent-collection-id": DAILY.concept_id,
        }
        for n, stamp in enumerate(stamps)
    ]
    with CmrServer(deleted=rows) as server:
        found = client(server).deleted(DAILY.concept_id, datetime(2003, 1, 1, tzinfo=UTC))
    assert [row.concept_id for row in found] == ["G0-SAMPLES", "G1-SAMPLES", "G2-SAMPLES"]
    assert all(row.deleted.tzinfo is UTC for row in found)


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(502),
        Fault(503),
        Fault(504),
        Fault(429),
        Fault(headers={"CMR-Time-Out": "true"}),
        Fault(headers={"CMR-Timed-Out": "true"}),
        Fault(body=LOGIN_PAGE, headers={"Content-Type": "application/json"}),
        Fault(close=True),
    ],
    ids=["500", "502", "503", "504", "429", "timed out", "other spelling", "not JSON", "cut"],
)
def test_what_passes_is_asked_again(fault):
    items = [record(number) for number in range(20)]
    with CmrServer(items, faults=[None, fault, fault]) as server:
        assert ids(client(server).search(DAILY_QUERY)) == wanted(items)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(503), "CmrUnavailable"),
        (Fault(429), "CmrThrottled"),
        (Fault(headers={"CMR-Time-Out": "true"}), "CmrPartial"),
        (Fault(close=True), "CmrUnavailable"),
    ],
)
def test_what_does_not_pass_is_an_error_with_its_cause(fault, code):
    with CmrServer([record(1)], faults=[fault] * 6) as server:
        with pytest.raises(StorageUnavailable) as caught:
            client(server).search(DAILY_QUERY)
        assert len(server.asked) == 6
    assert caught.value.code == code


def test_a_server_that_is_not_there_is_unavailable():
    with CmrServer() as server:
        gone = client(server)
    with pytest.raises(StorageUnavailable) as caught:
        gone.search(DAILY_QUERY)
    assert caught.value.code == "CmrUnavailable"


@pytest.mark.parametrize("asked", ["17", "Wed, 01 Jan 2200 00:00:00 GMT"])
def test_the_server_says_how_long_to_wait_within_reason(asked):
    waits = Waits()
    with CmrServer([record(1)], faults=[Fault(429, {"Retry-After": asked})]) as server:
        client(server, waits=waits).search(DAILY_QUERY)
    assert waits.seconds == [17.0 if asked == "17" else 60.0]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault(400), ConfigurationError, "CmrQuery"),
        (Fault(404), ConfigurationError, "CmrQuery"),
        (Fault(401), StorageRefused, "EdlAuth"),
        (Fault(403), StorageRefused, "EdlAuth"),
        (Fault(403, body=b"You have not accepted the EULA"), StorageRefused, "EdlEulaMissing"),
    ],
)
def test_a_refusal_is_not_asked_again(fault, kind, code):
    with CmrServer([record(1)], faults=[fault]) as server:
        with pytest.raises(kind) as caught:
            client(server).search(DAILY_QUERY)
        assert len(server.asked) == 1
    assert caught.value.code == code


def test_a_token_is_sent_and_never_logged(caplog):
    caplog.set_level(logging.DEBUG)
    with CmrServer([record(1)], faults=[Fault(503), Fault(429)]) as server:
        client(server, token=lambda: "very-secret").search(DAILY_QUERY)
        assert server.asked[-1].headers["authorization"] == "Bearer very-secret"
        server.faults = [Fault(401)]
        with pytest.raises(StorageRefused) as caught:
            client(server, token=lambda: "very-secret").search(DAILY_QUERY)
    assert "very-secret" not in caplog.text + str(caught.value)


def test_a_netrc_of_the_user_is_not_sent_by_itself(tmp_path, monkeypatch):
    path = tmp_path / ".netrc"
    path.write_text("machine 127.0.0.1 login somebody password something\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    with CmrServer([record(1)]) as server:
        client(server).search(DAILY_QUERY)
        assert all("authorization" not in asked.headers for asked in server.asked)


# --- records -------------------------------------------------------------------------------------


def test_the_sample_archive_is_listed_as_it_lies(tmp_path):
    granules = write_archive(tmp_path, days=30, repacked=3, cycles=2, passes=3)
    newest = {g.item["meta"]["concept-id"]: g for g in granules}
    with CmrServer([dict(g.item) for g in newest.values()]) as server:
        found = client(server, 11).search(CmrQuery(provider="SAMPLES"))
    assert len(found) == len(newest) == 39
    for granule in found:
        path = newest[granule.concept_id].path
        file = granule.data_file("*.nc")
        assert file.size_bytes == path.stat().st_size
        assert file.https_url.endswith(f"{path.parent.name}/{file.name}")
        assert file.s3_url.startswith("s3://")
        assert granule.s3_credentials_url.endswith("/s3credentials")
    assert {(g.cycle, g.pass_number) for g in found if g.cycle} == {
        (cycle, number) for cycle in (1, 2) for number in (1, 2, 3)
    }


def test_one_data_file_must_fit_the_pattern():
    granule = parse_umm(record(1))
    assert granule.data_file("*.nc").name == "granule-0001.nc"
    with pytest.raises(InputUnusable, match="lists 0 files") as missing:
        granule.data_file("*.h5")
    assert missing.value.code == "LinkMissing"
    item = record(1)
    item["umm"]["RelatedUrls"].append({"URL": "s3://b/second.nc", "Type": "GET DATA"})
    with pytest.raises(InputUnusable, match="second.nc") as several:
        parse_umm(item).data_file("*.nc")
    assert several.value.code == "LinkAmbiguous"


@pytest.mark.parametrize("part", ["concept-id", "revision-id", "revision-date"])
def test_a_record_without_identity_stops_the_search(part):
    item = copy.deepcopy(record(1))
    del item["meta"][part]
    with pytest.raises(InputUnusable) as caught:
        parse_umm(item)
    assert caught.value.code == "BadRecord"


def test_a_record_without_time_is_still_a_record():
    item = record(1)
    del item["umm"]["TemporalExtent"]
    granule = parse_umm(item)
    assert granule.begin is None
    assert CmrQuery(provider="X", start=EPOCH).includes(granule)


# --- recorded ------------------------------------------------------------------------------------


def test_recorded_pages_are_followed_to_their_end():
    folder = real_data(
        "cmr", "responses", "python_cmr.TestMultipleQueries.test_results_unparsed_format"
    )
    items = recorded_items(folder)
    with CmrServer(chain=recorded_pages(folder)) as server:
        found = client(server, 2).search(CmrQuery(short_name="MOD02QKM"))
        assert len(server.pages) == 11
    assert ids(found) == wanted(items)
    assert len(items) == 20


def test_recorded_granules_are_read_with_their_right_files():
    folder = real_data("cmr", "responses", "earthaccess.TestResults.test_get_all_less_than_2k")
    items = recorded_items(folder)
    with CmrServer(items) as server:
        found = client(server, 50).search(CmrQuery(short_name="TELLUS_GRAC_L3_JPL_RL06_LND_v04"))
    assert len(found) == 163
    for granule in found:
        file = granule.data_file("*.nc")
        assert (
            file.s3_url
            == f"s3://podaac-ops-cumulus-protected/TELLUS_GRAC_L3_JPL_RL06_LND_v04/{file.name}"
        )
        assert file.checksum is not None
        assert file.checksum[0] == "MD5"
        assert file.size_bytes > 1_000_000
        assert granule.revision_id == 2
        with pytest.raises(InputUnusable):
            granule.data_file("*")


def test_other_recorded_records_are_read():
    import json

    for path in sorted(real_data("cmr", "earthaccess_fixtures").glob("*_umm.json")):
        found = json.loads(path.read_text())
        items = found.get("items", [found])
        for item in items:
            assert parse_umm(item).begin is not None, path.name
