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
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import Account, Secret, gateway_settings
from octo_stripe_gateway.exceptions import (
    ConfigurationError,
    StripeAuthenticationError,
    StripeBusyError,
    StripeKeyUsedError,
    StripeRateLimitedError,
    StripeRefusedError,
    StripeUnavailableError,
)
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.redaction import (
    RedactClientSecrets,
    get_logger,
    hide_client_secrets,
    redact_prints,
    redact_text,
)
from octo_stripe_gateway.stripe.snapshots import (
    BalanceTransactionSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
    Snapshot,
)

if TYPE_CHECKING:
    import stripe

logger = get_logger(__name__)

S = TypeVar("S", bound=Snapshot)

POOL_SIZE = 64
EXPAND_REFUNDS = "latest_charge.refunds"
PAGE_SIZE = 100
UNAUTHORIZED, FORBIDDEN = 401, 403
# An intent that isn't there, and a secret for it that isn't one.
NO_INTENT = "pi_octo_stripe_gateway"
NO_SECRET = f"{NO_INTENT}_none"

logging.getLogger("stripe").addFilter(RedactClientSecrets())


def get_account(name: str) -> Account:
    """Return the account of that name; raises ConfigurationError where there is no key to ask it with."""
    account = gateway_settings.get_account(name)
    if not account.api_key:
        logger.error("[OctoStripeGateway] STRIPE_API_KEY is not configured")
        raise ConfigurationError(_("The payment gateway is not configured."))
    return account


def get_publishable_key(name: str) -> str:
    """Return the key that browsers pay an account with, empty if there is no key or no such account."""
    account = gateway_settings.accounts.get(name)
    return account.publishable_key if account else ""


class Answer(NamedTuple):
    """What Stripe answered: the object, and what its support asks for."""

    stripe_object: dict[str, Any]
    as_of: int
    request_id: str
    http_status: int
    replayed: bool


def post(path: str, *, origin: Origin, parameters: Mapping[str, Any], idempotency_key: str) -> Answer:
    """Ask Stripe to do something; the same key asks for the same. Raises StripeError."""
    return _ask(origin, "post", path, params=parameters, idempotency_key=idempotency_key)


def retrieve_payment_intent(intent_id: str, *, origin: Origin) -> PaymentIntentSnapshot:
    """Ask Stripe how an intent stands, its charge, refunds and disputes included.

    What the charge brought is there where Stripe has booked it and the key may read it.
    """
    ask = partial(_ask, origin, "get", get_intent_path(intent_id))
    try:
        answer = ask(params={"expand": [EXPAND_REFUNDS, "latest_charge.balance_transaction"]})
    except StripeAuthenticationError as error:
        if error.http_status != FORBIDDEN:
            raise
        # Money must not wait for the permission to read the balance.
        answer = ask(params={"expand": [EXPAND_REFUNDS]})
    snapshot = PaymentIntentSnapshot.from_object(answer.stripe_object, as_of=answer.as_of)
    charge = snapshot.charge
    if charge and not charge.has_all_refunds:
        refunds = tuple(list_refunds(intent_id, origin=origin))
        charge = dataclasses.replace(charge, refunds=refunds, has_all_refunds=True)
    disputes = tuple(list_disputes(intent_id, origin=origin)) if charge and charge.disputed else ()
    return dataclasses.replace(snapshot, charge=charge, disputes=disputes)


def list_refunds(intent_id: str, *, origin: Origin) -> list[RefundSnapshot]:
    """Ask Stripe for all refunds of an intent."""
    return list(_list_snapshots(RefundSnapshot, origin, "/v1/refunds", payment_intent=intent_id))


def list_disputes(intent_id: str, *, origin: Origin) -> list[DisputeSnapshot]:
    """Ask Stripe for all disputes of an intent."""
    return list(_list_snapshots(DisputeSnapshot, origin, "/v1/disputes", payment_intent=intent_id))


