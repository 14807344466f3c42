"""Up to date, stale, quarantined, replaced: what lineage promises, on toy products."""

import json
import os
import random
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.errors import (
    ConfigurationError,
    InputMissing,
    InputUnusable,
    PartitionBusy,
    StorageRefused,
)
from dor_ecco_assets.lineage.fingerprint import Ingredients, differences
from dor_ecco_assets.lineage.product import Content
from dor_ecco_assets.lineage.record import (
    partition_of_path,
    partition_path,
    read_record,
    recorded_assets,
    recorded_partitions,
)
from dor_ecco_assets.lineage.tracing import reconcile, trace
from dor_ecco_assets.lineage.workspace import Failure, Policy, make_all
from tests.lineage.toy import MONTHS, bytes_below, make_everything, products, workspace


def standings(space) -> dict[str, str]:
    fresh = space.refreshed()
    return {
        f"{key}|{state.partition}": state.standing
        for key in fresh.products
        for state in fresh.states(key)
    }


def test_a_partition_is_made_once_and_then_found_up_to_date(tmp_path):
    space = workspace(tmp_path)
    first = space.make("toy/sum", "1992-02")
    assert not first.skipped
    assert (tmp_path / "root/toy/sum/1992-02.txt").read_text() == "204"
    again = workspace(tmp_path).make("toy/sum", "1992-02")
    assert again.skipped
    assert again.record == first.record


def test_what_a_partition_is_made_from_is_made_first(tmp_path):
    workspace(tmp_path).make("toy/sum", "1992-01")
    assert read_record(workspace(tmp_path).storage, "toy/base", "") is not None


def test_a_record_says_what_was_made_and_from_what(tmp_path):
    record = workspace(tmp_path).make("toy/sum", "1992-01").record
    text = (tmp_path / "root/.records/toy/sum/1992-01.json").read_text()
    assert json.loads(text)["uri"] == record.uri == "toy/sum/1992-01.txt"
    assert record.bytes == 3
    ingredients = record.details["ingredients"]
    assert set(ingredients["inputs"]) == {"month"}
    assert set(ingredients["upstream"]) == {"toy/base"}
    assert ingredients["config"] == {"factor": 2}


@pytest.mark.parametrize(
    ("change", "stale", "reason"),
    [
        ("months/1992-02", {"toy/sum|1992-02"}, "input month changed"),
        ("base", {"toy/base|", *(f"toy/sum|{m}" for m in MONTHS)}, "upstream toy/base changed"),
    ],
)
def test_a_changed_input_makes_stale_exactly_what_depends_on_it(tmp_path, change, stale, reason):
    space = workspace(tmp_path)
    make_everything(space)
    (tmp_path / "inputs" / change).write_text("7")
    found = standings(space)
    assert {name for name, standing in found.items() if standing == "stale"} == stale
    assert set(found.values()) == {"stale", "up to date"} or stale == set(found)
    reasons = space.refreshed().state("toy/sum", "1992-02").reasons
    assert any(reason in text for text in reasons)


def test_code_version_and_configuration_are_reasons_in_words(tmp_path):
    make_everything(workspace(tmp_path))
    state = workspace(tmp_path, code_version="2", factor=3).state("toy/sum", "1992-01")
    assert state.standing == "stale"
    assert state.reasons == ("code version 1 -> 2", "configuration factor: 2 -> 3")


def test_a_lost_or_altered_file_is_made_again_and_gives_the_same_bytes(tmp_path):
    make_everything(workspace(tmp_path))
    before = bytes_below(tmp_path / "root/toy")
    (tmp_path / "root/toy/sum/1992-01.txt").unlink()
    (tmp_path / "root/toy/sum/1992-02.txt").write_text("999")
    space = workspace(tmp_path)
    assert space.state("toy/sum", "1992-01").standing == "stale"
    assert not space.make("toy/sum", "1992-01").skipped
    assert space.make("toy/sum", "1992-02").skipped  # same size: only --verify looks inside
    assert not space.make("toy/sum", "1992-02", Policy(verify=True)).skipped
    assert bytes_below(tmp_path / "root/toy") == before


def test_an_input_touched_but_not_changed_is_not_stale(tmp_path):
    space = workspace(tmp_path)
    make_everything(space)
    os.utime(tmp_path / "inputs/base", ns=(1, 1))
    assert set(standings(space).values()) == {"up to date"}


def test_partitions_without_input_wait_and_are_not_called_stale(tmp_path):
    space = workspace(tmp_path)
    (tmp_path / "inputs/months/1992-03").unlink()
    assert space.state("toy/sum", "1992-03").standing == "waiting"
    assert space.state("toy/sum", "1992-01").standing == "absent"


