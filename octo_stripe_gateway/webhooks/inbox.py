"""The inbox: takes each of Stripe's events in once, and applies it through the services.

One transaction inserts the event, locks its payment, applies, journals, commits. The event's unique id makes
a second delivery wait and then see that it is done. If processing fails, all of it is rolled back and a
transaction of its own records the event as failed; Stripe's next delivery or maintenance tries again.
Processing makes no call to Stripe; what needs one follows after the transaction. Only the object of a thin
event is fetched before it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    GatewayError,
    PayableUnavailableError,
    PaymentRejectedError,
    StripeRefusedError,
    UnknownPaymentError,
)
from octo_stripe_gateway.ledger import concerns, journal
from octo_stripe_gateway.ledger.claims import Outcome, Step
from octo_stripe_gateway.ledger.facts import EventOfAnother, SyncNeeded
from octo_stripe_gateway.ledger.outbox import send_to_all
from octo_stripe_gateway.ledger.transactions import running_host, write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment, PaymentChange, WebhookEvent
from octo_stripe_gateway.models.webhook_events import RECEIVED_COLUMNS
from octo_stripe_gateway.services.provenance import (
    Provenance,
    is_foreign,
    judge,
    judge_intent,
    report_unproven,
)
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.services.syncing import resume_requests
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.redaction import Redacted, clean_text, get_logger, redact
from octo_stripe_gateway.stripe.snapshots import (
    PAYMENT_METADATA_KEY,
    FraudWarningSnapshot,
    PaymentIntentSnapshot,
    Snapshot,
    read_text,
)
from octo_stripe_gateway.webhooks import handlers

logger = get_logger(__name__)

# What is left to do after an event's transaction, because it calls Stripe.
FollowUp = Callable[[], object]

# A claim may end soon, in case its worker was killed: whoever takes up an event that is still being processed
# waits for its lock, and finds it done.
LEASE = dt.timedelta(seconds=15)
# Stripe delivers an event within seconds; it repeats it in minutes and hours, where the first had no answer.
FIRST_DELIVERY_WITHIN = 60
# How long an event may wait for a payment that isn't in the database yet.
UNMATCHED_EVENT_TTL = dt.timedelta(hours=1)
# Endpoints of older API versions report released authorizations as refunds.
FIRST_TRUE_REFUNDS = "2025-03-31"
OUTCOME_COLUMNS = ("status", "error_code", "error_parameters", "attempts", "processed_at", "retry_at")


def receive_event(payload: dict[str, Any], *, account: str = "") -> WebhookEvent:
    """Take in and process a verified event of the account whose secret signed it.

    One that was processed before is left alone. Raises BadRequestError if it can't be taken in, and what its
    processing raised, once that is recorded.
    """
    event = _read(payload, account=account)
    created = event.payload.get("created")
    comes_late = isinstance(created, int) and created < time.time() - FIRST_DELIVERY_WITHIN
    if comes_late or event.is_thin:
        # It may be finished: a look takes neither a transaction nor a call to Stripe.
        known = _find(event, columns=("id", "status"))
        if known and known.is_finished:
            return known
    return process_event(event)


def keep_event(payload: dict[str, Any], *, account: str = "") -> tuple[WebhookEvent, bool]:
    """Take in a verified event for later, and return it with whether it is new; raises BadRequestError."""
    event = _read(payload, account=account)
    event.retry_at = timezone.now()
    with write_transaction():
        is_new = WebhookEvent.ledger.insert(event, or_ignore=True)
    return (event, True) if is_new else (_get(event), False)


def process_event(event: WebhookEvent) -> WebhookEvent:
    """Apply an event, new or from the inbox, unless it is finished; raises what a handler raised.

    Money that has to go back because of it, after a rejection or a fraud warning, goes back at once.
    """
    # Whoever has it processed, what is recorded of it is in the site's own language.
    is_sites = get_language() == settings.LANGUAGE_CODE
    with nullcontext() if is_sites else override(settings.LANGUAGE_CODE):
        try:
            _fetch_object(event)
            with write_transaction():
                row, follow_up = _process(event)
        except Exception as error:
            _record_failure(event, error)
            raise
        if follow_up:
            with journal.acting(source=PaymentChange.Source.WEBHOOK, event_id=row.pk):
                follow_up()
    return row


class EventStep(Step[WebhookEvent]):
    """Processes events that failed or were left behind, and those that wait for a worker."""

    name = "events"
    column = "retry_at"
    asks_stripe = False
    lease = LEASE

    def list_due(self, now: dt.datetime) -> QuerySet[WebhookEvent]:
        """Return the latest due first."""
        return WebhookEvent.ledger.filter(retry_at__lte=now).order_by("-retry_at")

    def do(self, row: WebhookEvent) -> str:
        """Process an event; why it failed is on it and in the log."""
        try:
            return process_event(row).status
        except WebhookEvent.DoesNotExist:
            return "deleted"
        except Exception:  # noqa: BLE001 - it is recorded
            return Outcome.FAILED


def _read(payload: dict[str, Any], *, account: str) -> WebhookEvent:
    try:
        kept = payload if isinstance(payload, Redacted) else redact(payload)
        context = read_text(kept, "context", default="").rpartition("/")[2]
        is_connected = context.startswith("acct_")
        event = WebhookEvent(
            stripe_event_id=read_text(kept, "id"),
            account=account,
            # A thin event names what it is about in `context`, the connected account last.
            stripe_account=read_text(kept, "account", default="") or (context if is_connected else ""),
            type=read_text(kept, "type", default=""),
            livemode=kept.get("livemode") is True,
            payload=kept,
        )
    except (BadRequestError, RecursionError) as error:
        logger.error("[OctoStripeGateway] A signed event can't be taken in: %s", error)  # noqa: TRY400
        raise BadRequestError(_("The event is not one of Stripe's.")) from error
    if event.is_thin and not handlers.is_handled(event):
        event.type = _read_type_of_thin(event)
    with suppress(BadRequestError):
        event.payment_intent_id = event.read_payment_intent_id()
    return event


def _read_type_of_thin(event: WebhookEvent) -> str:
    """Return the type that a thin event would have if it brought its object; raises BadRequestError.

    One that is handled by nobody is refused: an event that is ignored is never sent again.
    """
    name = event.type.removeprefix("v1.")
    if _get_object_path(event) and (name in handlers.SNAPSHOTS or handlers.HOST_HANDLERS.get(name)):
        return name
    logger.error(
        "[OctoStripeGateway] Event %s (%s) is refused: it comes from an event destination that sends thin"
        " events, and its type is not handled; see `manage.py stripe_doctor`",
        event.stripe_event_id,
        event.type,
    )
    raise BadRequestError(_("Thin events of this type are not handled."))


def _get_object_path(event: WebhookEvent) -> str:
    related = event.payload.get("related_object")
    path = related.get("url") if isinstance(related, dict) else None
    return path if isinstance(path, str) and path.startswith("/v1/") else ""


def _fetch_object(event: WebhookEvent) -> None:
    """Give a thin event its object as it is now, and the second that it was read in; raises StripeError."""
    if event.has_object or not event.is_thin or event.type == event.payload["type"]:
        return
    stripe_object, as_of = stripe_client.retrieve_object(_get_object_path(event), origin=event.origin)
    event.payload = redact({**event.payload, "created": as_of, "data": {"object": stripe_object}})
    event.payment_intent_id = event.read_payment_intent_id()


def _process(event: WebhookEvent) -> tuple[WebhookEvent, FollowUp | None]:
    """Insert the event as processed, or lock its row, and apply it; runs in the caller's transaction.

    Returns the row, and what is to be done once that is committed.
    """
    row, is_new = _claim(event)
    if row.is_finished and not (is_new and handlers.is_handled(row)):
        return row, None
    had_failed, payload = row.status == WebhookEvent.Status.FAILED, row.payload
    if not is_new:
        _mark(row, WebhookEvent.Status.PROCESSED)
        if event.has_object and not row.has_object:
            row.payload, row.payment_intent_id = event.payload, event.payment_intent_id
    with journal.acting(source=PaymentChange.Source.WEBHOOK, event_id=row.pk):
        follow_up = _handle(row)
    if had_failed:
        concerns.end_reported(
            concerns.EVENT_FAILED,
            concerns.PAYABLE_UNAVAILABLE,
            concerns.PAYMENT_UNKNOWN,
            object_id=row.stripe_event_id,
        )
    is_reduced = row.payload is not payload
    if not is_new or row.error_code or is_reduced or row.status != WebhookEvent.Status.PROCESSED:
        # The payload is by far the largest column, and seldom changes.
        changed = ("payload", "payment_intent_id") if is_reduced else ()
        WebhookEvent.ledger.save_changed(row, names=(*OUTCOME_COLUMNS, *changed))
    return row, follow_up


def _claim(event: WebhookEvent) -> tuple[WebhookEvent, bool]:
    """Return the event's row, locked, and whether it is new: that one is inserted with its likely outcome."""
    if event.pk is None:
        _mark(event, WebhookEvent.Status.PROCESSED)
        if not handlers.is_handled(event):
            _ignore(event)
        if WebhookEvent.ledger.insert(event, or_ignore=True):
            return event, True
        # A duplicate of what is finished needs neither the lock nor the payload.
        known = _find(event, columns=("id", "status"))
        if known and known.is_finished:
            return known, False
    return _get(event, lock=True), False


