"""Store 2 case by case: values, layout, who may write what, and what becomes of bad input."""

import json
import re
import shutil
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import yaml

import dor_ecco_assets
from dor_ecco_assets.errors import GridMismatch, InputMissing, InputUnusable, OutputCorrupt
from dor_ecco_assets.lineage.record import read_record, recorded_partitions
from dor_ecco_assets.lineage.tracing import reconcile
from dor_ecco_assets.lineage.workspace import Policy
from dor_ecco_assets.products import all_products
from dor_ecco_assets.pyramids import making
from dor_ecco_assets.pyramids.assess import (
    conservation_breaches,
    fill_breaches,
    map_stores,
    reader_breaches,
    status_breaches,
    statuses,
)
from dor_ecco_assets.pyramids.configuration import load_atlas_maps
from dor_ecco_assets.pyramids.products import places_of
from tests.pyramids.sample import INDEX, MAPS, TEMPLATE, Sample
from tests.pyramids.test_apply import expected_maps
from tests.support.kill import WarmVictims, WhenTrue

FILL = np.float32(9.969209968386869e36)
ONE, TWO = "01|000", "07|001"
BANDS = ("delta", "experimental")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Sample:
    """Two cases of 14 months, and the index."""
    sample = Sample.make(tmp_path_factory.mktemp("maps"))
    for partition in (ONE, TWO):
        sample.write_case(partition)
        sample.workspace.make(MAPS, partition)
    sample.workspace.make(INDEX, "")
    return sample


@pytest.fixture
def own(made, tmp_path) -> Sample:
    """A production of one's own with the same inputs, cases not regridded yet."""
    shutil.copytree(made.folder / "inputs", tmp_path / "inputs", copy_function=shutil.copy2)
    shutil.copytree(made.folder / "configs", tmp_path / "configs")
    for line in ("dor", "grids", "mapping"):
        for name in (line, f".records/{line}"):
            shutil.copytree(made.root / name, tmp_path / "root" / name, copy_function=shutil.copy2)
    return Sample(tmp_path)


def tree(sample: Sample, zarr_format: str, **options) -> xr.DataTree:
    path = sample.maps / f"{zarr_format}.zarr"
    return xr.open_datatree(str(path), engine="zarr", chunks=None, **options)


# Values


