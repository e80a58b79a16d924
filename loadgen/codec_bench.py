"""`openoutcry bench codec`: what decoding an order and encoding a report cost, in either protocol.

The kernels are those of the venue's order path, with full validation, run over a buffer of many
messages on one core. Beside them stand the libraries that define the protocols' truth, message by
message: simplefix for FIX, msgspec for the binary protocol.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import msgspec
import numpy as np
import simplefix
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.binary.decode import decode_message as decode_binary
from openoutcry.protocol.binary.encode import encode_execution_report as encode_binary
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.layouts import MAX_REPORT_FRAME
from openoutcry.protocol.binary.layouts import ORDER as BINARY_ORDER
from openoutcry.protocol.binary.layouts import ORDER_FIELDS as BINARY_FIELDS
from openoutcry.protocol.binary.layouts import REPORT_VALUES as BINARY_VALUES
from openoutcry.protocol.binary.layouts import SPARE_BYTES as BINARY_SPARE
from openoutcry.protocol.binary.messages import decode_client_message
from openoutcry.protocol.fix.decode import decode_message as decode_fix
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.encode import MAX_REPORT_BYTES, NONE
from openoutcry.protocol.fix.encode import REPORT_VALUES as FIX_VALUES
from openoutcry.protocol.fix.encode import encode_execution_report as encode_fix
from openoutcry.protocol.fix.encode_frame import (
    SESSION_TEXT,
    session_text,
    text_table,
    time_cache,
)
from openoutcry.protocol.fix.layouts import ORDER as FIX_ORDER
from openoutcry.protocol.fix.layouts import ORDER_FIELDS as FIX_FIELDS
from openoutcry.protocol.fix.layouts import SPARE_BYTES as FIX_SPARE
from openoutcry.protocol.fix.slots import DecodeTables, decode_tables
from openoutcry.protocol.fix.store import seal
from openoutcry.protocol.fix.versions import Version

_MS = 1_700_000_000_000
_STAMP = b"20231114-22:13:20.%03d"


def fix_orders(count: int) -> list[bytes]:
    """Return NewOrderSingles of about 190 bytes."""
    frames = []
    for n in range(1, count + 1):
        stamp = _STAMP % (n % 1000)
        body = (
            b"35=D\x0149=CLIENT0001\x0156=OPENOUTCRY\x0134=%d\x0152=%b\x0111=ORD-%08d\x01"
            b"1=ACCOUNT01\x0155=BTCUSDT\x0154=%d\x0160=%b\x0138=0.%05d\x0140=2\x0144=%d.%02d\x01"
            b"59=1\x01"
        ) % (n, stamp, n, 1 + n % 2, stamp, 1 + n % 90_000, 65_000 + n % 100, n % 100)
        frames.append(seal(b"8=FIX.4.4\x01", body))
    return frames


def binary_orders(count: int) -> bytes:
    """Return NewOrders, frame by frame."""
    return b"".join(
        encode_frame(
            bm.NewOrder(
                seq=n,
                cl_ord_id=f"ORD-{n:08d}",
                symbol=n % 4,
                side=1 + n % 2,
                ord_type=2,
                tif=1,
                price=6_500_000 + n % 10_000,
                qty=1 + n % 90_000,
                account="ACCOUNT01",
            )
        )
        for n in range(1, count + 1)
    )


def _put_words(row: Any, name: str, text: str, words: int) -> None:
    padded = text.encode().ljust(8 * words, b"\0")
    for i in range(words):
        row[f"{name}{i}"] = int.from_bytes(padded[8 * i : 8 * i + 8], "little")


def fix_reports(count: int) -> NDArray[Any]:
    """Return the values of ExecutionReports, half of them trades."""
    rows = np.zeros(count, FIX_VALUES)
    for n, row in enumerate(rows, 1):
        is_trade = n % 2
        row["seq_num"], row["sending_time_ms"] = n, _MS + n // 100
        row["transact_time_ns"] = (_MS + n // 100) * 1_000_000
        row["order_id"], row["exec_id"], row["trade_id"] = n, n, n if is_trade else 0
        _put_words(row, "id", f"ORD-{n:08d}", 5)
        _put_words(row, "symbol", "BTCUSDT", 3)
        _put_words(row, "account", "ACCOUNT01", 4)
        row["price"], row["price_scale"] = 6_500_000 + n % 10_000, 2
        row["last_px"], row["avg_px"], row["avg_px_scale"] = 6_500_000, 6_500_000, 2
        row["order_qty"] = row["leaves_qty"] = row["cum_qty"] = row["last_qty"] = 1 + n % 90_000
        row["qty_scale"] = 5
        row["text"] = row["ord_rej_reason"] = row["cxl_rej_reason"] = NONE
        row["restatement"] = NONE
        row["exec_type"], row["ord_status"] = ord("F" if is_trade else "0"), ord("0") + is_trade
        row["side"], row["ord_type"], row["tif"] = 1 + n % 2, 2, 1
        row["liquidity"], row["has_price"], row["has_last"] = is_trade, 1, is_trade
    return rows


def binary_reports(count: int) -> NDArray[Any]:
    """Return the values of binary ExecutionReports, half of them trades."""
    rows = np.zeros(count, BINARY_VALUES)
    for n, row in enumerate(rows, 1):
        is_trade = n % 2
        row["seq"], row["ref_seq"], row["order_id"], row["exec_id"] = n, n, n, n
        row["trade_id"] = n if is_trade else 0
        row["kind"], row["status"] = 1 + is_trade, is_trade
        row["symbol"], row["side"], row["ord_type"], row["tif"] = n % 4, 1 + n % 2, 2, 1
        row["liquidity"] = is_trade
        row["cl_ord_id"], row["account"] = b"ORD-%08d" % n, b"ACCOUNT01"
        row["price"], row["qty"] = 6_500_000 + n % 10_000, 1 + n % 90_000
        row["leaves_qty"] = row["qty"]
        if is_trade:
            row["last_px"], row["last_qty"] = row["price"], row["qty"]
        row["time_ns"] = (_MS + n // 100) * 1_000_000
    return rows


@lean_kernel
def _decode_fix_all(
    buf: NDArray[np.uint8], end: int, tables: DecodeTables, fields: NDArray[Any], rounds: int
) -> int:
    """Decode the buffer's orders `rounds` times; return how many were valid."""
    valid = 0
    for _ in range(rounds):
        start = 0
        while start < end:
            if decode_fix(buf, start, end, 4096, tables, 0, fields, 0) != FIX_ORDER:
                return valid
            start = fields[0]["frame_end"]
            valid += 1
    return valid


