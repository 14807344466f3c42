"""Checks of datasets: each finds its fault, looks once, and takes no longer than it may."""

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.definitions import build_definitions
from dor_ecco_assets.ecco import standing as module
from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.comparison import open_raw
from dor_ecco_assets.ecco.metadata_check import covered_time, metadata_problems
from dor_ecco_assets.ecco.standing import CHECKS, look_at
from dor_ecco_assets.ecco.verification import verify_granule
from dor_ecco_assets.lineage.record import write_record
from dor_ecco_assets.lineage.workspace import Policy
from resources.production import InputsResource, ProductionResource, StorageResource
from tests.ecco.production import (
    MONTHS,
    SSH_LATLON,
    SSH_NATIVE,
    STRESS_NATIVE,
    granule_of,
    inputs_of,
    made_sample,
    model_file,
    own_sample,
    production,
    record_of,
    root_of,
)


@pytest.fixture
def own(tmp_path, tmp_path_factory):
    """A production with two months of two datasets."""
    made = own_sample(tmp_path_factory, tmp_path)
    space = made.workspace()
    for key in (SSH_NATIVE, SSH_LATLON):
        for month in MONTHS[:2]:
            space.make(key, month)
    return made


def spoil(made, key: str, month: str, change) -> None:
    """Change a published granule and have its record say that this is how it was made."""
    import netCDF4

    path = granule_of(made, key, month)
    with netCDF4.Dataset(path, "r+") as file:
        change(file)
    data = path.read_bytes()
    record = replace(
        record_of(made, key, month), bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    write_record(made.workspace().storage, key, month, record)


def edited(path: Path, change) -> np.ndarray:
    """What a model file holds now, changed by a function of its values."""
    values = change(np.fromfile(path, ">f4")).astype(">f4")
    values.tofile(path)
    return values


def problems(made, key: str) -> dict[str, list[str]]:
    found = look_at(made.workspace(), key, 60)
    return {name: [f"{p}: {t}" for p, t in s.problems] for name, s in found.items() if s.problems}


@pytest.mark.parametrize("key", [SSH_NATIVE, SSH_LATLON])
def test_a_sound_production_passes_all(own, key):
    found = look_at(own.workspace(), key, 60)
    assert list(found) == list(CHECKS)
    for standing in found.values():
        assert (standing.published, standing.examined, standing.problems) == (2, 2, [])


def test_holes_between_published_granules_are_found(own, tmp_path_factory):
    assert problems(made_sample(tmp_path_factory), SSH_NATIVE) == {
        "time_contiguous": ["1992-03: and 308 more to 2017-11 are not published"]
    }
    shutil.copyfile(
        root_of(own) / f".records/{SSH_NATIVE}/1992-02.json",
        root_of(own) / f".records/{SSH_NATIVE}/1992-04.json",
    )
    assert "1992-03: is not published" in problems(own, SSH_NATIVE)["time_contiguous"]


def test_doubtful_values_are_pointed_out(own):
    """A constant field, and what lies on land where the field is defined there too."""
    inputs = inputs_of(own)
    wet = edited(model_file(inputs, "SSH"), lambda field: np.where(field == 0, 0, 0.25))
    edited(model_file(inputs, "EXFtaux"), lambda field: np.where(wet == 0, 9999.0, field))
    for key in (SSH_NATIVE, STRESS_NATIVE):
        own.workspace().make(key, "1992-01")
    assert problems(own, SSH_NATIVE) == {
        "values_plausible": ["1992-01: SSH holds one value everywhere"]
    }
    (told,) = problems(own, STRESS_NATIVE)["values_plausible"]
    assert told.startswith("1992-01: EXFtaux holds up to 9999 N m-2 on land, in one of ")
    details = record_of(own, STRESS_NATIVE, "1992-01").details
    assert details["largest_on_land"] == {"EXFtaux": 9999.0}
    assert details["values_on_land"]["EXFtaux"] > 1
    found, _ = run(own, [dg.AssetKey(SSH_NATIVE.split("/"))], partition_key="1992-01")
    warned = found["values_plausible"]
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found["checksum"].severity == dg.AssetCheckSeverity.ERROR


@pytest.mark.parametrize("top", [0.3, 0.1])
def test_values_outside_their_usual_range_are_pointed_out(own, tmp_path, top):
    overlay = tmp_path / "overlay/ecco"
    overlay.mkdir(parents=True)
    shipped = (Path(module.__file__).parents[2] / "configs/ecco/variables.yaml").read_text()
    start = shipped.index("valid_range", shipped.index("\nSSH:"))
    (overlay / "variables.yaml").write_text(
        f"{shipped[:start]}usual_range: [-{top}, {top}]\n  {shipped[start:]}"
    )
    told = production(root_of(own), inputs_of(own), configs=overlay.parent)
    assert told.workspace().state(SSH_NATIVE, "1992-01").standing == "up to date"
    before = record_of(own, SSH_NATIVE, "1992-01").sha256
    told.workspace().make(SSH_NATIVE, "1992-01", Policy(force=True))
    assert record_of(told, SSH_NATIVE, "1992-01").sha256 == before
    (text,) = problems(told, SSH_NATIVE)["values_plausible"]
    assert text.startswith("1992-01: SSH lies between -")
    assert text.endswith(f"m, usually -{top:g} to {top:g}")


def test_usual_ranges_are_narrower_than_valid_ones():
    found = {n: v for n, v in load_catalogue().variables.items() if v.usual_range is not None}
    assert {name: variable.usual_range for name, variable in found.items()} == {
        "SIarea": (0, 1),
        "THETA": (-3, 40),
        "SALT": (0, 45),
    }
    for variable in found.values():
        assert variable.valid_range[0] <= variable.usual_range[0]
        assert variable.usual_range[1] <= variable.valid_range[1]


def set_nan_tile(file):
    file["SSH"][0, 4] = float("nan")


@pytest.mark.parametrize(
    ("change", "check", "text"),
    [
        (lambda f: f.delncattr("license"), "metadata_complete", "lacks license"),
        (lambda f: f.setncattr("title", "TBD_title"), "metadata_complete", "title is still TBD_"),
        (lambda f: f["SSH"].delncattr("units"), "metadata_complete", "SSH lacks units"),
        (
            lambda f: f.setncattr("product_name", "x.nc"),
            "metadata_complete",
            "product_name is x.nc",
        ),
        (
            lambda f: f["SSH"].setncattr("valid_min", 99.0),
            "metadata_complete",
            "SSH has valid_min 99 above valid_max",
        ),
        (
            lambda f: f["i"].__setitem__(slice(None), 3),
            "metadata_complete",
            "i neither rises nor falls",
        ),
        (
            lambda f: f["time"].__setitem__(slice(None), 1),
            "metadata_complete",
            "time lies outside time_bnds",
        ),
        (
            lambda f: f["XC"].setncattr("bounds", "XG"),
            "metadata_complete",
            "XG has dimensions tile, j_g, i_g",
        ),
        (
            lambda f: f["XC"].__setitem__((0, 0, 0), float("nan")),
            "metadata_complete",
            "XC holds NaN",
        ),
        (
            lambda f: f.setncattr("time_coverage_end", "1999-01-01T00:00:00"),
            "metadata_complete",
            "time_coverage is 1992-02-01T00:00:00 to 1999",
        ),
        (set_nan_tile, "mask_agrees", "SSH holds none in"),
        (lambda f: f["SSH"].setncattr("valid_max", 50.0), "valid_range", "valid_max say"),
    ],
)
def test_each_check_names_its_fault_and_the_granule(own, change, check, text):
    spoil(own, SSH_NATIVE, "1992-02", change)
    found = problems(own, SSH_NATIVE)
    assert any(told.startswith("1992-02: ") and text in told for told in found[check])
    assert not any(told.startswith("1992-01") for texts in found.values() for told in texts)


def test_values_on_dry_targets_of_the_latitude_longitude_grid_are_found(own):
    spoil(own, SSH_LATLON, "1992-01", lambda f: f["SSH"].__setitem__((0, 0, 0), 0.1))
    assert problems(own, SSH_LATLON)["mask_agrees"] == ["1992-01: SSH holds values in 1 dry cells"]


def test_periods_that_do_not_touch_are_found(own):
    def later(file):
        file["time_bnds"][0, 0] += 24
        file.time_coverage_start = "1992-02-02T00:00:00"

    spoil(own, SSH_NATIVE, "1992-02", later)
    assert problems(own, SSH_NATIVE)["time_contiguous"] == [
        "1992-02: begins at 1992-02-02T00:00:00 and leaves a gap to 1992-01, which ends at "
        "1992-02-01T00:00:00"
    ]


def test_a_changed_or_lost_file_fails_its_checksum(own):
    path = granule_of(own, SSH_NATIVE, "1992-01")
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    granule_of(own, SSH_NATIVE, "1992-02").unlink()
    first, second = problems(own, SSH_NATIVE)["checksum"]
    assert first.startswith("1992-01: sha256 ")
    assert second.endswith("is gone or cut short")
    assert verify_granule(own.workspace().storage, SSH_NATIVE, "1992-01")[0].startswith("sha256 ")


def test_a_granule_is_opened_once_and_again_when_it_changes(own, monkeypatch):
    from dor_ecco_assets.ecco import verification

    opened: list[str] = []
    original = verification.open_raw
    monkeypatch.setattr(
        verification, "open_raw", lambda source: opened.append(str(source)) or original(source)
    )
    assert problems(own, SSH_NATIVE) == {}
    assert len(opened) == 2  # headers alone: the values were read back when they were written
    for month in ("1992-01", "1992-02"):
        granule_of(own, SSH_NATIVE, month).touch()
    assert problems(own, SSH_NATIVE) == {}
    assert len(opened) == 6  # header and values of two
    assert problems(own, SSH_NATIVE) == {}
    assert len(opened) == 6
    spoil(own, SSH_NATIVE, "1992-02", lambda f: f.delncattr("license"))
    assert problems(own, SSH_NATIVE) == {"metadata_complete": ["1992-02: lacks license"]}
    assert len(opened) == 8


def test_a_look_ends_when_its_time_is_up_and_the_next_goes_on(own):
    for month in ("1992-01", "1992-02"):
        granule_of(own, SSH_NATIVE, month).touch()
    ticks = iter([0.0, 0.5, 1.5])
    found = look_at(own.workspace(), SSH_NATIVE, 1.0, clock=lambda: next(ticks, 9.0))
    assert found["metadata_complete"].examined == 1
    assert found["checksum"].examined == 0
    assert found["checksum"].published == 2
    again = look_at(own.workspace(), SSH_NATIVE, 60)
    assert again["checksum"].examined == 2


def test_all_checks_are_in_the_graph_and_say_what_they_hold_to():
    graph = build_definitions().resolve_asset_graph()
    keys = {
        key.name for key in graph.asset_check_keys if key.asset_key.path == SSH_NATIVE.split("/")
    }
    assert keys == {"inputs_usable", *CHECKS}
    for key in graph.asset_check_keys:
        assert graph.get_check_spec(key).description


def run(made, keys, **selection):
    production = ProductionResource(
        storage=StorageResource(root=str(made.root.root)),
        inputs=InputsResource(root=str(made.inputs.root)),
    )
    defs = build_definitions(production=production)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=keys, raise_on_error=False, **selection
        )
        return {
            found.check_name: found
            for event in result.all_events
            if event.event_type_value == "ASSET_CHECK_EVALUATION"
            for found in [event.event_specific_data]
            if found.asset_key.path[1] == SSH_NATIVE[5:]
        }, result


