"""The shipped ECCO catalogue agrees with itself and with what was published; overlays and dates."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import xarray as xr
import yaml

from dor_ecco_assets.ecco.catalogue import Dataset, load_catalogue
from dor_ecco_assets.ecco.names import DATASETS, doi, match_granule_name, short_name
from dor_ecco_assets.ecco.products import dataset_key, ecco_products, source_fields
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.products import Production
from dor_ecco_assets.settings import Place, config_path
from tests.ecco.production import (
    DAILY,
    DAYS,
    MONTHLY,
    MONTHS,
    SSH_LATLON,
    SSH_LATLON_DAILY,
    SSH_NATIVE,
    SSH_NATIVE_DAILY,
    STRESS_LATLON,
    STRESS_NATIVE,
    granule_of,
    inputs_of,
    made_sample,
    own_sample,
    production,
    root_of,
)
from tests.support.data import real_data

#: Powers of kg, m, s and K of the units that the catalogue uses.
BASE = {
    "kg": (1, 0, 0, 0),
    "g": (1, 0, 0, 0),
    "m": (0, 1, 0, 0),
    "s": (0, 0, 1, 0),
    "degree_C": (0, 0, 0, 1),
    "degree_K": (0, 0, 0, 1),
    "K": (0, 0, 0, 1),
    "N": (1, 1, -2, 0),
    "Pa": (1, -1, -2, 0),
    "W": (1, 2, -3, 0),
    "1": (0, 0, 0, 0),
    "1e-3": (0, 0, 0, 0),
}
#: Canonical units of the names in the CF standard name table (version 85 and later).
CF_UNITS = {
    "air_temperature": "K",
    "downward_x_stress_at_sea_water_surface": "Pa",
    "downward_y_stress_at_sea_water_surface": "Pa",
    "eastward_sea_ice_velocity": "m s-1",
    "eastward_sea_water_velocity": "m s-1",
    "eastward_sea_water_velocity_due_to_parameterized_mesoscale_eddies": "m s-1",
    "eastward_wind": "m s-1",
    "lwe_precipitation_rate": "m s-1",
    "lwe_water_evaporation_rate": "m s-1",
    "northward_sea_ice_velocity": "m s-1",
    "northward_sea_water_velocity": "m s-1",
    "northward_sea_water_velocity_due_to_parameterized_mesoscale_eddies": "m s-1",
    "northward_wind": "m s-1",
    "ocean_mixed_layer_thickness": "m",
    "sea_ice_and_surface_snow_amount": "kg m-2",
    "sea_ice_area_fraction": "1",
    "sea_ice_thickness": "m",
    "sea_ice_x_velocity": "m s-1",
    "sea_ice_y_velocity": "m s-1",
    "sea_surface_height_above_geoid": "m",
    "sea_water_potential_temperature": "K",
    "sea_water_salinity": "1e-3",
    "sea_water_x_velocity": "m s-1",
    "sea_water_x_velocity_due_to_parameterized_mesoscale_eddies": "m s-1",
    "sea_water_y_velocity": "m s-1",
    "sea_water_y_velocity_due_to_parameterized_mesoscale_eddies": "m s-1",
    "snowfall_flux": "kg m-2 s-1",
    "surface_air_pressure": "Pa",
    "surface_downward_eastward_stress": "Pa",
    "surface_downward_heat_flux_in_sea_water": "W m-2",
    "surface_downward_latent_heat_flux": "W m-2",
    "surface_downward_northward_stress": "Pa",
    "surface_downward_sensible_heat_flux": "W m-2",
    "surface_downward_water_flux": "kg m-2 s-1",
    "surface_downward_x_stress": "Pa",
    "surface_downward_y_stress": "Pa",
    "surface_downwelling_longwave_flux_in_air": "W m-2",
    "surface_downwelling_shortwave_flux_in_air": "W m-2",
    "surface_net_downward_longwave_flux": "W m-2",
    "surface_net_downward_shortwave_flux": "W m-2",
    "surface_runoff_flux": "kg m-2 s-1",
    "surface_snow_thickness": "m",
    "surface_specific_humidity": "1",
    "surface_upward_heat_flux_in_air": "W m-2",
    "upward_sea_water_velocity": "m s-1",
    "upward_sea_water_velocity_due_to_parameterized_mesoscale_eddies": "m s-1",
    "water_flux_into_sea_water": "kg m-2 s-1",
    "water_sublimation_flux": "kg m-2 s-1",
    "wind_speed": "m s-1",
    "x_wind": "m s-1",
    "y_wind": "m s-1",
}
CATALOGUE = load_catalogue()
GROUPINGS = [pytest.param(grouping, id=grouping.stem) for grouping in CATALOGUE.groupings]
VARIABLES = sorted(CATALOGUE.variables)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_sample(tmp_path_factory)


def dimensions(units):
    """Powers of the base units in a string such as ``kg m-2 s-1``."""
    total = np.zeros(4, int)
    for word in units.split():
        if word in BASE:
            total += BASE[word]
            continue
        found = re.fullmatch(r"([A-Za-z_]+)(-?\d+)", word)
        assert found is not None, f"{word!r} in {units!r} is no unit"
        total += np.array(BASE[found[1]]) * int(found[2])
    return tuple(total)


# The shipped catalogue


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_has_units_that_parse_and_fit_its_standard_name(name):
    variable = CATALOGUE.variables[name]
    found = dimensions(variable.units)
    if variable.standard_name is not None:
        fits = found == dimensions(CF_UNITS[variable.standard_name])
        # What does not fit is published so, and left out where CF is taken strictly.
        assert fits == ("standard_name" not in CATALOGUE.release.not_cf.get(name, ()))
    low, high = variable.valid_range
    assert low < high
    assert variable.long_name[0].isupper()
    assert variable.comment.endswith(".")
    assert variable.keywords
    assert all(word.startswith("EARTH SCIENCE > ") for word in variable.keywords)


def test_the_axis_of_a_component_is_in_its_name():
    """x and y along the model's axes, e and n once turned; turned ones have a pair."""
    for name, variable in CATALOGUE.variables.items():
        standard = variable.standard_name or ""
        if variable.components is not None:
            east = variable.components.orientation == "zonal"
            assert ("eastward" if east else "northward") in standard
            letter = re.fullmatch(r"(?:EXF|SI)?([EeNn])(?:wind|ice|VEL|VELSTAR)|.*([EeNn])", name)
            assert letter is not None
            assert (letter[1] or letter[2]).lower() == ("e" if east else "n")
            pair = variable.components
            assert {CATALOGUE.variables[n].units for n in (pair.x, pair.y)} == {variable.units}
            assert re.search("(^|_)x_", CATALOGUE.variables[pair.x].standard_name)
            assert re.search("(^|_)y_", CATALOGUE.variables[pair.y].standard_name)
        elif "stress" in standard:
            assert ("_x_" in standard) == name.lower().endswith("x")


