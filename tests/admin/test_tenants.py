"""A host whose admin shows each tenant its own payments: nothing on its pages tells of others'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.test import RequestFactory
from django.urls import include, path

from octo_stripe_gateway.admin import PaymentAdmin, search
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Ticket, Voucher

pytestmark = pytest.mark.django_db


class TenantPayments(PaymentAdmin):
    """Shows viator's."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Payment]:
        return super().get_queryset(request).filter(owner="key:viator")


site = AdminSite("tenants")
site.register(Payment, TenantPayments)
urlpatterns = [path("tenants/", site.urls), path("", include("tests.support.urls"))]


@pytest.fixture
def open_list(settings: Any) -> Callable[..., Any]:
    """Open the tenant's list, and return its context and messages."""
    settings.ROOT_URLCONF = __name__
    user = User.objects.create_superuser("ann")

    def open_it(**query: str) -> tuple[Any, list[str]]:
        request = RequestFactory().get("/tenants/", query)
        request.user, notes = user, []
        tenant_admin: Any = site.get_model_admin(Payment)
        tenant_admin.message_user = lambda _request, message, *_rest: notes.append(str(message))
        return tenant_admin.changelist_view(request).context_data["cl"], notes

    return open_it


def test_filters_offer_only_what_the_tenant_has(open_list: Callable[..., Any]) -> None:
    PaymentFactory.create(owner="key:viator", currency="eur", payable=Ticket.objects.create(code="1"))
    PaymentFactory.create(owner="key:klook", currency="jpy", payable=Voucher.objects.create())
    changelist, _notes = open_list()
    offered = {
        each.parameter_name: [str(name) for _value, name in each.lookup_choices]
        for each in changelist.filter_specs
        if hasattr(each, "lookup_choices") and hasattr(each, "parameter_name")
    }
    assert offered["currency"] == ["EUR"]
    assert offered.get("owner", ["key:viator"]) == ["key:viator"]
    assert offered["payable_type"] == ["Ticket", "None"]


def test_a_search_counts_only_what_the_tenant_has(
    open_list: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_FOUND", 2)
    monkeypatch.setattr("octo_stripe_gateway.admin.payments.MOST_FOUND", 2)
    own = PaymentFactory.create(owner="key:viator", reseller_reference="AB-1")
    PaymentFactory.create_batch(5, owner="key:klook", reseller_reference="AB-1")
    changelist, notes = open_list(q="AB-1")
    assert list(changelist.result_list) == [own]
    assert notes == []
