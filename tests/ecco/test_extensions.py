"""What the shipped release leaves open: extensions, tokens of snapshots, vectors, strict CF."""

import netCDF4
import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import yaml

from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.products import ecco_products
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.grids.mds import write_mds
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.ecco_output import sample_record, write_sample_output
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import config_path
from tests.ecco.production import (
    SIDE,
    SSH_NATIVE,
    STRESS_LATLON,
    granule_of,
    inputs_of,
    left_behind,
    own_sample,
    production,
    root_of,
)

SNAPSHOT = "ecco/ECCO_L4_SSH_LLC0090GRID_SNAPSHOT_V4R4"


def overlay_of(folder, **changes):
    content = yaml.safe_load(config_path("ecco/release.yaml").read_text())
    content.update(changes)
    path = folder / "configs" / "ecco" / "release.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "configs"


def opened(made, key, partition, **options):
    with xr.open_dataset(granule_of(made, key, partition), **options) as granule:
        return granule.load()


# A run that goes on where the release ends


@pytest.fixture
def extension(tmp_path):
    """Half a year from New Year 2018, steps counted anew, at another version."""
    configs = overlay_of(
        tmp_path,
        version="V4r5",
        identifier="short_name",
        clock={"start": "2018-01-01T00:00:00", "end": "2018-06-30T12:00:00", "step_s": 3600},
        product_time_coverage_end="2018-06-30T12:00:00",
    )
    clock = load_catalogue(configs).clock
    write_sample_output(
        tmp_path / "inputs",
        sample_grid_fields(SIDE),
        months=[clock.step_of("2018-01", "AVG_MON"), clock.step_of("2018-06", "AVG_MON")],
        days=[clock.step_of("2018-06-30", "AVG_DAY")],
        snapshots=[0, clock.step_of("2018-01-02", "SNAP")],
        fields=("SSH", "SSHIBC", "SSHNOIBC", "ETAN"),
        version="V4r5",
        clock=clock,
    )
    return production(tmp_path / "root", tmp_path / "inputs", configs=configs)


def test_an_extension_has_partitions_from_its_own_start_to_its_own_end(extension):
    products = {product.key: product for product in ecco_products(extension.configs)}
    spans = {}
    for often in ("MONTHLY", "DAILY", "SNAPSHOT"):
        keys = products[f"ecco/ECCO_L4_SSH_LLC0090GRID_{often}_V4R5"].partitioning.keys
        spans[often] = (len(keys), keys[0], keys[-1])
    assert spans == {
        "MONTHLY": (6, "2018-01", "2018-06"),
        "DAILY": (181, "2018-01-01", "2018-06-30"),
        "SNAPSHOT": (181, "2018-01-01", "2018-06-30"),
    }


@pytest.mark.parametrize(
    ("often", "partition", "hours", "start", "end", "date"),
    [
        ("MONTHLY", "2018-01", (0, 744, 372), "2018-01-01T00", "2018-02-01T00", "2018-01"),
        ("MONTHLY", "2018-06", (3624, 4332, 3978), "2018-06-01T00", "2018-06-30T12", "2018-06"),
        ("DAILY", "2018-06-30", (4320, 4332, 4326), "2018-06-30T00", "2018-06-30T12", "2018-06-30"),
        ("SNAPSHOT", "2018-01-01", (0,), "2018-01-01T00", "2018-01-01T00", "2018-01-01T000000"),
        ("SNAPSHOT", "2018-01-02", (24,), "2018-01-02T00", "2018-01-02T00", "2018-01-02T000000"),
    ],
)
def test_times_of_an_extension_count_from_its_start(
    extension, often, partition, hours, start, end, date
):
    key = f"ecco/ECCO_L4_SSH_LLC0090GRID_{often}_V4R5"
    extension.workspace().make(key, partition)
    raw = opened(extension, key, partition, decode_cf=False)
    assert raw["time"].attrs["units"] == "hours since 2018-01-01 00:00:00"
    assert raw["time"].values[0] == hours[-1]
    if len(hours) > 1:
        npt.assert_array_equal(raw["time_bnds"], [hours[:2]])
    assert raw.attrs["time_coverage_start"] == f"{start}:00:00"
    assert raw.attrs["time_coverage_end"] == f"{end}:00:00"
    assert raw.attrs["product_time_coverage_start"] == "2018-01-01T00:00:00"
    assert raw.attrs["product_time_coverage_end"] == "2018-06-30T12:00:00"
    assert f"_{date}_ECCO_V4r5_native_" in raw.attrs["product_name"]
    assert raw.attrs["id"] == key.removeprefix("ecco/")
    assert "identifier_product_doi" not in raw.attrs
    assert raw.attrs["title"].endswith("(Version 4 Release 5)")


# Snapshots


