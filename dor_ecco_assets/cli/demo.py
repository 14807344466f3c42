"""The main job, end to end, on sample inputs that are made on the spot or on real ones."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dor_ecco_assets.cli.common import say, show

if TYPE_CHECKING:
    from dor_ecco_assets.cli.running import Tally
    from dor_ecco_assets.lineage.workspace import Workspace
    from dor_ecco_assets.settings import Places
    from dor_ecco_assets.storage import Storage


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the demo's data and Dagster instance.")
    ] = Path("demo"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with real inputs (llc90/); samples are made without it."),
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="Another root for the data, such as s3://bucket/demo.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
) -> None:
    """Make everything once and say how to open it; a second run finds it up to date."""
    from dor_ecco_assets.cli.common import Where
    from dor_ecco_assets.cli.running import Tally, report_failures, run_products
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.samples.demo_inputs import prepare

    started = time.monotonic()
    inputs = out.absolute() / "data" / "inputs"
    configs = out.absolute() / "configs"
    allow_partial, wanted = prepare(inputs, data, configs)
    places = Where(project=out, root=root, data=str(inputs), configs=configs).places()
    tally = Tally()
    unpartitioned = ["grids/llc90", "grids/latlon_0p50deg", "mapping/llc90_to_latlon_0p50deg"]
    run_products(places, unpartitioned, tally=tally, workers=workers)
    policy = Policy(allow_partial=allow_partial)
    for partitions in ((), *wanted):
        keys = _with_input(Production.at(places).workspace(), partitions)
        run_products(places, keys, partitions, policy=policy, tally=tally, workers=workers)
    gathered = ["ecco/delivery", "ecco/quality_report"]
    run_products(places, gathered, wanted[0], tally=tally, workers=workers)
    _make_maps(places, wanted[0], tally, workers)
    if data is None:
        _make_atlas(places, tally, workers)
        _make_virtual_store(places, tally, workers)
    else:
        _make_published(places, tally)
    asked = set(tally.made) | set(tally.skipped)
    manifest = write_manifest(places, asked, out.absolute() / "manifest.json")
    show(
        [
            {name: row[name] for name in ("asset", "partition", "format", "bytes")}
            for row in manifest
        ],
        as_json=False,
        title="Made",
    )
    where = f"--project {out}" if root is None else f"--project {out} --root {root} --data {inputs}"
    _tell(out, where, manifest, tally, time.monotonic() - started)
    report_failures(tally)


def _make_atlas(places: "Places", tally: "Tally", workers: int | None) -> None:
    """Make every case of the demo's atlas, then what is gathered from them."""
    from dor_ecco_assets.cli.running import run_products
    from dor_ecco_assets.dor import products as dor
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.pyramids import products as pyramids

    workspace = Production.at(places).workspace()
    cases = [product.key for product in workspace.made_together(dor.RESEARCH)]
    partitions = workspace.product(dor.RESEARCH).partitioning.keys
    first = [*workspace.product(dor.RESEARCH).upstream, dor.CASES]
    run_products(places, first, tally=tally, workers=workers)
    run_products(places, cases, partitions, tally=tally, workers=workers)
    stores = [dor.EFFICIENCY_STORE, dor.UPTAKE_STORE]
    months = workspace.product(stores[0]).partitioning.keys
    run_products(places, stores, months, tally=tally, workers=workers)
    run_products(places, [dor.REPORT], tally=tally, workers=workers)
    _make_templates(places, [pyramids.ATLAS], tally)
    run_products(places, [pyramids.ATLAS], partitions, tally=tally, workers=workers)
    run_products(places, [f"{pyramids.ATLAS}{pyramids.INDEX_SUFFIX}"], tally=tally)


def _make_virtual_store(places: "Places", tally: "Tally", workers: int | None) -> None:
    """Build the demo's virtual store of the first granules, then append the others."""
    from dor_ecco_assets.cli.running import run_products
    from dor_ecco_assets.lineage.record import read_record
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.samples.virtual_granules import DAILY
    from dor_ecco_assets.virtual.collections import collection_name, load_collections
    from dor_ecco_assets.virtual.discovery import Changes, Cursor
    from dor_ecco_assets.virtual.making import take_in
    from dor_ecco_assets.virtual.products import collection_products
    from dor_ecco_assets.virtual.services import cmr_client

    spec = load_collections(places.configs)[collection_name(DAILY.short_name)]
    granules, references, store, exports = (each.key for each in collection_products(spec))

    def publish() -> None:
        workspace = Production.at(places).workspace()
        partitions = [each.partition for each in workspace.states(references)]
        run_products(places, [references], partitions, tally=tally, workers=workers)
        run_products(places, [store], tally=tally)

    workspace = Production.at(places).workspace()
    if read_record(workspace.storage, granules, "") is None:
        first = tuple(cmr_client(spec).search(spec.query())[:8])
        take_in(workspace, spec, granules, Changes(first, (), whole=False, cursor=Cursor()))
        publish()
        run_products(places, [granules], policy=Policy(force=True), tally=tally)
    else:
        run_products(places, [granules], tally=tally)
    publish()
    run_products(places, [exports], tally=tally)


