"""The atlas line's products: the case table, polygons, what a case gives, stores 1 and 3."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from dor_ecco_assets.atlas.calendar import model_months
from dor_ecco_assets.atlas.cases import Case
from dor_ecco_assets.atlas.specification import Atlas
from dor_ecco_assets.dor.configuration import (
    CASE_CODE_VERSION,
    Line,
    case_partitions,
    load_line,
)
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.lineage.product import (
    Content,
    Format,
    Layer,
    Partitioning,
    Product,
    RunSettings,
    Task,
)
from dor_ecco_assets.storage.base import Files, Readable

CASES, POLYGONS, HISTORY = "dor/cases", "dor/polygons", "dor/history"
CASE_ROWS, RESEARCH = "dor/case_rows", "dor/research_dataset"
EFFICIENCY_STORE, UPTAKE_STORE = "dor/efficiency_store", "dor/uptake_by_distance"
PUBLISHED, REPORT = "dor/published_efficiency", "dor/atlas_report"

#: What the products of a case are made under.
CASE = "dor/case"

#: Raised when bytes of stores, the report or the tables would change for the same inputs.
STORES_CODE_VERSION, REPORT_CODE_VERSION, TABLES_CODE_VERSION = "1", "1", "1"

#: Products of a case in the order of their publication, with layer, format and title.
_OF_A_CASE: dict[str, tuple[Layer, Format, str]] = {
    RESEARCH: ("out", "files", "Research-grade NetCDF4 of every month, fields bit for bit"),
    "dor/analysis_store": ("core", "zarr", "Series and surface maps of a case"),
    "dor/fg_co2_excess": ("core", "zarr", "Anomaly of the air-sea flux of CO2, by month"),
    "dor/map_fields": ("core", "zarr", "Map variables of a case on the model's grid, both bands"),
    CASE_ROWS: ("core", "zarr", "Efficiency, uptake by distance and ring sums of a case"),
}


@lru_cache(maxsize=4)
def dor_products(configs: str | None = None) -> tuple[Product, ...]:
    """The products of the configured atlas.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    line = load_line(configs)
    atlas = line.specification
    grid = f"grids/{atlas.grid}"
    return (
        Product(
            key=CASES,
            title=f"Case table: {atlas.title}",
            code_version=TABLES_CODE_VERSION,
            layer="raw",
            format="netcdf",
            make=partial(_make_cases, atlas),
            config=lambda _settings: _numbering(atlas),
        ),
        Product(
            key=POLYGONS,
            title="Cells and centres of the injection polygons",
            code_version=TABLES_CODE_VERSION,
            layer="core",
            format="zarr",
            make=partial(_make_polygons, atlas),
            upstream=(grid,),
            inputs=partial(_polygon_inputs, atlas),
            require=partial(_require_polygons, atlas),
            config=lambda _settings: atlas.polygon_set.model_dump(mode="json"),
        ),
        *_case_products(line, grid),
        *_month_products(atlas),
        *((_published(line, line.published_efficiency),) if line.published_efficiency else ()),
        Product(
            key=REPORT,
            title="Every case's curve and status on one page",
            code_version=REPORT_CODE_VERSION,
            layer="out",
            format="html",
            make=partial(_make_report, atlas),
            gathers=(EFFICIENCY_STORE, UPTAKE_STORE),
            members=lambda _partition: [
                (key, month)
                for key in (EFFICIENCY_STORE, UPTAKE_STORE)
                for month in _injection_months(atlas).keys
            ],
            config=lambda _settings: {**_numbering(atlas), "title": atlas.title},
        ),
    )


def _numbering(atlas: Atlas) -> dict[str, Any]:
    """What decides which cases there are and how they are called."""
    named = atlas.model_dump(
        mode="json",
        include={"forcing", "injection_months", "months", "experiment", "vintage"},
    )
    basins = [basin.model_dump() for basin in atlas.polygon_set.basins]
    return {**named, "basins": basins}


