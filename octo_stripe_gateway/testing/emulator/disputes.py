"""Disputes: how a bank opens, decides and reopens them, and the money that it takes and gives back.

Appeals: https://docs.stripe.com/disputes/arbitration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.currencies import check_step
from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.params import merged_metadata

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.balance import Balance
    from octo_stripe_gateway.testing.emulator.events import Emit
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

FEE = 1500
CLOSED = ("won", "lost", "warning_closed")
# The statuses that a dispute can go on in after it was decided.
REOPENED = ("needs_response", "under_review", "appeal_needs_response", "appeal_under_review")
# The statuses in which the bank holds none of the merchant's money.
HARMLESS = ("won", "warning_needs_response", "warning_under_review", "warning_closed")
TIME_TO_RESPOND = 7 * 86_400
EVIDENCE = (
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure "
    "cancellation_rebuttal customer_communication customer_email_address customer_name "
    "customer_purchase_ip customer_signature duplicate_charge_documentation "
    "duplicate_charge_explanation duplicate_charge_id product_description receipt refund_policy "
    "refund_policy_disclosure refund_refusal_explanation service_date service_documentation "
    "shipping_address shipping_carrier shipping_date shipping_documentation "
    "shipping_tracking_number uncategorized_file uncategorized_text"
).split()


class Disputes:
    """Opens and closes disputes as the cardholder's bank does, and takes the merchant's answers."""

    def __init__(self, store: Store, *, emit: Emit, balance: Balance) -> None:
        self._store = store
        self._emit = emit
        self._balance = balance

    def open(
        self,
        charge: JsonObject,
        *,
        reason: str,
        amount: int | None,
        currency: str | None = None,
        inquiry: bool = False,
    ) -> JsonObject:
        """Take the disputed money back from the merchant until the bank decides; an inquiry takes none.

        The bank may dispute an amount of its own in another currency than the charge's.
        """
        if currency not in (None, charge["currency"]) and amount is None:
            raise StripeApiError("A dispute in another currency needs an amount.", param="amount")
        disputed = self._undisputed(charge) if amount is None else amount
        if disputed <= 0:
            raise StripeApiError(f"Charge {charge['id']} has nothing left to dispute.")
        check_step(disputed, currency=currency or charge["currency"])
        dispute = self._store.new(
            "dispute",
            account=self._store.account_of(charge),
            **_blank_dispute(charge, amount=disputed, due_by=self._store.now() + TIME_TO_RESPOND),
            reason=reason,
        )
        if inquiry:
            dispute |= {"status": "warning_needs_response", "is_charge_refundable": True}
            dispute["payment_method_details"] |= _case(dispute, case_type="inquiry")
        dispute["currency"] = currency or charge["currency"]
        charge["disputed"] = True
        self._emit("charge.dispute.created", dispute)
        if not inquiry:
            self._withdraw(dispute, fee=FEE)
        return dispute

    def reopen(self, dispute: JsonObject, *, status: str) -> JsonObject:
        """Go on with a decided dispute, in an appeal or anew, or make an inquiry a dispute.

        What the bank had left to the merchant is withdrawn again.
        """
        before = dispute["status"]
        if status not in REOPENED:
            raise ValueError(f"{status!r} is none of {', '.join(REOPENED)}.")
        if before not in CLOSED and not _prefix(dispute):
            raise StripeApiError(f"This dispute is still open: {before}.")
        was_inquiry = bool(_prefix(dispute))
        dispute |= {"status": status, "is_charge_refundable": False}
        dispute["evidence_details"]["due_by"] = self._store.now() + TIME_TO_RESPOND
        if was_inquiry:
            dispute["payment_method_details"] |= _case(dispute, case_type="chargeback")
        self._emit("charge.dispute.updated", dispute)
        if before in HARMLESS:
            self._withdraw(dispute, fee=FEE if was_inquiry else 0)
        return dispute

    def update(self, dispute: JsonObject, params: Parameters) -> JsonObject:
        """Keep the merchant's evidence, and send it to the bank unless `submit` is false."""
        self._check_open(dispute)
        if "metadata" in params:
            dispute["metadata"] = merged_metadata(dispute["metadata"], change=params["metadata"])
        if evidence := params.get("evidence"):
            dispute["evidence"] |= {name: value or None for name, value in evidence.items()}
            dispute["evidence_details"]["has_evidence"] = True
        if params.get("submit", True) and dispute["evidence_details"]["has_evidence"]:
            details = dispute["evidence_details"]
            details |= {"submission_count": details["submission_count"] + 1, "submission_method": "manual"}
            dispute["status"] = f"{_prefix(dispute) or _appeal(dispute)}under_review"
        self._emit("charge.dispute.updated", dispute)
        if params.get("submit", True):
            self._judge(dispute)
        return dispute

    def _judge(self, dispute: JsonObject) -> None:
        """Decide at once on the evidence that Stripe has for tests."""
        evidence = dispute["evidence"]["uncategorized_text"]
        if evidence == "escalate_inquiry_evidence" and _prefix(dispute):
            self.reopen(dispute, status="needs_response")
        elif evidence in ("winning_evidence", "losing_evidence"):
            won = evidence == "winning_evidence"
            status = "warning_closed" if _prefix(dispute) else ("won" if won else "lost")
            self._end(dispute, status=status)

    def accept(self, dispute: JsonObject) -> JsonObject:
        """Give a dispute up, as the merchant does."""
        self._check_open(dispute)
        return self._end(dispute, status="warning_closed" if _prefix(dispute) else "lost")

    def close(self, dispute: JsonObject, *, won: bool) -> JsonObject:
        """Decide a dispute; if the merchant wins, the money comes back."""
        self._check_open(dispute)
        if _prefix(dispute):
            return self._end(dispute, status="warning_closed")
        dispute["status"] = f"{_appeal(dispute)}under_review"
        self._emit("charge.dispute.updated", dispute)
        return self._end(dispute, status="won" if won else "lost")

    def _end(self, dispute: JsonObject, *, status: str) -> JsonObject:
        dispute["status"] = status
        if status == "won":
            self._move(dispute, amount=dispute["amount"], fee=0, category="dispute_reversal")
            self._emit("charge.dispute.funds_reinstated", dispute)
        self._emit("charge.dispute.closed", dispute)
        return dispute

    def _check_open(self, dispute: JsonObject) -> None:
        if dispute["status"] in CLOSED:
            raise StripeApiError(f"This dispute is already closed: {dispute['status']}.")

    def _undisputed(self, charge: JsonObject) -> int:
        disputes = self._store.each("dispute", charge=charge["id"])
        taking = [dispute for dispute in disputes if dispute["status"] not in HARMLESS]
        if any(dispute["currency"] != charge["currency"] for dispute in taking):
            return 0
        taken: int = sum(dispute["amount"] for dispute in taking)
        return int(charge["amount_captured"]) - taken

    def _withdraw(self, dispute: JsonObject, *, fee: int) -> None:
        self._move(dispute, amount=-dispute["amount"], fee=fee, category="dispute")
        self._emit("charge.dispute.funds_withdrawn", dispute)

    def _move(self, dispute: JsonObject, *, amount: int, fee: int, category: str) -> None:
        booked = self._balance.book(
            dispute,
            amount=amount,
            fee=fee,
            kind="adjustment",
            category=category,
            description=f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
        )
        dispute["balance_transactions"].append(dict(booked))


