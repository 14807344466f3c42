"""Checks of the atlas line: of quarantined inputs, and of cases against the control run."""

import dagster as dg

from dor_ecco_assets.dor.configuration import load_line
from dor_ecco_assets.dor.products import CASE_ROWS, dor_products
from resources.product_assets import check_of
from resources.production import ProductionResource

#: What the check may spend on cases that are not compared yet, s.
AFTER_A_RUN_S, BY_ITSELF_S = 2.0, 300.0

#: Cases that a description names.
MOST_NAMED = 3


def dor_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """Quarantine of what is made by itself, and validation of the cases."""
    single = [product for product in dor_products(configs) if not product.together]
    return [*(check_of(product) for product in single), _matches_control(configs)]


def _matches_control(configs: str | None) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(CASE_ROWS.split("/")),
        name="matches_control",
        description="The unperturbed twin of every case equals the control run.",
    )
    def matches_control(
        context: dg.AssetCheckExecutionContext, production: ProductionResource
    ) -> dg.AssetCheckResult:
        from dor_ecco_assets.dor.validating import validated_cases
        from dor_ecco_assets.dor.validation import plot

        workspace = production.production().workspace()
        seconds = AFTER_A_RUN_S if context.run.asset_selection else BY_ITSELF_S
        found = list(validated_cases(workspace, load_line(configs), seconds))
        looked = [each for each in found if each is not None]
        bad = [each for each in looked if each.problem or not all(r.passed for r in each.results)]
        told = [
            f"{each.partition}: "
            + (each.problem or ", ".join(r.variable for r in each.results if not r.passed))
            for each in bad
        ]
        left = len(found) - len(looked)
        sentences = told[:MOST_NAMED]
        sentences += [f"and {len(told) - MOST_NAMED} more"] if len(told) > MOST_NAMED else []
        sentences += [f"{left} not compared yet: execute this check again"] if left else []
        sentences += [] if found else ["no case, or no control run on disk beside the history"]
        shown = next((each for each in [*bad, *looked] if each.results), None)
        metadata: dict[str, dg.MetadataValue | int] = {
            "compared_cases": len(looked),
            "unlike_cases": len(bad),
            "differing_cells": sum(r.differing_cells for each in looked for r in each.results),
        }
        if shown is not None:
            picture = f"RMSE of {shown.partition} by month\n\n![RMSE]({plot(shown.results)})"
            for result in [each for each in shown.results if each.surface][:MOST_NAMED]:
                picture += (
                    f"\n\n{result.variable}, last month's difference at the surface\n\n"
                    f"![{result.variable}](data:image/png;base64,{result.surface})"
                )
            metadata["plot"] = dg.MetadataValue.md(picture)
        return dg.AssetCheckResult(
            passed=not bad,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(sentences) or None,
            metadata=metadata,
        )

    return matches_control
