"""The checker and the audit find what they are there for: a record with one thing wrong is refused.

The record is a real one, of a venue to which nothing happened; then one message of it is dropped,
doubled or changed.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from crash.audit import Audit, Replayed, audit, check_oracle, replay
from crash.checker import Checker
from crash.record import entries
from crash.venue import COPY_SESSION, FIRM_SESSIONS, SESSIONS, UNITS, CrashVenue
from crash.wire import Received, Report, Request

#: Session and what it sent or got, in the order in which it happened.
Happened = list[tuple[str, Request | Received]]

FIRM = [session.name for session in FIRM_SESSIONS]


def checker() -> Checker:
    """Return a checker that knows nothing yet."""
    return Checker({s.name: s.protocol for s in SESSIONS}, UNITS, [COPY_SESSION.name])


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Happened, list[Replayed]]]:
    """What happened at a venue that nobody disturbed, and its logs."""
    venue = CrashVenue(tmp_path_factory.mktemp("quiet"), 7, gateways=1, shards=1)
    try:
        venue.start()
        venue.trade()
        venue.await_reports(2_000)
        venue.check()
        venue.stop()
        happened = list(checker().decode(entries(venue.record)))
        yield happened, [replay(venue.data, 0)]
    finally:
        venue.close()


def judge(happened: Happened, logs: list[Replayed]) -> tuple[Checker, Audit]:
    """Check a record, and hold it against the logs."""
    judged = checker()
    judged.take_all(happened)
    judged.check_rest()
    return judged, audit(judged, logs, firm=FIRM)


def test_an_undisturbed_venue_is_found_to_be_in_order(quiet):
    happened, logs = quiet
    judged, found = judge(*quiet)
    assert judged.findings == []
    assert found.findings == []
    assert found.matched > 500
    assert [text for log in logs for text in check_oracle(log)] == []
    kinds = {item.report.kind for _, item in happened if isinstance(item, Received) and item.report}
    assert kinds >= {"new", "trade", "canceled", "replaced", "rejected", "cancel-rejected"}


def changed(item: Received, **values: Any) -> Received:
    """Return a message that tells something else."""
    assert item.report is not None
    report = msgspec.structs.replace(item.report, **values)
    return replace(item, report=report, content=msgspec.msgpack.encode(report))


def drop(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Lose a message."""
    del happened[at]


def drop_unnoticed(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Lose a message before it is numbered: no number is missing."""
    name = happened[at][0]
    del happened[at]
    for n in range(at, len(happened)):
        other, later = happened[n]
        if other == name and isinstance(later, Received):
            number = later.number - 1
            if later.report is None:
                happened[n] = (name, replace(later, number=number))
            else:
                happened[n] = (name, replace(changed(later, number=number), number=number))


def double(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Send a message a second time, under another number."""
    name = happened[at][0]
    last = max(i.number for other, i in happened if other == name and isinstance(i, Received))
    again = replace(changed(item, number=last + 1), number=last + 1)
    happened.append((name, again))


def reuse(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Send something else under a number that was used."""
    name = happened[at][0]
    happened.append((name, replace(changed(item, cum=report.cum + 1), is_repeated=True)))


def unmarked(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Repeat a message without saying so."""
    happened.append((happened[at][0], item))


def redate(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Repeat a message as if it had first been sent at another time."""
    happened.append((happened[at][0], replace(item, is_repeated=True, first_sent=b"20200101")))


def change(field: str) -> Callable[[Happened, int, Received, Report], None]:
    """Return a mutation that changes a number of a report."""

    def mutate(happened: Happened, at: int, item: Received, report: Report) -> None:
        happened[at] = (happened[at][0], changed(item, **{field: getattr(report, field) + 1}))

    mutate.__name__ = f"change_{field}"
    return mutate


def swap_id(happened: Happened, at: int, item: Received, report: Report) -> None:
    """Give a report the ExecID of none."""
    happened[at] = (happened[at][0], changed(item, exec_id="E0-99999999"))


ANY = {"new", "trade", "canceled", "replaced", "rejected", "cancel-rejected"}
BOOKED = {"new", "trade", "canceled", "replaced"}
MUTATIONS = [
    (drop, ANY, None),
    (drop_unnoticed, ANY, None),
    (double, ANY, None),
    (reuse, ANY, None),
    (unmarked, ANY, False),
    (redate, ANY, None),
    *((change(name), BOOKED, None) for name in ("cum", "leaves", "qty")),
    (change("last_qty"), {"trade"}, None),
    (change("last_px"), {"trade"}, None),
    (swap_id, BOOKED, None),
]


@pytest.mark.parametrize(
    ("mutate", "kinds", "is_binary"), MUTATIONS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_record_with_one_thing_wrong_is_refused(quiet, mutate, kinds, is_binary):
    happened, logs = quiet
    protocols = {session.name: session.protocol for session in SESSIONS}
    places = [
        at
        for at, (name, item) in enumerate(happened)
        if isinstance(item, Received)
        and item.report is not None
        and item.report.kind in kinds
        and (item.report.exec_id or mutate is not swap_id)
        and name != COPY_SESSION.name
        and is_binary in {None, protocols[name] == "binary"}
    ]
    rng = random.Random(mutate.__name__)
    for at in rng.sample(places, 6):
        mutated = list(happened)
        item = mutated[at][1]
        assert isinstance(item, Received)
        assert item.report is not None
        mutate(mutated, at, item, item.report)
        judged, found = judge(mutated, logs)
        assert judged.findings or found.findings, (mutated[at], mutate.__name__)


def test_a_copy_that_is_missing_is_found(quiet):
    happened, logs = quiet
    copies = [
        at
        for at, (name, item) in enumerate(happened)
        if name == COPY_SESSION.name and isinstance(item, Received) and item.report
        and item.report.exec_id and item.report.kind in BOOKED
    ]  # fmt: skip
    mutated = list(happened)
    at = random.Random(1).choice(copies)
    item = mutated[at][1]
    assert isinstance(item, Received)
    assert item.report is not None
    drop_unnoticed(mutated, at, item, item.report)
    assert judge(mutated, logs)[1].findings


def test_a_request_without_an_answer_is_found(quiet):
    happened, logs = quiet
    asked = Request(10**6, "new", "NEVER", "", "S0", 1, 1, 1)
    judged, _ = judge([*happened, ("BIN1", asked)], logs)
    assert "no answer" in judged.findings[0]
    assert judged.losses == 1


def test_an_order_that_was_executed_twice_is_found(quiet):
    happened, logs = quiet
    command = next(c for c in logs[0].commands if c["kind"] == 1)
    twice = replace(logs[0], commands=[*logs[0].commands, command])
    _, found = judge(happened, [twice])
    assert "twice" in found.findings[0]
    assert found.duplicates == 1
