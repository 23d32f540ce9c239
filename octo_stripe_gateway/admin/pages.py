"""Read-only admin pages with operations that ask before they act."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import label_for_field, lookup_field, unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from octo_stripe_gateway.admin.display import NOTHING, get_url
from octo_stripe_gateway.admin.lists import CappedPaginator, IndexedChangeList, is_row_id
from octo_stripe_gateway.admin.operations import ConfirmationForm, Operation
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    GatewayError,
    OperationInProgressError,
    UnprocessableError,
)
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.ledger.transactions import without_atomic_requests
from octo_stripe_gateway.models import Payment, PaymentChange, is_narrowed
from octo_stripe_gateway.services import Caller

Row = TypeVar("Row", bound=Model)


class ReadOnly:
    """Lets nobody add, change or delete rows: the services write them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OperationAdmin(admin.ModelAdmin, Generic[Row]):  # type: ignore[type-arg] # it takes none at run time
    """Has a page for each operation that a row's state and the user's permissions allow; it asks first."""

    operations: ClassVar[Sequence[Operation[Any]]] = ()
    # The fields and columns that the page of an operation shows.
    summary_fields: ClassVar[Sequence[str]] = ()
    confirmation_template = "admin/octo_stripe_gateway/confirmation.html"

    class Media:
        css = {"all": ["octo_stripe_gateway/admin.css"]}
        js = ["octo_stripe_gateway/admin.js"]

    def get_urls(self) -> list[URLPattern]:
        routes = [
            path(
                f"<path:object_id>/{operation.name}/",
                without_atomic_requests(
                    self.admin_site.admin_view(partial(self.operation_view, operation=operation))
                ),
                name=self.get_page_name(operation.name),
            )
            for operation in self.operations
        ]
        return [*routes, *super().get_urls()]

    def has_operation_permission(
        self, request: HttpRequest, operation: Operation[Any], obj: Row | None = None
    ) -> bool:
        """Tell whether the user may view the row and do this with it."""
        usual = f"{self.opts.app_label}.{operation.name}_{self.opts.model_name}"
        wanted = operation.permissions or (usual,)
        return self.has_view_permission(request, obj) and request.user.has_perms(wanted)

    def get_summary(self, obj: Row) -> list[tuple[Any, Any]]:
        """Return what the page of an operation shows of the row, by label."""
        return [
            (label_for_field(name, self.model, self), lookup_field(name, obj, self)[2] or NOTHING)
            for name in self.summary_fields
        ]

    def is_live(self, obj: Row) -> bool:
        """Tell whether an operation with the row moves real money."""
        return getattr(obj, "livemode", False)

    def list_operations(self, request: HttpRequest, obj: Row) -> list[dict[str, Any]]:
        """Return the operations that are possible with a row, each with its label and its page."""
        return [
            {
                "name": operation.name,
                "label": operation.label,
                "url": self.get_page_url(operation.name, obj.pk),
            }
            for operation in self.operations
            if operation.is_possible(obj) and self.has_operation_permission(request, operation, obj)
        ]

    def get_subtitle(self, obj: Row) -> Any:
        """Return what names a row on its pages."""
        return str(obj)

    def operation_view(
        self, request: HttpRequest, object_id: str, *, operation: Operation[Row]
    ) -> HttpResponse:
        """Ask for what the operation needs, and do it when the answer is posted."""
        obj = self.get_object(request, unquote(object_id))
        if not self.has_operation_permission(request, operation, obj):
            raise PermissionDenied
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        filters: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        back_url = add_preserved_filters(filters, self.get_page_url("change", obj.pk))
        if request.method == "POST":
            form = operation.form_class(obj, data=request.POST)
            if form.is_valid() and self._run(request, obj, operation=operation, form=form):
                return HttpResponseRedirect(back_url)
        elif operation.is_possible(obj):
            form = operation.form_class(obj)
        else:
            self.message_user(request, operation.unavailable, messages.WARNING)
            return HttpResponseRedirect(back_url)
        return self.ask(
            request,
            operation,
            form=form,
            original=obj,
            subtitle=self.get_subtitle(obj),
            summary=self.get_summary(obj),
            livemode=self.is_live(obj),
            back_url=back_url,
        )

    def _run(
        self, request: HttpRequest, obj: Row, *, operation: Operation[Row], form: ConfirmationForm
    ) -> bool:
        """Run the operation and say how it ended; return False if sending the same form again may help."""
        caller = Caller(owner="admin", idempotency_key=str(form.cleaned_data["key"]))
        try:
            with acting(source=PaymentChange.Source.ADMIN, actor=request.user.get_username()):
                outcome = operation.run(obj, values=form.cleaned_data, caller=caller)
        except GatewayError as error:
            self.log_change(request, obj, f"{operation.label}: {error.message}")
            if fields := error.values.keys() & form.fields.keys():
                for name in fields:
                    form.add_error(name, str(error.message))
                return False
            self.message_user(request, error.message, messages.ERROR)
            # A refusal would only be repeated; after another error, a repeat may finish what was begun.
            is_refused = isinstance(error, BadRequestError | UnprocessableError)
            return is_refused and not isinstance(error, OperationInProgressError)
        self.log_change(request, obj, operation.label if operation.is_secret else outcome)
        self.message_user(request, outcome, messages.SUCCESS)
        return True

    def ask(
        self, request: HttpRequest, operation: Operation[Row], *, form: ConfirmationForm, **context: Any
    ) -> HttpResponse:
        """Return the page that asks before an operation."""
        page = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": operation.label,
            "operation": operation,
            "form": form,
            "media": self.media + form.media,
            "preserved_filters": self.get_preserved_filters(request),
            **context,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.confirmation_template, page)

    def get_page_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def get_page_url(self, page: str, *args: Any) -> str:
        return get_url(self.model, page, *args, site=self.admin_site)


