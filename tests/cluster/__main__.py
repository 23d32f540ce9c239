"""`python -m tests.cluster [--times N] [--purchases N] [--queue NAME] [SCENARIO …]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter

from tests.cluster.parts import list_missing, run_cluster
from tests.cluster.queues import QUEUES


def main() -> int:
    """Run the scenarios in one cluster, round after round until one fails, and say what was counted."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which (all)")
    parser.add_argument("--times", type=int, default=1, help="how many rounds of them (1)")
    parser.add_argument("--purchases", type=int, default=60, help="how many purchases each time (60)")
    parser.add_argument("--queue", choices=QUEUES, default="rq", help="how a worker is called (rq)")
    options = parser.parse_args()
    if missing := list_missing(options.queue):
        sys.stdout.write(f"left out: {', '.join(missing)} not installed\n")
        return 0
    # Asked to end, it takes its parts along.
    signal.signal(signal.SIGTERM, lambda *_args: sys.exit(1))
    with run_cluster(queue=options.queue) as cluster:
        os.environ |= cluster.get_environment() | {"CLUSTER_DATABASE": "POOL"}
        from tests.cluster import host

        assert host.application
        from tests.cluster.scenarios import SCENARIOS, Shop

        shop = Shop(cluster)
        passed = Counter(dict.fromkeys(options.scenarios or SCENARIOS, 0))
        try:
            with shop.stripe:
                for _each in range(options.times):
                    for name in passed:
                        told = shop.run(SCENARIOS[name], purchases=options.purchases)
                        passed[name] += 1
                        sys.stdout.write(f"{name}: {told}\n")
                        sys.stdout.flush()
        finally:
            for name, number in passed.items():
                sys.stdout.write(f"{name:24} passed {number} of {options.times}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
