"""Inputs that cannot be used: what is said, that nothing is published, that the rest goes on."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from dor_ecco_assets.atlas.specification import load_atlas
from dor_ecco_assets.dor.configuration import load_line
from dor_ecco_assets.ecco.catalogue import (
    Components,
    Coordinates,
    Grouping,
    Release,
    Variable,
    load_catalogue,
)
from dor_ecco_assets.ecco.gathered import gathered_products
from dor_ecco_assets.ecco.products import ecco_products
from dor_ecco_assets.errors import (
    ConfigurationError,
    DorEccoError,
    GridMismatch,
    InputMissing,
    InputUnusable,
)
from dor_ecco_assets.grids.mds import write_mds
from dor_ecco_assets.grids.products import RegularGrid, grid_products
from dor_ecco_assets.lineage.quarantine import read_quarantined
from dor_ecco_assets.lineage.record import read_record, record_key
from dor_ecco_assets.lineage.registry import load_registry
from dor_ecco_assets.lineage.workspace import Failure, Policy, make_all
from dor_ecco_assets.mapping.products import Mapping, mapping_products
from dor_ecco_assets.products import all_products
from dor_ecco_assets.pyramids.configuration import dataset_maps, load_atlas_maps
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Profile, config_names, config_path, load_profile
from dor_ecco_assets.storage.base import sha256_of_file
from dor_ecco_assets.virtual.collections import load_collections
from tests.ecco.production import (
    FACTORS,
    GRID,
    SIDE,
    SSH_LATLON,
    SSH_NATIVE,
    STRESS_LATLON,
    STRESS_NATIVE,
    granule_of,
    inputs_of,
    left_behind,
    made_sample,
    model_file,
    own_sample,
    production,
    record_of,
    root_of,
    write_inputs,
)

BAD, GOOD = "1992-01", "1992-02"
#: Compact size of one 2-D float32 record of the sample, bytes.
RECORD_BYTES = 13 * SIDE * SIDE * 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_sample(tmp_path_factory)


@pytest.fixture
def own(tmp_path_factory, tmp_path):
    return own_sample(tmp_path_factory, tmp_path)


# What may be wrong with one month's files; each takes the inputs' folder


def edit_meta(inputs: Path, found: str, put: str, field: str = "SSH") -> None:
    path = model_file(inputs, field, BAD, "meta")
    text = path.read_text()
    assert text.count(found) == 1, text
    path.write_text(text.replace(found, put))


def edit_values(inputs: Path, field: str, change: Callable[[np.ndarray], None]) -> None:
    """Change a field's compact values in place; `change` gets big-endian float32."""
    path = model_file(inputs, field, BAD)
    values = np.frombuffer(path.read_bytes(), ">f4").reshape(13 * SIDE, SIDE).copy()
    change(values)
    path.write_bytes(values.tobytes())


def cell(wet: bool) -> tuple[int, int]:
    """Row and column of a wet or dry cell whose west and south neighbours are alike."""
    is_wet = sample_grid_fields(SIDE)["Depth"] > 0
    alike = (is_wet[1:, 1:] == is_wet[:-1, 1:]) & (is_wet[1:, 1:] == is_wet[1:, :-1])
    inner = np.argwhere((is_wet[1:, 1:] == wet) & alike)
    # Of face 1 or 2, where rows of the file are rows of a tile.
    row, column = next(at for at in inner if at[0] % SIDE < SIDE - 1 and at[0] < 6 * SIDE)
    return int(row) + 1, int(column) + 1


def put(value: float, *, wet: bool) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[cell(wet)] = value

    return change


def no_data(inputs):
    model_file(inputs, "SSH", BAD).unlink()


def no_meta(inputs):
    model_file(inputs, "SSH", BAD, "meta").unlink()


def truncated(inputs):
    path = model_file(inputs, "SSH", BAD)
    path.write_bytes(path.read_bytes()[:-100])


