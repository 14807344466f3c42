"""The ECCO catalogue as values: release, variables, groupings, coordinates (``configs/ecco``)."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, RootModel

from dor_ecco_assets.ecco.times import (
    FREQUENCIES,
    Frequency,
    ModelClock,
    PeriodToken,
    frequency_named,
)
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.grids.mds_meta import match_mds_name
from dor_ecco_assets.grids.products import RegularGrid
from dor_ecco_assets.mapping.products import Mapping as Weighting
from dor_ecco_assets.mapping.products import Radius, Weights
from dor_ecco_assets.settings import Strict, load_config

Grid = Literal["native", "latlon"]
Location = Literal["C", "U", "V", "W"]

#: Which of the two directions of a vector a variable holds.
Orientation = Literal["zonal", "meridional"]

#: Where components to the east and north come from: turned here, the model's own output, or that
#: where it is there and turned where it is not.
VectorSource = Literal["rotate", "precomputed", "auto"]


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
    """What granules on one grid say of it.

    On the lat-lon one ``{resolution}`` stands for degrees and ``{weights}`` for what was averaged.
    """

    summary_tail: str
    comment: str

    def of(self, target: "Target") -> "GridWords":
        """The same of one target grid."""
        values = {"{resolution}": f"{target.grid.resolution_degrees:g}", "{weights}": target.told}
        texts = self.model_dump()
        for place, value in values.items():
            texts = {name: text.replace(place, value) for name, text in texts.items()}
        return GridWords(**texts)


class Target(Strict):
    """What lat-lon granules are mapped to and with."""

    grid: RegularGrid = RegularGrid(resolution_degrees=0.5)
    weights: Weights = "mean"
    radius: Radius = Radius.model_validate({})

    @property
    def told(self) -> str:
        """The weights in words."""
        nearest = "the nearest source cell"
        if self.weights == "nearest":
            return nearest
        return (
            "mean of the wet source cells within the target cell's effective radius, else the "
            "nearest wet source cell"
        )


class FrequencyWords(Strict):
    """What granules of one frequency say of it."""

    head: str
    title: str


class Release(Strict):
    """One release: ``configs/ecco/release.yaml``."""

    version: str
    grid_folder: str
    latlon_grid: str = Field(
        "latlon_0p50deg", description="target of the lat-lon granules, a file of configs/grids"
    )
    catalogue_date: str
    production_date: str | None = None
    clock: Clock
    product_time_coverage_end: str
    latlon_as_published: Target = Field(
        Target.model_validate({}), description="of the release's own lat-lon granules"
    )
    precision: Literal["float32", "float64"] = "float32"
    identifier: Literal["doi", "short_name"] = Field(
        "doi", description="what `id` holds; only V4r4 has DOIs that follow from a rule"
    )
    vector_source: VectorSource = "rotate"
    strict_cf: bool = Field(
        False, description="leave out what CF checkers refuse although the release has it"
    )
    not_cf: dict[str, tuple[str, ...]] = Field({}, description="those attributes, by variable")
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
    source: str | None = Field(None, description="model field that holds it; its own name if none")
    location: Location = "C"
    vertical: Literal["centre", "top"] = Field(
        "centre", description="level of a 3-D field; W is always on top faces"
    )
    comment: str | None = None
    direction: str | None = None
    components: Components | None = None
    keywords: tuple[str, ...] = ()
    valid_range: tuple[float, float] | None = Field(None, description="in `units`")
    usual_range: tuple[float, float] | None = Field(
        None,
        description="in `units`; a field outside it is made and pointed out, its bytes the same",
        exclude=True,
    )
    on_land: Literal["refuse", "mask"] = Field(
        "refuse",
        description="what values on land mean: a broken file, or a field defined there too",
    )

    @property
    def on_top_faces(self) -> bool:
        """Whether a 3-D field of it lies on the top faces of its cells."""
        return self.location == "W" or self.vertical == "top"


def _frequency(text: object) -> object:
    """Take the other spellings of a frequency too."""
    return frequency_named(text) if isinstance(text, str) else text


class Grouping(Strict):
    """Variables published together: an entry of ``configs/ecco/groupings.yaml``."""

    stem: str
    name: str
    title: str
    dimension: Literal["2D", "3D"]
    frequencies: tuple[Annotated[Frequency, BeforeValidator(_frequency)], ...]
    native: tuple[str, ...] = ()
    latlon: tuple[str, ...] = ()
    comment: str | None = None

    def variables(self, grid: Grid) -> tuple[str, ...]:
        """Names of the variables on one grid, in published order."""
        return self.native if grid == "native" else self.latlon

    def frequencies_on(self, grid: Grid) -> tuple[Frequency, ...]:
        """How often it is published on one grid: never where it has no variables there.

        Snapshots are published on the native grid alone.
        """
        if not self.variables(grid):
            return ()
        return tuple(code for code in self.frequencies if grid == "native" or code != "SNAP")


class Variables(RootModel[dict[str, Variable]]):
    """``configs/ecco/variables.yaml``."""


class Groupings(RootModel[list[Grouping]]):
    """``configs/ecco/groupings.yaml``."""


class Coordinates(Strict):
    """``configs/ecco/coordinates.yaml``: attributes of coordinates, by grid."""

    time: dict[str, dict[str, str | float]]
    snapshot: dict[str, dict[str, str | float]]
    native: dict[str, dict[str, str | float]]
    latlon: dict[str, dict[str, str | float]]

    def of(self, grid: Grid, frequency: Frequency) -> dict[str, dict[str, str | float]]:
        """Attributes of every coordinate that granules of one kind may have."""
        times = self.snapshot if frequency == "SNAP" else self.time
        return {**times, **(self.native if grid == "native" else self.latlon)}


@dataclass(frozen=True)
class Catalogue:
    """Everything the ECCO line is told by configuration.

    Parameters
    ----------
    release : Release
    variables : mapping of str to Variable
    groupings : tuple of Grouping
    coordinates : Coordinates
    target : Target
        Of the lat-lon granules.
    """

    release: Release
    variables: Mapping[str, Variable]
    groupings: tuple[Grouping, ...]
    coordinates: Coordinates
    target: Target = field(default_factory=Target)

    def __post_init__(self) -> None:
        for name, variable in self.variables.items():
            if variable.components is not None:
                self._check_components(name, variable.components)
            if variable.source is not None:
                self._check_alike(name, variable.source, "source", variable.location)
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
        for source, location in zip((components.x, components.y), wanted, strict=True):
            self._check_alike(name, source, "components", location)

    def _check_alike(self, name: str, field: str, role: str, location: Location) -> None:
        """What a variable is made from must lie where it should and have the variable's units."""
        where = f"ecco/variables.yaml: {role} of {name}"
        self._check_known(field, where)
        found, units = self.variables[field], self.variables[name].units
        if found.location != location:
            raise ConfigurationError(
                f"{where}: {field} must have location {location}, found {found.location}; "
                "correct one of the two",
                code="LocationMismatch",
            )
        if found.units != units:
            raise ConfigurationError(
                f"{where}: {field} must have its units {units!r}, found {found.units!r}; correct "
                "one of the two",
                code="UnitsMismatch",
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

    def words(self, grid: Grid) -> GridWords:
        """What granules on one grid say of it, as it is made here."""
        words = self.release.grids[grid]
        return words.of(self.target) if grid == "latlon" else words

    def mapped_to(self, resolution_degrees: float) -> "Catalogue":
        """The catalogue of granules of another resolution."""
        grid = self.target.grid.model_copy(update={"resolution_degrees": resolution_degrees})
        return replace(self, target=self.target.model_copy(update={"grid": grid}))

    def is_published(self, grid: str) -> bool:
        """Whether granules on one grid are the release's own, whose identifiers they may bear."""
        return grid != "latlon" or self.target == self.release.latlon_as_published

    @property
    def source_grid(self) -> str:
        """Key of the model's grid."""
        return f"grids/{self.release.grid_folder}"

    @property
    def target_grid(self) -> str:
        """Key of the grid of the lat-lon granules."""
        return f"grids/{self.release.latlon_grid}"

    @property
    def factors(self) -> str:
        """Key of the weights from the one to the other."""
        return f"mapping/{self.release.grid_folder}_to_{self.release.latlon_grid}"

    @cached_property
    def clock(self) -> ModelClock:
        """The model's clock."""
        return self.release.clock.model_clock()

    def sources(self, name: str) -> tuple[str, ...]:
        """Model fields that one published variable is made from: one, or two components.

        A component to the east or north of a precomputed vector is a model field itself.
        """
        found = self.variables[name]
        if found.components is None or self.release.vector_source == "precomputed":
            return (found.source or name,)
        return found.components.x, found.components.y

    def precomputed(self, name: str) -> str | None:
        """Model field that may hold a component to the east or north already; None if none may."""
        found = self.variables[name]
        if found.components is None or self.release.vector_source == "rotate":
            return None
        return found.source or name

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
            if value is not None and key not in self.left_out(name)
        }

    def left_out(self, name: str) -> tuple[str, ...]:
        """Attributes of a variable or coordinate that ``strict_cf`` leaves out."""
        return self.release.not_cf.get(name, ()) if self.release.strict_cf else ()


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
    def periods(self) -> tuple[PeriodToken, ...]:
        """Period tokens that the names of its model files may carry, the usual one first."""
        return FREQUENCIES[self.frequency].periods

    def has_sources(self, catalogue: Catalogue, name: str, keys: Mapping[str, str | None]) -> bool:
        """Whether every model field of one variable is among the inputs `keys`, by file name.

        What counts is the ``.data``; one without its ``.meta`` is an error, not an absent field.
        """
        found = fields_present(keys)
        return catalogue.precomputed(name) in found or set(catalogue.sources(name)) <= found


def fields_present(keys: Mapping[str, str | None]) -> set[str]:
    """Model fields whose ``.data`` is among the inputs `keys`, by file name."""
    names = (match_mds_name(file) for file, key in keys.items() if key is not None)
    return {name.field for name in names if name is not None and name.ext == "data"}


def load_catalogue(overlay: str | os.PathLike[str] | None = None) -> Catalogue:
    """Read and check ``configs/ecco``.

    Raises
    ------
    ConfigurationError
        If a file is absent, holds an unknown key (the nearest is named), or a grouping names a
        variable that is not described.
    """
    release = load_config(Release, "ecco/release.yaml", overlay)
    found = Catalogue(
        release=release,
        variables=load_config(Variables, "ecco/variables.yaml", overlay).root,
        groupings=tuple(load_config(Groupings, "ecco/groupings.yaml", overlay).root),
        coordinates=load_config(Coordinates, "ecco/coordinates.yaml", overlay),
    )
    # Says what there is, before a run asks for it.
    mapping = load_config(Weighting, f"{found.factors}.yaml", overlay)
    target = Target(
        grid=load_config(RegularGrid, f"{found.target_grid}.yaml", overlay),
        weights=mapping.weights,
        radius=mapping.radius,
    )
    return replace(found, target=target)
