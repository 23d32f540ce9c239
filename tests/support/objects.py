"""Stripe's objects and events as JSON, for cases that the emulator never produces."""

from __future__ import annotations

import itertools
from typing import Any

from django.db.models import Model

from octo_stripe_gateway.models import Installation, Payment
from octo_stripe_gateway.services.provenance import describe_payment

SECOND = 1_800_000_000
numbers = itertools.count(1)


def make_intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "created": SECOND,
        "amount": 2000,
        "amount_received": 0,
        "amount_capturable": 0,
        "currency": "usd",
        "livemode": False,
        "status": "requires_payment_method",
        "latest_charge": None,
        "last_payment_error": None,
        "metadata": {},
        **changes,
    }


def make_paid_intent(**changes: Any) -> dict[str, Any]:
    paid = {"status": "succeeded", "amount_received": 2000, "latest_charge": "ch_1"}
    return make_intent(**paid | changes)


def make_declined_intent(code: str = "card_declined", **changes: Any) -> dict[str, Any]:
    return make_intent(last_payment_error={"code": code, "message": "Declined."}, **changes)


def make_charge(**changes: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "created": SECOND,
        "currency": "usd",
        "livemode": False,
        "amount_refunded": 0,
        "payment_intent": "pi_1",
        **changes,
    }


def make_refund(**changes: Any) -> dict[str, Any]:
    return {
        "id": "re_1",
        "object": "refund",
        "created": SECOND,
        "amount": 500,
        "currency": "usd",
        "status": "succeeded",
        "payment_intent": "pi_1",
        "charge": "ch_1",
        "metadata": {},
        **changes,
    }


def make_dispute(**changes: Any) -> dict[str, Any]:
    return {
        "id": "dp_1",
        "object": "dispute",
        "created": SECOND,
        "amount": 500,
        "currency": "usd",
        "livemode": False,
        "status": "needs_response",
        "payment_intent": "pi_1",
        **changes,
    }


def make_fraud_warning(**changes: Any) -> dict[str, Any]:
    return {
        "id": "issfr_1",
        "object": "radar.early_fraud_warning",
        "created": SECOND,
        "actionable": True,
        "charge": "ch_1",
        "fraud_type": "unauthorized_use_of_card",
        "livemode": False,
        "payment_intent": "pi_1",
        **changes,
    }


def make_event(event_type: str, stripe_object: Any, /, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{next(numbers)}",
        "object": "event",
        "created": SECOND,
        "livemode": False,
        "type": event_type,
        "data": {"object": stripe_object},
        **changes,
    }


def read_rows(model: type[Model]) -> list[tuple[Any, ...]]:
    """Return every column of every row."""
    names = [field.attname for field in model._meta.concrete_fields]
    return list(model._default_manager.order_by("pk").values_list(*names))


def make_payment(**columns: Any) -> Payment:
    return Payment(**{"amount": 2000, "currency": "usd", "stripe_payment_intent_id": "pi_1"} | columns)


def sign(payment: Payment) -> dict[str, str]:
    """Return the metadata that a payment's intent has, signed by this installation."""
    return describe_payment(payment, installation=Installation.ledger.get_own())
