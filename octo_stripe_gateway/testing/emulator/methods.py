"""Payment methods: Stripe's test ones by name, and cards typed in."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator import cards
from octo_stripe_gateway.testing.emulator.errors import StripeApiError, missing_parameter
from octo_stripe_gateway.testing.emulator.store import random_text

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.cards import Card
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

NO_ADDRESS: JsonObject = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
NO_BILLING_DETAILS: JsonObject = {
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}


class PaymentMethods:
    """Creates payment methods and finds those that a request names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, params: Parameters, *, account: str | None) -> JsonObject:
        """Create a payment method from typed-in details or from one of Stripe's test tokens."""
        kind = params.get("type", "card")
        details = params.get(kind, {})
        if kind in cards.DEBITS:
            number = details.get("account_number") or details.get("iban", "").replace(" ", "")
            card = cards.BY_NUMBER.get(number, cards.SUCCEEDING[kind])
        elif kind in cards.VOUCHERS:
            card = cards.SUCCEEDING[kind]
        elif "token" in details:
            card = cards.BY_TOKEN.get(details["token"].replace("tok_", "pm_card_"), cards.CARDS[0])
        elif "number" in details:
            card = self._card_typed_in(details)
        else:
            raise missing_parameter(f"{kind}[number]" if kind == "card" else kind)
        return self._new(card, account=account, params=params, details=details)

    def resolve(self, payment_method: str, *, account: str | None) -> JsonObject:
        """Return the payment method of that id; a test name such as `pm_card_visa` makes one."""
        if card := cards.BY_TOKEN.get(payment_method):
            return self._new(card, account=account, params={}, details={})
        return self._store.find("payment_method", payment_method, account=account, param="payment_method")

    def card_of(self, payment_method: JsonObject) -> Card:
        return self._store.cards[payment_method["id"]]

    def _new(self, card: Card, *, account: str | None, params: Parameters, details: Parameters) -> JsonObject:
        made = self._store.new(
            "payment_method",
            account=account,
            allow_redisplay=params.get("allow_redisplay", "unspecified"),
            billing_details=_billing_details(params.get("billing_details", {})),
            customer=None,
            customer_account=None,
            metadata=params.get("metadata") or {},
            type=card.kind,
        )
        made[card.kind] = self._describe(card, details=details)
        self._store.cards[made["id"]] = card
        return made

    def _describe(self, card: Card, *, details: Parameters) -> JsonObject:
        if card.kind == "us_bank_account":
            return {
                "account_holder_type": "individual",
                "account_type": "checking",
                "bank_name": "STRIPE TEST BANK",
                "financial_connections_account": None,
                "fingerprint": random_text(16),
                "last4": card.last4,
                "networks": {"preferred": "ach", "supported": ["ach"]},
                "routing_number": "110000000",
                "status_details": {},
            }
        if card.kind == "sepa_debit":
            return {
                "bank_code": "19043",
                "branch_code": "",
                "country": card.country,
                "fingerprint": random_text(16),
                "generated_from": {"charge": None, "setup_attempt": None},
                "last4": card.last4,
            }
        if card.kind in cards.VOUCHERS:
            return {}
        year = datetime.datetime.fromtimestamp(self._store.now(), tz=datetime.UTC).year
        return {
            "brand": card.brand,
            "checks": {"address_line1_check": None, "address_postal_code_check": None}
            | {"cvc_check": "pass" if details.get("cvc") else None},
            "country": card.country,
            "display_brand": card.display_brand,
            "exp_month": details.get("exp_month", 12),
            "exp_year": details.get("exp_year", year + 1),
            "fingerprint": random_text(16),
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        }

    def _card_typed_in(self, details: Parameters) -> Card:
        number = details["number"].replace(" ", "")
        today = datetime.datetime.fromtimestamp(self._store.now(), tz=datetime.UTC)
        if not cards.is_card_number(number):
            raise _unusable("number", "incorrect_number", "Your card number is incorrect.")
        month, year = details.get("exp_month", 0), details.get("exp_year", 0)
        if not 1 <= month <= 12:
            message = "Your card's expiration month is invalid."
            raise _unusable("exp_month", "invalid_expiry_month", message)
        year += 2000 if year < 100 else 0
        if (year, month) < (today.year, today.month):
            message = "Your card's expiration year is invalid."
            raise _unusable("exp_year", "invalid_expiry_year", message)
        if not details.get("cvc", "123").isdigit() or len(details.get("cvc", "123")) not in (3, 4):
            message = "Your card's security code is invalid."
            raise _unusable("cvc", "invalid_cvc", message)
        details["exp_year"] = year
        return cards.card_for_number(number)


def _unusable(param: str, code: str, message: str) -> StripeApiError:
    return StripeApiError(message, status=402, kind="card_error", code=code, param=param)


def _billing_details(given: Any) -> JsonObject:
    details: JsonObject = given or {}
    return NO_BILLING_DETAILS | details | {"address": NO_ADDRESS | (details.get("address") or {})}
