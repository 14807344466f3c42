"""Assets of the mappings between grids; how they are made stands in `products`."""

import dagster as dg

from dor_ecco_assets.mapping.products import mapping_products
from resources.product_assets import asset_of, check_of


def mapping_assets(configs: str | None) -> list[dg.AssetsDefinition]:
    """One asset per configured mapping."""
    return [asset_of(product) for product in mapping_products(configs)]


def mapping_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """One check of quarantined inputs per mapping."""
    return [check_of(product) for product in mapping_products(configs)]