def test_every_variable_is_published_somewhere():
    used = {
        source
        for grouping in CATALOGUE.groupings
        for name in (*grouping.native, *grouping.latlon)
        for source in (name, *CATALOGUE.sources(name))
    }
    assert used == set(CATALOGUE.variables)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_grouping_has_a_short_name_and_a_doi_for_each_of_its_datasets(grouping):
    assert grouping.title == DATASETS[grouping.stem].subject
    assert grouping.variables("native")
    seen = []
    for grid in ("native", "latlon"):
        for frequency in grouping.frequencies_on(grid):
            words = {"stem": grouping.stem, "grid": grid, "frequency": frequency}
            key = dataset_key(grouping, grid, frequency, CATALOGUE.release.version)
            assert key == f"ecco/{short_name(**words)}"
            assert re.fullmatch(r"10\.5067/EC[GL]5[DMS]-[A-Z0-9]{3}44", doi(**words))
            seen += [key, doi(**words)]
    assert len(seen) == len(set(seen)) >= 4


#: Section of the release's tables: datasets by grid and frequency.
N_DATASETS = {
    ("native", "AVG_DAY"): 20,
    ("native", "AVG_MON"): 20,
    ("native", "SNAP"): 5,
    ("latlon", "AVG_DAY"): 13,
    ("latlon", "AVG_MON"): 13,
}


