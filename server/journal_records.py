"""Commands and reports of the logs as records for people and for other programs."""

from enum import IntEnum, IntFlag
from typing import Any

from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RejectReason,
    ReplacePolicy,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.server.journal_names import Names, decimal, instant

Record = dict[str, Any]

#: Kinds of command that a client sends about one order.
_ORDER_KINDS = frozenset(
    {CommandKind.NEW, CommandKind.CANCEL, CommandKind.REPLACE, CommandKind.STATUS}
)
_LOW_48 = (1 << SHARD_SHIFT) - 1
#: Decimals of an average price, as FIX shows it by default; more where the tick has more.
_AVERAGE_DECIMALS = 8


def name_of(enum: type[IntEnum], value: int) -> str | int:
    """Return an enum member's name, or the value where it is none."""
    try:
        return enum(value).name
    except ValueError:
        return value


def flags_of(enum: type[IntFlag], value: int) -> list[str | int]:
    """Return the names of the flags set; bits without a name as one number."""
    found: list[str | int] = [str(flag.name) for flag in enum if value & flag]
    rest = value & ~sum(enum)
    return [*found, rest] if rest else found


def identifier(letter: str, number: int) -> str:
    """Return an OrderID, ExecID or TradeID as FIX shows it: letter, shard, sequence."""
    return f"{letter}{number >> SHARD_SHIFT}-{number & _LOW_48}"


def text_of(raw: bytes) -> str:
    """Return a ClOrdID; what is no printable ASCII is shown as an escape."""
    return raw.decode("latin-1").encode("unicode_escape").decode("ascii")


def command_record(command: Any, names: Names, *, epoch: int, offset: int) -> Record:
    """Return a COMMAND row (as `.tolist()` cannot name it) as a record.

    `epoch` is the log's, `offset` the byte of the log at which the command's batch begins. What is
    not set is left out.
    """
    symbol = int(command["symbol"])
    kind = int(command["kind"])
    record: Record = {
        "seq": int(command["seq"]),
        "time": instant(int(command["time_ns"])),
        "time_ns": int(command["time_ns"]),
        "kind": name_of(CommandKind, kind),
        "epoch": epoch,
        "offset": offset,
    }
    if int(command["session"]):
        _put_owner(record, command, names)
        record["firm"] = names.firms.get(int(command["firm"]), int(command["firm"]))
        record["inbound_seq"] = int(command["inbound_seq"])
        record["session_epoch"] = int(command["epoch"])
    if symbol >= 0:
        record["symbol"] = names.symbol(symbol)
    for field in ("cl_ord_id", "orig_cl_ord_id"):
        if command[field]:
            record[field] = text_of(bytes(command[field]))
    if kind == CommandKind.CAPACITY:
        record["capacity"] = {
            "open_orders": int(command["price_ticks"]),
            "finished_orders": int(command["price2_ticks"]),
            "levels": int(command["qty_lots"]),
            "symbols": int(command["qty2_lots"]),
            "sessions": int(command["expire_ns"]),
        }
        return record
    if kind == CommandKind.ADD_SYMBOL:
        _put_price(record, "min_price", names, symbol, int(command["price_ticks"]))
        _put_price(record, "max_price", names, symbol, int(command["price2_ticks"]))
        _put_qty(record, "min_qty", names, symbol, int(command["qty_lots"]))
        _put_qty(record, "max_qty", names, symbol, int(command["qty2_lots"]))
        record["replace_policy"] = name_of(ReplacePolicy, int(command["flags"]))
        return record
    if int(command["side"]):
        record["side"] = name_of(Side, int(command["side"]))
    if kind in _ORDER_KINDS and int(command["ord_type"]):
        record["type"] = name_of(OrderType, int(command["ord_type"]))
    if kind in {CommandKind.NEW, CommandKind.REPLACE}:
        record["tif"] = name_of(TimeInForce, int(command["tif"]))
        if int(command["ord_type"]) != OrderType.MARKET:
            _put_price(record, "price", names, symbol, int(command["price_ticks"]))
        _put_qty(record, "qty", names, symbol, int(command["qty_lots"]))
    elif int(command["price_ticks"]) or int(command["qty_lots"]):
        _put_price(record, "price", names, symbol, int(command["price_ticks"]))
        _put_qty(record, "qty", names, symbol, int(command["qty_lots"]))
    if int(command["price2_ticks"]):
        _put_price(record, "price2", names, symbol, int(command["price2_ticks"]))
    if int(command["qty2_lots"]):
        _put_qty(record, "qty2", names, symbol, int(command["qty2_lots"]))
    if int(command["expire_ns"]):
        record["expire"] = instant(int(command["expire_ns"]))
    if int(command["smp_group"]):
        record["smp_group"] = int(command["smp_group"])
    if int(command["flags"]):
        record["flags"] = flags_of(CommandFlag, int(command["flags"]))
    if int(command["reject_reason"]):
        record["reject_reason"] = name_of(RejectReason, int(command["reject_reason"]))
    return record


