"""Fuzz the FIX decode kernel against the plain-Python decoder for longer than the test suite does.

Run `python tests/fuzz/fuzz_fix.py --iterations 1000000 --seconds 60 --seed 1`. Every profile of
support.fix has its turn. It prints how often each status came, and stops at the first difference
with status 1 and the bytes.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracle.fix_decoder import decode
from support.fix import FACTS, run_kernel
from support.fix_fuzz import mutate, random_order

STATUSES = ("PARTIAL", "ORDER", "OTHER", "REJECT", "GARBLED")


def main() -> int:
    """Run until a difference, the count or the time is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    stop_at = time.monotonic() + options.seconds
    seen: Counter[str] = Counter()
    while seen.total() < options.iterations and time.monotonic() < stop_at:
        profile = rng.randrange(len(FACTS))
        facts = FACTS[profile]
        data = mutate(rng, random_order(rng, facts))
        got, expected = run_kernel(data, profile=profile), decode(data, facts=facts)
        if got != expected:
            print(
                f"seed {options.seed}, profile {profile}: {data!r}\nkernel {got}\noracle {expected}"
            )
            return 1
        seen[STATUSES[got.status]] += 1
    print(f"seed {options.seed}: {seen.total()} messages, no difference; {dict(seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
