"""Lists of many rows that stay fast, whatever PostgreSQL believes of the rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import connections, transaction
from django.db.models import BooleanField, Func, Lookup, Model, Q, QuerySet, Value
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, GreaterThanOrEqual, LessThan, LessThanOrEqual

if TYPE_CHECKING:
    from octo_stripe_gateway.models import Payment, PaymentQuerySet

M = TypeVar("M", bound=Model)

# How many rows are passed over for a page, at most, where no index has all that is asked for.
MOST_PASSED = 1000
# The columns that payments are listed by, the fewest rows first; each has an index, with moment and id.
PAYMENT_INDEXES = (
    ("payable_type_id", "payable_id"),
    ("reseller_reference",),
    ("owner", "status"),
    ("owner",),
    ("status",),
    (),
)
SPARSE = {"owner", "reseller_reference"}


def filter_by_index(rows: QuerySet[M], *, column: str, value: Any) -> QuerySet[M]:
    """Return rows with this value, the newest first, found by the index of the column and the id.

    PostgreSQL takes rows for evenly spread. Of a value that it believes common it walks the ids until it has
    a page full, which for a value that was common once means the whole table. In this order only the index
    will do; and as a range, because PostgreSQL drops a column from the order that equals something.
    """
    return rows.filter(**{f"{column}__gte": value, f"{column}__lte": value}).order_by(f"-{column}", "-pk")


class Place(NamedTuple):
    """Where a row is in a list that has the newest first."""

    created_at: dt.datetime
    pk: int


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The part of an index that a list shows: its first columns equal `values`, the moment and id follow.

    From the newest row down: created before `until` or after the row `below` in the list, and as far as
    `since` or the row `floor`, which is in it.
    """

    values: Mapping[str, Any]
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    below: Place | None = None
    floor: Place | None = None

    def find(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Return those of the rows that are in it, in its order.

        All columns are compared at once, which bounds the index at both ends, and the order begins with what
        is equal, which no other index has.
        """
        columns = (*self.values, "created_at", "id")
        for lookup, bound in (self._get_top(), self._get_bottom()):
            if bound:
                rows = rows.filter(lookup(_row(*columns[: len(bound)]), _row(*map(Value, bound))))
        # These indexes leave out what is empty, and are used only where that is said.
        for column in SPARSE & self.values.keys():
            rows = rows.exclude(**{column: ""})
        return rows.order_by(*(f"-{column}" for column in columns))

    def _get_top(self) -> tuple[type[Lookup[bool]], tuple[Any, ...]]:
        prefix = tuple(self.values.values())
        if self.below and (self.until is None or self.below.created_at < self.until):
            return LessThan, (*prefix, *self.below)
        return (LessThan, (*prefix, self.until)) if self.until else (LessThanOrEqual, prefix)

    def _get_bottom(self) -> tuple[type[Lookup[bool]], tuple[Any, ...]]:
        prefix, since = tuple(self.values.values()), (self.since,) if self.since else ()
        return GreaterThanOrEqual, (*prefix, *(self.floor or since))


def read_page(
    rows: QuerySet[M], stretch: Stretch, *, size: int, rest: Mapping[str, Any]
) -> tuple[list[M], Place | None]:
    """Return a page of what a stretch has, and the place from which the next goes on, None after the last.

    `rest` is what the rows have to equal besides. Only so many rows are passed over for that: then the page
    is shorter, or empty, and the next goes on.
    """
    if rows.query.where:
        # What a host's queryset leaves out, PostgreSQL may find by an index of the host's.
        return _read_page(rows, stretch, size=size, rest=rest)
    with index_order(rows.db):
        return _read_page(rows, stretch, size=size, rest=rest)


def read_payments(
    payments: PaymentQuerySet, *, equal: Mapping[str, Any], size: int, **bounds: Any
) -> tuple[list[Payment], Place | None]:
    """Return a page of payments, the newest first, and from where the next goes on, as `read_page` does.

    `equal` is what columns have to equal, and `bounds` are a Stretch's.
    """
    rows, owner = _split_owner(payments)
    rest = {**equal, **({} if owner is None else {"owner": owner})}
    index = next(each for each in PAYMENT_INDEXES if all(rest.get(column) for column in each))
    stretch = Stretch(values={column: rest.pop(column) for column in index}, **bounds)
    return read_page(rows, stretch, size=size, rest=rest)


def _split_owner(payments: PaymentQuerySet) -> tuple[PaymentQuerySet, str | None]:
    """Return these payments without the condition on the owner, and that owner, None without one."""
    rows = payments.all()
    where = rows.query.where
    owned: list[Any] = [each for each in where.children if _is_owner(each, model=rows.model)]
    if where.connector != Q.AND or where.negated or len(owned) != 1:
        return payments, None
    where.children = [each for each in where.children if each is not owned[0]]
    return rows, str(owned[0].rhs)


def _is_owner(condition: Any, *, model: type[Payment]) -> bool:
    column = getattr(condition, "lhs", None)
    is_own = isinstance(column, Col) and column.target is model._meta.get_field("owner")
    return is_own and isinstance(condition, Exact) and isinstance(condition.rhs, str)


def _find_floor(rows: QuerySet[M], stretch: Stretch) -> Place | None:
    all_rows = rows.model._base_manager.using(rows.db)
    places = stretch.find(all_rows).values_list("created_at", "id")
    last_and_following = list(places[MOST_PASSED - 1 : MOST_PASSED + 1])
    return Place(*last_and_following[0]) if len(last_and_following) > 1 else None


def _read_page(
    rows: QuerySet[M], stretch: Stretch, *, size: int, rest: Mapping[str, Any]
) -> tuple[list[M], Place | None]:
    floor = _find_floor(rows, stretch) if rest else None
    page = list(replace(stretch, floor=floor).find(rows.filter(**rest))[: size + 1])
    if len(page) > size:
        return page[:size], _get_place(page[size - 1])
    return page, floor


def _get_place(row: Any) -> Place:
    return Place(row.created_at, row.pk)


def _row(*columns: Any) -> Func:
    return Func(*columns, template="(%(expressions)s)", output_field=BooleanField())


@contextmanager
def index_order(alias: str) -> Iterator[None]:
    """Have PostgreSQL read rows in the order of an index, and not sort what it believes to be few."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    off = dict.fromkeys(("enable_sort", "enable_incremental_sort"), "off")
    is_within_another = not connection.get_autocommit()
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        before = _exchange(cursor, off)
        yield
        # Else it ends with the transaction.
        if is_within_another:
            _exchange(cursor, before)


def _exchange(cursor: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """Change settings until the transaction ends, and return what they were."""
    each = ", ".join("current_setting(%s), set_config(%s, %s, true)" for _name in settings)
    cursor.execute(f"SELECT {each}", [part for name in settings for part in (name, name, settings[name])])
    return dict(zip(settings, cursor.fetchone()[::2], strict=True))
