"""The tables of codes hold what each version's dictionary knows, and say what FIX says."""

import numpy as np
import pytest

from openoutcry.engine.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.encode import (
    MAX_REPORT_BYTES,
    NONE,
    PARTIES_MAX,
    REPORT_VALUES,
    ROUTE_MAX,
    encode_cancel_reject,
    encode_execution_report,
)
from openoutcry.protocol.fix.encode_frame import (
    SESSION_TEXT,
    session_text,
    text_table,
    time_cache,
)
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.translate import (
    CXL_REJ_REASON,
    EXEC_TYPE,
    LARGEST_REPORT,
    ORD_REJ_REASON,
    ORD_STATUS,
    REASON_TEXTS,
    RESTATEMENT,
)

EXEC_KINDS = (
    ReportKind.NEW,
    ReportKind.TRADE,
    ReportKind.CANCELED,
    ReportKind.REPLACED,
    ReportKind.REJECTED,
    ReportKind.EXPIRED,
    ReportKind.STATUS,
    ReportKind.MASS_STATUS,
)


@pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
@pytest.mark.parametrize(
    ("tag", "table"), [(103, ORD_REJ_REASON), (102, CXL_REJ_REASON), (378, RESTATEMENT)]
)
def test_reasons_are_codes_of_the_version(version, tag, table):
    codes = dictionary(version).enumerations.get(tag, frozenset())
    for reason in RejectReason:
        code = table[version, reason]
        assert code == NONE or b"%d" % code in codes, reason.name


@pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
def test_every_reject_has_a_reason(version):
    assert (ORD_REJ_REASON[version] != NONE).all()
    assert (CXL_REJ_REASON[version] == NONE).any() == (version < Version.FIX42)


@pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
def test_types_and_states_are_codes_of_the_version(version):
    facts = dictionary(version)
    for status in OrderStatus:
        assert b"%c" % int(ORD_STATUS[version, status]) in facts.enumerations[39]
    for kind in EXEC_KINDS:
        code = int(EXEC_TYPE[version, kind])
        if code:
            assert version < Version.FIX41 or b"%c" % code in facts.enumerations[150]
        else:
            # The state stands for the type: every state is a type, too.
            assert version <= Version.FIX42
            assert version < Version.FIX41 or facts.enumerations[39] <= facts.enumerations[150]


def codes(table, reason):
    return [int(table[version, reason]) for version in Version]


def test_reasons_change_with_the_version():
    assert codes(ORD_REJ_REASON, RejectReason.UNKNOWN_SYMBOL) == [1] * 8
    assert codes(ORD_REJ_REASON, RejectReason.UNKNOWN_ORDER) == [0, 5, 5, 5, 5, 5, 5, 5]
    assert codes(ORD_REJ_REASON, RejectReason.PRICE_OFF_TICK) == [0, 0, 0, 0, 99, 18, 18, 18]
    assert codes(ORD_REJ_REASON, RejectReason.QTY_OFF_LOT) == [0, 0, 0, 0, 13, 13, 13, 13]
    assert codes(CXL_REJ_REASON, RejectReason.UNKNOWN_ORDER) == [1] * 8
    assert codes(CXL_REJ_REASON, RejectReason.DUPLICATE_CL_ORD_ID) == [-1, -1, 2, 6, 6, 6, 6, 6]
    assert codes(CXL_REJ_REASON, RejectReason.QTY_NOT_ABOVE_CUM_QTY) == [-1, -1, 2, 2] + [99] * 4
    assert codes(RESTATEMENT, RejectReason.CONNECTION_LOST) == [-1, -1, -1, -1, 99, 99, 99, 12]
    assert codes(RESTATEMENT, RejectReason.LOGGED_OUT) == [-1, -1, -1, -1, 99, 99, 99, 13]
    assert codes(RESTATEMENT, RejectReason.MASS_CANCEL) == [-1] * 8


def test_trades_and_answers_have_a_type_of_their_own_since_43():
    assert [chr(code) for code in EXEC_TYPE[:, ReportKind.TRADE]] == ["\0"] * 3 + ["F"] * 5
    assert [chr(code) for code in EXEC_TYPE[:, ReportKind.STATUS]] == ["\0"] * 3 + ["I"] * 5


def test_every_reason_is_told_in_words():
    assert set(REASON_TEXTS) == set(RejectReason) - {RejectReason.NONE}


def test_no_report_is_longer_than_is_said():
    """Every field at its longest, in the text that each reason has."""
    rows = np.zeros(1, REPORT_VALUES)
    row = rows[0]
    for name, words in (("id", 5), ("orig", 5), ("symbol", 3), ("account", 4)):
        for i in range(words):
            # ClOrdIDs end after 36 characters.
            row[f"{name}{i}"] = 0x58585858 if i == 4 else 0x5858585858585858
    for name in ("price", "last_px", "avg_px", "order_qty", "last_qty", "leaves_qty", "cum_qty"):
        row[name] = -(1 << 63)
    for name in (
        "seq_num",
        "last_processed",
        "order_id",
        "exec_id",
        "trade_id",
        "transact_time_ns",
    ):
        row[name] = (1 << 63) - 1
    for name in ("price_scale", "qty_scale", "avg_px_scale"):
        row[name] = 18
    for name in ("ord_rej_reason", "cxl_rej_reason", "restatement"):
        row[name] = 99
    for name in ("ord_type", "liquidity", "has_price", "has_last", "poss_dup", "is_copy"):
        row[name] = 1
    fields = np.full(PARTIES_MAX + 8, ord("x"), np.uint8)
    row["route"] = row["parties"] = fields.ctypes.data
    row["route_len"], row["parties_len"] = ROUTE_MAX, PARTIES_MAX
    sessions = np.zeros(1, SESSION_TEXT)
    texts, lengths = text_table(sorted(REASON_TEXTS.values(), key=len))
    row["text"] = len(texts) - 1
    out = np.zeros(MAX_REPORT_BYTES, np.uint8)
    longest = 0
    for version in Version:
        sessions[0] = session_text(version, "V" * 32, "C" * 32)
        for encode in (encode_execution_report, encode_cancel_reject):
            end = encode(out, 0, sessions, 0, texts, lengths, time_cache(), rows, 0)
            longest = max(longest, end)
    assert LARGEST_REPORT - 64 < longest <= LARGEST_REPORT, longest
