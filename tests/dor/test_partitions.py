"""Cases as partitions: keys, ranges that are rectangles, records and their paths."""

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.dor.products import CASE_ROWS, EFFICIENCY_STORE, dor_products
from dor_ecco_assets.lineage.product import Partitioning, by_key
from dor_ecco_assets.lineage.record import partition_of_path, partition_path, record_key
from partitions import partitions_of

MONTHS = ("01", "04", "07", "10")
SMALL = Partitioning("case", tuple(f"{m}|{p:03d}" for m in MONTHS for p in range(6)))


def test_the_default_atlas_has_2760_cases_in_dagsters_order():
    split = by_key(dor_products())[CASE_ROWS].partitioning
    assert len(split.keys) == 2760
    found = partitions_of(split)
    assert isinstance(found, dg.MultiPartitionsDefinition)
    assert [str(key) for key in found.get_partition_keys()] == list(split.keys)
    key = found.get_partition_key_from_str("07|123")
    assert key.keys_by_dimension == {"injection_month": "07", "polygon": "123"}


def test_injection_months_are_partitions_of_stores():
    split = by_key(dor_products())[EFFICIENCY_STORE].partitioning
    assert split.keys == MONTHS
    assert list(partitions_of(split).get_partition_keys()) == list(MONTHS)


def test_a_case_is_a_path_of_two_folders_and_back():
    assert record_key(CASE_ROWS, "07|123") == ".records/dor/case_rows/07/123.json"
    assert partition_of_path(partition_path("07|123")) == "07|123"


def test_a_range_of_cases_is_a_rectangle():
    found = SMALL.between("04|001", "07|003")
    assert found == tuple(f"{m}|{p:03d}" for m in ("04", "07") for p in (1, 2, 3))
    assert SMALL.between("04|004", "07|001") == ()
    assert SMALL.between("04|004", "07|999") == ()
    in_dagster = partitions_of(SMALL).get_partition_keys_in_range(
        dg.PartitionKeyRange("04|001", "07|003")
    )
    assert set(map(str, in_dagster)) == set(found)


@pytest.mark.parametrize(
    ("wanted", "ranges"),
    [
        (SMALL.keys, [("01|000", "10|005")]),
        ([f"{m}|003" for m in MONTHS], [("01|003", "10|003")]),
        (["07|001", "07|002", "07|005"], [("07|001", "07|002"), ("07|005", "07|005")]),
        (["01|001", "07|001"], [("01|001", "01|001"), ("07|001", "07|001")]),
    ],
)
def test_few_ranges_hold_just_what_is_wanted(wanted, ranges):
    assert SMALL.ranges(wanted, 2000) == ranges


@given(st.sets(st.sampled_from(SMALL.keys)), st.integers(1, 30))
def test_ranges_cover_every_wanted_case_once(wanted, most):
    parts = [SMALL.between(*found) for found in SMALL.ranges(wanted, most)]
    assert sorted(key for part in parts for key in part) == sorted(wanted)
    assert all(len(part) <= most for part in parts)
