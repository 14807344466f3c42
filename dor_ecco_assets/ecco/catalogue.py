"""The ECCO catalogue as values: release, variables, groupings, coordinates (``configs/ecco``)."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field, RootModel

from dor_ecco_assets.ecco.times import FREQUENCIES, Frequency, ModelClock, PeriodToken
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import Strict, load_config

Grid = Literal["native", "latlon"]
Location = Literal["C", "U", "V", "W"]

#: Which of the two directions of a vector a variable holds.
Orientation = Literal["zonal", "meridional"]


#: ``YYYY-MM-DDThh:mm:ss``, with a month and a day that there are.
_INSTANT = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d$"


class Clock(Strict):
    """Start, end (UTC) and time step of the model run."""

    start: str = Field(pattern=_INSTANT)
    end: str = Field(pattern=_INSTANT)
    step_s: int = Field(3600, gt=0, description="s")

    def model_clock(self) -> ModelClock:
        """The same as `ModelClock`."""
        return ModelClock(
            start=np.datetime64(self.start, "s"),
            end=np.datetime64(self.end, "s"),
            step_s=self.step_s,
        )


class GridWords(Strict):
    """What granules on one grid say of it."""

    summary_tail: str
    comment: str


class FrequencyWords(Strict):
    """What granules of one frequency say of it."""

    head: str
    title: str


class Release(Strict):
    """One release: ``configs/ecco/release.yaml``."""

    version: str
    grid_folder: str
    catalogue_date: str
    production_date: str | None = None
    clock: Clock
    product_time_coverage_end: str
    precision: Literal["float32", "float64"] = "float32"
    global_attributes: dict[str, str | float]
    common_keyword: str
    project_summary: str
    grids: dict[Grid, GridWords]
    frequencies: dict[Frequency, FrequencyWords]


class Components(Strict):
    """The two model fields that a component to the east or north is turned from."""

    x: str
    y: str
    points: Literal["faces", "centres"]
    orientation: Orientation


class Variable(Strict):
    """One published variable: an entry of ``configs/ecco/variables.yaml``."""

    long_name: str
    units: str
    standard_name: str | None = None
    location: Location = "C"
    comment: str | None = None
    direction: str | None = None
    components: Components | None = None
    keywords: tuple[str, ...] = ()
    valid_range: tuple[float, float] | None = Field(None, description="in `units`")
    on_land: Literal["refuse", "mask"] = Field(
        "refuse",
        description="what values on land mean: a broken file, or a field defined there too",
    )


class Grouping(Strict):
    """Variables published together: an entry of ``configs/ecco/groupings.yaml``."""

    stem: str
    name: str
    title: str
    dimension: Literal["2D", "3D"]
    frequencies: list[Frequency]
    native: tuple[str, ...] = ()
    latlon: tuple[str, ...] = ()
    comment: str | None = None

    def variables(self, grid: Grid) -> tuple[str, ...]:
        """Names of the variables on one grid, in published order."""
        return self.native if grid == "native" else self.latlon


class Variables(RootModel[dict[str, Variable]]):
    """``configs/ecco/variables.yaml``."""


class Groupings(RootModel[list[Grouping]]):
    """``configs/ecco/groupings.yaml``."""


class Coordinates(Strict):
    """``configs/ecco/coordinates.yaml``: attributes of coordinates, by grid."""

    time: dict[str, dict[str, str | float]]
    native: dict[str, dict[str, str | float]]
    latlon: dict[str, dict[str, str | float]]


@dataclass(frozen=True)
class Catalogue:
    """Everything the ECCO line is told by configuration.

    Parameters
    ----------
    release : Release
    variables : mapping of str to Variable
    groupings : tuple of Grouping
    coordinates : Coordinates
    """

    release: Release
    variables: Mapping[str, Variable]
    groupings: tuple[Grouping, ...]
    coordinates: Coordinates

    def __post_init__(self) -> None:
        for name, variable in self.variables.items():
            if variable.components is not None:
                self._check_components(name, variable.components)
        for grouping in self.groupings:
            self._check_grouping(grouping)
        stems = [grouping.stem for grouping in self.groupings]
        for stem in sorted({stem for stem in stems if stems.count(stem) > 1}):
            raise ConfigurationError(
                f"ecco/groupings.yaml: {stem} is described twice; keep one of the two",
                code="DuplicateGrouping",
            )

    def _check_components(self, name: str, components: Components) -> None:
        """The pair must lie where its `points` say, or turning it would mix up positions."""
        wanted: tuple[Location, Location] = (
            ("U", "V") if components.points == "faces" else ("C", "C")
        )
        for field, location in zip((components.x, components.y), wanted, strict=True):
            self._check_known(field, f"ecco/variables.yaml: components of {name}")
            found = self.variables[field].location
            if found != location:
                raise ConfigurationError(
                    f"ecco/variables.yaml: components of {name} are on {components.points}, so "
                    f"{field} must have location {location}, found {found}; correct one of the two",
                    code="LocationMismatch",
                )

    def _check_grouping(self, grouping: Grouping) -> None:
        where = f"ecco/groupings.yaml: {grouping.stem}"
        for name in (*grouping.native, *grouping.latlon):
            self._check_known(name, where)
        for name in grouping.latlon:
            if self.variables[name].location in ("U", "V"):
                raise ConfigurationError(
                    f"{where} maps {name}, which lies on cell edges, to the lat-lon grid; name "
                    "variables there that have `components`, which are turned at cell centres",
                    code="LocationMismatch",
                )
        for frequency in grouping.frequencies:
            if frequency not in self.release.frequencies:
                raise ConfigurationError(
                    f"{where} has frequency {frequency}, which ecco/release.yaml does not "
                    f"describe; it has {', '.join(self.release.frequencies)}",
                    code="UnknownFrequency",
                )

    def _check_known(self, name: str, where: str) -> None:
        if name not in self.variables:
            near = difflib.get_close_matches(name, self.variables, n=1)
            hint = f"did you mean {near[0]}?" if near else "add it there or correct the name"
            raise ConfigurationError(
                f"{where} names {name}, which ecco/variables.yaml does not describe; {hint}",
                code="UnknownField",
            )

    @cached_property
    def clock(self) -> ModelClock:
        """The model's clock."""
        return self.release.clock.model_clock()

    def sources(self, name: str) -> tuple[str, ...]:
        """Model fields that one published variable is made from: itself, or two components."""
        components = self.variables[name].components
        return (name,) if components is None else (components.x, components.y)

    def attributes(self, name: str) -> dict[str, Any]:
        """What one variable says of itself, without what depends on its values."""
        found = self.variables[name]
        return {
            key: value
            for key, value in {
                "long_name": found.long_name,
                "standard_name": found.standard_name,
                "units": found.units,
                "comment": found.comment,
                "direction": found.direction,
                "coverage_content_type": "modelResult",
            }.items()
            if value is not None
        }


