"""IO managers of NetCDF granules and small Zarr objects: they publish, record and open.

An asset hands over a `Batch`, what is to be made; the manager has it made where the compute
resource says, publishes each partition with its record and reports it. It loads through records.
"""

import base64
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dor_ecco_assets.errors import DorEccoError, InputUnusable, PartitionBusy, StorageUnavailable
from dor_ecco_assets.lineage.publication import Outcome, summary
from dor_ecco_assets.lineage.quarantine import quarantined_partitions
from dor_ecco_assets.lineage.workspace import Failure, Policy, Workspace
from dor_ecco_assets.stores.opening import open_product
from resources.compute import ComputeResource
from resources.production import ProductionResource

log = logging.getLogger("dor_ecco_assets.progress")

#: Name of the check that fails while inputs of a product are in quarantine.
CHECK = "inputs_usable"

#: Inputs of no partition that a check lists one by one.
MOST_UNPLACED = 100


@dataclass(frozen=True)
class Batch:
    """Partitions of one product that are to be made, and how to say what became of each.

    Parameters
    ----------
    key : str
    partitions : tuple of str
    policy : Policy
    report : callable
        Takes the metadata of one partition and its key, for the event that Dagster writes.
    """

    key: str
    partitions: tuple[str, ...]
    policy: Policy
    report: Callable[[Mapping[str, Any], str], None]


class PublishingIOManager(dg.ConfigurableIOManager):
    """Publishes the partitions of a `Batch` and opens what was published."""

    production: dg.ResourceDependency[ProductionResource]
    compute: dg.ResourceDependency[ComputeResource]

    def handle_output(  # pyright: ignore[reportIncompatibleMethodOverride] - generators may yield events
        self, context: dg.OutputContext, obj: Batch
    ) -> Iterator[dg.DagsterEvent]:
        """Make and publish every partition; a failed one does not stop the rest."""
        production = self.production.production()
        workspace = production.workspace()
        for upstream in workspace.product(obj.key).upstream:
            yield from self._make_upstream(context, workspace, upstream)
        done: list[tuple[str, Mapping[str, Any]]] = []
        failures: list[Failure] = []
        for result in self.compute.make_all(production, obj.key, obj.partitions, obj.policy):
            report_progress(obj.key, result)
            if isinstance(result, Failure):
                failures.append(result)
                continue
            metadata = metadata_of(result, workspace.storage.locate(result.record.uri))
            obj.report(metadata, result.partition)
            done.append((result.partition, metadata))
        if failures:
            for partition, metadata in done:
                event = dg.AssetMaterialization(
                    context.asset_key, metadata=metadata, partition=partition or None
                )
                yield dg.DagsterEvent.asset_materialization(context.step_context, event)
            yield checked(context, workspace, obj.key)
            raise failure_of(obj.key, failures, len(obj.partitions))

    def _make_upstream(
        self, context: dg.OutputContext, workspace: Workspace, key: str
    ) -> Iterator[dg.DagsterEvent]:
        """Make what a batch is made from where it is not there, and tell the instance of it."""
        for further in workspace.product(key).upstream:
            yield from self._make_upstream(context, workspace, further)
        try:
            outcome = workspace.make(key, "")
        except DorEccoError:  # every partition of the batch meets it again, and fails for it
            yield checked(context, workspace, key)
            return
        asset_key = dg.AssetKey(key.split("/"))
        known = context.step_context.instance.get_latest_materialization_event(asset_key)
        if known is None or not outcome.skipped:
            log.info("%s %s", key, "up to date" if outcome.skipped else "made")
            metadata = metadata_of(outcome, workspace.storage.locate(outcome.record.uri))
            event = dg.AssetMaterialization(asset_key, metadata=metadata)
            yield dg.DagsterEvent.asset_materialization(context.step_context, event)
            yield checked(context, workspace, key)

    def load_input(self, context: dg.InputContext) -> Any:
        """The asset lazily: one partition where one is asked for, else all that are committed."""
        upstream = context.upstream_output
        key = "/".join(context.asset_key.path)
        workspace = self.production.production().workspace()
        if upstream is not None and context.has_asset_partitions:
            return open_product(workspace.storage, key, context.asset_partition_keys)
        return open_product(workspace.storage, key)


