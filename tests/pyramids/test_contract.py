"""Templates against what readers ask, one requirement after the other; encoders; foreign stores."""

import json
import zlib

import numpy as np
import numpy.testing as npt
import pytest
import xarray as xr
import zarr
from numcodecs import Blosc, Zlib

from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.pyramids.configuration import load_atlas_maps
from dor_ecco_assets.pyramids.contract import contract_breaches
from dor_ecco_assets.pyramids.schema import EXTENT_M, atlas_layout, groups_of
from dor_ecco_assets.stores import browser
from dor_ecco_assets.stores.browser import (
    FILL,
    Array,
    Group,
    chunk_v2,
    chunk_v3,
    objects_of,
    shard_v3,
)

WEIGHTS = {"weights": {"methods": ["conservative"] * 2, "threshold": 0.5}}
SELECTORS = ("band", "polygon_id", "intervention_date", "month", "year")


def template(zarr_format: str, name: str = "dor", **changed) -> dict[str, bytes]:
    atlas = load_atlas(name).model_copy(update=changed)
    layout = atlas_layout(atlas, load_atlas_maps().variables, WEIGHTS)
    shares = [np.ones(layout.side(level) ** 2, np.float32) for level in range(layout.levels)]
    return objects_of(groups_of(layout, shares, zarr_format), zarr_format)


@pytest.fixture(scope="module")
def v2() -> dict[str, bytes]:
    return template("v2")


@pytest.fixture(scope="module")
def v3() -> dict[str, bytes]:
    return template("v3")


@pytest.fixture(scope="module")
def metadata(v2) -> dict:
    return json.loads(v2[".zmetadata"])["metadata"]


def arrays_of(metadata: dict, level: str = "0") -> dict:
    prefix = f"{level}/"
    return {
        name.removeprefix(prefix).removesuffix("/.zarray"): about
        for name, about in metadata.items()
        if name.startswith(prefix) and name.endswith(".zarray")
    }


# Zarr v2, requirement by requirement


def test_every_array_is_zlib_without_filters(metadata):
    for name, about in metadata.items():
        if name.endswith(".zarray"):
            assert about["compressor"] == {"id": "zlib", "level": 1}
            assert about["filters"] is None
            assert (about["order"], about["dimension_separator"]) == ("C", ".")


def test_types_are_those_that_the_reader_decodes(metadata):
    found = {name: about["dtype"] for name, about in arrays_of(metadata).items()}
    assert found.pop("band") == "<U12"
    for name in ("polygon_id", "intervention_date", "month", "year", "elapsed_time"):
        assert found.pop(name) == "<i4"
    assert set(found.values()) == {"<f4"}
    assert metadata["case_status/.zarray"]["dtype"] == "|u1"


def test_the_fill_is_exact_and_the_same_number_everywhere(metadata):
    for level in ("0", "1"):
        for name in load_atlas("dor").variables:
            fill = metadata[f"{level}/{name}/.zarray"]["fill_value"]
            assert fill == FILL == float(np.float32(FILL))


def test_shapes_chunks_and_dimensions_are_the_published_ones(metadata):
    for level, n in (("0", 128), ("1", 256)):
        for name in load_atlas("dor").variables:
            about = metadata[f"{level}/{name}/.zarray"]
            assert about["shape"] == [2, 690, 4, 12, 15, n, n]
            assert about["chunks"] == [1, 1, 1, 1, 15, 128, 128]
            dims = metadata[f"{level}/{name}/.zattrs"]["_ARRAY_DIMENSIONS"]
            assert dims == [*SELECTORS, "y", "x"]
    assert metadata["case_status/.zarray"]["shape"] == [690, 4]
    assert metadata["case_status/.zarray"]["chunks"] == [1, 1]


def test_every_coordinate_is_one_chunk_with_the_values_that_pages_select_by(v2, metadata):
    for level in ("0", "1"):
        for name in SELECTORS:
            about = metadata[f"{level}/{name}/.zarray"]
            assert about["chunks"] == about["shape"]

    def read(name, dtype):
        return np.frombuffer(zlib.decompress(v2[f"1/{name}"]), dtype)

    assert read("band/0", "<U12").tolist() == ["delta", "experimental"]
    assert read("polygon_id/0", "<i4").tolist() == list(range(690))
    assert read("intervention_date/0", "<i4").tolist() == [1, 4, 7, 10]
    assert read("month/0", "<i4").tolist() == list(range(1, 13))
    assert read("year/0", "<i4").tolist() == list(range(1, 16))
    elapsed = read("elapsed_time/0.0", "<i4").reshape(12, 15)
    assert elapsed[4, 3] == 12 * 3 + 4
    x, y = read("x/0", "<f4"), read("y/0", "<f4")
    assert x[0] == np.float32(-EXTENT_M + EXTENT_M / 256)
    assert y[0] == -x[0]
    assert np.all(np.diff(y) < 0)