def close_inquiries(charge: JsonObject, *, store: Store, emit: Emit) -> None:
    """Close the inquiries about a charge, as a full refund does."""
    for dispute in list(store.each("dispute", charge=charge["id"])):
        if _prefix(dispute) and dispute["status"] not in CLOSED:
            dispute["status"] = "warning_closed"
            emit("charge.dispute.closed", dispute)


def _blank_dispute(charge: JsonObject, *, amount: int, due_by: int) -> JsonObject:
    details = charge["payment_method_details"]
    return {
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys((*EVIDENCE, "appeal")) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": due_by,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": _method_details(details),
        "status": "needs_response",
    }


def _method_details(details: JsonObject) -> JsonObject:
    if details["type"] != "card":
        return {"type": details["type"]}
    brand = details["card"]["brand"]
    shown = {"brand": brand, "case_type": "chargeback", "network": brand, "network_reason_code": "10.4"}
    return {"type": "card", "card": shown}


def _case(dispute: JsonObject, *, case_type: str) -> JsonObject:
    card = dispute["payment_method_details"].get("card")
    return {"card": card | {"case_type": case_type}} if card else {}


def _appeal(dispute: JsonObject) -> str:
    return "appeal_" if dispute["status"].startswith("appeal_") else ""


def _prefix(dispute: JsonObject) -> str:
    return "warning_" if dispute["status"].startswith("warning_") else ""
