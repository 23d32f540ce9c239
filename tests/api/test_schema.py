"""The API's description: complete, valid, true to the answers, and no trouble for a host's own."""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.core.cache import cache
from django.urls import include, path
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema
from drf_spectacular.validation import validate_schema
from rest_framework import serializers
from rest_framework.generics import RetrieveAPIView

from octo_stripe_gateway import exceptions
from octo_stripe_gateway.api import errors, schema
from octo_stripe_gateway.api.card_payments import CardPaymentField
from octo_stripe_gateway.api.serializers import CreatePaymentSerializer
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.stripe.currencies import MAX_AMOUNT
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.urls import get_urls, urlpatterns
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.cases import one_in
from tests.support.openapi import close_document, make_document

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "octo_stripe_gateway" / "openapi.json"
COMMAND = (
    "-m django spectacular --settings tests.support.openapi_settings --urlconf octo_stripe_gateway.urls"
    " --format openapi-json --validate --fail-on-warn --file"
)


class BookingSerializer(serializers.Serializer[Any]):
    """A host's own object, whose names are like ours."""

    booking_status = serializers.ChoiceField(["PENDING", "PAID"])
    status = serializers.ChoiceField(["new", "old"])
    reason = serializers.ChoiceField(["a", "b"])
    card_payment = CardPaymentField()


class BookingView(RetrieveAPIView[Booking]):
    """A host's own view."""

    schema = AutoSchema()
    queryset = Booking.objects.all()
    serializer_class = BookingSerializer
    authentication_classes = ()


class TourPaymentSerializer(CreatePaymentSerializer):
    """What a host has added to a create."""

    promo_code = serializers.CharField()


HOST = [path("bookings/<int:pk>", BookingView.as_view())]


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    GENERATOR_STATS.reset()
    yield
    assert not GENERATOR_STATS, GENERATOR_STATS._warn_cache | GENERATOR_STATS._error_cache


def find_schema(name: str) -> Any:
    """Return a validator for a component of the committed description that allows no other keys."""
    closed = close_document(json.loads(COMMITTED.read_text()))
    whole = {**closed, "$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def test_committed_description_is_what_the_command_makes(tmp_path: Path) -> None:
    made = tmp_path / "openapi.json"
    subprocess.run([sys.executable, *COMMAND.split(), str(made)], cwd=ROOT, check=True)
    assert made.read_text() == COMMITTED.read_text()


def test_every_route_is_described() -> None:
    routes = {
        str(pattern.pattern).removesuffix(r"/?\Z").replace(r"(?P<id>[^/]+)", "{id}")[1:]
        for pattern in urlpatterns
        if pattern.name not in {"webhooks", "not-found", "pay", "pay-create", "pay-complete"}
    }
    assert {name.strip("/") for name in make_document()["paths"]} == routes


@pytest.mark.parametrize("version", one_in(2, ["3.1.1", "3.0.3"]))
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("split", one_in(2, [False, True]))
def test_description_is_valid_in_every_version_and_form(version: str, strict: bool, split: bool) -> None:
    # Only OpenAPI 3.1 has licence identifiers.
    licence = {"LICENSE": {"name": "MIT"}} if version < "3.1" else {}
    spectacular = {"OAS_VERSION": version, "COMPONENT_SPLIT_REQUEST": split, **licence}
    validate_schema(make_document(spectacular=spectacular, STRICT_OCTO=strict))


def test_strict_octo_s_statuses_are_described() -> None:
    document = make_document(STRICT_OCTO=True)
    operations = [operation for each in document["paths"].values() for operation in each.values()]
    assert {status for operation in operations for status in operation["responses"]} == {"200", "400", "500"}


def test_every_code_is_described() -> None:
    kinds = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    ours = {kind.code for kind in kinds if issubclass(kind, exceptions.GatewayError)}
    assert ours | {*errors.CODES.values()} == {*schema.CODES}


def test_every_status_is_described() -> None:
    assert {*errors.HTTP_STATUSES.values()} <= {*schema.ERRORS}


def provoke_errors(api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]) -> list[Any]:
    """Return an error of each code; of the code with the most values, one of each kind."""
    cache.clear()
    payment = api.paid(stripe)
    booking = Booking.objects.create()
    reference = {"payable": {"type": "booking", "id": booking.pk}}
    answers = [
        api.create({}),
        api.retrieve(0),
        api.request("GET", "/payments/1/nope"),
        api.refund(payment, {"amount": 2001}),
        api.create({**reference, "purpose": "nothing"}),
        api.create({**reference, "amount": 1}),
        api.create({**reference, "currency": "usd"}),
        api.complete(payment, {"cardPayment": {"gateway": "adyen"}}),
        api.complete(payment, {"cardPayment": {"currency": "eur"}}),
        api.complete(payment, {"cardPayment": {"source": "POS"}}),
    ]
    configure(STRICT_OCTO=True)
    answers.append(api.complete(api.create().json()))
    configure(STRICT_OCTO=False, STRIPE_API_KEY="", THROTTLE_RATES={"authentication": "1/minute"})
    answers.append(api.create())
    # The integrator has no rate; a second wrong key is one too many.
    for api.key in ("", "wrong", "wrong"):
        answers.append(api.create())
    return [answer.json() for answer in answers]


