"""Bytes on disk and on S3: read, atomic write, list, conditional write, checksum."""

from pathlib import Path

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import Place
from dor_ecco_assets.storage.base import Stat, Storage
from dor_ecco_assets.storage.directory import Directory

__all__ = ["Directory", "Stat", "Storage", "open_storage"]


def open_storage(place: Place) -> Storage:
    """The storage at a local directory or an ``s3://`` URL; nothing is created or asked yet.

    Parameters
    ----------
    place : Place
        With an absolute root: a path, or ``s3://bucket/prefix``.

    Raises
    ------
    ConfigurationError
        If the root is missing or has another scheme.
    """
    root = place.root
    if root is not None and root.startswith("s3://") and root != "s3://":
        # Imported here: a laptop's run on local disk should not wait for an S3 client.
        from dor_ecco_assets.storage.bucket import Bucket, S3Options

        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        options = S3Options(place.endpoint, place.region, place.path_style, place.anonymous)
        return Bucket(bucket, prefix, options)
    if root is None or ("://" in root and not root.startswith("file://")):
        raise ConfigurationError(
            f"storage root {root!r}: expected a local directory or s3://bucket/prefix",
            code="UnknownScheme",
        )
    return Directory(Path(root.removeprefix("file://")))
