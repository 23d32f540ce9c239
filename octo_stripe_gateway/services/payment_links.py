"""Pay links: addresses at which a payable is paid for without an account."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hmac
import json
import uuid as uuids
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError, StripeError, UnprocessableError
from octo_stripe_gateway.ledger.transactions import outside_transaction, write_transaction
from octo_stripe_gateway.models import (
    Installation,
    PayableLock,
    Payment,
    PaymentLink,
    compute_dues,
    is_priced,
    resolve,
)
from octo_stripe_gateway.services.dues import get_amount_to_pay
from octo_stripe_gateway.services.payments import cancel_payment
from octo_stripe_gateway.stripe.times import format_utc

SIGNATURE_BYTES = 16
UUID_BYTES = 16


def create_payment_link(payable: Model, *, purpose: str = "", expires_at: dt.datetime | None = None) -> str:
    """Return an address at which anyone who has it can pay for a payable, until it expires.

    The purpose is a payment's; by default, what is due next when the page is opened. With the setting
    `SITE_URL` it is a whole address, else a path. Asking for the same again returns the same link. Raises
    UnprocessableError where nothing can be paid, and ConfigurationError without a `SIGNING_KEY`.
    """
    payable = resolve(payable)
    if not is_priced(payable):
        raise UnprocessableError(_("It has no price to pay."))
    if expires_at and expires_at <= timezone.now():
        message = _("The time to pay for this has run out.")
        raise UnprocessableError(message, expires_at=format_utc(expires_at))
    with write_transaction():
        lock = PayableLock.ledger.hold(payable)
        dues = compute_dues(payable, Payment.ledger.list_of_payable(payable), kept=lock.amount_kept)
        if dues.kept is not None:
            raise UnprocessableError(_("It was canceled."))
        get_amount_to_pay(payable, dues, purpose=purpose)
        same = PaymentLink.ledger.of_payable(payable).filter(purpose=purpose, expires_at=expires_at).first()
        link = same or PaymentLink(
            payable_type_id=lock.payable_type_id,
            payable_id=lock.payable_id,
            purpose=purpose,
            expires_at=expires_at,
        )
        if same is None:
            PaymentLink.ledger.insert(link)
    token = next(_list_tokens(link), b"").decode()
    if not token:
        raise ConfigurationError(_("The payment gateway is not configured."))
    try:
        path = reverse("octo_stripe_gateway:pay", args=[token])
    except NoReverseMatch:
        raise ConfigurationError("urls.py doesn't include octo_stripe_gateway.urls.") from None
    return gateway_settings.site_url.rstrip("/") + path


@outside_transaction
def revoke_payment_links(payable: Model, *, address: str = "") -> int:
    """Revoke one of a payable's links by its address, or all of them, and return how many were.

    Its owner's open payments are canceled, since a page that is open could still pay them; money that Stripe
    has taken counts. Stripe cancels none that is paid: https://docs.stripe.com/api/payment_intents/cancel.
    Raises ConfigurationError without the key of a payment's account.
    """
    payable = resolve(payable)
    links = PaymentLink.ledger.of_payable(payable)
    if address:
        link = find_payment_link(address.rstrip("/").rpartition("/")[2])
        links = links.filter(pk=link.pk) if link else links.none()
    revoked = links.update(revoked_at=timezone.now())
    owner = get_link_owner(payable)
    for payment in Payment.ledger.list_of_payable(payable) if revoked else ():
        if payment.is_open and payment.owner == owner:
            with suppress(UnprocessableError, StripeError):
                # Paid just now; or else upkeep tries again.
                cancel_payment(payment, may_void=False)
    return revoked


def find_payment_link(token: str, *, ended: bool = False) -> PaymentLink | None:
    """Return a token's link, None if it is unknown or forged; one that has ended only with `ended`."""
    try:
        read = base64.urlsafe_b64decode(f"{token}=".encode())
    except (binascii.Error, ValueError):
        return None
    if len(read) != UUID_BYTES + SIGNATURE_BYTES:
        return None
    uuid = uuids.UUID(bytes=read[:UUID_BYTES])
    links = PaymentLink.ledger.all()
    link = (links if ended else links.usable()).filter(uuid=uuid).first()
    # The whole token is compared: other texts may stand for the same bytes.
    is_ours = link and any(hmac.compare_digest(each, token.encode()) for each in _list_tokens(link))
    return link if is_ours else None


def get_link_owner(payable: Any) -> str:
    """Return who owns the payments that are made by a payable's links.

    The payable may say so in `get_payment_owner()`; otherwise it is the owner of its latest payment.
    """
    if hasattr(payable, "get_payment_owner"):
        return str(payable.get_payment_owner())
    payments = Payment.ledger.list_of_payable(payable)
    return payments[-1].owner if payments else ""


def _list_tokens(link: PaymentLink) -> Iterator[bytes]:
    """Yield a link's token by each signing key, the current one first."""
    ends = link.expires_at and link.expires_at.timestamp()
    told = [
        "pay link",
        Installation.ledger.get_own().name,
        str(link.uuid),
        link.payable_name,
        link.purpose,
        ends,
    ]
    for key in gateway_settings.get_signing_keys(livemode=gateway_settings.moves_real_money):
        signature = hmac.digest(key.encode(), json.dumps(told).encode(), "sha256")[:SIGNATURE_BYTES]
        yield base64.urlsafe_b64encode(link.uuid.bytes + signature).rstrip(b"=")
