"""Compares the ledger with Stripe's own record."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import QuerySet

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.books.exports import export_movements
from octo_stripe_gateway.models import (
    BalanceTransaction,
    Concern,
    Dispute,
    Installation,
    Payment,
    Refund,
    StripeRequest,
)
from octo_stripe_gateway.testing.emulator import StripeEmulator

STATUSES = {
    "requires_payment_method": {Payment.Status.PENDING, Payment.Status.FAILED},
    "requires_capture": {Payment.Status.AUTHORIZED},
    "succeeded": {Payment.Status.PAID, Payment.Status.REFUNDED},
    "canceled": {Payment.Status.CANCELED, Payment.Status.EXPIRED},
}


def assert_ledger_equals(stripe: StripeEmulator) -> None:
    """Check every row and its refunds against the emulator, and that no request is still open."""
    intents, charges, refunds = stripe.payment_intents, stripe.charges, stripe.refunds.values()
    for payment in Payment.objects.all():
        intent = intents[payment.stripe_payment_intent_id or ""]
        charge = charges.get(intent["latest_charge"] or "", {})
        assert not [code for code in list_concerns(payment) if code.endswith("_differs")]
        is_undecided = payment.awaits_operator or payment.needs_reversal
        assert is_undecided or payment.status in STATUSES[intent["status"]]
        assert payment.intent_status == intent["status"]
        assert payment.amount_received == intent["amount_received"] <= payment.amount
        assert payment.amount_capturable == intent["amount_capturable"]
        assert payment.amount_refunded == charge.get("amount_refunded", 0) <= payment.amount_received
        assert payment.amount_reserved == 0
        assert not payment.stripe_requests.open().exists()
        fully = 0 < payment.amount_received == payment.amount_refunded
        assert (payment.status == Payment.Status.REFUNDED) == fully
        assert get_refunds(payment) == {
            refund["id"]: (refund["amount"], refund["status"])
            for refund in refunds
            if refund["payment_intent"] == intent["id"]
        }


def list_charges(stripe: StripeEmulator) -> list[dict[str, Any]]:
    """Return the charges of this installation's payments."""
    own = Installation.ledger.get_own().name
    intents = stripe.payment_intents.values()
    ours = {each["id"] for each in intents if each["metadata"].get("octo_installation") == own}
    return [charge for charge in stripe.charges.values() if charge["payment_intent"] in ours]


def list_held_unnoticed() -> QuerySet[Payment]:
    """Return the rejected payments whose money is held without anybody being told."""
    told = Concern.objects.open().exclude(payment=None)
    return Payment.objects.rejected_with_money_held().exclude(pk__in=told.values("payment"))


def assert_sums_equal(stripe: StripeEmulator) -> None:
    """Check what Stripe holds for us and what moved, rejected money, and what each payable was paid."""
    charges = {charge["id"]: charge for charge in list_charges(stripe)}
    disputes = [each for each in stripe.disputes.values() if each["charge"] in charges]
    at_stripe: Counter[str] = Counter()
    for charge in charges.values():
        kept = charge["amount_captured"] - charge["amount_refunded"] if charge["captured"] else 0
        at_stripe[charge["currency"]] += kept
    for dispute in disputes:
        at_stripe[dispute["currency"]] -= dispute["amount"] if dispute["status"] == "lost" else 0
    held: Counter[str] = Counter()
    for payment in Payment.objects.all():
        held[payment.currency] += payment.amount_held
    assert +held == +at_stripe
    rows = Dispute.objects.values_list("stripe_dispute_id", "status")
    assert dict(rows) == {each["id"]: each["status"] for each in disputes}
    refunds = {each["id"] for each in stripe.refunds.values() if each["charge"] in charges}
    sources = refunds | set(charges) | {each["id"] for each in disputes}
    moved = {each["id"] for each in stripe.balance_transactions.values() if each["source"] in sources}
    assert set(BalanceTransaction.objects.values_list("stripe_balance_transaction_id", flat=True)) == moved
    assert not list_held_unnoticed().exists()
    accepted = Payment.objects.exclude(accepted_at=None)
    assert not accepted.filter(amount_received=0).exists()
    payables = Counter(accepted.exclude(payable_id=None).values_list("payable_type", "payable_id"))
    assert max(payables.values(), default=1) == 1


