"""What happens to virtual stores by the clock: CMR's whole collection is compared weekly."""

import dagster as dg

from dor_ecco_assets.virtual.collections import StoreSpec, load_collections
from dor_ecco_assets.virtual.products import granules_key


def virtual_schedules(configs: str | None) -> list[dg.ScheduleDefinition]:
    """A weekly listing of each collection: it finds what the sensor's overlap could not."""
    return [_weekly(spec) for spec in load_collections(configs).values()]


def _weekly(spec: StoreSpec) -> dg.ScheduleDefinition:
    job = dg.define_asset_job(
        f"virtual__{spec.name}__list",
        selection=[dg.AssetKey(granules_key(spec.name).split("/"))],
        description=f"List {spec.collection.short_name} as a whole.",
    )
    return dg.ScheduleDefinition(
        name=f"virtual__{spec.name}__weekly", job=job, cron_schedule="17 3 * * 0"
    )
