"""The factory that makes one multi-asset of products that are made together."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from dor_ecco_assets.errors import DorEccoError
from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.lineage.publication import Outcome
from dor_ecco_assets.lineage.workspace import Failure, Workspace
from partitions import partitions_of
from resources.compute import ComputeResource
from resources.io_managers import failure_of, metadata_of, report_progress
from resources.product_assets import MakeConfig, policy_of_backfill
from resources.production import ProductionResource


def assets_together(
    products: Sequence[Product], backfill: str | int = "single"
) -> dg.AssetsDefinition:
    """One multi-asset with an output per product; a selection of some makes what lacks of all.

    Parameters
    ----------
    products : sequence of Product
        Made together.
    backfill : "single" or int
        Partitions per run of a backfill.
    """
    with warnings.catch_warnings():
        # Backfill policies are beta in Dagster 1.13; the lock file holds the version they work in.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _assets_together(products, backfill)


def _spec(product: Product) -> dg.AssetSpec:
    return dg.AssetSpec(
        dg.AssetKey(product.key.split("/")),
        description=product.title,
        group_name=product.line,
        tags={"layer": product.layer},
        kinds={product.format},
        deps=[dg.AssetKey(key.split("/")) for key in (*product.upstream, *product.external)],
        code_version=product.code_version,
        skippable=True,
    )


def _assets_together(products: Sequence[Product], backfill: str | int) -> dg.AssetsDefinition:
    lead = products[0]
    split = lead.partitioning

    @dg.multi_asset(
        name=lead.owner.replace("/", "__"),
        specs=[_spec(product) for product in products],
        can_subset=True,
        partitions_def=partitions_of(split),
        # The storage has retried for most of a minute when this comes; data errors never retry.
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30),
        backfill_policy=policy_of_backfill(backfill, len(split.keys) * len(products)),
    )
    def make(
        context: dg.AssetExecutionContext,
        config: MakeConfig,
        production: ProductionResource,
        compute: ComputeResource,
    ):
        location = production.production()
        workspace, policy = location.workspace(), config.policy()
        for key in lead.upstream:
            _make_upstream(context, workspace, key)
        asked, failures = tuple(context.partition_keys), list[Failure]()
        done: list[Outcome] = []
        selected = {"/".join(key.path) for key in context.selected_asset_keys}
        along = {
            product.key: _known(context, product.key)
            for product in products
            if product.key not in selected
        }
        for result in compute.make_all(location, lead.key, asked, policy):
            if isinstance(result, Failure):
                failures.append(result)
                report_progress(lead.key, result)
                continue
            _report(context, workspace, result, along)
            done.append(result)
        if failures:
            for outcome in done:
                for key in selected:
                    context.log_event(_event(workspace, key, outcome.together[key]))
            raise failure_of(lead.key, failures, len(asked))
        for key in sorted(selected):
            yield dg.MaterializeResult(asset_key=dg.AssetKey(key.split("/")))

    return make


def _known(context: dg.AssetExecutionContext, key: str) -> set[str]:
    """Partitions that the instance was told of."""
    return context.instance.get_materialized_partitions(dg.AssetKey(key.split("/")))


def _report(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    result: Outcome,
    along: Mapping[str, set[str]],
) -> None:
    """Say what became of one partition: of what was asked for, and of what was made along.

    The events of what was asked for come when the step ends, those of what was made along at once.
    `along` has the partitions of the latter that the instance knows.
    """
    for place, (key, outcome) in enumerate(result.together.items()):
        if key not in along:
            # A line costs as much as an event: none where events say it already.
            report_progress(key, outcome, told=place > 0 or bool(along))
            context.add_asset_metadata(
                metadata_of(outcome, workspace.storage.locate(outcome.record.uri)),
                asset_key=dg.AssetKey(key.split("/")),
                partition_key=outcome.partition,
            )
        elif not (outcome.skipped and outcome.partition in along[key]):
            context.log_event(_event(workspace, key, outcome))


def _event(workspace: Workspace, key: str, outcome: Outcome) -> dg.AssetMaterialization:
    metadata: dict[str, Any] = metadata_of(outcome, workspace.storage.locate(outcome.record.uri))
    return dg.AssetMaterialization(
        dg.AssetKey(key.split("/")), metadata=metadata, partition=outcome.partition or None
    )


def _make_upstream(context: dg.AssetExecutionContext, workspace: Workspace, key: str) -> None:
    """Make what cases are made from where it is not there, and tell the instance of it."""
    for further in workspace.product(key).upstream:
        _make_upstream(context, workspace, further)
    try:
        outcome = workspace.make(key, "")
    except DorEccoError:  # every case meets it again, and fails for it
        return
    known = context.instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    if known is None or not outcome.skipped:
        context.log_event(_event(workspace, key, outcome))
