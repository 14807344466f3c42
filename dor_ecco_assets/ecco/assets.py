"""Assets of the ECCO line: the model's output, every published dataset, what gathers them."""

import dagster as dg

from dor_ecco_assets.ecco.gathered import gathered_products
from dor_ecco_assets.ecco.products import MODEL_OUTPUT, ecco_products
from resources.product_assets import asset_of


def ecco_assets(
    configs: str | None, backfill: str | int
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The external model output, every dataset of the catalogue, deliveries and reports."""
    model_output = dg.AssetSpec(
        dg.AssetKey(MODEL_OUTPUT.split("/")),
        description="MITgcm output as the model wrote it: a .data and a .meta file per record.",
        group_name="ecco",
        tags={"layer": "raw"},
        kinds={"mds"},
    )
    products = (*ecco_products(configs), *gathered_products(configs))
    return [model_output, *(asset_of(product, backfill) for product in products)]
