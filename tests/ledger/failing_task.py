"""A task of a host's, which needs the table of tickets."""

from __future__ import annotations

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task  # type: ignore[no-redef]

from tests.shop.models import Ticket


@task()
def take_seat(code: str) -> None:
    """Fail where the seat is taken."""
    Ticket.objects.create(code=code)
