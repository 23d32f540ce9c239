"""What the admin's index tells operators to look at: how much there is of it, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin import ModelAdmin
from django.contrib.admin.sites import all_sites
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.ledger.concerns import KINDS
from octo_stripe_gateway.models import Concern, PayableLock, Payment

# The index opens often, so nothing is counted beyond this.
MOST_COUNTED = 1000


class Alert(NamedTuple):
    """A line on the admin's index: what there is to look at, how much of it, and the list of it."""

    text: str
    number: str
    url: str


def get_alerts(request: HttpRequest) -> Iterator[Alert]:
    """Yield what there is to look at among the rows that the user may view in this admin."""
    name = getattr(request, "current_app", "admin")
    for site in (site for site in all_sites if site.name == name):
        for model, find in (
            (Concern, _find_concerns),
            (Payment, _find_disputed),
            (PayableLock, _find_overdue),
        ):
            for registered, model_admin in site._registry.items():
                is_this = registered._meta.concrete_model is model
                if is_this and model_admin.has_view_permission(request):
                    yield from find(request, model_admin)


def _find_concerns(request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[Alert]:
    rows: Any = model_admin.get_queryset(request)
    codes = Counter(rows.open().order_by("code").values_list("code", flat=True)[: MOST_COUNTED + 1])
    is_capped = codes.total() > MOST_COUNTED
    for code, kind in KINDS.items():
        if codes[code]:
            yield _tell(model_admin, f"code={code}", kind.label, codes[code], is_capped=is_capped)


def _find_disputed(request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[Alert]:
    disputed = model_admin.get_queryset(request).filter(disputed=True)
    if number := disputed[: MOST_COUNTED + 1].count():
        yield _tell(model_admin, "attention=disputed", _("Disputed"), number)


def _find_overdue(request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[Alert]:
    rows: Any = model_admin.get_queryset(request)
    # In the order of the index that has these rows alone.
    overdue = rows.overdue(now=timezone.now()).order_by("next_due_at")
    if number := overdue[: MOST_COUNTED + 1].count():
        yield _tell(model_admin, "attention=overdue", _("Overdue"), number)


def _tell(
    model_admin: ModelAdmin[Any], query: str, label: Any, number: int, *, is_capped: bool = False
) -> Alert:
    opts, site = model_admin.opts, model_admin.admin_site
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist", current_app=site.name)
    is_more = is_capped or number > MOST_COUNTED
    return Alert(
        text=f"{capfirst(opts.verbose_name_plural)}: {label}",
        number=f"{min(number, MOST_COUNTED)}{'+' if is_more else ''}",
        url=f"{url}?{query}",
    )
