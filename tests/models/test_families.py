"""One row is one payable, by whatever class and key it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.checks import run_checks
from django.db import connection, models
from django.test.utils import isolate_apps

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import ConfigurationError, PayableUnavailableError
from octo_stripe_gateway.models import Concern, Payment, WebhookEvent, get_payable_class
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking, Excursion, Guest, NightExcursion, PayingGuest
from tests.support.api import GatewayApi
from tests.support.checks import list_messages

pytestmark = pytest.mark.django_db(transaction=True)

Configure = Callable[..., None]


def pay(api: GatewayApi, stripe: StripeEmulator, payable: Any) -> Payment:
    payment = services.create_payment(payable=payable).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    assert api.complete(payment.pk).status_code == 200
    return Payment.objects.get(pk=payment.pk)


# Several classes of one row.


def test_parent_and_child_are_paid_once(api: GatewayApi, stripe: StripeEmulator) -> None:
    child = NightExcursion.objects.create()
    parent = Excursion.objects.get()
    first, second = (services.create_payment(payable=each).payment for each in (child, parent))
    assert first == second
    paid = pay(api, stripe, child)
    for each in (child, parent):
        assert each.payments.get() == paid
        assert each.payments.get_amount_due() == services.get_dues(each).due == 0
    assert list(NightExcursion.objects.filter(payments__status="paid")) == [child]
    found = NightExcursion.objects.prefetch_related("payments").get()
    assert list(found.payments.all()) == [paid]


def test_child_is_named_as_its_parent_is(
    api: GatewayApi, stripe: StripeEmulator, configure: Configure
) -> None:
    configure(PAYABLES={"night": "shop.NightExcursion"})
    child = NightExcursion.objects.create()
    answer = api.create({"payable": {"type": "night", "id": child.pk}})
    assert answer.json()["payable"] == {"type": "night", "id": str(child.pk)}
    assert len(api.list_payments(f"?payableType=night&payableId={child.pk}").json()) == 1


def test_proxy_that_alone_has_a_price_is_asked(api: GatewayApi, stripe: StripeEmulator) -> None:
    guest = Guest.objects.create(name="Ada")
    payment = pay(api, stripe, guest)
    assert (payment.amount, type(payment.payable)) == (5000, PayingGuest)
    assert Guest.objects.get().name == "Paid"
    assert services.get_dues(PayingGuest.objects.get()).due == 0
    assert api.retrieve(payment.pk).json()["balance"]["due"] == 0


def say_price(_payable: models.Model) -> tuple[int, str]:
    return 2000, "eur"


class InShop:
    app_label = "shop"


SHOP = {"__module__": __name__, "Meta": InShop}


def make_family(child: dict[str, Any], *, proxy: bool) -> type[models.Model]:
    """Return a child, or a proxy, of a priced model."""
    parent = type("Parent", (models.Model,), {**SHOP, "get_payment_amount": say_price})
    meta = type("Meta", (), {"app_label": "shop", "proxy": proxy})
    return type("Child", (parent,), {**SHOP, "Meta": meta, **child})


@pytest.mark.parametrize("proxy", [True, False])
@pytest.mark.parametrize("name", ["get_payment_amount", "on_payment_completed"])
@isolate_apps("tests.shop")
def test_two_classes_of_one_row_that_say_different_things_are_refused(name: str, proxy: bool) -> None:
    child = make_family({name: lambda _self, *_args: (1, "eur")}, proxy=proxy)
    for model in (child, child.__mro__[1]):
        with pytest.raises(ConfigurationError, match=r"shop.Child, shop.Parent"):
            get_payable_class(model)


@pytest.mark.parametrize("proxy", [True, False])
@isolate_apps("tests.shop")
def test_class_that_adds_nothing_is_of_its_parent_s_family(proxy: bool) -> None:
    child = make_family({}, proxy=proxy)
    assert get_payable_class(child) is child.__mro__[1]


@isolate_apps("tests.shop")
def test_children_of_a_parent_without_a_price_may_each_have_one() -> None:
    """They share no row with each other."""
    parent = type("Page", (models.Model,), {**SHOP})
    children = [
        type(name, (parent,), {**SHOP, "get_payment_amount": lambda _self: (1, "eur")})
        for name in ("Tour", "Hotel")
    ]
    assert [get_payable_class(each) for each in children] == children
    with pytest.raises(ConfigurationError):
        get_payable_class(parent)


def test_create_refuses_what_two_classes_say(stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NightExcursion, "get_payment_amount", lambda _self: (1, "eur"), raising=False)
    for payable in (NightExcursion.objects.create(), Excursion.objects.get()):
        with pytest.raises(ConfigurationError):
            services.create_payment(payable=payable)
    assert stripe.requests == []
    assert "octo_stripe_gateway.E023" in {each.id for each in run_checks()}


# Keys.


@isolate_apps("tests.shop")
def make_berth(key: Any) -> type[models.Model]:
    """Return a priced model with this key."""
    columns = {"ship": models.IntegerField(), "number": models.IntegerField(), "pk": key}
    return type("Berth", (models.Model,), {**columns, **SHOP, "get_payment_amount": say_price})


KEYS = [pytest.param(lambda: models.BinaryField(primary_key=True), b"\x01", id="binary")]
if hasattr(models, "CompositePrimaryKey"):
    KEYS.append(pytest.param(lambda: models.CompositePrimaryKey("ship", "number"), (1, 2), id="composite"))


@pytest.mark.parametrize(("field", "key"), KEYS)
def test_key_that_loses_its_object_is_refused_before_stripe_is_asked(
    field: Callable[[], Any], key: Any, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    berth = make_berth(field())
    with pytest.raises(ConfigurationError, match="Berth"):
        services.create_payment(payable=berth(pk=key))
    assert stripe.requests == []
    assert not Payment.objects.exists()
    monkeypatch.setattr(apps, "get_models", lambda: [berth])
    assert [each.id for each in list_messages()] == ["octo_stripe_gateway.E024"]


def test_ordinary_payables_are_fine() -> None:
    assert not {"octo_stripe_gateway.E023", "octo_stripe_gateway.E024"} & {each.id for each in run_checks()}


# What can't be looked up.


@contextmanager
def renamed(table: str) -> Iterator[None]:
    """Give a table another name meanwhile, so that no query finds it."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO nowhere")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE nowhere RENAME TO {table}")


