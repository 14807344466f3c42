"""What is out of date and why, where a value comes from, and whether records tell the truth."""

from typing import Annotated, Any

import typer

from dor_ecco_assets.cli.common import (
    ConfigsOption,
    DataOption,
    JsonOption,
    ProfileOption,
    ProjectOption,
    RootOption,
    Where,
    show,
    tracked,
)

#: Rows and reasons that a table for people shows; `why` and ``--json`` give all.
LONGEST_TABLE, MOST_REASONS = 40, 2


def _shortened(reasons: list[str]) -> str:
    more = len(reasons) - MOST_REASONS
    return "; ".join(reasons[:MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")


def stale(
    line: Annotated[str | None, typer.Argument(help="Line or product; all by default.")] = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is out of date and why; partitions that wait for input are only counted."""
    workspace = Where(project, root, data, configs, profile).workspace()
    rows: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    for key in _chosen(workspace.products, line):
        standings: dict[str, int] = {}
        for state in workspace.states(key):
            standings[state.standing] = standings.get(state.standing, 0) + 1
            if state.standing not in ("up to date", "waiting"):
                rows.append(
                    {
                        "product": key,
                        "partition": state.partition,
                        "standing": state.standing,
                        "why": "; ".join(state.reasons),
                    }
                )
        order = ("up to date", "stale", "absent", "quarantined", "failed", "waiting")
        counts.append({"product": key, **{name: standings.get(name, 0) for name in order}})
    if as_json:
        show(rows, as_json=True)
        return
    show(counts, as_json=False)
    if rows:
        for row in rows:
            row["why"] = _shortened(row["why"].split("; "))
        show(rows[:LONGEST_TABLE], as_json=False, title="Out of date")
    if len(rows) > LONGEST_TABLE:
        print(f"and {len(rows) - LONGEST_TABLE} more; --json lists them all")


def why(
    product: Annotated[str, typer.Argument(help="Key of the product, such as grids/llc90.")],
    partition: Annotated[str, typer.Argument(help="Partition, such as 1992-01.")] = "",
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell where a partition comes from, down to files and checksums, and why it is stale."""
    from dor_ecco_assets.lineage.tracing import trace

    workspace = Where(project, root, data, configs, profile).workspace()
    found = trace(workspace, product, partition)
    if as_json:
        import json

        print(json.dumps(found, indent=1))
        return
    print("\n".join(_told(found)))


def reconcile(
    line: Annotated[str | None, typer.Argument(help="Line or product; all by default.")] = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare records with bytes, every checksum; name each difference and what repairs it."""
    from dor_ecco_assets.lineage.tracing import reconcile as compare

    workspace = Where(project, root, data, configs, profile).workspace()
    keys = list(_chosen(workspace.products, line))
    found = compare(workspace, keys, lambda pairs: tracked(pairs, "hashing"))
    rows = [difference.__dict__ for difference in found.differences]
    if as_json or rows:
        show(rows, as_json=as_json, title="Differences")
    if not as_json:
        print(f"{found.checked} records checked, {len(rows)} differences")
    if rows:
        raise typer.Exit(1)


def _chosen(products: Any, line: str | None) -> list[str]:
    """Keys of the products of a line, of one product, or all."""
    from dor_ecco_assets.errors import ConfigurationError

    chosen = [key for key in products if line in (None, key, key.split("/")[0])]
    if not chosen:
        lines = sorted({key.split("/")[0] for key in products})
        raise ConfigurationError(
            f"there is no line or product {line!r}; lines are {', '.join(lines)}",
            code="UnknownProduct",
        )
    return chosen


def _told(found: dict[str, Any], indent: str = "") -> list[str]:
    """A trace as indented lines."""
    name = f"{found['product']} {found['partition']}".strip()
    lines = [f"{indent}{name}: {found['standing']}"]
    lines += [f"{indent}  because {reason}" for reason in found["reasons"]]
    record = found["record"]
    if record is not None:
        lines += [
            f"{indent}  {found['uri']}",
            f"{indent}  {record['bytes']} bytes, sha256 {record['sha256']}",
            f"{indent}  made {record['made']} by {record['details']['run']['software']}, "
            f"code version {record['details']['ingredients']['code_version']}",
        ]
    for source in found["inputs"]:
        lines.append(
            f"{indent}  input {source['uri'] or source['name']}: "
            + (
                f"bytes 0-{source['bytes'] - 1}, sha256 {source['sha256']}"
                if source["sha256"]
                else "absent"
            )
        )
    for upstream in found["upstream"]:
        lines += _told(upstream, indent + "  ")
    return lines
