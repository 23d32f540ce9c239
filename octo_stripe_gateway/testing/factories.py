"""Rows as a host's own tests need them: `PaymentFactory(paid=True)`. Needs factory-boy.

Nothing here asks Stripe. For a payment that Stripe has to know too, use the emulator.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any

from django.utils import timezone
from factory.declarations import (
    LazyAttribute,
    LazyFunction,
    RelatedFactory,
    SelfAttribute,
    SubFactory,
    Trait,
)
from factory.django import DjangoModelFactory

from octo_stripe_gateway.models import Concern, Payment, Refund, StripeRequest, WebhookEvent


def _make_id(prefix: str) -> Any:
    return LazyFunction(lambda: f"{prefix}_{secrets.token_hex(12)}")


def _get_since(row: Any) -> dt.datetime:
    return dt.datetime.fromtimestamp(row.intent_as_of, tz=dt.UTC)


def _get_payload(row: Any) -> dict[str, Any]:
    return {
        "id": row.stripe_event_id,
        "object": "event",
        "type": row.type,
        "created": row.payment.intent_as_of,
        "livemode": row.payment.livemode,
        "data": {"object": _get_intent(row.payment)},
    }


def _get_intent(payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.stripe_payment_intent_id,
        "object": "payment_intent",
        "amount": payment.amount,
        "amount_received": payment.amount_received,
        "amount_capturable": payment.amount_capturable,
        "currency": payment.currency,
        "livemode": payment.livemode,
        "status": payment.intent_status,
        "latest_charge": payment.stripe_charge_id or None,
        "metadata": {"octo_payment": str(payment.uuid)},
    }


class PaymentFactory(DjangoModelFactory[Payment]):
    """Makes a pending payment, or one with a trait: authorized, paid, failed, canceled, expired, refunded."""

    class Meta:
        model = Payment
        skip_postgeneration_save = True

    class Params:
        authorized = Trait(
            capture_method="manual",
            status="authorized",
            intent_status="requires_capture",
            amount_capturable=SelfAttribute("amount"),
            stripe_charge_id=_make_id("ch"),
        )
        paid = Trait(
            status="paid",
            intent_status="succeeded",
            amount_received=SelfAttribute("amount"),
            stripe_charge_id=_make_id("ch"),
            confirmed_at=LazyAttribute(_get_since),
            accepted_at=LazyAttribute(_get_since),
            next_check_at=None,
        )
        failed = Trait(
            status="failed",
            failure_code="generic_decline",
            failure_message="Your card was declined.",
            failed_at=LazyAttribute(_get_since),
        )
        canceled = Trait(
            status="canceled",
            intent_status="canceled",
            canceled_at=LazyAttribute(_get_since),
            next_check_at=None,
        )
        expired = Trait(canceled=True, status="expired", cancellation_reason="expired")
        refunded = Trait(
            paid=True,
            status="refunded",
            amount_refunded=SelfAttribute("amount"),
            refunded_at=LazyAttribute(_get_since),
            refund=RelatedFactory(
                "octo_stripe_gateway.testing.factories.RefundFactory",
                factory_related_name="payment",
                amount=SelfAttribute("..amount"),
            ),
        )

    amount = 2000
    currency = "usd"
    intent_amount = SelfAttribute("amount")
    amount_refunded = 0
    refunds_total = SelfAttribute("amount_refunded")
    disputed = False
    refunds_blocked = SelfAttribute("disputed")
    stripe_payment_intent_id = _make_id("pi")
    intent_status = "requires_payment_method"
    intent_as_of = LazyFunction(lambda: int(dt.datetime.now(tz=dt.UTC).timestamp()))


class RefundFactory(DjangoModelFactory[Refund]):
    """Makes a refund that Stripe has made; it does not change its payment's totals."""

    class Meta:
        model = Refund

    payment = SubFactory(PaymentFactory, paid=True)
    amount = SelfAttribute("payment.amount")
    status = "succeeded"
    stripe_refund_id = _make_id("re")


class ConcernFactory(DjangoModelFactory[Concern]):
    """Makes an open concern; with the trait `settled`, one that a person has settled."""

    class Meta:
        model = Concern

    class Params:
        settled = Trait(settled_at=LazyFunction(timezone.now), settled_by="operator", reason="paid in cash")

    payment = SubFactory(PaymentFactory, paid=True, has_concerns=True)
    code = "refund_failed"
    parameters = LazyFunction(lambda: {"amount": 500, "failure_reason": "declined"})
    opened_at = LazyFunction(timezone.now)


class StripeRequestFactory(DjangoModelFactory[StripeRequest]):
    """Makes an open request; with the trait `done`, one that Stripe has answered."""

    class Meta:
        model = StripeRequest

    class Params:
        done = Trait(state="done", attempts=1, http_status=200, answered_at=LazyFunction(timezone.now))

    payment = SubFactory(PaymentFactory)
    kind = "create"


class WebhookEventFactory(DjangoModelFactory[WebhookEvent]):
    """Makes an event about a payment's intent: waiting, or with a trait processed or failed."""

    class Meta:
        model = WebhookEvent

    class Params:
        processed = Trait(status="processed", attempts=1, processed_at=LazyFunction(timezone.now))
        failed = Trait(status="failed", attempts=1, error_code="event_failed")
        payment = SubFactory(PaymentFactory, paid=True)

    payment_intent_id = SelfAttribute("payment.stripe_payment_intent_id")
    stripe_event_id = _make_id("evt")
    type = "payment_intent.succeeded"

    payload = LazyAttribute(_get_payload)
