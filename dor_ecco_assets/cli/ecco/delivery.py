"""Deliveries and quality reports of months."""

import os
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
)
from dor_ecco_assets.cli.ecco.making import ForceOption, VerifyOption

if TYPE_CHECKING:
    from dor_ecco_assets.cli.running import Tally
    from dor_ecco_assets.lineage.workspace import Workspace

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
    allow_partial: Annotated[
        bool,
        typer.Option(
            help="Deliver granules that lack variables too; "
            "DOR_ECCO_DELIVER_PARTIAL=1 tells every command."
        ),
    ] = False,
    force: ForceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make deliveries: manifest, checksums and notifications of all granules of a month.

    Ends with 1 where granules are out of date, which stops their month, or incomplete, which are
    left out.
    """
    from dor_ecco_assets.settings import DELIVER_PARTIAL

    if allow_partial:
        os.environ[DELIVER_PARTIAL] = "1"  # the run is told by its environment
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
    from dor_ecco_assets.cli.running import Tally, report_failures, run_products
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
    tally = Tally()
    if name == "delivery":
        wanted = [month for month in wanted if _is_current(workspace, key, month, tally)]
    if wanted:
        policy = Policy(force=force, verify=verify)
        run_products(places, [key], wanted, policy=policy, tally=tally)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    failed = {found["partition"] for found in tally.failures}
    for month in wanted:
        record = read_record(workspace.storage, key, month)
        if record is not None and month not in failed:
            left_out += record.details.get("left_out_as_incomplete", [])
            if "relative_uris" in record.details:
                say(f"{month}: the URIs are relative, {record.details['relative_uris']}")
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
    for granule in left_out:
        say(f"left out: {granule}; bring its inputs, or deliver it as it is: --allow-partial")
    report_failures(tally)
    if left_out:
        raise typer.Exit(1)


def _is_current(workspace: "Workspace", key: str, month: str, tally: "Tally") -> bool:
    """Whether no granule of a month is out of date; what is, is added to the failures."""
    from dor_ecco_assets.ecco.delivery import check_current
    from dor_ecco_assets.errors import WorkFailed

    try:
        check_current(month, workspace.stale_members(key, month))
    except WorkFailed as error:
        tally.failures.append(
            {
                "product": key,
                "partition": month,
                "code": error.code,
                "message": error.message,
                "quarantined": False,
                "uri": "",
            }
        )
        return False
    return True
