"""Re-stamping: the catalogue's attributes, the same data, the same bytes the second time."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from dor_ecco_assets.ecco import annotation
from dor_ecco_assets.ecco.annotation import annotate
from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.comparison import compare
from dor_ecco_assets.errors import ConfigurationError, InputUnusable, OutputCorrupt
from tests.ecco.production import (
    SSH_LATLON,
    SSH_NATIVE,
    SSH_NATIVE_DAILY,
    STRESS_LATLON,
    STRESS_NATIVE,
    granule_of,
    made_sample,
)

EVERY = (SSH_NATIVE, SSH_LATLON, STRESS_NATIVE, STRESS_LATLON)


def copied(factory, folder: Path, key: str = SSH_NATIVE, partition: str = "1992-01") -> Path:
    granule = granule_of(made_sample(factory), key, partition)
    return Path(shutil.copyfile(granule, folder / granule.name))


def bared(path: Path) -> None:
    """Take every attribute away that is not needed to read the values."""
    with netCDF4.Dataset(path, "r+") as file:
        for holder in (file, *file.variables.values()):
            for name in holder.ncattrs():
                if name not in ("_FillValue", "units", "calendar") or holder is file:
                    holder.delncattr(name)
        for name, variable in file.variables.items():
            if name != "time" and "units" in variable.ncattrs():
                variable.delncattr("units")


def chunks(path: Path) -> dict[str, list]:
    found = {}
    with h5py.File(path) as file:
        for name, dataset in file.items():
            if dataset.chunks:
                n_chunks = dataset.id.get_num_chunks()
                places = [dataset.id.get_chunk_info(n).chunk_offset for n in range(n_chunks)]
                found[name] = [(p, dataset.id.read_direct_chunk(p)) for p in places]
            else:
                found[name] = [dataset[()].tobytes()]
    return found


@pytest.mark.parametrize("key", EVERY)
def test_a_granule_as_it_was_made_has_nothing_to_change(tmp_path_factory, tmp_path, key):
    path = copied(tmp_path_factory, tmp_path, key)
    before = path.read_bytes()
    assert annotate(path, load_catalogue(), strip=True) == []
    assert path.read_bytes() == before


def test_a_daily_granule_has_nothing_to_change(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path, SSH_NATIVE_DAILY, "1992-01-02")
    assert annotate(path, load_catalogue()) == []


@pytest.mark.parametrize("key", EVERY)
def test_a_bare_file_says_what_a_granule_says_and_keeps_its_data(tmp_path_factory, tmp_path, key):
    path = copied(tmp_path_factory, tmp_path, key)
    bared(path)
    data = chunks(path)
    assert annotate(path, load_catalogue())
    assert chunks(path) == data
    made = granule_of(made_sample(tmp_path_factory), key, "1992-01")
    found = compare(made, path)
    assert found.structure == found.values == ()
    unknown = (
        *("source", "mapping_factors", "vector_source", "coordinates is only", "history", "uuid"),
        *("processing_software", "processing_config_sha256", "date_created", "date_issued"),
        *(["comment"] if "05DEG" in key else []),
    )
    assert [text for text in found.attributes if not text.startswith(unknown)] == []
    before = path.read_bytes()
    assert annotate(path, load_catalogue()) == []
    assert path.read_bytes() == before


def test_a_changed_catalogue_changes_what_it_says_and_nothing_else(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path)
    overlay = tmp_path / "overlay/ecco"
    overlay.mkdir(parents=True)
    shipped = Path(annotation.__file__).parents[2] / "configs/ecco/release.yaml"
    text = shipped.read_text()
    assert "author: ECCO Consortium" in text
    (overlay / "release.yaml").write_text(
        text.replace("author: ECCO Consortium", "author: Another")
    )
    data = chunks(path)
    changes = annotate(path, load_catalogue(overlay.parent))
    assert {change.name for change in changes} == {"author"}
    assert chunks(path) == data
    with netCDF4.Dataset(path) as file:
        assert file.author == "Another"
    assert annotate(path, load_catalogue(overlay.parent)) == []


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path)
    bared(path)
    before = path.read_bytes()
    would = annotate(path, load_catalogue(), dry_run=True)
    assert path.read_bytes() == before
    assert annotate(path, load_catalogue()) == would
    assert "title: set to ECCO Sea Surface Height" in "\n".join(map(str, would))


def test_strip_removes_what_the_catalogue_does_not_give(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path)
    with netCDF4.Dataset(path, "r+") as file:
        file.stray, file["SSH"].stray = "x", np.int16(3)
    assert annotate(path, load_catalogue()) == []
    changes = annotate(path, load_catalogue(), strip=True)
    assert {(c.place, c.name) for c in changes} == {("", "stray"), ("SSH", "stray")}
    with netCDF4.Dataset(path) as file:
        assert "stray" not in file.ncattrs()
        assert "stray" not in file["SSH"].ncattrs()
        assert "_FillValue" in file["SSH"].ncattrs()
    assert annotate(path, load_catalogue(), strip=True) == []


def test_types_of_other_variables_are_kept(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path)
    with netCDF4.Dataset(path, "r+") as file:
        extra = file.createVariable("flag", "i1", ("j", "i"))
        extra[:] = 1
        extra.dtype_note = np.int8(1)
        file.author = "x"
    assert annotate(path, load_catalogue())
    with xr.open_dataset(path, decode_times=False) as found:
        assert found["flag"].dtype == np.int8
        assert found["flag"].attrs["dtype_note"].dtype == np.int8
        assert found["SSH"].attrs["valid_min"].dtype == np.float32


def test_a_published_granule_is_refused_with_what_to_do(tmp_path_factory):
    path = granule_of(made_sample(tmp_path_factory), SSH_NATIVE, "1992-01")
    with pytest.raises(ConfigurationError, match="dor-ecco ecco granules ECCO_L4_SSH") as caught:
        annotate(path, load_catalogue())
    assert caught.value.code == "PublishedGranule"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("anything.nc", "NotAGranuleName"),
        ("SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_latlon_0p50deg.nc", "GridDiffers"),
        ("OCEAN_TEMPERATURE_SALINITY_mon_mean_1992-01_ECCO_V4r4_native_llc0010.nc", "GridDiffers"),
        ("NO_SUCH_mon_mean_1992-01_ECCO_V4r4_native_llc0010.nc", "UnknownDataset"),
        ("OCEAN_BOTTOM_PRESSURE_mon_mean_1992-01_ECCO_V4r4_native_llc0010.nc", "UnknownField"),
    ],
)
def test_a_file_under_a_wrong_name_is_refused(tmp_path_factory, tmp_path, name, code):
    path = copied(tmp_path_factory, tmp_path).rename(tmp_path / name)
    before = path.read_bytes()
    with pytest.raises((ConfigurationError, InputUnusable)) as caught:
        annotate(path, load_catalogue())
    assert caught.value.code == code
    assert path.read_bytes() == before


@pytest.mark.parametrize("month", ["1999-07", "1992-01", "2017-12"])
def test_a_granule_under_the_name_of_another_time_is_refused(tmp_path_factory, tmp_path, month):
    path = copied(tmp_path_factory, tmp_path, SSH_LATLON, "1992-02")
    path = path.rename(path.with_name(path.name.replace("1992-02", month)))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="time_bnds 1992-02-01T00:00:00") as caught:
        annotate(path, load_catalogue())
    assert caught.value.code == "TimeDiffers"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f["time"].__setitem__(0, 10),
        lambda f: f["time"].setncattr("units", "fortnights since then"),
        lambda f: f["time_bnds"].__setitem__((0, 1), 1500),
    ],
)
def test_times_that_disagree_or_cannot_be_read_are_refused(tmp_path_factory, tmp_path, change):
    path = copied(tmp_path_factory, tmp_path, SSH_LATLON, "1992-02")
    with netCDF4.Dataset(path, "r+") as file:
        change(file)
    with pytest.raises(ConfigurationError, match="but the file holds time") as caught:
        annotate(path, load_catalogue())
    assert caught.value.code == "TimeDiffers"


def test_a_day_that_is_not_that_of_the_name_is_refused(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path, SSH_NATIVE_DAILY, "1992-01-02")
    path = path.rename(path.with_name(path.name.replace("1992-01-02", "1992-01-03")))
    with pytest.raises(ConfigurationError) as caught:
        annotate(path, load_catalogue())
    assert caught.value.code == "TimeDiffers"


@pytest.mark.parametrize("name", ["SSH", "longitude"])
def test_numbers_are_never_given_other_units(tmp_path_factory, tmp_path, name):
    path = copied(tmp_path_factory, tmp_path, SSH_LATLON)
    with netCDF4.Dataset(path, "r+") as file:
        file[name].units = "cm"
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=f"{name} is in 'cm', the catalogue") as caught:
        annotate(path, load_catalogue())
    assert caught.value.code == "UnitsDiffer"
    assert path.read_bytes() == before


#: What only the making of a granule knows.
OF_ITS_MAKING = (
    *("processing_software", "processing_config_sha256", "date_created", "date_issued", "uuid"),
    *("source", "source_files", "history", "vector_source", "mapping_factors_fingerprint"),
)


@pytest.mark.parametrize("strip", [False, True])
def test_nothing_is_claimed_of_the_making_of_a_file(tmp_path_factory, tmp_path, strip):
    path = copied(tmp_path_factory, tmp_path, STRESS_LATLON)
    bared(path)
    annotate(path, load_catalogue(), strip=strip)
    with netCDF4.Dataset(path) as file:
        assert not set(OF_ITS_MAKING) & set(file.ncattrs())
        assert "comment" not in file.ncattrs()  # it tells how fields are mapped here
        assert file.date_modified == file.date_metadata_modified == "2021-02-26T00:00:00"
    with netCDF4.Dataset(path, "r+") as file:
        for name in (*OF_ITS_MAKING, "comment"):
            file.setncattr(name, f"their {name}")
    assert annotate(path, load_catalogue(), strip=strip) == []


def test_bounds_in_units_of_their_own_are_not_named(tmp_path_factory, tmp_path):
    """As in the pre-release: the days of `time` begin at noon, those of `time_bnds` at midnight."""
    path = copied(tmp_path_factory, tmp_path, SSH_NATIVE_DAILY, "1992-01-01")
    with netCDF4.Dataset(path, "r+") as file:
        file["time"].delncattr("bounds")
        file["time"].units = "days since 1992-01-01 12:00:00"
        file["time"][:] = 0
        file["time_bnds"].units = "days since 1992-01-01 00:00:00"
        file["time_bnds"][:] = [[0, 1]]
    annotate(path, load_catalogue())
    with netCDF4.Dataset(path) as file:
        assert "bounds" not in file["time"].ncattrs()
        assert (file.time_coverage_start, file.time_coverage_end) == (
            "1992-01-01T00:00:00",
            "1992-01-02T00:00:00",
        )


def test_no_netcdf_is_refused(tmp_path):
    path = tmp_path / "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0010.nc"
    path.write_bytes(b"CDF no")
    with pytest.raises(InputUnusable, match="cannot be read as NetCDF"):
        annotate(path, load_catalogue())


def test_data_that_would_differ_are_never_put_in_place(tmp_path_factory, tmp_path, monkeypatch):
    path = copied(tmp_path_factory, tmp_path)
    bared(path)
    before = path.read_bytes()
    whole = shutil.copyfile

    def spoilt(source, target):
        whole(source, target)
        with netCDF4.Dataset(target, "r+") as file:
            file["SSH"][0, 3, 4, 5] = 9.0

    monkeypatch.setattr(annotation.shutil, "copyfile", spoilt)
    with pytest.raises(OutputCorrupt, match="the data of SSH differ"):
        annotate(path, load_catalogue())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path_factory, tmp_path):
    path = copied(tmp_path_factory, tmp_path)
    bared(path)
    old = path.read_bytes()
    other = tmp_path / "new"
    other.mkdir()
    twin = Path(shutil.copyfile(path, other / path.name))
    annotate(twin, load_catalogue())
    new = twin.read_bytes()
    code = (
        "import sys; from pathlib import Path\n"
        "from dor_ecco_assets.ecco.annotation import annotate\n"
        "from dor_ecco_assets.ecco.catalogue import load_catalogue\n"
        "catalogue = load_catalogue(); print('ready', flush=True)\n"
        "annotate(Path(sys.argv[1]), catalogue)\n"
    )
    seen = set()
    for wait_s in (0.0, 0.02, 0.05, 0.1, 5.0):
        path.write_bytes(old)
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(wait_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        child.stdout.close()
        seen.add(path.read_bytes())
        time.sleep(0)
    assert seen <= {old, new}
    assert new in seen
    annotate(path, load_catalogue())
    assert path.read_bytes() == new
