"""What starting costs: the code location, `--help`, one run by Dagster's own command, `stale`."""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Row, interleaved_costs, limit_row
from benchmarks.processes import CHECKOUT, Children, Ended
from dor_ecco_assets.ecco.model_output import record_key as model_key
from dor_ecco_assets.ecco.products import ecco_products
from dor_ecco_assets.ecco.times import V4R4_CLOCK
from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.lineage.record import Record, record_key
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.products import Production, all_products
from dor_ecco_assets.samples.ecco_output import SAMPLE_FIELDS, write_sample_output
from dor_ecco_assets.samples.llc_grid import sample_grid_fields
from dor_ecco_assets.settings import Place

LOAD = "code location load"
HELP = "dor-ecco --help"
ONE_RUN = "one partition by dagster asset materialize, outside our own code"
STALE = "dor-ecco stale ecco, every partition of V4r4"
NAMES = (LOAD, HELP, ONE_RUN, STALE)

#: Limits, CPU s.
LOAD_S, HELP_S, ONE_RUN_S, STALE_S = 5.0, 0.5, 10.0, 2.0

MONTH = "1992-01"
ASSET = "ecco/ECCO_L4_SSH_05DEG_MONTHLY_V4R4"
FACTORS = "mapping/llc90_to_latlon_0p50deg"
SIDE = 30

#: As Dagster's code server does it: import, then build everything that is defined.
_LOAD_CODE = """\
import importlib, sys
defs = importlib.import_module(sys.argv[1]).defs
defs.get_repository_def().load_all_definitions()
"""
HELP_CODE = "from dor_ecco_assets.cli import main; main()"
#: Without rich markup, as `dor-ecco`: a bare app that imports rich for its help costs more.
_BARE_HELP_CODE = """\
import typer
app = typer.Typer(rich_markup_mode=None)
@app.command()
def one(): "Do one thing."
@app.command()
def other(): "Do another."
app()
"""
_TRIVIAL_LOCATION = """\
import dagster as dg

months = dg.MonthlyPartitionsDefinition("1992-01", end_date="2018-01", fmt="%Y-%m")

def trivial(number):
    @dg.asset(name=f"asset_{{number}}", partitions_def=months)
    def asset():
        return dg.MaterializeResult()
    return asset

defs = dg.Definitions(
    assets=[trivial(number) for number in range({assets})], executor=dg.in_process_executor
)
"""
#: The floor of `stale`: find every record, input and output, and read the records.
WALK_CODE = """\
import os, sys
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            os.stat(path)
            if name.endswith(".json"):
                open(path, "rb").read()
"""


def rows(scratch: Path, *, quick: bool = False) -> Iterator[Row]:
    """All four rows, each as it is measured; `scratch` is a folder for 300 MB."""
    made = _production(scratch)
    children = Children(
        scratch / "children",
        scratch.parent / "bytecode",
        DOR_ECCO_ROOT=str(made.root.root),
        DOR_ECCO_INPUTS=str(made.inputs.root),
        DAGSTER_HOME=str(_instance(scratch)),
    )
    location = _TRIVIAL_LOCATION.format(assets=len(all_products()) + 1)
    (children.folder / "trivial_location.py").write_text(location)
    yield _one_run_row(children, made, quick=quick)
    yield _load_row(children, quick=quick)
    yield _help_row(children, quick=quick)
    yield _stale_row(children, made, quick=quick)


def _production(scratch: Path) -> Production:
    """Inputs of one month and the grids and factors that its granules need."""
    inputs = scratch / "inputs"
    step = V4R4_CLOCK.step_of(MONTH, "AVG_MON")
    write_sample_output(inputs, sample_grid_fields(SIDE), months=[step], days=[])
    made = Production(Place(root=str(scratch / "root")), Place(root=str(inputs)))
    made.workspace().make(FACTORS, "")
    return made


def _instance(scratch: Path) -> Path:
    home = scratch / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_bytes((CHECKOUT / "configs" / "dagster.yaml").read_bytes())
    return home


def _load_row(children: Children, *, quick: bool) -> Row:
    return _command_row(
        children,
        LOAD,
        ["-c", _LOAD_CODE, "dor_ecco_assets.definitions"],
        ["-c", _LOAD_CODE, "trivial_location"],
        LOAD_S,
        f"import and all definitions; baseline: a location of {len(all_products()) + 1} empty"
        " assets",
        runs=1 if quick else 5,
    )


def _help_row(children: Children, *, quick: bool) -> Row:
    return _command_row(
        children,
        HELP,
        ["-c", HELP_CODE, "--help"],
        ["-c", _BARE_HELP_CODE, "--help"],
        HELP_S,
        "baseline: --help of a typer app with two empty commands",
        runs=5 if quick else 9,
    )


