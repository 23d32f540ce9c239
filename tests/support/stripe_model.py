"""A model of Stripe for the checker: one intent with its refunds and disputes, and what each verb tells.

It is far smaller than the emulator, so that thousands of histories take seconds. A verb returns False where
Stripe would refuse it. Each event names the movements of Stripe's balance that its object shows.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from octo_stripe_gateway.ledger.facts import AmountTaken
from octo_stripe_gateway.stripe.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)

AMOUNT, OTHER_AMOUNT, CAPTURED = 2000, 2500, 1500
START = 1_800_000_000
UNPAID = {"requires_payment_method", "requires_action"}
DEAD = {"failed", "canceled"}

Snapshot = AmountTaken | PaymentIntentSnapshot | ChargeSnapshot | RefundSnapshot | DisputeSnapshot
# What we do ourselves before Stripe can answer: a name, the payment's number, what is asked for, and when.
OwnFact = tuple[str, int, int, int]


class Event(NamedTuple):
    """A snapshot as Stripe tells it, with the movements that had happened to its object by then.

    It shows them only to those who have heard of the movements in `after`: a decline alone doesn't say that a
    bank debit failed.
    """

    fact: Snapshot | OwnFact
    moves: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    @property
    def is_own(self) -> bool:
        """Tell whether it happens here: once, and before all that is told after it."""
        return type(self.fact) is tuple

    @property
    def is_answer(self) -> bool:
        """Tell whether it answers what we asked for: once, and before we ask for anything else."""
        return isinstance(self.fact, AmountTaken)


@dataclass
class StripeModel:
    """One intent, as it is at Stripe."""

    number: int = 1
    manual: bool = False
    second: int = START
    status: str = "requires_payment_method"
    amount: int = AMOUNT
    received: int = 0
    capturable: int = 0
    failure: str = ""
    reason: str = ""
    attempts: int = 0
    asked: int = AMOUNT
    # Whether we have no answer to that yet, and which amount was told last.
    is_asked: bool = False
    is_shown_asked: bool = False
    asked_at: int = 0
    shown: int = AMOUNT
    has_told: bool = False
    expires: bool = False
    refunds: dict[str, RefundSnapshot] = field(default_factory=dict)
    disputes: dict[str, DisputeSnapshot] = field(default_factory=dict)
    moves: dict[str, list[str]] = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)

    def copy(self) -> StripeModel:
        """Return a model that goes on from here, and has told nothing yet."""
        other = copy.copy(self)
        other.refunds, other.disputes = dict(self.refunds), dict(self.disputes)
        other.moves = {name: list(moves) for name, moves in self.moves.items()}
        other.told = []
        return other

    @property
    def intent_id(self) -> str:
        return f"pi_{self.number}"

    @property
    def charge_id(self) -> str:
        return f"ch_{self.number}"

    @property
    def refunded(self) -> int:
        """What the charge's total of refunds is."""
        return sum(each.amount for each in self.refunds.values() if each.status not in DEAD)

    @property
    def lost(self) -> int:
        """What lost disputes took, in the payment's currency."""
        lost = [each for each in self.disputes.values() if each.status == "lost" and each.currency == "usd"]
        return sum(each.amount for each in lost)

    def snap_intent(self) -> PaymentIntentSnapshot:
        has_charge = self.status in {"processing", "requires_capture", "succeeded"}
        return PaymentIntentSnapshot(
            id=self.intent_id,
            as_of=self.second,
            status=self.status,
            amount=self.amount,
            currency="usd",
            amount_received=self.received,
            amount_capturable=self.capturable,
            livemode=False,
            failure_code=self.failure,
            failure_message="",
            payment_uuid="",
            charge_id=self.charge_id if has_charge or self.reason == "automatic" else "",
            cancellation_reason=self.reason,
        )

    def snap_charge(self, *, whole: bool) -> ChargeSnapshot:
        refunds = tuple(replace(each, as_of=self.second) for each in self.refunds.values()) if whole else ()
        return ChargeSnapshot(
            id=self.charge_id,
            as_of=self.second,
            created=START,
            currency="usd",
            amount_refunded=self.refunded,
            livemode=False,
            disputed=bool(self.disputes),
            payment_intent_id=self.intent_id,
            refunds=refunds,
            has_all_refunds=whole,
        )

    def snap_all(self) -> PaymentIntentSnapshot:
        """What a sync sees: the intent with its charge, refunds and disputes."""
        intent = self.snap_intent()
        charge = self.snap_charge(whole=True) if intent.charge_id else None
        disputes = tuple(replace(each, as_of=self.second) for each in self.disputes.values())
        return replace(intent, charge=charge, disputes=disputes)

    def tell(self, fact: Snapshot | OwnFact, *names: str) -> bool:
        moved = frozenset(move for name in names for move in self.moves.get(name, ()))
        if "intent" in names:
            self.shown, self.has_told = self.amount, True
            self.is_shown_asked |= self.amount == self.asked and self.second > self.asked_at
        debits: frozenset[str] = frozenset()
        if self.status not in {"processing", "succeeded"}:
            debits = frozenset(move for move in moved if "is debited" in move)
        self.told.append(Event(fact, moved - debits, after=debits))
        return True

    def move(self, name: str, what: str) -> None:
        moves = self.moves.setdefault(name, [])
        moves.append(f"{name} {what} {len(moves)}")

    # The intent.

    def decline(self) -> bool:
        return self.status in UNPAID and self._change("requires_payment_method", failure=self._count())

    def ask_customer(self) -> bool:
        return self.status == "requires_payment_method" and self._change("requires_action")

    def process(self) -> bool:
        if self.manual or self.status not in UNPAID:
            return False
        self.move("intent", "is debited")
        return self._change("processing")

    def fail_debit(self) -> bool:
        if self.status != "processing":
            return False
        self.move("intent", "is paid back")
        return self._change("requires_payment_method", failure=self._count())

    def pay(self) -> bool:
        if self.manual or self.status not in {*UNPAID, "processing"}:
            return False
        if self.status != "processing":
            self.move("intent", "is paid")
        return self._change("succeeded", received=self.amount)

    def authorize(self) -> bool:
        return (
            self.manual and self.status in UNPAID and self._change("requires_capture", capturable=self.amount)
        )

    def capture(self) -> bool:
        return self._capture(self.amount)

    def capture_in_part(self) -> bool:
        return self._capture(CAPTURED)

    def cancel(self) -> bool:
        may = self.status in {*UNPAID, "requires_capture"}
        return may and self._change("canceled", reason="requested_by_customer")

    def run_out(self) -> bool:
        return self.status == "requires_capture" and self._change("canceled", reason="automatic")

    def ask_for_amount(self) -> bool:
        """Ask for another amount, or for the first again."""
        if self.status not in UNPAID or self.is_asked:
            return False
        self.asked, self.is_asked = AMOUNT if self.asked == OTHER_AMOUNT else OTHER_AMOUNT, True
        self.is_shown_asked, self.asked_at = False, self.second
        return self.tell(("request", self.number, self.asked, self.second))

    def change_amount(self) -> bool:
        """Have Stripe take the amount that was asked for: no event says so, but the answer does."""
        if self.status not in UNPAID or self.amount == self.asked:
            return False
        self.amount, self.is_asked = self.asked, False
        return self.tell(AmountTaken(self.snap_intent()), "intent")

    def change_amount_unheard(self) -> bool:
        """Lose the answer."""
        if self.status not in UNPAID or self.amount == self.asked:
            return False
        self.amount = self.asked
        return True

    def change_amount_unasked(self) -> bool:
        """Have somebody change the amount in Stripe's dashboard."""
        if self.status not in UNPAID or self.amount == CAPTURED:
            return False
        self.amount = CAPTURED
        return True

    def change_amount_elsewhere(self) -> bool:
        """Have somebody change the amount in the dashboard to the other one, or back."""
        if self.status not in UNPAID:
            return False
        self.amount = AMOUNT if self.amount == OTHER_AMOUNT else OTHER_AMOUNT
        return True

    def expire(self) -> bool:
        """Have our deadline pass; Stripe is about to be asked to cancel."""
        may = self.status in {*UNPAID, "requires_capture"} and not self.expires
        self.expires = True
        return may and self.tell(("expire", self.number, 0, self.second))

    def sync(self) -> bool:
        return self.tell(self.snap_all(), "intent", *self.moves)

    # Refunds.

    def refund(self) -> bool:
        return self._refund("re_1", 700, status="succeeded")

    def refund_pending(self) -> bool:
        return self._refund("re_1", 700, status="pending")

    def refund_rest(self) -> bool:
        return self._refund("re_2", self.received - self.refunded - self.lost, status="succeeded")

    def refund_succeeds(self) -> bool:
        return self._end_refund("re_1", "succeeded", of={"pending"})

    def refund_fails(self) -> bool:
        return self._end_refund("re_1", "failed", of={"pending", "succeeded"})

    def refund_is_canceled(self) -> bool:
        return self._end_refund("re_1", "canceled", of={"pending"})

    def other_refund_fails(self) -> bool:
        return self._end_refund("re_2", "failed", of={"succeeded"})

    # Disputes.

    def dispute(self) -> bool:
        return self._dispute("dp_1", 1800, status="needs_response")

    def inquire(self) -> bool:
        return self._dispute("dp_1", 1800, status="warning_needs_response")

    def dispute_rest(self) -> bool:
        return self._dispute("dp_2", 200, status="needs_response")

    def dispute_in_other_currency(self) -> bool:
        return self._dispute("dp_2", 200, status="needs_response", currency="eur")

    def escalate(self) -> bool:
        return self._go_on("dp_1", "needs_response", of={"warning_needs_response"}, moves=True)

    def close_inquiry(self) -> bool:
        return self._go_on("dp_1", "warning_closed", of={"warning_needs_response"})

    def answer_dispute(self) -> bool:
        return self._go_on("dp_1", "under_review", of={"needs_response"})

    def lose(self) -> bool:
        return self._go_on("dp_1", "lost", of={"needs_response", "under_review", "appeal_under_review"})

    def win(self) -> bool:
        of = {"needs_response", "under_review", "appeal_needs_response", "appeal_under_review"}
        return self._go_on("dp_1", "won", of=of, moves=True)

    def appeal(self) -> bool:
        return self._go_on("dp_1", "appeal_under_review", of={"lost"})

    def reopen(self) -> bool:
        return self._go_on("dp_1", "needs_response", of={"won", "warning_closed"}, moves=True)

    def lose_other(self) -> bool:
        return self._go_on("dp_2", "lost", of={"needs_response"})

    def _count(self) -> str:
        self.attempts += 1
        return f"declined_{self.attempts}"

    def _change(
        self, status: str, *, failure: str = "", received: int = 0, capturable: int = 0, reason: str = ""
    ) -> bool:
        self.status, self.failure, self.reason = status, failure, reason
        self.received, self.capturable = received, capturable
        return self.tell(self.snap_intent(), "intent")

    def _capture(self, amount: int) -> bool:
        if self.status != "requires_capture":
            return False
        self.move("intent", "is paid")
        return self._change("succeeded", received=amount)

    def _refund(self, name: str, amount: int, *, status: str) -> bool:
        blocked = any(self._holds_money(each) for each in self.disputes.values())
        left = self.received - self.refunded - self.lost
        if name in self.refunds or self.status != "succeeded" or blocked or not 0 < amount <= left:
            return False
        self.refunds[name] = RefundSnapshot(
            id=name,
            as_of=self.second,
            created=self.second,
            status=status,
            amount=amount,
            currency="usd",
            reason="",
            failure_reason="",
            payment_intent_id=self.intent_id,
            charge_id=self.charge_id,
            refund_uuid="",
        )
        self.move(name, "is made")
        self.tell(self.refunds[name], name)
        # The charge's total names no refund, so that it alone doesn't say what to ask the books for.
        return self.tell(self.snap_charge(whole=False))

    def _end_refund(self, name: str, status: str, *, of: set[str]) -> bool:
        known = self.refunds.get(name)
        if known is None or known.status not in of:
            return False
        if status in DEAD:
            self.move(name, "comes back")
        why = "unknown" if status == "failed" else ""
        self.refunds[name] = replace(known, as_of=self.second, status=status, failure_reason=why)
        return self.tell(self.refunds[name], name)

    def _holds_money(self, dispute: DisputeSnapshot) -> bool:
        return dispute.status in {"needs_response", "under_review", "appeal_under_review"}

    def _dispute(self, name: str, amount: int, *, status: str, currency: str = "usd") -> bool:
        if name in self.disputes or self.status != "succeeded":
            return False
        self.disputes[name] = DisputeSnapshot(
            id=name,
            as_of=self.second,
            created=self.second,
            status=status,
            amount=amount,
            currency=currency,
            reason="general",
            evidence_due_by=0,
            livemode=False,
            payment_intent_id=self.intent_id,
        )
        if status == "needs_response":
            self.move(name, "is withdrawn")
        return self.tell(self.disputes[name], name)

    def _go_on(self, name: str, status: str, *, of: set[str], moves: bool = False) -> bool:
        known = self.disputes.get(name)
        if known is None or known.status not in of:
            return False
        if moves:
            self.move(name, f"is {status}")
        self.disputes[name] = replace(known, as_of=self.second, status=status)
        return self.tell(self.disputes[name], name)
