"""Two-speed deflate: one ordinary zlib stream, made by two encoders.

After the shuffle filter the low byte planes of ocean fields are close to noise: there the search
for repeats finds little, and ISA-L level 2 gets within 2 to 4 % of zlib level 5 at a tenth of its
cost. The high planes repeat a great deal: there ISA-L loses 10 to 60 % and libdeflate level 5 gains
2 to 40 %. One stream may hold both, since deflate is a sequence of blocks: the ISA-L part ends
with a flush to a byte boundary instead of a final block, and the libdeflate part brings the final
one. Where the one ends and the other begins trades size for speed.
"""

import zlib
from typing import Any, NamedTuple

import deflate
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

__all__ = ["BALANCED", "HASTY", "Speeds", "deflate_planes", "inflate_planes"]

type PlaneArray = npt.NDArray[np.uint8]

#: zlib header: deflate, window of 32 KiB, "default" speed class, as zlib level 5 has it.
_HEADER = b"\x78\x5e"


class Speeds(NamedTuple):
    """Which part of the planes is encoded how.

    Parameters
    ----------
    slow_planes : int
        How many 4-byte planes, from the most significant, are encoded well; in proportion for
        other widths, at least one.
    fast_part : int
        One in this many bytes of the first of those goes the fast way too; 0 for none.
    isal_level, libdeflate_level : int
    """

    slow_planes: int
    fast_part: int
    isal_level: int
    libdeflate_level: int


#: A sixth of the first high plane goes the fast way too: 7 % less time for 0.7 % more size, so
#: that a published 2-D granule comes to 1.026 of zlib level 5.
BALANCED = Speeds(slow_planes=2, fast_part=6, isal_level=2, libdeflate_level=5)
#: Half of it for chunks of many values, as 3-D fields have them: 14 % less time than `BALANCED` for
#: 0.7 % more size, 1.02 of zlib level 5.
BULK = BALANCED._replace(fast_part=2)
#: Values of a chunk from which on it is `BULK`.
BULK_VALUES = 1 << 20
#: 5.1 to 6.8 times as fast as zlib level 4 at 0.99 to 1.02 of its size on POP fields, where ISA-L
#: alone comes to 1.01 to 1.07.
HASTY = Speeds(slow_planes=1, fast_part=0, isal_level=1, libdeflate_level=2)


def deflate_planes(planes: PlaneArray, speeds: Speeds | None = None) -> bytes:
    """Compress the byte planes of one chunk.

    Parameters
    ----------
    planes : ndarray of uint8, shape (itemsize, n), C-contiguous
        Least significant bytes first. The lower planes are encoded fast, the rest well; a single
        plane is encoded well.
    speeds : Speeds, optional
        `BALANCED` by default, `BULK` for many values: the lower half of the planes and a part of
        the next one fast. `HASTY`: all but the highest quarter.

    Returns
    -------
    bytes
        A zlib stream that any inflate decodes to the planes' bytes.

    Notes
    -----
    The bytes depend on the input and on the versions of ISA-L and libdeflate, not on threads.
    ISA-L has code of its own for each kind of processor; that all kinds give the same bytes is
    not checked here.
    """
    if speeds is None:
        speeds = BULK if planes.shape[1] >= BULK_VALUES else BALANCED
    n_low = planes.shape[0] * (4 - speeds.slow_planes) // 4 if planes.shape[0] > 1 else 0
    n_part = planes.shape[1] // speeds.fast_part if n_low and speeds.fast_part else 0
    n_fast = n_low * planes.shape[1] + n_part
    plain = planes.reshape(-1).data
    parts: list[bytes | bytearray] = [_HEADER]
    if n_fast:
        fast: Any = isal_zlib.compressobj(speeds.isal_level, zlib.DEFLATED, -zlib.MAX_WBITS)
        parts += [fast.compress(plain[:n_fast]), fast.flush(zlib.Z_SYNC_FLUSH)]
    parts.append(deflate.deflate_compress(plain[n_fast:], speeds.libdeflate_level))
    parts.append(deflate.adler32(plain).to_bytes(4, "big"))
    return b"".join(parts)


def inflate_planes(stream: bytes, shape: tuple[int, int]) -> PlaneArray:
    """Decompress the byte planes of one chunk and check them against the stream's Adler-32.

    Parameters
    ----------
    stream : bytes
        A zlib stream, ours or any other writer's.
    shape : (int, int)
        Bytes of a value, values of a chunk.

    Returns
    -------
    ndarray of uint8, of the shape asked for

    Raises
    ------
    ValueError
        If the stream is damaged or does not hold exactly as many bytes.
    """
    size = shape[0] * shape[1]
    try:
        plain = deflate.zlib_decompress(stream, size)
    except deflate.DeflateError as error:
        raise ValueError(f"deflate stream of {len(stream)} bytes is damaged: {error}") from error
    if len(plain) != size:
        raise ValueError(f"deflate stream holds {len(plain)} bytes, expected {size}")
    return np.frombuffer(plain, np.uint8).reshape(shape)
