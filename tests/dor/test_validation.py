"""Cases against the control run: equal twins pass, one unlike cell does not."""

import base64
import io
import shutil

import dagster as dg
import netCDF4
import numpy as np
import pytest
from PIL import Image

from dor_ecco_assets.dor.configuration import load_line
from dor_ecco_assets.dor.products import CASE_ROWS
from dor_ecco_assets.dor.validating import validated_cases
from dor_ecco_assets.dor.validation import TWINS
from dor_ecco_assets.samples.pop_faults import plant
from tests.dor.atlas import make_inputs, production
from tests.dor.test_assets import Location

CASE = "07|001"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    sample = make_inputs(folder, (CASE,))
    sample.write_control()
    production(folder).workspace().make(CASE_ROWS, CASE)
    return folder, sample


@pytest.fixture
def made(prepared, tmp_path):
    shutil.copytree(prepared[0], tmp_path / "x", copy_function=shutil.copy2)
    return tmp_path / "x", prepared[1]


def validated(folder, seconds=60.0):
    line = load_line(str(folder / "configs"))
    return list(validated_cases(production(folder).workspace(), line, seconds))


def control_file(folder, sample, k):
    name = sample.line.specification.control_case
    year, month = sample.case(CASE).months[k]
    path = folder / "inputs/pop/cases" / name / "ocn/hist"
    return path / f"{name}.pop.h.{year:04d}-{month:02d}.nc"


def change_one_cell(path, variable="DIC"):
    with netCDF4.Dataset(path, "r+") as file:
        file.set_auto_mask(False)
        j, i = np.argwhere(file["KMT"][:] > 0)[0]
        place = (0, 0, j, i)[-file[variable].ndim :]
        file[variable][place] = np.nextafter(file[variable][place], np.float32(0))


def test_twins_of_a_sound_case_equal_the_control(made):
    (found,) = validated(made[0])
    assert {result.variable for result in found.results} == set(TWINS)
    assert all(result.passed and not result.differing_cells for result in found.results)
    assert all(len(result.rmse) == 3 for result in found.results)


def test_one_unlike_cell_in_one_month_fails_its_variable(made):
    folder, sample = made
    change_one_cell(control_file(folder, sample, 1))
    (found,) = validated(folder)
    (bad,) = [result for result in found.results if not result.passed]
    assert (bad.variable, bad.differing_cells) == ("DIC_ALT_CO2", 1)
    wet = int(np.minimum(sample.ocean.kmt, 6).sum())
    with netCDF4.Dataset(control_file(folder, sample, 1)) as file:
        assert file["DIC"].shape[1] == 6
    assert bad.rmse[0] == bad.rmse[2] == 0
    assert bad.rmse[1] == pytest.approx(2.0**-13 / np.sqrt(wet), rel=1e-6)


def test_the_last_month_is_shown_as_a_map_where_it_differs(made):
    folder, sample = made
    change_one_cell(control_file(folder, sample, 1))
    assert not any(result.surface for result in validated(folder)[0].results)
    change_one_cell(control_file(folder, sample, 2), "FG_CO2")
    shown = {r.variable: r.surface for r in validated(folder)[0].results if r.surface}
    assert list(shown) == ["FG_ALT_CO2"]
    with Image.open(io.BytesIO(base64.b64decode(shown["FG_ALT_CO2"]))) as picture:
        seen = np.flipud(np.asarray(picture))
    with netCDF4.Dataset(control_file(folder, sample, 2)) as file:
        wet = file["KMT"][:].filled(0) > 0
    assert seen.shape == wet.shape
    brightest = np.argwhere(seen == seen[wet].max())
    assert brightest.tolist() == [np.argwhere(wet)[0].tolist()]
    assert (seen[~wet] < seen[wet].min()).all()


def test_a_threshold_of_the_atlas_allows_it(made):
    folder, sample = made
    change_one_cell(control_file(folder, sample, 1))
    path = folder / "configs/atlases/tiny.yaml"
    path.write_text(path.read_text() + "validation_rmse: {DIC_ALT_CO2: 0.001}\n")
    (found,) = validated(folder)
    assert all(result.passed for result in found.results)


def test_months_are_found_by_their_bounds_and_missing_ones_named(made):
    folder, sample = made
    control_file(folder, sample, 2).unlink()
    (found,) = validated(folder)
    assert not found.results
    assert "0347-09" in found.problem


def test_a_control_file_that_cannot_be_read_is_named(made):
    folder, sample = made
    plant(control_file(folder, sample, 0), "truncated")
    (found,) = validated(folder)
    assert "0347-07.nc" in found.problem
    assert "its header asks for" in found.problem


def test_a_comparison_is_remembered_and_waits_for_time(made):
    folder, _ = made
    assert validated(folder, seconds=-1) == [None]
    (first,) = validated(folder)
    assert validated(folder, seconds=-1) == [first]


@pytest.mark.parametrize("spoilt", [False, True])
def test_the_check_says_so_with_a_plot(made, spoilt):
    folder, sample = made
    if spoilt:
        change_one_cell(control_file(folder, sample, 2))
    location = Location(folder)
    job = location.defs.resolve_implicit_global_asset_job_def()
    result = location.run(CASE_ROWS, first=CASE, last=CASE)
    assert result.success
    assert job is not None
    (found,) = [
        each
        for each in result.get_asset_check_evaluations()
        if each.check_name == "matches_control"
    ]
    assert found.passed is not spoilt
    assert found.severity == dg.AssetCheckSeverity.ERROR
    picture, *maps = [
        part.partition(")")[0] for part in found.metadata["plot"].value.split("base64,")[1:]
    ]
    assert [base64.b64decode(each)[1:4] for each in maps] == [b"PNG"] * spoilt
    assert base64.b64decode(picture).startswith(b"<svg")
    if spoilt:
        assert "DIC_ALT_CO2" in found.description
    while Location.opened:
        Location.opened.pop().dispose()
