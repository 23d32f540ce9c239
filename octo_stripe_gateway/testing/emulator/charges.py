"""Charges: what each attempt to pay leaves behind, and the money that moves with it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.descriptors import calculated_descriptor
from octo_stripe_gateway.testing.emulator.refunds import blank_refund
from octo_stripe_gateway.testing.emulator.store import new_id, random_text
from octo_stripe_gateway.testing.emulator.versions import ACACIA, BASIL, Range

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.cards import Card, Decline
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store


class Charges:
    """Creates the charge of an attempt and books its money."""

    def __init__(self, store: Store, *, emit: Emit) -> None:
        self._store = store
        self._emit = emit

    def declined(self, intent: JsonObject, *, method: JsonObject, decline: Decline) -> JsonObject:
        """Record an attempt that the issuer refused."""
        outcome = {
            "network_status": "declined_by_network",
            "reason": decline.decline_code or decline.code,
            "seller_message": "The bank did not return any further details with this decline.",
            "type": "issuer_declined",
        }
        fields = {"failure_code": decline.code, "failure_message": decline.message}
        return self._new(intent, method=method, status="failed", outcome=outcome, **fields)

    def pending(self, intent: JsonObject, *, method: JsonObject) -> JsonObject:
        """Record an attempt whose result the bank will tell later."""
        return self._new(intent, method=method, status="pending", outcome=_approved())

    def authorized(self, intent: JsonObject, *, method: JsonObject) -> JsonObject:
        """Record an attempt that succeeded, its money not yet captured."""
        charge = self._new(intent, method=method, status="succeeded", outcome=_approved())
        charge["paid"] = True
        return charge

    def capture(self, charge: JsonObject, *, amount: int, settled: bool = True) -> None:
        """Capture the amount; `settled` is whether its balance transaction is known already."""
        charge |= {"captured": True, "amount_captured": amount, "paid": True, "status": "succeeded"}
        charge["receipt_url"] = f"https://pay.stripe.com/receipts/payment/{random_text(40)}"
        if settled:
            self.settle(charge)

    def release(self, charge: JsonObject, *, amount: int) -> None:
        """Let go of what was authorized and not captured; older API versions tell it as a refund."""
        made = blank_refund(charge, params={}, amount=amount) | {"status": "succeeded"}
        head = {"id": new_id("refund"), "object": "refund", "created": self._store.now()}
        self._store.released.setdefault(charge["id"], []).append(head | made)

    def tell_release(self, charge: JsonObject) -> None:
        """Send the events that only endpoints of older API versions get of a release."""
        account = self._store.account_of(charge)
        for refund in self._store.released.get(charge["id"], []):
            self._store.assign(refund, account=account)
            self._emit("refund.created", refund, versions=Range(since=ACACIA, before=BASIL))
            self._emit("charge.refunded", charge, versions=Range(before=BASIL))
            self._emit("charge.refund.updated", refund, versions=Range(before=BASIL))

    def settle(self, charge: JsonObject) -> None:
        """Book the charge's balance transaction (2.9 % and 30 as the fee)."""
        amount = charge["amount_captured"]
        fee = min(amount, round(amount * 0.029) + 30)
        charge["balance_transaction"] = self.book(charge, amount=amount, fee=fee, kind="charge")

    def book(self, source: JsonObject, *, amount: int, fee: int, kind: str) -> str:
        """Add a balance transaction for money that moved; return its id."""
        made = self._store.new(
            "balance_transaction",
            account=self._store.account_of(source),
            amount=amount,
            available_on=self._store.now(),
            currency=source["currency"],
            fee=fee,
            net=amount - fee,
            reporting_category=kind,
            source=source["id"],
            status="pending",
            type=kind,
        )
        return str(made["id"])

    def _new(self, intent: JsonObject, *, method: JsonObject, status: str, **fields: object) -> JsonObject:
        account = self._store.account_of(intent)
        charge = self._store.new("charge", account=account, **_blank_charge(intent))
        charge |= fields
        charge |= {
            "status": status,
            "payment_method": method["id"],
            "billing_details": copy.deepcopy(method["billing_details"]),
            "payment_method_details": _details(method, card=self._store.cards[method["id"]]),
        }
        return charge


def _approved() -> JsonObject:
    return {
        "advice_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete.",
        "type": "authorized",
    }


def _blank_charge(intent: JsonObject) -> JsonObject:
    taken = ("amount", "currency", "customer", "description", "receipt_email", "shipping")
    more = ("statement_descriptor", "statement_descriptor_suffix", "transfer_group", "on_behalf_of")
    empty = (
        "application application_fee application_fee_amount balance_transaction failure_code "
        "failure_balance_transaction failure_message receipt_number receipt_url review source "
        "source_transfer transfer_data"
    )
    return {
        **dict.fromkeys(empty.split()),
        **{name: copy.deepcopy(intent[name]) for name in taken + more},
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


def _details(method: JsonObject, *, card: Card) -> JsonObject:
    details = copy.deepcopy(method[card.kind])
    if card.kind == "card":
        details |= {
            "authorization_code": random_text(6).upper(),
            "installments": None,
            "mandate": None,
            "network": card.brand,
            "three_d_secure": {"result": "authenticated"} if card.challenge else None,
        }
    return {"type": card.kind, card.kind: details}
