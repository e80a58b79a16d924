"""Random FIX orders, and random damage to them, from a seeded generator."""

import random
from collections.abc import Callable

from support.fix import BODY, HEADER, seal, to_bytes

from openoutcry.protocol.fix.dictionary import Dictionary, dictionary
from openoutcry.protocol.fix.versions import Version

_FIX44 = dictionary(Version.FIX44)

_PRINTABLE = "".join(chr(c) for c in range(0x21, 0x7F))
_ODD_VALUES = [
    "", "0", "1", "2", "-1", "+1", "1.5", ".5", "5.", ".", "1e3", "Y", "N", "D", "F", "\x00", "A B",
    "9" * 18, "9" * 19, "0" * 30, "x" * 36, "x" * 37, "20240808-12:34:56", "20240230-12:34:56",
    "20240808-12:34:60.123456789", "20240808", "10=000", "=", "\xff\xfe", "8=FIX.4.4",
]  # fmt: skip
_ODD_TAGS = [
    0,
    8,
    9,
    10,
    35,
    34,
    43,
    58,
    95,
    96,
    97,
    115,
    354,
    453,
    957,
    1023,
    1024,
    1128,
    1724,
    4999,
    5000,
    5001,
    6000,
    9000,
    40004,
    43111,
    50002,
]
_ODD_FIELDS = ["x", "", "=", "=1", "058=1", "123456789=1", "12345678=1", "5\x00=1", "-1=1"]
_TAGS = [
    125,
    1,
    11,
    15,
    21,
    34,
    37,
    38,
    40,
    41,
    44,
    49,
    50,
    52,
    54,
    55,
    56,
    57,
    58,
    59,
    60,
    100,
    207,
]


def _text(rng: random.Random, most: int) -> str:
    return "".join(rng.choices(_PRINTABLE, k=rng.randint(1, most))).replace("|", "!")


def _decimal(rng: random.Random) -> str:
    digits = str(rng.randrange(10 ** rng.randint(1, 18)))
    point = rng.randint(0, len(digits))
    return rng.choice(["", "-", "00"[: 18 - len(digits)]]) + rng.choice(
        [digits, f"{digits[:point]}.{digits[point:]}"]
    )


def _time(rng: random.Random) -> str:
    decimals = rng.choice(["", ".123", ".123456", ".123456789"])
    return (
        f"{rng.randint(1, 9999):04}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
        f"-{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 60):02}{decimals}"
    )


def random_order(rng: random.Random, facts: Dictionary = _FIX44) -> bytes:
    """Return a D, F, G or H that a version takes, with its fields in any order that FIX allows."""
    msg_type = rng.choice("DDDFGH")
    definition = facts.messages[msg_type]
    header = [
        f"49={_text(rng, 12)}",
        f"56={_text(rng, 12)}",
        f"34={rng.randrange(10 ** rng.randint(1, 18))}",
        f"52={_time(rng)}",
    ]
    if rng.random() < 0.3:
        header.append(f"50={_text(rng, 5)}")

    def code(tag: int) -> str:
        return rng.choice(sorted(facts.enumerations[tag])).decode()

    is_whole = facts.version <= Version.FIX41
    values = {
        11: _text(rng, 36),
        55: _text(rng, 30),
        54: code(54),
        41: _text(rng, 36),
        37: _text(rng, 20),
        60: _time(rng),
        38: str(rng.randrange(10**6)) if is_whole else _decimal(rng),
        40: code(40),
        44: _decimal(rng),
        59: code(59),
        21: code(21),
        58: _text(rng, 40),
        15: _text(rng, 3),
        1: _text(rng, 40),
        125: "F",
    }
    needed = {11, 41, 54, 55, *definition.required, *({38} if msg_type in "DG" else ())}
    body = [
        f"{tag}={value}"
        for tag, value in values.items()
        if tag in definition.allowed and (tag in needed or rng.random() < 0.5)
    ]
    if rng.random() < 0.2:
        body.append(f"{rng.randint(50_003, 9_999_999)}={_text(rng, 10)}")
    rng.shuffle(header)
    rng.shuffle(body)
    begin = facts.version.begin_string.encode()
    return seal(to_bytes("|".join([f"35={msg_type}", *header, *body]) + "|"), begin)


def _body_of(data: bytes) -> bytes:
    return data[data.find(b"35=") : -7]


def _byte(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data))
    char = rng.choice([0, 1, 2, 10, 32, 45, 46, 48, 57, 61, 127, 128, 255, rng.randrange(256)])
    return data[:place] + bytes([char]) + data[place + 1 :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randint(1, 12)) + data[place:]


def _delete(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.randint(1, 12) :]


def _fields(change: Callable[[random.Random, list[str]], None]) -> Callable[..., bytes]:
    """Make a damage of the fields behind 35 a damage of the body."""

    def damage(rng: random.Random, body: bytes) -> bytes:
        first, *fields = body.decode("latin-1")[:-1].split("\x01")
        change(rng, fields)
        return "".join(f"{field}\x01" for field in [first, *fields]).encode("latin-1")

    return damage


def _drop(rng: random.Random, fields: list[str]) -> None:
    if fields:
        del fields[rng.randrange(len(fields))]


def _repeat(rng: random.Random, fields: list[str]) -> None:
    if fields:
        fields.insert(rng.randint(0, len(fields)), rng.choice(fields))


def _swap(rng: random.Random, fields: list[str]) -> None:
    if fields:
        fields.insert(rng.randrange(len(fields)), fields.pop(rng.randrange(len(fields))))


def _change(rng: random.Random, fields: list[str]) -> None:
    if fields:
        place = rng.randrange(len(fields))
        fields[place] = fields[place].partition("=")[0] + "=" + rng.choice(_ODD_VALUES)


def _add(rng: random.Random, fields: list[str]) -> None:
    tag = rng.choice([rng.choice(_ODD_TAGS), rng.choice(_TAGS), rng.randrange(1100)])
    new = rng.choice([f"{tag}={rng.choice(_ODD_VALUES)}", rng.choice(_ODD_FIELDS)])
    fields.insert(rng.randint(0, len(fields)), new)


def _take_good(rng: random.Random, fields: list[str]) -> None:
    fields.extend(rng.sample((HEADER + BODY).split("|")[:-1], 3))


_BODY_DAMAGES = [
    _byte,
    _insert,
    _delete,
    *map(_fields, (_drop, _repeat, _swap, _change, _change, _add, _add, _take_good)),
]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Damage a frame: its body under a right BodyLength and CheckSum, or its bytes as they are."""
    if rng.random() < 0.75:
        begin = data[2 : data.index(1)]
        body = _body_of(data)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            body = rng.choice(_BODY_DAMAGES)(rng, body)
        return seal(body, rng.choice([begin] * 20 + [b"FIX.4.2"]))
    for _ in range(rng.choice([1, 1, 2, 4])):
        data = rng.choice([_byte, _insert, _delete])(rng, data) or b"8"
    return data[: rng.randint(0, len(data))] if rng.random() < 0.2 else data
