"""What a case gives through lineage: records, one claim, failed months, equal bytes."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr

import dor_ecco_assets
from dor_ecco_assets.dor.history import open_history
from dor_ecco_assets.dor.products import CASE_ROWS, RESEARCH
from dor_ecco_assets.errors import ConfigurationError, InputMissing, PartitionBusy, WorkFailed
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.lineage.tracing import reconcile, trace
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.pop_faults import plant
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.storage.bucket import Bucket
from tests.dor.atlas import make_inputs, production

CASE = "07|001"
MEMBERS = (RESEARCH, "dor/analysis_store", "dor/fg_co2_excess", "dor/map_fields", CASE_ROWS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    return folder, make_inputs(folder, ("07|001", "10|000"))


@pytest.fixture
def atlas(prepared, tmp_path):
    """A copy of the inputs that a test may spoil."""
    source, sample = prepared
    shutil.copytree(source / "inputs", tmp_path / "inputs", copy_function=shutil.copy2)
    shutil.copytree(source / "configs", tmp_path / "configs")
    return tmp_path, dataclasses.replace(sample, inputs=tmp_path / "inputs")


def history(folder: Path, sample, k: int, partition: str = CASE) -> Path:
    case = sample.case(partition)
    return folder / "inputs/pop/cases" / case.case.name / "ocn/hist" / case.file_name(k)


def published(root: Path) -> dict[str, bytes]:
    """Every published byte below the line, by name."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / "dor").rglob("*"))
        if path.is_file()
    }