def list_operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for each in document["paths"].values() for operation in each.values()]


def test_no_number_makes_a_client_use_what_json_cannot_hold() -> None:
    text = COMMITTED.read_text()
    assert "int64" not in text
    properties = json.loads(text)["components"]["schemas"]["GatewayCreatePayment"]["properties"]
    assert properties["amount"] == {"type": "integer", "minimum": 1, "maximum": MAX_AMOUNT}
    assert MAX_AMOUNT < 2**53


def test_text_is_blank_in_the_description_exactly_where_it_is_blank_here() -> None:
    validator = jsonschema_rs.validator_for({"type": "string", "pattern": schema.NOT_BLANK})
    disagreed = [
        hex(code) for code in range(0x3100) if validator.is_valid(chr(code)) == (chr(code).strip() == "")
    ]
    assert disagreed == []


def test_every_operation_has_a_name_a_summary_and_a_known_tag() -> None:
    document = json.loads(COMMITTED.read_text())
    operations = list_operations(document)
    tags = {each["name"] for each in document["tags"]}
    assert all(set(each["tags"]) <= tags and each["summary"] for each in operations)
    assert len({each["operationId"] for each in operations}) == len(operations)
    other = document["paths"]["/payments/{id}/complete"]["post"]
    assert (other["summary"], other["operationId"]) == (
        "Complete a payment: the other spelling",
        "payments_complete_by_post",
    )


@pytest.mark.parametrize("strict", [False, True])
def test_creation_leads_to_all_that_is_done_with_a_payment(strict: bool) -> None:
    mounts = [path("a/", include(urlpatterns)), path("b/", include(urlpatterns))]
    document = make_document(mounts, STRICT_OCTO=strict)
    created = document["paths"]["/a/payments"]["post"]["responses"]["200" if strict else "201"]
    linked = {each["operationId"] for each in created["links"].values()}
    # One operation has two spellings, and the rest of these is about no payment.
    rest = {"a_payments_create", "a_payments_list", "a_capabilities_list", "a_payments_complete_by_post"}
    rest |= {"a_payments_cancellations_cancel_payable", "a_payments_links_create_link"}
    rest |= {"a_payments_links_revocations_revoke_links"}
    names = {each["operationId"] for each in list_operations(document)}
    assert linked == {name for name in names if name.startswith("a_")} - rest
    assert {json.dumps(each["parameters"]) for each in created["links"].values()} == {
        '{"id": "$response.body#/id"}'
    }


