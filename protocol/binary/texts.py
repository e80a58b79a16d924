"""Identifiers and accounts in kernels: from MessagePack text to the words of a row."""

from typing import Any

import numpy as np

from openoutcry.config.jit import lean_part
from openoutcry.protocol.binary.enums import ACCOUNT_MAX, CL_ORD_ID_MAX
from openoutcry.protocol.binary.msgpack import BAD, read_text, read_word

_ZERO = np.uint64(0)


@lean_part
def read_cl_ord_id(pos: int, end: int, shortest: int, row: Any) -> int:
    """Read `shortest` to 36 printable characters into id0 … id4; return where it ends or BAD."""
    text, after = read_text(pos, end)
    if after == BAD or after - text < shortest or after - text > CL_ORD_ID_MAX:
        return BAD
    row["id0"], bad0 = read_word(text, after)
    row["id1"], bad1 = read_word(text + 8, after)
    row["id2"], bad2 = read_word(text + 16, after)
    row["id3"], bad3 = read_word(text + 24, after)
    row["id4"], bad4 = read_word(text + 32, after)
    if (bad0 | bad1 | bad2 | bad3 | bad4) != _ZERO:
        return BAD
    return after


@lean_part
def read_orig_cl_ord_id(pos: int, end: int, shortest: int, row: Any) -> int:
    """Read `shortest` to 36 printable characters into orig0 … orig4, as read_cl_ord_id."""
    text, after = read_text(pos, end)
    if after == BAD or after - text < shortest or after - text > CL_ORD_ID_MAX:
        return BAD
    row["orig0"], bad0 = read_word(text, after)
    row["orig1"], bad1 = read_word(text + 8, after)
    row["orig2"], bad2 = read_word(text + 16, after)
    row["orig3"], bad3 = read_word(text + 24, after)
    row["orig4"], bad4 = read_word(text + 32, after)
    if (bad0 | bad1 | bad2 | bad3 | bad4) != _ZERO:
        return BAD
    return after


@lean_part
def read_account(pos: int, end: int, row: Any) -> int:
    """Read up to 32 printable characters into account0 … account3; return where it ends or BAD."""
    text, after = read_text(pos, end)
    if after == BAD or after - text > ACCOUNT_MAX:
        return BAD
    row["account0"], bad0 = read_word(text, after)
    row["account1"], bad1 = read_word(text + 8, after)
    row["account2"], bad2 = read_word(text + 16, after)
    row["account3"], bad3 = read_word(text + 24, after)
    if (bad0 | bad1 | bad2 | bad3) != _ZERO:
        return BAD
    return after


@lean_part
def clear_cl_ord_id(row: Any) -> None:
    """Empty id0 … id4."""
    row["id0"] = _ZERO
    row["id1"] = _ZERO
    row["id2"] = _ZERO
    row["id3"] = _ZERO
    row["id4"] = _ZERO


@lean_part
def clear_orig_cl_ord_id(row: Any) -> None:
    """Empty orig0 … orig4."""
    row["orig0"] = _ZERO
    row["orig1"] = _ZERO
    row["orig2"] = _ZERO
    row["orig3"] = _ZERO
    row["orig4"] = _ZERO


@lean_part
def clear_account(row: Any) -> None:
    """Empty account0 … account3."""
    row["account0"] = _ZERO
    row["account1"] = _ZERO
    row["account2"] = _ZERO
    row["account3"] = _ZERO
