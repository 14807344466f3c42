"""One-dimensional datasets: closed-form means, ready-made series, and what is wrong with files."""

import json
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.planning import find_gaps
from dor_ecco_assets.ecco.series import Series, load_series, spans
from dor_ecco_assets.ecco.series_files import read_series
from dor_ecco_assets.ecco.series_granules import wet_area_mean
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.errors import ConfigurationError, InputMissing, InputUnusable
from dor_ecco_assets.grids.mds import write_grid_file
from dor_ecco_assets.lineage.quarantine import read_quarantined
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.samples.ecco_series import (
    planted_mean,
    series_values,
    write_planted_records,
    write_sample_series,
)
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import config_path
from dor_ecco_assets.stores.opening import open_product
from tests.cli.production import Cli
from tests.ecco.production import inputs_of, production

SEA_LEVEL = "ecco/ECCO_L4_GMSL_TIME_SERIES_MONTHLY_V4R4"
SEA_LEVEL_DAILY = "ecco/ECCO_L4_GMSL_TIME_SERIES_DAILY_V4R4"
PRESSURE = "ecco/ECCO_L4_GMAP_TIME_SERIES_MONTHLY_V4R4"
PRESSURE_HOURLY = "ecco/ECCO_L4_GMAP_TIME_SERIES_SNAPSHOT_V4R4"
SBO = "ecco/ECCO_L4_SBO_CORE_TIME_SERIES_SNAPSHOT_V4R4"
EVERY = (SEA_LEVEL, SEA_LEVEL_DAILY, PRESSURE, PRESSURE_HOURLY, SBO)

TOTAL, MASS, STERIC = (
    f"global_mean_{name}sea_level_anomaly" for name in ("", "barystatic_", "sterodynamic_")
)
MONTHS, DAYS = ("1992-01", "1992-02", "1992-03"), ("1992-01-01", "1992-01-02")
HOURS = range(1, 49)
GRID_FIELDS = sample_grid_fields(6)
SBO_NAMES = next(
    found.series.variables
    for found in load_series(load_catalogue())
    if found.series.stem == "SBO_CORE_PRODUCTS"
)


def write_inputs(folder: Path, months=MONTHS, days=DAYS) -> Path:
    for name, values in GRID_FIELDS.items():
        write_grid_file(folder / "llc90", name, values)
    fields = ("SSH", "OBP", "EXFpress")
    write_planted_records(folder, GRID_FIELDS, partitions=months, fields=fields)
    write_planted_records(folder, GRID_FIELDS, partitions=days, frequency="AVG_DAY")
    series = folder / "V4r4/series"
    write_sample_series(series / "SBO_CORE_PRODUCTS.csv", SBO_NAMES, HOURS)
    write_sample_series(series / "GLOBAL_MEAN_ATM_SURFACE_PRES.nc", ["Pa_global"], HOURS)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    found = production(folder / "root", write_inputs(folder / "inputs"))
    for key in EVERY:
        found.workspace().make(key, "")
    return found


@pytest.fixture
def own(made, tmp_path):
    shutil.copytree(inputs_of(made), tmp_path / "inputs")
    return production(tmp_path / "root", tmp_path / "inputs")


def opened(made, key: str) -> xr.Dataset:
    return open_product(made.workspace().storage, key)


def details_of(made, key: str) -> dict:
    return read_record(made.workspace().storage, key, "").details


# What is in them


@pytest.mark.parametrize(
    ("key", "often", "names"),
    [
        (SEA_LEVEL, "AVG_MON", MONTHS),
        (SEA_LEVEL_DAILY, "AVG_DAY", DAYS),
    ],
)
def test_a_planted_sea_level_comes_back_exactly(made, key, often, names):
    series = opened(made, key)
    steps = [V4R4_CLOCK.step_of(name, often) for name in names]
    total, mass = ([planted_mean(f, step) for step in steps] for f in ("SSH", "OBP"))
    npt.assert_allclose(series[TOTAL], total, rtol=0, atol=1e-12)
    npt.assert_allclose(series[MASS], mass, rtol=0, atol=1e-12)
    npt.assert_array_equal(series[STERIC], series[TOTAL].values - series[MASS].values)
    bounds = [V4R4_CLOCK.period_bounds(step, often) for step in steps]
    npt.assert_array_equal(series["time"], np.array([b.centre for b in bounds], "datetime64[ns]"))
    npt.assert_array_equal(
        series["time_bnds"][:, 1].values.astype("datetime64[s]"), [b.end for b in bounds]
    )
    assert series["time"].values[0] == np.datetime64(
        "1992-01-16T18" if often == "AVG_MON" else "1992-01-01T18"
    )


