"""What a host can listen to; each is sent after commit, once per change, with `payment`."""

from django.dispatch import Signal

payment_created = Signal()
payment_succeeded = Signal()
payment_failed = Signal()
payment_canceled = Signal()
payment_refunded = Signal()
payment_disputed = Signal()
payment_mismatched = Signal()
