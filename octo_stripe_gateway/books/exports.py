"""The books as CSV, line by line: payments, or each movement of money in Stripe's balance.

Amounts are Stripe's integers in the minor unit, times are UTC, and the names of columns are not translated.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.utils import timezone

from octo_stripe_gateway.models import BalanceTransaction, Payment
from octo_stripe_gateway.models.batches import iterate_batches
from octo_stripe_gateway.stripe.currencies import get_precision
from octo_stripe_gateway.stripe.times import format_utc

# What spreadsheets take for the beginning of a formula, the wide forms of Asian keyboards included.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")

M = TypeVar("M", bound=Model)
# Columns that are not just the payment's attribute of their name.
READERS: dict[str, Callable[[Payment], Any]] = {
    "payment": lambda payment: str(payment.uuid),
    "payable_type": lambda payment: (
        payment.payable_type_id
        and ".".join(ContentType.objects.get_for_id(payment.payable_type_id).natural_key())
    ),
    "payment_intent": lambda payment: payment.stripe_payment_intent_id,
    "charge": lambda payment: payment.stripe_charge_id,
    "utc_created_at": lambda payment: payment.created_at,
    "utc_confirmed_at": lambda payment: payment.confirmed_at,
    "utc_refunded_at": lambda payment: payment.refunded_at,
    "decimals": lambda payment: get_precision(payment.currency),
    "settlement_decimals": lambda payment: (
        get_precision(payment.settlement_currency) if payment.settlement_currency else None
    ),
    "exchange_rate": lambda payment: _trim(payment.exchange_rate),
}
ABOUT_PAYMENT = (
    "payment reseller_reference owner payable_type payable_id purpose payment_intent charge account"
    " stripe_account livemode".split()
)
PAYMENT_COLUMNS = (
    "utc_created_at utc_confirmed_at utc_refunded_at status amount amount_received amount_refunded"
    " amount_lost currency decimals fee net settlement_currency settlement_decimals exchange_rate card_brand"
    " card_last4 receipt_url".split()
) + ABOUT_PAYMENT
MOVEMENT_COLUMNS = (
    "utc_moved_at utc_available_at kind category amount value currency exchange_rate balance_transaction"
    " source".split()
) + ABOUT_PAYMENT


def export_payments(payments: QuerySet[Payment]) -> Iterator[str]:
    """Yield a line for each payment, the oldest first, after a line of the columns' names."""
    yield _write(PAYMENT_COLUMNS)
    for payment in _iterate(payments, by="created_at"):
        yield _write(_read(payment, PAYMENT_COLUMNS))


def export_movements_of(payments: QuerySet[Payment]) -> Iterator[str]:
    """Yield the movements of money of these payments, those of the oldest first."""
    yield _write(MOVEMENT_COLUMNS)
    for keys in iterate_batches(payments, by="created_at"):
        rows = BalanceTransaction.objects.using(payments.db).filter(payment__in=keys)
        for row in rows.select_related("payment").order_by("moved_at", "pk"):
            yield from _write_movement(row)


def export_movements(rows: QuerySet[BalanceTransaction]) -> Iterator[str]:
    """Yield these movements of money, the oldest first: together they are what Stripe's balance did.

    What Stripe kept is a line of its own, of the kind `fee`, so that the amounts of a day add up to its net.
    """
    yield _write(MOVEMENT_COLUMNS)
    for row in _iterate(rows.select_related("payment"), by="moved_at"):
        yield from _write_movement(row)


def _write_movement(row: BalanceTransaction) -> Iterator[str]:
    for kind, amount in ((row.kind, row.amount), ("fee", -row.fee)):
        if amount or kind != "fee":
            yield _write(
                (
                    row.moved_at,
                    row.available_at,
                    kind,
                    row.reporting_category,
                    amount,
                    Decimal(amount).scaleb(-get_precision(row.currency)),
                    row.currency,
                    _trim(row.exchange_rate),
                    row.stripe_balance_transaction_id,
                    row.source_id,
                    *_read(row.payment, ABOUT_PAYMENT),
                )
            )


def _iterate(rows: QuerySet[M], *, by: str) -> Iterator[M]:
    """Yield rows in the order of an indexed column, a batch at a time."""
    for keys in iterate_batches(rows, by=by):
        found = rows.order_by().in_bulk(keys)
        yield from (found[key] for key in keys if key in found)


def _read(payment: Payment, columns: list[str]) -> Iterator[Any]:
    for name in columns:
        yield READERS[name](payment) if name in READERS else getattr(payment, name)


def _trim(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else rate.normalize()


def _write(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([_show(value) for value in values])
    return line.getvalue()


def _show(value: Any) -> str:
    """Return what a cell holds; a text that a spreadsheet would run as a formula is quoted as one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return format_utc(value if timezone.is_aware(value) else timezone.make_aware(value)) or ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    text = str(value)
    is_formula = isinstance(value, str) and text.lstrip(" ").startswith(FORMULA_SIGNS)
    return f"'{text}" if is_formula else text
