"""A log-linear histogram in a kernel: HdrHistogram's own layout with two significant digits.

Values up to 255 have a bucket each; above, each octave has 128, so a bucket is less than 0.8 %
wide.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inlined_kernel
from openoutcry.protocol.binary.words import bit_length

_HALF_BITS = 7
_HALF = 1 << _HALF_BITS
_OCTAVES = 40
BUCKETS = _HALF * (_OCTAVES + 2)
#: Largest value told apart, about 39 hours in ns; larger ones count as this.
HIGHEST = (2 * _HALF << _OCTAVES) - 1


def new_histogram() -> NDArray[np.int64]:
    """Return an empty histogram."""
    return np.zeros(BUCKETS, np.int64)


@inlined_kernel
def record(histogram: NDArray[Any], value: int) -> None:
    """Count a value; negative ones count as 0."""
    value = min(max(value, 0), HIGHEST)
    octave = max(bit_length(np.uint64(value)) - (_HALF_BITS + 1), 0)
    histogram[(octave << _HALF_BITS) + (value >> octave)] += 1


def bucket_ends(bucket: int) -> tuple[int, int]:
    """Return the smallest and largest value of a bucket."""
    octave = max((bucket >> _HALF_BITS) - 1, 0)
    low = (bucket - (octave << _HALF_BITS)) << octave
    return low, low + (1 << octave) - 1


def value_at(histogram: NDArray[np.int64], percent: float) -> int:
    """Return the value at a percentile: the largest of its bucket, as HdrHistogram does."""
    total = int(histogram.sum())
    if not total:
        return 0
    wanted = max(int(percent / 100 * total + 0.5), 1)
    bucket = int(np.searchsorted(np.cumsum(histogram), wanted))
    return bucket_ends(bucket)[1]
