"""Pay links: what they lead to, what they tell, and what no race or changed character does with them."""

from __future__ import annotations

import datetime as dt
import hmac
import json
import string
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.test import Client
from django.urls import set_urlconf
from django.utils import timezone

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.exceptions import (
    ConfigurationError,
    GatewayError,
    NothingDueError,
    UnprocessableError,
)
from octo_stripe_gateway.models import PayableLock, Payment, PaymentLink, StripeRequest
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.services.payment_links import find_payment_link
from octo_stripe_gateway.testing.emulator import Fault, StripeApiError, StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking, Voucher
from tests.support.api import GatewayApi
from tests.support.receivers import listening
from tests.support.threads import needs_row_locks, run_together

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = 9000
JSON = "application/json"
LATE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def booking() -> Booking:
    return Booking.objects.create(price=PRICE, currency="usd")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [("deposit", 3000, None), ("balance", 6000, LATE)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)


def make_link(payable: Any, **options: Any) -> str:
    return services.create_payment_link(payable, **options)


def open_page(link: str, **headers: str) -> Any:
    return Client().get(link, headers=headers)


def create(link: str, body: Any = None, **headers: str) -> Any:
    path = f"{link}/payments"
    return Client().post(path, body or {}, content_type=JSON, headers=headers)


def complete(link: str, payment: Any) -> Any:
    return Client().patch(f"{link}/payments/{payment['uuid']}/complete")


def pay(link: str, stripe: StripeEmulator) -> Any:
    payment = create(link).json()
    stripe.confirm(payment["stripeClientSecret"].partition("_secret")[0])
    return complete(link, payment).json()


def assert_leads_nowhere(link: str) -> None:
    """Check that page and API answer as for a link that never was."""
    unknown = f"/bookings/pay/{'A' * 43}"
    for answer, other in (
        (open_page(link), open_page(unknown)),
        (create(link), create(unknown)),
        (complete(link, {"uuid": uuid.UUID(int=0)}), complete(unknown, {"uuid": uuid.UUID(int=0)})),
    ):
        assert answer.status_code == other.status_code == 404
        assert answer.content == other.content
        assert set(answer.headers) == set(other.headers)


# What is shown, and paid.


@pytest.mark.usefixtures("in_parts")
def test_link_is_paid_without_an_account(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking, purpose="balance")
    page = open_page(link)
    assert page.status_code == 200
    text = page.content.decode()
    assert ("Booking" in text, "60.00 USD" in text) == (True, True)
    answer = pay(link, stripe)
    assert (answer["status"], answer["purpose"], answer["balance"]) == (
        "CONFIRMED",
        "balance",
        {"due": 3000, "currency": "usd"},
    )
    assert "It is paid already." in open_page(link).content.decode()
    refused = create(link)
    assert (refused.status_code, refused.json()["balance"]) == (422, {"due": 3000, "currency": "usd"})


def test_page_creates_nothing(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)
    rows = PayableLock.objects.values_list().get()
    for method in ("get", "head"):
        assert getattr(Client(), method)(link).status_code == 200
    assert Client().post(link).status_code == 405
    assert (Payment.objects.count(), StripeRequest.objects.count(), stripe.requests) == (0, 0, [])
    assert PayableLock.objects.values_list().get() == rows


def test_page_tells_title_and_amount_only(stripe: StripeEmulator, booking: Booking) -> None:
    services.create_payment(payable=booking, metadata={"guest": "Ada"}, reseller_reference="R-1")
    booking = Booking.objects.create(pk=777_777, price=PRICE, currency="usd")
    link = make_link(booking)
    page, answer = open_page(link), create(link).json()
    assert str(booking.pk) not in page.content.decode().replace(str(booking), "")
    assert answer["payable"] == {"type": "link", "id": link.rpartition("/")[2]}
    assert answer.keys() == {
        *("uuid", "amount", "currency", "currencyPrecision", "status", "gateway", "publishableKey"),
        *("stripeAccount", "stripeClientSecret", "purpose", "failure", "utcExpiresAt", "payable", "balance"),
    }
    assert str(booking.pk) not in str(answer)


