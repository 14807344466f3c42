"""An S3 server on loopback for tests and benchmarks: moto, in a thread of this process.

Moto is made to keep three of S3's promises that it does not keep by itself: a body that did not
arrive whole is not stored, one that differs from a SHA-256 sent along is not either, and a
condition (`If-None-Match`, `If-Match`) is judged and applied in one step even when several clients
write at once.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.exceptions import BadRequest
from werkzeug.serving import make_server
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from botocore.client import BaseClient

__all__ = ["S3Server", "StoredObject"]

#: Dummy credentials; moto checks no signature.
ACCESS_KEY_ID = "test-access-key-id"
SECRET_ACCESS_KEY = "test-secret-access-key"
REGION = "us-east-1"


class StoredObject(NamedTuple):
    """What a store holds under one key."""

    size: int
    sha256: str
    metadata: dict[str, str]


class S3Server:
    """S3 on 127.0.0.1 and a free port, from `__enter__` to `__exit__`.

    The threads are daemons, so a test run that is killed leaves no server behind. Moto's state
    belongs to the process: two servers in one process see the same buckets.

    A *place* below is ``bucket``, ``bucket/prefix`` or ``s3://bucket/prefix``; a prefix is a
    folder, and keys are given relative to it, so that they compare with those of a directory.
    """

    def __enter__(self) -> Self:
        app = _FaithfulS3(create_backend_app("s3"))
        self._server = make_server(
            "127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler
        )
        self.host = "127.0.0.1"
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="s3-server",
            daemon=True,
        )
        self._thread.start()
        self._client = self.client()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        # Moto holds each object in a temporary file and warns of those it finds open later.
        for account in s3_backends.values():
            for backend in account.values():
                backend.reset()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://{self.host}:{self.port}"

    def environment(self, *, endpoint: str | None = None) -> dict[str, str]:
        """Variables with which obstore, boto3 and s3fs in a child process find this server.

        Parameters
        ----------
        endpoint : str, optional
            Where to send requests instead, such as a proxy in front of this server.
        """
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, *, endpoint: str | None = None, **config: Any) -> BaseClient:
        """Return a boto3 client of this server; `config` as `botocore.config.Config` takes it."""
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}, **config),
        )

    def create_bucket(self, name: str) -> str:
        """Make an empty bucket and return its name (3 to 63 characters, as S3 asks)."""
        self._client.create_bucket(Bucket=name)
        return name

    def url(self, *parts: str) -> str:
        """``s3://`` and the parts: ``url("bucket/prefix")`` or ``url("bucket", "prefix")``."""
        return "s3://" + "/".join(parts)

    def contents(self, place: str) -> dict[str, bytes]:
        """Bytes of every object of a place, by key."""
        bucket, prefix = _split(place)
        return {
            key.removeprefix(prefix): self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in self._keys(bucket, prefix)
        }

    def objects(self, place: str) -> dict[str, StoredObject]:
        """Size, sha256 of the bytes and user metadata of every object of a place, by key."""
        bucket, prefix = _split(place)
        stored = {}
        for key in self._keys(bucket, prefix):
            answer = self._client.get_object(Bucket=bucket, Key=key)
            data = answer["Body"].read()
            digest = hashlib.sha256(data).hexdigest()
            stored[key.removeprefix(prefix)] = StoredObject(len(data), digest, answer["Metadata"])
        return stored

    def unfinished_uploads(self, place: str) -> list[str]:
        """Keys of multipart uploads of a place that were neither completed nor aborted."""
        bucket, prefix = _split(place)
        answer = self._client.list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return sorted(upload["Key"].removeprefix(prefix) for upload in answer.get("Uploads", []))

    def _keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def _split(place: str) -> tuple[str, str]:
    """Bucket and key prefix (empty, or ending in a slash) of a place."""
    whole = urlsplit(place) if "://" in place else urlsplit(f"s3://{place}")
    prefix = whole.path.strip("/")
    return whole.netloc, f"{prefix}/" if prefix else ""


class _QuietHandler(MotoRequestHandler):
    """Logs errors, not every request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class _FaithfulS3:
    """WSGI layer: bodies are read whole and checked, then moto handles one request at a time."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            body = get_input_stream(environ).read()
        except (BadRequest, OSError):  # the client left in mid-body: as S3, store nothing
            return _error(400, "IncompleteBody")(environ, start_response)
        if cause := _mismatch(environ, body):
            return _error(400, cause)(environ, start_response)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ.update({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        with self._lock:
            try:
                return self._app(environ, start_response)
            except KeyError:
                # Moto's answer to a part of an upload that was aborted meanwhile.
                if "uploadId=" not in environ["QUERY_STRING"]:
                    raise
                return _error(404, "NoSuchUpload")(environ, start_response)


def _mismatch(environ: Mapping[str, Any], body: bytes) -> str | None:
    """S3's name for a SHA-256 in the head that the body does not have."""
    digest = hashlib.sha256(body)
    signed = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    if len(signed) == 64 and signed != digest.hexdigest():  # other lengths say "not signed"
        return "XAmzContentSHA256Mismatch"
    checksum = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
    if checksum and checksum != base64.b64encode(digest.digest()).decode():
        return "BadDigest"
    return None


def _error(status: int, code: str) -> Response:
    document = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Response(document, status=status, content_type="application/xml")
