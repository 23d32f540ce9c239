"""Comparing our record of a period with Stripe's, both ways: nothing may be on one side only."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import NamedTuple, TypeVar

from octo_stripe_gateway.books.booking import book_listed
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import StripeRefusedError
from octo_stripe_gateway.ledger.concerns import describe_concern
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.models import BalanceTransaction, Payment, Refund, StripeRequest, is_uuid
from octo_stripe_gateway.models.batches import iterate_batches
from octo_stripe_gateway.models.refunds import NOT_AT_STRIPE
from octo_stripe_gateway.services.adoption import adopt_payment
from octo_stripe_gateway.services.provenance import Provenance, is_foreign, judge_intent, report_unproven
from octo_stripe_gateway.services.syncing import Differences, sync_listed, sync_payment
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.snapshots import PaymentIntentSnapshot

T = TypeVar("T")


class Kind(StrEnum):
    """What was found."""

    CHECKED = "checked"
    MISMATCHED = "mismatched"
    UNKNOWN_HERE = "unknown here"
    ADDED = "added"
    ADOPTED = "adopted"
    UNPROVEN = "not provably ours"
    UNKNOWN_AT_STRIPE = "unknown at Stripe"
    FAILED = "failed"


class Finding(NamedTuple):
    """What was found about a payment, or about an object of Stripe's by its id."""

    kind: Kind
    name: str
    differences: Differences = {}
    error: str = ""
    # As it was before the comparison.
    payment: Payment | None = None


