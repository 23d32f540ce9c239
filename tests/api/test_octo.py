"""OCTO's conventions, row by row."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import iso4217
import pytest
from django.core.cache import cache
from django.test import Client
from rest_framework import serializers

from octo_stripe_gateway import services
from octo_stripe_gateway.api.capabilities import get_honoured
from octo_stripe_gateway.api.card_payments import CardPaymentField
from octo_stripe_gateway.api.serializers import STORED_STATUSES
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.stripe.currencies import MAX_AMOUNT, get_precision, get_step
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.emulator import currencies as independent
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
CAPABLE = {"Octo-Capabilities": "octo/cardPayments"}
DECLINING = "pm_card_visa_chargeDeclinedInsufficientFunds"


class TestCapabilities:
    @pytest.mark.parametrize(
        ("asked", "honoured"),
        [
            ("octo/cardPayments", "octo/cardPayments"),
            (" octo/cardPayments ", "octo/cardPayments"),
            ("octo/pricing,octo/cardPayments", "octo/cardPayments"),
            ("octo/pricing , octo/cardPayments,", "octo/cardPayments"),
            ("octo/cardPayments,octo/cardPayments", "octo/cardPayments"),
            ("", ""),
            (",", ""),
            ("octo/pricing", ""),
            ("octo/cardpayments", ""),
            ("cardPayments", ""),
            ("octo/cardPayments2", ""),
        ],
    )
    def test_header_s_list_is_read_and_what_is_served_echoed(
        self, asked: str, honoured: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        answer = api.create(**{"Octo-Capabilities": asked})
        assert answer["Octo-Capabilities"] == honoured == ", ".join(get_honoured(asked))
        assert ("cardPayment" in answer.json()) == bool(honoured)

    def test_header_may_be_absent(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        answer = api.create()
        assert answer["Octo-Capabilities"] == ""
        assert "cardPayment" not in answer.json()

    def test_error_echoes_what_was_honoured(self, api: GatewayApi) -> None:
        assert api.request("GET", "/payments/0", **CAPABLE)["Octo-Capabilities"] == "octo/cardPayments"

    def test_answer_is_cached_for_its_headers_only(self, api: GatewayApi) -> None:
        vary = api.request("GET", f"/payments/{PaymentFactory.create().pk}")["Vary"]
        assert {"Octo-Capabilities", "Accept-Language", "Authorization"} <= {*vary.split(", ")}

    @pytest.mark.parametrize("path", ["/capabilities", "/capabilities/"])
    def test_served_capabilities_are_listed(self, path: str, api: GatewayApi) -> None:
        answer = api.request("GET", path)
        assert answer.status_code == 200
        assert answer.json() == [
            {"id": "octo/cardPayments", "revision": 1, "required": False, "dependencies": [], "docs": None}
        ]

    @pytest.mark.parametrize(("key", "status"), [("", 401), ("wrong", 403)])
    def test_capabilities_are_for_callers_with_a_key(self, key: str, status: int, api: GatewayApi) -> None:
        api.key = key
        assert api.request("GET", "/capabilities").status_code == status


# The emulator has no live mode: a live request that reaches it (502) has passed our checks.
CHOICES = [("test", "usd", 201), ("test", "jpy", 400), ("live", "usd", 400), ("live", "jpy", 502)]


class TestEnvironment:
    """`Octo-Env`: no real money for a test sale, and no play money for a real one."""

    @pytest.mark.parametrize("payment", ["live", "test"])
    @pytest.mark.parametrize("key", ["sk_test_1", "sk_live_1", "rk_live_1"])
    def test_answer_names_the_mode_of_its_payment(
        self, key: str, payment: str, api: GatewayApi, configure: Configure
    ) -> None:
        configure(STRIPE_API_KEY=key)
        row = PaymentFactory.create(livemode=payment == "live")
        assert api.retrieve(row.pk)["Octo-Env"] == payment
        assert api.refund(row.pk)["Octo-Env"] == payment

    @pytest.mark.parametrize(
        ("key", "environment"),
        [("sk_test_1", "test"), ("sk_live_1", "live"), ("rk_live_1", "live"), ("", "test")],
    )
    def test_answer_without_a_payment_names_the_mode_of_the_key(
        self, key: str, environment: str, api: GatewayApi, configure: Configure
    ) -> None:
        configure(STRIPE_API_KEY=key)
        assert api.retrieve(0)["Octo-Env"] == environment
        assert api.request("GET", "/capabilities")["Octo-Env"] == environment

    @pytest.mark.parametrize(("key", "wrong"), [("sk_live_1", "test"), ("sk_test_1", "live")])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/payments"),
            ("GET", "/payments"),
            ("GET", "/payments/{id}"),
            ("PATCH", "/payments/{id}/complete"),
            ("POST", "/payments/{id}/refund"),
            ("POST", "/payments/{id}/capture"),
            ("POST", "/payments/{id}/cancel"),
            ("GET", "/capabilities"),
        ],
    )
    def test_octo_env_of_the_other_mode_is_refused_before_anything_runs(
        self,
        method: str,
        path: str,
        key: str,
        wrong: str,
        api: GatewayApi,
        stripe: StripeEmulator,
        configure: Configure,
    ) -> None:
        configure(STRIPE_API_KEY=key)
        payment = PaymentFactory.create(paid=True, livemode=key == "sk_live_1")
        answer = api.request(
            method,
            path.format(id=payment.pk),
            {"amount": 2000} if method == "POST" and path == "/payments" else None,
            **{"Octo-Env": wrong},
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
        assert answer["Octo-Env"] != wrong
        assert stripe.requests == []
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize("said", ["test", "TEST", " test ", ""])
    def test_octo_env_of_the_same_mode_goes_through(
        self, said: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        answer = api.create(**{"Octo-Env": said})
        assert (answer.status_code, answer["Octo-Env"]) == (201, "test")

    @pytest.mark.parametrize("said", ["production", "test, live", "1", "t\u00e9st"])
    def test_unknown_mode_is_refused(self, said: str, api: GatewayApi, stripe: StripeEmulator) -> None:
        answer = api.create(**{"Octo-Env": said})
        assert (answer.status_code, answer.json()["errorMessage"]) == (400, "Octo-Env is test or live.")
        assert stripe.requests == []

    def test_payment_of_another_mode_than_the_key_is_its_own(
        self, api: GatewayApi, stripe: StripeEmulator, configure: Configure
    ) -> None:
        """A test payment from before the host went live."""
        configure(STRIPE_API_KEY="sk_live_1")
        payment = PaymentFactory.create(paid=True)
        refused = api.request("POST", f"/payments/{payment.pk}/refund", None, **{"Octo-Env": "live"})
        assert (refused.status_code, refused["Octo-Env"]) == (400, "test")
        assert stripe.requests == []

    def test_repeat_gives_no_payment_of_the_other_mode(
        self, api: GatewayApi, stripe: StripeEmulator, configure: Configure
    ) -> None:
        """The account may have been chosen differently in the meantime."""
        body = {"amount": 2000, "uuid": str(uuid.uuid4())}
        api.create(body)
        Payment.objects.update(livemode=True)
        answer = api.create(body, **{"Octo-Env": "test"})
        assert (answer.status_code, answer["Octo-Env"]) == (400, "test")
        assert b"_secret_" not in answer.content

    @pytest.mark.parametrize(("said", "currency", "status"), CHOICES)
    def test_each_account_has_its_mode_where_there_are_both(
        self,
        said: str,
        currency: str,
        status: int,
        api: GatewayApi,
        stripe: StripeEmulator,
        configure: Configure,
    ) -> None:
        names = {"usd": "", "jpy": "tokyo"}
        configure(
            STRIPE_ACCOUNTS={"tokyo": {"STRIPE_API_KEY": "sk_live_1"}},
            CHOOSE_ACCOUNT=lambda payment: names[payment.currency],
            SIGNING_KEY="what signs real money's metadata",
        )
        answer = api.create({"amount": 2000, "currency": currency}, **{"Octo-Env": said})
        assert answer.status_code == status
        assert len(stripe.requests) == (status != 400)

    def test_list_has_only_payments_of_the_mode_asked_for(
        self, api: GatewayApi, configure: Configure
    ) -> None:
        """The host may have accounts of both modes, or test payments from before it went live."""
        test, live = (PaymentFactory.create(livemode=livemode).pk for livemode in (False, True))
        configure(STRIPE_ACCOUNTS={"tokyo": {"STRIPE_API_KEY": "sk_live_1"}})
        found = {said: api.list_payments(**{"Octo-Env": said}) for said in ("", "test", "live")}
        assert {said: [each["id"] for each in answer.json()] for said, answer in found.items()} == {
            "": [live, test],
            "test": [test],
            "live": [live],
        }
        assert [found[said]["Octo-Env"] for said in ("test", "live")] == ["test", "live"]


class TestLists:
    """A list is a plain array, as in OCTO; its pages are linked as in RFC 8288."""

    def test_list_is_an_array_that_names_its_next_page(self, api: GatewayApi, configure: Configure) -> None:
        configure(PAGE_SIZE=1)
        first, second = PaymentFactory.create_batch(2)
        answer = api.list_payments()
        assert (answer.status_code, [each["id"] for each in answer.json()]) == (200, [second.pk])
        query = re.fullmatch(r"<http://testserver/bookings/payments(\?\S+)>; rel=\"next\"", answer["Link"])
        assert query
        answer = api.list_payments(query[1])
        assert [each["id"] for each in answer.json()] == [first.pk]
        assert "Link" not in answer

    def test_listed_payment_is_the_one_that_is_read(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        api.refund(api.paid(stripe), {"amount": 5})
        (listed,) = api.list_payments(**CAPABLE).json()
        read = api.request("GET", f"/payments/{listed['id']}", **CAPABLE).json()
        assert {
            name: read[name] for name in read.keys() - {"cardPayment", "refunds", "hasMoreRefunds"}
        } == listed

    def test_balance_is_a_payable_s_and_not_in_a_list(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        booking = Booking.objects.create()
        created = api.create({"payable": {"type": "booking", "id": booking.pk}}).json()
        (listed,) = api.list_payments().json()
        assert created.keys() - listed.keys() == {"balance", "stripeClientSecret"}

    @pytest.mark.parametrize("status", STORED_STATUSES)
    def test_status_is_asked_for_by_the_name_that_is_sent(self, status: str, api: GatewayApi) -> None:
        PaymentFactory.create(status=STORED_STATUSES[status])
        assert [each["status"] for each in api.list_payments(f"?status={status}").json()] == [status]
        assert not api.list_payments(f"?status={'PENDING' if status != 'PENDING' else 'FAILED'}").json()

    def test_list_answers_in_the_caller_s_language_and_echoes_what_was_honoured(
        self, api: GatewayApi
    ) -> None:
        answer = api.list_payments("?nope=1", **CAPABLE, **{"Accept-Language": "de"})
        assert (answer.status_code, answer["Content-Language"]) == (400, "de")
        assert answer.json()["errorMessage"].startswith("nope: ")
        assert answer["Octo-Capabilities"] == "octo/cardPayments"


class TestValues:
    def test_every_nullable_field_is_there_and_null(self, api: GatewayApi, configure: Configure) -> None:
        configure(STRIPE_PUBLISHABLE_KEY="")
        payment = PaymentFactory.create(stripe_payment_intent_id=None)
        body = api.retrieve(payment.pk).json()
        nullable = (
            "stripePaymentIntentId publishableKey resellerReference payable failure utcConfirmedAt"
            " utcFailedAt utcRefundedAt utcCancelledAt"
        ).split()
        assert {name: body[name] for name in nullable} == dict.fromkeys(nullable)

    def test_times_are_utc_with_a_z_and_no_fraction(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        refunded = api.refund(api.paid(stripe)).json()
        times = {name: value for name, value in refunded.items() if name.startswith("utc") and value}
        assert {*times} == {"utcCreatedAt", "utcUpdatedAt", "utcConfirmedAt", "utcRefundedAt"}
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) for value in times.values())

    @pytest.mark.parametrize("write", [str, str.upper])
    def test_uuid_is_sent_in_lower_case(
        self, write: Callable[[str], str], api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        own = str(uuid.uuid4())
        assert api.create({"amount": 2000, "uuid": write(own)}).json()["uuid"] == own

    def test_offending_value_goes_with_the_error(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        assert api.retrieve("nope").json()["paymentId"] == "nope"
        booking = Booking.objects.create(price=2000)
        refused = api.create({"amount": 1, "payable": {"type": "booking", "id": booking.pk}})
        assert (refused.status_code, refused.json()["amount"]) == (422, 1)


class TestCurrencies:
    # https://docs.stripe.com/currencies: no minor unit in ISO 4217 but two decimals at Stripe, and the other
    # way round.
    DIFFERING = {"isk": 2, "ugx": 2, "mga": 0}
    # Withdrawn from ISO 4217, all with two decimals.
    WITHDRAWN = {"ang", "bgn", "hrk", "std"}

    @pytest.mark.parametrize("currency", independent.SUPPORTED)
    def test_precision_is_iso_4217_s_but_where_stripe_differs(self, currency: str) -> None:
        table = {each.code.lower(): each.exponent for each in iso4217.Currency}
        table |= dict.fromkeys(self.WITHDRAWN - table.keys(), 2) | self.DIFFERING
        assert get_precision(currency) == table[currency] == independent.decimals(currency)

    @pytest.mark.parametrize("currency", independent.SUPPORTED)
    def test_step_is_stripe_s(self, currency: str) -> None:
        assert get_step(currency) == independent.STEPS.get(currency, 1)

    @pytest.mark.parametrize("currency", independent.SUPPORTED)
    def test_every_currency_can_be_paid_in(
        self, currency: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        body = api.create({"amount": 100_000, "currency": currency.upper()}).json()
        assert (body["currency"], body["currencyPrecision"]) == (currency, get_precision(currency))

    @pytest.mark.parametrize(
        ("currency", "amount", "step"),
        [
            ("isk", 5099, 100),
            ("UGX", 500_050, 100),
            *((currency, 10_001, 10) for currency in ("bhd", "jod", "kwd", "omr", "tnd")),
        ],
    )
    def test_amount_off_stripe_s_step_is_refused_before_stripe_is_asked(
        self, currency: str, amount: int, step: int, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        answer = api.create({"amount": amount, "currency": currency})
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": "BAD_REQUEST",
                "errorMessage": f"amount: it must be divisible by {step} in {currency.upper()}.",
            },
        )
        assert stripe.requests == []
        assert not Payment.objects.exists()

    def test_refund_off_stripe_s_step_is_refused_before_stripe_is_asked(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = api.paid(stripe, {"amount": 10_000, "currency": "isk"})
        asked = len(stripe.requests)
        assert api.refund(payment, {"amount": 150}).status_code == 400
        assert len(stripe.requests) == asked

    def test_amount_past_stripe_s_limit_is_refused_before_stripe_is_asked(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        assert api.create({"amount": MAX_AMOUNT + 1, "currency": "idr"}).status_code == 400
        assert stripe.requests == []


class BookingSerializer(serializers.Serializer[Any]):
    """A host's own booking."""

    id = serializers.IntegerField()
    cardPayment = CardPaymentField()  # noqa: N815 - as a host without a renderer for camelCase writes it


