"""FIX messages for tests: `|` stands for SOH; lengths and sums are computed; and buffers."""

from decimal import Decimal
from typing import Any

import numpy as np
from oracle.fix_decoder import Decoded

from openoutcry.protocol.fix.decode import decode_message
from openoutcry.protocol.fix.dictionary import CustomField, FieldType, dictionary
from openoutcry.protocol.fix.layouts import ORDER, ORDER_FIELDS, REJECT, SPARE_BYTES
from openoutcry.protocol.fix.slots import decode_tables
from openoutcry.protocol.fix.versions import Version

MAX_BYTES = 4096
_OWN = (
    CustomField(5001, "DeskID"),
    CustomField(6000, "Score", FieldType.DECIMAL, frozenset("D")),
    CustomField(1724, "OrderOrigination", FieldType.INT, frozenset("DG")),
    CustomField(58, "Text", FieldType.CHAR, frozenset("H")),
)
#: Dictionaries by profile: the versions, then lenient ones, and ones with fields of their own.
FACTS = [
    *map(dictionary, Version),
    *(dictionary(v).with_fields(lenient=True) for v in Version),
    dictionary(Version.FIX44).with_fields(_OWN),
    dictionary(Version.FIX50SP2).with_fields(_OWN, lenient=True),
]
TABLES = decode_tables(FACTS)
HEADER = "49=CLIENT|56=VENUE|34=7|52=20240808-12:34:56.789|"
#: A whole NewOrderSingle, and its parts behind the header.
BODY = "11=A-1|1=ACC|55=BTCUSDT|54=1|60=20240808-12:34:56.788|38=10|40=2|44=60123.45|59=1|"
NEW_ORDER = f"35=D|{HEADER}{BODY}"
CANCEL = f"35=F|{HEADER}41=A-1|11=A-2|55=BTCUSDT|54=1|60=20240808-12:34:56|"
REPLACE = (
    f"35=G|{HEADER}37=O0-5|41=A-1|11=A-2|55=BTCUSDT|54=1|60=20240808-12:34:56|38=5|40=2|44=1.5|"
)
STATUS = f"35=H|{HEADER}11=A-1|55=BTCUSDT|54=1|"

_TEXTS = (
    "sender_comp_id",
    "target_comp_id",
    "cl_ord_id",
    "orig_cl_ord_id",
    "symbol",
    "account",
    "order_id",
)


def to_bytes(text: str) -> bytes:
    """Return text as bytes, `|` as SOH."""
    return text.replace("|", "\x01").encode("latin-1")


def frame(text: str, begin: str = "FIX.4.4") -> bytes:
    """Put 8 and 9 before a message that begins with 35, and 10 behind it."""
    return seal(to_bytes(text), begin.encode())


def seal(body: bytes, begin: bytes = b"FIX.4.4") -> bytes:
    """Frame the bytes of a body."""
    head = b"8=%b\x019=%d\x01" % (begin, len(body))
    return b"%b%b10=%03d\x01" % (head, body, sum(head + body) % 256)


def with_sum(text: str) -> bytes:
    """Put a right CheckSum behind a message that has its own 8 and 9."""
    data = to_bytes(text)
    return b"%b10=%03d\x01" % (data, sum(data) % 256)


def buffer(data: bytes, before: int = 0) -> Any:
    """Return a buffer whose SPARE_BYTES look like fields, for whoever counts them."""
    room = np.frombuffer(b"7" * before + data + b"1\x01=0" * (SPARE_BYTES // 4), np.uint8)
    return room.copy()


def run_kernel(
    data: bytes, max_bytes: int = MAX_BYTES, before: int = 3, profile: int = Version.FIX44
) -> Decoded:
    """Decode with the kernel, in the middle of a buffer, into a row full of rubbish.

    `profile` is a place in FACTS, or negative.
    """
    rows = np.zeros(3, ORDER_FIELDS)
    rows.view(np.uint8)[:] = 0xA5
    untouched = rows.view(np.uint8).tobytes()
    buf = buffer(data, before)
    status = decode_message(
        buf, before, before + len(data), max_bytes, TABLES, int(profile), rows, 1
    )
    size = ORDER_FIELDS.itemsize
    touched = rows.view(np.uint8).tobytes()
    assert touched[:size] + touched[2 * size :] == untouched[: 2 * size]
    row = {name: rows[1][name].item() for name in ORDER_FIELDS.names or ()}
    frame_end = row["frame_end"] - before if row["frame_end"] else 0
    if status == REJECT:
        names = ("ref_tag", "reject_reason", "seq_num")
        return Decoded(status, frame_end, {name: row[name] for name in names})
    if status == ORDER:
        return Decoded(status, frame_end, _order_values(row, buf.tobytes()))
    return Decoded(status, frame_end)


def _order_values(row: dict[str, Any], data: bytes) -> dict[str, Any]:
    names = (
        "msg_type",
        "seq_num",
        "sending_time_ms",
        "transact_time_ms",
        "side",
        "ord_type",
        "tif",
        "has_price",
        "has_qty",
    )
    values = {name: row[name] for name in names}
    for name in _TEXTS:
        off, length = row[f"{name}_off"], row[f"{name}_len"]
        values[name] = data[off : off + length] if length else b""
    # Exact, and equal to any other Decimal of the same value.
    for name in ("price", "qty"):
        values[name] = scaled(row[name], row[f"{name}_scale"])
    return values


def scaled(mantissa: int, scale: int) -> Any:
    """Return mantissa × 10^-scale as a Decimal."""
    return Decimal(mantissa).scaleb(-scale)
