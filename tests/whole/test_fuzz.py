"""Whatever is sent, the answer is a documented one: schemathesis with all of its checks."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import hypothesis
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.utils import timezone
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from octo_stripe_gateway import services
from octo_stripe_gateway.api.fields import CursorField
from octo_stripe_gateway.api.lists import Place
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.openapi import close_document, make_document

pytestmark = pytest.mark.django_db


def load(*, max_examples: int, deterministic: bool = False, coverage: bool = True, **keys: Any) -> Any:
    config = SchemathesisConfig()
    project = config.projects.default
    project.update(base_url="http://testserver/bookings")
    project.generation = GenerationConfig(
        max_examples=max_examples, deterministic=deterministic, allow_x00=False, database="none"
    )
    project.phases.coverage.enabled = coverage
    accepted = ["2xx", "404", "409", "422"]
    project.checks.positive_data_acceptance.expected_statuses = accepted
    if keys.get("STRICT_OCTO"):
        # These checks expect statuses that OCTO doesn't use.
        for check in (
            "positive_data_acceptance",
            "ignored_auth",
            "missing_required_header",
            "unsupported_method",
        ):
            getattr(project.checks, check).enabled = False
    schema = schemathesis.openapi.from_dict(close_document(make_document(**keys)), config=config)
    schema.app = get_wsgi_application()
    return schema


OF_A_PAYABLE = {"POST /payments/cancellations", "POST /payments/links", "POST /payments/links/revocations"}
AUTHORIZED = {"Authorization": "Bearer gateway-key"}
PAID = {"amount": 1_000_000, "currency": "usd"}


class Shop:
    """Has payments in every state, and knows what Stripe would accept."""

    def __init__(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        declined = api.create(PAID).json()
        stripe.confirm(declined["stripePaymentIntentId"], payment_method="pm_card_chargeDeclined")
        self.payments = [
            *(api.paid(stripe, PAID) for _ in range(3)),
            *(api.authorized(stripe, PAID) for _ in range(3)),
            api.complete(declined).json(),
            api.create(PAID).json(),
            api.cancel(api.create(PAID).json()).json(),
            *(self._make_corrected(api, stripe, correct) for correct in (reopen_dispute, cancel_refund)),
        ]
        self.booking = Booking.objects.create(price=9000, currency="usd")

    def _make_corrected(
        self, api: GatewayApi, stripe: StripeEmulator, correct: Callable[[StripeEmulator, str], object]
    ) -> Any:
        """Return a payment of which Stripe has said more after what looked like the end."""
        payment = api.paid(stripe, PAID)
        correct(stripe, payment["stripePaymentIntentId"])
        services.sync_payment(Payment.objects.get(pk=payment["id"]))
        return api.retrieve(payment).json()

    def prepare(self, case: Any) -> None:
        """Point most requests at a payment that exists, and make well-formed ones acceptable to Stripe."""
        chance = zlib.crc32(repr((case.path_parameters, case.body)).encode())
        if "id" in case.path_parameters and chance % 8:
            payment = self.payments[chance % len(self.payments)]
            case.path_parameters["id"] = str(payment["uuid" if chance % 3 else "id"])
        self.make_possible(case)

    def make_possible(self, case: Any) -> None:
        """Make a well-formed request acceptable to Stripe."""
        if case.meta.generation.mode.is_positive and isinstance(case.body, dict):
            case.body = self.get_possible(case)
        if case.meta.generation.mode.is_positive and case.operation.label == "GET /payments":
            case.query = self.get_askable(case.query or {})
        if case.operation.label == "GET /payments/{id}" and (case.query or {}).keys() - {"refunds"}:
            # A read ignores what it doesn't know.
            case.query = {} if case.meta.generation.mode.is_positive else {"refunds": "some"}
        if case.headers and case.headers.get("Octo-Env") == "live":
            case.headers["Octo-Env"] = "test"

    def get_possible(self, case: Any) -> dict[str, Any]:
        """Return the body with an amount that Stripe takes, and no payable that isn't there."""
        body = {name: value for name, value in case.body.items() if name not in {"payable", "cardPayment"}}
        if case.operation.label == "POST /payments":
            body["amount"] = 1000 * (20 + int(body.get("amount", 0)) % 50_000)
            body["currency"] = ("eur", "JPY", "isk", "BHD")[body["amount"] // 1000 % 4]
            if "statementDescriptorSuffix" in body:
                # Its maximum length depends on the account's own prefix.
                body["statementDescriptorSuffix"] = "TOUR"
        elif "amount" in body:
            # Some currencies have steps.
            body["amount"] = max(1000, body["amount"] // 1000 * 1000)
        if case.operation.label in OF_A_PAYABLE:
            body["payable"] = {"type": "booking", "id": str(self.booking.pk)}
            if "utcExpiresAt" in body:
                # The year 1 has no time in every zone.
                body["utcExpiresAt"] = "2099-01-01T00:00:00Z"
        return body

    def get_askable(self, query: Any) -> dict[str, Any]:
        """Return a list's parameters with a real cursor, and with both parts of a payable or neither."""
        asked: dict[str, Any] = dict(query)
        if asked.pop("cursor", None):
            place = Place(timezone.now(), self.payments[0]["id"])
            asked["cursor"] = CursorField().to_representation(place)
        if {"payableType", "payableId"} & asked.keys():
            asked |= {"payableType": "booking", "payableId": asked.get("payableId", "1")}
        return asked


def reopen_dispute(stripe: StripeEmulator, intent_id: str) -> None:
    dispute = stripe.open_dispute(intent_id)
    stripe.close_dispute(dispute["id"], won=False)
    stripe.reopen_dispute(dispute["id"])


def cancel_refund(stripe: StripeEmulator, intent_id: str) -> None:
    stripe.settle_refund(stripe.refund(intent_id, amount=1000)["id"], status="canceled")


@pytest.fixture
def shop(api: GatewayApi, stripe: StripeEmulator, settings: Any) -> Iterator[Shop]:
    settings.ALLOWED_HOSTS = ["*"]
    shop = Shop(api, stripe)
    # These would close the connection after each request, and with it the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield shop
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


patient = hypothesis.settings(deadline=None, suppress_health_check=[*hypothesis.HealthCheck])
usual = load(max_examples=2, deterministic=True)
strict = load(max_examples=2, deterministic=True, coverage=False, STRICT_OCTO=True)
brief = load(max_examples=2, deterministic=True, coverage=False)
usual_at_length = load(max_examples=80)
strict_at_length = load(max_examples=80, STRICT_OCTO=True)


@usual.parametrize()
@patient
def test_any_request_gets_a_documented_answer(case: Any, shop: Shop) -> None:
    shop.prepare(case)
    case.call_and_validate(headers=AUTHORIZED)


@strict.parametrize()
@patient
def test_any_request_gets_a_documented_answer_where_octo_is_strict(
    case: Any, shop: Shop, configure: Callable[..., None]
) -> None:
    configure(STRICT_OCTO=True)
    shop.prepare(case)
    case.call_and_validate(headers=AUTHORIZED)


# What may answer in Stripe's place, or keep it from answering.
FAULTS = [
    Fault(method="*", times=None, status=500),
    Fault(method="*", times=None, status=429),
    Fault(kind="reset", method="*", times=None),
    *(
        Fault(kind="proxy", method="*", times=None, status=status)
        for status in (200, 302, 401, 404, 408, 413)
    ),
    *(
        Fault(kind="proxy", method="*", times=None, status=404, content_type="application/json", body=body)
        for body in ("null", "[]", "{}", '{"error": null}', '{"error": {"message": "No route."}}')
    ),
]


@brief.parametrize()
@patient
def test_any_request_gets_a_documented_answer_whatever_answers_for_stripe(
    case: Any, shop: Shop, stripe: StripeEmulator
) -> None:
    call_while_stripe_fails(case, shop, stripe)


@pytest.mark.slow
@usual_at_length.parametrize()
@patient
def test_many_more_requests_get_a_documented_answer_whatever_answers_for_stripe(
    case: Any, shop: Shop, stripe: StripeEmulator
) -> None:
    call_while_stripe_fails(case, shop, stripe)


def call_while_stripe_fails(case: Any, shop: Shop, stripe: StripeEmulator) -> None:
    shop.prepare(case)
    stripe.add_fault(FAULTS[zlib.crc32(repr(case.body).encode()) % len(FAULTS)])
    try:
        # What is right may be answered by 503 then.
        case.call_and_validate(
            headers=AUTHORIZED, excluded_checks=[not_a_server_error, positive_data_acceptance]
        )
    finally:
        stripe.clear_faults()


@pytest.mark.slow
@usual_at_length.parametrize()
@patient
def test_many_more_requests_get_a_documented_answer(case: Any, shop: Shop) -> None:
    shop.prepare(case)
    case.call_and_validate(headers=AUTHORIZED)


@pytest.mark.slow
@strict_at_length.parametrize()
@patient
def test_many_more_requests_get_a_documented_answer_where_octo_is_strict(
    case: Any, shop: Shop, configure: Callable[..., None]
) -> None:
    configure(STRICT_OCTO=True)
    shop.prepare(case)
    case.call_and_validate(headers=AUTHORIZED)


class Key:
    """Adds the API key to follow-up requests, which schemathesis builds out of the test's reach."""

    def get(self, _case: Any, _context: Any) -> dict[str, str]:
        return AUTHORIZED

    def set(self, case: Any, data: dict[str, str], _context: Any) -> None:
        case.headers = {**(case.headers or {}), **data}


def make_machine(schema: Any, shop: Shop) -> Any:
    """Return a state machine that creates payments and follows the description's links from them.

    Its `answered` collects the answers about payments that exist.
    """
    schema.auth()(Key)

    class Machine(schema.as_state_machine()):  # type: ignore[misc] # made at run time
        answered: ClassVar[set[str]] = set()

        def before_call(self, case: Any) -> None:
            shop.make_possible(case)

        def after_call(self, response: Any, case: Any) -> None:
            super().after_call(response, case)
            answer = response.json()
            known = {"UNPROCESSABLE_ENTITY", "PAYMENT_PENDING"}
            if isinstance(answer, dict) and ("error" not in answer or answer["error"] in known):
                self.answered.add(case.operation.label)

    return Machine


@pytest.mark.slow
@pytest.mark.parametrize("octo", ["usual", "strict"])
def test_whatever_a_creation_leads_to_is_as_documented(
    octo: str, shop: Shop, configure: Callable[..., None]
) -> None:
    configure(STRICT_OCTO=octo == "strict")
    schema = load(max_examples=40, deterministic=True, STRICT_OCTO=octo == "strict")
    steps = hypothesis.settings(patient, max_examples=40, stateful_step_count=6, derandomize=True)
    machine = make_machine(schema, shop)
    run_state_machine_as_test(machine, settings=steps)
    one = "/payments/{id}"
    calls = {f"GET {one}", f"PATCH {one}/complete"}
    assert calls | {f"POST {one}/{action}" for action in ("refund", "capture", "cancel")} <= machine.answered
