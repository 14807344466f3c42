"""What a production would make and what is missing, on a small sample."""

from pathlib import Path

import pytest

from dor_ecco_assets.ecco.jobs import load_numbered
from dor_ecco_assets.ecco.planning import (
    datasets_by_key,
    find_gaps,
    plan_product,
    spans_of,
    with_input,
)
from dor_ecco_assets.lineage.workspace import Policy
from tests.ecco.production import (
    MONTHS,
    SSH_LATLON,
    SSH_LATLON_DAILY,
    SSH_NATIVE,
    STRESS_NATIVE,
    granule_of,
    inputs_of,
    made_sample,
    model_file,
    own_sample,
    production,
    record_of,
)


@pytest.fixture
def sample(tmp_path_factory, tmp_path):
    return own_sample(tmp_path_factory, tmp_path)


def planned(made, key, partitions=None, levels=None):
    space = made.workspace()
    return plan_product(
        space, key, datasets_by_key(load_numbered(), space.products), partitions, levels=levels
    )


def test_partitions_with_input_are_those_of_the_sample(tmp_path_factory):
    space = made_sample(tmp_path_factory).workspace()
    assert with_input(space, SSH_NATIVE) == list(MONTHS)


def test_a_plan_takes_its_numbers_from_granules_of_its_own(sample):
    space = sample.workspace()
    for month in MONTHS[:2]:
        space.make(SSH_LATLON, month)
    plan = planned(sample, SSH_LATLON)
    assert (plan.asked, plan.done, plan.to_make, plan.no_input) == (312, 2, MONTHS[2:], 309)
    sizes = [record_of(sample, SSH_LATLON, month).bytes for month in MONTHS[:2]]
    assert plan.bytes == round(sum(sizes) / 2)
    assert plan.seconds is not None
    assert plan.seconds >= 0
    assert plan.basis == "median of 2 granules of its own"


def test_a_plan_scales_by_cells_from_the_same_grid_and_else_says_it_is_unknown(sample):
    sample.workspace().make(SSH_NATIVE, MONTHS[0])
    size = record_of(sample, SSH_NATIVE, MONTHS[0]).bytes
    same = planned(sample, STRESS_NATIVE, MONTHS[:1])
    assert same.bytes == size  # four variables of one level, as SSH has
    deep = "ecco/ECCO_L4_TEMP_SALINITY_LLC0090GRID_MONTHLY_V4R4"
    assert planned(sample, deep).bytes is None
    plan = planned(sample, deep, levels=50)
    assert plan.bytes == round(size * 2 * 50 / 4 * len(plan.to_make))
    assert "by cells 25 times" in plan.basis
    unknown = planned(sample, SSH_LATLON_DAILY)
    assert (unknown.bytes, unknown.seconds) == (None, None)
    assert unknown.basis == "unknown: nothing on its grid was ever made"


def test_gaps_are_runs_of_partitions_with_a_reason_and_the_command_that_fills_them(sample):
    space = sample.workspace()
    space.make(SSH_NATIVE, MONTHS[0])
    found = list(find_gaps(sample.workspace(), SSH_NATIVE))
    assert [(gap.kind, gap.span, gap.partitions) for gap in found] == [
        ("not made", ("1992-02", "1992-02"), 1),
        ("input missing", ("1992-03", "2017-11"), 309),
        ("not made", ("2017-12", "2017-12"), 1),
    ]
    assert found[0].fill == (
        "dor-ecco ecco granules ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4 --partition 1992-02"
    )
    assert "--partition-range 1992-03...2017-11" in found[1].fill
    assert not list(find_gaps(sample.workspace(), SSH_NATIVE, expected=MONTHS[:1]))


def test_a_gap_names_fields_that_are_missing_and_inputs_that_are_quarantined(sample):
    inputs = inputs_of(sample)
    model_file(inputs, "SSHIBC", MONTHS[0]).unlink()
    broken = model_file(inputs, "SSH", MONTHS[1])
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(Exception, match="100 bytes"):
        sample.workspace().make(SSH_NATIVE, MONTHS[1])
    first, second = find_gaps(sample.workspace(), SSH_NATIVE, expected=MONTHS[:2])
    assert (first.kind, first.why) == ("input missing", "no SSHIBC")
    assert second.kind == "quarantined"
    assert "100 bytes" in second.why
    sample.workspace().make(SSH_NATIVE, MONTHS[0], Policy(allow_partial=True))
    (partial,) = find_gaps(sample.workspace(), SSH_NATIVE, expected=MONTHS[:1])
    assert (partial.kind, partial.why) == ("incomplete", "without SSHIBC")


def test_a_granule_that_was_deleted_is_a_gap_although_its_record_is_there(sample):
    sample.workspace().make(SSH_NATIVE, MONTHS[0])
    granule_of(sample, SSH_NATIVE, MONTHS[0]).unlink()
    (gap,) = find_gaps(sample.workspace(), SSH_NATIVE, expected=MONTHS[:1])
    assert gap.kind == "not made"


def test_spans_join_neighbours_only():
    keys = [f"{n:02d}" for n in range(9)]
    assert spans_of(["07", "01", "02", "04"], keys) == [("01", "02"), ("04", "04"), ("07", "07")]


def test_a_record_between_periods_is_a_gap_of_its_own(sample):
    inputs = inputs_of(sample)
    for ending in ("data", "meta"):
        path = model_file(inputs, "SSH", MONTHS[1], ending)
        path.rename(path.with_name(f"SSH_mon_mean.0000001429.{ending}"))
    (gap,) = (g for g in find_gaps(sample.workspace(), SSH_NATIVE) if g.kind == "misaligned")
    assert (gap.span, gap.partitions) == (("", ""), 0)
    assert "step 1429 is 1992-03-01T01:00:00, where no month ends" in gap.why
    assert "SSH_mon_mean.0000001429." in gap.why
    (error,) = sample.workspace().unplaced(SSH_NATIVE)
    assert error.code == "TimeAlignment"
    assert Path(error.uri).exists()
    assert not sample.workspace().unplaced(SSH_LATLON_DAILY)


def test_a_snapshot_of_another_hour_is_told(tmp_path):
    folder = tmp_path / "V4r4/diags_inst/SSH_day_inst"
    folder.mkdir(parents=True)
    (folder / "SSH_day_inst.0000000018.data").write_bytes(b"")  # 1992-01-02T06
    (folder / "SSH_day_inst.0000000036.data").write_bytes(b"")
    space = production(tmp_path / "root", tmp_path).workspace()
    key = "ecco/ECCO_L4_SSH_LLC0090GRID_SNAPSHOT_V4R4"
    assert with_input(space, key) == ["1992-01-03"]
    (error,) = space.unplaced(key)
    assert "step 18 is 1992-01-02T06:00:00, expected 00:00 of a day" in error.message
    assert error.uri.endswith("SSH_day_inst.0000000018.data")


def test_a_run_of_another_clock_is_told_step_by_step(tmp_path):
    folder = tmp_path / "V4r4/diags_monthly/SSH_mon_mean"
    folder.mkdir(parents=True)
    (folder / "SSH_mon_mean.0000300000.data").write_bytes(b"")
    (error,) = production(tmp_path / "root", tmp_path).workspace().unplaced(SSH_NATIVE)
    assert "outside the run from 1992-01-01T12:00:00" in error.message