def test_an_unusable_input_is_quarantined_and_retried_when_it_changes(tmp_path):
    space = workspace(tmp_path)
    bad = tmp_path / "inputs/months/1992-02"
    bad.write_text("two")
    results = list(make_all(space, "toy/sum", MONTHS, Policy()))
    assert [isinstance(result, Failure) for result in results] == [False, True, False]
    assert results[1].error.code == "NotANumber"
    assert not (tmp_path / "root/toy/sum/1992-02.txt").exists()
    note = json.loads((tmp_path / "root/.quarantine/toy/sum/1992-02.json").read_text())
    assert note["uri"] == str(bad)
    assert "expected a number" in note["reason"]
    assert space.refreshed().state("toy/sum", "1992-02").standing == "quarantined"
    with pytest.raises(InputUnusable, match="quarantined since .* unchanged since"):
        space.refreshed().make("toy/sum", "1992-02")
    bad.write_text("2")
    assert not space.refreshed().make("toy/sum", "1992-02").skipped
    assert not (tmp_path / "root/.quarantine/toy/sum/1992-02.json").exists()


def test_an_unusable_input_is_retried_when_the_code_changes(tmp_path):
    (workspace(tmp_path).inputs.root / "months/1992-02").write_text("two")
    with pytest.raises(InputUnusable, match="write one$"):
        workspace(tmp_path).make("toy/sum", "1992-02")
    with pytest.raises(InputUnusable, match="write one$"):
        workspace(tmp_path, code_version="2").make("toy/sum", "1992-02")


def test_two_writers_on_one_partition_are_kept_apart(tmp_path):
    space = workspace(tmp_path)
    space.make("toy/base", "")
    with space.storage.claim("toy/sum@1992-01"):
        with pytest.raises(PartitionBusy, match="is being written by") as caught:
            space.make("toy/sum", "1992-01")
    assert "wait for that writer or end it" in caught.value.message
    assert list(recorded_partitions(space.storage, "toy/sum")) == []
    assert not (tmp_path / "root/toy/sum/1992-01.txt").exists()


def test_replacing_removes_the_record_before_the_bytes_change(tmp_path, monkeypatch):
    make_everything(workspace(tmp_path))
    space = workspace(tmp_path, factor=5)

    def fails(*_args):
        assert read_record(space.storage, "toy/sum", "1992-01") is None
        raise OSError(28, "No space left on device", str(tmp_path / "root"))

    monkeypatch.setattr(type(space.storage), "publish", fails)
    with pytest.raises(StorageRefused, match="No space left on device.*free space there"):
        space.make("toy/sum", "1992-01")
    assert read_record(space.storage, "toy/sum", "1992-01") is None


def test_a_file_that_gets_another_name_leaves_none_under_the_old_one(tmp_path):
    make_everything(workspace(tmp_path))
    space = workspace(tmp_path, factor=4)
    made = space.products["toy/sum"].make

    def renamed(task):
        content = made(task)
        return Content(content.key.replace(".txt", ".dat"), content.write, content.details)

    space.products["toy/sum"].__dict__["make"] = renamed
    space.make("toy/sum", "1992-01")
    assert sorted(p.name for p in (tmp_path / "root/toy/sum").iterdir()) == [
        "1992-01.dat",
        "1992-02.txt",
        "1992-03.txt",
    ]


def test_an_input_replaced_while_it_is_read_is_not_published(tmp_path):
    space = workspace(tmp_path)
    space.make("toy/base", "")
    made = space.products["toy/sum"].make

    def slow(task):
        content = made(task)
        (tmp_path / "inputs/months/1992-01").write_text("12345")
        return content

    space.products["toy/sum"].__dict__["make"] = slow
    with pytest.raises(InputMissing, match="changed while it was read"):
        space.make("toy/sum", "1992-01")
    assert list(recorded_partitions(space.storage, "toy/sum")) == []


def test_a_record_that_is_no_json_counts_as_absent_and_is_replaced(tmp_path):
    make_everything(workspace(tmp_path))
    (tmp_path / "root/.records/toy/sum/1992-01.json").write_text("{")
    assert not workspace(tmp_path).make("toy/sum", "1992-01").skipped
    assert workspace(tmp_path).make("toy/sum", "1992-01").skipped


def test_a_checksum_manifest_beside_the_inputs_is_believed(tmp_path):
    space = workspace(tmp_path)
    (tmp_path / "inputs/MANIFEST.sha256").write_text(f"{'0' * 64}  1  months/1992-01\n")
    with pytest.raises(InputUnusable, match="expected 000000000000.*MANIFEST.sha256") as caught:
        space.make("toy/sum", "1992-01")
    assert caught.value.code == "ChecksumMismatch"
    assert not space.make("toy/sum", "1992-02").skipped


