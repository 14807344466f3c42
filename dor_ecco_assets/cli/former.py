"""Hidden commands under the names of Ocean-CDR-Atlas v0; each calls the command that took over."""

from pathlib import Path
from typing import Annotated

import typer

from dor_ecco_assets.cli import cases, doctor, maps, vis
from dor_ecco_assets.cli.common import ConfigsOption, JsonOption, ProjectOption, Where, show

research = typer.Typer(no_args_is_help=True)

OutputDir = Annotated[
    str | None, typer.Option("--output-dir", "-o", help="Root of the data, as --root.")
]
DataDir = Annotated[
    str | None, typer.Option("--data-dir", "-d", help="Where raw inputs lie, as --data.")
]
Polygon = Annotated[int | None, typer.Option("--polygon", "--polygon-id", "-p")]
Output = Annotated[Path | None, typer.Option("--output-store")]
Levels = Annotated[int | None, typer.Option("--levels", "-l", help="How many zoom levels.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Accepted; progress is shown.")]


def setup_environment(
    create: Annotated[bool, typer.Option("--create", help="Make folders that are absent.")] = False,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whether folders and modules are there; `dor-ecco doctor` looks at more."""
    cases.take_former_settings()
    places = Where(project, configs=configs).places()
    rows: list[dict[str, str]] = []
    for what, place in (("data", places.root.root), ("inputs", places.inputs.root)):
        folder = Path(place or "")
        if create and "://" not in str(place):
            folder.mkdir(parents=True, exist_ok=True)
        there = "://" in str(place) or folder.is_dir()
        state, mend = ("good", "") if there else ("missing", "--create makes it")
        rows.append({"check": what, "state": state, "found": str(place), "mend": mend})
    rows += [
        {"check": check, "state": state, "found": found, "mend": mend}
        for check, state, found, mend in doctor.dependencies()
    ]
    show(rows, as_json=as_json)
    if any(row["state"] == "missing" for row in rows):
        raise typer.Exit(1)


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


def create_template_store2(
    output_store: Output = None,
    variables: Annotated[list[str] | None, typer.Option("--variables", "-v")] = None,
    levels: Levels = None,
    force: bool = False,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco vis template store2`; variables and levels are the atlas' own."""
    cases.take_former_settings()
    maps.require_layout(Where(project, configs=configs), variables, levels)
    vis.template("store2", output_store, force, project=project, configs=configs)


def populate_store2(
    polygon_ids: Annotated[list[int] | None, typer.Option("--polygon-ids", "-p")] = None,
    polygon_range: Annotated[
        tuple[int, int] | None, typer.Option("--polygon-range", help="START END, without END.")
    ] = None,
    intervention_months: Annotated[
        list[int] | None, typer.Option("--intervention-months", "-m")
    ] = None,
    input_dir: Annotated[
        str | None, typer.Option("--input-dir", "-i", help="Root of the data, as --root.")
    ] = None,
    weights_store: Annotated[  # noqa: ARG001 - taken for the sake of old scripts
        str | None,
        typer.Option("--weights-store", "-w", help="Accepted; weights are a product of their own."),
    ] = None,
    levels: Levels = None,
    output_store: Output = None,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """As `dor-ecco vis populate store2`."""
    cases.take_former_settings()
    maps.require_layout(Where(project, configs=configs), None, levels)
    polygons = [*(polygon_ids or ()), *(range(*polygon_range) if polygon_range else ())]
    vis.populate(
        "store2",
        month=intervention_months,
        polygon=polygons or None,
        output_store=output_store,
        root=input_dir,
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
    app.command("setup-environment", hidden=True)(setup_environment)
    app.command("process-fg-co2-excess", hidden=True)(process_fg_co2_excess)
    for name, command in (
        ("create-template-store1", create_template_store1),
        ("create-template-store2", create_template_store2),
        ("create-template-store3", create_template_store3),
        ("populate-store1", populate_store1),
        ("populate-store2", populate_store2),
        ("populate-store3", populate_store3),
    ):
        vis.app.command(name, hidden=True)(command)
