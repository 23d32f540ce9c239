"""The views by hand. Reads go through the ORM, writes by cursor; Stripe is asked by `raw_request`.

They are as safe as ours: keys are compared in constant time, the rates of named keys are counted, and their
holders find nobody else's payments; each request or event is on record before anything is done, rows are
locked, changes are journaled, and no transaction is open while Stripe is asked. They decide nothing beyond
that.
"""

from __future__ import annotations

import functools
import hmac
import json
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import requests
import stripe
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from tests.benchmarks.hand.models import Change, Event, Payment
from tests.benchmarks.settings import API_KEY, API_KEY_AT_STRIPE, NAMED_KEY, UPSTREAM, WEBHOOK_SECRET

PAID = "payment_intent.succeeded"
RATE = 1_000_000_000
# The integrator's key has no name, and no rate.
KEYS = {"": API_KEY, "viator": NAMED_KEY}
LIST_LENGTH = 100

INSERT_EVENT = """
    INSERT INTO hand_event (stripe_event_id, type, payload, received_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING id
"""
LOCK_PAYMENT = """
    SELECT id, status, amount, currency, amount_received, amount_refunded, amount_reserved FROM hand_payment
    WHERE {} = %s FOR UPDATE
"""
UPDATE_PAID = """
    UPDATE hand_payment SET status = 'paid', amount_received = %s, confirmed_at = %s, updated_at = %s
    WHERE id = %s
"""
INSERT_CHANGE = "INSERT INTO hand_change (payment_id, changes, event_id, created_at) VALUES (%s, %s, %s, %s)"
INSERT_PAYMENT = """
    INSERT INTO hand_payment (uuid, amount, currency, status, amount_received, amount_refunded,
        amount_reserved, metadata, owner, created_at, updated_at)
    VALUES (%s, %s, %s, 'pending', 0, 0, 0, %s, %s, %s, %s) RETURNING id
"""
INSERT_REQUEST = """
    INSERT INTO hand_request (payment_id, kind, key, parameters, state, created_at)
    VALUES (%s, %s, %s, %s, 'open', %s) RETURNING id
"""
FINISH_REQUEST = "UPDATE hand_request SET state = 'done' WHERE id = %s"
INSERT_REFUND = "INSERT INTO hand_refund (payment_id, amount, status) VALUES (%s, %s, 'pending') RETURNING id"

View = Callable[..., HttpResponse]


def with_key(view: View) -> View:
    """Let in who holds the key, unless the address has sent too many wrong ones."""

    @csrf_exempt
    @functools.wraps(view)
    def checked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        # By address, since whose key a wrong one is meant to be nobody knows.
        address = request.META["REMOTE_ADDR"]
        if cache.get(get_counter(address, "wrong"), 0) >= RATE:
            return HttpResponse(status=429)
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        holders = [name for name, key in KEYS.items() if hmac.compare_digest(sent, key.encode())]
        if not holders:
            within_rate(address, "wrong")
            return JsonResponse({"error": "FORBIDDEN", "errorMessage": "The key is wrong."}, status=403)
        return view(request, owner=holders[0], **kwargs)

    return checked


def get_counter(whose: str, action: str) -> str:
    return f"hand:{action}:{whose}:{int(timezone.now().timestamp()) // 60}"


def within_rate(whose: str, action: str) -> bool:
    key = get_counter(whose, action)
    return not whose or bool(cache.add(key, 1, 60)) or int(cache.incr(key)) <= RATE


def list_seen(owner: str) -> QuerySet[Payment]:
    """Return the payments that the holder of a key sees: the integrator all, others their own."""
    return Payment.objects.filter(owner=owner) if owner else Payment.objects.all()


@csrf_exempt
def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@with_key
def read(request: HttpRequest, *, owner: str, pk: int) -> HttpResponse:
    return JsonResponse(describe(list_seen(owner).get(pk=pk)))


@with_key
def read_list(request: HttpRequest, *, owner: str) -> HttpResponse:
    if not within_rate(owner, "list"):
        return HttpResponse(status=429)
    payments = list_seen(owner).order_by("-created_at", "-id")[:LIST_LENGTH]
    return JsonResponse([describe(each) for each in payments], safe=False)


@csrf_exempt
def take_event(request: HttpRequest) -> HttpResponse:
    """Verify the event, put it on record, lock the payment, update it and journal: four statements.

    An event that fails is not on record, so that whatever is repeated of one that is needs no second look.
    """
    event = verify(request)
    intent, now, payment = event["data"]["object"], timezone.now(), None
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(INSERT_EVENT, [event["id"], event["type"], json.dumps(event), now])
        inserted = cursor.fetchone()
        if inserted and event["type"] == PAID:
            cursor.execute(LOCK_PAYMENT.format("stripe_payment_intent_id"), [intent["id"]])
            payment = cursor.fetchone()
        # Other systems' intents have no payment here.
        if payment:
            pk, status, amount, currency, *_amounts = payment
            # Stripe may say anything: only what was asked for is paid.
            if status == "pending" and (intent["amount_received"], intent["currency"]) == (amount, currency):
                cursor.execute(UPDATE_PAID, [intent["amount_received"], now, now, pk])
                cursor.execute(
                    INSERT_CHANGE, [pk, json.dumps({"status": [status, "paid"]}), inserted[0], now]
                )
    return JsonResponse({"received": True})


