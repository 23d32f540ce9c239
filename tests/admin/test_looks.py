"""Every page of the admin in a browser: nothing sticks out, no column is cut, on a desk and a phone."""

from __future__ import annotations

import datetime as dt
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from octo_stripe_gateway.models import Concern, Dispute, PayableLock
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import (
    ConcernFactory,
    PaymentFactory,
    RefundFactory,
    StripeRequestFactory,
    WebhookEventFactory,
)
from tests.admin.test_pictures import move, owe, see
from tests.shop.models import Booking, Ticket
from tests.support.browser import COLUMNS_FIT, FITS, LOOKS, MARKS, SCREENSHOTS, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Route

POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'"
STYLED = """[...document.querySelectorAll('.breadcrumbs')]
    .every(each => getComputedStyle(each).backgroundColor !== 'rgba(0, 0, 0, 0)')"""
APP = "octo_stripe_gateway"

pytestmark = [
    *MARKS,
    pytest.mark.slow,
    pytest.mark.django_db,
    pytest.mark.urls("tests.support.admin_urls"),
]


@pytest.fixture
def office(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def look_at(pages: dict[str, str]) -> None:
    """Open pages in a browser, save how they look, and check that everything fits."""

    def answer(route: Route) -> None:
        name = route.request.url.removeprefix("http://shop.test/")
        if name in pages:
            headers = {"Content-Security-Policy": POLICY}
            route.fulfill(body=pages[name], content_type="text/html; charset=utf-8", headers=headers)
        elif found := finders.find(name.removeprefix("static/")):
            route.fulfill(body=Path(found).read_bytes(), content_type=mimetypes.guess_type(name)[0])
        else:
            # Django's own messages for scripts.
            route.fulfill(content_type="text/javascript")

    problems: list[str] = []
    with open_browser() as browser:
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.route("**/*", answer)
        for name in pages:
            page.goto(f"http://shop.test/{name}")
            for look, viewport, scheme in LOOKS:
                page.set_viewport_size(viewport)
                page.emulate_media(color_scheme=scheme)
                path = SCREENSHOTS / f"{name}-{look}.png"
                page.screenshot(path=path, full_page=True, animations="disabled")
                if not (page.evaluate(FITS) and page.evaluate(COLUMNS_FIT)):
                    problems.append(f"{name} is too wide, {look}")
            if not page.evaluate(STYLED):
                problems.append(f"{name} has no style of this Django's")
    assert problems == []


def test_pictures_look_right_for_every_shop(office: Client) -> None:
    pages = {"pictures-empty": see(office)}
    move(4200)
    pages["pictures-one-day"] = see(office)
    for days in range(1, 30):
        move(3000 + 700 * (days % 7), days=days)
        if days % 4 == 0:
            move(-900 - 100 * days, days=days, category="refund")
    move(-5200, days=11, category="dispute")
    pages["pictures-one-currency"] = see(office)
    move(812_000, days=3, currency="jpy")
    owe(3000, days=-1)
    owe(12_000, days=5)
    pages["pictures-full"] = see(office)
    pages["pictures-year"] = see(office, days=365)
    look_at(pages)


def test_no_page_of_the_admin_is_too_wide(office: Client, stripe: StripeEmulator) -> None:
    fill()
    look_at({name: page for name, path in list_pages().items() if (page := read(office, path))})


def read(client: Client, path: str) -> str:
    """Return a page, empty where it leads elsewhere, since its operation isn't possible."""
    response: Any = client.get(path)
    assert response.status_code in {200, 302}, path
    return str(response.content.decode()) if response.status_code == 200 else ""


def list_pages() -> dict[str, str]:
    """Return the addresses of the index, and of every list, row and operation, by name."""
    pages = {"index": reverse("admin:index"), "app": reverse("admin:app_list", args=[APP])}
    for model, its_admin in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        if model._meta.app_label != APP and model is not Booking:
            continue
        pages[f"{name}-list"] = reverse(f"admin:{name}_changelist")
        operations = [operation.name for operation in getattr(its_admin, "operations", ())]
        for number, row in enumerate(model._default_manager.order_by("pk"), start=1):
            for each in ("change", *operations):
                pages[f"{name}-{number}-{each}"] = reverse(f"admin:{name}_{each}", args=[row.pk])
    return pages


def fill() -> None:
    """Make rows whose texts and amounts are as long as they get."""
    booking = Booking.objects.create(price=1_234_500, currency="usd")
    ticket = Ticket.objects.create(code="T-1")
    visitor = "tourshop.auth.visitor:e65c21f49d3b4d0c8e1f"
    move(123_456_789, payable=booking, owner=visitor, reseller_reference="VIATOR-88213-X")
    move(-900, category="partial_capture_reversal", currency="bhd", payable=ticket, livemode=True)
    PaymentFactory.create(authorized=True, amount=12_000, currency="jpy", payable=ticket, owner=visitor)
    PaymentFactory.create(paid=True, amount=123_456_789, amount_refunded=23_456_789)
    PaymentFactory.create(failed=True, amount=8950, currency="eur", payable=booking)
    RefundFactory.create(payment__paid=True, payment__payable=booking, amount=700)
    disputed = PaymentFactory.create(
        paid=True, disputed=True, has_concerns=True, payable=booking, owner="key:viator", account="emea"
    )
    Dispute.objects.create(
        payment=disputed,
        stripe_dispute_id="du_1PqXyz",
        amount=1300,
        currency="usd",
        reason="fraudulent",
        status="needs_response",
        evidence_due_by=1_900_000_000,
    )
    differences = {"differences": {"amount": [2000, 1900]}}
    ConcernFactory.create(payment=disputed, code="intent_differs", parameters=differences)
    ConcernFactory.create(payment__owner="auth.user:42")
    ConcernFactory.create(settled=True, payment=disputed, reason="Paid by bank transfer. " * 9)
    Concern.objects.create(
        code="payment_unknown",
        object_id="pi_3PqXyzAbCdEfGhIjKlMnOpQr",
        parameters={"payment_intent": "pi_3PqXyzAbCdEfGhIjKlMnOpQr"},
        opened_at=timezone.now(),
    )
    StripeRequestFactory.create(payment=disputed, kind="refund", parameters={"amount": 700})
    WebhookEventFactory.create(failed=True, payment=disputed)
    WebhookEventFactory.create(processed=True, payment=disputed, type="charge.dispute.funds_reinstated")
    WebhookEventFactory.create(failed=True, error_code="payment_unknown")
    for days in (-3, 30):
        owe(1_234_500, days=days)
    lock = PayableLock.ledger.hold(booking)
    due_at = timezone.now() + dt.timedelta(days=30)
    PayableLock.objects.filter(pk=lock.pk).update(amount_due=1000, currency="usd", next_due_at=due_at)
