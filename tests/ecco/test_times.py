from itertools import pairwise

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.times import (
    FREQUENCIES,
    V4R4_CLOCK,
    ModelClock,
    frequency_named,
    frequency_of_period,
    hours_since,
)
from dor_ecco_assets.errors import ConfigurationError, InputUnusable

AVERAGES = ("AVG_DAY", "AVG_MON")
N_RECORDS = {"AVG_DAY": 9497, "AVG_MON": 312}

averages = st.sampled_from(AVERAGES)


def second(text):
    return np.datetime64(text, "s")


@st.composite
def clocks(draw):
    """Runs of up to ten years that may start and end in the middle of a day."""
    step_s = draw(st.sampled_from([900, 1200, 3600, 7200]))
    start = second("1980-01-01") + np.timedelta64(draw(st.integers(0, 20_000)) * step_s, "s")
    length = draw(st.integers(1, 10 * 366 * 86400 // step_s))
    return ModelClock(start, step_s, start + np.timedelta64(length * step_s, "s"))


@pytest.mark.parametrize(
    ("step", "frequency", "start", "end", "centre"),
    [
        (732, "AVG_MON", "1992-01-01T12", "1992-02-01T00", "1992-01-16T18:00"),
        (1428, "AVG_MON", "1992-02-01T00", "1992-03-01T00", "1992-02-15T12:00"),
        (12, "AVG_DAY", "1992-01-01T12", "1992-01-02T00", "1992-01-01T18:00"),
        (36, "AVG_DAY", "1992-01-02T00", "1992-01-03T00", "1992-01-02T12:00"),
        (227904, "AVG_MON", "2017-12-01T00", "2017-12-31T12", "2017-12-16T06:00"),
        (227904, "AVG_DAY", "2017-12-31T00", "2017-12-31T12", "2017-12-31T06:00"),
        (108, "SNAP", "1992-01-06T00", "1992-01-06T00", "1992-01-06T00"),
    ],
)
def test_the_time_table_of_v4r4_holds(step, frequency, start, end, centre):
    bounds = V4R4_CLOCK.period_bounds(step, frequency)
    assert bounds == (second(start), second(end), second(centre))
    key = V4R4_CLOCK.partition_key(step, frequency)
    assert V4R4_CLOCK.step_of(key, frequency) == step


@pytest.mark.parametrize("frequency", AVERAGES)
def test_all_records_of_v4r4_touch_without_gaps(frequency):
    keys = V4R4_CLOCK.partition_keys(frequency)
    steps = [V4R4_CLOCK.step_of(key, frequency) for key in keys]
    bounds = [V4R4_CLOCK.period_bounds(step, frequency) for step in steps]
    assert len(keys) == N_RECORDS[frequency]
    assert bounds[0].start == V4R4_CLOCK.start
    assert bounds[-1].end == V4R4_CLOCK.end
    assert all(before.end == after.start for before, after in pairwise(bounds))
    assert all(b.start < b.centre < b.end for b in bounds)
    assert [V4R4_CLOCK.partition_key(step, frequency) for step in steps] == keys
    assert hours_since(np.array([b.centre for b in bounds]), V4R4_CLOCK.start).dtype == np.int32


def test_leap_days_have_records_and_lengthen_their_month():
    keys = V4R4_CLOCK.partition_keys("AVG_DAY")
    leap_days = [key for key in keys if key.endswith("-02-29")]
    assert leap_days == [f"{year}-02-29" for year in range(1992, 2017, 4)]
    for year, days in ((1992, 29), (1993, 28), (2000, 29)):
        bounds = V4R4_CLOCK.period_bounds(V4R4_CLOCK.step_of(f"{year}-02", "AVG_MON"), "AVG_MON")
        assert bounds.end - bounds.start == np.timedelta64(days, "D")


@given(clock=clocks(), frequency=averages)
def test_records_of_any_run_touch_and_cover_it(clock, frequency):
    keys = clock.partition_keys(frequency)
    steps = [clock.step_of(key, frequency) for key in (*keys[:40], *keys[-2:])]
    bounds = [clock.period_bounds(step, frequency) for step in steps]
    assert keys == sorted(set(keys))
    assert bounds[0].start == clock.start
    assert bounds[-1].end == clock.end
    assert all(a.end == b.start for a, b in pairwise(bounds[:40]) if a.end < b.end)
    assert [clock.partition_key(s, frequency) for s in steps] == [*keys[:40], *keys[-2:]]


@given(step=st.integers(1, V4R4_CLOCK.last_step), frequency=averages)
def test_a_step_is_a_record_exactly_if_a_partition_has_it(step, frequency):
    end = V4R4_CLOCK.time_of(step)
    unit = "D" if frequency == "AVG_DAY" else "M"
    on_boundary = end.astype(f"datetime64[{unit}]").astype("datetime64[s]") == end
    if on_boundary or step == V4R4_CLOCK.last_step:
        key = V4R4_CLOCK.partition_key(step, frequency)
        assert V4R4_CLOCK.step_of(key, frequency) == step
    else:
        with pytest.raises(InputUnusable, match=str(end)) as error:
            V4R4_CLOCK.period_bounds(step, frequency, name="SSH.data")
        assert error.value.code == "TimeAlignment"
        assert error.value.uri == "SSH.data"


@given(step=st.integers(0, 9495).map(lambda day: 12 + 24 * day))
def test_a_snapshot_is_its_own_instant(step):
    key = V4R4_CLOCK.partition_key(step, "SNAP")
    assert V4R4_CLOCK.step_of(key, "SNAP") == step
    assert set(V4R4_CLOCK.period_bounds(step, "SNAP")) == {V4R4_CLOCK.time_of(step)}


def test_a_misaligned_step_is_named_with_its_date_and_the_period_it_should_end():
    with pytest.raises(InputUnusable) as error:
        V4R4_CLOCK.period_bounds(36, "AVG_MON", name="s3://b/SSH_mon_mean.0000000036.data")
    message = str(error.value)
    assert "s3://b/SSH_mon_mean.0000000036.data: step 36 is 1992-01-03T00:00:00" in message
    assert "no month ends" in message
    assert "2017-12-31T12:00:00" in message


@pytest.mark.parametrize("step", [-1, 0, V4R4_CLOCK.last_step + 12])
def test_a_step_outside_the_run_is_refused(step):
    with pytest.raises(InputUnusable, match="outside the run") as error:
        V4R4_CLOCK.period_bounds(step, "AVG_DAY")
    assert error.value.code == "TimeAlignment"


@pytest.mark.parametrize(
    ("key", "frequency"),
    [
        ("1992-01-01", "AVG_MON"),
        ("1992-01", "AVG_DAY"),
        ("1992-13", "AVG_MON"),
        ("1993-02-29", "AVG_DAY"),
        ("1991-12", "AVG_MON"),
        ("1991-12-31", "AVG_DAY"),
        ("2018-01-01", "AVG_DAY"),
        ("2018-01", "AVG_MON"),
        ("1992-01-02T000000", "SNAP"),
        ("1992-01-01", "SNAP"),
        ("2018-01-01", "SNAP"),
        ("today", "AVG_DAY"),
    ],
)
def test_a_key_that_names_no_partition_is_refused(key, frequency):
    with pytest.raises(ConfigurationError, match=key) as error:
        V4R4_CLOCK.step_of(key, frequency)
    assert error.value.code == "UnknownPartition"


def test_a_key_between_two_steps_is_refused():
    clock = ModelClock(second("2000-01-01T00:30"), 3600, second("2000-03-01T00:30"))
    with pytest.raises(ConfigurationError, match="not a whole number of 3600 s steps") as error:
        clock.step_of("2000-01", "AVG_MON")
    assert error.value.code == "TimeAlignment"


def test_snapshots_are_those_of_midnight_within_the_run():
    keys = V4R4_CLOCK.partition_keys("SNAP")
    assert (len(keys), keys[0], keys[-1]) == (9496, "1992-01-02", "2017-12-31")
    assert V4R4_CLOCK.step_of("1992-01-02", "SNAP") == 12
    at_midnight = ModelClock(second("2000-01-01T00"), 3600, second("2000-01-03T00"))
    assert at_midnight.partition_keys("SNAP") == ["2000-01-01", "2000-01-02", "2000-01-03"]
    assert at_midnight.step_of("2000-01-01", "SNAP") == 0
    with pytest.raises(InputUnusable, match="expected 00:00 of a day") as error:
        V4R4_CLOCK.partition_key(100, "SNAP")
    assert error.value.code == "TimeAlignment"


def test_static_fields_have_no_list_of_partitions():
    with pytest.raises(ConfigurationError, match="not an average"):
        V4R4_CLOCK.partition_keys("TI")
    with pytest.raises(ConfigurationError, match="not an average"):
        V4R4_CLOCK.step_of("1992-01", "TI")


def test_a_run_that_its_step_does_not_divide_is_refused():
    with pytest.raises(ConfigurationError, match="do not divide"):
        ModelClock(step_s=7000)


@pytest.mark.parametrize(
    ("interval", "step", "frequency"),
    [
        ((3600.0, 2635200.0), 732, "AVG_MON"),
        ((2635200.0, 5140800.0), 1428, "AVG_MON"),
        ((0.0, 43200.0), 12, "AVG_DAY"),
        ((360000.0,), 100, "SNAP"),
    ],
)
def test_intervals_as_the_model_states_them_pass(interval, step, frequency):
    V4R4_CLOCK.check_interval(interval, step, frequency, name="x.meta")


@pytest.mark.parametrize(
    ("interval", "step", "frequency", "expected", "hint"),
    [
        ((2548800.0, 2635200.0), 732, "AVG_MON", "[0, 2635200]", "1 days, as AVG_DAY files do"),
        ((0.0, 2635200.0), 732, "AVG_DAY", "[2548800, 2635200]", "30.5 days, as AVG_MON"),
        ((7201.0, 2635200.0), 732, "AVG_MON", "[0, 2635200]", "start and time step"),
        ((3600.0, 2635201.0), 732, "AVG_MON", "[0, 2635200]", "start and time step"),
        ((2635200.0,), 732, "AVG_MON", "[0, 2635200]", "snapshot"),
        ((0.0, 2635200.0), 732, "SNAP", "[2635200]", "average, not a snapshot"),
        ((1.5,), 732, "SNAP", "[2635200]", "time step"),
        ((), 732, "AVG_MON", "[0, 2635200]", "states none"),
    ],
)
def test_an_interval_of_another_period_is_refused(interval, step, frequency, expected, hint):
    with pytest.raises(InputUnusable) as error:
        V4R4_CLOCK.check_interval(interval, step, frequency, name="SSH.meta")
    assert error.value.code == "TimeIntervalMismatch"
    assert error.value.uri == "SSH.meta"
    assert expected in str(error.value)
    assert hint in str(error.value)


@given(hours=st.lists(st.integers(0, 300_000), min_size=1, max_size=5), odd_s=st.integers(0, 3599))
def test_whole_hours_are_integers_and_others_keep_their_fraction(hours, odd_s):
    start = V4R4_CLOCK.start
    times = start + np.array(hours, "timedelta64[h]") + np.timedelta64(odd_s, "s")
    encoded = hours_since(times, start)
    assert encoded.dtype == (np.float64 if odd_s else np.int32)
    npt.assert_allclose(encoded, np.array(hours) + odd_s / 3600, rtol=1e-12)


def test_time_units_name_the_start_of_the_model():
    assert V4R4_CLOCK.time_units == "hours since 1992-01-01 12:00:00"
    assert V4R4_CLOCK.last_step == 227904


def test_frequencies_are_known_by_code_alias_and_period_token():
    for code, spec in FREQUENCIES.items():
        assert all(frequency_named(f" {name.lower()} ") == code for name in (code, *spec.aliases))
        assert all(frequency_of_period(token) == code for token in spec.periods)
    with pytest.raises(ConfigurationError, match="SNAPSHOT") as error:
        frequency_named("HOURLY")
    assert error.value.code == "UnknownFrequency"
    with pytest.raises(ConfigurationError, match="mon_snap"):
        frequency_of_period("year_mean")
