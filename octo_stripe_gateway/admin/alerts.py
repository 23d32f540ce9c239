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


class Alert(NamedTuple):
    """A line on the admin's index: what there is to look at, how much of it, and the list of it."""

    text: str
    number: str
    url: str


def get_alerts(request: HttpRequest) -> Iterator[Alert]:
    """Yield what there is to look at among the rows that the user may view in this admin."""
    name = getattr(request, "current_app", "admin")
    admins: Any = [each for site in all_sites if site.name == name for each in site._registry.values()]
    for model in (Concern, Payment, PayableLock):
        for each in admins:
            if each.opts.concrete_model is not model or not each.has_view_permission(request):
                continue
            rows = each.get_queryset(request)
            labels: dict[str, Any]
            if model is Concern:
                parameter, labels = "code", {code: kind.label for code, kind in KINDS.items()}
                codes = rows.open().order_by("code").values_list("code", flat=True)
                counts = Counter(codes[: MOST_COUNTED + 1])
            elif model is Payment:
                parameter, labels = "attention", {"disputed": _("Disputed")}
                counts = Counter(disputed=rows.filter(disputed=True)[: MOST_COUNTED + 1].count())
            else:
                parameter, labels = "attention", {"overdue": _("Overdue")}
                # In the order of the index that has these rows alone.
                overdue = rows.overdue(now=timezone.now()).order_by("next_due_at")
                counts = Counter(overdue=overdue[: MOST_COUNTED + 1].count())
            url = get_url(each.model, "changelist", site=each.admin_site)
            more = "+" if counts.total() > MOST_COUNTED else ""
            for value, label in labels.items():
                if number := counts[value]:
                    text = f"{capfirst(each.opts.verbose_name_plural)}: {label}"
                    yield Alert(text, f"{min(number, MOST_COUNTED)}{more}", f"{url}?{parameter}={value}")
