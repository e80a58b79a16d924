"""Random damage to FIX sessions over real sockets, in several versions, while others trade.

Each damaged message is judged by the plain-Python decoder as well: what the venue made of it must
agree. `make fuzz` sends many more.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from oracle.fix_decoder import decode
from support.bystander import Bystander
from support.fix_fuzz import mutate
from support.fix_socket import FuzzPeer
from support.peers import Closed, FixReport
from support.venue import Venue

from openoutcry.protocol.fix.dictionary import Dictionary
from openoutcry.protocol.fix.layouts import GARBLED, ORDER, PARTIAL, REJECT
from openoutcry.protocol.fix.versions import Version

VERSIONS = [Version.FIX41, Version.FIX42, Version.FIX44, Version.FIX50SP2]
#: A long run's messages by that of a usual one.
SCALE = max(1, settings().max_examples // 1000)
MESSAGES = 150 * SCALE
BYSTANDER = "FUZZ-BYSTANDER"


@pytest.fixture(scope="module")
def bystander(shared_venue: Venue) -> Iterator[Bystander]:
    """One for all tests of this module."""
    with Bystander(shared_venue, shared_venue.take_symbol(), BYSTANDER) as bystander:
        yield bystander
    assert bystander.slowest_s < 5


@pytest.fixture(params=VERSIONS, ids=lambda version: version.label)
def client(
    request: pytest.FixtureRequest,
    venue: Venue,
    symbol: str,
    comp_id: str,
    bystander: Bystander,
) -> Iterator[FuzzPeer]:
    """A session of its own; others trade before and after, and while it does what it does."""
    bystander.check()
    secrets = (BYSTANDER, bystander._symbol)
    client = FuzzPeer(venue.port("fix"), f"{comp_id}-{request.param.name}", request.param, secrets)
    yield client
    # Whatever was: with new numbers, orders are taken.
    client.reset()
    client.peer.raw(client.frame("D", client.order("LAST", symbol), seq=client.next_out))
    answer = client.receive()
    assert answer.pick(35, 11, 39) == ["8", "LAST", "0"], answer
    client.close()
    bystander.check()


def is_answer(answer: FixReport, cl_ord_id: str, number: int) -> bool:
    """Tell whether a message answers an order or request."""
    if answer.kind in "89":
        return answer.get(11) == cl_ord_id
    return answer.kind in "3j" and answer.get(45) == str(number)


def is_nothing(data: bytes, facts: Dictionary) -> bool:
    """Tell whether no whole message is among some bytes."""
    while data:
        verdict = decode(data, facts=facts)
        if verdict.status == PARTIAL:
            return True
        if verdict.status != GARBLED:
            return False
        data = data[verdict.frame_end :]
    return True


def test_fuzz_mutated_messages_get_the_answer_that_is_due(client: FuzzPeer, symbol: str):
    rng = random.Random(11 + client.version)
    seen: Counter[str] = Counter()
    for _ in range(MESSAGES):
        good = client.random_message(rng, symbol)
        data = mutate(rng, good)
        verdict = decode(data, facts=client.facts)
        is_own_number = verdict.values.get("seq_num") == client.next_out
        is_whole = verdict.status != PARTIAL and verdict.frame_end == len(data)
        number = client.next_out
        client.peer.raw(data)
        if not is_whole:
            # The rest of it may be part of what comes next.
            if is_nothing(data, client.facts):
                client.reconnect()
            else:
                client.reset()
            seen["cut"] += 1
            continue
        came, end = client.settle()
        told = (verdict, data, [answer.message.frame for answer in came])
        rejects = [answer for answer in came if answer.pick(35, 45) == ["3", str(number)]]
        if verdict.status == GARBLED:
            assert (rejects, end) == ([], "missed"), told
            client.fill()
        elif end == "closed":
            # Never without a word.
            assert came, told
            assert came[-1].kind == "5", told
            client.reset()
        elif verdict.status == REJECT and is_own_number:
            assert end == "taken", told
            assert len(rejects) == 1, told
            tag = verdict.values["ref_tag"]
            if tag and client.version >= Version.FIX42:
                assert rejects[0].get(371) == str(tag), told
        elif verdict.status == ORDER and is_own_number:
            assert end == "taken", told
            name = verdict.values["cl_ord_id"].decode()
            # The book answers later than the session.
            while not any(is_answer(answer, name, number) for answer in came):
                came.append(client.receive())
        elif end != "taken":
            # It had a number of its own, which waits now, or moved the numbers.
            client.reset()
        seen[f"{verdict.status} {end}"] += 1
    assert seen["cut"] > 3, seen
    assert sum(seen[f"{status} taken"] for status in (ORDER, REJECT)) > MESSAGES // 4, seen
    assert seen[f"{GARBLED} missed"] > 3, seen


def test_fuzz_a_message_cut_at_every_position_comes_whole(client: FuzzPeer, symbol: str):
    size = len(client.frame("D", client.order("C000", symbol), seq=client.next_out))
    for place in range(1, size):
        data = client.frame("D", client.order(f"C{place:03}", symbol), seq=client.next_out)
        client.peer.raw(data[:place])
        client.peer.raw(data[place:])
        client.next_out += 1
        assert client.receive().pick(35, 11, 39) == ["8", f"C{place:03}", "0"]


def test_fuzz_a_message_cut_for_good_never_was(client: FuzzPeer, symbol: str):
    size = len(client.frame("D", client.order("C000", symbol), seq=client.next_out))
    for place in range(1, size, 1 if SCALE > 1 else 5):
        data = client.frame("D", client.order(f"C{place:03}", symbol), seq=client.next_out)
        client.peer.raw(data[:place])
        # The Logon takes the number that the message would have had.
        client.reconnect()
        client.peer.raw(client.frame("H", f"11=C{place:03}|55={symbol}|54=1|", seq=client.next_out))
        client.next_out += 1
        assert client.receive().pick(35, 11, 39) == ["8", f"C{place:03}", "8"]


def test_fuzz_reordered_and_repeated_messages_are_taken_once_in_order(
    client: FuzzPeer, symbol: str
):
    rng = random.Random(5 + client.version)
    for turn in range(10 * SCALE):
        first = client.next_out
        names = {number: f"R{turn}-{number}" for number in range(first, first + 8)}
        stamp = client.peer.frame("0").split(b"\x0152=")[1].split(b"\x01")[0].decode()
        sends = [(number, "") for number in names]
        sends += [(number, f"43=Y|122={stamp}|") for number in rng.choices(list(names), k=4)]
        rng.shuffle(sends)
        arrived: set[int] = set()
        data = b""
        for number, extra in sends:
            # Too low without PossDupFlag would be the end of the session.
            is_late = arrived.issuperset(range(first, number + 1))
            flag = f"43=Y|122={stamp}|" if is_late else extra
            data += client.frame("D", client.order(names[number], symbol), seq=number, extra=flag)
            arrived.add(number)
        client.peer.raw(data)
        client.next_out = first + 8
        answers: list[list[str | None]] = []
        while len(answers) < len(names):
            answer = client.receive()
            if answer.kind != "2":
                answers.append(answer.pick(35, 11, 39))
        assert answers == [["8", name, "0"] for name in names.values()]


def drain(client: FuzzPeer) -> int:
    """Take what comes until nothing does; begin anew where that was the end. Return how much."""
    count = 0
    while True:
        try:
            client.receive(0.03)
            count += 1
        except TimeoutError:
            return count
        except Closed:
            client.reset()
            return count


def test_fuzz_two_sessions_in_one_book_see_only_their_own(client: FuzzPeer, symbol: str):
    rng = random.Random(17 + client.version)
    name = f"{client.comp_id}-OTHER"
    client.others = (*client.others, name.encode())
    other = FuzzPeer(client.port, name, client.version, (BYSTANDER, f"{client.comp_id}.O"))
    came = 0
    for _ in range(10 * SCALE):
        for each in (client, other):
            data = b""
            for number in range(20):
                good = each.random_message(rng, symbol, f"{each.comp_id}.O{number}")
                data += mutate(rng, good) if rng.random() < 0.3 else good
                each.next_out += 1
            places = sorted(rng.choices(range(len(data)), k=rng.randrange(6)))
            for first, last in zip([0, *places], [*places, len(data)], strict=True):
                with contextlib.suppress(Closed):
                    each.peer.raw(data[first:last])
        for each in (client, other):
            came += drain(each)
            each.reset()
    other.close()
    assert came > 100 * SCALE
