"""The outgoing half of a FIX session: numbering, framing, recording, and serving resends.

Every message gets its number and is recorded before its bytes are handed out. While a resend
runs, nothing new may go between the resent messages: whatever is numbered meanwhile (by us, or by
a kernel that shares `next_out`) waits, and follows as first-time messages when the resend is
done.
"""

from collections.abc import Callable, Iterable

from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session_config import SessionConfig, SessionState
from openoutcry.protocol.fix.stamps import format_sending_time
from openoutcry.protocol.fix.store import MessageStore, Run, seal

Fields = Iterable[tuple[int, bytes]]

# OnBehalfOf and DeliverTo fields change places in an answer.
_REVERSED_ROUTE = ((115, 128), (116, 129), (144, 145), (128, 115), (129, 116), (145, 144))
# A message that waited longer for the end of a resend goes out with 43=Y and a new
# SendingTime(52), since the peer may refuse one that is two minutes old.
_FRESH_MS = 60_000
# Administrative messages of our own that wait for the end of a resend; beyond, a gap fill covers
# them.
_MAX_DEFERRED = 1_000


class Outbox:
    """Number, frame, record and queue outgoing messages."""

    def __init__(
        self,
        config: SessionConfig,
        state: SessionState,
        store: MessageStore,
        header: Callable[[], Fields],
    ) -> None:
        """Prepare an outbox; `header` gives the fields that every header has beside the usual."""
        self._state = state
        self._store = store
        self._header = header
        self._version = config.version
        self._begin = b"8=%b\x01" % config.begin_string.encode()
        self._comp_ids = b"49=%b\x0156=%b\x01" % (
            config.sender_comp_id.encode(),
            config.target_comp_id.encode(),
        )
        self._out = bytearray()
        #: When a message last went out; resent ones count.
        self.last_sent_ms = 0
        # The range that is being resent, and the one to be resent after it: first due, last.
        self._range: tuple[int, int] | None = None
        self._next_range: tuple[int, int] | None = None
        # First number of the gap fill that is being merged, 0 for none.
        self._gap_first = 0
        # While a resend runs: the first number that was never handed out.
        self._unsent: int | None = None
        self._resend_began_ms = 0
        # Administrative messages that wait, framed with a fresh SendingTime when they go.
        self._deferred: dict[int, tuple[str, list[tuple[int, bytes]], list[tuple[int, bytes]]]] = {}

    def take(self) -> bytes:
        """Return the queued bytes, and forget them."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def clear(self) -> None:
        """Forget queued bytes and a running resend: the connection is gone, or about to be."""
        self._out.clear()
        self.abort_resend()

    # -- new messages
    def send(
        self,
        msg_type: str,
        fields: Fields,
        now_ms: int,
        *,
        header: Fields = (),
        is_admin: bool,
        is_open: bool = True,
        max_size: int = 0,
        answers: int = 0,
    ) -> int:
        """Number, record and, where the connection is open for it, queue a message.

        For `answers` see `MessageStore.record`.

        Raises:
            ValueError: The message is larger than max_size; it takes no number.
        """
        number = self._state.next_out
        fields, header = list(fields), list(header)
        frame = self._frame(msg_type, number, fields, now_ms, header)
        if max_size and len(frame) > max_size:
            raise ValueError(f"a message of {len(frame)} bytes; the peer takes {max_size}")
        self._store.record(number, now_ms, None if is_admin else frame, answers)
        self._state.next_out = number + 1
        if self._unsent is not None:
            # It waits, and for the heartbeat counts as sent: one that waits is enough.
            self.last_sent_ms = now_ms
            if is_admin and len(self._deferred) < _MAX_DEFERRED:
                self._deferred[number] = (msg_type, fields, header)
        elif is_open:
            self._put(frame, now_ms)
        return number

    def send_beside(self, msg_type: str, number: int, fields: Fields, now_ms: int) -> None:
        """Queue a message that takes no number of the session's: for who is not let in."""
        self._put(self._frame(msg_type, number, fields, now_ms), now_ms)

    def _put(self, data: bytes, now_ms: int) -> None:
        self._out += data
        self.last_sent_ms = now_ms

    def _frame(
        self, msg_type: str, number: int, fields: Fields, now_ms: int, header: Fields = ()
    ) -> bytes:
        stamp = format_sending_time(now_ms, self._version)
        parts = [
            b"35=%b\x01%b34=%d\x0152=%b\x01" % (msg_type.encode(), self._comp_ids, number, stamp)
        ]
        for some in (self._header(), header, fields):
            parts.extend(b"%d=%b\x01" % field for field in some)
        return seal(self._begin, b"".join(parts))

    # -- resends
    @property
    def is_resending(self) -> bool:
        """Whether `resend_slice` has more to give."""
        return self._unsent is not None

    @property
    def last_sent(self) -> int:
        """Return the highest number that was handed out."""
        return (self._state.next_out if self._unsent is None else self._unsent) - 1

    def start_resend(self, first: int, last: int) -> None:
        """Begin to send a range again; while another one runs, it follows after that.

        Several ranges that wait are merged into one: a peer that asks faster than it reads costs
        no memory, and gets at most numbers that it has already.
        """
        if self._unsent is None:
            self._unsent = self._state.next_out
        if self._range is None:
            self._range = (first, last)
        elif self._next_range is None:
            self._next_range = (first, last)
        else:
            self._next_range = (min(first, self._next_range[0]), max(last, self._next_range[1]))

    def abort_resend(self) -> None:
        """Stop resending: what is missing is asked for after the next Logon."""
        self._range = self._next_range = self._unsent = None
        self._gap_first = 0
        self._resend_began_ms = 0
        self._deferred.clear()

    def resend_slice(self, now_ms: int, limit: int, max_bytes: int) -> bytes:
        """Return the queued bytes and the next part of what is to be resent.

        The part ends with `limit` numbers, or with the run that makes it `max_bytes` or more.
        """
        left = limit
        while left > 0 and len(self._out) < max_bytes and self._unsent is not None:
            if self._range is not None:
                if not self._resend_began_ms:
                    self._resend_began_ms = now_ms
                left -= self._slice_of_range(self._range, now_ms, left, max_bytes)
            else:
                left -= self._slice_of_unsent(self._unsent, now_ms, left, max_bytes)
        return self.take()

    def _slice_of_range(self, due: tuple[int, int], now_ms: int, limit: int, max_bytes: int) -> int:
        """Put a part of a range; return how many numbers that was."""
        first, last = due
        stop = min(last, first + limit - 1)
        for run_first, run_last, data in self._store.resent(first, stop, now_ms):
            self._put_again(run_first, data, now_ms)
            if len(self._out) >= max_bytes:
                stop = run_last
                break
        if stop < last:
            self._range = (stop + 1, last)
        else:
            self._close_gap_fill(last + 1, now_ms)
            self._range, self._next_range = self._next_range, None
        return stop - first + 1

    def _slice_of_unsent(self, first: int, now_ms: int, limit: int, max_bytes: int) -> int:
        """Put a part of what was numbered during the resend; return how many numbers that was."""
        stop = min(self._state.next_out - 1, first + limit - 1)
        if now_ms - self._resend_began_ms < _FRESH_MS:
            source = self._store.first_time(first, stop)
        else:
            source = self._store.resent(first, stop, now_ms)
        for run in source:
            self._put_unsent(run, now_ms)
            if len(self._out) >= max_bytes:
                stop = run[1]
                break
        if stop < self._state.next_out - 1:
            self._unsent = stop + 1
        else:
            self._close_gap_fill(stop + 1, now_ms)
            self.abort_resend()
        return max(stop - first + 1, 1)

    def _put_unsent(self, run: Run, now_ms: int) -> None:
        first, last, data = run
        if data is not None:
            self._put_again(first, data, now_ms)
            return
        for number in range(first, last + 1):
            frame = None
            if number in self._deferred:
                msg_type, fields, header = self._deferred.pop(number)
                frame = self._frame(msg_type, number, fields, now_ms, header)
            self._put_again(number, frame, now_ms)

    def _put_again(self, number: int, data: bytes | None, now_ms: int) -> None:
        """Put the messages from a number on, behind the gap fill for what came before."""
        if data is None:
            self._gap_first = self._gap_first or number
            return
        self._close_gap_fill(number, now_ms)
        self._put(data, now_ms)

    def _close_gap_fill(self, next_number: int, now_ms: int) -> None:
        """Write the gap fill for the run of administrative numbers that ends before next_number."""
        if not self._gap_first:
            return
        stamp = format_sending_time(now_ms, self._version)
        parts = [
            b"35=4\x01%b34=%d\x0143=Y\x0152=%b\x01122=%b\x01"
            % (self._comp_ids, self._gap_first, stamp, stamp)
        ]
        parts.extend(b"%d=%b\x01" % field for field in self._header())
        parts.append(b"123=Y\x0136=%d\x01" % next_number)
        self._put(seal(self._begin, b"".join(parts)), now_ms)
        self._gap_first = 0


def route_back(message: Message) -> list[tuple[int, bytes]]:
    """Return the route fields of an answer to the message."""
    return [(to, value) for tag, to in _REVERSED_ROUTE if (value := message.get(tag))]