def test_the_catalogue_holds_every_gridded_dataset_that_has_a_time():
    found = Counter(
        (grid, frequency)
        for grouping in CATALOGUE.groupings
        for grid in ("native", "latlon")
        for frequency in grouping.frequencies_on(grid)
    )
    assert found == N_DATASETS


def test_products_are_one_per_dataset_with_the_files_they_need():
    products = {product.key: product for product in ecco_products()}
    timed = [key for key, found in products.items() if found.partitioning.kind != "none"]
    assert len(timed) == sum(N_DATASETS.values())
    assert {*MONTHLY, *DAILY} < set(timed)
    assert all(products[key].arrived is not None for key in timed)
    assert len(products[SSH_NATIVE].partitioning.keys) == 312
    assert len(products[SSH_NATIVE_DAILY].partitioning.keys) == 9497
    assert products[SSH_NATIVE].upstream == ("grids/llc90",)
    assert "mapping/llc90_to_latlon_0p50deg" in products[SSH_LATLON].upstream
    stress = next(g for g in CATALOGUE.groupings if g.stem == "OCEAN_AND_ICE_SURFACE_STRESS")
    fields = source_fields(CATALOGUE, Dataset(stress, "latlon", "AVG_MON"))
    assert fields == ["EXFtaux", "EXFtauy", "oceTAUX", "oceTAUY"]


def test_the_catalogue_agrees_with_the_metadata_of_the_release():
    folder = real_data("ecco_meta", "V4r4")
    released = {
        entry["name"]: entry
        for file in ("variable_metadata", "variable_metadata_for_latlon_datasets")
        for entry in json.loads((folder / f"ECCOv4r4_{file}.json").read_text())
    }
    for name, variable in CATALOGUE.variables.items():
        entry = released[name]
        # The release states other units for one of the three velocities of a kind.
        assert (variable.units == entry["units"]) == (name != "VVELMASS"), name
        assert (variable.standard_name or "") == (entry.get("standard_name") or ""), name
        if entry["GCMD_keywords"]:
            assert ", ".join(variable.keywords) == entry["GCMD_keywords"].strip(), name


@pytest.mark.parametrize("grid", ["native", "latlon"])
def test_groupings_hold_the_fields_of_the_release_in_their_order(grid):
    path = real_data("ecco_meta", "V4r4", f"ECCOv4r4_groupings_for_{grid}_datasets.json")
    released = {entry["filename"]: entry for entry in json.loads(path.read_text())}
    for grouping in CATALOGUE.groupings:
        if not grouping.variables(grid):
            assert grouping.stem not in released
            continue
        entry = released.pop(grouping.stem)
        fields = re.findall(r"[^\s,]+", entry["fields"])
        old, _, new = entry.get("variable_rename", "").partition(":")
        assert list(grouping.variables(grid)) == [new if name == old else name for name in fields]
        assert not new or CATALOGUE.sources(new) == (old,)
        assert entry["dimension"] == grouping.dimension
        often = re.findall(r"[^\s,]+", entry["frequency"])
        assert list(grouping.frequencies_on(grid)) == often
    assert {entry["frequency"] for entry in released.values()} <= {"TI"}


@pytest.mark.parametrize("grid", ["native", "latlon"])
def test_a_grouping_stands_where_job_files_look_for_it(grid):
    path = real_data("ecco_meta", "V4r4", f"ECCOv4r4_groupings_for_{grid}_datasets.json")
    released = [entry["filename"] for entry in json.loads(path.read_text())]
    ours = [grouping.stem for grouping in CATALOGUE.groupings if grouping.variables(grid)]
    assert ours == released[: len(ours)]


# A user's own folder


def overlay_of(folder, name, change):
    content = yaml.safe_load(config_path(name).read_text())
    change(content)
    path = folder / "configs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "configs"


def fingerprints(made, configs=None, source_date=None):
    space = production(
        root_of(made), inputs_of(made), configs=configs, source_date=source_date
    ).workspace()
    every = [(key, MONTHS[0]) for key in MONTHLY] + [(key, DAYS[0]) for key in DAILY]
    return {key: space.ingredients(key, partition).fingerprint() for key, partition in every}


