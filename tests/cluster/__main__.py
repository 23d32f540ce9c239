"""`python -m tests.cluster [--times N] [--purchases N] [--queue NAME] [SCENARIO …]`."""

from __future__ import annotations

import argparse
import os
import sys

from tests.cluster.parts import list_missing, run_cluster
from tests.cluster.queues import QUEUES


def main() -> int:
    """Run the scenarios, each in a cluster of its own, and say what was counted."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which (all)")
    parser.add_argument("--times", type=int, default=1, help="how often each (1)")
    parser.add_argument("--purchases", type=int, default=60, help="how many purchases each time (60)")
    parser.add_argument("--queue", choices=QUEUES, default="rq", help="how a worker is called (rq)")
    options = parser.parse_args()
    if missing := list_missing(options.queue):
        sys.stdout.write(f"left out: {', '.join(missing)} not installed\n")
        return 0
    with run_cluster(queue=options.queue) as cluster:
        os.environ |= cluster.get_environment() | {"CLUSTER_DATABASE": "POOL"}
        from tests.cluster import host

        assert host.application
        from tests.cluster.scenarios import SCENARIOS, Shop

        shop = Shop(cluster)
        with shop.stripe:
            for name in options.scenarios or SCENARIOS:
                for _each in range(options.times):
                    sys.stdout.write(f"{name}: {shop.run(SCENARIOS[name], purchases=options.purchases)}\n")
                    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
