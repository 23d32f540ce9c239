"""Only Stripe's own signature is accepted, in any form of header, and it tells which secret made it."""

from __future__ import annotations

import time

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from octo_stripe_gateway.exceptions import SignatureError
from octo_stripe_gateway.webhooks.views import find_signer

SECRETS = {"": ["whsec_own"], "tokyo": ["whsec_new", "whsec_old"], "paris": []}
BODY = '{"id": "evt_1", "é": "\\u0000"}'
# In the future, which neither we nor the SDK reject, so that it stays valid however long the tests take.
RECENT, LONG_AGO = 4_000_000_000, 1_000_000_000


def sign(body: str, *, secret: str, at: int | None = None) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, at))


@pytest.mark.parametrize(
    ("secret", "name"), [("whsec_own", ""), ("whsec_new", "tokyo"), ("whsec_old", "tokyo")]
)
def test_the_account_whose_secret_signed_is_named(secret: str, name: str) -> None:
    assert find_signer(BODY.encode, header=sign(BODY, secret=secret), secrets=SECRETS) == name


def test_one_of_several_signatures_will_do() -> None:
    header = f"{sign(BODY, secret='whsec_gone')},{sign(BODY, secret='whsec_own').partition(',')[2]},v0=x"
    assert find_signer(BODY.encode, header=header, secrets=SECRETS) == ""


@pytest.mark.parametrize("secret", ["", " ", "\n"])
def test_no_secret_signs_nothing(secret: str) -> None:
    header = sign(BODY, secret=secret)
    with pytest.raises(SignatureError):
        find_signer(BODY.encode, header=header, secrets={"": [secret]})


def test_body_that_is_not_utf_8_does_not_pass_for_its_replacement() -> None:
    with pytest.raises(SignatureError):
        find_signer(lambda: b"\xff", header=sign("\ufffd", secret="whsec_own"), secrets=SECRETS)


def is_taken(header: str, *, body: str) -> bool:
    try:
        return find_signer(body.encode, header=header, secrets={"own": ["whsec_own"]}) == "own"
    except SignatureError:
        return False


def is_taken_by_the_sdk(header: str, *, body: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, "whsec_own", 300))
    except (stripe.SignatureVerificationError, TypeError, ValueError):
        return False


@pytest.mark.parametrize("added", ["v1", "v1=", "t", "t=", "v1=\u00e9", "t=x"])
@pytest.mark.parametrize("write", ["{added},{valid}", "{valid},{added}"])
def test_a_header_that_stripe_would_not_write_is_refused(write: str, added: str) -> None:
    valid = sign(BODY, secret="whsec_own", at=RECENT)
    assert is_taken(valid, body=BODY)
    assert not is_taken(write.format(added=added, valid=valid), body=BODY)


items = st.one_of(
    st.sampled_from(["t=", "v1=", "v0=x", "t=x", "=", "", "v1", "v1=é", f"t={RECENT}", f"t= {RECENT}"]),
    st.sampled_from(sign(BODY, secret="whsec_own", at=RECENT).split(",")),
    st.sampled_from(sign(BODY, secret="whsec_own", at=LONG_AGO).split(",")),
    st.sampled_from(sign(BODY, secret="whsec_other", at=RECENT).split(",")),
    st.text("tv01=, x٣", max_size=6),
)


@given(st.lists(items, max_size=4).map(",".join))
def test_a_header_is_taken_only_where_the_sdk_takes_it(header: str) -> None:
    assert not is_taken(header, body=BODY) or is_taken_by_the_sdk(header, body=BODY)


@given(st.text(st.characters(codec="utf-8")), st.sampled_from([RECENT, LONG_AGO]))
def test_what_stripe_signs_is_taken_as_the_sdk_takes_it(body: str, at: int) -> None:
    header = sign(body, secret="whsec_own", at=at)
    assert is_taken(header, body=body) == is_taken_by_the_sdk(header, body=body) == (at == RECENT)


@pytest.mark.parametrize(("age", "taken"), [(0, True), (300, True), (301, False)])
def test_a_signature_is_too_old_a_second_after_the_tolerance(
    age: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = sign(BODY, secret="whsec_own", at=RECENT)
    monkeypatch.setattr(time, "time", lambda: float(RECENT + age))
    assert is_taken(header, body=BODY) == taken
