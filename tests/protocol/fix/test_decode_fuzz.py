"""The decode kernel on random input: the plain-Python decoder must say the same."""

import random
from decimal import Decimal

import simplefix
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.fix_decoder import decode
from support.fix import run_kernel, seal
from support.fix_fuzz import mutate, random_order

from openoutcry.protocol.fix.layouts import ORDER


@given(st.randoms(use_true_random=False))
def test_random_orders_equal_the_oracle_and_simplefix(rng):
    data = random_order(rng)
    got = run_kernel(data)
    assert got == decode(data)
    assert got.status == ORDER
    parser = simplefix.FixParser()
    parser.append_buffer(data)
    message = parser.get_message()
    for tag, name in ((11, "cl_ord_id"), (41, "orig_cl_ord_id"), (55, "symbol"), (1, "account")):
        assert got.values[name] == (message.get(tag) or b"")
    assert got.values["seq_num"] == int(message.get(34))
    assert got.values["price"] == Decimal((message.get(44) or b"0").decode())


@given(st.binary(max_size=200))
def test_any_body_equals_the_oracle(body):
    data = seal(b"35=D\x01" + body + b"\x01")
    assert run_kernel(data) == decode(data)


@given(st.binary(max_size=120))
def test_any_bytes_equal_the_oracle(data):
    assert run_kernel(data) == decode(data)
    data = b"8=FIX.4.4\x019=" + data
    assert run_kernel(data) == decode(data)


def test_mutated_messages_equal_the_oracle():
    rng = random.Random(20240808)
    for _ in range(30 * settings().max_examples):
        data = mutate(rng, random_order(rng))
        assert run_kernel(data) == decode(data), data
