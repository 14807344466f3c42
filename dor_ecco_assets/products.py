"""Every product of every line, gathered; defines none itself and needs no Dagster."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from dor_ecco_assets.dor.products import dor_products
from dor_ecco_assets.ecco.gathered import gathered_products
from dor_ecco_assets.ecco.products import ecco_products
from dor_ecco_assets.grids.products import grid_products
from dor_ecco_assets.lineage.product import Product, RunSettings, by_key
from dor_ecco_assets.lineage.workspace import Workspace
from dor_ecco_assets.mapping.products import mapping_products
from dor_ecco_assets.pyramids.products import pyramid_products
from dor_ecco_assets.settings import Place, Places
from dor_ecco_assets.storage import open_storage
from dor_ecco_assets.virtual.collections import (
    StoreSpec,
    load_collections,
    own_collections,
)
from dor_ecco_assets.virtual.products import of_granules, store_key, virtual_products


@lru_cache(maxsize=4)
def all_products(configs: str | None = None) -> dict[str, Product]:
    """Every product that the configuration describes, by key.

    Parameters
    ----------
    configs : str, optional
        The user's overlay of ``configs/``.
    """
    lines = (grid_products, mapping_products, ecco_products, gathered_products, dor_products)
    found = by_key([product for line in lines for product in line(configs)])
    found |= by_key(virtual_products(configs, found))
    return found | by_key(pyramid_products(configs, found))


def all_collections(configs: str | None = None) -> dict[str, StoreSpec]:
    """The collections that have a virtual store here, by the name in its key."""
    found = all_products(configs)
    specs = load_collections(configs) | own_collections(configs, of_granules(found))
    return {name: spec for name, spec in specs.items() if store_key(name) in found}


@dataclass(frozen=True)
class Production:
    """Where one production lies and what it is told: all that another process needs to join it.

    Parameters
    ----------
    root, inputs : Place
        Absolute.
    configs : str or None
    settings : RunSettings
    """

    root: Place
    inputs: Place
    configs: str | None = None
    settings: RunSettings = field(default_factory=RunSettings)

    @classmethod
    def at(cls, places: Places) -> "Production":
        """The production at these places, with the run settings of the environment."""
        return cls(places.root, places.inputs, places.configs, RunSettings.from_environment())

    def workspace(self) -> Workspace:
        """A fresh look at it: nothing is remembered of listings and fingerprints."""
        root = str(self.root.root)
        return Workspace(
            open_storage(self.root),
            open_storage(self.inputs),
            all_products(self.configs),
            replace(self.settings, root_url=root if "://" in root else None),
        )
