"""The page, the visitor's bookings, and the payment API narrowed down to them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods
from rest_framework.exceptions import ValidationError

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.currencies import get_precision
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.views import PaymentViewSet
from tourshop.auth import Visitor, find_visitor
from tourshop.forms import BookingForm
from tourshop.models import Booking, Tour

STRIPE_JS = "https://js.stripe.com/clover/stripe.js"
TEST_CARDS = [
    ("4242 4242 4242 4242", "Pays"),
    ("4000 0000 0000 0002", "Is declined"),
    ("4000 0025 0000 3155", "Asks for authentication"),
]


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
                raise ValidationError({"payable": "A booking of yours is required."})
            if booking.status != Booking.Status.PENDING:
                raise UnprocessableError("This booking is not waiting for a payment.")
            # Money that is only held would confirm the booking too.
            parameters["capture_method"] = Payment.CaptureMethod.AUTOMATIC
        return super().get_create_parameters(parameters)


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """Show the shop's only page."""
    mode = get_mode()
    emulator_js = f"{gateway_settings.stripe_api_base}/stripe.js"
    context = {
        "mode": mode,
        "stripe_js": emulator_js if mode == "emulator" else STRIPE_JS,
        "tours": [(tour, get_precision(tour.currency)) for tour in Tour.objects.all()],
        "test_cards": TEST_CARDS,
        "today": timezone.localdate(),
        "next_week": timezone.localdate() + dt.timedelta(days=7),
    }
    return render(request, "tourshop/page.html", context)


@require_http_methods(["GET", "POST"])
def bookings(request: HttpRequest) -> HttpResponse:
    """Answer the visitor's bookings, or make one."""
    if request.method == "POST":
        return create_booking(request)
    visitor = find_visitor(request)
    own = Booking.objects.filter(visitor=visitor.pk) if visitor else Booking.objects.none()
    return JsonResponse({"bookings": [describe(booking) for booking in own.select_related("tour")]})


def create_booking(request: HttpRequest) -> HttpResponse:
    """Take a booking in, to be paid for next; the session owns it."""
    try:
        chosen = json.loads(request.body)
    except ValueError:
        chosen = None
    if not isinstance(chosen, dict):
        return refuse("The body is not a JSON object.")
    form = BookingForm(chosen)
    if not form.is_valid():
        return refuse(" ".join(str(message) for messages in form.errors.values() for message in messages))
    visitor = request.session.setdefault("visitor", uuid.uuid4().hex)
    return JsonResponse(describe(form.book(visitor)), status=201)


def describe(booking: Booking) -> dict[str, Any]:
    """Return what the page shows of a booking."""
    payment = booking.payments.order_by("-pk").first()
    return {
        "reference": booking.reference,
        "tour": booking.tour.name,
        "people": booking.people,
        "date": booking.date,
        "status": booking.status,
        "amount": booking.amount,
        "currency": booking.currency,
        "currencyPrecision": get_precision(booking.currency),
        "payment": payment and payment.uuid,
        "totalRefunded": payment.amount_refunded if payment else 0,
    }


def refuse(message: str) -> HttpResponse:
    """Answer an error as the payment API does, so that the page needs to know one kind only."""
    return JsonResponse({"error": "BAD_REQUEST", "errorMessage": message}, status=400)


def get_mode() -> str:
    """Return what stands behind the payments: emulator, test or live."""
    if gateway_settings.uses_built_in_keys:
        return "emulator"
    return "test" if "_test_" in gateway_settings.stripe_api_key else "live"
