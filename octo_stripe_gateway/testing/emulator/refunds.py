"""Refunds: money that goes back, and the charge's totals after it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from octo_stripe_gateway.testing.emulator.currencies import check_step, format_amount
from octo_stripe_gateway.testing.emulator.disputes import HARMLESS, close_inquiries
from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError, StripeApiError
from octo_stripe_gateway.testing.emulator.params import merged_metadata
from octo_stripe_gateway.testing.emulator.store import random_text

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.balance import Balance, Kind
    from octo_stripe_gateway.testing.emulator.connect import Connect
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

Funds = Literal["enough", "refused", "pending"]

GONE = ("failed", "canceled")
OF_A_CASH_BALANCE = ("currency", "customer", "origin")
CONNECTED = ("refund_application_fee", "reverse_transfer")
TIME_TO_ACT = 30 * 86_400
INSUFFICIENT_FUNDS = "Insufficient funds in your Stripe balance to refund this amount."


class Refunds:
    """Creates refunds and settles those that take their time."""

    def __init__(self, store: Store, *, emit: Emit, balance: Balance, connect: Connect) -> None:
        self._store = store
        self._emit = emit
        self._balance = balance
        self._connect = connect
        self.funds: Funds = "enough"
        # What refunds that wait for balance will take back from connected accounts and the platform.
        self._waiting: dict[str, Parameters] = {}

    def create(self, params: Parameters, *, account: str | None) -> JsonObject:
        """Refund a paid charge: the amount given, or all that is left."""
        charge = self._refundable(params, account=account)
        amount = params.get("amount", charge["amount_captured"] - charge["amount_refunded"])
        check_step(amount, currency=charge["currency"])
        _check_unrefunded(charge, amount=amount)
        self._connect.check_refund(charge, params, amount=amount)
        if account:
            self._connect.check_balance(account)
        if self.funds == "refused":
            raise StripeApiError(INSUFFICIENT_FUNDS, message_code="insufficient_balance_for_refund")
        refund = self._store.new(
            "refund", account=account, **blank_refund(charge, params=params, amount=amount)
        )
        self._begin(refund, params, behaviour=self._store.cards[charge["payment_method"]].refund)
        self._recount(charge)
        self._emit("refund.created", refund)
        self._emit("charge.refunded", charge)
        if charge["refunded"]:
            close_inquiries(charge, store=self._store, emit=self._emit)
        return refund

    def clear(self) -> None:
        """Forget what refunds wait for."""
        self.funds = "enough"
        self._waiting.clear()

    def top_up(self) -> None:
        """Restore the balance, and make the refunds that wait for it."""
        self.funds = "enough"
        for refund in list(self._store.each("refund", pending_reason="insufficient_funds")):
            self._book(refund, self._waiting.pop(refund["id"], {}))
            self.settle(refund, status="succeeded", reason=None)

    def dump(self) -> str:
        """Return whether there is balance for refunds, as JSON."""
        return json.dumps({"funds": self.funds, "waiting": self._waiting})

    def load(self, dumped: JsonObject) -> None:
        """Take in what was dumped."""
        self.funds = dumped["funds"]
        self._waiting = dumped["waiting"]

    def update(self, refund: JsonObject, params: Parameters) -> JsonObject:
        """Change a refund's metadata: the only thing that can be changed."""
        refund["metadata"] = merged_metadata(refund["metadata"], change=params.get("metadata", {}))
        self._emit("refund.updated", refund)
        return refund

    def cancel(self, refund: JsonObject) -> JsonObject:
        """Cancel a refund, which Stripe allows only while it requires action by the customer."""
        if refund["status"] != "requires_action":
            raise StripeApiError(
                f"This refund cannot be canceled because it has a status of {refund['status']}. "
                "Only refunds with one of the following statuses may be canceled: requires_action.",
                code="refund_not_cancelable",
            )
        return self.settle(refund, status="canceled", reason=None)

    def settle(self, refund: JsonObject, *, status: str, reason: str | None) -> JsonObject:
        """Move a refund to a status; one that fails, even late, gives its amount back."""
        if refund["status"] in GONE or refund["status"] == status:
            raise StripeApiError(f"Refund {refund['id']} is {refund['status']} already.")
        refund["status"] = status
        if status != "pending":
            refund.pop("pending_reason", None)
        refund.pop("next_action", None)
        if status == "requires_action":
            refund["next_action"] = self._email(refund)
        if status in GONE and refund["balance_transaction"]:
            booked = self._balance.book(refund, amount=refund["amount"], kind="refund_failure")
            refund["failure_balance_transaction"] = booked["id"]
        if status == "failed":
            refund["failure_reason"] = reason or "expired_or_canceled_card"
        self._recount(self._store.get(refund["charge"]))
        self._emit("refund.updated", refund)
        self._emit("charge.refund.updated", refund, again=True)
        if status == "failed":
            self._emit("refund.failed", refund)
        return refund

    def fail_disputed(self, charge: JsonObject) -> None:
        """Fail the pending refunds of a charge that its customer disputes: the bank may give it back."""
        for refund in list(self._store.each("refund", charge=charge["id"], status="pending")):
            self.settle(refund, status="failed", reason="charge_for_pending_refund_disputed")

    def _email(self, refund: JsonObject) -> JsonObject:
        """Return how a customer is asked where the money should go."""
        charge, now = self._store.get(refund["charge"]), self._store.now()
        sent = {
            "email_sent_at": now,
            "email_sent_to": charge["receipt_email"] or charge["billing_details"]["email"] or "",
        }
        return {
            "type": "display_details",
            "display_details": {"email_sent": sent, "expires_at": now + TIME_TO_ACT},
        }

    def _begin(self, refund: JsonObject, params: Parameters, *, behaviour: str) -> None:
        if self.funds == "pending":
            refund |= {"status": "pending", "pending_reason": "insufficient_funds"}
            self._waiting[refund["id"]] = {name: params[name] for name in CONNECTED if name in params}
            return
        refund |= {"status": "succeeded"}
        if behaviour == "pends":
            refund |= {"status": "pending", "pending_reason": "processing"}
        if behaviour == "asks":
            refund |= {"status": "requires_action", "next_action": self._email(refund)}
        self._book(refund, params)

    def _book(self, refund: JsonObject, params: Parameters) -> None:
        charge = self._store.get(refund["charge"])
        kind: Kind = "refund" if refund["destination_details"]["type"] == "card" else "payment_refund"
        direct = params.get("refund_application_fee") and not charge.get("transfer")
        returned = self._connect.fee_part(charge, amount=refund["amount"]) if direct else 0
        booked = self._balance.book(
            refund,
            amount=-refund["amount"],
            application_fee=-self._balance.convert(returned, currency=refund["currency"]),
            kind=kind,
            description="REFUND FOR CHARGE",
        )
        refund["balance_transaction"] = booked["id"]
        self._connect.take_back(refund, params, charge=charge)

    def _refundable(self, params: Parameters, *, account: str | None) -> JsonObject:
        charge = self._named_charge(params, account=account)
        disputes = self._store.each("dispute", charge=charge["id"])
        if any(dispute["status"] not in HARMLESS for dispute in disputes):
            raise StripeApiError(
                f"Charge {charge['id']} has been charged back; cannot issue a refund.",
                code="charge_disputed",
            )
        if charge["captured"] and charge["amount_refunded"] >= charge["amount_captured"]:
            raise StripeApiError(
                f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
            )
        return charge

    def _named_charge(self, params: Parameters, *, account: str | None) -> JsonObject:
        intent_id, charge_id = params.get("payment_intent"), params.get("charge")
        if intent_id and charge_id:
            raise StripeApiError(
                "You may only specify one of these parameters: charge, payment_intent.", saved=False
            )
        for name in OF_A_CASH_BALANCE:
            if name in params:
                raise InvalidParameterError(
                    f"`{name}` can only be set when you refund from a customer's cash balance.", param=name
                )
        if not intent_id and not charge_id:
            raise StripeApiError(
                "One of the following params should be provided for this request: payment_intent or charge.",
                code="parameter_missing",
                saved=False,
            )
        if charge_id:
            charge = self._store.find("charge", charge_id, account=account, param="charge")
            intent_id = charge["payment_intent"]
        intent = self._store.find("payment_intent", str(intent_id), account=account, param="payment_intent")
        if not intent["amount_received"]:
            raise StripeApiError(
                f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
            )
        return self._store.get(charge_id or intent["latest_charge"])

    def _recount(self, charge: JsonObject) -> None:
        refunds = self._store.each("refund", charge=charge["id"])
        refunded = sum(refund["amount"] for refund in refunds if refund["status"] not in GONE)
        charge |= {
            "amount_refunded": refunded,
            "refunded": charge["captured"] and refunded > 0 and refunded == charge["amount_captured"],
        }


def _check_unrefunded(charge: JsonObject, *, amount: int) -> None:
    currency, captured = charge["currency"], charge["amount_captured"]
    left = captured - charge["amount_refunded"]
    if amount <= left:
        return
    asked = format_amount(amount, currency=currency)
    if amount > captured:
        limit = f"charge amount ({format_amount(captured, currency=currency)})"
    else:
        limit = f"unrefunded amount on charge ({format_amount(left, currency=currency)})"
    raise StripeApiError(f"Refund amount ({asked}) is greater than {limit}", param="amount")


def blank_refund(charge: JsonObject, *, params: Parameters, amount: int) -> JsonObject:
    """Return the fields of a refund that is just being made."""
    kind = charge["payment_method_details"]["type"]
    return {
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": _destination(kind),
        "metadata": merged_metadata({}, change=params.get("metadata") or {}),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "transfer_reversal": None,
    }


def _destination(kind: str) -> JsonObject:
    reference = {"reference": random_text(16), "reference_status": "available"}
    if kind == "us_bank_account":
        return {"type": "us_bank_transfer", "us_bank_transfer": reference}
    reference["reference_type"] = "acquirer_reference_number"
    return {"type": "card", "card": {"type": "refund", **reference}}
