"""What a production would make and what that takes; what is missing from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dor_ecco_assets.cli.common import (
    ConfigsOption,
    DataOption,
    JsonOption,
    ProfileOption,
    ProjectOption,
    RootOption,
    Where,
    say,
    show,
    tracked,
)
from dor_ecco_assets.cli.ecco.making import choose_datasets, parse_range, unplaced_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dor_ecco_assets.ecco.planning import Planned
    from dor_ecco_assets.lineage.workspace import Workspace

DatasetsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Short names, or parts of them such as SSH_05DEG; all by default."),
]
RangeOption = Annotated[
    str | None, typer.Option(help="First...last, such as 1992-01...1992-12; all by default.")
]


def plan(
    datasets: DatasetsArgument = None,
    jobs: Annotated[
        Path | None, typer.Option(help="A job file that says what is wanted.", dir_okay=False)
    ] = None,
    partition_range: RangeOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many granules there are to make, and their bytes and seconds beforehand."""
    from dor_ecco_assets.ecco.jobs import load_numbered
    from dor_ecco_assets.ecco.planning import datasets_by_key, plan_product

    where = Where(project, root, data, configs, profile)
    places = where.places()
    workspace = where.workspace()
    catalogue = load_numbered(places.configs)
    known = datasets_by_key(catalogue, workspace.products)
    levels = _levels(workspace, f"grids/{catalogue.release.grid_folder}")
    wanted: dict[str, list[str] | None] = {}
    if jobs is not None:
        from dor_ecco_assets.cli.ecco.jobs import merged, read_works

        wanted.update(merged(read_works(jobs, workspace, places.configs)[1], workspace))
    else:
        for key in choose_datasets(workspace.products, datasets or []):
            wanted[key] = _in_range(workspace, key, partition_range)
    rows = [
        _row(plan_product(workspace, key, known, partitions, levels=levels))
        for key, partitions in tracked(list(wanted.items()), "planning")
    ]
    show([*rows, *([] if as_json else [_total(rows)])], as_json=as_json, title="Plan")
    for key in wanted:
        for row in unplaced_rows(workspace, key):
            say(f"{key.removeprefix('ecco/')}: {row['message']} [{row['code']}]")


def gaps(
    datasets: DatasetsArgument = None,
    partition_range: RangeOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List granules that should be there and are not, why, and what fills the gap."""
    from dor_ecco_assets.ecco.planning import find_gaps

    workspace = Where(project, root, data, configs, profile).workspace()
    keys = choose_datasets(workspace.products, datasets or [])
    rows: list[dict[str, Any]] = []
    for key in tracked(keys, "looking for gaps"):
        expected = _in_range(workspace, key, partition_range)
        for gap in find_gaps(workspace, key, expected=expected):
            first, last = gap.span
            rows.append(
                {
                    "dataset": key.removeprefix("ecco/"),
                    "gap": gap.kind,
                    "partitions": first if first == last else f"{first}...{last}",
                    "granules": gap.partitions,
                    "why": gap.why,
                    "fill": gap.fill,
                }
            )
    if as_json:
        show(rows, as_json=True)
    else:
        told = [{name: row[name] for name in row if name != "fill"} for row in rows]
        show(told, as_json=False, title="Gaps")
        for fill in dict.fromkeys(row["fill"] for row in rows):
            print(fill)
    if rows:
        raise typer.Exit(1)


def _in_range(workspace: "Workspace", key: str, partition_range: str | None) -> list[str] | None:
    """Partitions of a product in a range; None for all, also of a product that is not split.

    A month stands for its days, so that one range serves monthly and daily datasets.
    """
    if partition_range is None:
        return None
    first, last = parse_range(partition_range)
    keys: Sequence[str] = workspace.product(key).partitioning.keys
    return [name for name in keys if not name or _inside(name, first, last)]


def _inside(name: str, first: str, last: str) -> bool:
    return first[: len(name)] <= name[: len(first)] and name[: len(last)] <= last[: len(name)]


def _levels(workspace: "Workspace", grid: str) -> int | None:
    """Depth levels of the model's grid, if it was made."""
    from dor_ecco_assets.errors import OutputCorrupt
    from dor_ecco_assets.lineage.record import read_record

    try:
        record = read_record(workspace.storage, grid, "")
    except OutputCorrupt:
        return None
    return None if record is None else record.details["shape"].get("k")


def _row(planned: "Planned") -> dict[str, Any]:
    made = planned.to_make
    return {
        "dataset": planned.product.removeprefix("ecco/"),
        "asked": planned.asked,
        "done": planned.done,
        "no_input": planned.no_input,
        "to_make": len(made),
        "first": made[0] if made else None,
        "last": made[-1] if made else None,
        "bytes": planned.bytes,
        "seconds": planned.seconds,
        "estimated_from": planned.basis,
    }


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of a table, without what is unknown."""

    def summed(name: str) -> Any:
        values = [row[name] for row in rows if row[name] is not None]
        return round(sum(values), 1) if values else None

    unknown = sum(1 for row in rows if row["bytes"] is None and row["to_make"])
    names = ("asked", "done", "no_input", "to_make")
    return {
        "dataset": "all",
        **{name: summed(name) for name in names},
        "first": None,
        "last": None,
        "bytes": summed("bytes"),
        "seconds": summed("seconds"),
        "estimated_from": f"without {unknown} datasets that are unknown" if unknown else "",
    }
