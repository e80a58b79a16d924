"""Somebody who trades while a test does something else."""

import threading
import time

from .peers import FixPeer
from .venue import Venue, wait_for


class Bystander:
    """A client that trades with itself all the while, one order after another."""

    def __init__(self, venue: Venue, symbol: str, name: str = "BYSTANDER") -> None:
        self.rounds = 0
        self.slowest_s = 0.0
        self.error: BaseException | None = None
        self._symbol = symbol
        self._peer = FixPeer(venue.port("fix"), name)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Bystander":
        self._peer.log_on()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._done.set()
        self._thread.join(20)
        self._peer.close()

    def _run(self) -> None:
        try:
            while not self._done.wait(0.005):
                self._round()
        except BaseException as error:
            self.error = error

    def _round(self) -> None:
        peer, symbol, n = self._peer, self._symbol, self.rounds
        start = time.monotonic()
        peer.new(f"s{n}", symbol, "2", 10, "10.00")
        assert peer.outcomes(1) == [f"s{n} 0/0 cum=0 leaves=10"]
        peer.new(f"b{n}", symbol, "1", 10, "10.00")
        assert peer.outcomes(3) == [
            f"b{n} 0/0 cum=0 leaves=10",
            f"b{n} F/2 10@10.00 cum=10 leaves=0",
            f"s{n} F/2 10@10.00 cum=10 leaves=0",
        ]
        self.slowest_s = max(self.slowest_s, time.monotonic() - start)
        self.rounds += 1

    def check(self) -> None:
        """Fail unless trading goes on."""
        now = self.rounds
        wait_for(lambda: self.error or self.rounds > now + 2)
        assert self.error is None, repr(self.error)