def test_a_run_that_makes_granules_checks_them(own):
    found, result = run(own, [dg.AssetKey(SSH_NATIVE.split("/"))], partition_key="1992-02")
    assert result.success
    assert set(found) == {"inputs_usable", *CHECKS}
    assert all(each.passed for each in found.values())
    assert found["checksum"].metadata["examined_granules"].value == 2


def test_a_failing_check_says_which_granule_and_what(own):
    spoil(own, SSH_NATIVE, "1992-02", lambda f: f.delncattr("license"))
    found, result = run(own, [dg.AssetKey(SSH_NATIVE.split("/"))], partition_key="1992-01")
    assert result.success
    failed = [name for name, each in found.items() if not each.passed]
    assert failed == ["metadata_complete"]
    assert found["metadata_complete"].description == "1992-02: lacks license"


def test_time_covered_is_read_from_bounds(tmp_path_factory):
    path: Path = granule_of(made_sample(tmp_path_factory), SSH_NATIVE, "1992-01")
    with open_raw(path) as granule:
        assert covered_time(granule) == ("1992-01-01T12:00:00", "1992-02-01T00:00:00")
        assert metadata_problems(granule, path.name) == []
        assert metadata_problems(granule, "x.nc") == ["x.nc is not a granule's name"]
    assert covered_time(xr.Dataset()) is None


def test_records_of_nine_thousand_days_are_looked_at_in_seconds(own):
    """With every granule known, a look is a glance at each record."""
    import time

    daily = "ecco/ECCO_L4_SSH_LLC0090GRID_DAILY_V4R4"
    space = own.workspace()
    first = space.make(daily, "1992-01-01").record
    days = space.product(daily).partitioning.keys[:3000]
    path = root_of(own) / first.uri
    for day in days[1:]:
        name = path.name.replace("1992-01-01", day)
        (path.parent / name).hardlink_to(path)
        uri = f"{daily}/{name}"
        text = json.dumps(asdict(replace(first, uri=uri)))
        (root_of(own) / ".records" / daily / f"{day}.json").write_text(text)
    look_at(space, daily, 1.0)
    started = time.process_time()
    found = look_at(space.refreshed(), daily, 0.0)
    assert found["checksum"].published == 3000
    assert time.process_time() - started < 3
