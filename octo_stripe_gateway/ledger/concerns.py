"""The concerns there are, in words, and those that belong to no payment; `Rows` has a payment's.

To add one, add its kind here, and open it in the rule or service that finds it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.ledger.words import fill_in
from octo_stripe_gateway.models import Concern
from octo_stripe_gateway.models.concerns import ConcernQuerySet

KINDS: dict[str, Kind] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of concern: its code, which is stored, and what an operator reads.

    `sentence` names the parameters, `action` says what to do. A kind that `blocks_refunds` stops automatic
    refunds while it is open; one that `ends_refunds` stops them for good once a person has settled it.
    Whoever asks for a refund still gets one. A kind that `is_loss` is settled with the amount that was lost.
    """

    code: str
    label: Any
    sentence: Any
    action: Any
    blocks_refunds: bool = False
    ends_refunds: bool = False
    is_loss: bool = False

    def __post_init__(self) -> None:
        KINDS[self.code] = self


COMPARE = _("Compare the payment with Stripe's dashboard.")
INTENT_DIFFERS = Kind(
    code="intent_differs",
    label=_("The payment intent differs"),
    sentence=_("Stripe's payment intent differs from the payment, and was not applied: %(differences)s."),
    action=COMPARE,
)
CHARGE_DIFFERS = Kind(
    code="charge_differs",
    label=_("A charge differs"),
    sentence=_("Stripe's charge differs from the payment, and was not applied: %(differences)s."),
    action=COMPARE,
)
REFUND_DIFFERS = Kind(
    code="refund_differs",
    label=_("A refund differs"),
    sentence=_("Stripe's refund differs from the payment, and was not applied: %(differences)s."),
    action=COMPARE,
)
DISPUTE_DIFFERS = Kind(
    code="dispute_differs",
    label=_("A dispute differs"),
    sentence=_("Stripe's dispute differs from the payment, and was not applied: %(differences)s."),
    action=COMPARE,
)
FRAUD_WARNING_DIFFERS = Kind(
    code="fraud_warning_differs",
    label=_("A fraud warning differs"),
    sentence=_("Stripe's fraud warning differs from the payment, and was not applied: %(differences)s."),
    action=COMPARE,
)

EVENT_OF_ANOTHER = Kind(
    code="event_of_another",
    label=_("An event of another account or mode"),
    sentence=_("Event %(event)s is of another account or mode, and was not applied."),
    action=_("See which account and mode the webhook endpoint belongs to."),
)
MONEY_BEYOND_ROW = Kind(
    code="money_beyond_row",
    label=_("Another amount was paid"),
    sentence=_("%(seen)s was paid where %(amount)s was asked for."),
    action=_("Keep it, or refund it."),
)
REFUND_FAILED = Kind(
    code="refund_failed",
    label=_("A refund failed"),
    sentence=_("A refund of %(amount)s failed (%(failure_reason)s): the customer does not have the money."),
    action=_("Refund it again, or pay the customer another way."),
    blocks_refunds=True,
    ends_refunds=True,
)
REFUND_CANCELED = Kind(
    code="refund_canceled",
    label=_("A refund was canceled"),
    sentence=_("A refund of %(amount)s was canceled (%(failure_reason)s)."),
    action=_("See whether the customer's bank has given the money back; otherwise refund it again."),
    blocks_refunds=True,
    ends_refunds=True,
)
REVERSAL_REFUSED = Kind(
    code="reversal_refused",
    label=_("Rejected, and Stripe refused the refund"),
    sentence=_("The payment was rejected, and Stripe refused to refund it: %(message)s"),
    action=_("Refund it by hand, or pay the customer another way."),
    blocks_refunds=True,
    ends_refunds=True,
)
REFUND_MADE_ELSEWHERE = Kind(
    code="refund_made_elsewhere",
    label=_("Refunded at Stripe meanwhile"),
    sentence=_("A refund was not repeated: its amount was refunded at Stripe meanwhile."),
    action=_("See that the customer has the money once."),
)
FRAUD_WARNED = Kind(
    code="fraud_warned",
    label=_("A warning of fraud"),
    sentence=_("The card's bank warns of fraud (%(fraud_type)s): a refund now avoids most disputes."),
    action=_("Refund the payment, or keep it where you know the customer."),
)
FRAUD_REFUND_REFUSED = Kind(
    code="fraud_refund_refused",
    label=_("A warning of fraud, and Stripe refused the refund"),
    sentence=_("The card's bank warns of fraud, and Stripe refused the refund: %(message)s"),
    action=_("Refund it by hand, or keep it where you know the customer."),
    blocks_refunds=True,
    ends_refunds=True,
)
LOSS_IN_OTHER_CURRENCY = Kind(
    code="loss_in_other_currency",
    label=_("A dispute was lost in another currency"),
    sentence=_("A dispute over %(amount)s was lost, which is not the payment's currency."),
    action=_("Settle it with the amount that was lost in the payment's currency."),
    blocks_refunds=True,
    ends_refunds=True,
    is_loss=True,
)
PAYABLE_UNKNOWN = Kind(
    code="payable_unknown",
    label=_("What was paid for is unknown"),
    sentence=_("What was paid for is not in the database: %(name)s."),
    action=_("Find out what was paid for, or refund the payment."),
)