def test_a_planted_pressure_comes_back(made):
    steps = [V4R4_CLOCK.step_of(month, "AVG_MON") for month in MONTHS]
    expected = [planted_mean("EXFpress", step) for step in steps]
    npt.assert_allclose(opened(made, PRESSURE)["Pa_global"], expected, rtol=1e-15)


@given(
    value=st.floats(-1e6, 1e6),
    wet=st.lists(st.booleans(), min_size=4, max_size=4),
    seed=st.integers(0, 9),
)
def test_the_mean_of_a_constant_is_that_constant_whatever_land_holds(value, wet, seed):
    mask = np.array(wet)
    area = np.random.default_rng(seed).uniform(1e8, 1e10, 4)
    mean = wet_area_mean(np.where(mask, value, np.nan), area, mask)
    npt.assert_allclose(mean, value if mask.any() else np.nan, rtol=1e-14)


def test_the_order_of_cells_does_not_change_a_bit_of_a_mean():
    random_numbers = np.random.default_rng(1)
    field, area = random_numbers.normal(size=5000), random_numbers.uniform(1e8, 1e10, 5000)
    wet = random_numbers.random(5000) < 0.7
    order = random_numbers.permutation(5000)
    assert wet_area_mean(field, area, wet) == wet_area_mean(field[order], area[order], wet[order])


@pytest.mark.parametrize("key", [PRESSURE_HOURLY, SBO])
def test_a_ready_made_series_is_kept_to_the_last_bit(made, key):
    series = opened(made, key)
    names = SBO_NAMES if key == SBO else ("Pa_global",)
    assert tuple(series.data_vars) == names
    assert len(SBO_NAMES) == 26
    for place, name in enumerate(names):
        npt.assert_array_equal(series[name].values, series_values(place, list(HOURS)))
    hours = (series["time"].values - np.datetime64("1992-01-01T12")) / np.timedelta64(1, "h")
    npt.assert_array_equal(hours, list(HOURS))
    assert "time_bnds" not in series.variables
    assert series.attrs["time_coverage_resolution"] == "PT1H"
    assert series.attrs["time_coverage_start"] == "1992-01-01T13:00:00"
    assert series.attrs["time_coverage_duration"] == "P1DT23H"


@pytest.mark.parametrize("kind", ["csv", "nc"])
def test_csv_and_netcdf_say_the_same(tmp_path, kind):
    path = write_sample_series(tmp_path / f"a.{kind}", ["one", "two"], list(HOURS))
    columns = {"x": "two"}
    times, values = read_series(path.read_bytes(), uri="a", time="time", columns=columns)
    npt.assert_array_equal(times, V4R4_CLOCK.start + np.array(HOURS).astype("timedelta64[h]"))
    npt.assert_array_equal(values["x"], series_values(1, list(HOURS)))


def test_classic_netcdf_is_read_too(tmp_path):
    path = write_sample_series(tmp_path / "a.nc", ["one"], list(HOURS))
    with xr.open_dataset(path) as table:
        table.to_netcdf(tmp_path / "b.nc", format="NETCDF3_64BIT", engine="scipy")
    data = (tmp_path / "b.nc").read_bytes()
    assert data[:3] == b"CDF"
    _, values = read_series(data, uri="b", time="time", columns={"one": "one"})
    npt.assert_array_equal(values["one"], series_values(0, list(HOURS)))


