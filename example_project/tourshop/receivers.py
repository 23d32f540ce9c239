"""What happens to a booking when something happens to its payment, whoever found that out.

Signals are sent after commit, once per change: after the page's `complete`, after Stripe's webhook, after
a refund here or in Stripe's dashboard.
"""

from typing import Any

from django.dispatch import receiver

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.signals import payment_canceled, payment_refunded, payment_succeeded
from tourshop.models import Booking


@receiver(payment_succeeded)
def confirm_booking(payment: Payment, **_kwargs: Any) -> None:
    """Confirm the booking that has been paid for."""
    Booking.objects.filter(payments=payment, status=Booking.Status.PENDING).update(
        status=Booking.Status.CONFIRMED
    )


@receiver([payment_refunded, payment_canceled])
def cancel_booking(payment: Payment, **_kwargs: Any) -> None:
    """Cancel the booking whose money went back in full, or never came; a part of it changes nothing."""
    if payment.status in {Payment.Status.REFUNDED, Payment.Status.CANCELED}:
        Booking.objects.filter(payments=payment).update(status=Booking.Status.CANCELLED)