MONEY_HELD = Kind(
    code="money_held",
    label=_("Rejected, and the money is still held"),
    sentence=_("The payment was rejected, and %(amount)s could not be sent back yet."),
    action=_("See on the timeline why. It is tried again until it succeeds or you settle this."),
    ends_refunds=True,
)
EVENT_FAILED = Kind(
    code="event_failed",
    label=_("An event failed"),
    sentence=_("%(type)s could not be processed: %(error)s: %(message)s"),
    action=_("Mend the cause. The event is processed again by itself, or at once from its page."),
)
REFUND_REFUSED = Kind(
    code="refund_refused",
    label=_("A part of a refund was refused"),
    sentence=_("%(amount)s could not be refunded: %(message)s The other payments for the same are refunded."),
    action=_("Refund it again once that is mended, or pay the customer another way and settle this."),
)
PAYABLE_OVERPAID = Kind(
    code="payable_overpaid",
    label=_("More is held than the price"),
    sentence=_("%(amount)s more is held for %(name)s than it costs, or than its cancellation terms keep."),
    action=_("See why on its payments, and refund it, or pay the customer another way and settle this."),
)
PAYABLE_UNAVAILABLE = Kind(
    code="payable_unavailable",
    label=_("What was paid for can't be looked up"),
    sentence=_("%(type)s waits, since what the payment is for can't be looked up: %(error)s: %(message)s"),
    action=_("See that its app is installed here and its table can be read. It is tried again by itself."),
)
PAYMENT_UNKNOWN = Kind(
    code="payment_unknown",
    label=_("Paid at Stripe, and not on record here"),
    sentence=_("Stripe says that %(payment_intent)s of ours is paid, and there is no row for it."),
    action=_("A backup was restored, or the last commits before a failover are lost: run `recover_ledger`."),
)
ENDPOINT_OUTDATED = Kind(
    code="endpoint_outdated",
    label=_("The endpoint's API version is too old"),
    sentence=_("The endpoint's API version %(version)s is too old to tell refunds rightly."),
    action=_("Run `stripe_setup`; until then each such event costs a call to Stripe."),
)
ADOPTED = Kind(
    code="adopted",
    label=_("Adopted, and to be decided on"),
    sentence=_("The payment was found at Stripe, and its money does not count yet. It names %(name)s."),
    action=_("Confirm the adoption if the money is for that, or refund the payment."),
    blocks_refunds=True,
)
OPEN_ELSEWHERE = Kind(
    code="open_elsewhere",
    label=_("Replaced, and can't be canceled"),
    sentence=_("Another payment has replaced this one, whose account can't be asked to cancel it any more."),
    action=_("Cancel it in the dashboard of that account; if it is paid, refund it there."),
)
INTENT_UNPROVEN = Kind(
    code="intent_unproven",
    label=_("Not provably ours"),
    sentence=_("A payment intent of %(account)s has our metadata, and no signature of ours."),
    action=_("Find out who made it: adopt it for what it paid for, or refund it in Stripe's dashboard."),
)


