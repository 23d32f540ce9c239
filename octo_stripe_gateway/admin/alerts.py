"""What the admin's index tells operators to look at: how much there is of it, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin.sites import all_sites
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.display import get_url
from octo_stripe_gateway.ledger.concerns import KINDS
from octo_stripe_gateway.models import Concern, PayableLock, Payment

# The index opens often, so nothing is counted beyond this.
MOST_COUNTED = 1000
# The list's query, what it shows, how many there are of it, and whether there are more.
Counted = Iterator[tuple[str, Any, int, bool]]


class Alert(NamedTuple):
    """A line on the admin's index: what there is to look at, how much of it, and the list of it."""

    text: str
    number: str
    url: str


def get_alerts(request: HttpRequest) -> Iterator[Alert]:
    """Yield what there is to look at among the rows that the user may view in this admin."""
    name = getattr(request, "current_app", "admin")
    admins = [each for site in all_sites if site.name == name for each in site._registry.values()]
    for model, count in (
        (Concern, _count_concerns),
        (Payment, _count_disputed),
        (PayableLock, _count_overdue),
    ):
        for each in admins:
            if each.opts.concrete_model is not model or not each.has_view_permission(request):
                continue
            url = get_url(each.model, "changelist", site=each.admin_site)
            for query, label, number, is_capped in count(each.get_queryset(request)):
                text = f"{capfirst(each.opts.verbose_name_plural)}: {label}"
                yield Alert(text, f"{min(number, MOST_COUNTED)}{'+' if is_capped else ''}", f"{url}?{query}")


def _count_concerns(rows: Any) -> Counted:
    codes = Counter(rows.open().order_by("code").values_list("code", flat=True)[: MOST_COUNTED + 1])
    for code, kind in KINDS.items():
        if codes[code]:
            yield f"code={code}", kind.label, codes[code], codes.total() > MOST_COUNTED


def _count_disputed(rows: Any) -> Counted:
    if number := rows.filter(disputed=True)[: MOST_COUNTED + 1].count():
        yield "attention=disputed", _("Disputed"), number, number > MOST_COUNTED


def _count_overdue(rows: Any) -> Counted:
    # In the order of the index that has these rows alone.
    overdue = rows.overdue(now=timezone.now()).order_by("next_due_at")
    if number := overdue[: MOST_COUNTED + 1].count():
        yield "attention=overdue", _("Overdue"), number, number > MOST_COUNTED