def identities(root: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for path in sorted((root / ".records").rglob("*.json")):
        record = json.loads(path.read_text())
        found[path.relative_to(root).as_posix()] = (record["fingerprint"], record["sha256"])
    return found


def test_one_make_records_every_product_of_the_case(atlas):
    folder, sample = atlas
    workspace = production(folder).workspace()
    outcome = workspace.make(CASE_ROWS, CASE)
    assert tuple(outcome.together) == MEMBERS
    for key in MEMBERS:
        assert workspace.state(key, CASE).standing == "up to date"
        assert read_record(workspace.storage, key, CASE) == outcome.together[key].record
    assert outcome.record.uri == "dor/case_rows/07/001.zarr"
    name = sample.case(CASE).case.name
    uris = [outcome.together[key].record.uri for key in MEMBERS[:3]]
    assert uris == [
        "dor/research_dataset/001/07",
        f"dor/analysis_store/{name}.analysis.zarr",
        "dor/fg_co2_excess/001-07.zarr",
    ]
    assert workspace.make(RESEARCH, CASE).skipped
    assert reconcile(workspace, MEMBERS).differences == ()
    assert not (folder / "root/.work/dor/case/07/001").exists()
    files = sorted(path.name for path in (folder / "root" / uris[0]).iterdir())
    assert files == [
        f"smyle.cdr-atlas-v0.glb-dor.001-1999-07.pop.h.0347-{month}.nc"
        for month in ("07", "08", "09")
    ]


@pytest.mark.parametrize("month", ["01", "04", "07", "10"])
def test_rows_are_those_of_the_oracle(tmp_path, month):
    partition = f"{month}|000"
    sample = make_inputs(tmp_path, (partition,), months=5)
    workspace = production(tmp_path).workspace()
    workspace.make(CASE_ROWS, partition)
    oracle = sample.case(partition).oracle()
    with xr.open_zarr(
        tmp_path / f"root/dor/case_rows/{month}/000.zarr",
        consolidated=False,
        decode_timedelta=False,
    ) as rows:
        npt.assert_allclose(rows["efficiency"], oracle.efficiency, rtol=1e-13)
        npt.assert_allclose(rows["uptake_percent"], oracle.uptake_percent, rtol=1e-13)
        npt.assert_allclose(rows["ring_uptake_mmol"], oracle.ring_uptake_mmol, rtol=1e-13)


def test_a_notebook_opens_any_product_of_cases(atlas, monkeypatch):
    folder, sample = atlas
    workspace = production(folder).workspace()
    for partition in (CASE, "10|000"):
        workspace.make(CASE_ROWS, partition)
    monkeypatch.setenv("DOR_ECCO_ROOT", str(folder / "root"))
    with dor_ecco_assets.open(CASE_ROWS) as rows:
        assert list(rows["partition"].values) == [CASE, "10|000"]
        expected = sample.case(CASE).oracle().efficiency
        npt.assert_allclose(rows["efficiency"].sel(partition=CASE), expected, rtol=1e-13)
    with (
        dor_ecco_assets.open(RESEARCH, CASE) as months,
        open_history(history(folder, sample, 2)) as source,
    ):
        assert list(months["elapsed_time"].values) == [0, 31, 62]
        assert list(months["time_delta"].values) == [31, 31, 30]
        assert months["DIC"].dims[2] == "elapsed_time"
        assert months["TLAT"].dims == ("nlat", "nlon")
        npt.assert_array_equal(
            months["FG_CO2"].values[0, 0, 2].ravel(), source.numbers("FG_CO2").ravel()
        )
    with pytest.raises(ConfigurationError, match="name one"):
        dor_ecco_assets.open("dor/fg_co2_excess")


def test_lineage_goes_back_to_every_history_file_and_its_checksum(atlas):
    folder, sample = atlas
    workspace = production(folder).workspace()
    workspace.make(CASE_ROWS, CASE)
    found = trace(workspace, RESEARCH, CASE)
    (source,) = [each for each in found["inputs"] if each["name"] == "history"]
    path = history(folder, sample, 1)
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert source["files"][path.name] == done.stdout.split()[0]
    assert {each["product"] for each in found["upstream"]} == {"grids/pop_sample", "dor/polygons"}


@pytest.mark.parametrize("fault", ["truncated", "not netcdf", "nan in a wet cell", "missing month"])
def test_a_failed_month_is_a_failed_case_that_a_rerun_mends(atlas, tmp_path, fault):
    folder, sample = atlas
    bad = history(folder, sample, 1)
    good = bad.read_bytes()
    plant(bad, fault)
    workspace = production(folder).workspace()
    with pytest.raises(WorkFailed, match="0347-08"):
        workspace.make(CASE_ROWS, CASE)
    workspace = workspace.refreshed()
    assert all(workspace.state(key, CASE).standing == "failed" for key in MEMBERS)
    assert not list((folder / "root/.records/dor").rglob("001.json"))
    files = [path.name for path in (folder / "root/dor/research_dataset/001/07").iterdir()]
    assert len(files) == 2
    assert not any("0347-08" in name for name in files)
    assert sorted(path.name for path in (folder / "root/dor").iterdir()) == [
        "polygons.zarr",
        "research_dataset",
    ]
    bad.write_bytes(good)
    outcome = workspace.refreshed().make(CASE_ROWS, CASE)
    assert outcome.together[RESEARCH].record.details["months_kept"] == 2
    assert not list((folder / "root/.failed").rglob("*.json"))
    clean = production(folder, str(tmp_path / "clean"))
    clean.workspace().make(CASE_ROWS, CASE)
    assert published(folder / "root") == published(tmp_path / "clean")
    assert identities(folder / "root") == identities(tmp_path / "clean")


def test_a_case_without_history_names_the_folder(atlas):
    folder, _ = atlas
    workspace = production(folder).workspace()
    assert workspace.state(CASE_ROWS, "01|000").standing == "waiting"
    with pytest.raises(InputMissing, match="no history file in .*000_1999-01-01") as caught:
        workspace.make(CASE_ROWS, "01|000")
    assert caught.value.code == "HistoryMissing"


def test_the_second_writer_of_a_case_is_told_of_the_first(atlas):
    folder, _ = atlas
    workspace = production(folder).workspace()
    with workspace.storage.claim("dor/case@07-001"), pytest.raises(PartitionBusy, match="pid"):
        workspace.make(CASE_ROWS, CASE)
    assert not (folder / "root/dor/case_rows").exists()


def test_a_changed_byte_makes_just_that_case_stale(atlas):
    folder, sample = atlas
    workspace = production(folder).workspace()
    for partition in (CASE, "10|000"):
        workspace.make(CASE_ROWS, partition)
    path = history(folder, sample, 0)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    workspace = workspace.refreshed()
    state = workspace.state(RESEARCH, CASE)
    assert state.standing == "stale"
    assert "input history changed" in state.reasons[0]
    assert workspace.state(RESEARCH, "10|000").standing == "up to date"


def test_a_lost_product_is_made_again_with_the_others_unchanged(atlas):
    folder, _ = atlas
    workspace = production(folder).workspace()
    workspace.make(CASE_ROWS, CASE)
    before, said = published(folder / "root"), identities(folder / "root")
    shutil.rmtree(folder / "root/dor/case_rows/07/001.zarr")
    workspace = workspace.refreshed()
    assert workspace.state(CASE_ROWS, CASE).standing == "stale"
    workspace.make(CASE_ROWS, CASE)
    assert published(folder / "root") == before
    assert identities(folder / "root") == said


def test_compat_is_part_of_the_fingerprint_and_of_the_store(atlas):
    folder, _ = atlas
    production(folder).workspace().make(CASE_ROWS, CASE)
    other = production(folder, compat="reference").workspace()
    assert other.state(CASE_ROWS, CASE).reasons == ('configuration compat: "none" -> "reference"',)
    other.make(CASE_ROWS, CASE)
    rows = xr.open_zarr(
        folder / "root/dor/case_rows/07/001.zarr", consolidated=False, decode_timedelta=False
    )
    assert rows.attrs["compat"] == "reference"


def test_s3_holds_the_same_bytes_as_a_directory(atlas, bucket, s3_environment):
    folder, _ = atlas
    local = production(folder).workspace()
    local.make(CASE_ROWS, CASE)
    remote = production(folder, f"s3://{bucket}/atlas").workspace()
    remote.make(CASE_ROWS, CASE)
    for key in MEMBERS:
        ours, theirs = (read_record(w.storage, key, CASE) for w in (local, remote))
        assert (ours.sha256, ours.fingerprint, ours.bytes, ours.uri) == (
            theirs.sha256,
            theirs.fingerprint,
            theirs.bytes,
            theirs.uri,
        )
    assert reconcile(remote, MEMBERS).differences == ()
    assert remote.make(CASE_ROWS, CASE).skipped
    assert remote.make(CASE_ROWS, CASE, Policy(verify=True)).skipped


def on_s3(folder: Path, bucket: str) -> Production:
    """The same production with its inputs in a bucket."""
    inputs = open_storage(Place(root=f"s3://{bucket}/inputs"))
    for path in (folder / "inputs").rglob("*"):
        if path.is_file():
            inputs.put(path.relative_to(folder / "inputs").as_posix(), path.read_bytes())
    return dataclasses.replace(
        production(folder, str(folder / "other")), inputs=Place(root=f"s3://{bucket}/inputs")
    )


def test_history_on_s3_gives_the_same_bytes_one_month_on_disk_at_a_time(
    atlas, bucket, s3_environment, monkeypatch
):
    folder, _ = atlas
    production(folder).workspace().make(CASE_ROWS, CASE)
    there, held, fetch = on_s3(folder, bucket), [], Bucket.fetch

    def watched(self, key, path):
        held.append(len(list(path.parent.iterdir())))
        return fetch(self, key, path)

    monkeypatch.setattr(Bucket, "fetch", watched)
    there.workspace().make(CASE_ROWS, CASE)
    assert held == [0, 0, 0]
    assert published(folder / "other") == published(folder / "root")
    assert identities(folder / "other") == identities(folder / "root")


def test_bad_history_on_s3_is_named_there_and_only_it_is_fetched_again(
    atlas, bucket, s3_environment, monkeypatch
):
    folder, sample = atlas
    bad = history(folder, sample, 1)
    good = bad.read_bytes()
    plant(bad, "truncated")
    copy = plant(history(folder, sample, 2), "duplicate month")
    there = on_s3(folder, bucket)
    with pytest.raises(WorkFailed, match="further files of a month"):
        there.workspace().make(CASE_ROWS, CASE)
    inputs = open_storage(there.inputs)
    key = bad.relative_to(folder / "inputs").as_posix()
    inputs.delete(copy.relative_to(folder / "inputs").as_posix())
    with pytest.raises(WorkFailed, match=f"s3://{bucket}/inputs/{key}") as raised:
        there.workspace().make(CASE_ROWS, CASE)
    assert raised.value.code == "HistoryTruncated"
    inputs.put(key, good)
    fetched, fetch = [], Bucket.fetch

    def watched(self, name, path):
        fetched.append(name)
        return fetch(self, name, path)

    monkeypatch.setattr(Bucket, "fetch", watched)
    outcome = there.workspace().make(CASE_ROWS, CASE)
    assert fetched == [key]
    assert outcome.together[RESEARCH].record.details["months_kept"] == 2


KILLED = """
import os, sys
from tests.dor.atlas import production
from pathlib import Path
left = int(sys.argv[2])
replace = os.replace
def counted(source, target):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return replace(source, target)
os.replace = counted
production(Path(sys.argv[1])).workspace().make("dor/case_rows", "07|001")
"""


def test_a_kill_at_any_rename_and_a_rerun_leave_what_one_run_leaves(atlas, tmp_path):
    folder, _ = atlas
    production(folder, str(tmp_path / "clean")).workspace().make(CASE_ROWS, CASE)
    whole, said = published(tmp_path / "clean"), identities(tmp_path / "clean")
    kills = 0
    for after in range(0, 60, 4):
        root = folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, folder, str(after)],
            cwd=Path(__file__).parents[2],
            env=dict(os.environ),
            check=False,
            capture_output=True,
        )
        for path in (root / ".records").rglob("*.json"):  # what is recorded is there
            assert path.relative_to(root).as_posix() in said
        assert all(workspace_is_true(root, path) for path in (root / ".records").rglob("*.json"))
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr.decode()[-2000:]
        kills += 1
        production(folder).workspace().make(CASE_ROWS, CASE)
        assert published(root) == whole
        assert identities(root) == said
    assert kills > 5


