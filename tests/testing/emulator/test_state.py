"""State that outlasts the process."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import Fault, StateError, StripeEmulator
from tests.testing.emulator.conftest import AMOUNT, OPEN, PAID, Endpoint

KEY: Any = {"idempotency_key": "order-1"}
SERVE = """
import sys
from octo_stripe_gateway.testing.emulator import StripeEmulator
with StripeEmulator(state=sys.argv[1]) as emulator:
    print(emulator.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stripe.json"


def connect(url: str, *, key: str = "sk_test_x") -> Any:
    return sdk.StripeClient(key, base_addresses={"api": url}, max_network_retries=0).v1


@contextmanager
def serve(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an emulator in a process of its own, to be killed."""
    command = [sys.executable, "-c", SERVE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def live(stripe: StripeEmulator) -> dict[str, Any]:
    """Do one of everything, and return what the API shows of it."""
    api = connect(stripe.url)
    intent = api.payment_intents.create(params=PAID)
    api.refunds.create(params={"payment_intent": intent.id, "amount": 500})
    stripe.close_dispute(stripe.open_dispute(intent.id, amount=100)["id"], won=True)
    stripe.warn_of_fraud(intent.id)
    held = api.payment_intents.create(params={**PAID, "capture_method": "manual"})
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    typed: Any = {"number": "4111111111111111", "exp_month": 12, "exp_year": 2050}
    api.payment_methods.create(params={"type": "card", "card": typed})
    stripe.connect_account("acct_1Osaka")
    api.payment_intents.create(params=AMOUNT, options={"stripe_account": "acct_1Osaka"})
    return show(stripe)


def show(stripe: StripeEmulator) -> dict[str, Any]:
    shown: dict[str, Any] = {
        name: stripe._store.copies(name)
        for name in ("payment_intent", "charge", "refund", "dispute", "balance_transaction", "event")
    }
    shown["log"] = {event.id: (event.payload, event.deliveries) for event in stripe.events}
    return shown


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_everything_is_there_again(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        before = live(stripe)
    with StripeEmulator(state=path) as again:
        assert show(again) == before
        assert list(again.payment_intents) == list(before["payment_intent"])
        api = connect(again.url)
        (refund,) = api.refunds.list().data
        assert again.settle_refund(refund.id, status="failed")["status"] == "failed"
        told = again.event("refund.updated").payload["data"]["previous_attributes"]
        assert told == {"status": "succeeded"}
        newest = api.payment_intents.create(params=AMOUNT)
        assert api.payment_intents.list().data[0].id == newest.id
        page = api.payment_intents.list(params={"starting_after": newest.id, "limit": 2})
        assert [one.id for one in page.data] == list(before["payment_intent"])[1::-1]


def test_payment_methods_behave_as_before(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        api = connect(stripe.url)
        declined: Any = {"number": "4000000000000002", "exp_month": 12, "exp_year": 2050}
        method = api.payment_methods.create(params={"type": "card", "card": declined})
        intent = api.payment_intents.create(params=OPEN)
    with StripeEmulator(state=path) as again:
        error = again.confirm(intent.id, method.id)["last_payment_error"]
        assert error["decline_code"] == "generic_decline"


def test_idempotency_keys_outlast_the_process(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        created = connect(stripe.url).payment_intents.create(params=AMOUNT, options=KEY)
        stripe.add_fault(Fault(status=500, when="after"))
        with pytest.raises(sdk.APIError):
            connect(stripe.url).payment_intents.create(params=AMOUNT, options={"idempotency_key": "k"})
    with StripeEmulator(state=path) as again:
        api = connect(again.url)
        assert api.payment_intents.create(params=AMOUNT, options=KEY).id == created.id
        with pytest.raises(sdk.IdempotencyError):
            api.payment_intents.create(params={**AMOUNT, "amount": 1}, options=KEY)
        with pytest.raises(sdk.APIError):
            api.payment_intents.create(params=AMOUNT, options={"idempotency_key": "k"})
        assert len(again.payment_intents) == 2


def test_events_that_were_not_delivered_are_delivered_then(path: Path) -> None:
    endpoint = Endpoint()
    with StripeEmulator(state=path, webhook_url=endpoint.url) as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
        stripe.wait_for_deliveries()
        stripe.delivery_delay = 60
        connect(stripe.url).payment_intents.create(params=OPEN)
    assert len(endpoint.received) == 1
    make_due(path)
    with StripeEmulator(state=path, webhook_url=endpoint.url) as again:
        again.wait_for_deliveries()
        assert endpoint.types() == ["payment_intent.created"] * 2
        assert [len(event.deliveries) for event in again.events] == [1, 1]
    endpoint.close()


def make_due(path: Path) -> None:
    """Let the remaining wait of all jobs pass."""
    state = json.loads(path.read_text())
    parts = state["parts"]
    assert parts["jobs"]
    parts["jobs"] = [[0, name, arguments] for _, name, arguments in parts["jobs"]]
    path.write_text(f"{json.dumps(state)}\n")


def test_an_event_that_was_refused_is_sent_again_after_a_restart(path: Path) -> None:
    endpoint = Endpoint()
    endpoint.statuses = [500]
    with StripeEmulator(state=path, webhook_url=endpoint.url, retry_delays=[60]) as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
        wait_until(lambda: bool(stripe.events[0].deliveries))
    make_due(path)
    with StripeEmulator(state=path, webhook_url=endpoint.url, retry_delays=[60]) as again:
        again.wait_for_deliveries()
        assert [delivery.status for delivery in again.events[0].deliveries] == [500, 200]
    endpoint.close()


def test_withheld_events_stay_withheld(path: Path) -> None:
    endpoint = Endpoint()
    with StripeEmulator(state=path, webhook_url=endpoint.url) as stripe:
        stripe.withhold("payment_intent.*")
        connect(stripe.url).payment_intents.create(params=AMOUNT)
    with StripeEmulator(state=path, webhook_url=endpoint.url) as again:
        connect(again.url).payment_intents.create(params=AMOUNT)
        assert len(again.withheld) == 2
        again.release()
        again.wait_for_deliveries()
        assert len(endpoint.received) == 2
    endpoint.close()


def test_registered_endpoints_and_accounts_outlast_the_process(path: Path) -> None:
    endpoint = Endpoint()
    with StripeEmulator(state=path) as stripe:
        tokyo = stripe.add_account("sk_test_tokyo")
        stripe.restrict("rk_test_x", "rak_charge_read")
        stripe.drain_balance()
        stripe.exchange("usd", into="eur", rate=0.9)
        params: Any = {"url": endpoint.url, "enabled_events": ["*"]}
        made = connect(stripe.url, key="sk_test_tokyo").webhook_endpoints.create(params=params)
    with StripeEmulator(state=path) as again:
        assert connect(again.url, key="sk_test_tokyo").accounts.retrieve_current().id == tokyo.id
        with pytest.raises(sdk.PermissionError):
            connect(again.url, key="rk_test_x").payment_intents.list()
        connect(again.url, key="sk_test_tokyo").payment_intents.create(params=AMOUNT)
        again.wait_for_deliveries()
        ((headers, body),) = endpoint.received
        assert sdk.Webhook.construct_event(body, headers["Stripe-Signature"], made.secret)
        paid = connect(again.url).payment_intents.create(params=PAID)
        assert [each["currency"] for each in again.balance_transactions.values()] == ["eur"]
        with pytest.raises(sdk.InvalidRequestError, match="Insufficient funds"):
            connect(again.url).refunds.create(params={"payment_intent": paid.id})
    endpoint.close()


def test_what_was_to_settle_settles_after_a_restart(path: Path) -> None:
    with StripeEmulator(state=path, settle_after=60) as stripe:
        params: Any = {**PAID, "payment_method": "pm_usBankAccount"}
        intent = connect(stripe.url).payment_intents.create(params=params)
    make_due(path)
    with StripeEmulator(state=path) as again:
        wait_until(lambda: again.payment_intents[intent.id]["status"] == "succeeded")


def test_an_older_version_s_endpoint_is_told_as_before(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        stripe.webhook_api_version = "2024-06-20"
        held = connect(stripe.url).payment_intents.create(params={**PAID, "capture_method": "manual"})
        connect(stripe.url).payment_intents.capture(held.id, params={"amount_to_capture": 1500})
        before = stripe.signed("charge.refunded", timestamp=1)
    with StripeEmulator(state=path) as again:
        assert again.signed("charge.refunded", timestamp=1, api_version="2024-06-20") == before
        again.webhook_api_version = "2024-06-20"
        connect(again.url).refunds.create(params={"payment_intent": held.id})
        told = again.event("charge.refunded").payload["data"]
        assert told["object"]["amount_refunded"] == 2000
        assert told["previous_attributes"]["amount_refunded"] == 500


def test_an_answer_that_was_given_outlasts_a_kill(path: Path) -> None:
    with serve(path) as (process, url):
        created = connect(url).payment_intents.create(params=AMOUNT, options=KEY)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serve(path) as (_, url):
        assert connect(url).payment_intents.retrieve(created.id).amount == 2000
        assert connect(url).payment_intents.create(params=AMOUNT, options=KEY).id == created.id
        assert len(connect(url).payment_intents.list().data) == 1


def test_many_at_once_are_all_kept(path: Path) -> None:
    with StripeEmulator(state=path) as stripe, ThreadPoolExecutor(8) as pool:
        ids = list(
            pool.map(lambda _: connect(stripe.url).payment_intents.create(params=AMOUNT).id, range(40))
        )
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        kept = {name for line in lines for name in line["records"]["store"]}
        assert {f"object/{intent_id}" for intent_id in ids} <= kept


def test_the_file_is_replaced_as_a_whole_and_private(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StripeEmulator(state=path) as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
        before = path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

        def fail(*_: object) -> None:
            raise OSError("The disk is full.")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(OSError, match="disk is full"):
                stripe.reset()
        assert path.read_text() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_reset_empties_the_file(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
        stripe.reset()
    with StripeEmulator(state=path) as again:
        assert not again.payment_intents


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 0}', "\x00"])
def test_a_file_that_holds_something_else_is_refused_and_left(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(StateError, match=r"stripe\.json"):
        StripeEmulator(state=path)
    assert path.read_text() == text


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="There is no folder"):
        StripeEmulator(state=tmp_path / "nowhere" / "stripe.json")


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with StripeEmulator() as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
    assert list(tmp_path.iterdir()) == []


def test_onlookers_are_told_of_events_and_deliveries() -> None:
    seen: list[Any] = []
    endpoint = Endpoint()
    endpoint.statuses, endpoint.answer = [503, 200], b"Not now."
    with StripeEmulator(
        webhook_url=endpoint.url,
        retry_delays=[0.01],
        on_event=lambda event: seen.append(event.type),
        on_delivery=lambda _, delivery: seen.append((delivery.url, delivery.status, delivery.error)),
    ) as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
        stripe.wait_for_deliveries()
    endpoint.close()
    assert seen == [
        "payment_intent.created",
        (endpoint.url, 503, "Not now."),
        (endpoint.url, 200, None),
    ]


def test_what_was_appended_is_everything(path: Path) -> None:
    """As after a kill: the file is never written anew at the end."""
    with StripeEmulator(state=path) as stripe:
        connect(stripe.url).payment_intents.create(params=AMOUNT)
        before = live(stripe)
        api = connect(stripe.url)
        endpoint = api.webhook_endpoints.create(params={"url": "http://x.example", "enabled_events": ["*"]})
        api.webhook_endpoints.delete(endpoint.id)
        before = show(stripe)
        copy = path.with_name("killed.json")
        copy.write_bytes(path.read_bytes())
        assert len(copy.read_text().splitlines()) > 10
    with StripeEmulator(state=copy) as again:
        assert show(again) == before
        assert list(again.payment_intents) == list(before["payment_intent"])
        assert not again.webhook_endpoints


def test_a_line_that_was_cut_off_is_left_out(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        api = connect(stripe.url)
        first, second = (api.payment_intents.create(params=AMOUNT).id for _ in "12")
        copy = path.with_name("killed.json")
        copy.write_bytes(path.read_bytes()[:-20])
    with StripeEmulator(state=copy) as again:
        assert (first in again.payment_intents, second in again.payment_intents) == (True, False)
        third = connect(again.url).payment_intents.create(params=AMOUNT).id
        copy_again = path.with_name("again.json")
        copy_again.write_bytes(copy.read_bytes())
    with StripeEmulator(state=copy_again) as last:
        assert list(last.payment_intents) == [*again.payment_intents]
        assert third in last.payment_intents


def test_a_change_costs_what_changed_and_not_what_is_there(path: Path) -> None:
    with StripeEmulator(state=path) as stripe:
        api = connect(stripe.url)
        lengths = []
        for _ in range(60):
            before = path.stat().st_size if path.exists() else 0
            api.payment_intents.create(params=PAID)
            lengths.append(path.stat().st_size - before)
    assert max(lengths[30:]) < 1.2 * max(lengths[1:5])


def test_a_long_file_is_written_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octo_stripe_gateway.testing.emulator.state.LEAST_TO_COMPACT", 20_000)
    with StripeEmulator(state=path) as stripe:
        api = connect(stripe.url)
        intent = api.payment_intents.create(params=AMOUNT)
        for at in range(40):
            api.payment_intents.update(intent.id, params={"metadata": {"at": str(at)}})
        assert len(path.read_text().splitlines()) < 30
        assert stripe.payment_intents[intent.id]["metadata"] == {"at": "39"}
