"""Stores that maps and curves are read from: their metadata, and what is put into them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dor_ecco_assets.cli import maps
from dor_ecco_assets.cli.cases import (
    CompatOption,
    MonthOption,
    PolygonOption,
    VerifyOption,
    WorkersOption,
    tell_run,
)
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

StoreArgument = Annotated[
    str, typer.Argument(help="store1 (efficiency), store2 (maps) or store3 (uptake).")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output-store", help="A folder to put a copy of the store into.")
]


def _key(store: str) -> str:
    from dor_ecco_assets.dor.products import EFFICIENCY_STORE, UPTAKE_STORE
    from dor_ecco_assets.errors import ConfigurationError

    keys = {"store1": EFFICIENCY_STORE, "store3": UPTAKE_STORE}
    if store not in keys:
        raise ConfigurationError(
            f"there is no store {store!r}; there are store1, store2, store3", code="UnknownStore"
        )
    return keys[store]


#: Variables of Ocean-CDR-Atlas v0 that name where a store goes.
_FORMER_OUTPUT = {
    "store1": "OCEAN_CDR_STORE_1_PATH",
    "store2": "OCEAN_CDR_STORE_2_PATH",
    "store3": "OCEAN_CDR_CUMULATIVE_FG_CO2_PERCENT_STORE_PATH",
}


def _output(store: str, given: Path | None) -> Path | None:
    """The folder of a copy that was asked for by option or by a former variable."""
    import os

    formerly = os.environ.get(_FORMER_OUTPUT[store])
    return given if given is not None or not formerly else Path(formerly)


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
    compat: CompatOption = None,
) -> None:
    """Create the metadata of a store; populating it does so too where there are none."""
    from dor_ecco_assets.dor.configuration import load_line
    from dor_ecco_assets.dor.stores import efficiency_schema, uptake_schema
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.lineage.publication import withdraw
    from dor_ecco_assets.lineage.record import recorded_partitions
    from dor_ecco_assets.settings import compat as chosen_compat
    from dor_ecco_assets.storage import Directory
    from dor_ecco_assets.stores.regions import put_schema, schema_of

    tell_run(compat)
    where = Where(project, root, data, configs, profile)
    if store == "store2":
        maps.make_template(where, _output(store, output_store), force)
        return
    key = _key(store)
    output_store = _output(store, output_store)
    places, own = where.places(), where.workspace().storage
    place, target = f"{key}.zarr", own
    if output_store is not None:
        place, target = output_store.name, Directory(output_store.absolute().parent)
    make = efficiency_schema if store == "store1" else uptake_schema
    schema = schema_of(make(load_line(places.configs).specification, chosen_compat()))
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
    polygon: PolygonOption = None,
    workers: WorkersOption = None,
    verify: VerifyOption = False,
    output_store: OutputOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    compat: CompatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put every case that is made into a store: curves a month at once, maps case by case."""
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.lineage.workspace import Policy

    tell_run(compat)
    where = Where(project, root, data, configs, profile)
    if store == "store2":
        maps.populate_maps(
            where,
            polygons=polygon or (),
            months=month or (),
            workers=workers,
            verify=verify,
            output_store=_output(store, output_store),
            as_json=as_json,
        )
        return
    key = _key(store)
    output_store = _output(store, output_store)
    workspace = where.workspace()
    states = [state for state in workspace.states(key) if state.standing != "waiting"]
    wanted = [state.partition for state in states]
    if month:
        wanted = [f"{number:02d}" for number in month]
    if not wanted:
        print("no case has been made yet: dor-ecco cases process-all")
        raise typer.Exit(1)
    tally = run_products(where.places(), [key], wanted, policy=Policy(verify=verify))
    rows = [
        {"store": key, "injection_month": partition, "became": became}
        for became, pairs in (("made", tally.made), ("up to date", tally.skipped))
        for _, partition in pairs
    ]
    show(rows, as_json=as_json, title="Store")
    if output_store is not None and not tally.failures:
        _copy(workspace, f"{key}.zarr", output_store)
    report_failures(tally)


@app.command("status")
def status(
    project: ProjectOption = None,
    root: RootOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which cases the maps of store 2 hold."""
    tell_run(None)
    maps.show_status(Where(project, root, None, configs, profile), as_json=as_json)


@app.command("view")
def view(
    store: Annotated[
        str | None,
        typer.Argument(
            help="pyramids/atlas or another product, a store, an index.json, or a URL; the atlas "
            "when none is given."
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    project: ProjectOption = None,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Serve the page that shows maps and curves, and open it; stop with Ctrl-C."""
    import contextlib
    import webbrowser

    from dor_ecco_assets.pyramids.serving import PageServer, find_shown, page_path
    from dor_ecco_assets.storage import open_storage

    places = Where(project, root, None, None, profile).places()
    shown = find_shown(open_storage(places.root), store)
    # Ctrl-C may come as soon as the address is read.
    with contextlib.suppress(KeyboardInterrupt), PageServer(shown.storage, port) as server:
        url = f"{server.url}{page_path(shown)}"
        print(url, flush=True)
        say("stop with Ctrl-C")
        if open_browser:
            webbrowser.open(url)
        server.wait()


def _copy(workspace: "Workspace", key: str, folder: Path) -> None:
    """Copy a store into a folder, its consolidated metadata last."""
    from dor_ecco_assets.storage import Directory

    target = Directory(folder.absolute())
    names = [name.removeprefix(f"{key}/") for name, _ in workspace.storage.list(key)]
    for name in sorted(names, key=lambda name: (name == ".zmetadata", name)):
        target.put(name, workspace.storage.read(f"{key}/{name}") or b"")
    say(f"copied to {folder}")
