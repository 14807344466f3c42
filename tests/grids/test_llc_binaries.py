import shutil

import numpy as np
import numpy.testing as npt
import pytest

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.grids.llc_binaries import (
    binaries_of,
    missing_fields,
    read_grid_fields,
)
from dor_ecco_assets.grids.llc_geometry import OPTIONAL_FIELDS, REQUIRED_FIELDS, grid_dataset
from dor_ecco_assets.grids.mds import write_grid_file
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.storage.directory import Directory
from tests.support.data import llc90_fields, real_data


@pytest.fixture(scope="module")
def sample():
    return sample_grid_fields(6)


@pytest.fixture
def source(tmp_path, sample):
    for name, values in sample.items():
        write_grid_file(tmp_path / "llc90", name, values)
    return Directory(tmp_path)


@pytest.mark.parametrize("folder", ["llc90", "/llc90/"])
def test_grid_fields_are_read_back_bit_for_bit(source, sample, folder):
    fields = read_grid_fields(source, folder)
    assert set(fields) == set(sample)
    for name, values in sample.items():
        assert fields[name].dtype == np.float64
        assert fields[name].dtype.isnative
        npt.assert_array_equal(fields[name], values)
    assert grid_dataset(fields).attrs["side"] == 6


def test_fractions_are_read_where_they_are_there(source, sample):
    fraction = np.random.default_rng(0).random((50, 78, 6))
    for name in ("hFacC", "hFacW", "hFacS"):
        write_grid_file(source.root / "llc90", name, fraction, dtype=">f4")
    write_grid_file(source.root / "llc90", "RAZ", sample["RAC"])  # which no product uses
    fields = read_grid_fields(source, "llc90")
    assert set(fields) - set(sample) == {"hFacC", "hFacW", "hFacS"}
    npt.assert_array_equal(fields["hFacC"], fraction.astype("f4"))


def test_published_names_are_tried_too(source, sample):
    for name, other in (("RAC", "rA"), ("AngleCS", "CS")):
        for ending in ("data", "meta"):
            folder = source.root / "llc90"
            (folder / f"{name}.{ending}").rename(folder / f"{other}.{ending}")
    npt.assert_array_equal(read_grid_fields(source, "llc90")["RAC"], sample["RAC"])
    keys = binaries_of(source, "llc90")
    assert keys["AngleCS.data"] == "llc90/CS.data"
    assert keys["hFacC.data"] is None
    assert len(keys) == 2 * len((*REQUIRED_FIELDS, *OPTIONAL_FIELDS))


def test_missing_fields_are_all_named_with_files_use_and_fallback(source):
    for name in ("RAC", "XG"):
        (source.root / "llc90" / f"{name}.data").unlink()
    with pytest.raises(InputMissing) as error:
        read_grid_fields(source, "llc90", required=(*REQUIRED_FIELDS, "hFacC"))
    message = str(error.value)
    assert error.value.code == "MissingGridField"
    assert str(source.root / "llc90") in message
    assert (
        "RAC (tried llc90/RAC.data and llc90/rA.data; needed by mapping factors, global means and "
        "the geometry granule; no fallback)"
    ) in message
    assert "XG (tried llc90/XG.data; needed by native granules" in message
    assert "hFacC (tried llc90/hFacC.data" in message
    assert "can be derived from Depth, RF and DRF instead" in message
    assert "YC" not in message


def test_a_grid_file_without_meta_is_refused(source):
    (source.root / "llc90" / "DYG.meta").unlink()
    with pytest.raises(InputMissing, match=r"DYG\.meta is missing") as error:
        read_grid_fields(source, "llc90")
    assert error.value.code == "MissingMeta"


def test_a_whole_grid_lacks_nothing(source):
    assert missing_fields(source, "llc90", binaries_of(source, "llc90")) is None


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("YC", np.zeros((13 * 5, 5)), r"\(65, 5\), expected \(78, 6\)"),
        ("RF", np.zeros(50), r"\(50, 1, 1\), expected \(51, 1, 1\)"),
        ("hFacC", np.zeros((49, 78, 6)), r"\(49, 78, 6\), expected \(50, 78, 6\)"),
        ("Depth", np.zeros((2, 78, 6)), r"\(2, 78, 6\), expected \(78, 6\)"),
    ],
)
def test_a_file_of_another_grid_is_refused(source, name, values, expected):
    write_grid_file(source.root / "llc90", name, values)
    with pytest.raises(InputUnusable, match=expected) as error:
        read_grid_fields(source, "llc90")
    assert error.value.code == "ShapeMismatch"
    assert error.value.uri.endswith(f"llc90/{name}.data")


def test_a_truncated_grid_file_is_refused(source):
    path = source.root / "llc90" / "Depth.data"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputUnusable, match="has 1000 bytes, expected 3744") as error:
        read_grid_fields(source, "llc90")
    assert error.value.code == "SizeMismatch"


def test_the_real_grid_is_read(tmp_path):
    folder = real_data("llc90")
    fields = read_grid_fields(Directory(folder))
    for name, values in llc90_fields().items():
        npt.assert_array_equal(fields[name], values)
    assert np.count_nonzero(fields["Depth"]) == 60_646
    shutil.copytree(folder, tmp_path / "grid")
    shutil.copy(folder / "meta_only" / "hFacC.meta", tmp_path / "grid")
    assert "hFacC" not in read_grid_fields(Directory(tmp_path), "grid")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("XC", 1e30),
        ("YC", 90.5),
        ("XG", np.nan),
        ("RAC", 0.0),
        ("DXG", -1.0),
        ("Depth", np.inf),
        ("AngleCS", 1.5),
        ("DRF", 0.0),
        ("RF", 10.0),
        ("RC", -9000.0),
    ],
)
def test_a_value_that_no_grid_has_is_refused_with_its_file(source, sample, field, value):
    values = sample[field].copy()
    values.flat[0] = value
    write_grid_file(source.root / "llc90", field, values)
    with pytest.raises(InputUnusable, match="fetch the file again") as error:
        read_grid_fields(source, "llc90")
    assert error.value.code == "GridValues"
    assert error.value.uri.endswith(f"{field}.data")
