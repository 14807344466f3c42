"""`dor-ecco demo`, what a newcomer sees first: on disk, in a bucket, on the real grid."""

import json
import subprocess
import sys

import pytest

from dor_ecco_assets.settings import config_path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

SSH = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
UNPARTITIONED = ("grids/llc90", "grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg")
GATHERED = ("ecco/delivery", "ecco/quality_report")
MONTHS, DAYS = ("1992-01", "1992-02", "1992-03"), ("1992-01-01", "1992-01-02", "1992-01-03")
INJECTION_MONTHS = ("01", "04", "07", "10")
STORES = ("efficiency_store", "uptake_by_distance")
OF_A_CASE = ("research_dataset", "analysis_store", "fg_co2_excess", "map_fields", "case_rows")
#: Everything that the sample has input for.
EXPECTED_OF_THE_DEMO = {
    *((key, "") for key in UNPARTITIONED),
    *((f"ecco/ECCO_L4_GEOMETRY_{grid}_V4R4", "") for grid in ("05DEG", "LLC0090GRID")),
    *((f"ecco/ECCO_L4_OCEAN_3D_MIX_COEFFS_{grid}_V4R4", "") for grid in ("05DEG", "LLC0090GRID")),
    *(
        (f"ecco/ECCO_L4_{name}_{grid}_{often}_V4R4", partition)
        for name in ("SSH", "STRESS")
        for grid in ("05DEG", "LLC0090GRID")
        for often, partitions in (("MONTHLY", MONTHS), ("DAILY", DAYS))
        for partition in partitions
    ),
    *((key, month) for key in GATHERED for month in MONTHS),
    *((key, "") for key in ("grids/pop_sample", "dor/polygons", "dor/cases", "dor/atlas_report")),
    *((f"dor/{key}", month) for key in STORES for month in INJECTION_MONTHS),
    *(
        (f"dor/{key}", f"{month}|{polygon}")
        for key in OF_A_CASE
        for month in INJECTION_MONTHS
        for polygon in ("000", "001")
    ),
    *(
        ("pyramids/atlas", f"{month}|{polygon}")
        for month in INJECTION_MONTHS
        for polygon in ("000", "001")
    ),
    *(
        (f"pyramids/ECCO_L4_SSH_{grid}_MONTHLY_V4R4", month)
        for grid in ("05DEG", "LLC0090GRID")
        for month in MONTHS
    ),
    *((f"pyramids/ECCO_L4_SSH_{grid}_MONTHLY_V4R4_index", "") for grid in ("05DEG", "LLC0090GRID")),
    *(
        (f"pyramids/ECCO_L4_SSH_{grid}_MONTHLY_V4R4_template", "")
        for grid in ("05DEG", "LLC0090GRID")
    ),
    *((f"pyramids/atlas_{part}", "") for part in ("template", "index")),
    *((f"mapping/{grid}_to_webmercator", "") for grid in ("llc90", "latlon_0p50deg", "pop_sample")),
    *((f"virtual/SAMPLE_L4_SST_DAILY/{part}", "") for part in ("granules", "store", "exports")),
    ("virtual/SAMPLE_L4_SST_DAILY/references", "2002-06"),
}


def test_demo_makes_everything_and_every_open_with_opens(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    out = tmp_path / "demo"
    first = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert first.exit_code == 0, first.stderr
    rows = json.loads((out / "manifest.json").read_text())
    made = {(row["asset"], row["partition"]) for row in rows}
    assert made == EXPECTED_OF_THE_DEMO
    for row in rows:
        space: dict[str, object] = {}
        exec(row["open_with"], space)
        if row["format"] in ("files", "html"):
            assert space["opened"].exists()
        else:
            assert space["ds"].variables
            space["ds"].close()
        assert row["bytes"] > 0
        assert len(row["sha256"]) == 64
    second = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert f"everything is up to date: {len(rows)} partitions" in second.stdout


@pytest.fixture
def short_sample(monkeypatch, tmp_path):
    """The demo's sample of one month and one day on small tiles; cases of three months."""
    folder = tmp_path / "demo/configs/atlases"
    folder.mkdir(parents=True)
    shipped = config_path("atlases/tiny.yaml").read_text()
    (folder / "tiny.yaml").write_text(shipped.replace("months: 24", "months: 3"))
    from dor_ecco_assets.samples import demo_inputs

    for name, value in (("SIDE", 10), ("MONTHS", MONTHS[:1]), ("DAYS", DAYS[:1])):
        monkeypatch.setattr(demo_inputs, name, value)


def test_demo_on_the_real_grid_follows_one_on_the_sample(tmp_path, short_sample):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app
    from tests.support.data import real_data

    words = ["--out", str(tmp_path / "demo"), "--data", str(real_data("llc90").parent)]
    assert CliRunner().invoke(app, ["demo", *words[:2]]).exit_code == 0
    # In a process of its own: products are remembered by the name of the configuration's folder.
    command = [sys.executable, "-c", "from dor_ecco_assets.cli import main; main()"]
    done = subprocess.run([*command, "demo", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "demo/manifest.json").read_text())
    assert {row["asset"] for row in rows} >= {*UNPARTITIONED, SSH, GATHERED[0], GATHERED[1]}
    granules = [row["uri"] for row in rows if row["format"] == "netcdf"]
    assert all(uri.endswith(("native_llc0090.nc", "latlon_0p50deg.nc")) for uri in granules)
    record = tmp_path / "demo/data/.records/ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4/1992-01.json"
    assert json.loads(record.read_text())["details"]["missing_variables"] == ["SSHIBC", "SSHNOIBC"]
    index = json.loads((tmp_path / "demo/data/pyramids/atlas/index.json").read_text())
    assert len(index["polygon_ids"]) == 690
    # The curves of the sample's two polygons are of another atlas.
    assert [index["stores"][name] for name in ("efficiency", "uptake")] == [None, None]
    assert index["stores"]["published"] is not None


@pytest.mark.slow
def test_demo_on_an_object_store_opens_too(tmp_path, s3_environment, bucket, short_sample):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    out = tmp_path / "demo"
    done = CliRunner().invoke(app, ["demo", "--out", str(out), "--root", f"s3://{bucket}/demo"])
    assert done.exit_code == 0, done.stderr
    rows = json.loads((out / "manifest.json").read_text())
    assert {row["uri"].partition("/demo/")[0] for row in rows} == {f"s3://{bucket}"}
    for row in rows:
        if row["partition"] in ("", "1992-01"):
            space: dict[str, object] = {}
            if row["format"] in ("files", "html"):
                assert row["open_with"] == ""  # its URI says where it lies
                continue
            exec(row["open_with"], space)
            with space["ds"] as opened:
                assert all(v.load().size for v in opened.variables.values())


def test_demo_without_a_grid_in_data_says_how_to_get_one(tmp_path):
    from typer.testing import CliRunner

    from dor_ecco_assets.cli import app

    words = ["demo", "--out", str(tmp_path / "d"), "--data", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert "there is no llc90/XC.data in it" in str(result.exception)
