"""Assets of the virtual stores; what they hold and how they are made stands in `products`."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg

from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.products import all_collections
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.listing import partition_files
from dor_ecco_assets.virtual.products import collection_products, references_key
from resources.cmr import CmrResource
from resources.io_managers import metadata_of, report_progress
from resources.product_assets import MakeConfig, asset_of
from resources.production import ProductionResource


def virtual_assets(configs: str | None, backfill: str | int) -> list[dg.AssetsDefinition]:
    """Listing, references, store and exports of every configured collection."""
    found: list[dg.AssetsDefinition] = []
    for spec in all_collections(configs).values():
        listing, references, store, exports = collection_products(spec)
        # One writer per store: runs of a collection that reach it take turns.
        pool = store.key.replace("/", "__")
        found += [
            _listing_asset(spec, listing),
            asset_of(references, backfill),
            asset_of(store, backfill, pool=pool).map_asset_specs(_kept_fresh),
            asset_of(exports, backfill),
        ]
    return found


def _kept_fresh(spec: dg.AssetSpec) -> dg.AssetSpec:
    """A store's spec: the weekly run confirms one that has nothing new."""
    policy = dg.FreshnessPolicy.time_window(
        warn_window=timedelta(days=8), fail_window=timedelta(days=15)
    )
    return dg.apply_freshness_policy(spec, policy)


def _listing_asset(spec: StoreSpec, product: Product) -> dg.AssetsDefinition:
    """Asks CMR each time: that nothing changed there is not to be known otherwise."""

    @dg.asset(
        key=dg.AssetKey(product.key.split("/")),
        description=product.title,
        group_name=product.line,
        tags={"layer": product.layer},
        kinds={product.format},
        deps=[dg.AssetKey(key.split("/")) for key in product.gathers],
        code_version=product.code_version,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=30),
    )
    def granules(
        context: dg.AssetExecutionContext,
        config: MakeConfig,
        production: ProductionResource,
        cmr: CmrResource,
    ) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument]
        cmr.prepare()
        workspace = production.production().workspace()
        outcome = workspace.make(product.key, "", replace(config.policy(), force=True))
        known = partition_files(outcome.record)
        tell_partitions(context.instance, references_key(spec.name), list(known))
        report_progress(product.key, outcome)
        metadata: dict[str, Any] = metadata_of(outcome, workspace.storage.locate(product.key))
        return dg.MaterializeResult(metadata=metadata)

    return granules


def tell_partitions(instance: dg.DagsterInstance, name: str, keys: list[str]) -> None:
    """Let an instance know partitions that it does not know yet."""
    known = set(instance.get_dynamic_partitions(name))
    new = [key for key in keys if key not in known]
    if new:
        instance.add_dynamic_partitions(name, new)
