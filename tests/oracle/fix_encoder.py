"""ExecutionReport and OrderCancelReject in plain Python: simplefix, decimal and FIX 4.4."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import simplefix

_EXACT = Context(prec=60)


@dataclass(frozen=True)
class SessionTexts:
    """What stands in every header of a session."""

    begin_string: str
    sender: str
    target: str


def decimal_text(mantissa: int, scale: int) -> str:
    """Return mantissa × 10^-scale with exactly `scale` decimals."""
    return f"{Decimal(mantissa).scaleb(-scale, _EXACT):.{scale}f}"


def time_text(utc_ms: int) -> str:
    """Return a UTCTimestamp with milliseconds."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms)
    return (
        moment.strftime("%Y").rjust(4, "0")
        + moment.strftime("%m%d-%H:%M:%S.")
        + (f"{utc_ms % 1000:03d}")
    )


def identifier_text(letter: str, identifier: int) -> str:
    """Return the text form of shard << 48 | sequence."""
    shard, sequence = divmod(identifier, 1 << 48)
    return f"{letter}{shard}-{sequence}"


def _header(msg_type: str, session: SessionTexts, values: Mapping[str, Any]) -> Any:
    message = simplefix.FixMessage()
    message.append_pair(8, session.begin_string)
    message.append_pair(35, msg_type)
    message.append_pair(49, session.sender)
    message.append_pair(56, session.target)
    message.append_pair(34, values["seq_num"])
    message.append_pair(52, time_text(values["sending_time_ms"]))
    if values["poss_dup"]:
        message.append_pair(43, "Y")
        message.append_pair(122, time_text(values["orig_sending_time_ms"]))
    order_id = values["order_id"]
    message.append_pair(37, identifier_text("O", order_id) if order_id else "NONE")
    if values["cl_ord_id"]:
        message.append_pair(11, values["cl_ord_id"])
    if values["orig_cl_ord_id"]:
        message.append_pair(41, values["orig_cl_ord_id"])
    return message


def _transact_time(values: Mapping[str, Any]) -> str:
    return time_text(values["transact_time_ns"] // 1_000_000)


def encode_execution_report(session: SessionTexts, values: Mapping[str, Any]) -> bytes:
    """Encode an ExecutionReport; keys are REPORT_VALUES's, texts are strings."""
    price_scale, qty_scale = values["price_scale"], values["qty_scale"]
    message = _header("8", session, values)
    message.append_pair(17, identifier_text("E", values["exec_id"]))
    message.append_pair(150, values["exec_type"])
    message.append_pair(39, values["ord_status"])
    if values["account"]:
        message.append_pair(1, values["account"])
    if values["symbol"]:
        message.append_pair(55, values["symbol"])
    message.append_pair(54, values["side"])
    message.append_pair(38, decimal_text(values["order_qty"], qty_scale))
    if values["ord_type"]:
        message.append_pair(40, values["ord_type"])
    if values["has_price"]:
        message.append_pair(44, decimal_text(values["price"], price_scale))
    message.append_pair(59, values["tif"])
    if values["has_last"]:
        message.append_pair(32, decimal_text(values["last_qty"], qty_scale))
        message.append_pair(31, decimal_text(values["last_px"], price_scale))
    message.append_pair(151, decimal_text(values["leaves_qty"], qty_scale))
    message.append_pair(14, decimal_text(values["cum_qty"], qty_scale))
    message.append_pair(6, decimal_text(values["avg_px"], values["avg_px_scale"]))
    message.append_pair(60, _transact_time(values))
    if values["liquidity"]:
        message.append_pair(851, values["liquidity"])
    if values["trade_id"]:
        message.append_pair(527, identifier_text("T", values["trade_id"]))
    if values["ord_rej_reason"] >= 0:
        message.append_pair(103, values["ord_rej_reason"])
    if values["text"]:
        message.append_pair(58, values["text"])
    encoded: bytes = message.encode()
    return encoded


def encode_cancel_reject(session: SessionTexts, values: Mapping[str, Any]) -> bytes:
    """Encode an OrderCancelReject, from the same keys."""
    message = _header("9", session, values)
    message.append_pair(39, values["ord_status"])
    message.append_pair(434, values["cxl_rej_response_to"])
    if values["cxl_rej_reason"] >= 0:
        message.append_pair(102, values["cxl_rej_reason"])
    if values["account"]:
        message.append_pair(1, values["account"])
    message.append_pair(60, _transact_time(values))
    if values["text"]:
        message.append_pair(58, values["text"])
    encoded: bytes = message.encode()
    return encoded