def _handle(event: WebhookEvent) -> FollowUp | None:
    """Run the handlers of an event, and set its outcome where it isn't simply processed.

    Returns what is to be done once that is committed.
    """
    kind, host_handlers = handlers.SNAPSHOTS.get(event.type), handlers.HOST_HANDLERS.get(event.type, [])
    payment = _get_payment(event) if kind or host_handlers else None
    was_rejected = bool(payment and payment.rejection_code)
    follow_up = None
    if payment and event.origin != payment.origin:
        # It can't speak for the payment.
        record(payment, EventOfAnother(event.stripe_event_id, as_of=event.as_of))
        _note(event, concerns.EVENT_OF_ANOTHER, event=event.stripe_event_id)
    elif payment and kind:
        is_old = bool(event.api_version) and event.api_version[:10] < FIRST_TRUE_REFUNDS
        if not is_old or kind in handlers.SAME_IN_ALL_VERSIONS:
            event.error_code = handlers.apply(event, payment)
        elif payment.charge_as_of <= event.as_of:
            # It is only a hint to sync the payment, which finishes the event.
            _note(event, concerns.ENDPOINT_OUTDATED, version=event.api_version)
            _mark(event, WebhookEvent.Status.RECEIVED)
            endpoint = "/".join([event.account, event.stripe_account]).strip("/")
            concerns.report_concern(concerns.ENDPOINT_OUTDATED, object_id=endpoint, version=event.api_version)
            record(payment, SyncNeeded())
    elif kind:
        follow_up = _handle_unmatched(event, has_host_handlers=bool(host_handlers))
    elif not host_handlers:
        _ignore(event)
    if host_handlers and event.status == WebhookEvent.Status.PROCESSED and not event.error_code:
        with running_host():
            for host_handler in host_handlers:
                host_handler(event, payment)
    if payment and payment.erased_at:
        event.minimize()
    return _get_follow_up(payment, kind=kind, was_rejected=was_rejected) if payment else follow_up


