"""What a host can listen to.

Each is sent after commit, at least once per change, with `payment` and, but for `payment_unknown`, the
`change` that the journal holds. `change_id` is the same whenever a signal is sent again.
"""

from django.dispatch import Signal

payment_created = Signal()
payment_succeeded = Signal()
# All of the payable's price is paid, with this payment.
payable_paid = Signal()
# An installment is due: sent with `payable_lock`, once per installment, and again if a receiver fails.
installment_due = Signal()
# A hold runs out within a day.
payment_capture_due = Signal()
payment_failed = Signal()
payment_canceled = Signal()
payment_expired = Signal()
payment_refunded = Signal()
payment_disputed = Signal()
payment_fraud_warned = Signal()
payment_needs_attention = Signal()
# Sent with `event`: Stripe says that a payment of ours is paid, and there is no row for it.
payment_unknown = Signal()
