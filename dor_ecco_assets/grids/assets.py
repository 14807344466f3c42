"""Assets of the grids; what they hold and how they are made stands in `products`."""

import dagster as dg

from dor_ecco_assets.grids.products import grid_products
from resources.product_assets import asset_of, check_of


def grid_assets(configs: str | None) -> list[dg.AssetsDefinition]:
    """One asset per configured grid."""
    return [asset_of(product) for product in grid_products(configs)]


def grid_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """One check of quarantined inputs per grid."""
    return [check_of(product) for product in grid_products(configs)]
