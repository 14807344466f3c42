"""Metadata folders, tables and configurations of other productions become overlays of ours."""

import json
from pathlib import Path

import pytest
import yaml

from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.ecco.importing.generation import import_generation_config
from dor_ecco_assets.ecco.importing.metadata import import_metadata
from dor_ecco_assets.ecco.importing.overlay import write_overlay
from dor_ecco_assets.ecco.importing.table import (
    check_table,
    match_row,
    published_datasets,
    read_table,
)
from dor_ecco_assets.ecco.importing.tolerant_json import read_json
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.products import all_products
from tests.support.data import real_data

TABLE = """\
concept-id,DATASET.LONG_NAME,DATASET.SHORT_NAME,DATASET.FILENAME,DATASET.PERSISTENT_ID
,ECCO Height - Daily Mean,ECCO_L4_SSH_LLC0090GRID_DAILY_V4R4,\
SEA_SURFACE_HEIGHT_day_mean_1992-01-01_ECCO_v4r4_native_llc0090.nc,PODAAC-ECL5D-SSH44
,ECCO Height - Monthly Mean,ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4,\
SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0090.nc,PODAAC-ECL5M-SSH44
,ECCO Velocity - Monthly Mean,ECCO_L4_OCEAN_VEL_05DEG_MONTHLY_V4R4,\
OCEAN_VELOCITY_mon_mean_1992-01_ECCO_V4r4_latlon_0p50deg.nc,PODAAC-ECG5M-OVE44
"""
SSH_ENTRY = {
    "name": "SSH",
    "long_name": "Height of the sea",
    "units": "m",
    "comments_1": "First part",
    "comments_2": "Second part.",
    "direction": " up ",
    "GCMD_keywords": "OCEANS > ONE, OCEANS > TWO",
    "grid_dimension": "2D",
    "grid_location": "u",
    "coverage_content_type": "modelResult",
    "internal note": "ask somebody",
}


