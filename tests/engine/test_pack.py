"""Packed reports: every row comes back as it went in, wherever it lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.log import as_words
from openoutcry.engine.pack import (
    LENGTHS_BYTES,
    MAX_PACKED_BYTES,
    pack_rows,
    read_header,
    unpack_rows,
    write_header,
)
from openoutcry.engine.records import REPORT

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="shifts machine words by the byte")

BASE_NS = 1_700_000_000_000_000_000
SHARD = 3 << 48

words_of_a_row = st.lists(
    st.one_of(
        st.just(0),
        st.integers(0, 255),
        st.integers(-(2**63), 2**63 - 1),
        st.sampled_from([1 << n for n in range(63)] + [(1 << n) - 1 for n in range(63)]),
    ),
    min_size=24,
    max_size=24,
)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(words_of_a_row, min_size=1, max_size=5))
def test_rows_come_back_as_they_went_in(rows: list[list[int]]) -> None:
    words = np.array(rows, np.int64)
    room = np.full(len(rows) * MAX_PACKED_BYTES + 16, 0xAA, np.uint8)
    address = int(room.ctypes.data)
    end = int(pack_rows(words, 0, len(rows), BASE_NS, SHARD, address))
    back = np.zeros_like(words)
    assert unpack_rows(back, 0, len(rows), BASE_NS, SHARD, address) == end
    assert back.tolist() == words.tolist()
    assert end - address <= len(rows) * MAX_PACKED_BYTES


@pytest.mark.parametrize("n", range(24))
def test_each_word_has_its_own_place(n: int) -> None:
    words = np.zeros((1, 24), np.int64)
    words[0, n] = -2
    room = np.zeros(MAX_PACKED_BYTES + 16, np.uint8)
    pack_rows(words, 0, 1, 0, 0, int(room.ctypes.data))
    back = np.ones_like(words)
    unpack_rows(back, 0, 1, 0, 0, int(room.ctypes.data))
    assert back.tolist() == words.tolist()


def test_a_usual_report_takes_a_third_of_its_row() -> None:
    report = np.zeros(1, REPORT)
    report["report_seq"] = 1_234_567
    report["seq"] = 1_000_000
    report["time_ns"] = BASE_NS + 3_600_000_000_000
    report["order_id"] = SHARD | 1_000_000
    report["price_ticks"] = 6_512_345
    report["qty_lots"] = report["leaves_qty"] = 1_500
    report["inbound_seq"] = 400_000
    report["session"] = 7
    report["epoch"] = 1
    report["account"] = 12
    report["symbol"] = 3
    report["cl_ord_id"] = b"ABCD1234"
    report["kind"] = report["side"] = report["ord_type"] = 1
    room = np.zeros(MAX_PACKED_BYTES + 16, np.uint8)
    address = int(room.ctypes.data)
    end = pack_rows(as_words(report), 0, 1, BASE_NS, SHARD, address)
    assert LENGTHS_BYTES < end - address <= 64


def test_the_header_keeps_the_base_time() -> None:
    log = np.full(8, -1, np.int64)
    with pytest.raises(ValueError, match="no report log"):
        read_header(log)
    write_header(log, BASE_NS)
    assert read_header(log) == BASE_NS