def test_page_is_kept_by_nobody(booking: Booking) -> None:
    headers = open_page(make_link(booking)).headers
    assert {name: headers[name] for name in ("Cache-Control", "Referrer-Policy", "X-Robots-Tag")} == {
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Robots-Tag": "noindex",
    }


def test_page_needs_nothing_inline(stripe: StripeEmulator, booking: Booking) -> None:
    page = open_page(make_link(booking)).content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert page.count("<script") == page.count("<script src=") == 3


@pytest.mark.parametrize(("language", "words"), [("de", "Fällig"), ("ja-JP", "お支払い"), ("en", "Due")])
def test_page_is_in_the_readers_language(booking: Booking, language: str, words: str) -> None:
    page = open_page(make_link(booking), **{"Accept-Language": language})
    assert words in page.content.decode()
    assert f'<html lang="{language.partition("-")[0]}' in page.content.decode()


def test_host_may_replace_the_page(booking: Booking, settings: Any, tmp_path: Any) -> None:
    (tmp_path / "octo_stripe_gateway").mkdir()
    (tmp_path / "octo_stripe_gateway/pay.html").write_text("{{ title }}: {{ due }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    assert open_page(make_link(booking)).content.decode() == f"{booking}: 90.00 USD"


def test_address_is_whole_where_the_site_is_known(booking: Booking, configure: Any) -> None:
    path = make_link(booking)
    assert path.startswith("/bookings/pay/")
    configure(SITE_URL="https://shop.example.com/")
    assert make_link(booking) == f"https://shop.example.com{path}"


def test_repeated_call_returns_the_same_link(booking: Booking) -> None:
    soon = timezone.now() + dt.timedelta(days=1)
    links = [make_link(booking, **options) for options in ({}, {}, {"expires_at": soon}, {"purpose": "full"})]
    assert (links[0] == links[1], len(set(links))) == (True, 3)


def test_link_that_would_end_as_it_is_made_is_refused(
    booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    with pytest.raises(UnprocessableError, match="has run out"):
        make_link(booking, expires_at=now)
    make_link(booking, expires_at=now + dt.timedelta(microseconds=1))


def test_link_without_a_pay_page_is_a_fault_of_the_hosts(booking: Booking, settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.shop.apps"
    host: Any = __import__("tests.shop.apps", fromlist=["apps"])
    host.urlpatterns = []
    set_urlconf(None)
    with pytest.raises(ConfigurationError, match="doesn't include"):
        make_link(booking)


@pytest.mark.usefixtures("in_parts")
def test_link_for_what_cant_be_paid_is_refused(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    with pytest.raises(UnprocessableError, match="by that name"):
        make_link(booking, purpose="tip")
    with pytest.raises(UnprocessableError, match="no price"):
        make_link(Voucher.objects.create())
    api.paid(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    with pytest.raises(NothingDueError):
        make_link(booking, purpose="deposit")


@pytest.mark.usefixtures("in_parts")
def test_reminder_carries_a_link(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    api.paid(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    heard: list[str] = []
    with listening(signals.installment_due, lambda payment_link, **_: heard.append(payment_link)):
        run_upkeep(limit=100)
    (link,) = heard
    assert pay(link, stripe)["purpose"] == "balance"


# Whose the payment is.


@pytest.mark.parametrize("says", [True, False])
def test_link_and_the_customers_own_page_find_the_same_payment(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch, says: bool
) -> None:
    customer = Caller("auth.user:7")
    if says:
        monkeypatch.setattr(Booking, "get_payment_owner", lambda _self: customer.owner, raising=False)
    link = make_link(booking)
    own = services.create_payment(payable=booking, caller=customer) if not says else None
    linked = create(link).json()
    again = services.create_payment(payable=booking, caller=customer)
    assert again.client_secret == linked["stripeClientSecret"]
    assert own is None or own.client_secret == again.client_secret
    assert [each["status"] for each in stripe.payment_intents.values()] == ["requires_payment_method"]
    assert Payment.objects.get().owner == customer.owner


def test_link_finds_no_other_payment(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    other = services.create_payment(payable=Booking.objects.create(), caller=Caller("auth.user:7")).payment
    bare = services.create_payment(2000).payment
    link = make_link(booking)
    for payment in (other, bare):
        assert complete(link, {"uuid": payment.uuid}).status_code == 404


@pytest.mark.parametrize(
    "body", [{"amount": 1}, {"payable": {"type": "voucher", "id": 1}}, {"purpose": "tip"}, {"uuid": "1"}]
)
def test_body_changes_nothing_of_what_the_link_says(
    stripe: StripeEmulator, booking: Booking, body: dict[str, Any]
) -> None:
    assert create(make_link(booking), body).json()["amount"] == PRICE


# What must never be: a stale price, a payment twice, a revoked link, another payable, a tale.


def test_price_is_what_is_due_when_the_customer_pays(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)
    Booking.objects.update(price=12_000)
    assert "120.00 USD" in open_page(link).content.decode()
    opened = create(link).json()
    assert opened["amount"] == 12_000
    Booking.objects.update(price=15_000)
    again = create(link).json()
    assert (again["amount"], again["uuid"]) == (15_000, opened["uuid"])
    assert [each["amount"] for each in stripe.payment_intents.values()] == [15_000]


def test_stale_price_is_sent_back(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)
    opened = create(link).json()
    stripe.confirm(opened["stripeClientSecret"].partition("_secret")[0])
    Booking.objects.update(price=15_000)
    answer = complete(link, opened)
    assert (answer.status_code, answer.json()["errorMessage"]) == (422, "The price has changed.")
    assert [each["amount"] for each in stripe.refunds.values()] == [PRICE]


@needs_row_locks
def test_two_devices_pay_once(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)

    def pay_once() -> Any:
        answer = create(link)
        if answer.status_code != 201:
            return answer.status_code
        payment = answer.json()
        try:
            stripe.confirm(payment["stripeClientSecret"].partition("_secret")[0])
        except StripeApiError:
            return "refused"
        return complete(link, payment).status_code

    outcomes = run_together([pay_once] * 6)
    assert outcomes.count(200) == 1, outcomes
    charged = [each["amount"] - each["amount_refunded"] for each in stripe.charges.values() if each["paid"]]
    assert sum(charged) == PRICE
    assert services.get_dues(booking).due == 0


@needs_row_locks
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("purposes", [("deposit", "balance"), ("deposit", "full"), ("balance", "full", "")])
def test_links_for_different_parts_take_the_price_once(
    purposes: tuple[str, ...], stripe: StripeEmulator, booking: Booking
) -> None:
    """Whoever comes to pay at once, and in whatever order Stripe tells of it."""
    links = [make_link(booking, purpose=purpose) for purpose in purposes] * 2
    answers = run_together([lambda link=link: create(link) for link in links])  # type: ignore[misc]
    assert {answer.status_code for answer in answers} <= {201, 409}
    paid = 0
    for intent_id in [*stripe.payment_intents]:
        with suppress(StripeApiError):
            stripe.confirm(intent_id)
            paid += 1
    assert paid
    api = GatewayApi(Client())
    signed = [stripe.signed(event) for event in reversed(stripe.events)]
    assert set(run_together([lambda one=one: api.post_event(*one).status_code for one in signed])) == {200}  # type: ignore[misc]
    run_upkeep(limit=100)
    for link in links:
        payment = create(link)
        if payment.status_code == 201:
            stripe.confirm(payment.json()["stripeClientSecret"].partition("_secret")[0])
            assert complete(link, payment.json()).status_code == 200
    dues = services.get_dues(booking)
    assert (dues.received, dues.due, dues.surplus) == (PRICE, 0, 0)
    held = [each["amount"] - each["amount_refunded"] for each in stripe.charges.values() if each["paid"]]
    assert sum(held) == PRICE


def test_paid_by_another_owner_meanwhile_is_sent_back(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)
    linked = create(link).json()
    other = services.create_payment(payable=booking, caller=Caller("key:viator"))
    stripe.confirm(other.payment.intent_id)
    services.complete_payment(other.payment)
    stripe.confirm(linked["stripeClientSecret"].partition("_secret")[0])
    assert complete(link, linked).status_code == 422
    assert services.get_dues(booking).received == PRICE
    assert [each["amount"] for each in stripe.refunds.values()] == [PRICE]


@pytest.mark.parametrize("all_", [False, True])
def test_revoked_link_leads_nowhere(stripe: StripeEmulator, booking: Booking, all_: bool) -> None:
    soon = timezone.now() + dt.timedelta(days=1)
    link, other = make_link(booking), make_link(booking, expires_at=soon)
    kept = make_link(Booking.objects.create())
    create(link)
    assert services.revoke_payment_links(booking, address="" if all_ else link) == (2 if all_ else 1)
    assert_leads_nowhere(link)
    assert open_page(other).status_code == (404 if all_ else 200)
    assert open_page(kept).status_code == 200
    assert make_link(booking) != link
    assert_leads_nowhere(link)


@pytest.mark.parametrize("status", ["requires_payment_method", "requires_action"])
def test_payment_that_is_open_when_its_link_is_revoked_is_paid_no_more(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(Booking, "get_payment_owner", lambda _self: "auth.user:7", raising=False)
    link = make_link(booking)
    payment = create(link).json()
    intent_id = payment["stripeClientSecret"].partition("_secret")[0]
    if status == "requires_action":
        stripe.confirm(intent_id, "pm_card_authenticationRequired")
    assert stripe.payment_intents[intent_id]["status"] == status
    agents = services.create_payment(payable=booking, caller=Caller("key:viator")).payment
    services.revoke_payment_links(booking)
    statuses = [stripe.payment_intents[each]["status"] for each in (intent_id, agents.intent_id)]
    assert statuses == ["canceled", "requires_payment_method"]
    assert complete(link, payment).json()["status"] == "CANCELLED"


@pytest.mark.parametrize("ends", ["revoke", "expire"])
def test_who_paid_before_the_link_ended_is_told_so(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    late = timezone.now() + dt.timedelta(days=1)
    link = make_link(booking, expires_at=late)
    payment, other = create(link).json(), Booking.objects.create(price=PRICE, currency="usd")
    others = create(make_link(other)).json()
    stripe.confirm(payment["stripeClientSecret"].partition("_secret")[0])
    if ends == "revoke":
        services.revoke_payment_links(booking)
    else:
        monkeypatch.setattr(timezone, "now", lambda: late)
    assert complete(link, payment).json()["status"] == "CONFIRMED"
    assert services.get_dues(booking).due == 0
    # It tells of nothing else.
    for uuid_ in (others["uuid"], payment["uuid"][:-1], "1", "x", "%00"):
        assert complete(link, {"uuid": uuid_}).status_code == 404
    assert (create(link).status_code, open_page(link).status_code) == (404, 404)


def test_links_of_another_payable_are_not_revoked(booking: Booking) -> None:
    link = make_link(booking)
    for address in (link, "/bookings/pay/nothing", "nothing"):
        assert services.revoke_payment_links(Booking.objects.create(), address=address) == 0
    assert open_page(link).status_code == 200


@needs_row_locks
@pytest.mark.parametrize("ends", ["revoke", "cancel"])
def test_link_that_is_revoked_while_it_is_paid_gives_nothing_away(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Stripe answers the creation after the link was revoked."""
    link, hold = make_link(booking), stripe.hold(path="/v1/payment_intents")
    # Who cancels would wait for the creation.
    for name in ("cancellation.expire_payment", "payment_links.cancel_payment"):
        monkeypatch.setattr(f"octo_stripe_gateway.services.{name}", lambda _payment, **_options: None)

    def revoke() -> Any:
        hold.wait_until_reached()
        try:
            if ends == "revoke":
                return services.revoke_payment_links(Booking.objects.get())
            return services.cancel_payable(Booking.objects.get())
        finally:
            hold.release()

    answer, _revoked = run_together([lambda: create(link), revoke])
    assert answer.status_code == 404
    assert "secret" not in answer.content.decode()


def test_expired_link_leads_nowhere(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking, expires_at=timezone.now() + dt.timedelta(days=1))
    assert "Pay by" in open_page(link).content.decode()
    PaymentLink.objects.update(expires_at=timezone.now())
    assert_leads_nowhere(link)


def test_link_that_runs_out_while_it_is_looked_up_starts_no_payment(
    booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = make_link(booking)
    monkeypatch.setattr(PaymentLink, "is_usable", False)
    assert create(link).status_code == 404


def test_link_of_what_is_gone_leads_nowhere(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)
    booking.delete()
    assert open_page(link).status_code == create(link).status_code == 404


def test_link_of_what_is_canceled_leads_nowhere(stripe: StripeEmulator, booking: Booking) -> None:
    link = make_link(booking)
    create(link)
    services.cancel_payable(booking)
    assert_leads_nowhere(link)
    with pytest.raises(UnprocessableError, match="canceled"):
        make_link(booking)


@needs_row_locks
def test_no_link_outlives_a_cancellation_at_the_same_time(stripe: StripeEmulator) -> None:
    for _each in range(5):
        booking = Booking.objects.create(price=PRICE, currency="usd")

        def link_it(pk: int = booking.pk) -> Any:
            try:
                return make_link(Booking.objects.get(pk=pk))
            except GatewayError:
                return ""

        def cancel_it(pk: int = booking.pk) -> Any:
            return services.cancel_payable(Booking.objects.get(pk=pk))

        links = run_together([link_it, cancel_it, link_it])
        for link in filter(None, (links[0], links[2])):
            assert open_page(link).status_code == 404


def test_changed_character_leads_nowhere(booking: Booking) -> None:
    Booking.objects.create()
    link = make_link(booking)
    head, _slash, token = link.rpartition("/")
    assert len(token) == 43
    for place, letter in enumerate(token):
        for other in {*string.ascii_letters[:4], "_", "-", "0", "9", "="} - {letter}:
            changed = token[:place] + other + token[place + 1 :]
            assert find_payment_link(changed) is None, changed
    for changed in (token + "A", token + "=", token[:-1], token.upper(), "ä" * 43, "%00", "'", "A" * 5000):
        assert find_payment_link(changed) is None
    assert_leads_nowhere(f"{head}/{token[:-1]}{'A' if token[-1] != 'A' else 'B'}")


@pytest.mark.parametrize("column", ["uuid", "payable_id", "purpose", "expires_at"])
def test_token_is_for_its_row_as_it_was_signed(booking: Booking, column: str) -> None:
    other = Booking.objects.create()
    link = make_link(booking)
    changed = {
        "uuid": uuid.uuid4(),
        "payable_id": str(other.pk),
        "purpose": "full",
        "expires_at": timezone.now() + dt.timedelta(days=1),
    }
    PaymentLink.objects.update(**{column: changed[column]})
    assert_leads_nowhere(link)


def test_token_is_for_its_installation(booking: Booking, configure: Callable[..., None]) -> None:
    link = make_link(booking)
    configure(INSTALLATION_ID="a-copy")
    assert_leads_nowhere(link)


def test_what_the_key_signs_for_another_purpose_is_no_token(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key signs the metadata of payments too, which a connected account's holder can read."""
    sign, messages = hmac.digest, []

    def note(key: bytes, message: bytes, digest: str) -> bytes:
        messages.append(json.loads(message))
        return sign(key, message, digest)

    monkeypatch.setattr(hmac, "digest", note)
    make_link(booking)
    services.create_payment(payable=booking)
    assert [message[0] for message in messages].count("pay link") == 1


def test_key_is_rotated(booking: Booking, configure: Callable[..., None]) -> None:
    configure(SIGNING_KEY="old-signing-key")
    link = make_link(booking)
    configure(SIGNING_KEY=["new-signing-key", "old-signing-key"])
    assert open_page(link).status_code == 200
    assert open_page(make_link(booking)).status_code == 200
    configure(SIGNING_KEY="new-signing-key")
    assert_leads_nowhere(link)


def test_live_links_need_a_key_of_ones_own(booking: Booking, configure: Callable[..., None]) -> None:
    link = make_link(booking)
    configure(STRIPE_API_KEY="sk_live_gateway", STRIPE_PUBLISHABLE_KEY=None)
    with pytest.raises(ConfigurationError):
        make_link(booking)
    assert find_payment_link(link.rpartition("/")[2]) is None


def test_secret_key_signs_nothing(booking: Booking, settings: Any) -> None:
    link = make_link(booking)
    settings.SECRET_KEY = "another"
    assert open_page(link).status_code == 200


def test_create_whose_answer_is_lost_ends_on_the_same_payment(
    stripe: StripeEmulator, booking: Booking
) -> None:
    link = make_link(booking)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents", when="after"))
    assert create(link, **{"Idempotency-Key": "one"}).status_code == 503
    assert create(link, **{"Idempotency-Key": "one"}).status_code == 201
    assert len(stripe.payment_intents) == 1


@pytest.mark.parametrize("many", ["links", "addresses"])
def test_link_and_address_have_a_rate(
    many: str, stripe: StripeEmulator, booking: Booking, configure: Callable[..., None]
) -> None:
    configure(THROTTLE_RATES={"create": "2/minute"})
    statuses = []
    for number in range(3):
        about = Booking.objects.create(price=PRICE, currency="usd") if many == "links" else booking
        client = Client(REMOTE_ADDR="10.0.0.1" if many == "links" else f"10.0.1.{number}")
        statuses.append(client.post(f"{make_link(about)}/payments", {}, JSON).status_code)
    assert statuses == [201, 201, 429]


def test_deadline_is_told(stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch) -> None:
    link = make_link(booking)
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: LATE, raising=False)
    page = open_page(link)
    assert (page.status_code, "has run out" in page.content.decode()) == (200, True)
    assert create(link).status_code == 422
    with pytest.raises(UnprocessableError, match="has run out") as raised:
        make_link(booking)
    assert raised.value.values == {"utcExpiresAt": "2026-01-01T00:00:00Z"}


def test_what_was_paid_is_paid_after_its_deadline_too(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = make_link(booking)
    pay(link, stripe)
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: LATE, raising=False)
    assert "It is paid already." in open_page(link).content.decode()
    refused = create(link, **{"Accept-Language": "de"})
    assert (refused.status_code, refused.json()["errorMessage"]) == (422, "Es ist bereits bezahlt.")
    with pytest.raises(NothingDueError, match="It is paid already"):
        make_link(booking)


@pytest.mark.usefixtures("in_parts")
def test_link_for_a_part_that_is_no_more_leads_nowhere(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = make_link(booking, purpose="deposit")
    monkeypatch.setattr(Booking, "get_installments", lambda _self: [("all", PRICE, None)])
    page = open_page(link)
    assert (page.status_code, "It is paid already." in page.content.decode()) == (404, False)
    assert create(link).status_code == 422


@pytest.mark.usefixtures("in_parts")
def test_paid_part_is_no_paid_booking_after_the_deadline(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = make_link(booking, purpose="deposit")
    pay(link, stripe)
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: LATE, raising=False)
    assert "has run out" in open_page(link).content.decode()
    assert create(link, **{"Accept-Language": "ja"}).json()["errorMessage"] != "It is paid already."
    with pytest.raises(UnprocessableError, match="has run out"):
        make_link(booking, purpose="deposit")
