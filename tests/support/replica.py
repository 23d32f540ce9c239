"""A read replica that catches up only when told to: a schema beside the tests' own."""

from __future__ import annotations

import copy
from typing import Any

from django.db import connection, connections

ALIAS = "replica"


class Replica:
    """Holds every table as it was when it last caught up; empty until then, except for content types."""

    def __init__(self) -> None:
        self.tables: list[str] = []

    def open(self) -> None:
        """Make the schema and the connection that sees nothing else."""
        settings = copy.deepcopy(connection.settings_dict)
        settings["OPTIONS"] = settings["OPTIONS"] | {"options": f"-c search_path={ALIAS}"}
        connections.settings[ALIAS] = settings
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {ALIAS}")
            self.tables = connection.introspection.table_names(cursor)
            for table in self.tables:
                cursor.execute(f"CREATE TABLE {ALIAS}.{table} (LIKE public.{table})")
        # A real replica has these long before the first payment: they come with the migrations.
        self.catch_up("django_content_type")
        # Connected now, because Django's tests refuse to connect to an unknown alias later.
        connections[ALIAS].connect()

    def catch_up(self, *tables: str) -> None:
        """Copy every row, of these tables or of all."""
        with connection.cursor() as cursor:
            for table in tables or self.tables:
                cursor.execute(f"TRUNCATE {ALIAS}.{table}")
                cursor.execute(f"INSERT INTO {ALIAS}.{table} SELECT * FROM public.{table}")

    def close(self) -> None:
        """Remove both."""
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.settings[ALIAS]
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {ALIAS} CASCADE")


class ReadsFromReplica:
    """A host's router: reads from the replica, writes to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return ALIAS

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, *rows: Any, **hints: Any) -> bool:
        return True