def _injection_months(atlas: Atlas) -> Partitioning:
    return Partitioning(
        "injection_month", tuple(f"{month:02d}" for month in atlas.injection_months)
    )


def _make_cases(atlas: Atlas, _task: Task) -> Content:
    # Here and below imported late: what only looks at products should not wait for xarray.
    from dor_ecco_assets.dor.tables import make_cases

    return make_cases(CASES, atlas)


# Polygons


def _polygon_inputs(atlas: Atlas, storage: Readable, _partition: str) -> Mapping[str, str | None]:
    there = polygon_files(atlas)
    return {key: key if storage.stat(key) is not None else None for key in there}


def polygon_files(atlas: Atlas) -> list[str]:
    """Keys of the files that hold the polygons of an atlas."""
    chosen = atlas.polygon_set
    named = [chosen.mask, chosen.regions]
    named += [*chosen.basin_masks.values(), *chosen.basin_centres.values()]
    return [key for key in named if key is not None]


def _require_polygons(
    atlas: Atlas,
    storage: Readable,
    _partition: str,
    keys: Mapping[str, str | None],
    _allow_partial: bool,
) -> None:
    missing = [name for name, key in keys.items() if key is None]
    if missing:
        raise InputMissing(
            f"{POLYGONS}: {', '.join(missing)} of polygon set {atlas.polygons} not in "
            f"{storage.uri}; bring them, or name others in configs/atlases/polygons",
            code="PolygonFileMissing",
        )


def _make_polygons(atlas: Atlas, task: Task) -> Content:
    from dor_ecco_assets.dor.tables import make_polygons

    return make_polygons(POLYGONS, atlas, task)


# Cases


def _case_products(line: Line, grid: str) -> list[Product]:
    atlas = line.specification
    partitioning = Partitioning("case", tuple(case_partitions(atlas)))
    return [
        Product(
            key=key,
            title=title,
            code_version=CASE_CODE_VERSION,
            layer=layer,
            format=stored,
            make=partial(_make_case, line, grid),
            partitioning=partitioning,
            upstream=(grid, POLYGONS),
            inputs=partial(_case_inputs, line),
            require=partial(_require_case, line),
            config=partial(_case_config, line),
            numbered_by=tuple(_numbering(atlas)),
            external=(CASES, HISTORY),
            together=CASE,
        )
        for key, (layer, stored, title) in _OF_A_CASE.items()
    ]


def _case_config(line: Line, settings: RunSettings) -> Mapping[str, Any]:
    return {
        **_numbering(line.specification),
        "variables": list(line.specification.variables),
        "compat": settings.compat,
        "allow_gaps": settings.allow_gaps,
    }


def history_names(case: Case) -> dict[str, tuple[int, int]]:
    """Names of the history files of a case with model year and month, in the order of time."""
    return {
        f"{case.name}.pop.h.{year:04d}-{month:02d}.nc": (year, month)
        for year, month in model_months(case.injection_month, case.months)
    }


class _HistoryNames:
    """Container of `history_names`, which are put together when one is asked for."""

    def __init__(self, case: Case) -> None:
        self._case, self._names = case, dict[str, tuple[int, int]]()

    def __contains__(self, name: object) -> bool:
        self._names = self._names or history_names(self._case)
        return name in self._names


def _case_inputs(line: Line, storage: Readable, partition: str) -> Mapping[str, str | None]:
    case = case_partitions(line.specification)[partition]
    names = _HistoryNames(case)
    places = (line.history_folder(case.name), f"{case.name}/ocn/hist")
    files = (Files.of(storage, place, names) for place in places)
    found: dict[str, str | None] = {"history": next((each for each in files if each), None)}
    if line.sea_level is not None:
        there = storage.stat(line.sea_level) is not None
        found["sea_level"] = line.sea_level if there else None
    return found


