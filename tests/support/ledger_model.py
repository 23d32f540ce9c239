"""The ledger for the checker: the app's own rules over rows in memory, the managers stubbed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

from django.db.models import Model
from django.db.models.base import ModelState

from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.models import Dispute, PayableLock, Payment, PaymentChange, Refund
from octo_stripe_gateway.services import acceptance, ledger
from octo_stripe_gateway.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

# One payment with its refunds and disputes, each row as the tuple of its columns.
Rows = tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...], tuple[tuple[Any, ...], ...]]
# The payments of one payable.
State = tuple[Rows, ...]

PAYMENT_COLUMNS = tuple(
    field.attname
    for field in Payment._meta.concrete_fields
    if field.attname not in {"uuid", "metadata", "rejection_parameters", "created_at", "updated_at"}
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
        self.loaded: list[tuple[Payment, list[Refund], list[Dispute]]] = []

    def make(self, number: int = 1, **columns: Any) -> Rows:
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
        return _freeze(payment, PAYMENT_COLUMNS), (), ()

    def apply(self, state: State, fact: Any) -> State:
        self.loaded = [_load(rows) for rows in state]
        payment = self.loaded[_get_number(fact) - 1][0]
        match fact:
            case PaymentIntentSnapshot():
                ledger.apply_payment_intent(payment, fact)
            case ChargeSnapshot():
                ledger.apply_charge(payment, fact)
            case RefundSnapshot():
                ledger.apply_refund(payment, fact)
            case DisputeSnapshot():
                ledger.apply_dispute(payment, fact)
            case ("expire", *_):
                with ledger.saving_changes(payment):
                    payment.is_expiring = True
            case ("request", _, amount):
                with ledger.saving_changes(payment):
                    payment.amount_requested = amount
        return tuple(
            (
                _freeze(payment, PAYMENT_COLUMNS),
                tuple(_freeze(each, REFUND_COLUMNS) for each in sorted(refunds, key=lambda row: row.pk)),
                tuple(_freeze(each, DISPUTE_COLUMNS) for each in sorted(disputes, key=lambda row: row.pk)),
            )
            for payment, refunds, disputes in self.loaded
        )

    @contextmanager
    def stubbed(self) -> Iterator[None]:
        """Replace what would ask the database."""

        def insert(row: Any, **_options: Any) -> bool:
            if isinstance(row, PaymentChange):
                return True
            rows: Any = self._find(row.payment_id)[1 if isinstance(row, Refund) else 2]
            # The key depends on the row, so that no order shows in it.
            name: Any = row.stripe_refund_id if isinstance(row, Refund) else row.stripe_dispute_id
            row.pk = int(name[3:])
            row._state.adding = False
            rows.append(row)
            return True

        stubs: list[Any] = [
            patch.object(Refund.ledger, "list_of", lambda payment: list(self._find(payment.pk)[1])),
            patch.object(Dispute.ledger, "list_by", lambda *, payment_id: list(self._find(payment_id)[2])),
            *(patch.object(model.ledger, "insert", insert) for model in (Refund, Dispute, PaymentChange)),
            *(
                patch.object(model.ledger, "save_changed", lambda _row, **_names: None)
                for model in (Payment, Refund, Dispute)
            ),
            patch.object(Payment.ledger, "list_of_payable", lambda _payable: [row[0] for row in self.loaded]),
            patch.object(PayableLock.ledger, "hold", lambda _payable: _Lock()),
            patch.object(Payment, "payable", property(lambda _payment: self.payable)),
            patch.object(acceptance, "calling_host", nullcontext),
            patch("django.db.transaction.on_commit", lambda *_args, **_options: None),
            patch("django.utils.timezone.now", lambda: NOW),
            patch.object(ledger.logger, "error", lambda *_args: None),
            patch.object(ledger.logger, "warning", lambda *_args: None),
        ]
        with ExitStack() as stack:
            for stub in stubs:
                stack.enter_context(stub)
            yield

    def _find(self, key: int) -> tuple[Payment, list[Refund], list[Dispute]]:
        return next(rows for rows in self.loaded if rows[0].pk == key)


class _Lock:
    def record(self, balance: Any) -> None:
        pass


def get(rows: Rows, name: str) -> Any:
    """Return a column of a frozen payment."""
    return rows[0][PAYMENT_COLUMNS.index(name)]


def change(rows: Rows, **columns: Any) -> Rows:
    """Return a frozen payment with other columns."""
    values = dict(zip(PAYMENT_COLUMNS, rows[0], strict=True)) | columns
    return tuple(values[name] for name in PAYMENT_COLUMNS), rows[1], rows[2]


def thaw(rows: Rows) -> tuple[Payment, list[Refund], list[Dispute]]:
    """Return the rows themselves."""
    return _load(rows)


def _get_number(fact: Any) -> int:
    if isinstance(fact, tuple):
        return int(fact[1])
    intent_id = fact.id if isinstance(fact, PaymentIntentSnapshot) else fact.payment_intent_id
    return int(intent_id[3:])


def _freeze(row: Model, names: Sequence[str]) -> tuple[Any, ...]:
    values = row.__dict__
    return tuple(values[name] for name in names)


def _revive(model: Any, names: Sequence[str], values: tuple[Any, ...], **others: Any) -> Any:
    row = model.__new__(model)
    row.__dict__.update(zip(names, values, strict=True))
    row.__dict__.update(others, _state=ModelState(), created_at=NOW, updated_at=NOW)
    row._state.adding = False
    return row


def _load(rows: Rows) -> tuple[Payment, list[Refund], list[Dispute]]:
    payment = _revive(
        Payment,
        PAYMENT_COLUMNS,
        rows[0],
        uuid="00000000-0000-4000-8000-000000000000",
        metadata={},
        rejection_parameters={},
    )
    refunds = [_revive(Refund, REFUND_COLUMNS, values, uuid="") for values in rows[1]]
    disputes = [_revive(Dispute, DISPUTE_COLUMNS, values) for values in rows[2]]
    for each in (*refunds, *disputes):
        each._state.fields_cache["payment"] = payment
    return payment, refunds, disputes