def list_payment_intents(origin: Origin, *, since: int, until: int) -> Iterator[PaymentIntentSnapshot]:
    """Ask an account for intents that were created from one second up to another, newest first.

    A page is fetched only when it is reached. Raises StripeError.
    """
    params = {"created": {"gte": since, "lt": until}, "expand": [f"data.{EXPAND_REFUNDS}"]}
    return _list_snapshots(PaymentIntentSnapshot, origin, "/v1/payment_intents", **params)


def list_refunds_between(origin: Origin, *, since: int, until: int) -> Iterator[RefundSnapshot]:
    """Ask an account for refunds that were created from one second up to another, newest first."""
    created = {"gte": since, "lt": until}
    return _list_snapshots(RefundSnapshot, origin, "/v1/refunds", created=created)


def list_balance_transactions(
    origin: Origin, *, since: int, until: int
) -> Iterator[BalanceTransactionSnapshot]:
    """Ask an account for what moved in its balance from one second up to another, newest first."""
    return _list_booked(origin, created={"gte": since, "lt": until})


def list_balance_transactions_of(source_id: str, *, origin: Origin) -> list[BalanceTransactionSnapshot]:
    """Ask an account for what moved in its balance because of a charge, refund or dispute."""
    return list(_list_booked(origin, source=source_id))


def get_api_version() -> str:
    """Return the version of Stripe's API that the SDK speaks."""
    import stripe

    return stripe.api_version


def retrieve_object(path: str, *, origin: Origin) -> tuple[dict[str, Any], int]:
    """Ask Stripe for an object by its path, and return it with the second that it was read in.

    A charge comes with its refunds, which tell when its total is of.
    """
    params = {"expand": ["refunds"]} if path.startswith("/v1/charges/") else {}
    answer = _ask(origin, "get", path, params=params)
    return answer.stripe_object, answer.as_of


def list_event_destinations(account: str) -> list[dict[str, Any]]:
    """Ask an account for where it sends events, which webhook endpoints are a part of; one page of them."""
    params = {"limit": PAGE_SIZE, "include": ["webhook_endpoint.url"]}
    page = _ask(Origin(account), "get", "/v2/core/event_destinations", params=params).stripe_object
    return list(page["data"])


def list_webhook_endpoints(account: str) -> list[dict[str, Any]]:
    """Ask an account for its webhook endpoints; their secrets are never in the answer."""
    return [each for each, _as_of in _list(Origin(account), "/v1/webhook_endpoints")]


def create_webhook_endpoint(account: str, **params: Any) -> dict[str, Any]:
    """Create an endpoint for an account's events; no other answer holds its `secret`."""
    endpoint = _ask(Origin(account), "post", "/v1/webhook_endpoints", params=params).stripe_object
    return endpoint | {"secret": Secret(endpoint["secret"])}


def update_webhook_endpoint(account: str, endpoint_id: str, **params: Any) -> dict[str, Any]:
    """Change an endpoint of an account's; the version of its events can't be changed."""
    path = f"/v1/webhook_endpoints/{quote(endpoint_id, safe='')}"
    return _ask(Origin(account), "post", path, params=params).stripe_object


def list_payment_method_domains(origin: Origin, name: str) -> list[dict[str, Any]]:
    """Ask an account whether wallets may be shown on a domain: its registration, or nothing."""
    return [each for each, _as_of in _list(origin, "/v1/payment_method_domains", domain_name=name)]


def register_payment_method_domain(origin: Origin, name: str) -> dict[str, Any]:
    """Register a domain for an account's wallets."""
    return _ask(origin, "post", "/v1/payment_method_domains", params={"domain_name": name}).stripe_object


def validate_payment_method_domain(origin: Origin, domain_id: str) -> dict[str, Any]:
    """Have Stripe look again whether a domain is verified."""
    path = f"/v1/payment_method_domains/{quote(domain_id, safe='')}/validate"
    return _ask(origin, "post", path, params={}).stripe_object


