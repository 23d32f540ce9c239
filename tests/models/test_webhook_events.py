from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.models import WebhookEvent
from octo_stripe_gateway.testing.factories import PaymentFactory, WebhookEventFactory
from tests.support.objects import make_charge, make_dispute, make_event, make_intent, make_refund

HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize("payload", [{}, {"data": None}, {"data": []}, {"data": {"object": "pi_1"}}])
def test_event_without_an_object_says_so(payload: Any) -> None:
    with pytest.raises(BadRequestError, match="no object"):
        _ = WebhookEvent(payload=payload).stripe_object


@pytest.mark.parametrize("created", [None, "now", 1.5, True, -1, 10**30])
def test_event_without_a_time_says_so(created: Any) -> None:
    with pytest.raises(BadRequestError, match="no valid created"):
        _ = WebhookEvent(payload=make_event("x", {}, created=created)).as_of


@pytest.mark.parametrize(
    ("stripe_object", "payment_intent_id"),
    [
        (make_intent(), "pi_1"),
        (make_charge(), "pi_1"),
        (make_charge(payment_intent={"id": "pi_2", "object": "payment_intent"}), "pi_2"),
        (make_refund(), "pi_1"),
        (make_dispute(), "pi_1"),
        (make_dispute(payment_intent=None), ""),
        ({"id": "cus_1", "object": "customer"}, ""),
    ],
)
def test_event_is_about_the_intent_that_its_object_is_or_names(
    stripe_object: Any, payment_intent_id: str
) -> None:
    event = WebhookEvent(payload=make_event("x", stripe_object))
    assert event.read_payment_intent_id() == payment_intent_id


@pytest.mark.django_db
def test_unprocessed_events_are_the_failed_and_the_received_ones() -> None:
    failed, received = WebhookEventFactory.create(failed=True), WebhookEventFactory.create()
    processed = WebhookEventFactory.create(processed=True)
    now = timezone.now()
    assert set(WebhookEvent.objects.unprocessed()) == {failed, received}
    assert set(WebhookEvent.objects.finished(until=now)) == {processed}
    assert not WebhookEvent.objects.finished(until=now - HOUR)


@pytest.mark.django_db
def test_events_about_a_payment_are_found_by_its_intent_whatever_became_of_them() -> None:
    payment = PaymentFactory.create()
    found = {
        WebhookEventFactory.create(payment=payment),
        WebhookEventFactory.create(payment=payment, failed=True),
        WebhookEventFactory.create(payment=payment, processed=True),
        WebhookEventFactory.create(payment=payment, status="ignored"),
    }
    WebhookEventFactory.create()
    WebhookEvent.objects.create(stripe_event_id="evt_x", type="customer.created", payload={})
    assert set(WebhookEvent.objects.about(payment)) == found
    assert not WebhookEvent.objects.about(PaymentFactory.create(stripe_payment_intent_id=None))


@pytest.mark.django_db
def test_event_is_shown_by_its_type_and_id() -> None:
    event = WebhookEventFactory.create()
    assert str(event) == f"payment_intent.succeeded {event.stripe_event_id}"
