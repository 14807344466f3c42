"""Atlas cases: list them, make their research data, say how they stand."""

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dor_ecco_assets.atlas.cases import Case
    from dor_ecco_assets.dor.standing import CaseStanding

app = typer.Typer(help="Cases of the atlas and their research data.", no_args_is_help=True)

PolygonOption = Annotated[
    list[int] | None,
    typer.Option("--polygon", "--polygon-id", "-p", help="polygon_master; repeatable."),
]
MonthOption = Annotated[
    list[int] | None, typer.Option("--month", "-m", help="Injection month; repeatable.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", "-w", min=1, help="Worker processes.")
]
ForceOption = Annotated[bool, typer.Option(help="Make again what is up to date.")]
VerifyOption = Annotated[
    bool, typer.Option(help="Hash published bytes before believing their record.")
]
CompatOption = Annotated[
    str | None,
    typer.Option(
        help="reference repeats four numerical defects of Ocean-CDR-Atlas v0 (DOR_ECCO_COMPAT)."
    ),
]
GapsOption = Annotated[
    bool, typer.Option(help="Make cases whose wet cells lack numbers, with missing results.")
]
SubmitOption = Annotated[
    bool,
    typer.Option("--submit", help="Ask for one backfill, which the daemon of `dor-ecco ui` runs."),
]

#: Variables of Ocean-CDR-Atlas v0 that stand in where ours are not set.
_FORMERLY = {
    "OCEAN_CDR_PARENT_DATA_DIR": "DOR_ECCO_ROOT",
    "OCEAN_CDR_DATA_ARCHIVE_DIR": "DOR_ECCO_INPUTS",
    "OCEAN_CDR_SCRATCH_ENV": "TMPDIR",
}


def take_former_settings() -> None:
    """Let variables of the former workflow say where things lie, if ours do not."""
    for former, ours in _FORMERLY.items():
        if former in os.environ and ours not in os.environ:
            os.environ[ours] = os.environ[former]


def tell_run(compat: str | None, allow_gaps: bool = False) -> None:
    """Hand options that change bytes to the run, which is told by its environment."""
    from dor_ecco_assets import settings

    take_former_settings()
    if compat is not None:
        os.environ[settings.COMPAT] = compat
    if allow_gaps:
        os.environ[settings.ALLOW_GAPS] = "1"
    settings.compat()


@app.command("list")
def list_cases(
    polygon: PolygonOption = None,
    month: MonthOption = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="Rows; 0 for all.")] = 10,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    compat: CompatOption = None,
    allow_gaps: GapsOption = False,
    as_json: JsonOption = False,
) -> None:
    """List cases with their status: done, partial, failed, stale or absent."""
    tell_run(compat, allow_gaps)
    found = _standings(Where(project, root, data, configs, profile), polygon, month)
    shown = found[:limit] if limit else found
    rows = [
        {
            "case": standing.case.name,
            "polygon_master": standing.case.polygon_master,
            "injection_month": standing.case.injection_month,
            "basin": standing.case.basin,
            "polygon": standing.case.polygon,
            "start_date": standing.case.start_date,
            "partition": standing.case.partition,
            "status": standing.status,
        }
        for standing in shown
    ]
    if as_json:
        show(rows, as_json=True)
        return
    names = ("case", "polygon_master", "injection_month", "status")
    show([{name: row[name] for name in names} for row in rows], as_json=False, title="Cases")
    print(f"{len(rows)} of {len(found)}")