def assert_nothing_orphaned(stripe: StripeEmulator) -> None:
    """Check that each intent marked as ours has a row, and so does each of its refunds."""
    ours = {key for key, intent in stripe.payment_intents.items() if "octo_payment" in intent["metadata"]}
    rows = Payment.objects.exclude(stripe_payment_intent_id=None)
    assert ours <= set(rows.values_list("stripe_payment_intent_id", flat=True))
    refunds = {key for key, refund in stripe.refunds.items() if refund["payment_intent"] in ours}
    known = Refund.objects.exclude(stripe_refund_id=None)
    assert refunds <= set(known.values_list("stripe_refund_id", flat=True))


def settle_all(payment: Payment, *, reason: str) -> None:
    """Settle every open concern of a payment, as an operator does from the admin."""
    for concern in payment.concerns.filter(settled_at=None):
        services.settle_concern(concern, reason=reason)


def list_concerns(payment: Payment) -> list[str]:
    """Return the codes of a payment's open concerns."""
    return [*payment.concerns.filter(settled_at=None).order_by("pk").values_list("code", flat=True)]


@contextmanager
def later(stripe: StripeEmulator) -> Iterator[None]:
    """Put Stripe's clock forward, so that what comes now is later than all before.

    What Stripe says of one second leaves open which came last, and an answer is dated when it was asked for.
    """
    clock = stripe.clock
    stripe.clock = lambda: clock() + 2
    try:
        yield
    finally:
        stripe.clock = clock


def lose_payment(payment: Payment) -> None:
    """Delete a payment's row and everything attached to it, as if an old backup had been restored."""
    StripeRequest.objects.filter(payment=payment).delete()
    Refund.objects.filter(payment=payment).delete()
    Dispute.objects.filter(payment=payment).delete()
    BalanceTransaction.objects.filter(payment=payment).delete()
    Concern.objects.filter(payment=payment).delete()
    Payment.objects.filter(pk=payment.pk).delete()


def lose_refunds(payment: Payment) -> None:
    """Delete a payment's refunds, as if the last commits before a failover were lost."""
    StripeRequest.objects.filter(payment=payment, kind=StripeRequest.Kind.REFUND).delete()
    Refund.objects.filter(payment=payment).delete()
    zero = {"amount_refunded": 0, "refunds_total": 0, "charge_amount_refunded": 0, "charge_as_of": 0}
    status = Payment.Status.PAID if payment.amount_received else payment.status
    Payment.objects.filter(pk=payment.pk).update(status=status, refunded_at=None, **zero)
    payment.refresh_from_db()


def get_refunds(payment: Payment) -> dict[str | None, tuple[int, str]]:
    """Return the refunds that exist at Stripe; a refused one left nothing there."""
    assert not any(refund.is_reserved for refund in payment.refunds.all())
    answered = payment.refunds.exclude(stripe_refund_id=None)
    return {refund.stripe_refund_id: (refund.amount, refund.status) for refund in answered}


def assert_export_equals(stripe: StripeEmulator) -> None:
    """Check that the exported movements equal Stripe's balance transactions, per day and currency."""
    lines = read_export(export_movements(BalanceTransaction.objects.all()))
    moved: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        kind = "fee" if line["kind"] == "fee" else "gross"
        moved[line["utc_moved_at"][:10], line["currency"], kind] += int(line["amount"])
    booked: Counter[tuple[str, str, str]] = Counter()
    for each in stripe.balance_transactions.values():
        day = dt.datetime.fromtimestamp(each["created"], tz=dt.UTC).date().isoformat()
        booked[day, each["currency"], "gross"] += each["amount"]
        booked[day, each["currency"], "fee"] -= each["fee"]
        assert each["net"] == each["amount"] - each["fee"]
    assert booked
    assert moved == booked


def read_export(lines: Iterable[str]) -> list[dict[str, str]]:
    """Return the lines of an export, by column."""
    return list(csv.DictReader(io.StringIO("".join(lines), newline="")))


def sync_due() -> None:
    """Sync the payments that are due for it, as `maintain_payments` does."""
    upkeep.work_off(upkeep.SYNCS, limit=1000)


def sync_unsettled() -> None:
    """Sync all unsettled payments, as `maintain_payments --now` does."""
    upkeep.make_due()
    sync_due()
