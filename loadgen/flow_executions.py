"""The executions that a file tells of, and how many of them a venue made again."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from openoutcry.loadgen.flow_book import FileBook, filled_by
from openoutcry.loadgen.flow_files import EventKind, FileEvent, FlowFile
from openoutcry.loadgen.flow_orders import Fill
from openoutcry.protocol.binary.enums import Side

#: Bitstamp tells of both sides of a match within so many rows.
_ROWS_APART = 12
#: Bitstamp rounds each side for itself.
_ROUNDING_LOTS = 2


@dataclass(frozen=True, slots=True)
class FileExecution:
    """A match of the file's market."""

    #: The event that told of it (of the resting order's, where there are two).
    number: int
    resting_id: str
    #: None where it cannot be known, since the order was never created in the file.
    qty: int | None


def file_executions(file: FlowFile) -> list[FileExecution]:
    """Return every execution in the file, those of orders that it never created included."""
    if file.format == "itch":
        return [
            FileExecution(event.number, event.order_id, event.qty)
            for event in file.events
            if event.kind is EventKind.EXECUTE
        ]
    return _joined(_halves(file.events))


@dataclass(frozen=True, slots=True)
class _Half:
    """A row that tells of a fill, of one of the two orders."""

    number: int
    order_id: str
    side: Side | None
    qty: int | None


def _halves(events: Iterable[FileEvent]) -> list[_Half]:
    book = FileBook()
    found: list[_Half] = []
    for event in events:
        if event.kind is EventKind.REMAINS:
            order = book.orders.get(event.order_id)
            if order is None:
                found.append(_Half(event.number, event.order_id, event.side, None))
            elif order.is_open and (filled := filled_by(order, event)) > 0:
                found.append(_Half(event.number, event.order_id, event.side, filled))
        book.apply(event)
    return found


def _joined(halves: list[_Half]) -> list[FileExecution]:
    """Join the two rows of each match; the order with the lower id was there first."""
    waiting: list[_Half] = []
    found: list[FileExecution] = []
    for half in halves:
        waiting, late = (
            [other for other in waiting if half.number - other.number <= _ROWS_APART],
            [other for other in waiting if half.number - other.number > _ROWS_APART],
        )
        found.extend(FileExecution(one.number, one.order_id, one.qty) for one in late)
        fitting = [other for other in waiting if _fits(half, other)]
        if not fitting:
            waiting.append(half)
            continue
        other = min(fitting, key=lambda one: (_distance(half, one), half.number - one.number))
        waiting.remove(other)
        resting = min(half, other, key=lambda one: int(one.order_id))
        found.append(FileExecution(resting.number, resting.order_id, resting.qty))
    found.extend(FileExecution(one.number, one.order_id, one.qty) for one in waiting)
    return sorted(found, key=lambda one: one.number)


def _fits(one: _Half, other: _Half) -> bool:
    return one.side is not other.side and _distance(one, other) <= _ROUNDING_LOTS


def _distance(one: _Half, other: _Half) -> int:
    """Return by how much the quantities differ; an unknown one fits, but worse than a known."""
    if one.qty is None or other.qty is None:
        return _ROUNDING_LOTS
    return abs(one.qty - other.qty)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How many of a file's executions a venue made again, on the same resting order."""

    executions: int
    #: With exactly the file's quantity.
    reproduced: int
    #: With a quantity that differs by the file's own rounding.
    rounded: int
    #: Impossible: the resting order was never created in the file.
    never_created: int

    @property
    def share(self) -> float:
        """The reproduced part of all executions."""
        return self.reproduced / self.executions if self.executions else 1.0


def compare_executions(
    file: FlowFile, fills: Iterable[Fill], created: Iterable[str]
) -> Reproduction:
    """Compare a file's executions with a venue's fills; each fill counts once."""
    executions = file_executions(file)
    rounding = _ROUNDING_LOTS if file.format == "bitstamp" else 0
    left = Counter((fill.resting_id, fill.qty) for fill in fills)
    known = set(created)
    open_ones = []
    reproduced = 0
    for one in executions:
        if one.qty is not None and left[one.resting_id, one.qty] > 0:
            left[one.resting_id, one.qty] -= 1
            reproduced += 1
        else:
            open_ones.append(one)
    rounded = never_created = 0
    for one in open_ones:
        if one.resting_id not in known:
            never_created += 1
        elif one.qty is not None:
            near = range(one.qty - rounding, one.qty + rounding + 1)
            match = next((qty for qty in near if left[one.resting_id, qty] > 0), None)
            if match is not None:
                left[one.resting_id, match] -= 1
                rounded += 1
    return Reproduction(len(executions), reproduced, rounded, never_created)