def create_paid(stripe: StripeEmulator) -> Payment:
    booking = Booking.objects.create(price=2000)
    payment = services.create_payment(payable=booking).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    return payment


def test_payable_that_cannot_be_looked_up_rejects_nothing(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = create_paid(stripe)
    with renamed(Booking._meta.db_table):
        assert {answer.status_code for answer in api.deliver(stripe, "payment_intent.succeeded")} == {503}
        assert api.complete(payment.pk).status_code == 503
        assert api.retrieve(payment.pk).status_code == 200
        assert "balance" not in api.retrieve(payment.pk).json()
    row = Payment.objects.get()
    assert (row.rejection_code, row.accepted_at) == ("", None)
    (concern,) = Concern.objects.open()
    assert concern.code == "payable_unavailable"
    assert WebhookEvent.objects.exclude(status__in=["processed", "ignored"]).exists()
    api.deliver(stripe, "payment_intent.succeeded")
    assert api.retrieve(payment.pk).json()["status"] == "CONFIRMED"
    assert not Concern.objects.open().exists()


def test_payable_whose_model_is_gone_cannot_be_looked_up(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = Payment.objects.get(pk=create_paid(stripe).pk)
    monkeypatch.setattr(ContentType, "model_class", lambda _self: None)
    with pytest.raises(PayableUnavailableError):
        payment.payable  # noqa: B018 - reading it is the test


def test_payable_that_its_manager_hides_is_found(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = create_paid(stripe)
    monkeypatch.setattr(Booking._default_manager, "get_queryset", Booking._base_manager.none)
    assert not Booking.objects.all()
    assert api.complete(payment.pk).json()["status"] == "CONFIRMED"


def test_payable_whose_row_is_gone_is_rejected(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = create_paid(stripe)
    Booking.objects.all().delete()
    assert api.complete(payment.pk).status_code == 422
    assert Payment.objects.get().amount_held == 0