def _require_case(
    line: Line,
    storage: Readable,
    partition: str,
    keys: Mapping[str, str | None],
    _allow_partial: bool,
) -> None:
    case = case_partitions(line.specification)[partition].name
    if keys["history"] is None:
        raise InputMissing(
            f"{case}: no history file in {storage.locate(line.history_folder(case))}; bring the "
            "files of this case, or say where they lie by `history` in configs/dor.yaml",
            code="HistoryMissing",
        )
    if "sea_level" in keys and keys["sea_level"] is None:
        raise InputMissing(
            f"{case}: there is no {storage.locate(line.sea_level or '')}; bring the SSH series",
            code="SeaLevelMissing",
        )


def _make_case(line: Line, grid: str, task: Task) -> Mapping[str, Content]:
    from dor_ecco_assets.dor.making import make_case

    case = case_partitions(line.specification)[task.partition]
    return make_case(line, case, grid, POLYGONS, task)


# Stores 1 and 3


def _month_products(atlas: Atlas) -> list[Product]:
    months = _injection_months(atlas)
    of_month: dict[str, list[tuple[str, str]]] = {month: [] for month in months.keys}
    for partition in case_partitions(atlas):
        of_month[partition.split("|")[0]].append((CASE_ROWS, partition))

    def members(month: str) -> Sequence[tuple[str, str]]:
        return of_month[month]

    def product(key: str, title: str, make: Callable[[Task], Content]) -> Product:
        return Product(
            key=key,
            title=title,
            code_version=STORES_CODE_VERSION,
            layer="out",
            format="zarr",
            make=make,
            partitioning=months,
            gathers=(CASE_ROWS,),
            gathers_failures=True,
            members=members,
            config=lambda settings: {**_numbering(atlas), "compat": settings.compat},
            numbered_by=tuple(_numbering(atlas)),
        )

    return [
        product(
            EFFICIENCY_STORE,
            "Efficiency of every polygon by elapsed month (store 1)",
            partial(_make_efficiency, atlas),
        ),
        product(
            UPTAKE_STORE,
            "Uptake within 500, 1000 and 2000 km of every polygon (store 3)",
            partial(_make_uptake, atlas),
        ),
    ]


def _make_efficiency(atlas: Atlas, task: Task) -> Content:
    from dor_ecco_assets.dor.stores import make_efficiency_month

    return make_efficiency_month(EFFICIENCY_STORE, atlas, task)


def _make_uptake(atlas: Atlas, task: Task) -> Content:
    from dor_ecco_assets.dor.stores import make_uptake_month

    return make_uptake_month(UPTAKE_STORE, atlas, task)


# Published efficiencies and the report


def _published(line: Line, source: str) -> Product:
    def inputs(storage: Readable, _partition: str) -> Mapping[str, str | None]:
        return {"regions": source if storage.stat(source) is not None else None}

    def require(
        storage: Readable, _partition: str, keys: Mapping[str, str | None], _allow_partial: bool
    ) -> None:
        if keys["regions"] is None:
            raise InputMissing(
                f"{PUBLISHED}: there is no {storage.locate(source)}; bring the published regions, "
                "or leave published_efficiency out of configs/dor.yaml",
                code="PublishedMissing",
            )

    return Product(
        key=PUBLISHED,
        title="Published efficiencies of ocean alkalinity enhancement, in the schema of store 1",
        code_version=STORES_CODE_VERSION,
        layer="out",
        format="zarr",
        make=partial(_make_published, line.specification.polygon_set.sha256.get(source)),
        inputs=inputs,
        require=require,
    )


def _make_published(sha256: str | None, task: Task) -> Content:
    from dor_ecco_assets.dor.stores import make_published

    return make_published(PUBLISHED, sha256, task)


def _make_report(atlas: Atlas, task: Task) -> Content:
    from dor_ecco_assets.dor.report import make_report

    return make_report(REPORT, atlas, task)
