"""Specifications of the sample collections, as tests vary them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dor_ecco_assets.samples.virtual_granules import BUCKET, DAILY, HTTPS_ROOT
from dor_ecco_assets.settings import parse_config
from dor_ecco_assets.virtual.collections import StoreSpec

if TYPE_CHECKING:
    from dor_ecco_assets.samples.virtual_granules import Collection

#: The least that a configuration of the daily sample says.
PLAIN: dict[str, Any] = {
    "collection": {"concept_id": DAILY.concept_id, "short_name": DAILY.short_name},
    "level": "L4",
    "identity": "begin",
    "concat": {"dim": "time", "step": "P1D", "on_gap": "hole"},
    "load": ["time", "lat", "lon"],
    "access": {"s3": f"s3://{BUCKET}/", "https": f"{HTTPS_ROOT}/"},
}


def spec_of(collection: Collection = DAILY, **changes: Any) -> StoreSpec:
    """A specification of a sample collection with some keys changed."""
    scope = {"concept_id": collection.concept_id, "short_name": collection.short_name}
    return parse_config(StoreSpec, {**PLAIN, "collection": scope, **changes}, "test")