class TestCardPayment:
    def test_created_payment_has_it_with_the_secret(
        self, api: GatewayApi, stripe: StripeEmulator, configure: Configure
    ) -> None:
        configure(MERCHANT_NAME="Old Town Tours")
        body = api.create({"amount": 9130, "currency": "EUR"}, **CAPABLE).json()
        assert body["cardPayment"] == {
            "id": body["uuid"],
            "gateway": "stripe",
            "source": "ECOM",
            "merchantName": "Old Town Tours",
            "amount": 9130,
            "currency": "EUR",
            "currencyPrecision": 2,
            "paid": 0,
            "totalPaid": 0,
            "totalRefunded": 0,
            "balance": 0,
            "outstandingBalance": 9130,
            "surcharge": 0,
            "paidSurcharge": 0,
            "reusableCards": [],
            "stripe": {
                "version": "latest",
                "paymentIntent": {
                    "id": body["stripePaymentIntentId"],
                    "publishableKey": "pk_test_gateway",
                    "clientSecret": body["stripeClientSecret"],
                    "amount": 9130,
                    "currency": "eur",
                },
            },
        }

    @pytest.mark.parametrize(
        ("method", "action"),
        [("GET", ""), ("PATCH", "/complete"), ("POST", "/complete"), ("POST", "/refund")],
    )
    def test_other_answers_have_it_without_the_secret(
        self, method: str, action: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = api.paid(stripe)
        answer = api.request(method, f"/payments/{payment['id']}{action}", **CAPABLE)
        intent = answer.json()["cardPayment"]["stripe"]["paymentIntent"]
        assert (intent["id"], intent["clientSecret"]) == (payment["stripePaymentIntentId"], None)
        assert b"_secret_" not in answer.content
        assert "cardPayment" not in api.request(method, f"/payments/{payment['id']}{action}").json()

    @pytest.mark.parametrize(
        "replayed",
        [
            {},
            {"gateway": "stripe"},
            {"gateway": "stripe", "stripe": {}},
            {"gateway": "stripe", "stripe": {"paymentIntent": "THIS"}},
            {"currency": "usd", "stripe": {"paymentIntent": "THIS"}},
            {"currency": "USD"},
            {"source": "ECOM", "notes": "The window seat, please."},
            dict.fromkeys(
                ("amount", "cardId", "currency", "external", "paypal", "notes", "source", "gateway")
            ),
            {"stripe": {"paymentIntent": "THIS", "setupIntent": None, "paymentMethod": None}},
            {"stripe": None},
            {"gateway": "stripe", "amount": 2000, "currency": "USD", "stripe": {"paymentIntent": "THIS"}},
        ],
    )
    def test_completion_may_replay_it(
        self, replayed: dict[str, Any], api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = api.paid_at_stripe(stripe)
        if (replayed.get("stripe") or {}).get("paymentIntent"):
            stripe_s = {**replayed["stripe"], "paymentIntent": payment["stripePaymentIntentId"]}
            replayed = {**replayed, "stripe": stripe_s}
        answer = api.complete(payment, {"cardPayment": replayed})
        assert (answer.status_code, answer.json()["status"]) == (200, "CONFIRMED")

    @pytest.mark.parametrize(
        ("replayed", "status", "code"),
        [
            ({"gateway": "adyen"}, 400, "GATEWAY_MISMATCH"),
            ({"gateway": "Stripe"}, 400, "GATEWAY_MISMATCH"),
            ({"gateway": "adyen", "currency": "eur"}, 400, "GATEWAY_MISMATCH"),
            ({"gateway": "stripe", "currency": "eur"}, 400, "GATEWAY_CURRENCY_MISMATCH"),
            ({"gateway": "stripe", "stripe": {"paymentIntent": "pi_another"}}, 422, "UNPROCESSABLE_ENTITY"),
            ({"amount": 1999}, 422, "UNPROCESSABLE_ENTITY"),
            ({"amount": "2000"}, 400, "BAD_REQUEST"),
            ({"stripe": {"paymentIntent": "THIS", "setupIntent": "seti_1"}}, 400, "BAD_REQUEST"),
            ({"stripe": {"paymentMethod": "pm_1"}}, 400, "BAD_REQUEST"),
            ({"notes": 1}, 400, "BAD_REQUEST"),
            ({"source": "POS"}, 400, "GATEWAY_INVALID_SOURCE"),
            ({"source": "MOTO", "currency": "usd"}, 400, "GATEWAY_INVALID_SOURCE"),
            ({"cardId": "card_1"}, 400, "BAD_REQUEST"),
            ({"gateway": 1}, 400, "BAD_REQUEST"),
            ({"gateway": "x" * 65}, 400, "BAD_REQUEST"),
            ({"stripe": "pi_1"}, 400, "BAD_REQUEST"),
            ({"stripe": {"paymentIntent": {"id": "pi_1"}}}, 400, "BAD_REQUEST"),
            ({"stripe": {"paymentIntent": ""}}, 400, "BAD_REQUEST"),
            ([], 400, "BAD_REQUEST"),
            (None, 400, "BAD_REQUEST"),
        ],
    )
    @pytest.mark.parametrize("strict", [False, True])
    def test_completion_of_something_else_is_refused_before_stripe_is_asked(
        self,
        strict: bool,
        replayed: Any,
        status: int,
        code: str,
        api: GatewayApi,
        stripe: StripeEmulator,
        configure: Configure,
    ) -> None:
        configure(STRICT_OCTO=strict)
        payment = api.paid_at_stripe(stripe)
        asked = len(stripe.requests)
        answer = api.complete(payment, {"cardPayment": replayed})
        assert (answer.status_code, answer.json()["error"]) == (400 if strict else status, code)
        assert len(stripe.requests) == asked
        assert api.retrieve(payment).json()["status"] == "PENDING"

    def test_host_s_own_booking_shows_its_latest_payment(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        booking = Booking.objects.create()
        assert BookingSerializer(booking).data["cardPayment"] is None
        reference = {"payable": {"type": "booking", "id": booking.pk}}
        _first, second = (api.create(reference, **CAPABLE).json() for _ in range(2))
        shown = second["cardPayment"]
        shown["stripe"]["paymentIntent"]["clientSecret"] = None
        assert BookingSerializer(booking).data["cardPayment"] == shown

    def test_host_s_own_booking_has_the_secret_of_the_payment_it_created(
        self, stripe: StripeEmulator
    ) -> None:
        booking, other = Booking.objects.create(), Booking.objects.create()
        created, others = services.create_payment(payable=booking), services.create_payment(payable=other)
        for known, secret in ((created, created.client_secret), (others, None)):
            shown = BookingSerializer(booking, context={"created_payment": known}).data["cardPayment"]
            assert shown["stripe"]["paymentIntent"]["clientSecret"] == secret


class TestStrict:
    """OCTO's own statuses: 200 and 400, and 500 for faults, whatever the usual one is."""

    @pytest.fixture(autouse=True)
    def _strict(self, configure: Configure) -> None:
        configure(STRICT_OCTO=True)

    def test_success_is_200(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        created = api.create()
        payment = created.json()
        stripe.confirm(payment["stripePaymentIntentId"])
        answers = [created, api.complete(payment), api.retrieve(payment), api.refund(payment)]
        held = api.authorized(stripe)
        answers += [api.capture(held), api.cancel(api.create().json()), api.request("GET", "/capabilities")]
        answers.append(api.list_payments())
        assert [answer.status_code for answer in answers] == [200] * 8
        assert payment["stripeClientSecret"]

    @pytest.mark.parametrize(
        ("method", "path", "body", "usual"),
        [
            ("POST", "/payments", "{", 400),
            ("POST", "/payments", {}, 400),
            ("GET", "/payments/0", None, 404),
            ("GET", "/payments/0/nope", None, 404),
            ("GET", "/payments/%2F/x/", None, 404),
            ("DELETE", "/payments", None, 405),
            ("GET", "/payments?nope=1", None, 400),
            ("GET", "/webhooks", None, 405),
            ("POST", "/payments/PAID/cancel", None, 422),
            ("POST", "/payments/PAID/refund", {"amount": 2001}, 422),
        ],
    )
    def test_refusal_is_400_with_the_usual_body(
        self, method: str, path: str, body: Any, usual: int, api: GatewayApi, configure: Configure
    ) -> None:
        path = path.replace("PAID", str(PaymentFactory.create(paid=True).pk))
        strict = api.request(method, path, body)
        configure(STRICT_OCTO=False)
        lenient = api.request(method, path, body)
        assert (strict.status_code, lenient.status_code) == (400, usual)
        assert strict.json() == lenient.json()
        assert strict.get("Allow") == lenient.get("Allow")

    @pytest.mark.parametrize(("key", "code"), [("", "UNAUTHORIZED"), ("wrong", "FORBIDDEN")])
    def test_refused_caller_gets_400(self, key: str, code: str, api: GatewayApi) -> None:
        api.key = key
        answer = api.create()
        assert (answer.status_code, answer.json()["error"]) == (400, code)

    def test_body_of_another_type_or_too_large_is_400(self, api: GatewayApi, settings: Any) -> None:
        assert api.request("POST", "/payments", "a=1", content_type="text/plain").status_code == 400
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
        assert api.create({"amount": 2000, "description": "x" * 20}).status_code == 400

    def test_throttled_caller_gets_400_and_when_to_try_again(self, settings: Any) -> None:
        settings.ROOT_URLCONF = "tests.shop.urls"
        cache.clear()
        api = GatewayApi(Client(), prefix="/throttled")
        payment = PaymentFactory.create()
        answer = [api.retrieve(payment.pk) for _ in range(3)][2]
        assert (answer.status_code, answer.json()["error"]) == (400, "TOO_MANY_REQUESTS")
        assert answer["Retry-After"] == str(answer.json()["retryAfter"])

    @pytest.mark.parametrize(
        ("fault", "status"), [(Fault(status=401), 500), (Fault(status=409), 400), (Fault(status=500), 500)]
    )
    def test_stripe_s_trouble_is_500_and_a_conflict_400(
        self, fault: Fault, status: int, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        stripe.add_fault(fault)
        assert api.create().status_code == status

    def test_stripe_s_refusal_is_400_with_its_message(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        answer = api.create({"amount": 1, "currency": "usd"})
        assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
        assert "Amount must" in answer.json()["errorMessage"]

    @pytest.mark.parametrize("method", ["PATCH", "POST"])
    def test_completion_is_pending_until_stripe_has_settled(
        self, method: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = api.create().json()
        path = f"/payments/{payment['id']}/complete"
        early = api.request(method, path)
        assert (early.status_code, early.json().keys()) == (400, {"error", "errorMessage"})
        assert early.json()["error"] == "PAYMENT_PENDING"
        stripe.confirm(payment["stripePaymentIntentId"])
        assert api.request(method, path).json()["status"] == "CONFIRMED"

    def test_completion_of_a_declined_payment_is_refused_with_the_bank_s_reason(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = api.create().json()
        stripe.confirm(payment["stripePaymentIntentId"], payment_method=DECLINING)
        answer = api.complete(payment)
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "BAD_REQUEST", "errorMessage": "Your card has insufficient funds."},
        )
        assert api.retrieve(payment).json()["status"] == "FAILED"

    @pytest.mark.parametrize(
        ("call", "status"), [("authorized", "ON_HOLD"), ("canceled", "CANCELLED"), ("refunded", "REFUNDED")]
    )
    def test_completion_of_what_is_settled_otherwise_says_how(
        self, call: str, status: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        if call == "authorized":
            payment = api.authorized(stripe)
        else:
            payment = api.refund(api.paid(stripe)).json() if call == "refunded" else api.create().json()
        if call == "canceled":
            api.cancel(payment)
        answer = api.complete(payment)
        assert (answer.status_code, answer.json()["status"]) == (200, status)

    def test_stripe_s_event_is_taken_in_as_ever(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = api.paid_at_stripe(stripe)
        assert {answer.status_code for answer in api.deliver(stripe)} == {200}
        assert api.retrieve(payment).json()["status"] == "CONFIRMED"

    def test_stripe_is_still_told_to_deliver_a_failed_event_again(
        self, api: GatewayApi, stripe: StripeEmulator, configure: Configure
    ) -> None:
        configure(STRIPE_WEBHOOK_SECRET="")
        assert api.post_event(b"{}", "t=1,v1=x").status_code == 500
        configure(STRIPE_WEBHOOK_SECRET="whsec_gateway")
        assert api.post_event(b"{}", "t=1,v1=x").status_code == 400


def test_pending_completion_is_no_error_but_where_octo_is_strict(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    answer = api.complete(api.create().json())
    assert (answer.status_code, answer.json()["status"]) == (200, "PENDING")
