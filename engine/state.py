"""Words of shared memory by which a shard, the gateways and the supervisor know of each other.

Each block is an int64 array. Words with different writers lie at least two cache lines (16 words)
apart.
"""

from enum import IntEnum


class ShardWord(IntEnum):
    """Word numbers in a shard's state block; the comment names the writer."""

    #: Producers: a 32-bit futex word, raised to wake the shard.
    DOORBELL = 0
    #: Shard: 1 while it sleeps or is about to.
    SLEEPING = 16
    #: Shard: the last report that may leave the venue.
    RELEASED_REPORT = 32
    #: Shard: the position in the report log behind that report, and the log's base time.
    RELEASED_POSITION = 34
    BASE_NS = 35
    #: Shard: the last command that is logged as durably as configured.
    COMMITTED_SEQ = 33
    #: Shard: rises with each turn of the loop; one that stands still means a hung shard.
    HEARTBEAT = 48
    STATUS = 49
    PID = 50
    LOG_BYTES = 51
    #: The last sequenced command, and its time.
    SEQ = 52
    TIME_NS = 53
    EVENT_SEQ = 54
    #: The time of the last command before the shard's latest start, 0: there was none.
    PREVIOUS_NS = 55
    #: Supervisor: 1 asks the shard to finish what is in its rings and stop.
    STOP = 64
    #: Supervisor: 1 while the shard does not run: gateways answer its orders themselves.
    IS_DOWN = 65
    #: Readers of market data: number of the latest request for a depth snapshot, and its symbol.
    DEPTH_REQUEST = 80
    DEPTH_SYMBOL = 81
    #: Shard: number of the request answered, the event that the answer includes, and levels a side.
    DEPTH_ANSWER = 96
    DEPTH_EVENT_SEQ = 97
    DEPTH_BIDS = 98
    DEPTH_ASKS = 99
    #: Shard, private: where the loop stands between two calls.
    EPOCH = 112
    LOG_POSITION = 113
    REPORT_SEQ = 114
    BATCH_RING = 115
    BATCH_NEXT = 116
    BATCH_END = 117
    REPORT_BYTES_WANTED = 118
    #: Shard, private: 1 while the log can't grow: new orders are rejected, cancels are served.
    LOG_IS_FULL = 119
    MATCH_SAMPLE = 120
    REPORT_POSITION = 121
    #: Shard, private: since when the rings are empty (0: they are not), and how long that lasts of
    #: late.
    IDLE_SINCE = 122
    IDLE_NS = 123
    #: Shard, private: the longest that commands lay in a ring while no batch was begun, ns; whoever
    #: measures sets it to 0.
    LARGEST_GAP_NS = 124
    #: Shard, while it recovers: the last command replayed, and the log's end in bytes.
    RECOVERED_SEQ = 125
    RECOVERY_BYTES = 126
    #: Shard, private: when the latest batch was begun (monotonic).
    LAST_BATCH_NS = 127
    #: Shard: a 32-bit futex word, raised to wake its syncing thread.
    SYNC_BELL = 128
    #: Shard's syncing thread (`power`): bytes of the command log that are on the disk.
    SYNCED_BYTES = 144
    #: Syncing thread: 1 while it sleeps or is about to.
    SYNC_SLEEPING = 145
    #: Syncing thread: where a failed sync obliges the next recovery to cut the log, in bytes plus
    #: 1; 0: nowhere.
    SYNC_CUT = 146
    #: Follower: the last command it has followed, the latest snapshot's command and time (UTC ns),
    #: its log position in bytes and report-log position, and the latest request that it answered.
    FOLLOWED_SEQ = 160
    SNAPSHOT_SEQ = 161
    SNAPSHOT_NS = 162
    SNAPSHOT_LOG_BYTES = 163
    SNAPSHOT_REPORT_BYTES = 164
    SNAPSHOT_ANSWER = 165
    FOLLOWER_HEARTBEAT = 166
    FOLLOWER_STATUS = 167
    FOLLOWER_PID = 168
    #: The oldest kept snapshot's log position and report-log position, bytes.
    OLDEST_LOG_BYTES = 169
    OLDEST_REPORT_BYTES = 170
    #: Follower: how long the latest snapshot took and its size, how many were written and how many
    #: failed, and whether the request answered last failed (1) or not (0).
    SNAPSHOT_TOOK_NS = 171
    SNAPSHOT_BYTES = 172
    SNAPSHOTS_WRITTEN = 173
    SNAPSHOTS_FAILED = 174
    SNAPSHOT_RESULT = 175
    #: Supervisor: number of the latest request for a snapshot; 1 asks the follower to follow to the
    #: end, write a last snapshot and stop, 2 to stop at once (the folder goes away with the venue).
    SNAPSHOT_REQUEST = 176
    FOLLOWER_STOP = 177
    #: Follower: the log's bytes up to the end of the batches that it has followed.
    FOLLOWED_BYTES = 178
    #: Tests: countdowns of fault points; see `engine.faults`.
    FAULTS = 192
    #: Follower: segments archived or deleted, and how often that failed.
    SEGMENTS_RELEASED = 240
    RETENTION_FAILED = 241


SHARD_WORDS = 256


class GatewayWord(IntEnum):
    """Word numbers in a gateway's state block."""

    #: Gateway: 1 while it waits in its event loop; a shard that releases reports then signals its
    #: eventfd.
    SLEEPING = 0
    STOP = 16
    HEARTBEAT = 32
    STATUS = 33
    PID = 34
    #: Tests: countdowns of fault points; see `engine.faults`.
    FAULTS = 64


GATEWAY_WORDS = 128


class ProcessStatus(IntEnum):
    """Value of a STATUS word."""

    STARTING = 0
    RUNNING = 1
    STOPPED = 2
    FAILED = 3
    RECOVERING = 4


class Durability(IntEnum):
    """When a batch is committed: at once and without a log, at the copy into the page cache, or
    when it is on the disk."""

    NONE = 0
    PROCESS = 1
    POWER = 2


class LoopExit(IntEnum):
    """Why the shard's kernel returned to Python."""

    TICK = 0
    STOPPED = 1
    LOG_SEGMENT = 2
    REPORT_SEGMENT = 3


#: Most levels a side in a depth snapshot.
DEPTH_LEVELS = 512

#: Reports whose measurement stamps are kept; a power of two. A gateway further behind measures none
#: of them.
STAMP_RECORDS = 1 << 16