def write_beyond_limit(folder: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    space = workspace(Path(folder))
    space.make("toy/base", "")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        space.make("toy/sum", "1992-01")
    except StorageRefused as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        Path(folder, "said").write_text(f"{error.code}: {error.message}")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    import multiprocessing

    workspace(tmp_path)
    child = multiprocessing.get_context("spawn").Process(
        target=write_beyond_limit, args=(str(tmp_path),)
    )
    child.start()
    child.join(60)
    said = (tmp_path / "said").read_text()
    assert said.startswith("DiskFull: ")
    assert "free space there or choose another root" in said
    left = [name for name in bytes_below(tmp_path / "root") if "sum" in name]
    assert left == []


def test_trace_walks_back_to_files_and_checksums(tmp_path):
    space = workspace(tmp_path)
    make_everything(space)
    found = trace(space.refreshed(), "toy/sum", "1992-01")
    assert found["standing"] == "up to date"
    assert found["inputs"][0]["uri"] == str(tmp_path / "inputs/months/1992-01")
    assert len(found["inputs"][0]["sha256"]) == 64
    assert found["upstream"][0]["inputs"][0]["uri"] == str(tmp_path / "inputs/base")


def test_an_unknown_product_or_partition_names_the_nearest(tmp_path):
    with pytest.raises(ConfigurationError, match="nearest: toy/sum"):
        workspace(tmp_path).product("toy/sums")
    with pytest.raises(ConfigurationError, match="it has 1992-01 to 1992-03"):
        trace(workspace(tmp_path), "toy/sum", "1993-01")


def test_reconcile_names_every_difference_and_its_repair(tmp_path):
    space = workspace(tmp_path)
    make_everything(space)
    assert reconcile(space, list(space.products)).differences == ()
    (tmp_path / "root/toy/sum/1992-01.txt").unlink()
    (tmp_path / "root/toy/sum/1992-02.txt").write_text("999")
    (tmp_path / "root/toy/sum/stray.txt").write_text("?")
    (tmp_path / "root/toy/sum/.x.txt.sum@1992-03.part").write_text("half")
    found = reconcile(space, list(space.products))
    assert found.checked == 4
    texts = {d.found: d.repair for d in found.differences}
    assert len(texts) == 4
    assert (
        texts["toy/sum/1992-01.txt is gone"]
        == "dor-ecco toy granules sum --partition 1992-01 --verify"
    )
    assert any("sha256" in text for text in texts)
    assert texts["toy/sum/stray.txt has no record"].startswith("rm -r ")
    assert any("was left by a writer" in text for text in texts)


def test_recorded_assets_are_found_from_records_alone(tmp_path):
    space = workspace(tmp_path)
    make_everything(space)
    assert recorded_assets(space.storage) == ["toy/base", "toy/sum"]
    assert list(recorded_partitions(space.storage, "toy/sum")) == list(MONTHS)


@given(st.sampled_from(["", "1992-01", "07|123", "1992-01-31"]))
def test_partition_paths_round_trip_and_never_hold_a_pipe(partition):
    path = partition_path(partition)
    assert "|" not in path
    assert partition_of_path(path) == partition


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
mappings = st.dictionaries(st.text(min_size=1, max_size=4), scalars, max_size=4)
digests = st.dictionaries(
    st.text(min_size=1, max_size=4), st.none() | st.text("0af", min_size=8, max_size=8)
)


@given(mappings, digests, st.randoms())
def test_a_fingerprint_does_not_depend_on_the_order_of_its_ingredients(config, inputs, randoms):
    def shuffled(items):
        pairs = list(items.items())
        randoms.shuffle(pairs)
        return dict(pairs)

    one = Ingredients("1", "p", config, inputs, inputs)
    other = Ingredients("1", "p", shuffled(config), shuffled(inputs), shuffled(inputs))
    assert one.fingerprint() == other.fingerprint()
    assert list(differences(one.for_record(), other.for_record())) == []


@given(digests, digests)
def test_fingerprints_differ_exactly_where_differences_are_named(before, now):
    one, other = Ingredients("1", "p", {}, before), Ingredients("1", "p", {}, now)
    same = {k: v for k, v in before.items() if v} == {k: v for k, v in now.items() if v}
    named = list(differences(one.for_record(), other.for_record()))
    assert bool(named) == (not same)
    if before == now:
        assert one.fingerprint() == other.fingerprint()


def test_random_changes_rebuild_exactly_what_an_independent_walk_names(tmp_path):
    rng = random.Random(11)
    make_everything(workspace(tmp_path))
    for _ in range(20):
        change = rng.choice(["base", *(f"months/{month}" for month in MONTHS)])
        path = tmp_path / "inputs" / change
        path.write_text(str(int(path.read_text()) + 1))
        before = bytes_below(tmp_path / "root/toy")
        space = workspace(tmp_path)
        made = {m for m in MONTHS if not space.make("toy/sum", m).skipped}
        assert made == ({change[7:]} if change != "base" else set(MONTHS))
        after = bytes_below(tmp_path / "root/toy")
        changed = {name for name in after if after[name] != before[name]}
        assert changed == {f"sum/{m}.txt" for m in made} | (
            {"base.txt"} if change == "base" else set()
        )


def test_products_are_found_by_key():
    assert list(products()) == ["toy/base", "toy/sum"]
