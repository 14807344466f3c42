"""Granules that contradict each other: which is published does not depend on what came first."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import timedelta

import netCDF4
import numpy as np
import pytest

from dor_ecco_assets.errors import WorkFailed
from dor_ecco_assets.samples.virtual_granules import write_daily
from dor_ecco_assets.stores.ledger_arrays import read_ledger
from dor_ecco_assets.virtual.building import apply
from dor_ecco_assets.virtual.digest import content_digest
from dor_ecco_assets.virtual.listing import Listed
from dor_ecco_assets.virtual.reading import open_store
from tests.virtual.stores import ORIGIN, TINY, Archive, deleted, revised, spec, store_at

HOLES = {"step": "P1D", "on_gap": "hole"}


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path / "archive")


@pytest.fixture
def store(tmp_path, archive):
    return store_at(tmp_path / "root", archive)


def states(store):
    return {e.key: e.state for e in read_ledger(store.reading().store).entries()}


def same_content(folder, archive, events):
    """Stores of the same events in several orders; gives what one of them holds."""
    found = {}
    for number, order in enumerate(list(itertools.permutations(events))[::5]):
        store = store_at(folder / str(number), archive)
        for each in order:
            apply(store, archive.spec, [each], archive, accept_quarantine=True)
        assert apply(store, archive.spec, list(order), archive).commits == 0
        found[content_digest(store, values=True)] = order
    clean = store_at(folder / "clean", archive)
    apply(clean, archive.spec, list(events), archive, accept_quarantine=True)
    assert set(found) == {content_digest(clean, values=True)}
    return states(clean)


@pytest.mark.parametrize("concat", [{}, HOLES], ids=["close", "hole"])
def test_two_granules_of_one_day_in_any_order(archive, tmp_path, concat):
    archive.spec = spec(concat=concat)
    twice = [archive.daily(1), archive.daily(1, "again.nc", deviation="other level")]
    found = same_content(tmp_path, archive, [archive.daily(0), *twice, archive.daily(2)])
    assert sorted(found.values()) == ["published"] * 3 + ["quarantined"]


@pytest.mark.parametrize("concat", [{}, HOLES], ids=["close", "hole"])
def test_what_had_to_go_comes_back_when_the_other_is_withdrawn(archive, tmp_path, concat):
    archive.spec = spec(concat=concat)
    one, two = archive.daily(1), archive.daily(1, "again.nc", deviation="other level")
    days = [archive.daily(0), archive.daily(2)]
    probe = store_at(tmp_path / "probe", archive)
    apply(probe, archive.spec, [*days, one, two], archive, accept_quarantine=True)
    stays, goes = (one, two) if states(probe)[one.granule.concept_id] == "published" else (two, one)
    report = apply(probe, archive.spec, [deleted(stays)], archive)
    assert (report.published, report.withdrawn, dict(report.quarantined)) == (1, 1, {})
    assert states(probe)[goes.granule.concept_id] == "published"
    assert open_store(probe).sizes["time"] == 3
    found = same_content(tmp_path, archive, [days[0], stays, goes, deleted(stays)])
    assert found[goes.granule.concept_id] == "published"


def test_what_had_to_go_comes_back_when_the_other_gets_its_own_time(archive, store):
    """A file that says another day than its listing is revised to say its own."""
    archive.spec = spec(concat=HOLES)
    wrong = archive.daily(3, deviation="duplicate time")  # says day 2
    apply(store, archive.spec, [archive.daily(0), wrong], archive)
    right = archive.daily(2)
    report = apply(store, archive.spec, [right], archive, accept_quarantine=True)
    assert states(store) == {
        "G-day0000": "published",
        "G-day0002": "published",
        "G-day0003": "quarantined",
    }
    assert list(report.quarantined) == ["G-day0003"]
    write_daily(archive.folder / "day0003.nc", 3, grid=TINY, deviation="other level")
    size = (archive.folder / "day0003.nc").stat().st_size
    apply(store, archive.spec, [revised(wrong, size_bytes=size)], archive)
    assert set(states(store).values()) == {"published"}
    assert open_store(store).sizes["time"] == 4


def test_a_rival_takes_the_place_of_one_that_had_to_go(archive, store):
    """Of one identity the better granule contradicts another; the lesser one does not."""
    archive.spec = spec(concat=HOLES)
    better = archive.daily(3, "better.nc", deviation="duplicate time")
    lesser = archive.daily(3)
    better, lesser = (
        Listed(
            each.partition,
            replace(each.granule, identity="3", production_date=f"2002-0{n}-01T00:00:00Z"),
        )
        for each, n in ((better, 9), (lesser, 7))
    )
    listed = [archive.daily(0), archive.daily(2), better, lesser]
    apply(store, archive.spec, listed, archive, accept_quarantine=True)
    assert states(store)["G-day0003"] == "published"
    assert states(store)["G-better"] == "quarantined"
    assert apply(store, archive.spec, listed, archive).commits == 0


def test_an_unusable_lesser_granule_is_superseded_whenever_it_came(archive, tmp_path):
    archive.spec = spec(most_quarantined=1.0)
    quick = archive.daily(1, "quick.nc", deviation="chunks")
    final = archive.daily(1)
    quick, final = (
        Listed(
            each.partition,
            replace(each.granule, identity="1", production_date=f"2002-0{n}-01T00:00:00Z"),
        )
        for each, n in ((quick, 7), (final, 9))
    )
    first = archive.daily(0)
    contents = set()
    for number, order in enumerate(([first, quick, final], [first, final, quick])):
        store = store_at(tmp_path / str(number), archive)
        for each in order:
            apply(store, archive.spec, [each], archive)
        assert states(store)["G-quick"] == "superseded"
        contents.add(content_digest(store, values=True))
    assert len(contents) == 1
    # Without the better one it is what it was.
    apply(store, archive.spec, [deleted(final)], archive)
    assert states(store)["G-quick"] == "quarantined"


def test_a_chain_of_contradictions_in_any_order(archive, tmp_path):
    """Days 2, 3 and 4, of which the middle one says day 2, and another day 4."""
    archive.spec = spec(concat=HOLES)
    events = [
        archive.daily(2),
        archive.daily(3, deviation="duplicate time"),
        archive.daily(4),
        archive.daily(4, "again.nc", deviation="other level"),
    ]
    found = same_content(tmp_path, archive, events)
    assert found["G-day0002"] == "published"
    assert found["G-day0003"] == "quarantined"


def test_an_odd_first_granule_moves_no_other(archive, tmp_path):
    """One that begins at noon stands before days that begin at midnight, whenever it comes."""
    archive.spec = spec(concat=HOLES)
    noon = archive.folder / "noon.nc"
    write_daily(noon, 0, grid=TINY)
    with netCDF4.Dataset(noon, "a") as file:
        file["time"][:] += 43_200
    late = archive.listed(noon, ORIGIN + timedelta(hours=12))
    days = [archive.daily(day) for day in range(1, 7)]
    stores = [store_at(tmp_path / name, archive) for name in ("first", "last")]
    for store, order in zip(stores, ([late, *days], [*days, late]), strict=True):
        for each in order:
            apply(store, archive.spec, [each], archive)
        assert set(states(store).values()) == {"published"}
        found = open_store(store)
        assert found.sizes["time"] == 7
        assert str(found["time"].values[0])[:13] == "2002-06-01T12"
    assert len({content_digest(store, values=True) for store in stores}) == 1


def test_many_contradictions_commit_nothing(archive, store):
    archive.spec = spec(concat=HOLES)
    days = [archive.daily(day) for day in range(4)]
    again = [archive.daily(day, f"again{day}.nc") for day in range(4)]
    with pytest.raises(WorkFailed, match="4 of 8 granules cannot be used: TimeInvalid") as caught:
        apply(store, archive.spec, [*days, *again], archive)
    assert caught.value.code == "TooManyQuarantined"
    assert len(list(store.versions())) == 1
    apply(store, archive.spec, [*days, *again], archive, accept_quarantine=True)
    # Those that were accepted do not count again.
    apply(store, archive.spec, [deleted(days[0]), deleted(again[0])], archive)
    assert open_store(store).sizes["time"] == 3


def test_a_random_history_of_contradictions(archive, tmp_path):
    """Each day twice, some saying the day before, some withdrawn: any order, one content."""
    archive.spec = spec(concat=HOLES, most_quarantined=1.0)
    draw = random.Random(11)
    granules = []
    for day in range(8):
        for copy in "ab":
            deviation = draw.choice(["none", "none", "duplicate time", "other level"])
            granules.append(archive.daily(day, f"{copy}{day}.nc", deviation=deviation))
    events = [*granules, *(deleted(each) for each in draw.sample(granules, 6))]
    clean = store_at(tmp_path / "clean", archive)
    apply(clean, archive.spec, events, archive)
    wanted = content_digest(clean, values=True)
    for number in range(4):
        order = [*events, *draw.sample(events, 5)]
        draw.shuffle(order)
        store = store_at(tmp_path / str(number), archive)
        for start in range(0, len(order), 4):
            apply(store, archive.spec, order[start : start + 4], archive)
        assert content_digest(store, values=True) == wanted
        assert apply(store, archive.spec, order, archive).commits == 0
    times = open_store(clean)["time"].values
    assert (np.diff(times).astype(int) > 0).all()
