"""The page, the visitor's bookings, and the payment API narrowed down to them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from rest_framework.exceptions import ValidationError

from octo_stripe_gateway import services
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import GatewayError, UnprocessableError
from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.stripe.currencies import get_precision
from tourshop.auth import Visitor, find_visitor
from tourshop.forms import BookingForm
from tourshop.models import Booking, Tour
from tourshop.prices import format_price

STRIPE_JS = "https://js.stripe.com/endive/stripe.js"
# What Stripe.js loads and calls: https://docs.stripe.com/security/guide#content-security-policy
STRIPE_SOURCES = (
    "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com https://api.stripe.com"
)
TEST_CARDS = [
    ("4242 4242 4242 4242", gettext_lazy("Pays")),
    ("4000 0000 0000 0002", gettext_lazy("Is declined")),
    ("4000 0025 0000 3155", gettext_lazy("Asks for authentication")),
]
STATUS_TEXTS = {
    Booking.Status.PENDING: gettext_lazy("To be paid"),
    Booking.Status.CONFIRMED: gettext_lazy("Confirmed"),
    Booking.Status.CANCELLED: gettext_lazy("Cancelled"),
}
# Stripe: five to ten business days.
REFUND_ARRIVES = dt.timedelta(days=14)


class BookingPaymentViewSet(PaymentViewSet):
    """Lets visitors pay for their own bookings and nothing else; holders of the API key may do it all."""

    def get_queryset(self) -> PaymentQuerySet:
        """Hide other visitors' payments."""
        payments = super().get_queryset()
        if isinstance(self.request.user, Visitor):
            return payments.filter(booking__visitor=self.request.user.pk)
        return payments

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Refuse a visitor anything but a booking of theirs that is still to be paid."""
        if isinstance(self.request.user, Visitor):
            booking = parameters.get("payable")
            if not isinstance(booking, Booking) or booking.visitor != self.request.user.pk:
                raise ValidationError({"payable": _("A booking of yours is required.")})
            if booking.status == Booking.Status.CANCELLED:
                raise UnprocessableError(_("This booking is not waiting for a payment."))
            # Otherwise an authorization alone would confirm the booking.
            parameters["capture_method"] = Payment.CaptureMethod.AUTOMATIC
        return super().get_create_parameters(parameters)


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Show the shop's only page."""
    mode = get_mode()
    tours = [present(tour) for tour in Tour.objects.all()]
    context = {
        "mode": mode,
        "stripe_js": f"{gateway_settings.stripe_api_base}/stripe.js" if mode == "emulator" else STRIPE_JS,
        "booking": request.GET.get("booking"),
        "tours": tours,
        "total": format_price(2 * tours[0]["price"], currency=tours[0]["currency"]) if tours else "",
        "test_cards": TEST_CARDS,
        "today": timezone.localdate(),
        "next_week": timezone.localdate() + dt.timedelta(days=7),
    }
    return render(request, "tourshop/page.html", context)


def keep_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Add a Content-Security-Policy to this shop's page and to pay links': nothing inline, and Stripe."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        sources = f"'self' {gateway_settings.stripe_api_base if get_mode() == 'emulator' else STRIPE_SOURCES}"
        if not request.path.startswith("/admin/"):
            response.headers["Content-Security-Policy"] = (
                f"default-src 'none'; script-src {sources}; frame-src {sources}; connect-src {sources};"
                " style-src 'self'; img-src data: https://*.stripe.com; base-uri 'none'; form-action 'self'"
            )
        return response

    return answer


def present(tour: Tour) -> dict[str, Any]:
    """Return what the page shows of a tour."""
    return {
        "pk": tour.pk,
        "name": _(tour.name),
        "description": _(tour.description),
        "price": tour.price,
        "currency": tour.currency,
        "precision": get_precision(tour.currency),
        "money": format_price(tour.price, currency=tour.currency),
    }


@require_http_methods(["GET", "POST"])
def bookings(request: HttpRequest) -> HttpResponse:
    """List the visitor's bookings, or make one."""
    if request.method == "POST":
        return create_booking(request)
    visitor = find_visitor(request)
    own = Booking.objects.filter(visitor=visitor.pk) if visitor else Booking.objects.none()
    return JsonResponse({"bookings": [describe(booking) for booking in own.select_related("tour")]})


def create_booking(request: HttpRequest) -> HttpResponse:
    """Create a booking, which the session owns and pays for next."""
    try:
        chosen = json.loads(request.body)
    except ValueError:
        chosen = None
    if not isinstance(chosen, dict):
        return refuse(_("The body is not a JSON object."))
    form = BookingForm(chosen)
    if not form.is_valid():
        return refuse(" ".join(str(message) for messages in form.errors.values() for message in messages))
    visitor = request.session.setdefault("visitor", uuid.uuid4().hex)
    return JsonResponse(describe(form.book(visitor)), status=201)


