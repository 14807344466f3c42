from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.model_output import (
    index_records,
    missing_input,
    read_record,
    record_key,
)
from dor_ecco_assets.ecco.times import FREQUENCIES, frequency_of_period
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.grids.mds import MdsName, assumed_meta, write_mds
from dor_ecco_assets.storage.directory import Directory

SIDE = 4
KEY = record_key("SSH", "mon_mean", 1428)
JANUARY, FEBRUARY = (3600.0, 2635200.0), (2635200.0, 5140800.0)


@pytest.fixture
def source(tmp_path):
    return Directory(tmp_path)


def write_month(source, step=1428, interval=FEBRUARY, *, field="SSH", seed=1, levels=None, **more):
    lead = () if levels is None else (levels,)
    tiles = np.random.default_rng(seed).standard_normal((*lead, 13, SIDE, SIDE)).astype("f4")
    folder = (source.root / record_key(field, "mon_mean", step)).parent
    write_mds(folder, field, "mon_mean", step, tiles, time_interval_s=interval, **more)
    return tiles


def test_records_lie_in_the_folder_of_their_frequency():
    assert KEY == "V4r4/diags_monthly/SSH_mon_mean/SSH_mon_mean.0000001428"
    assert record_key("GM_PsiX", "day_mean", 12, version="V4r5") == (
        "V4r5/diags_daily/GM_PsiX_day_mean/GM_PsiX_day_mean.0000000012"
    )
    assert record_key("SSH", "day_snap", 100).startswith("V4r4/diags_inst/SSH_day_snap/")


records = st.tuples(
    st.sampled_from(["SSH", "GM_PsiX", "Um_dPHdx"]),
    st.sampled_from([token for spec in FREQUENCIES.values() for token in spec.periods]),
    st.integers(0, 300_000),
)


@given(st.lists(records, unique=True), st.sampled_from(["", "a/b/"]), st.randoms())
def test_an_index_finds_every_record_in_any_folder_and_order(found, folder, random):
    names = [MdsName(*record, ext) for record in found for ext in ("data", "meta")]
    keys = [*(f"{folder}{name}" for name in names), f"{folder}XC.data", "README"]
    random.shuffle(keys)
    index = index_records(keys)
    expected = {(field, frequency_of_period(period), step) for field, period, step in found}
    listed = {(*group, step) for group, steps in index.items() for step in steps}
    assert listed == expected
    assert all(list(steps) == sorted(steps) for steps in index.values())
    assert all(f"{key}.data" in keys for steps in index.values() for key in steps.values())


def test_a_record_found_twice_counts_once():
    name = "SSH_mon_mean.0000000732.data"
    assert index_records([f"b/{name}", f"a/{name}"]) == {
        ("SSH", "AVG_MON"): {732: "a/SSH_mon_mean.0000000732"}
    }


@pytest.mark.parametrize("levels", [None, 3])
def test_a_record_is_found_checked_and_read(source, levels):
    tiles = write_month(source, levels=levels)
    found, meta = read_record(source, KEY, side=SIDE, levels=levels)
    npt.assert_array_equal(found, tiles)
    assert meta.time_interval_s == FEBRUARY


def test_a_field_of_a_multi_field_file_is_read_by_its_name(source):
    tiles = write_month(source)
    write_month(source, others={"ETAN": 2 * tiles})
    etan, _ = read_record(source, KEY, side=SIDE, field="ETAN")
    npt.assert_array_equal(etan, 2 * tiles)


def test_a_missing_record_names_its_date_its_folder_and_the_steps_that_are_there(source):
    for step in (732, 2172, 2892, 3636, 4356, 227904):
        write_month(source, step)
    with pytest.raises(InputMissing) as error:
        read_record(source, KEY, side=SIDE)
    message = str(error.value)
    assert error.value.code == "MissingInput"
    assert message.startswith("SSH at step 1428 (1992-03-01T00:00:00) is missing")
    assert str(source.root / "V4r4/diags_monthly/SSH_mon_mean") in message
    assert message.endswith("nearest steps there: 732, 2172, 2892, 3636")
    assert "no other step is there" in str(missing_input(source, record_key("OBP", "mon_mean", 9)))


def test_a_missing_meta_may_be_replaced_by_an_assumed_one(source):
    tiles = write_month(source)
    (source.root / f"{KEY}.meta").unlink()
    with pytest.raises(InputMissing, match="has no description") as error:
        read_record(source, KEY, side=SIDE)
    assert error.value.code == "MissingMeta"
    assert f"{KEY}.meta" in str(error.value)
    found, _ = read_record(source, KEY, side=SIDE, assume=assumed_meta(side=SIDE))
    npt.assert_array_equal(found, tiles)
    double = assumed_meta(side=SIDE, precision="float64")
    with pytest.raises(InputUnusable, match="float32 would fit") as mismatch:
        read_record(source, KEY, side=SIDE, assume=double)
    assert mismatch.value.code == "PrecisionMismatch"


def test_an_assumed_meta_does_not_override_the_files_own(source):
    write_month(source)
    wrong = replace(assumed_meta(side=SIDE), precision="float64")
    found, _ = read_record(source, KEY, side=SIDE, assume=wrong)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data, meta: data.write_bytes(data.read_bytes()[:-4]), "SizeMismatch"),
        (lambda data, meta: data.write_bytes(2 * data.read_bytes()), "PrecisionMismatch"),
        (lambda data, meta: data.write_bytes(np.ones(208, "<f4").tobytes()), "EndianSuspect"),
        (lambda data, meta: meta.write_text(meta.read_text()[:80]), "MetaUnreadable"),
        (
            lambda data, meta: meta.write_text(meta.read_text().replace("1428", "732")),
            "StepMismatch",
        ),
        (
            lambda data, meta: meta.write_text(meta.read_text().replace("'SSH ", "'OBP ")),
            "FieldNotInFile",
        ),
        (
            lambda data, meta: meta.write_text(meta.read_text().replace("2.6352", "5.0544")),
            "TimeIntervalMismatch",
        ),
    ],
)
def test_a_spoilt_pair_is_refused_by_its_own_code_and_uri(source, spoil, code):
    write_month(source)
    spoil(*(source.root / f"{KEY}.{ending}" for ending in ("data", "meta")))
    with pytest.raises(InputUnusable) as error:
        read_record(source, KEY, side=SIDE)
    assert error.value.code == code
    assert error.value.uri.startswith(str(source.root / KEY))
    assert error.value.uri in str(error.value)


def test_output_of_another_grid_or_a_step_within_a_month_is_refused(source):
    write_month(source)
    with pytest.raises(InputUnusable, match="for llc90") as error:
        read_record(source, KEY, side=90)
    assert error.value.code == "ShapeMismatch"
    write_month(source, 1000)
    with pytest.raises(InputUnusable, match="no month ends") as misplaced:
        read_record(source, record_key("SSH", "mon_mean", 1000), side=SIDE)
    assert misplaced.value.code == "TimeAlignment"