def oversized(inputs):
    path = model_file(inputs, "SSH", BAD)
    path.write_bytes(path.read_bytes() + bytes(RECORD_BYTES // 4))


def other_grid(inputs, field="SSH"):
    tiles = np.ones((13, SIDE + 2, SIDE + 2))
    folder = model_file(inputs, field, BAD).parent
    write_mds(folder, field, "mon_mean", 732, tiles, time_interval_s=(3600.0, 2635200.0))


def little_endian(inputs):
    path = model_file(inputs, "SSH", BAD)
    path.write_bytes(np.frombuffer(path.read_bytes(), ">f4").astype("<f4").tobytes())


def wrong_checksum(inputs):
    lines = []
    for month in (BAD, GOOD):
        path = model_file(inputs, "SSH", month)
        lines.append(f"{sha256_of_file(path)}  {path.relative_to(inputs).as_posix()}\n")
    (inputs / "MANIFEST.sha256").write_text("".join(lines))
    edit_values(inputs, "SSH", put(0.25, wet=True))


@dataclass(frozen=True)
class Fault:
    name: str
    spoil: Callable[[Path], None]
    code: str
    says: tuple[str, ...]
    kind: type[DorEccoError] = InputUnusable
    keys: tuple[str, ...] = (SSH_NATIVE,)


DATA = "SSH_mon_mean.0000000732.data"
FAULTS = [
    Fault(
        "no data",
        no_data,
        "MissingInput",
        (
            "SSH at step 732 (1992-02-01T00:00:00) is missing",
            "V4r4/diags_monthly/SSH_mon_mean",
            "nearest steps there: 1428",
            "--allow-partial makes the granule of those that are there",
        ),
        kind=InputMissing,
        keys=(SSH_NATIVE, SSH_LATLON),
    ),
    Fault(
        "no meta",
        no_meta,
        "MissingMeta",
        (f"{DATA} has no description", "SSH_mon_mean.0000000732.meta is missing", "bring it"),
        kind=InputMissing,
    ),
    Fault(
        "truncated",
        truncated,
        "SizeMismatch",
        (
            DATA,
            f"has {RECORD_BYTES - 100} bytes, expected {RECORD_BYTES}",
            "0 whole records are there; fetch it again",
        ),
        keys=(SSH_NATIVE, SSH_LATLON),
    ),
    Fault(
        "oversized",
        oversized,
        "SizeMismatch",
        (
            DATA,
            f"has {RECORD_BYTES + RECORD_BYTES // 4} bytes, expected {RECORD_BYTES}",
            "1 whole records are there",
        ),
    ),
    Fault(
        "other precision",
        lambda inputs: edit_meta(inputs, "float32", "float64"),
        "PrecisionMismatch",
        (
            DATA,
            f"has {RECORD_BYTES} bytes, expected {2 * RECORD_BYTES} for float64",
            "float32 would fit: correct the .meta",
        ),
    ),
    Fault(
        "unknown precision",
        lambda inputs: edit_meta(inputs, "float32", "real*4"),
        "PrecisionMismatch",
        ("dataprec is real*4, expected float32 or float64", "correct the .meta"),
    ),
    Fault(
        "meta cut off",
        lambda inputs: edit_meta(inputs, " dataprec = [ 'float32' ];\n", " dataprec = [ 'fl"),
        "MetaUnreadable",
        ("cannot be read as an MDS .meta file", "no statement can be read from", "fetch it again"),
    ),
    Fault(
        "other grid",
        other_grid,
        "ShapeMismatch",
        (
            DATA,
            "its .meta gives shape (156, 12), expected (130, 10) for llc10",
            "bring output of that grid",
        ),
        keys=(SSH_NATIVE, SSH_LATLON),
    ),
    Fault(
        "part of one process",
        lambda inputs: edit_meta(inputs, "   130,    1,  130", "   130,    1,   65"),
        "ShapeMismatch",
        ("holds indices 1 to 65 of 130, the part of one process", "join the parts"),
    ),
    Fault(
        "other step",
        lambda inputs: edit_meta(inputs, "[        732 ]", "[       1428 ]"),
        "StepMismatch",
        ("timeStepNumber 1428, expected 732 as in the name", "fetch both again"),
    ),
    Fault(
        "other interval",
        lambda inputs: edit_meta(inputs, "3.600000000000E+03", "2.548800000000E+06"),
        "TimeIntervalMismatch",
        (
            "timeInterval is [2548800, 2635200] s, expected [0, 2635200]",
            "1992-01-01T12:00:00 to 1992-02-01T00:00:00",
            "it spans 1 days, as AVG_DAY files do: is it in the wrong folder?",
        ),
    ),
    Fault(
        "other field",
        lambda inputs: edit_meta(inputs, "'SSH     '", "'ETAN    '"),
        "FieldNotInFile",
        (DATA, "holds ETAN, expected SSH", "bring the file that holds it"),
    ),
    Fault(
        "little-endian",
        little_endian,
        "EndianSuspect",
        (DATA, "likely written little-endian", "convert it to big-endian"),
    ),
    Fault(
        "wrong checksum",
        wrong_checksum,
        "ChecksumMismatch",
        (DATA, "has sha256 ", "expected ", "MANIFEST.sha256 states; fetch it again"),
    ),
    Fault(
        "NaN",
        lambda inputs: edit_values(inputs, "SSH", put(np.nan, wet=True)),
        "NonFinite",
        (DATA, "SSH holds NaN or infinity in 1 wet cells, expected none", "look at the run"),
        keys=(SSH_NATIVE, SSH_LATLON),
    ),
    Fault(
        "infinity on an edge",
        lambda inputs: edit_values(inputs, "oceTAUX", put(np.inf, wet=True)),
        "NonFinite",
        ("oceTAUX holds NaN or infinity in 1 wet cells",),
        keys=(STRESS_NATIVE, STRESS_LATLON),
    ),
    Fault(
        "components of other steps",
        lambda inputs: edit_meta(inputs, "[        732 ]", "[       1428 ]", "oceTAUY"),
        "StepMismatch",
        ("oceTAUY_mon_mean.0000000732.data", "timeStepNumber 1428, expected 732 as in the name"),
        keys=(STRESS_LATLON,),
    ),
    Fault(
        "components of other shapes",
        lambda inputs: other_grid(inputs, "oceTAUY"),
        "ShapeMismatch",
        ("oceTAUY_mon_mean.0000000732.data", "expected (130, 10) for llc10"),
        keys=(STRESS_LATLON,),
    ),
    Fault(
        "on land",
        lambda inputs: edit_values(inputs, "SSH", put(0.5, wet=False)),
        "ValuesOnLand",
        (
            DATA,
            "SSH is not 0 in 1 land cells (largest 0.5 m), expected 0",
            "another grid or wet mask",
            "the catalogue should say on_land: mask",
        ),
    ),
    Fault(
        "NaN on land",
        lambda inputs: edit_values(inputs, "oceTAUY", put(np.nan, wet=False)),
        "ValuesOnLand",
        ("oceTAUY is not 0 in 1 land cells (largest 0 N m-2)",),
        keys=(STRESS_NATIVE, STRESS_LATLON),
    ),
    Fault(
        "out of range",
        lambda inputs: edit_values(inputs, "SSH", put(21.0, wet=True)),
        "OutOfRange",
        (
            DATA,
            "and 21 m, expected -20 to 20",
            "1 wet cells are outside",
            "widen the catalogue's valid_range",
        ),
        keys=(SSH_NATIVE, SSH_LATLON),
    ),
]
CASES = [
    pytest.param(fault, key, id=f"{fault.name} {key[5:]}") for fault in FAULTS for key in fault.keys
]


@pytest.mark.parametrize(("fault", "key"), CASES)
def test_a_bad_input_is_refused_alone_and_made_once_it_is_mended(made, own, fault, key):
    inputs, root = inputs_of(own), root_of(own)
    fault.spoil(inputs)
    first = list(make_all(own.workspace(), key, (BAD, GOOD), Policy()))
    failure, other = first
    assert isinstance(failure, Failure)
    assert type(failure.error) is fault.kind
    assert failure.error.code == fault.code
    for text in fault.says:
        assert text in failure.error.message
    assert left_behind(root, key, BAD) == []
    assert not isinstance(other, Failure)
    assert granule_of(own, key, GOOD).is_file()

    # What cannot be used is set aside with its reason and not tried again; what is missing is.
    quarantined = fault.kind is InputUnusable
    state = own.workspace().state(key, BAD)
    assert state.standing == ("quarantined" if quarantined else "absent")
    again = next(iter(make_all(own.workspace(), key, (BAD,), Policy())))
    assert isinstance(again, Failure)
    assert again.error.code == fault.code
    # A manifest of checksums is compared again: it may have been what was wrong.
    untried = quarantined and fault.code != "ChecksumMismatch"
    assert ("unchanged since" in again.error.message) == untried
    if quarantined:
        note = read_quarantined(own.workspace().storage, key, BAD)
        assert note is not None
        assert note.code == fault.code
        assert note.uri.startswith(str(inputs / "V4r4"))

    shutil.rmtree(inputs / "V4r4")
    shutil.copytree(inputs_of(made) / "V4r4", inputs / "V4r4")
    mended, untouched = make_all(own.workspace(), key, (BAD, GOOD), Policy())
    assert not isinstance(mended, Failure)
    assert not mended.skipped
    assert not isinstance(untouched, Failure)
    assert untouched.skipped
    assert mended.record.sha256 == record_of(made, key, BAD).sha256
    assert read_quarantined(own.workspace().storage, key, BAD) is None
    assert own.workspace().state(key, BAD).standing == "up to date"


def test_fields_defined_on_land_are_masked_and_what_was_there_is_counted(made, own):
    """Atmospheric stress exists over land too; ocean stress would be refused there."""
    edit_values(inputs_of(own), "EXFtaux", put(0.5, wet=False))
    for key, name in ((STRESS_NATIVE, "EXFtaux"), (STRESS_LATLON, "EXFtaue")):
        outcome = own.workspace().make(key, BAD)
        assert outcome.record.details["values_on_land"] == {"EXFtaux": 1}
        assert "values_on_land" not in record_of(made, key, BAD).details
        with (
            xr.open_dataset(granule_of(own, key, BAD)) as found,
            xr.open_dataset(granule_of(made, key, BAD)) as clean,
        ):
            np.testing.assert_array_equal(found[name].values, clean[name].values)


def test_two_fields_that_are_absent_are_counted(own):
    for field in ("SSH", "ETAN"):
        for ending in ("data", "meta"):
            model_file(inputs_of(own), field, BAD, ending).unlink()
    with pytest.raises(InputMissing, match="SSH at step 732.*; 1 more field is missing too"):
        own.workspace().make(SSH_NATIVE, BAD)


def test_a_month_without_any_input_waits_and_is_not_made_in_part(own):
    assert own.workspace().state(SSH_NATIVE, "1992-03").standing == "waiting"
    with pytest.raises(InputMissing) as error:
        own.workspace().make(SSH_NATIVE, "1992-03", Policy(allow_partial=True))
    assert error.value.code == "MissingInput"
    assert "--allow-partial" not in error.value.message
    assert "nearest steps there: 732, 1428, 227904" in error.value.message


# The grid


def test_a_missing_grid_field_is_named_with_what_needs_it(made, own):
    key = STRESS_LATLON
    (inputs_of(own) / "llc90" / "AngleCS.data").unlink()
    outcomes = list(make_all(own.workspace(), key, (BAD, GOOD), Policy()))
    for partition, outcome in zip((BAD, GOOD), outcomes, strict=True):
        assert isinstance(outcome, Failure)
        assert type(outcome.error) is InputMissing
        assert outcome.error.code == "MissingGridField"
        for text in ("AngleCS.data", "needed by eastward and northward vectors", "no fallback"):
            assert text in outcome.error.message
        assert "put the files beside the others" in outcome.error.message
        assert left_behind(root_of(own), key, partition) == []
        assert read_quarantined(own.workspace().storage, key, partition) is None
    shutil.copy(inputs_of(made) / "llc90" / "AngleCS.data", inputs_of(own) / "llc90")
    assert own.workspace().make(key, BAD).record.sha256 == record_of(made, key, BAD).sha256


def test_an_unusable_grid_file_sets_the_grid_aside_and_stops_all_that_needs_it(made, own):
    path = inputs_of(own) / "llc90" / "Depth.data"
    path.write_bytes(path.read_bytes()[:-8])
    for outcome in make_all(own.workspace(), SSH_NATIVE, (BAD, GOOD), Policy()):
        assert isinstance(outcome, Failure)
        assert outcome.error.code == "SizeMismatch"
        assert "Depth.data" in outcome.error.message
        assert left_behind(root_of(own), SSH_NATIVE, outcome.partition) == []
    assert own.workspace().state(GRID, "").standing == "quarantined"
    shutil.copy(inputs_of(made) / "llc90" / "Depth.data", path)
    assert own.workspace().make(SSH_NATIVE, BAD).record.sha256 == (
        record_of(made, SSH_NATIVE, BAD).sha256
    )
    assert own.workspace().state(GRID, "").standing == "up to date"


def test_factors_of_another_grid_are_refused(made, own, tmp_path):
    """Factors copied in with a record that claims they belong here."""
    changed = write_inputs(tmp_path / "changed", months=(), days=())
    depth = np.fromfile(changed / "llc90" / "Depth.data", ">f8").reshape(13 * SIDE, SIDE)
    depth[cell(wet=True)] = 0.0
    depth.tofile(changed / "llc90" / "Depth.data")
    other = production(tmp_path / "other", changed)
    other.workspace().make(FACTORS, "")
    name = f"{FACTORS}.zarr"
    shutil.rmtree(root_of(own) / name)
    shutil.copytree(root_of(other) / name, root_of(own) / name)
    storage = own.workspace().storage
    mine, foreign = (
        read_record(space.storage, FACTORS, "") for space in (own.workspace(), other.workspace())
    )
    assert mine is not None
    assert foreign is not None
    forged = replace(mine, bytes=foreign.bytes, sha256=foreign.sha256)
    storage.put(record_key(FACTORS, ""), json.dumps(vars(forged)).encode())
    with pytest.raises(GridMismatch) as error:
        own.workspace().make(SSH_LATLON, BAD)
    assert error.value.code == "FactorsMismatch"
    assert "rebuild them" in error.value.message
    assert left_behind(root_of(own), SSH_LATLON, BAD) == []
    own.workspace().make(SSH_NATIVE, BAD)  # needs no factors
    own.workspace().make(FACTORS, "", Policy(force=True))
    assert own.workspace().make(SSH_LATLON, BAD).record.sha256 == (
        record_of(made, SSH_LATLON, BAD).sha256
    )


# Granules of what is there


def test_a_partial_granule_says_what_is_missing_and_no_strict_run_takes_it(made, own):
    for ending in ("data", "meta"):
        model_file(inputs_of(own), "SSHIBC", BAD, ending).unlink()
    with pytest.raises(InputMissing):
        own.workspace().make(SSH_LATLON, BAD)
    assert left_behind(root_of(own), SSH_LATLON, BAD) == []

    partial = own.workspace().make(SSH_LATLON, BAD, Policy(allow_partial=True)).record
    assert partial.details["missing_variables"] == ["SSHIBC"]
    assert partial.details["variables"] == ["SSH", "SSHNOIBC"]
    with xr.open_dataset(granule_of(own, SSH_LATLON, BAD)) as granule:
        assert set(granule.data_vars) == {"SSH", "SSHNOIBC"}
        assert "SSHIBC" not in granule.attrs["source_files"]
        assert granule.attrs["missing_variables"] == "SSHIBC"
    assert own.workspace().make(SSH_LATLON, BAD, Policy(allow_partial=True)).skipped

    with pytest.raises(InputMissing, match="SSHIBC at step 732") as error:
        own.workspace().make(SSH_LATLON, BAD)
    assert error.value.code == "MissingInput"
    assert own.workspace().finished(SSH_LATLON, BAD, Policy()) is None

    source = model_file(inputs_of(made), "SSHIBC", BAD).parent
    shutil.copytree(source, model_file(inputs_of(own), "SSHIBC", BAD).parent, dirs_exist_ok=True)
    state = own.workspace().state(SSH_LATLON, BAD)
    assert state.standing == "stale"
    assert "input SSHIBC_mon_mean.0000000732.data is new" in state.reasons
    whole = own.workspace().make(SSH_LATLON, BAD)
    assert "missing_variables" not in whole.record.details
    assert whole.record.sha256 == record_of(made, SSH_LATLON, BAD).sha256
    with xr.open_dataset(granule_of(own, SSH_LATLON, BAD)) as granule:
        assert "missing_variables" not in granule.attrs


def test_without_one_component_neither_direction_is_made(own):
    for ending in ("data", "meta"):
        model_file(inputs_of(own), "oceTAUY", BAD, ending).unlink()
    policy = Policy(allow_partial=True)
    turned = own.workspace().make(STRESS_LATLON, BAD, policy).record.details
    assert turned["missing_variables"] == ["oceTAUE", "oceTAUN"]
    native = own.workspace().make(STRESS_NATIVE, BAD, policy).record.details
    assert native["missing_variables"] == ["oceTAUY"]


def test_a_description_without_its_data_counts_as_absent(own):
    model_file(inputs_of(own), "ETAN", BAD).unlink()
    record = own.workspace().make(SSH_NATIVE, BAD, Policy(allow_partial=True)).record
    assert record.details["missing_variables"] == ["ETAN"]


def test_a_file_that_cannot_be_used_is_not_passed_over_as_missing(own):
    truncated(inputs_of(own))
    with pytest.raises(InputUnusable) as error:
        own.workspace().make(SSH_NATIVE, BAD, Policy(allow_partial=True))
    assert error.value.code == "SizeMismatch"
    assert left_behind(root_of(own), SSH_NATIVE, BAD) == []


def test_a_mended_checksum_manifest_lets_the_input_through(made, own):
    path = model_file(inputs_of(own), "SSH", BAD)
    name = path.relative_to(inputs_of(own)).as_posix()
    manifest = inputs_of(own) / "MANIFEST.sha256"
    manifest.write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(InputUnusable, match="expected 000000000000 as"):
        own.workspace().make(SSH_NATIVE, BAD)
    manifest.write_text(f"{sha256_of_file(path)}  {name}\n")
    record = own.workspace().make(SSH_NATIVE, BAD).record
    assert record.sha256 == record_of(made, SSH_NATIVE, BAD).sha256


# Metadata


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            "ecco/release.yaml",
            lambda content: content["global_attributes"].update(history="TBD_HISTORY"),
            "history = 'TBD_HISTORY'",
        ),
        (
            "ecco/release.yaml",
            lambda content: content["global_attributes"].pop("license"),
            "would be incomplete: license; state them in ecco/release.yaml",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["SSH"].update(comment=" "),
            "SSH:comment = ' '",
        ),
        (
            "ecco/coordinates.yaml",
            lambda content: content["native"]["XC"].update(comment="TBD_"),
            "XC:comment = 'TBD_'",
        ),
    ],
)
def test_a_granule_that_would_not_say_enough_is_refused(
    tmp_path, tmp_path_factory, name, change, says
):
    own = own_sample(tmp_path_factory, tmp_path, configs=overlay_of(tmp_path, name, change))
    with pytest.raises(ConfigurationError) as error:
        own.workspace().make(SSH_NATIVE, BAD)
    assert error.value.code == "MetadataIncomplete"
    assert "SEA_SURFACE_HEIGHT_mon_mean_1992-01_ECCO_V4r4_native_llc0010.nc" in error.value.message
    assert says in error.value.message
    assert left_behind(root_of(own), SSH_NATIVE, BAD) == []


