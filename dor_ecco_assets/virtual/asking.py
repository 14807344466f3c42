"""One way to ask Earthdata's services: patient with what waiting mends, mute about secrets."""

import email.utils
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, override
from urllib.parse import urlsplit

import requests

from dor_ecco_assets.errors import ConfigurationError, StorageRefused, StorageUnavailable

__all__ = ["Asking", "Reply"]

log = logging.getLogger(__name__)

type Reply = requests.Response

#: Attempts of one request, the first included.
ATTEMPTS = 6
#: Longest wait between two of them, s, whatever the server asks for.
LONGEST_WAIT_S = 60.0
#: Connecting, and waiting for an answer: CMR gives up by itself after 180 s.
TIMEOUTS_S = (5.0, 185.0)

_PASSING = frozenset({429, 500, 502, 503, 504})
#: Headers with which CMR says that it answered 200 with only a part; documented in both spellings.
_PARTIAL = ("CMR-Time-Out", "CMR-Timed-Out")


class _Session(requests.Session):
    """A session that takes no credentials from ``.netrc`` by itself."""

    @override
    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """Take the login off a request that was sent on to another host."""
        headers, url = prepared_request.headers, prepared_request.url
        if "Authorization" in headers and self.should_strip_auth(response.request.url, url):
            del headers["Authorization"]


class Asking:
    """Sends requests, again after what may pass, and names what will not.

    Parameters
    ----------
    service : str
        What the messages call it: ``CMR``, ``Earthdata Login``.
    sleep : callable
        Waits for some seconds.
    """

    def __init__(self, service: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._service = service
        self._sleep = sleep
        self._local = threading.local()  # a session is not made for several threads

    def get(
        self,
        url: str,
        parameters: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The whole, successful answer to a GET.

        Raises
        ------
        StorageUnavailable
            Codes ``CmrThrottled``, ``CmrPartial`` or ``CmrUnavailable``, after every attempt.
        StorageRefused
            Codes ``EdlAuth``, ``EdlEulaMissing``.
        ConfigurationError
            Code ``CmrQuery``: the service does not understand the question.
        """
        return self._ask("GET", url, parameters, headers, None)

    def post(self, url: str, login: tuple[str, str]) -> Reply:
        """As `get`, for a POST with a user name and password."""
        return self._ask("POST", url, (), None, login)

    def _ask(
        self,
        method: str,
        url: str,
        parameters: Sequence[tuple[str, str]],
        headers: Mapping[str, str] | None,
        login: tuple[str, str] | None,
    ) -> Reply:
        code, why = "", ""
        for attempt in range(1, ATTEMPTS + 1):
            asked_to_wait = 0.0
            try:
                reply = self._session().request(
                    method,
                    url,
                    params=list(parameters),
                    headers=dict(headers or {}),
                    # Given even where there is no login, so that none is looked for in ~/.netrc.
                    auth=login or _unchanged,
                    timeout=TIMEOUTS_S,
                )
            except (requests.ConnectionError, requests.Timeout, requests.RequestException) as error:
                code, why = "CmrUnavailable", f"no answer ({type(error).__name__})"
            else:
                problem = _problem(reply)
                if problem is None:
                    return reply
                if reply.status_code < 400 or reply.status_code in _PASSING:
                    code, why = problem
                    asked_to_wait = _retry_after_s(reply)
                else:
                    raise self._refusal(reply)
            if attempt < ATTEMPTS:
                jitter_s = random.uniform(0, min(LONGEST_WAIT_S, 0.5 * 2**attempt))  # noqa: S311
                wait_s = max(asked_to_wait, jitter_s)
                log.warning(
                    "%s: attempt %d of %d: %s; asking again in %.1f s",
                    *(self._service, attempt, ATTEMPTS, why, wait_s),
                )
                self._sleep(wait_s)
        raise StorageUnavailable(
            f"{self._service} at {_host(url)} gave no whole answer in {ATTEMPTS} attempts: {why}; "
            "try again later",
            code=code,
        )

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = _Session()
            self._local.session.headers["Client-Id"] = "dor-ecco-assets"
        return self._local.session

    def _refusal(self, reply: Reply) -> Exception:
        told = _told(reply)
        where = f"{self._service} at {_host(reply.url)}"
        if reply.status_code in (401, 403):
            if "eula" in told.lower():
                return StorageRefused(
                    f"{where} wants an agreement to be accepted first: {told}; log in to Earthdata "
                    "in a browser, accept it, then run again",
                    code="EdlEulaMissing",
                )
            return StorageRefused(
                f"{where} refused with {reply.status_code}: {told}", code="EdlAuth"
            )
        return ConfigurationError(
            f"{where} answered {reply.status_code}: {told}; correct the query", code="CmrQuery"
        )


def _unchanged(request: Any) -> Any:
    return request


def _host(url: str | None) -> str:
    """Host of a URL; its query may hold what nobody else should read."""
    return urlsplit(url or "").netloc.rpartition("@")[2]


def _problem(reply: Reply) -> tuple[str, str] | None:
    """Code and cause of an answer that is not whole, or None."""
    if reply.status_code == 429:
        return "CmrThrottled", "too many requests (429)"
    if reply.status_code >= 400:
        return "CmrUnavailable", f"status {reply.status_code}"
    if any(reply.headers.get(name, "false").lower() != "false" for name in _PARTIAL):
        return "CmrPartial", "only a part of the result, it ran out of time"
    if "json" in reply.headers.get("Content-Type", "json"):
        try:
            reply.json()
        except ValueError:
            return "CmrUnavailable", "an answer that is not JSON"
    return None


def _retry_after_s(reply: Reply) -> float:
    """Seconds that the server asks to wait, at most `LONGEST_WAIT_S`."""
    asked = reply.headers.get("Retry-After", "").strip()
    if asked.isdigit():
        seconds = float(asked)
    else:
        try:
            when = email.utils.parsedate_to_datetime(asked)
            seconds = (when.astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _told(reply: Reply) -> str:
    """What an error reply says, in one line."""
    try:
        found = reply.json()
    except ValueError:
        return " ".join(reply.text.split())[:200] or reply.reason
    errors = found.get("errors", found) if isinstance(found, dict) else found
    text = "; ".join(map(str, errors)) if isinstance(errors, list) else str(errors)
    return text[:300]
