"""Two installations on one account, a hostile connected account, and a database that loses rows."""

from __future__ import annotations

import datetime as dt
import io
import random
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from stripe import StripeClient

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import GatewayError, UnknownPaymentError
from octo_stripe_gateway.models import Concern, Installation, Payment
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks import inbox
from tests.shop.models import Booking
from tests.support.ledger import lose_payment, lose_refunds

pytestmark = pytest.mark.django_db(transaction=True)

BOOKINGS = 8


class Town:
    """Customers with a booking each; a number may come to belong to another customer."""

    def __init__(self, stripe: StripeEmulator, *, seed: int) -> None:
        self.stripe, self.chance = stripe, random.Random(seed)
        self.holders = {Booking.objects.create().pk: f"auth.user:{n}" for n in range(BOOKINGS)}
        self.foreign: set[str] = set()

    def maybe(self) -> bool:
        return self.chance.random() < 0.5

    def shuffle(self) -> list[tuple[int, str]]:
        return self.chance.sample(list(self.holders.items()), BOOKINGS)

    def buy(self, pk: int, customer: str, *, pays: bool) -> None:
        """Ask to pay for a booking under a key that this customer always uses for it."""
        with suppress(GatewayError):
            created = services.create_payment(
                payable=Booking.objects.get(pk=pk), caller=Caller(customer, f"sale of {pk}")
            )
            if pays:
                self.pay(created.payment.intent_id)
                services.complete_payment(created.payment)

    def pay(self, intent_id: str) -> None:
        if self.stripe.payment_intents[intent_id]["status"] == "requires_payment_method":
            self.stripe.confirm(intent_id)

    def refund(self, pk: int, customer: str) -> None:
        with suppress(GatewayError):
            caller = Caller(customer, f"refund of {pk}")
            services.refund_payable(Booking.objects.get(pk=pk), amount=500, caller=caller)

    def sell_elsewhere(self, configure: Any) -> None:
        """Sell the same booking numbers at another installation."""
        configure(INSTALLATION_ID="another")
        for pk in self.chance.sample(list(self.holders), 3):
            payment = services.create_payment(payable=Booking.objects.get(pk=pk)).payment
            self.pay(payment.intent_id)
            self.foreign.add(payment.intent_id)
            lose_payment(payment)
        configure(INSTALLATION_ID=None)

    def forge(self) -> None:
        """Pay into one's own account with metadata that claims others' bookings."""
        client = StripeClient("sk_test_gateway", base_addresses={"api": self.stripe.url})
        genuine = self.chance.choice(list(self.stripe.payment_intents.values()))["metadata"]
        for pk in self.chance.sample(list(self.holders), 3):
            metadata = {**genuine, "octo_payable": f"shop.booking:{pk}"}
            params: Any = {"amount": 2000, "currency": "eur", "metadata": metadata}
            intent = client.v1.payment_intents.create(params, {"stripe_account": "acct_evil"})
            self.stripe.confirm(intent.id)
            self.foreign.add(intent.id)

    def lose(self) -> None:
        """Lose rows; some of the numbers are given out again."""
        for payment in Payment.objects.exclude(payable_id=None):
            if self.maybe():
                lose_payment(payment)
                if self.maybe():
                    self.holders[int(payment.payable_id or 0)] = f"auth.user:{payment.pk + BOOKINGS}"
            elif payment.refunds.exists():
                lose_refunds(payment)

    def deliver(self) -> None:
        for event in self.chance.sample(self.stripe.events, len(self.stripe.events)):
            with suppress(UnknownPaymentError):
                inbox.receive_event(event.payload)

    def repeat(self) -> None:
        for pk, customer in self.shuffle():
            self.buy(pk, customer, pays=self.maybe())
            if self.maybe():
                self.refund(pk, customer)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_money_ends_at_its_booking_or_with_an_operator(
    stripe: StripeEmulator, configure: Any, seed: int
) -> None:
    stripe.connect_account("acct_evil")
    services.create_payment(2000, currency="eur", stripe_account="acct_evil")
    town = Town(stripe, seed=seed)
    town.sell_elsewhere(configure)
    town.repeat()
    town.forge()
    town.lose()
    for step in town.chance.sample([town.deliver, town.repeat], 2):
        step()
    since = (timezone.now() - dt.timedelta(hours=1)).isoformat()
    call_command("recover_ledger", "--from", since, stdout=io.StringIO(), stderr=io.StringIO())
    for intent_id in sorted(set(stripe.payment_intents) - town.foreign):
        # Pages that were open all the time.
        if town.maybe():
            town.pay(intent_id)
    for step in town.chance.sample([town.deliver, town.repeat], 2):
        step()
    for payment in Payment.objects.all():
        services.sync_payment(payment)
    assert_nobody_pays_for_another(town)
    assert_keys_never_change(stripe)


def assert_nobody_pays_for_another(town: Town) -> None:
    own, intents = Installation.objects.get().name, town.stripe.payment_intents
    ours = {key for key, each in intents.items() if each["metadata"].get("octo_installation") == own}
    rows = {each.stripe_payment_intent_id: each for each in Payment.objects.all()}
    assert rows.keys() == ours - town.foreign
    for payment in rows.values():
        if payment.accepted_at and payment.payable_id:
            assert payment.owner == town.holders[int(payment.payable_id)]
        if payment.amount_held:
            waits = Concern.objects.open().filter(payment=payment, code="adopted").exists()
            assert bool(payment.accepted_at) or (payment.awaits_operator and waits)
    refunded = {each["payment_intent"] for each in town.stripe.refunds.values()}
    assert not refunded & town.foreign


def assert_keys_never_change(stripe: StripeEmulator) -> None:
    sent = defaultdict(set)
    for each in stripe.requests:
        is_ours = each.method == "POST" and not each.stripe_account
        metadata = each.params.get("metadata") if is_ours else None
        if isinstance(metadata, dict) and "octo_request" in metadata and each.idempotency_key:
            name = metadata.get("octo_refund") or metadata["octo_payment"]
            sent[name].add((each.idempotency_key, str(each.params)))
    assert sent
    assert [each for each in sent.values() if len(each) > 1] == []