# Configuration files


@dataclass(frozen=True)
class Shipped:
    """A file of ``configs/``, how it is loaded, and places in it where keys may be misspelt."""

    name: str
    load: Callable[[str], object]
    places: tuple[tuple[tuple[str | int, ...], str, str], ...]


#: An atlas by which each set of polygons is loaded.
_POLYGON_SETS = {"dor": "atlas_v0", "tiny": "tiny", "tiny_full": "sample_v0"}

SHIPPED = [
    Shipped(
        "ecco/release.yaml",
        load_catalogue,
        (
            ((), "versoin", "version"),
            (("clock",), "step", "step_s"),
            ((), "strict_cfs", "strict_cf"),
            (("grids", "native"), "coment", "comment"),
            (("frequencies", "AVG_MON"), "titel", "title"),
        ),
    ),
    Shipped(
        "ecco/variables.yaml",
        load_catalogue,
        (
            (("SSH",), "unit", "units"),
            (("EXFtaux",), "onland", "on_land"),
            (("EXFtaue", "components"), "orientaton", "orientation"),
            (("WVEL",), "sources", "source"),
        ),
    ),
    Shipped(
        "ecco/groupings.yaml",
        load_catalogue,
        (((0,), "frequency", "frequencies"), ((1,), "dimensions", "dimension")),
    ),
    Shipped("ecco/coordinates.yaml", load_catalogue, (((), "latlong", "latlon"),)),
    Shipped(
        "ecco/static.yaml",
        ecco_products,
        (((), "geometri", "geometry"), (("groupings", 0), "frequency", "frequencies")),
    ),
    Shipped("ecco/series.yaml", ecco_products, (((), "word", "words"),)),
    Shipped("ecco/delivery.yaml", gathered_products, (((), "uri_bas", "uri_base"),)),
    *(
        Shipped(
            f"grids/{name}.yaml",
            grid_products,
            (((), "nlats", "nlat"), ((), "horizontals", "horizontal")),
        )
        for name in config_names("grids/pop_*")
    ),
    *(
        Shipped(
            f"atlases/{name}.yaml",
            partial(load_atlas, name),
            (((), "forcin", "forcing"), ((), "polygon", "polygons")),
        )
        for name in config_names("atlases/*")
    ),
    *(
        Shipped(
            f"atlases/polygons/{name}.yaml",
            partial(load_atlas, atlas),
            (((), "basin", "basins"), (("basins", 0), "coast", "coastal")),
        )
        for atlas, name in _POLYGON_SETS.items()
    ),
    Shipped("dor.yaml", load_line, (((), "histori", "history"),)),
    Shipped(
        "grids/latlon_0p50deg.yaml",
        grid_products,
        (((), "resolution", "resolution_degrees"),),
    ),
    *(
        Shipped(
            f"mapping/{name}.yaml",
            mapping_products,
            (((), "level", "levels"), ((), "treshold", "threshold")),
        )
        for name in config_names("mapping/*_to_webmercator")
    ),
    Shipped(
        "pyramids/atlas.yaml",
        load_atlas_maps,
        (((), "variable", "variables"), (("variables", "FG"), "unit", "units")),
    ),
    *(
        Shipped(
            f"pyramids/{name}.yaml",
            dataset_maps,
            (((), "sorce", "source"), (("variables", "SSH"), "climm", "clim")),
        )
        for name in dataset_maps()
    ),
    *(
        Shipped(
            f"collections/{name}.yaml",
            load_collections,
            (((), "lode", "load"), (("collection",), "short_nam", "short_name")),
        )
        for name in config_names("collections/*")
    ),
    Shipped("own_collections.yaml", all_products, (((), "product", "products"),)),
    Shipped(
        "mapping/llc90_to_latlon_0p50deg.yaml",
        mapping_products,
        (((), "weight", "weights"), (("radius",), "radius_km", "radius_m")),
    ),
    Shipped(
        "profiles/laptop.yaml",
        lambda folder: load_profile("laptop", folder),
        (((), "backfil", "backfill"), (("compute",), "mod", "mode")),
    ),
    Shipped(
        "inputs.yaml",
        load_registry,
        (
            (("llc90",), "license", "licence"),
            (("llc90", "files", "XC.data"), "sha265", "sha256"),
        ),
    ),
]