@lean_kernel
def _decode_binary_all(buf: NDArray[np.uint8], end: int, fields: NDArray[Any], rounds: int) -> int:
    """Decode the buffer's orders `rounds` times; return how many were valid."""
    valid = 0
    for _ in range(rounds):
        start = 0
        while start < end:
            if decode_binary(buf, start, end, 1024, fields, 0) != BINARY_ORDER:
                return valid
            start = fields[0]["frame_end"]
            valid += 1
    return valid


@lean_kernel
def _encode_fix_all(
    out: NDArray[np.uint8],
    sessions: NDArray[Any],
    texts: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    times: NDArray[np.int64],
    values: NDArray[Any],
    rounds: int,
) -> int:
    """Encode all rows one after another `rounds` times; return the bytes of one round."""
    end = 0
    for _ in range(rounds):
        end = 0
        for k in range(len(values)):
            end = encode_fix(out, end, sessions, 0, texts, lengths, times, values, k)
    return end


@lean_kernel
def _encode_binary_all(out: NDArray[np.uint8], values: NDArray[Any], rounds: int) -> int:
    """Encode all rows one after another `rounds` times; return the bytes of one round."""
    end = 0
    for _ in range(rounds):
        end = 0
        for k in range(len(values)):
            end = encode_binary(out, end, values, k)
    return end


def _buffer(data: bytes, spare: int) -> NDArray[np.uint8]:
    buffer = np.zeros(len(data) + spare, np.uint8)
    buffer[: len(data)] = np.frombuffer(data, np.uint8)
    return buffer


def _median_ns(call: Callable[[], object], messages: int, runs: int) -> float:
    call()
    figures = []
    for _ in range(runs):
        started = time.perf_counter_ns()
        call()
        figures.append((time.perf_counter_ns() - started) / messages)
    return statistics.median(figures)


def _row(size: float, ns: float, library: str, library_ns: float) -> dict[str, Any]:
    return {"bytes": size, "ns": ns, "library": library, "library_ns": library_ns}