@dataclass(frozen=True)
class Dataset:
    """One published dataset: what is in it, on which grid, how often."""

    grouping: Grouping
    grid: Grid
    frequency: Frequency

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of its variables in published order."""
        return self.grouping.variables(self.grid)

    @property
    def period(self) -> PeriodToken:
        """Period token in the names of the model's files."""
        return FREQUENCIES[self.frequency].periods[0]

    def has_sources(self, catalogue: Catalogue, name: str, keys: Mapping[str, str | None]) -> bool:
        """Whether every model field of one variable is among the inputs `keys`, by file name.

        What counts is the ``.data``; one without its ``.meta`` is an error, not an absent field.
        """
        found = {
            file.rpartition(f"_{self.period}.")[0]
            for file, key in keys.items()
            if key is not None and file.endswith(".data")
        }
        return set(catalogue.sources(name)) <= found


def load_catalogue(overlay: str | os.PathLike[str] | None = None) -> Catalogue:
    """Read and check ``configs/ecco``.

    Raises
    ------
    ConfigurationError
        If a file is absent, holds an unknown key (the nearest is named), or a grouping names a
        variable that is not described.
    """
    return Catalogue(
        release=load_config(Release, "ecco/release.yaml", overlay),
        variables=load_config(Variables, "ecco/variables.yaml", overlay).root,
        groupings=tuple(load_config(Groupings, "ecco/groupings.yaml", overlay).root),
        coordinates=load_config(Coordinates, "ecco/coordinates.yaml", overlay),
    )
