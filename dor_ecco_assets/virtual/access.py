"""Reaching the archives that hold granules: their buckets, their web servers, local copies.

A granule is named by its place's name and a key relative to it, so that the same references serve
every way of reaching the archive.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dor_ecco_assets.errors import ConfigurationError, StorageRefused
from dor_ecco_assets.stores.icechunk_store import ROOT
from dor_ecco_assets.virtual.collections import Access, StoreSpec

if TYPE_CHECKING:
    from dor_ecco_assets.stores.icechunk_store import Container
    from dor_ecco_assets.virtual.earthdata import Earthdata, KeySource

__all__ = ["VARIABLE", "ArchiveKeys", "Archives", "Way", "chosen_way", "open_place"]

Way = Literal["s3", "https", "local"]

#: Variable that says how archives are reached; the nearest way if it is not set.
VARIABLE = "DOR_ECCO_ACCESS"

#: Web servers of archives cut connections and ask for patience; obstore goes on by itself.
_CLIENT: dict[str, Any] = {"timeout": "120s", "connect_timeout": "10s"}


def chosen_way(place: Access, environ: Mapping[str, str] | None = None) -> Way:
    """How a place is reached from here.

    As ``DOR_ECCO_ACCESS`` says, of an archive; else by its folder, by its bucket where this runs in
    the bucket's region or there is no other way, and by HTTPS, in this order.

    Raises
    ------
    ConfigurationError
        Code ``NoSuchAccess``, if the place cannot be reached so.
    """
    found = os.environ if environ is None else environ
    given = {"local": place.local, "s3": place.s3, "https": place.https}
    wanted = "" if place.name == ROOT else found.get(VARIABLE, "")
    if wanted:
        if wanted not in given or not given[wanted]:
            ways = ", ".join(way for way, url in given.items() if url)
            raise ConfigurationError(
                f"{VARIABLE} is {wanted!r}, and {place.name} is reached by {ways} only; set one "
                "of these, or add the other to access in the collection's configuration",
                code="NoSuchAccess",
            )
        return "local" if wanted == "local" else "s3" if wanted == "s3" else "https"
    here = found.get("AWS_REGION") or found.get("AWS_DEFAULT_REGION")
    if place.local:
        return "local"
    return "s3" if place.s3 and (not place.https or here == place.region) else "https"


def open_place(
    place: Access,
    way: Way,
    *,
    keys: Callable[[], dict[str, Any]] | None = None,
    token: Callable[[], str] | None = None,
) -> Any:
    """An obstore store whose keys are relative to a place.

    Parameters
    ----------
    place : Access
    way : {"s3", "https", "local"}
    keys : callable, optional
        Gives the bucket's temporary keys; without it the AWS credential chain does.
    token : callable, optional
        Gives an Earthdata token for HTTPS.
    """
    from obstore.store import HTTPStore, LocalStore, S3Store

    if way == "local":
        folder = Path(str(place.local))
        if not folder.is_dir():
            raise ConfigurationError(
                f"there is no folder {folder}, which access.local of {place.name} names",
                code="NoSuchAccess",
            )
        return LocalStore(folder)
    if way == "https":
        web: Any = {**_CLIENT, "allow_http": str(place.https).startswith("http://")}
        if token is not None:
            web["default_headers"] = {"authorization": f"Bearer {token()}"}
        return HTTPStore.from_url(str(place.https), client_options=web)
    bucket, _, prefix = str(place.s3).removeprefix("s3://").partition("/")
    endpoint = place.endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
    given: dict[str, Any] = {"region": place.region, "virtual_hosted_style_request": False}
    if endpoint:
        given["endpoint"] = endpoint
    if place.anonymous:
        given["skip_signature"] = True
    elif keys is not None:
        given["credential_provider"] = keys
    options: Any = {**_CLIENT, "allow_http": endpoint.startswith("http://")}
    return S3Store(bucket, prefix=prefix.strip("/") or None, client_options=options, **given)


@dataclass(frozen=True)
class ArchiveKeys:
    """Keys of an archive's buckets as Icechunk takes them, in any process that has the login.

    Parameters
    ----------
    url : str
        Of the archive's ``s3credentials``.
    """

    url: str

    def __call__(self) -> Any:
        """Keys that hold, asked for where those of this process do not."""
        import icechunk

        keys = _key_source(self.url).keys()
        return icechunk.S3StaticCredentials(
            access_key_id=keys.access_key_id,
            secret_access_key=keys.secret_access_key,
            session_token=keys.session_token,
            expires_after=keys.expires,
        )


@lru_cache(maxsize=16)
def _key_source(url: str) -> "KeySource":
    from dor_ecco_assets.virtual.services import earthdata

    login = earthdata()
    if login is None:
        raise StorageRefused(
            f"there is no Earthdata login for the keys of {url}; set EARTHDATA_TOKEN",
            code="EdlAuth",
        )
    return login.bucket_keys(url)


@dataclass
class Archives:
    """The places of one collection, each opened when it is first asked for.

    Parameters
    ----------
    spec : StoreSpec
    earthdata : callable, optional
        Gives the login when a place needs one; the first login of the environment if not given.
    key_urls : mapping of str to str
        Where the keys of a place's bucket are, by its name.
    """

    spec: StoreSpec
    earthdata: "Callable[[], Earthdata | None] | None" = None
    key_urls: Mapping[str, str] = field(default_factory=dict[str, str])
    _opened: dict[str, Any] = field(default_factory=dict[str, Any])

    def place(self, name: str) -> Access:
        """The configured place of this name."""
        return next(place for place in self.spec.access if place.name == name)

    def store(self, name: str, s3_credentials_url: str | None = None) -> Any:
        """The store of a place; `s3_credentials_url` is where its granules say keys are."""
        if name not in self._opened:
            place = self.place(name)
            way = chosen_way(place)
            s3_credentials_url = s3_credentials_url or self.key_urls.get(name)
            login = None if way == "local" or place.anonymous else self._login()
            if way == "s3" and login is not None and s3_credentials_url:
                keys = login.bucket_keys(s3_credentials_url)
                self._opened[name] = open_place(place, way, keys=keys)
            elif way == "https" and login is not None:
                self._opened[name] = open_place(place, way, token=login.token)
            else:
                self._opened[name] = open_place(place, way)
        return self._opened[name]

    def url(self, name: str, key: str) -> str:
        """Where a granule lies, as it is reached from here."""
        place = self.place(name)
        return f"{getattr(place, chosen_way(place))}{key}"

    def authorised(self, containers: "Sequence[Container]") -> "list[Container]":
        """Containers of a store of this collection, to be read with the login."""
        return [self._authorised(each) for each in containers]

    def _authorised(self, container: "Container") -> "Container":
        scheme, place = container.url.partition("://")[0], self.place(container.name)
        login = None if scheme == "file" or place.anonymous else self._login()
        if login is None:
            return container
        if scheme != "s3":
            return replace(container, headers={"authorization": f"Bearer {login.token()}"})
        url = self.key_urls.get(place.name)
        return container if url is None else replace(container, credentials=ArchiveKeys(url))

    def _login(self) -> "Earthdata | None":
        if self.earthdata is not None:
            return self.earthdata()
        from dor_ecco_assets.virtual.services import earthdata

        return earthdata()
