"""What happens to virtual stores by the clock, each week, at quiet hours of Sunday in UTC.

CMR's whole collection is listed, which finds what the sensor's overlap could not; the four parties
are held against each other; versions that nobody needs are removed; and granules that could not be
used are asked for again. The sensor asks for the runs that follow from listing and asking again.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from dor_ecco_assets.products import all_collections
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.products import granules_key, store_key
from resources.cmr import CmrResource
from resources.production import ProductionResource

#: Days for which versions of a store that no tag names are kept.
KEPT_DAYS = 90


class KeepConfig(dg.Config):
    """Which versions of a store are kept."""

    days: int = KEPT_DAYS


def virtual_schedules(configs: str | None) -> list[dg.ScheduleDefinition]:
    """The weekly schedules of each collection; they are started in Dagster."""
    return [each for spec in all_collections(configs).values() for each in _weekly(spec)]


def _weekly(spec: StoreSpec) -> Iterator[dg.ScheduleDefinition]:
    name = f"virtual__{spec.name}"
    keys = [granules_key(spec.name), store_key(spec.name)]
    listing = dg.define_asset_job(
        f"{name}__list",
        selection=[dg.AssetKey(key.split("/")) for key in keys],
        description=f"List {spec.collection.short_name} as a whole; confirm its store.",
    )
    jobs: list[tuple[str, Any, str]] = [
        ("weekly", listing, "17 3 * * 0"),
        ("collect", _job(spec, "collect", _collect_of(spec)), "17 4 * * 0"),
    ]
    if spec.collection.product is None:  # our own granules come with records, in one root
        jobs += [
            ("retry", _job(spec, "retry", _retry_of(spec)), "37 3 * * 0"),
            ("reconcile", _job(spec, "reconcile", _reconcile_of(spec)), "17 5 * * 0"),
        ]
    for what, job, when in jobs:
        yield dg.ScheduleDefinition(name=f"{name}__{what}", job=job, cron_schedule=when)


def _job(spec: StoreSpec, what: str, op: dg.OpDefinition) -> dg.JobDefinition:
    graph = dg.GraphDefinition(
        name=f"virtual__{spec.name}__{what}", description=op.description, node_defs=[op]
    )
    return graph.to_job()


def _retry_of(spec: StoreSpec) -> dg.OpDefinition:
    @dg.op(
        name=f"virtual__{spec.name}__ask_again",
        description="Ask again for granules that wait for their bytes or are in quarantine.",
    )
    def ask_again(context: dg.OpExecutionContext, production: ProductionResource) -> None:
        from dor_ecco_assets.virtual.making import retry
        from dor_ecco_assets.virtual.published import located
        from dor_ecco_assets.virtual.standing import waiting_granules

        workspace = production.production().workspace()
        waiting = waiting_granules(workspace, located(spec, workspace.storage))
        if waiting:
            retry(workspace, spec, granules_key(spec.name), waiting)
        context.log.info(f"{len(waiting)} granules are asked for again")

    return ask_again


def _collect_of(spec: StoreSpec) -> dg.OpDefinition:
    @dg.op(
        name=f"virtual__{spec.name}__collect_garbage",
        description=f"Remove versions older than {KEPT_DAYS} days that no tag names.",
        pool=store_key(spec.name).replace("/", "__"),
    )
    def collect_garbage(
        context: dg.OpExecutionContext, config: KeepConfig, production: ProductionResource
    ) -> None:
        from dor_ecco_assets.virtual.published import located
        from dor_ecco_assets.virtual.reading import virtual_store

        storage = production.production().workspace().storage
        store = virtual_store(storage, located(spec, storage))
        if store.exists():
            removed = store.collect(timedelta(days=config.days))
            context.log.info(f"{store.uri}: removed {removed}")

    return collect_garbage


def _reconcile_of(spec: StoreSpec) -> dg.OpDefinition:
    @dg.op(
        name=f"virtual__{spec.name}__hold_against",
        description="Hold CMR, ledger, archive and store against each other.",
    )
    def hold_against(
        context: dg.OpExecutionContext, production: ProductionResource, cmr: CmrResource
    ) -> None:
        from dor_ecco_assets.virtual.published import catalogue_of, located
        from dor_ecco_assets.virtual.reconciling import reconcile

        cmr.prepare()
        workspace = production.production().workspace()
        here = located(spec, workspace.storage)
        found = reconcile(workspace, here, catalogue_of(here, workspace.storage))
        if found:
            lines = [f"{e.what} ({e.count}: {e.examples}); run: {e.repair}" for e in found]
            raise dg.Failure("\n".join(lines), allow_retries=False)
        context.log.info("CMR, ledger, archive and store agree")

    return hold_against
