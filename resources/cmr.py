"""CMR and Earthdata Login, as sensors and assets of the virtual stores are given them.

Where they are is looked up when a run or tick starts: in the environment, or, for the login, in the
SSM Parameter Store. What is found there is kept in this process's environment, where worker
processes find it too; it is never part of a run's configuration.
"""

import os
import warnings
from typing import Any, override

import dagster as dg

from dor_ecco_assets.errors import StorageRefused
from dor_ecco_assets.virtual.cmr import CmrClient
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.earthdata import Earthdata
from dor_ecco_assets.virtual.saved_records import SavedRecords
from dor_ecco_assets.virtual.services import CMR_VARIABLE, cmr_client, earthdata

#: Variable with the path in the Parameter Store below which the login lies.
PARAMETERS_VARIABLE = "DOR_ECCO_EARTHDATA_SSM"

#: Names below that path, and the variables they stand for.
_PARAMETERS = {
    "token": "EARTHDATA_TOKEN",
    "username": "EARTHDATA_USERNAME",
    "password": "EARTHDATA_PASSWORD",
}


class CmrResource(dg.ConfigurableResource[Any]):
    """Where CMR is, and where the Earthdata login lies.

    Parameters
    ----------
    url : str, optional
        Of CMR; ``DOR_ECCO_CMR`` or the operational one if not given.
    parameters : str, optional
        Path in the SSM Parameter Store that holds ``token``, or ``username`` and ``password``;
        ``DOR_ECCO_EARTHDATA_SSM`` if not given. Without both the environment has the login.
    region : str, optional
        Of the Parameter Store.
    endpoint : str, optional
        URL of a service that stands in for it.
    """

    url: str | None = None
    parameters: str | None = None
    region: str | None = None
    endpoint: str | None = None

    @override
    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Bring the login into this process before a step needs it."""
        self.prepare()

    def prepare(self) -> None:
        """Make what is configured known to everything that looks into the environment.

        Raises
        ------
        StorageRefused
            Code ``NoEarthdataLogin``, if the Parameter Store has no login at that path, or does
            not give it.
        """
        if self.url is not None:
            os.environ[CMR_VARIABLE] = self.url
        path = self.parameters or os.environ.get(PARAMETERS_VARIABLE)
        if path:
            os.environ.update(self._login(path.rstrip("/")))

    def client(self, spec: StoreSpec) -> CmrClient | SavedRecords:
        """A client of a collection's CMR."""
        self.prepare()
        return cmr_client(spec)

    def login(self) -> Earthdata | None:
        """The Earthdata login, if there is one."""
        self.prepare()
        return earthdata()

    def _login(self, path: str) -> dict[str, str]:
        # Imported here: loading the code location should not wait for an AWS client.
        from botocore.exceptions import BotoCoreError, ClientError
        from dagster_aws.ssm import SSMResource

        options = {"region_name": self.region, "endpoint_url": self.endpoint}
        given: dict[str, Any] = {n: value for n, value in options.items() if value is not None}
        try:
            with warnings.catch_warnings():
                # The lock file holds the version in which this beta resource works.
                warnings.simplefilter("ignore", dg.BetaWarning)
                client = SSMResource(**given).get_client()
            reply = client.get_parameters(
                Names=[f"{path}/{name}" for name in _PARAMETERS], WithDecryption=True
            )
        except (BotoCoreError, ClientError) as error:
            raise StorageRefused(
                f"the SSM Parameter Store did not give {path} ({type(error).__name__}); check the "
                "region and the credentials",
                code="NoEarthdataLogin",
            ) from error
        found = {
            _PARAMETERS[each["Name"].rpartition("/")[2]]: each["Value"]
            for each in reply["Parameters"]
        }
        if "EARTHDATA_TOKEN" not in found and len(found) < 2:
            raise StorageRefused(
                f"the SSM Parameter Store has neither {path}/token nor both {path}/username and "
                f"{path}/password; put them there, or set {PARAMETERS_VARIABLE} to their path",
                code="NoEarthdataLogin",
            )
        return found
