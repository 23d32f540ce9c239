"""What can go wrong, each with the stable OCTO code that a caller sees."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist


class GatewayError(Exception):
    """A fault of ours; `message` is safe to show, `values` are the offending ones."""

    code = "INTERNAL_SERVER_ERROR"

    def __init__(self, message: Any, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self.values = values


class ConfigurationError(GatewayError, ImproperlyConfigured):
    """A key or secret that the operation needs is not configured."""


class BadRequestError(GatewayError, ValueError):
    """The request is malformed, or lacks something, or has something of the wrong type."""

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


class PaymentPendingError(GatewayError):
    """Stripe has not settled yet; OCTO has the client repeat the confirmation until it has."""

    code = "PAYMENT_PENDING"


class UnprocessableError(GatewayError):
    """The request is well-formed, but the payment does not allow it."""

    code = "UNPROCESSABLE_ENTITY"


class PaymentRefusedError(UnprocessableError):
    """The host does not want what was paid for: raise it in `on_payment_completed`."""


class IdempotencyError(UnprocessableError):
    """The same key or uuid came before with other parameters."""


class OperationInProgressError(UnprocessableError):
    """The same operation is still running; repeat it later."""

    retry_after = 1


class PaymentNotFoundError(GatewayError, ObjectDoesNotExist):
    """No such payment."""

    code = "INVALID_PAYMENT_ID"


class PaymentMismatchError(GatewayError):
    """Stripe's object is not what the payment's row says it must be."""


class StripeError(GatewayError):
    """A call to Stripe failed; `replayed` tells that Stripe will answer its idempotency key so for good."""

    def __init__(self, message: Any, *, stripe_code: str = "", replayed: bool = False) -> None:
        super().__init__(message)
        self.stripe_code = stripe_code
        self.replayed = replayed


class StripeRefusedError(StripeError, BadRequestError):
    """Stripe refuses this request; the message is Stripe's."""

    code = "BAD_REQUEST"


class StripeRejectedCredentialsError(StripeError):
    """Stripe does not accept the configured key, or the key may not do this."""


class StripeUnavailableError(StripeError):
    """Stripe did not answer, or answered with a fault of its own; the outcome is open."""

    retry_after = 5


class StripeRateLimitedError(StripeUnavailableError):
    """Stripe has had too many requests."""

    retry_after = 1
