"""Polygons on their grid, and the published efficiencies."""

import json
import pickle

import numpy as np
import numpy.testing as npt
import pytest

from dor_ecco_assets.atlas.polygons import (
    NO_POLYGON,
    cells_inside,
    load_array,
    load_polygons,
    parse_features,
    spherical_centre,
)
from dor_ecco_assets.atlas.published import (
    EFFICIENCY_FILL,
    efficiency_dataset,
    read_published_efficiency,
)
from dor_ecco_assets.atlas.specification import PolygonSet, load_atlas
from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.samples.pop_grid import (
    sample_polygons,
    sample_pop_grid,
    write_sample_polygons,
)
from dor_ecco_assets.storage import Directory
from tests.grids.test_pop import gx1v7
from tests.support.data import real_data

SQUARE = np.array([[170.0, -10.0], [190.0, -10.0], [190.0, 10.0], [170.0, 10.0]])


def test_an_outline_across_the_date_line_holds_points_on_both_sides():
    lon = np.array([175.0, 185.0, -175.0, 169.0, 191.0, np.nan])
    held = cells_inside([[SQUARE]], np.zeros(6), lon)
    assert held.tolist() == [True, True, True, False, False, False]


def test_a_hole_is_outside():
    hole = np.array([[178.0, -2.0], [182.0, -2.0], [182.0, 2.0], [178.0, 2.0]])
    held = cells_inside([[SQUARE, hole]], np.array([0.0, 5.0]), np.array([180.0, 180.0]))
    assert held.tolist() == [False, True]


def test_the_centre_of_points_around_the_date_line_lies_on_it():
    lat, lon = spherical_centre([0, 0], [170, -170], [1, 1])
    npt.assert_allclose((lat, lon), (0, 180), atol=1e-12)
    assert spherical_centre([80, 80], [0, 180], [1, 1])[0] == pytest.approx(90)


def test_polygon_0_of_the_published_mask_is_found_by_its_geometry():
    polygons = load_atlas("dor").polygon_set
    found = load_polygons(Directory(real_data()), polygons, gx1v7())
    mask = found["polygon"].values
    assert int((mask == 0).sum()) == int(found["cells"][0]) == 53
    assert int((mask == NO_POLYGON).sum()) == 44_254 - 53
    assert int(found["cells"].sum()) == 86_096 - 7_470 + 53
    assert found["cells"].values.min() > 0
    # South of Greenland, where its outline lies
    assert 57 < float(found["centre_lat"][0]) < 62
    assert 306 < float(found["centre_lon"][0]) < 314
    assert "area-weighted spherical mean" in found.attrs["centre_source"]


def test_the_outlines_agree_with_the_published_mask_where_ids_are_sure():
    grid = gx1v7()
    polygons = load_atlas("dor").polygon_set
    mask = load_polygons(Directory(real_data()), polygons, grid)["polygon"].values
    outlines = parse_features(real_data("pop/oae_atlas/regions.geojson").read_bytes())
    assert sorted(outlines) == list(range(690))
    wrong = 0
    for polygon in range(1, 690, 23):
        held = cells_inside(outlines[polygon], grid["ULAT"].values, grid["ULONG"].values)
        wrong += int((held != (mask == polygon)).sum())
    assert wrong <= 3  # of some 3400; in gx1v7's seam column the outlines are one cell off


def sample(tmp_path, n=5, **options):
    grid = sample_pop_grid(48, 40, 3, **options)
    mask = write_sample_polygons(tmp_path / "p", grid, n)
    return grid, mask


def polygon_set(n=5, **given) -> PolygonSet:
    plain = {"mask": "p/mask.nc", "regions": "p/regions.geojson"}
    return PolygonSet(**({"basins": [{"name": "South", "polygons": n}]} | plain | given))


@pytest.mark.parametrize("undefined_land", [False, True])
def test_sample_polygons_read_back_as_they_were_dealt(tmp_path, undefined_land):
    grid, mask = sample(tmp_path, undefined_land=undefined_land)
    found = load_polygons(Directory(tmp_path), polygon_set(), grid)
    npt.assert_array_equal(found["polygon"].values, mask)
    inside = mask == 3
    centre = spherical_centre(
        grid["TLAT"].values[inside], grid["TLONG"].values[inside], grid["area_m2"].values[inside]
    )
    npt.assert_allclose((found["centre_lat"][3], found["centre_lon"][3]), centre, rtol=1e-12)
    npt.assert_allclose(found["area_m2"][3], grid["area_m2"].values[inside].sum(), rtol=1e-12)


