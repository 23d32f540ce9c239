"""Charts of the books: what came in and went back in a period, and what is still owed."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.db import OperationalError
from django.db.models import DateField, QuerySet, Sum
from django.db.models.functions import Trunc
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import formats, timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.display import get_url
from octo_stripe_gateway.admin.lists import MOST_COUNTED, begin_day, time_limit
from octo_stripe_gateway.models import BalanceTransaction, DaySum, PayableLock, Payment, is_narrowed
from octo_stripe_gateway.models.balance_transactions import KINDS
from octo_stripe_gateway.stripe.currencies import format_money
from octo_stripe_gateway.stripe.times import get_day

# By how many days a period has, what a bar stands for.
PERIODS = {7: "day", 30: "day", 90: "day", 365: "month"}
FIRST_CHOICE = 30
SERIES = {"payment": _("Takings"), "refund": _("Refunds"), "dispute": _("Disputes")}
# The drawing's own units; the page stretches it.
HEIGHT, SLOT, BAR = 100.0, 10.0, 8.0


class Bar(NamedTuple):
    """One rectangle, what it says, and the list that it leads to."""

    series: str
    title: str
    url: str
    x: float
    y: float
    width: float
    height: float


class Picture(NamedTuple):
    """The chart of one currency, with its sums for people who don't see it."""

    currency: str
    sums: list[tuple[str, Any, str]]
    bars: list[Bar]
    width: float
    zero: float = HEIGHT


def show_pictures(request: HttpRequest, *, payments: QuerySet[Payment], site: AdminSite) -> HttpResponse:
    """Show the pictures of what these payments moved, to whoever may see them."""
    asked = request.GET.get("days", "")
    days = int(asked) if asked in map(str, PERIODS) else FIRST_CHOICE
    last = get_day(timezone.now())
    first = last - dt.timedelta(days=days - 1)
    is_daily = PERIODS[days] == "day"
    first = first if is_daily else first.replace(day=1)
    # The first day of each bar, and of the one after the last.
    starts = [first]
    while starts[-1] <= last:
        following = starts[-1] + dt.timedelta(days=1 if is_daily else 31)
        starts.append(following if is_daily else following.replace(day=1))
    # Real money and test money are never added up: the latest payment says which it is here.
    is_live = payments.order_by("-pk").values_list("livemode", flat=True).first()
    try:
        sums = _add_up(payments, first=first, kind=PERIODS[days], is_live=bool(is_live))
        pictures = [_draw(currency, sums[currency], starts=starts, site=site) for currency in sorted(sums)]
    except OperationalError:
        pictures = None
    context = {
        **site.each_context(request),
        "title": gettext("Pictures"),
        "opts": Payment._meta,
        "periods": [(each, each == days) for each in PERIODS],
        "first": first,
        "last": last,
        "is_test": is_live is False,
        "series": SERIES.items(),
        "pictures": pictures,
        "owed": list(_draw_owed(request, site=site)),
    }
    return TemplateResponse(request, "admin/octo_stripe_gateway/pictures.html", context)


def _add_up(
    payments: QuerySet[Payment], *, first: dt.date, kind: str, is_live: bool
) -> dict[str, Counter[tuple[dt.date, str]]]:
    """Return by currency what moved, by bar and series: from the days' sums where all payments are seen.

    Raises OperationalError where that takes too long.
    """
    named = ("start", "currency", "reporting_category")
    rows: Any = BalanceTransaction.objects.filter(moved_at__gte=begin_day(first), payment__livemode=is_live)
    zone = timezone.get_default_timezone()
    rows = rows.annotate(start=Trunc("moved_at", kind, output_field=DateField(), tzinfo=zone)).order_by()
    days: Any = DaySum.objects.filter(day__gte=first, livemode=is_live).annotate(start=Trunc("day", kind))
    is_whole = not is_narrowed(payments)
    rows = rows.filter(summed_at=None) if is_whole else rows.filter(payment__in=payments.order_by())
    moved = rows.values_list(*named).annotate(Sum("amount"))
    if is_whole:
        # In one statement, so that what upkeep adds to a sum meanwhile is read in one of the two.
        moved = moved.union(days.values_list(*named).annotate(Sum("total")), all=True)
    sums: defaultdict[str, Counter[tuple[dt.date, str]]] = defaultdict(Counter)
    with time_limit(moved.db):
        for start, currency, category, amount in moved:
            sums[currency][start, KINDS.get(category, category)] += amount
    return sums


def _draw(
    currency: str, amounts: Counter[tuple[dt.date, str]], *, starts: list[dt.date], site: AdminSite
) -> Picture:
    """Stack each day's amounts, what came in above the line and what went back below it."""
    up, down = (
        max(sum(max(0, sign * amounts[start, name]) for name in SERIES) for start in starts)
        for sign in (1, -1)
    )
    scale = HEIGHT / ((up + down) or 1)
    zero = up * scale
    bars = []
    for number, (start, following) in enumerate(pairwise(starts)):
        last = following - dt.timedelta(days=1)
        movements = get_url(BalanceTransaction, "changelist", site=site)
        url = movements and f"{movements}?moved_at__from={start}&moved_at__until={last}"
        top = bottom = zero
        for name, label in SERIES.items():
            amount = amounts[start, name]
            height = abs(amount) * scale
            if not amount:
                continue
            if amount > 0:
                y = top = top - height
            else:
                y, bottom = bottom, bottom + height
            shown = format_money(amount, currency=currency)
            day = (
                formats.date_format(start)
                if start == last
                else formats.date_format(start, "YEAR_MONTH_FORMAT")
            )
            bars.append(Bar(name, f"{day}: {label} {shown}", url, number * SLOT + 1, y, BAR, height))
    totals = [
        (name, label, format_money(sum(amounts[start, name] for start in starts), currency=currency))
        for name, label in SERIES.items()
    ]
    return Picture(currency.upper(), totals, bars, (len(starts) - 1) * SLOT, zero)


def _draw_owed(request: HttpRequest, *, site: AdminSite) -> Iterator[Picture]:
    """Yield by currency what is overdue and what is due later, counting those that are due first."""
    admin: Any = site._registry.get(PayableLock)
    if not (admin and admin.has_view_permission(request)):
        return
    now = timezone.now()
    rows = admin.get_queryset(request).filter(next_due_at__isnull=False).order_by("next_due_at")
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for currency, amount, due_at in rows.values_list("currency", "amount_due", "next_due_at")[:MOST_COUNTED]:
        sums[currency]["overdue" if due_at < now else "later"] += amount
    for currency, amounts in sorted(sums.items()):
        x, bars, totals = 0.0, [], []
        for name, label, query in (
            ("overdue", _("Overdue"), "attention=overdue"),
            ("later", _("Due later"), ""),
        ):
            shown = format_money(amounts[name], currency=currency)
            width = HEIGHT * amounts[name] / amounts.total()
            url = f"{get_url(PayableLock, 'changelist', site=site)}?{query}"
            bars.append(Bar(name, f"{label} {shown}", url, x, 0, width, SLOT))
            totals.append((name, label, shown))
            x += width
        yield Picture(currency.upper(), totals, [bar for bar in bars if bar.width], HEIGHT)