def _get_follow_up(payment: Payment, *, kind: type[Snapshot] | None, was_rejected: bool) -> FollowUp | None:
    if payment.needs_reversal and not was_rejected:
        return partial(reverse_rejected, payment)
    if payment.needs_acceptance or payment.needs_authorization:
        return partial(_ask_stripe, services.complete_payment, payment)
    if kind is FraudWarningSnapshot and gateway_settings.refund_fraud_warnings:
        return partial(_ask_stripe, resume_requests, payment)
    return None


def _ask_stripe(operation: Callable[[Payment], object], payment: Payment) -> None:
    """Do at Stripe what follows from an event; maintenance does so if that fails."""
    try:
        operation(payment)
    except PaymentRejectedError:
        return
    except GatewayError:
        logger.exception("[OctoStripeGateway] Payment %s has to wait for Stripe", payment)


def _handle_unmatched(event: WebhookEvent, *, has_host_handlers: bool) -> FollowUp | None:
    """Set the outcome of an event whose payment has no row; raises UnknownPaymentError if it is paid.

    An event that isn't about an intent says too little: its intent is asked for afterwards.
    """
    if handlers.SNAPSHOTS[event.type] is PaymentIntentSnapshot:
        currency = read_text(event.stripe_object, "currency", default="")
        provenance = judge(event.metadata, currency=currency, origin=event.origin)
    elif is_foreign(event.metadata):
        provenance = Provenance.FOREIGN
    elif not event.payment_intent_id or not _is_used(event):
        provenance = Provenance.OF_ANOTHER_SYSTEM
    else:
        _mark(event, WebhookEvent.Status.RECEIVED)
        return partial(_judge_by_intent, event)
    _conclude(event, provenance, has_host_handlers=has_host_handlers)
    return None


def _judge_by_intent(event: WebhookEvent) -> None:
    """Ask Stripe whose the intent of a waiting event is; without an answer the event goes on waiting."""
    try:
        snapshot = stripe_client.retrieve_payment_intent(event.payment_intent_id, origin=event.origin)
        provenance = judge_intent(snapshot, origin=event.origin)
    except StripeRefusedError:
        provenance = Provenance.OF_ANOTHER_SYSTEM
    except GatewayError as error:
        logger.warning("[OctoStripeGateway] Event %s can't be judged: %s", event.stripe_event_id, error)
        return
    with write_transaction():
        row = _get(event, lock=True)
        if row.status == WebhookEvent.Status.RECEIVED:
            _conclude(row, provenance, has_host_handlers=False)
            WebhookEvent.ledger.save_changed(row, names=(*OUTCOME_COLUMNS, "payload"))


