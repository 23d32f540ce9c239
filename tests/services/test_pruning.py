"""Deleting what is past its time."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import ConfigurationError, IdempotencyError
from octo_stripe_gateway.models import (
    Concern,
    IdempotencyKey,
    Payment,
    PaymentChange,
    WebhookEvent,
)
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import (
    ConcernFactory,
    PaymentFactory,
    StripeRequestFactory,
    WebhookEventFactory,
)
from tests.shop.models import Booking

pytestmark = pytest.mark.django_db

DAY = dt.timedelta(days=1)
NOW = timezone.now()


def prune(*options: str) -> list[str]:
    out = io.StringIO()
    call_command("prune_records", *options, stdout=out)
    return out.getvalue().splitlines()


def make_key(*, days: int, payment: Payment | None = None) -> IdempotencyKey:
    """Make a caller's key of that age, of a payment that is paid."""
    payment = payment or PaymentFactory.create(paid=True)
    caller = Caller("", f"sale {payment.pk}")
    Payment.objects.filter(pk=payment.pk).update(uuid=caller.derive_uuid("create"))
    key = IdempotencyKey.objects.create(key=caller.kept_key, payment=payment)
    IdempotencyKey.objects.filter(pk=key.pk).update(created_at=NOW - days * DAY)
    return key


def make_change(*, days: int, **columns: Any) -> PaymentChange:
    """Make a change of that age, of a payment of its own."""
    deliver_at = columns.pop("deliver_at", None)
    payment = PaymentFactory.create(**columns)
    change = PaymentChange.objects.create(
        payment=payment, source="webhook", changes={}, deliver_at=deliver_at
    )
    PaymentChange.objects.filter(pk=change.pk).update(created_at=NOW - days * DAY)
    return change


def test_pruning_keeps_keys_and_changes_unless_told() -> None:
    make_key(days=10_000)
    make_change(days=10_000, paid=True)
    assert prune() == ["0 events deleted", "0 concerns deleted"]
    assert (IdempotencyKey.objects.count(), PaymentChange.objects.count()) == (1, 1)


def test_keys_that_services_kept_are_pruned_and_keep_their_meaning(stripe: StripeEmulator) -> None:
    sale, back, parts = (Caller("key:viator", name) for name in ("sale", "back", "parts"))
    booking = Booking.objects.create()
    payment = services.create_payment(payable=booking, caller=sale).payment
    stripe.confirm(payment.intent_id)
    services.complete_payment(payment)

    def repeat() -> None:
        assert services.create_payment(payable=booking, caller=sale).payment == payment
        services.refund_payment(payment, amount=500, caller=back)
        services.refund_payable(booking, amount=300, caller=parts)

    repeat()
    assert prune("--key-days", "0")[-1] == "3 idempotency keys deleted"
    repeat()
    assert sum(refund["amount"] for refund in stripe.refunds.values()) == 800
    with pytest.raises(IdempotencyError):
        services.refund_payment(payment, amount=700, caller=back)
    with pytest.raises(IdempotencyError):
        services.refund_payable(booking, amount=700, caller=parts)


def test_pruning_keeps_a_key_that_nothing_else_tells_the_meaning_of() -> None:
    key = make_key(days=31)
    again = IdempotencyKey.objects.create(key="a reload", payment=key.payment)
    IdempotencyKey.objects.update(created_at=NOW - 31 * DAY)
    assert prune("--key-days", "30")[-1] == "1 idempotency key deleted"
    assert IdempotencyKey.objects.get() == again


@pytest.mark.parametrize("batch_size", ["1", "2", "1000"])
def test_pruning_deletes_old_keys(batch_size: str, configure: Callable[..., None]) -> None:
    configure(IDEMPOTENCY_KEY_DAYS=30)
    old = [make_key(days=31) for _each in range(3)]
    unanswered = make_key(days=31)
    StripeRequestFactory.create(payment=unanswered.payment)
    kept = [unanswered, make_key(days=29)]
    assert prune("--batch-size", batch_size)[2:] == ["3 idempotency keys deleted"]
    assert [*IdempotencyKey.objects.order_by("pk")] == kept
    assert Payment.objects.filter(pk=old[0].payment_id).exists()
    assert prune("--key-days", "28")[2] == "1 idempotency key deleted"
    assert [*IdempotencyKey.objects.all()] == [unanswered]


@pytest.mark.parametrize("batch_size", ["1", "2", "1000"])
def test_pruning_deletes_the_journal_of_settled_payments(batch_size: str) -> None:
    for traits in ({"paid": True}, {"canceled": True}, {"refunded": True}):
        make_change(days=31, **traits)
    kept = [
        make_change(days=31),
        make_change(days=31, authorized=True),
        make_change(days=31, paid=True, deliver_at=NOW),
        make_change(days=29, paid=True),
    ]
    assert prune("--change-days", "30", "--batch-size", batch_size) == [
        "0 events deleted",
        "0 concerns deleted",
        "3 changes deleted",
    ]
    assert [*PaymentChange.objects.order_by("pk")] == kept


def test_pruning_deletes_old_events() -> None:
    WebhookEventFactory.create(processed=True)
    waiting = WebhookEventFactory.create(failed=True)
    WebhookEvent.objects.update(received_at=NOW - 91 * DAY)
    assert prune("--event-days", "92") == ["0 events deleted", "0 concerns deleted"]
    assert prune() == ["1 event deleted", "0 concerns deleted"]
    assert [*WebhookEvent.objects.all()] == [waiting]


def test_age_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="negative"):
        prune("--event-days", "-1")


@pytest.mark.parametrize("days", [0, -1, True, "30", 1.5])
def test_setting_that_is_no_number_of_days_deletes_nothing(days: Any, configure: Callable[..., None]) -> None:
    configure(IDEMPOTENCY_KEY_DAYS=days)
    make_key(days=10_000)
    with pytest.raises(ConfigurationError, match="IDEMPOTENCY_KEY_DAYS"):
        prune()
    assert IdempotencyKey.objects.count() == 1


def test_ended_concerns_are_deleted_with_their_events() -> None:
    long_ago = {"payment": None, "opened_at": NOW - 91 * DAY}
    ConcernFactory.create(**long_ago, settled_at=NOW)
    kept = [
        ConcernFactory.create(**long_ago, object_id="re_1"),
        ConcernFactory.create(**long_ago, settled=True),
        ConcernFactory.create(opened_at=NOW - 91 * DAY, settled_at=NOW),
        ConcernFactory.create(payment=None, opened_at=NOW - 89 * DAY, settled_at=NOW, object_id="re_2"),
    ]
    assert prune() == ["0 events deleted", "1 concern deleted"]
    assert [*Concern.objects.order_by("pk")] == kept