ALL = {*MONTHLY, *DAILY}
SSH = {SSH_NATIVE, SSH_LATLON, SSH_NATIVE_DAILY, SSH_LATLON_DAILY}
STRESS = {STRESS_NATIVE, STRESS_LATLON}
NATIVE = {SSH_NATIVE, SSH_NATIVE_DAILY, STRESS_NATIVE}


@pytest.mark.parametrize(
    ("name", "change", "affected"),
    [
        ("ecco/variables.yaml", lambda c: c["SSH"].update(comment="Mine."), SSH),
        (
            "ecco/variables.yaml",
            lambda c: c["ETAN"].update(comment="Mine."),
            {SSH_NATIVE, SSH_NATIVE_DAILY},
        ),
        ("ecco/variables.yaml", lambda c: c["oceTAUE"].update(comment="Mine."), {STRESS_LATLON}),
        ("ecco/variables.yaml", lambda c: c["oceTAUX"].update(valid_range=[-9, 9]), STRESS),
        ("ecco/groupings.yaml", lambda c: c[0].update(comment="Mine."), SSH),
        ("ecco/groupings.yaml", lambda c: c[6].update(frequencies=["AVG_MON"]), set()),
        ("ecco/coordinates.yaml", lambda c: c["native"]["i"].update(comment="Mine."), NATIVE),
        ("ecco/coordinates.yaml", lambda c: c["latlon"]["latitude"].update(a="b"), ALL - NATIVE),
        ("ecco/coordinates.yaml", lambda c: c["time"]["time"].update(comment="Mine."), ALL),
        ("ecco/release.yaml", lambda c: c["grids"]["native"].update(comment="Mine."), NATIVE),
        (
            "ecco/release.yaml",
            lambda c: c["frequencies"]["AVG_DAY"].update(head="means of days"),
            {SSH_NATIVE_DAILY, SSH_LATLON_DAILY},
        ),
        ("ecco/release.yaml", lambda c: c["global_attributes"].update(license="CC0"), ALL),
        ("ecco/release.yaml", lambda c: c.update(catalogue_date="2026-01-01T00:00:00"), ALL),
        ("ecco/release.yaml", lambda c: c.update(strict_cf=True), ALL),
        ("ecco/release.yaml", lambda c: c["not_cf"].update(SSH=["comment"]), set()),
        ("ecco/release.yaml", lambda c: c.update(vector_source="auto"), {STRESS_LATLON}),
        ("ecco/variables.yaml", lambda c: None, set()),
    ],
)
def test_a_change_in_an_overlay_makes_stale_exactly_what_says_it(
    made, tmp_path, name, change, affected
):
    before, after = fingerprints(made), fingerprints(made, overlay_of(tmp_path, name, change))
    assert {key for key in before if before[key] != after[key]} == affected
    assert set(before) == ALL


def test_an_overlay_is_written_into_granules_and_named_as_the_reason(tmp_path, tmp_path_factory):
    own = own_sample(tmp_path_factory, tmp_path)
    own.workspace().make(SSH_LATLON, "1992-01")
    overlay = overlay_of(
        tmp_path, "ecco/variables.yaml", lambda c: c["SSH"].update(comment="In my words.")
    )
    changed = production(root_of(own), inputs_of(own), configs=overlay)
    state = changed.workspace().state(SSH_LATLON, "1992-01")
    assert state.standing == "stale"
    assert len(state.reasons) == 1
    assert state.reasons[0].startswith("configuration variables: ")
    changed.workspace().make(SSH_LATLON, "1992-01")
    with xr.open_dataset(granule_of(changed, SSH_LATLON, "1992-01")) as granule:
        assert granule["SSH"].attrs["comment"] == "In my words."
        assert granule["SSHIBC"].attrs["comment"].startswith("Response of the sea surface")
    assert changed.workspace().state(SSH_LATLON, "1992-01").standing == "up to date"