@pytest.mark.parametrize("key", EVERY)
def test_a_series_is_verified_named_and_has_no_place(made, key):
    assert verify_granule(made.workspace().storage, key, "") == []
    series = opened(made, key)
    assert series.attrs["product_name"].endswith("_ECCO_V4r4_1D.nc")
    assert not [name for name in series.attrs if name.startswith("geospatial")]
    assert not {"latitude", "longitude", "XC", "YC"} & set(series.variables)
    for variable in series.data_vars.values():
        assert variable.dims == ("time",)
        assert variable.dtype == np.float64
        assert variable.attrs["valid_min"] == variable.min()
    raw = opened(made, key).variables["time"].encoding
    assert raw["dtype"] == np.int32
    assert raw["units"] == "hours since 1992-01-01 12:00:00"


def test_archived_series_have_a_doi_and_others_none(made):
    assert opened(made, SEA_LEVEL).attrs["id"] == "10.5067/ECTSM-MSL44"
    assert opened(made, SBO).attrs["id"] == "10.5067/ECTSS-SBO44"
    other = opened(made, PRESSURE).attrs
    assert other["id"] == "ECCO_L4_GMAP_TIME_SERIES_MONTHLY_V4R4"
    assert "identifier_product_doi" not in other
    assert other["metadata_link"] == other["references"]


def test_details_list_what_is_absent_and_inputs_all_records(made):
    details = details_of(made, SEA_LEVEL)
    assert details["missing_months"] == ["1992-04...2017-12"]
    assert len(details["ingredients"]["inputs"]) == len(MONTHS) * 2 * 2
    assert details["last"] == "1992-03-16T12:00:00"


# When records come and go


def test_a_new_month_makes_the_series_stale_and_longer(own):
    space = own.workspace()
    space.make(SEA_LEVEL, "")
    before = opened(own, SEA_LEVEL).load()
    write_planted_records(inputs_of(own), GRID_FIELDS, partitions=["1992-04"])
    space = own.workspace()
    assert [state.standing for state in space.states(SEA_LEVEL)] == ["stale"]
    space.make(SEA_LEVEL, "")
    after = opened(own, SEA_LEVEL)
    assert after.sizes["time"] == 4
    xr.testing.assert_equal(after.isel(time=slice(3)), before)
    assert own.workspace().make(SEA_LEVEL, "").skipped


def test_a_month_inside_that_lacks_a_field_needs_allow_partial(own):
    for path in inputs_of(own).rglob("OBP_mon_mean.0000001428.*"):
        path.unlink()
    space = own.workspace()
    with pytest.raises(InputMissing, match="for 1992-02; bring them, or --allow-partial") as caught:
        space.make(SEA_LEVEL, "")
    assert caught.value.code == "MissingInput"
    assert read_record(space.storage, SEA_LEVEL, "") is None
    space.make(SEA_LEVEL, "", Policy(allow_partial=True))
    assert opened(own, SEA_LEVEL).sizes["time"] == 2
    assert details_of(own, SEA_LEVEL)["missing_months"] == ["1992-02", "1992-04...2017-12"]


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        (["OBP"], "between 1992-01 and 1992-03 .* not all there for 1992-03"),
        (["OBP", "SSH"], "was made with 1992-03, .* not all there any more"),
    ],
)
def test_a_series_never_gets_shorter_unless_allowed(own, lost, says):
    own.workspace().make(SEA_LEVEL, "")
    for field in lost:
        for path in inputs_of(own).rglob(f"{field}_mon_mean.0000002172.*"):
            path.unlink()
    for policy in (Policy(), Policy(force=True)):
        with pytest.raises(InputMissing, match=says) as caught:
            own.workspace().make(SEA_LEVEL, "", policy)
        assert caught.value.code == "MissingInput"
    assert opened(own, SEA_LEVEL).sizes["time"] == 3
    (gap,) = find_gaps(own.workspace(), SEA_LEVEL)
    assert gap.kind == "incomplete"
    assert "1992-03" in gap.why
    own.workspace().make(SEA_LEVEL, "", Policy(allow_partial=True))
    assert opened(own, SEA_LEVEL).sizes["time"] == 2
    # What lacks a field stays a gap; what is gone altogether was given up knowingly.
    assert [gap.kind for gap in find_gaps(own.workspace(), SEA_LEVEL)] == [
        "incomplete" for _ in lost if len(lost) == 1
    ]


