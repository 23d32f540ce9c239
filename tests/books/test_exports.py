"""What is exported is what Stripe booked, to the cent, and harmless to a spreadsheet."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.books import exports
from octo_stripe_gateway.models import BalanceTransaction, Payment
from octo_stripe_gateway.models.batches import iterate_batches
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking
from tests.support.ledger import assert_export_equals, read_export

pytestmark = pytest.mark.django_db

DAY = 86_400


def export(*args: str) -> list[dict[str, str]]:
    out = io.StringIO()
    call_command("export_payments", *args, stdout=out)
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


def pay(stripe: StripeEmulator, *, amount: int = 2000, **options: Any) -> Payment:
    payment = services.create_payment(amount, **({"currency": "usd"} | options)).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    return services.complete_payment(payment)


def sync_all() -> None:
    for payment in Payment.objects.all():
        services.sync_payment(payment)
    run_upkeep(limit=1000, threads=1)


def mix(stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch, *, days: int = 3) -> None:
    """Make everything happen that moves money, over some days."""
    now = int(timezone.now().timestamp())
    stripe.exchange("jpy", into="usd", rate=0.0064)
    for day in range(days):
        monkeypatch.setattr(stripe, "clock", lambda moment=now + day * DAY: moment)
        one, other, third = (pay(stripe, amount=2000 + 10 * day) for _each in range(3))
        pay(stripe, amount=30_000, currency="jpy")
        services.refund_payment(one, amount=700)
        services.refund_payment(other)
        refund = stripe.refund(third.stripe_payment_intent_id or "", amount=300)
        stripe.settle_refund(refund["id"], status="failed")
        for won in (True, False):
            disputed = pay(stripe, currency="eur")
            dispute = stripe.open_dispute(disputed.stripe_payment_intent_id or "")
            stripe.close_dispute(dispute["id"], won=won)
    sync_all()


def test_movements_of_each_day_equal_stripes_balance(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix(stripe, monkeypatch)
    assert_export_equals(stripe)
    kinds = Counter(line["kind"] for line in export("--movements"))
    assert kinds == {"payment": 18, "refund": 12, "dispute": 9, "fee": 24}


def test_movements_are_exported_by_when_they_moved(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix(stripe, monkeypatch, days=2)
    middle = timezone.now() + dt.timedelta(hours=12)
    before, after = export("--movements", "--to", str(middle)), export("--movements", "--from", str(middle))
    assert len(before) == len(after) > 0
    assert before + after == export("--movements")
    assert max(line["utc_moved_at"] for line in before) < min(line["utc_moved_at"] for line in after)


def test_payment_is_exported_as_one_line(stripe: StripeEmulator) -> None:
    stripe.exchange("jpy", into="usd", rate=0.0064)
    booking = Booking.objects.create(price=20_000, currency="jpy")
    options = {"payable": booking, "reseller_reference": "HU77"}
    payment = pay(stripe, amount=20_000, currency="jpy", **options)
    Payment.objects.update(owner="key:viator")
    run_upkeep(limit=10, threads=1)
    (line,) = export()
    assert {name: line[name] for name in ("payment", "payment_intent", "owner", "reseller_reference")} == {
        "payment": str(payment.uuid),
        "payment_intent": payment.stripe_payment_intent_id,
        "owner": "key:viator",
        "reseller_reference": "HU77",
    }
    assert (line["amount"], line["currency"], line["decimals"]) == ("20000", "jpy", "0")
    assert (line["settlement_currency"], line["settlement_decimals"]) == ("usd", "2")
    assert int(line["fee"]) + int(line["net"]) == 12_800
    assert line["exchange_rate"] == "0.0064"
    assert (line["payable_type"], line["payable_id"]) == ("shop.booking", str(booking.pk))
    assert (line["card_brand"], line["card_last4"]) == ("visa", "4242")
    assert line["utc_created_at"].endswith("Z")


def test_value_of_a_movement_has_its_currencys_decimals(stripe: StripeEmulator) -> None:
    pay(stripe, amount=20_000, currency="jpy")
    services.refund_payment(pay(stripe), amount=700)
    run_upkeep(limit=10, threads=1)
    values = {(line["kind"], line["value"]) for line in export("--movements")}
    assert values == {
        ("payment", "20000"),
        ("fee", "-610"),
        ("payment", "20.00"),
        ("fee", "-0.88"),
        ("refund", "-7.00"),
    }


def test_payments_are_exported_by_when_they_were_created(db: None) -> None:
    for day in (1, 2, 3):
        payment = PaymentFactory.create(reseller_reference=f"day {day}")
        Payment.objects.filter(pk=payment.pk).update(created_at=dt.datetime(2026, 1, day, tzinfo=dt.UTC))
    lines = export("--from", "2026-01-02T00:00:00Z", "--to", "2026-01-03T00:00:00Z")
    assert [line["reseller_reference"] for line in lines] == ["day 2"]


def test_export_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PaymentFactory.create()
    path = tmp_path / "payments.csv"
    call_command("export_payments", "--output", str(path))
    assert path.read_bytes().count(b"\r\n") == 2
    assert "1 line written" in capsys.readouterr().err
    with pytest.raises(CommandError, match="can't be written"):
        call_command("export_payments", "--output", str(tmp_path / "missing" / "payments.csv"))


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d"])
def test_text_is_never_a_formula(sign: str) -> None:
    text = f'{sign}HYPERLINK("https://evil.example";"x")'
    PaymentFactory.create(reseller_reference=text, owner="key:=1")
    (line,) = export()
    assert line["reseller_reference"] == f"'{text}"
    assert line["owner"] == "key:=1"


def test_many_are_read_in_batches(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    for _each in range(25):
        PaymentFactory.create()
    monkeypatch.setattr(iterate_batches, "__kwdefaults__", {"size": 10})
    with django_assert_max_num_queries(6):
        lines = export()
    assert len({line["payment"] for line in lines}) == 25


def test_lines_are_made_one_by_one() -> None:
    PaymentFactory.create()
    lines = exports.export_payments(Payment.objects.all())
    assert next(lines).startswith("utc_created_at,")
    Payment.objects.update(reseller_reference="changed meanwhile")
    assert "changed meanwhile" in next(lines)


def test_movements_of_payments_leave_out_others(stripe: StripeEmulator) -> None:
    one, _other = pay(stripe), pay(stripe)
    run_upkeep(limit=10, threads=1)
    lines = read_export(exports.export_movements_of(Payment.objects.filter(pk=one.pk)))
    assert {line["payment"] for line in lines} == {str(one.uuid)}
    assert BalanceTransaction.objects.count() == 2
