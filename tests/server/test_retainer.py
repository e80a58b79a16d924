"""What a gateway needs of the logs for resends, and what it lets go of."""

from pathlib import Path
from typing import Any

import pytest
from support.gateway_alone import GatewayAlone

from openoutcry.engine.enums import OrderStatus, ReportKind
from openoutcry.engine.pack import FIRST_BYTE
from openoutcry.engine.state import GatewayWord, ProcessStatus
from openoutcry.server.config import Retention
from openoutcry.server.retainer import Retainer
from openoutcry.server.session_settings import Session
from openoutcry.server.store import SentMessages

BUSY, QUIET = 1, 2
SESSIONS = (Session(id="A"), Session(id="B"))
REPORT: dict[str, Any] = {
    "order_id": 3,
    "price_ticks": 7,
    "qty_lots": 5,
    "leaves_qty": 5,
    "epoch": 1,
    "cl_ord_id": b"ID",
    "kind": ReportKind.NEW,
    "status": OrderStatus.NEW,
    "side": 1,
    "ord_type": 2,
}


def report(alone: GatewayAlone, session: int, count: int) -> None:
    """Have both shards report, so that blocks and segments of the index fill."""
    for first in range(0, count, 64):
        for shard in (0, 1):
            alone.logs[shard].write(*[REPORT | {"session": session}] * min(64, count - first))
        alone.gateway.drain()


def made(folder: Path, **options: Any) -> tuple[GatewayAlone, Retainer]:
    alone = GatewayAlone(folder, 2, SESSIONS, retention=Retention(**options))
    alone.gateway.recover()
    alone.gateway.words[GatewayWord.STATUS] = ProcessStatus.RUNNING
    retainer = Retainer(alone.gateway, folder)
    return alone, retainer


def look(retainer: Retainer, alone: GatewayAlone) -> None:
    """Have it look twice, with checkpoints between."""
    retainer.look()
    for _ in range(2):
        alone.gateway.write_checkpoint()
    retainer.look()


def names(folder: Path, kind: str) -> list[int]:
    return sorted(int(path.stem[-8:]) for path in folder.glob(f"gateway-0-{kind}-*.seg"))


def test_a_session_that_was_sent_little_long_ago_holds_everything(tmp_path: Path):
    alone, retainer = made(tmp_path, segments="delete")
    report(alone, QUIET, 3)
    report(alone, BUSY, 9_000)
    before = names(tmp_path, "index")
    look(retainer, alone)
    assert alone.gateway.memory.retain[0].tolist() == [FIRST_BYTE] * 2
    retainer.close()
    assert names(tmp_path, "index") == before
    assert len(before) > 4
    alone.close()


def test_a_reset_lets_go_of_what_came_before(tmp_path: Path):
    alone, retainer = made(tmp_path, segments="delete")
    report(alone, BUSY, 9_000)
    alone.gateway.index.rows[BUSY]["next_in"] = 2
    alone.gateway.index.reset(BUSY, 9)
    look(retainer, alone)
    retained = alone.gateway.memory.retain[0]
    assert (retained > 100_000).all()
    assert (retained <= alone.gateway.positions).all()
    retainer._thread.shutdown(wait=True)
    assert names(tmp_path, "index")[0] > 0
    report(alone, BUSY, 3)
    runs = list(SentMessages(alone.gateway, BUSY).runs(1, 6, lambda _, frame: frame))
    assert all(data is not None for *_, data in runs)
    alone.close()


def test_only_the_last_messages_are_kept_where_that_is_configured(tmp_path: Path):
    alone, retainer = made(tmp_path, segments="delete", resend_messages=1000)
    report(alone, BUSY, 9_000)
    look(retainer, alone)
    retainer._thread.shutdown(wait=True)
    index, row = alone.gateway.index, alone.gateway.index.rows[BUSY]
    oldest = int(row["oldest_out"])
    assert 1 < oldest <= int(row["next_out"]) - 1000
    assert names(tmp_path, "index")[0] > 0
    # Below it there is a gap fill, from it on there are messages; each from reports that are kept.
    last = int(row["next_out"]) - 1
    runs = list(SentMessages(alone.gateway, BUSY).runs(1, last, lambda _, frame: frame))
    assert runs[0] == (1, oldest - 1, None)
    assert runs[1][0] == oldest
    assert runs[-1][1] == last
    assert all(data is not None for *_, data in runs[1:])
    retained = alone.gateway.memory.retain[0]
    for number in (oldest, oldest + 1):
        found = index.block_of(BUSY, number)
        assert found is not None
        source = int(found[1][9 + 2 * (number - found[0])])
        assert source & ((1 << 48) - 1) >= retained[source >> 48]
    # Another gateway knows as much.
    alone.gateway.write_checkpoint()
    ends = alone.ends()
    alone.close()
    again = GatewayAlone(tmp_path, 2, SESSIONS, ends=ends)
    again.gateway.recover()
    assert int(again.gateway.index.rows[BUSY]["oldest_out"]) == oldest
    runs = list(SentMessages(again.gateway, BUSY).runs(1, last, lambda _, frame: frame))
    assert runs[0] == (1, oldest - 1, None)
    assert runs[-1][1] == last
    report(again, BUSY, 5)
    assert int(again.gateway.index.rows[BUSY]["next_out"]) == last + 11
    again.close()


def test_everything_stays_where_segments_are_kept(tmp_path: Path):
    alone, retainer = made(tmp_path, segments="keep", resend_messages=10)
    report(alone, BUSY, 5_000)
    look(retainer, alone)
    retainer._thread.shutdown(wait=True)
    assert names(tmp_path, "index")[0] == 0
    assert int(alone.gateway.index.rows[BUSY]["oldest_out"]) == 1
    alone.close()


@pytest.mark.parametrize("is_reset", [False, True])
def test_what_the_latest_checkpoint_names_is_kept(tmp_path: Path, is_reset: bool):
    alone, retainer = made(tmp_path, segments="delete", resend_messages=1000)
    report(alone, BUSY, 9_000)
    alone.gateway.index.rows[BUSY]["next_in"] = 2
    alone.gateway.write_checkpoint()
    last = int(alone.gateway.index.rows[BUSY]["next_out"]) - 1
    if is_reset:
        alone.gateway.index.reset(BUSY, 9)
        last = 0
    retainer.look()
    path = tmp_path / "gateway-0-checkpoint"
    before = path.read_bytes()
    retainer.look()
    # One more does not suffice: it may be torn.
    alone.gateway.write_checkpoint()
    retainer.look()
    retainer._thread.shutdown(wait=True)
    assert names(tmp_path, "index")[0] == 0
    # It dies: all is there that the checkpoint before this one tells of.
    ends = alone.ends()
    assert alone.gateway.memory.retain[0].tolist() == [0, 0]
    alone.close()
    path.write_bytes(before)
    again = GatewayAlone(tmp_path, 2, SESSIONS, ends=ends)
    again.gateway.recover()
    row = again.gateway.index.rows[BUSY]
    assert int(row["next_out"]) == last + 1
    runs = list(SentMessages(again.gateway, BUSY).runs(1, last, lambda _, frame: frame))
    if not is_reset:
        assert runs[-1][1] == last
        assert runs[-1][2] is not None
    again.close()
