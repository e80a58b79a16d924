"""A request for snapshots at once, as the supervisor passes it on to the followers.

Nothing here waits: the supervisor's loop asks for the answer again at each of its turns.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openoutcry.engine.state import ShardWord
from openoutcry.server.config import Config
from openoutcry.server.memory import VenueMemory
from openoutcry.server.snapshots import snapshot_path

#: How long the followers may take: under saturation the book's writing gets little of a core.
TIMEOUT_S = 120.0


class SnapshotRequest:
    """One request to the followers of some shards.

    Args:
        memory: the venue's shared memory.
        data_dir: where the snapshots lie, for their names.
        shards: whose followers are asked.
    """

    def __init__(self, memory: VenueMemory, data_dir: Path, shards: Sequence[int]) -> None:
        self._memory = memory
        self._data_dir = data_dir
        self._deadline = time.monotonic() + TIMEOUT_S
        self._numbers = {}
        for shard in shards:
            memory.shards[shard, ShardWord.SNAPSHOT_REQUEST] += 1
            self._numbers[shard] = int(memory.shards[shard, ShardWord.SNAPSHOT_REQUEST])

    def answer(self) -> dict[str, Any] | None:
        """Return what to tell the one who asked, or None while a follower is still at it."""
        rows = self._memory.shards
        late = [s for s, n in self._numbers.items() if rows[s, ShardWord.SNAPSHOT_ANSWER] < n]
        if late and time.monotonic() < self._deadline:
            return None
        if late:
            return _error(
                f"no snapshot of shard {late[0]} within {TIMEOUT_S:g} s: its follower is down or "
                "far behind; see openoutcry_follower_lag_commands and the log"
            )
        failed = [s for s in self._numbers if rows[s, ShardWord.SNAPSHOT_RESULT]]
        if failed:
            return _error(f"no snapshot of shard {failed[0]} was written; the log says why")
        return {"ok": True, "snapshots": [self._describe(shard) for shard in self._numbers]}

    def _describe(self, shard: int) -> dict[str, Any]:
        words = self._memory.shards[shard]
        seq = int(words[ShardWord.SNAPSHOT_SEQ])
        return {
            "shard": shard,
            "file": str(snapshot_path(self._data_dir, shard, seq)),
            "seq": seq,
            "bytes": int(words[ShardWord.SNAPSHOT_BYTES]),
            "seconds": int(words[ShardWord.SNAPSHOT_TOOK_NS]) / 1e9,
        }


def ask_for_snapshots(
    config: Config, memory: VenueMemory, data_dir: Path, shard: Any
) -> SnapshotRequest | dict[str, Any]:
    """Ask for a snapshot of a shard, or of all where it is None; an error is answered at once."""
    if config.log.durability == "none":
        return _error("there are no snapshots under log.durability none: nothing is logged")
    if config.snapshots is None:
        return _error("there are no snapshots: the configuration says snapshots: null")
    if shard is None:
        return SnapshotRequest(memory, data_dir, range(memory.shard_count))
    if not isinstance(shard, int) or not 0 <= shard < memory.shard_count:
        return _error(f"there is no shard {shard!r}: the last one is {memory.shard_count - 1}")
    return SnapshotRequest(memory, data_dir, [shard])


def _error(text: str) -> dict[str, Any]:
    return {"ok": False, "error": text}
