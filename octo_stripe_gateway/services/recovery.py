"""After a failover or a restored backup: no id that was given out is given out again."""

from __future__ import annotations

import datetime as dt

from django.db import connections
from django.utils import timezone

from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.models import Installation, Payment


def begin_recovery(*, since: dt.datetime, leap: int) -> int:
    """Record that what was written since then may be lost, and return the id that payments go on from.

    Ids leap, so that an id which a client still has never names another payment. For a day from now, a create
    or refund with a key is looked for at Stripe first. Raises ConfigurationError if the database can't leap.
    """
    connection = connections[Payment.ledger.database]
    table, key = Payment._meta.db_table, str(Payment._meta.pk.column)
    with write_transaction():
        installation = Installation.ledger.get_own()
        installation.lost_since, installation.recovered_at = since, timezone.now()
        Installation.ledger.save_changed(installation, names=["lost_since", "recovered_at"])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT COALESCE(MAX({key}), 0) FROM {table}")  # noqa: S608 - our own names
            largest = cursor.fetchone()[0]
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, key])
                sequence = cursor.fetchone()[0]
                cursor.execute(
                    "SELECT setval(%s, GREATEST(nextval(%s), %s) + %s)", [sequence, sequence, largest, leap]
                )
            elif connection.vendor == "sqlite":
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s RETURNING seq", [table])
                last = max(largest, *(row[0] for row in cursor.fetchall()), 0) + leap
                cursor.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s) RETURNING seq", [table, last]
                )
            else:
                raise ConfigurationError(f"Ids can't leap in {connection.display_name}.")
            return int(cursor.fetchone()[0]) + 1
