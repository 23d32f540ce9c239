"""Whatever goes wrong on the way to Stripe and back: a clear error, no double effect, healed by a retry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import stripe as sdk
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import BadRequestError, OperationInProgressError
from octo_stripe_gateway.models import Payment, Refund, StripeRequest
from octo_stripe_gateway.services import payments, requests
from octo_stripe_gateway.services.idempotency import ANYONE
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.emulator.idempotency import Answer
from tests.support.api import GatewayApi, When
from tests.support.cases import one_in
from tests.support.ledger import assert_ledger_equals, sync_unsettled
from tests.support.threads import needs_row_locks, run_and_disconnect

pytestmark = pytest.mark.django_db

KEY = {"Idempotency-Key": "the-client's"}
UUID = "a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"
CREATION = {"amount": 2000, "currency": "usd", "uuid": UUID}

# Stripe's faults, each with the statuses that a client may see.
FAULTS = {
    "timeout before": (Fault(kind="delay", seconds=0.6), {503, 409}),
    "timeout after": (Fault(kind="delay", seconds=0.6, when="after"), {503}),
    "500 before": (Fault(), {503}),
    "500 after": (Fault(when="after"), {503}),
    "500 after, not kept": (Fault(when="after", save=False), {503}),
    "503 before": (Fault(status=503), {503}),
    "429": (Fault(status=429), {503}),
    "429 after": (Fault(status=429, when="after"), {503}),
    "reset before": (Fault(kind="reset"), {503}),
    "reset after": (Fault(kind="reset", when="after"), {503}),
    "proxy 404 before": (Fault(kind="proxy", status=404), {503}),
    "proxy 404 after": (Fault(kind="proxy", status=404, when="after"), {503}),
    "proxy 408 after": (Fault(kind="proxy", status=408, when="after"), {503}),
    "proxy 413 before": (Fault(kind="proxy", status=413), {503}),
}


@dataclasses.dataclass(frozen=True)
class Call:
    """One call to Stripe, and the request that makes it."""

    method: str
    path: str
    prepare: Callable[[GatewayApi, StripeEmulator], Any]
    request: Callable[[GatewayApi, Any], Any]
    done: str
    refunds: tuple[int, ...] = ()


CALLS = {
    "create": Call(
        "POST",
        r"/v1/payment_intents$",
        lambda _api, _stripe: None,
        lambda api, _: api.create(CREATION),
        done="pending",
    ),
    "retrieve": Call(
        "GET",
        "/v1/payment_intents/",
        GatewayApi.paid_at_stripe,
        lambda api, one: api.complete(one),
        done="paid",
    ),
    "refund": Call(
        "POST",
        "/v1/refunds",
        GatewayApi.paid,
        lambda api, one: api.refund(one),
        done="refunded",
        refunds=(2000,),
    ),
    "look for a refund": Call(
        "GET",
        "/v1/refunds",
        lambda api, stripe: api.unanswered_refund(stripe, {"amount": 500}, when="after"),
        lambda api, one: api.refund(one, {"amount": 500}),
        done="paid",
        refunds=(500,),
    ),
    "capture": Call(
        "POST",
        "/v1/payment_intents/.*/capture",
        GatewayApi.authorized,
        lambda api, one: api.capture(one, {"amount": 700}),
        done="paid",
    ),
    "cancel": Call(
        "POST",
        "/v1/payment_intents/.*/cancel",
        GatewayApi.authorized,
        lambda api, one: api.cancel(one),
        done="canceled",
    ),
}


@pytest.fixture
def impatient(configure: Callable[..., None]) -> Callable[[int], None]:
    """Use a short time-out, and let the SDK repeat a call this often."""

    def set_retries(retries: int) -> None:
        configure(STRIPE_TIMEOUT=(1, 0.4), STRIPE_MAX_NETWORK_RETRIES=retries)

    return set_retries


@pytest.fixture(autouse=True)
def no_waiting_between_the_sdks_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.01)
    monkeypatch.setattr("stripe._http_client.HTTPClient.MAX_DELAY", 0.02)


@pytest.mark.parametrize(("call_name", "fault_name"), one_in(8, itertools.product(CALLS, FAULTS)))
def test_fault_is_a_clear_error_and_healed_by_a_retry(
    call_name: str,
    fault_name: str,
    api: GatewayApi,
    stripe: StripeEmulator,
    impatient: Callable[[int], None],
    configure: Callable[..., None],
) -> None:
    call, (fault, statuses) = CALLS[call_name], FAULTS[fault_name]
    one = call.prepare(api, stripe)
    impatient(0)
    unanswered = count_unanswered(stripe)
    stripe.add_fault(dataclasses.replace(fault, method=call.method, path=call.path))
    failed = call.request(api, one)
    assert failed.status_code in statuses, failed.content
    assert failed.json()["error"] == "INTERNAL_SERVER_ERROR"
    assert failed.json()["errorMessage"]
    assert int(failed.headers["Retry-After"]) > 0

    configure(STRIPE_TIMEOUT=(3, 10))
    healed = retry(call, one, api=api)
    assert healed.status_code in {200, 201}, healed.content
    while fault.kind == "delay" and count_unanswered(stripe) > unanswered:
        time.sleep(0.01)
    assert_done(call, stripe=stripe)
    assert {response.status_code for response in api.deliver(stripe)} <= {200}
    assert_done(call, stripe=stripe)


@pytest.mark.parametrize("fault_name", ["timeout after", "500 after", "reset after"])
@pytest.mark.parametrize("call_name", CALLS)
def test_sdk_repeats_a_call_itself(
    call_name: str, fault_name: str, api: GatewayApi, stripe: StripeEmulator, impatient: Callable[[int], None]
) -> None:
    call, (fault, _) = CALLS[call_name], FAULTS[fault_name]
    one = call.prepare(api, stripe)
    impatient(2)
    stripe.add_fault(dataclasses.replace(fault, method=call.method, path=call.path))
    assert retry(call, one, api=api).status_code in {200, 201}
    assert_done(call, stripe=stripe)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("call_name", ["create", "retrieve", "look for a refund", "capture", "cancel"])
def test_stripe_may_be_down_for_a_while(
    call_name: str,
    retries: int,
    api: GatewayApi,
    stripe: StripeEmulator,
    impatient: Callable[[int], None],
    configure: Callable[..., None],
) -> None:
    call = CALLS[call_name]
    one = call.prepare(api, stripe)
    impatient(retries)
    stripe.add_fault(Fault(kind="reset", method="*", times=None))
    assert [call.request(api, one).status_code for _ in range(3)] == [503] * 3
    call_command_in_vain()
    stripe.clear_faults()
    configure(STRIPE_TIMEOUT=(3, 10))
    assert retry(call, one, api=api).status_code in {200, 201}
    assert_done(call, stripe=stripe)


def test_log_says_where_stripe_was_looked_for(
    api: GatewayApi,
    stripe: StripeEmulator,
    impatient: Callable[[int], None],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    impatient(0)
    stripe.add_fault(Fault(kind="reset"))
    assert api.create(CREATION).status_code == 503
    assert f"[OctoStripeGateway] No answer from {stripe.url}" in caplog.messages
    settings.DEBUG = True
    settings.OCTO_STRIPE_GATEWAY = {**settings.OCTO_STRIPE_GATEWAY, "STRIPE_API_KEY": None}
    stripe.add_fault(Fault(kind="reset"))
    assert api.create(CREATION).status_code == 503
    assert "run `manage.py stripe_emulator` beside it" in caplog.text


@pytest.mark.parametrize("heal", ["retry", "reconcile"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_forgotten_key_makes_no_second_refund(
    when: When, heal: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.unanswered_refund(stripe, {"amount": 500}, when=when)
    stripe.forget_idempotency_keys()
    if heal == "retry":
        assert api.refund(payment, {"amount": 500}).status_code == 200
    else:
        sync_unsettled()
    assert [refund["amount"] for refund in stripe.refunds.values()] == [500]
    assert_ledger_equals(stripe)


def test_refund_that_stripe_replays_an_error_for_is_made_under_a_new_key(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.unanswered_refund(stripe, {"amount": 500})
    keep_fault(stripe, key=StripeRequest.objects.open().get().idempotency_key)
    assert api.refund(payment, {"amount": 500}).status_code == 200
    assert StripeRequest.objects.latest("pk").key_version == 1
    assert_ledger_equals(stripe)


def test_error_that_stripe_may_not_replay_keeps_the_key(api: GatewayApi, stripe: StripeEmulator) -> None:
    """If the first call is still under way, another key would make a second refund."""
    payment = api.paid(stripe)
    stripe.add_fault(Fault(path="/v1/refunds"))
    assert api.refund(payment, {"amount": 500}).status_code == 503
    assert StripeRequest.objects.latest("pk").key_version == 0


def test_refund_that_stripe_refuses_gives_its_amount_back(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.open_dispute(payment["stripePaymentIntentId"])
    refused = api.refund(payment)
    assert refused.status_code == 400
    assert refused.json()["error"] == "BAD_REQUEST"
    row = Payment.objects.get()
    assert (row.amount_reserved, row.amount_refundable, row.status) == (0, 2000, "paid")
    assert Refund.objects.get().failure_reason == "charge_disputed"


def test_refused_search_for_a_refund_gives_nothing_back(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.unanswered_refund(stripe, {"amount": 500}, when="after")
    stripe.add_fault(Fault(method="GET", path="/v1/refunds", status=404))
    assert api.refund(payment, {"amount": 500}).status_code == 400
    assert Payment.objects.get().amount_reserved == 500


def test_key_spent_on_another_request_gives_nothing_back(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.unanswered_refund(stripe, {"amount": 500})
    keep_fault(stripe, key=StripeRequest.objects.open().get().idempotency_key, params={"amount": 1})
    assert api.refund(payment, {"amount": 500}).status_code == 503
    assert Payment.objects.get().amount_reserved == 500


@pytest.mark.parametrize(
    ("when", "status", "refunded"), [("before", "failed", 0), ("after", "succeeded", 500)]
)
def test_stale_refund_is_given_up_unless_stripe_has_it(
    when: When, status: str, refunded: int, api: GatewayApi, stripe: StripeEmulator
) -> None:
    api.unanswered_refund(stripe, {"amount": 500}, when=when)
    make_requests_stale()
    stripe.forget_idempotency_keys()
    sync_unsettled()
    assert Refund.objects.get().status == status
    assert Payment.objects.get().amount_refunded == refunded
    assert_ledger_equals(stripe)


@pytest.mark.parametrize(
    ("when", "status", "code", "state"),
    [("before", "failed", "abandoned", "abandoned"), ("after", "pending", "", "done")],
)
def test_stale_creation_is_given_up_unless_stripe_has_it(
    when: When, status: str, code: str, state: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents", when=when))
    assert api.create(CREATION).status_code == 503
    make_requests_stale()
    stripe.forget_idempotency_keys()
    sync_unsettled()
    payment = Payment.objects.get()
    assert (payment.status, payment.failure_code) == (status, code)
    assert StripeRequest.objects.get().state == state
    assert len(stripe.payment_intents) == (when == "after")


def test_lost_creation_is_found_at_stripe_once_stripe_has_forgotten_its_key(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was killed while Stripe answered: not even the attempt is on record."""
    with monkeypatch.context() as patched:
        patched.setattr(requests, "_close_done", raise_keyboard_interrupt)
        with pytest.raises(KeyboardInterrupt):
            api.create(CREATION)
    assert StripeRequest.objects.get().attempts == 0
    make_requests_stale()
    stripe.forget_idempotency_keys()
    assert api.create(CREATION).status_code == 201
    assert len(stripe.payment_intents) == 1


@needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_cancellation_waits_for_a_creation_that_is_asked_for_anew(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    """Otherwise the row would be canceled while its intent could still be paid."""
    stripe.add_fault(Fault(path="/v1/payment_intents", status=402))
    assert api.create(CREATION).status_code == 400
    with stripe.hold("POST", "/v1/payment_intents$", when="before") as hold, ThreadPoolExecutor(1) as pool:
        creation = pool.submit(run_and_disconnect, lambda: GatewayApi(Client()).create(CREATION).status_code)
        hold.wait_until_reached()
        payment = Payment.objects.get()
        with pytest.raises(OperationInProgressError):
            payments._reserve_cancellation(payment, may_void=True, caller=ANYONE)
        hold.release()
        assert creation.result() == 201
    assert services.cancel_payment(payment).status == "canceled"
    assert {intent["status"] for intent in stripe.payment_intents.values()} == {"canceled"}


def test_refused_creation_is_not_asked_for_again_by_reconciliation(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(path="/v1/payment_intents", status=402))
    assert api.create(CREATION).status_code == 400
    asked = len(stripe.requests)
    sync_unsettled()
    assert Payment.objects.get().status == "failed"
    assert len(stripe.requests) == asked
    assert api.create(CREATION).status_code == 201
    assert_ledger_equals(stripe)


def test_refusal_does_not_stop_reconciliation(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    for amount in (500, 700):
        stripe.add_fault(Fault(kind="reset", path="/v1/refunds"))
        assert api.refund(payment, {"amount": amount}).status_code == 503
    stripe.open_dispute(payment["stripePaymentIntentId"])
    sync_unsettled()
    assert [refund.status for refund in Refund.objects.all()] == ["failed", "failed"]
    assert_ledger_equals(stripe)


def test_replayed_capture_does_not_undo_a_later_refund(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/capture", when="after"))
    assert api.capture(payment).status_code == 503
    stripe.refund(payment["stripePaymentIntentId"], amount=500)
    api.deliver(stripe, "charge.refunded")
    captured = api.capture(payment).json()
    assert (captured["status"], captured["totalRefunded"]) == ("CONFIRMED", 500)
    assert_ledger_equals(stripe)


def test_unanswered_capture_allows_no_other_amount(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/capture"))
    assert api.capture(payment, {"amount": 700}).status_code == 503
    assert api.capture(payment, {"amount": 800}).status_code == 422
    assert api.capture(payment).status_code == 422
    assert api.capture(payment, {"amount": 700}).status_code == 200
    assert Payment.objects.get().amount_received == 700
    assert_ledger_equals(stripe)


def test_capture_that_stripe_refused_allows_another_amount(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    stripe.add_fault(Fault(path="/v1/payment_intents/.*/capture", status=400))
    assert api.capture(payment, {"amount": 700}).status_code == 400
    assert api.capture(payment, {"amount": 800}).status_code == 200
    assert Payment.objects.get().amount_received == 800


def test_reconciliation_captures_nothing_that_was_refused_meanwhile(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.authorized(stripe)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/capture"))
    assert api.capture(payment, {"amount": 700}).status_code == 503
    read_earlier = Payment.objects.get()
    stripe.add_fault(Fault(path="/v1/payment_intents/.*/capture", status=400))
    assert api.capture(payment, {"amount": 700}).status_code == 400
    services.sync_payment(read_earlier)
    assert Payment.objects.get().status == "authorized"
    assert_ledger_equals(stripe)


def test_capture_after_the_authorization_is_gone_is_refused_and_seen(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.authorized(stripe)
    cancel_at_stripe(stripe, payment)
    assert api.capture(payment).status_code == 400
    assert Payment.objects.get().status == "canceled"
    assert_ledger_equals(stripe)


def test_cancellation_that_came_too_late_is_refused_and_seen(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe)
    assert api.cancel(payment).status_code == 400
    assert Payment.objects.get().status == "paid"
    assert_ledger_equals(stripe)


@pytest.mark.parametrize("amount", [0, -1])
def test_capture_of_nothing_takes_nothing(amount: int, api: GatewayApi, stripe: StripeEmulator) -> None:
    api.authorized(stripe)
    with pytest.raises(BadRequestError):
        services.capture_payment(Payment.objects.get(), amount=amount)
    assert Payment.objects.get().status == "authorized"


def test_new_key_with_a_known_uuid_finds_its_payment(api: GatewayApi, stripe: StripeEmulator) -> None:
    first = api.create(CREATION).json()
    repeated = api.create(CREATION, **{"Idempotency-Key": "mine"})
    assert repeated.json()["id"] == first["id"]
    assert api.create({"amount": 900}, **{"Idempotency-Key": "mine"}).status_code == 422
    assert Payment.objects.count() == 1


KEYED: dict[str, Callable[[GatewayApi, Any], Any]] = {
    "create": lambda api, _: api.create({"amount": 700}, **KEY),
    "refund": lambda api, one: api.refund(one, **KEY),
    "partial refund": lambda api, one: api.refund(one, {"amount": 500}, **KEY),
    "capture": lambda api, one: api.capture(one, **KEY),
    "cancel": lambda api, one: api.cancel(one, **KEY),
}


@pytest.mark.parametrize("second", KEYED)
@pytest.mark.parametrize("first", ["create", "partial refund"])
def test_key_of_one_operation_is_no_key_of_another(
    first: str, second: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment, other = api.paid(stripe), api.paid(stripe)
    assert KEYED[first](api, payment).status_code in {200, 201}
    before = len(stripe.refunds), len(stripe.payment_intents)
    same = first == second == "create"
    assert KEYED[second](api, other).status_code == (201 if same else 422)
    assert (len(stripe.refunds), len(stripe.payment_intents)) == before


def retry(call: Call, one: Any, *, api: GatewayApi) -> Any:
    """Repeat as a client would: at once, and again while the answer is that the first is still running."""
    while True:
        response = call.request(api, one)
        if response.status_code != 409:
            return response


def count_unanswered(stripe: StripeEmulator) -> int:
    """Count the calls that Stripe is still working on, even if the client has given up."""
    return sum(request.status is None for request in stripe.requests)


def call_command_in_vain() -> None:
    """Run the reconciliation; it may fail, since Stripe may not answer."""
    with suppress(CommandError):
        sync_unsettled()


def keep_fault(stripe: StripeEmulator, *, key: str, params: dict[str, Any] | None = None) -> None:
    """Make Stripe answer a key with a 500 from now on, without doing anything."""
    refund = Refund.objects.select_related("payment").get()
    asked = {
        "payment_intent": refund.payment.stripe_payment_intent_id,
        "amount": str(refund.amount),
        "metadata": refund.stripe_requests.get().parameters["metadata"],
    }
    keys = stripe._application.keys
    keys.claim((None, key), path="/v1/refunds", params=params or asked)
    error = {"error": {"type": "api_error", "message": "An unknown error occurred."}}
    keys.save((None, key), Answer(status=500, body=error, request_id="req_kept"))


def cancel_at_stripe(stripe: StripeEmulator, payment: Any) -> None:
    client = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
    client.v1.payment_intents.cancel(payment["stripePaymentIntentId"])


def make_requests_stale() -> None:
    """Make requests so old that Stripe may have forgotten their keys."""
    StripeRequest.objects.update(created_at=timezone.now() - dt.timedelta(hours=24))


def assert_done(call: Call, *, stripe: StripeEmulator) -> None:
    payment = Payment.objects.get()
    assert payment.status == call.done
    assert [refund["amount"] for refund in stripe.refunds.values()] == list(call.refunds)
    assert len(stripe.charges) == (call.done != "pending")
    assert_ledger_equals(stripe)


def raise_keyboard_interrupt(*_arguments: Any) -> None:
    raise KeyboardInterrupt