MISSPELT = [
    pytest.param(shipped, *place, id=f"{shipped.name} {place[1]}")
    for shipped in SHIPPED
    for place in shipped.places
]


def overlay_of(folder: Path, name: str, change: Callable[[object], None]) -> Path:
    """A user's configuration folder with one changed copy of a shipped file."""
    content = yaml.safe_load(config_path(name).read_text())
    change(content)
    path = folder / "configs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "configs"


def at(content, place):
    for step in place:
        content = content[step]
    return content


def test_every_shipped_configuration_file_is_among_those_tried():
    shipped = config_path("inputs.yaml").parent
    names = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*.yaml")}
    # Dagster checks its own file.
    assert names == {found.name for found in SHIPPED} | {"dagster.yaml"}


@pytest.mark.parametrize(("shipped", "place", "wrong", "nearest"), MISSPELT)
def test_a_misspelt_key_is_refused_with_the_nearest_one(tmp_path, shipped, place, wrong, nearest):
    overlay = overlay_of(
        tmp_path, shipped.name, lambda content: at(content, place).update({wrong: 1})
    )
    with pytest.raises(ConfigurationError) as error:
        shipped.load(str(overlay))
    assert error.value.code == "BadConfig"
    assert f"{overlay}/{shipped.name}: " in error.value.message
    assert f"unknown key {'.'.join(map(str, (*place, wrong)))!r}" in error.value.message
    assert f"did you mean {nearest!r}?" in error.value.message


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.name)
def test_a_file_that_is_not_yaml_or_not_there_is_named(tmp_path, shipped):
    path = tmp_path / shipped.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a: [b\n")
    with pytest.raises(ConfigurationError, match="is not YAML") as error:
        shipped.load(str(tmp_path))
    assert str(path) in error.value.message


@pytest.mark.parametrize(
    ("name", "change", "code", "says"),
    [
        (
            "ecco/groupings.yaml",
            lambda content: content[0]["native"].append("SHH"),
            "UnknownField",
            "SEA_SURFACE_HEIGHT names SHH, which ecco/variables.yaml does not describe; "
            "did you mean SSH?",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content[0]["latlon"].append("QQQ"),
            "UnknownField",
            "add it there or correct the name",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content[6]["latlon"].append("oceTAUX"),
            "LocationMismatch",
            "maps oceTAUX, which lies on cell edges",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content[1]["frequencies"].append("TI"),
            "UnknownFrequency",
            "has frequency TI, which ecco/release.yaml does not describe",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content[1]["frequencies"].append("WEEKLY"),
            "BadConfig",
            "frequency 'WEEKLY' is not known; use one of AVG_DAY, AVG_MON, SNAP, SNAPSHOT",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content[1].update(lat_lon=["OBP"]),
            "BadConfig",
            "unknown key '1.lat_lon'; did you mean 'latlon'?",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["oceTAUX"].update(units="Pa"),
            "UnitsMismatch",
            "components of oceTAUE: oceTAUX must have its units 'N m-2', found 'Pa'",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["WVEL"].update(source="WVELMAS"),
            "UnknownField",
            "source of WVEL names WVELMAS, which ecco/variables.yaml does not describe; "
            "did you mean WVELMASS?",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["WVELMASS"].update(location="C"),
            "LocationMismatch",
            "source of WVEL: WVELMASS must have location W, found C",
        ),
        (
            "ecco/release.yaml",
            lambda content: content.update(vector_source="turn"),
            "BadConfig",
            "vector_source: Input should be 'rotate', 'precomputed' or 'auto', found 'turn'",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content.append(dict(content[0])),
            "DuplicateGrouping",
            "SEA_SURFACE_HEIGHT is described twice",
        ),
        (
            "ecco/groupings.yaml",
            lambda content: content[0].update(stem="SEA_SURFACE_HIGHT"),
            "UnknownDataset",
            "no dataset has the stem 'SEA_SURFACE_HIGHT'",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["oceTAUE"]["components"].update(x="oceTAUXX"),
            "UnknownField",
            "components of oceTAUE names oceTAUXX",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["oceTAUE"]["components"].update(points="centres"),
            "LocationMismatch",
            "oceTAUX must have location C, found U",
        ),
        (
            "ecco/variables.yaml",
            lambda content: content["SSH"].update(location="X"),
            "BadConfig",
            "SSH.location: Input should be 'C', 'U', 'V' or 'W', found 'X'",
        ),
        (
            "ecco/release.yaml",
            lambda content: content["clock"].update(step_s=0),
            "BadConfig",
            "clock.step_s: Input should be greater than 0, found 0",
        ),
    ],
)
def test_a_catalogue_that_contradicts_itself_is_refused(tmp_path, name, change, code, says):
    overlay = overlay_of(tmp_path, name, change)
    with pytest.raises(ConfigurationError) as error:
        ecco_products(str(overlay))
    assert error.value.code == code
    assert says in error.value.message


def test_a_folder_of_configurations_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="there is no such folder") as error:
        load_catalogue(tmp_path / "absent")
    assert error.value.code == "NoConfigs"


def test_every_configuration_model_refuses_unknown_keys_and_changes():
    for model in (
        Release,
        Coordinates,
        Grouping,
        Variable,
        Components,
        RegularGrid,
        Mapping,
        Profile,
    ):
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]


def test_the_wrong_grid_folder_in_the_release_is_said_before_anything_is_made(tmp_path, made):
    overlay = overlay_of(
        tmp_path, "ecco/release.yaml", lambda content: content.update(grid_folder="llc270")
    )
    own = production(tmp_path / "root", inputs_of(made), configs=overlay)
    with pytest.raises(ConfigurationError) as error:
        own.workspace().make(SSH_NATIVE, BAD)
    assert error.value.code == "NoConfig"
    assert "mapping/llc270_to_latlon_0p50deg.yaml" in error.value.message
    assert not (tmp_path / "root" / "ecco").exists()


def test_the_cells_that_these_tests_spoil_are_dry_and_wet():
    depth = sample_grid_fields(SIDE)["Depth"]
    assert depth[cell(wet=False)] == 0
    assert depth[cell(wet=True)] > 0