@app.command("status")
def status(
    polygon: PolygonOption = None,
    month: MonthOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    compat: CompatOption = None,
    allow_gaps: GapsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Count cases by status, and say why those that failed or are stale are so."""
    tell_run(compat, allow_gaps)
    found = _standings(Where(project, root, data, configs, profile), polygon, month)
    counts: dict[str, int] = dict.fromkeys(("done", "partial", "failed", "stale", "absent"), 0)
    for standing in found:
        counts[standing.status] += 1
    troubled = [
        {"case": each.case.name, "status": each.status, "why": "; ".join(each.reasons)}
        for each in found
        if each.status in ("failed", "partial", "stale")
    ]
    if as_json:
        show([{**counts, "cases": troubled}], as_json=True)
        return
    show([counts], as_json=False)
    if troubled:
        show(troubled[:40], as_json=False, title="To be made again")


@app.command("process")
def process(
    cases: Annotated[list[str], typer.Argument(help="Case names, or partitions such as 07|123.")],
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    workers: WorkersOption = None,
    compat: CompatOption = None,
    allow_gaps: GapsOption = False,
    force: ForceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make all research data of some cases."""
    from dor_ecco_assets.dor.configuration import load_line
    from dor_ecco_assets.dor.standing import chosen_cases

    tell_run(compat, allow_gaps)
    where = Where(project, root, data, configs, profile)
    chosen = chosen_cases(load_line(where.places().configs), cases)
    _process(where, chosen, workers=workers, force=force, verify=verify, as_json=as_json)


@app.command("process-all")
def process_all(
    polygon: PolygonOption = None,
    month: MonthOption = None,
    max_cases: Annotated[int | None, typer.Option(min=1, help="At most so many cases.")] = None,
    start: Annotated[int | None, typer.Option(min=0, help="First polygon.")] = None,
    end: Annotated[int | None, typer.Option(min=0, help="Polygon after the last one.")] = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    workers: WorkersOption = None,
    compat: CompatOption = None,
    allow_gaps: GapsOption = False,
    force: ForceOption = False,
    verify: VerifyOption = False,
    submit: SubmitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the research data of all cases of some polygons and months.

    Where none are named, of all cases that have history files.
    """
    if submit and (compat is not None or allow_gaps or workers is not None):
        raise typer.BadParameter(
            "the daemon's runs take workers from its profile, DOR_ECCO_COMPAT and "
            "DOR_ECCO_ALLOW_GAPS from its environment; give these to `dor-ecco ui`",
            param_hint="--submit",
        )
    tell_run(compat, allow_gaps)
    where = Where(project, root, data, configs, profile)
    found = _standings(where, polygon, month)
    found = [
        each
        for each in found
        if (start is None or each.case.polygon_master >= start)
        and (end is None or each.case.polygon_master < end)
    ]
    if polygon is None and start is None and end is None:
        waiting = [each for each in found if each.waits]
        found = [each for each in found if not each.waits]
        if waiting:
            say(f"{len(waiting)} cases have no history files yet")
    chosen = {each.case.partition: each.case for each in found[:max_cases]}
    if not chosen:
        print("no case to be made")
        return
    if submit:
        _submit(where, chosen, force=force, verify=verify, as_json=as_json)
        return
    _process(where, chosen, workers=workers, force=force, verify=verify, as_json=as_json)


def _standings(
    where: Where, polygon: "Sequence[int] | None", month: "Sequence[int] | None"
) -> "list[CaseStanding]":
    from dor_ecco_assets.dor.configuration import load_line
    from dor_ecco_assets.dor.standing import case_standings, chosen_cases

    places = where.places()
    line = load_line(places.configs)
    chosen = chosen_cases(line, polygons=polygon or (), months=month or ())
    found = case_standings(where.workspace(), line)
    return [standing for standing in found if standing.case.partition in chosen]


def _submit(
    where: Where, chosen: "Mapping[str, Case]", *, force: bool, verify: bool, as_json: bool
) -> None:
    from dor_ecco_assets.cli.backfills import submit_backfills
    from dor_ecco_assets.dor.products import CASE_ROWS
    from dor_ecco_assets.lineage.workspace import Policy

    policy = Policy(force=force, verify=verify)
    wanted = {CASE_ROWS: list(chosen)}
    found = submit_backfills(where.places(), wanted, policy=policy, title="cases process-all")
    rows = [{"backfill": found[CASE_ROWS], "cases": len(chosen)}]
    show(rows, as_json=as_json, title="Backfill")
    say("the daemon of `dor-ecco ui` runs it; its page Runs > Backfills shows how it stands")


def _process(
    where: Where,
    chosen: "Mapping[str, Case]",
    *,
    workers: int | None,
    force: bool,
    verify: bool,
    as_json: bool,
) -> None:
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.dor.products import CASE_ROWS
    from dor_ecco_assets.lineage.workspace import Policy

    places, policy = where.places(), Policy(force=force, verify=verify)
    # One of the products that are made together is asked for; Dagster writes an event less for
    # each of the others, and is told of them as they are made.
    tally = run_products(places, [CASE_ROWS], list(chosen), policy=policy, workers=workers)
    became: dict[str, str] = {}
    for what, pairs in (("up to date", tally.skipped), ("made", tally.made)):
        became |= dict.fromkeys((partition for _, partition in pairs), what)
    why = {failure["partition"]: failure["message"] for failure in tally.failures}
    rows: list[dict[str, Any]] = [
        {
            "case": case.name,
            "partition": partition,
            "became": "failed" if partition in why else became.get(partition, "failed"),
            "message": why.get(partition, ""),
        }
        for partition, case in chosen.items()
    ]
    show(rows, as_json=as_json, title="Cases")
    report_failures(tally)
