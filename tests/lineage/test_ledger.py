"""Whatever news arrive in whatever order, each granule is in one state, and always the same."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from dor_ecco_assets.errors import OutputCorrupt
from dor_ecco_assets.lineage.ledger import STATES, Entry, Ledger
from dor_ecco_assets.stores.ledger_arrays import GROUP, read_ledger, read_state, write_ledger


def entry(n, **given):
    return replace(
        Entry(key=f"G{n}", identity=f"day {n}", begin=f"2002-06-{n % 28 + 1:02d}T00:00:00Z"),
        **given,
    )


NEWS = [
    entry(1, revision=1, revised="2003"),
    entry(1, revision=2, revised="2005", name="better"),
    entry(1, revision=2, revised="2005", name="better", removed="2004"),
    entry(1, revision=1, revised="2003", removed="2004"),
    entry(1, revision=3, revised="2007", removed="2009"),
    entry(1, revision=3, revised="2007"),
]


@pytest.mark.parametrize("count", [2, 3, 6])
def test_news_join_to_the_same_in_any_order(count):
    for chosen in itertools.combinations(NEWS, count):
        found = (
            {_joined(order).encode() for order in itertools.permutations([*chosen, chosen[0]][:5])}
            if count < 6
            else {_joined(random.Random(n).sample(chosen, 6)).encode() for n in range(40)}
        )
        assert len(found) == 1


def _joined(news):
    known = news[0].pending()
    for each in news[1:]:
        known = known.joined(each)
    return known


def test_a_later_revision_brings_a_withdrawn_granule_back():
    known = _joined(NEWS[:1]).joined(NEWS[3])
    assert known.is_removed
    assert not known.joined(NEWS[1]).is_removed
    assert known.joined(NEWS[4]).is_removed


def test_what_is_listed_after_its_withdrawal_is_back_in_the_same_revision():
    listed, removed = entry(1, revised="2003"), entry(1, revised="2003", removed="2004")
    back = entry(1, revised="2003", returned="2005")
    again = entry(1, revised="2003", removed="2006")
    for order in itertools.permutations([listed, removed, back]):
        assert not _joined(order).is_removed
    for order in itertools.permutations([listed, removed, back, again]):
        assert _joined(order).is_removed


def test_bytes_that_are_asked_for_again_are_pending_once():
    published = entry(1, checksum="MD5:1").published(slot=4)
    asked = published.joined(entry(1, checksum="MD5:1", tries=1))
    assert (asked.state, asked.tries) == ("pending", 1)
    there = asked.published(slot=4)
    assert there.joined(entry(1, checksum="MD5:1")) is there
    assert there.joined(entry(1, checksum="MD5:1", tries=1)) is there


def test_news_that_say_nothing_new_leave_a_published_granule_alone():
    published = entry(1, checksum="MD5:1").published(slot=4, schema="s")
    assert published.joined(entry(1, checksum="MD5:1")) is published
    same_bytes = published.joined(entry(1, checksum="MD5:1", revision=2, revised="2004"))
    assert (same_bytes.state, same_bytes.slot, same_bytes.revision) == ("published", 4, 2)
    other = published.joined(entry(1, checksum="MD5:2", revision=2))
    assert (other.state, other.slot, other.schema) == ("pending", -1, "")
    assert published.joined(entry(1, checksum="", revision=2)).state == "pending"


def test_each_transition_leaves_nothing_of_the_state_before():
    published = entry(1).published(slot=3, epoch=1, schema="s", e_tag="e", note="n", content="c")
    bad = published.quarantined("ChunkMismatch", "why", schema="t", tried="v1")
    assert (bad.slot, bad.epoch, bad.e_tag, bad.note, bad.content) == (-1, 0, "", "", "")
    assert (bad.schema, bad.tried) == ("t", "v1")
    assert bad.withdrawn().reason_code == ""
    assert bad.superseded("G2").reason == "by G2"
    assert {
        each.state for each in (published, bad, bad.pending(), bad.withdrawn(), bad.superseded("x"))
    } == set(STATES)


def test_one_wins_among_an_identity_by_production_then_revision():
    older, newer = entry(1, produced="2002"), entry(2, produced="2003")
    assert max(older, newer, key=lambda e: e.rank) is newer
    again = entry(3, produced="2003", revision=2)
    assert max(newer, again, key=lambda e: e.rank) is again


def stored(ledger, store=None, state=None):
    store = MemoryStore() if store is None else store
    write_ledger(store, ledger, state or {})
    return store, read_ledger(store)


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(STATES)), max_size=60))
def test_a_ledger_is_read_as_it_was_written(changes):
    ledger, expected, store = Ledger(), {}, MemoryStore()
    for number, (key, state) in enumerate(changes):
        made = replace(
            entry(key, order=key), state=state, slot=number if state == "published" else -1
        )
        expected[made.key] = made
        ledger = ledger.with_entries([made])
        if number % 7 == 3:
            _, ledger = stored(ledger, store)
    _, found = stored(ledger, store)
    assert {e.key: e for e in found.entries()} == expected
    assert [e.key for e in found.entries()] == sorted(expected)
    assert found.find(["G1", "none", "G40"]) == [
        expected.get("G1"),
        None,
        expected.get("G40"),
    ]
    assert sum(found.counts().values()) == len(expected) == len(found)
    assert found.digest() == Ledger().with_entries(expected.values()).digest()


def test_few_and_many_are_found_alike():
    ledger = Ledger().with_entries(entry(n, identity=f"day {n // 2}") for n in range(300))
    keys = [f"G{n}" for n in range(0, 300, 3)]
    few = [ledger.find([key])[0] for key in keys]
    assert ledger.find(keys) == few
    assert [e.key for e in ledger.rivals(["day 7"])[0]] == ["G14", "G15"]
    assert [[e.key for e in r] for r in ledger.rivals([f"day {n}" for n in range(150)])] == [
        [f"G{2 * n}", f"G{2 * n + 1}"] for n in range(150)
    ]
    assert ledger.rows_of(["G5", "G0"]) == [5, 0]


def test_two_keys_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr("dor_ecco_assets.lineage.ledger._hash", lambda text: len(text))
    ledger = Ledger().with_entries([entry(1), entry(2)]).with_entries([entry(3, revision=5)])
    assert [e.key for e in ledger.entries()] == ["G1", "G2", "G3"]
    ledger = ledger.with_entries([entry(2, revision=9)])
    assert [e.revision for e in ledger.entries()] == [1, 9, 5]
    assert [e.key for e in ledger.rivals(["day 2"])[0]] == ["G2"]
    assert ledger.rows_of(["G2"]) == [1]


def test_what_did_not_change_is_not_written_again():
    class Counting(MemoryStore):
        written: list[str]

        async def set(self, key, value, byte_range=None):
            self.written.append(key)
            await super().set(key, value, byte_range)

    store = Counting()
    store.written = []
    _, ledger = stored(
        Ledger().with_entries(entry(n).published(slot=n) for n in range(5000)), store
    )
    store.written.clear()
    _, ledger = stored(ledger.with_entries([entry(5000).published(slot=5000)]), store)
    assert {key for key in store.written if "/c/" in key} == {
        f"{GROUP}/index/c/1/0",
        f"{GROUP}/rows/c/19",
    }
    store.written.clear()
    same = ledger.with_entries([ledger.find(["G7"])[0]])
    assert not same.changed_rows
    moved = ledger.moved(ledger.rows_in("published"), np.arange(5001) + (np.arange(5001) > 4990))
    stored(moved, store)
    assert {key for key in store.written if "/c/" in key} == {f"{GROUP}/index/c/1/0"}
    assert read_ledger(store).find(["G5000"])[0].slot == 5001


def test_rows_are_read_only_when_they_are_asked_for():
    asked = []

    class Counting(MemoryStore):
        async def get(self, key, *args, **options):
            asked.append(key)
            return await super().get(key, *args, **options)

    store, _ = stored(Ledger().with_entries(entry(n) for n in range(600)), Counting())
    asked.clear()
    read_ledger(store).find(["G3"])
    assert f"{GROUP}/rows/c/0" in asked
    assert f"{GROUP}/rows/c/2" not in asked


def test_the_state_beside_the_ledger_is_kept():
    store, _ = stored(Ledger().with_entries([entry(1)]), state={"format": 1})
    assert read_state(store) == {"format": 1}
    assert read_state(MemoryStore()) == {}
    assert len(read_ledger(MemoryStore())) == 0


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        (
            [entry(1, identity="a").published(slot=0), entry(2, identity="a").published(slot=1)],
            "identity",
        ),
        ([entry(1).published(slot=4), entry(2).published(slot=4)], "slot"),
        ([entry(1).published(slot=-1)], "no slot"),
    ],
)
def test_what_must_be_unique_is(entries, what):
    with pytest.raises(OutputCorrupt, match=what) as caught:
        Ledger().with_entries(entries).check()
    assert caught.value.code == "LedgerAmbiguous"
    good = [entry(1).published(slot=4), entry(2).published(slot=4, epoch=1)]
    Ledger().with_entries(good).check()


def test_a_damaged_row_is_named():
    store, _ = stored(Ledger().with_entries(entry(n) for n in range(3)))
    rows = zarr.open_array(store, path=f"{GROUP}/rows", mode="r+")
    rows[1] = "{not json"
    with pytest.raises(OutputCorrupt, match="row 1 of the ledger") as caught:
        list(read_ledger(store).entries())
    assert caught.value.code == "LedgerUnreadable"
    assert read_ledger(store).find(["G299"]) == [None]
