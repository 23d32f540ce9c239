"""The ledger for the checker: the app's own rules over rows in memory."""

from __future__ import annotations

import ast
import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

from django.db.models import JSONField, Model
from django.db.models.base import ModelState

from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.ledger.facts import AmountRequested, DeadlineKept
from octo_stripe_gateway.ledger.load import load
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import apply
from octo_stripe_gateway.models import Concern, Dispute, PayableLock, Payment, Refund
from octo_stripe_gateway.services import acceptance
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.stripe.snapshots import PaymentIntentSnapshot

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

Columns = tuple[Any, ...]
# One payment with its refunds, disputes and concerns, each row as the tuple of its columns.
Frozen = tuple[Columns, tuple[Columns, ...], tuple[Columns, ...], tuple[Columns, ...]]
# The payments of one payable.
State = tuple[Frozen, ...]
Loaded = tuple[Payment, list[Refund], list[Dispute], list[Concern]]

# What rules don't decide by: texts of the host's and of Stripe's, and moments of saving.
NOT_COMPARED = {"uuid", "created_at", "updated_at"}
JSON_COLUMNS = {field.attname for field in Payment._meta.concrete_fields if isinstance(field, JSONField)}
PAYMENT_COLUMNS = tuple(
    field.attname
    for field in Payment._meta.concrete_fields
    if field.attname not in NOT_COMPARED | JSON_COLUMNS
)
REFUND_COLUMNS = tuple(
    field.attname
    for field in Refund._meta.concrete_fields
    if field.attname not in {"uuid", "created_at", "updated_at"}
)
DISPUTE_COLUMNS = tuple(
    field.attname
    for field in Dispute._meta.concrete_fields
    if field.attname not in {"created_at", "updated_at"}
)


CONCERN_COLUMNS = tuple(field.attname for field in Concern._meta.concrete_fields)
PARAMETERS = CONCERN_COLUMNS.index("parameters")


class Payable:
    """What two payments are for; its host accepts or rejects."""

    pk = 1

    def __init__(self, *, rejects: bool = False) -> None:
        self.rejects = rejects

    def on_payment_completed(self, payment: Payment) -> None:
        if self.rejects:
            raise PaymentRejectedError("The tour is full.")


class PricedPayable(Payable):
    """A payable that says what it costs."""

    def get_payment_amount(self) -> tuple[int, str]:
        return 2000, "usd"


class LedgerModel:
    """Applies facts to states; without a payable there is no host."""

    def __init__(self, payable: Payable | None = None) -> None:
        self.payable = payable
        self.loaded: list[Loaded] = []

    def make(self, number: int = 1, **columns: Any) -> Frozen:
        payment = Payment(
            **{
                "id": number,
                "amount": 2000,
                "currency": "usd",
                "stripe_payment_intent_id": f"pi_{number}",
                "payable_type_id": 1 if self.payable else None,
                "payable_id": "1" if self.payable else None,
                "next_check_at": NOW,
                "created_at": NOW,
                "updated_at": NOW,
            }
            | columns
        )
        return _freeze(payment, [], [], [])

    def apply(self, state: State, fact: Any) -> State:
        """Return the state after a fact, and after the host's word where that is due."""
        self.loaded = [_load(rows) for rows in state]
        payment = self.loaded[_get_number(fact) - 1][0]
        fact, now = _make_own(fact)
        rows = load(payment, fact)
        apply(rows, fact, now=now)
        if payment.needs_acceptance or payment.needs_authorization:
            word = ask_host(payment, protected=nullcontext)
            assert word is not None
            apply(rows, word, now=NOW)
        self._keep(rows)
        return tuple(_freeze(*each) for each in self.loaded)

    @contextmanager
    def stubbed(self) -> Iterator[None]:
        """Replace what would ask the database."""
        stubs: list[Any] = [
            patch.object(Refund.ledger, "list_of", lambda payment: list(self._find(payment.pk)[1])),
            patch.object(Dispute.ledger, "list_by", lambda *, payment_id: list(self._find(payment_id)[2])),
            patch.object(Concern.ledger, "list_of", lambda payment: list(self._find(payment.pk)[3])),
            patch.object(Payment.ledger, "list_of_payable", lambda _payable: [row[0] for row in self.loaded]),
            patch.object(PayableLock.ledger, "hold", lambda _payable: _Lock()),
            patch.object(Payment, "payable", property(lambda _payment: self.payable)),
            patch.object(acceptance, "calling_host", nullcontext),
        ]
        with ExitStack() as stack:
            for stub in stubs:
                stack.enter_context(stub)
            yield

    def _keep(self, rows: Rows) -> None:
        """Keep new rows as the writer would; a key depends on the row, so that no order shows in it."""
        _payment, refunds, disputes, concerns = self._find(rows.payment.pk)
        refunds += [each for each in rows.refunds or () if each.pk is None]
        disputes += [each for each in rows.disputes or () if each.pk is None]
        concerns += [each for each in rows.concerns if each.pk is None]
        for refund in refunds:
            refund.pk = int((refund.stripe_refund_id or "")[3:])
        for dispute in disputes:
            dispute.pk = int(dispute.stripe_dispute_id[3:])
        for place, concern in enumerate(concerns):
            concern.pk = place + 1

    def _find(self, key: int) -> Loaded:
        return next(rows for rows in self.loaded if rows[0].pk == key)


