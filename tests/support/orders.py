"""Closes over (events delivered, state of the ledger): one pass covers every order, with any repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.stripe.snapshots import CLOSED_DISPUTES, PaymentIntentSnapshot
from tests.support.ledger_model import (
    PAYMENT_COLUMNS,
    Frozen,
    LedgerModel,
    State,
    change,
    get,
    list_open_concerns,
    thaw,
)
from tests.support.stripe_model import Event, StripeModel

# These columns say when something was done here, or are planned; everything else is Stripe's.
BY_ARRIVAL = frozenset(
    "next_check_at checks next_booking_at bookings failed_at refunded_at accepted_at authorized_at tied_as_of"
    # Of two bank debits of one intent, only a sync tells when the second began.
    " has_concerns paid_as_of".split()
)
# What follows from the host's last word, which is given once, on what is known by then.
BY_HOST = frozenset("status rejection_code confirmed_at amount".split())
COMPARED = tuple(place for place, name in enumerate(PAYMENT_COLUMNS) if name not in BY_ARRIVAL)
COMPARED_WITH_HOST = tuple(place for place in COMPARED if PAYMENT_COLUMNS[place] not in BY_HOST)

# By the events delivered, as a bit mask: the states that the ledger can be in.
Nodes = dict[int, frozenset[int]]


class BrokenRuleError(AssertionError):
    """A history after which something is wrong."""


@dataclass(frozen=True)
class Story:
    """What has happened at Stripe, by verb, and what it told."""

    stripes: tuple[StripeModel, ...]
    verbs: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    known_moves: frozenset[str] = frozenset()

    def get_moves(self, mask: int) -> frozenset[str]:
        """Return the movements that the seeded state and the events delivered have told of."""
        told = (event.moves for place, event in enumerate(self.events) if mask >> place & 1)
        return self.known_moves.union(*told)

    def shows_movement(self, event: Event, mask: int) -> bool:
        """Tell whether an event shows a movement that those delivered don't.

        Two that are equal, such as a dispute opened twice in a second, can't be told apart.
        """
        known = self.get_moves(mask)
        if event.moves <= known or not event.after <= known:
            return False
        delivered = (each.fact for place, each in enumerate(self.events) if mask >> place & 1)
        heard = {part for fact in delivered for part in _list_parts(fact)}
        names = tuple(_name_moves(part) for part in _list_parts(event.fact) if part in heard)
        return any(not move.startswith(names) for move in event.moves - known)


@dataclass
class Checker:
    """Explores every history of a family of verbs up to a depth, from a seeded state, in every order."""

    ledger: LedgerModel
    verbs: Sequence[str]
    depth: int
    has_host: bool = False
    states: list[State] = field(default_factory=list)
    numbers: dict[State, int] = field(default_factory=dict)
    applied: dict[tuple[int, Any], tuple[int, bool]] = field(default_factory=dict)
    ends: dict[tuple[int, Any], None] = field(default_factory=dict)
    stories: int = 0
    applications: int = 0

    def run(self, stripes: Sequence[StripeModel], state: State) -> None:
        """Raise BrokenRuleError with the first history that breaks a rule."""
        with self.ledger.stubbed():
            start = self._intern(state)
            moves = frozenset(move for each in stripes for moved in each.moves.values() for move in moved)
            self._explore(Story(tuple(stripes), known_moves=moves), {0: frozenset({start})}, depth=self.depth)

    def _explore(self, story: Story, nodes: Nodes, *, depth: int) -> None:
        if not depth:
            return
        for longer in self._continue(story):
            self.stories += 1
            found = self._deliver(longer, nodes, known=len(story.events))
            self._check_end(longer, found)
            self._explore(longer, found, depth=depth - 1)

    def _continue(self, story: Story) -> Iterator[Story]:
        """Yield the history with each verb that Stripe allows next, in the same second and in the next."""
        for verb in self.verbs:
            for place in range(len(story.stripes)):
                for seconds in (0, 1):
                    stripes = [each.copy() for each in story.stripes]
                    for each in stripes:
                        each.second += seconds
                    if not getattr(stripes[place], verb)():
                        break
                    name = f"{verb}{place + 1 if place else ''}{'' if seconds else ' (same second)'}"
                    told = tuple(stripes[place].told)
                    events = story.events + told
                    yield Story(tuple(stripes), (*story.verbs, name), events, story.known_moves)

    def _deliver(self, story: Story, nodes: Nodes, *, known: int) -> Nodes:
        """Return all nodes of a longer history; those without its new events are known."""
        found: dict[int, set[int]] = {mask: set(states) for mask, states in nodes.items()}
        events = story.events
        waiting = [(mask, state, known) for mask, states in nodes.items() for state in states]
        while waiting:
            mask, state, first = waiting.pop()
            for place in range(first, len(events)):
                event = events[place]
                if not _may_come(events, place, mask=mask):
                    continue
                after, has_noticed = self._apply(state, event.fact)
                bit = 1 << place
                if mask & bit and after != state and not self._is_same(after, state):
                    raise self._fail(story, mask, "an event that was applied changes something when repeated")
                if not (mask & bit or has_noticed) and story.shows_movement(event, mask):
                    raise self._fail(story, mask | bit, "a movement of money goes unnoticed")
                reached = found.setdefault(mask | bit, set())
                if after not in reached:
                    if reached and not self._is_same(after, next(iter(reached))):
                        message = "the order of events decides " + self._tell_difference(after, reached)
                        raise self._fail(story, mask | bit, message)
                    self._check_state(story, mask | bit, before=state, after=after)
                    reached.add(after)
                    waiting.append((mask | bit, after, 0))
        return {mask: frozenset(states) for mask, states in found.items()}

    def _apply(self, number: int, fact: Any) -> tuple[int, bool]:
        """Apply a fact after all that was known is booked; return the state, and whether to ask the books."""
        key = number, fact
        if key not in self.applied:
            self.applications += 1
            state = self.ledger.apply(self.states[number], fact)
            has_noticed = any(get(rows, "next_booking_at") for rows in state)
            state = tuple(change(rows, next_booking_at=None, bookings=0, checks=0) for rows in state)
            self.applied[key] = self._intern(state), has_noticed
        return self.applied[key]

    def _intern(self, state: State) -> int:
        if state not in self.numbers:
            self.numbers[state] = len(self.states)
            self.states.append(state)
        return self.numbers[state]

    def _is_same(self, one: int, other: int) -> bool:
        return self._compare(one) == self._compare(other)

    def _compare(self, number: int) -> list[Any]:
        places = COMPARED_WITH_HOST if self.has_host else COMPARED
        return [
            ([row[0][each] for each in places], *row[1:3], list_open_concerns(row))
            for row in self.states[number]
        ]

    def _tell_difference(self, number: int, reached: set[int]) -> str:
        one, other = self.states[number], self.states[next(iter(reached))]
        for mine, theirs in zip(one, other, strict=True):
            for place in COMPARED_WITH_HOST if self.has_host else COMPARED:
                if mine[0][place] != theirs[0][place]:
                    return f"{PAYMENT_COLUMNS[place]}: {mine[0][place]!r} or {theirs[0][place]!r}"
            if list_open_concerns(mine) != list_open_concerns(theirs):
                return f"concerns: {list_open_concerns(mine)} or {list_open_concerns(theirs)}"
        return "a refund or a dispute"

    def _check_state(self, story: Story, mask: int, *, before: int, after: int) -> None:
        for was, rows in zip(self.states[before], self.states[after], strict=True):
            received, refunded = get(rows, "amount_received"), get(rows, "amount_refunded")
            if not 0 <= refunded + get(rows, "amount_lost") <= received:
                raise self._fail(story, mask, "more is refunded and lost than was received")
            if get(rows, "accepted_at") and get(rows, "rejection_code"):
                raise self._fail(story, mask, "what was confirmed is sent back")
            if get(was, "intent_status") == "succeeded" != get(rows, "intent_status"):
                raise self._fail(story, mask, "what was paid is not paid any more")

    def _check_end(self, story: Story, nodes: Nodes) -> None:
        everything = (1 << len(story.events)) - 1
        for number in nodes.get(everything, ()):
            self._check_truth(story, everything, number)

    def _check_truth(self, story: Story, mask: int, number: int) -> None:
        state = self.states[number]
        wrong = [tell_untruth(stripe, rows) for stripe, rows in zip(story.stripes, state, strict=True)]
        if not all(is_synced_now(rows) for rows, why in zip(state, wrong, strict=True) if why):
            raise self._fail(story, mask, f"the end is not Stripe's truth: {wrong}")
        if self.has_host:
            self._check_decision(story, mask, state)
        for place, stripe in enumerate(story.stripes):
            later = stripe.copy()
            later.second += 1
            later.shown, later.has_told = later.amount, True
            later.is_shown_asked |= later.amount == later.asked
            number, _noticed = self._apply(number, later.snap_all())
            if why := tell_untruth(later, self.states[number][place]):
                raise self._fail(story, mask, f"a sync doesn't end at Stripe's truth: {why}")

    def _check_decision(self, story: Story, mask: int, state: State) -> None:
        payments = [thaw(rows)[0] for rows in state]
        if any(each.needs_acceptance for each in payments):
            raise self._fail(story, mask, "the host was not asked")
        if sum(bool(each.accepted_at) for each in payments) > 1:
            raise self._fail(story, mask, "two payments of one payable are accepted")

    def _fail(self, story: Story, mask: int, message: str) -> BrokenRuleError:
        told = [event.fact for place, event in enumerate(story.events) if mask >> place & 1]
        return BrokenRuleError(f"{message}\n{' → '.join(story.verbs)}\n" + "\n".join(map(str, told)))


def is_synced_now(rows: Frozen) -> bool:
    """Tell whether the payment is about to be asked about once more."""
    return bool(get(rows, "tied_as_of") and get(rows, "next_check_at"))


def tell_untruth(stripe: StripeModel, rows: Frozen) -> str:
    """Return how the ledger differs from Stripe, empty where it doesn't."""
    payment, refunds, disputes, _concerns = thaw(rows)
    statuses = {each.id: each.status for each in stripe.disputes.values()}
    lost = min(stripe.lost, stripe.received - stripe.refunded)
    expected: dict[str, Any] = {
        "intent_status": stripe.status if stripe.has_told else "",
        "is_declined": bool(stripe.failure),
        "intent_amount": stripe.shown if payment.intent_status else 0,
        "amount_received": stripe.received,
        "amount_capturable": stripe.capturable,
        "amount_refunded": stripe.refunded,
        "amount_lost": lost,
        "refunds": {each.id: each.status for each in stripe.refunds.values()},
        "disputes": statuses,
        "disputed": any(each not in CLOSED_DISPUTES for each in statuses.values()),
        "status": _get_status(stripe, payment),
        "awaits_amount": stripe.is_asked and not stripe.is_shown_asked,
    }
    known: dict[str, Any] = {name: getattr(payment, name, None) for name in expected} | {
        "is_declined": bool(payment.failure_code),
        "awaits_amount": payment.amount_requested is not None,
        "refunds": {each.stripe_refund_id: each.status for each in refunds},
        "disputes": {each.stripe_dispute_id: each.status for each in disputes},
    }
    return "; ".join(
        f"{name} is {known[name]!r}, not {value!r}"
        for name, value in expected.items()
        if known[name] != value
    )


