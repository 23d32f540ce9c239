"""What can go wrong, each with the stable OCTO code that a caller sees (its HTTP status: `api/errors.py`)."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist


class GatewayError(Exception):
    """Any error of this app's. `message` is safe to show; `values` are the offending ones."""

    code = "INTERNAL_SERVER_ERROR"

    def __init__(self, message: Any, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self.values = values


class ConfigurationError(GatewayError, ImproperlyConfigured):
    """A key or secret that the operation needs is not configured."""


class BadRequestError(GatewayError, ValueError):
    """The request is malformed: something is missing or has the wrong type."""

    code = "BAD_REQUEST"


class SignatureError(BadRequestError):
    """An event is not signed by Stripe, or was signed too long ago."""


class EnvironmentMismatchError(BadRequestError):
    """A request means a test sale and the account is live, or the other way round."""


class GatewayMismatchError(BadRequestError):
    """A confirmation names another payment gateway."""

    code = "GATEWAY_MISMATCH"


class GatewayCurrencyMismatchError(BadRequestError):
    """A confirmation names another currency."""

    code = "GATEWAY_CURRENCY_MISMATCH"


class GatewayInvalidSourceError(BadRequestError):
    """A confirmation says that the customer paid elsewhere than online."""

    code = "GATEWAY_INVALID_SOURCE"


class PaymentPendingError(GatewayError):
    """Stripe has not settled yet; OCTO has the client repeat the confirmation until it has."""

    code = "PAYMENT_PENDING"


class UnprocessableError(GatewayError):
    """The request is well-formed, but the payment does not allow it."""

    code = "UNPROCESSABLE_ENTITY"


class NothingDueError(UnprocessableError):
    """Nothing is due: `values` has the balance."""


class PaymentRejectedError(UnprocessableError):
    """The host rejects a payment: raise it in `on_payment_completed`, with the reason or without."""

    def __init__(self, message: Any = "", **values: Any) -> None:
        super().__init__(message, **values)


class IdempotencyError(UnprocessableError):
    """The same key or uuid was used before with other parameters."""


class OperationInProgressError(UnprocessableError):
    """The same operation is still running; repeat it later."""

    retry_after = 1


class PaymentNotFoundError(GatewayError, ObjectDoesNotExist):
    """No such payment."""

    code = "INVALID_PAYMENT_ID"


class PayableUnavailableError(GatewayError):
    """What a payment is for can't be looked up: its model is missing here, or a query fails."""

    retry_after = 5


class PaymentMismatchError(GatewayError):
    """Stripe's object contradicts the payment's row."""


class UnknownPaymentError(GatewayError):
    """Stripe says that a payment of ours is paid, and there is no row for it."""


class StripeError(GatewayError):
    """A call to Stripe failed.

    `stripe_message` is what Stripe itself said, empty where it said nothing. `replayed`: Stripe will give
    this answer to its idempotency key for good.
    """

    def __init__(
        self,
        message: Any,
        *,
        stripe_code: str = "",
        stripe_message: str = "",
        http_status: int | None = None,
        request_id: str = "",
        replayed: bool = False,
    ) -> None:
        super().__init__(message)
        self.stripe_code = stripe_code
        self.stripe_message = stripe_message
        self.http_status = http_status
        self.request_id = request_id
        self.replayed = replayed


class StripeRefusedError(StripeError, BadRequestError):
    """Stripe refuses this request; the message is Stripe's."""

    code = "BAD_REQUEST"

    @property
    def is_unknown(self) -> bool:
        """Tell whether Stripe has no such object, or none that the key may see."""
        return self.http_status == 404


class StripeBusyError(StripeError, OperationInProgressError):
    """Stripe is still working on the same request."""


class StripeAuthenticationError(StripeError):
    """Stripe does not accept the configured key, or the key may not do this."""


class StripeUnavailableError(StripeError):
    """Stripe did not answer, or answered with an error of its own; whether it did the work is unknown."""

    retry_after = 5


class StripeKeyUsedError(StripeUnavailableError):
    """Stripe knows the request's key with other parameters: the row of an earlier request was lost."""


class StripeRateLimitedError(StripeUnavailableError):
    """Stripe has had too many requests."""

    retry_after = 1