def workspace_is_true(root: Path, path: Path) -> bool:
    from dor_ecco_assets.lineage.record import digest_of_record, parse_record
    from dor_ecco_assets.storage import Directory

    record = parse_record(path.read_bytes(), path.name)
    return digest_of_record(Directory(root), record)[1] == record.sha256


def test_bytes_do_not_depend_on_order(atlas, tmp_path):
    folder, _ = atlas
    first, second = (production(folder, str(tmp_path / name)) for name in ("a", "b"))
    for partition in (CASE, "10|000"):
        first.workspace().make(CASE_ROWS, partition)
    workspace = second.workspace()
    for partition in ("10|000", CASE):
        workspace.make(CASE_ROWS, partition)
    assert published(tmp_path / "a") == published(tmp_path / "b")


def test_the_case_table_and_the_polygons_are_products(atlas):
    folder, _sample = atlas
    workspace = production(folder).workspace()
    workspace.make("dor/cases", "")
    with xr.open_dataset(folder / "root/dor/cases.nc") as table:
        assert table.sizes["case"] == 8
        assert table["polygon_master"].dtype == np.int64
        assert list(table["injection_month"].values[:4]) == [1, 4, 7, 10]
    (folder / "inputs/pop/sample_polygons/mask.nc").unlink()
    with pytest.raises(InputMissing, match="mask.nc"):
        workspace.refreshed().make("dor/polygons", "")
