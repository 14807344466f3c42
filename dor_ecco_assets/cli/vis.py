"""Stores that maps and curves are read from: their metadata, and what is put into them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dor_ecco_assets.cli.cases import MonthOption, take_former_settings
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
    from dor_ecco_assets.lineage.workspace import Workspace

app = typer.Typer(help="Stores that maps and curves are read from.", no_args_is_help=True)

Store = Literal["store1", "store3"]
StoreArgument = Annotated[str, typer.Argument(help="store1 (efficiency) or store3 (uptake).")]
OutputOption = Annotated[
    Path | None, typer.Option("--output-store", help="A folder to put a copy of the store into.")
]


def _key(store: str) -> str:
    from dor_ecco_assets.dor.products import EFFICIENCY_STORE, UPTAKE_STORE
    from dor_ecco_assets.errors import ConfigurationError

    keys = {"store1": EFFICIENCY_STORE, "store3": UPTAKE_STORE}
    if store not in keys:
        raise ConfigurationError(
            f"there is no store {store!r}; there are {', '.join(keys)}", code="UnknownStore"
        )
    return keys[store]


@app.command("template")
def template(
    store: StoreArgument,
    output_store: OutputOption = None,
    force: Annotated[bool, typer.Option(help="Remove a store that holds data first.")] = False,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
) -> None:
    """Create the metadata of a store; populating it does so too where there are none."""
    from dor_ecco_assets.dor.configuration import load_line
    from dor_ecco_assets.dor.stores import efficiency_schema, uptake_schema
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.lineage.publication import withdraw
    from dor_ecco_assets.lineage.record import recorded_partitions
    from dor_ecco_assets.settings import compat
    from dor_ecco_assets.storage import Directory
    from dor_ecco_assets.stores.regions import put_schema, schema_of

    take_former_settings()
    key = _key(store)
    where = Where(project, root, data, configs, profile)
    places, own = where.places(), where.workspace().storage
    place, target = f"{key}.zarr", own
    if output_store is not None:
        place, target = output_store.name, Directory(output_store.absolute().parent)
    make = efficiency_schema if store == "store1" else uptake_schema
    schema = schema_of(make(load_line(places.configs).specification, compat()))
    held = [name for name, _ in target.list(place) if name.removeprefix(f"{place}/") not in schema]
    if held and not force:
        raise ConfigurationError(
            f"{target.locate(place)} holds data ({len(held)} chunks); --force removes it",
            code="StoreHoldsData",
        )
    if force:
        if target is own:
            for partition in list(recorded_partitions(own, key)):
                withdraw(own, key, partition, keep=place)
        target.delete(place)
    put_schema(target, place, schema)
    print(target.locate(place))


@app.command("populate")
def populate(
    store: StoreArgument,
    month: MonthOption = None,
    output_store: OutputOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the curves of every case that is made into a store, each injection month at once."""
    from dor_ecco_assets.cli.running import report_failures, run_products

    take_former_settings()
    key = _key(store)
    where = Where(project, root, data, configs, profile)
    workspace = where.workspace()
    states = [state for state in workspace.states(key) if state.standing != "waiting"]
    wanted = [state.partition for state in states]
    if month:
        wanted = [f"{number:02d}" for number in month]
    if not wanted:
        print("no case has been made yet: dor-ecco cases process-all")
        raise typer.Exit(1)
    tally = run_products(where.places(), [key], wanted)
    rows = [
        {"store": key, "injection_month": partition, "became": became}
        for became, pairs in (("made", tally.made), ("up to date", tally.skipped))
        for _, partition in pairs
    ]
    show(rows, as_json=as_json, title="Store")
    if output_store is not None and not tally.failures:
        _copy(workspace, f"{key}.zarr", output_store)
    report_failures(tally)


def _copy(workspace: "Workspace", key: str, folder: Path) -> None:
    """Copy a store into a folder, its consolidated metadata last."""
    from dor_ecco_assets.storage import Directory

    target = Directory(folder.absolute())
    names = [name.removeprefix(f"{key}/") for name, _ in workspace.storage.list(key)]
    for name in sorted(names, key=lambda name: (name == ".zmetadata", name)):
        target.put(name, workspace.storage.read(f"{key}/{name}") or b"")
    say(f"copied to {folder}")