def get_kind_label(code: str) -> str:
    """Return what an operator calls a code; one that is gone is its own name."""
    return str(KINDS[code].label) if code in KINDS else code


def get_action(code: str) -> str:
    """Return what an operator does about a code, in the active language; empty for one that is gone."""
    return str(KINDS[code].action) if code in KINDS else ""


def describe(code: str, parameters: dict[str, Any], *, currency: str = "") -> str:
    """Return a code's sentence with its parameters, in the active language."""
    return fill_in(KINDS[code].sentence, parameters, currency=currency) if code in KINDS else code


def describe_concern(concern: Concern) -> str:
    """Return what an operator has to look at, in the active language."""
    currency = concern.payment.currency if concern.payment else ""
    return describe(concern.code, concern.parameters, currency=currency)


FOUND_LATE = Kind(
    code="found_late",
    label=_("Found by reconciliation"),
    sentence=_("No event told of it, and reconciliation found it at Stripe: %(differences)s."),
    action=_("See in Stripe's dashboard, Developers, Webhooks, what its deliveries are answered with."),
)
MOVED_UNNOTICED = Kind(
    code="moved_unnoticed",
    label=_("Money moved unnoticed"),
    sentence=_("No event told of %(movement)s, which reconciliation found in Stripe's balance."),
    action=_("See in Stripe's dashboard what it is, and why no event told of it."),
)
UNKNOWN_HERE = Kind(
    code="unknown_here",
    label=_("At Stripe, and not here"),
    sentence=_("Stripe has %(object)s of ours, which has no row here."),
    action=_("Run `reconcile_payments` for the time that it is of, with `--adopt`."),
)
UNKNOWN_AT_STRIPE = Kind(
    code="unknown_at_stripe",
    label=_("Here, and not at Stripe"),
    sentence=_("Stripe doesn't know %(object)s of this payment's account."),
    action=_("See whether the keys are still those of the account that took it."),
)


def block_refunds(concerns: Sequence[Concern]) -> bool:
    """Tell whether nothing may be refunded automatically, because of what is open or a person settled."""
    known = ((each, KINDS[each.code]) for each in concerns if each.code in KINDS)
    return any(
        kind.blocks_refunds if each.is_open else kind.ends_refunds and each.was_settled_by_person
        for each, kind in known
    )


def report_concern(kind: Kind, /, *, object_id: str, **parameters: Any) -> None:
    """Open a concern that belongs to no payment, in the caller's transaction, or bring the open one to this.

    What a person has settled stays settled, as with a payment's.
    """
    latest = _list_reported(kind, object_id=object_id).last()
    if latest and latest.parameters == parameters and (latest.is_open or latest.was_settled_by_person):
        return
    if latest and latest.is_open:
        latest.parameters = parameters
        Concern.ledger.save_changed(latest, names=["parameters"])
        return
    opened = Concern(code=kind.code, object_id=object_id, parameters=parameters, opened_at=timezone.now())
    # Somebody else may report it at the same time.
    Concern.ledger.insert(opened, or_ignore=True)


def end_reported(*kinds: Kind, object_id: str) -> None:
    """End the open concerns of these kinds about an object, in the caller's transaction."""
    for kind in kinds:
        _list_reported(kind, object_id=object_id).open().update(settled_at=timezone.now())


def _list_reported(kind: Kind, *, object_id: str) -> ConcernQuerySet:
    rows = Concern.ledger.filter(payment=None, code=kind.code, object_id=object_id)
    return rows.order_by("pk")
