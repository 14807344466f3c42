"""The time-invariant datasets as products: mixing coefficients, and the geometry of the grids."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from pydantic import Field

from dor_ecco_assets.ecco.catalogue import (
    Catalogue,
    Dataset,
    FrequencyWords,
    Grid,
    Grouping,
    Variable,
)
from dor_ecco_assets.ecco.products import (
    GRANULE_CODE_VERSION,
    MODEL_OUTPUT,
    as_told,
    dataset_key,
    granule_config,
)
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.grids.llc_binaries import binaries_of, missing_meta
from dor_ecco_assets.lineage.product import Content, Product, Task
from dor_ecco_assets.settings import Strict, load_config
from dor_ecco_assets.storage.base import Readable

__all__ = [
    "GEOMETRY",
    "GeometryVariable",
    "Static",
    "load_static",
    "static_products",
]

#: Stem of the geometry granules; every other grouping is read from static fields of the model.
GEOMETRY = "GRID_GEOMETRY"


class GeometryVariable(Variable):
    """One variable of the geometry granules."""

    dims: dict[Grid, tuple[str, ...]] = Field(description="by grid")
    file: str | None = Field(
        None, description="MITgcm's name of the grid file that only the geometry granule reads"
    )


class Static(Strict):
    """``configs/ecco/static.yaml``."""

    words: FrequencyWords
    groupings: list[Grouping]
    mixing: dict[str, Variable]
    geometry: dict[str, GeometryVariable]


def load_static(catalogue: Catalogue, configs: str | None = None) -> Catalogue:
    """The catalogue of the time-invariant datasets: same release, own variables and groupings.

    Parameters
    ----------
    catalogue : Catalogue
        Of the gridded datasets.
    configs : str, optional
        The user's overlay of ``configs/``.

    Raises
    ------
    ConfigurationError
        If the file does not fit its model, or a grouping names a variable that is not described.
    """
    static = load_config(Static, "ecco/static.yaml", configs)
    frequencies = {**catalogue.release.frequencies, "TI": static.words}
    return replace(
        catalogue,
        release=catalogue.release.model_copy(update={"frequencies": frequencies}),
        variables={**static.mixing, **static.geometry},
        groupings=tuple(static.groupings),
    )


def static_products(catalogue: Catalogue, configs: str | None = None) -> tuple[Product, ...]:
    """One unpartitioned product per time-invariant dataset.

    Parameters
    ----------
    catalogue : Catalogue
        Of the gridded datasets; gives release and coordinates.
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    static = load_static(catalogue, configs)
    return tuple(
        _product(static, Dataset(grouping, grid, "TI"))
        for grouping in static.groupings
        for grid in ("native", "latlon")
        if grouping.variables(grid)
    )


def _product(catalogue: Catalogue, dataset: Dataset) -> Product:
    grouping, grid, release = dataset.grouping, dataset.grid, catalogue.release
    source, target = catalogue.source_grid, (catalogue.target_grid, catalogue.factors)
    fields = model_files(catalogue, dataset)
    places = (f"{release.version}/static", release.grid_folder)
    return Product(
        key=dataset_key(grouping, grid, "TI", release.version),
        title=f"{grouping.title} {catalogue.words(grid).summary_tail}",
        code_version=GRANULE_CODE_VERSION,
        layer="out",
        format="netcdf",
        make=partial(_make, dataset, catalogue),
        upstream=(source,) if grid == "native" else (source, *target),
        inputs=partial(_inputs, fields, places),
        require=partial(_require, fields, places),
        config=partial(granule_config, catalogue, dataset),
        external=(MODEL_OUTPUT,),
    )


def model_files(catalogue: Catalogue, dataset: Dataset) -> dict[str, str]:
    """Variables of a dataset that have a file of their own -> the file's name without ending.

    The lat-lon geometry follows from the grids alone; it waits for the depth, as they do.
    """
    if dataset.grouping.stem != GEOMETRY:
        return {name: name for name in dataset.variables}
    described = {name: catalogue.variables[name] for name in dataset.variables}
    found = {n: v.file for n, v in described.items() if isinstance(v, GeometryVariable) and v.file}
    return found or {"Depth": "Depth"}


def _make(dataset: Dataset, catalogue: Catalogue, task: Task) -> Content:
    # Imported here: what only looks at products should not wait for xarray and Numba.
    from dor_ecco_assets.ecco.static_granules import make_static

    return make_static(dataset, as_told(catalogue, task.settings), task)


def _inputs(
    fields: Mapping[str, str], places: tuple[str, ...], inputs: Readable, _partition: str
) -> Mapping[str, str | None]:
    """The ``.data`` and ``.meta`` of every static field; of the first folder that has either."""
    found: dict[str, str | None] = {}
    for file in fields.values():
        here = [binaries_of(inputs, place, fields=(file,)) for place in places]
        found |= next((files for files in here if any(files.values())), here[0])
    return found


def _require(
    fields: Mapping[str, str],
    places: tuple[str, ...],
    inputs: Readable,
    _partition: str,
    keys: Mapping[str, str | None],
    allow_partial: bool,
) -> None:
    """Raise `InputMissing` where a field is absent and the policy does not allow for it."""
    absent = [file for file in fields.values() if keys[f"{file}.data"] is None]
    present = [file for file in fields.values() if file not in absent]
    if absent and not (allow_partial and present):
        partly = "; --allow-partial makes the granule of those that are there" if present else ""
        raise InputMissing(
            f"{', '.join(f'{file}.data' for file in absent)}: in none of "
            f"{', '.join(inputs.locate(place) for place in places)}; bring the static fields of "
            f"the same run{partly}",
            code="MissingInput",
        )
    for file in present:
        if keys[f"{file}.meta"] is None:
            raise missing_meta(inputs, str(keys[f"{file}.data"]).removesuffix(".data"))
