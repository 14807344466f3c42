"""The one-dimensional datasets as products: all times in one file, computed here or ready-made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import Field, model_validator

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, GridWords, Grouping, Variable
from dor_ecco_assets.ecco.inputs import ModelInputs
from dor_ecco_assets.ecco.names import short_name
from dor_ecco_assets.ecco.products import (
    GRANULE_CODE_VERSION,
    MODEL_OUTPUT,
    as_told,
    production_date,
)
from dor_ecco_assets.ecco.times import Frequency
from dor_ecco_assets.errors import ConfigurationError, InputMissing, InputUnusable
from dor_ecco_assets.grids.llc_binaries import missing_meta
from dor_ecco_assets.grids.mds import parse_mds_name
from dor_ecco_assets.lineage.product import Content, Product, RunSettings, Task
from dor_ecco_assets.settings import Strict, load_config
from dor_ecco_assets.storage.base import Readable

__all__ = [
    "Delivered",
    "Series",
    "SeriesConfig",
    "SeriesDataset",
    "load_series",
    "series_config",
    "series_products",
]


class Delivered(Strict):
    """A series that a production delivers ready-made."""

    files: tuple[str, ...] = Field(min_length=1, description="names, the first one found counts")
    time: str = "time"
    columns: dict[str, str] = Field({}, description="variable -> its column, where they differ")


class Series(Strict):
    """Series published together: an entry of ``configs/ecco/series.yaml``."""

    stem: str
    name: str
    title: str
    frequencies: tuple[Frequency, ...]
    variables: tuple[str, ...] = Field(min_length=1)
    means: dict[str, str] = Field({}, description="variable -> model field it is the mean of")
    differences: dict[str, tuple[str, str]] = Field({}, description="minuend and subtrahend")
    delivered: Delivered | None = None
    archived: bool = True
    comment: str | None = None

    @model_validator(mode="after")
    def _every_variable_has_a_source(self) -> "Series":
        if self.delivered is not None:
            if self.means or self.differences:
                raise ValueError("a series is delivered, or has means and differences; not both")
            return self
        if not self.means or {*self.means, *self.differences} != set(self.variables):
            raise ValueError("every variable needs one of means and differences, and no other one")
        unknown = {n for pair in self.differences.values() for n in pair} - set(self.means)
        if unknown:
            raise ValueError(f"differences name {', '.join(sorted(unknown))}, which are no means")
        return self


class SeriesConfig(Strict):
    """``configs/ecco/series.yaml``."""

    words: GridWords
    series: list[Series]
    variables: dict[str, Variable]


@dataclass(frozen=True)
class SeriesDataset:
    """One published series dataset.

    Parameters
    ----------
    series : Series
    frequency : str
    words : GridWords
        What files of series say of themselves.
    variables : mapping of str to Variable
        Of all series.
    """

    series: Series
    frequency: Frequency
    words: GridWords
    variables: Mapping[str, Variable]

    @property
    def fields(self) -> tuple[str, ...]:
        """Model fields it is computed from; none of a delivered one."""
        return tuple(dict.fromkeys(self.series.means.values()))

    def records(self, catalogue: Catalogue) -> ModelInputs:
        """Where the records of its model fields are found."""
        series = self.series
        grouping = Grouping(
            stem=series.stem,
            name=series.name,
            title=series.title,
            dimension="2D",
            frequencies=(self.frequency,),
            native=self.fields,
        )
        return ModelInputs(catalogue, Dataset(grouping, "native", self.frequency))


def load_series(catalogue: Catalogue, configs: str | None = None) -> tuple[SeriesDataset, ...]:
    """Read and check ``configs/ecco/series.yaml``.

    Parameters
    ----------
    catalogue : Catalogue
        Of the gridded datasets, whose model fields series are computed from.
    configs : str, optional
        The user's overlay of ``configs/``.

    Raises
    ------
    ConfigurationError
        If the file does not fit its model; code ``UnknownField``, if a variable or a model field
        is not described; code ``LocationMismatch``, if a field is not on T-points.
    """
    config = load_config(SeriesConfig, "ecco/series.yaml", configs)
    for series in config.series:
        absent = [name for name in series.variables if name not in config.variables]
        absent += [field for field in series.means.values() if field not in catalogue.variables]
        if absent:
            raise ConfigurationError(
                f"ecco/series.yaml: {series.stem} names {', '.join(absent)}, which neither its "
                "variables nor ecco/variables.yaml describe; add it there or correct the name",
                code="UnknownField",
            )
        for field in series.means.values():
            if catalogue.variables[field].location != "C":
                raise ConfigurationError(
                    f"ecco/series.yaml: {series.stem} takes the mean of {field}, which has "
                    f"location {catalogue.variables[field].location}, expected C: cell areas weigh "
                    "fields at cell centres alone",
                    code="LocationMismatch",
                )
    return tuple(
        SeriesDataset(series, frequency, config.words, config.variables)
        for series in config.series
        for frequency in series.frequencies
    )


def series_products(catalogue: Catalogue, configs: str | None = None) -> tuple[Product, ...]:
    """One unpartitioned product per series dataset.

    Parameters
    ----------
    catalogue : Catalogue
        Of the gridded datasets.
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    return tuple(_product(catalogue, dataset) for dataset in load_series(catalogue, configs))


