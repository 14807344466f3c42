# ruff: noqa: E501 - sentences of a page of the documentation, a table row each
"""Where our granules differ from published ones and what checkers find, each with its cause.

The tests hold the lists to what is found; ``python -m tests.ecco.known_differences`` writes the
page of the documentation from them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "ecco-differences.md"

#: Stem of a pre-release granule -> stem in the release, middle of the short name.
STEMS = {
    "ATM_SURFACE_TEMP_HUM_WIND_PRES": ("ATM_SURFACE_TEMP_HUM_WIND_PRES", "ATM_STATE"),
    "MIXED_LAYER_DEPTH": ("OCEAN_MIXED_LAYER_DEPTH", "MIXED_LAYER_DEPTH"),
    "OCEAN_SURFACE_STRESS": ("OCEAN_AND_ICE_SURFACE_STRESS", "STRESS"),
    "OCEAN_TEMPERATURE_AND_SALT": ("OCEAN_TEMPERATURE_SALINITY", "TEMP_SALINITY"),
    "OCEAN_VELOCITY": ("OCEAN_VELOCITY", "OCEAN_VEL"),
}


@dataclass(frozen=True)
class Known:
    """A difference or finding that is meant.

    Parameters
    ----------
    pattern : str
        Regular expression that the whole line of such a difference matches.
    says, cause : str
        For the page.
    """

    pattern: str
    says: str
    cause: str

    def covers(self, line: str) -> bool:
        """Whether a line is one of this kind."""
        return re.fullmatch(self.pattern, line) is not None


HEADERS = [
    Known(
        r"time:units hours since 1992-01-01 12:00:00, there days since .*",
        "`time` counts hours since 1992-01-01 12:00:00; there days since a date that differs from granule to granule",
        "The release counts hours from the model's start. Whole days cannot hold the centre of a month, and granules with dates of their own cannot be joined.",
    ),
    Known(
        r"time:bounds time_bnds, there absent",
        "`time` names its bounds",
        "CF finds bounds by that attribute alone.",
    ),
    Known(
        r"time_bnds:(units|calendar) absent, there .*",
        "`time_bnds` has no units and calendar of its own",
        "CF 7.1: bounds take those of the variable they belong to. There the two differ by half a day.",
    ),
    Known(
        r"variable time_step only there",
        "There is no `time_step`",
        "The release dropped it; the step is in the names that `source_files` lists.",
    ),
    Known(
        r"\w+:coordinates absent, there time (Z )?latitude longitude",
        "Variables have no attribute `coordinates`",
        "All their coordinates are dimensions, which CF 5 does not want named there.",
    ),
    Known(
        r"Z:positive up, there absent",
        "`Z` says `positive: up`",
        "CF 4.3 asks for it where the units are not those of pressure.",
    ),
    Known(
        r"EXFatemp:units degree_K, there degree_C",
        "`EXFatemp` has units `degree_K`",
        "The values are kelvin; the release corrected the unit.",
    ),
    Known(
        r"SALT:units 1e-3, there 0.001",
        "`SALT` has units `1e-3`",
        "The same unit in CF's own spelling, as in the release.",
    ),
    Known(
        r"variable WVEL(MASS)? only (here|there)",
        "Vertical velocity is called `WVEL`",
        "The release renames `WVELMASS` in velocity granules.",
    ),
    Known(
        r"global attribute geospatial_vertical_\w+ only here",
        "3-D granules state their vertical extent",
        "ACDD 1.3; the release has it too.",
    ),
    Known(
        r"global attribute (source|uuid|identifier_product_doi(_authority)?|coordinates_comment) only here",
        "Granules have `source`, `uuid`, `identifier_product_doi`, `identifier_product_doi_authority` and `coordinates_comment`",
        "Added in the release or after it.",
    ),
    Known(
        r"global attribute (processing_(software|config_sha256)|mapping_factors_fingerprint|source_files|vector_source) only here",
        "Granules have `processing_software`, `processing_config_sha256`, `mapping_factors_fingerprint`, `source_files` and `vector_source`",
        "Ours: what a granule was made from and by.",
    ),
]

STORAGE: list[Known] = []

#: Highest-priority findings of the checkers; `strict_cf` leaves none of `CF`, all of `ACDD`.
CF = [
    Known(
        r"(latitude|longitude) variable '[ij]' must define units",
        "`i` and `j` have an `axis` but are no longitude or latitude",
        "They number cells. The release marks them as axes X and Y, which readers of the native grid use. `strict_cf` leaves `axis` out.",
    ),
    Known(
        r"(§4\.3\.1 k's units must be defined.*|k: vertical coordinates not defining pressure must include a positive.*)",
        "`k` has `axis: Z` but no units and direction",
        "It numbers levels, as above; depth is in `Z`. `strict_cf` leaves `axis` out.",
    ),
    Known(
        r'Units "m s-1" for variable EXFroff must be convertible to canonical units "kg m-2 s-1"',
        "`EXFroff` is a volume flux, its standard name one of mass",
        "CF has no name for runoff as a rate of depth; the release uses that of the mass flux. `strict_cf` leaves the name out.",
    ),
]
ACDD = [
    Known(
        r"standard_name",
        "Variables without `standard_name`",
        "ACDD asks for one of every variable; CF's table has none for anomalies of bottom pressure, partial heights, fluxes through faces, tendencies and plumes. A wrong one would mislead, so these have none, strictly or not.",
    ),
]


def unknown(lines: set[str], known: list[Known]) -> list[str]:
    """Differences that no entry covers."""
    return sorted(line for line in lines if not any(entry.covers(line) for entry in known))


def unused(lines: set[str], known: list[Known]) -> list[str]:
    """Entries that cover no difference any more."""
    return [entry.says for entry in known if not any(map(entry.covers, lines))]


def page() -> str:
    """The page of the documentation."""
    stems = "\n".join(f"| `{old}` | `{new}` |" for old, (new, _) in STEMS.items())
    return f"""# Where ECCO granules differ, and why