class Reconciliation:
    """One comparison of a period. `adopts` writes rows that are missing here, `dry_run` writes nothing."""

    def __init__(self, since: dt.datetime, until: dt.datetime, *, adopts: bool, dry_run: bool) -> None:
        self.since, self.until = since, until
        # As Stripe takes it: whole seconds, the last one excluded.
        self.period = {"since": max(0, int(since.timestamp())), "until": max(0, int(until.timestamp()) + 1)}
        self.adopts, self.dry_run = adopts and not dry_run, dry_run
        self.seen: set[int] = set()
        self.unknown: set[str] = set()

    def run(self) -> Iterator[Finding]:
        """Yield what is found; trouble with one account or payment stops no other."""
        for origin in list_origins(self.since, self.until):
            try:
                yield from self._compare_refunds(origin)
                yield from self._compare_intents(origin)
                yield from self._compare_movements(origin)
            except Exception as error:  # noqa: BLE001 - it is reported, and the next account has its turn
                yield Finding(Kind.FAILED, origin.account or "Stripe's list", error=str(error))
        payments = Payment.ledger.created_between(self.since, self.until)
        for keys in iterate_batches(payments, by="created_at"):
            for key in keys:
                if key not in self.seen:
                    yield self._check(Payment.ledger.get(pk=key))

    def _compare_intents(self, origin: Origin) -> Iterator[Finding]:
        listed = stripe_client.list_payment_intents(origin, **self.period)
        for page in _split(listed):
            known = Payment.ledger.filter(stripe_payment_intent_id__in=[each.id for each in page])
            by_id = {row.stripe_payment_intent_id: row for row in known}
            # A uuid counts only within its account: an intent of another one may name any.
            unanswered = Payment.ledger.filter(
                uuid__in=[each.payment_uuid for each in page if is_uuid(each.payment_uuid)],
                stripe_payment_intent_id=None,
                account=origin.account,
                stripe_account=origin.stripe_account,
            )
            by_uuid = {str(row.uuid): row for row in unanswered}
            found = [*by_id.values(), *by_uuid.values()]
            requests = StripeRequest.ledger.open().filter(payment__in=found)
            asked = set(requests.values_list("payment", flat=True))
            for snapshot in page:
                row = by_id.get(snapshot.id)
                if row is None and not is_foreign(snapshot.metadata):
                    row = by_uuid.get(snapshot.payment_uuid.lower())
                if row:
                    yield self._check(row, snapshot=None if row.pk in asked else snapshot)
                elif snapshot.id not in self.unknown:
                    yield from self._judge(snapshot, origin=origin)

    def _compare_refunds(self, origin: Origin) -> Iterator[Finding]:
        """Find refunds that are on one side only; their payments may be older."""
        ours = Refund.ledger.filter(
            payment__account=origin.account,
            payment__stripe_account=origin.stripe_account,
            stripe_created__gte=self.period["since"],
            stripe_created__lt=self.period["until"],
            stripe_refund_id__isnull=False,
        ).exclude(failure_reason=NOT_AT_STRIPE)
        unseen = dict(ours.values_list("stripe_refund_id", "payment"))
        listed = stripe_client.list_refunds_between(origin, **self.period)
        for page in _split(listed):
            rows = Refund.ledger.filter(stripe_refund_id__in=[each.id for each in page])
            known = set(rows.values_list("stripe_refund_id", flat=True))
            for snapshot in page:
                unseen.pop(snapshot.id, None)
                if snapshot.id in known:
                    continue
                intent_id = snapshot.payment_intent_id
                payment = Payment.ledger.filter(stripe_payment_intent_id=intent_id).first()
                is_ours = snapshot.refund_uuid and not is_foreign(snapshot.metadata)
                if payment:
                    yield Finding(Kind.UNKNOWN_HERE if self.dry_run else Kind.ADDED, snapshot.id)
                    yield self._check(payment)
                elif is_ours and intent_id not in self.unknown:
                    intent = stripe_client.retrieve_payment_intent(intent_id, origin=origin)
                    yield from self._judge(intent, origin=origin)
        for refund_id, payment_id in unseen.items():
            payment = Payment.ledger.get(pk=payment_id)
            yield Finding(Kind.UNKNOWN_AT_STRIPE, str(refund_id), payment=payment)
            yield self._check(payment)

    def _compare_movements(self, origin: Origin) -> Iterator[Finding]:
        """Find movements in Stripe's balance that are not booked and not due for booking either."""
        listed = stripe_client.list_balance_transactions(origin, **self.period)
        for page in _split(listed):
            booked = BalanceTransaction.ledger.filter(
                stripe_balance_transaction_id__in=[each.id for each in page]
            )
            known = set(booked.values_list("stripe_balance_transaction_id", flat=True))
            unbooked = defaultdict(list)
            for snapshot in page:
                if snapshot.payment_intent_id and snapshot.id not in known:
                    unbooked[snapshot.payment_intent_id].append(snapshot)
            for payment in Payment.ledger.filter(stripe_payment_intent_id__in=unbooked):
                snapshots = unbooked[payment.intent_id]
                if payment.next_booking_at is None:
                    kind = Kind.UNKNOWN_HERE if self.dry_run else Kind.ADDED
                    yield from (Finding(kind, snapshot.id, payment=payment) for snapshot in snapshots)
                    # Disputes are not listed: only the money that they move shows them.
                    yield self._check(payment)
                if not self.dry_run:
                    book_listed(payment, snapshots)

    def _check(self, payment: Payment, *, snapshot: PaymentIntentSnapshot | None = None) -> Finding:
        self.seen.add(payment.pk)
        name = str(payment.uuid)
        try:
            if snapshot:
                found = sync_listed(payment, snapshot, dry_run=self.dry_run, thorough=True)
            else:
                found = sync_payment(payment, dry_run=self.dry_run)
        except Exception as error:  # noqa: BLE001 - it is reported, and the next payment has its turn
            is_unknown = isinstance(error, StripeRefusedError) and error.is_unknown
            kind = Kind.UNKNOWN_AT_STRIPE if is_unknown else Kind.FAILED
            return Finding(kind, name, error=str(error), payment=payment)
        differing = payment.concerns.using(Payment.ledger.database).open().filter(code__endswith="_differs")
        told = "; ".join(describe_concern(each) for each in differing)
        kind = Kind.MISMATCHED if told else Kind.CHECKED
        return Finding(kind, name, found, error=told, payment=payment)

    def _judge(self, snapshot: PaymentIntentSnapshot, *, origin: Origin) -> Iterator[Finding]:
        """Find out whether an intent without a row is ours."""
        provenance = judge_intent(snapshot, origin=origin)
        account, connected = origin.account, origin.stripe_account
        if provenance is Provenance.OURS and self.adopts:
            try:
                payment = adopt_payment(snapshot.id, account=account, stripe_account=connected)
            except Exception as error:  # noqa: BLE001 - it is reported, and the next intent has its turn
                yield Finding(Kind.FAILED, snapshot.id, error=str(error))
            else:
                self.seen.add(payment.pk)
                yield Finding(Kind.ADOPTED, snapshot.id)
        elif provenance is Provenance.OURS:
            self.unknown.add(snapshot.id)
            yield Finding(Kind.UNKNOWN_HERE, snapshot.id)
        elif provenance is Provenance.UNPROVEN and snapshot.amount_received:
            self.unknown.add(snapshot.id)
            if not self.dry_run:
                with write_transaction():
                    report_unproven(snapshot.id, origin=origin)
            yield Finding(Kind.UNPROVEN, snapshot.id)


def list_origins(since: dt.datetime, until: dt.datetime) -> list[Origin]:
    """Return the origins to ask: those with a key, and those used in that period, in their key's mode."""
    rows = Payment.ledger.created_between(since, until)
    used = set(rows.values_list("account", "stripe_account").distinct())
    accounts = gateway_settings.accounts
    configured = {(name, "") for name, account in accounts.items() if account.api_key}
    live = {name for name, account in accounts.items() if account.livemode}
    return [Origin(name, connected, livemode=name in live) for name, connected in sorted(configured | used)]


def _split(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while page := list(islice(iterator, stripe_client.PAGE_SIZE)):
        yield page
