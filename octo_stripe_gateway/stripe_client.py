"""The one place that talks to Stripe: pooled connections, time-outs, and Stripe's errors as ours.

The SDK is imported where it is used: it takes as long as a third of Django's own start, and a process that
never talks to Stripe never needs it.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import Account, gateway_settings
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    ConfigurationError,
    OperationInProgressError,
    StripeRateLimitedError,
    StripeRefusedError,
    StripeRejectedCredentialsError,
    StripeUnavailableError,
)
from octo_stripe_gateway.facts import REFUND_METADATA_KEY, PaymentIntentFact, RefundFact
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.redaction import RedactClientSecrets, redact_prints, redact_text

if TYPE_CHECKING:
    import stripe

logger = logging.getLogger(__name__)

POOL_SIZE = 64
EXPAND_REFUNDS = "latest_charge.refunds"

logging.getLogger("stripe").addFilter(RedactClientSecrets())


def get_account(payment: Payment) -> Account:
    """Return the account that takes the payment; raises ConfigurationError where there is no key."""
    choose = gateway_settings.stripe_account
    account = choose(payment) if choose else _get_own_account(payment)
    if not account.api_key:
        logger.error("[OctoStripeGateway] STRIPE_API_KEY is not configured")
        raise ConfigurationError(_("The payment gateway is not configured."))
    return account


def get_publishable_key(payment: Payment) -> str:
    """Return the key that browsers pay with, empty where none is configured."""
    choose = gateway_settings.stripe_account
    return (choose(payment) if choose else _get_own_account(payment)).publishable_key


def create_payment_intent(payment: Payment) -> PaymentIntentFact:
    """Ask Stripe for the payment's intent; the same payment asks for the same one."""
    answer = _call(
        payment,
        "post",
        "/v1/payment_intents",
        params=payment.stripe_params,
        idempotency_key=f"{payment.uuid}-create-{payment.stripe_attempt}",
    )
    return _read_intent(answer, at_creation=True)


def retrieve_payment_intent(payment: Payment) -> PaymentIntentFact:
    """Ask Stripe how the payment's intent stands, its charge and refunds included."""
    answer = _call(payment, "get", _get_intent_path(payment), params={"expand": [EXPAND_REFUNDS]})
    fact = _read_intent(answer)
    if fact.charge and fact.charge.has_more_refunds:
        charge = dataclasses.replace(fact.charge, refunds=tuple(list_refunds(payment)))
        return dataclasses.replace(fact, charge=charge)
    return fact


def capture_payment_intent(payment: Payment) -> PaymentIntentFact:
    """Take the money of an authorized intent, as much as the row says."""
    params: dict[str, Any] = {"expand": [EXPAND_REFUNDS]}
    if payment.amount_to_capture is not None:
        params["amount_to_capture"] = payment.amount_to_capture
    answer = _call(
        payment,
        "post",
        f"{_get_intent_path(payment)}/capture",
        params=params,
        idempotency_key=f"{payment.uuid}-capture-{payment.stripe_attempt}",
    )
    return _read_change(payment, answer)


def cancel_payment_intent(payment: Payment) -> PaymentIntentFact:
    """Give up the payment's intent, and with it what is authorized."""
    answer = _call(
        payment,
        "post",
        f"{_get_intent_path(payment)}/cancel",
        params={},
        idempotency_key=f"{payment.uuid}-cancel-{payment.stripe_attempt}",
    )
    return _read_change(payment, answer)


def create_refund(refund: Refund) -> RefundFact:
    """Ask Stripe for the refund; the same row asks for the same one."""
    params: dict[str, Any] = {
        "payment_intent": _get_intent_id(refund.payment),
        "amount": refund.amount,
        "metadata": {REFUND_METADATA_KEY: str(refund.uuid)},
    }
    if refund.reason:
        params["reason"] = refund.reason
    answer = _call(
        refund.payment,
        "post",
        "/v1/refunds",
        params=params,
        idempotency_key=f"{refund.uuid}-{refund.stripe_attempt}",
    )
    made: Any = answer.data
    return RefundFact.from_object(made, as_of=made["created"] * 1000)


def find_refund(refund: Refund) -> RefundFact | None:
    """Look for the refund at Stripe, for when an earlier call's answer was lost."""
    refunds = list_refunds(refund.payment)
    return next((fact for fact in refunds if fact.refund_uuid == str(refund.uuid)), None)


def list_refunds(payment: Payment) -> list[RefundFact]:
    """Ask Stripe for all refunds of the payment."""
    refunds: list[RefundFact] = []
    params: dict[str, Any] = {"payment_intent": _get_intent_id(payment), "limit": 100}
    while True:
        page = _call(payment, "get", "/v1/refunds", params=params)
        answer: Any = page.data
        as_of = _get_as_of(page)
        refunds += [RefundFact.from_object(each, as_of=as_of) for each in answer["data"]]
        if not answer["has_more"]:
            return refunds
        params["starting_after"] = refunds[-1].id


def _get_own_account(payment: Payment) -> Account:
    return Account(
        gateway_settings.stripe_api_key,
        gateway_settings.stripe_publishable_key,
        payment.stripe_account,
    )


def _call(
    payment: Payment,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any],
    idempotency_key: str = "",
) -> stripe.StripeResponse:
    import stripe

    # Raw, because the SDK takes longer to make its objects of an answer than to fetch it.
    account = get_account(payment)
    options: stripe.RequestOptions = {}
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    if account.stripe_account:
        options["stripe_account"] = account.stripe_account
    try:
        client = _get_client(account.api_key)
        answer: stripe.StripeResponse = client.raw_request(method, path, **{**params, **options})
    except stripe.StripeError as error:
        raise _translate_error(error, payment=payment) from None
    return answer


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


def _read_intent(answer: stripe.StripeResponse, *, at_creation: bool = False) -> PaymentIntentFact:
    stripe_object: Any = answer.data
    # A replayed answer shows the intent as it was when it was made.
    as_of = stripe_object["created"] * 1000 if at_creation else _get_as_of(answer)
    return PaymentIntentFact.from_object(stripe_object, as_of=as_of)


def _read_change(payment: Payment, answer: stripe.StripeResponse) -> PaymentIntentFact:
    # A replayed answer shows the charge as it was, without what was refunded since.
    return retrieve_payment_intent(payment) if _is_replayed(answer.headers) else _read_intent(answer)


def _is_replayed(headers: Mapping[str, str] | None) -> bool:
    return (headers or {}).get("Idempotent-Replayed") == "true"


def _get_as_of(answer: stripe.StripeResponse) -> int:
    date = answer.headers.get("Date")
    seconds = parsedate_to_datetime(date).timestamp() if date else time.time()
    return int(seconds) * 1000


def _get_intent_path(payment: Payment) -> str:
    return f"/v1/payment_intents/{quote(_get_intent_id(payment), safe='')}"


def _get_intent_id(payment: Payment) -> str:
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
    if status == 409:
        return OperationInProgressError(_("The same operation is still running; try again."))
    if status == 429:
        return StripeRateLimitedError(_("Stripe has had too many requests; try again."))
    if status in {401, 403}:
        return StripeRejectedCredentialsError(_("Stripe does not accept the gateway's key."))
    if 400 <= status < 500 and not isinstance(error, stripe.IdempotencyError):
        message = redact_text(error.user_message or _("Stripe refused the request."))
        return StripeRefusedError(message, stripe_code=code)
    message = _("Stripe could not be reached; try again.")
    return StripeUnavailableError(message, stripe_code=code, replayed=_is_replayed(error.headers))