@require_POST
def refund_booking(request: HttpRequest, reference: str) -> HttpResponse:
    """Cancel a booking and give back what the terms of its sale give; with `preview` only say how much."""
    booking = find_own(request, reference)
    preview = "preview" in request.GET
    if booking is None:
        return refuse(_("A booking of yours is required."))
    try:
        cancellation = services.cancel_payable(booking, preview=preview)
    except GatewayError as error:
        return refuse(str(error.message))
    if not preview:
        Booking.objects.filter(pk=booking.pk).update(status=Booking.Status.CANCELLED)
    named = {"back": cancellation.amount, "kept": cancellation.kept}
    amounts = {name: format_price(each, currency=booking.currency) for name, each in named.items()}
    return JsonResponse({**describe(Booking.objects.get(pk=booking.pk)), **amounts})


@require_POST
def share_booking(request: HttpRequest, reference: str) -> HttpResponse:
    """Make a link at which somebody else pays the rest."""
    booking = find_own(request, reference)
    if booking is None:
        return refuse(_("A booking of yours is required."))
    try:
        link = services.create_payment_link(booking, purpose="balance")
    except GatewayError as error:
        return refuse(str(error.message))
    return JsonResponse({"link": request.build_absolute_uri(link)}, status=201)


def find_own(request: HttpRequest, reference: str) -> Booking | None:
    """Return the visitor's booking of that reference."""
    visitor = find_visitor(request)
    return Booking.objects.filter(pk=reference, visitor=visitor.pk).first() if visitor else None


def describe(booking: Booking) -> dict[str, Any]:
    """Return what the page shows of a booking."""
    payments = list(booking.payments.order_by("-pk"))
    refunded = sum(payment.amount_refunded for payment in payments)
    paid = sum(payment.amount_refundable for payment in payments)
    return {
        "reference": booking.reference,
        "tour": _(booking.tour.name),
        "people": booking.people,
        "date": booking.date,
        "day": formats.date_format(booking.date, _("l, j F Y")),
        "status": booking.status,
        "statusText": STATUS_TEXTS[Booking.Status(booking.status)],
        "amount": booking.amount,
        "currency": booking.currency,
        "total": format_price(booking.amount, currency=booking.currency),
        "paid": format_price(paid, currency=booking.currency) if paid else "",
        "payment": payments[0].uuid if payments else None,
        "totalRefunded": refunded,
        "refunded": format_price(refunded, currency=booking.currency) if refunded else "",
        "arrival": describe_arrival(payments) if refunded else "",
        **describe_dues(booking),
    }


def describe_dues(booking: Booking) -> dict[str, str]:
    """Say what is due now and later; empty if nothing is."""
    dues = booking.payments.get_dues()
    part = dues.next
    is_pending = booking.status == Booking.Status.PENDING
    is_parted = part and part.name in {"deposit", "balance"} and booking.status != Booking.Status.CANCELLED
    deposit = part.amount if part and is_parted and is_pending else 0
    due = dues.due if is_parted and not is_pending else 0
    due_at = part.due_at if part and due else None
    # For a tour within a month, everything is due at once.
    is_later = due_at is not None and due_at > timezone.now()
    return {
        "deposit": format_price(deposit, currency=booking.currency) if deposit else "",
        "due": format_price(due, currency=booking.currency) if due else "",
        "dueDay": describe_day(timezone.localtime(due_at))
        if due_at and is_later
        else _("now")
        if due
        else "",
        "pill": _("Deposit paid") if due else _("Paid"),
    }


def describe_day(moment: dt.date) -> str:
    """Say by when something is due."""
    return _("by %(date)s") % {"date": formats.date_format(moment, _("j F Y"))}


def describe_arrival(payments: list[Payment]) -> str:
    """Say when the customer will have the refund."""
    moments = [payment.refunded_at for payment in payments if payment.refunded_at]
    return describe_day(timezone.localdate(max(moments, default=timezone.now())) + REFUND_ARRIVES)


def refuse(message: str) -> HttpResponse:
    """Answer with an error like the payment API's, so that the page has one kind to handle."""
    return JsonResponse({"error": "BAD_REQUEST", "errorMessage": message}, status=400)


def get_mode() -> str:
    """Return where payments go: emulator, test or live."""
    if gateway_settings.uses_built_in_keys:
        return "emulator"
    return "test" if "_test_" in gateway_settings.stripe_api_key else "live"
