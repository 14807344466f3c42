"""The sensor's tick loses nothing and repeats nothing, whatever arrives, fails or comes late."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dor_ecco_assets.errors import ConfigurationError, StorageUnavailable
from dor_ecco_assets.samples.virtual_granules import DAILY, umm_item
from dor_ecco_assets.virtual import discovery
from dor_ecco_assets.virtual.asking import Asking
from dor_ecco_assets.virtual.cmr import CmrClient
from dor_ecco_assets.virtual.discovery import Cursor, look, requests_of, whole_listing
from dor_ecco_assets.virtual.granule_records import Tombstone, parse_umm
from dor_ecco_assets.virtual.listing import (
    Listing,
    PartitionFile,
    stamp_of_date,
    with_changes,
)
from tests.support.cmr import CmrServer, Fault, recorded_items
from tests.support.data import real_data
from tests.virtual.specs import spec_of

START = datetime(2003, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def granule(number, revised, *, revision_id=1, day=None):
    begin = START + timedelta(days=number if day is None else day)
    return parse_umm(item_of(number, revised, revision_id, begin))


def item_of(number, revised, revision_id, begin):
    return umm_item(
        DAILY,
        f"granule-{number:04d}.nc",
        number=number,
        begin=begin,
        end=begin + 23 * HOUR,
        revision_date=revised,
        revision_id=revision_id,
    )


def tombstone(number, when):
    return Tombstone(f"G{number}-SAMPLES", f"granule-{number:04d}", when, DAILY.concept_id)


@dataclass
class Archive:
    """CMR as it is at `now`: each event becomes visible some time after its revision date."""

    now: datetime = START
    events: list = field(default_factory=list)  # (visible from, record or tombstone)
    failing: bool = False
    asked: int = 0

    def visible(self):
        return [found for when, found in self.events if when <= self.now]

    def current(self):
        """Newest revision of what is there."""
        found = {}
        for each in self.visible():
            if isinstance(each, Tombstone):
                known = found.get(each.concept_id)
                if known is not None and known.revision_date <= each.deleted:
                    del found[each.concept_id]
            elif each.concept_id not in found or (
                found[each.concept_id].revision_id < each.revision_id
            ):
                found[each.concept_id] = each
        return found

    def search(self, query):
        self.asked += 1
        if self.failing:
            raise StorageUnavailable("down", code="CmrUnavailable")
        since = query.revised_since or datetime(1, 1, 1, tzinfo=UTC)
        fits = [r for r in self.current().values() if r.revision_date >= since]
        return sorted(fits, key=lambda r: (r.revision_date, r.concept_id))

    def deleted(self, concept_id, since):
        self.asked += 1
        assert concept_id == DAILY.concept_id
        assert self.now - since <= timedelta(days=365)
        gone = [each for each in self.visible() if isinstance(each, Tombstone)]
        return [each for each in gone if each.deleted >= since]


@dataclass
class Sensor:
    """A tick as the Dagster sensor makes it: list, ask for runs, then keep the cursor."""

    spec: object
    cursor: str | None = None
    listing: Listing = field(default_factory=Listing)
    launched: dict = field(default_factory=dict)
    listed_as: dict = field(default_factory=dict)

    def tick(self, archive, *, crash=False):
        changes = look(self.spec, Cursor.decode(self.cursor), archive, archive.now)
        if changes.whole:
            whole_listing(self.spec, self.listing, changes.records, archive.now)
        elif changes:
            with_changes(self.spec, self.listing, changes.records, changes.tombstones)
        requests, cursor = requests_of(self.files(), changes.cursor)
        if crash:  # before Dagster keeps the cursor; runs may have been launched or not
            requests = requests[: len(requests) // 2]
        for request in requests:
            # Dagster launches a run key once.
            self.launched.setdefault(request.run_key, 0)
            self.launched[request.run_key] += 1
            self.listed_as[request.partition] = self.contents(request.partition)
        if not crash:
            self.cursor = cursor.encode()
        return requests

    def contents(self, partition):
        return {
            (each.concept_id, each.revision_id, bool(each.deleted))
            for each in self.listing.of(partition)
        }

    def files(self):
        return {
            name: PartitionFile(
                "", 0, hashlib.sha256(str(self.listing.of(name)).encode()).hexdigest(), 0, 0
            )
            for name, granules in sorted(self.listing.partitions.items())
            if granules
        }


def check_complete(sensor, archive):
    """Everything CMR has is listed, and the last run of each partition was asked for with it."""
    there = {each.concept_id: each for each in sensor.listing if not each.deleted}
    wanted = archive.current()
    assert {k: v.revision_id for k, v in there.items()} == {
        k: v.revision_id for k, v in wanted.items()
    }
    for partition in sensor.files():
        assert sensor.listed_as[partition] == sensor.contents(partition), partition


def a_year(rng, granules=365):
    """Daily granules with late arrivals, bursts of revisions, deletions and late indexing."""
    events = []

    def visible(when):
        delay = rng.choice([0, 1, 5, 40, 300]) if rng.random() < 0.8 else 0
        return when + timedelta(minutes=delay)

    for number in range(granules):
        arrived = START + timedelta(days=number, hours=rng.uniform(1, 30))
        if rng.random() < 0.06:
            arrived += timedelta(days=rng.randint(20, 90))
        arrived = arrived.replace(microsecond=rng.randrange(1000) * 1000)
        events.append((visible(arrived), granule(number, arrived)))
        revision, when = 1, arrived
        while rng.random() < 0.15:
            revision, when = revision + 1, when + timedelta(hours=rng.uniform(0.01, 900))
            # A record is not indexed before the one it replaces.
            events.append(
                (max(visible(when), events[-1][0]), granule(number, when, revision_id=revision))
            )
        if rng.random() < 0.05:
            when += timedelta(hours=rng.uniform(0.01, 500))
            events.append((max(visible(when), events[-1][0]), tombstone(number, when)))
    burst = START + timedelta(days=200)
    for number in range(150):  # metadata of all are revised in one go
        events.append((burst + timedelta(minutes=3), granule(number, burst, revision_id=50)))
    return sorted(events, key=lambda event: event[0])


@pytest.mark.parametrize("seed", range(4))
def test_a_year_with_everything_that_happens_loses_and_repeats_nothing(seed):
    rng = random.Random(seed)
    archive, sensor = Archive(events=a_year(rng)), Sensor(spec_of())
    end = START + timedelta(days=600)
    while archive.now < end:
        # Twice a day; rest sometimes, which the overlap does not span.
        archive.now += timedelta(hours=rng.uniform(1, 24) if rng.random() < 0.95 else 200)
        archive.failing = rng.random() < 0.1
        try:
            sensor.tick(archive, crash=rng.random() < 0.1)
        except StorageUnavailable:
            assert archive.failing
    archive.failing = False
    for _ in range(3):
        sensor.tick(archive)
    check_complete(sensor, archive)
    asked = len(sensor.launched)
    assert sensor.tick(archive) == []
    assert len(sensor.launched) == asked


#: What a server answers besides what it should; the last is more than a client bears.
FAULTS = (
    [Fault(503)],
    [Fault(429), Fault(502)],
    [Fault(items=2)],
    [Fault(hits=1)],
    [Fault(close=True)],
    [Fault(headers={"CMR-Time-Out": "true"})],
    [None, Fault(503), Fault(items=1)],
    [Fault(503)] * 20,
)


def test_a_year_through_a_server_with_faults_loses_and_repeats_nothing():
    """As above, by the real client: pages, retries, deletions as rows."""
    rng = random.Random(17)
    archive, sensor = Archive(events=a_year(rng, granules=150)), Sensor(spec_of())
    failed = 0
    with CmrServer() as server:
        client = CmrClient(server.endpoint, page_size=40, asking=Asking("CMR", lambda _: None))

        def tick(**options):
            server.items[:] = [
                item_of(
                    int(r.concept_id[1:].partition("-")[0]), r.revision_date, r.revision_id, r.begin
                )
                for r in archive.current().values()
            ]
            server.deleted[:] = [
                {
                    "granule-ur": each.granule_ur,
                    "concept-id": each.concept_id,
                    "revision-date": stamp_of_date(each.deleted),
                    "parent-collection-id": DAILY.concept_id,
                }
                for each in archive.visible()
                if isinstance(each, Tombstone)
            ]
            return sensor.tick(_At(archive.now, client), **options)

        while archive.now < START + timedelta(days=365):
            archive.now += timedelta(hours=rng.uniform(1, 250))
            server.faults[:] = rng.choice(FAULTS) if rng.random() < 0.5 else []
            try:
                tick(crash=rng.random() < 0.1)
            except StorageUnavailable:
                failed += 1
        server.faults.clear()
        archive.now += timedelta(days=200)
        for _ in range(3):
            tick()
        check_complete(sensor, archive)
        asked = len(sensor.launched)
        assert tick() == []
        assert len(sensor.launched) == asked
    assert failed > 1


@dataclass
class _At:
    """A client, and the time at which it is asked."""

    now: datetime
    client: CmrClient

    def search(self, query):
        return self.client.search(query)

    def deleted(self, concept_id, since):
        return self.client.deleted(concept_id, since)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_of_events_and_ticks_ends_in_what_cmr_has(data):
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    events = a_year(rng, granules=data.draw(st.integers(1, 40)))[:80]
    archive, sensor = Archive(events=events), Sensor(spec_of())
    for hours in data.draw(st.lists(st.floats(0.1, 2000), min_size=1, max_size=8)):
        archive.now += timedelta(hours=hours)
        sensor.tick(archive, crash=data.draw(st.booleans()))
    archive.now = START + timedelta(days=1000)
    for _ in range(3):
        sensor.tick(archive)
    check_complete(sensor, archive)
    assert sensor.tick(archive) == []


def test_a_run_is_asked_for_once_per_state_of_a_partition():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, START + HOUR)), (START, granule(1, START + 2 * HOUR))]
    assert [request.partition for request in sensor.tick(archive)] == ["2003-01"]
    assert sensor.tick(archive) == []
    archive.events.append((archive.now, granule(1, archive.now, revision_id=2)))
    assert len(sensor.tick(archive)) == 1
    assert set(sensor.launched.values()) == {1}


def test_a_tick_that_was_cut_off_asks_for_the_same_run_again():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, START + HOUR))]
    before = sensor.cursor
    (first,) = sensor.tick(archive)
    sensor.cursor = before  # Dagster did not come to keep it
    (again,) = sensor.tick(archive)
    assert again.run_key == first.run_key


def test_an_idle_tick_asks_twice_and_reads_no_listing():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(n, archive.now - HOUR)) for n in range(100)]
    sensor.tick(archive)
    sensor.tick(archive)
    archive.asked = 0
    changes = look(sensor.spec, Cursor.decode(sensor.cursor), archive, archive.now)
    assert not changes
    assert archive.asked == 2
    assert len(sensor.cursor) < 6000


def test_a_record_that_becomes_visible_behind_the_mark_is_found():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, archive.now))]
    sensor.tick(archive)
    late = granule(1, archive.now - timedelta(minutes=30), day=0)
    archive.events.append((archive.now, late))
    assert len(sensor.tick(archive)) == 1
    check_complete(sensor, archive)


def test_what_is_later_than_the_overlap_is_found_by_comparing_all():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, archive.now))]
    sensor.tick(archive)
    archive.events.append((archive.now, granule(1, archive.now - 10 * HOUR, day=0)))
    assert sensor.tick(archive) == []
    sensor.cursor = None  # as the weekly comparison does
    assert len(sensor.tick(archive)) == 1
    check_complete(sensor, archive)


def test_sixty_two_revisions_of_one_millisecond_come_once():
    archive, sensor = Archive(now=START + 80 * HOUR), Sensor(spec_of())
    sensor.tick(archive)
    archive.events = [(START, granule(n, START + 79 * HOUR, day=n % 20)) for n in range(62)]
    assert len(sensor.tick(archive)) == 1
    assert len(list(sensor.listing)) == 62
    assert sensor.tick(archive) == []


def test_a_deleted_granule_changes_its_partition_and_may_come_back():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, START + HOUR))]
    sensor.tick(archive)
    archive.events.append((archive.now, tombstone(0, archive.now - HOUR)))
    assert len(sensor.tick(archive)) == 1
    assert [bool(each.deleted) for each in sensor.listing] == [True]
    assert sensor.tick(archive) == []
    archive.events.append((archive.now, granule(0, archive.now, revision_id=3)))
    assert len(sensor.tick(archive)) == 1
    assert [bool(each.deleted) for each in sensor.listing] == [False]
    assert sensor.tick(archive) == []


def test_a_deletion_is_found_though_nothing_was_revised_for_months():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, START + HOUR))]
    for _ in range(20):
        sensor.tick(archive)
        archive.now += timedelta(days=100)
    archive.events.append((archive.now, tombstone(0, archive.now - HOUR)))
    assert len(sensor.tick(archive)) == 1
    check_complete(sensor, archive)


def test_after_more_than_a_year_all_is_compared_since_deletions_are_forgotten():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(n, START + HOUR)) for n in range(3)]
    sensor.tick(archive)
    archive.events.append((archive.now, tombstone(1, archive.now)))
    archive.now += timedelta(days=400)
    changes = look(sensor.spec, Cursor.decode(sensor.cursor), archive, archive.now)
    assert changes.whole
    sensor.tick(archive)
    check_complete(sensor, archive)


def test_another_question_compares_all_and_drops_what_it_leaves_out():
    archive, sensor = Archive(now=START + 90 * 24 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(n, START + HOUR)) for n in (0, 40, 70)]
    sensor.tick(archive)
    spec = sensor.spec = spec_of(temporal=["2003-02-01", None])
    wanted = [each for each in archive.current().values() if spec.query().includes(each)]
    archive.search = lambda query: wanted
    assert [request.partition for request in sensor.tick(archive)] == ["2003-01"]
    assert sum(not each.deleted for each in sensor.listing) == 2


def test_runs_are_bounded_and_the_rest_comes_with_the_next_ticks():
    archive, sensor = Archive(now=START + timedelta(days=2000)), Sensor(spec_of())
    archive.events = [(START, granule(n, START + n * HOUR, day=30 * n)) for n in range(60)]
    counts = [len(sensor.tick(archive)) for _ in range(4)]
    assert max(counts) == discovery.MOST_PARTITIONS == 24
    assert counts[-1] == 0
    assert sum(counts) == len(sensor.files()) > 48
    check_complete(sensor, archive)


def test_what_is_made_already_is_not_asked_for():
    files = {
        "2003-01": PartitionFile("", 0, "a" * 64, 1, 0),
        "2003-02": PartitionFile("", 0, "b" * 64, 1, 0),
    }
    requests, cursor = requests_of(files, Cursor(), done={"2003-01": "a" * 64})
    assert [request.partition for request in requests] == ["2003-02"]
    assert requests_of(files, cursor)[0] == []


def test_a_record_dated_in_the_future_does_not_take_the_mark_there():
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(0, START + timedelta(days=5000)))]
    sensor.tick(archive)
    assert Cursor.decode(sensor.cursor).high_water == archive.now
    archive.now += 10 * HOUR
    archive.events.append((archive.now, granule(1, archive.now, day=0)))
    assert len(sensor.tick(archive)) == 1
    check_complete(sensor, archive)


def test_more_than_a_cursor_can_hold_is_looked_up_in_the_listing(monkeypatch):
    monkeypatch.setattr(discovery, "MOST_SEEN", 10)
    archive, sensor = Archive(now=START + 40 * HOUR), Sensor(spec_of())
    archive.events = [(START, granule(n, archive.now, day=n % 20)) for n in range(30)]
    assert len(sensor.tick(archive)) == 1
    for _ in range(3):
        assert sensor.tick(archive) == []
        assert Cursor.decode(sensor.cursor).seen == {}


def test_a_cursor_survives_being_written_down():
    cursor = Cursor("q", START, START + HOUR, ("C1-X",), {"G1": "2"}, {"2003-01": "ab"})
    assert Cursor.decode(cursor.encode()) == cursor
    assert Cursor.decode(None) == Cursor.decode('{"v": 99}') == Cursor()


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", '{"v": 1}', '{"v": 1, "query": 3, "high_water": "x"}']
)
def test_a_cursor_that_cannot_be_read_is_an_error_that_says_what_to_do(text):
    with pytest.raises(ConfigurationError, match="reset it") as caught:
        Cursor.decode(text)
    assert caught.value.code == "BadCursor"


def test_the_recorded_granules_come_once_through_the_real_client():
    folder = real_data("cmr", "responses", "earthaccess.TestResults.test_get_all_less_than_2k")
    items = recorded_items(folder)
    access = {"s3": "s3://podaac-ops-cumulus-protected/"}
    scope = {"short_name": items[0]["umm"]["CollectionReference"]["ShortName"]}
    spec = spec_of(access=access)
    spec = spec.model_copy(
        update={"collection": spec.collection.model_copy(update={**scope, "concept_id": None})}
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with CmrServer(items[:100]) as server:
        client = CmrClient(server.endpoint, page_size=7, asking=Asking("CMR", lambda _: None))
        listing, cursor = Listing(), Cursor()

        def tick():
            nonlocal cursor
            changes = look(spec, cursor, client, now)
            if changes.whole:
                whole_listing(spec, listing, changes.records, now)
            else:
                with_changes(spec, listing, changes.records, changes.tombstones)
            cursor = changes.cursor
            return len(changes.records)

        assert tick() == 100
        tick()
        assert tick() == 0
        server.items.extend(items[100:])  # their revision dates lie within those that were seen
        assert tick() == 63
        assert tick() == 0
        server.faults = [Fault(503), Fault(429), Fault(headers={"CMR-Timed-Out": "true"})]
        assert tick() == 0
        server.faults = [Fault(503)] * 10
        before = cursor
        with pytest.raises(StorageUnavailable):
            tick()
        assert cursor is before
        server.faults = []
        assert tick() == 0
    assert len(list(listing)) == 163
    assert not [each.problem for each in listing if each.problem]
    assert replace(cursor, looked=None).encode()
