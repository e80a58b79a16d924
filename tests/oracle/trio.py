"""The compiled book, the oracle, the ledger and the auditor, step by step."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle.audit import Audit
from oracle.ledger import Ledger
from oracle.pair import SMALL, Pair, differences

from openoutcry.engine.book import Capacity
from openoutcry.engine.records import REPORT


class Trio(Pair):
    """A pair whose every step is also checked against the ledger and by the auditor."""

    def __init__(
        self, capacity: Capacity = SMALL, shard: int = 0, *, is_checking: bool = True, **rows: int
    ) -> None:
        super().__init__(capacity, shard, is_checking=is_checking, **rows)
        self.ledger = Ledger(**capacity._asdict(), shard=shard)
        self.audit = Audit()

    def _run_one(self, commands: NDArray[Any], i: int) -> NDArray[Any]:
        got = super()._run_one(commands, i)
        written = self.ledger.process(commands[i : i + 1])
        assert got.tobytes() == written, differences(got, np.frombuffer(written, REPORT))
        self.audit.take(commands[i], got)
        if self.is_checking:
            self.audit.check(self.book)
        return got
