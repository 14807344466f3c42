"""What compliance-checker (CF 1.8, ACDD 1.3) says of every kind of granule.

The checker is a development tool with many dependencies; where it is not installed these tests
skip.
"""

import shutil
import warnings
from functools import cache
from pathlib import Path

import netCDF4
import pytest

from dor_ecco_assets.ecco.catalogue import load_catalogue
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.products import Production
from tests.ecco.known_differences import ACDD, CF, unknown, unused
from tests.ecco.production import (
    EVERY_PARTITION,
    granule_of,
    made_of_every_field,
    record_of,
    root_of,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    runner = pytest.importorskip(
        "compliance_checker.runner", reason="compliance-checker is not installed"
    )
    from compliance_checker.cf.util import StandardNameTable, units_convertible

pytestmark = pytest.mark.filterwarnings("ignore")

HIGHEST = 3
#: One dataset of every kind, and those that have a finding of their own.
KINDS = {
    "native 2-D": ("ecco/ECCO_L4_SSH_LLC0090GRID_MONTHLY_V4R4", "AVG_MON"),
    "native 2-D, runoff": ("ecco/ECCO_L4_FRESH_FLUX_LLC0090GRID_MONTHLY_V4R4", "AVG_MON"),
    "native 2-D, staggered": ("ecco/ECCO_L4_STRESS_LLC0090GRID_MONTHLY_V4R4", "AVG_MON"),
    "native 3-D": ("ecco/ECCO_L4_TEMP_SALINITY_LLC0090GRID_MONTHLY_V4R4", "AVG_MON"),
    "native 3-D, staggered": ("ecco/ECCO_L4_OCEAN_VEL_LLC0090GRID_DAILY_V4R4", "AVG_DAY"),
    "native 3-D, on top faces": (
        "ecco/ECCO_L4_OCEAN_BOLUS_STREAMFUNCTION_LLC0090GRID_MONTHLY_V4R4",
        "AVG_MON",
    ),
    "snapshot 2-D": ("ecco/ECCO_L4_SEA_ICE_VELOCITY_LLC0090GRID_SNAPSHOT_V4R4", "SNAP"),
    "snapshot 3-D": ("ecco/ECCO_L4_TEMP_SALINITY_LLC0090GRID_SNAPSHOT_V4R4", "SNAP"),
    "lat-lon 2-D": ("ecco/ECCO_L4_ATM_STATE_05DEG_MONTHLY_V4R4", "AVG_MON"),
    "lat-lon 2-D, runoff": ("ecco/ECCO_L4_FRESH_FLUX_05DEG_DAILY_V4R4", "AVG_DAY"),
    "lat-lon 3-D": ("ecco/ECCO_L4_OCEAN_VEL_05DEG_MONTHLY_V4R4", "AVG_MON"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_of_every_field(tmp_path_factory)


@pytest.fixture(scope="module")
def strict(made, tmp_path_factory):
    """The same datasets made with ``strict_cf``, elsewhere."""
    root = made.root.model_copy(update={"root": str(tmp_path_factory.mktemp("strict"))})
    found = Production(root, made.inputs, None, RunSettings(strict_cf=True))
    space = found.workspace()
    for key, frequency in KINDS.values():
        space.make(key, EVERY_PARTITION[frequency])
    return found


@cache
def findings(path: Path) -> dict[str, set[str]]:
    """Messages of the highest priority, by checker."""
    suite = runner.CheckSuite()
    suite.load_all_available_checkers()
    found: dict[str, set[str]] = {}
    dataset = suite.load_dataset(str(path))
    try:
        for checker in ("cf:1.8", "acdd:1.3"):
            ((results, errors),) = suite.run_all(dataset, [checker], skip_checks=[]).values()
            assert not errors
            found[checker] = {message for result in results for message in _failed(result)}
    finally:
        dataset.close()
    return found


def _failed(result) -> set[str]:
    value = result.value
    passed = value[0] == value[1] if isinstance(value, tuple) else bool(value)
    own = set() if passed or result.weight < HIGHEST else set(result.msgs or [])
    return own.union(*(_failed(child) for child in result.children or []))


def found_in(made, kind):
    key, frequency = KINDS[kind]
    return findings(granule_of(made, key, EVERY_PARTITION[frequency]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_of_the_highest_priority_is_listed(made, kind):
    found = found_in(made, kind)
    assert unknown(found["cf:1.8"], CF) == []
    assert unknown(found["acdd:1.3"], ACDD) == []


def test_every_listed_finding_occurs(made):
    found = [found_in(made, kind) for kind in KINDS]
    assert unused(set().union(*(each["cf:1.8"] for each in found)), CF) == []
    assert unused(set().union(*(each["acdd:1.3"] for each in found)), ACDD) == []


@pytest.mark.parametrize("kind", KINDS)
def test_strictly_made_granules_have_no_finding_of_cf(made, strict, kind):
    found = found_in(strict, kind)
    assert found["cf:1.8"] == set()
    assert unknown(found["acdd:1.3"], ACDD) == []
    key, frequency = KINDS[kind]
    partition = EVERY_PARTITION[frequency]
    plain, told = record_of(made, key, partition), record_of(strict, key, partition)
    assert plain.fingerprint != told.fingerprint
    assert root_of(made) != root_of(strict)


def test_a_planted_fault_is_found(made, tmp_path):
    """The checker runs in earnest: a standard name that CF lacks, a unit that does not parse."""
    key, frequency = KINDS["lat-lon 2-D"]
    path = tmp_path / "spoilt.nc"
    shutil.copyfile(granule_of(made, key, EVERY_PARTITION[frequency]), path)
    with netCDF4.Dataset(path, "r+") as file:
        file["EXFatemp"].standard_name = "temperature_of_the_air"
        file["EXFpress"].units = "zorkmids"
    found = unknown(findings(path)["cf:1.8"], CF)
    assert any("temperature_of_the_air" in message for message in found)
    assert any("EXFpress" in message for message in found)


def test_standard_names_are_in_the_table_with_units_that_convert():
    table, catalogue = StandardNameTable(), load_catalogue()
    for name, variable in catalogue.variables.items():
        if variable.standard_name is None:
            continue
        canonical = table[variable.standard_name].canonical_units
        fits = units_convertible(variable.units, canonical)
        assert fits == ("standard_name" not in catalogue.release.not_cf.get(name, ())), name
