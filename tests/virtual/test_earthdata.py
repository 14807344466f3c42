"""Logins are found in their order, keys are renewed in time, and no secret shows."""

from __future__ import annotations

import base64
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from dor_ecco_assets.errors import ConfigurationError, StorageRefused
from dor_ecco_assets.virtual.asking import Asking
from dor_ecco_assets.virtual.earthdata import MARGIN, Earthdata, Login, find_login
from tests.support.cmr import LOGIN_PAGE, CmrServer, Fault

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def keys(expires, number=0):
    return {
        "accessKeyId": f"id-{number}",
        "secretAccessKey": f"secret-{number}",
        "sessionToken": f"session-{number}",
        "expiration": f"{expires:%Y-%m-%d %H:%M:%S}+00:00",
    }


def web_token(expires):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires.timestamp()}).encode()).decode()
    return f"e30.{claims.rstrip('=')}.signature"


def netrc_file(folder, mode=0o600, host="urs.earthdata.nasa.gov"):
    path = folder / ".netrc"
    path.write_text(f"machine {host} login somebody password from-netrc\n")
    path.chmod(mode)
    return {"HOME": str(folder)}


def access(server, login=None, now=lambda: NOON):
    login = login or Login("EARTHDATA_TOKEN", token=server.token)
    return Earthdata(login, server.endpoint, Asking("Earthdata Login", lambda _: None), now)


def test_logins_are_looked_for_in_order(tmp_path):
    environ = netrc_file(tmp_path)
    assert find_login(environ=environ).user == "somebody"
    environ |= {"EARTHDATA_USERNAME": "u", "EARTHDATA_PASSWORD": "p"}
    assert find_login(environ=environ).user == "u"
    environ |= {"EARTHDATA_TOKEN": " t "}
    assert find_login(environ=environ).token == "t"
    assert find_login("given", environ).token == "given"


def test_another_host_has_its_own_entry(tmp_path):
    environ = netrc_file(tmp_path, host="uat.urs.earthdata.nasa.gov")
    environ["EARTHDATA_HOST"] = "uat.urs.earthdata.nasa.gov"
    assert find_login(environ=environ).password == "from-netrc"


def test_no_login_says_where_it_looked(tmp_path):
    with pytest.raises(ConfigurationError, match="EARTHDATA_TOKEN") as caught:
        find_login(environ={"HOME": str(tmp_path)})
    assert caught.value.code == "NoEarthdataLogin"


def test_half_a_login_is_no_login(tmp_path):
    with pytest.raises(ConfigurationError, match="EARTHDATA_PASSWORD is not set"):
        find_login(environ={"EARTHDATA_USERNAME": "u", "HOME": str(tmp_path)})


def test_a_netrc_that_others_may_read_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="chmod 600") as caught:
        find_login(environ=netrc_file(tmp_path, mode=0o644))
    assert caught.value.code == "BadNetrc"


def test_a_garbled_netrc_is_refused_without_quoting_it(tmp_path):
    environ = netrc_file(tmp_path)
    (tmp_path / ".netrc").write_text("machine x password secret-word nonsense-word\n")
    with pytest.raises(ConfigurationError) as caught:
        find_login(environ=environ)
    assert caught.value.code == "BadNetrc"
    assert "word" not in str(caught.value)


def test_a_user_gets_one_token_for_the_whole_run():
    with CmrServer() as server:
        user = access(server, Login(".netrc", user="u", password="p"))
        assert {user.token() for _ in range(3)} == {server.token}
        assert server.tokens_made == 1


def test_an_expired_token_is_refused_before_it_is_sent():
    with CmrServer() as server:
        old = access(server, Login("EARTHDATA_TOKEN", token=web_token(NOON - timedelta(days=1))))
        with pytest.raises(StorageRefused, match="EARTHDATA_TOKEN expired at 2025-12-31") as caught:
            old.token()
        assert server.asked == []
        good = web_token(NOON + timedelta(days=1))
        assert access(server, Login("EARTHDATA_TOKEN", token=good)).token() == good
    assert caught.value.code == "EdlAuth"