def bench_codec(messages: int = 2_000, rounds: int = 50, runs: int = 5) -> dict[str, Any]:
    """Run the benchmark: medians of `runs`, each of `messages` messages `rounds` times."""
    many = messages * rounds
    result: dict[str, Any] = {"messages": messages, "rounds": rounds, "runs": runs}

    orders = fix_orders(messages)
    data = b"".join(orders)
    buffer, fields = _buffer(data, FIX_SPARE), np.zeros(1, FIX_FIELDS)
    size = len(data) / messages
    tables = decode_tables([dictionary(Version.FIX44)])
    if _decode_fix_all(buffer, len(data), tables, fields, 1) != messages:
        raise RuntimeError("a FIX order was not decoded")
    ns = _median_ns(lambda: _decode_fix_all(buffer, len(data), tables, fields, rounds), many, runs)
    result["fix_decode"] = _row(
        size, ns, "simplefix", _median_ns(lambda: _parse_all(orders), messages, runs)
    )

    sessions = np.zeros(1, SESSION_TEXT)
    sessions[0] = session_text(Version.FIX44, "OPENOUTCRY", "CLIENT0001")
    texts, lengths = text_table(["unused"])
    times, values = time_cache(), fix_reports(messages)
    out = np.zeros(messages * 320 + MAX_REPORT_BYTES, np.uint8)
    size = _encode_fix_all(out, sessions, texts, lengths, times, values, 1) / messages
    pairs = _pairs(out[: int(size * messages)].tobytes())
    ns = _median_ns(
        lambda: _encode_fix_all(out, sessions, texts, lengths, times, values, rounds), many, runs
    )
    result["fix_encode"] = _row(
        size, ns, "simplefix", _median_ns(lambda: _write_all(pairs), messages, runs)
    )

    data = binary_orders(messages)
    frames, fields = _buffer(data, BINARY_SPARE), np.zeros(1, BINARY_FIELDS)
    size = len(data) / messages
    if _decode_binary_all(frames, len(data), fields, 1) != messages:
        raise RuntimeError("a binary order was not decoded")
    payloads = _payloads(data)
    ns = _median_ns(lambda: _decode_binary_all(frames, len(data), fields, rounds), many, runs)
    library_ns = _median_ns(
        lambda: [decode_client_message(payload) for payload in payloads], messages, runs
    )
    result["binary_decode"] = _row(size, ns, "msgspec", library_ns)

    values = binary_reports(messages)
    room = np.zeros(messages * MAX_REPORT_FRAME + BINARY_SPARE, np.uint8)
    end = _encode_binary_all(room, values, 1)
    reports = [bm.decode_server_message(each) for each in _payloads(room[:end].tobytes())]
    encode = msgspec.msgpack.Encoder().encode
    ns = _median_ns(lambda: _encode_binary_all(room, values, rounds), many, runs)
    library_ns = _median_ns(lambda: [encode(report) for report in reports], messages, runs)
    result["binary_encode"] = _row(end / messages, ns, "msgspec", library_ns)
    return result


def _payloads(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _parse_all(frames: list[bytes]) -> int:
    parser = simplefix.FixParser()
    count = 0
    for frame in frames:
        parser.append_buffer(frame)
        count += parser.get_message() is not None
    return count


def _pairs(data: bytes) -> list[list[tuple[bytes, bytes]]]:
    """Return the fields of every message, less those that simplefix computes."""
    parser = simplefix.FixParser()
    parser.append_buffer(data)
    found = []
    while (message := parser.get_message()) is not None:
        found.append([pair for pair in message.pairs if pair[0] not in {b"9", b"10"}])
    return found


def _write_all(messages: list[list[tuple[bytes, bytes]]]) -> int:
    size = 0
    for pairs in messages:
        message = simplefix.FixMessage()
        for tag, value in pairs:
            message.append_pair(tag, value)
        size += len(message.encode())
    return size


_ROWS = {
    "fix_decode": "FIX, decode NewOrderSingle",
    "fix_encode": "FIX, encode ExecutionReport",
    "binary_decode": "binary, decode NewOrder",
    "binary_encode": "binary, encode ExecutionReport",
}


@click.command()
@click.option("--messages", type=click.IntRange(1), default=2_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=50, show_default=True)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def codec(messages: int, rounds: int, runs: int, json_file: str | None) -> None:
    """Measure the venue's decoders and encoders, message by message, beside plain libraries.

    Medians of all runs.
    """
    from openoutcry.config.system import machine
    from openoutcry.loadgen.main import write_json
    from openoutcry.loadgen.report import versions

    result = {
        **bench_codec(messages, rounds, runs),
        "machine": machine(),
        "versions": versions(),
    }
    for name, title in _ROWS.items():
        row = result[name]
        click.echo(
            f"{title:32}{row['bytes']:6.0f} bytes {row['ns']:8.1f} ns"
            f"   {row['library']} {row['library_ns']:,.0f} ns"
        )
    if json_file:
        write_json(result, json_file)