@csrf_exempt
def take_event_by_orm(request: HttpRequest) -> HttpResponse:
    """Do the same by Django's ORM."""
    event = verify(request)
    intent = event["data"]["object"]
    with transaction.atomic():
        row, is_new = Event.objects.get_or_create(
            stripe_event_id=event["id"], defaults={"type": event["type"], "payload": event}
        )
        if is_new and event["type"] == PAID:
            payment = Payment.objects.select_for_update().get(stripe_payment_intent_id=intent["id"])
            asked = (payment.amount, payment.currency)
            if payment.status == "pending" and (intent["amount_received"], intent["currency"]) == asked:
                payment.status, payment.amount_received = "paid", intent["amount_received"]
                payment.confirmed_at = timezone.now()
                payment.save(update_fields=["status", "amount_received", "confirmed_at", "updated_at"])
                Change.objects.create(
                    payment=payment, changes={"status": ["pending", "paid"]}, event_id=row.pk
                )
    return JsonResponse({"received": True})


@with_key
def create(request: HttpRequest, *, owner: str) -> HttpResponse:
    """Put payment and request on record, ask Stripe, and record its answer."""
    if not within_rate(owner, "create"):
        return HttpResponse(status=429)
    body = json.loads(request.body)
    if not is_valid(body):
        return JsonResponse({"error": "BAD_REQUEST", "errorMessage": "The body is wrong."}, status=400)
    payment = Payment(amount=body["amount"], currency=body["currency"], metadata=body["metadata"])
    payment.created_at = payment.updated_at = now = timezone.now()
    key = uuid.uuid4()
    asked = {
        "amount": payment.amount,
        "currency": payment.currency,
        "automatic_payment_methods": {"enabled": True},
        "metadata": {"hand_payment": str(payment.uuid), **payment.metadata},
    }
    with transaction.atomic(), connection.cursor() as cursor:
        values: list[Any] = [
            payment.uuid,
            payment.amount,
            payment.currency,
            json.dumps(payment.metadata),
            owner,
            now,
            now,
        ]
        cursor.execute(INSERT_PAYMENT, values)
        (payment.pk,) = cursor.fetchone()
        cursor.execute(INSERT_REQUEST, [payment.pk, "create", key, json.dumps(asked), now])
        (request_id,) = cursor.fetchone()
    intent = ask("post", "/v1/payment_intents", key=key, **asked)
    if (intent["amount"], intent["currency"]) != (payment.amount, payment.currency):
        return JsonResponse({"error": "BAD_GATEWAY", "errorMessage": "Stripe's intent differs."}, status=502)
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_PAYMENT.format("id"), [payment.pk])
        cursor.execute(
            "UPDATE hand_payment SET stripe_payment_intent_id = %s, updated_at = %s WHERE id = %s",
            [intent["id"], now, payment.pk],
        )
        cursor.execute(FINISH_REQUEST, [request_id])
        changes = {"stripe_payment_intent_id": [None, intent["id"]]}
        cursor.execute(INSERT_CHANGE, [payment.pk, json.dumps(changes), None, now])
    payment.stripe_payment_intent_id = intent["id"]
    return JsonResponse(describe(payment) | {"clientSecret": intent["client_secret"]}, status=201)


@csrf_exempt
def payments(request: HttpRequest) -> HttpResponse:
    return create(request) if request.method == "POST" else read_list(request)


@with_key
def complete(request: HttpRequest, *, owner: str, pk: int) -> HttpResponse:
    """Ask Stripe how the payment stands, and record it under the row's lock."""
    if not within_rate(owner, "complete"):
        return HttpResponse(status=429)
    payment = list_seen(owner).get(pk=pk)
    path = f"/v1/payment_intents/{payment.stripe_payment_intent_id}"
    intent = ask("get", path, expand=["latest_charge.refunds", "latest_charge.balance_transaction"])
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_PAYMENT.format("id"), [pk])
        _pk, status, amount, currency, *_amounts = cursor.fetchone()
        is_paid = intent["status"] == "succeeded" and intent["id"] == payment.stripe_payment_intent_id
        if (
            is_paid
            and status == "pending"
            and (intent["amount_received"], intent["currency"]) == (amount, currency)
        ):
            cursor.execute(UPDATE_PAID, [intent["amount_received"], now, now, pk])
            cursor.execute(INSERT_CHANGE, [pk, json.dumps({"status": [status, "paid"]}), None, now])
            payment.status, payment.amount_received = "paid", intent["amount_received"]
            payment.confirmed_at = now
    return JsonResponse(describe(payment))