def test_keys_are_kept_until_five_minutes_before_they_expire():
    clock = [NOON]
    replies = [keys(NOON + timedelta(hours=h), h) for h in (1, 2)]
    with CmrServer(keys=replies) as server:
        source = access(server, now=lambda: clock[0]).bucket_keys(
            f"{server.endpoint}/s3credentials"
        )
        assert source.keys().access_key_id == "id-1"
        clock[0] = NOON + timedelta(hours=1) - MARGIN - timedelta(seconds=1)
        assert source.keys().access_key_id == "id-1"
        clock[0] += timedelta(seconds=1)
        assert source.keys().access_key_id == "id-2"
        # A day later a clock that only looks at the hour would take them for fresh.
        clock[0] = NOON + timedelta(days=1)
        server.keys = [keys(clock[0] + timedelta(hours=1), 3)]
        assert source.keys().access_key_id == "id-3"
        assert len(server.asked) == 3


def test_many_threads_ask_once():
    with CmrServer(keys=[keys(NOON + timedelta(hours=1))]) as server:
        source = access(server).bucket_keys(f"{server.endpoint}/s3credentials")
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: source.keys(), range(32)))
        assert len(set(found)) == len(server.asked) == 1


def test_each_archive_has_its_own_keys():
    with CmrServer(keys=[keys(NOON + timedelta(hours=1))]) as server:
        user = access(server)
        one, other = (user.bucket_keys(f"{server.endpoint}/s3credentials{q}") for q in ("", "?b"))
        assert one is user.bucket_keys(f"{server.endpoint}/s3credentials")
        assert one is not other


def test_obstore_gets_the_keys_with_the_time_to_renew_them():
    with CmrServer(keys=[keys(NOON + timedelta(hours=1), 4)]) as server:
        found = access(server).bucket_keys(f"{server.endpoint}/s3credentials")()
    assert found == {
        "access_key_id": "id-4",
        "secret_access_key": "secret-4",
        "token": "session-4",
        "expires_at": NOON + timedelta(minutes=55),
    }


def test_keys_that_have_expired_already_are_refused():
    with CmrServer(keys=[keys(NOON - timedelta(hours=1))]) as server:
        with pytest.raises(StorageRefused, match="clock") as caught:
            access(server).bucket_keys(f"{server.endpoint}/s3credentials").keys()
    assert caught.value.code == "CredentialsExpired"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(401), "EdlAuth"),
        (Fault(403, body=b"please accept the EULA"), "EdlEulaMissing"),
        (Fault(body=LOGIN_PAGE, headers={"Content-Type": "text/html"}), "EdlAuth"),
    ],
)
def test_a_refusal_names_where_the_login_came_from(fault, code):
    with CmrServer(keys=[keys(NOON)], faults=[fault]) as server:
        with pytest.raises(StorageRefused, match="EARTHDATA_TOKEN") as caught:
            access(server).bucket_keys(f"{server.endpoint}/s3credentials").keys()
    assert caught.value.code == code


def test_no_secret_shows_in_logs_errors_or_printed_values(caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    shown = []
    with CmrServer(keys=[keys(NOON + timedelta(hours=1), 9)], faults=[Fault(503)]) as server:
        server.token = "stand-in-secret"
        login = Login("x", user="somebody", password="pass-secret")
        user = access(server, login)
        source = user.bucket_keys(f"{server.endpoint}/s3credentials")
        shown += [login, user, source, source.keys(), find_login("given-secret", {})]
        server.faults = [Fault(401)]
        with pytest.raises(StorageRefused) as caught:
            user.bucket_keys(f"{server.endpoint}/s3credentials?again").keys()
    text = caplog.text + str(caught.value) + " ".join(map(repr, shown))
    assert not [word for word in ("secret-9", "session-9", "-secret") if word in text]
