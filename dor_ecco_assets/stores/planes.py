"""Compiled passes between values and the byte planes that the HDF5 shuffle filter makes of them.

Importing this module imports numba, so it is imported where it is used. The kernels see numbers as
unsigned integers of the same width: a NaN is then a magnitude above that of infinity, and types
without NaN pass a limit that no magnitude exceeds.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["ordered_range", "shuffle_planes", "unlike_planes"]

type UnsignedArray = npt.NDArray[np.unsignedinteger[Any]]
type SignedArray = npt.NDArray[np.signedinteger[Any]]
type PlaneArray = npt.NDArray[np.uint8]

#: Values per block: 4 KiB of float32, which stays in the first-level cache for all planes.
_BLOCK = 1024


@numba.njit(cache=True, nogil=True)
def shuffle_planes(
    bits: UnsignedArray,
    magnitude: np.unsignedinteger[Any],
    limit: np.unsignedinteger[Any],
    fill: np.unsignedinteger[Any],
    planes: PlaneArray,
) -> None:
    """Split values into byte planes, NaN becoming the fill value on the way.

    Parameters
    ----------
    bits : ndarray of unsigned integer, shape (n,)
        Values as bit patterns.
    magnitude, limit, fill : unsigned integer of the same width
        A value whose bits under the mask `magnitude` exceed `limit` is stored as `fill`.
    planes : ndarray of uint8, shape (itemsize, n)
        Written: plane 0 holds the least significant bytes, as the shuffle filter has them on
        little-endian values.
    """
    if planes.shape[0] == 4:
        # Written out for the usual width: one reading of the values instead of four.
        plane_0, plane_1, plane_2, plane_3 = planes[0], planes[1], planes[2], planes[3]
        for index in range(bits.size):
            value = bits[index]
            value = fill if value & magnitude > limit else value
            plane_0[index] = np.uint8(value)
            plane_1[index] = np.uint8(value >> np.uint32(8))
            plane_2[index] = np.uint8(value >> np.uint32(16))
            plane_3[index] = np.uint8(value >> np.uint32(24))
        return
    block = np.empty(_BLOCK, bits.dtype)
    for start in range(0, bits.size, _BLOCK):
        source = bits[start : start + _BLOCK]
        for index in range(source.size):
            value = source[index]
            block[index] = fill if value & magnitude > limit else value
        for plane in range(planes.shape[0]):
            # An 8-bit conversion, not a mask: the compiler makes vectors of it, 15 times as fast.
            row = planes[plane, start : start + _BLOCK]
            shift = np.uint32(8 * plane)
            for index in range(source.size):
                row[index] = np.uint8(block[index] >> shift)


@numba.njit(cache=True, nogil=True)
def unlike_planes(
    bits: UnsignedArray,
    magnitude: np.unsignedinteger[Any],
    limit: np.unsignedinteger[Any],
    fill: np.unsignedinteger[Any],
    planes: PlaneArray,
) -> int:
    """Count the bytes that byte planes do not give back, NaN counting as the fill value.

    Parameters
    ----------
    bits, magnitude, limit, fill
        As in `shuffle_planes`.
    planes : ndarray of uint8, shape (itemsize, n)
        Planes read back from a file.

    Returns
    -------
    int
        Zero if every value is there, bit for bit.
    """
    unlike = 0
    block = np.empty(_BLOCK, bits.dtype)
    for start in range(0, bits.size, _BLOCK):
        source = bits[start : start + _BLOCK]
        for index in range(source.size):
            value = source[index]
            block[index] = fill if value & magnitude > limit else value
        for plane in range(planes.shape[0]):
            row = planes[plane, start : start + _BLOCK]
            shift = np.uint32(8 * plane)
            for index in range(source.size):
                unlike += row[index] != np.uint8(block[index] >> shift)
    return unlike


@numba.njit(cache=True, nogil=True)
def ordered_range(
    bits: SignedArray, magnitude: np.signedinteger[Any], limit: np.signedinteger[Any]
) -> tuple[Any, Any, Any]:
    """Smallest and largest number of an array of floats, leaving NaN out.

    Parameters
    ----------
    bits : ndarray of signed integer, shape (n,)
        Values as bit patterns.
    magnitude, limit : signed integer of the same width
        Every bit but the sign; the bit pattern of infinity.

    Returns
    -------
    smallest, largest, count : int
        Order keys of the two numbers (their own inverse: negative bit patterns have all bits but
        the sign inverted) and how many values are not NaN.

    Notes
    -----
    Integers, because the compiler may not reorder comparisons of floats into vectors while NaN
    is among them, and keys are monotonic in the value.
    """
    smallest = magnitude
    largest = ~magnitude
    count = 0
    for index in range(bits.size):
        value = bits[index]
        valid = value & magnitude <= limit
        key = value if value >= 0 else value ^ magnitude
        smallest = min(smallest, key if valid else magnitude)
        largest = max(largest, key if valid else ~magnitude)
        count += valid
    return smallest, largest, count