def test_multiscales_name_levels_tiles_and_projection(metadata):
    (scales,) = metadata[".zattrs"]["multiscales"]
    assert [each["path"] for each in scales["datasets"]] == ["0", "1"]
    assert {each["pixels_per_tile"] for each in scales["datasets"]} == {128}
    assert {each["crs"] for each in scales["datasets"]} == {"EPSG:3857"}
    (own,) = metadata["1/.zattrs"]["multiscales"]
    assert own["datasets"] == [
        {"path": ".", "level": 1, "pixels_per_tile": 128, "crs": "EPSG:3857"}
    ]


def test_metadata_are_strict_json_and_consolidated_whole(v2, metadata):
    def refuse(constant):
        raise AssertionError(constant)

    for name, data in v2.items():
        if name.rpartition("/")[2].startswith(".z"):
            found = json.loads(data, parse_constant=refuse)
            if name != ".zmetadata":
                assert metadata[name] == found


@pytest.mark.parametrize("name", ["intervention_date", "injection_date"])
def test_the_injection_dimension_is_called_as_the_atlas_says(name):
    for zarr_format in ("v2", "v3"):
        made = template(zarr_format, "tiny", pyramid_injection_dimension=name)
        assert contract_breaches(made.get) == []
        store = zarr.storage.MemoryStore(
            {key: zarr.core.buffer.cpu.Buffer.from_bytes(data) for key, data in made.items()}
        )
        opened = xr.open_datatree(store, engine="zarr", chunks=None)
        assert opened["0/FG"].dims == ("band", "polygon_id", name, "month", "year", "y", "x")
        assert opened["case_status"].dims == ("polygon_id", name)


# Zarr v3


def test_the_twin_says_where_it_lies(v3):
    about = json.loads(v3["zarr.json"])["attributes"]
    assert [each["name"] for each in about["zarr_conventions"]] == [
        "multiscales",
        "proj",
        "spatial",
    ]
    assert about["proj:code"] == "EPSG:3857"
    finest, coarsest = about["multiscales"]["layout"]
    assert (finest["asset"], finest["spatial:shape"]) == ("1", [256, 256])
    assert (coarsest["asset"], coarsest["derived_from"]) == ("0", "1")
    across = 2 * EXTENT_M / 256
    assert finest["spatial:transform"] == [across, 0.0, -EXTENT_M, 0.0, -across, EXTENT_M]


def test_the_twin_has_a_shard_per_band_case_and_level(v3):
    metadata = json.loads(v3["zarr.json"])["consolidated_metadata"]["metadata"]
    about = metadata["1/PH"]
    assert about["chunk_grid"]["configuration"]["chunk_shape"] == [1, 1, 1, 12, 15, 256, 256]
    (codec,) = about["codecs"]
    assert codec["configuration"]["chunk_shape"] == [1, 1, 1, 1, 15, 128, 128]
    blosc = codec["configuration"]["codecs"][1]["configuration"]
    assert (blosc["cname"], blosc["clevel"], blosc["shuffle"]) == ("zstd", 3, "shuffle")
    assert metadata["band"]["data_type"] == "string"
    for name in SELECTORS:  # zarr-layer looks for values at the root
        assert metadata[name] == metadata[f"0/{name}"]
        assert v3[f"{name}/c.0"] == v3[f"1/{name}/c.0"]


# The check itself


def test_templates_keep_the_contract(v2, v3):
    assert contract_breaches(v2.get) == []
    assert contract_breaches(v3.get) == []


def changed_v2(v2: dict, path: str, **changes) -> dict[str, bytes]:
    consolidated = json.loads(v2[".zmetadata"])
    consolidated["metadata"][path] |= changes
    return {".zmetadata": json.dumps(consolidated).encode()}


