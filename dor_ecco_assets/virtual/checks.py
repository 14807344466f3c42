"""Checks of the virtual stores: granules that cannot be used, values as readers get them."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.products import all_collections
from dor_ecco_assets.virtual.products import references_key, store_key
from resources.cmr import CmrResource
from resources.io_managers import CHECK
from resources.production import ProductionResource

#: Granules that a check lists one by one.
MOST_LISTED = 100

_SOUND = {
    "values_equal": "Stored numbers of some granules, drawn at random, are those of their files.",
    "time_monotonic_unique": "Times rise along the axis.",
    "no_gaps_vs_cmr": "Every granule that CMR has is known, and none waits for its bytes.",
    "ledger_matches_repo": "Published granules have their chunks, and nothing else has any.",
    "quarantine_rate": "No more granules are in quarantine than the configuration allows.",
}
#: CMR goes on while a run works; what is in quarantine is not in the store.
_WARNINGS = frozenset({"no_gaps_vs_cmr", "quarantine_rate"})


def virtual_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """The checks of all configured collections."""
    found: list[dg.AssetChecksDefinition] = []
    for name in all_collections(configs):
        found += [_granules_usable(name), _store_sound(name, configs)]
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


def _store_sound(name: str, configs: str | None) -> dg.AssetChecksDefinition:
    asset = dg.AssetKey(store_key(name).split("/"))

    @dg.multi_asset_check(
        name=f"virtual__{name}__sound",
        specs=[
            dg.AssetCheckSpec(check, asset=asset, description=said)
            for check, said in _SOUND.items()
        ],
    )
    def sound(production: ProductionResource, cmr: CmrResource) -> Iterable[dg.AssetCheckResult]:
        from dor_ecco_assets.virtual.assessing import assess
        from dor_ecco_assets.virtual.published import catalogue_of, located

        cmr.prepare()
        storage = production.production().workspace().storage
        spec = located(all_collections(configs)[name], storage)
        for each in assess(storage, spec, catalogue_of(spec, storage)):
            grave = each.name not in _WARNINGS
            yield dg.AssetCheckResult(
                asset_key=asset,
                check_name=each.name,
                passed=not each.problems,
                severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
                description=each.sentence or None,
                metadata=each.numbers,
            )

    return sound
