"""What the database itself refuses, whoever writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from django.db import IntegrityError, models, transaction

from octo_stripe_gateway.models import Payment, PaymentChange, Refund, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory, WebhookEventFactory

pytestmark = pytest.mark.django_db


def make_request() -> StripeRequest:
    return StripeRequest.objects.create(payment=PaymentFactory.create(), kind="create")


def make_change() -> PaymentChange:
    return PaymentChange.objects.create(payment=PaymentFactory.create(), changes={}, source="api")


MAKERS: dict[type[models.Model], Any] = {
    Payment: PaymentFactory.create,
    Refund: RefundFactory.create,
    WebhookEvent: WebhookEventFactory.create,
    StripeRequest: make_request,
    PaymentChange: make_change,
}

# The choices that each column takes.
LISTED: list[tuple[type[models.Model], str, Iterable[str]]] = [
    (Payment, "status", Payment.Status.values),
    (Payment, "capture_method", Payment.CaptureMethod.values),
    (StripeRequest, "kind", StripeRequest.Kind.values),
    (StripeRequest, "state", StripeRequest.State.values),
    (WebhookEvent, "status", WebhookEvent.Status.values),
    (PaymentChange, "source", PaymentChange.Source.values),
]
REFUSED: list[tuple[type[models.Model], str, Any]] = [
    *((model, name, word) for model, name, _words in LISTED for word in ("", "unheard of", "PAID")),
    (Payment, "amount", 0),
    (Payment, "amount", -1),
    (Refund, "amount", 0),
    (Refund, "status", ""),
]


@pytest.mark.parametrize(("model", "name", "word"), REFUSED)
def test_database_refuses_what_no_row_may_hold(model: type[models.Model], name: str, word: Any) -> None:
    row = MAKERS[model]()
    with pytest.raises(IntegrityError), transaction.atomic():
        model._default_manager.filter(pk=row.pk).update(**{name: word})


@pytest.mark.parametrize(("model", "name", "words"), LISTED)
def test_database_takes_every_word_that_the_app_has(
    model: type[models.Model], name: str, words: Iterable[str]
) -> None:
    row = MAKERS[model]()
    for word in words:
        assert model._default_manager.filter(pk=row.pk).update(**{name: word}) == 1


def test_refund_takes_any_word_of_stripes() -> None:
    refund = RefundFactory.create()
    assert Refund.objects.filter(pk=refund.pk).update(status="requires_patience") == 1


@pytest.mark.parametrize("changes", [{"account": "eu"}, {"stripe_account": "acct_1"}])
def test_event_is_unique_within_its_account(changes: dict[str, str]) -> None:
    event = WebhookEventFactory.create()
    same = {"stripe_event_id": event.stripe_event_id, "type": "x", "payload": {}}
    with pytest.raises(IntegrityError), transaction.atomic():
        WebhookEvent.objects.create(**same)
    assert WebhookEvent.objects.create(**same, **changes)