def _product(catalogue: Catalogue, dataset: SeriesDataset) -> Product:
    series, release = dataset.series, catalogue.release
    name = short_name(series.stem, grid="1D", frequency=dataset.frequency, version=release.version)
    if series.delivered is None:
        finder: _Records | _File = _Records(dataset.records(catalogue))
    else:
        finder = _File(series.delivered, release.version)
    head = release.frequencies[dataset.frequency].head.replace("fields", "values")
    return Product(
        key=f"ecco/{name}",
        title=f"{series.title}, time series of {head}",
        code_version=GRANULE_CODE_VERSION,
        layer="out",
        format="netcdf",
        make=partial(_make, dataset, catalogue),
        upstream=() if series.delivered else (f"grids/{release.grid_folder}",),
        inputs=finder.find,
        unplaced=finder.unplaced,
        require=finder.require,
        succeed=finder.succeed,
        config=partial(series_config, catalogue, dataset),
        external=(MODEL_OUTPUT,),
    )


def _make(dataset: SeriesDataset, catalogue: Catalogue, task: Task) -> Content:
    # Imported here: what only looks at products should not wait for xarray.
    from dor_ecco_assets.ecco.series_granules import make_series

    return make_series(dataset, as_told(catalogue, task.settings), task)


def series_config(
    catalogue: Catalogue, dataset: SeriesDataset, settings: RunSettings
) -> dict[str, Any]:
    """What of the configuration decides the bytes of one series."""
    release = as_told(catalogue, settings).release
    unused = {"grids", "frequencies", "production_date", "catalogue_date", "grid_folder"}
    unused |= {"vector_source", "latlon_as_published"} | (
        set() if release.strict_cf else {"not_cf"}
    )
    times = catalogue.coordinates.of("native", dataset.frequency)
    return {
        "series": dataset.series.model_dump(exclude={"title", "frequencies"}),
        "variables": {n: dataset.variables[n].model_dump() for n in dataset.series.variables},
        "fields": {name: catalogue.variables[name].model_dump() for name in dataset.fields},
        "coordinates": {name: times[name] for name in ("time", "time_bnds") if name in times},
        "release": release.model_dump(exclude=unused),
        "words": dataset.words.model_dump(),
        "frequency_words": release.frequencies[dataset.frequency].model_dump(),
        "production_date": production_date(catalogue, settings),
    }