@pytest.mark.parametrize("token", ["day_inst", "day_snap", "mon_snap", "snap"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_snapshot_is_found_under_any_token_and_flat_too(tmp_path, tmp_path_factory, token, flat):
    own = own_sample(tmp_path_factory, tmp_path)
    grid = sample_grid_fields(SIDE)
    for field in ("SSH", "SSHIBC", "SSHNOIBC", "ETAN"):
        folder = inputs_of(own) / "V4r4"
        folder = folder if flat else folder / "diags_inst" / f"{field}_{token}"
        values = sample_record(field, grid, 36)
        write_mds(folder, field, token, 36, values, time_interval_s=(36 * 3600.0,))
    states = {s.partition: s.standing for s in own.workspace().states(SNAPSHOT)}
    assert [name for name, standing in states.items() if standing != "waiting"] == ["1992-01-03"]
    own.workspace().make(SNAPSHOT, "1992-01-03")
    granule = opened(own, SNAPSHOT, "1992-01-03")
    assert "time_bnds" not in granule.variables
    assert f"SSH_{token}.0000000036.data" in granule.attrs["source_files"]
    assert granule.attrs["product_name"].startswith("SEA_SURFACE_HEIGHT_snap_1992-01-03T000000_")
    npt.assert_array_equal(granule["time"], [np.datetime64("1992-01-03", "ns")])


# Vectors that the model wrote as they are published


def write_precomputed(inputs, fields=("oceTAUE", "oceTAUN"), value=0.5):
    wet = sample_record("SSH", sample_grid_fields(SIDE), 732) != 0
    for field in fields:
        folder = inputs / "V4r4" / "diags_monthly" / f"{field}_mon_mean"
        tiles = np.where(wet, value, 0.0)
        interval_s = (3600.0, 2635200.0)
        write_mds(folder, field, "mon_mean", 732, tiles, time_interval_s=interval_s)


def in_use(made, source, tmp_path):
    configs = overlay_of(tmp_path, vector_source=source)
    return Production(made.root, made.inputs, str(configs), RunSettings())


def test_vectors_are_taken_as_they_are_where_the_release_says_so(tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    write_precomputed(inputs_of(own))
    turned = opened_after(own, "1992-01")
    assert turned.attrs["vector_source"] == "rotate"
    assert "oceTAUE_mon_mean" not in turned.attrs["source_files"]

    auto = opened_after(in_use(own, "auto", tmp_path), "1992-01")
    assert auto.attrs["vector_source"] == (
        "EXFtaue: rotate, EXFtaun: rotate, oceTAUE: precomputed, oceTAUN: precomputed"
    )
    assert set(np.unique(auto["oceTAUE"].values[np.isfinite(auto["oceTAUE"].values)])) == {0.5}
    npt.assert_array_equal(auto["EXFtaue"], turned["EXFtaue"])
    assert "oceTAUX_mon_mean" not in auto.attrs["source_files"]
    # In another month the model wrote none: they are turned.
    later = opened_after(in_use(own, "auto", tmp_path), "1992-02")
    assert later.attrs["vector_source"] == "rotate"


def opened_after(made, partition):
    made.workspace().make(STRESS_LATLON, partition)
    return opened(made, STRESS_LATLON, partition)


def test_half_a_precomputed_vector_is_turned_whole(tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    write_precomputed(inputs_of(own), fields=("oceTAUE",))
    assert opened_after(in_use(own, "auto", tmp_path), "1992-01").attrs["vector_source"] == "rotate"


def test_where_only_precomputed_vectors_count_their_absence_is_named(tmp_path, tmp_path_factory):
    own = in_use(own_sample(tmp_path_factory, tmp_path), "precomputed", tmp_path)
    write_precomputed(inputs_of(own))
    with pytest.raises(InputMissing, match="EXFtaue at step 732") as error:
        own.workspace().make(STRESS_LATLON, "1992-01")
    assert error.value.code == "MissingInput"
    assert left_behind(root_of(own), STRESS_LATLON, "1992-01") == []
    made = own.workspace().make(STRESS_LATLON, "1992-01", Policy(allow_partial=True)).record
    assert made.details["variables"] == ["oceTAUE", "oceTAUN"]
    granule = opened(own, STRESS_LATLON, "1992-01")
    assert granule.attrs["vector_source"] == "precomputed"


# Strict CF


def test_strict_cf_leaves_attributes_out_and_changes_the_fingerprint(tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    plain = own.workspace().make(SSH_NATIVE, "1992-01").record
    told = Production(own.root, own.inputs, None, RunSettings(strict_cf=True))
    state = told.workspace().state(SSH_NATIVE, "1992-01")
    assert state.standing == "stale"
    assert state.reasons == ("configuration strict_cf is new",)
    strict = told.workspace().make(SSH_NATIVE, "1992-01").record
    assert strict.fingerprint != plain.fingerprint
    with netCDF4.Dataset(granule_of(told, SSH_NATIVE, "1992-01")) as file:
        assert "axis" not in file["i"].ncattrs()
        assert "long_name" not in file["time_bnds"].ncattrs()
        assert file["time"].axis == "T"
    assert verify_granule(told.workspace().storage, SSH_NATIVE, "1992-01") == []
    configured = Production(
        own.root, own.inputs, str(overlay_of(tmp_path, strict_cf=True)), RunSettings()
    )
    assert configured.workspace().state(SSH_NATIVE, "1992-01").standing == "up to date"


def test_a_snapshot_partition_is_a_day_of_the_run():
    assert V4R4_CLOCK.partition_key(36, "SNAP") == "1992-01-03"