def test_masks_and_centres_per_basin_are_indexed_by_polygon(tmp_path):
    grid = sample_pop_grid(48, 40, 3)
    mask = sample_polygons(grid, 5)
    np.save(tmp_path / "a.npy", np.stack([mask == k for k in (0, 1)]))
    np.save(tmp_path / "b.npy", np.stack([mask == k for k in (2, 3, 4)]).astype("f4"))
    np.save(tmp_path / "c.npy", np.array([[-10.0, 1.0], [20.0, 2.0], [30.0, 3.0]]))
    polygons = PolygonSet(
        basins=[{"name": "North", "polygons": 2}, {"name": "South", "polygons": 3}],
        basin_masks={"North": "a.npy", "South": "b.npy"},
        basin_centres={"South": "c.npy"},
    )
    found = load_polygons(Directory(tmp_path), polygons, grid)
    npt.assert_array_equal(found["polygon"].values, mask)
    npt.assert_array_equal(found["centre_lon"].values[2:], [350.0, 20.0, 30.0])
    npt.assert_array_equal(found["centre_lat"].values[2:], [1.0, 2.0, 3.0])
    assert found.attrs["centre_source"] == (
        "South: c.npy; North: area-weighted spherical mean of wet cells"
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"n": 4}, "PolygonIds"),
        ({"n": 6}, "PolygonEmpty"),
        ({"mask_variable": "mask"}, "PolygonFile"),
        ({"mask": "p/regions.geojson"}, "PolygonFile"),
        ({"regions": "p/mask.nc"}, "PolygonFile"),
        ({"sha256": {"p/mask.nc": "0" * 64}}, "ChecksumMismatch"),
        ({"sha256": {"p/regions.geojson": "0" * 64}}, "ChecksumMismatch"),
    ],
)
def test_what_is_not_the_polygons_of_this_atlas_is_refused(tmp_path, given, code):
    grid, _ = sample(tmp_path)
    with pytest.raises(InputUnusable) as caught:
        load_polygons(Directory(tmp_path), polygon_set(**given), grid)
    assert caught.value.code == code


def test_a_mask_of_another_grid_is_refused(tmp_path):
    sample(tmp_path)
    with pytest.raises(InputUnusable, match=r"\(48, 40\), expected \(24, 20\)") as caught:
        load_polygons(Directory(tmp_path), polygon_set(), sample_pop_grid(24, 20, 3))
    assert caught.value.code == "PolygonSizes"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputMissing, match=r"mask\.nc"):
        load_polygons(Directory(tmp_path), polygon_set(), sample_pop_grid(24, 20, 3))


def test_regions_without_polygon_0_are_refused(tmp_path):
    grid, _ = sample(tmp_path)
    path = tmp_path / "p/regions.geojson"
    found = json.loads(path.read_text())
    found["features"] = found["features"][1:]
    path.write_text(json.dumps(found))
    with pytest.raises(InputUnusable, match="polygon 0 has no outline"):
        load_polygons(Directory(tmp_path), polygon_set(), grid)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickled_arrays_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(InputUnusable, match="pickled objects are refused"):
            load_array(Directory(tmp_path), name)


# Published efficiencies


def test_the_published_efficiencies_are_reproduced_to_their_three_decimals():
    data = real_data("pop/oae_atlas/regions_joined.geojson").read_bytes()
    found = read_published_efficiency(data)["OAE_efficiency"]
    values = found.values
    checked = 0
    for feature in json.loads(data)["features"]:
        polygon = feature["properties"]["polygon_id"]
        for k, month in enumerate((1, 4, 7, 10)):
            for year in range(1, 16):
                value = feature["properties"][f"eff_inj_{month}_year_{year}"]
                assert values[12 * year - 1, polygon, k] == np.float32(value)
                assert round(float(values[12 * year - 1, polygon, k]), 3) == value
                checked += 1
    assert checked == 712 * 60
    assert int((values != EFFICIENCY_FILL).sum()) == 690 * 4 * 15
    assert found.dims == ("elapsed_time", "polygon_id", "intervention_month")
    assert (values.shape, values.dtype) == ((180, 690, 4), np.float32)
    assert {found[name].dtype for name in found.dims} == {np.dtype(np.int32)}
    assert found["elapsed_time"].attrs["units"] == "months"


def published(change=None) -> bytes:
    features = [
        {"properties": {"polygon_id": k} | {f"eff_inj_1_year_{y}": 0.1 * y for y in (1, 2)}}
        for k in (0, 1, 1)
    ]
    if change is not None:
        change(features)
    return json.dumps({"features": features}).encode()


def read_small(data: bytes):
    return read_published_efficiency(data, n_polygons=2, injection_months=(1,), years=2)


def test_a_small_published_file_is_read():
    found = read_small(published())["OAE_efficiency"].values
    npt.assert_array_equal(found[[11, 23], :, 0], np.float32([[0.1, 0.1], [0.2, 0.2]]))
    assert (np.delete(found, [11, 23], axis=0) == EFFICIENCY_FILL).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f[2]["properties"].update(eff_inj_1_year_1=0.5), "is 0.1 and 0.5"),
        (lambda f: f[0]["properties"].pop("eff_inj_1_year_2"), "1 values are absent"),
        (lambda f: f[0]["properties"].update(eff_inj_1_year_2=None), "is None"),
        (lambda f: f[0]["properties"].update(eff_inj_1_year_3=0.1), "eff_inj_1_year_3"),
        (lambda f: f[0]["properties"].update(polygon_id=2), "there is a polygon 2"),
        (lambda f: f[0]["properties"].pop("polygon_id"), "polygon_id"),
    ],
)
def test_a_spoilt_published_file_is_refused(change, says):
    with pytest.raises(InputUnusable, match=says):
        read_small(published(change))


def test_undefined_efficiency_is_fill_not_nan():
    values = np.array([[[0.5, np.nan]]])
    made = efficiency_dataset(values, [1, 4], forcing="DOR")
    assert made["DOR_efficiency"].values.tolist() == [[[0.5, float(EFFICIENCY_FILL)]]]
