"""Checks of the virtual stores: granules that cannot be used, values as readers get them."""

from typing import Any

import dagster as dg

from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.virtual.collections import load_collections
from dor_ecco_assets.virtual.products import references_key
from resources.io_managers import CHECK
from resources.production import ProductionResource

#: Granules that a check lists one by one.
MOST_LISTED = 100


def virtual_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """The checks of all configured collections."""
    found: list[dg.AssetChecksDefinition] = []
    for name in load_collections(configs):
        found.append(_granules_usable(name))
    return found


def _granules_usable(name: str) -> dg.AssetChecksDefinition:
    key = references_key(name)

    @dg.asset_check(
        asset=dg.AssetKey(key.split("/")),
        name=CHECK,
        description="Every granule that CMR lists could be referenced.",
    )
    def inputs_usable(production: ProductionResource) -> dg.AssetCheckResult:
        failed = failed_granules(production.production().workspace(), name)
        first = "; ".join(f"{each['revision']}: {each['reason']}" for each in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        return dg.AssetCheckResult(
            passed=not failed,
            severity=dg.AssetCheckSeverity.WARN,
            description=first + more or None,
            metadata={
                "unusable_granules": len(failed),
                "granules": dg.MetadataValue.json(failed[:MOST_LISTED]),
            },
        )

    return inputs_usable


def failed_granules(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """Granules that have no references, by partition, with code and reason."""
    return [
        {"partition": partition, **each}
        for partition, record in workspace.records(references_key(name))
        for each in record.details["failed"]
    ]
