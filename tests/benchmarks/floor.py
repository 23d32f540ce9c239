"""The least that hand-written Django does for the same work, without authentication, locks or an inbox."""

from __future__ import annotations

import functools
import json
from typing import Any

import requests
import stripe
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from octo_stripe_gateway.models import Payment, StripeRequest
from tests.benchmarks.settings import API_KEY_AT_STRIPE, UPSTREAM, WEBHOOK_SECRET

INSERT_EVENT = """
    INSERT INTO octo_stripe_gateway_webhookevent (stripe_event_id, account, stripe_account, type, livemode,
        payload, payment_intent_id, status, attempts, error, received_at, processed_at)
    VALUES (%s, '', '', %s, false, %s, %s, 'processed', 1, '', %s, %s)
    ON CONFLICT DO NOTHING RETURNING id
"""
LOCK_PAYMENT = "SELECT id FROM octo_stripe_gateway_payment WHERE stripe_payment_intent_id = %s FOR UPDATE"
UPDATE_PAYMENT = """
    UPDATE octo_stripe_gateway_payment
    SET status = 'paid', amount_received = %s, confirmed_at = %s, updated_at = %s WHERE id = %s
"""
INSERT_CHANGE = """
    INSERT INTO octo_stripe_gateway_paymentchange (payment_id, changes, source, actor, event_id, created_at,
        undelivered, deliveries, delivery_error)
    VALUES (%s, %s, 'webhook', '', %s, %s, '{}', 0, '')
"""
PAID = {"status": ["pending", "paid"]}


@csrf_exempt
def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@csrf_exempt
def take_event(request: HttpRequest) -> HttpResponse:
    """Verify and update by ORM, and nothing else."""
    signature = request.headers["Stripe-Signature"]
    stripe.WebhookSignature.verify_header(request.body, signature, WEBHOOK_SECRET, 300)
    intent = json.loads(request.body)["data"]["object"]
    Payment.objects.filter(stripe_payment_intent_id=intent["id"]).update(
        status="paid", amount_received=intent["amount_received"]
    )
    return JsonResponse({"received": True})


@csrf_exempt
def take_event_safely(request: HttpRequest) -> HttpResponse:
    """Verify, store the event, lock, update and journal, in hand-written SQL without any decisions."""
    signature = request.headers["Stripe-Signature"]
    stripe.WebhookSignature.verify_header(request.body, signature, WEBHOOK_SECRET, 300)
    event = json.loads(request.body)
    intent, now = event["data"]["object"], timezone.now()
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute(INSERT_EVENT, [event["id"], event["type"], json.dumps(event), intent["id"], now, now])
        inserted = cursor.fetchone()
        if inserted:
            cursor.execute(LOCK_PAYMENT, [intent["id"]])
            (pk,) = cursor.fetchone()
            cursor.execute(UPDATE_PAYMENT, [intent["amount_received"], now, now, pk])
            cursor.execute(INSERT_CHANGE, [pk, json.dumps(PAID), inserted[0], now])
    return JsonResponse({"received": True})


def read(request: HttpRequest, pk: int) -> HttpResponse:
    payment = Payment.objects.get(pk=pk)
    return JsonResponse(_describe(payment))


@csrf_exempt
def create(request: HttpRequest) -> HttpResponse:
    body = json.loads(request.body)
    intent = _get_client().v1.payment_intents.create(
        {
            "amount": body["amount"],
            "currency": body["currency"],
            "automatic_payment_methods": {"enabled": True},
        }
    )
    return JsonResponse({"id": intent.id, "clientSecret": intent.client_secret}, status=201)


@csrf_exempt
def create_safely(request: HttpRequest) -> HttpResponse:
    """Write the payment and the request before Stripe is asked, and the intent and a change after, by ORM."""
    body = json.loads(request.body)
    with transaction.atomic():
        payment = Payment.objects.create(amount=body["amount"], currency=body["currency"])
        asked = payment.stripe_requests.create(kind="create", parameters=body)
    answer = create(request)
    intent_id = json.loads(answer.content)["id"]
    with transaction.atomic():
        Payment.objects.filter(pk=payment.pk).update(stripe_payment_intent_id=intent_id)
        StripeRequest.objects.filter(pk=asked.pk).update(state="done", answered_at=timezone.now())
        payment.changes.create(
            source="api", request=asked, changes={"stripe_payment_intent_id": [None, intent_id]}
        )
    return answer


@csrf_exempt
def complete(request: HttpRequest, pk: int) -> HttpResponse:
    payment = Payment.objects.get(pk=pk)
    intent = _get_client().v1.payment_intents.retrieve(str(payment.stripe_payment_intent_id))
    status = "paid" if intent.status == "succeeded" else "pending"
    with transaction.atomic():
        Payment.objects.filter(pk=pk).update(status=status, amount_received=intent.amount_received)
        payment.changes.create(source="api", changes={"status": [payment.status, status]})
    payment.status, payment.amount_received = status, intent.amount_received
    return JsonResponse(_describe(payment))


