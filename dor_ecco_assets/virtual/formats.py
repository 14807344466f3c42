"""What a granule's first bytes tell of it."""

from typing import Literal

__all__ = ["GranuleFormat", "granule_format", "unusable_reason"]

type GranuleFormat = Literal[
    "hdf5", "netcdf3", "hdf4", "grib", "dmrpp", "html", "xml", "json", "empty", "unknown"
]

_SIGNATURES: tuple[tuple[bytes, GranuleFormat], ...] = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"CDF\x01", "netcdf3"),
    (b"CDF\x02", "netcdf3"),
    (b"CDF\x05", "netcdf3"),
    (b"\x0e\x03\x13\x01", "hdf4"),
    (b"GRIB", "grib"),
)


def granule_format(head: bytes) -> GranuleFormat:
    """The format that begins with these bytes, of which some hundred are enough."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    text = head.lstrip().lower()
    if not text:
        return "empty"
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text:
        return "html"
    if text.startswith((b"<?xml", b"<dataset")):
        return "dmrpp" if b"dmrpp" in text or b"<dataset" in text else "xml"
    return "json" if text.startswith((b"{", b"[")) else "unknown"


def unusable_reason(head: bytes) -> tuple[str, str]:
    """Why a file that begins so is no HDF5 that can be read: code and what to do."""
    found = granule_format(head)
    if found in ("html", "xml", "json"):
        what = "an HTML page (a login page?)" if found == "html" else f"{found.upper()} text"
        return "Unreadable", f"it looks like {what}; check the credentials and fetch it again"
    if found == "empty":
        return "Unreadable", "it is empty; fetch it again"
    if found == "hdf5":
        return "Unreadable", "it begins like HDF5 but is cut or damaged; fetch it again"
    if found == "unknown":
        return "Unreadable", f"it is not HDF5 (begins with {head[:8]!r}); fetch it again"
    return "FormatUnsupported", f"it is {found}; use the parser for that format"
