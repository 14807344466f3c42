"""What every asset is given: storage, inputs and the production they make together.

Storage and inputs are named once, in ``DOR_ECCO_ROOT`` and ``DOR_ECCO_INPUTS`` or in the profile;
they are looked up when a run starts, never when this module is imported.
"""

from typing import Any

import dagster as dg

from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.products import Production
from dor_ecco_assets.settings import Place, Places, find_places


class PlaceResource(dg.ConfigurableResource[Any]):
    """A local directory or an S3 URL; what is not given comes from variables and the profile."""

    root: str | None = None
    endpoint: str | None = None
    region: str | None = None
    path_style: bool = True
    anonymous: bool = False

    def over(self, found: Place) -> Place:
        """This place where it names a root, else the one that was found."""
        if self.root is None:
            return found
        return Place.model_validate(self.model_dump())


class StorageResource(PlaceResource):
    """Where published data and their records lie."""


class InputsResource(PlaceResource):
    """Where raw inputs lie, laid out by subject (``llc90/``, ``V4r4/``, ...)."""


class ProductionResource(dg.ConfigurableResource[Any]):
    """The production that a run works on: storage, inputs, configuration."""

    storage: dg.ResourceDependency[StorageResource]
    inputs: dg.ResourceDependency[InputsResource]
    configs: str | None = None
    profile: str | None = None

    @classmethod
    def looked_up(cls, profile: str | None, configs: str | None) -> "ProductionResource":
        """The production whose places are found when a run starts."""
        return cls(
            storage=StorageResource(), inputs=InputsResource(), configs=configs, profile=profile
        )

    def places(self) -> Places:
        """Absolute places of storage, inputs and instance."""
        return find_places(
            root=self.storage.root,
            inputs=self.inputs.root,
            configs=self.configs,
            profile=self.profile,
        )

    def production(self) -> Production:
        """The production, as another process can take it."""
        places = self.places()
        return Production(
            self.storage.over(places.root),
            self.inputs.over(places.inputs),
            places.configs,
            RunSettings.from_environment(),
        )
