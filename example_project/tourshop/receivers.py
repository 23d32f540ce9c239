"""What happens to a booking when its money goes back, whoever sent it.

Signals are sent after commit, once per change: after a refund here or in Stripe's dashboard, or a payment
given up. What must happen together with the payment is in `Booking.on_payment_completed`.
"""

from typing import Any

from django.db.models import Exists
from django.dispatch import receiver

from octo_stripe_gateway.models import Payment, payments_of_each
from octo_stripe_gateway.signals import payment_canceled, payment_expired, payment_refunded
from tourshop.models import Booking

GONE = (Payment.Status.REFUNDED, Payment.Status.CANCELED, Payment.Status.EXPIRED)
SECURED = (Payment.Status.PAID, Payment.Status.AUTHORIZED)


@receiver([payment_refunded, payment_canceled, payment_expired])
def cancel_booking(payment: Payment, **_kwargs: Any) -> None:
    """Cancel a booking that was canceled by its terms, or that no payment covers any more."""
    own = Booking.objects.filter(payments=payment)
    if payment.amount_kept is None:
        secured = Exists(payments_of_each(Booking).filter(status__in=SECURED))
        own = own.exclude(secured) if payment.status in GONE else own.none()
    own.update(status=Booking.Status.CANCELLED)