@pytest.mark.parametrize("zarr_format", ["v2", "v3"])
@pytest.mark.parametrize("partition", [ONE, TWO])
def test_both_stores_give_the_fields_regridded(made, zarr_format, partition):
    opened = tree(made, zarr_format)
    month, polygon = map(int, partition.split("|"))
    for variable, (place, band) in product(("FG", "PH"), enumerate(BANDS)):
        fields = made.values(partition, variable)[place].reshape(14, -1)
        for level in (0, 1):
            expected = expected_maps(made.weights, level, fields)
            case = opened[f"{level}/{variable}"].sel(
                band=band, polygon_id=polygon, intervention_date=month
            )
            for step in (0, 5, 11, 12, 13):
                found = case.sel(year=1 + step // 12, month=1 + step % 12).values
                npt.assert_allclose(found, expected[step], atol=2e-6)
            assert np.isnan(case.sel(year=2, month=3)).all()  # the case is over


def test_a_case_that_was_not_made_reads_as_nothing(made):
    for zarr_format in ("v2", "v3"):
        assert np.isnan(
            tree(made, zarr_format)["0/FG"].sel(polygon_id=1, month=1, year=1)[:, 0]
        ).all()


def test_both_stores_hold_the_same_bits(made):
    v2, v3 = (tree(made, name, mask_and_scale=False) for name in ("v2", "v3"))
    for name in ("0/FG", "1/PH"):
        npt.assert_array_equal(v2[name].values, v3[name].values)


def test_open_gives_a_tree_by_key_and_by_partition(made, monkeypatch):
    monkeypatch.setenv("DOR_ECCO_ROOT", str(made.root))
    for partition in (None, ONE):
        opened = dor_ecco_assets.open(MAPS, partition)
        assert isinstance(opened, xr.DataTree)
        assert opened["1"].sizes["x"] == 64
    with pytest.raises(InputMissing):
        dor_ecco_assets.open(MAPS, "10|001")
    for name in ("v2.zarr", "v3.zarr"):
        assert dor_ecco_assets.open(str(made.maps / name))["0"].sizes["x"] == 32


# Lineage


def test_a_record_names_what_a_case_owns_and_no_more(made):
    details = {}
    owned = {}
    for partition in (ONE, TWO):
        record = read_record(made.storage, MAPS, partition)
        details[partition] = record.details
        from dor_ecco_assets.lineage.record import expanded

        owned[partition] = set(expanded(record.details["chunks"]))
        assert set(record.details["seal"]) <= owned[partition]
        assert len(json.dumps(record.details["chunks"])) < 1500
    assert not owned[ONE] & owned[TWO]
    template = set(read_record(made.storage, TEMPLATE, "").details["chunks"])
    index = set(read_record(made.storage, INDEX, "").details["chunks"])
    assert owned[ONE] | owned[TWO] | template | index == set(made.published())
    assert details[ONE]["ranges"]["PH experimental"]["largest"] == pytest.approx(
        float(np.nanmax(made.values(ONE, "PH")[1]))
    )


def test_every_recorded_byte_is_there(made):
    workspace = made.workspace
    keys = [key for key in workspace.products if key.startswith("pyramids/")]
    assert reconcile(workspace, keys).differences == ()


def test_made_again_nothing_is_done_and_by_force_the_bytes_stay(own):
    own.workspace.make(MAPS, ONE)
    first = own.published()
    assert own.workspace.make(MAPS, ONE).skipped
    assert not own.workspace.make(MAPS, ONE, Policy(force=True)).skipped
    assert own.published() == first


@pytest.mark.parametrize("threads", [1, 3])
def test_bytes_depend_neither_on_order_nor_on_threads(made, own, monkeypatch, threads):
    monkeypatch.setattr(making, "THREADS", threads)
    for partition in (TWO, ONE):
        own.workspace.make(MAPS, partition)
    expected = {name: data for name, data in made.published().items() if ".zarr/" in name}
    assert own.published() == expected


def test_a_new_case_leaves_the_others_alone(own):
    own.workspace.make(MAPS, ONE)
    before = own.published()
    own.workspace.make(MAPS, TWO)
    after = own.published()
    assert {name: after[name] for name in before} == before


def test_a_case_made_anew_replaces_its_maps(own):
    own.workspace.make(MAPS, ONE)
    changed = own.values(ONE, "FG") + np.float32(1)
    own.write_case(ONE, FG=changed)
    assert own.workspace.state(MAPS, ONE).standing == "stale"
    assert not own.workspace.make(MAPS, ONE).skipped
    found = tree(own, "v2")["0/FG"].isel(polygon_id=0, intervention_date=0, band=0, month=0, year=0)
    expected = expected_maps(own.weights, 0, changed[0].reshape(14, -1))[0]
    npt.assert_allclose(found, expected, atol=2e-6)


# A writer that is ended


class Ended(BaseException):
    """Stands for a signal: nothing in the code under test catches it."""


def end_after(storage, puts: int, monkeypatch) -> None:
    left, put = [puts], type(storage).put

    def counted(self, key, data, label=None):
        if key.startswith(f"{MAPS}/"):
            left[0] -= 1
            if left[0] < 0:
                raise Ended
        put(self, key, data, label)

    monkeypatch.setattr(type(storage), "put", counted)


@pytest.mark.parametrize("puts", [0, 1, 2, 40, 121])
def test_a_case_ended_in_mid_write_does_not_read_as_complete(made, own, monkeypatch, puts):
    for partition in (TWO, ONE):
        own.workspace.make(MAPS, partition)
    whole = own.published()
    with monkeypatch.context() as patched:
        end_after(own.storage, puts, patched)
        with pytest.raises(Ended):
            own.workspace.make(MAPS, ONE, Policy(force=True))
    assert read_record(own.storage, MAPS, ONE) is None
    assert own.workspace.state(MAPS, ONE).standing != "up to date"
    found = statuses(own.storage, MAPS, (2, 4))
    assert found[0, 0] == (1 if puts == 0 else 0)
    assert found[1, 2] == 1
    places = places_of(own.workspace.product(MAPS))
    recorded = list(recorded_partitions(own.storage, MAPS))
    told = status_breaches(own.storage, MAPS, places, recorded)
    assert len(told) == (1 if puts == 0 else 0)
    own.workspace.make(MAPS, ONE)
    assert own.published() == whole
    assert not list(own.maps.rglob("*.part"))
    assert not (own.root / ".work").exists() or not any((own.root / ".work").rglob("chunks"))


def make_case(folder: str) -> None:
    """The victim's work."""
    Sample(Path(folder)).workspace.make(MAPS, ONE)


def test_a_case_killed_in_mid_write_is_not_there_and_a_rerun_gives_the_same_bytes(own, tmp_path):
    for partition in (TWO, ONE):
        own.workspace.make(MAPS, partition)
    whole = own.published()
    own.write_case(ONE, FG=own.values(ONE, "FG") + np.float32(1))  # so that it is made again
    first, last = (own.maps / "v2.zarr/1/FG" / f"1.0.0.{month}.0.1.1" for month in (0, 9))
    before = [path.read_bytes() for path in (first, last)]
    with WarmVictims(f"{__name__}:make_case", preload=["numba", "zarr"], ahead=1) as victims:
        moment = WhenTrue(lambda: first.read_bytes() != before[0])
        killed = victims.run_and_kill(str(tmp_path), when=moment)
    assert killed.killed, killed.stderr
    assert last.read_bytes() == before[1]  # between its first chunk and its last
    assert statuses(own.storage, MAPS, (2, 4)).sum() == 1
    for zarr_format in ("v2", "v3"):
        status = tree(own, zarr_format)["case_status"].values
        assert (status[0, 0], status[1, 2]) == (0, 1)
    assert list(recorded_partitions(own.storage, MAPS)) == [TWO]
    assert own.workspace.state(MAPS, ONE).standing != "up to date"
    own.write_case(ONE)
    own.workspace.make(MAPS, ONE)
    assert own.published() == whole
    assert not list(own.root.rglob("*.part"))


def test_objects_of_tiles_without_data_are_removed(own, monkeypatch):
    own.workspace.make(MAPS, ONE)
    empty = own.maps / "v2.zarr/0/FG/0.0.0.11.0.0.0"
    kept = empty.read_bytes()
    # As if month 12 were past the end of the case.
    monkeypatch.setattr(making, "_holds_data", lambda values: False)
    own.workspace.make(MAPS, ONE, Policy(force=True))
    assert kept
    assert not empty.exists()
    assert not (own.maps / "v3.zarr/0/FG/c.0.0.0.0.0.0.0").exists()
    assert (tree(own, "v2", mask_and_scale=False)["0/FG"][:, 0, 0] == FILL).all()


# Bad input


def test_a_template_is_made_without_any_case(own):
    own.workspace.make(TEMPLATE, "")
    assert statuses(own.storage, MAPS, (2, 4)).sum() == 0
    assert reader_breaches(own.storage, MAPS) == []
    assert sum(map(len, own.published().values())) < 200_000


@pytest.mark.parametrize("change", ["hole", "stray"])
def test_data_that_disagree_with_the_mask_are_set_aside(own, change):
    own.workspace.make(MAPS, ONE)
    before = own.published()
    values, wet = own.values(ONE, "PH"), own.grid["wet"].values
    cell = tuple(np.argwhere(wet if change == "hole" else ~wet)[5])
    values[(1, 9, *cell)] = np.nan if change == "hole" else 7.0
    own.write_case(ONE, PH=values)
    with pytest.raises(InputUnusable) as raised:
        own.workspace.make(MAPS, ONE)
    assert raised.value.code == "MaskMismatch"
    assert "PH experimental, step 9" in raised.value.message
    assert own.workspace.state(MAPS, ONE).standing == "quarantined"
    assert own.published() == before  # found before anything was written


def test_a_case_of_another_grid_is_refused(own):
    kmt = own.grid["KMT"].values.copy()
    kmt[tuple(np.argwhere(kmt > 0)[0])] = 0
    own.write_case(ONE, KMT=kmt)
    with pytest.raises(GridMismatch) as raised:
        own.workspace.make(MAPS, ONE)
    assert raised.value.code == "WeightsOfOtherGrid"
    assert "in 1 cells" in raised.value.message
    assert not (own.maps / "v2.zarr/case_status/0.0").exists()


@pytest.mark.parametrize("months", [13, 15])
def test_a_case_of_another_length_is_refused(own, months):
    values = np.resize(own.values(ONE, "FG"), (2, months, *own.grid["wet"].shape))
    own.write_case(ONE, FG=values)
    with pytest.raises(GridMismatch, match=rf"FG has shape \(2, {months}"):
        own.workspace.make(MAPS, ONE)


def test_a_case_in_other_units_is_refused(own):
    (own.folder / "configs/pyramids").mkdir()
    text = (
        "variables:\n"
        "  FG: {long_name: flux, units: mol/s, clim: {delta: [0, 1]}, colormap: {delta: RdBu}}\n"
        "  PH: {long_name: pH, units: '1', clim: {delta: [0, 1]}, colormap: {delta: RdBu}}\n"
    )
    (own.folder / "configs/pyramids/atlas.yaml").write_text(text)
    with pytest.raises(GridMismatch) as raised:
        own.workspace.make(MAPS, ONE)
    assert raised.value.code == "OtherUnits"


def test_a_template_of_another_schema_is_refused_and_nothing_is_touched(own):
    own.workspace.make(MAPS, ONE)
    before = own.published()
    path = own.folder / "configs/atlases/tiny.yaml"
    path.write_text(path.read_text() + "pyramid_injection_dimension: injection_date\n")
    all_products.cache_clear()
    with pytest.raises(GridMismatch) as raised:
        own.workspace.make(MAPS, TWO)
    assert raised.value.code == "OtherSchema"
    assert "--force" in raised.value.message
    assert own.published() == before
    # By force the template takes the store's place, and no record speaks of what went.
    own.workspace.make(TEMPLATE, "", Policy(force=True))
    assert not list(recorded_partitions(own.storage, MAPS))
    own.workspace.make(MAPS, ONE)
    assert "injection_date" in tree(own, "v2")["0/FG"].dims
    own.workspace.make(TEMPLATE, "", Policy(force=True))  # of the same schema: nothing goes
    assert own.workspace.make(MAPS, ONE).skipped


def test_another_title_makes_no_case_anew(own):
    own.workspace.make(MAPS, ONE)
    own.workspace.make(INDEX, "")
    before = own.published()
    atlas, maps = (
        own.folder / "configs/atlases/tiny.yaml",
        own.folder / "configs/pyramids/atlas.yaml",
    )
    atlas.write_text(re.sub("(?m)^title:.*", "title: Renamed", atlas.read_text()))
    described = load_atlas_maps().model_dump(mode="json")
    described["variables"]["FG"] |= {"long_name": "flux, renamed", "display_name": None}
    maps.parent.mkdir()
    maps.write_text(yaml.safe_dump(described))
    for cached in (all_products, load_atlas_maps):
        cached.cache_clear()
    assert own.workspace.state(MAPS, ONE).standing == "up to date"
    assert own.workspace.state(INDEX, "").standing == "stale"
    own.workspace.make(MAPS, TWO)  # beside the other, in the same store
    own.workspace.make(INDEX, "")
    index = json.loads((own.maps / "index.json").read_text())
    assert (index["title"], index["variables"][0]["long_name"]) == ("Renamed", "flux, renamed")
    after = own.published()
    assert {name: after[name] for name in before if name != "index.json"} == {
        name: data for name, data in before.items() if name != "index.json"
    }
    own.workspace.make(TEMPLATE, "", Policy(force=True))  # the stores' own words follow by force
    for zarr_format in ("v2", "v3"):
        opened = tree(own, zarr_format)
        assert opened.attrs["title"] == "Renamed"
        assert opened["1/FG"].attrs["long_name"] == "flux, renamed"
    assert own.workspace.make(MAPS, ONE).skipped
    assert reconcile(own.workspace, [MAPS, TEMPLATE, INDEX]).differences == ()


def test_weights_of_other_tiles_are_refused(own):
    path = own.folder / "configs/atlases/tiny.yaml"
    path.write_text(path.read_text().replace("pixels_per_tile: 32", "pixels_per_tile: 64"))
    with pytest.raises(GridMismatch, match="tiles of 32 pixels, expected 64"):
        own.workspace.make(MAPS, ONE)


def test_a_chunk_that_went_is_found_by_verifying_and_made_again(own):
    own.workspace.make(MAPS, ONE)
    before = own.published()
    (own.maps / "v2.zarr/1/FG/0.0.0.3.0.0.1").unlink()
    assert (tree(own, "v2", mask_and_scale=False)["1/FG"][0, 0, 0, 3, :, :32, 32:] == FILL).all()
    found = reconcile(own.workspace, [MAPS]).differences
    assert [each.partition for each in found] == [ONE]
    assert not own.workspace.make(MAPS, ONE, Policy(verify=True)).skipped
    assert own.published() == before


def test_a_store_that_was_removed_is_made_again(own):
    own.workspace.make(MAPS, ONE)
    before = own.published()
    shutil.rmtree(own.maps)
    assert own.workspace.state(MAPS, ONE).standing == "stale"
    own.workspace.make(MAPS, ONE)
    assert own.published() == before


# The index


def test_the_index_names_what_is_there(made):
    index = json.loads((made.maps / "index.json").read_text())
    assert index["cases"] == {"1": [0], "4": [], "7": [1], "10": []}
    assert index["stores"]["maps"] == {"v2": "v2.zarr", "v3": "v3.zarr"}
    assert index["stores"]["efficiency"] is None
    assert index["injection_dim_name"] == "intervention_date"
    assert [each["name"] for each in index["variables"]] == ["FG", "PH"]
    # What is shown is the stored flux with its sign turned, and says so.
    assert index["variables"][0]["display_factor"] < 0
    assert index["variables"][0]["long_name"].endswith("positive out of the ocean")
    assert tree(made, "v2")["0/FG"].attrs["long_name"].endswith("positive into the ocean")
    assert (index["years"], index["months"]) == ([1, 2], 14)
    for each in index["variables"]:
        assert each["clim"].keys() == each["colormap"].keys() == set(BANDS)


def test_outlines_hold_the_centres_of_their_cells(made):
    from dor_ecco_assets.atlas.polygons import cells_inside, parse_features

    data = (made.maps / "polygons.geojson").read_bytes()
    outlines = parse_features(data)
    polygons = made.workspace.open_upstream("dor/polygons")["polygon"].values
    lat, lon = made.grid["TLAT"].values, made.grid["TLONG"].values
    assert sorted(outlines) == [0, 1]
    for number, rings in outlines.items():
        npt.assert_array_equal(cells_inside(rings, lat, lon), polygons == number)
        assert max(np.abs(ring[:, 0]).max() for part in rings for ring in part) <= 180
    assert len(data) < 20_000


# What checks find


@pytest.mark.parametrize("zarr_format", ["v2", "v3"])
def test_checks_pass_on_what_was_made(made, zarr_format):
    (store,) = (each for each in map_stores(made.storage, MAPS) if each.zarr_format == zarr_format)
    for place in ((0, 0), (1, 2)):
        assert fill_breaches(store, place) == []
        assert conservation_breaches(store, place) == []
    assert fill_breaches(store, (1, 0)) != []  # nothing there but fill


def rewrite(sample: Sample, name: str, change) -> None:
    path = sample.maps / "v2.zarr" / name
    values = np.frombuffer(zlib.decompress(path.read_bytes()), np.float32).copy()
    change(values)
    path.write_bytes(zlib.compress(values.tobytes(), 1))


def put_nan(values):
    values[values == FILL] = np.nan


def double(values):
    values[values != FILL] *= 2


@pytest.mark.parametrize(("change", "finds"), [(put_nan, "NaN"), (double, "apart")])
def test_checks_find_nan_and_levels_that_disagree(own, change, finds):
    own.workspace.make(MAPS, ONE)
    rewrite(own, "0/FG/0.0.0.0.0.0.0", change)
    store = next(each for each in map_stores(own.storage, MAPS) if each.zarr_format == "v2")
    told = fill_breaches(store, (0, 0)) + conservation_breaches(store, (0, 0))
    assert any(finds in sentence for sentence in told)


def test_a_status_without_a_record_is_found(own):
    own.workspace.make(MAPS, ONE)
    places = places_of(own.workspace.product(MAPS))
    assert status_breaches(own.storage, MAPS, places, [ONE]) == []
    assert "has no record" in status_breaches(own.storage, MAPS, places, [])[0]
    assert "its status is 0" in status_breaches(own.storage, MAPS, places, [ONE, TWO])[0]


def test_another_writer_is_noticed(own, monkeypatch):
    read = type(own.storage).read

    def other(self, key):
        data = read(self, key)
        return data[:-1] if data and key.endswith("0/FG/0.0.0.0.0.0.0") else data

    own.workspace.make(TEMPLATE, "")
    monkeypatch.setattr(type(own.storage), "read", other)
    with pytest.raises(OutputCorrupt) as raised:
        own.workspace.make(MAPS, ONE)
    assert raised.value.code == "ReadBackDiffers"
    assert statuses(own.storage, MAPS, (2, 4))[0, 0] == 0
