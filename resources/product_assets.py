"""The factory that makes an asset and its check from a product; lines list their products."""

import warnings
from typing import Any

import dagster as dg

from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.lineage.publication import Outcome
from dor_ecco_assets.lineage.workspace import Policy
from partitions import partitions_of
from resources.compute import ComputeResource, Job
from resources.io_managers import CHECK, Batch, metadata_of, report_progress, standing_of_inputs
from resources.production import ProductionResource

#: Dagster stores the plan of a run's checks in one statement of 8 variables per partition, and
#: SQLite as Python ships it takes 32,766 of them.
MOST_PARTITIONS_PER_RUN = 2000


class MakeConfig(dg.Config):
    """How a run treats partitions."""

    force: bool = False
    verify: bool = False
    allow_partial: bool = False

    def policy(self) -> Policy:
        """The same without Dagster."""
        return Policy(force=self.force, verify=self.verify, allow_partial=self.allow_partial)


def asset_of(
    product: Product, backfill: str | int = "single", pool: str | None = None
) -> dg.AssetsDefinition:
    """The asset of one product.

    Parameters
    ----------
    product : Product
    backfill : "single" or int
        Partitions per run of a backfill.
    pool : str, optional
        Runs that need the same one take turns.
    """
    with warnings.catch_warnings():
        # Backfill policies are beta in Dagster 1.13; the lock file holds the version they work in.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _asset_of(product, backfill, pool)


def _asset_of(product: Product, backfill: str | int, pool: str | None) -> dg.AssetsDefinition:
    partitions_def = partitions_of(product.partitioning)

    @dg.asset(
        key=dg.AssetKey(product.key.split("/")),
        description=product.title,
        group_name=product.line,
        tags={"layer": product.layer},
        kinds={product.format},
        # How partitions map (a month to its days, one to all) Dagster infers from both sides.
        deps=[
            dg.AssetKey(key.split("/"))
            for key in (*product.upstream, *product.gathers, *product.external)
        ],
        code_version=product.code_version,
        partitions_def=partitions_def,
        # The storage has retried for most of a minute when this comes; data errors never retry.
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30),
        backfill_policy=policy_of_backfill(backfill, len(product.partitioning.keys)),
        io_manager_key=f"{product.format}_io",
        pool=pool,
    )
    def make(
        context: dg.AssetExecutionContext,
        config: MakeConfig,
        production: ProductionResource,
        compute: ComputeResource,
    ) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument]
        # With a type argument Dagster would call the IO manager where there is no value.
        policy = config.policy()
        asked = tuple(context.partition_keys) if partitions_def is not None else ("",)

        def report(metadata: Any, partition: str) -> None:
            context.add_asset_metadata(metadata, partition_key=partition or None)

        workspace = production.production().workspace()
        todo: list[str] = []
        for partition in asked:
            # What the workers made of it ahead says whether this run made it.
            ahead = compute.has_taken(Job(product.key, partition, policy))
            done = None if ahead else workspace.finished(product.key, partition, policy)
            if isinstance(done, Outcome):
                report_progress(product.key, done)
                report(metadata_of(done, workspace.storage.locate(done.record.uri)), partition)
            else:
                todo.append(partition)
        if not todo:
            return dg.MaterializeResult()
        return dg.MaterializeResult(value=Batch(product.key, tuple(todo), policy, report))

    return make


def check_of(product: Product) -> dg.AssetChecksDefinition:
    """The check that fails while inputs of the product are in quarantine."""

    @dg.asset_check(
        asset=dg.AssetKey(product.key.split("/")),
        name=CHECK,
        description="No input of this product is in quarantine.",
    )
    def inputs_usable(production: ProductionResource) -> dg.AssetCheckResult:
        return standing_of_inputs(production.production().workspace(), product.key)

    return inputs_usable


def policy_of_backfill(backfill: str | int, partitions: int) -> dg.BackfillPolicy | None:
    """Partitions per run of a backfill, as the profile says, but never more than a run can take."""
    if partitions == 1:
        return None
    if isinstance(backfill, int) or partitions > MOST_PARTITIONS_PER_RUN:
        most = backfill if isinstance(backfill, int) else MOST_PARTITIONS_PER_RUN
        return dg.BackfillPolicy.multi_run(max_partitions_per_run=most)
    return dg.BackfillPolicy.single_run()