def report_record(report: Any, names: Names, shard: int) -> Record:
    """Return a REPORT row as a record; what is not set is left out."""
    symbol = int(report["symbol"])
    kind = int(report["kind"])
    record: Record = {
        "report_seq": int(report["report_seq"]),
        "exec_id": identifier("E", shard << SHARD_SHIFT | int(report["report_seq"])),
        "seq": int(report["seq"]),
        "time": instant(int(report["time_ns"])),
        "time_ns": int(report["time_ns"]),
        "kind": name_of(ReportKind, kind),
        "status": name_of(OrderStatus, int(report["status"])),
    }
    if int(report["session"]):
        _put_owner(record, report, names)
        record["session_epoch"] = int(report["epoch"])
        if int(report["inbound_seq"]):
            record["inbound_seq"] = int(report["inbound_seq"])
    if symbol >= 0:
        record["symbol"] = names.symbol(symbol)
    if int(report["order_id"]):
        record["order_id"] = identifier("O", int(report["order_id"]))
    if report["cl_ord_id"]:
        record["cl_ord_id"] = text_of(bytes(report["cl_ord_id"]))
    if kind != ReportKind.TRADE and report["orig_cl_ord_id"]:
        record["orig_cl_ord_id"] = text_of(bytes(report["orig_cl_ord_id"]))
    if int(report["side"]):
        record["side"] = name_of(Side, int(report["side"]))
        record["type"] = name_of(OrderType, int(report["ord_type"]))
        record["tif"] = name_of(TimeInForce, int(report["tif"]))
    if kind in {ReportKind.MASS_CANCELED, ReportKind.MASS_STATUS_END}:
        record["orders"] = int(report["qty_lots"])
    else:
        if not int(report["side"]) or int(report["ord_type"]) != OrderType.MARKET:
            _put_price(record, "price", names, symbol, int(report["price_ticks"]))
        for field, key in (
            ("qty_lots", "qty"),
            ("cum_qty", "cum_qty"),
            ("leaves_qty", "leaves_qty"),
        ):
            _put_qty(record, key, names, symbol, int(report[field]))
    average = average_of(report, names)
    if average is not None:
        record["avg_px"] = average
    if kind == ReportKind.TRADE:
        record["trade_id"] = identifier("T", int(report["trade_id"]))
        record["contra_order_id"] = identifier("O", int(report["contra_order_id"]))
        _put_price(record, "last_px", names, symbol, int(report["last_px"]))
        _put_qty(record, "last_qty", names, symbol, int(report["last_qty"]))
        record["liquidity"] = name_of(Liquidity, int(report["liquidity"]))
    elif kind == ReportKind.CANCEL_REJECTED:
        record["response_to"] = name_of(CommandKind, int(report["response_to"]))
    if int(report["reason"]):
        record["reason"] = name_of(RejectReason, int(report["reason"]))
    return record