def test_an_overlay_may_leave_out_variables_and_groupings(tmp_path, tmp_path_factory):
    def only_heights(content):
        content[0]["native"] = ["SSH"]
        content[0]["frequencies"] = ["AVG_MON"]
        content[0]["latlon"] = []
        del content[1:]

    overlay = overlay_of(tmp_path, "ecco/groupings.yaml", only_heights)
    own = own_sample(tmp_path_factory, tmp_path, configs=overlay)
    products = own.workspace().products
    keys = [key for key in products if key.startswith("ecco/") and products[key].arrived]
    assert keys == [SSH_NATIVE]
    record = own.workspace().make(SSH_NATIVE, "1992-01").record
    assert record.details["variables"] == ["SSH"]
    assert "missing_variables" not in record.details


def test_a_global_attribute_of_the_overlay_reaches_the_file(tmp_path, tmp_path_factory):
    overlay = overlay_of(
        tmp_path,
        "ecco/release.yaml",
        lambda c: c["global_attributes"].update(acknowledgement="Thanks.", zz_note=1.5),
    )
    own = own_sample(tmp_path_factory, tmp_path, configs=overlay)
    own.workspace().make(SSH_NATIVE, "1992-01")
    with xr.open_dataset(granule_of(own, SSH_NATIVE, "1992-01")) as granule:
        assert granule.attrs["acknowledgement"] == "Thanks."
        assert granule.attrs["zz_note"] == 1.5
        assert match_granule_name(granule.attrs["product_name"]) is not None


# Dates


def test_the_date_in_a_granule_is_configured_else_of_the_environment_else_of_the_catalogue(
    monkeypatch, tmp_path, tmp_path_factory
):
    own = own_sample(tmp_path_factory, tmp_path)
    configured = overlay_of(
        tmp_path, "ecco/release.yaml", lambda c: c.update(production_date="2030-05-06T07:08:09")
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    from_environment = RunSettings.from_environment()
    assert from_environment.source_date == "2023-11-14T22:13:20"
    seen = []
    for configs, settings, reason in (
        (None, RunSettings(), None),
        (None, from_environment, '"2021-02-26T00:00:00" -> "2023-11-14T22:13:20"'),
        (str(configured), from_environment, '"2023-11-14T22:13:20" -> "2030-05-06T07:08:09"'),
    ):
        made = Production(own.root, own.inputs, configs, settings)
        state = made.workspace().state(SSH_NATIVE, "1992-01")
        if reason is not None:
            assert state.standing == "stale"
            assert state.reasons == (f"configuration production_date: {reason}",)
        assert not made.workspace().make(SSH_NATIVE, "1992-01").skipped
        with xr.open_dataset(granule_of(made, SSH_NATIVE, "1992-01")) as granule:
            dates = {text for name, text in granule.attrs.items() if name.startswith("date_")}
            assert len(dates) == 1
            seen.append((dates.pop(), granule.attrs["uuid"]))
    assert [date for date, _ in seen] == [
        "2021-02-26T00:00:00",
        "2023-11-14T22:13:20",
        "2030-05-06T07:08:09",
    ]
    assert len({identifier for _, identifier in seen}) == 3


def test_the_environments_date_changes_nothing_where_one_is_configured(made, tmp_path):
    configured = overlay_of(
        tmp_path, "ecco/release.yaml", lambda c: c.update(production_date="2030-05-06T07:08:09")
    )
    plain = fingerprints(made, configured)
    assert fingerprints(made, configured, source_date="2023-11-14T22:13:20") == plain
    assert fingerprints(made, source_date="2023-11-14T22:13:20").values() != plain.values()


def test_a_date_that_is_no_number_of_seconds_is_refused(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ConfigurationError, match="'yesterday'; expected whole seconds") as error:
        RunSettings.from_environment()
    assert error.value.code == "BadDate"


def test_grids_and_factors_do_not_depend_on_dates(made):
    spaces = [
        Production(Place(root=made.root.root), made.inputs, None, RunSettings(date)).workspace()
        for date in (None, "2023-11-14T22:13:20")
    ]
    for key in ("grids/llc90", "grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg"):
        assert spaces[0].fingerprint(key) == spaces[1].fingerprint(key)
