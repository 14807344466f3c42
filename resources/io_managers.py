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

from dor_ecco_assets.errors import InputUnusable, StorageUnavailable
from dor_ecco_assets.lineage.publication import Outcome, summary
from dor_ecco_assets.lineage.workspace import Failure, Policy
from dor_ecco_assets.stores.opening import open_product
from resources.compute import ComputeResource
from resources.production import ProductionResource

log = logging.getLogger("dor_ecco_assets.progress")

#: Name of the check that fails while inputs of a product are in quarantine.
CHECK = "inputs_usable"


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
        done: list[tuple[str, Mapping[str, Any]]] = []
        failures: list[Failure] = []
        for result in self.compute.make_all(production, obj.key, obj.partitions, obj.policy):
            report_progress(obj.key, result)
            if isinstance(result, Failure):
                failures.append(result)
                continue
            metadata = metadata_of(result, production.workspace().storage.locate(result.record.uri))
            obj.report(metadata, result.partition)
            done.append((result.partition, metadata))
        if failures:
            for partition, metadata in done:
                event = dg.AssetMaterialization(
                    context.asset_key, metadata=metadata, partition=partition or None
                )
                yield dg.DagsterEvent.asset_materialization(context.step_context, event)
            context.step_context.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=context.asset_key,
                    check_name=CHECK,
                    passed=not any(isinstance(found.error, InputUnusable) for found in failures),
                    metadata=failure_metadata(failures),
                )
            )
            raise failure_of(obj.key, failures, len(obj.partitions))

    def load_input(self, context: dg.InputContext) -> Any:
        """The asset lazily: one partition where one is asked for, else all that are committed."""
        upstream = context.upstream_output
        key = "/".join(context.asset_key.path)
        workspace = self.production.production().workspace()
        if upstream is not None and context.has_asset_partitions:
            return open_product(workspace.storage, key, context.asset_partition_keys)
        return open_product(workspace.storage, key)


def metadata_of(outcome: Outcome, uri: str) -> dict[str, Any]:
    """Materialisation metadata of one partition, its preview drawn inline."""
    plain = summary(outcome)
    metadata: dict[str, Any] = {"uri": dg.MetadataValue.path(uri)}
    for name, value in plain.items():
        metadata[name] = dg.MetadataValue.json(value) if isinstance(value, dict | list) else value
    if outcome.preview is not None:
        picture = base64.b64encode(outcome.preview).decode()
        metadata["preview"] = dg.MetadataValue.md(f"![preview](data:image/png;base64,{picture})")
    return metadata


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
        allow_retries=all(isinstance(found.error, StorageUnavailable) for found in failures),
    )


def report_progress(key: str, result: Outcome | Failure) -> None:
    """One log line per partition; `dor-ecco` draws its progress bar from `extra`."""
    if isinstance(result, Failure):
        became = "failed"
        log.error("%s %s failed: %s", key, result.partition, result.error.message)
    else:
        became = "up to date" if result.skipped else "made"
        log.info("%s %s %s", key, result.partition, became)
    log.debug("progress", extra={"product": key, "partition": result.partition, "became": became})