def attribute(name, value, kind="s"):
    return {"name": name, "type": kind, "value": value, "grid_dimension": "2D 3D"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small metadata folder; file names carry a version, as released ones do."""
    where = tmp_path / "metadata"
    where.mkdir()
    files = {
        "groupings_for_native_datasets": [
            {
                "name": "height",
                "fields": "SSH, ETAN ",
                "product": "native",
                "filename": "SEA_SURFACE_HEIGHT",
                "dimension": "2D",
                "frequency": "AVG_DAY, AVG_MON",
                "comment": "Heights.",
            }
        ],
        "groupings_for_latlon_datasets": [
            {
                "name": "velocity",
                "fields": "EVEL, NVEL, WVELMASS",
                "variable_rename": "WVELMASS:WVEL",
                "vector_inputs": "UVEL, VVEL",
                "vector_outputs": "EVEL, NVEL",
                "product": "latlon",
                "filename": "OCEAN_VELOCITY",
                "dimension": "3D",
                "frequency": "AVG_MON",
            }
        ],
        "variable_metadata": [SSH_ENTRY, {"name": "nowhere", "long_name": "x", "units": "1"}],
        "coordinate_metadata_for_native_datasets": [
            {"name": "XC", "long_name": "longitude there", "units": "degrees_east", "comment": ""},
            {"name": "time_step", "long_name": "steps"},
        ],
        "global_metadata_for_all_datasets": [
            attribute("author", "Somebody"),
            attribute("title", "TBD_TITLE"),
            attribute("geospatial_lat_max", "90", "f"),
            attribute("product_version", "Version 4, Release 4"),
            attribute("summary", "What the project is."),
        ],
        "global_metadata_for_native_datasets": [attribute("comment", "Fields on tiles.")],
    }
    for name, entries in files.items():
        (where / f"ECCOv4r4_{name}.json").write_text(json.dumps(entries))
    (where / "table.csv").write_text("\ufeff" + TABLE)
    (where / "notes.txt").write_text("for people")
    return where


def change(folder: Path, name: str, edit) -> None:
    path = folder / f"ECCOv4r4_{name}.json"
    entries = json.loads(path.read_text())
    edit(entries)
    path.write_text(json.dumps(entries))


def refused(code: str, call, *arguments, **named) -> str:
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments, **named)
    assert caught.value.code == code, caught.value.message
    return caught.value.message


# A folder


def test_a_folder_becomes_an_overlay_that_the_catalogue_loads(folder, tmp_path):
    imported, rows = import_metadata(folder)
    write_overlay(imported, tmp_path / "overlay")
    catalogue = load_catalogue(tmp_path / "overlay")
    ssh = catalogue.variables["SSH"]
    assert (ssh.long_name, ssh.comment) == ("Height of the sea", "First part. Second part.")
    assert (ssh.direction, ssh.keywords) == ("up", ("OCEANS > ONE", "OCEANS > TWO"))
    assert ssh.location == "C"
    assert ssh.standard_name is None
    velocity, height = catalogue.groupings
    assert (velocity.stem, height.stem) == ("OCEAN_VELOCITY", "SEA_SURFACE_HEIGHT")
    assert (height.native, height.latlon, height.comment) == (("SSH", "ETAN"), (), "Heights.")
    assert (velocity.native, velocity.latlon) == ((), ("EVEL", "NVEL", "WVEL"))
    assert catalogue.sources("NVEL") == ("UVEL", "VVEL")
    assert catalogue.release.global_attributes["author"] == "Somebody"
    assert catalogue.release.global_attributes["geospatial_lat_max"] == 90.0
    assert catalogue.release.project_summary == "What the project is."
    assert catalogue.release.grids["native"].comment == "Fields on tiles."
    assert catalogue.coordinates.native["XC"]["long_name"] == "longitude there"
    assert len(rows) == 3


def test_every_setting_says_where_it_came_from_and_what_was_left_out_why(folder):
    imported, _ = import_metadata(folder)
    came_from = imported.provenance
    assert came_from["variables.SSH.comment"] == "ECCOv4r4_variable_metadata.json: SSH"
    assert came_from["groupings.OCEAN_VELOCITY.latlon"].endswith(
        "latlon_datasets.json: OCEAN_VELOCITY"
    )
    left_out = {(found["entry"], found["why"].split(";")[0]) for found in imported.left_out}
    assert {
        ("SSH", "internal note"),
        ("SSH", "grid_location U"),
        ("nowhere", "no dataset here holds it"),
        ("time_step", "no granule here has this coordinate"),
        ("title", "a placeholder, TBD_TITLE"),
        ("", "prose for people"),
        ("OCEAN_TEMPERATURE_SALINITY", "our grouping is not in the folder, so not in the overlay"),
    } <= left_out


def test_groupings_that_lack_something_are_all_named_and_filled_from_the_table_on_demand(
    folder, tmp_path
):
    def strip(entries):
        del entries[0]["product"], entries[0]["frequency"]

    for grid in ("native", "latlon"):
        change(folder, f"groupings_for_{grid}_datasets", strip)
    message = refused("GroupingIncomplete", import_metadata, folder)
    assert "SEA_SURFACE_HEIGHT has no product and no frequency" in message
    assert "OCEAN_VELOCITY has no product and no frequency" in message
    imported, _ = import_metadata(folder, tolerant=True)
    assert imported.files["ecco/groupings.yaml"][1]["frequencies"] == ["AVG_DAY", "AVG_MON"]
    assert any("frequency AVG_MON, from the table's rows" in mend for mend in imported.mended)
    (folder / "table.csv").unlink()
    imported, _ = import_metadata(folder, tolerant=True)
    assert [found["stem"] for found in imported.files["ecco/groupings.yaml"]] == []
    assert any("nor a row in the table" in found["why"] for found in imported.left_out)


def test_fields_without_description_stop_a_strict_import_and_are_listed_by_a_tolerant_one(folder):
    def extend(entries):
        entries[0]["fields"] += ", SSHX"

    change(folder, "groupings_for_native_datasets", extend)
    assert "names SSHX" in refused("GroupingIncomplete", import_metadata, folder)
    imported, _ = import_metadata(folder, tolerant=True)
    assert imported.files["ecco/groupings.yaml"][1]["native"] == ["SSH", "ETAN"]
    assert any("fields SSHX" in found["why"] for found in imported.left_out)


def test_entries_that_do_not_fit_are_refused_with_file_and_key(folder):
    change(folder, "variable_metadata", lambda entries: entries[0].update(long_nam="x"))
    message = refused("BadConfig", import_metadata, folder)
    assert "ECCOv4r4_variable_metadata.json, entry 0: unknown key 'long_nam'" in message
    change(folder, "variable_metadata", lambda entries: entries[0].pop("long_nam"))
    change(folder, "groupings_for_latlon_datasets", lambda e: e[0].update(vector_inputs="UVEL"))
    assert "in pairs" in refused("BadConfig", import_metadata, folder)
    change(
        folder, "groupings_for_latlon_datasets", lambda e: e[0].update(vector_inputs="UVEL, VVEL")
    )
    change(
        folder,
        "global_metadata_for_all_datasets",
        lambda e: e.append(attribute("geospatial_lat_min", "south", "f")),
    )
    assert "expected a number" in refused("BadConfig", import_metadata, folder)


def test_what_is_no_metadata_folder_or_has_two_tables_is_refused(folder, tmp_path):
    refused("NoMetadata", import_metadata, tmp_path / "nowhere")
    refused("NoMetadata", import_metadata, tmp_path)
    (folder / "other.csv").write_text(TABLE.replace("SSH44", "SSH45"))
    assert "--table" in refused("PodaacTable", import_metadata, folder)
    assert import_metadata(folder, table="other.csv")[1][0].doi == "10.5067/ECL5D-SSH45"
    assert "table.csv" in refused("PodaacTable", import_metadata, folder, table="third.csv")


def test_an_overlay_is_written_whole_or_not_at_all(folder, tmp_path):
    imported, _ = import_metadata(folder)
    out = tmp_path / "overlay"
    imported.files["ecco/groupings.yaml"][0]["native"] = ["no such"]
    refused("UnknownField", write_overlay, imported, out)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata"]
    out.mkdir()
    (out / "mine.yaml").write_text("")
    refused("OutputConflict", write_overlay, import_metadata(folder)[0], out)


# JSON


def test_commas_are_mended_only_on_demand_and_only_where_that_is_certain():
    broken = '[\n {"a": 1}\n {"b": [1, 2,],\n  "c": "x"\n  "d": 2,}\n]'
    message = refused("NotJson", read_json, broken, "file.json")
    assert "file.json is not JSON: line 3, column 2" in message
    assert "put a comma after } on line 2, column 9" in message
    value, mended = read_json(broken, "file.json", tolerant=True)
    assert value == [{"a": 1}, {"b": [1, 2], "c": "x", "d": 2}]
    assert len(mended) == 4
    for hopeless in ('{"a" "b"}', '["a" "b"]', '{"a": }', "[1", '{"a": tru}'):
        refused("NotJson", read_json, hopeless, "file.json", tolerant=True)
    whole = json.dumps({"a": [1, "}{", ',]"']})
    assert read_json(whole, "file.json", tolerant=True) == (json.loads(whole), [])


# The table


def test_each_dataset_has_one_row_and_each_row_one_dataset():
    rows = read_table(TABLE, "table.csv")
    datasets = [
        ("SEA_SURFACE_HEIGHT", "native", "AVG_DAY"),
        ("SEA_SURFACE_HEIGHT", "native", "AVG_MON"),
        ("OCEAN_VELOCITY", "latlon", "AVG_MON"),
    ]
    assert check_table(rows, datasets, "V4r4") == []
    (missing,) = check_table(rows, [*datasets, ("OCEAN_VELOCITY", "native", "AVG_MON")], "V4r4")
    assert "0 rows of the table fit OCEAN_VELOCITY native AVG_MON" in missing["found"]
    assert "line 4 OCEAN_VELOCITY_mon_mean" in missing["found"]
    (extra,) = check_table(rows, datasets[:2], "V4r4")
    assert extra["found"] == "line 4: the catalogue has no such dataset"
    lines = TABLE.splitlines()
    twice = read_table("\n".join([*lines, lines[-1]]), "table.csv")
    assert "2 rows of the table fit" in refused(
        "PodaacMatch", match_row, twice, "OCEAN_VELOCITY", "latlon", "AVG_MON"
    )
    assert any("2 rows have this DOI" in f["found"] for f in check_table(twice, datasets, "V4r4"))
    wrong = read_table(TABLE.replace("ECL5M-SSH44", "ECL5M-SSH45"), "table.csv")
    (other,) = check_table(wrong, datasets, "V4r4")
    assert "DOI is 10.5067/ECL5M-SSH44 here, 10.5067/ECL5M-SSH45 on line 3" in other["found"]
    refused("PodaacTable", read_table, "a,b\n1,2\n", "table.csv")


def test_the_released_table_and_the_catalogue_agree_but_for_two_averaged_series():
    path = real_data("ecco_meta", "V4r4", "ECCOv4r4_PODAAC_dataset_table.csv")
    rows = read_table(path.read_text(encoding="utf-8-sig"), path.name)
    assert len(rows) == 79
    gridded = [
        dataset for dataset in published_datasets(all_products(), "V4r4") if dataset[1] != "1D"
    ]
    assert len(gridded) == 75
    findings = check_table(rows, gridded, "V4r4")
    assert {found["found"].partition(": ")[2] for found in findings} == {
        "the catalogue has no such dataset"
    }
    assert all("_1D.nc" in found["dataset"] for found in findings)


# The released folders


def test_the_v4r4_folder_imports_whole_and_gives_the_groupings_that_we_have(tmp_path):
    imported, rows = import_metadata(real_data("ecco_meta", "V4r4"))
    write_overlay(imported, tmp_path / "overlay")
    ours, theirs = load_catalogue(), load_catalogue(tmp_path / "overlay")
    assert len(rows) == 79

    def published(catalogue):
        return [(g.stem, set(g.native), set(g.latlon), g.frequencies) for g in catalogue.groupings]

    assert published(theirs) == published(ours)
    assert theirs.variables["THETA"].components is None
    assert {n: v.components for n, v in theirs.variables.items()} == {
        n: v.components for n, v in ours.variables.items()
    }
    assert theirs.release.global_attributes["author"] == "Ian Fenty and Ou Wang"
    assert all_products(str(tmp_path / "overlay")).keys() == all_products().keys()


def test_the_v4r5_folder_names_its_broken_line_and_imports_tolerantly(tmp_path):
    folder = real_data("ecco_meta", "V4r5")
    message = refused("NotJson", import_metadata, folder)
    assert "global_metadata_for_all_datasets.json is not JSON: line 149, column 4" in message
    assert "put a comma after } on line 148, column 4" in message
    assert "--table" in refused("PodaacTable", import_metadata, folder, tolerant=True)
    imported, rows = import_metadata(
        folder, tolerant=True, table="PODAAC_dataset_table_V4r5_20230103.csv"
    )
    assert len(rows) == 99
    write_overlay(imported, tmp_path / "overlay")
    assert load_catalogue(tmp_path / "overlay").release.version == "V4r5"
    assert "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R5" in all_products(str(tmp_path / "overlay"))
    named = {found["entry"] for found in imported.left_out}
    assert {"ICE_SHELF_FLUX", "OCEAN_3D_MOMENTUM_TEND_X", "SEA_ICE_THERMO_BUDG"} <= named


# Configurations

CONFIG = """\
ecco_version: V4r4
model_start_time: '1992-01-01T12:00:00'
model_timestep: 1
model_timestep_units: h
latlon_grid_resolution: 1.0
latlon_effective_grid_radius:
latlon_grid_area_extent: [-180.0, 90.0, 180.0, -90.0]
filename_tail_latlon: 1p00deg.nc
history: 'NEEDS TEXT'
references: Somewhere
binary_fill_value: -9999
doi: 'CHECK THIS DOI 10.5067'
"""


def test_a_configuration_becomes_release_grid_and_mapping(tmp_path):
    imported = import_generation_config(CONFIG, "config.yaml")
    write_overlay(imported, tmp_path / "overlay")
    catalogue = load_catalogue(tmp_path / "overlay")
    assert catalogue.release.clock.step_s == 3600
    assert catalogue.release.global_attributes["references"] == "Somewhere"
    assert catalogue.release.global_attributes["history"] != "NEEDS TEXT"
    assert (catalogue.target_grid, catalogue.factors) == (
        "grids/latlon_1p00deg",
        "mapping/llc90_to_latlon_1p00deg",
    )
    mapping = yaml.safe_load((tmp_path / "overlay" / f"{catalogue.factors}.yaml").read_text())
    assert mapping["radius"] == {"method": "constant_1p1"}
    assert "blank" in imported.provenance["mapping.radius.method"]
    why = {found["entry"]: found["why"] for found in imported.left_out}
    assert "unfinished" in why["history"]
    assert "wet mask" in why["binary_fill_value"]
    assert "mend the file" in why["doi"]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("latlon_effective_grid_radius: 39.2", "AmbiguousUnit", "km, m or degrees"),
        ("latlon_grid_area_extent: [-180, -90, 180, 90]", "AmbiguousExtent", "two orders"),
        ("latlon_grid_area_extent: [-180, 180]", "BadConfig", "four numbers"),
        ("model_timestep_units: weeks", "AmbiguousUnit", "'weeks'"),
        ("filename_tail_latlon: 0p50deg.nc", "BadConfig", "gives 1p00deg"),
        ("latlon_grid_resolution: half", "BadConfig", "expected a number"),
        ("custom_grid_and_factors: true", "BadConfig", "configs/grids"),
        ("latlon_grid_resolutoin: 1", "BadConfig", "did you mean latlon_grid_resolution?"),
        ("history: [", "NotYaml", "is not YAML"),
    ],
)
def test_what_a_configuration_cannot_say_is_refused_not_guessed(line, code, words):
    assert words in refused(code, import_generation_config, f"{CONFIG}{line}\n", "config.yaml")


@pytest.mark.parametrize(
    ("file", "version", "end"),
    [
        ("configs/product_generation_config.yaml", "V4r4", "2017-12-31T12:00:00"),
        ("V4r5/product_generation_config.yaml", "V4r5", "2020-01-01T00:00:00"),
        ("V4r5/product_generation_config_updated.yaml", "V4r5", "2020-01-01T00:00:00"),
    ],
)
def test_released_configurations_import_whole(file, version, end, tmp_path):
    path = real_data("ecco_meta", *file.split("/"))
    imported = import_generation_config(path.read_text(), path.name)
    write_overlay(imported, tmp_path / "overlay")
    release = load_catalogue(tmp_path / "overlay").release
    assert (release.version, release.clock.end) == (version, end)
    keys = set(yaml.safe_load(path.read_text()))
    told = {found["entry"] for found in imported.left_out}
    told |= {word for source in imported.provenance.values() for word in source.split(": ")}
    # Blank values and what stands beside another key say nothing of their own.
    assert keys - told <= {"latlon_effective_grid_radius", "model_timestep_units"}
