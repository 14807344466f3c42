"""Where granules stand follows from which there are, not from how they came."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.virtual.placing import slots_of, time_conflict

DAY = 86_400_000


def slots(begins, step=DAY):
    orders = np.array(begins, np.int64)
    return slots_of(orders, np.arange(len(orders)), step).tolist()


def test_days_that_begin_alike_follow_each_other_with_their_gaps():
    assert slots([9 * 3_600_000 + day * DAY for day in (3, 0, 7, 1)]) == [3, 0, 7, 1]
    assert slots([-3 * DAY, -DAY]) == [0, 2]  # before 1970


@given(
    st.sets(st.integers(0, 400), min_size=3), st.integers(0, DAY), st.randoms(use_true_random=False)
)
def test_seconds_more_or_less_do_not_move_a_day(days, begin, draw):
    days = sorted(days)
    begins = [begin + day * DAY + draw.randint(-900_000, 900_000) for day in days]
    assert slots(begins) == [day - days[0] for day in days]


def test_one_that_begins_elsewhere_in_its_day_moves_no_other():
    regular = [day * DAY for day in range(1, 9)]
    assert slots([DAY // 2, *regular]) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert slots([*regular, 9 * DAY + DAY // 2]) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def remaining(slots, firsts, lasts, outside):
    """Those that stay, one conflict after the other."""
    there = list(range(len(slots)))
    while True:
        pick = [np.array(each, float)[there] for each in (firsts, lasts, outside)]
        loser = time_conflict(np.array(slots)[there], *pick)
        if loser is None:
            return there
        del there[loser]


@pytest.mark.parametrize(
    ("firsts", "outside", "stays"),
    [
        ([0, 1, 2], [0, 0, 0], [0, 1, 2]),
        ([0, 0, 2], [0, 0, 0], [0, 2]),
        ([0, 0, 2], [5, 0, 0], [1, 2]),
        ([2, 1, 2], [0, 9, 0], [0]),  # the middle one goes, then the last is as late as the first
        ([0, 1, 1, 2], [0, 3, 4, 0], [0, 1, 3]),
    ],
)
def test_the_nearest_to_its_listing_stays_of_several_the_first(firsts, outside, stays):
    assert remaining(range(len(firsts)), firsts, firsts, outside) == stays


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=8))
def test_what_stays_does_not_contradict_itself(drawn):
    slots, firsts = np.arange(len(drawn)), [first for first, _ in drawn]
    stays = remaining(slots, firsts, firsts, [away for _, away in drawn])
    assert stays
    assert all(firsts[a] < firsts[b] for a, b in itertools.pairwise(stays))
