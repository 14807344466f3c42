"""Assets of the atlas line; what they hold and how they are made stands in `products`."""

import dagster as dg

from dor_ecco_assets.dor.products import CASE, HISTORY, dor_products
from resources.product_assets import asset_of
from resources.together import assets_together


def dor_assets(
    configs: str | None, backfill: str | int
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The case table, the external history, the multi-asset of cases, stores and report."""
    history = dg.AssetSpec(
        dg.AssetKey(HISTORY.split("/")),
        description="Monthly history files of the model, one folder per case.",
        group_name="dor",
        tags={"layer": "raw"},
        kinds={"netcdf"},
    )
    products = dor_products(configs)
    cases = [product for product in products if product.together == CASE]
    single = (product for product in products if not product.together)
    return [
        history,
        assets_together(cases, backfill),
        *(asset_of(product, backfill) for product in single),
    ]