#: What a reader of a materialisation looks for last: identities, for comparing.
LAST = ("bytes", "sha256", "fingerprint", "inputs")


def metadata_of(outcome: Outcome, uri: str) -> dict[str, Any]:
    """Materialisation metadata of one partition: where it is, how it looks, what it is made of."""
    plain = summary(outcome)
    metadata: dict[str, Any] = {"uri": dg.MetadataValue.path(uri)}
    if outcome.preview is not None:
        picture = base64.b64encode(outcome.preview).decode()
        metadata["preview"] = dg.MetadataValue.md(f"![preview](data:image/png;base64,{picture})")
    long = [name for name, value in plain.items() if isinstance(value, dict | list)]
    short = [name for name in plain if name not in long and name not in LAST]
    for name in [*short, *(name for name in long if name not in LAST), *LAST]:
        metadata[name] = dg.MetadataValue.json(plain[name]) if name in long else plain[name]
    return metadata


def checked(context: dg.OutputContext, workspace: Workspace, key: str) -> dg.DagsterEvent:
    """Result of the check of one product whose own step does not run.

    As an event of this run it counts for what the run made. Reported without a run it would be
    compared with that by whole seconds, and be shown as "not evaluated" when it counts as older.
    """
    found = standing_of_inputs(workspace, key)
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(key.split("/")),
        check_name=CHECK,
        passed=found.passed,
        metadata=found.metadata or {},
        description=found.description,
    )
    return dg.DagsterEvent.asset_check_evaluation(context.step_context, evaluation)


def standing_of_inputs(workspace: Workspace, key: str) -> dg.AssetCheckResult:
    """Result of the check of one product: failed while inputs are in quarantine, saying which.

    Inputs that belong to none of its partitions count as such, for as long as they are there.
    """
    found = [
        {
            "partition": partition,
            "uri": note.uri,
            "code": note.code,
            "reason": note.reason,
            "time": note.time,
        }
        for partition, note in quarantined_partitions(workspace.storage, key)
    ]
    quarantined = len(found)
    unplaced = workspace.unplaced(key)
    found += [
        {"partition": "", "uri": error.uri, "code": error.code, "reason": error.message, "time": ""}
        for error in unplaced[:MOST_UNPLACED]
    ]
    first = "; ".join(f"{each['partition'] or key}: {each['reason']}" for each in found[:3])
    every = quarantined + len(unplaced)
    more = f"; and {every - 3} more" if every > 3 else ""
    return dg.AssetCheckResult(
        passed=not found,
        description=first + more or None,
        metadata={
            "quarantined_partitions": quarantined,
            "inputs_of_no_partition": len(unplaced),
            "quarantined": dg.MetadataValue.json(found),
        },
    )


def failure_metadata(failures: list[Failure]) -> dict[str, Any]:
    """What a failed run says of each partition that was not made."""
    listed = [
        {
            "partition": found.partition,
            "code": found.error.code,
            "message": found.error.message,
            "quarantined": isinstance(found.error, InputUnusable),
            "uri": found.error.uri if isinstance(found.error, InputUnusable) else "",
        }
        for found in failures
    ]
    return {"failures": dg.MetadataValue.json(listed)}


def failure_of(key: str, failures: list[Failure], asked: int) -> dg.Failure:
    """The failure of a run, naming what was not made; retried only where waiting can help."""
    lines = [f"{found.partition or key}: {found.error.message}" for found in failures]
    return dg.Failure(
        description=f"{key}: {len(failures)} of {asked} partitions were not made\n"
        + "\n".join(lines),
        metadata=failure_metadata(failures),
        allow_retries=all(
            isinstance(found.error, StorageUnavailable | PartitionBusy) for found in failures
        ),
    )


def report_progress(key: str, result: Outcome | Failure, *, told: bool = False) -> None:
    """One log line per partition; `dor-ecco` draws its progress bar from `extra`.

    With `told`, what is made together with another has had its line.
    """
    if isinstance(result, Failure):
        became = "quarantined" if isinstance(result.error, InputUnusable) else "failed"
        log.error("%s %s %s: %s", key, result.partition, became, result.error.message)
    else:
        became = "up to date" if result.skipped else "made"
        if not told:
            log.info("%s %s %s", key, result.partition, became)
    log.debug("progress", extra={"product": key, "partition": result.partition, "became": became})