def test_a_first_series_needs_every_period_that_has_any_field(own):
    for path in inputs_of(own).rglob("OBP_mon_mean.0000000732.*"):
        path.unlink()
    with pytest.raises(InputMissing, match="not all there for 1992-01; bring them"):
        own.workspace().make(SEA_LEVEL, "")
    (gap,) = find_gaps(own.workspace(), SEA_LEVEL)
    assert (gap.kind, "1992-01" in gap.why) == ("input missing", True)


def test_without_records_or_files_the_products_wait(tmp_path):
    folder = tmp_path / "inputs"
    write_planted_records(folder, GRID_FIELDS, partitions=MONTHS, fields=["SSH"])
    space = production(tmp_path / "root", folder).workspace()
    for key in EVERY:
        assert [state.standing for state in space.states(key)] == ["waiting"]
        with pytest.raises(InputMissing) as caught:
            space.make(key, "")
        assert caught.value.code == "MissingInput"


def test_a_record_without_its_description_is_named(own):
    next(inputs_of(own).rglob("OBP_mon_mean.0000001428.meta")).unlink()
    with pytest.raises(InputMissing, match=r"0000001428\.data has no description"):
        own.workspace().make(SEA_LEVEL, "")


def test_a_record_with_nan_is_quarantined_with_the_series(own):
    path = next(inputs_of(own).rglob("OBP_mon_mean.0000001428.data"))
    values = np.frombuffer(path.read_bytes(), ">f8").copy()
    values[np.flatnonzero(values)[0]] = np.nan
    path.write_bytes(values.tobytes())
    space = own.workspace()
    with pytest.raises(InputUnusable, match="NaN or infinity in 1 wet cells") as caught:
        space.make(SEA_LEVEL, "")
    assert caught.value.code == "NonFinite"
    nothing_was_published(space, SEA_LEVEL, "NonFinite")


def nothing_was_published(space, key: str, code: str) -> None:
    assert read_quarantined(space.storage, key, "").code == code
    assert read_record(space.storage, key, "") is None
    assert [name for name, _ in space.storage.list(key)] == []


def test_memory_does_not_grow_with_the_months(tmp_path):
    side, fields, every = 30, sample_grid_fields(30), V4R4_CLOCK.partition_keys("AVG_MON")
    for name, values in fields.items():
        write_grid_file(tmp_path / "inputs/llc90", name, values)
    peaks: list[int] = []
    for run, months in enumerate((4, 4, 24)):  # the first loads and compiles what all need
        write_planted_records(tmp_path / "inputs", fields, partitions=every[:months])
        space = production(tmp_path / f"root{run}", tmp_path / "inputs").workspace()
        space.make("grids/llc90", "")
        space.open_upstream("grids/llc90").load()
        tracemalloc.start()
        space.make(SEA_LEVEL, "")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    further_bytes = 20 * 2 * 13 * side**2 * 8  # of the records that the longer series has more
    assert peaks[2] - peaks[1] < further_bytes / 4


def test_a_second_run_gives_the_same_bytes(made):
    for key in EVERY:
        space = made.workspace()
        before = read_record(space.storage, key, "").sha256
        assert space.make(key, "").skipped
        assert space.make(key, "", Policy(force=True)).record.sha256 == before


# Files that cannot be used