@csrf_exempt
def refund(request: HttpRequest, pk: int) -> HttpResponse:
    payment = Payment.objects.get(pk=pk)
    asked = payment.stripe_requests.create(kind="refund", parameters={"amount": payment.amount})
    made = _get_client().v1.refunds.create({"payment_intent": str(payment.stripe_payment_intent_id)})
    with transaction.atomic():
        payment.refunds.create(amount=payment.amount, stripe_refund_id=made.id, status=str(made.status))
        Payment.objects.filter(pk=pk).update(status="refunded", amount_refunded=payment.amount)
        StripeRequest.objects.filter(pk=asked.pk).update(state="done", answered_at=timezone.now())
        payment.changes.create(source="api", request=asked, changes={"status": ["paid", "refunded"]})
    payment.status, payment.amount_refunded = "refunded", payment.amount
    return JsonResponse(_describe(payment))


@csrf_exempt
def complete_safely(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask Stripe outside any transaction, and write under the row's lock, since webhooks write too."""
    payment = Payment.objects.get(pk=pk)
    intent = _get_client().v1.payment_intents.retrieve(str(payment.stripe_payment_intent_id))
    status = "paid" if intent.status == "succeeded" else "pending"
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=pk)
        refunds = list(payment.refunds.all())
        changes = {"status": [payment.status, status]}
        payment.status, payment.amount_received = status, intent.amount_received
        payment.amount_refunded = sum(refund.amount for refund in refunds)
        _save(payment, "status", "amount_received", "amount_refunded")
        payment.changes.create(source="api", changes=changes)
    return JsonResponse(_describe(payment))


@csrf_exempt
def refund_safely(request: HttpRequest, pk: int) -> HttpResponse:
    """Reserve the amount under the row's lock, ask Stripe, and write its answer under the lock again."""
    payment = Payment.objects.get(pk=pk)
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=pk)
        held = payment.amount_received - sum(refund.amount for refund in payment.refunds.all())
        made = payment.refunds.create(amount=held, status="pending")
        payment.amount_reserved = held
        _save(payment, "amount_reserved")
        asked = payment.stripe_requests.create(kind="refund", refund=made, parameters={"amount": held})
        payment.changes.create(source="api", changes={"amount_reserved": [0, held]})
    answer = _get_client().v1.refunds.create({"payment_intent": str(payment.stripe_payment_intent_id)})
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=pk)
        refunds = {refund.pk: refund for refund in payment.refunds.all()}
        made = refunds[made.pk]
        made.stripe_refund_id, made.status = answer.id, str(answer.status)
        made.save(update_fields=["stripe_refund_id", "status", "updated_at"])
        payment.amount_refunded, payment.amount_reserved = sum(each.amount for each in refunds.values()), 0
        payment.status = "refunded"
        _save(payment, "amount_refunded", "amount_reserved", "status")
        asked.state, asked.answered_at = "done", timezone.now()
        asked.save(update_fields=["state", "answered_at"])
        payment.changes.create(source="api", request=asked, changes={"status": ["paid", "refunded"]})
    return JsonResponse(_describe(payment))


def _save(payment: Payment, *names: str) -> None:
    # Bypass the model's own save(), which leaves these columns to the ledger.
    models.Model.save(payment, update_fields=[*names, "updated_at"])


def _describe(payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.pk,
        "uuid": payment.uuid,
        "amount": payment.amount,
        "currency": payment.currency,
        "currencyPrecision": 2,
        "status": payment.status,
        "gateway": "stripe",
        "stripePaymentIntentId": payment.stripe_payment_intent_id,
        "publishableKey": "pk_test_benchmark",
        "totalRefunded": payment.amount_refunded,
        "refund": "NONE",
        "refundable": False,
        "testMode": not payment.livemode,
        "metadata": payment.metadata,
        "resellerReference": payment.reseller_reference,
        "payable": None,
        "failure": None,
        "utcCreatedAt": payment.created_at,
        "utcUpdatedAt": payment.updated_at,
        "utcConfirmedAt": payment.confirmed_at,
        "utcFailedAt": payment.failed_at,
        "utcRefundedAt": payment.refunded_at,
        "utcCancelledAt": payment.canceled_at,
    }


@functools.cache
def _get_client() -> stripe.StripeClient:
    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=64))
    return stripe.StripeClient(
        API_KEY_AT_STRIPE,
        base_addresses={"api": UPSTREAM},
        http_client=stripe.RequestsClient(timeout=(3, 30), session=session),
        max_network_retries=0,
    )
