"""What `GET /payments` may be asked for, and what it says of anything else."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.utils import timezone

from octo_stripe_gateway.api.fields import CursorField
from octo_stripe_gateway.api.lists import Place
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.stripe.times import format_utc
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
CURSOR = CursorField().to_representation(Place(timezone.now(), 7))


def get_ids(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [payment["id"] for payment in answer.json()]


def get_next(answer: Any) -> str:
    """Return the query of the address in a Link header, empty without one."""
    found = re.fullmatch(
        r'<http://testserver/bookings/payments(\?[^>]*)>; rel="next"', answer.get("Link", "")
    )
    return found[1] if found else ""


def test_payments_are_listed_the_newest_first(api: GatewayApi) -> None:
    made = PaymentFactory.create_batch(3)
    answer = api.list_payments()
    assert get_ids(answer) == [payment.pk for payment in reversed(made)]
    assert "Link" not in answer


def test_nothing_is_an_empty_list(api: GatewayApi) -> None:
    answer = api.list_payments()
    assert (answer.status_code, answer.json()) == (200, [])


def test_each_page_leads_to_the_next(api: GatewayApi, configure: Configure) -> None:
    configure(PAGE_SIZE=2)
    made = PaymentFactory.create_batch(5, reseller_reference="A & B", paid=True)
    PaymentFactory.create_batch(2)
    query, found = "?" + urlencode({"resellerReference": "A & B", "status": "CONFIRMED"}), []
    while query:
        answer = api.list_payments(query)
        assert len(answer.json()) <= 2
        assert answer.get("Access-Control-Expose-Headers") == ("Link" if "Link" in answer else None)
        found += get_ids(answer)
        query = get_next(answer)
    assert found == [payment.pk for payment in reversed(made)]


def test_a_page_has_a_hundred_payments_unless_a_setting_says_otherwise(
    api: GatewayApi, configure: Configure
) -> None:
    Payment.objects.bulk_create([PaymentFactory.build() for _each in range(101)])
    assert len(api.list_payments().json()) == 100
    configure(PAGE_SIZE=101)
    assert len(api.list_payments().json()) == 101


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"resellerReference": "ORDER-7"}, "ab"),
        ({"resellerReference": " ORDER-7 "}, "ab"),
        ({"resellerReference": "order-7"}, ""),
        ({"resellerReference": "ORDER"}, ""),
        ({"status": "CONFIRMED"}, "ac"),
        ({"status": "PENDING"}, "b"),
        ({"status": "CANCELLED"}, ""),
        ({"payableType": "booking", "payableId": "1"}, "bc"),
        ({"payableType": "ticket", "payableId": "1"}, ""),
        ({"payableType": "booking", "payableId": "2"}, ""),
        ({"payableType": "booking", "payableId": "x"}, ""),
        ({"payableType": "booking", "payableId": "1", "status": "CONFIRMED"}, "c"),
        ({"resellerReference": "ORDER-7", "payableType": "booking", "payableId": "1"}, "b"),
        ({"resellerReference": "ORDER-7", "status": "CONFIRMED"}, "a"),
        ({}, "abc"),
    ],
)
def test_filters_go_together(
    parameters: dict[str, str], found: str, api: GatewayApi, configure: Configure
) -> None:
    configure(PAYABLES={"booking": "shop.Booking", "ticket": "shop.Ticket"})
    booking = Booking.objects.create(pk=1)
    Ticket.objects.create(pk="1")
    names = {
        PaymentFactory.create(reseller_reference="ORDER-7", paid=True).pk: "a",
        PaymentFactory.create(reseller_reference="ORDER-7", payable=booking).pk: "b",
        PaymentFactory.create(payable=booking, paid=True).pk: "c",
    }
    answer = api.list_payments("?" + urlencode(parameters))
    assert "".join(sorted(names[each] for each in get_ids(answer))) == found


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"utcCreatedAtFrom": "2026-01-02T00:00:00Z"}, 2),
        ({"utcCreatedAtTo": "2026-01-02T00:00:00Z"}, 1),
        ({"utcCreatedAtFrom": "2026-01-02T00:00:00Z", "utcCreatedAtTo": "2026-01-03T00:00:00Z"}, 1),
        ({"utcCreatedAtFrom": "2026-01-03T00:00:00Z", "utcCreatedAtTo": "2026-01-02T00:00:00Z"}, 0),
        ({"utcCreatedAtFrom": "2026-01-02T02:00:00+02:00"}, 2),
        ({"utcCreatedAtFrom": "2026-01-02T02:00:01+02:00"}, 1),
        ({"utcCreatedAtFrom": "2026-01-02T00:00:00.001Z"}, 1),
        ({"utcCreatedAtFrom": "0002-01-01T00:00:00Z"}, 3),
        ({"utcCreatedAtTo": "9998-12-31T23:59:59.999999Z"}, 3),
    ],
)
@pytest.mark.parametrize("use_tz", [True, False])
def test_time_begins_with_from_and_ends_before_to(
    use_tz: bool, parameters: dict[str, str], count: int, api: GatewayApi, settings: Any
) -> None:
    settings.USE_TZ = use_tz
    for day in (1, 2, 3):
        moment = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
        payment = PaymentFactory.create()
        own = moment if use_tz else timezone.make_naive(moment)
        Payment.objects.filter(pk=payment.pk).update(created_at=own)
    assert len(api.list_payments("?" + urlencode(parameters)).json()) == count


def test_a_payments_own_time_finds_it(api: GatewayApi) -> None:
    payment = PaymentFactory.create()
    asked = urlencode({"utcCreatedAtFrom": format_utc(payment.created_at)})
    assert get_ids(api.list_payments(f"?{asked}")) == [payment.pk]


NEEDS_TIME = "A time like 2022-05-25T10:34:22Z is required."
NO_CURSOR = "This cursor is not one that a Link led to."


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=1", "limit: This field is not known."),
        ("reseller=R", "reseller: This field is not known."),
        ("stripeAccount=x", "stripeAccount: This field is not known."),
        ("status=paid", 'status: "paid" is not a valid choice.'),
        ("status=", 'status: "" is not a valid choice.'),
        ("status=CONFIRMED,FAILED", 'status: "CONFIRMED,FAILED" is not a valid choice.'),
        ("status=PENDING&status=CONFIRMED", "status: This parameter comes twice."),
        ("status=PENDING&status=PENDING", "status: This parameter comes twice."),
        ("resellerReference=", "resellerReference: This field may not be blank."),
        (
            f"resellerReference={'x' * 256}",
            "resellerReference: Ensure this field has no more than 255 characters.",
        ),
        ("resellerReference=%00", "resellerReference: Null characters are not allowed."),
        ("payableType=booking", "payableId: This field is required."),
        ("payableId=1", "payableType: This field is required."),
        ("payableType=nope&payableId=1", "payableType: This type can't be paid for."),
        ("payableType=booking&payableId=", "payableId: This field may not be blank."),
        *(
            (f"utcCreatedAtFrom={quote(each)}", f"utcCreatedAtFrom: {NEEDS_TIME}")
            for each in (
                "",
                "yesterday",
                "2026-01-02",
                "20260102T000000Z",
                "2026-01-02T00:00:00",
                "2026-01-02 00:00:00Z",
                "2026-02-30T00:00:00Z",
                "2026-01-02T00:00:00 02:00",
                "2026-01-02T00:00:00Z ",
                "0001-01-01T00:00:00+14:00",
                "\u0662026-01-02T00:00:00Z",
            )
        ),
        ("utcCreatedAtTo=1767312000", f"utcCreatedAtTo: {NEEDS_TIME}"),
        *(
            (f"cursor={quote(each)}", f"cursor: {NO_CURSOR}")
            for each in ("", "x", "1", CURSOR[:-1], CURSOR[1:], f"x{CURSOR}", f"{CURSOR}:x", "\u00e9:x", ":")
        ),
    ],
)
def test_what_a_list_cannot_be_asked_is_an_error_that_names_it(
    query: str, message: str, api: GatewayApi
) -> None:
    answer = api.list_payments(f"?{query}")
    assert (answer.status_code, answer.json()) == (400, {"error": "BAD_REQUEST", "errorMessage": message})


def test_a_cursor_of_a_host_with_another_key_is_refused(api: GatewayApi, settings: Any) -> None:
    asked = f"?cursor={quote(CURSOR)}"
    assert api.list_payments(asked).status_code == 200
    settings.SECRET_KEY = "another"
    assert api.list_payments(asked).json()["errorMessage"] == f"cursor: {NO_CURSOR}"
    settings.SECRET_KEY_FALLBACKS = ["for-tests-only"]
    assert api.list_payments(asked).status_code == 200


def test_a_body_that_is_no_json_is_refused_here_too(api: GatewayApi) -> None:
    assert api.request("GET", "/payments", "a=1", content_type="text/plain").status_code == 415