GOOD = "time,a,b\n1992-01-01T13:00:00,1,2\n1992-01-01T14:00:00,3,4\n"
TABLES = [
    (GOOD.replace("b", "c"), "MissingColumn", "has no b; found time, a, c"),
    (GOOD.replace("time", "date"), "MissingColumn", "has no time; found date, a, b"),
    (GOOD.replace("14:00", "12:00"), "TimesUnsorted", "1992-01-01T12:00:00 comes after"),
    (GOOD.replace("14:00", "13:00"), "TimesRepeat", "1992-01-01T13:00:00 comes twice"),
    (GOOD.replace(",4", ",4x"), "BadNumber", "line 3, column b: '4x' is not a number"),
    (GOOD.replace(",4", ","), "BadNumber", "line 3, column b: '' is not a number"),
    (GOOD.replace(",4", ",nan"), "NonFinite", "b is NaN, infinite or filled at 1 of 2 times"),
    (GOOD.replace(",4", ",inf"), "NonFinite", "first at 1992-01-01T14:00:00"),
    (GOOD.replace(",4", ""), "NotASeries", "line 3 has 2 cells, expected 3"),
    (GOOD.replace("01T14:00:00", "01"), "BadTime", "line 3: '1992-01-01' is not a time"),
    (GOOD.replace("01-01T14", "13-01T14"), "BadTime", "'1992-13-01T14:00:00' is not a time"),
    ("time,a,b\n", "EmptySeries", "holds no time"),
    ("", "MissingColumn", "found no column"),
    (b"\xff\xfe\x00time", "NotASeries", "neither NetCDF nor CSV"),
    (b"\x89HDF\r\n\x1a\nbroken", "NotASeries", "cannot be read as NetCDF"),
    (b"CDF\x01broken", "NotASeries", "cannot be read as NetCDF"),
]


@pytest.mark.parametrize(("table", "code", "says"), TABLES)
def test_a_bad_table_is_refused_by_name(table, code, says):
    data = table.encode() if isinstance(table, str) else table
    with pytest.raises(InputUnusable) as caught:
        read_series(data, uri="s3://b/x", time="time", columns={"a": "a", "b": "b"})
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.uri == "s3://b/x"


def test_comments_blank_lines_and_other_columns_are_left_out():
    table = "# made by hand\n" + GOOD.replace("a,b", "extra,b").replace("\n1992", "\n\n1992", 1)
    _, values = read_series(table.encode(), uri="x", time="time", columns={"v": "b"})
    npt.assert_array_equal(values["v"], [2, 4])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda t: t.assign(a=t["a"].where(t["a"] < 0)), "NonFinite"),
        (lambda t: t.drop_vars("a"), "MissingColumn"),
        (lambda t: t.isel(time=[1, 0]), "TimesUnsorted"),
        (lambda t: t.isel(time=[0, 0]), "TimesRepeat"),
        (lambda t: t.assign_coords(time=("time", [1, 2])), "BadTime"),
        (lambda t: t.assign(a=("time", ["x", "y"])), "NotASeries"),
        (lambda t: t.assign(a=(("time", "n"), np.ones((2, 3)))), "NotASeries"),
    ],
)
def test_a_bad_netcdf_is_refused(tmp_path, change, code):
    path = write_sample_series(tmp_path / "a.nc", ["a"], [1, 2])
    with xr.open_dataset(path) as table:
        change(table.load()).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    data = (tmp_path / "b.nc").read_bytes()
    with pytest.raises(InputUnusable) as caught:
        read_series(data, uri="b", time="time", columns={"a": "a"})
    assert caught.value.code == code


def rewrite(own, change) -> None:
    path = inputs_of(own) / "V4r4/series/SBO_CORE_PRODUCTS.csv"
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("zcom,", "zcon,", 1), "MissingColumn"),
        (lambda text: text.replace("1992-01-03T12", "2018-01-03T12"), "TimeAlignment"),
        (lambda text: text.replace("100000", "1e5f", 1), "BadNumber"),
    ],
)
def test_a_bad_file_is_quarantined_and_nothing_published(own, change, code):
    rewrite(own, change)
    space = own.workspace()
    with pytest.raises(InputUnusable) as caught:
        space.make(SBO, "")
    assert caught.value.code == code
    nothing_was_published(space, SBO, code)
    with pytest.raises(InputUnusable, match="quarantined since"):
        own.workspace().make(SBO, "")


def test_an_impossible_pressure_is_refused(own):
    path = inputs_of(own) / "V4r4/series/GLOBAL_MEAN_ATM_SURFACE_PRES.nc"
    with xr.open_dataset(path) as table:
        spoilt = table.load() / 100  # hPa
    spoilt.to_netcdf(path, engine="h5netcdf")
    space = own.workspace()
    with pytest.raises(InputUnusable, match="expected 90000 to 110000; 48 values"):
        space.make(PRESSURE_HOURLY, "")
    nothing_was_published(space, PRESSURE_HOURLY, "OutOfRange")


