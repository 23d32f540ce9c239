"""Reads that load only what is shown: they answer alike, and stand back for a host's code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models
from django.db.models.signals import post_init
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.response import Response

from octo_stripe_gateway.api.serializers import SHOWN_COLUMNS, PaymentSerializer
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.exceptions import PaymentNotFoundError
from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.models.ledger_manager import read_filter
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
# A column that no answer shows.
UNSEEN = "request_fingerprint"

STATES: dict[str, dict[str, Any]] = {
    "pending": {"metadata": {"hotel": "Ritz", "deep": {"snake_case": 1}}, "reseller_reference": "R"},
    "without intent": {"stripe_payment_intent_id": None, "intent_status": ""},
    "authorized": {"authorized": True, "expires_at": NOW},
    "paid": {"paid": True, "livemode": True, "purpose": "deposit", "owner": "key:viator"},
    "paid elsewhere": {"paid": True, "account": "tokyo", "stripe_account": "acct_1", "currency": "jpy"},
    "failed": {"failed": True, "failure_message": ""},
    "rejected": {
        "paid": True,
        "status": "failed",
        "rejection_code": "price_changed",
        "rejection_parameters": {"asked": 2000, "due": 1000},
    },
    "rejected by the host": {
        "failed": True,
        "rejection_code": "host",
        "rejection_parameters": {"words": "Full."},
    },
    "canceled": {"canceled": True},
    "expiring": {"is_expiring": True},
    "expired": {"expired": True},
    "refunded": {"refunded": True},
    "refunded in part": {"paid": True, "amount_refunded": 500, "amount_reserved": 300},
    "lost": {"paid": True, "amount_lost": 2000},
    "disputed": {"paid": True, "disputed": True},
}


class AskedForEverything(PaymentViewSet):
    """What a host might write; it changes nothing."""

    def get_queryset(self) -> PaymentQuerySet:
        return super().get_queryset()


def ask(
    view: type[PaymentViewSet], *, pk: int | str | None = None, key: str = "gateway-key", **settings: Any
) -> tuple[Any, str]:
    """Return the answer, and the statement that read the payments."""
    headers = {"Authorization": f"Bearer {key}", "Octo-Capabilities": "octo/cardPayments"}
    request = RequestFactory().get("/payments", headers=headers)
    handle = view.as_view({"get": "list" if pk is None else "retrieve"}, **settings)
    with CaptureQueriesContext(connection) as captured:
        response: Response = handle(request, **({} if pk is None else {"id": str(pk)}))
        response.render()
    assert response.status_code == 200, response.content
    texts = [str(each["sql"]) for each in captured.captured_queries]
    reads = [text for text in texts if 'FROM "octo_stripe_gateway_payment"' in text]
    # Nothing that was left out is asked for later.
    assert len(reads) == 1, reads
    return response.content, reads[0]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("by", ["pk", "uuid"])
def test_payment_is_told_alike(state: str, by: str) -> None:
    payment = PaymentFactory.create(**STATES[state])
    fast, short = ask(PaymentViewSet, pk=getattr(payment, by))
    plain, long = ask(AskedForEverything, pk=getattr(payment, by))
    assert fast == plain
    assert UNSEEN in long
    assert UNSEEN not in short


def test_payment_for_something_is_told_alike() -> None:
    payment = PaymentFactory.create(paid=True, payable=Booking.objects.create(price=2000))
    headers = {"Authorization": "Bearer gateway-key"}
    answers = [
        view.as_view({"get": "retrieve"})(
            RequestFactory().get("/payments", headers=headers), id=str(payment.pk)
        ).data
        for view in (PaymentViewSet, AskedForEverything)
    ]
    assert answers[0] == answers[1]
    assert answers[0]["payable"] == {"type": "booking", "id": str(payment.payable_id)}
    assert "balance" in answers[0]


def test_list_is_told_alike() -> None:
    for state in STATES.values():
        PaymentFactory.create(**state)
    fast, short = ask(PaymentViewSet)
    plain, long = ask(AskedForEverything)
    assert fast == plain
    assert UNSEEN in long
    assert UNSEEN not in short


def test_caller_who_sees_only_their_own_is_told_alike(configure: Callable[..., None]) -> None:
    configure(API_GATEWAY_KEY={"viator": "viators-key"})
    payment = PaymentFactory.create(paid=True, owner="key:viator")
    PaymentFactory.create()
    for pk in (payment.pk, None):
        fast, short = ask(PaymentViewSet, pk=pk, key="viators-key")
        plain, long = ask(AskedForEverything, pk=pk, key="viators-key")
        assert fast == plain
        assert (UNSEEN in short, UNSEEN in long) == (False, True)


def make_overriding(name: str) -> type[PaymentViewSet]:
    """Return a view with something of the host's in the place of that, which does the same."""
    ours = getattr(PaymentViewSet, name)
    if name == "serializer_class":
        return type("HostView", (PaymentViewSet,), {name: type("HostSerializer", (PaymentSerializer,), {})})
    if not callable(ours):
        theirs: Any = [*ours] if isinstance(ours, tuple) else property(lambda self: ours.fget(self))
    else:

        def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
            return ours(self, *args, **kwargs)

    return type("HostView", (PaymentViewSet,), {name: theirs})


