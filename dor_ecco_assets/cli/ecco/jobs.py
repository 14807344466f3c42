"""Job files: what they mean, running them here, handing them to Dagster, writing them."""

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
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dor_ecco_assets.ecco.jobs import Job, JobFile, Work
    from dor_ecco_assets.lineage.workspace import Workspace

app = typer.Typer(help="Job files: show, run, submit, create.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(help="The job file, such as jobs.txt.")]
PartialOption = Annotated[
    bool, typer.Option(help="Make granules of those variables whose input is there.")
]


@app.command("show")
def show_jobs(
    file: FileArgument,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what each line of a job file means: dataset, partitions, bytes of input."""
    where = Where(project, root, data, configs, profile)
    places = where.places()
    workspace = where.workspace()
    found, works = read_works(file, workspace, places.configs)
    rows = [
        {
            "line": work.job.line or None,
            "dataset": work.product.removeprefix("ecco/"),
            "partitions": len(work.partitions),
            "first": work.partitions[0] if work.partitions else None,
            "last": work.partitions[-1] if work.partitions else None,
            "input_bytes": _input_bytes(workspace, work),
        }
        for work in works
    ]
    show(rows, as_json=as_json, title="Jobs")
    _tell_unread(found, file)


@app.command("run")
def run_jobs(
    file: FileArgument,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    allow_partial: PartialOption = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make what a job file asks for, in this process, in the order of its lines."""
    from dor_ecco_assets.cli.ecco.making import rows_of
    from dor_ecco_assets.cli.running import Tally, report_failures, run_products
    from dor_ecco_assets.lineage.workspace import Policy

    where = Where(project, root, data, configs, profile)
    places = where.places()
    workspace = where.workspace()
    found, works = read_works(file, workspace, places.configs)
    tally = Tally()
    policy = Policy(allow_partial=allow_partial)
    for key, partitions in merged(works, workspace).items():
        named = [] if partitions == [""] else partitions
        run_products(places, [key], named, policy=policy, workers=workers, tally=tally)
    show(rows_of(tally, with_failures=as_json), as_json=as_json, title="Granules")
    _tell_empty(works, file)
    _tell_unread(found, file)
    report_failures(tally)


@app.command("submit")
def submit_jobs(
    file: FileArgument,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    allow_partial: PartialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hand a job file to Dagster, one backfill per dataset; `dor-ecco ui` runs them."""
    from dor_ecco_assets.cli.backfills import submit_backfills
    from dor_ecco_assets.lineage.workspace import Policy

    where = Where(project, root, data, configs, profile)
    places = where.places()
    workspace = where.workspace()
    found, works = read_works(file, workspace, places.configs)
    wanted = merged(works, workspace)
    submitted = submit_backfills(
        places, wanted, policy=Policy(allow_partial=allow_partial), title=file.name
    )
    rows = [
        {
            "dataset": key.removeprefix("ecco/"),
            "partitions": len(wanted[key]),
            "first": wanted[key][0] or None,
            "last": wanted[key][-1] or None,
            "backfill": identifier,
        }
        for key, identifier in submitted.items()
    ]
    show(rows, as_json=as_json, title="Backfills")
    _tell_empty(works, file)
    _tell_unread(found, file)
    if rows:
        say("the daemon of `dor-ecco ui` runs them; its page Runs > Backfills shows how they stand")


@app.command("create")
def create_jobs(
    grouping: Annotated[
        list[str] | None,
        typer.Option(
            help="Stem of a grouping, or its number on the one --product; repeatable, all by "
            "default."
        ),
    ] = None,
    product: Annotated[
        list[str] | None, typer.Option(help="native, latlon or 1D, repeatable; all by default.")
    ] = None,
    frequency: Annotated[
        list[str] | None,
        typer.Option(help="AVG_MON, AVG_DAY, SNAP or TI, repeatable; all by default."),
    ] = None,
    steps: Annotated[
        str, typer.Option(help="all, 12, [732, 1428], 1992-01, 1992-01/1992-12 or @0:12.")
    ] = "all",
    out: Annotated[
        Path, typer.Option(help="File to write; with --each its name begins every file's name.")
    ] = Path("created_jobs.txt"),
    each: Annotated[bool, typer.Option(help="One file per grouping and frequency.")] = False,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a job file of the datasets that the options choose."""
    from dor_ecco_assets.ecco.jobs import choose_jobs, load_numbered, stems_on
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.products import all_products

    overlay = None if configs is None else str(configs)
    catalogue = load_numbered(overlay)
    partitionings = {key: found.partitioning for key, found in all_products(overlay).items()}
    jobs = choose_jobs(
        catalogue,
        partitionings,
        groupings=grouping or [],
        grids=product or [],
        frequencies=frequency or [],
        steps=steps,
    )
    files: dict[Path, list[Job]] = {}
    for job in jobs:
        stem = stems_on(catalogue, job.grid)[job.grouping]
        name = out.with_name(f"{out.stem}_{stem}_{job.frequency}{out.suffix}") if each else out
        files.setdefault(name, []).append(job)
    there = [str(name) for name in files if name.exists()]
    if there:
        raise ConfigurationError(
            f"{', '.join(there)} is there already; name another by --out, or remove it",
            code="OutputConflict",
        )
    for name, chosen in files.items():
        _write_jobs(name, chosen, catalogue)
    show(
        [{"file": str(name), "jobs": len(chosen)} for name, chosen in files.items()],
        as_json=as_json,
        title="Job files",
    )


def read_works(
    file: Path, workspace: "Workspace", configs: str | None
) -> "tuple[JobFile, list[Work]]":
    """A job file and the partitions that it means."""
    from dor_ecco_assets.ecco.jobs import load_numbered, parse_jobs, resolve
    from dor_ecco_assets.ecco.planning import with_input
    from dor_ecco_assets.errors import ConfigurationError

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} cannot be read as a job file: {error}; name a text file", code="JobError"
        ) from error
    known: dict[str, list[str]] = {}

    def available(key: str) -> list[str]:
        if key not in known:
            known[key] = with_input(workspace, key)
        return known[key]

    found = parse_jobs(text, str(file))
    partitionings = {key: product.partitioning for key, product in workspace.products.items()}
    return found, resolve(found, load_numbered(configs), partitionings, available, str(file))


def merged(works: "Iterable[Work]", workspace: "Workspace") -> dict[str, list[str]]:
    """Partitions of each product that any job asks for, each once; in the order of the jobs."""
    asked: dict[str, set[str]] = {}
    for work in works:
        if work.partitions:
            asked.setdefault(work.product, set()).update(work.partitions)
    return {
        key: [name for name in workspace.product(key).partitioning.keys if name in wanted]
        for key, wanted in asked.items()
    }


def _input_bytes(workspace: "Workspace", work: "Work") -> int:
    return sum(workspace.input_bytes(work.product, name) for name in work.partitions)


def _write_jobs(path: Path, jobs: "list[Job]", catalogue: Any) -> None:
    from dor_ecco_assets.ecco.jobs import format_job, stems_on
    from dor_ecco_assets.storage.directory import Directory

    lines = ["# grouping,product,frequency,steps"]
    for job in jobs:
        stem = stems_on(catalogue, job.grid)[job.grouping]
        lines += [f"# {stem}", format_job(job)]
    folder = path.absolute().parent
    Directory(folder).put(path.name, ("\n".join(lines) + "\n").encode(), path.stem)


def _tell_unread(found: "JobFile", file: Path) -> None:
    if found.unread:
        say(
            f"{file}: `done` on line {found.done} ends it; {found.unread} later lines were not read"
        )


def _tell_empty(works: "Iterable[Work]", file: Path) -> None:
    for work in works:
        if not work.partitions:
            say(f"{file}: line {work.job.line}: no input of {work.product} has arrived")


__all__ = ["app", "merged", "read_works"]
