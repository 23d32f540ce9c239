"""Cancelling what was paid for, by the API."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway.models import PayableLock, Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking, Voucher
from tests.support.api import GatewayApi
from tests.support.callers import KEYS, CallerApi, authenticate, make_user

pytestmark = pytest.mark.django_db

PRICE = 9000


@pytest.fixture
def booking(monkeypatch: pytest.MonkeyPatch) -> Booking:
    terms = [(timezone.now() + dt.timedelta(days=1), Decimal("0.5"))]
    monkeypatch.setattr(Booking, "get_refund_terms", lambda _self: terms, raising=False)
    return Booking.objects.create(price=PRICE, currency="usd")


@pytest.fixture
def callers(configure: Callable[..., None]) -> None:
    configure(IDENTIFY_CALLER=authenticate, API_GATEWAY_KEY=KEYS)


def name(payable: Any, **fields: Any) -> dict[str, Any]:
    return {"payable": {"type": payable._meta.model_name, "id": str(payable.pk)}, **fields}


def cancel(api: GatewayApi, to_cancel: Any, **fields: Any) -> Any:
    return api.request("POST", "/payments/cancellations", {**name(to_cancel), **fields})


def test_preview_tells_what_the_cancellation_gives(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    api.paid(stripe, name(booking))
    wanted = {
        "amount": 4500,
        "kept": 4500,
        "currency": "usd",
        "currencyPrecision": 2,
        "payable": {"type": "booking", "id": str(booking.pk)},
    }
    answer = cancel(api, booking, preview=True).json()
    assert answer["balance"]["kept"] is None
    assert answer == {**wanted, "preview": True, "balance": answer["balance"]}
    assert not stripe.refunds
    answer = cancel(api, booking).json()
    assert (answer["balance"]["kept"], answer["balance"]["refunded"]) == (4500, 4500)
    assert answer == {**wanted, "preview": False, "balance": answer["balance"]}
    assert cancel(api, booking).json()["amount"] == 0
    assert cancel(api, booking, waive=True).json()["amount"] == 4500


def test_preview_writes_nothing(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    assert cancel(api, booking, preview=True).status_code == 200
    assert not PayableLock.objects.exists()


@pytest.mark.parametrize("fields", [{"waive": 1}, {"preview": "yes"}, {"amount": 1}, {"payable": None}])
def test_body_is_checked(api: GatewayApi, booking: Booking, fields: dict[str, Any]) -> None:
    assert cancel(api, booking, **fields).status_code == 400
    assert not PayableLock.objects.exists()


def test_what_has_no_price_is_not_cancelled(api: GatewayApi) -> None:
    answer = cancel(api, Voucher.objects.create())
    assert (answer.status_code, "no price" in answer.json()["errorMessage"]) == (422, True)


@pytest.mark.usefixtures("callers")
@pytest.mark.parametrize(
    ("caller", "payer", "status"),
    [
        ("key:gateway-key", "key:viator-key", 200),
        ("key:gateway-key", "", 200),
        ("key:viator-key", "key:viator-key", 200),
        ("key:klook-key", "key:viator-key", 400),
        ("key:klook-key", "", 400),
        ("user:agent", "key:viator-key", 400),
        ("user:agent", "user:agent", 200),
        ("user:office", "key:viator-key", 200),
        ("user:ann", "user:ann", 403),
        ("name:guest", "name:guest", 403),
        ("", "", 401),
    ],
)
def test_who_sees_all_payments_and_has_the_permission_cancels(
    stripe: StripeEmulator, booking: Booking, caller: str, payer: str, status: int
) -> None:
    make_user("ann"), make_user("agent", "cancel_payable")
    make_user("office", "cancel_payable", "view_payment")
    if payer:
        CallerApi(payer).paid(stripe, name(booking))
    answer = cancel(CallerApi(caller), booking)
    assert answer.status_code == status, answer.content
    assert (Booking.objects.get().payments.get_dues().kept is not None) is (status == 200)
    assert sum(each.amount_refunded for each in Payment.objects.all()) == (
        4500 if status == 200 and payer else 0
    )


def test_answer_for_another_caller_s_booking_is_as_for_one_that_is_not_there(
    stripe: StripeEmulator, booking: Booking, callers: None
) -> None:
    CallerApi("key:viator-key").paid(stripe, name(booking))
    klook = CallerApi("key:klook-key")
    others = cancel(klook, booking)
    missing = klook.request(
        "POST", "/payments/cancellations", {"payable": {"type": "booking", "id": "999999"}}
    )
    assert (others.status_code, others.json()) == (missing.status_code, missing.json())


# Pay links, which go by the same rules.


@pytest.mark.usefixtures("callers")
@pytest.mark.parametrize(
    ("caller", "status"),
    [
        ("key:gateway-key", 201),
        ("key:klook-key", 400),
        ("user:agent", 400),
        ("user:office", 201),
        ("user:ann", 403),
        ("", 401),
    ],
)
def test_who_sees_all_payments_and_has_the_permission_makes_and_revokes_links(
    stripe: StripeEmulator, booking: Booking, caller: str, status: int
) -> None:
    make_user("ann"), make_user("agent", "add_paymentlink", "delete_paymentlink")
    make_user("office", "add_paymentlink", "delete_paymentlink", "view_payment")
    CallerApi("key:viator-key").create(name(booking))
    office, api = CallerApi("key:gateway-key"), CallerApi(caller)
    answer = api.request("POST", "/payments/links", name(booking, utcExpiresAt="2099-01-01T00:00:00Z"))
    assert answer.status_code == status, answer.content
    link = office.request("POST", "/payments/links", name(booking, purpose="full")).json()["url"]
    assert link.startswith("http://testserver/bookings/pay/")
    revoked = api.request("POST", "/payments/links/revocations", name(booking, url=link))
    assert revoked.status_code == {201: 200}.get(status, status)
    assert office.client.get(link).status_code == (404 if status == 201 else 200)
    if status == 201:
        assert revoked.json() == {"revoked": 1}
        assert api.request("POST", "/payments/links/revocations", name(booking)).json() == {"revoked": 1}
        assert answer.json() == {
            "url": answer.json()["url"],
            "payable": {"type": "booking", "id": str(booking.pk)},
            "purpose": None,
            "utcExpiresAt": "2099-01-01T00:00:00Z",
        }


@pytest.mark.parametrize(
    "fields", [{"utcExpiresAt": "soon"}, {"purpose": 1}, {"amount": 1}, {"payable": None}]
)
def test_body_of_a_link_is_checked(api: GatewayApi, booking: Booking, fields: dict[str, Any]) -> None:
    assert api.request("POST", "/payments/links", {**name(booking), **fields}).status_code == 400
