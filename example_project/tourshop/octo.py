"""Bookings and carts for resellers who speak OCTO, in class views and in functions."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from octo_stripe_gateway.api.authentication import GatewayAuthentication
from octo_stripe_gateway.api.card_payments import (
    CardPaymentField,
    CardPaymentMixin,
    answers_octo_errors,
    build_card_payment,
    confirm_card_payment,
)
from tourshop.forms import BookingForm
from tourshop.models import Booking, Cart

RESELLER = "reseller"


class BookingSerializer(serializers.Serializer[Booking]):
    """A booking as OCTO shows it, as far as this shop goes."""

    uuid = serializers.CharField(source="reference")
    status = serializers.CharField()
    cardPayment = CardPaymentField()  # noqa: N815 - OCTO's name


class CartSerializer(serializers.Serializer[Cart]):
    """An order of several bookings, which one payment is for."""

    id = serializers.CharField()
    status = serializers.CharField()
    bookings = BookingSerializer(many=True)
    cardPayment = CardPaymentField()  # noqa: N815 - OCTO's name


class ResellerView(CardPaymentMixin, APIView):
    """Takes holders of the API key only."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (IsAuthenticated,)


class BookingsView(ResellerView):
    """Makes bookings, to be paid one by one or in a cart."""

    def post(self, request: Request) -> Response:
        """Book, and answer what a browser needs to pay."""
        form = BookingForm(dict(request.data))
        if not form.is_valid():
            raise ValidationError(form.errors.get_json_data())
        booking = form.book(RESELLER)
        return Response({**BookingSerializer(booking).data, "cardPayment": self.build_card_payment(booking)})


class BookingView(ResellerView):
    """Shows a booking."""

    def get(self, request: Request, reference: str) -> Response:
        """Answer the booking, its client secret null."""
        return Response(BookingSerializer(get_object_or_404(Booking, pk=reference)).data)


class ConfirmBookingView(ResellerView):
    """Confirms a booking that is paid."""

    def post(self, request: Request, reference: str) -> Response:
        """Answer the confirmed booking, or PAYMENT_PENDING until it is paid."""
        booking = get_object_or_404(Booking, pk=reference)
        self.confirm_card_payment(booking, request.data)
        return Response(BookingSerializer(reread(booking)).data)


@api_view(["POST"])
@authentication_classes([GatewayAuthentication])
@permission_classes([IsAuthenticated])
@answers_octo_errors
def carts(request: Request) -> Response:
    """Put bookings into a cart, and answer what a browser needs to pay for all of them."""
    chosen = dict(request.data).get("bookings", [])
    cart = Cart.objects.create()
    Booking.objects.filter(reference__in=chosen, cart=None, status=Booking.Status.PENDING).update(cart=cart)
    card_payment = build_card_payment(cart)
    return Response({**CartSerializer(cart).data, "cardPayment": card_payment})


@api_view(["POST"])
@authentication_classes([GatewayAuthentication])
@permission_classes([IsAuthenticated])
@answers_octo_errors
def confirm_cart(request: Request, pk: int) -> Response:
    """Answer the cart with its bookings confirmed, or PAYMENT_PENDING until it is paid."""
    cart = get_object_or_404(Cart, pk=pk)
    confirm_card_payment(cart, request.data)
    return Response(CartSerializer(reread(cart)).data)


def reread(row: Model) -> Any:
    """Return the row as the payment has left it."""
    return type(row)._base_manager.get(pk=row.pk)