Written from `tests/ecco/known_differences.py` by `uv run python -m tests.ecco.known_differences`. Tests fail where a difference is not listed here, or a listed one no longer occurs.

## From the pre-release headers

Lat-lon granules against 20 headers of the pre-release of V4r4: dimensions, variables with type and dimensions, the attributes that decide how a reader takes the numbers
(units, standard name, calendar, axis, bounds, positive, coordinates, content type, fill value), and which global attributes there are. Texts for people are each catalogue's own.
Five stems changed between pre-release and release:

| pre-release | release |
|---|---|
{stems}

{_table(HEADERS)}

## From the stored form of a published granule

Against the one whole pre-release granule (daily atmosphere at the surface, 0.5 degree): format, type, byte order, deflate level, shuffle, checksum, chunks and fill value of every
variable that both have. {"No difference." if not STORAGE else _table(STORAGE)}

## From what the release's metadata says

| what differs | cause |
|---|---|
| `VVELMASS` has units `m s-1` | The release gives another unit than for `UVELMASS`, its twin. |
| `EXFuwind`, `EXFvwind`, `EXFtaux`, `EXFtauy` lie at cell centres | The release's table puts them on edges, its own description of each on tracer cells; turned vectors take them as they are, at the centres. |
| `oceSPtnd` is 3-D | The release's table says 2-D, its grouping 3-D; the model writes it at every level. |
| `GM_PsiX`, `GM_PsiY` lie on top faces | A streamfunction whose vertical derivative is a velocity at the centres lies between them. |
| `EXFpreci`, `EXFroff` decrease salinity | The release says that rain and rivers make the sea saltier. |
| `time_coverage_duration` of snapshots is `PT0S` | `P0S` is not valid ISO 8601. |

## What compliance-checker finds

Highest-priority findings of compliance-checker (CF 1.8, ACDD 1.3) on every kind of granule: native 2-D and 3-D, staggered, snapshots, lat-lon 2-D and 3-D.

CF, all gone with `strict_cf: true` in `ecco/release.yaml` or `dor-ecco ecco granules --strict-cf`:

{_table(CF)}

ACDD:

{_table(ACDD)}
"""


def _table(known: list[Known]) -> str:
    rows = "\n".join(f"| {entry.says} | {entry.cause} |" for entry in known)
    return f"| what differs | cause |\n|---|---|\n{rows}"


if __name__ == "__main__":
    PAGE.write_text(page())
