"""Messages that the gateway itself answers FIX clients with, as each version has them."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.encode import ROUTE_MAX
from openoutcry.protocol.fix.formats import value_fault
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.outbox import route_back
from openoutcry.protocol.fix.versions import Version, version_of
from openoutcry.server.sessions import BLOCK_HEADER_WORDS

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway

Fields = list[tuple[int, bytes]]

#: Most bytes of Text(58), and of a value that is given back.
TEXT_MAX = 200
ECHO_MAX = 64

_SOH = b"\x01"


def version_of_message(session: "FixSession", message: Message) -> Version:
    """Return the version of a message's content: the session's, unless ApplVerID(1128) says
    otherwise."""
    code = message.get(1128)
    if code is None:
        return session.version
    return version_of(message.get(8) or b"", code) or session.version


def fitting(version: Version, msg_type: str, fields: Iterable[tuple[int, bytes]]) -> Fields:
    """Leave out what the version does not have in a message: tags, codes and empty values."""
    facts = dictionary(version)
    allowed = facts.messages[msg_type].allowed
    return [
        (tag, value)
        for tag, value in fields
        if value and tag in allowed and value_fault(facts, tag, value) is None
    ]


def route_of_answer(version: Version, message: Message) -> Fields:
    """Return the header fields that lead an answer back to who sent a message.

    There are none where they are longer than those of an order may be.
    """
    tags = dictionary(version).header_tags
    route = [field for field in route_back(message) if field[0] in tags]
    return route if len(joined(route)) <= ROUTE_MAX else []


def text_of(text: str) -> bytes:
    """Return a Text(58) of bounded length."""
    return text.encode("ascii", "replace")[:TEXT_MAX]


def echo(message: Message, *tags: int) -> Fields:
    """Return a message's own fields; a long text is cut, a long number left out."""
    found: Fields = []
    for tag in tags:
        value = message.get(tag)
        if value is None:
            continue
        if len(value) > ECHO_MAX:
            if tag not in _TEXTS:
                continue
            value = value[:ECHO_MAX]
        found.append((tag, value))
    return found


_TEXTS = frozenset({1, 11, 41, 55})


def answer(
    session: "FixSession",
    message: Message,
    msg_type: str,
    fields: Iterable[tuple[int, bytes]],
    *,
    answers: int | None = None,
) -> None:
    """Send an answer with what the session's version has of these fields, back by its route.

    It answers the message for good, unless `answers` says otherwise: see `send`.
    """
    send(
        session,
        msg_type,
        [
            *route_of_answer(session.version, message),
            *fitting(session.version, msg_type, fields),
        ],
        answers=(message.seq_num or 0) if answers is None else answers,
    )


def send(session: "FixSession", msg_type: str, fields: Fields, *, answers: int = 0) -> None:
    """Number, keep and send a message; `fields` may begin with some of the header.

    `answers` is the number of the client's message that it answers, below 0 where more of the
    answer follows.
    """
    session.session.send_application(msg_type, fields, session.gateway.now_ms(), answers=answers)


def report_fields(gateway: "Gateway", session: int, source: int) -> Fields:
    """Return a shard's report as an ExecutionReport's fields for a session, from its route on.

    `source` is shard << SHARD_SHIFT | position in the report log.

    Raises:
        OSError: The report log could not be read.
    """
    block = np.zeros(BLOCK_HEADER_WORDS + 2, np.int64)
    block[BLOCK_HEADER_WORDS + 1] = source
    _, frame = gateway.resender.encode(session, block, 0, 1, number=1)
    fields = parse(frame).fields
    return [field for field in fields[3:-1] if field[0] not in _FRAME_TAGS]


#: What framing puts into a header anew.
_FRAME_TAGS = frozenset({34, 49, 52, 56, 369})


def joined(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """Return fields as they go over the wire."""
    return b"".join(b"%d=%b%b" % (tag, value, _SOH) for tag, value in fields)


@dataclass(slots=True)
class _LongAnswer:
    """An answer of many messages: what it answers, and those that are still to be sent."""

    number: int
    messages: Iterator[tuple[str, Fields]]
    due: tuple[str, Fields] | None


class LongAnswers:
    """Answers of many messages, sent in slices so that nobody waits for the whole."""

    #: How long messages are made and sent before others get their turn, and how long that is.
    SLICE_NS = 150_000
    PAUSE_S = 0.0003
    #: Answers of one session that wait or are on their way.
    LIMIT = 8

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._waiting: dict[FixSession, list[_LongAnswer]] = {}

    def is_full(self, session: "FixSession") -> bool:
        """Tell whether a session has as many answers on their way as it may."""
        return len(self._waiting.get(session, ())) >= self.LIMIT

    def begin(
        self, session: "FixSession", number: int, messages: Iterator[tuple[str, Fields]]
    ) -> None:
        """Send messages, the first slice at once; later answers of the session come behind.

        `number` is that of the message that they answer; those that its client got before a crash
        are left out.
        """
        index = self._gateway.index
        answers, next_out = index.answers, int(index.rows[session.number]["next_out"])
        sent = answers.parts_sent(session.number, number)
        if number:
            answers.begin(session.number, number, next_out)
        waiting = self._waiting.setdefault(session, [])
        messages = itertools.islice(messages, sent, None)
        waiting.append(_LongAnswer(number, messages, next(messages, None)))
        if len(waiting) == 1:
            self._go_on(session)

    def _go_on(self, session: "FixSession") -> None:
        """Send one slice, and come back for the next."""
        connection = session.connection
        if connection is not None and connection.is_writing_paused:
            # The client reads slower than we answer: go on when it has caught up.
            self._gateway.loop.call_later(0.01, self._go_on, session)
            return
        waiting = self._waiting[session]
        stop_ns = self._gateway.monotonic_ns() + self.SLICE_NS
        answers = self._gateway.index.answers
        while waiting:
            first = waiting[0]
            message, first.due = first.due, next(first.messages, None)
            is_last = first.due is None
            # After a reset the number is another message's.
            is_owed = answers.is_open(session.number, first.number)
            if message is not None:
                number = first.number if is_last else -first.number
                send(session, *message, answers=number if is_owed else 0)
            if is_last:
                waiting.pop(0)
                if is_owed:
                    answers.end(session.number, first.number)
            if self._gateway.monotonic_ns() >= stop_ns:
                break
        session.act([])
        if waiting:
            self._gateway.loop.call_later(self.PAUSE_S, self._go_on, session)
        else:
            del self._waiting[session]
