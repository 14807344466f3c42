"""The ECCO line's products: one per published dataset, made by one factory."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from dor_ecco_assets.ecco.catalogue import Catalogue, Dataset, Grid, Grouping, load_catalogue
from dor_ecco_assets.ecco.inputs import ModelInputs, source_fields
from dor_ecco_assets.ecco.names import short_name
from dor_ecco_assets.ecco.times import Frequency, ModelClock
from dor_ecco_assets.lineage.product import (
    Content,
    Partitioning,
    PartitionKind,
    Product,
    RunSettings,
    Task,
)

#: The model's output as a whole, an asset that this platform reads and never makes.
MODEL_OUTPUT = "ecco/model_output"

#: Raised when the bytes of granules would change for the same inputs and configuration.
GRANULE_CODE_VERSION = "3"

_KINDS: dict[Frequency, PartitionKind] = {"AVG_MON": "month", "AVG_DAY": "day", "SNAP": "day"}


#: Read once for all products of a configuration.
catalogue_of = lru_cache(maxsize=4)(load_catalogue)


@lru_cache(maxsize=4)
def ecco_products(configs: str | None = None) -> tuple[Product, ...]:
    """One product per dataset of the catalogue.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    # Imported here, as they import from this module.
    from dor_ecco_assets.ecco.series import series_products
    from dor_ecco_assets.ecco.static import static_products

    catalogue = catalogue_of(configs)
    gridded = (
        _product(catalogue, Dataset(grouping, grid, frequency))
        for grouping in catalogue.groupings
        for grid in ("native", "latlon")
        for frequency in grouping.frequencies_on(grid)
    )
    unsplit = (*static_products(catalogue, configs), *series_products(catalogue, configs))
    return (*gridded, *unsplit)


def dataset_key(grouping: Grouping, grid: Grid, frequency: Frequency, version: str) -> str:
    """Key of a dataset's product, ``ecco/<short name>``."""
    return f"ecco/{short_name(grouping.stem, grid=grid, frequency=frequency, version=version)}"


def _product(catalogue: Catalogue, dataset: Dataset) -> Product:
    grouping, grid, frequency = dataset.grouping, dataset.grid, dataset.frequency
    release = catalogue.release
    source, target = catalogue.source_grid, (catalogue.target_grid, catalogue.factors)
    words, records = release.frequencies[frequency], ModelInputs(catalogue, dataset)
    return Product(
        key=dataset_key(grouping, grid, frequency, release.version),
        title=f"{grouping.title}, {words.head} {catalogue.words(grid).summary_tail}",
        code_version=GRANULE_CODE_VERSION,
        layer="out",
        format="netcdf",
        make=partial(_make, dataset, catalogue),
        partitioning=_partitioning(catalogue.clock, frequency),
        upstream=(source,) if grid == "native" else (source, *target),
        inputs=records.find,
        arrived=records.arrived,
        unplaced=records.unplaced,
        require=records.require,
        config=partial(granule_config, catalogue, dataset),
        external=(MODEL_OUTPUT,),
    )


def _make(dataset: Dataset, catalogue: Catalogue, task: Task) -> Content:
    # Imported here: what only looks at products should not wait for xarray and Numba.
    from dor_ecco_assets.ecco.granules import make_granule

    return make_granule(dataset, as_told(catalogue, task.settings), task)


@lru_cache(maxsize=8)
def _partitioning(clock: ModelClock, frequency: Frequency) -> Partitioning:
    keys = tuple(clock.partition_keys(frequency))  # says why where a frequency has none
    return Partitioning(_KINDS[frequency], keys)


def as_told(catalogue: Catalogue, settings: RunSettings) -> Catalogue:
    """The catalogue with what a run is told besides."""
    if not settings.strict_cf:
        return catalogue
    return replace(catalogue, release=catalogue.release.model_copy(update={"strict_cf": True}))


def granule_config(
    catalogue: Catalogue, dataset: Dataset, settings: RunSettings
) -> Mapping[str, Any]:
    """What of the catalogue decides the bytes of this dataset's granules."""
    release = as_told(catalogue, settings).release
    unused = set() if _has_components(catalogue, dataset) else {"vector_source"}
    unused |= {"strict_cf", "not_cf"}
    names = dict.fromkeys([*dataset.variables, *source_fields(catalogue, dataset)])
    return {
        "variables": {name: catalogue.variables[name].model_dump() for name in names},
        "grouping": dataset.grouping.model_dump(include={"stem", "name", "dimension", "comment"}),
        "published": list(dataset.variables),
        "coordinates": {
            name: attributes
            for name, attributes in catalogue.coordinates.of(
                dataset.grid, dataset.frequency
            ).items()
            if dataset.grouping.dimension == "3D" or name[0] not in "kZ"
        },
        "release": release.model_dump(
            exclude={"grids", "frequencies", "production_date", "catalogue_date"}
            | {"grid_folder", "latlon_grid", "latlon_as_published"}
            | unused
        ),
        "strict_cf": release.not_cf if release.strict_cf else None,
        "grid_words": catalogue.words(dataset.grid).model_dump(),
        **({} if catalogue.is_published(dataset.grid) else {"as_published": False}),
        "frequency_words": release.frequencies[dataset.frequency].model_dump(),
        "production_date": production_date(catalogue, settings),
    }


def _has_components(catalogue: Catalogue, dataset: Dataset) -> bool:
    return any(catalogue.variables[name].components for name in dataset.variables)


def production_date(catalogue: Catalogue, settings: RunSettings) -> str:
    """Date written into granules: configured, else ``SOURCE_DATE_EPOCH``, else the catalogue's."""
    release = catalogue.release
    return release.production_date or settings.source_date or release.catalogue_date
