"""Comparing granules: each kind of difference is found, placed and counted; equal is equal."""

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from dor_ecco_assets.ecco.comparison import (
    Tolerance,
    blocks,
    compare,
    content_hash,
    granules_below,
)
from dor_ecco_assets.errors import InputMissing, InputUnusable
from tests.ecco.production import MONTHS, SSH_LATLON, SSH_NATIVE, granule_of, made_sample


@pytest.fixture
def granule(tmp_path_factory) -> Path:
    return granule_of(made_sample(tmp_path_factory), SSH_NATIVE, "1992-01")


def changed(granule: Path, folder: Path, change) -> Path:
    """A copy of a granule, changed as an open netCDF4 file."""
    import netCDF4

    copy = folder / granule.name
    shutil.copyfile(granule, copy)
    with netCDF4.Dataset(copy, "r+") as file:
        change(file)
    return copy


def test_a_granule_equals_itself_and_its_copy_at_once(granule, tmp_path):
    copy = Path(shutil.copyfile(granule, tmp_path / "copy.nc"))
    assert compare(granule, copy).same_bytes
    assert compare(granule, copy).equal


def test_a_changed_value_is_counted_measured_and_placed(granule, tmp_path):
    with xr.open_dataset(granule) as file:
        tile, j, i = map(int, np.argwhere(~np.isnan(file["SSH"].values[0]))[40])
        before = float(file["SSH"].values[0, tile, j, i])

    def change(file):
        file["SSH"][0, tile, j, i] = before + 0.5

    found = compare(granule, changed(granule, tmp_path, change))
    assert not found.equal
    (value,) = found.values
    assert (value.name, value.kind, value.cells, value.missing) == ("SSH", "variable", 1, 0)
    assert value.max_abs == pytest.approx(0.5, rel=1e-6)
    assert value.max_rel == pytest.approx(0.5 / abs(before + 0.5), rel=1e-6)
    assert value.where == {"time": 0, "tile": tile, "j": j, "i": i}
    assert compare(granule, tmp_path / granule.name, Tolerance(atol=0.6)).equal


def test_a_value_that_is_missing_on_one_side_differs_whatever_the_tolerance(granule, tmp_path):
    def change(file):
        file["SSH"][0, 2] = np.ma.masked

    (value,) = compare(granule, changed(granule, tmp_path, change), Tolerance(9, 9)).values
    assert value.missing == value.cells > 0
    assert value.max_abs is None
    assert value.where is not None
    assert value.where["tile"] == 2


def test_a_changed_coordinate_is_called_one(granule, tmp_path):
    def change(file):
        file["XC"][0, 0, 0] += 1

    (value,) = compare(granule, changed(granule, tmp_path, change)).values
    assert (value.name, value.kind, value.cells) == ("XC", "coordinate", 1)


def test_attributes_are_compared_and_dates_left_out_only_when_asked(granule, tmp_path):
    def change(file):
        file.uuid = "another"
        file.date_created = "1999-01-01T00:00:00"

    copy = changed(granule, tmp_path, change)
    found = compare(granule, copy)
    assert [text.split(":")[0] for text in found.attributes] == ["date_created", "uuid"]
    assert compare(granule, copy, ignore_dates=True).equal

    def more(file):
        file["SSH"].units = "cm"
        del file["SSH"].long_name
        file.added = 1

    texts = compare(granule, changed(granule, tmp_path, more)).attributes
    assert texts == (
        "added is only in the second",
        "SSH:long_name is only in the first",
        "SSH:units: m in the first, cm in the second",
    )


def test_variables_and_shapes_that_differ_are_named(granule, tmp_path):
    copy = tmp_path / "other.nc"
    with xr.open_dataset(granule) as file:
        file.load().drop_vars("SSHIBC").isel(tile=slice(2)).to_netcdf(copy)
    texts = compare(granule, copy).structure
    assert "SSHIBC is only in the first" in texts
    assert any(t.startswith("SSH is f4 (time: 1, tile: 13") and "tile: 2" in t for t in texts)


def test_a_file_that_is_absent_or_no_netcdf_is_named(granule, tmp_path):
    with pytest.raises(InputMissing, match="there is no file"):
        compare(granule, tmp_path / "none.nc")
    broken = tmp_path / "broken.nc"
    broken.write_bytes(granule.read_bytes()[:3000])
    with pytest.raises(InputUnusable, match="cannot be read as NetCDF") as caught:
        compare(granule, broken)
    assert caught.value.code == "NotNetcdf"


def test_scratch_is_no_granule(granule, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/one.nc", ".two.nc", "a/.three.nc.x.part"):
        shutil.copyfile(granule, tmp_path / name)
    assert list(granules_below(tmp_path)) == ["a/one.nc"]


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4), cells=st.integers(1, 40))
def test_blocks_cover_every_cell_once(shape, cells):
    from dor_ecco_assets.ecco import comparison

    values = np.arange(np.prod(shape)).reshape(shape)
    variable = xr.Variable([f"d{n}" for n in range(len(shape))], values)
    seen = np.zeros(shape, int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_BLOCK_CELLS", cells)
        for origin, block in blocks(variable):
            index = tuple(slice(o, o + n) for o, n in zip(origin, block.shape, strict=True))
            assert np.array_equal(values[index], block)
            seen[index] += 1
    assert (seen == 1).all()


def test_the_content_hash_is_of_what_is_said_not_of_how_it_is_stored(granule, tmp_path):
    stored = tmp_path / "stored.nc"
    with xr.open_dataset(granule, decode_times=False, decode_coords=False) as file:
        whole = file.load()
    names = list(whole.variables)[::-1]
    encoding = {
        name: {"zlib": False, "_FillValue": whole[name].encoding.get("_FillValue")}
        for name in names
    }
    for name in names:
        whole[name].encoding = {}
    whole[names].to_netcdf(stored, encoding=encoding)
    assert content_hash(stored) == content_hash(granule)
    with granule.open("rb") as file:
        assert content_hash(file) == content_hash(granule)

    def dates(file):
        file.uuid, file.date_issued = "another", "1999"

    def value(file):
        file["SSH"][0, 0, 9, 9] = 5.0

    def attribute(file):
        file["SSH"].comment = "another"

    assert content_hash(changed(granule, tmp_path, dates)) == content_hash(granule)
    others = [content_hash(changed(granule, tmp_path, change)) for change in (value, attribute)]
    others += [
        content_hash(granule_of(made_sample_of(granule), key, month))
        for key, month in ((SSH_NATIVE, MONTHS[1]), (SSH_LATLON, MONTHS[0]))
    ]
    assert len({content_hash(granule), *others}) == 5


def made_sample_of(granule: Path):
    from tests.ecco.production import production

    root = granule.parent.parent.parent
    return production(root, root.parent / "inputs")


def test_memory_does_not_grow_with_the_number_of_depth_levels(tmp_path):
    def peak(levels: int) -> int:
        paths = [tmp_path / f"{levels}{side}.nc" for side in "ab"]
        for n, path in enumerate(paths):
            field = np.zeros((1, levels, 360, 720), np.float32)
            field[0, -1, 5, 6] = n
            xr.Dataset({"T": (("time", "Z", "latitude", "longitude"), field)}).to_netcdf(
                path, encoding={"T": {"zlib": True, "chunksizes": (1, 5, 360, 720)}}
            )
            del field
        tracemalloc.start()
        (found,) = compare(*paths).values
        assert found.where == {"time": 0, "Z": levels - 1, "latitude": 5, "longitude": 6}
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    assert peak(40) < 1.3 * peak(20)
