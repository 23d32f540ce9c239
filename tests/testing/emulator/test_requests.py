"""Requests: keys, parameters, lists, expansion, accounts, and what a browser may do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe as sdk

from octo_stripe_gateway.testing.emulator import CARDS, StripeEmulator
from tests.testing.emulator.conftest import AMOUNT, OPEN, PAID

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHABLE = {"Authorization": "Bearer pk_test_x"}
SECRET = {"Authorization": "Bearer sk_test_x"}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "You did not provide an API key."),
        ({"Authorization": "Bearer wrong"}, "Invalid API Key provided: wrong"),
        ({"Authorization": "Bearer sk_live_0123456789abcdef"}, "Invalid API Key provided: sk_live_"),
    ],
)
def test_a_request_without_a_usable_key_is_refused(
    stripe: StripeEmulator, headers: dict[str, str], message: str
) -> None:
    response = requests.get(f"{stripe.url}/v1/charges", headers=headers, timeout=60)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert message in response.json()["error"]["message"]


def test_a_key_that_was_revoked_is_refused(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    stripe.accept_keys({"sk_test_right"})
    connect("sk_test_right").v1.charges.list()
    with pytest.raises(sdk.AuthenticationError, match=r"Invalid API Key provided: sk_test_\*\*\*"):
        connect("sk_test_wrong").v1.charges.list()
    stripe.accept_keys(None)
    connect("rk_test_wrong").v1.charges.list()


def test_a_key_may_come_as_a_user_name(stripe: StripeEmulator) -> None:
    url = f"{stripe.url}/v1/charges"
    assert requests.get(url, auth=("sk_test_x", ""), timeout=60).status_code == 200


def test_every_answer_names_its_request(stripe: StripeEmulator) -> None:
    response = requests.post(
        f"{stripe.url}/v1/payment_intents",
        data=AMOUNT,
        headers={**SECRET, "Idempotency-Key": "k", "Stripe-Version": "2026-10-28.endive"},
        timeout=60,
    )
    assert response.headers["Request-Id"].startswith("req_")
    assert response.headers["Stripe-Version"] == "2026-10-28.endive"
    assert response.headers["Idempotency-Key"] == "k"
    assert "Date" in response.headers
    assert "Access-Control-Allow-Origin" not in response.headers


def test_an_unknown_url_is_told(stripe: StripeEmulator) -> None:
    response = requests.get(f"{stripe.url}/v1/foo", headers=SECRET, timeout=60)
    assert response.status_code == 404
    message = response.json()["error"]["message"]
    assert message.startswith("Unrecognized request URL (GET: /v1/foo).")


@pytest.mark.parametrize(
    ("params", "code", "param", "message"),
    [
        ({"foo": 1}, "parameter_unknown", "foo", "Received unknown parameter: foo"),
        (
            {"payment_method_types": ["card"]},
            "parameter_unknown",
            "payment_method_types",
            "Received unknown parameter: payment_method_types",
        ),
        (
            {"automatic_payment_methods": {"enabled": True, "foo": 1}},
            "parameter_unknown",
            "automatic_payment_methods[foo]",
            "Received unknown parameter: automatic_payment_methods[foo]",
        ),
        (
            {"automatic_payment_methods": {"allow_redirects": "never"}},
            "parameter_missing",
            "automatic_payment_methods[enabled]",
            "Missing required param: automatic_payment_methods[enabled].",
        ),
        ({"amount": ""}, "parameter_invalid_empty", "amount", "You passed an empty string for 'amount'."),
        ({"confirm": "maybe"}, None, "confirm", "Invalid boolean: maybe"),
        (
            {"capture_method": "later"},
            None,
            "capture_method",
            "Invalid capture_method: must be one of automatic, automatic_async, or manual",
        ),
        ({"automatic_payment_methods": "yes"}, None, "automatic_payment_methods", "Invalid object"),
        ({"expand": "latest_charge"}, None, "expand", "Invalid array"),
        ({"description": {"a": "b"}}, None, "description", "Invalid string"),
        ({"metadata": {"a": {"b": "c"}}}, None, "metadata", "values must be strings"),
        ({"metadata": {"a" * 41: "b"}}, None, "metadata", "Metadata keys can be up to 40"),
        ({"metadata": {"a": "b" * 501}}, None, "metadata[a]", "can have up to 500 characters"),
        ({"metadata": {f"k{n}": "v" for n in range(51)}}, None, "metadata", "up to 50 metadata"),
        ({"description": "d" * 1001}, None, "description", "at most 1000 characters"),
        ({"statement_descriptor": "d" * 23}, None, "statement_descriptor", "at most 22"),
        ({"return_url": "https://shop.test"}, None, "return_url", "when `confirm` is true"),
        ({"expand": ["foo"]}, None, "expand", "This property cannot be expanded (foo)."),
        ({"expand": ["a.b.c.d.e"]}, None, "expand", "cannot be expanded (a.b.c.d.e)."),
        ({"expand": ["status"]}, None, "expand", "cannot be expanded (status)."),
    ],
)
def test_what_stripe_does_not_take_is_refused(
    api: Any, params: Any, code: str | None, param: str, message: str
) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.create(params={**AMOUNT, **params})
    assert message in str(caught.value.user_message)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


@pytest.mark.parametrize(
    ("form", "message"),
    [("a=1&a[b]=2", "Invalid hash: a"), ("amount[x]=1&currency=usd", "Invalid string")],
)
def test_a_form_that_contradicts_itself_is_refused(stripe: StripeEmulator, form: str, message: str) -> None:
    headers = {**SECRET, "Content-Type": "application/x-www-form-urlencoded"}
    url = f"{stripe.url}/v1/payment_intents"
    response = requests.post(url, data=form, headers=headers, timeout=60)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_either_form_of_a_list_is_taken(stripe: StripeEmulator) -> None:
    form = {**AMOUNT, "confirm": "true", "payment_method": "pm_card_visa", "return_url": "http://shop.test"}
    form |= {"expand[]": "latest_charge", "metadata[0]": "zero"}
    url = f"{stripe.url}/v1/payment_intents"
    intent = requests.post(url, data=form, headers=SECRET, timeout=60).json()
    assert intent["latest_charge"]["object"] == "charge"
    assert intent["metadata"] == {"0": "zero"}


def test_what_does_not_exist_is_missing(api: Any) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.retrieve("pi_x")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    assert caught.value.param == "intent"
    assert caught.value.user_message == "No such payment_intent: 'pi_x'"
    with pytest.raises(sdk.InvalidRequestError, match="No such payment_method") as caught:
        api.payment_intents.create(params={**AMOUNT, "payment_method": "pm_x"})
    assert caught.value.http_status == 400


def test_ids_are_expanded_where_asked(api: Any) -> None:
    params: Any = {
        **PAID,
        "expand": [
            "latest_charge.refunds",
            "latest_charge.balance_transaction",
            "payment_method",
            "customer",
        ],
    }
    intent: Any = api.payment_intents.create(params=params)
    assert intent.latest_charge.refunds.data == []
    assert intent.latest_charge.balance_transaction.net == 2000 - 88
    assert intent.payment_method.card.last4 == "4242"
    refund: Any = api.refunds.create(
        params={"payment_intent": intent.id, "expand": ["payment_intent", "charge.refunds"]}
    )
    assert refund.payment_intent.status == "succeeded"
    assert [one.id for one in refund.charge.refunds.data] == [refund.id]
    listed: Any = api.payment_intents.list(params={"expand": ["data.latest_charge"]})
    assert listed.data[0].latest_charge.amount_refunded == 2000


def test_lists_are_paged_newest_first(api: Any, stripe: StripeEmulator) -> None:
    ticks = itertools.count(1_700_000_000, 1)
    moments = {"now": next(ticks)}
    stripe.clock = lambda: moments["now"]
    ids = []
    for _ in range(4):
        moments["now"] = next(ticks)
        ids.append(api.payment_intents.create(params={"amount": 2000, "currency": "usd"}).id)
    newest = ids[::-1]
    page = api.payment_intents.list(params={"limit": 2})
    assert ([one.id for one in page.data], page.has_more) == (newest[:2], True)
    assert [one.id for one in page.auto_paging_iter()] == newest
    page = api.payment_intents.list(params={"ending_before": newest[3], "limit": 2})
    assert ([one.id for one in page.data], page.has_more) == (newest[1:3], True)
    since: Any = {"created": {"gte": 1_700_000_003, "lt": 1_700_000_004}}
    assert [one.id for one in api.payment_intents.list(params=since).data] == [ids[2]]
    at: Any = {"created": 1_700_000_001}
    assert [one.id for one in api.payment_intents.list(params=at).data] == [ids[0]]


def test_a_hundred_are_listed_at_once(api: Any) -> None:
    ids = [api.payment_intents.create(params=AMOUNT).id for _ in range(105)]
    page = api.payment_intents.list(params={"limit": 100})
    assert ([one.id for one in page.data], page.has_more) == (ids[:4:-1], True)
    rest = api.payment_intents.list(params={"limit": 100, "starting_after": page.data[-1].id})
    assert ([one.id for one in rest.data], rest.has_more) == (ids[4::-1], False)
    assert len(api.payment_intents.list().data) == 10


def test_a_page_goes_on_where_the_last_one_ended_though_more_is_made(api: Any) -> None:
    ids = [api.payment_intents.create(params=AMOUNT).id for _ in range(4)]
    page = api.payment_intents.list(params={"limit": 2})
    newer = api.payment_intents.create(params=AMOUNT).id
    rest = api.payment_intents.list(params={"limit": 2, "starting_after": page.data[-1].id})
    assert [one.id for one in (*page.data, *rest.data)] == ids[::-1]
    before = api.payment_intents.list(params={"ending_before": page.data[0].id})
    assert ([one.id for one in before.data], before.has_more) == ([newer], False)


def test_a_cursor_need_not_match_the_filter(api: Any) -> None:
    first, second = (api.payment_intents.create(params=PAID) for _ in range(2))
    one = api.refunds.create(params={"payment_intent": first.id, "amount": 1})
    other = api.refunds.create(params={"payment_intent": second.id, "amount": 1})
    params: Any = {"payment_intent": first.id, "starting_after": other.id}
    assert [refund.id for refund in api.refunds.list(params=params).data] == [one.id]


def test_lists_are_filtered(api: Any) -> None:
    first, second = (api.payment_intents.create(params=params) for params in (PAID, PAID))
    refund = api.refunds.create(params={"payment_intent": first.id, "amount": 1})
    api.refunds.create(params={"payment_intent": second.id, "amount": 1})
    assert [r.id for r in api.refunds.list(params={"payment_intent": first.id}).data] == [refund.id]
    charges = api.charges.list(params={"payment_intent": second.id}).data
    assert [charge.id for charge in charges] == [second.latest_charge]
    assert api.charges.retrieve(charges[0].id).amount == 2000
    types: Any = {"types": ["refund.created", "charge.refunded"], "limit": 3}
    assert [event.type for event in api.events.list(params=types).data] == [
        "charge.refunded",
        "refund.created",
        "charge.refunded",
    ]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 101},
        {"limit": 0},
        {"starting_after": "pi_x"},
        {"starting_after": "pi_x", "ending_before": "pi_y"},
        {"created": {"since": 1}},
    ],
)
def test_a_page_that_cannot_be_is_refused(api: Any, params: Any) -> None:
    with pytest.raises(sdk.InvalidRequestError):
        api.payment_intents.list(params=params)


def test_objects_belong_to_one_account(api: Any, stripe: StripeEmulator) -> None:
    stripe.connect_account("acct_1")
    theirs: Any = {"stripe_account": "acct_1"}
    intent = api.payment_intents.create(params=PAID, options=theirs)
    assert api.payment_intents.retrieve(intent.id, options=theirs).id == intent.id
    with pytest.raises(sdk.InvalidRequestError, match="No such payment_intent"):
        api.payment_intents.retrieve(intent.id)
    assert api.payment_intents.list().data == []
    assert {event.payload["account"] for event in stripe.events} == {"acct_1"}
    assert "account" not in stripe.events[0].payload["data"]["object"]
    assert stripe.refund(intent.id)["amount"] == 2000


@pytest.mark.parametrize("card", [card for card in CARDS if card.kind == "card"], ids=str)
def test_a_number_behaves_as_its_payment_method(api: Any, stripe: StripeEmulator, card: Any) -> None:
    typed: Any = {"number": card.number, "exp_month": 12, "exp_year": 34, "cvc": "123"}
    method = api.payment_methods.create(params={"type": "card", "card": typed})
    assert method.card is not None
    assert (method.card.brand, method.card.last4) == (card.brand, card.number[-4:])
    assert method.card.exp_year == 2034
    by_number = stripe.confirm(api.payment_intents.create(params=AMOUNT).id, method.id)
    by_name = stripe.confirm(api.payment_intents.create(params=AMOUNT).id, card.payment_method)
    assert by_number["status"] == by_name["status"]
    assert api.payment_methods.retrieve(method.id).id == method.id


def test_a_card_that_is_no_test_card_is_declined(api: Any, stripe: StripeEmulator) -> None:
    typed: Any = {"number": "4111 1111 1111 1111", "exp_month": 12, "exp_year": 2034}
    method = api.payment_methods.create(params={"type": "card", "card": typed})
    declined = stripe.confirm(api.payment_intents.create(params=AMOUNT).id, method.id)
    assert declined["last_payment_error"]["decline_code"] == "test_mode_live_card"


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4242"}, "incorrect_number"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 20}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
        ({"cvc": "abc"}, "invalid_cvc"),
    ],
)
def test_a_card_typed_wrong_is_a_card_error(api: Any, details: Any, code: str) -> None:
    card: Any = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, **details}
    with pytest.raises(sdk.CardError) as caught:
        api.payment_methods.create(params={"type": "card", "card": card})
    assert caught.value.code == code


def test_payment_methods_come_from_tokens_and_bank_accounts(api: Any) -> None:
    token: Any = {"type": "card", "card": {"token": "tok_visa"}}
    billing: Any = {"billing_details": {"name": "Ada", "address": {"country": "GB"}}}
    method = api.payment_methods.create(params={**token, **billing})
    assert (method.card and method.card.last4, method.billing_details.name) == ("4242", "Ada")
    bank: Any = {"type": "us_bank_account", "us_bank_account": {"account_holder_type": "company"}}
    assert api.payment_methods.create(params=bank).us_bank_account is not None
    with pytest.raises(sdk.InvalidRequestError, match=r"card\[number\]"):
        api.payment_methods.create(params={"type": "card"})


def test_an_intent_can_be_paid_with_details_sent_along(api: Any) -> None:
    bank: Any = {"type": "us_bank_account", "us_bank_account": {"account_holder_type": "company"}}
    params: Any = {**OPEN, "confirm": True, "payment_method_data": bank}
    assert api.payment_intents.create(params=params).status == "processing"


class TestBrowser:
    """What a publishable key may do."""

    @pytest.fixture
    def intent(self, api: Any) -> Any:
        params: Any = {**AMOUNT, "metadata": {"secret": "yes"}}
        return api.payment_intents.create(params=params)

    def test_it_reads_an_intent_with_its_secret(
        self, stripe: StripeEmulator, intent: sdk.PaymentIntent
    ) -> None:
        url = f"{stripe.url}/v1/payment_intents/{intent.id}"
        params = {"client_secret": intent.client_secret}
        response = requests.get(url, params=params, headers=PUBLISHABLE, timeout=60)
        assert response.json()["status"] == "requires_payment_method"
        assert "metadata" not in response.json()
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert requests.get(url, headers=PUBLISHABLE, timeout=60).status_code == 404
        wrong = {"client_secret": f"{intent.id}_secret_wrong"}
        refused = requests.get(url, params=wrong, headers=PUBLISHABLE, timeout=60)
        assert refused.json()["error"]["code"] == "payment_intent_invalid_parameter"

    def test_it_confirms_with_the_secret(self, stripe: StripeEmulator, intent: sdk.PaymentIntent) -> None:
        url = f"{stripe.url}/v1/payment_intents/{intent.id}/confirm"
        form = {"client_secret": intent.client_secret, "payment_method": "pm_card_chargeDeclined"}
        refused = requests.post(url, data=form, headers=PUBLISHABLE, timeout=60)
        assert "must provide a `return_url`" in refused.json()["error"]["message"]
        form["use_stripe_sdk"] = "true"
        declined = requests.post(url, data=form, headers=PUBLISHABLE, timeout=60)
        assert "metadata" not in declined.json()["error"]["payment_intent"]
        form["payment_method"] = "pm_card_visa"
        paid = requests.post(url, data=form, headers=PUBLISHABLE, timeout=60)
        assert paid.json()["status"] == "succeeded"

    def test_it_asks_which_wallets_it_may_show(self, stripe: StripeEmulator, api: Any) -> None:
        def ask(host: str) -> list[str]:
            url, asked = f"{stripe.url}/v1/elements/sessions", {"referrer_host": host}
            told = requests.get(url, params=asked, headers=PUBLISHABLE, timeout=60).json()
            return [name for name, value in told.items() if value == "enabled"]

        both = ["apple_pay_preference", "google_pay_preference"]
        assert [ask(host) for host in ("localhost", "127.0.0.1", "shop.example.com")] == [both, both, []]
        domain = api.payment_method_domains.create(params={"domain_name": "shop.example.com"})
        assert (ask("shop.example.com"), ask("www.shop.example.com")) == (both, [])
        api.payment_method_domains.update(domain.id, params={"enabled": False})
        assert ask("shop.example.com") == []
        api.payment_method_domains.create(params={"domain_name": "shop.example.invalid"})
        assert ask("shop.example.invalid") == ["google_pay_preference"]

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/v1/payment_intents"), ("GET", "/v1/charges"), ("POST", "/v1/refunds")],
    )
    def test_it_does_nothing_else(self, stripe: StripeEmulator, method: str, path: str) -> None:
        url = f"{stripe.url}{path}"
        response = requests.request(method, url, headers=PUBLISHABLE, timeout=60)
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "secret_key_required"

    @pytest.mark.parametrize(
        ("path", "method", "allowed"),
        [
            ("/v1/payment_methods", "POST", True),
            ("/v1/payment_intents/pi_x/confirm", "POST", True),
            ("/v1/refunds", "POST", False),
            ("/v1/nothing", "GET", False),
        ],
    )
    def test_only_what_it_may_do_is_open_to_other_origins(
        self, stripe: StripeEmulator, path: str, method: str, allowed: bool
    ) -> None:
        headers = {"Origin": "http://shop.test", "Access-Control-Request-Method": method}
        response = requests.options(f"{stripe.url}{path}", headers=headers, timeout=60)
        assert response.status_code == 204
        assert ("Access-Control-Allow-Origin" in response.headers) is allowed

    def test_stripe_js_is_served(self, stripe: StripeEmulator) -> None:
        response = requests.get(f"{stripe.url}/stripe.js", timeout=60)
        assert response.headers["Content-Type"].startswith("text/javascript")
        assert "window.Stripe" in response.text


def test_requests_are_logged_without_their_key(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    api = connect("sk_test_0123456789abcdef0123").v1
    stripe.connect_account("acct_1")
    options: Any = {"idempotency_key": "k", "stripe_account": "acct_1"}
    api.payment_intents.create(params={**AMOUNT, "metadata": {"a": "b"}}, options=options)
    (logged,) = stripe.requests
    assert (logged.method, logged.path, logged.status) == ("POST", "/v1/payment_intents", 200)
    assert logged.params == {"amount": "2000", "currency": "usd", "metadata": {"a": "b"}}
    assert (logged.idempotency_key, logged.stripe_account) == ("k", "acct_1")
    assert logged.headers["Authorization"] == "Bearer sk_test_****************0123"
    assert stripe.events[0].payload["request"] == {
        "id": logged.request_id,
        "idempotency_key": "k",
    }


def test_reset_forgets_everything(api: Any, stripe: StripeEmulator) -> None:
    api.payment_intents.create(params=PAID)
    stripe.reset()
    assert not stripe.payment_intents
    assert not stripe.events
    assert not stripe.requests


def test_it_listens_on_loopback_only() -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 only"):
        StripeEmulator(host="0.0.0.0")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8421", 200),
        ("localhost:8421", 200),
        ("LOCALHOST", 200),
        ("[::1]:8421", 200),
        ("evil.test", 403),
        ("evil.test:8421", 403),
        ("127.0.0.1.evil.test", 403),
        ("localhost.evil.test:8421", 403),
        ("evil.test@127.0.0.1", 403),
        ("192.168.0.7:8421", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", ["/v1/charges", "/_emulator", "/stripe.js"])
def test_it_answers_to_names_of_loopback_only(
    stripe: StripeEmulator, host: str, status: int, path: str
) -> None:
    answer = requests.get(f"{stripe.url}{path}", headers={**SECRET, "Host": host}, timeout=60)
    assert answer.status_code == status
    if status == 403:
        assert "no page of another site" in answer.json()["error"]["message"]


def test_it_has_no_address_before_it_is_started() -> None:
    stripe = StripeEmulator()
    with pytest.raises(RuntimeError, match="isn't running"):
        _ = stripe.url
    stripe.stop()


def test_it_starts_once_and_again_after_it_was_stopped() -> None:
    stripe = StripeEmulator().start()
    with pytest.raises(RuntimeError, match="running already"):
        stripe.start()
    stripe.stop()
    with stripe:
        assert stripe.url.startswith("http://127.0.0.1:")


def test_many_run_in_one_process(api: Any, stripe: StripeEmulator) -> None:
    api.payment_intents.create(params=AMOUNT)
    with StripeEmulator() as other:
        assert other.url != stripe.url
        assert not other.payment_intents


def test_it_stops_though_a_browser_keeps_a_connection_open() -> None:
    import socket
    import time

    with StripeEmulator() as stripe:
        host, port = stripe.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)))
        time.sleep(0.05)
        started = time.monotonic()
    assert time.monotonic() - started < 2
    connection.close()


def test_the_testing_package_alone_needs_no_werkzeug() -> None:
    import subprocess
    import sys

    script = "import octo_stripe_gateway.testing, sys; sys.exit('werkzeug' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_answers_are_dated_by_the_emulators_clock(stripe: StripeEmulator) -> None:
    stripe.clock = lambda: 1_800_000_000.5
    answer = requests.get(f"{stripe.url}/v1/payment_intents", headers=SECRET, timeout=60)
    assert answer.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
