"""The one place that talks to Stripe: pooled connections, time-outs, and Stripe's errors as ours.

The SDK is imported where it is used: it takes as long as a third of Django's own start, and a process that
never talks to Stripe never needs it.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import Account, gateway_settings
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    ConfigurationError,
    OperationInProgressError,
    StripeAuthenticationError,
    StripeRateLimitedError,
    StripeRefusedError,
    StripeUnavailableError,
)
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.redaction import RedactClientSecrets, redact_prints, redact_text
from octo_stripe_gateway.snapshots import DisputeSnapshot, PaymentIntentSnapshot, RefundSnapshot

if TYPE_CHECKING:
    import stripe

logger = logging.getLogger(__name__)

POOL_SIZE = 64
EXPAND_REFUNDS = "latest_charge.refunds"
EXPAND_LISTED_REFUNDS = f"data.{EXPAND_REFUNDS}"
PAGE_SIZE = 100

logging.getLogger("stripe").addFilter(RedactClientSecrets())


def get_account(payment: Payment) -> Account:
    """Return the account that the payment was created with; raises ConfigurationError without a key."""
    account = gateway_settings.get_account(payment.account)
    if not account.api_key:
        logger.error("[OctoStripeGateway] STRIPE_API_KEY is not configured")
        raise ConfigurationError(_("The payment gateway is not configured."))
    return account


def get_publishable_key(payment: Payment) -> str:
    """Return the key that browsers pay with, empty where none is configured."""
    return gateway_settings.get_account(payment.account).publishable_key


class Answer(NamedTuple):
    """What Stripe answered: the object, and what its support asks for."""

    stripe_object: dict[str, Any]
    as_of: int
    request_id: str
    http_status: int
    replayed: bool


def send_request(request: StripeRequest, path: str) -> Answer:
    """Ask Stripe for what the request says; the same request asks for the same. Raises StripeError."""
    return _call(
        request.payment,
        "post",
        path,
        params=request.parameters,
        idempotency_key=request.idempotency_key,
    )


def retrieve_payment_intent(payment: Payment) -> PaymentIntentSnapshot:
    """Ask Stripe how the payment's intent stands, its charge, refunds and disputes included."""
    answer = _call(payment, "get", get_intent_path(payment), params={"expand": [EXPAND_REFUNDS]})
    snapshot = PaymentIntentSnapshot.from_object(answer.stripe_object, as_of=answer.as_of)
    charge = snapshot.charge
    if charge and not charge.has_all_refunds:
        refunds = tuple(list_refunds(payment))
        charge = dataclasses.replace(charge, refunds=refunds, has_all_refunds=True)
    disputes = tuple(list_disputes(payment)) if charge and charge.disputed else ()
    return dataclasses.replace(snapshot, charge=charge, disputes=disputes)


def list_refunds(payment: Payment) -> list[RefundSnapshot]:
    """Ask Stripe for all refunds of the payment."""
    params = {"payment_intent": get_intent_id(payment)}
    return [
        RefundSnapshot.from_object(each, as_of=as_of)
        for each, as_of in _list(payment, "/v1/refunds", params=params)
    ]


def list_disputes(payment: Payment) -> list[DisputeSnapshot]:
    """Ask Stripe for all disputes of the payment."""
    params = {"payment_intent": get_intent_id(payment)}
    return [
        DisputeSnapshot.from_object(each, as_of=as_of)
        for each, as_of in _list(payment, "/v1/disputes", params=params)
    ]


def list_payment_intents(payment: Payment, *, since: int, until: int) -> Iterator[PaymentIntentSnapshot]:
    """Ask the payment's account for intents that were created from one second up to another, newest first.

    A page is asked for when its first is taken. Raises StripeError.
    """
    params = {"created": {"gte": since, "lt": until}, "expand": [EXPAND_LISTED_REFUNDS]}
    for each, as_of in _list(payment, "/v1/payment_intents", params=params):
        yield PaymentIntentSnapshot.from_object(each, as_of=as_of)


def list_refunds_between(payment: Payment, *, since: int, until: int) -> Iterator[RefundSnapshot]:
    """Ask the payment's account for refunds that were created from one second up to another, newest first."""
    params = {"created": {"gte": since, "lt": until}}
    for each, as_of in _list(payment, "/v1/refunds", params=params):
        yield RefundSnapshot.from_object(each, as_of=as_of)


