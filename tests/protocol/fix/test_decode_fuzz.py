"""The decode kernel on random input: the plain-Python decoder must say the same."""

import random
from decimal import Decimal

import pytest
import simplefix
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.fix_decoder import decode
from support.fix import FACTS, run_kernel, seal
from support.fix_fuzz import mutate, random_order

from openoutcry.protocol.fix.layouts import ORDER, OTHER
from openoutcry.protocol.fix.versions import Version


@pytest.mark.parametrize("profile", range(len(FACTS)))
@given(st.randoms(use_true_random=False))
def test_random_orders_equal_the_oracle_and_simplefix(profile, rng):
    data = random_order(rng, FACTS[profile])
    got = run_kernel(data, profile=profile)
    assert got == decode(data, facts=FACTS[profile])
    if got.status == OTHER:
        # Only with a custom field is a good order left to Python.
        assert FACTS[profile].custom_tags
        return
    assert got.status == ORDER
    parser = simplefix.FixParser()
    parser.append_buffer(data)
    message = parser.get_message()
    for tag, name in ((11, "cl_ord_id"), (41, "orig_cl_ord_id"), (55, "symbol"), (1, "account")):
        assert got.values[name] == (message.get(tag) or b"")
    assert got.values["seq_num"] == int(message.get(34))
    assert got.values["price"] == Decimal((message.get(44) or b"0").decode())


@given(st.binary(max_size=200), st.sampled_from("DFGH"), st.sampled_from(range(len(FACTS))))
def test_any_body_equals_the_oracle(body, msg_type, profile):
    begin = FACTS[profile].version.begin_string.encode()
    data = seal(b"35=%b\x01%b\x01" % (msg_type.encode(), body), begin)
    assert run_kernel(data, profile=profile) == decode(data, facts=FACTS[profile])


@given(st.binary(max_size=120))
def test_any_bytes_equal_the_oracle(data):
    assert run_kernel(data) == decode(data)
    data = b"8=FIX.4.4\x019=" + data
    assert run_kernel(data) == decode(data)


@pytest.mark.parametrize("profile", range(len(FACTS)))
def test_mutated_messages_equal_the_oracle(profile):
    rng = random.Random(20240808 + profile)
    facts = FACTS[profile]
    share = 15 if profile == Version.FIX44 else 3
    for _ in range(share * settings().max_examples):
        data = mutate(rng, random_order(rng, facts))
        assert run_kernel(data, profile=profile) == decode(data, facts=facts), data
