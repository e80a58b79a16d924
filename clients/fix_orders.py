"""The bodies of an order's messages, in the form that each version of FIX requires."""

import re
from decimal import Decimal
from typing import TypeAlias

from openoutcry.clients.fix_reports import OrdType, Side, TimeInForce
from openoutcry.protocol.fix.dictionary import Dictionary

#: What a price or quantity may be given as. Not a float: 0.1 is not a tenth.
Number: TypeAlias = Decimal | str | int

#: A body as pairs of tag and text.
Body: TypeAlias = list[tuple[int, str]]

_TEXT = re.compile(r"[!-~]+\Z")
_CL_ORD_ID = re.compile(r"[!-~]{1,36}\Z")
_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z")

#: HandlInst(21): automated, no intervention. Required up to FIX 4.3.
_AUTOMATED = "1"
#: MassCancelRequestType(530) and MassStatusReqType(585).
_OF_SECURITY, _ALL = "1", "7"
#: CxlType(125): the full rest. FIX 4.0 only.
_FULL = "F"


class OrderForms:
    """Bodies of requests for one version; `transact_time` is TransactTime(60) as text."""

    def __init__(self, facts: Dictionary) -> None:
        self._facts = facts

    def new_order(
        self,
        cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number,
        price: Number | None,
        tif: TimeInForce,
        account: str,
        transact_time: str,
    ) -> Body:
        """Return a NewOrderSingle(D), for a market order where there is no price.

        Raises:
            ValueError: A text or number cannot be sent.
        """
        fields = [(11, cl_ord_id)]
        if account:
            fields.append((1, text_of(account, "account")))
        fields += [(21, _AUTOMATED), (55, text_of(symbol, "symbol")), (54, side)]
        fields += [(60, transact_time), (38, number_of(qty)), *_price(price), (59, tif)]
        return self._fit("D", fields)

    def cancel(
        self,
        orig_cl_ord_id: str,
        cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number | None,
        transact_time: str,
    ) -> Body:
        """Return an OrderCancelRequest(F).

        Raises:
            ValueError: A text or number cannot be sent, or the version wants OrderQty(38).
        """
        fields = [(41, text_of(orig_cl_ord_id, "orig_cl_ord_id")), (11, cl_ord_id), (125, _FULL)]
        fields += [(55, text_of(symbol, "symbol")), (54, side), (60, transact_time)]
        if qty is not None:
            fields.append((38, number_of(qty)))
        elif 38 in self._facts.messages["F"].required:
            raise ValueError(f"a cancel under {self._facts.version.label} tells the order's qty")
        return self._fit("F", fields)

    def replace(
        self,
        orig_cl_ord_id: str,
        cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number,
        price: Number,
        transact_time: str,
    ) -> Body:
        """Return an OrderCancelReplaceRequest(G).

        Raises:
            ValueError: A text or number cannot be sent.
        """
        fields = [(41, text_of(orig_cl_ord_id, "orig_cl_ord_id")), (11, cl_ord_id)]
        fields += [(21, _AUTOMATED), (55, text_of(symbol, "symbol")), (54, side)]
        fields += [(60, transact_time), (38, number_of(qty)), *_price(price)]
        return self._fit("G", fields)

    def status(self, cl_ord_id: str, symbol: str, side: Side) -> Body:
        """Return an OrderStatusRequest(H).

        Raises:
            ValueError: A text cannot be sent.
        """
        return [
            (11, text_of(cl_ord_id, "cl_ord_id")),
            (55, text_of(symbol, "symbol")),
            (54, side),
        ]

    def mass_cancel(
        self, cl_ord_id: str, symbol: str | None, side: Side | None, transact_time: str
    ) -> Body:
        """Return an OrderMassCancelRequest(q).

        Raises:
            ValueError: A text cannot be sent, or the version has no such message.
        """
        return [(11, cl_ord_id), *self._scope("q", 530, symbol, side), (60, transact_time)]

    def mass_status(self, identifier: str, symbol: str | None, side: Side | None) -> Body:
        """Return an OrderMassStatusRequest(AF).

        Raises:
            ValueError: A text cannot be sent, or the version has no such message.
        """
        return [(584, identifier), *self._scope("AF", 585, symbol, side)]

    def _scope(self, msg_type: str, tag: int, symbol: str | None, side: Side | None) -> Body:
        if msg_type not in self._facts.messages:
            raise ValueError(f"{self._facts.version.label} has no message {msg_type}")
        fields: Body = [(tag, _ALL)]
        if symbol is not None:
            fields = [(tag, _OF_SECURITY), (55, text_of(symbol, "symbol"))]
        return fields if side is None else [*fields, (54, side)]

    def _fit(self, msg_type: str, fields: Body) -> Body:
        """Leave out what the version does not have, and what only older ones insist on."""
        definition = self._facts.messages[msg_type]
        optional = {21, 125} - set(definition.required)
        return [f for f in fields if f[0] in definition.allowed and f[0] not in optional]


def _price(price: Number | None) -> Body:
    if price is None:
        return [(40, OrdType.MARKET)]
    return [(40, OrdType.LIMIT), (44, number_of(price))]


def check_cl_ord_id(value: str) -> str:
    """Return a ClOrdID.

    Raises:
        ValueError: It is none.
    """
    if not _CL_ORD_ID.match(value):
        raise ValueError(f"ClOrdID {value!r}: 1 to 36 printable ASCII characters, no space")
    return value


def text_of(value: str, what: str) -> str:
    """Return a text that is one word.

    Raises:
        ValueError: It is none.
    """
    if not _TEXT.match(value):
        raise ValueError(f"{what} {value!r}: printable ASCII characters, no space")
    return value


def number_of(value: Number) -> str:
    """Return a number as decimal text.

    Raises:
        TypeError: It is a float.
        ValueError: It is no plain decimal number.
    """
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float: give a Decimal, a str or an int")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if not _NUMBER.match(text):
        raise ValueError(f"{value!r} is no decimal number")
    return text
