"""Stores 1 and 3: values, status, schema, who may write what, and the published efficiencies."""

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import zarr

from dor_ecco_assets.dor.products import (
    CASE_ROWS,
    EFFICIENCY_STORE,
    PUBLISHED,
    REPORT,
    UPTAKE_STORE,
)
from dor_ecco_assets.errors import GridMismatch, InputMissing, InputUnusable, WorkFailed
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.tracing import reconcile
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.pop_faults import plant
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import Directory
from tests.dor.atlas import ALL, make_inputs, overlay, production
from tests.support.data import real_data

FILL = np.float32(9.969209968386869e36)
MONTHS = ("01", "04", "07", "10")
STORES = (EFFICIENCY_STORE, UPTAKE_STORE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All eight cases and what is gathered from them."""
    folder = tmp_path_factory.mktemp("stores")
    sample = make_inputs(folder)
    workspace = production(folder).workspace()
    for partition in ALL:
        workspace.make(CASE_ROWS, partition)
    for key in STORES:
        for month in MONTHS:
            workspace.make(key, month)
    return folder, sample


def opened(folder, key) -> xr.Dataset:
    return xr.open_zarr(folder / f"root/{key}.zarr", consolidated=True, decode_timedelta=False)


def within_one_ulp(found, expected) -> None:
    expected = np.asarray(expected).astype(np.float32)
    npt.assert_array_less(np.abs(found - expected), 1.5 * np.spacing(np.abs(expected)))


@pytest.mark.parametrize("partition", ALL)
def test_stores_hold_the_oracle_to_one_unit_in_the_last_place(made, partition):
    folder, sample = made
    oracle = sample.case(partition).oracle()
    place = {"polygon_id": int(partition[3:]), "intervention_month": MONTHS.index(partition[:2])}
    within_one_ulp(opened(folder, EFFICIENCY_STORE)["DOR_efficiency"][place], oracle.efficiency)
    uptake = opened(folder, UPTAKE_STORE)["FG_CO2_percent_cumulative"][place]
    within_one_ulp(uptake, oracle.uptake_percent)


@pytest.mark.parametrize(
    ("key", "name", "chunks"),
    [
        (EFFICIENCY_STORE, "DOR_efficiency", [3, 2, 1]),
        (UPTAKE_STORE, "FG_CO2_percent_cumulative", [3, 2, 1, 3]),
    ],
)
def test_what_a_browser_reads_is_what_it_needs(made, key, name, chunks):
    folder, _ = made
    root = folder / f"root/{key}.zarr"
    metadata = json.loads((root / ".zmetadata").read_text())["metadata"]
    array = metadata[f"{name}/.zarray"]
    assert array["chunks"] == chunks
    assert array["compressor"] == {"id": "zlib", "level": 1}
    assert array["filters"] is None
    assert array["dtype"] == "<f4"
    assert np.float32(array["fill_value"]) == FILL
    for coordinate in ("elapsed_time", "polygon_id", "intervention_month"):
        about = metadata[f"{coordinate}/.zarray"]
        assert (about["dtype"], about["fill_value"]) == ("<i4", 2147483647)
        assert about["chunks"] == about["shape"]
    assert metadata["intervention_month/.zattrs"]["units"] == "month of 1999"
    assert metadata["case_status/.zarray"]["chunks"] == [2, 1]
    for path in root.rglob(".z*"):  # consolidated metadata say what single ones say
        found = metadata.get(path.relative_to(root).as_posix())
        assert path.name == ".zmetadata" or json.loads(path.read_text()) == found
    rest = ".0" * (len(chunks) - 3)
    raw = zlib.decompress((root / f"{name}/0.0.2{rest}").read_bytes())
    store = zarr.open_group(root, mode="r", zarr_format=2)
    npt.assert_array_equal(np.frombuffer(raw, "<f4").reshape(chunks)[:, :, 0], store[name][:, :, 2])


def test_every_case_is_done_and_no_value_is_fill(made):
    folder, _ = made
    for key in STORES:
        store = zarr.open_group(folder / f"root/{key}.zarr", mode="r", zarr_format=2)
        npt.assert_array_equal(store["case_status"][:], np.ones((2, 4), np.uint8))
    record = read_record(Directory(folder / "root"), EFFICIENCY_STORE, "07")
    assert record.details["cases_done"] == 2
    assert record.details["chunks"] == ["DOR_efficiency/0.0.2", "case_status/0.2"]


def test_a_month_is_a_region_that_reconcile_and_verify_know(made):
    folder, _ = made
    workspace = production(folder).workspace()
    assert reconcile(workspace, STORES).differences == ()
    assert all(
        workspace.state(key, month).standing == "up to date" for key in STORES for month in MONTHS
    )


def test_a_spoilt_chunk_is_found_and_mended(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder, copy_function=shutil.copy2)
    chunk = folder / "root/dor/efficiency_store.zarr/DOR_efficiency/0.0.2"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1] + b"x")
    workspace = production(folder).workspace()
    (difference,) = reconcile(workspace, [EFFICIENCY_STORE]).differences
    assert difference.partition == "07"
    chunk.unlink()
    assert workspace.state(EFFICIENCY_STORE, "07").standing == "stale"
    assert workspace.state(EFFICIENCY_STORE, "04").standing == "up to date"
    workspace.make(EFFICIENCY_STORE, "07")
    assert chunk.read_bytes() == whole


def test_absent_and_failed_cases_are_told_apart(tmp_path):
    sample = make_inputs(tmp_path, ("07|000", "07|001"))
    workspace = production(tmp_path).workspace()
    assert workspace.state(EFFICIENCY_STORE, "07").standing == "waiting"
    with pytest.raises(InputMissing, match="none of the partitions"):
        workspace.make(EFFICIENCY_STORE, "07")
    workspace.make(CASE_ROWS, "07|001")
    workspace = workspace.refreshed()
    workspace.make(EFFICIENCY_STORE, "07")
    path = tmp_path / "root/dor/efficiency_store.zarr"
    store = zarr.open_group(path, mode="r", zarr_format=2)
    assert store["case_status"][:].tolist() == [[0] * 4, [0, 0, 1, 0]]
    assert (store["DOR_efficiency"][:, 0] == FILL).all()
    case = sample.case("07|000")
    folder = tmp_path / "inputs/pop/cases" / case.case.name / "ocn/hist"
    plant(folder / case.file_name(0), "truncated")
    workspace = workspace.refreshed()
    with pytest.raises(WorkFailed):
        workspace.make(CASE_ROWS, "07|000")
    workspace = workspace.refreshed()
    state = workspace.state(EFFICIENCY_STORE, "07")
    assert state.standing == "stale"
    assert "failed" in state.reasons[0]
    workspace.make(EFFICIENCY_STORE, "07")
    store = zarr.open_group(path, mode="r", zarr_format=2)
    assert store["case_status"][:].tolist() == [[0, 0, 2, 0], [0, 0, 1, 0]]
    sample.write(["07|000"])
    workspace = workspace.refreshed()
    workspace.make(CASE_ROWS, "07|000")
    workspace.refreshed().make(EFFICIENCY_STORE, "07")
    store = zarr.open_group(path, mode="r", zarr_format=2)
    assert store["case_status"][:].tolist() == [[0, 0, 1, 0], [0, 0, 1, 0]]


def test_no_forcing_is_fill_and_done(tmp_path):
    sample = make_inputs(tmp_path, ("04|000",))
    case = sample.case("04|000")
    folder = tmp_path / "inputs/pop/cases" / case.case.name / "ocn/hist"
    for k in range(len(case.months)):
        plant(folder / case.file_name(k), "no forcing")
    workspace = production(tmp_path).workspace()
    workspace.make(CASE_ROWS, "04|000")
    workspace.make(EFFICIENCY_STORE, "04")
    store = zarr.open_group(tmp_path / "root/dor/efficiency_store.zarr", mode="r", zarr_format=2)
    assert (store["DOR_efficiency"][:, 0, 1] == FILL).all()
    assert store["case_status"][0, 1] == 1


def test_a_store_of_another_atlas_is_refused_before_a_chunk_changes(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder, copy_function=shutil.copy2)
    root = folder / "root/dor/efficiency_store.zarr"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    overlay(folder / "configs", months=2)
    workspace = production(folder).workspace()
    for polygon in ("000", "001"):
        case = made[1].case(f"07|{polygon}")
        last = folder / "inputs/pop/cases" / case.case.name / "ocn/hist" / case.file_name(2)
        last.unlink()
        workspace.make(CASE_ROWS, f"07|{polygon}")
    with pytest.raises(GridMismatch, match="vis template") as caught:
        workspace.refreshed().make(EFFICIENCY_STORE, "07")
    assert caught.value.code == "OtherSchema"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_cases_of_another_atlas_under_the_same_numbers_are_not_gathered(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder, copy_function=shutil.copy2)
    overlay(folder / "configs", atlas="vintage: '002'\n")
    workspace = production(folder).workspace()
    assert [workspace.state(key, "07").standing for key in STORES] == ["stale", "stale"]
    with pytest.raises(InputMissing, match="none of the partitions"):
        workspace.make(EFFICIENCY_STORE, "07")
    make_inputs(folder, ("07|001",), atlas="vintage: '002'\n")
    workspace.make(CASE_ROWS, "07|001")
    workspace = workspace.refreshed()
    record = workspace.make(EFFICIENCY_STORE, "07").record
    assert [record.details[f"cases_{word}"] for word in ("done", "absent")] == [1, 1]
    store = zarr.open_group(folder / "root/dor/efficiency_store.zarr", mode="r", zarr_format=2)
    assert store["case_status"][:, 2].tolist() == [0, 1]
    assert (store["DOR_efficiency"][:, 0, 2] == FILL).all()
    report = workspace.refreshed().make(REPORT, "").record
    assert (report.details["cases_done"], report.details["cases_absent"]) == (1, 7)


def test_months_are_the_same_bytes_in_any_order_and_on_s3(made, tmp_path, bucket, s3_environment):
    folder, _ = made
    shutil.copytree(folder / "root/dor/case_rows", tmp_path / "root/dor/case_rows")
    shutil.copytree(
        folder / "root/.records/dor/case_rows", tmp_path / "root/.records/dor/case_rows"
    )
    shutil.copytree(folder / "configs", tmp_path / "configs")
    (tmp_path / "inputs").mkdir()
    here = production(tmp_path).workspace()
    there = Production(
        Place(root=f"s3://{bucket}/x"),
        Place(root=str(tmp_path / "inputs")),
        str(tmp_path / "configs"),
    ).workspace()
    for path in (tmp_path / "root").rglob("*"):
        if path.is_file():
            there.storage.put(path.relative_to(tmp_path / "root").as_posix(), path.read_bytes())
    for month in reversed(MONTHS):
        here.make(UPTAKE_STORE, month)
        there.make(UPTAKE_STORE, month)
    before = folder / "root/dor/uptake_by_distance.zarr"
    for path in before.rglob("*"):
        if path.is_file():
            key = f"dor/uptake_by_distance.zarr/{path.relative_to(before).as_posix()}"
            assert here.storage.read(key) == there.storage.read(key) == path.read_bytes()


def test_the_report_shows_every_case(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder, copy_function=shutil.copy2)
    workspace = production(folder).workspace()
    record = workspace.make(REPORT, "").record
    text = (folder / "root" / record.uri).read_text()
    assert text.count("<tr>") == 9
    assert text.count("<td class='done'>done") == 8
    assert record.details["cases_done"] == 8
    for month in MONTHS:
        assert text.count(f"_1999-{month}-01_") == 2
    assert text.count("<path d='M") == 16


def test_published_efficiencies_are_reproduced_to_their_three_decimals(tmp_path):
    source = real_data("pop", "oae_atlas", "regions_joined.geojson")
    workspace = Production(
        Place(root=str(tmp_path / "root")), Place(root=str(source.parents[2]))
    ).workspace()
    record = workspace.make(PUBLISHED, "").record
    assert record.details["values"] == 690 * 4 * 15
    store = zarr.open_group(tmp_path / "root" / record.uri, mode="r", zarr_format=2)
    found = store["OAE_efficiency"][:]
    assert found.shape == (180, 690, 4)
    seen = set()
    for feature in json.loads(source.read_text())["features"]:
        about = feature["properties"]
        for place, month in enumerate((1, 4, 7, 10)):
            expected = [about[f"eff_inj_{month}_year_{year}"] for year in range(1, 16)]
            assert (
                np.round(found[11::12, about["polygon_id"], place].astype(float), 3).tolist()
                == expected
            )
        seen.add(about["polygon_id"])
    assert seen == set(range(690))
    assert (np.delete(found, np.arange(11, 180, 12), axis=0) == FILL).all()
    assert (store["case_status"][:] == 1).all()
    assert workspace.make(PUBLISHED, "").skipped
    other = tmp_path / "inputs/pop/oae_atlas/regions_joined.geojson"
    other.parent.mkdir(parents=True)
    other.write_bytes(source.read_bytes().replace(b"0.8", b"0.7", 1))
    workspace = Production(
        Place(root=str(tmp_path / "root")), Place(root=str(tmp_path / "inputs"))
    ).workspace()
    with pytest.raises(InputUnusable, match="expected a7b065d6") as caught:
        workspace.make(PUBLISHED, "")
    assert caught.value.code == "ChecksumMismatch"


KILLED = """
import os, sys
from pathlib import Path
from tests.dor.atlas import production
left = int(sys.argv[2])
replace = os.replace
def counted(source, target):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return replace(source, target)
os.replace = counted
production(Path(sys.argv[1])).workspace().make("dor/efficiency_store", "07")
"""


def test_a_kill_never_shows_a_month_as_done_before_it_is(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder, copy_function=shutil.copy2)
    path = folder / "root/dor/efficiency_store.zarr"
    whole = {each.name: each.read_bytes() for each in path.rglob("0.*")}
    record = folder / "root/.records/dor/efficiency_store/07.json"
    kills = 0
    for after in range(10):
        record.unlink(missing_ok=True)
        (path / "DOR_efficiency/0.0.2").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, folder, str(after)],
            cwd=Path(__file__).parents[2],
            check=False,
            capture_output=True,
        )
        status = path / "case_status/0.2"
        chunk = path / "DOR_efficiency/0.0.2"
        if status.exists():  # else it reads as 0: absent
            assert chunk.read_bytes() == whole["0.0.2"]
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr.decode()[-2000:]
        assert not record.exists()
        kills += 1
        production(folder).workspace().make(EFFICIENCY_STORE, "07")
        assert {each.name: each.read_bytes() for each in path.rglob("0.*")} == whole
    assert kills >= 3
