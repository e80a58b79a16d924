"""What the venue's FIX decode kernel yields: the row of fields, and its statuses."""

import numpy as np

#: More bytes are needed. `frame_end` is where the frame will end, 0 while that is not known.
PARTIAL = 0
#: A valid NewOrderSingle, cancel, replace or status request, nothing unusual: every field counts.
ORDER = 1
#: A well-formed frame for Python: of another type, or with something that the kernel leaves alone.
#: Of the row only `frame_end` counts.
OTHER = 2
#: A well-formed D, F, G or H with a wrong field: `ref_tag` and `reject_reason`, beside the
#: header's fields as far as they are there (lengths and `sending_time_ms` are 0 where not).
REJECT = 3
#: To be dropped. `frame_end` is where to go on.
GARBLED = 4

#: Bytes behind the `end` of a buffer that kernels may read (never write).
SPARE_BYTES = 64

#: Longest ClOrdID and OrigClOrdID, in printable ASCII characters without the space.
CL_ORD_ID_MAX = 36
#: Most digits of a number, leading zeros of its whole part not counted.
DIGITS_MAX = 18

# Texts are (offset in the buffer, length); the length is 0 where the field is absent.
_TEXTS = (
    "sender_comp_id",
    "target_comp_id",
    "cl_ord_id",
    "orig_cl_ord_id",
    "symbol",
    "account",
    "order_id",
)

ORDER_FIELDS = np.dtype(
    [
        ("frame_end", "<i8"),  # offset in the buffer behind the frame, or where to go on
        ("seq_num", "<i8"),  # MsgSeqNum(34)
        ("sending_time_ms", "<i8"),  # SendingTime(52): UTC ms since 1970, cut off
        ("transact_time_ms", "<i8"),  # TransactTime(60); 0 where absent
        ("price", "<i8"),  # Price(44) = price × 10^-price_scale, where has_price is set
        ("qty", "<i8"),  # OrderQty(38) = qty × 10^-qty_scale, where has_qty is set
        ("price_scale", "<i8"),  # digits behind the point, 0 to 18
        ("qty_scale", "<i8"),
        *[(f"{name}_{part}", "<i4") for name in _TEXTS for part in ("off", "len")],
        ("ref_tag", "<i4"),  # RefTagID(371) of a REJECT; INVALID_TAG (0): name none
        ("reject_reason", "<i4"),  # SessionRejectReason(373) of a REJECT
        ("msg_type", "u1"),  # MsgType(35), the character's code
        # Characters less 48, so that 1 is 1, 9 is 9, A is 17; whatever the version defines.
        ("side", "u1"),  # Side(54); 0 where absent
        ("ord_type", "u1"),  # OrdType(40); 0 where absent
        ("tif", "u1"),  # TimeInForce(59); 0 (DAY) where absent
        ("has_price", "u1"),
        ("has_qty", "u1"),
    ],
    align=True,
)
