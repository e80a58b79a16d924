"""The histogram against HdrHistogram."""

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.loadgen.histogram import HIGHEST, bucket_ends, new_histogram, record, value_at

VALUES = st.lists(st.integers(0, 10**11) | st.integers(0, 600), min_size=1, max_size=200)


@given(VALUES)
def test_percentiles_are_those_of_hdr_histogram(values: list[int]) -> None:
    ours = new_histogram()
    theirs = HdrHistogram(1, 10**12, 2)
    for value in values:
        record(ours, value)
        theirs.record_value(value)
    for percent in (1.0, 50.0, 90.0, 99.0, 99.9, 100.0):
        assert value_at(ours, percent) == theirs.get_value_at_percentile(percent)


@given(st.integers(0, HIGHEST))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    histogram = new_histogram()
    record(histogram, value)
    low, high = bucket_ends(int(np.argmax(histogram)))
    assert low <= value <= high
    assert high - low <= max(value >> 7, 0)


def test_what_lies_outside_counts_at_the_ends() -> None:
    histogram = new_histogram()
    record(histogram, -5)
    record(histogram, HIGHEST + 1)
    assert histogram[0] == 1
    assert histogram[-1] == 1
    assert value_at(new_histogram(), 50.0) == 0
