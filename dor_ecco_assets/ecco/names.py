"""What granules and the datasets they belong to are called: file names, short names, DOIs, titles.

All of it follows from the stem, the grid, the frequency and the version, so it is generated; a
table of published names serves only to check it against.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, cast

import numpy as np

from dor_ecco_assets.ecco.times import FREQUENCIES, Frequency
from dor_ecco_assets.errors import ConfigurationError, InputUnusable

__all__ = [
    "DATASETS",
    "LATLON_LABEL",
    "NATIVE_LABEL",
    "DatasetNames",
    "GranuleGrid",
    "GranuleName",
    "doi",
    "granule_name",
    "match_granule_name",
    "native_label",
    "parse_granule_name",
    "short_name",
    "title",
]

GranuleGrid = Literal["native", "latlon", "1D"]
Token = Literal["day_mean", "mon_mean", "snap"]

#: Labels of the production's two grids.
NATIVE_LABEL, LATLON_LABEL = "llc0090", "0p50deg"


@dataclass(frozen=True)
class DatasetNames:
    """Parts of a dataset's names that the stem of its granules does not give.

    Parameters
    ----------
    code : str
        Middle of the short name.
    suffix : str
        End of the DOI in release V4r4.
    subject : str
        What the title is about.
    """

    code: str
    suffix: str
    subject: str


#: By stem; codes and suffixes are those of the PO.DAAC collections of ECCO V4r4.
DATASETS: dict[str, DatasetNames] = {
    stem: DatasetNames(code or stem, f"{suffix}44", subject)
    for stem, code, suffix, subject in (
        ("SEA_SURFACE_HEIGHT", "SSH", "SSH", "Sea Surface Height"),
        ("OCEAN_BOTTOM_PRESSURE", "OBP", "OBP", "Ocean Bottom Pressure"),
        (
            "OCEAN_AND_ICE_SURFACE_FW_FLUX",
            "FRESH_FLUX",
            "FRE",
            "Ocean and Sea-Ice Surface Freshwater Fluxes",
        ),
        (
            "OCEAN_AND_ICE_SURFACE_HEAT_FLUX",
            "HEAT_FLUX",
            "HEA",
            "Ocean and Sea-Ice Surface Heat Fluxes",
        ),
        (
            "ATM_SURFACE_TEMP_HUM_WIND_PRES",
            "ATM_STATE",
            "ATM",
            "Atmosphere Surface Temperature, Humidity, Wind, and Pressure",
        ),
        ("OCEAN_MIXED_LAYER_DEPTH", "MIXED_LAYER_DEPTH", "OML", "Ocean Mixed Layer Depth"),
        ("OCEAN_AND_ICE_SURFACE_STRESS", "STRESS", "STR", "Ocean and Sea-Ice Surface Stress"),
        ("SEA_ICE_CONC_THICKNESS", "", "ICO", "Sea-Ice and Snow Concentration and Thickness"),
        ("SEA_ICE_VELOCITY", "", "SIV", "Sea-Ice Velocity"),
        ("SEA_ICE_HORIZ_VOLUME_FLUX", "", "SIH", "Sea-Ice and Snow Horizontal Volume Fluxes"),
        (
            "OCEAN_BOLUS_STREAMFUNCTION",
            "",
            "STF",
            "Gent-McWilliams Bolus Transport Streamfunction",
        ),
        ("OCEAN_3D_VOLUME_FLUX", "", "3VF", "Ocean Three-Dimensional Volume Fluxes"),
        (
            "OCEAN_3D_TEMPERATURE_FLUX",
            "",
            "3TF",
            "Ocean Three-Dimensional Potential Temperature Fluxes",
        ),
        ("OCEAN_3D_SALINITY_FLUX", "", "3SF", "Ocean Three-Dimensional Salinity Fluxes"),
        ("OCEAN_3D_MOMENTUM_TEND", "", "3MT", "Ocean Three-Dimensional Momentum Tendency"),
        ("SEA_ICE_SALT_PLUME_FLUX", "", "ISP", "Sea-Ice Salt Plume Fluxes"),
        ("OCEAN_TEMPERATURE_SALINITY", "TEMP_SALINITY", "OTS", "Ocean Temperature and Salinity"),
        (
            "OCEAN_DENS_STRAT_PRESS",
            "DENS_STRAT_PRESS",
            "ODE",
            "Ocean Density, Stratification, and Hydrostatic Pressure",
        ),
        ("OCEAN_VELOCITY", "OCEAN_VEL", "OVE", "Ocean Velocity"),
        ("OCEAN_BOLUS_VELOCITY", "BOLUS", "BOL", "Gent-McWilliams Ocean Bolus Velocity"),
        (
            "OCEAN_3D_MIXING_COEFFS",
            "OCEAN_3D_MIX_COEFFS",
            "MIX",
            "Ocean 3D Gent-Mcwilliams, Redi, and Background Vertical Diffusivity Coefficients",
        ),
        ("GRID_GEOMETRY", "GEOMETRY", "GRD", "Geometry Parameters"),
        ("GLOBAL_MEAN_ATM_SURFACE_PRES", "GMAP", "MAP", "Global Mean Atmospheric Pressure"),
        ("GLOBAL_MEAN_SEA_LEVEL", "GMSL", "MSL", "Global Mean Sea Level"),
        ("SBO_CORE_PRODUCTS", "SBO_CORE", "SBO", "SBO Core Products"),
    )
}


@dataclass(frozen=True)
class GranuleName:
    """Parts of a granule's file name; `str` gives the name back as it was spelt.

    Parameters
    ----------
    stem : str
        What the granule holds, ``SEA_SURFACE_HEIGHT``.
    grid : {"native", "latlon", "1D"}
    token : str or None
        ``day_mean``, ``mon_mean`` or ``snap``; None for time-invariant granules.
    date : str or None
        ``YYYY-MM``, ``YYYY-MM-DD`` or ``YYYY-MM-DDTHHMMSS``; None for time-invariant granules and
        for series, which hold all times in one file.
    label : str or None
        ``llc0090`` or ``0p50deg``; None for series.
    version : str
        ``V4r4``; published tables also spell it in lower case.
    """

    stem: str
    grid: GranuleGrid
    token: Token | None = None
    date: str | None = None
    label: str | None = None
    version: str = "V4r4"

    @property
    def frequency(self) -> Frequency:
        """Frequency that the token stands for."""
        return next(spec.code for spec in FREQUENCIES.values() if spec.token == self.token)

    @property
    def dataset_key(self) -> tuple[str, str, str, str]:
        """What all granules of one dataset share, in lower case: stem, token, grid, label."""
        parts = (self.stem, self.token or "", self.grid, self.label or "")
        return cast("tuple[str, str, str, str]", tuple(part.lower() for part in parts))

    def __str__(self) -> str:
        parts = (self.stem, self.token, self.date, "ECCO", self.version, self.grid, self.label)
        return "_".join(part for part in parts if part) + ".nc"


_GRANULE = re.compile(
    r"(?P<stem>\w+?)(?:_(?P<token>day_mean|mon_mean|snap))?"
    r"(?:_(?P<date>\d{4}-\d{2}(?:-\d{2}(?:T\d{6})?)?))?"
    r"_ECCO_(?P<version>v\d+r\d+[a-z]?)"
    r"_(?:(?P<grid>native|latlon)_(?P<label>llc\d{4,}|\d+p\d+deg)|(?P<series>1D))\.nc",
    re.IGNORECASE | re.ASCII,
)
#: Length of the date that goes with a token.
_DATE_LENGTH: dict[str | None, int] = {"mon_mean": 7, "day_mean": 10, "snap": 17, None: 0}


def match_granule_name(path: str) -> GranuleName | None:
    """Parse the last part of a path; None if it is not a granule's name.

    Stem, version and label keep their case, so that the name round-trips; the rest of the name
    is recognised in any case.
    """
    found = _GRANULE.fullmatch(PurePosixPath(path).name)
    if found is None:
        return None
    token = cast("Token | None", found["token"] and found["token"].lower())
    grid = cast("GranuleGrid", "1D" if found["series"] else found["grid"].lower())
    date = found["date"]
    wanted = 0 if grid == "1D" else _DATE_LENGTH[token]
    if len(date or "") != wanted or (grid == "1D" and token is None):
        return None
    return GranuleName(
        stem=found["stem"],
        grid=grid,
        token=token,
        date=date.upper() if date else None,
        label=found["label"],
        version=found["version"],
    )


def parse_granule_name(path: str) -> GranuleName:
    """Parse the last part of a path, which must be a granule's name.

    Raises
    ------
    InputUnusable
        Code ``NotAGranuleName``.
    """
    name = match_granule_name(path)
    if name is None:
        raise InputUnusable(
            f"{path}: not a granule's name; expected <STEM>_<day_mean|mon_mean|snap>_<date>_ECCO_"
            f"<version>_<native|latlon>_<label>.nc, the same without token and date for "
            f"time-invariant fields, or <STEM>_<token>_ECCO_<version>_1D.nc, with a date that fits "
            f"the token (YYYY-MM-DD, YYYY-MM, YYYY-MM-DDTHHMMSS)",
            code="NotAGranuleName",
            uri=path,
        )
    return name


def native_label(side: int) -> str:
    """Label of a native grid whose tiles have `side` cells along an edge: ``llc0090``."""
    return f"llc{side:04d}"


def granule_name(
    stem: str,
    *,
    grid: GranuleGrid,
    frequency: Frequency,
    centre: np.datetime64 | None = None,
    label: str | None = None,
    version: str = "V4r4",
) -> GranuleName:
    """Name the granule of a period.

    Parameters
    ----------
    stem : str
    grid : {"native", "latlon", "1D"}
    frequency : str
    centre : datetime64, optional
        Middle of the averaging period, or the instant of a snapshot; needed unless the field is
        time-invariant or a series. The period's end would date every day one too late.
    label : str, optional
        Of the production's grid if not given.
    version : str, default "V4r4"

    Returns
    -------
    GranuleName

    Raises
    ------
    ConfigurationError
        Code ``GranuleName``, if the time is missing where there must be one, or a series is
        called time-invariant.
    """
    token = FREQUENCIES[frequency].token
    dated = token is not None and grid != "1D"
    if (dated and centre is None) or (grid == "1D" and token is None):
        raise ConfigurationError(
            f"a {frequency} granule of {stem} on {grid} "
            f"{'needs the centre of its period' if dated else 'has no name: series have times'}",
            code="GranuleName",
        )
    date = str(np.datetime64(cast("np.datetime64", centre), "s")) if dated else None
    return GranuleName(
        stem=stem,
        grid=grid,
        token=token,
        date=date.replace(":", "")[: _DATE_LENGTH[token]] if date else None,
        label=label or {"native": NATIVE_LABEL, "latlon": LATLON_LABEL, "1D": None}[grid],
        version=version,
    )


def short_name(stem: str, *, grid: GranuleGrid, frequency: Frequency, version: str = "V4r4") -> str:
    """Short name of a dataset, ``ECCO_L4_SSH_05DEG_MONTHLY_V4R4``.

    It names the production's grid, whatever the label of the files.

    Raises
    ------
    ConfigurationError
        Code ``UnknownDataset``, if the stem is not in `DATASETS`.
    """
    place = {"latlon": "05DEG", "native": "LLC0090GRID", "1D": "TIME_SERIES"}[grid]
    often = {"AVG_DAY": "DAILY", "AVG_MON": "MONTHLY", "SNAP": "SNAPSHOT", "TI": ""}[frequency]
    parts = ("ECCO_L4", _dataset(stem).code, place, often, version.upper())
    return "_".join(part for part in parts if part)


def doi(stem: str, *, grid: GranuleGrid, frequency: Frequency, version: str = "V4r4") -> str:
    """DOI of a dataset, ``10.5067/ECG5M-SSH44``.

    Raises
    ------
    ConfigurationError
        Code ``UnknownDataset``, if the stem is not in `DATASETS` or the release is another than
        V4r4, whose DOIs no rule gives.
    """
    if version.lower() != "v4r4":
        raise ConfigurationError(
            f"the DOI of {stem} in {version} follows from no rule; state it in the configuration",
            code="UnknownDataset",
        )
    place = {"latlon": "G5", "native": "L5", "1D": "TS"}[grid]
    often = {"AVG_DAY": "D", "AVG_MON": "M", "SNAP": "S", "TI": "A"}[frequency]
    return f"10.5067/EC{place}{often}-{_dataset(stem).suffix}"


def title(
    stem: str,
    *,
    grid: GranuleGrid,
    frequency: Frequency,
    version: str = "V4r4",
    resolution_degrees: float = 0.5,
) -> str:
    """Title of a dataset as the archive lists it, or would if it had this resolution.

    Raises
    ------
    ConfigurationError
        Code ``UnknownDataset``, if the stem is not in `DATASETS` or the version is not of the form
        ``V4r4``.
    """
    number = re.fullmatch(r"v(\d+)r(\d+\w?)", version, re.IGNORECASE)
    if number is None:
        raise ConfigurationError(
            f"version {version!r} is not of the form V4r4", code="UnknownDataset"
        )
    often = {"AVG_DAY": "Daily Mean", "AVG_MON": "Monthly Mean", "SNAP": "Snapshot", "TI": ""}
    degrees = f"{resolution_degrees:g}"
    place = {"latlon": f" {degrees} Degree", "native": " llc90 Grid", "1D": ""}[grid]
    static = {"latlon": f"{degrees} degree Lat-Lon", "native": "Lat-Lon-Cap 90 (llc90) Native"}
    which = (
        f" for the {static.get(grid, '')} Model Grid"
        if frequency == "TI"
        else f" - {often[frequency]}{place}"
    )
    return f"ECCO {_dataset(stem).subject}{which} (Version {number[1]} Release {number[2]})"


def _dataset(stem: str) -> DatasetNames:
    if stem not in DATASETS:
        raise ConfigurationError(
            f"no dataset has the stem {stem!r}; known are {', '.join(DATASETS)}",
            code="UnknownDataset",
        )
    return DATASETS[stem]
