"""Checks of the pyramids: that readers can read them, and that what they hold is right."""

from collections.abc import Callable

import dagster as dg

from dor_ecco_assets.lineage.product import Product
from dor_ecco_assets.products import all_products
from dor_ecco_assets.pyramids.products import places_of
from dor_ecco_assets.storage import Storage
from resources.product_assets import check_of
from resources.production import ProductionResource

#: Partitions that one look takes, spread over all that are made; sentences of a description.
MOST_LOOKED, MOST_TOLD = 4, 3

_HELD = {
    "fill_not_nan": "Covered pixels hold numbers, the others the fill, and none is NaN.",
    "conserved_between_levels": "Every zoom level has the integral of the next finer one.",
}


def pyramid_checks(configs: str | None) -> list[dg.AssetChecksDefinition]:
    """Quarantine of every product; contract, fill, integrals and status of every pyramid."""
    products = [each for each in all_products(configs).values() if each.line == "pyramids"]
    checks = [check_of(product) for product in products]
    for product in products:
        if product.partitioning.kind != "none":
            checks += [_contract(product), _status(product), *map(_held_of(product), _HELD)]
    return checks


def _result(told: list[str], looked: int) -> dg.AssetCheckResult:
    more = [f"and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
    return dg.AssetCheckResult(
        passed=not told,
        description="; ".join([*told[:MOST_TOLD], *more]) or None,
        metadata={"looked_at": looked, "breaches": dg.MetadataValue.json(told)},
    )


def _contract(product: Product) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(product.key.split("/")),
        name="reader_contract",
        description="Metadata are what zarr-js, zarr-layer and zarrita can read.",
    )
    def reader_contract(production: ProductionResource) -> dg.AssetCheckResult:
        from dor_ecco_assets.pyramids.assess import reader_breaches

        told = reader_breaches(production.production().workspace().storage, product.key)
        return _result(told, 1)

    return reader_contract


def _status(product: Product) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(product.key.split("/")),
        name="status_matches_records",
        description="Just those partitions count as whole that have a record.",
    )
    def status_matches_records(production: ProductionResource) -> dg.AssetCheckResult:
        from dor_ecco_assets.lineage.record import recorded_partitions
        from dor_ecco_assets.pyramids.assess import status_breaches

        storage = production.production().workspace().storage
        recorded = list(recorded_partitions(storage, product.key))
        told = status_breaches(storage, product.key, places_of(product), recorded)
        return _result(told, len(recorded))

    return status_matches_records


def _held_of(product: Product) -> Callable[[str], dg.AssetChecksDefinition]:
    def check(name: str) -> dg.AssetChecksDefinition:
        @dg.asset_check(
            asset=dg.AssetKey(product.key.split("/")), name=name, description=_HELD[name]
        )
        def held(production: ProductionResource) -> dg.AssetCheckResult:
            storage = production.production().workspace().storage
            chosen = _spread(storage, product)
            return _result(_told(storage, product, chosen, name), len(chosen))

        return held

    return check


def _spread(storage: Storage, product: Product) -> list[str]:
    """Some of the partitions that are made, first and last among them."""
    from dor_ecco_assets.lineage.record import recorded_partitions

    made = list(recorded_partitions(storage, product.key))
    last, steps = len(made) - 1, max(1, min(MOST_LOOKED, len(made)) - 1)
    places = {round(step * last / steps) for step in range(steps + 1)} if made else set[int]()
    return [made[place] for place in sorted(places)]


def _told(storage: Storage, product: Product, partitions: list[str], name: str) -> list[str]:
    from dor_ecco_assets.pyramids.assess import conservation_breaches, fill_breaches, map_stores

    assess = fill_breaches if name == "fill_not_nan" else conservation_breaches
    places = places_of(product)
    return [
        sentence
        for store in map_stores(storage, product.key)
        for partition in partitions
        for sentence in assess(store, places[partition])
    ]
