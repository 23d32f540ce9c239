"""Bodies that no honest client sends: each is refused before anything is written or asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client, RequestFactory

from octo_stripe_gateway.api.authentication import check_csrf
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Ticket
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

CALLS = [
    ("POST", ""),
    ("PATCH", "/complete"),
    ("POST", "/complete"),
    ("POST", "/refund"),
    ("POST", "/capture"),
    ("POST", "/cancel"),
]
UNREADABLE = {
    "nothing sensible": b"{amount: 2000}",
    "cut off": b'{"amount": 2000',
    "two objects": b'{"amount": 2000}{"amount": 1}',
    "list": b'[{"amount": 2000}]',
    "null": b"null",
    "number": b"2000",
    "text": b'"amount"',
    "true": b"true",
    "NaN": b'{"amount": NaN}',
    "Infinity": b'{"x": {"y": [-Infinity]}}',
    "beyond a float": b'{"x": 1e999}',
    "beyond Python's digits": b'{"amount": ' + b"9" * 5000 + b"}",
    "same name twice": b'{"amount": 1, "amount": 2000}',
    "same name twice within": b'{"metadata": {"a": "1", "a": "2"}}',
    "deep list": b"[" * 100_000,
    "deep list, closed": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"x":' * 3_000 + b"1" + b"}" * 3_000,
    "bad UTF-8": b'{"description": "\xff"}',
    "overlong UTF-8": b'{"description": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"description": "\xed\xa0\x80"}',
    "UTF-16": '{"amount": 2000}'.encode("utf-16"),
    "UTF-32": '{"amount": 2000}'.encode("utf-32"),
    "byte order mark": b'\xef\xbb\xbf{"amount": 2000}',
    "lone surrogate": b'{"x": "\\ud800"}',
    "lone surrogate as a name": b'{"\\udc00": 1}',
    "blank": b"   ",
    "NUL": b"\x00",
}


@pytest.fixture
def _roomy(configure: Callable[..., None]) -> None:
    """Leave the length of a body to the test."""
    configure(MAX_BODY_SIZE=1_000_000)


@pytest.fixture
def payment(stripe: StripeEmulator) -> Payment:
    return PaymentFactory.create(paid=True)


def send(api: GatewayApi, call: tuple[str, str], payment: Payment, body: Any, **options: Any) -> Any:
    method, action = call
    path = f"/payments/{payment.pk}{action}" if action else "/payments"
    return api.request(method, path, body, **options)


def assert_refused(answer: Any, stripe: StripeEmulator, *, status: int = 400) -> None:
    assert answer.status_code == status, answer.content
    assert answer.json().keys() == {"error", "errorMessage"}
    assert answer.json()["error"] == "BAD_REQUEST"
    assert answer.json()["errorMessage"]
    assert stripe.requests == []
    assert Payment.objects.count() == 1
    assert Refund.objects.count() == 0


@pytest.mark.usefixtures("_roomy")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_body_is_refused(
    body: bytes, call: tuple[str, str], api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    assert_refused(send(api, call, payment, body), stripe)


@pytest.mark.usefixtures("_roomy")
@pytest.mark.parametrize("depth", [10, 100, 200, 500, 900, 990, 1100, 5000, 20000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("field", ["x", "metadata", "payable", "captureMethod", "uuid", "amount"])
def test_depth_is_never_a_fault_of_ours(
    field: str, opening: str, depth: int, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    closing = "]" if opening == "[" else "}"
    nested = opening * depth + '"b"' + closing * depth
    answer = api.create(f'{{"currency": "usd", "{field}": {nested}}}')
    assert_refused(answer, stripe)


def make_body(length: int) -> str:
    return json.dumps({"amount": 1000, "metadata": {}}).ljust(length)


@pytest.mark.parametrize("call", CALLS)
def test_body_past_64_kib_is_refused(
    call: tuple[str, str], api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    assert_refused(send(api, call, payment, make_body(65_537)), stripe, status=413)


def test_body_of_64_kib_is_read(api: GatewayApi, stripe: StripeEmulator) -> None:
    assert api.create(make_body(65_536)).status_code == 201


@pytest.mark.parametrize(
    ("limit", "host_limit", "status"), [(99, None, 413), (3_000_000, None, 201), (3_000_000, 99, 413)]
)
def test_limit_is_a_setting_and_the_host_s_own_holds_too(
    limit: int,
    host_limit: int | None,
    status: int,
    api: GatewayApi,
    stripe: StripeEmulator,
    configure: Callable[..., None],
    settings: Any,
) -> None:
    configure(MAX_BODY_SIZE=limit)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = host_limit
    assert api.create(make_body(100 if limit == 99 else 2_900_000)).status_code == status


def test_long_body_is_refused_unread(payment: Payment) -> None:
    request = RequestFactory().post("/")
    request.META |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "65537", "wsgi.input": None}
    answer = PaymentViewSet.as_view({"post": "refund"})(request, id=str(payment.pk))
    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["abc", "-1", "+13", "1e1", " 13", "1 3", "\u0661"])
def test_length_that_is_no_number_is_refused(
    length: str, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    api.client.defaults["CONTENT_LENGTH"] = length
    request = RequestFactory().post("/", b'{"amount": 1}', content_type="application/json")
    request.META |= {"CONTENT_LENGTH": length, "HTTP_AUTHORIZATION": "Bearer gateway-key"}
    answer = PaymentViewSet.as_view({"post": "refund"})(request, id=str(payment.pk))
    assert answer.status_code == 400
    assert not Refund.objects.exists()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/xml",
        "application/octet-stream",
        "nonsense",
        "",
    ],
)
def test_body_of_another_type_is_refused(
    content_type: str, call: tuple[str, str], api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = send(api, call, payment, b"amount=2000", content_type=content_type)
    assert_refused(answer, stripe, status=415)


PART = b'--x\r\nContent-Disposition: form-data; name="amount"\r\n\r\n100\r\n--x--\r\n'
FORMS = {
    "multipart/form-data; boundary=x": PART,
    "application/x-www-form-urlencoded": b"amount=100",
}
SESSION = "rest_framework.authentication.SessionAuthentication"


def check_session(request: HttpRequest) -> Any:
    check_csrf(request)
    return request.user


WAYS: dict[str, dict[str, Any]] = {
    "key": {},
    "host's check of the form's token": {"IDENTIFY_CALLER": check_session},
    "host's look at the form": {"IDENTIFY_CALLER": lambda request: request.POST is not None},
    "session": {"AUTHENTICATION_CLASSES": [SESSION]},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("content_type", FORMS)
def test_form_refunds_nothing_however_the_caller_is_known(
    content_type: str, way: str, api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    payment = api.paid(stripe)
    configure(**WAYS[way])
    api.client = Client(enforce_csrf_checks=True)
    api.client.force_login(User.objects.create(username="ann", is_superuser=True))
    api.client.cookies["csrftoken"] = "a" * 32
    answer = api.refund(payment, FORMS[content_type], content_type=content_type, **{"X-CSRFToken": "a" * 32})
    assert answer.status_code == 415
    assert stripe.refunds == {}


READERS: dict[str, Callable[[HttpRequest], Any]] = {
    "body": lambda request: request.body,
    "read": lambda request: request.read(),
    "read, then form": lambda request: (request.read(), request.POST),
    "lines": lambda request: request.readlines(),
}


@pytest.mark.parametrize("reader", READERS)
def test_body_that_the_host_s_check_reads_is_still_there(
    reader: str, api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    payment = api.paid(stripe)
    configure(IDENTIFY_CALLER=lambda request: READERS[reader](request) is not None)
    assert api.refund(payment, {"amount": 100}).json()["totalRefunded"] == 100


def test_body_that_something_has_used_up_is_a_fault(stripe: StripeEmulator, payment: Payment) -> None:
    request = RequestFactory().post("/", b'{"amount": 100}', content_type="application/json")
    request.META["HTTP_AUTHORIZATION"] = "Bearer gateway-key"
    assert request.read()
    assert not request.POST
    answer = PaymentViewSet.as_view({"post": "refund"})(request, id=str(payment.pk))
    assert answer.status_code == 500
    assert not Refund.objects.exists()


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"],
)
def test_json_is_read_however_its_type_is_written(
    content_type: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    answer = api.request("POST", "/payments", {"amount": 2000}, content_type=content_type)
    assert answer.status_code == 201


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "", "x"])
def test_empty_body_stands_for_an_empty_object(
    content_type: str, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = api.request("POST", "/payments", b"", content_type=content_type)
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"] == "amount: This field is required."


@pytest.mark.parametrize("call", CALLS)
def test_body_without_a_length_is_refused(
    call: tuple[str, str], api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    api.client.defaults["CONTENT_LENGTH"] = ""
    answer = send(api, call, payment, None, **{"Transfer-Encoding": "chunked"})
    assert_refused(answer, stripe)


@pytest.mark.parametrize("written", ["2000", "2000.0", "2e3", "2.0E+3"])
def test_whole_amount_is_taken_in_every_notation_of_json(
    written: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    ticket = Ticket.objects.create(code="5")
    body = f'{{"amount": {written}, "currency": "usd", "payable": {{"type": "ticket", "id": 5.0}}}}'
    answers = [api.create(body, **{"Idempotency-Key": "k"}) for body in (body, body.replace(written, "2000"))]
    assert [(answer.status_code, answer.json()["amount"]) for answer in answers] == [(201, 2000)] * 2
    assert {answer.json()["payable"]["id"] for answer in answers} == {ticket.pk}
    assert Payment.objects.count() == 1


NOT_AMOUNTS: list[Any] = [None, True, "2000", 20.5, 0.0, 1e30, "", [], {}, [2000], 0, -1, 2**63, 10**12]
NOT_VALUES: list[Any] = [None, True, 7, 1.5, [], {}, "a\0b", "x" * 501]
NOT_IDS: list[Any] = [None, True, 1.5, [], {}, "", " ", "a\0b", 0, -1, 10**30, "9" * 5000, "x", "1;--"]
NOT_TEXTS: list[Any] = [None, True, 7, 1.5, [], {}, ["a"], {"a": "b"}, "", " ", "a\0b"]
WRONG: dict[str, list[Any]] = {
    "amount": NOT_AMOUNTS,
    "currency": [*NOT_TEXTS, "us", "usdd", "us1", "€ur", "us d", "\u0131st", "u\u017fd"],
    "uuid": [*NOT_TEXTS, "x", "123e4567e89b42d3a456426614174000", "{123e4567-e89b-42d3-a456-426614174000}"],
    "captureMethod": [*NOT_TEXTS, "later", "MANUAL"],
    "metadata": [
        *(wrong for wrong in NOT_TEXTS if wrong not in [{}, {"a": "b"}]),
        *({"a": wrong} for wrong in NOT_VALUES),
        *({key: "a"} for key in ["", "k" * 41, "a\0b", "a[b]", "octo_payment", "octo_payable"]),
        {str(number): "a" for number in range(50)},
    ],
    "resellerReference": [*(wrong for wrong in NOT_TEXTS if wrong not in ["", " "]), "x" * 256],
    "description": [*NOT_TEXTS, "x" * 1001],
    "receiptEmail": [*NOT_TEXTS, "x", "a@b", "a@b.c\n", "x" * 600 + "@example.com"],
    "statementDescriptorSuffix": [*NOT_TEXTS, "x" * 23, "7", *(f"TOUR{each}" for each in "<>\\'\"*")],
    "payable": [
        *(wrong for wrong in NOT_TEXTS if wrong is not None),
        *({"type": wrong, "id": 1} for wrong in [*NOT_TEXTS, "nope", "shop.Booking"]),
        *({"type": kind} for kind in ["booking", "voucher", "ticket"]),
        *({"type": "booking", "id": wrong} for wrong in NOT_IDS),
        *({"type": "ticket", "id": wrong} for wrong in ["a\0b", "nope", 0, "x" * 5000]),
        *({"type": "voucher", "id": wrong} for wrong in ["a\0b", "nope", 7, "1" * 32]),
    ],
}
FIELDS = [(field, wrong) for field, values in WRONG.items() for wrong in values]


@pytest.mark.parametrize(("field", "wrong"), FIELDS)
def test_wrong_value_is_refused_by_name(
    field: str, wrong: Any, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = api.create({"amount": 2000, "currency": "usd", field: wrong})
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"].startswith(field)


@pytest.mark.parametrize("call", ["refund", "capture"])
@pytest.mark.parametrize("wrong", NOT_AMOUNTS)
def test_wrong_amount_changes_nothing(
    wrong: Any, call: str, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = getattr(api, call)(payment.pk, {"amount": wrong})
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"].startswith("amount")


@pytest.mark.parametrize("wrong", [*NOT_TEXTS, "because", "DUPLICATE", ["duplicate"]])
def test_wrong_reason_refunds_nothing(
    wrong: Any, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    assert_refused(api.refund(payment.pk, {"reason": wrong}), stripe)


def test_metadata_within_stripe_s_limits_is_kept(api: GatewayApi, stripe: StripeEmulator) -> None:
    metadata = {f"{number:040}": "é" * 500 for number in range(42)} | {"blank": " "}
    answer = api.create(json.dumps({"amount": 2000, "metadata": metadata}, ensure_ascii=False))
    assert answer.status_code == 201
    assert answer.json()["metadata"] == metadata


@pytest.mark.parametrize("text", ["Ünïcode 🎫", "'; DROP TABLE x; --", "<script>", "\\u0000", "a_secret_b"])
def test_any_other_text_survives_the_round_trip(text: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    answer = api.create({"amount": 2000, "resellerReference": text, "metadata": {"note": text}}).json()
    shown = api.retrieve(answer).json()
    assert shown["resellerReference"] == shown["metadata"]["note"] == text


@pytest.mark.parametrize(
    ("call", "body", "named"),
    [
        (CALLS[0], {"amount": 2000, "status": "paid"}, "status"),
        (CALLS[0], {"amount": 2000, "stripeAccount": "acct_1"}, "stripeAccount"),
        (CALLS[0], {"amount": 2000, "payable": {"type": "booking", "id": 1, "price": 1}}, "payable.price"),
        (CALLS[0], {"amount": 2000, "x" * 1000: 1}, "x" * 64),
        (CALLS[1], {"cardPayment": {"stripe": {"setupIntent": "seti_1"}}}, "cardPayment.stripe.setupIntent"),
        (
            CALLS[2],
            {"cardPayment": {"stripe": {"paymentMethod": "pm_1"}}},
            "cardPayment.stripe.paymentMethod",
        ),
        (CALLS[2], {"amount": 2000}, "amount"),
        (CALLS[3], {"Amount": 100}, "Amount"),
        (CALLS[3], {"ammount": 100}, "ammount"),
        (CALLS[4], {"reason": "duplicate"}, "reason"),
        (CALLS[5], {"amount": 100}, "amount"),
    ],
)
def test_unknown_field_is_refused_by_name(
    call: tuple[str, str], body: Any, named: str, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = send(api, call, payment, body)
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"] == f"{named}: This field is not known."


@pytest.mark.parametrize(
    "body",
    [
        {"amount": 2000, "captureMethod": "manual", "capture_method": "automatic"},
        {"amount": 2000, "resellerReference": "A", "reseller_reference": "B"},
        {"amount": 2000, "receipt_email": "a@b.example", "receiptEmail": "a@b.example"},
        {"amount": 2000, "x": [{"aB": 1, "a_b": 2}]},
    ],
)
def test_name_written_in_two_ways_comes_twice(
    body: Any, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = api.create(body)
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"] == "A name comes twice in one object."


def test_names_within_metadata_are_the_caller_s(api: GatewayApi, stripe: StripeEmulator) -> None:
    metadata = {"aB": "1", "a_b": "2", "AB": "3"}
    assert api.create({"amount": 2000, "metadata": metadata}).json()["metadata"] == metadata


SECRET = "pi_3T1kqZ2eZvKYlo2C_secret_f4e5d6"


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"note": SECRET}},
        {"metadata": {"note": f"see https://shop.example/?payment_intent_client_secret={SECRET}&x=1"}},
        {"metadata": {SECRET: "note"}},
        {"description": f"for {SECRET}"},
        {"resellerReference": SECRET},
        {"receiptEmail": f"{SECRET}@shop.example"},
        *({"metadata": {"note": SECRET.replace("pi_", kind)}} for kind in ["seti_", "cs_test_", "src_"]),
    ],
)
def test_client_secret_is_kept_nowhere(
    body: Any, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    answer = api.create({"amount": 2000, **body})
    assert_refused(answer, stripe)
    assert "A client secret may not be sent here." in answer.json()["errorMessage"]


def test_client_secret_is_no_idempotency_key(
    api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    for answer in (
        api.create(**{"Idempotency-Key": SECRET}),
        api.refund(payment.pk, **{"Idempotency-Key": SECRET}),
    ):
        assert_refused(answer, stripe)
        assert "A client secret may not be sent here." in answer.json()["errorMessage"]


@pytest.mark.parametrize("id_", ["x" * 256, "x" * 300, "a\0b"])
def test_payable_s_id_that_no_column_holds_is_refused(
    id_: str, api: GatewayApi, stripe: StripeEmulator, payment: Payment
) -> None:
    assert_refused(api.create({"amount": 2000, "payable": {"type": "ticket", "id": id_}}), stripe)
