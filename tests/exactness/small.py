"""A small real production: the analytic sample on tiles of ten cells, two months and two days."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.grids.products import LLC_FOLDER, ORIGIN_FILE
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.lineage.workspace import Policy, Workspace, make_all
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.ecco_output import SAMPLE_FIELDS, write_sample_output
from dor_ecco_assets.samples.ecco_static import sample_metrics, write_sample_mixing
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Place

MONTHS = ("1992-01", "1992-02")
DAYS = ("1992-01-01", "1992-01-02")
PARTITIONS = {"none": ("",), "month": MONTHS, "day": DAYS}

#: Whose products are made here; another line's inputs are not those of the ocean model's grid.
LINES = ("grids", "mapping", "ecco")


def make_inputs(
    folder: Path,
    *,
    side: int = 10,
    months: Iterable[str] = MONTHS,
    days: Iterable[str] = DAYS,
    snapshots: Iterable[str] = (),
    fields: Iterable[str] = SAMPLE_FIELDS,
    static: bool = False,
) -> Path:
    """Sample model output and its grid; `static` adds what only granules without time need."""
    grid = sample_grid_fields(side)
    if static:
        write_sample_mixing(folder, grid)
        grid |= sample_metrics(grid)
    write_sample_output(
        folder,
        grid,
        months=[V4R4_CLOCK.step_of(month, "AVG_MON") for month in months],
        days=[V4R4_CLOCK.step_of(day, "AVG_DAY") for day in days],
        snapshots=[V4R4_CLOCK.step_of(day, "SNAP") for day in snapshots],
        fields=fields,
    )
    (folder / LLC_FOLDER / ORIGIN_FILE).write_text("analytic sample\n")
    return folder


def overlay(folder: Path, files: Mapping[str, str]) -> str:
    """A user's overlay of ``configs/`` that holds these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder)


def production(
    root: str | Path,
    inputs: str | Path,
    configs: str | None = None,
    source_date: str | None = None,
) -> Production:
    places = Place(root=str(root)), Place(root=str(inputs))
    return Production(*places, configs, RunSettings(source_date))


def pairs_of(workspace: Workspace) -> list[tuple[str, str]]:
    """Every product with every partition that has input, upstream ones first."""
    return [
        (key, partition)
        for key, product in workspace.products.items()
        for partition in PARTITIONS.get(product.partitioning.kind, ())
        if partition in product.partitioning.keys and _has_input(workspace, key, partition)
    ]


def _has_input(workspace: Workspace, key: str, partition: str) -> bool:
    product = workspace.product(key)
    foreign = key.startswith("grids/pop_") or key.endswith("_to_webmercator")
    if foreign or product.line not in LINES or product.gathers:
        return False
    keys = product.inputs(workspace.inputs, partition)
    try:
        product.require(workspace.inputs, partition, keys, False)
    except InputMissing:
        return False
    return True


def make_everything(workspace: Workspace) -> None:
    for key, partition in pairs_of(workspace):
        results = list(make_all(workspace, key, (partition,), Policy()))
        assert not [result for result in results if hasattr(result, "error")], results


def published(root: Path) -> dict[str, str]:
    """Sha256 of every file below a root, but for what is a cache or a lock."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {".cache", ".locks"} & set(path.parts)
    }
