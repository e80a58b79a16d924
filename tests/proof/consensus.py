"""The engine's reports against the published consensus of three other engines: `make proof`."""

import sys
import time

from oracle.consensus import PUBLISHED, report_hash


def main() -> int:
    """Compare all five scenarios; return 1 if one differs."""
    is_equal = True
    for scenario, published in PUBLISHED.items():
        started = time.perf_counter()
        found = report_hash(scenario)
        is_equal &= found == published
        verdict = "as published" if found == published else f"NOT as published ({published})"
        print(f"{scenario:12} {found} {verdict}, {time.perf_counter() - started:.1f} s", flush=True)
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
