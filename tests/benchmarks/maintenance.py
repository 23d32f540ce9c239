"""How long one `maintain_payments` takes for many pending payments while Stripe takes its time.

`python -m tests.benchmarks.maintenance` has 100,000 of them, a week's, and 200 ms a call.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
import time
from typing import Any

from rich.console import Console

from tests.benchmarks.servers import Upstream, run_database, run_upstream

WANTED = 100_000
MOST_SECONDS = 600
WEEK = 7 * 24 * 3600
FIRST_CHECK = dt.timedelta(minutes=10)


def main() -> None:
    options = parse_options()
    console = Console(width=110)
    with run_database() as database, run_upstream() as upstream:
        os.environ |= {
            "DATABASE_URL": database,
            "BENCHMARK_UPSTREAM": upstream.url,
            "BENCHMARK_CA": upstream.authority,
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        }
        set_up_database()
        make_pending(options.payments, upstream=upstream)
        upstream.set_delay(options.delay)
        seconds, processor, done = run(options)
    rate = sum(done["payments"].values()) / seconds
    outcomes = f"payments {done['payments']}, books {done['books']}"
    console.print(f"{outcomes} in {seconds:.1f} s, {processor:.1f} s of them at work here")
    console.print(f"{rate:,.0f} payments a second; at that rate {WANTED:,} take {WANTED / rate:,.0f} s")
    sys.exit(0 if WANTED / rate <= MOST_SECONDS else 1)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.maintenance", description=__doc__)
    parser.add_argument("--payments", type=int, default=WANTED)
    parser.add_argument("--delay", type=int, default=200, help="milliseconds that Stripe takes for a call")
    parser.add_argument("--threads", type=int, default=0, help="the command's own number where not given")
    return parser.parse_args()


def set_up_database() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def make_pending(count: int, *, upstream: Upstream) -> None:
    """Write pending payments of the last week that are all due; one in twenty is paid at Stripe."""
    from django.db import connection

    from octo_stripe_gateway.models import Payment

    step = WEEK // WANTED
    first = int(time.time()) - 3600 - count * step
    upstream.list_intents(count, first=first, step=step)
    moments = [dt.datetime.fromtimestamp(first + number * step, tz=dt.UTC) for number in range(count)]
    payments = [
        Payment(
            amount=2000,
            currency="usd",
            stripe_payment_intent_id=f"pi_listed_{number}",
            intent_status="requires_payment_method",
            intent_as_of=first + number * step,
            next_check_at=moment + FIRST_CHECK,
        )
        for number, moment in enumerate(moments)
    ]
    made = Payment.objects.bulk_create(payments, batch_size=2000)
    with connection.cursor() as cursor:
        # `auto_now_add` ignores a moment that is given.
        cursor.execute(
            f"UPDATE {Payment._meta.db_table} SET created_at = to_timestamp(%s + (id - %s) * %s)",
            [first, made[0].pk, step],
        )
        cursor.execute(f"VACUUM ANALYZE {Payment._meta.db_table}")


def run(options: argparse.Namespace) -> tuple[float, float, Any]:
    """Return a run's wall-clock seconds, its processor seconds in this process, and what it did."""
    from octo_stripe_gateway.upkeep import run_upkeep

    began, processor = time.monotonic(), time.process_time()
    done = run_upkeep(limit=options.payments, threads=options.threads)
    return time.monotonic() - began, time.process_time() - processor, done


if __name__ == "__main__":
    main()