class _Lock:
    amount_kept = None

    def record(self, balance: Any) -> None:
        pass


def get(rows: Frozen, name: str) -> Any:
    """Return a column of a frozen payment."""
    return rows[0][PAYMENT_COLUMNS.index(name)]


def change(rows: Frozen, **columns: Any) -> Frozen:
    """Return a frozen payment with other columns."""
    values = dict(zip(PAYMENT_COLUMNS, rows[0], strict=True)) | columns
    return tuple(values[name] for name in PAYMENT_COLUMNS), *rows[1:]


def thaw(rows: Frozen) -> Loaded:
    """Return the rows themselves."""
    return _load(rows)


def list_open_concerns(rows: Frozen) -> list[Columns]:
    """Return what an operator would see."""
    concerns = [dict(zip(CONCERN_COLUMNS, each, strict=True)) for each in rows[3]]
    return sorted(
        (each["code"], each["object_id"], each["parameters"]) for each in concerns if not each["settled_at"]
    )


def _make_own(fact: Any) -> tuple[Any, dt.datetime]:
    """Return a fact, and when it is heard of; what Stripe says may come at any time."""
    if type(fact) is not tuple:
        return fact, NOW
    name, _number, amount, second = fact
    own = AmountRequested(amount) if name == "request" else DeadlineKept(NOW, is_past=True)
    return own, dt.datetime.fromtimestamp(second, tz=dt.UTC)


def _get_number(fact: Any) -> int:
    if type(fact) is tuple:
        return int(fact[1])
    snapshot = getattr(fact, "snapshot", fact)
    intent_id = snapshot.id if isinstance(snapshot, PaymentIntentSnapshot) else snapshot.payment_intent_id
    return int(intent_id[3:])


def _freeze(
    payment: Payment, refunds: list[Refund], disputes: list[Dispute], concerns: list[Concern]
) -> Frozen:
    return (
        _read(payment, PAYMENT_COLUMNS),
        tuple(_read(each, REFUND_COLUMNS) for each in sorted(refunds, key=lambda row: row.pk)),
        tuple(_read(each, DISPUTE_COLUMNS) for each in sorted(disputes, key=lambda row: row.pk)),
        tuple(
            tuple(
                repr(value) if name == "parameters" else value
                for name, value in zip(CONCERN_COLUMNS, columns, strict=True)
            )
            for columns in (_read(each, CONCERN_COLUMNS) for each in concerns)
        ),
    )


def _read(row: Model, names: Sequence[str]) -> Columns:
    values = row.__dict__
    return tuple(values[name] for name in names)


def _revive(model: Any, names: Sequence[str], values: Columns, **others: Any) -> Any:
    row = model.__new__(model)
    row.__dict__.update(zip(names, values, strict=True))
    row.__dict__.update(others, _state=ModelState(), created_at=NOW, updated_at=NOW)
    row._state.adding = False
    return row


def _load(rows: Frozen) -> Loaded:
    payment = _revive(Payment, PAYMENT_COLUMNS, rows[0], uuid="", **{name: {} for name in JSON_COLUMNS})
    refunds = [_revive(Refund, REFUND_COLUMNS, values, uuid="") for values in rows[1]]
    disputes = [_revive(Dispute, DISPUTE_COLUMNS, values) for values in rows[2]]
    concerns = [_revive(Concern, CONCERN_COLUMNS, values) for values in rows[3]]
    for concern in concerns:
        concern.parameters = ast.literal_eval(concern.parameters)
    for each in (*refunds, *disputes, *concerns):
        each._state.fields_cache["payment"] = payment
    return payment, refunds, disputes, concerns