def _one_run_row(children: Children, made: Production, *, quick: bool) -> Row:
    record = Path(str(made.root.root)) / record_key(ASSET, MONTH)
    # Made anew each time, so that each run has CPU seconds of its own.
    forced = {"ops": {ASSET.replace("/", "__"): {"config": {"force": True}}}}
    words = ["-m", "dagster", "asset", "materialize", "--partition", MONTH]
    own: list[float] = []

    def inside(_ended: Ended) -> float:
        own.append(json.loads(record.read_text())["details"]["run"]["cpu_seconds"])
        return own[-1]

    found = _command_row(
        children,
        ONE_RUN,
        [
            *words,
            *("-m", "dor_ecco_assets.definitions", "--select", f'key:"{ASSET}"'),
            *("--config-json", json.dumps(forced)),
        ],
        [*words, "-m", "trivial_location", "--select", "asset_0"],
        ONE_RUN_S,
        "baseline: the same command on an empty asset of an empty location",
        runs=1 if quick else 5,
        inside=inside,
    )
    own_s = statistics.median(own[1:])
    return found | {"note": f"{found['note']}; our own code takes {own_s:.2f} CPU s more"}


def _stale_row(children: Children, made: Production, *, quick: bool) -> Row:
    workspace = made.workspace()
    recorded = _record_all_months(Path(str(made.root.root)), Path(str(made.inputs.root)), workspace)
    products = [found for found in workspace.products.values() if found.line == "ecco"]
    partitions = sum(len(product.partitioning.keys) for product in products)
    return _command_row(
        children,
        STALE,
        ["-c", HELP_CODE, "stale", "ecco", "--json"],
        ["-c", WALK_CODE, str(made.root.root), str(made.inputs.root)],
        STALE_S,
        f"{partitions} partitions of {len(products)} products, {recorded} with record, inputs and"
        " a stand-in file, the others waiting or not made; baseline, a floor: os.walk, stat of"
        " every file, records read",
        runs=2 if quick else 5,
        check=_nothing_is_stale,
    )


def _command_row(
    children: Children,
    name: str,
    ours: list[str],
    baseline: list[str],
    limit: float,
    note: str,
    *,
    runs: int,
    inside: Callable[[Ended], float] = lambda _ended: 0.0,
    check: Callable[[Ended], None] = lambda _ended: None,
) -> Row:
    """A row of two commands in turn; what `inside` gives is taken off ours."""
    peaks: list[float] = []

    def our_cost() -> float:
        ended = children.run(ours)
        check(ended)
        peaks.append(ended.peak_mb)
        return ended.cpu_s - inside(ended)

    costs = interleaved_costs(our_cost, lambda: children.run(baseline).cpu_s, runs)
    fewer = f"{runs} measured of 5 runs; " if runs < 5 else ""
    return limit_row(
        line="ecco",
        name=name,
        ours=costs[0],
        baseline=costs[1],
        limit=limit,
        peak_mb=max(peaks),
        note=f"{fewer}{note}",
    )


def _record_all_months(root: Path, inputs: Path, workspace: Workspace) -> int:
    """Give every month of the sample's datasets inputs, a file and a record, all consistent."""
    # Which disk the memory of checksums lies on is no part of the command that is measured.
    workspace.remembered._open().execute("PRAGMA synchronous = OFF")
    months = [key for key in V4R4_CLOCK.partition_keys("AVG_MON") if key != MONTH]
    for month in months:
        step = V4R4_CLOCK.step_of(month, "AVG_MON")
        for field in SAMPLE_FIELDS:
            for ending in ("data", "meta"):
                path = inputs / f"{model_key(field, 'mon_mean', step)}.{ending}"
                path.write_text(path.name)
    products = [
        found
        for found in ecco_products()
        if found.partitioning.kind == "month" and _of_the_sample(workspace, found)
    ]
    for product in products:
        for month in product.partitioning.keys:
            if not (root / record_key(product.key, month)).exists():
                _record(root, workspace, product, month)
    return sum(len(product.partitioning.keys) for product in products)


def _of_the_sample(workspace: Workspace, product: Product) -> bool:
    return all(workspace.input_keys(product.key, MONTH).values())


def _record(root: Path, workspace: Workspace, product: Product, month: str) -> None:
    uri = f"{product.key}/stand_in_{month}.nc"
    wanted = workspace.ingredients(product.key, month)
    details = {"format": "netcdf", "ingredients": wanted.for_record(), "run": {}}
    record = Record(wanted.fingerprint(), uri, len(uri), "0" * 64, "1970-01-01T00:00:00Z", details)
    for key, text in ((uri, uri), (record_key(product.key, month), json.dumps(asdict(record)))):
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _nothing_is_stale(ended: Ended) -> None:
    rows = json.loads(ended.output)
    found = [row for row in rows if row["standing"] != "absent"]
    if found:
        raise AssertionError(f"{len(found)} partitions went out of date, the first: {found[0]}")