@dataclass(frozen=True)
class _Records:
    """Inputs of a computed series: the records of every period that has all of its fields."""

    records: ModelInputs

    def find(self, inputs: Readable, _partition: str) -> Mapping[str, str | None]:
        """Data file and description of every record, by file name.

        A period that lacks a field has no keys; where no period has all, nothing has arrived.
        """
        clock, frequency = self.records.catalogue.clock, self.records.dataset.frequency
        found: dict[str, str | None] = {}
        for partition in sorted(self.records.arrived(inputs)):
            here = self.records.find(inputs, partition)
            whole = all(key for name, key in here.items() if name.endswith(".data"))
            found |= here if whole else dict.fromkeys(here)
        if found:
            return found
        return dict.fromkeys(self.records.find(inputs, clock.partition_keys(frequency)[0]))

    def require(
        self,
        inputs: Readable,
        _partition: str,
        keys: Mapping[str, str | None],
        allow_partial: bool,
    ) -> None:
        """Raise `InputMissing` where there is no period, or one lacks a field among others.

        The first and the last that any field is there of count too.
        """
        clock, frequency = self.records.catalogue.clock, self.records.dataset.frequency
        there = self._periods(name for name, key in keys.items() if key is not None)
        fields = ", ".join(self.records.dataset.variables)
        if not there:
            raise InputMissing(
                f"no {_word(frequency)} of {inputs.uri} has a record of each of {fields}; bring "
                "them",
                code="MissingInput",
            )
        for name, key in keys.items():
            if key is None and name.endswith(".meta") and keys[f"{name[:-5]}.data"] is not None:
                raise missing_meta(inputs, str(keys[f"{name[:-5]}.data"]).removesuffix(".data"))
        any_field = self._periods(keys)
        every = clock.partition_keys(frequency)
        inside = every[every.index(min(any_field)) : every.index(max(any_field)) + 1]
        gaps = spans([partition not in there for partition in inside], inside)
        if gaps and not allow_partial:
            raise InputMissing(
                f"between {inside[0]} and {inside[-1]} the records of {fields} are not all there "
                f"for {_few(gaps)}; bring them, or --allow-partial makes the series without",
                code="MissingInput",
            )

    def unplaced(self, inputs: Readable) -> list[InputUnusable]:
        """As `ModelInputs.unplaced`."""
        return self.records.unplaced(inputs)

    def succeed(self, recorded: Sequence[str], keys: Mapping[str, str | None]) -> None:
        """Raise `InputMissing` where a period of the recorded series is no longer there."""
        now = self._periods(name for name, key in keys.items() if key is not None)
        lost = self._periods(recorded) - now
        if lost:
            every = self.records.catalogue.clock.partition_keys(self.records.dataset.frequency)
            fields = ", ".join(self.records.dataset.variables)
            raise InputMissing(
                f"the series was made with {_few(spans([p in lost for p in every], every))}, of "
                f"which the records of {fields} are not all there any more; bring them, or "
                "--allow-partial makes the series without",
                code="MissingInput",
            )

    def _periods(self, names: Iterable[str]) -> set[str]:
        """Partitions that files of these names are records of."""
        clock, frequency = self.records.catalogue.clock, self.records.dataset.frequency
        steps = {parse_mds_name(name).step for name in names}
        return {clock.partition_key(step, frequency) for step in steps}


def spans(chosen: list[bool], names: list[str]) -> list[str]:
    """Runs of chosen names: ``1992-03`` or ``1992-03...1992-07``."""
    found: list[str] = []
    start: int | None = None
    for place, taken in enumerate([*chosen, False]):
        if taken and start is None:
            start = place
        elif not taken and start is not None:
            first, last = names[start], names[place - 1]
            found.append(first if first == last else f"{first}...{last}")
            start = None
    return found


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"


def _word(frequency: Frequency) -> str:
    return {"AVG_MON": "month", "AVG_DAY": "day"}.get(frequency, "record")


@dataclass(frozen=True)
class _File:
    """The input of a delivered series: one file."""

    delivered: Delivered
    version: str

    def find(self, inputs: Readable, _partition: str) -> Mapping[str, str | None]:
        """The first file that is there, by its name."""
        for file in self.delivered.files:
            for folder in self._folders:
                if inputs.stat(f"{folder}/{file}") is not None:
                    return {file: f"{folder}/{file}"}
        return {self.delivered.files[0]: None}

    def require(
        self,
        inputs: Readable,
        _partition: str,
        keys: Mapping[str, str | None],
        _allow_partial: bool,
    ) -> None:
        """Raise `InputMissing` where there is none."""
        if not any(keys.values()):
            raise InputMissing(
                f"there is no {' nor '.join(self.delivered.files)} in "
                f"{' or '.join(inputs.locate(folder) for folder in self._folders)}; bring one, or "
                "name another in ecco/series.yaml",
                code="MissingInput",
            )

    def unplaced(self, _inputs: Readable) -> list[InputUnusable]:
        """None: one file has no step in its name."""
        return []

    succeed = None  # another file may be delivered in its place

    @property
    def _folders(self) -> tuple[str, str]:
        return f"{self.version}/series", "series"
