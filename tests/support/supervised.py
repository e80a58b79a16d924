"""A venue whose processes a test stops and kills, and a client that keeps account over all that."""

import contextlib
import fcntl
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from openoutcry.engine.enums import RejectReason, ReportKind
from openoutcry.protocol.binary.messages import ExecutionReport, Reject, ServerMessage
from openoutcry.server.directory import home_of
from openoutcry.server.memory import VenueMemory
from openoutcry.server.processes import ProcessState, ProcessWord, names_of

from .peers import BinaryPeer, Closed
from .venue import Venue, wait_for

#: For whatever has to happen some time on a busy machine.
PATIENCE_S = 60.0


class SupervisedVenue(Venue):
    """A venue, with what its supervisor says of its processes."""

    memory: VenueMemory

    def start(self) -> Self:
        """Start, and wait until the followers run, too."""
        super().start()
        (name,) = self.shared()
        self.memory = VenueMemory.open(Path("/dev/shm") / name)
        self.await_running(*names_of(self.memory))
        return self

    def word(self, name: str, word: ProcessWord) -> int:
        """Return a word of a process's row."""
        return int(self.memory.processes[names_of(self.memory).index(name), word])

    def processes(self) -> dict[str, int]:
        """Return the pids by name."""
        return {name: self.word(name, ProcessWord.PID) for name in names_of(self.memory)}

    def restarts(self) -> dict[str, int]:
        """Return how often each process was started again, those that were not left out."""
        counts = {n: self.word(n, ProcessWord.RESTARTS) for n in names_of(self.memory)}
        return {name: count for name, count in counts.items() if count}

    def is_running(self, name: str) -> bool:
        """Tell whether a process does its work, as far as the supervisor knows."""
        return self.word(name, ProcessWord.STATE) == ProcessState.RUNNING

    def await_running(self, *names: str) -> None:
        """Wait until processes do their work."""
        self._wait(lambda: all(map(self.is_running, names)), f"{names} do not run")

    def await_successor(self, name: str, pid: int) -> int:
        """Wait until another process does the work of one; return its pid."""

        def has_come() -> bool:
            return self.word(name, ProcessWord.PID) not in {0, pid} and self.is_running(name)

        self._wait(has_come, f"{name} was not replaced")
        return self.word(name, ProcessWord.PID)

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        try:
            wait_for(condition, PATIENCE_S)
        except AssertionError:
            raise AssertionError(f"{what}: {self.log()[-6000:]}") from None

    def signal(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a process a signal; return its pid."""
        pid = self.processes()[name]
        os.kill(pid, number)
        return pid

    def pauses(self, name: str) -> list[int]:
        """Return after which pauses a process was started again, as logged."""
        lines = [line for line in self.log().splitlines() if "process ended, restarting" in line]
        mine = [line for line in lines if f"name={name} " in line]
        return [int(line.rpartition("in_s=")[2]) for line in mine]

    @contextlib.contextmanager
    def without_shard(self, shard: int) -> Iterator[None]:
        """Kill a shard and hold its lock, so that it cannot come back until this is over."""
        assert self.data_dir is not None
        fd = os.open(self.data_dir / f"shard-{shard}.lock", os.O_RDWR)
        taker = threading.Thread(target=fcntl.flock, args=(fd, fcntl.LOCK_EX), daemon=True)
        try:
            taker.start()
            while taker.is_alive():
                # Its successor may have been faster.
                with contextlib.suppress(ProcessLookupError):
                    self.signal(f"shard-{shard}")
                taker.join(0.5)
            yield
        finally:
            os.close(fd)


class Trader:
    """A client of the binary protocol that comes back after any crash, sends again what was not
    accepted, and sees that each of its messages is answered once and no report is left out.

    Its orders buy one lot for 1000 ticks and stay in the book.
    """

    def __init__(self, venue: Venue, name: str) -> None:
        self.name = name
        self.answers: dict[int, list[str]] = {}
        self.filled: Counter[str] = Counter()
        self.expired: list[str] = []
        self.comebacks = -1
        self._venue = venue
        self._sent: list[tuple[str, msgspec.Struct]] = []
        self._next_in = 1
        self._connect()

    @staticmethod
    def name_at(gateway: int, gateways: int) -> str:
        """Return the name of a session that belongs to a gateway."""
        names = (f"TRADER-{n}" for n in range(1000))
        return next(n for n in names if home_of("binary", "", n, gateways) == gateway)

    def close(self) -> None:
        """Close without a word."""
        self.peer.close()

    def order(self, *symbols: str, tif: int = 1) -> None:
        """Send an order for each symbol, in one go; one that gets lost is sent again later."""
        first = len(self._sent)
        for n, symbol in enumerate(symbols, first):
            order = self.peer.order(f"{self.name}-{n}", symbol, 1, 1, 1000, tif)
            self._sent.append((symbol, order))
        with contextlib.suppress(Closed):
            self.peer.send(*(message for _, message in self._sent[first:]))

    def settle(self, count: int | None = None) -> None:
        """Wait until all is answered, or so many messages are."""
        self._take_until(lambda: len(self.answers) == (len(self._sent) if count is None else count))

    def settle_on(self, symbol: str) -> None:
        """Wait until all of a symbol is answered."""
        mine = [n for n, (name, _) in enumerate(self._sent, 1) if name == symbol]
        self._take_until(lambda: all(n in self.answers for n in mine))

    def await_expired(self, count: int) -> None:
        """Wait until so many orders have expired."""
        self._take_until(lambda: len(self.expired) >= count)

    def await_fills(self) -> None:
        """Wait until every order that was in the book is filled."""
        self._take_until(lambda: self.filled.total() >= self.resting().total())

    def _take_until(self, is_over: Callable[[], object]) -> None:
        """Take in what comes until something is so; come back when the connection ends."""
        while not is_over():
            try:
                message = self.peer.receive(PATIENCE_S)
            except Closed:
                self.come_back()
            else:
                self._take(message)

    def _take(self, message: ServerMessage) -> None:
        if isinstance(message, Reject):
            self._answer(message.ref_seq, RejectReason(message.reason).name)
        elif isinstance(message, ExecutionReport):
            if message.kind == ReportKind.TRADE:
                self.filled[message.cl_ord_id] += message.last_qty
            elif message.kind == ReportKind.EXPIRED:
                self.expired.append(message.cl_ord_id)
            else:
                self._answer(message.ref_seq, ReportKind(message.kind).name)

    def _answer(self, number: int, what: str) -> None:
        assert 0 < number <= len(self._sent), (number, what)
        self.answers.setdefault(number, []).append(what)
        assert len(self.answers[number]) == 1, f"{number} answered twice: {self.answers[number]}"

    def come_back(self) -> None:
        """Connect again as soon as the venue lets us."""
        self._next_in = self.peer.next_in
        self.peer.close()
        wait_for(self._connect, PATIENCE_S, 0.05)

    def _connect(self) -> bool:
        try:
            peer = BinaryPeer(self._venue.port("binary"), self.name, next_in=self._next_in)
        except OSError:
            return False
        try:
            accepted = peer.log_on()
        except (Closed, OSError):
            peer.close()
            return False
        peer.seq = len(self._sent) + 1
        self.peer = peer
        self.comebacks += 1
        with contextlib.suppress(Closed):
            peer.send(*(message for _, message in self._sent[accepted.last_accepted :]))
        return True

    def resting(self) -> Counter[str]:
        """Return how many orders were accepted and have not expired, by symbol."""
        taken = {n for n, (answer,) in self.answers.items() if answer == "NEW"}
        gone = {int(name.rpartition("-")[2]) + 1 for name in self.expired}
        assert gone <= taken
        assert len(gone) == len(self.expired)
        return Counter(self._sent[n - 1][0] for n in taken - gone)

    def outcomes(self) -> list[str]:
        """Return what became of all messages, in their order."""
        return [self.answers[n][0] for n in range(1, len(self._sent) + 1)]


def check_books(venue: Venue, traders: list[Trader], *symbols: str) -> None:
    """Sell to all that traders have in the books: each order that rests is there once."""
    with BinaryPeer(venue.port("binary"), "SELLER") as seller:
        seller.log_on(next_expected=0)
        expected: Counter[str] = sum((trader.resting() for trader in traders), Counter())
        assert set(expected) <= set(symbols)
        for symbol in symbols:
            seller.new(f"all-{symbol}", symbol, 2, 100_000, 1, tif=3)
            sold = 0
            while True:
                report = seller.report(PATIENCE_S)
                sold += report.last_qty
                if report.leaves_qty == 0:
                    break
            assert sold == expected[symbol], symbol
    for trader in traders:
        trader.await_fills()
        assert set(trader.filled.values()) <= {1}
        assert trader.filled.total() == trader.resting().total()
