"""Deliveries and quality reports of months."""

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
    say,
    show,
)
from dor_ecco_assets.cli.ecco.making import ForceOption, VerifyOption

MonthsArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Months such as 1992-01; by default all whose granules have changed."),
]


def deliver(
    months: MonthsArgument = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    force: ForceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make deliveries: manifest, checksums and notifications of all granules of a month."""
    where = Where(project, root, data, configs, profile)
    _make("delivery", where, months or [], force=force, verify=verify, as_json=as_json)


def report(
    months: MonthsArgument = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    force: ForceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make quality reports: a page with maps and statistics of all granules of a month."""
    where = Where(project, root, data, configs, profile)
    _make("quality_report", where, months or [], force=force, verify=verify, as_json=as_json)


def _make(
    name: str, where: Where, months: list[str], *, force: bool, verify: bool, as_json: bool
) -> None:
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.lineage.record import read_record
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production

    key = f"ecco/{name}"
    places = where.places()
    workspace = Production.at(places).workspace()
    wanted = months or [s.partition for s in workspace.states(key) if s.standing != "waiting"]
    if not wanted:
        say(f"no granule has been made in {places.root.root}; make some: dor-ecco ecco granules")
        show([], as_json=as_json, title=name)
        return
    tally = run_products(places, [key], wanted, policy=Policy(force=force, verify=verify))
    rows: list[dict[str, Any]] = []
    for month in wanted:
        record = read_record(workspace.storage, key, month)
        if record is not None:
            rows.append(
                {
                    "month": month,
                    "became": "up to date" if (key, month) in tally.skipped else "made",
                    "granules": record.details["granules"],
                    "datasets": record.details["datasets"],
                    "bytes": record.bytes,
                    "uri": workspace.storage.locate(record.uri),
                }
            )
    show(rows, as_json=as_json)
    report_failures(tally)