def _get_status(stripe: StripeModel, payment: Payment) -> str:
    rejected = bool(payment.rejection_code)
    if stripe.status == "succeeded":
        if stripe.refunded >= stripe.received:
            return "refunded"
        return "failed" if rejected else "paid"
    if stripe.status == "requires_capture":
        return "failed" if rejected else "authorized"
    if stripe.status == "canceled":
        return "expired" if payment.is_expiring or stripe.reason == "automatic" else "canceled"
    return "failed" if stripe.failure else "pending"


def _list_parts(fact: Any) -> list[Any]:
    """Return what a fact says of each object."""
    if isinstance(fact, PaymentIntentSnapshot):
        return [replace(fact, charge=None, disputes=()), *fact.disputes]
    return [fact]


def _name_moves(fact: Any) -> str:
    """Return how the names of an object's movements begin."""
    return "intent " if isinstance(fact, PaymentIntentSnapshot) else f"{getattr(fact, 'id', '')} "


def _may_come(events: Sequence[Event], place: int, *, mask: int) -> bool:
    """Tell whether an event may be heard now: what we did ourselves came before, and comes only once."""
    event = events[place]
    if (event.is_own or event.is_answer) and mask >> place & 1:
        return False
    return all(
        mask >> before & 1
        for before in range(place)
        if events[before].is_own or (event.is_own and events[before].is_answer)
    )