def check_key(account: str) -> int:
    """Make a minimal call, and return the second of Stripe's clock; raises StripeError."""
    return _ask(Origin(account), "get", "/v1/payment_intents", params={"limit": 1}).as_of


def is_permitted(account: str, method: str, path: str) -> bool:
    """Tell whether the key may do this, tried on an object that doesn't exist; raises StripeError."""
    try:
        _send(get_account(account).api_key, method, path, params={})
    except StripeAuthenticationError:
        return False
    except StripeRefusedError:
        # Stripe looked for the object, so the key was let in.
        return True
    return True


def is_publishable_key_known(account: str) -> bool:
    """Tell whether Stripe knows the account's publishable key; raises StripeError."""
    key = gateway_settings.get_account(account).publishable_key
    try:
        _send(key, "get", f"/v1/payment_intents/{NO_INTENT}", params={"client_secret": NO_SECRET})
    except StripeAuthenticationError as error:
        return error.http_status != UNAUTHORIZED
    except StripeRefusedError:
        return True
    return True


def _list_booked(origin: Origin, **params: Any) -> Iterator[BalanceTransactionSnapshot]:
    listed = _list(origin, "/v1/balance_transactions", **params, expand=["data.source"])
    return (BalanceTransactionSnapshot.from_object(each) for each, _as_of in listed)


def _list_snapshots(kind: type[S], origin: Origin, path: str, **params: Any) -> Iterator[S]:
    return (kind.from_object(each, as_of=as_of) for each, as_of in _list(origin, path, **params))