LOOKS_AT_PAYMENTS = [
    "build_response",
    "check_object_permissions",
    "finalize_response",
    "get_object",
    "get_permissions",
    "get_queryset",
    "get_serializer",
    "get_serializer_class",
    "get_serializer_context",
    "is_own",
    "list",
    "list_refunds",
    "livemode",
    "permission_classes",
    "read_page",
    "retrieve",
    "serializer_class",
]


@pytest.mark.parametrize("name", LOOKS_AT_PAYMENTS)
def test_host_that_overrides_what_looks_at_payments_gets_all_their_columns(name: str) -> None:
    payment = PaymentFactory.create(paid=True)
    view = make_overriding(name)
    assert UNSEEN in ask(view, pk=payment.pk)[1]
    assert UNSEEN in ask(view)[1]
    assert UNSEEN not in ask(type("Elsewhere", (PaymentViewSet,), {"throttle_classes": ()}), pk=payment.pk)[1]


def test_host_that_gives_a_route_a_serializer_of_its_own_gets_all_columns() -> None:
    class Fingerprinted(PaymentSerializer):
        def to_representation(self, instance: Payment) -> dict[str, Any]:
            return {**super().to_representation(instance), UNSEEN: instance.request_fingerprint}

    payment = PaymentFactory.create(paid=True, request_fingerprint="0" * 64)
    content, read = ask(PaymentViewSet, pk=payment.pk, serializer_class=Fingerprinted)
    assert b'"requestFingerprint":"000' in content
    assert UNSEEN in read


NARROWED: dict[str, Callable[[PaymentQuerySet], Any]] = {
    "comparison": lambda rows: rows.filter(amount__gt=1),
    "expression": lambda rows: rows.filter(purpose=models.Value("full")),
    "alternative": lambda rows: rows.filter(models.Q(owner="nobody") | models.Q(purpose="full")),
    "combination": lambda rows: rows.filter(owner="nobody") | rows.filter(purpose="full"),
    "second value": lambda rows: rows.filter(purpose="full").filter(purpose="deposit"),
    "exclude": lambda rows: rows.exclude(owner=""),
    "slice": lambda rows: rows[:0],
    "none": lambda rows: rows.none(),
    "union": lambda rows: rows.filter(owner="nobody").union(rows.filter(owner="nobody")),
    "annotation": lambda rows: rows.annotate(one=models.Value(1)),
    "join": lambda rows: rows.select_related("payable_type"),
    "value of another table": lambda rows: rows.filter(refunds__stripe_refund_id="re_1"),
    "prefetching": lambda rows: rows.prefetch_related("refunds"),
    "values": lambda rows: rows.values("pk"),
    "order": lambda rows: rows.order_by("amount"),
    "deferred": lambda rows: rows.defer("amount"),
    "distinct": lambda rows: rows.distinct(),
    "lock": lambda rows: rows.select_for_update(),
    "extra": lambda rows: rows.extra(where=["owner = 'nobody'"]),
}


@pytest.mark.parametrize("change", NARROWED)
@pytest.mark.parametrize("owner", ["", "key:viator"])
def test_queryset_that_somebody_has_changed_is_no_filter(change: str, owner: str) -> None:
    values = {"owner": owner} if owner else {}
    rows = Payment.objects.filter(**values)
    for plain in (rows, rows.all(), rows.using("default")):
        assert read_filter(plain) == values
    assert read_filter(NARROWED[change](rows)) is None


def test_filter_that_the_id_adds_to_is_kept() -> None:
    mine, other = PaymentFactory.create(owner="key:viator"), PaymentFactory.create(owner="key:klook")
    for rows in (Payment.objects.owned_by("key:viator"), Payment.objects.filter(pk=mine.pk)):
        for name in (str(mine.pk), str(mine.uuid)):
            assert rows.get_by_public_id(name, columns=SHOWN_COLUMNS) == mine
        for name in (str(other.pk), str(other.uuid)):
            with pytest.raises(PaymentNotFoundError):
                rows.get_by_public_id(name)


def test_whoever_asks_for_a_column_that_was_left_out_gets_it() -> None:
    payment = PaymentFactory.create(request_fingerprint="1" * 64)
    found = Payment.objects.get_by_public_id(str(payment.pk), columns=SHOWN_COLUMNS)
    assert UNSEEN in found.get_deferred_fields()
    assert found.request_fingerprint == "1" * 64
    assert found == payment
    assert not found._state.adding


def test_listener_hears_of_each_payment_that_is_loaded() -> None:
    payment = PaymentFactory.create(paid=True)
    heard: list[int | None] = []

    def listen(instance: Payment, **_signal: Any) -> None:
        heard.append(instance.pk)

    post_init.connect(listen, sender=Payment)
    try:
        found = Payment.objects.get_by_public_id(str(payment.pk), columns=SHOWN_COLUMNS)
        assert Payment.ledger.get_by_pk(payment.pk).created_at <= timezone.now()
    finally:
        post_init.disconnect(listen, sender=Payment)
    assert (heard, found.amount) == ([payment.pk] * 2, payment.amount)
