"""Checks of ECCO datasets: one multi-check per dataset, made from the products.

Bodies only ask and report; what is wrong with a granule is decided in `standing`.
"""

from collections.abc import Iterator

import dagster as dg

from dor_ecco_assets.ecco.gathered import gathered_products
from dor_ecco_assets.ecco.products import ecco_products
from dor_ecco_assets.ecco.standing import CHECKS, WARNINGS, look_at
from dor_ecco_assets.lineage.product import Product
from resources.io_managers import CHECK, standing_of_inputs
from resources.product_assets import check_of
from resources.production import ProductionResource

#: What a check may spend on opening granules that are not known yet, s: after a run that made some,
#: and when it is asked for by itself.
AFTER_A_RUN_S, BY_ITSELF_S = 2.0, 60.0

#: Problems that a check's description names.
MOST_NAMED = 3


def ecco_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """The checks of every dataset of the catalogue, and of the inputs of what gathers them."""
    return [
        *(dataset_checks(product) for product in ecco_products(configs)),
        *(check_of(product) for product in gathered_products(configs)),
    ]


def dataset_checks(product: Product) -> dg.AssetChecksDefinition:
    """All checks of one dataset: of its inputs, and of its published granules."""
    asset = dg.AssetKey(product.key.split("/"))
    described = {CHECK: "No input of this product is in quarantine.", **CHECKS}

    @dg.multi_asset_check(
        name=f"{product.name}_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=asset, description=text)
            for name, text in described.items()
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, production: ProductionResource
    ) -> Iterator[dg.AssetCheckResult]:
        workspace = production.production().workspace()
        asked = {key.name for key in context.selected_asset_check_keys}
        if CHECK in asked:
            found = standing_of_inputs(workspace, product.key)
            yield found._replace(check_name=CHECK, asset_key=asset)
        if not asked & CHECKS.keys():
            return
        seconds = AFTER_A_RUN_S if context.run.asset_selection else BY_ITSELF_S
        for name, standing in look_at(workspace, product.key, seconds).items():
            if name not in asked:
                continue
            texts = [
                f"{partition}: {text}".removeprefix(": ") for partition, text in standing.problems
            ]
            left = standing.published - standing.examined
            sentences = texts[:MOST_NAMED]
            sentences += [f"and {len(texts) - MOST_NAMED} more"] if len(texts) > MOST_NAMED else []
            sentences += [f"{left} not looked at yet: execute this check again"] if left else []
            yield dg.AssetCheckResult(
                passed=not texts,
                check_name=name,
                asset_key=asset,
                severity=(
                    dg.AssetCheckSeverity.WARN if name in WARNINGS else dg.AssetCheckSeverity.ERROR
                ),
                description="; ".join(sentences) or None,
                metadata={
                    "published_granules": standing.published,
                    "examined_granules": standing.examined,
                    "problems": dg.MetadataValue.json(
                        [{"partition": p, "found": text} for p, text in standing.problems[:100]]
                    ),
                },
            )

    return checks
