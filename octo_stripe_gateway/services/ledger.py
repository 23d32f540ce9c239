"""The one writer of a payment's state: what Stripe says, applied under the row's lock."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from octo_stripe_gateway import signals
from octo_stripe_gateway.exceptions import PaymentRefusedError
from octo_stripe_gateway.facts import ChargeFact, DisputeFact, PaymentIntentFact, RefundFact
from octo_stripe_gateway.models import ConsentingPayable, Payment, Refund
from octo_stripe_gateway.transactions import get_database, write_transaction

logger = logging.getLogger(__name__)


@contextmanager
def lock_payment(payment: Payment) -> Iterator[Payment]:
    """Hold the payment's row locked in a transaction of its own, and give it as it is now."""
    with write_transaction():
        yield Payment.objects.using(get_database()).get_locked(payment.pk)


@contextmanager
def saving_changes(payment: Payment) -> Iterator[None]:
    """Save what is changed of a locked payment, and announce it once that is committed."""
    # A host's hook may change the metadata in place.
    before = _get_columns(payment) | {"metadata": copy.deepcopy(payment.metadata)}
    yield
    if changed := _get_changed(payment, before=before):
        Payment.objects.using(get_database()).rewrite(payment, names=changed)
    for signal in _get_signals(payment, before=before):
        send = functools.partial(signal.send_robust, sender=Payment, payment=payment)
        transaction.on_commit(send, using=get_database(), robust=True)


def find_refunds(payment: Payment) -> list[Refund]:
    """Return a locked payment's refunds, which only the lock's holder writes."""
    return Refund.objects.using(get_database()).get_all_of(payment)


def apply_payment_intent(payment: Payment, fact: PaymentIntentFact, *, ask_host: bool = True) -> str:
    """Bring a locked payment to what Stripe says of its intent, and ask its payable for consent.

    What contradicts the row is put on record and returned, and not applied; so with the others.
    """
    with saving_changes(payment):
        mismatch = payment.find_mismatch(fact)
        if mismatch:
            return _note_mismatch(payment, mismatch)
        payment.take_intent(fact)
        if ask_host and payment.awaits_consent:
            _ask_for_consent(payment)
        return _take_charge(payment, fact.charge) if fact.charge else ""


def apply_charge(payment: Payment, fact: ChargeFact) -> str:
    """Bring a locked payment to what Stripe says of its charge's refunds."""
    with saving_changes(payment):
        return _take_charge(payment, fact)


def apply_refund(payment: Payment, fact: RefundFact) -> Refund:
    """Bring a locked payment and the refund's row to what Stripe says of the refund."""
    with saving_changes(payment):
        refunds = find_refunds(payment)
        refund = _take_refund(payment, fact, refunds=refunds)
        payment.update_refunded(refunds)
    return refund


def apply_dispute(payment: Payment, fact: DisputeFact) -> str:
    """Bring a locked payment to what Stripe says of a dispute of its charge."""
    with saving_changes(payment):
        mismatch = payment.find_charge_mismatch(fact)
        if mismatch:
            return _note_mismatch(payment, mismatch)
        payment.take_dispute(fact)
        return ""


def flag_mismatch(payment: Payment, mismatch: str) -> str:
    """Put on record why Stripe's object was not taken for this locked payment, and return that."""
    with saving_changes(payment):
        return _note_mismatch(payment, mismatch)


def _ask_for_consent(payment: Payment) -> None:
    payable = payment.payable
    try:
        if payable is not None and isinstance(payable, ConsentingPayable):
            with transaction.atomic(using=get_database()):
                payable.on_payment_completed(payment)
        payment.take_consent()
    except PaymentRefusedError as error:
        logger.warning("[OctoStripeGateway] Payment %s is not wanted: %s", payment.uuid, error)
        payment.take_consent(refusal=str(error))
        if payment.amount_received:
            payment.refunds.create(amount=payment.amount_received)
            payment.update_refunded(find_refunds(payment))


def _take_charge(payment: Payment, fact: ChargeFact) -> str:
    mismatch = payment.find_charge_mismatch(fact)
    if mismatch:
        return _note_mismatch(payment, f"charge {fact.id}: {mismatch}")
    payment.take_charge(fact)
    refunds = find_refunds(payment)
    for refund_fact in fact.refunds:
        _take_refund(payment, refund_fact, refunds=refunds)
    payment.update_refunded(refunds)
    return ""


def _take_refund(payment: Payment, fact: RefundFact, *, refunds: list[Refund]) -> Refund:
    refund = _find_refund(fact, refunds=refunds) or Refund(payment=payment, amount=fact.amount)
    mismatch = refund.find_mismatch(fact)
    if mismatch:
        _note_mismatch(payment, mismatch)
        return refund
    before = _get_columns(refund)
    refund.take(fact)
    rows = Refund.objects.using(get_database())
    if refund.pk is None:
        rows.insert(refund)
        refunds.append(refund)
    elif changed := _get_changed(refund, before=before):
        rows.rewrite(refund, names=changed)
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


def _get_changed(row: Payment | Refund, *, before: dict[str, Any]) -> list[str]:
    changed = [name for name, value in before.items() if getattr(row, name) != value]
    return [*changed, "updated_at"] if changed else []


def _note_mismatch(payment: Payment, mismatch: str) -> str:
    logger.error("[OctoStripeGateway] Payment %s does not match Stripe: %s", payment.uuid, mismatch)
    payment.mismatch = mismatch
    return mismatch


def _get_signals(payment: Payment, *, before: dict[str, Any]) -> Iterator[Signal]:
    def differs(*names: str) -> bool:
        return any(getattr(payment, name) != before[name] for name in names)

    if payment.stripe_payment_intent_id and not before["stripe_payment_intent_id"]:
        yield signals.payment_created
    if payment.confirmed_at and not before["confirmed_at"]:
        yield signals.payment_succeeded
    if differs("status") and payment.status == Payment.Status.FAILED:
        yield signals.payment_failed
    if differs("status") and payment.status == Payment.Status.CANCELED:
        yield signals.payment_canceled
    if payment.amount_refunded > before["amount_refunded"]:
        yield signals.payment_refunded
    if differs("disputed", "stripe_dispute_id", "dispute_status"):
        yield signals.payment_disputed
    if differs("mismatch"):
        yield signals.payment_mismatched