def _make_maps(
    places: "Places", months: Sequence[str], tally: "Tally", workers: int | None
) -> None:
    """Make the configured maps of what has these months."""
    from dor_ecco_assets.cli.running import run_products
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.pyramids.products import INDEX_SUFFIX

    made = {key for key, _ in (*tally.made, *tally.skipped)}
    maps = [
        key
        for key, product in Production.at(places).workspace().products.items()
        if product.line == "pyramids" and made & set(product.gathers)
    ]
    if maps:
        _make_templates(places, maps, tally)
        run_products(places, maps, months, tally=tally, workers=workers)
        run_products(places, [f"{key}{INDEX_SUFFIX}" for key in maps], tally=tally)


def _make_templates(places: "Places", maps: Sequence[str], tally: "Tally") -> None:
    """Make weights and templates of maps; the demo's own stores of another grid give way."""
    from dor_ecco_assets.cli.running import run_products
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.pyramids.products import TEMPLATE_SUFFIX

    workspace = Production.at(places).workspace()
    templates = [f"{key}{TEMPLATE_SUFFIX}" for key in maps]
    weights = {key for template in templates for key in workspace.product(template).upstream}
    run_products(places, sorted(weights), tally=tally)
    for template in templates:
        stale = workspace.state(template, "").standing == "stale"
        run_products(places, [template], tally=tally, policy=Policy(force=stale))


def _make_published(places: "Places", tally: "Tally") -> None:
    """Make what the page shows of the published atlas: polygons and efficiencies."""
    from dor_ecco_assets.cli.running import run_products
    from dor_ecco_assets.dor.products import PUBLISHED
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.pyramids.products import ATLAS, INDEX_SUFFIX

    workspace = Production.at(places).workspace()
    if PUBLISHED in workspace.products and any(workspace.input_keys(PUBLISHED, "").values()):
        run_products(places, [PUBLISHED], tally=tally)
        _make_templates(places, [ATLAS], tally)
        run_products(places, [f"{ATLAS}{INDEX_SUFFIX}"], tally=tally)


def _with_input(workspace: "Workspace", partitions: Sequence[str]) -> list[str]:
    """ECCO datasets that have these partitions, and inputs for the first of them."""
    asked = list(partitions) or [""]
    return [
        key
        for key, product in workspace.products.items()
        if product.line == "ecco"
        and set(asked) <= set(product.partitioning.keys)
        and any(workspace.input_keys(key, asked[0]).values())
    ]


def _tell(
    out: Path, where: str, manifest: list[dict[str, Any]], tally: "Tally", seconds: float
) -> None:
    if tally.made:
        print(f"{len(tally.made)} made, {len(tally.skipped)} up to date, in {seconds:.0f} s")
    elif not tally.failures:
        print(
            f"everything is up to date: {len(tally.skipped)} partitions checked in {seconds:.0f} s"
        )
    print(f"Manifest: {out / 'manifest.json'}")
    granules = [row for row in manifest if "SSH_05DEG_MONTHLY" in row["asset"]]
    if granules:
        line = granules[0]["open_with"].replace('"', "'")
        print(f'Open one:  uv run python -c "{line}; print(ds)"')
    print(f"See the graph, the partitions and the previews:  uv run dor-ecco ui {where}")
    print(f"Ask what is out of date, and why:  uv run dor-ecco stale {where}")
    print(f"Look at the maps and curves:  uv run dor-ecco vis view {where}")


def write_manifest(
    places: "Places", asked: set[tuple[str, str]], path: Path
) -> list[dict[str, Any]]:
    """Write and return what was made, of what was asked, with the Python that opens it."""
    from dor_ecco_assets.lineage.record import read_record, recorded_assets, recorded_partitions
    from dor_ecco_assets.storage import open_storage

    storage = open_storage(places.root)
    rows: list[dict[str, Any]] = []
    for asset in recorded_assets(storage):
        for partition in recorded_partitions(storage, asset):
            record = read_record(storage, asset, partition)
            if record is None or (asset, partition) not in asked:
                continue
            uri, kind = storage.locate(record.uri), str(record.details["format"])
            rows.append(
                {
                    "asset": asset,
                    "partition": partition,
                    "uri": uri,
                    "format": kind,
                    "bytes": record.bytes,
                    "sha256": record.sha256,
                    "open_with": _open_with(storage, asset, uri, kind),
                }
            )
    path.write_text(json.dumps(rows, indent=1) + "\n")
    say(f"wrote {path}")
    return rows


def _open_with(storage: "Storage", key: str, uri: str, kind: str) -> str:
    """One line of Python that opens a product: ``ds``, or the `Path` ``opened`` of what is none.

    A report or delivery in an object store has none of that kind: its URI says where it lies.
    """
    from dor_ecco_assets.storage import Directory

    on_disk = isinstance(storage, Directory)
    if kind in ("files", "html"):
        return f"import pathlib; opened = pathlib.Path({uri!r})" if on_disk else ""
    if kind == "icechunk" or (kind == "pyramid" and not on_disk):
        return (
            f"import os; os.environ['DOR_ECCO_ROOT'] = {storage.uri!r}; "
            f"import dor_ecco_assets; ds = dor_ecco_assets.open({key!r})"
        )
    if not on_disk:
        return f"import dor_ecco_assets; ds = dor_ecco_assets.open({uri!r})"
    if kind == "pyramid":
        return f"import xarray; ds = xarray.open_datatree({uri + '/v2.zarr'!r}, engine='zarr')"
    if kind == "zarr":
        return f"import xarray; ds = xarray.open_zarr({uri!r}, consolidated=False)"
    return f"import xarray; ds = xarray.open_dataset({uri!r})"