def _conclude(event: WebhookEvent, provenance: Provenance, *, has_host_handlers: bool) -> None:
    is_paid = event.type == "payment_intent.succeeded"
    if provenance is Provenance.OURS and is_paid:
        raise UnknownPaymentError("Stripe says that a payment of ours is paid, and there is no row for it.")
    if provenance is Provenance.UNPROVEN and is_paid and _is_used(event):
        report_unproven(event.payment_intent_id, origin=event.origin)
    waits = event.received_at > timezone.now() - UNMATCHED_EVENT_TTL
    if provenance is Provenance.OURS and waits:
        _mark(event, WebhookEvent.Status.RECEIVED)
    elif provenance is not Provenance.OF_ANOTHER_SYSTEM or not has_host_handlers:
        _ignore(event)


def _is_used(event: WebhookEvent) -> bool:
    """Tell whether there has been a payment for the event's connected account, if it is of one."""
    connected = event.stripe_account
    # The first condition is the index's.
    used = Payment.ledger.exclude(stripe_account="").filter(stripe_account=connected)
    return not connected or used.filter(account=event.account).exists()


def _ignore(event: WebhookEvent) -> None:
    _mark(event, WebhookEvent.Status.IGNORED)
    event.minimize()


def _mark(event: WebhookEvent, status: WebhookEvent.Status) -> None:
    event.status = status
    event.processed_at = timezone.now() if event.is_finished else None
    event.schedule_retry()
    if status == WebhookEvent.Status.PROCESSED:
        event.error_code, event.error_parameters = "", {}
        event.attempts += 1


def _note(event: WebhookEvent, kind: concerns.Kind, /, **parameters: Any) -> None:
    event.error_code, event.error_parameters = kind.code, parameters


def _get_payment(event: WebhookEvent) -> Payment | None:
    if event.type not in handlers.SNAPSHOTS and not event.has_object:
        return None
    # Raises if the object's intent is invalid, in which case the event's own column was left empty.
    intent_id = event.payment_intent_id or event.read_payment_intent_id()
    payment = Payment.ledger.get_by(lock=True, stripe_payment_intent_id=intent_id)
    # Only a copy of another installation's database has rows of what that one made.
    if payment and not gateway_settings.installation_id:
        return payment
    metadata = event.metadata
    if is_foreign(metadata):
        return None
    payment_uuid = metadata.get(PAYMENT_METADATA_KEY)
    if payment or not payment_uuid:
        return payment
    return Payment.ledger.get_locked_by_intent(intent_id, payment_uuid=payment_uuid, origin=event.origin)


def _record_failure(event: WebhookEvent, error: Exception) -> None:
    message = "[OctoStripeGateway] Event %s (%s) failed"
    logger.error(message, event.stripe_event_id, event.type, exc_info=error)
    with write_transaction():
        failed = WebhookEvent(**{name: getattr(event, name) for name in RECEIVED_COLUMNS})
        _fail(failed, error)
        if not WebhookEvent.ledger.insert(failed, or_ignore=True):
            failed = _get(event, lock=True)
            if not failed.is_finished:
                _fail(failed, error)
                WebhookEvent.ledger.save_changed(failed, names=OUTCOME_COLUMNS)
        if failed.status == WebhookEvent.Status.FAILED:
            concerns.report_concern(
                concerns.KINDS[failed.error_code], object_id=failed.stripe_event_id, **failed.error_parameters
            )
    if isinstance(error, UnknownPaymentError):
        # What a receiver raises is in the log; the event is delivered again, and so is the signal.
        sent: dict[str, Any] = {"event": _get(event), "change_id": event.stripe_event_id}
        send_to_all(signals.payment_unknown, sender=WebhookEvent, **sent)


def _fail(event: WebhookEvent, error: Exception) -> None:
    _mark(event, WebhookEvent.Status.FAILED)
    event.attempts += 1
    if isinstance(error, UnknownPaymentError):
        _note(event, concerns.PAYMENT_UNKNOWN, payment_intent=event.payment_intent_id)
        return
    is_unavailable = isinstance(error, PayableUnavailableError)
    kind = concerns.PAYABLE_UNAVAILABLE if is_unavailable else concerns.EVENT_FAILED
    cause = error.__cause__ or error if is_unavailable else error
    _note(event, kind, type=event.type, error=type(cause).__name__, message=clean_text(str(cause)))


def _get(event: WebhookEvent, *, lock: bool = False) -> WebhookEvent:
    row = _find(event, lock=lock)
    if row is None:
        raise WebhookEvent.DoesNotExist
    return row


def _find(event: WebhookEvent, **how: Any) -> WebhookEvent | None:
    return WebhookEvent.ledger.get_by(
        **how,
        stripe_event_id=event.stripe_event_id,
        account=event.account,
        stripe_account=event.stripe_account,
    )
