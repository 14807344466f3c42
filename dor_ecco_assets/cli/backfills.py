"""Hand partitions to Dagster as backfills of the project's instance, for its daemon to run."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.product import Product
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.settings import Places

#: What loading the code location and storing the backfills may take on a full machine, s.
LONGEST_S = 600


def submit_backfills(
    places: "Places",
    wanted: Mapping[str, Sequence[str]],
    *,
    policy: "Policy | None" = None,
    title: str = "",
) -> dict[str, str]:
    """Ask for one backfill per product.

    Parameters
    ----------
    places : Places
    wanted : mapping of str to sequence of str
        Partitions by product; ``[""]`` for one that is not split, which becomes a run.
    policy : Policy, optional
        How the runs treat partitions.
    title : str
        Shown in the web page.

    Returns
    -------
    dict of str to str
        Identifier of the backfill, or of the run, by product.

    Raises
    ------
    ConfigurationError
        Code ``BackfillRefused``: Dagster did not take one, and says why; none of those after it
        was asked for.

    Notes
    -----
    Dagster's GraphQL is its public way to ask for a backfill of assets, and its command line runs a
    document without a web server. Partitions stand in the document, not in an argument, because
    all days of a release are longer than one argument may be.
    """
    if not wanted:
        return {}
    from dor_ecco_assets.cli.running import ensure_instance
    from dor_ecco_assets.lineage.workspace import Policy
    from dor_ecco_assets.products import all_products

    ensure_instance(places)
    products = all_products(places.configs)
    names = {f"p{number}": key for number, key in enumerate(wanted)}
    fields = [
        _field(alias, products[key], wanted[key], policy or Policy(), title)
        for alias, key in names.items()
    ]
    answer = _ask("mutation {\n" + "\n".join(fields) + "\n}\n")
    found: dict[str, str] = {}
    for alias, key in names.items():
        result = answer[alias]
        identifier = result.get("backfillId") or result.get("run", {}).get("runId")
        if identifier is None:
            raise _refused(f"{key}: {result.get('message') or result['__typename']}")
        found[key] = identifier
    return found


def _field(
    alias: str, product: "Product", partitions: Sequence[str], policy: "Policy", title: str
) -> str:
    path = _literal({"path": product.key.split("/")})
    config = {"ops": {product.owner.replace("/", "__"): {"config": policy.__dict__}}}
    run_config = _literal(json.dumps(config))
    if list(partitions) == [""]:
        return (
            f"{alias}: launchRun(executionParams: {{selector: {{repositoryName: "
            '"__repository__", repositoryLocationName: "dor_ecco_assets.definitions", '
            f'pipelineName: "__ASSET_JOB", assetSelection: [{path}], assetCheckSelection: []}}, '
            f"runConfigData: {run_config}}})"
            " {__typename ...on LaunchRunSuccess {run {runId}} ...on Error {message}}"
        )
    return (
        f"{alias}: launchPartitionBackfill(backfillParams: {{assetSelection: [{path}], "
        f"partitionNames: {_literal(list(partitions))}, title: {_literal(title)}, "
        f"runConfigData: {run_config}}})"
        " {__typename ...on LaunchBackfillSuccess {backfillId} ...on Error {message}}"
    )


def _literal(value: Any) -> str:
    """A value as GraphQL spells it: JSON, but for the keys of objects."""
    if isinstance(value, dict):
        pairs: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return "{" + ", ".join(f"{name}: {_literal(inner)}" for name, inner in pairs.items()) + "}"
    return json.dumps(value)


def _ask(document: str) -> dict[str, Any]:
    """Data that Dagster's command line gives for a GraphQL document, on this instance."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutation.graphql")
        path.write_text(document)
        out = Path(folder, "answer.json")
        program = "from dagster_graphql.cli import main; main()"
        asked = ["--file", str(path), "--output", str(out)]
        done = subprocess.run(
            [sys.executable, "-c", program, *asked, "-m", "dor_ecco_assets.definitions"],
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        try:
            answer = json.loads(out.read_text())
            data = answer["data"]
        except (OSError, ValueError, KeyError, TypeError):
            told = (done.stderr or done.stdout).strip()[-1500:]
            raise _refused(told or f"exit code {done.returncode}") from None
    if not isinstance(data, dict):
        raise _refused(json.dumps(answer.get("errors"))[:1500])
    return data  # pyright: ignore[reportUnknownVariableType]


def _refused(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Dagster did not take the backfill: {why}; see `dor-ecco doctor`, or make the partitions "
        "here: `dor-ecco ecco jobs run`, `dor-ecco cases process-all`",
        code="BackfillRefused",
    )