def _list(payment: Payment, path: str, *, params: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects of a list with the second that each was read in, page after page."""
    wanted: dict[str, Any] = {**params, "limit": PAGE_SIZE}
    while True:
        page = _call(payment, "get", path, params=wanted)
        objects = page.stripe_object["data"]
        yield from ((each, page.as_of) for each in objects)
        if not page.stripe_object["has_more"]:
            return
        wanted["starting_after"] = objects[-1]["id"]


def _call(
    payment: Payment,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any],
    idempotency_key: str = "",
) -> Answer:
    import stripe

    # Raw, because the SDK takes longer to make its objects of an answer than to fetch it.
    account = get_account(payment)
    options: stripe.RequestOptions = {}
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    if payment.stripe_account:
        options["stripe_account"] = payment.stripe_account
    began = time.monotonic()
    try:
        client = _get_client(account.api_key)
        answer: stripe.StripeResponse = client.raw_request(method, path, **{**params, **options})
    except stripe.StripeError as error:
        raise _translate_error(error, payment=payment) from None
    return _read_answer(answer, seconds=time.monotonic() - began)


def _get_client(api_key: str) -> stripe.StripeClient:
    import stripe

    return stripe.StripeClient(
        api_key,
        base_addresses={"api": gateway_settings.stripe_api_base},
        http_client=_get_http_client(gateway_settings.stripe_timeout, gateway_settings.stripe_api_base),
        max_network_retries=gateway_settings.stripe_max_network_retries,
    )


@cache
def _get_http_client(timeout: tuple[float, float], api_base: str) -> stripe.RequestsClient:
    import requests
    import stripe

    # With STRIPE_LOG in the environment the SDK prints what it logs.
    redact_prints(stripe._util)
    # The SDK otherwise writes a telemetry file into the user's home directory.
    stripe.enable_telemetry = False
    # One session for all threads: a server that starts a thread for each request
    # would otherwise open a connection, and do a TLS handshake, for each.
    session = requests.Session()
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=POOL_SIZE))
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=POOL_SIZE))
    # Otherwise each call reads the environment's proxies anew, and a .netrc that could replace the API key.
    session.proxies = requests.utils.get_environ_proxies(api_base)
    session.trust_env = False
    return stripe.RequestsClient(timeout=timeout, session=session)


# Two processes must not write to one connection.
os.register_at_fork(after_in_child=_get_http_client.cache_clear)


def _read_answer(answer: stripe.StripeResponse, *, seconds: float) -> Answer:
    stripe_object: Any = answer.data
    date = answer.headers.get("Date")
    sent = parsedate_to_datetime(date).timestamp() if date else time.time()
    # The object may have been read as long before it was sent as the call took, but not before it was made.
    created = stripe_object.get("created")
    as_of = max(int(sent) - math.ceil(seconds), created if isinstance(created, int) else 0)
    return Answer(
        stripe_object,
        as_of=as_of,
        request_id=answer.headers.get("Request-Id", ""),
        http_status=answer.code,
        replayed=_is_replayed(answer.headers),
    )


def _is_replayed(headers: Mapping[str, str] | None) -> bool:
    return (headers or {}).get("Idempotent-Replayed") == "true"


def get_intent_path(payment: Payment) -> str:
    """Return the path of the payment's intent in Stripe's API."""
    return f"/v1/payment_intents/{quote(get_intent_id(payment), safe='')}"


def get_intent_id(payment: Payment) -> str:
    """Return the id of the payment's intent; raises BadRequestError where there is none yet."""
    if not payment.stripe_payment_intent_id:
        raise BadRequestError(_("The payment has no intent at Stripe yet."))
    return payment.stripe_payment_intent_id


def _translate_error(error: stripe.StripeError, *, payment: Payment) -> Exception:
    import stripe

    logger.warning(
        "[OctoStripeGateway] Stripe refused or failed: %s, HTTP %s, code %s, request %s, payment %s",
        type(error).__name__,
        error.http_status,
        error.code,
        error.request_id,
        payment.uuid,
    )
    if isinstance(error, stripe.APIConnectionError):
        hint = "; run `manage.py stripe_emulator` beside it" if gateway_settings.uses_built_in_keys else ""
        logger.warning("[OctoStripeGateway] No answer from %s%s", gateway_settings.stripe_api_base, hint)
    status, code = error.http_status or 0, str(error.code or "")
    known: dict[str, Any] = {
        "stripe_code": code,
        "http_status": error.http_status,
        "request_id": error.request_id or "",
    }
    if status == 409:
        return OperationInProgressError(_("The same operation is still running; try again."))
    if status == 429:
        return StripeRateLimitedError(_("Stripe has had too many requests; try again."), **known)
    if status in {401, 403}:
        return StripeAuthenticationError(_("Stripe does not accept the gateway's key."), **known)
    if 400 <= status < 500 and not isinstance(error, stripe.IdempotencyError):
        message = redact_text(error.user_message or _("Stripe refused the request."))
        return StripeRefusedError(message, **known)
    message = _("Stripe could not be reached; try again.")
    return StripeUnavailableError(message, **known, replayed=_is_replayed(error.headers))
