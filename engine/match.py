"""The command processor (being written: the signatures stand)."""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import kernel
from openoutcry.engine.book import Book


@kernel
def reports_needed(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return an upper bound of the reports that command `i` can yield."""
    return 1


@kernel
def process_command(
    book: Book,
    commands: NDArray[Any],
    i: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Execute command `i`; report number n goes to row n - report_base.

    `report_seq` is the last report number given so far; return the last one after the command.
    """
    return report_seq


@kernel
def process_batch(
    book: Book,
    commands: NDArray[Any],
    first: int,
    stop: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
    report_limit: int,
) -> tuple[int, int]:
    """Execute commands first … stop - 1, ending before one that might exceed `report_limit`.

    `report_seq` is the last report number given so far, `report_limit` the last that may be given.
    Return the index of the first command not executed, and the last report number.
    """
    return stop, report_seq
