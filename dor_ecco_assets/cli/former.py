"""Hidden commands under the names of Ocean-CDR-Atlas v0; each calls the command that took over."""

from pathlib import Path
from typing import Annotated

import typer

from dor_ecco_assets.cli import cases, vis
from dor_ecco_assets.cli.common import ConfigsOption, JsonOption, ProjectOption

research = typer.Typer(no_args_is_help=True)

OutputDir = Annotated[
    str | None, typer.Option("--output-dir", "-o", help="Root of the data, as --root.")
]
DataDir = Annotated[
    str | None, typer.Option("--data-dir", "-d", help="Where raw inputs lie, as --data.")
]
Polygon = Annotated[int | None, typer.Option("--polygon", "--polygon-id", "-p")]
Output = Annotated[Path | None, typer.Option("--output-store")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Accepted; progress is shown.")]


@research.command("list-cases")
def list_cases(
    polygon: Polygon = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0)] = 10,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """As `dor-ecco cases list`."""
    cases.list_cases(
        polygon=None if polygon is None else [polygon],
        limit=limit,
        project=project,
        configs=configs,
        as_json=as_json,
    )


@research.command("process-case")
def process_case(
    case: str,
    output_dir: OutputDir = None,
    data_dir: DataDir = None,
    workers: cases.WorkersOption = None,
    verbose: Verbose = False,  # noqa: ARG001 - taken for the sake of old scripts
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco cases process`."""
    cases.process(
        [case],
        root=output_dir,
        data=data_dir,
        workers=workers,
        project=project,
        configs=configs,
    )


@research.command("process-all-cases")
def process_all_cases(
    polygon: Polygon = None,
    max_cases: Annotated[int | None, typer.Option("--max-cases", min=1)] = None,
    output_dir: OutputDir = None,
    data_dir: DataDir = None,
    workers: cases.WorkersOption = None,
    verbose: Verbose = False,  # noqa: ARG001 - taken for the sake of old scripts
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco cases process-all`."""
    cases.process_all(
        polygon=None if polygon is None else [polygon],
        max_cases=max_cases,
        root=output_dir,
        data=data_dir,
        workers=workers,
        project=project,
        configs=configs,
    )


def process_fg_co2_excess(
    polygon: Annotated[int, typer.Option("--polygon", "--polygon-id", "-p")],
    data_dir: DataDir = None,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco cases process-all --polygon`: the excess is made with the rest of a case."""
    cases.process_all(polygon=[polygon], data=data_dir, project=project, configs=configs)


def create_template_store1(
    output_store: Output = None,
    force: bool = False,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco vis template store1`."""
    vis.template("store1", output_store, force, project=project, configs=configs)


def create_template_store3(
    output_store: Output = None,
    force: bool = False,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco vis template store3`."""
    vis.template("store3", output_store, force, project=project, configs=configs)


def populate_store1(
    output_store: Output = None,
    analysis_zarr_stores_dir: Annotated[
        str | None,
        typer.Option("--analysis-zarr-stores-dir", "-a", help="Root of the data, as --root."),
    ] = None,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco vis populate store1`."""
    vis.populate(
        "store1",
        output_store=output_store,
        root=analysis_zarr_stores_dir,
        project=project,
        configs=configs,
    )


def populate_store3(
    polygon: Polygon = None,  # noqa: ARG001 - months are written whole
    pre_computed_fg_co2_excess: Annotated[
        str | None,
        typer.Option("--pre-computed-fg-co2-excess", help="Root of the data, as --root."),
    ] = None,
    output_store: Output = None,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco vis populate store3`."""
    vis.populate(
        "store3",
        output_store=output_store,
        root=pre_computed_fg_co2_excess,
        project=project,
        configs=configs,
    )


def install(app: typer.Typer) -> None:
    """Add the hidden commands."""
    app.add_typer(research, name="research-data", hidden=True)
    app.command("process-fg-co2-excess", hidden=True)(process_fg_co2_excess)
    for name, command in (
        ("create-template-store1", create_template_store1),
        ("create-template-store3", create_template_store3),
        ("populate-store1", populate_store1),
        ("populate-store3", populate_store3),
    ):
        vis.app.command(name, hidden=True)(command)
