"""Map pyramids as products: of the cases of an atlas (store 2), and of any gridded dataset."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from dor_ecco_assets.atlas.cases import Case, cases_of
from dor_ecco_assets.atlas.specification import Atlas, load_atlas
from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.lineage.product import Content, Partitioning, Product, Task
from dor_ecco_assets.pyramids.configuration import (
    AtlasMaps,
    DatasetMaps,
    chosen_atlas,
    dataset_maps,
    load_atlas_maps,
)
from dor_ecco_assets.settings import is_shipped

__all__ = [
    "ATLAS",
    "INDEX_SUFFIX",
    "TEMPLATE_SUFFIX",
    "atlas_cases",
    "places_of",
    "pyramid_products",
]

ATLAS = "pyramids/atlas"
#: What is added to a pyramid's key for its empty store, and for what the page opens.
TEMPLATE_SUFFIX, INDEX_SUFFIX = "_template", "_index"

#: Products of the atlas line that maps and their page are made from.
MAP_FIELDS, POLYGONS = "dor/map_fields", "dor/polygons"
EFFICIENCY, UPTAKE = "dor/efficiency_store", "dor/uptake_by_distance"
PUBLISHED = "dor/published_efficiency"

#: Raised when bytes would change for the same inputs.
TEMPLATE_CODE_VERSION, MAPS_CODE_VERSION, INDEX_CODE_VERSION = "1", "1", "1"


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
    if source is None or source.partitioning.kind not in ("month", "day"):
        what = "there is none" if source is None else f"it is split by {source.partitioning.kind}"
        raise ConfigurationError(
            f"pyramids/{name}.yaml: source {maps.source}; {what}, expected a product of one step "
            "of time per month or day",
            code="UnknownSource",
        )
    split = source.partitioning
    stored = maps.model_dump(mode="json", exclude={"title", "variables"}) | {
        "steps": [split.kind, split.keys[0], split.keys[-1], len(split.keys)],
        "units": {each: found.units for each, found in maps.variables.items()},
    }
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
        Product(
            key=key,
            title=f"Maps as a web-mercator pyramid: {maps.title}",
            code_version=MAPS_CODE_VERSION,
            layer="out",
            format="pyramid",
            make=partial(_make_step, key, maps, split.keys),
            partitioning=split,
            upstream=(maps.mapping, f"{key}{TEMPLATE_SUFFIX}"),
            gathers=(maps.source,),
            members=lambda partition: [(maps.source, partition)],
        ),
        Product(
            key=f"{key}{INDEX_SUFFIX}",
            title=f"What the page opens: {maps.title}",
            code_version=INDEX_CODE_VERSION,
            layer="out",
            format="files",
            make=partial(_make_dataset_index, key, maps, split.keys),
            gathers=(key,),
            members=lambda _partition: [(key, partition) for partition in split.keys],
            config=lambda _settings: {**stored, "shown": maps.model_dump(mode="json")},
        ),
    ]


def _make_dataset_template(
    key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task
) -> Content:
    from dor_ecco_assets.pyramids.datasets import make_template

    return make_template(key, maps, steps, task)


def _make_step(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    from dor_ecco_assets.pyramids.datasets import make_step

    return make_step(key, maps, steps, task)


def _make_dataset_index(key: str, maps: DatasetMaps, steps: tuple[str, ...], task: Task) -> Content:
    from dor_ecco_assets.pyramids.indexing import make_dataset_index

    return make_dataset_index(key, maps, steps, task)
