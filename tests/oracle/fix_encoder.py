"""ExecutionReport and OrderCancelReject in plain Python: simplefix, decimal, and the dictionaries.

A field is written where the version's dictionary allows it in the message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import simplefix

from openoutcry.protocol.fix.definitions import FieldType
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.versions import Version

_EXACT = Context(prec=60)
#: What may be left out of a report's values.
_USUAL: dict[str, Any] = {
    "restatement": -1,
    "last_processed": 0,
    "route": [],
    "parties": [],
    "exec_trans_type": 0,
    "is_copy": 0,
}


@dataclass(frozen=True)
class SessionTexts:
    """What stands in every header of a session."""

    version: Version
    sender: str
    target: str


def decimal_text(mantissa: int, scale: int) -> str:
    """Return mantissa × 10^-scale with exactly `scale` decimals."""
    return f"{Decimal(mantissa).scaleb(-scale, _EXACT):.{scale}f}"


def time_text(utc_ms: int, version: Version = Version.FIX44) -> str:
    """Return a UTCTimestamp: with milliseconds, up to 4.1 without."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms)
    text = moment.strftime("%Y").rjust(4, "0") + moment.strftime("%m%d-%H:%M:%S")
    return text if version < Version.FIX42 else f"{text}.{utc_ms % 1000:03d}"


def identifier_text(letter: str, identifier: int) -> str:
    """Return the text form of shard << 48 | sequence."""
    shard, sequence = divmod(identifier, 1 << 48)
    return f"{letter}{shard}-{sequence}"


class _Writer:
    """Append fields to a message of a version, leaving out what it does not know there."""

    def __init__(self, msg_type: str, session: SessionTexts) -> None:
        self.facts = dictionary(session.version)
        self.version = session.version
        self._allowed = self.facts.messages[msg_type].allowed
        self.message = simplefix.FixMessage()
        self.message.append_pair(8, session.version.begin_string)
        self.message.append_pair(35, msg_type)
        self.message.append_pair(49, session.sender)
        self.message.append_pair(56, session.target)

    def header(self, tag: int, value: Any) -> None:
        """Append a field of the header; texts are Latin-1."""
        self.message.append_pair(tag, value.encode("latin-1") if isinstance(value, str) else value)

    def put(self, tag: int, value: Any) -> None:
        """Append a field of the body."""
        if tag in self._allowed:
            self.message.append_pair(tag, value)

    def put_qty(self, tag: int, mantissa: int, scale: int) -> None:
        """Append a quantity: as short as it can be where the version knows whole numbers only."""
        text = decimal_text(mantissa, scale)
        if self.facts.types.get(tag) in {FieldType.INT, FieldType.NATURAL} and "." in text:
            text = text.rstrip("0").rstrip(".")
        self.put(tag, text)

    def put_parties(self, fields: list[tuple[int, str]]) -> None:
        """Append party fields, all or none."""
        if fields and fields[0][0] in self._allowed:
            for tag, value in fields:
                self.message.append_pair(tag, value.encode("latin-1"))

    def encode(self) -> bytes:
        """Return the message."""
        encoded: bytes = self.message.encode()
        return encoded


def _begin(msg_type: str, session: SessionTexts, values: Mapping[str, Any]) -> _Writer:
    writer = _Writer(msg_type, session)
    writer.header(34, values["seq_num"])
    writer.header(52, time_text(values["sending_time_ms"], session.version))
    if values["poss_dup"]:
        writer.header(43, "Y")
        writer.header(122, time_text(values["orig_sending_time_ms"], session.version))
    if values["last_processed"]:
        writer.header(369, values["last_processed"])
    for tag, value in values["route"]:
        writer.header(tag, value)
    order_id = values["order_id"]
    writer.put(37, identifier_text("O", order_id) if order_id else "NONE")
    if values["cl_ord_id"]:
        writer.put(11, values["cl_ord_id"])
    if values["orig_cl_ord_id"]:
        writer.put(41, values["orig_cl_ord_id"])
    return writer


def encode_execution_report(session: SessionTexts, values: Mapping[str, Any]) -> bytes:
    """Encode an ExecutionReport; keys are REPORT_VALUES's, texts are strings."""
    values = {**_USUAL, **values}
    price_scale, qty_scale = values["price_scale"], values["qty_scale"]
    writer = _begin("8", session, values)
    required = writer.facts.messages["8"].required
    if writer.facts.types[17] in {FieldType.INT, FieldType.NATURAL}:
        writer.put(17, values["exec_id"])
    else:
        writer.put(17, identifier_text("E", values["exec_id"]))
    writer.put(20, values["exec_trans_type"])
    writer.put(150, values["exec_type"])
    writer.put(39, values["ord_status"])
    if values["account"]:
        writer.put(1, values["account"])
    if values["symbol"]:
        writer.put(55, values["symbol"])
    elif 55 in required:
        writer.put(55, "[N/A]")
    writer.put(54, values["side"])
    writer.put_qty(38, values["order_qty"], qty_scale)
    if values["ord_type"]:
        writer.put(40, values["ord_type"])
    if values["has_price"]:
        writer.put(44, decimal_text(values["price"], price_scale))
    writer.put(59, values["tif"])
    if values["has_last"]:
        writer.put_qty(32, values["last_qty"], qty_scale)
        writer.put(31, decimal_text(values["last_px"], price_scale))
    elif 32 in required:
        writer.put(32, "0")
        writer.put(31, "0")
    writer.put_qty(151, values["leaves_qty"], qty_scale)
    writer.put_qty(14, values["cum_qty"], qty_scale)
    writer.put(6, decimal_text(values["avg_px"], values["avg_px_scale"]))
    writer.put(60, time_text(values["transact_time_ns"] // 1_000_000, session.version))
    if values["liquidity"]:
        writer.put(851, values["liquidity"])
    if values["trade_id"]:
        writer.put(527, identifier_text("T", values["trade_id"]))
    if values["ord_rej_reason"] >= 0:
        writer.put(103, values["ord_rej_reason"])
    if values["restatement"] >= 0:
        writer.put(378, values["restatement"])
    if values["text"]:
        writer.put(58, values["text"])
    if values["is_copy"]:
        writer.put(797, "Y")
    writer.put_parties(values["parties"])
    return writer.encode()


def encode_cancel_reject(session: SessionTexts, values: Mapping[str, Any]) -> bytes:
    """Encode an OrderCancelReject, from the same keys."""
    values = {**_USUAL, **values}
    writer = _begin("9", session, values)
    writer.put(39, values["ord_status"])
    writer.put(434, values["cxl_rej_response_to"])
    if values["cxl_rej_reason"] >= 0:
        writer.put(102, values["cxl_rej_reason"])
    if values["account"]:
        writer.put(1, values["account"])
    writer.put(60, time_text(values["transact_time_ns"] // 1_000_000, session.version))
    if values["text"]:
        writer.put(58, values["text"])
    writer.put_parties(values["parties"])
    return writer.encode()
