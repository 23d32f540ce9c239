"""Charges: the record of each attempt to pay, and the money that it moves."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.balance import fee_for
from octo_stripe_gateway.testing.emulator.descriptors import calculated_descriptor
from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.refunds import blank_refund
from octo_stripe_gateway.testing.emulator.store import new_id, random_text
from octo_stripe_gateway.testing.emulator.versions import ACACIA, BASIL, Range

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.balance import Balance
    from octo_stripe_gateway.testing.emulator.cards import Card, Decline
    from octo_stripe_gateway.testing.emulator.connect import Connect
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

WEEK = 7 * 86_400


class Charges:
    """Creates the charge of an attempt and books its money."""

    def __init__(self, store: Store, *, emit: Emit, balance: Balance, connect: Connect) -> None:
        self._store = store
        self._emit = emit
        self._balance = balance
        self._connect = connect
        self.hold_seconds: float = WEEK

    def declined(self, intent: JsonObject, *, method: JsonObject, decline: Decline) -> JsonObject:
        """Record an attempt that the issuer refused."""
        if self._store.cards[method["id"]].risk == "highest":
            outcome = _outcome(
                network_status="not_sent_to_network",
                reason="highest_risk_level",
                risk_level="highest",
                risk_score=85,
                seller_message="Stripe blocked this payment as too risky.",
                type="blocked",
            )
        else:
            outcome = _outcome(
                network_decline_code=decline.network_code,
                network_status="declined_by_network",
                reason=decline.decline_code or decline.code,
                seller_message="The bank did not return any further details with this decline.",
                type="issuer_declined",
            )
        fields = {"failure_code": decline.code, "failure_message": decline.message}
        return self._new(intent, method=method, status="failed", outcome=outcome, **fields)

    def pending(self, intent: JsonObject, *, method: JsonObject) -> JsonObject:
        """Record an attempt that the bank has yet to decide."""
        return self._new(intent, method=method, status="pending", outcome=_outcome())

    def authorized(self, intent: JsonObject, *, method: JsonObject) -> JsonObject:
        """Record an attempt that succeeded, its money not yet captured."""
        elevated = self._store.cards[method["id"]].risk == "elevated"
        outcome = _outcome(risk_level="elevated", risk_score=65) if elevated else _outcome()
        charge = self._new(intent, method=method, status="succeeded", outcome=outcome)
        charge["paid"] = True
        return charge

    def hold(self, charge: JsonObject) -> None:
        """Say until when an authorization can be captured."""
        until = self._store.now() + int(self.hold_seconds)
        charge["payment_method_details"]["card"]["capture_before"] = until

    def capture(self, charge: JsonObject, *, amount: int, settled: bool = True, final: bool = True) -> None:
        """Capture the amount; if `settled`, book its balance transaction, unless the method books late."""
        captured = charge["amount_captured"] + amount
        charge |= {"captured": final, "amount_captured": captured, "paid": True, "status": "succeeded"}
        charge["receipt_url"] = f"https://pay.stripe.com/receipts/payment/{random_text(40)}"
        if settled and amount and not self.books_late(charge):
            self.settle(charge, amount=amount)

    def release(self, charge: JsonObject, *, amount: int) -> None:
        """Release what was authorized but not captured; older API versions report it as a refund."""
        made = blank_refund(charge, params={}, amount=amount) | {"status": "succeeded"}
        head = {"id": new_id("refund"), "object": "refund", "created": self._store.now()}
        self._store.released.setdefault(charge["id"], []).append(head | made)

    def tell_release(self, charge: JsonObject) -> None:
        """Send the events about a release that only endpoints of older API versions get."""
        account = self._store.account_of(charge)
        for refund in self._store.released.get(charge["id"], []):
            self._store.assign(refund, account=account)
            self._emit("refund.created", refund, versions=Range(since=ACACIA, before=BASIL))
            self._emit("charge.refunded", charge, versions=Range(before=BASIL))
            self._emit("charge.refund.updated", refund, versions=Range(before=BASIL))

    def books_late(self, charge: JsonObject) -> bool:
        """Return whether the payment method's balance transaction comes later."""
        return self._store.cards[charge["payment_method"]].books_late

    def book_late(self, charge: JsonObject) -> JsonObject:
        """Book the balance transaction that was still missing, and send `charge.updated`."""
        if charge["balance_transaction"] or not charge["captured"]:
            raise StripeApiError(f"There is nothing to book for charge {charge['id']}.")
        self.settle(charge, amount=charge["amount_captured"])
        self._emit("charge.updated", charge)
        return charge

    def settle(self, charge: JsonObject, *, amount: int) -> None:
        """Book the balance transaction of a capture; the charge names the first."""
        application_fee = self._connect.direct_fee(charge, amount=amount)
        booked = self._balance.book(
            charge,
            amount=amount,
            fee=fee_for(self._balance.convert(amount, currency=charge["currency"])),
            application_fee=self._balance.convert(application_fee, currency=charge["currency"]),
            kind="charge" if charge["payment_method_details"]["type"] == "card" else "payment",
            description=charge["description"],
            available=self._store.cards[charge["payment_method"]].available_at_once,
        )
        charge["balance_transaction"] = charge["balance_transaction"] or booked["id"]
        self._connect.share(charge, amount=amount)

    def _new(self, intent: JsonObject, *, method: JsonObject, status: str, **fields: object) -> JsonObject:
        account = self._store.account_of(intent)
        charge = self._store.new("charge", account=account, **_blank_charge(intent))
        charge |= fields
        charge |= {
            "status": status,
            "payment_method": method["id"],
            "billing_details": copy.deepcopy(method["billing_details"]),
            "payment_method_details": _details(
                method, card=self._store.cards[method["id"]], amount=intent["amount"]
            ),
        }
        if can_capture_often(intent) and method["type"] == "card":
            charge["payment_method_details"]["card"]["multicapture"]["status"] = "available"
        return charge


