"""Fixtures that every test may use: a clean environment, and an S3 server on loopback."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.support.s3 import S3Server

#: What the user's own environment may not change in a test.
FOREIGN = ("AWS_", "DOR_ECCO_", "DAGSTER_HOME")
#: Where the caller keeps real data that tests may read; it stays.
KEPT = frozenset({"DOR_ECCO_TEST_DATA"})


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Hide the user's credentials, roots and instance from the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(FOREIGN) and n not in KEPT]:
            patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@contextmanager
def _restored() -> Generator[None]:
    before = dict(os.environ)
    yield
    # pytest itself keeps PYTEST_CURRENT_TEST up to date between tests.
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({n: v for n, v in before.items() if n != "PYTEST_CURRENT_TEST"})


@pytest.fixture(scope="module", autouse=True)
def restored_after_module(clean_environment: None) -> Iterator[None]:
    """Undo what the fixtures of a module, or the code they call, set in the environment."""
    with _restored():
        yield


@pytest.fixture(autouse=True)
def restored_environment(restored_after_module: None) -> Iterator[None]:
    """Undo what a test, or the code it calls, set in the environment."""
    with _restored():
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for the session; each test takes its own `bucket`."""
    from tests.support.s3 import S3Server  # moto's import takes a second; most tests need none

    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """Name of a new, empty bucket."""
    return s3_server.create_bucket(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point this process, and the children it starts, at the S3 server."""
    variables = s3_server.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
