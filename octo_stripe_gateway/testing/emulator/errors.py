"""What the emulated Stripe refuses, in the error objects of the published API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
DOC_URL = "https://stripe.com/docs/error-codes/{}"
UNKNOWN_ERROR = "Sorry! There was an error while talking to one of our backends. Support has been notified."


class StripeApiError(Exception):
    """Answers a request with one of Stripe's error objects.

    `saved` says whether an idempotency key remembers it: Stripe saves every result once the endpoint
    began to execute, and no refusal by the validation of parameters.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        saved: bool = True,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.saved = saved
        self._fields = {"code": code, "param": param, "message": message, "type": kind, **details}

    def show_only(self, fields: Collection[str]) -> None:
        """Reduce the error's intent to what a browser may see."""
        if intent := self._fields.get("payment_intent"):
            self._fields["payment_intent"] = {name: intent[name] for name in fields}

    def body(self, *, request_id: str) -> dict[str, Any]:
        """Return Stripe's `{"error": {...}}`, with the fields that have a value."""
        fields = {name: value for name, value in self._fields.items() if value is not None}
        if code := fields.get("code"):
            fields["doc_url"] = DOC_URL.format(str(code).replace("_", "-"))
        fields["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": fields}


class InvalidParameterError(StripeApiError):
    """Refuses a parameter before anything is executed: an idempotency key doesn't remember it."""

    def __init__(self, message: str, *, param: str, code: str | None = None) -> None:
        super().__init__(message, code=code, param=param, saved=False)


def missing_parameter(name: str) -> InvalidParameterError:
    """Return the refusal of a request without a required parameter."""
    return InvalidParameterError(f"Missing required param: {name}.", param=name, code="parameter_missing")


def no_such(kind: str, object_id: str, *, param: str, status: int) -> StripeApiError:
    """Return `resource_missing`: 404 when the URL names the object, 400 when a parameter does."""
    return StripeApiError(
        f"No such {kind}: '{object_id}'", status=status, code="resource_missing", param=param
    )


def unexpected_state(message: str, *, intent: dict[str, Any]) -> StripeApiError:
    """Return the refusal of a step that the intent's status doesn't allow."""
    return StripeApiError(message, code="payment_intent_unexpected_state", payment_intent=intent)
