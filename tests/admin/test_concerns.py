from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from octo_stripe_gateway.admin import PaymentAdmin
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.testing.factories import ConcernFactory, PaymentFactory

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

LIST = "admin:octo_stripe_gateway_concern_changelist"

make_concern: Any = ConcernFactory
make_payment: Any = PaymentFactory


@pytest.fixture
def office(make_staff: Callable[..., Client]) -> Client:
    return make_staff()


def list_concerns(client: Client, **query: str) -> list[Concern]:
    page = client.get(reverse(LIST), query)
    assert page.status_code == 200, page
    return list(page.context["cl"].result_list)


def get_url(concern: Concern, page: str = "change") -> str:
    return reverse(f"admin:octo_stripe_gateway_concern_{page}", args=[concern.pk])


def settle(client: Client, concern: Concern, **values: str) -> Any:
    asked = client.get(get_url(concern, "settle"))
    assert asked.status_code == 200, asked
    key = asked.context["form"]["key"].value()
    return client.post(get_url(concern, "settle"), {"key": str(key), **values}, follow=True)


def get_messages(page: Any) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def test_list_has_the_open_ones_at_first(office: Client) -> None:
    waiting, done = make_concern(), make_concern(settled=True)
    assert list_concerns(office) == [waiting]
    assert list_concerns(office, state="settled") == [done]
    assert list_concerns(office, state="all") == [done, waiting]


def test_list_filters_by_kind_and_takes_as_many_queries_for_many_as_for_one(
    office: Client, django_assert_max_num_queries: Any
) -> None:
    make_concern.create_batch(20)
    (other,) = make_concern.create_batch(1, code="fraud_warned", parameters={"fraud_type": "stolen"})
    assert list_concerns(office, code="fraud_warned") == [other]
    with django_assert_max_num_queries(8):
        list_concerns(office)


def test_concern_is_told_in_the_operators_language(office: Client) -> None:
    concern = make_concern(parameters={"amount": 500, "failure_reason": "declined"})
    told = "A refund of 5.00 USD failed (declined): the customer does not have the money."
    for url in (reverse(LIST), get_url(concern), get_url(concern, "settle")):
        assert told in office.get(url).content.decode()
    assert (
        "Refund it again, or pay the customer another way." in office.get(get_url(concern)).content.decode()
    )
    with override("de"):
        assert told not in office.get(get_url(concern)).content.decode()


def test_concern_without_a_payment_is_known_by_its_object(office: Client) -> None:
    concern = make_concern(payment=None, code="payment_unknown", object_id="evt_1", parameters={})
    assert "evt_1" in office.get(reverse(LIST)).content.decode()
    assert office.get(get_url(concern)).status_code == 200


def test_command_to_run_is_shown_as_code(office: Client) -> None:
    concern = make_concern(payment=None, code="payment_unknown", object_id="pi_lost", parameters={})
    page = office.get(get_url(concern)).content.decode()
    assert "<code>recover_ledger</code>" in page
    assert "`" not in page.split('id="content"')[1].split("</form>")[0]


def test_concern_of_a_code_that_is_gone_is_shown_and_settled(office: Client) -> None:
    concern = make_concern(code="gone", payment=None)
    assert "gone" in office.get(get_url(concern)).content.decode()
    settle(office, concern, reason="Nobody knows it.")
    assert list_concerns(office) == []


def test_settling_closes_one_concern_for_good_with_name_and_reason(office: Client) -> None:
    concern = make_concern()
    other = make_concern(payment=concern.payment, object_id="re_2")
    page = settle(office, concern, reason="Paid in cash.")
    assert get_messages(page) == ["Settled: Paid in cash."]
    concern.refresh_from_db()
    assert (concern.reason, concern.settled_by) == ("Paid in cash.", User.objects.get().username)
    assert not concern.is_open
    assert list_concerns(office) == [other]
    content = office.get(get_url(concern)).content.decode()
    assert "Paid in cash." in content
    (change,) = concern.payment.changes.all()
    assert change.changes["settled"] == ["", "Paid in cash."]
    again = office.get(get_url(concern, "settle"), follow=True)
    assert get_messages(again) == ["Nothing is left to settle."]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_settling_takes_a_reason(office: Client, reason: str) -> None:
    concern = make_concern()
    page = settle(office, concern, reason=reason)
    assert page.context["form"].errors["reason"]
    concern.refresh_from_db()
    assert concern.is_open


def test_settling_of_a_page_sent_twice_is_journaled_once(office: Client) -> None:
    concern = make_concern()
    url = get_url(concern, "settle")
    values = {"key": str(office.get(url).context["form"]["key"].value()), "reason": "Done."}
    for _ in range(2):
        office.post(url, values, follow=True)
    assert concern.payment.changes.count() == 1


def test_loss_is_settled_with_the_lost_amount(office: Client) -> None:
    known = {"amount": 1700, "currency": "eur"}
    payment = make_payment(paid=True, has_concerns=True)
    concern = make_concern(payment=payment, code="loss_in_other_currency", object_id="du_1", parameters=known)
    assert "17.00 EUR" in office.get(get_url(concern)).content.decode()
    assert settle(office, concern, reason="Lost.").context["form"].errors["amount"]
    settle(office, concern, reason="Lost.", amount="18.50")
    concern.refresh_from_db()
    assert (concern.is_open, concern.amount) == (False, 1850)
    assert "18.50 USD" in office.get(get_url(concern)).content.decode()


def test_viewing_and_settling_are_separate_permissions(make_staff: Callable[..., Client]) -> None:
    concern = make_concern()
    viewer, settler = make_staff("view_concern"), make_staff("view_concern", "settle_concern")
    assert viewer.get(get_url(concern)).context["operations"] == []
    assert viewer.get(get_url(concern, "settle")).status_code == 403
    assert make_staff("view_payment", "view_booking", "settle_concern").get(reverse(LIST)).status_code == 403
    settle(settler, concern, reason="Done.")
    assert list_concerns(viewer) == []


def test_payments_page_leads_to_settling_for_whoever_may(make_staff: Callable[..., Client]) -> None:
    concern = make_concern()
    url = reverse("admin:octo_stripe_gateway_payment_change", args=[concern.payment.pk])
    settler = make_staff("view_payment", "view_concern", "settle_concern")
    (alert,) = settler.get(url).context["alerts"]
    assert (alert.title, alert.operations[0]["url"]) == ("A refund failed", get_url(concern, "settle"))
    assert get_url(concern, "settle") in settler.get(url).content.decode()
    (alert,) = make_staff("view_payment").get(url).context["alerts"]
    assert (alert.title, list(alert.operations)) == ("A refund failed", [])


def test_user_who_sees_some_payments_sees_their_concerns_alone(
    office: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_concern(payment__owner="key:viator")
    make_concern(payment__owner="key:gyg")
    make_concern(payment=None, code="event_failed", object_id="evt_1")
    assert len(list_concerns(office)) == 3
    monkeypatch.setattr(
        PaymentAdmin, "get_queryset", lambda *_args: Payment.objects.filter(owner="key:viator")
    )
    assert list_concerns(office) == [mine]


def test_concerns_are_listed_where_the_site_has_no_payments(rf: Any) -> None:
    from octo_stripe_gateway.admin import ConcernAdmin

    concern, request = make_concern(), rf.get("/")
    assert [*ConcernAdmin(Concern, admin.AdminSite()).get_queryset(request)] == [concern]
