"""Counts the SQL statements of a request, in this process and apart from the measured runs."""

from __future__ import annotations

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.benchmarks.cases import Work

TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


def count_statements(work: Work) -> str:
    """Return the number of statements of one request, and of transactions around them."""
    requests = work.prepare(2)
    # The first request fills the process's caches; a duplicate event repeats it.
    _send(requests[0])
    with CaptureQueriesContext(connection) as captured:
        _send(requests[0] if work.repeat else requests[1])
    texts = [str(query["sql"]) for query in captured.captured_queries]
    transactions = texts.count("BEGIN")
    statements = sum(not text.startswith(TRANSACTION) for text in texts)
    return f"{statements} + {transactions} tx" if transactions else str(statements)


def _send(request: bytes) -> None:
    head, _end, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _version = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    content_type = headers.pop("Content-Type", "application/octet-stream")
    headers.pop("Content-Length", None)
    answer = Client().generic(method, path, body, content_type=content_type, headers=headers)
    if answer.status_code >= 500:
        raise RuntimeError(answer.content.decode())
