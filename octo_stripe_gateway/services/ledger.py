"""The one writer of a payment's state: what Stripe says, applied under the row's lock."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import transaction
from django.dispatch import Signal

from octo_stripe_gateway import signals
from octo_stripe_gateway.exceptions import PaymentRefusedError
from octo_stripe_gateway.facts import ChargeFact, DisputeFact, PaymentIntentFact, RefundFact
from octo_stripe_gateway.models import ConsentingPayable, Payment, Refund
from octo_stripe_gateway.transactions import get_database, write_transaction

logger = logging.getLogger(__name__)


class Before(NamedTuple):
    """What a payment was before a change, to tell what to save and what to announce."""

    columns: dict[str, Any]
    payment_intent_id: str | None
    status: str
    was_confirmed: bool
    amount_refunded: int
    dispute: tuple[bool, str, str]
    mismatch: str

    @classmethod
    def of(cls, payment: Payment) -> Before:
        """Note how the payment stands."""
        return cls(
            # A host's hook may change it in place.
            _get_columns(payment) | {"metadata": copy.deepcopy(payment.metadata)},
            payment.stripe_payment_intent_id,
            payment.status,
            payment.confirmed_at is not None,
            payment.amount_refunded,
            _get_dispute(payment),
            payment.mismatch,
        )


@contextmanager
def lock_payment(payment: Payment) -> Iterator[Payment]:
    """Hold the payment's row locked in a transaction of its own, and give it as it is now."""
    with write_transaction():
        yield Payment.objects.using(get_database()).get_locked(payment.pk)


def find_refunds(payment: Payment) -> list[Refund]:
    """Return a locked payment's refunds, which only the lock's holder writes."""
    return list(payment.refunds.using(get_database()).all())


def apply_payment_intent(payment: Payment, fact: PaymentIntentFact, *, ask_host: bool = True) -> str:
    """Bring a locked payment to what Stripe says of its intent, and ask its payable for consent.

    What contradicts the row is put on record and returned, and not applied; so with the others.
    """
    before = Before.of(payment)
    mismatch = payment.find_mismatch(fact)
    if mismatch:
        _note_mismatch(payment, mismatch)
    else:
        payment.take_intent(fact)
        if ask_host and payment.awaits_consent:
            _ask_for_consent(payment)
        mismatch = _take_charge(payment, fact.charge) if fact.charge else ""
        if payment.amount_received:
            payment.update_refunded(find_refunds(payment))
    save_payment(payment, before=before)
    return mismatch


def apply_charge(payment: Payment, fact: ChargeFact) -> str:
    """Bring a locked payment to what Stripe says of its charge's refunds."""
    before = Before.of(payment)
    mismatch = _take_charge(payment, fact)
    payment.update_refunded(find_refunds(payment))
    save_payment(payment, before=before)
    return mismatch


def apply_refund(payment: Payment, fact: RefundFact) -> Refund:
    """Bring a locked payment and the refund's row to what Stripe says of the refund."""
    before = Before.of(payment)
    refunds = find_refunds(payment)
    refund = _take_refund(payment, fact, refunds=refunds)
    payment.update_refunded(refunds)
    save_payment(payment, before=before)
    return refund


def apply_dispute(payment: Payment, fact: DisputeFact) -> str:
    """Bring a locked payment to what Stripe says of a dispute of its charge."""
    before = Before.of(payment)
    mismatch = payment.find_charge_mismatch(fact)
    if mismatch:
        _note_mismatch(payment, mismatch)
    else:
        payment.take_dispute(fact)
    save_payment(payment, before=before)
    return mismatch


def flag_mismatch(payment: Payment, mismatch: str) -> None:
    """Put on record why Stripe's object was not taken for this locked payment."""
    before = Before.of(payment)
    _note_mismatch(payment, mismatch)
    save_payment(payment, before=before)


def save_payment(payment: Payment, *, before: Before) -> None:
    """Save a locked payment, and announce what changed once that is committed."""
    payment.save(update_fields=_get_changed_fields(payment, before=before))
    for signal in _get_changes(payment, before=before):
        send = functools.partial(signal.send_robust, sender=Payment, payment=payment)
        transaction.on_commit(send, using=get_database(), robust=True)


def _ask_for_consent(payment: Payment) -> None:
    payable = payment.payable
    try:
        if isinstance(payable, ConsentingPayable):
            with transaction.atomic(using=get_database()):
                payable.on_payment_completed(payment)
        payment.take_consent()
    except PaymentRefusedError as error:
        logger.warning("[OctoStripeGateway] Payment %s is not wanted: %s", payment.uuid, error)
        payment.take_consent(refusal=str(error))
        if payment.amount_received:
            payment.refunds.create(amount=payment.amount_received)


def _take_charge(payment: Payment, fact: ChargeFact) -> str:
    mismatch = payment.find_charge_mismatch(fact)
    if mismatch:
        mismatch = f"charge {fact.id}: {mismatch}"
        _note_mismatch(payment, mismatch)
        return mismatch
    refunds = find_refunds(payment) if fact.refunds else []
    for refund_fact in fact.refunds:
        _take_refund(payment, refund_fact, refunds=refunds)
    payment.take_charge(fact)
    return ""


def _take_refund(payment: Payment, fact: RefundFact, *, refunds: list[Refund]) -> Refund:
    refund = _find_refund(fact, refunds=refunds) or Refund(payment=payment, amount=fact.amount)
    mismatch = refund.find_mismatch(fact)
    if mismatch:
        _note_mismatch(payment, mismatch)
        return refund
    before = _get_columns(refund)
    refund.take(fact)
    if refund.pk is None:
        refunds.append(refund)
    if refund.pk is None or _get_columns(refund) != before:
        refund.save()
    return refund


def _find_refund(fact: RefundFact, *, refunds: list[Refund]) -> Refund | None:
    by_id = (each for each in refunds if each.stripe_refund_id == fact.id)
    by_uuid = (
        each
        for each in refunds
        if each.stripe_refund_id is None and str(each.uuid) == fact.refund_uuid.lower()
    )
    return next(by_id, None) or next(by_uuid, None)


def _get_columns(row: Payment | Refund) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def _get_changed_fields(payment: Payment, *, before: Before) -> list[str]:
    # An UPDATE of all columns takes the ORM longer to write than the database to run.
    changed = [name for name, value in before.columns.items() if getattr(payment, name) != value]
    return [*changed, "updated_at"]


def _get_dispute(payment: Payment) -> tuple[bool, str, str]:
    return payment.disputed, payment.stripe_dispute_id, payment.dispute_status


def _note_mismatch(payment: Payment, mismatch: str) -> None:
    logger.error("[OctoStripeGateway] Payment %s does not match Stripe: %s", payment.uuid, mismatch)
    payment.mismatch = mismatch


def _get_changes(payment: Payment, *, before: Before) -> Iterator[Signal]:
    if before.payment_intent_id is None and payment.stripe_payment_intent_id:
        yield signals.payment_created
    if payment.confirmed_at and not before.was_confirmed:
        yield signals.payment_succeeded
    if payment.status == Payment.Status.FAILED != before.status:
        yield signals.payment_failed
    if payment.status == Payment.Status.CANCELED != before.status:
        yield signals.payment_canceled
    if payment.amount_refunded > before.amount_refunded:
        yield signals.payment_refunded
    if _get_dispute(payment) != before.dispute:
        yield signals.payment_disputed
    if payment.mismatch != before.mismatch:
        yield signals.payment_mismatched
