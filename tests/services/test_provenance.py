"""Other installations are left alone, and who may write metadata can't have money counted."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.utils import timezone
from stripe import StripeClient

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError, UnknownPaymentError, UnprocessableError
from octo_stripe_gateway.models import Concern, Payment, WebhookEvent
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.services.reconciliation import Reconciliation
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks import inbox
from tests.shop.models import Booking
from tests.support.events import is_about
from tests.support.ledger import lose_payment
from tests.support.receivers import listening

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("connected")]

CARD = "pm_card_visa"
SUCCESS = "payment_intent.succeeded"


@pytest.fixture
def connected(stripe: StripeEmulator) -> None:
    for account in ("acct_1", "acct_evil", "acct_other"):
        stripe.connect_account(account)


def pay(stripe: StripeEmulator, **options: Any) -> Payment:
    """Create a payment that the customer pays, without the row hearing of it."""
    payment = services.create_payment(**options).payment
    stripe.confirm(payment.intent_id, CARD)
    return payment


def make_foreign(stripe: StripeEmulator, configure: Any, **options: Any) -> Payment:
    """Pay at another installation with the same Stripe account, and return what its row was."""
    configure(INSTALLATION_ID="another")
    payment = pay(stripe, **options)
    configure(INSTALLATION_ID=None)
    lose_payment(payment)
    return payment


def forge(stripe: StripeEmulator, *, account: str = "", **metadata: str) -> str:
    """Create a paid intent as the holder of an account may, and return its id."""
    client = StripeClient(gateway_settings.stripe_api_key, base_addresses={"api": stripe.url})
    params: Any = {"amount": 2000, "currency": "eur", "metadata": metadata}
    intent = client.v1.payment_intents.create(params, {"stripe_account": account} if account else None)
    stripe.confirm(intent.id, CARD)
    return intent.id


def hear(stripe: StripeEmulator, intent_id: str, type_: str = SUCCESS) -> WebhookEvent:
    """Take in the latest event of a type about an intent."""
    about = [each for each in stripe.events if each.type == type_ and is_about(each, intent_id)]
    return inbox.receive_event(about[-1].payload)


def audit() -> list[str]:
    now, hour = timezone.now(), dt.timedelta(hours=1)
    found = Reconciliation(now - hour, now + hour, adopts=True, dry_run=False).run()
    return [each.kind.value for each in found]


def test_payment_of_another_installation_is_left_alone(stripe: StripeEmulator, configure: Any) -> None:
    booking = Booking.objects.create(price=999)
    foreign = make_foreign(stripe, configure, amount=2000, currency="eur")
    metadata = stripe.payment_intents[foreign.intent_id]["metadata"]
    metadata["octo_payable"] = f"shop.booking:{booking.pk}"
    stripe.refund(foreign.intent_id, amount=500)
    heard: list[Any] = []
    with listening(signals.payment_unknown, lambda **_: heard.append(1)):
        for type_ in (SUCCESS, "charge.refunded", "refund.created"):
            event = hear(stripe, foreign.intent_id, type_)
            event.refresh_from_db()
            assert event.status == "ignored"
    assert audit() == []
    with pytest.raises(UnprocessableError, match="another installation"):
        services.adopt_payment(foreign.intent_id, payable=booking)
    assert (heard, Payment.objects.count(), Concern.objects.count()) == ([], 0, 0)


def test_same_uuid_at_two_installations_is_two_payments(stripe: StripeEmulator, configure: Any) -> None:
    own = uuid.uuid4()
    foreign = make_foreign(stripe, configure, amount=2000, currency="eur", uuid=own)
    ours = services.create_payment(2000, currency="eur", uuid=own).payment
    assert ours.intent_id != foreign.intent_id
    Payment.objects.update(stripe_payment_intent_id=None)
    hear(stripe, foreign.intent_id)
    audit()
    assert Payment.objects.get().status == "pending"


def test_copy_of_a_database_leaves_the_originals_payments_alone(
    stripe: StripeEmulator, configure: Any
) -> None:
    payment = pay(stripe, amount=2000, currency="eur")
    configure(INSTALLATION_ID="staging")
    assert hear(stripe, payment.intent_id).status == "ignored"
    services.complete_payment(payment)
    audit()
    payment.refresh_from_db()
    assert payment.status == "pending"


@pytest.mark.parametrize("is_used", [True, False])
def test_forged_metadata_confirms_nothing(stripe: StripeEmulator, is_used: bool) -> None:
    victim = Booking.objects.create()
    if is_used:
        services.create_payment(2000, currency="eur", stripe_account="acct_evil")
    claims = {"octo_payment": str(uuid.uuid4()), "octo_payable": f"shop.booking:{victim.pk}"}
    intent_id = forge(stripe, account="acct_evil", **claims)
    heard: list[Any] = []
    with listening(signals.payment_unknown, lambda **_: heard.append(1)):
        event = hear(stripe, intent_id)
    assert (event.status, heard) == ("ignored", [])
    with pytest.raises(UnprocessableError, match="no signature"):
        services.adopt_payment(intent_id, stripe_account="acct_evil")
    audit()
    assert not victim.payments.exists()
    concerns = Concern.objects.values_list("code", "object_id")
    assert list(concerns) == [("intent_unproven", intent_id)] * is_used


def test_refund_in_an_account_never_used_is_ignored_unasked(stripe: StripeEmulator) -> None:
    intent_id = forge(stripe, account="acct_evil")
    StripeClient(gateway_settings.stripe_api_key, base_addresses={"api": stripe.url}).v1.refunds.create(
        {"payment_intent": intent_id, "amount": 500}, {"stripe_account": "acct_evil"}
    )
    asked = len(stripe.requests)
    assert hear(stripe, intent_id, "refund.created").status == "ignored"
    assert len(stripe.requests) == asked


def test_signature_of_another_payment_proves_nothing(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    own = pay(stripe, stripe_account="acct_evil", amount=2000, currency="eur")
    metadata = stripe.payment_intents[own.intent_id]["metadata"]
    changed = {**metadata, "octo_payable": f"shop.booking:{booking.pk}"}
    lose_payment(own)
    for account, claims in (("acct_evil", changed), ("acct_other", metadata), ("", metadata)):
        services.create_payment(2000, currency="eur", stripe_account=account)
        intent_id = forge(stripe, account=account, **claims)
        assert hear(stripe, intent_id).status == "ignored"
        with pytest.raises(UnprocessableError, match="no signature"):
            services.adopt_payment(intent_id, stripe_account=account)
    assert not booking.payments.exists()


def test_uuid_of_another_accounts_payment_is_not_taken(stripe: StripeEmulator) -> None:
    victim = services.create_payment(2000, currency="eur").payment
    Payment.objects.update(stripe_payment_intent_id=None, intent_status="")
    services.create_payment(2000, currency="eur", stripe_account="acct_evil")
    hear(stripe, forge(stripe, account="acct_evil", octo_payment=str(victim.uuid)))
    victim.refresh_from_db()
    assert (victim.status, victim.has_concerns) == ("pending", False)


def test_payment_from_before_signatures_is_ours_if_its_row_is_here(stripe: StripeEmulator) -> None:
    payment = pay(stripe, amount=2000, currency="eur")
    metadata = stripe.payment_intents[payment.intent_id]["metadata"]
    for key in [key for key in metadata if key != "octo_payment"]:
        del metadata[key]
    assert hear(stripe, payment.intent_id).status == "processed"
    assert Payment.objects.get().status == "paid"


def test_lost_payment_of_ours_is_told(stripe: StripeEmulator) -> None:
    payment = pay(stripe, amount=2000, currency="eur")
    lose_payment(payment)
    heard: list[Any] = []
    with listening(signals.payment_unknown, lambda **_: heard.append(1)), pytest.raises(UnknownPaymentError):
        hear(stripe, payment.intent_id)
    assert heard == [1]
    assert audit() == ["adopted"]


@pytest.mark.parametrize(("is_lost", "status"), [(True, "received"), (False, "ignored")])
def test_refund_without_metadata_is_judged_by_its_intent(
    stripe: StripeEmulator, is_lost: bool, status: str
) -> None:
    if is_lost:
        payment = pay(stripe, amount=2000, currency="eur")
        intent_id = payment.intent_id
        lose_payment(payment)
    else:
        intent_id = forge(stripe, order="7")
    stripe.refund(intent_id, amount=500)
    event = hear(stripe, intent_id, "refund.created")
    event.refresh_from_db()
    assert event.status == status


def test_signing_key_changes_without_losing_what_the_old_one_signed(
    stripe: StripeEmulator, configure: Any
) -> None:
    configure(SIGNING_KEY="the-old-key")
    lost = [pay(stripe, amount=2000, currency="eur") for _ in range(3)]
    for each in lost:
        lose_payment(each)
    assert services.adopt_payment(lost[0].intent_id).awaits_operator
    configure(SIGNING_KEY=["the-new-key", "the-old-key"])
    assert services.adopt_payment(lost[1].intent_id).awaits_operator
    configure(SIGNING_KEY="the-new-key")
    with pytest.raises(UnprocessableError, match="no signature"):
        services.adopt_payment(lost[2].intent_id)


def test_live_money_is_not_asked_for_unsigned(stripe: StripeEmulator, configure: Any) -> None:
    configure(STRIPE_API_KEY="sk_live_gateway", STRIPE_PUBLISHABLE_KEY="pk_live_gateway")
    with pytest.raises(ConfigurationError):
        services.create_payment(2000, currency="eur")
    assert not Payment.objects.exists()


def test_account_that_the_host_would_not_choose_is_left_to_an_operator(
    stripe: StripeEmulator, configure: Any
) -> None:
    payment = pay(stripe, amount=2000, currency="eur", stripe_account="acct_1")
    lose_payment(payment)
    configure(CHOOSE_ACCOUNT=lambda _payment: ("", "acct_2"))
    with pytest.raises(UnprocessableError, match="would not be sent to"):
        services.adopt_payment(payment.intent_id, stripe_account="acct_1")


def test_adopted_money_counts_once_it_is_confirmed(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    payment = pay(stripe, payable=booking, caller=Caller("auth.user:1"))
    lose_payment(payment)
    adopted = services.adopt_payment(payment.intent_id)
    assert adopted.pk != payment.pk
    for _ in range(2):
        hear(stripe, payment.intent_id)
        services.sync_payment(adopted)
        adopted.refresh_from_db()
        assert (adopted.awaits_operator, adopted.accepted_at, adopted.status) == (True, None, "pending")
    assert services.get_dues(booking).due == 2000
    assert list(Concern.objects.open().values_list("code", flat=True)) == ["adopted"]
    confirmed = services.confirm_adoption(adopted)
    assert (confirmed.status, services.get_dues(booking).due) == ("paid", 0)
    assert not Concern.objects.open().exists()


def test_reused_booking_number_is_not_paid_with_earlier_money(
    stripe: StripeEmulator,
) -> None:
    booking = Booking.objects.create()
    earlier = pay(stripe, payable=booking, caller=Caller("auth.user:1"))
    lose_payment(earlier)
    audit()
    later = pay(stripe, payable=booking, caller=Caller("auth.user:2"))
    later = services.complete_payment(later)
    assert (later.status, later.rejection_code) == ("paid", "")
    assert Payment.objects.get(owner="auth.user:1").awaits_operator


def test_adopted_money_may_go_back(stripe: StripeEmulator) -> None:
    payment = pay(stripe, amount=2000, currency="eur")
    lose_payment(payment)
    adopted = services.adopt_payment(payment.intent_id)
    services.refund_payment(adopted)
    assert (Payment.objects.get().status, len(stripe.refunds)) == ("refunded", 1)