def average_of(row: Any, names: Names) -> str | None:
    """Return the average price of what an order traded, rounded half to even at 8 decimals.

    `row` has symbol, notional and cum_qty; None where nothing was traded or the tick is not known.
    """
    units = names.symbols.get(int(row["symbol"]))
    if units is None or int(row["cum_qty"]) <= 0:
        return None
    low, high = int(row["notional_lo"]) & ((1 << 64) - 1), int(row["notional_hi"])
    scale = max(_AVERAGE_DECIMALS, units.tick_scale)
    notional = (high << 64 | low) * units.tick_mantissa * 10 ** (scale - units.tick_scale)
    quotient, rest = divmod(notional, int(row["cum_qty"]))
    doubled = 2 * rest - int(row["cum_qty"])
    if doubled > 0 or (doubled == 0 and quotient & 1):
        quotient += 1
    return _trimmed(decimal(quotient, scale))


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def command_line(record: Record) -> str:
    """Return a command's record as one line."""
    words = [f"{record['seq']:>10}", record["time"], f"{record['kind']:<11}"]
    if record["kind"] == "START" and record["epoch"] != "":
        words.append(f"epoch {record['epoch']}")
    if "capacity" in record:
        words.append(" ".join(f"{key}={value}" for key, value in record["capacity"].items()))
    words += _order_words(record)
    if "min_price" in record or "min_price_ticks" in record:
        low, high = _amount(record, "min_price"), _amount(record, "max_price")
        words.append(f"price {low} to {high}")
        words.append(f"qty {_amount(record, 'min_qty')} to {_amount(record, 'max_qty')}")
        words.append(str(record["replace_policy"]))
    words += _owner_words(record)
    for key in ("expire", "smp_group", "reject_reason"):
        if key in record:
            words.append(f"{key}={record[key]}")
    if "flags" in record:
        words.append(f"flags={'+'.join(map(str, record['flags']))}")
    return " ".join(words)


def report_line(record: Record) -> str:
    """Return a report's record as one line."""
    words = [record["exec_id"], f"{record['kind']:<11}", str(record["status"])]
    words += _order_words(record)
    if "trade_id" in record:
        last_qty, last_px = _amount(record, "last_qty"), _amount(record, "last_px")
        words.append(f"traded {last_qty} @ {last_px} {record['liquidity']} {record['trade_id']}")
        words.append(f"against {record['contra_order_id']}")
    if "orders" in record:
        words.append(f"orders={record['orders']}")
    if _amount(record, "cum_qty") is not None:
        words.append(f"cum {_amount(record, 'cum_qty')} leaves {_amount(record, 'leaves_qty')}")
    if "order_id" in record:
        words.append(record["order_id"])
    words += _owner_words(record)
    if "reason" in record:
        words.append(f"reason={record['reason']}")
    return " ".join(words)


def _order_words(record: Record) -> list[str]:
    words = [str(record[key]) for key in ("symbol", "side", "type", "tif") if key in record]
    if "symbol" in record and isinstance(record["symbol"], int):
        words[0] = f"symbol#{words[0]}"
    qty, price = _amount(record, "qty"), _amount(record, "price")
    if qty is not None and record["kind"] != "ADD_SYMBOL":
        words.append(str(qty) if price is None else f"{qty} @ {price}")
    return words


def _owner_words(record: Record) -> list[str]:
    words = []
    for key, label in (("cl_ord_id", "id"), ("orig_cl_ord_id", "orig"), ("account", "account")):
        if key in record:
            words.append(f"{label}={record[key]}")
    if "session" in record:
        number = f"/{record['inbound_seq']}" if "inbound_seq" in record else ""
        words.append(f"session={record['session']}{number}")
    return words


def _amount(record: Record, key: str) -> Any:
    """Return a price or quantity as it stands in a record, in ticks or lots with their name."""
    if key in record:
        return record[key]
    for unit in ("ticks", "lots"):
        if f"{key}_{unit}" in record:
            return f"{record[f'{key}_{unit}']} {unit}"
    return None


def _put_owner(record: Record, row: Any, names: Names) -> None:
    session, account = int(row["session"]), int(row["account"])
    record["session"] = names.sessions.get(session, session)
    if account:
        record["account"] = names.accounts.get(account, account)


def _put_price(record: Record, key: str, names: Names, symbol: int, ticks: int) -> None:
    text = names.price(symbol, ticks)
    record[key if text is not None else f"{key}_ticks"] = ticks if text is None else text


def _put_qty(record: Record, key: str, names: Names, symbol: int, lots: int) -> None:
    text = names.qty(symbol, lots)
    record[key if text is not None else f"{key}_lots"] = lots if text is None else text
