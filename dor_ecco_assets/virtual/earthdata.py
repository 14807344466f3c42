"""Logging in to Earthdata, and the temporary keys of each archive's buckets."""

import base64
import binascii
import json
import netrc
import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dor_ecco_assets.errors import ConfigurationError, StorageRefused
from dor_ecco_assets.virtual.asking import Asking
from dor_ecco_assets.virtual.granule_records import parse_stamp

__all__ = ["BucketKeys", "Earthdata", "KeySource", "Login", "find_login"]

EDL_HOST = "urs.earthdata.nasa.gov"

#: Keys and tokens are renewed this long before they expire.
MARGIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Login:
    """A token, or a user name and password, and where it came from.

    What is secret does not show when it is printed.
    """

    source: str
    token: str | None = field(default=None, repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def find_login(token: str | None = None, environ: Mapping[str, str] | None = None) -> Login:
    """The first login there is.

    In this order: `token`, ``EARTHDATA_TOKEN``, ``EARTHDATA_USERNAME`` with
    ``EARTHDATA_PASSWORD``, and the entry of ``.netrc`` (``NETRC``, else in the home folder) for
    ``EARTHDATA_HOST``, which is Earthdata's if not set.

    Raises
    ------
    ConfigurationError
        Code ``NoEarthdataLogin`` where there is none, ``BadNetrc`` where others may read the file
        or it cannot be understood.
    """
    found = os.environ if environ is None else environ
    if token:
        return Login("the token given", token=token)
    if found.get("EARTHDATA_TOKEN"):
        return Login("EARTHDATA_TOKEN", token=found["EARTHDATA_TOKEN"].strip())
    user, password = found.get("EARTHDATA_USERNAME"), found.get("EARTHDATA_PASSWORD")
    if user and password:
        return Login("EARTHDATA_USERNAME and EARTHDATA_PASSWORD", user=user, password=password)
    if user or password:
        which = "EARTHDATA_PASSWORD" if user else "EARTHDATA_USERNAME"
        raise ConfigurationError(
            f"{which} is not set; set both or neither", code="NoEarthdataLogin"
        )
    path = Path(found.get("NETRC") or Path(found.get("HOME", "~")).expanduser() / ".netrc")
    host = found.get("EARTHDATA_HOST") or EDL_HOST
    entry = _netrc_entry(path, host)
    if entry is None:
        raise ConfigurationError(
            f"there is no Earthdata login: set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and "
            f"EARTHDATA_PASSWORD, or write an entry for {host} into {path}",
            code="NoEarthdataLogin",
        )
    return Login(str(path), user=entry[0], password=entry[1])


def _netrc_entry(path: Path, host: str) -> tuple[str, str] | None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if mode & 0o077:
        raise ConfigurationError(
            f"{path} may be read by others (mode {mode:04o}); run chmod 600 on it", code="BadNetrc"
        )
    try:
        found = netrc.netrc(path).authenticators(host)
    except netrc.NetrcParseError as error:
        # The parser's own message may quote a password.
        raise ConfigurationError(
            f"{path} cannot be understood at line {error.lineno}; correct it", code="BadNetrc"
        ) from None
    return None if found is None else (found[0], found[2] or "")


@dataclass(frozen=True)
class BucketKeys:
    """Temporary keys of the buckets of one archive."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires: datetime


class KeySource:
    """Keys of one archive's buckets, renewed before they expire; obstore takes it as it is.

    Parameters
    ----------
    fetch : callable
        Asks the archive for new keys.
    now : callable
        The time, UTC.
    """

    def __init__(
        self,
        fetch: Callable[[], BucketKeys],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._keys: BucketKeys | None = None

    def keys(self) -> BucketKeys:
        """Keys that hold for at least `MARGIN`.

        Raises
        ------
        StorageRefused
            Code ``CredentialsExpired``, if the archive hands out keys that do not.
        """
        with self._lock:  # one thread asks, the others take what it got
            if self._keys is None or self._keys.expires - self._now() <= MARGIN:
                self._keys = None
                fresh = self._fetch()
                if fresh.expires - self._now() <= MARGIN:
                    raise StorageRefused(
                        f"the archive's new keys expire at {fresh.expires:%Y-%m-%dT%H:%M:%SZ}, and "
                        f"it is {self._now():%Y-%m-%dT%H:%M:%SZ} here; check this machine's clock",
                        code="CredentialsExpired",
                    )
                self._keys = fresh
            return self._keys

    def __call__(self) -> dict[str, Any]:
        """The keys as obstore's credential providers give them."""
        keys = self.keys()
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            # obstore asks again once this has passed.
            "expires_at": keys.expires - MARGIN,
        }


class Earthdata:
    """One user's access: a token for HTTPS and CMR, keys per archive for S3.

    Parameters
    ----------
    login : Login
    host : str
        URL of Earthdata Login, or of what stands in for it.
    asking : Asking, optional
    now : callable
        The time, UTC.
    """

    def __init__(
        self,
        login: Login,
        host: str = f"https://{EDL_HOST}",
        asking: Asking | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._login = login
        self._host = host.rstrip("/")
        self._asking = asking or Asking("Earthdata Login")
        self._now = now
        self._lock = threading.Lock()
        self._token = login.token
        self._sources: dict[str, KeySource] = {}

    def token(self) -> str:
        """A token that has not expired; that of a user is reused, Earthdata allows only two.

        Raises
        ------
        StorageRefused
            Code ``EdlAuth``; names where the login came from.
        """
        with self._lock:
            if self._token is None:
                self._token = self._user_token()
            expires = _expiry(self._token)
            if expires is not None and expires <= self._now():
                raise StorageRefused(
                    f"the Earthdata token of {self._login.source} expired at "
                    f"{expires:%Y-%m-%dT%H:%M:%SZ}; generate a new one",
                    code="EdlAuth",
                )
            return self._token

    def _user_token(self) -> str:
        login = (self._login.user or "", self._login.password or "")
        url = f"{self._host}/api/users/find_or_create_token"
        try:
            return self._asking.post(url, login).json()["access_token"]
        except StorageRefused as error:
            raise self._named(error) from error
        except (KeyError, ValueError) as error:
            raise self._refused("gave no token") from error

    def bucket_keys(self, endpoint: str) -> KeySource:
        """The keys of the archive with this ``…/s3credentials``, always from the same source."""
        with self._lock:
            if endpoint not in self._sources:
                self._sources[endpoint] = KeySource(lambda: self._fetch_keys(endpoint), self._now)
            return self._sources[endpoint]

    def _fetch_keys(self, endpoint: str) -> BucketKeys:
        headers = {"Authorization": f"Bearer {self.token()}"}
        try:
            found = self._asking.get(endpoint, headers=headers).json()
            return BucketKeys(
                found["accessKeyId"],
                found["secretAccessKey"],
                found["sessionToken"],
                parse_stamp(found["expiration"]),
            )
        except StorageRefused as error:
            raise self._named(error) from error
        except (KeyError, ValueError, TypeError):
            # Without the cause: it may quote the reply. A login page comes with status 200.
            raise self._refused(f"at {endpoint} gave no keys") from None

    def _named(self, error: StorageRefused) -> StorageRefused:
        return StorageRefused(f"{error.message} (login: {self._login.source})", code=error.code)

    def _refused(self, what: str) -> StorageRefused:
        return StorageRefused(
            f"Earthdata {what} for the login of {self._login.source}; renew it, then run again",
            code="EdlAuth",
        )


def _expiry(token: str) -> datetime | None:
    """When a JSON web token expires; None for one that does not tell."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError):
        return None
