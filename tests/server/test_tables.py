"""Accounts, their variants, and the lists of drop copies."""

import pytest

from openoutcry.protocol.fix.encode import PARTIES_MAX, ROUTE_MAX
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.tables import AccountTable, CopyTable

ROUTE = b"128=DESK\x01"
PARTIES = b"453=1\x01448=FIRM\x01447=D\x01452=1\x01"


def text_of(table: AccountTable, number: int, kind: str) -> bytes:
    row = table.rows[number]
    start = int(row[f"{kind}_off"])
    return table.texts[start : start + int(row[f"{kind}_len"])].tobytes()


def test_a_variant_is_its_account_with_fields():
    table = AccountTable(8, is_open=False)
    account = table.add(b"ACC-1", 3)
    table.rows[account]["copies"] = 5
    variant = table.variant(
        account, ROUTE, PARTIES, party_min=Version.FIX43, party_max=Version.FIX44
    )
    row, base = table.rows[variant], table.rows[account]
    assert variant != account
    assert [row[f"name{i}"] for i in range(4)] == [base[f"name{i}"] for i in range(4)]
    assert (row["firm"], row["copies"], row["base"], base["base"]) == (3, 5, account, account)
    assert (row["party_min"], row["party_max"]) == (Version.FIX43, Version.FIX44)
    assert text_of(table, variant, "route") == ROUTE
    assert text_of(table, variant, "party") == PARTIES
    assert (base["route_len"], base["party_len"]) == (0, 0)
    assert table.names[variant] == b"ACC-1"
    assert table.find(b"ACC-1") == account


def test_the_same_fields_give_the_same_number():
    table = AccountTable(8, is_open=True)
    account = table.find(b"A")
    first = table.variant(account, ROUTE)
    assert table.variant(account, ROUTE) == first
    assert table.variant(first, ROUTE) == first
    assert table.variant(account) == table.variant(first) == account
    others = {
        table.variant(account, ROUTE, PARTIES),
        table.variant(account, ROUTE, PARTIES, party_min=Version.FIX43),
        table.variant(account, b"", ROUTE),
        table.variant(0, ROUTE),
    }
    assert len(others | {first, account}) == 6
    assert table.rows[table.variant(0, ROUTE)]["name0"] == 0


def test_bounds_of_the_fields():
    table = AccountTable(4, is_open=False)
    for route, parties in (
        (b"1" * ROUTE_MAX + b"\x01", b""),
        (b"", b"1" * PARTIES_MAX + b"\x01"),
        (b"128=DESK", b""),
    ):
        with pytest.raises(ValueError, match="at most"):
            table.variant(0, route, parties)
    longest = b"1" * (ROUTE_MAX - 1) + b"\x01", b"2" * (PARTIES_MAX - 1) + b"\x01"
    number = table.variant(0, *longest)
    assert (text_of(table, number, "route"), text_of(table, number, "party")) == longest


def test_a_full_table_says_so():
    table = AccountTable(3, is_open=True)
    table.variant(0, ROUTE)
    table.variant(0, PARTIES)
    with pytest.raises(OverflowError, match="3 accounts"):
        table.variant(0, b"129=X\x01")
    assert table.find(b"NEW") == -1
    narrow = AccountTable(20, is_open=True)
    texts = [b"%d" % n + b"=" * 500 + b"\x01" for n in range(7)]
    numbers = [narrow.variant(0, b"", text) for text in texts[:6]]
    with pytest.raises(OverflowError, match="no room"):
        narrow.variant(0, b"", texts[6])
    # What is there already stays to be had.
    assert [narrow.variant(0, b"", text) for text in texts[:6]] == numbers


def test_lists_of_copies():
    table = CopyTable(3)
    firm = table.add(table.add(-1, 7), 8)
    other = table.add(-1, 9)
    assert table.rows[firm].tolist() == [8, 0]
    assert table.rows[0].tolist() == [7, -1]
    assert table.rows[other].tolist() == [9, -1]
    with pytest.raises(OverflowError, match="3 entries"):
        table.add(-1, 1)
