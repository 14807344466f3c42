"""One sensor per virtual store: what CMR has new becomes runs, each asked for once."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dor_ecco_assets.errors import DorEccoError
from dor_ecco_assets.lineage.record import read_record
from dor_ecco_assets.products import all_collections
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.discovery import Cursor, Request, look, requests_of
from dor_ecco_assets.virtual.listing import partition_files
from dor_ecco_assets.virtual.products import (
    exports_key,
    granules_key,
    references_key,
    store_key,
)
from resources.cmr import CmrResource
from resources.production import ProductionResource

type Tick = dg.SensorResult | dg.SkipReason


def virtual_sensors(configs: str | None) -> list[dg.SensorDefinition]:
    """The sensors of all configured collections; they are started in Dagster."""
    return [_sensor(spec) for spec in all_collections(configs).values()]


def _sensor(spec: StoreSpec) -> dg.SensorDefinition:
    keys = [references_key(spec.name), store_key(spec.name), exports_key(spec.name)]
    assets = [dg.AssetKey(key.split("/")) for key in keys]
    told = "CMR has" if spec.collection.product is None else "are recorded as"

    @dg.sensor(
        name=f"virtual__{spec.name}",
        asset_selection=assets,
        minimum_interval_seconds=spec.interval_s,
        description=f"Granules of {spec.collection.short_name} that {told} new, revised or gone.",
    )
    def discover(
        context: dg.SensorEvaluationContext, production: ProductionResource, cmr: CmrResource
    ) -> Any:
        try:
            return _tick(spec, context, production, cmr)
        except DorEccoError as error:  # the cursor stays where it is, so nothing is lost
            return dg.SkipReason(f"{error.message} [{error.code}]")

    return discover


def _tick(
    spec: StoreSpec,
    context: dg.SensorEvaluationContext,
    production: ProductionResource,
    cmr: CmrResource,
) -> Tick:
    from dor_ecco_assets.virtual.making import take_in
    from dor_ecco_assets.virtual.published import catalogue_of, located

    cmr.prepare()
    key, name = granules_key(spec.name), references_key(spec.name)
    workspace = production.production().workspace()
    storage = workspace.storage
    spec, catalogue = located(spec, storage), catalogue_of(spec, storage)
    changes = look(spec, Cursor.decode(context.cursor), catalogue, datetime.now(UTC))
    if changes:
        take_in(workspace, spec, key, changes)
    files = partition_files(read_record(storage, key, ""))
    requests, cursor = requests_of(files, changes.cursor)
    if not requests:
        context.update_cursor(cursor.encode())
        at = "never" if cursor.high_water is None else f"{cursor.high_water:%Y-%m-%dT%H:%M:%SZ}"
        return dg.SkipReason(f"nothing new in CMR; newest revision {at}")
    known = set(context.instance.get_dynamic_partitions(name))
    new = [each.partition for each in requests if each.partition not in known]
    partitions = dg.DynamicPartitionsDefinition(name=name)
    return dg.SensorResult(
        run_requests=[_run_of(each) for each in requests],
        dynamic_partitions_requests=[partitions.build_add_request(new)] if new else [],
        cursor=cursor.encode(),
    )


def _run_of(request: Request) -> dg.RunRequest:
    return dg.RunRequest(run_key=request.run_key, partition_key=request.partition)