@pytest.mark.django_db
class TestAnswers:
    @pytest.mark.parametrize("headers", [{}, {"Octo-Capabilities": "octo/cardPayments"}])
    def test_created_payment_is_as_described(
        self, headers: dict[str, str], api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        booking = Booking.objects.create()
        body = {
            "payable": {"type": "booking", "id": booking.pk},
            "resellerReference": "R",
            "metadata": {"a": "b"},
        }
        find_schema("GatewayCreatedPayment").validate(api.create(body, **headers).json())

    @pytest.mark.parametrize(
        "traits",
        [{}, {"authorized": True}, {"paid": True}, {"failed": True}, {"canceled": True}, {"refunded": True}],
    )
    @pytest.mark.parametrize("headers", [{}, {"Octo-Capabilities": "octo/cardPayments"}])
    def test_payment_is_as_described(
        self, traits: dict[str, bool], headers: dict[str, str], api: GatewayApi
    ) -> None:
        payment = PaymentFactory.create(**traits)
        read = api.request("GET", f"/payments/{payment.pk}", **headers).json()
        find_schema("GatewayRetrievedPayment").validate(read)
        (listed,) = api.list_payments(**headers).json()
        find_schema("GatewayListedPayment").validate(listed)

    def test_changed_payment_is_as_described(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        booking = Booking.objects.create()
        payment = api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": booking.pk}})
        for answer in (api.complete(payment), api.refund(payment)):
            find_schema("GatewayPayment").validate(answer.json())

    @pytest.mark.parametrize("name", ["stripePaymentIntentId", "publishableKey", "stripeClientSecret"])
    def test_created_payment_has_no_null_for_what_is_always_there(
        self, name: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        created = api.create(**{"Octo-Capabilities": "octo/cardPayments"}).json()
        with pytest.raises(jsonschema_rs.ValidationError):
            find_schema("GatewayCreatedPayment").validate({**created, name: None})
        created["cardPayment"]["stripe"]["paymentIntent"]["clientSecret"] = None
        with pytest.raises(jsonschema_rs.ValidationError):
            find_schema("GatewayCreatedPayment").validate(created)

    def test_each_error_is_of_the_type_that_its_code_names(
        self, api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
    ) -> None:
        mapping = json.loads(COMMITTED.read_text())["components"]["schemas"]["GatewayError"]["discriminator"]
        assert mapping["propertyName"] == "error"
        errors = provoke_errors(api, stripe, configure)
        assert {error["error"] for error in errors} == mapping["mapping"].keys()
        for error in errors:
            own = mapping["mapping"][error["error"]].rpartition("/")[2]
            matching = {
                name.rpartition("/")[2]
                for name in mapping["mapping"].values()
                if find_schema(name.rpartition("/")[2]).is_valid(error)
            }
            assert matching == {own}
            find_schema("GatewayError").validate(error)

    def test_capabilities_are_as_described(self, api: GatewayApi) -> None:
        for capability in api.request("GET", "/capabilities").json():
            find_schema("GatewayCapability").validate(capability)

    def test_card_payment_of_a_host_s_own_object_is_as_described(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        booking = Booking.objects.create()
        api.create({"payable": {"type": "booking", "id": booking.pk}})
        find_schema("GatewayCardPayment").validate(CardPaymentField().to_representation(booking))

    def test_undescribed_key_would_be_found(self, api: GatewayApi) -> None:
        answer = api.retrieve(PaymentFactory.create().pk).json()
        with pytest.raises(jsonschema_rs.ValidationError):
            find_schema("GatewayRetrievedPayment").validate({**answer, "clientSecret": "x"})


class TestHost:
    def test_host_s_own_description_stays_as_it_was(self) -> None:
        alone = make_document(HOST)
        together = make_document([*HOST, path("gateway/", include(urlpatterns))])
        assert together["paths"]["/bookings/{id}"] == alone["paths"]["/bookings/{id}"]
        schemas = together["components"]["schemas"]
        assert {name: schemas[name] for name in alone["components"]["schemas"]} == alone["components"][
            "schemas"
        ]

    def test_names_of_ours_are_ours(self) -> None:
        together = make_document([*HOST, path("gateway/", include(urlpatterns))])
        added = together["components"]["schemas"].keys() - make_document(HOST)["components"]["schemas"].keys()
        assert all(name.startswith("Gateway") for name in added)

    def test_card_payment_is_described_in_a_host_s_own_object(self) -> None:
        booking = make_document(HOST)["components"]["schemas"]["Booking"]["properties"]
        reference = {"$ref": "#/components/schemas/GatewayCardPayment"}
        assert booking["card_payment"]["oneOf"] == [reference, {"type": "null"}]
        assert booking["booking_status"]

    def test_any_number_of_mounts_have_operations_of_their_own(self) -> None:
        mounts = [path("a/", include(urlpatterns)), path("b/c/", include(urlpatterns))]
        operations = [each for one in make_document(mounts)["paths"].values() for each in one.values()]
        names = {each["operationId"] for each in operations}
        assert len(names) == len(operations) == 24
        assert {"a_payments_create", "b_c_payments_complete_by_post"} <= names

    def test_host_s_additions_are_described(self, settings: Any) -> None:
        settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}

        class TourPayments(PaymentViewSet):
            request_serializers = {**PaymentViewSet.request_serializers, "create": TourPaymentSerializer}

            @extend_schema(summary="Pay back")
            def refund(self, *args: Any, **kwargs: Any) -> Any:
                return super().refund(*args, **kwargs)

        document = make_document(get_urls(viewset=TourPayments))
        added = document["components"]["schemas"]["GatewayTourPayment"]
        assert added["properties"]["promoCode"] == {"type": "string"}
        assert added["required"] == ["promoCode"]
        refund = document["paths"]["/payments/{id}/refund"]["post"]
        assert refund["summary"] == "Pay back"
        assert "422" in refund["responses"]

    def test_api_key_is_not_asked_for_where_the_host_authenticates(self) -> None:
        document = make_document(IDENTIFY_CALLER=lambda _request: None)
        assert "security" not in document["paths"]["/payments"]["post"]
        assert make_document()["paths"]["/payments"]["post"]["security"] == [{"gatewayKey": []}]


def test_app_does_without_drf_spectacular() -> None:
    script = (
        "import sys, django; sys.modules['drf_spectacular'] = None; django.setup();"
        " import octo_stripe_gateway.urls; assert 'octo_stripe_gateway.api.schema' not in sys.modules"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)


def test_description_is_registered_where_drf_spectacular_is_installed() -> None:
    script = "import sys, django; django.setup(); assert 'octo_stripe_gateway.api.schema' in sys.modules"
    environment = {"DJANGO_SETTINGS_MODULE": "tests.support.openapi_settings"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