@with_key
def refund(request: HttpRequest, *, owner: str, pk: int) -> HttpResponse:
    """Reserve what is held under the row's lock, ask Stripe, and record its answer under the lock."""
    if not within_rate(owner, "refund"):
        return HttpResponse(status=429)
    payment, now, key = list_seen(owner).get(pk=pk), timezone.now(), uuid.uuid4()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_PAYMENT.format("id"), [pk])
        _pk, _status, _amount, _currency, received, refunded, reserved = cursor.fetchone()
        held = received - refunded - reserved
        if held <= 0:
            return JsonResponse(
                {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "Nothing is held."}, status=400
            )
        cursor.execute(INSERT_REFUND, [pk, held])
        (refund_id,) = cursor.fetchone()
        asked = {
            "payment_intent": payment.stripe_payment_intent_id,
            "amount": held,
            "metadata": {"hand_refund": str(refund_id)},
        }
        cursor.execute(INSERT_REQUEST, [pk, "refund", key, json.dumps(asked), now])
        (request_id,) = cursor.fetchone()
        cursor.execute(
            "UPDATE hand_payment SET amount_reserved = %s, updated_at = %s WHERE id = %s",
            [reserved + held, now, pk],
        )
        changes = {"amount_reserved": [reserved, reserved + held]}
        cursor.execute(INSERT_CHANGE, [pk, json.dumps(changes), None, now])
    made = ask("post", "/v1/refunds", key=key, **asked)
    # Stripe may say anything: only what was asked for, and may yet go back, counts.
    is_made = made["amount"] == held and made["status"] not in {"failed", "canceled"}
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK_PAYMENT.format("id"), [pk])
        _pk, status, _amount, _currency, received, refunded, reserved = cursor.fetchone()
        cursor.execute(
            "UPDATE hand_refund SET stripe_refund_id = %s, status = %s WHERE id = %s",
            [made["id"], made["status"], refund_id],
        )
        payment.amount_refunded = refunded + (held if is_made else 0)
        payment.status = "refunded" if payment.amount_refunded >= received else status
        cursor.execute(
            "UPDATE hand_payment SET status = %s, amount_refunded = %s, amount_reserved = %s, updated_at = %s"
            " WHERE id = %s",
            [payment.status, payment.amount_refunded, reserved - held, now, pk],
        )
        cursor.execute(FINISH_REQUEST, [request_id])
        changes = {"amount_refunded": [refunded, payment.amount_refunded], "status": [status, payment.status]}
        cursor.execute(INSERT_CHANGE, [pk, json.dumps(changes), None, now])
    return JsonResponse(describe(payment))


def verify(request: HttpRequest) -> dict[str, Any]:
    """Return the event, without the client secret; raises SignatureVerificationError."""
    signature = request.headers["Stripe-Signature"]
    stripe.WebhookSignature.verify_header(request.body, signature, WEBHOOK_SECRET, 300)
    event: dict[str, Any] = json.loads(request.body)
    event["data"]["object"].pop("client_secret", None)
    return event


def ask(method: str, path: str, *, key: uuid.UUID | None = None, **params: Any) -> dict[str, Any]:
    options = {"idempotency_key": str(key)} if key else {}
    data: dict[str, Any] = get_client().raw_request(method, path, **params, **options).data
    return data


def is_valid(body: Any) -> bool:
    """Tell whether a body asks for a payment, and for nothing that is unknown."""
    if not isinstance(body, dict) or not body.keys() <= {"amount", "currency", "metadata"}:
        return False
    amount, currency, metadata = body.get("amount"), body.get("currency"), body.get("metadata", {})
    return (
        type(amount) is int
        and 0 < amount < 10**12
        and isinstance(currency, str)
        and len(currency) == 3
        and isinstance(metadata, dict)
        and len(metadata) <= 50
        and all(isinstance(each, str) and len(each) <= 500 for each in metadata.values())
    )


def describe(payment: Payment) -> dict[str, Any]:
    """Return OCTO's answer, whole: what the narrow table has no column for is null."""
    return {
        "id": payment.pk,
        "uuid": str(payment.uuid),
        "amount": payment.amount,
        "currency": payment.currency,
        "currencyPrecision": 2,
        "status": payment.status,
        "gateway": "stripe",
        "stripePaymentIntentId": payment.stripe_payment_intent_id,
        "publishableKey": "pk_test_benchmark",
        "stripeAccount": None,
        "amountReceived": payment.amount_received,
        "totalRefunded": payment.amount_refunded,
        "refund": "NONE",
        "refundable": payment.amount_received > payment.amount_refunded + payment.amount_reserved,
        "testMode": True,
        "metadata": payment.metadata,
        "resellerReference": None,
        "purpose": None,
        "payable": None,
        "failure": None,
        "utcCreatedAt": format_utc(payment.created_at),
        "utcUpdatedAt": format_utc(payment.updated_at),
        "utcExpiresAt": None,
        "utcConfirmedAt": format_utc(payment.confirmed_at),
        "utcFailedAt": None,
        "utcRefundedAt": None,
        "utcCancelledAt": None,
    }


def format_utc(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


@functools.cache
def get_client() -> stripe.StripeClient:
    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=64))
    session.trust_env = False
    return stripe.StripeClient(
        API_KEY_AT_STRIPE,
        base_addresses={"api": UPSTREAM},
        http_client=stripe.RequestsClient(timeout=(3, 30), session=session),
        max_network_retries=2,
    )
