"""Assets of the pyramids; what they hold and how they are made stands in `products`."""

import dagster as dg

from dor_ecco_assets.products import all_products
from resources.product_assets import asset_of


def pyramid_assets(configs: str | None, backfill: str | int) -> list[dg.AssetsDefinition]:
    """Template, maps and index of the atlas and of every configured dataset."""
    products = all_products(configs).values()
    return [asset_of(product, backfill) for product in products if product.line == "pyramids"]