@pytest.mark.parametrize(
    ("path", "changes", "says"),
    [
        ("0/FG/.zarray", {"compressor": {"id": "blosc"}}, "compressed by blosc"),
        ("0/FG/.zarray", {"filters": [{"id": "delta"}]}, "filters"),
        ("0/month/.zarray", {"dtype": "<i8"}, "<i8"),
        ("0/band/.zarray", {"dtype": "|O"}, "|O"),
        ("1/FG/.zarray", {"fill_value": "NaN"}, "fill NaN"),
        ("0/polygon_id/.zarray", {"chunks": [1]}, "first chunk"),
        ("1/FG/.zarray", {"chunks": [1, 1, 1, 1, 15, 256, 256]}, "tiles of"),
        ("1/FG/.zarray", {"shape": [2, 690, 4, 12, 15, 128, 128]}, "expected 256 x 256"),
        ("1/FG/.zarray", {"chunks": [1, 1, 1, 2, 15, 128, 128]}, "first zoom level"),
        ("0/FG/.zarray", {"dimension_separator": "/"}, "a dot"),
        ("0/FG/.zarray", {"order": "F"}, "order F"),
        ("0/FG/.zattrs", {"_ARRAY_DIMENSIONS": ["y", "x"]}, "_ARRAY_DIMENSIONS"),
        (
            "0/FG/.zattrs",
            {
                "_ARRAY_DIMENSIONS": [
                    "band",
                    "polygon_id",
                    "intervention_date",
                    "year",
                    "month",
                    "y",
                    "x",
                ]
            },
            "year before month",
        ),
        (".zattrs", {"multiscales": []}, "no zoom level"),
        (
            ".zattrs",
            {"multiscales": [{"datasets": [{"path": "0", "pixels_per_tile": 128, "crs": "OGC"}]}]},
            "crs OGC",
        ),
    ],
)
def test_a_breach_of_the_contract_is_told(v2, path, changes, says):
    told = contract_breaches(changed_v2(v2, path, **changes).get)
    assert any(says in sentence for sentence in told), told


def test_what_is_no_store_is_told():
    assert "neither" in contract_breaches({}.get)[0]
    assert "strict JSON" in contract_breaches({".zmetadata": b'{"metadata": NaN}'}.get)[0]


def test_a_twin_without_coordinates_at_the_root_is_told(v3):
    root = json.loads(v3["zarr.json"])
    del root["consolidated_metadata"]["metadata"]["year"]
    told = contract_breaches({"zarr.json": json.dumps(root).encode()}.get)
    assert told == ["year has no copy at the root, where zarr-layer looks for its values"] * 2


@pytest.mark.filterwarnings("ignore")
def test_a_store_written_by_ndpyramid_keeps_the_contract(tmp_path):
    import ndpyramid
    import rioxarray  # noqa: F401 - ndpyramid's resample takes its accessor

    values = np.random.default_rng(0).normal(size=(2, 90, 180)).astype(np.float32)
    about = {
        name: {"standard_name": name, "units": f"degrees_{where}"}
        for name, where in (("longitude", "east"), ("latitude", "north"))
    }
    source = xr.Dataset(
        {"ssh": (("time", "y", "x"), values)},
        {
            "time": np.arange(2, dtype=np.int32),
            "y": ("y", np.linspace(89, -89, 90), about["latitude"]),
            "x": ("x", np.linspace(-179, 179, 180), about["longitude"]),
        },
    )
    made = ndpyramid.pyramid_resample(source.chunk(), x="x", y="y", levels=2, pixels_per_tile=32)
    encoding = {
        f"/{level}": {
            str(name): {"compressors": Zlib(1)}
            | ({"_FillValue": np.float32(FILL)} if name == "ssh" else {})
            for name in made[str(level)].variables
        }
        for level in (0, 1)
    }
    path = tmp_path / "made.zarr"
    made.to_zarr(path, zarr_format=2, consolidated=True, encoding=encoding)
    assert contract_breaches(lambda name: _bytes(path / name)) == []


def _bytes(path):
    return path.read_bytes() if path.is_file() else None


# Encoders


def test_the_plain_encoder_gives_the_same_values(monkeypatch):
    values = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    fast = chunk_v2(values)
    monkeypatch.setattr(browser, "zlib_compress", browser.plain_zlib)
    plain = chunk_v2(values)
    assert fast[:1] == plain[:1] == b"\x78"
    assert zlib.decompress(fast) == zlib.decompress(plain) == values.tobytes()


def test_a_chunk_of_a_shard_is_an_ordinary_blosc_buffer():
    values = np.arange(64, dtype=np.float32)
    assert Blosc().decode(chunk_v3(values)) == values.tobytes()


def test_a_shard_reads_back_with_holes_where_chunks_are_absent():
    array = Array(("time", "y", "x"), (2, 4, 8), (1, 4, 4), "f4", FILL, shard=(2, 4, 8))
    made = objects_of({"": Group({}, {"a": array})}, "v3")
    values = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    chunks = [values[t, :, x : x + 4] for t in (0, 1) for x in (0, 4)]
    held: list[bytes | None] = [chunk_v3(each) for each in chunks]
    held[2] = None
    made["a/c.0.0.0"] = shard_v3(held)
    store = zarr.storage.MemoryStore(
        {name: zarr.core.buffer.cpu.Buffer.from_bytes(data) for name, data in made.items()}
    )
    found = zarr.open_group(store, mode="r")["a"][...]
    values[1, :, :4] = FILL
    npt.assert_array_equal(found, values)


def test_attributes_that_are_no_strict_json_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        objects_of({"": Group({"bad": float("nan")}, {})}, "v2")
