"""A collection's configuration is checked when it is loaded, and its errors name the key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import yaml

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.samples.virtual_granules import DAILY, SWATHS, umm_item
from dor_ecco_assets.settings import parse_config
from dor_ecco_assets.virtual.collections import (
    StoreSpec,
    collection_name,
    load_collections,
    partition_of,
)
from dor_ecco_assets.virtual.granule_records import parse_umm
from tests.virtual.specs import PLAIN, spec_of

BEGIN = datetime(2003, 4, 5, 6, tzinfo=UTC)
SWATH = {
    "level": "L2",
    "concat": {},
    "identity": "cycle_pass",
    "swath": {"track": r"_(?P<cycle>\d{3})_(?P<pass>\d{3})_"},
}


def record(name="granule.nc", *, track=None, production=None, begin=BEGIN):
    item = umm_item(
        DAILY,
        name,
        number=1,
        begin=begin or BEGIN,
        end=begin or BEGIN,
        revision_date=BEGIN,
        track=track,
        production=production,
    )
    if begin is None:
        del item["umm"]["TemporalExtent"]
    return parse_umm(item)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"concat": {"dimm": "time"}}, "did you mean 'dim'"),
        ({"lode": []}, "did you mean 'load'"),
        ({"concat": {"step": "1 day"}}, "concat.step"),
        ({"concat": {"step": "P0D"}}, "concat.step"),
        ({"concat": {"on_gap": "hole"}}, "concat: .*needs a step"),
        ({"level": "L5"}, "level"),
        ({"temporal": ["2003-01-01", "2002-01-01"]}, "must come after"),
        ({"temporal": ["someday", None]}, "temporal.*month-day-year"),
        ({"temporal": "2003"}, "temporal"),
        ({"swath": {}}, "only for level L2"),
        ({**SWATH, "swath": {"track": "(x)"}}, "swath.track"),
        ({**SWATH, "swath": {"track": "("}}, "swath.track.*no regular expression"),
        ({"identity": "["}, "identity.*no regular expression"),
        ({"identity": "name"}, "identity.*with a group"),
        ({"load": ["time"], "drop": ["time"]}, "drop: time"),
        ({"access": {}}, "access.*at least one"),
        ({"access": {"s3": "s3://bucket"}}, "access"),
        ({"access": {"s3": "s3://bucket/prefix"}}, "slash"),
        ({"access": {"https": "ftp://host/"}}, "access"),
        ({"access": []}, "access"),
        ({"access": [{"s3": "s3://a/"}, {"s3": "s3://b/"}]}, "names must differ"),
        ({"collection": {"concept_id": "G1-X", "short_name": "A"}}, "collection.concept_id"),
        ({"collection": {"short_name": ""}}, "collection.short_name"),
        ({"incompatible": "ignore"}, "incompatible"),
        ({"most_quarantined": 2}, "most_quarantined"),
        ({"most_copied": -1}, "most_copied"),
        ({"exports": {"kerchunk_json": {"max_refs": 0}}}, "exports.kerchunk_json.max_refs"),
    ],
)
def test_what_does_not_fit_is_named_by_its_key(changes, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        parse_config(StoreSpec, {**PLAIN, **changes}, "configs/collections/x.yaml")
    assert caught.value.code == "BadConfig"
    assert caught.value.message.startswith("configs/collections/x.yaml: ")


def test_a_key_that_is_missing_is_named():
    with pytest.raises(ConfigurationError, match="level: Field required"):
        parse_config(StoreSpec, {k: v for k, v in PLAIN.items() if k != "level"}, "x")


def test_dates_may_be_yaml_dates_or_month_first():
    found = yaml.safe_load("[2002-06-01, 1-31-2003]")
    start, end = spec_of(temporal=found).temporal
    assert (start, end) == (datetime(2002, 6, 1, tzinfo=UTC), datetime(2003, 1, 31, tzinfo=UTC))


def test_a_concept_id_is_asked_for_and_names_are_not():
    asked = dict(spec_of().query().parameters())
    assert asked["collection_concept_id"] == DAILY.concept_id
    assert "short_name" not in asked
    named = spec_of(collection=DAILY).model_copy(
        update={"collection": spec_of().collection.model_copy(update={"concept_id": None})}
    )
    assert dict(named.query().parameters())["short_name"] == DAILY.short_name


def test_a_version_that_yaml_reads_as_a_number_is_text():
    found = parse_config(
        StoreSpec, {**PLAIN, "collection": {"short_name": "A", "version": 4.1}}, "x"
    )
    assert found.collection.version == "4.1"


def test_asset_names_are_short_names_without_odd_characters():
    assert collection_name("MUR-JPL-L4-GLOB-v4.1") == "MUR_JPL_L4_GLOB_v4_1"


def test_one_place_needs_no_name_and_several_do():
    assert [place.name for place in spec_of().access] == ["granules"]
    two = [{"name": "protected", "s3": "s3://a/"}, {"name": "public", "s3": "s3://b/"}]
    assert [place.name for place in spec_of(access=two).access] == ["protected", "public"]


def test_granules_belong_to_their_month_and_swaths_to_their_cycle():
    assert partition_of(spec_of(), record()) == "2003-04"
    assert partition_of(spec_of(), record(begin=None)) is None
    swaths = spec_of(SWATHS, **SWATH)
    assert partition_of(swaths, record(track=(12, 3))) == "0012"
    assert partition_of(swaths, record("A_013_004_x.nc")) == "0013"
    assert partition_of(swaths, record("A.nc")) is None
    assert partition_of(spec_of(SWATHS, **SWATH, partition="month"), record()) == "2003-04"


@pytest.mark.parametrize(
    ("identity", "name", "expected"),
    [
        ("begin", "x.nc", "2003-04-05T06:00:00"),
        ("granule_ur", "x.nc", "x"),
        ("granule_ur", "A_20030405_20200102T030405Z_v1.nc", "A_20030405_v1"),
        ("granule_ur", "A_20030405_20200102030405.nc", "A_20030405"),
        (r"_(\d{8})_", "A_20030405_NRT.nc", "20030405"),
    ],
)
def test_what_two_files_of_one_granule_share(identity, name, expected):
    produced = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert spec_of(identity=identity).identity_of(record(name, production=produced)) == expected


def test_a_swath_is_known_by_cycle_and_pass():
    spec = spec_of(SWATHS, **SWATH)
    assert spec.identity_of(record(track=(12, 3))) == "0012_0003"
    with pytest.raises(ValueError, match="cycle and pass"):
        spec.identity_of(record("A.nc"))
    with pytest.raises(ValueError, match="no time"):
        spec_of(identity="begin").identity_of(record(begin=None))
    with pytest.raises(ValueError, match="does not fit"):
        spec_of(identity=r"(\d{9})").identity_of(record())


def test_the_shipped_collections_load():
    found = load_collections(None)
    assert found
    assert all(spec.name == name for name, spec in found.items())


def test_two_files_for_one_collection_are_refused(tmp_path):
    folder = tmp_path / "collections"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(PLAIN))
    with pytest.raises(ConfigurationError, match="both describe") as caught:
        load_collections(str(tmp_path))
    assert caught.value.code == "TwoCollections"