def can_capture_often(intent: JsonObject) -> bool:
    """Return whether the intent asks for several captures: https://docs.stripe.com/payments/multicapture."""
    asked = intent["payment_method_options"].get("card", {}).get("request_multicapture")
    return bool(asked == "if_available" and intent["capture_method"] == "manual")


def _outcome(**changes: str | int | None) -> JsonObject:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete.",
        "type": "authorized",
        **changes,
    }


def _blank_charge(intent: JsonObject) -> JsonObject:
    taken = ("amount", "currency", "customer", "description", "receipt_email", "shipping", "transfer_data")
    kept = ("application", "application_fee_amount")
    more = ("statement_descriptor", "statement_descriptor_suffix", "transfer_group", "on_behalf_of")
    empty = (
        "application_fee balance_transaction failure_code failure_balance_transaction failure_message "
        "receipt_number receipt_url review source source_transfer"
    )
    return {
        **dict.fromkeys(empty.split()),
        **{name: copy.deepcopy(intent[name]) for name in taken + kept + more},
        "amount_captured": 0,
        "amount_refunded": 0,
        "calculated_statement_descriptor": calculated_descriptor(intent["statement_descriptor_suffix"]),
        "captured": False,
        "disputed": False,
        "fraud_details": {},
        "metadata": dict(intent["metadata"]),
        "paid": False,
        "payment_intent": intent["id"],
        "radar_options": {},
        "refunded": False,
    }


def _details(method: JsonObject, *, card: Card, amount: int) -> JsonObject:
    details = copy.deepcopy(method[card.kind])
    if card.kind == "us_bank_account":
        kept = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
        details = {name: details[name] for name in kept} | {"payment_reference": None}
        return {"type": card.kind, card.kind: details}
    if card.kind != "card":
        return {"type": card.kind, card.kind: details}
    for name in ("display_brand", "generated_from", "networks", "three_d_secure_usage"):
        del details[name]
    details |= {
        "amount_authorized": amount,
        "authorization_code": random_text(6).upper(),
        "electronic_commerce_indicator": "05" if card.challenge else None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "network_transaction_id": random_text(15).upper(),
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "three_d_secure": _authenticated() if card.challenge else None,
        "transaction_link_id": None,
    }
    return {"type": "card", "card": details}


def _authenticated() -> JsonObject:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": random_text(36),
        "version": "2.2.0",
    }
