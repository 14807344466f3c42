"""Assets of the ECCO line: the model's output, and one asset per published dataset."""

import dagster as dg

from dor_ecco_assets.ecco.products import MODEL_OUTPUT, ecco_products
from resources.product_assets import asset_of, check_of


def ecco_assets(
    configs: str | None, backfill: str | int
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The external model output and one asset per dataset of the catalogue."""
    model_output = dg.AssetSpec(
        dg.AssetKey(MODEL_OUTPUT.split("/")),
        description="MITgcm output as the model wrote it: a .data and a .meta file per record.",
        group_name="ecco",
        tags={"layer": "raw"},
        kinds={"mds"},
    )
    return [model_output, *(asset_of(product, backfill) for product in ecco_products(configs))]


def ecco_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """One check of quarantined inputs per dataset."""
    return [check_of(product) for product in ecco_products(configs)]
