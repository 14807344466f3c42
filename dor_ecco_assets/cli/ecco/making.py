"""Making and verifying: grid, mapping factors, granules."""

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
    tracked,
)

if TYPE_CHECKING:
    from dor_ecco_assets.cli.running import Tally
    from dor_ecco_assets.lineage.workspace import Workspace

#: Steps of no partition that are told one by one.
MOST_UNPLACED = 5

ForceOption = Annotated[bool, typer.Option(help="Make again what is up to date.")]
StrictOption = Annotated[
    bool,
    typer.Option(
        help="Leave out attributes that CF checkers refuse; "
        "DOR_ECCO_STRICT_CF=1 tells every command."
    ),
]
VerifyOption = Annotated[
    bool, typer.Option(help="Hash published bytes before believing their record.")
]


def grid(
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    force: ForceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the model's grid and the latitude-longitude grid."""
    _make_unpartitioned(
        Where(project, root, data, configs, profile),
        with_factors=False,
        force=force,
        verify=verify,
        as_json=as_json,
    )


def factors(
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    force: ForceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the mapping factors for all depth levels, and the grids where they are out of date."""
    _make_unpartitioned(
        Where(project, root, data, configs, profile),
        with_factors=True,
        force=force,
        verify=verify,
        as_json=as_json,
    )


def granules(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Short names, or parts of them such as SSH_05DEG; all by default."),
    ] = None,
    partition: Annotated[
        list[str] | None, typer.Option(help="Month 1992-01 or day 1992-01-01; repeatable.")
    ] = None,
    partition_range: Annotated[
        str | None, typer.Option(help="First...last, such as 1992-01...1992-12.")
    ] = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    allow_partial: Annotated[
        bool, typer.Option(help="Make granules of those variables whose input is there.")
    ] = False,
    strict_cf: StrictOption = False,
    force: ForceOption = False,
    verify: VerifyOption = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make granules: of the partitions named, else of all that have input and are out of date."""
    from dor_ecco_assets.cli.running import report_failures, run_all
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production
    from dor_ecco_assets.settings import STRICT_CF

    if strict_cf:
        os.environ[STRICT_CF] = "1"  # the run is told by its environment, as it is of its date
    places = Where(project, root, data, configs, profile).places()
    workspace = Production.at(places).workspace()
    policy = Policy(force=force, verify=verify, allow_partial=allow_partial)
    keys = choose_datasets(workspace.products, datasets or [])
    chosen = _partitions(workspace, keys, partition or [], partition_range)
    wanted = {key: [n for n in names if n] for key, names in chosen.items() if names}
    tally = run_all(places, wanted, policy=policy, workers=workers)
    if not partition and partition_range is None:
        tally.failures += [row for key in keys for row in unplaced_rows(workspace, key)]
    if not (tally.made or tally.skipped or tally.failures):
        say(f"no input has arrived in {places.inputs.root}; name its folder by --data DIR")
    rows = rows_of(tally, with_failures=as_json)
    show(rows, as_json=as_json, title="Granules")
    report_failures(tally)


def verify(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(help="Short names, or parts of them such as SSH_05DEG; all by default."),
    ] = None,
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hash every published granule and open it: checksum, name, time, fill, valid range."""
    from dor_ecco_assets.ecco.verification import verify_granule
    from dor_ecco_assets.lineage.record import recorded_partitions

    workspace = Where(project, root, data, configs).workspace()
    rows: list[dict[str, Any]] = []
    published = [
        (key, name)
        for key in choose_datasets(workspace.products, datasets or [])
        for name in recorded_partitions(workspace.storage, key)
    ]
    for key, name in tracked(published, "verifying"):
        problems = verify_granule(workspace.storage, key, name)
        rows.append({"product": key, "partition": name, "found": "; ".join(problems) or "good"})
    show(rows, as_json=as_json, title="Granules")
    if any(row["found"] != "good" for row in rows):
        raise typer.Exit(1)


def unplaced_rows(workspace: "Workspace", key: str) -> list[dict[str, Any]]:
    """Inputs that belong to no partition of a dataset, as failures; the first ones one by one."""
    errors = workspace.unplaced(key)
    rows = [
        {
            "product": key,
            "partition": "",
            "code": error.code,
            "message": error.message,
            "quarantined": True,
            "uri": error.uri,
        }
        for error in errors[:MOST_UNPLACED]
    ]
    if len(errors) > MOST_UNPLACED:
        text = f"{len(errors) - MOST_UNPLACED} more steps belong to no partition, up to"
        rows.append({**rows[-1], "message": f"{text} {errors[-1].uri}", "uri": errors[-1].uri})
    return rows


def rows_of(tally: "Tally", *, with_failures: bool) -> list[dict[str, Any]]:
    """What became of each partition; failures too where nothing else lists them."""
    rows = [
        {"product": key, "partition": name, "became": became}
        for became, pairs in (("made", tally.made), ("up to date", tally.skipped))
        for key, name in pairs
    ]
    if with_failures:
        rows += [
            {
                "product": found["product"],
                "partition": found["partition"],
                "became": "quarantined" if found["quarantined"] else "failed",
                "code": found["code"],
                "message": found["message"],
            }
            for found in tally.failures
        ]
    return rows


def choose_datasets(products: Any, wanted: list[str]) -> list[str]:
    """Keys of the ECCO datasets whose short name holds any of the given parts.

    Raises
    ------
    ConfigurationError
        If a part fits none; names the nearest.
    """
    import difflib

    from dor_ecco_assets.errors import ConfigurationError

    names = [
        key.split("/")[1]
        for key, product in products.items()
        if key.startswith("ecco/") and not product.gathers
    ]
    chosen: list[str] = []
    for part in wanted or [""]:
        fitting = [name for name in names if part.upper().removeprefix("ECCO/") in name]
        if not fitting:
            near = difflib.get_close_matches(part.upper(), names, n=3, cutoff=0.2)
            raise ConfigurationError(
                f"no dataset's short name holds {part!r}; nearest: {', '.join(near or names)}",
                code="UnknownDataset",
            )
        chosen += fitting
    return [f"ecco/{name}" for name in dict.fromkeys(chosen)]


def _partitions(
    workspace: "Workspace", keys: list[str], named: list[str], partition_range: str | None
) -> dict[str, list[str]]:
    """Partitions to make of each dataset: those named, else what has input and is not done.

    A month names partitions of monthly datasets and a day those of daily ones, so that one
    command can ask for both; a name that fits no dataset is an error. A dataset that is not split
    has the one partition "".
    """
    from dor_ecco_assets.errors import ConfigurationError

    known = {key: workspace.product(key).partitioning.keys for key in keys}
    if not named and partition_range is None:
        return {
            key: [s.partition for s in workspace.states(key) if s.standing != "waiting"]
            for key in keys
        }
    wanted: dict[str, list[str]] = {
        key: [name for name in named if name in every] for key, every in known.items()
    }
    first, last = parse_range(partition_range) if partition_range is not None else ("", "")
    for key, every in known.items():
        if first and first in every and last in every:
            wanted[key] += every[every.index(first) : every.index(last) + 1]
    fitting = {name for names in wanted.values() for name in names}
    unfitting = [name for name in (*named, first, last) if name and name not in fitting]
    if unfitting:
        spans = sorted({f"{every[0]} to {every[-1]}" for every in known.values() if every[0]})
        raise ConfigurationError(
            f"no chosen dataset has {', '.join(unfitting)}; they have "
            f"{' and '.join(spans) or 'none, name no partition'}; a range reads FIRST...LAST",
            code="UnknownPartition",
        )
    return wanted


def parse_range(text: str) -> tuple[str, str]:
    """First and last of a range of months, or of days, that reads FIRST...LAST.

    Raises
    ------
    ConfigurationError
        Code ``UnknownPartition``, if the two are no dates, of unlike length or the wrong way round.
    """
    from datetime import date

    from dor_ecco_assets.errors import ConfigurationError

    first, dots, last = text.partition("...")
    try:
        for name in (first, last):
            date.fromisoformat(f"{name}-01" if len(name) == len("YYYY-MM") else name)
    except ValueError:
        dots = ""
    if not dots or len(first) != len(last) or first > last:
        raise ConfigurationError(
            f"--partition-range {text!r} is no range of months or days; expected FIRST...LAST such "
            "as 1992-01...1992-12",
            code="UnknownPartition",
        )
    return first, last


def _make_unpartitioned(
    where: Where, *, with_factors: bool, force: bool, verify: bool, as_json: bool
) -> None:
    from dor_ecco_assets.cli.running import report_failures, run_products
    from dor_ecco_assets.ecco.catalogue import load_catalogue
    from dor_ecco_assets.lineage.record import read_record
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import Production

    places = where.places()
    catalogue = load_catalogue(places.configs)
    keys = [catalogue.source_grid, catalogue.target_grid]
    keys += [catalogue.factors] if with_factors else []
    tally = run_products(places, keys, policy=Policy(force=force, verify=verify))
    storage = Production.at(places).workspace().storage
    rows: list[dict[str, Any]] = []
    for key in keys:
        record = read_record(storage, key, "")
        if record is not None:
            skipped = (key, "") in tally.skipped
            rows.append(
                {
                    "product": key,
                    "became": "up to date" if skipped else "made",
                    "uri": storage.locate(record.uri),
                    "bytes": record.bytes,
                    "shape": str(record.details["shape"]),
                }
            )
    show(rows, as_json=as_json)
    report_failures(tally)