def _list(origin: Origin, path: str, **params: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects of a list with the second that each was read in, page after page."""
    wanted: dict[str, Any] = {**params, "limit": PAGE_SIZE}
    while True:
        page = _ask(origin, "get", path, params=wanted)
        objects = page.stripe_object["data"]
        yield from ((each, page.as_of) for each in objects)
        if not page.stripe_object["has_more"]:
            return
        wanted["starting_after"] = objects[-1]["id"]


def _ask(origin: Origin, method: str, path: str, **asked: Any) -> Answer:
    """Ask an account, about itself or about a connected account of it; a failure is logged."""
    key, about = get_account(origin.account).api_key, f"{method.upper()} {path} of {origin}"
    return _send(key, method, path, stripe_account=origin.stripe_account, about=about, **asked)


def _send(
    api_key: str,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any],
    stripe_account: str = "",
    idempotency_key: str = "",
    about: str = "",
) -> Answer:
    """Make a call. A failure is logged with what the call is `about`, and not at all without that."""
    import stripe

    # Raw, because the SDK takes longer to build its objects than to fetch the answer.
    options: stripe.RequestOptions = {}
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    if stripe_account:
        options["stripe_account"] = stripe_account
    began = time.monotonic()
    answer: stripe.StripeResponse | None = None
    failure: BaseException | None = None
    try:
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": gateway_settings.stripe_api_base},
            http_client=_get_http_client(gateway_settings.stripe_timeout, gateway_settings.stripe_api_base),
            max_network_retries=gateway_settings.stripe_max_network_retries,
        )
        answer = client.raw_request(method, path, **{**params, **options})
    except stripe.StripeError as error:
        if about:
            logger.warning(
                "[OctoStripeGateway] Stripe refused or failed: %s, HTTP %s, code %s, request %s, %s",
                type(error).__name__,
                error.http_status,
                error.code,
                error.request_id,
                about,
            )
        if about and isinstance(error, stripe.APIConnectionError):
            is_emulated = gateway_settings.uses_built_in_keys
            hint = "; run `manage.py stripe_emulator` beside it" if is_emulated else ""
            logger.warning("[OctoStripeGateway] No answer from %s%s", gateway_settings.stripe_api_base, hint)
        failure = _translate_error(error)
    except AttributeError:
        # The SDK stumbles over JSON whose `error` is null, a list or a number.
        answer = None
    except BaseException as error:  # noqa: BLE001 - it is raised again
        # Without the SDK's frames, whose variables hold the key and the answer: error reporters show them.
        failure = error.with_traceback(None)
    if failure:
        # Raised here: within `except` its context would be the SDK's error, which has Stripe's answer.
        failure.__context__ = failure.__cause__ = None
        raise failure
    # Lists of the API's second version are the only objects that don't say what they are.
    mark = "data" if path.startswith("/v2/") else "object"
    if answer is None or not isinstance(answer.data, dict) or mark not in answer.data:
        if about:
            logger.warning("[OctoStripeGateway] An answer about %s is not Stripe's: a proxy's?", about)
        raise _make_unanswered(http_status=answer.code if answer else None)
    hide_client_secrets(answer.data)
    stripe_object: dict[str, Any] = answer.data
    date = answer.headers.get("Date")
    sent = parsedate_to_datetime(date).timestamp() if date else time.time()
    # Stripe may have read the object at any time during the call, but not before the object was made.
    created = stripe_object.get("created")
    as_of = int(sent) - math.ceil(time.monotonic() - began)
    return Answer(
        stripe_object,
        as_of=max(as_of, created) if isinstance(created, int) else max(as_of, 0),
        request_id=answer.headers.get("Request-Id", ""),
        http_status=answer.code,
        replayed=_is_replayed(answer.headers),
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
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=POOL_SIZE))
    # Otherwise each call reads the environment's proxies anew, and a .netrc that could replace the API key.
    session.proxies = requests.utils.get_environ_proxies(api_base)
    session.trust_env = False
    # Stripe redirects nobody; what does, such as a proxy's log-in page, must not get the request.
    session.max_redirects = 0
    return stripe.RequestsClient(timeout=timeout, session=session)


# Two processes must not write to one connection.
os.register_at_fork(after_in_child=_get_http_client.cache_clear)


def _is_replayed(headers: Mapping[str, str] | None) -> bool:
    return (headers or {}).get("Idempotent-Replayed") == "true"


def get_intent_path(intent_id: str) -> str:
    """Return the path of an intent in Stripe's API."""
    return f"/v1/payment_intents/{quote(intent_id, safe='')}"


def _translate_error(error: stripe.StripeError) -> Exception:
    import stripe

    body: Any = error.json_body
    described = body.get("error") if isinstance(body, dict) else None
    kind = described.get("type") if isinstance(described, dict) else None
    # Without Stripe's error object it is a proxy's answer, which says nothing whatever its status. New types
    # of error may come, and all that there are end like this.
    if not isinstance(kind, str) or not kind.endswith("_error"):
        return _make_unanswered(http_status=error.http_status)
    status = error.http_status or 0
    # A lack of balance has no code of its own, but one of its message.
    code = str(error.code or body["error"].get("message_code") or "")
    known: dict[str, Any] = {
        "stripe_code": code,
        "http_status": error.http_status,
        "request_id": error.request_id or "",
        "replayed": _is_replayed(error.headers),
    }
    if status == 409:
        return StripeBusyError(_("The same operation is still running; try again."), **known)
    if status == 429:
        return StripeRateLimitedError(_("Stripe has had too many requests; try again."), **known)
    if status in {401, 403}:
        return StripeAuthenticationError(_("Stripe does not accept the gateway's key."), **known)
    if isinstance(error, stripe.IdempotencyError):
        return StripeKeyUsedError(_("Stripe could not be reached; try again."), **known)
    if 400 <= status < 500:
        words = redact_text(error.user_message or "")
        return StripeRefusedError(words or _("Stripe refused the request."), stripe_message=words, **known)
    return _make_unanswered(**known)


def _make_unanswered(**known: Any) -> StripeUnavailableError:
    return StripeUnavailableError(_("Stripe could not be reached; try again."), **known)
