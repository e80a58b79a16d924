"""Reference data for FIX: SecurityListRequest (x) and SecurityDefinitionRequest (c).

The answers come from the configured symbols: tick, lot, limits of quantity and price, where the
version has tags for them. Symbols stay as they are while the venue runs, so a subscription has its
first answer and no other.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Symbol, decimal_parts
from openoutcry.server.fix_answers import (
    Fields,
    LongAnswers,
    answer,
    echo,
    fitting,
    route_of_answer,
    text_of,
)

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway

#: SecurityListRequestType(559)
_ONE_SYMBOL, _ALL_SYMBOLS = b"0", b"4"
#: SecurityRequestResult(560)
_VALID, _INVALID, _NOTHING_FOUND, _BUSY = b"0", b"1", b"2", b"4"
#: SecurityRequestType(321)
_IDENTITY, _SPECIFIED, _LIST = b"0", b"1", b"3"
#: SecurityResponseType(323)
_ACCEPTED, _IN_A_LIST, _REFUSED, _NO_MATCH = b"1", b"4", b"5", b"6"
#: SubscriptionRequestType(263)
_UNSUBSCRIBE = b"2"
#: Bytes of the symbols' fields in one SecurityList.
_LIST_BYTES = 1200
#: Most digits of a number.
_DIGITS_MAX = 18
_NO_RELATED_SYM, _NO_MARKET_SEGMENTS, _MARKET_ID = 146, 1310, 1301


class ReferenceData:
    """Tells clients about the symbols."""

    def __init__(self, gateway: "Gateway", answers: LongAnswers) -> None:
        self._symbols = gateway.symbols
        self._market = gateway.config.venue.comp_id.encode()
        self._answers = answers

    # --- lists ------------------------------------------------------------------------------------

    def security_list(self, session: "FixSession", message: Message) -> None:
        """Answer a SecurityListRequest (x)."""
        kind, name = message.get(559), message.get(55)
        number = self._symbols.numbers.get(name or b"")
        if message.get(263) == _UNSUBSCRIBE:
            self._no_list(session, message, _INVALID)
        elif self._answers.is_full(session):
            self._no_list(session, message, _BUSY)
        elif kind == _ALL_SYMBOLS:
            self._list(session, message, self._symbols.listed)
        elif kind != _ONE_SYMBOL or name is None:
            self._no_list(session, message, _INVALID)
        elif number is None:
            self._no_list(session, message, _NOTHING_FOUND)
        else:
            self._list(session, message, (self._symbols.definitions[number],))

    def _no_list(self, session: "FixSession", message: Message, result: bytes) -> None:
        # No version has room for a Text(58) here.
        answer(session, message, "y", [*_ids(message), (560, result)])

    def _list(self, session: "FixSession", message: Message, symbols: Iterable[Symbol]) -> None:
        messages = self._lists(session.version, message, tuple(symbols))
        self._answers.begin(session, message.seq_num or 0, messages)

    def _lists(
        self, version: Version, message: Message, symbols: tuple[Symbol, ...]
    ) -> Iterator[tuple[str, Fields]]:
        """Yield SecurityList messages with so many symbols each that any client takes them."""
        route = route_of_answer(version, message)
        group = dictionary(version).messages["y"].groups[_NO_RELATED_SYM]
        first = 0
        while first < len(symbols):
            entries: Fields = []
            size = 0
            last = first
            while last < len(symbols) and (last == first or size < _LIST_BYTES):
                facts = facts_of(symbols[last])
                entry = [(tag, facts[tag]) for tag in group.members if tag in facts]
                size += sum(len(value) + 6 for _, value in entry)
                entries += entry
                last += 1
            head = [
                *_ids(message),
                (560, _VALID),
                (393, b"%d" % len(symbols)),
                (893, b"Y" if last == len(symbols) else b"N"),
            ]
            count = (_NO_RELATED_SYM, b"%d" % (last - first))
            yield "y", [*route, *fitting(version, "y", head), count, *entries]
            first = last

    # --- definitions ------------------------------------------------------------------------------

    def security_definition(self, session: "FixSession", message: Message) -> None:
        """Answer a SecurityDefinitionRequest (c)."""
        kind = message.get(321)
        number = self._symbols.numbers.get(message.get(55) or b"")
        if kind == _LIST:
            if self._answers.is_full(session):
                self._no_definition(session, message, _REFUSED, "too many requests at once")
            else:
                self._define(session, message, self._symbols.listed)
        elif kind not in {_IDENTITY, _SPECIFIED}:
            text = "SecurityRequestType(321) must be 0, 1 or 3"
            self._no_definition(session, message, _REFUSED, text)
        elif number is None:
            self._no_definition(session, message, _NO_MATCH, "unknown symbol")
        else:
            self._define(session, message, (self._symbols.definitions[number],))

    def _define(self, session: "FixSession", message: Message, symbols: tuple[Symbol, ...]) -> None:
        messages = self._definitions(session.version, message, symbols)
        self._answers.begin(session, message.seq_num or 0, messages)

    def _no_definition(
        self, session: "FixSession", message: Message, response: bytes, text: str
    ) -> None:
        fields = [
            *_ids(message),
            (323, response),
            (393, b"0"),
            *echo(message, 55),
            (58, text_of(text)),
        ]
        answer(session, message, "d", fields)

    def _definitions(
        self, version: Version, message: Message, symbols: tuple[Symbol, ...]
    ) -> Iterator[tuple[str, Fields]]:
        """Yield a SecurityDefinition for each symbol."""
        route = route_of_answer(version, message)
        definition = dictionary(version).messages["d"]
        is_list = message.get(321) == _LIST
        lists = _IN_A_LIST in dictionary(version).enumerations[323]
        response = _IN_A_LIST if is_list and lists else _ACCEPTED
        for number, symbol in enumerate(symbols, 1):
            facts = facts_of(symbol)
            fields = [
                (320, echo(message, 320)[0][1]),
                (322, b"%b-%d" % (echo(message, 320)[0][1], number)),
                (323, response),
                (393, b"%d" % len(symbols)),
                *facts.items(),
            ]
            body = fitting(version, "d", fields)
            segment = definition.groups.get(_NO_MARKET_SEGMENTS)
            if segment is not None:
                market = {_MARKET_ID: self._market, **facts}
                known = {tag for tag, _ in body}
                body.append((_NO_MARKET_SEGMENTS, b"1"))
                body += [
                    (tag, market[tag])
                    for tag in segment.members
                    if tag in market and tag not in known
                ]
            yield "d", [*route, *body]


def _ids(message: Message) -> Fields:
    """Return SecurityReqID(320) of the request and SecurityResponseID(322)."""
    given = echo(message, 320)
    return [*given, *((322, value) for _, value in given)]


def facts_of(symbol: Symbol) -> dict[int, bytes]:
    """Return what FIX has tags for: MinPriceIncrement, RoundLot, limits of quantity and price."""
    facts = {
        55: symbol.name.encode(),
        969: symbol.tick.encode(),
        561: symbol.lot.encode(),
        562: _times(symbol.min_qty_lots, symbol.lot),
        1140: _times(symbol.max_qty_lots, symbol.lot),
        1148: _times(symbol.min_price_ticks, symbol.tick),
        1149: _times(symbol.max_price_ticks, symbol.tick),
    }
    return {tag: value for tag, value in facts.items() if tag == 55 or _is_number(value)}


def _is_number(value: bytes) -> bool:
    """Tell whether FIX takes it: a limit that nobody set may have more digits."""
    return sum(48 <= byte <= 57 for byte in value) <= _DIGITS_MAX


def _times(count: int, unit: str) -> bytes:
    """Return count × unit as decimal text."""
    mantissa, scale = decimal_parts(unit)
    total = count * mantissa
    digits = str(abs(total)).rjust(scale + 1, "0")
    whole, fraction = digits[: len(digits) - scale], digits[len(digits) - scale :]
    text = f"{whole}.{fraction}" if fraction else whole
    return f"{'-' if total < 0 else ''}{text}".encode()
