"""Map pyramids as products: of the cases of an atlas (store 2), and of any gridded dataset."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from typing import Any

from dor_ecco_assets.atlas.cases import Case, cases_of
from dor_ecco_assets.atlas.specification import Atlas, load_atlas
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.product import Content, Partitioning, Product, Published, Task
from dor_ecco_assets.pyramids.configuration import (
    AtlasMaps,
    DatasetMaps,
    chosen_atlas,
    dataset_maps,
    load_atlas_maps,
)
from dor_ecco_assets.settings import is_shipped
from dor_ecco_assets.storage.base import Readable

__all__ = [
    "ATLAS",
    "GRID_SUFFIX",
    "INDEX_SUFFIX",
    "TEMPLATE_SUFFIX",
    "atlas_cases",
    "places_of",
    "pyramid_products",
]

ATLAS = "pyramids/atlas"
#: What is added to a pyramid's key for its empty store, for what the page opens, and for the grid
#: of a virtual store.
TEMPLATE_SUFFIX, INDEX_SUFFIX, GRID_SUFFIX = "_template", "_index", "_grid"

#: Products of the atlas line that maps and their page are made from.
MAP_FIELDS, POLYGONS = "dor/map_fields", "dor/polygons"
EFFICIENCY, UPTAKE = "dor/efficiency_store", "dor/uptake_by_distance"
PUBLISHED = "dor/published_efficiency"

#: Raised when bytes would change for the same inputs.
TEMPLATE_CODE_VERSION, MAPS_CODE_VERSION, INDEX_CODE_VERSION = "1", "1", "1"
GRID_CODE_VERSION = "1"


def pyramid_products(
    configs: str | None = None, known: Mapping[str, Product] | None = None
) -> tuple[Product, ...]:
    """Pyramids of the configured atlas and datasets.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    known : mapping of str to Product, optional
        Products that datasets may be made from.
    """
    known = known or {}
    atlas, maps = load_atlas(chosen_atlas(configs), configs), load_atlas_maps(configs)
    lacking = sorted(set(atlas.variables) - maps.variables.keys())
    if lacking:
        raise ConfigurationError(
            f"pyramids/atlas.yaml does not describe {', '.join(lacking)} of atlas {atlas.name}; "
            "add its units and limits",
            code="MapVariableUnknown",
        )
    datasets = (
        product
        for name, described in dataset_maps(configs).items()
        for product in _dataset_products(
            name, described, known, is_shipped(f"pyramids/{name}.yaml", configs)
        )
    )
    return (*_atlas_products(atlas, maps, known), *datasets)


@lru_cache(maxsize=8)
def atlas_cases(atlas: Atlas) -> dict[str, Case]:
    """Every case by its partition key, injection months first, then polygons."""
    return dict(sorted((case.partition, case) for case in cases_of(atlas)))


def places_of(product: Product) -> dict[str, tuple[int, ...]]:
    """Place of every partition along the dimensions of a pyramid's status.

    Of a case, its polygon and its injection month among those of the atlas; of a step, its number.
    """
    keys = product.partitioning.keys
    if product.partitioning.kind != "case":
        return {key: (place,) for place, key in enumerate(keys)}
    months = sorted({key.split("|")[0] for key in keys})
    parts = {key: key.split("|") for key in keys}
    return {key: (int(polygon), months.index(month)) for key, (month, polygon) in parts.items()}


# The atlas


def _atlas_products(atlas: Atlas, maps: AtlasMaps, known: Mapping[str, Product]) -> list[Product]:
    mapping = f"mapping/{atlas.grid}_to_webmercator"
    if mapping not in known:  # no weights are configured for its grid, so it has no maps
        return []
    cases = tuple(atlas_cases(atlas))
    stored = _stored(atlas, maps)
    curves = {key: known[key].partitioning.keys for key in _CURVES if key in known}
    members = [(ATLAS, case) for case in cases]
    members += [(key, partition) for key, keys in curves.items() for partition in keys]
    grid = f"grids/{atlas.grid}"
    return [
        Product(
            key=f"{ATLAS}{TEMPLATE_SUFFIX}",
            title="Map stores of the atlas with nothing in them",
            code_version=TEMPLATE_CODE_VERSION,
            layer="out",
            format="pyramid",
            make=partial(_make_atlas_template, atlas, maps, mapping),
            upstream=(mapping,),
            config=lambda _settings: stored,
        ),
        Product(
            key=ATLAS,
            title="Maps of every case as a web-mercator pyramid (store 2)",
            code_version=MAPS_CODE_VERSION,
            layer="out",
            format="pyramid",
            make=partial(_make_case, atlas, maps, mapping),
            partitioning=Partitioning("case", cases),
            upstream=(mapping, f"{ATLAS}{TEMPLATE_SUFFIX}"),
            gathers=(MAP_FIELDS,),
            members=lambda partition: [(MAP_FIELDS, partition)],
        ),
        Product(
            key=f"{ATLAS}{INDEX_SUFFIX}",
            title="What the page opens: stores, polygons, units, and which cases are there",
            code_version=INDEX_CODE_VERSION,
            layer="out",
            format="files",
            make=partial(_make_atlas_index, atlas, maps, grid),
            upstream=(grid, POLYGONS, f"{ATLAS}{TEMPLATE_SUFFIX}"),
            gathers=(ATLAS, *curves),
            members=lambda _partition: members,
            config=lambda _settings: {
                **stored,
                "title": atlas.title,
                "shown": {name: maps.variables[name].model_dump() for name in atlas.variables},
                "basins": [basin.model_dump() for basin in atlas.polygon_set.basins],
            },
        ),
    ]


_CURVES = (EFFICIENCY, UPTAKE, PUBLISHED)


def _stored(atlas: Atlas, maps: AtlasMaps) -> dict[str, Any]:
    """What decides the metadata of the stores, without titles and long names: they change alone."""
    named = atlas.model_dump(
        mode="json",
        include={
            "name",
            "forcing",
            "injection_months",
            "months",
            "variables",
            "pixels_per_tile",
            "zoom_levels",
            "pyramid_injection_dimension",
        },
    )
    units = {name: maps.variables[name].units for name in atlas.variables}
    polygons = atlas.polygon_set.n_polygons
    return {**named, "polygons": polygons, "units": units, "formats": list(maps.formats)}


def _make_atlas_template(atlas: Atlas, maps: AtlasMaps, mapping: str, task: Task) -> Content:
    # Here and below imported late: what only looks at products should not wait for xarray.
    from dor_ecco_assets.pyramids.atlas import make_template

    return make_template(ATLAS, atlas, maps, mapping, task)


def _make_case(atlas: Atlas, maps: AtlasMaps, mapping: str, task: Task) -> Content:
    from dor_ecco_assets.pyramids.atlas import make_case

    case = atlas_cases(atlas)[task.partition]
    return make_case(ATLAS, atlas, case, maps, mapping, task)


def _make_atlas_index(atlas: Atlas, maps: AtlasMaps, grid: str, task: Task) -> Content:
    from dor_ecco_assets.pyramids.indexing import make_atlas_index

    return make_atlas_index(ATLAS, atlas, maps, grid, POLYGONS, task)


# Datasets


def _dataset_products(
    name: str, maps: DatasetMaps, known: Mapping[str, Product], shipped: bool
) -> list[Product]:
    key, source = f"pyramids/{name}", known.get(maps.source)
    if source is None and shipped:  # an overlay's catalogue does without it
        return []
    split, virtual = _split(name, maps, source), maps.period is not None
    virtual_only = {"period", "mask_of"}  # the steps say the one, the weights follow the other
    stored = maps.model_dump(mode="json", exclude={"title", "variables", *virtual_only}) | {
        "steps": [split.kind, split.keys[0], split.keys[-1], len(split.keys)],
        "units": {each: found.units for each, found in maps.variables.items()},
    }
    steps = Product(
        key=key,
        title=f"Maps as a web-mercator pyramid: {maps.title}",
        code_version=MAPS_CODE_VERSION,
        layer="out",
        format="pyramid",
        make=partial(_make_step, key, maps, split.keys),
        partitioning=split,
        upstream=(maps.mapping, f"{key}{TEMPLATE_SUFFIX}"),
    )
    if virtual:
        sources = [_following(steps, maps), _grid_product(key, maps)]
    else:
        member = partial(_member, maps.source)
        sources = [replace(steps, gathers=(maps.source,), members=member)]
    return [
        Product(
            key=f"{key}{TEMPLATE_SUFFIX}",
            title=f"Map stores with nothing in them: {maps.title}",
            code_version=TEMPLATE_CODE_VERSION,
            layer="out",
            format="pyramid",
            make=partial(_make_dataset_template, key, maps, split.keys),
            upstream=(maps.mapping,),
            config=lambda _settings: stored,
        ),
        *sources,
        Product(
            key=f"{key}{INDEX_SUFFIX}",
            title=f"What the page opens: {maps.title}",
            code_version=INDEX_CODE_VERSION,
            layer="out",
            format="files",
            make=partial(_make_dataset_index, key, maps, split.keys),
            gathers=(key,),
            members=lambda _partition: [(key, partition) for partition in split.keys],
            config=lambda _settings: {
                **stored,
                "shown": maps.model_dump(mode="json", exclude=virtual_only),
            },
        ),
    ]


def _member(source: str, partition: str) -> list[tuple[str, str]]:
    return [(source, partition)]


def _split(name: str, maps: DatasetMaps, source: Product | None) -> Partitioning:
    """Steps of the maps.

    Raises
    ------
    ConfigurationError
        Codes ``UnknownSource`` and ``NoPeriod``.
    """
    where = f"pyramids/{name}.yaml: source {maps.source}"
    if source is not None and source.format == "icechunk":
        if not maps.steps:
            raise ConfigurationError(
                f"{where} is a virtual store, which grows; say by period which days or months are "
                "on the maps, such as [2002-06-01, 2030-12-31]",
                code="NoPeriod",
            )
        return Partitioning("month" if len(maps.steps[0]) == _MONTH_LENGTH else "day", maps.steps)
    if maps.period is not None:
        raise ConfigurationError(
            f"{where}; period goes with a virtual store, and with it alone", code="NoPeriod"
        )
    if source is None or source.partitioning.kind not in ("month", "day"):
        what = "there is none" if source is None else f"it is split by {source.partitioning.kind}"
        raise ConfigurationError(
            f"{where}; {what}, expected a product of one step of time per month or day, or a "
            "virtual store",
            code="UnknownSource",
        )
    return source.partitioning


#: Of ``YYYY-MM``.
_MONTH_LENGTH = 7


def _mask_step(maps: DatasetMaps) -> str:
    """The step whose numbers say what is ocean."""
    return maps.mask_of or maps.steps[0]


def _grid_product(key: str, maps: DatasetMaps) -> Product:
    """The grid of a virtual store, of which weights are made: its coordinates and its mask."""
    told = {
        "source": maps.source,
        "variable": next(iter(maps.variables)),
        "select": maps.select,
        "mask_of": _mask_step(maps),
    }
    grid = Product(
        key=f"{key}{GRID_SUFFIX}",
        title=f"Grid and mask as the granules have them: {maps.title}",
        code_version=GRID_CODE_VERSION,
        layer="core",
        format="zarr",
        make=partial(_make_grid, key, maps),
        config=lambda _settings: told,
    )
    return _following(grid, maps)


def _following(product: Product, maps: DatasetMaps) -> Product:
    """A product that follows the granules of a virtual store: those of its step."""
    return replace(product, external=(maps.source,), bound=partial(_bound_to, product, maps))


def _bound_to(product: Product, maps: DatasetMaps, storage: Readable) -> Product:
    from dor_ecco_assets.pyramids.granules import granules_of, no_granule, published_step

    @cache
    def granules() -> Mapping[str, Any]:
        return granules_of(storage, maps.source, maps.steps[0])

    def step_of(partition: str) -> str:
        return partition or _mask_step(maps)

    def published(partition: str) -> Mapping[str, Published]:
        return published_step(maps.source, granules().get(step_of(partition), ()))

    def require(
        _inputs: Readable, partition: str, _keys: Mapping[str, str | None], _partial: bool
    ) -> None:
        if step_of(partition) not in granules():
            raise no_granule(storage, maps.source, step_of(partition))

    return replace(_following(product, maps), published=published, require=require)


def _make_dataset_template(
    key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task
) -> Content:
    from dor_ecco_assets.pyramids.datasets import make_template

    return make_template(key, maps, steps, task)


def _make_step(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    from dor_ecco_assets.pyramids.datasets import make_step

    return make_step(key, maps, steps, task)


def _make_grid(key: str, maps: DatasetMaps, task: Task) -> Content:
    from dor_ecco_assets.pyramids.granules import make_grid

    return make_grid(f"{key}{GRID_SUFFIX}", maps, _mask_step(maps), task)


def _make_dataset_index(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    from dor_ecco_assets.pyramids.indexing import make_dataset_index

    return make_dataset_index(key, maps, steps, task)