class LedgerAdmin(ReadOnly, OperationAdmin[Row]):
    """Shows rows of the ledger, with a button for each operation."""

    paginator = CappedPaginator
    # Columns without an index, which only the latest rows are sorted by.
    sorted_among_latest: ClassVar[Sequence[str]] = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_form_template = "admin/octo_stripe_gateway/change_form.html"
    index_template = "admin/octo_stripe_gateway/index.html"

    def __init__(self, model: type[Row], admin_site: AdminSite) -> None:
        super().__init__(model, admin_site)
        # A site that has an index of its own shows the same with the tag `gateway_alerts`.
        admin_site.index_template = admin_site.index_template or self.index_template

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list; leave out a query or a selection that no column could match."""
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if has_nul(request) or not all(map(is_row_id, chosen)):
            return HttpResponseRedirect(request.get_full_path() if chosen else request.path)
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return IndexedChangeList

    def join_related(self, rows: Sequence[Row]) -> None:
        """Read what is shown beside the rows of a page, for all of them at once."""

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Row | None:
        row: Row | None = super().get_object(request, *args, **kwargs)
        self.join_related([row] if row else [])
        return row

    def narrow_to_payments(self, request: HttpRequest, rows: QuerySet[Row]) -> QuerySet[Row]:
        """Return the rows of those payments that this site's admin shows the user."""
        payments = self.admin_site._registry.get(Payment)
        seen: Any = payments.get_queryset(request) if payments else None
        return rows if seen is None or not is_narrowed(seen) else rows.filter(payment__in=seen.order_by())

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        obj = context.get("original")
        if obj is not None:
            context |= self.get_page(request, obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_page(self, request: HttpRequest, obj: Row) -> dict[str, Any]:
        """Return what a row's page shows beside its fields."""
        return {"operations": self.list_operations(request, obj), "subtitle": self.get_subtitle(obj)}


def has_nul(request: HttpRequest) -> bool:
    """Tell whether a list's query has a NUL, which no column can hold."""
    return any("\0" in value for values in request.GET.lists() for value in values[1])
