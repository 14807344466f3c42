"""Registered external inputs: list, fetch, verify."""

from typing import Annotated, Any

import typer

from dor_ecco_assets.cli.common import (
    ConfigsOption,
    DataOption,
    JsonOption,
    ProjectOption,
    RootOption,
    Where,
    show,
)

app = typer.Typer(
    help="External inputs with their source, checksum and licence.", no_args_is_help=True
)

NameArgument = Annotated[str | None, typer.Argument(help="Registered input; all by default.")]


@app.command("list")
def list_inputs(
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered inputs and how much of each is here."""
    from dor_ecco_assets.lineage.registry import load_registry, standing_of
    from dor_ecco_assets.storage import open_storage

    places = Where(project, root, data, configs).places()
    inputs = open_storage(places.inputs)
    rows: list[dict[str, Any]] = []
    for name, registered in load_registry(places.configs).items():
        found = standing_of(inputs, registered, verify=False)
        rows.append(
            {
                "input": name,
                "title": registered.title,
                "files": len(found),
                "here": sum(file.standing == "here" for file in found),
                "bytes": sum(file.registered.bytes for file in found),
                "licence": registered.licence,
                "url": registered.url,
            }
        )
    show(rows, as_json=as_json)


@app.command("fetch")
def fetch_inputs(
    name: NameArgument = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
) -> None:
    """Download what is absent or differs, by checksum."""
    from dor_ecco_assets.lineage.registry import choose, fetch, load_registry
    from dor_ecco_assets.storage import open_storage

    places = Where(project, root, data, configs).places()
    inputs = open_storage(places.inputs)
    registry = load_registry(places.configs)
    for chosen in [name] if name else registry:
        brought = fetch(inputs, choose(registry, chosen))
        print(f"{chosen}: {len(brought)} files brought to {inputs.uri}")


@app.command("verify")
def verify_inputs(
    name: NameArgument = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every registered file that is here."""
    from dor_ecco_assets.lineage.registry import choose, load_registry, standing_of
    from dor_ecco_assets.storage import open_storage

    places = Where(project, root, data, configs).places()
    inputs = open_storage(places.inputs)
    registry = load_registry(places.configs)
    rows = [
        {"input": chosen, "file": file.key, "standing": file.standing}
        for chosen in ([name] if name else registry)
        for file in standing_of(inputs, choose(registry, chosen), verify=True)
    ]
    show(rows, as_json=as_json)
    if any(row["standing"] != "here" for row in rows):
        raise typer.Exit(1)
