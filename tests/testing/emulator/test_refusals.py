"""Sends what Stripe's documentation says is refused, row by row: see `refusals.md`."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
import requests

from tests.testing.emulator.conftest import OPEN, PAID

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator import StripeEmulator

TABLE = Path(__file__).with_name("refusals.md").read_text()
LINES = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line[:1] == "|"
]
NAMES = {
    "{41}": "k" * 41,
    "{256}": "k" * 256,
    "{501}": "v" * 501,
    "{51 keys}": "&".join(f"metadata[k{at}]=v" for at in range(51)),
    "{pay}": "amount=2000&currency=usd&confirm=true&return_url=https://shop.test",
}


@dataclasses.dataclass(frozen=True)
class Row:
    after: str
    request: str
    parameters: str
    status: str
    type: str
    code: str
    param: str
    source: str


ROWS = [Row(*line) for line in LINES if len(line) == 8 and line[0] not in ("after", "---")]
SMALLEST = [
    (int(amount), currency)
    for amount, currencies in (line for line in LINES if len(line) == 2 and line[0].isdigit())
    for currency in currencies.split()
]


def prepare(api: Any, stripe: StripeEmulator, state: str) -> dict[str, str]:
    """Bring an intent about, and return the ids that a row may name."""
    seller = stripe.connect_account("acct_1Seller")
    names = {"seller": seller}
    if state == "-":
        return names
    params = OPEN if state in ("open", "canceled") else PAID
    if state == "held":
        params = params | {"capture_method": "manual"}
    if state == "challenge":
        params = params | {"payment_method": "pm_card_authenticationRequired"}
    intent = api.payment_intents.create(params=params, options={"idempotency_key": "used"})
    names |= {"intent": intent.id, "charge": intent.latest_charge or ""}
    if state == "canceled":
        api.payment_intents.cancel(intent.id)
    if state == "refunded":
        names["refund"] = api.refunds.create(params={"payment_intent": intent.id}).id
    if state in ("disputed", "lost"):
        names["dispute"] = stripe.open_dispute(intent.id)["id"]
    if state == "lost":
        stripe.close_dispute(names["dispute"], won=False)
    return names


def send(stripe: StripeEmulator, row: Row, *, names: dict[str, str]) -> requests.Response:
    texts = NAMES | {f"{{{name}}}": value for name, value in names.items()}
    filled = re.compile("|".join(map(re.escape, texts)))
    request, parameters = (
        filled.sub(lambda found: texts[found[0]], text) for text in (row.request, row.parameters)
    )
    method, path, _, header, value = re.fullmatch(r"(\w+) (\S+)( \(([\w-]+): ?(.*)\))?", request).groups()  # type: ignore[union-attr]
    headers = {"Authorization": "Bearer sk_test_x"} | ({header: value} if header else {})
    pairs = parse_qsl(parameters, keep_blank_values=True)
    sent = {"params": pairs} if method == "GET" else {"data": pairs}
    return requests.request(method, f"{stripe.url}/v1/{path}", headers=headers, timeout=60, **sent)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.after} {row.request} {row.parameters}")
def test_what_stripe_s_pages_say_is_refused_gets_their_answer(
    api: Any, stripe: StripeEmulator, row: Row
) -> None:
    response = send(stripe, row, names=prepare(api, stripe, row.after))
    error = response.json()["error"]
    code = "/".join(filter(None, (error.get("code"), error.get("decline_code") if "/" in row.code else None)))
    got = (str(response.status_code), error["type"], code, error.get("param"))
    expected = (row.status, row.type, row.code, row.param)
    assert tuple("-" if said == "-" else one for one, said in zip(got, expected, strict=True)) == expected


@pytest.mark.parametrize(("amount", "currency"), SMALLEST)
def test_less_than_the_smallest_amount_of_a_currency_is_refused(
    stripe: StripeEmulator, amount: int, currency: str
) -> None:
    def create(of: int) -> requests.Response:
        row = Row("-", "POST payment_intents", f"amount={of}&currency={currency}", *"-----")
        return send(stripe, row, names={})

    assert create(amount).status_code == 200
    error = create(amount - 1).json()["error"]
    assert (error["code"], error["param"]) == ("amount_too_small", "amount")


def test_every_row_was_read() -> None:
    assert len(ROWS) > 100
    assert len(SMALLEST) > 30
    assert all(row.source for row in ROWS)
