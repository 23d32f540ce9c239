"""The host's word on a payment, the same in every process: nodes, worker and upkeep."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig

REJECTED = 5


class HostConfig(AppConfig):
    name = "tests.cluster"

    def ready(self) -> None:
        from tests.shop.models import Booking

        Booking.on_payment_completed = decide  # type: ignore[attr-defined]


def decide(_booking: object, payment: Any) -> None:
    """Accept most; who is asked again after that fails, since each ticket's code is unique."""
    from octo_stripe_gateway.exceptions import PaymentRejectedError
    from tests.shop.models import Ticket

    Ticket.objects.create(code=payment.uuid.hex[:20])
    if payment.uuid.int % REJECTED == 0:
        raise PaymentRejectedError("The tour is full.")
