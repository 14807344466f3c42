"""Assembles the code location; defines nothing itself.

The environment is read here alone, and only ``DOR_ECCO_PROFILE`` and ``DOR_ECCO_CONFIGS``, which
decide what there is to show. Storage, inputs and secrets are looked up when a run starts.
"""

import os
from typing import Any

import dagster as dg

from dor_ecco_assets.dor.assets import dor_assets
from dor_ecco_assets.dor.checks import dor_checks
from dor_ecco_assets.ecco.assets import ecco_assets
from dor_ecco_assets.ecco.checks import ecco_checks
from dor_ecco_assets.grids.assets import grid_assets, grid_checks
from dor_ecco_assets.mapping.assets import mapping_assets, mapping_checks
from dor_ecco_assets.pyramids.assets import pyramid_assets
from dor_ecco_assets.pyramids.checks import pyramid_checks
from dor_ecco_assets.settings import Compute, load_profile
from dor_ecco_assets.virtual.assets import virtual_assets
from dor_ecco_assets.virtual.checks import virtual_checks
from dor_ecco_assets.virtual.schedules import virtual_schedules
from dor_ecco_assets.virtual.sensors import virtual_sensors
from resources.cmr import CmrResource
from resources.compute import ComputeResource
from resources.io_managers import PublishingIOManager
from resources.production import ProductionResource


def build_definitions(
    profile: str | None = None,
    configs: str | None = None,
    production: ProductionResource | None = None,
    compute: Compute | None = None,
) -> dg.Definitions:
    """The code location.

    Parameters
    ----------
    profile : str, optional
        Name of a file in ``configs/profiles``; ``DOR_ECCO_PROFILE``, else ``laptop``.
    configs : str, optional
        The user's overlay of ``configs/``; ``DOR_ECCO_CONFIGS``.
    production : ProductionResource, optional
        Names storage and inputs itself instead of looking them up when a run starts.
    compute : Compute, optional
        Takes the place of the profile's.
    """
    profile = profile or os.environ.get("DOR_ECCO_PROFILE") or "laptop"
    configs = configs or os.environ.get("DOR_ECCO_CONFIGS")
    chosen = load_profile(profile, configs)
    return dg.Definitions(
        assets=[
            *grid_assets(configs),
            *mapping_assets(configs),
            *ecco_assets(configs, chosen.backfill),
            *dor_assets(configs, chosen.backfill),
            *pyramid_assets(configs, chosen.backfill),
            *virtual_assets(configs, chosen.backfill),
        ],
        asset_checks=[
            *grid_checks(configs),
            *mapping_checks(configs),
            *ecco_checks(configs),
            *dor_checks(configs),
            *pyramid_checks(configs),
            *virtual_checks(configs),
        ],
        sensors=virtual_sensors(configs),
        schedules=virtual_schedules(configs),
        resources=_resources(
            production or ProductionResource.looked_up(profile, configs), compute or chosen.compute
        ),
        executor=dg.in_process_executor,
    )


def _resources(production: ProductionResource, compute: Compute) -> dict[str, Any]:
    workers = ComputeResource(mode=compute.mode, workers=compute.workers)
    io_manager = PublishingIOManager(production=production, compute=workers)
    return {
        "storage": production.storage,
        "inputs": production.inputs,
        "production": production,
        "compute": workers,
        "cmr": CmrResource(),
        "netcdf_io": io_manager,
        "zarr_io": io_manager,
        "icechunk_io": io_manager,
        "pyramid_io": io_manager,
        "files_io": io_manager,
        "html_io": io_manager,
    }


defs = build_definitions()
