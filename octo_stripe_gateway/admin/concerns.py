"""What operators have to look at: filters of the lists, and counts on the admin's index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from django.contrib.admin import ModelAdmin
from django.contrib.admin.sites import all_sites
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.display import show_account
from octo_stripe_gateway.ledger.concerns import ENDPOINT_OUTDATED, PAYMENT_UNKNOWN, describe
from octo_stripe_gateway.models import (
    Concern as ConcernRow,
)
from octo_stripe_gateway.models import (
    PayableLock,
    PayableLockQuerySet,
    Payment,
    PaymentQuerySet,
    WebhookEvent,
)

PARAMETER = "attention"
# The index opens often, so nothing is counted or looked at beyond this.
MOST_COUNTED = 1000


class Concern(NamedTuple):
    """Rows that operators have to look at: a name for URLs, a label, and how the rows are found."""

    name: str
    label: Any
    find: Callable[[QuerySet[Any]], QuerySet[Any]]
    explain: Callable[[QuerySet[Any]], list[str]] | None = None


class Alert(NamedTuple):
    """A line on the admin's index: what there is to look at, how much of it, and the list of it."""

    text: str
    number: str
    url: str
    details: list[str]


def find_outdated(events: QuerySet[WebhookEvent]) -> QuerySet[WebhookEvent]:
    """Return those of the latest waiting events whose endpoint has an API version that is too old."""
    waiting = events.filter(status=WebhookEvent.Status.RECEIVED).order_by("-pk")
    return events.filter(pk__in=[*waiting.values_list("pk", flat=True)[:MOST_COUNTED]]).filter(
        error_code=ENDPOINT_OUTDATED.code
    )


def name_endpoints(events: QuerySet[WebhookEvent]) -> list[str]:
    """Return whose endpoints the events came from, each with what is wrong with it."""
    return sorted(
        {
            f"{show_account(event)}: {describe(event.error_code, event.error_parameters)}"
            for event in events[:MOST_COUNTED]
        }
    )


def list_concerned(*, differs: bool) -> QuerySet[Any]:
    """Return the payments that have an open concern, because Stripe `differs` or for another reason."""
    concerns = ConcernRow.objects.open().exclude(payment=None)
    told = Q(code__endswith="_differs")
    return concerns.filter(told if differs else ~told).values("payment")


PAYMENT_CONCERNS = (
    Concern(
        "held",
        _("Rejected, and the money is still held"),
        lambda payments: cast("PaymentQuerySet", payments).rejected_with_money_held(),
    ),
    Concern(
        "operator",
        _("Needs an operator"),
        lambda payments: payments.filter(pk__in=list_concerned(differs=False)),
    ),
    Concern(
        "mismatch",
        _("Differs from Stripe"),
        lambda payments: payments.filter(pk__in=list_concerned(differs=True)),
    ),
    Concern("disputed", _("Disputed"), lambda payments: payments.filter(disputed=True)),
)
EVENT_CONCERNS = (
    Concern("failed", _("Failed"), lambda events: events.filter(status=WebhookEvent.Status.FAILED)),
    Concern(
        "unknown",
        _("Paid at Stripe, and not on record here"),
        lambda events: events.filter(status=WebhookEvent.Status.FAILED, error_code=PAYMENT_UNKNOWN.code),
    ),
    Concern("outdated", _("The endpoint's API version is too old"), find_outdated, name_endpoints),
)
BALANCE_CONCERNS = (
    Concern(
        "overdue",
        _("Overdue"),
        lambda locks: cast("PayableLockQuerySet", locks).overdue(now=timezone.now()).order_by("next_due_at"),
    ),
)
CONCERNS: dict[type[Model] | None, Sequence[Concern]] = {
    Payment: PAYMENT_CONCERNS,
    PayableLock: BALANCE_CONCERNS,
    WebhookEvent: EVENT_CONCERNS,
}


def get_concerns(model: type[Model]) -> Sequence[Concern]:
    """Return what there is to look at in a model's rows, or in those of the model that it is a proxy of."""
    return CONCERNS.get(model._meta.concrete_model, ())


def get_alerts(request: HttpRequest) -> Iterator[Alert]:
    """Yield what there is to look at among the rows that the user may view in this admin."""
    name = getattr(request, "current_app", "admin")
    for site in (site for site in all_sites if site.name == name):
        watched = [each for model, each in site._registry.items() if get_concerns(model)]
        for model_admin in sorted(watched, key=lambda each: list(CONCERNS).index(each.opts.concrete_model)):
            if model_admin.has_view_permission(request):
                yield from _list_alerts(request, model_admin)


def _list_alerts(request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[Alert]:
    opts, site = model_admin.opts, model_admin.admin_site
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist", current_app=site.name)
    for concern in get_concerns(model_admin.model):
        found = concern.find(model_admin.get_queryset(request))
        # In the list's order, which is read from the index of these rare rows.
        if count := found[: MOST_COUNTED + 1].count():
            yield Alert(
                text=f"{capfirst(opts.verbose_name_plural)}: {concern.label}",
                number=str(count) if count <= MOST_COUNTED else f"{MOST_COUNTED}+",
                url=f"{url}?{PARAMETER}={concern.name}",
                details=concern.explain(found) if concern.explain else [],
            )
