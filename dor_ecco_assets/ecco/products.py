"""The ECCO line's products: one per published dataset, made by one factory."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Grid, Grouping, load_catalogue
from dor_ecco_assets.ecco.model_output import missing_input, record_key
from dor_ecco_assets.ecco.names import short_name
from dor_ecco_assets.ecco.times import Frequency, ModelClock
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.product import (
    Content,
    Partitioning,
    PartitionKind,
    Product,
    RunSettings,
    Task,
)
from dor_ecco_assets.storage.base import Readable

#: The model's output as a whole, an asset that this platform reads and never makes.
MODEL_OUTPUT = "ecco/model_output"

#: Raised when the bytes of granules would change for the same inputs and configuration.
GRANULE_CODE_VERSION = "1"

_KINDS: dict[Frequency, PartitionKind] = {"AVG_MON": "month", "AVG_DAY": "day"}


@lru_cache(maxsize=4)
def ecco_products(configs: str | None = None) -> tuple[Product, ...]:
    """One product per dataset of the catalogue.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    catalogue = load_catalogue(configs)
    return tuple(
        _product(catalogue, Dataset(grouping, grid, frequency))
        for grouping in catalogue.groupings
        for grid in ("native", "latlon")
        for frequency in grouping.frequencies
        if grouping.variables(grid)
    )


def dataset_key(grouping: Grouping, grid: Grid, frequency: Frequency, version: str) -> str:
    """Key of a dataset's product, ``ecco/<short name>``."""
    return f"ecco/{short_name(grouping.stem, grid=grid, frequency=frequency, version=version)}"


def _product(catalogue: Catalogue, dataset: Dataset) -> Product:
    grouping, grid, frequency = dataset.grouping, dataset.grid, dataset.frequency
    release = catalogue.release
    source = f"grids/{release.grid_folder}"
    target = ("grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg")
    words = release.frequencies[frequency]
    return Product(
        key=dataset_key(grouping, grid, frequency, release.version),
        title=f"{grouping.title}, {words.head} {release.grids[grid].summary_tail}",
        code_version=GRANULE_CODE_VERSION,
        layer="out",
        format="netcdf",
        make=partial(_make, dataset, catalogue),
        partitioning=_partitioning(catalogue.clock, frequency),
        upstream=(source,) if grid == "native" else (source, *target),
        inputs=partial(_inputs, catalogue.clock, dataset, _places(catalogue, dataset)),
        require=partial(_require, catalogue, dataset),
        config=partial(granule_config, catalogue, dataset),
        external=(MODEL_OUTPUT,),
    )


def _make(dataset: Dataset, catalogue: Catalogue, task: Task) -> Content:
    # Imported here: what only looks at products should not wait for xarray and Numba.
    from dor_ecco_assets.ecco.granules import make_granule

    return make_granule(dataset, catalogue, task)


@lru_cache(maxsize=8)
def _partitioning(clock: ModelClock, frequency: Frequency) -> Partitioning:
    keys = tuple(clock.partition_keys(frequency))  # says why where a frequency has none
    return Partitioning(_KINDS[frequency], keys)


def source_fields(catalogue: Catalogue, dataset: Dataset) -> list[str]:
    """Model fields that a dataset is made from, each once, in the order they are needed."""
    names = [source for name in dataset.variables for source in catalogue.sources(name)]
    return list(dict.fromkeys(names))


def _inputs(
    clock: ModelClock,
    dataset: Dataset,
    places: list[tuple[str, tuple[str, ...]]],
    inputs: Readable,
    partition: str,
) -> Mapping[str, str | None]:
    """The ``.data`` and ``.meta`` of every model field, by file name; None where there is none."""
    known = _steps(clock, dataset.frequency)
    step = known.get(partition) or clock.step_of(partition, dataset.frequency)
    found: dict[str, str | None] = {}
    for field, folders in places:
        name = f"{field}_{dataset.period}.{step:010d}"
        data, meta = f"{name}.data", f"{name}.meta"
        for folder in folders:
            here = {
                file: folder + file if inputs.stat(folder + file) is not None else None
                for file in (data, meta)
            }
            if here[data] or here[meta]:
                break
        else:
            here = {data: None, meta: None}
        found |= here
    return found


@lru_cache(maxsize=8)
def _steps(clock: ModelClock, frequency: Frequency) -> dict[str, int]:
    """Step of every partition, worked out once: a walk of all of them asks for each."""
    return {key: clock.step_of(key, frequency) for key in clock.partition_keys(frequency)}


def _places(catalogue: Catalogue, dataset: Dataset) -> list[tuple[str, tuple[str, ...]]]:
    """Every model field with the folders where its records may lie, the usual one first."""
    version = catalogue.release.version
    return [
        (field, (_usual_folder(field, dataset, version), f"{version}/", ""))
        for field in source_fields(catalogue, dataset)
    ]


def _usual_folder(field: str, dataset: Dataset, version: str) -> str:
    return record_key(field, dataset.period, 0, version=version).rpartition("/")[0] + "/"


def _require(
    catalogue: Catalogue,
    dataset: Dataset,
    inputs: Readable,
    partition: str,
    keys: Mapping[str, str | None],
    allow_partial: bool,
) -> None:
    """Raise `InputMissing` where a model field is absent and the policy does not allow for it."""
    step = catalogue.clock.step_of(partition, dataset.frequency)
    absent = [name for name, key in keys.items() if key is None and name.endswith(".data")]
    if not absent:
        return
    present = [name for name in dataset.variables if dataset.has_sources(catalogue, name, keys)]
    if allow_partial and present:
        return
    field = absent[0].partition(f"_{dataset.period}.")[0]
    key = record_key(field, dataset.period, step, version=catalogue.release.version)
    first = missing_input(inputs, key, catalogue.clock)
    others = f"; {len(absent) - 1} more fields are missing too" if len(absent) > 1 else ""
    partly = "; --allow-partial makes the granule of those that are there" if present else ""
    raise InputMissing(f"{first.message}{others}{partly}", code=first.code)


def granule_config(
    catalogue: Catalogue, dataset: Dataset, settings: RunSettings
) -> Mapping[str, Any]:
    """What of the catalogue decides the bytes of this dataset's granules."""
    release = catalogue.release
    names = dict.fromkeys([*dataset.variables, *source_fields(catalogue, dataset)])
    return {
        "variables": {name: catalogue.variables[name].model_dump() for name in names},
        "grouping": dataset.grouping.model_dump(include={"stem", "name", "dimension", "comment"}),
        "published": list(dataset.variables),
        "coordinates": {
            name: attributes
            for name, attributes in _coordinates(catalogue, dataset).items()
            if dataset.grouping.dimension == "3D" or name[0] not in "kZ"
        },
        "release": release.model_dump(
            exclude={"grids", "frequencies", "production_date", "catalogue_date", "grid_folder"}
        ),
        "grid_words": release.grids[dataset.grid].model_dump(),
        "frequency_words": release.frequencies[dataset.frequency].model_dump(),
        "production_date": production_date(catalogue, settings),
    }


def _coordinates(catalogue: Catalogue, dataset: Dataset) -> Mapping[str, Any]:
    """Attributes of every coordinate on the dataset's grid, the vertical ones included."""
    found = catalogue.coordinates
    return {**found.time, **(found.native if dataset.grid == "native" else found.latlon)}


def production_date(catalogue: Catalogue, settings: RunSettings) -> str:
    """Date written into granules: configured, else ``SOURCE_DATE_EPOCH``, else the catalogue's."""
    release = catalogue.release
    return release.production_date or settings.source_date or release.catalogue_date
