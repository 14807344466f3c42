"""Virtual stores: configure a collection, build its store, keep it current, look at it."""

import os
from collections.abc import Sequence
from dataclasses import asdict
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
    from dor_ecco_assets.cli.running import Tally
    from dor_ecco_assets.settings import Places
    from dor_ecco_assets.stores.icechunk_store import IcechunkStore
    from dor_ecco_assets.virtual.collections import StoreSpec

app = typer.Typer(
    help="Virtual stores of archived granules that grow as granules arrive.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="Short name of the collection.")]
StartOption = Annotated[str | None, typer.Option(help="First day, such as 2022-01-31.")]
EndOption = Annotated[str | None, typer.Option(help="Day after the last.")]
ConceptOption = Annotated[str | None, typer.Option(help="Concept id of the collection.")]
LoadOption = Annotated[
    str | None, typer.Option(help="Arrays whose values are kept, such as lat,lon,time.")
]
CompareOption = Annotated[
    int, typer.Option(min=0, help="Granules whose values are compared with the files.")
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Worker processes.")]

#: Where the places of a build without configuration lie below ``--out``.
_CONFIGS = "configs"
#: Granules whose values are compared where no number is given.
COMPARED = 3


@app.command("init")
def init(
    short_name: NameArgument,
    version: Annotated[str | None, typer.Option(help="Of the collection.")] = None,
    provider: Annotated[str | None, typer.Option(help="Such as POCLOUD.")] = None,
    concept_id: ConceptOption = None,
    load: LoadOption = None,
    force: Annotated[bool, typer.Option(help="Replace a configuration that is there.")] = False,
    project: ProjectOption = None,
    configs: ConfigsOption = None,
) -> None:
    """Write configs/collections/SHORT_NAME.yaml from CMR and one of its granules."""
    # A folder that is named need not be there yet: this is what makes it.
    folder = configs or Path(Where(project).places().configs or "configs")
    path = _write_proposal(
        folder,
        short_name,
        version=version,
        provider=provider,
        concept_id=concept_id,
        load=load,
        force=force,
    )
    print(path.read_text(), end="")
    say(f"wrote {path}; look it through, then run: dor-ecco virtual build {short_name}")


def _write_proposal(
    folder: Path,
    short_name: str,
    *,
    version: str | None = None,
    provider: str | None = None,
    concept_id: str | None = None,
    load: str | None = None,
    start: str | None = None,
    end: str | None = None,
    force: bool = False,
) -> Path:
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.virtual.cmr import parse_date
    from dor_ecco_assets.virtual.initialising import find_collection, propose, yaml_of
    from dor_ecco_assets.virtual.services import cmr_client

    path = folder / "collections" / f"{short_name}.yaml"
    if path.exists() and not force:
        raise ConfigurationError(
            f"{path} is there already; edit it, or replace it by --force", code="ConfigExists"
        )
    client = cmr_client()
    collection = find_collection(
        client,
        short_name=None if concept_id else short_name,
        version=version,
        provider=provider,
        concept_id=concept_id,
    )
    proposal = propose(
        client,
        collection,
        load=None if load is None else _words(load),
        start=None if start is None else parse_date(start),
        end=None if end is None else parse_date(end),
    )
    _ = proposal.spec  # nothing is written that does not load
    for doubt in proposal.doubts:
        say(f"note: {doubt}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml_of(proposal))
    return path


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


@app.command("search")
def search(
    short_name: Annotated[str | None, typer.Argument(help="Of the collection.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the collection.")] = None,
    provider: Annotated[str | None, typer.Option(help="Such as POCLOUD.")] = None,
    concept_id: ConceptOption = None,
    start: StartOption = None,
    end: EndOption = None,
    box: Annotated[
        str | None, typer.Option(help="West, south, east, north, such as -20,-10,20,10.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="Rows; 0 for all.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the granules that CMR has."""
    from dor_ecco_assets.virtual.cmr import CmrQuery, parse_date
    from dor_ecco_assets.virtual.services import cmr_client

    query = CmrQuery(
        concept_id=concept_id,
        short_name=short_name,
        version=version,
        provider=provider,
        start=None if start is None else parse_date(start),
        end=None if end is None else parse_date(end),
        bounding_box=None if box is None else _box(box),
    )
    found = cmr_client().search(query)
    ordered = sorted(found, key=lambda each: (str(each.begin), each.granule_ur))
    rows = [
        {
            "granule": each.granule_ur,
            "concept_id": each.concept_id,
            "revision": each.revision_id,
            "begin": None if each.begin is None else f"{each.begin:%Y-%m-%dT%H:%M:%SZ}",
            "files": len(each.files),
        }
        for each in (ordered[:limit] if limit else ordered)
    ]
    show(rows, as_json=as_json, title="Granules")
    if not as_json:
        print(f"{len(rows)} of {len(found)}")


def _box(text: str) -> tuple[float, float, float, float]:
    from dor_ecco_assets.errors import ConfigurationError

    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"--box {text}: expected four numbers, west,south,east,north", code="BadBox"
        ) from error
    return west, south, east, north


@app.command("build")
def build(
    short_name: NameArgument,
    load: LoadOption = None,
    start: StartOption = None,
    end: EndOption = None,
    out: Annotated[
        str | None,
        typer.Option(help="Folder or s3:// URL for all of it; needs no configuration then."),
    ] = None,
    concept_id: ConceptOption = None,
    retry: Annotated[
        bool, typer.Option(help="Ask again for bytes that were not there or could not be used.")
    ] = False,
    repair: Annotated[
        bool, typer.Option(help="Write again what is not as records, ledger and archive say.")
    ] = False,
    compare: CompareOption = COMPARED,
    workers: WorkersOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the whole collection, reference what is new, publish and export it."""
    where = Where(project, root, data, configs, profile)
    if out is not None:
        where = _without_configuration(out, short_name, load, start, end, concept_id)
    elif load or start or end or concept_id:
        from dor_ecco_assets.errors import ConfigurationError

        raise ConfigurationError(
            "--load, --start, --end and --concept-id go with --out; without it the collection's "
            "configuration says so",
            code="NotWithConfiguration",
        )
    places = where.places()
    spec = _spec(places, short_name)
    if retry or repair:
        _ask_again(where, spec, waiting=retry, damaged=repair, compare=compare)
    _run(where, spec, whole=True, verify=repair, workers=workers, as_json=as_json)


@app.command("container", hidden=True)
def container() -> None:
    """Build as the variables COLLECTION, LOADABLE_VARS, START_DATE, END_DATE, OUTPUT_BUCKET say."""
    from dor_ecco_assets.errors import ConfigurationError

    given = {name: os.environ.get(name) or None for name in _VARIABLES}
    if given["COLLECTION"] is None:
        raise ConfigurationError(
            f"COLLECTION is not set; a container takes {', '.join(_VARIABLES)}", code="NoCollection"
        )
    bucket = given["OUTPUT_BUCKET"]
    out = "." if bucket is None else bucket if "://" in bucket else f"s3://{bucket}"
    build(
        given["COLLECTION"],
        load=given["LOADABLE_VARS"],
        start=given["START_DATE"],
        end=given["END_DATE"],
        out=out,
    )


_VARIABLES = ("COLLECTION", "LOADABLE_VARS", "START_DATE", "END_DATE", "OUTPUT_BUCKET")


def _without_configuration(
    out: str,
    short_name: str,
    load: str | None,
    start: str | None,
    end: str | None,
    concept_id: str | None,
) -> Where:
    """A project of its own, configured from CMR where that was not done before."""
    remote = "://" in out
    project = Path(f"virtual-{short_name}") if remote else Path(out)
    configs = project / _CONFIGS
    path = configs / "collections" / f"{short_name}.yaml"
    if not path.exists() or load or start or end:
        _write_proposal(
            configs,
            short_name,
            concept_id=concept_id,
            load=load,
            start=start,
            end=end,
            force=True,
        )
    return Where(project=project, root=out if remote else None, configs=configs)


@app.command("append")
def append(
    short_name: NameArgument,
    workers: WorkersOption = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in what CMR has new since it was asked last."""
    where = Where(project, root, data, configs, profile)
    spec = _spec(where.places(), short_name)
    _run(where, spec, whole=False, workers=workers, as_json=as_json)


@app.command("plan")
def plan(
    short_name: NameArgument,
    sample: Annotated[int, typer.Option(min=0, help="Granules to look into.")] = 5,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a build would read, and how alike granules are; writes nothing."""
    from datetime import UTC, datetime

    from dor_ecco_assets.virtual.access import Archives
    from dor_ecco_assets.virtual.discovery import whole_listing
    from dor_ecco_assets.virtual.listing import read_listing
    from dor_ecco_assets.virtual.products import granules_key
    from dor_ecco_assets.virtual.published import catalogue_of
    from dor_ecco_assets.virtual.standing import plan_of

    where = Where(project, root, data, configs, profile)
    spec, workspace = _spec(where.places(), short_name), where.workspace()
    listing = read_listing(workspace.storage, granules_key(spec.name))
    records = tuple(catalogue_of(spec, workspace.storage).search(spec.query()))
    whole_listing(spec, listing, records, datetime.now(UTC))
    found = plan_of(workspace, spec, listing, sample, Archives(spec))
    if as_json:
        show([asdict(found)], as_json=True)
        return
    rows = [{"partition": name, "granules": count} for name, count in found.partitions.items()]
    show(rows, as_json=False, title="To be read")
    print(f"{sum(found.partitions.values())} granules, {found.bytes / 1e6:.1f} MB in the archive")
    print(f"about {found.references} byte ranges; {found.sampled} granules looked into:")
    print(
        f"{found.schemas} ways of storing"
        + "".join(f", {k} {v}" for k, v in found.differing.items())
    )
    for problem in found.unusable:
        say(problem)


@app.command("check")
def check(
    short_name: NameArgument,
    granules: Annotated[int, typer.Option(min=1, help="Granules to compare.")] = COMPARED,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare values read through the store with the original files."""
    from dor_ecco_assets.virtual.probing import probe

    where = Where(project, root, data, configs, profile)
    spec = _spec(where.places(), short_name)
    found = [asdict(each) for each in probe(where.workspace().storage, spec, granules)]
    show(found, as_json=as_json, title="Compared with the originals")
    if any(each["problem"] for each in found):
        raise typer.Exit(1)


@app.command("diff")
def diff(
    short_name: NameArgument,
    before: Annotated[str, typer.Argument(help="Snapshot or tag; the one before by default.")] = "",
    after: Annotated[str, typer.Argument(help="Snapshot or tag; the newest by default.")] = "",
    project: ProjectOption = None,
    root: RootOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List granules that differ between two versions of the store."""
    from dor_ecco_assets.virtual.versions import diff as changes_between

    store, _ = _store(Where(project, root, None, configs, profile), short_name)
    if not before:
        versions = [each.snapshot for each in store.versions()]
        before = versions[min(1, len(versions) - 1)]
    rows = [each._asdict() for each in changes_between(store, before, after or None)]
    show(rows, as_json=as_json, title=f"From {before} to {after or 'the newest'}")


@app.command("versions")
def versions(
    short_name: NameArgument,
    project: ProjectOption = None,
    root: RootOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of the store, the newest first."""
    store, _ = _store(Where(project, root, None, configs, profile), short_name)
    rows = [
        {"snapshot": each.snapshot, "written": each.written, "message": each.message}
        for each in store.versions()
    ]
    show(rows, as_json=as_json, title="Versions")


@app.command("rollback")
def rollback(
    short_name: NameArgument,
    version: Annotated[str, typer.Argument(help="Snapshot or tag to go back to.")],
    project: ProjectOption = None,
    root: RootOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
) -> None:
    """Make an earlier version of the store the newest; the next build goes on from there."""
    from dor_ecco_assets.lineage.record import record_key
    from dor_ecco_assets.virtual.products import store_key

    where = Where(project, root, None, configs, profile)
    store, spec = _store(where, short_name)
    # What the record speaks of is about to be another version.
    store.resolve(version)
    store.storage.delete(record_key(store_key(spec.name), ""))
    snapshot = store.rollback(version)
    print(f"{store.uri} is at {snapshot}")
    say(
        "the next build takes in again what CMR lists: stop the sensor, or mend the configuration, "
        "until it should"
    )


@app.command("reconcile")
def reconcile(
    short_name: NameArgument,
    compare: CompareOption = COMPARED,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare CMR, ledger, archive, store and records; name each difference and its repair."""
    from dor_ecco_assets.virtual.published import catalogue_of
    from dor_ecco_assets.virtual.reconciling import reconcile as differences

    where = Where(project, root, data, configs, profile)
    spec, workspace = _spec(where.places(), short_name), where.workspace()
    catalogue = catalogue_of(spec, workspace.storage)
    rows = [asdict(each) for each in differences(workspace, spec, catalogue, compare=compare)]
    show(rows, as_json=as_json, title="Differences")
    if rows:
        raise typer.Exit(1)


@app.command("export")
def export(
    short_name: NameArgument,
    force: Annotated[bool, typer.Option(help="Make again what is up to date.")] = False,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write kerchunk files and the catalogue entry of the store as it is."""
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.virtual.products import exports_key

    where = Where(project, root, data, configs, profile)
    places = where.places()
    key = exports_key(_spec(places, short_name).name)
    tally = run_products(places, [key], policy=Policy(force=force))
    _show_made(where, [key], as_json=as_json)
    report_failures(tally)


@app.command("status")
def status(
    short_name: Annotated[str | None, typer.Argument(help="All collections by default.")] = None,
    offline: Annotated[bool, typer.Option(help="Do not ask CMR how far behind it is.")] = False,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Granules listed and published, how far behind CMR, size."""
    from dor_ecco_assets.errors import DorEccoError
    from dor_ecco_assets.products import all_collections
    from dor_ecco_assets.virtual.published import catalogue_of
    from dor_ecco_assets.virtual.standing import standing_of

    where = Where(project, root, data, configs, profile)
    places, workspace = where.places(), where.workspace()
    chosen = (
        list(all_collections(places.configs).values())
        if short_name is None
        else [_spec(places, short_name)]
    )
    rows: list[dict[str, Any]] = []
    for spec in chosen:
        try:
            catalogue = None if offline else catalogue_of(spec, workspace.storage)
            found = standing_of(workspace, spec, catalogue)
        except DorEccoError as error:
            if offline:
                raise
            say(f"{spec.name}: {error.message}; shown without CMR")
            offline, found = True, standing_of(workspace, spec, None)
        rows.append(asdict(found))
    show(rows, as_json=as_json, title="Virtual stores")


# What the commands share


def _spec(places: "Places", short_name: str) -> "StoreSpec":
    """The configured collection of this name, as CMR or as asset keys have it.

    Raises
    ------
    ConfigurationError
        Code ``UnknownCollection``.
    """
    from dor_ecco_assets.errors import ConfigurationError
    from dor_ecco_assets.products import all_collections
    from dor_ecco_assets.storage import open_storage
    from dor_ecco_assets.virtual.collections import collection_name
    from dor_ecco_assets.virtual.published import located

    found = all_collections(places.configs)
    if collection_name(short_name) in found:
        return located(found[collection_name(short_name)], open_storage(places.root))
    raise ConfigurationError(
        f"there is no configured collection {short_name!r}; there are "
        f"{', '.join(each.collection.short_name for each in found.values()) or 'none'}: write one "
        f"by `dor-ecco virtual init {short_name}`, or build it into a folder by --out",
        code="UnknownCollection",
    )


def _store(where: Where, short_name: str) -> "tuple[IcechunkStore, StoreSpec]":
    from dor_ecco_assets.virtual.access import chosen_way
    from dor_ecco_assets.virtual.reading import virtual_store

    spec = _spec(where.places(), short_name)
    return virtual_store(where.workspace().storage, spec, chosen_way(spec.access[0])), spec


def _ask_again(
    where: Where, spec: "StoreSpec", *, waiting: bool, damaged: bool, compare: int
) -> None:
    from dor_ecco_assets.virtual.making import retry
    from dor_ecco_assets.virtual.products import granules_key
    from dor_ecco_assets.virtual.reconciling import mend
    from dor_ecco_assets.virtual.standing import waiting_granules

    workspace = where.workspace()
    wanted = waiting_granules(workspace, spec) if waiting else set[str]()
    if damaged:
        found, cleared = mend(workspace, spec, compare=compare)
        wanted |= found
        say(f"{cleared} slots that no granule owns were cleared")
    if wanted:
        retry(workspace, spec, granules_key(spec.name), wanted)
    say(f"{len(wanted)} granules are asked for again")


def _run(
    where: Where,
    spec: "StoreSpec",
    *,
    whole: bool,
    workers: int | None,
    as_json: bool,
    verify: bool = False,
) -> None:
    """List, then run references, store and exports as far as anything is to be done."""
    from dor_ecco_assets.cli.running import Tally, one_instance, report_failures
    from dor_ecco_assets.virtual.products import exports_key, granules_key, store_key

    tally = Tally()
    with one_instance():
        _run_all(where, spec, tally, whole=whole, workers=workers, verify=verify)
    keys = [granules_key(spec.name), store_key(spec.name), exports_key(spec.name)]
    _show_made(where, keys, as_json=as_json)
    report_failures(tally)
    _report_quarantine(where, spec)


def _run_all(
    where: Where,
    spec: "StoreSpec",
    tally: "Tally",
    *,
    whole: bool,
    workers: int | None,
    verify: bool,
) -> None:
    from dor_ecco_assets.cli.running import run_products
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.virtual.products import (
        exports_key,
        granules_key,
        references_key,
        store_key,
    )
    from dor_ecco_assets.virtual.standing import has_moved, stale_partitions

    places = where.places()
    granules, references = granules_key(spec.name), references_key(spec.name)
    store, exports = store_key(spec.name), exports_key(spec.name)
    if whole:
        run_products(places, [granules], policy=Policy(force=True), tally=tally)
    else:
        _take_in_news(where, spec)
    if not tally.failures:
        policy = Policy(verify=verify)
        partitions = stale_partitions(where.workspace(), spec, every=verify)
        if partitions:
            run_products(
                places, [references], partitions, policy=policy, tally=tally, workers=workers
            )
        moved = has_moved(where.workspace(), spec)
        run_products(places, [store], policy=Policy(force=moved, verify=verify), tally=tally)
    if not tally.failures:
        run_products(places, [exports], policy=Policy(verify=verify), tally=tally)


def _take_in_news(where: Where, spec: "StoreSpec") -> None:
    from datetime import UTC, datetime

    from dor_ecco_assets.virtual.discovery import Cursor, look
    from dor_ecco_assets.virtual.making import cursor_of, take_in
    from dor_ecco_assets.virtual.products import granules_key
    from dor_ecco_assets.virtual.published import catalogue_of

    workspace, key = where.workspace(), granules_key(spec.name)
    cursor: Cursor = cursor_of(workspace.storage, spec, key)
    changes = look(spec, cursor, catalogue_of(spec, workspace.storage), datetime.now(UTC))
    if changes:
        take_in(workspace, spec, key, changes)


def _show_made(where: Where, keys: Sequence[str], *, as_json: bool) -> None:
    from dor_ecco_assets.lineage.record import read_record

    storage, rows = where.workspace().storage, list[dict[str, Any]]()
    for key in keys:
        record = read_record(storage, key, "")
        if record is not None:
            rows.append(
                {
                    "asset": key,
                    "uri": storage.locate(record.uri),
                    "granules": _count(record.details.get("granules")),
                    "bytes": record.bytes,
                    "sha256": record.sha256,
                    "version": record.details.get("snapshot") or record.details.get("release", ""),
                }
            )
    show(rows, as_json=as_json, title="Made")


def _count(found: Any) -> int | None:
    return found.get("published") if isinstance(found, dict) else found


def _report_quarantine(where: Where, spec: "StoreSpec") -> None:
    """End with code 3 where granules could not be used, listing some.

    Raises
    ------
    typer.Exit
    """
    from dor_ecco_assets.lineage.record import read_record
    from dor_ecco_assets.virtual.products import store_key

    record = read_record(where.workspace().storage, store_key(spec.name), "")
    states = {} if record is None else record.details["granules"]
    if record is not None and states.get("pending"):
        say(f"{states['pending']} granules wait for their bytes; try again by --retry")
    if record is not None and states.get("quarantined"):
        for key, reason in list(record.details["quarantined"].items())[:10]:
            say(f"quarantined: {key}: {reason}")
        say(f"{states['quarantined']} granules are in quarantine")
        raise typer.Exit(3)
