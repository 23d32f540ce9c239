"""Every admin page of ours, to be opened in a host that `--ds` names: no test of this one's."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.factories import PaymentFactory, WebhookEventFactory
from tests.shop.models import Booking

PAID: dict[str, Any] = {"intent_status": "succeeded", "amount_received": 2000, "status": "paid"}
OPERATIONS: dict[str, dict[str, Any]] = {
    "refund": PAID,
    "sync": {},
    "cancel": {},
    "capture": {"status": "authorized"},
}


def list_pages() -> list[str]:
    """Make a row of each kind, and return the addresses of all pages."""
    ours = "admin:octo_stripe_gateway"
    pages = [reverse("admin:index"), reverse("admin:app_list", args=["octo_stripe_gateway"])]
    for name in ("payment", "webhookevent", "payablelock"):
        pages.append(reverse(f"{ours}_{name}_changelist"))
    for operation, state in OPERATIONS.items():
        payment = PaymentFactory.create(stripe_payment_intent_id=f"pi_{operation}", **state)
        pages.append(reverse(f"{ours}_payment_{operation}", args=[payment.pk]))
    pages += [reverse(f"{ours}_payment_change", args=[each.pk]) for each in Payment.objects.all()]
    event = WebhookEventFactory.create(status=WebhookEvent.Status.FAILED)
    pages += [reverse(f"{ours}_webhookevent_{each}", args=[event.pk]) for each in ("change", "reprocess")]
    booking = Booking.objects.create()
    PaymentFactory.create(payable=booking, stripe_payment_intent_id="pi_booking", **PAID)
    return pages + [reverse(f"admin:shop_booking_{each}", args=[booking.pk]) for each in BOOKING_PAGES]


BOOKING_PAGES = ("change", "refund_payments")


def test_every_page_opens(admin_client: Client) -> None:
    admin_client.raise_request_exception = False
    statuses = {page: admin_client.get(page).status_code for page in list_pages()}
    assert {page: status for page, status in statuses.items() if status != 200} == {}
    listed = reverse("admin:octo_stripe_gateway_webhookevent_changelist")
    chosen = {"action": "reprocess_selected", "_selected_action": [WebhookEvent.objects.get().pk]}
    assert admin_client.post(listed, chosen).status_code == 200
    assert admin_client.post(listed, chosen | {"_selected_action": ["abc"]}).status_code == 302
    refund = reverse("admin:octo_stripe_gateway_payment_refund", args=[Payment.objects.earliest("pk").pk])
    page = admin_client.get(refund).content.decode()
    for name in ("amount", "reason", "due_again", "key"):
        assert f'name="{name}"' in page
    assert admin_client.post(refund, {"amount": "x"}).status_code == 200
