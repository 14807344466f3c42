"""CMR and Earthdata Login as the environment names them, looked up when a run needs them."""

import os
from pathlib import Path

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.virtual.cmr import CMR_URL, CmrClient
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.earthdata import EDL_HOST, Earthdata, find_login
from dor_ecco_assets.virtual.saved_records import SavedRecords

__all__ = ["CMR_VARIABLE", "cmr_client", "earthdata"]

#: Variable with the URL of CMR: that of its test system, or of what stands in for it.
CMR_VARIABLE = "DOR_ECCO_CMR"


def cmr_client(spec: StoreSpec | None = None) -> CmrClient | SavedRecords:
    """A client of a collection's CMR, of that which ``DOR_ECCO_CMR`` names, or the operational one.

    A token of the environment is sent along, for collections that not everybody sees; searching
    the others needs none.
    """
    token = os.environ.get("EARTHDATA_TOKEN")
    own = None if spec is None else spec.collection.cmr
    root = own or os.environ.get(CMR_VARIABLE) or CMR_URL
    if root.startswith("file://"):
        return SavedRecords(Path(root.removeprefix("file://")))
    return CmrClient(root, token=None if not token else lambda: token)


def earthdata() -> Earthdata | None:
    """The login of the environment; None where there is none, which open data do not need."""
    host = os.environ.get("EARTHDATA_HOST") or EDL_HOST
    try:
        login = find_login()
    except ConfigurationError as error:
        if error.code == "NoEarthdataLogin":
            return None
        raise
    return Earthdata(login, host if "://" in host else f"https://{host}")