def test_missing_hours_are_counted(own):
    rewrite(
        own, lambda text: "".join(line for line in text.splitlines(True) if "02T05" not in line)
    )
    own.workspace().make(SBO, "")
    assert details_of(own, SBO)["irregular_steps"] == 1


# Configuration


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"means": {"a": "SSH"}, "delivered": {"files": ["x.nc"]}}, "not both"),
        ({"variables": ["a", "b"], "means": {"a": "SSH"}}, "every variable needs one"),
        (
            {"variables": ["a", "b"], "means": {"a": "SSH"}, "differences": {"b": ["a", "c"]}},
            "c, which",
        ),
    ],
)
def test_a_series_without_a_clear_source_is_refused(change, says):
    plain = {"stem": "X", "name": "x", "title": "x", "frequencies": ["AVG_MON"], "variables": ["a"]}
    with pytest.raises(ValueError, match=says):
        Series.model_validate(plain | change)


@pytest.mark.parametrize(
    ("field", "code"), [("SSHX", "UnknownField"), ("oceTAUX", "LocationMismatch")]
)
def test_a_mean_of_an_unknown_or_staggered_field_is_refused(tmp_path, field, code):
    (tmp_path / "ecco").mkdir()
    config = yaml.safe_load(config_path("ecco/series.yaml").read_text())
    config["series"][0]["means"][TOTAL] = field
    (tmp_path / "ecco/series.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigurationError) as caught:
        load_series(load_catalogue(), str(tmp_path))
    assert caught.value.code == code


def test_runs_of_absent_periods_are_told_as_spans():
    names = list("abcdef")
    assert spans([True, False, True, True, False, True], names) == ["a", "c...d", "f"]
    assert spans([False] * 6, names) == []
    shuffled = [random.Random(1).random() < 2 for _ in names]
    assert spans(shuffled, names) == ["a...f"]


# Through the command line and Dagster


def test_the_command_line_makes_verifies_and_lists_them(tmp_path):
    write_inputs(tmp_path / "data/inputs")
    for path in (tmp_path / "data/inputs").rglob("EXFpress*.*"):
        path.unlink()
    run = Cli(tmp_path)
    rows = json.loads(run("ecco", "granules", "TIME_SERIES", "GEOMETRY", "--json").stdout)
    made = {SEA_LEVEL, SEA_LEVEL_DAILY, PRESSURE_HOURLY, SBO, "ecco/ECCO_L4_GEOMETRY_05DEG_V4R4"}
    assert {row["product"] for row in rows} == made
    assert {(row["partition"], row["became"]) for row in rows} == {("", "made")}
    again = json.loads(run("ecco", "granules", "TIME_SERIES", "--json").stdout)
    assert {row["became"] for row in again} == {"up to date"}
    found = json.loads(run("ecco", "verify", "--json").stdout)
    assert {(row["product"], row["found"]) for row in found} == {(key, "good") for key in made}
    result = run("ecco", "granules", "GMSL", "--partition", "1992-01", code=2)
    assert "name no partition" in result.stderr
    told = run("why", SEA_LEVEL).stdout
    assert "SSH_mon_mean.0000000732.data" in told


def test_dagster_materialises_a_series_and_its_checks_pass(own):
    import dagster as dg

    from dor_ecco_assets.definitions import build_definitions
    from resources.production import InputsResource, ProductionResource, StorageResource

    storage = StorageResource(root=str(own.root.root))
    found = ProductionResource(storage=storage, inputs=InputsResource(root=str(own.inputs.root)))
    job = build_definitions(production=found).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        keys = [dg.AssetKey(key.split("/")) for key in (SEA_LEVEL, SBO)]
        result = job.execute_in_process(instance=instance, asset_selection=keys)
        assert result.success
        checks = result.get_asset_check_evaluations()
        assert all(check.passed for check in checks), [c for c in checks if not c.passed]
        materialised = {e.asset_key for e in result.get_asset_materialization_events()}
        assert set(keys) <= materialised
    assert opened(own, SEA_LEVEL).sizes["time"] == 3
