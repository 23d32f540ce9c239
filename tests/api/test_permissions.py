"""Who may do what: DESIGN's table, call by call, and what a host changes of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.urls import include, path
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import PermissionDenied as RequestDenied

from octo_stripe_gateway import services
from octo_stripe_gateway.api.authentication import ApiClient, get_owner
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.exceptions import BadRequestError, ConfigurationError
from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.urls import get_urls
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.callers import KEYS, CallerApi, authenticate, make_user
from tests.support.cases import one_in

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

# By caller, the owner of the caller's own payments.
OWNERS = {
    "nobody": "",
    "key:wrong-key": "",
    "key:gateway-key": "",
    "key:viator-key": "key:viator",
    "key:klook-key": "key:klook",
    "key:klook-key-old": "key:klook",
    "name:guest": "name:guest",
}
TABLE = """
                    create  list      retrieve  complete  cancel    refund    capture
nobody              401     401/401   401/401   401/401   401/401   401/401   401/401
key:wrong-key       403     403/403   403/403   403/403   403/403   403/403   403/403
key:gateway-key     201     200/200   200/200   200/200   200/200   200/200   200/200
key:viator-key      201     200/404   200/404   200/404   200/404   200/404   200/404
key:klook-key       201     200/404   200/404   200/404   200/404   200/404   200/404
key:klook-key-old   201     200/404   200/404   200/404   200/404   200/404   200/404
name:guest          201     200/404   200/404   200/404   200/404   403/403   403/403
user:ann            201     200/404   200/404   200/404   200/404   403/403   403/403
user:bob            201     200/404   200/404   200/404   200/404   403/403   403/403
user:staff          201     200/404   200/404   200/404   200/404   403/403   403/403
user:views          201     200/200   200/200   200/403   200/403   403/403   403/403
user:refunds        201     200/404   200/404   200/404   200/404   200/404   403/403
user:captures       201     200/404   200/404   200/404   200/404   403/403   200/404
user:views-refunds  201     200/200   200/200   200/403   200/403   200/200   403/403
user:views-cancels  201     200/200   200/200   200/403   200/200   403/403   403/403
user:views-syncs    201     200/200   200/200   200/200   200/403   403/403   403/403
user:superuser      201     200/200   200/200   200/200   200/200   200/200   200/200
"""
USERS: dict[str, tuple[list[str], dict[str, bool]]] = {
    "ann": ([], {}),
    "bob": ([], {}),
    "staff": ([], {"is_staff": True}),
    "views": (["view_payment"], {"is_staff": True}),
    "refunds": (["refund_payment"], {}),
    "captures": (["capture_payment"], {}),
    "views-refunds": (["view_payment", "refund_payment"], {"is_staff": True}),
    "views-cancels": (["view_payment", "cancel_payment"], {"is_staff": True}),
    "views-syncs": (["view_payment", "sync_payment"], {"is_staff": True}),
    "superuser": ([], {"is_superuser": True}),
}


def read_table() -> list[tuple[str, str, str, int]]:
    """Return each cell as caller, action, whose payment, and status."""
    head, *rows = (line.split() for line in TABLE.strip().splitlines())
    return [
        (caller, action, whose, int(status))
        for caller, *cells in rows
        for action, cell in zip(head, cells, strict=True)
        for whose, status in zip(("own", "other's"), cell.split("/"), strict=False)
    ]


@pytest.fixture(autouse=True)
def _callers(configure: Configure) -> None:
    configure(IDENTIFY_CALLER=authenticate, API_GATEWAY_KEY=KEYS)


@pytest.fixture
def ann() -> CallerApi:
    make_user("ann")
    return CallerApi("user:ann")


@pytest.fixture
def bob() -> CallerApi:
    make_user("bob")
    return CallerApi("user:bob")


def make_payment(stripe: StripeEmulator, owner: str, *, action: str = "retrieve") -> Payment:
    """Make a payment with which the action is possible."""
    method = "manual" if action == "capture" else "automatic"
    payment = services.create_payment(
        2000, currency="usd", capture_method=method, caller=services.Caller(owner)
    ).payment
    if action in {"refund", "capture"}:
        stripe.confirm(str(payment.stripe_payment_intent_id), payment_method="pm_card_visa")
        payment = services.complete_payment(payment)
    return payment


def get_owner_of(caller: str) -> str:
    if not caller.startswith("user:"):
        return OWNERS[caller]
    name = caller.removeprefix("user:")
    permissions, fields = USERS[name]
    return f"auth.user:{make_user(name, *permissions, **fields).pk}"


@pytest.mark.parametrize(("caller", "action", "whose", "status"), one_in(3, read_table()))
def test_a_caller_may_do_what_the_table_says(
    caller: str, action: str, whose: str, status: int, stripe: StripeEmulator
) -> None:
    owner = get_owner_of(caller)
    api = CallerApi(caller)
    if action == "create":
        answer = api.create()
        assert Payment.objects.filter(owner=owner).count() == (status == 201)
    else:
        payment = make_payment(stripe, owner if whose == "own" else "key:somebody", action=action)
        answer = api.list_payments() if action == "list" else getattr(api, action)(payment.pk)
    if action == "list" and answer.status_code == 200:
        # A payment that the caller may not see is missing from a list; other actions answer 404.
        assert [each["id"] for each in answer.json()] == ([payment.pk] if status == 200 else [])
    else:
        assert answer.status_code == status, answer.content


@pytest.mark.parametrize("by", ["pk", "uuid"])
def test_another_s_payment_is_answered_as_one_that_is_not_there(
    by: str, ann: CallerApi, stripe: StripeEmulator
) -> None:
    payment = make_payment(stripe, "key:viator")
    hidden, missing = ann.retrieve(getattr(payment, by)), ann.retrieve(uuid.uuid4())
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["error"] == missing.json()["error"] == "INVALID_PAYMENT_ID"
    assert hidden.json()["errorMessage"] == missing.json()["errorMessage"]


@pytest.mark.parametrize(
    "query",
    [
        "?resellerReference=R",
        "?status=PENDING",
        "?resellerReference=R&status=PENDING",
        "?payableType=ticket&payableId=1",
        "?utcCreatedAtFrom=2020-01-01T00:00:00Z",
    ],
)
def test_no_filter_shows_another_caller_s_payment(query: str, configure: Configure) -> None:
    configure(PAYABLES={"ticket": "shop.Ticket"})
    ticket = Ticket.objects.create(pk="1")
    own, others, integrators = (
        PaymentFactory.create(owner=owner, reseller_reference="R", payable=ticket).pk
        for owner in ("key:viator", "key:klook", "")
    )
    found = {
        caller: [each["id"] for each in CallerApi(caller).list_payments(query).json()]
        for caller in ("key:viator-key", "key:klook-key", "key:gateway-key", "name:viator")
    }
    assert found == {
        "key:viator-key": [own],
        "key:klook-key": [others],
        "key:gateway-key": [integrators, others, own],
        "name:viator": [],
    }


def test_another_caller_s_cursor_leads_to_ones_own_payments(configure: Configure) -> None:
    configure(PAGE_SIZE=1)
    own = [PaymentFactory.create(owner="key:viator").pk for _each in range(2)]
    PaymentFactory.create_batch(2, owner="key:klook")
    link = CallerApi("key:klook-key").list_payments()["Link"]
    query = link.partition("?")[2].partition(">")[0]
    answer = CallerApi("key:viator-key").list_payments(f"?{query}")
    assert [each["id"] for each in answer.json()] == own[1:]


@pytest.mark.parametrize("caller", ["user:ann", "name:guest"])
def test_a_customer_gives_up_no_money_that_is_held(caller: str, stripe: StripeEmulator) -> None:
    payment = make_payment(stripe, get_owner_of(caller), action="capture")
    assert CallerApi(caller).cancel(payment.pk).status_code == 403
    payment.refresh_from_db()
    assert payment.status == "authorized"


def test_a_customer_with_the_permission_gives_up_held_money(stripe: StripeEmulator) -> None:
    user = make_user("eve", "cancel_payment")
    payment = make_payment(stripe, f"auth.user:{user.pk}", action="capture")
    assert CallerApi("user:eve").cancel(payment.pk).json()["status"] == "CANCELLED"


class TestRepeats:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("key:viator-key", "key:klook-key"),
            ("key:viator-key", "key:gateway-key"),
            ("key:viator-key", "name:viator"),
            ("user:ann", "user:bob"),
            ("user:ann", "name:ann"),
            ("name:ann", "name:bob"),
        ],
    )
    def test_two_callers_never_meet_under_one_key(
        self, one: str, other: str, ann: CallerApi, bob: CallerApi, stripe: StripeEmulator
    ) -> None:
        first, second = (
            CallerApi(each).create(**{"Idempotency-Key": "order 1"}).json() for each in (one, other)
        )
        assert first["id"] != second["id"]
        assert first["stripeClientSecret"] != second["stripeClientSecret"]
        assert len(stripe.payment_intents) == 2

    def test_both_keys_of_one_caller_meet(self, stripe: StripeEmulator) -> None:
        answers = [
            CallerApi(f"key:{key}").create(**{"Idempotency-Key": "order 1"}).json()
            for key in ("klook-key", "klook-key-old")
        ]
        assert answers[0]["id"] == answers[1]["id"]

    def test_another_s_uuid_gives_neither_payment_nor_secret(
        self, ann: CallerApi, bob: CallerApi, stripe: StripeEmulator
    ) -> None:
        body = {"amount": 2000, "currency": "usd", "uuid": str(uuid.uuid4())}
        ann.create(body)
        answer = bob.create(body)
        assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
        assert b"_secret_" not in answer.content

    @pytest.mark.parametrize("by", ["uuid", "key", "payable"])
    def test_a_repeat_gives_nothing_that_the_host_hides(
        self, by: str, stripe: StripeEmulator, settings: Any, configure: Configure
    ) -> None:
        """The host's tenants all count as the integrator."""
        configure(IDENTIFY_CALLER=lambda _request: True)
        settings.ROOT_URLCONF = __name__
        booking = Booking.objects.create(price=2000, currency="usd")
        bodies: dict[str, Any] = {
            "uuid": {"amount": 2000, "currency": "usd", "uuid": str(uuid.uuid4())},
            "key": {"amount": 2000, "currency": "usd"},
            "payable": {"payable": {"type": "booking", "id": booking.pk}},
        }
        headers = {"Idempotency-Key": "k"} if by == "key" else {}
        tenants = [GatewayApi(CallerApi("").client, prefix="/tenants", key="") for _ in range(2)]
        first = tenants[0].create(bodies[by], **headers, **{"X-Tenant": "1"})
        again = tenants[0].create(bodies[by], **headers, **{"X-Tenant": "1"})
        hidden = tenants[1].create(bodies[by], **headers, **{"X-Tenant": "2"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json()["id"] == again.json()["id"]
        assert (hidden.status_code, hidden.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
        assert b"_secret_" not in hidden.content
        found = [tenants[0].list_payments(**{"X-Tenant": tenant}).json() for tenant in "12"]
        assert [[each["id"] for each in listed] for listed in found] == [[first.json()["id"]], []]


class TenantPayments(PaymentViewSet):
    """Shows a tenant its own payments, whoever is logged in."""

    made: dict[str, str] = {}

    def get_queryset(self) -> PaymentQuerySet:
        tenant = self.request.headers["X-Tenant"]
        return (
            super()
            .get_queryset()
            .filter(uuid__in=[own for own, whose in self.made.items() if whose == tenant])
        )

    def check_repeat(self, payment: Payment) -> None:
        self.made.setdefault(str(payment.uuid), self.request.headers["X-Tenant"])
        super().check_repeat(payment)


class SharedPayments(PaymentViewSet):
    """Lets all users of one domain share their payments."""

    def get_owner(self) -> str:
        user = cast("User", self.request.user)
        return f"domain:{user.email.partition('@')[2]}"


class OwnTickets(PaymentViewSet):
    """Lets nobody pay for a ticket that is another's."""

    denial: ClassVar[Exception] = PermissionDenied()

    def check_payable(self, payable: Any) -> None:
        if payable.code == "another's":
            raise self.denial


urlpatterns = [
    path("own/", include((get_urls(viewset=OwnTickets), "own"))),
    path("tenants/", include((get_urls(viewset=TenantPayments), "tenants"))),
    path("shared/", include((get_urls(viewset=SharedPayments), "shared"))),
]


@pytest.mark.parametrize("body", [{}, {"amount": 2000}, {"amount": "x"}, {"purpose": "x" * 65}])
@pytest.mark.parametrize("denial", [PermissionDenied(), RequestDenied("It is Ann's."), Http404()])
def test_another_caller_s_payable_is_answered_as_missing(
    denial: Exception,
    body: dict[str, Any],
    settings: Any,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(OwnTickets, "denial", denial)
    Ticket.objects.create(code="another's")
    guest = CallerApi("name:guest")
    guest.prefix = "/own"
    answers = [
        guest.create({**body, "payable": {"type": "ticket", "id": code}})
        for code in ("another's", "nobody's")
    ]
    assert [each.status_code for each in answers] == [400, 400]
    assert answers[0].content == answers[1].content
    assert stripe.requests == []


def test_a_host_says_whose_a_callers_payments_are(settings: Any, stripe: StripeEmulator) -> None:
    settings.ROOT_URLCONF = __name__
    apis = {}
    for name, email in (("ann", "a@shop.example"), ("bob", "b@shop.example"), ("eve", "e@else.example")):
        make_user(name, email=email)
        apis[name] = CallerApi(f"user:{name}")
        apis[name].prefix = "/shared"
    payment = apis["ann"].create().json()
    assert Payment.objects.get().owner == "domain:shop.example"
    assert {name: api.retrieve(payment).status_code for name, api in apis.items()} == {
        "ann": 200,
        "bob": 200,
        "eve": 404,
    }
    assert {name: len(api.list_payments().json()) for name, api in apis.items()} == {
        "ann": 1,
        "bob": 1,
        "eve": 0,
    }
    assert apis["bob"].refund(payment).status_code == 403


@pytest.mark.parametrize(
    ("owner", "status"),
    [
        *((wrong, 500) for wrong in ("", None, 7, b"a", ("a",), "company:None", "domain:", "None")),
        *((wrong, 400) for wrong in ("x" * 256, "a\0")),
    ],
)
def test_a_hosts_owner_that_is_none_opens_nothing(
    owner: Any,
    status: int,
    settings: Any,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such as a user without a company: an empty owner would make them the integrator."""
    settings.ROOT_URLCONF = __name__
    make_user("ann")
    payment = make_payment(stripe, "")
    monkeypatch.setattr(SharedPayments, "get_owner", lambda _self: owner)
    ann = CallerApi("user:ann")
    ann.prefix = "/shared"
    assert [ann.create().status_code, ann.retrieve(payment.pk).status_code] == [status] * 2
    assert ("must return text that names somebody" in caplog.text) == (status == 500)
    assert Payment.objects.count() == 1


def test_the_integrators_owner_may_be_empty(settings: Any, stripe: StripeEmulator) -> None:
    settings.ROOT_URLCONF = __name__
    integrator = CallerApi("key:gateway-key")
    integrator.prefix = "/tenants"
    assert integrator.create(**{"X-Tenant": "1"}).status_code == 201


class Seller:
    """A user that is no row of the database."""

    is_authenticated = True

    def __init__(self, pk: Any) -> None:
        self.pk = pk


@pytest.mark.parametrize(
    ("caller", "owner"),
    [
        (ApiClient(), ""),
        (ApiClient("key:viator"), "key:viator"),
        (User(pk=42), "auth.user:42"),
        (Ticket(pk="a:b"), "shop.ticket:a:b"),
        (Seller(7), "tests.api.test_permissions.seller:7"),
        (Seller(0), "tests.api.test_permissions.seller:0"),
    ],
)
def test_an_owner_names_the_kind_of_caller_as_well(caller: Any, owner: str) -> None:
    assert get_owner(caller) == owner


@pytest.mark.parametrize("pk", ["x" * 300, "a\0b", "a\nb"])
def test_a_caller_whose_name_is_too_long_or_unprintable_is_refused(
    pk: str, stripe: StripeEmulator, configure: Configure
) -> None:
    for returned in (Seller(pk), pk, Ticket(pk=pk)):
        configure(IDENTIFY_CALLER=lambda _request, caller=returned: caller)
        answer = CallerApi("").create()
        assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
    with pytest.raises(BadRequestError):
        get_owner(Seller(pk))
    assert stripe.requests == []


@pytest.mark.parametrize("pk", [None, ""])
def test_a_caller_without_a_name_is_a_fault_of_the_hosts(
    pk: Any, stripe: StripeEmulator, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(IDENTIFY_CALLER=lambda _request: Seller(pk))
    assert CallerApi("").create().status_code == 500
    assert "A caller must be True, a name or have a pk" in caplog.text
    with pytest.raises(ConfigurationError):
        get_owner(Seller(pk))
    assert not Payment.objects.exists()


class Nobody(BaseAuthentication):
    """Lets everyone in without an identity."""

    def authenticate(self, request: Any) -> None:
        return None


def test_an_unnamed_visitor_owns_nothing_where_a_host_lets_all_in(
    settings: Any, configure: Configure, monkeypatch: pytest.MonkeyPatch, stripe: StripeEmulator
) -> None:
    configure(IDENTIFY_CALLER=None, AUTHENTICATION_CLASSES=[Nobody])
    monkeypatch.setattr(PaymentViewSet, "permission_classes", ())
    payment = make_payment(stripe, "")
    api = CallerApi("")
    assert api.create().status_code == 401
    assert api.retrieve(payment.pk).status_code == 401
    assert api.list_payments().status_code == 401
