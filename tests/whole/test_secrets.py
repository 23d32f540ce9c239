"""After a run through everything, the client secret and the keys are left nowhere."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
import stripe as stripe_sdk
from django.db import connection
from django.test import Client, RequestFactory
from django.utils.log import AdminEmailHandler
from stripe import WebhookSignature

from octo_stripe_gateway import services
from octo_stripe_gateway.api.serializers import PaymentSerializer
from octo_stripe_gateway.exceptions import BadRequestError, StripeError
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.webhooks import handlers, inbox
from octo_stripe_gateway.webhooks.views import WebhookView, read_event
from tests.support.api import GatewayApi
from tests.support.frames import InjectedError, Reporter, fail_at, list_steps, watching

pytestmark = pytest.mark.django_db

CLIENT_SECRET = re.compile(r"_secret_(?!\[redacted\])")
ANY_SECRET = re.compile(rf"{CLIENT_SECRET.pattern}|sk_test_gateway|whsec_gateway|gateway-key|wrong-key")
OWN_SECRETS = ("sk_test_gateway", "whsec_gateway", "gateway-key", "wrong-key")


class Lines(logging.Handler):
    """Keeps every line that any logger writes."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.lines.append(self.format(record))


class RecordingClient(Client):
    """Keeps every answer, with the call that it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[str, str, Any]] = []

    def request(self, **request: Any) -> Any:
        answer = super().request(**request)
        self.answers.append((request["REQUEST_METHOD"], request["PATH_INFO"], answer))
        return answer


@pytest.fixture
def log() -> Iterator[Lines]:
    """Everything that any logger logs, at the lowest level."""
    handler = Lines()
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.Logger.manager.loggerDict)]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    loggers[0].addHandler(handler)
    connection.force_debug_cursor = True
    yield handler
    connection.force_debug_cursor = False
    loggers[0].removeHandler(handler)
    for logger, level, propagate in before:
        logger.setLevel(level)
        logger.propagate = propagate


def fail(_payment: Payment, snapshot: Any, **_options: Any) -> None:
    raise ZeroDivisionError(repr(snapshot))


def pay(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create({"amount": 2000, "metadata": {"note": "pi"}}, **{"Idempotency-Key": "k"}).json()
    api.create({"amount": 2000, "metadata": {"note": "pi"}}, **{"Idempotency-Key": "k"})
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_visa_chargeDeclined")
    api.complete(payment)
    stripe.confirm(payment["stripePaymentIntentId"])
    api.complete(payment)
    api.retrieve(payment)
    api.refund(payment, {"amount": 500})
    api.refund(payment)
    stripe.open_dispute(payment["stripePaymentIntentId"])
    api.capture(api.authorized(stripe))
    api.cancel(api.create().json())


def go_wrong(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    api.create({"amount": 1})
    api.create({"amount": "x"})
    api.retrieve(0)
    GatewayApi(api.client, key="wrong-key").create()
    faults = [
        Fault(),
        Fault(kind="reset"),
        Fault(kind="reset", when="after"),
        Fault(status=429),
        Fault(status=401),
    ]
    for fault in faults:
        stripe.add_fault(fault)
        api.create()
    stripe.add_fault(Fault(kind="reset", when="after"))
    api.refund(payment)


def deliver(api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    event = next(event for event in stripe.events if event.type == "payment_intent.succeeded")
    body, signature = stripe.signed(event)
    assert CLIENT_SECRET.search(body.decode())
    api.post_event(body, "t=1,v1=x")
    with monkeypatch.context() as patch:
        patch.setattr(handlers, "record", fail)
        assert api.post_event(body, signature).status_code == 500
    api.deliver(stripe)
    api.deliver(stripe)


def read_every_column() -> list[str]:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        rows = []
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows += [f"{table}: {json.dumps(row, default=str)}" for row in cursor.fetchall()]
    return rows


@pytest.fixture
def run(stripe: StripeEmulator, log: Lines, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RecordingClient]:
    def everything() -> RecordingClient:
        client = RecordingClient()
        api = GatewayApi(client)
        pay(api, stripe)
        go_wrong(api, stripe)
        deliver(api, stripe, monkeypatch)
        return client

    return everything


def test_no_secret_is_at_rest(run: Callable[[], RecordingClient]) -> None:
    run()
    rows = read_every_column()
    assert {"processed", "ignored"} <= set(WebhookEvent.objects.values_list("status", flat=True))
    assert any("octo_stripe_gateway_webhookevent" in row for row in rows)
    assert [row for row in rows if CLIENT_SECRET.search(row)] == []
    assert [row for row in rows if any(secret in row for secret in OWN_SECRETS)] == []


def test_no_secret_is_at_rest_while_an_event_fails(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_talking(_payment: Payment, _snapshot: Any, **_options: Any) -> None:
        raise ZeroDivisionError("pi_1_secret_2")

    api.paid(stripe)
    monkeypatch.setattr(handlers, "record", fail_talking)
    api.deliver(stripe)
    failed = WebhookEvent.objects.filter(status="failed")[0]
    assert failed.error_parameters["error"] == "ZeroDivisionError"
    assert [row for row in read_every_column() if CLIENT_SECRET.search(row)] == []


def test_no_secret_is_in_any_log(run: Callable[[], RecordingClient], log: Lines) -> None:
    run()
    talkers = {"stripe", "urllib3.connectionpool", "django.db.backends", "octo_stripe_gateway.webhooks.inbox"}
    assert talkers <= log.names
    assert any("_secret_[redacted]" in line for line in log.lines)
    assert {line[:120] for line in log.lines if CLIENT_SECRET.search(line)} == set()
    assert [line for line in log.lines if any(secret in line for secret in OWN_SECRETS)] == []


def test_no_answer_but_that_to_create_has_the_secret(run: Callable[[], RecordingClient]) -> None:
    answers = run().answers
    with_secret = [
        (method, path, answer.status_code)
        for method, path, answer in answers
        if CLIENT_SECRET.search(answer.content.decode() + str(answer.headers))
    ]
    assert set(with_secret) == {("POST", "/bookings/payments", 201)}
    texts = [answer.content.decode() + str(answer.headers) for _method, _path, answer in answers]
    assert [text for text in texts if any(secret in text for secret in OWN_SECRETS)] == []


@pytest.mark.slow
def test_no_variable_of_ours_shows_a_secret_wherever_it_fails(run: Callable[[], RecordingClient]) -> None:
    with watching(ANY_SECRET) as seen:
        run()
    assert "\n".join(seen) == ""


def create(api: GatewayApi, _stripe: StripeEmulator) -> Callable[[], Any]:
    return lambda: api.create({"amount": 2000, "metadata": {"note": "x"}}, **{"Octo-Env": "test"})


def complete(api: GatewayApi, stripe: StripeEmulator) -> Callable[[], Any]:
    payment = api.paid_at_stripe(stripe)
    return lambda: api.complete(payment)


def refund(api: GatewayApi, stripe: StripeEmulator) -> Callable[[], Any]:
    payment = api.paid(stripe, {"amount": 99_000_000, "currency": "usd"})
    return lambda: api.refund(payment, {"amount": 100})


def take_an_event(api: GatewayApi, stripe: StripeEmulator) -> Callable[[], Any]:
    payment = api.paid(stripe)
    intent = stripe.payment_intents[payment["stripePaymentIntentId"]]
    assert intent["client_secret"]
    return lambda: api.post_event(*signed_event("payment_intent.succeeded", intent, secret="whsec_gateway"))


def send_a_wrong_key(api: GatewayApi, _stripe: StripeEmulator) -> Callable[[], Any]:
    return lambda: GatewayApi(api.client, key="wrong-key").create()


def forge_an_event(api: GatewayApi, _stripe: StripeEmulator) -> Callable[[], Any]:
    body, _signature = signed_event("payment_intent.succeeded", {"client_secret": "pi_1_secret_2"})
    return lambda: api.post_event(body, "t=4000000000,v1=x")


ACTIONS = [create, complete, refund, take_an_event, send_a_wrong_key, forge_an_event]


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    handler = Reporter()
    logging.getLogger("octo_stripe_gateway").addHandler(handler)
    yield handler
    logging.getLogger("octo_stripe_gateway").removeHandler(handler)


def list_leaks(reporter: Reporter) -> list[str]:
    return sorted({where for where, shown in reporter.sent if ANY_SECRET.search(shown)})


@pytest.mark.slow
@pytest.mark.parametrize("prepare", ACTIONS)
def test_no_error_report_has_a_secret_whatever_step_fails(
    prepare: Any, api: GatewayApi, stripe: StripeEmulator, reporter: Reporter
) -> None:
    api.client.raise_request_exception = False
    action = prepare(api, stripe)
    steps = list_steps(action)
    assert len(steps) > 50
    for step in steps:
        fail_at(step, action)
    assert any(where == "InjectedError" for where, _shown in reporter.sent)
    assert list_leaks(reporter) == []


def break_sdk(*_args: Any, **_options: Any) -> None:
    headers = {"Authorization": "Bearer sk_test_gateway"}  # noqa: F841 - as the SDK has it
    raise InjectedError


@pytest.mark.parametrize("prepare", [create, complete, refund])
def test_no_error_report_has_what_the_sdk_has(
    prepare: Any,
    api: GatewayApi,
    stripe: StripeEmulator,
    reporter: Reporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    action = prepare(api, stripe)
    monkeypatch.setattr(stripe_sdk.RequestsClient, "request", break_sdk)
    assert action().status_code == 500
    assert any(where == "InjectedError" for where, _shown in reporter.sent)
    assert list_leaks(reporter) == []


def list_contexts(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__context__


@pytest.mark.parametrize(
    ("operation", "prepare"),
    [(services.complete_payment, "paid_at_stripe"), (services.refund_payment, "paid")],
)
def test_an_error_of_ours_holds_none_of_the_sdk_s(
    operation: Callable[..., Any], prepare: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = Payment.objects.get(pk=getattr(api, prepare)(stripe)["id"])
    intent = dict(stripe.payment_intents[str(payment.stripe_payment_intent_id)])
    assert intent["client_secret"]
    answer = json.dumps({"error": {"type": "card_error", "message": "No.", "payment_intent": intent}})
    headers = {"Request-Id": "req_1"}
    stripe.add_fault(
        Fault(
            kind="proxy",
            method="*",
            status=402,
            body=answer,
            content_type="application/json",
            headers=headers,
        )
    )
    with pytest.raises(StripeError) as raised:
        operation(payment)
    for each in list_contexts(raised.value):
        assert not isinstance(each, stripe_sdk.StripeError)
        assert not CLIENT_SECRET.search(repr(vars(each)) + repr(each.args))


def test_an_interrupted_call_holds_nothing_of_the_sdk_s(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = Payment.objects.get(pk=api.paid_at_stripe(stripe)["id"])

    def interrupt(*_args: Any, **_options: Any) -> None:
        interruption = KeyboardInterrupt()
        interruption.__context__ = ValueError("pi_1_secret_2")
        raise interruption

    monkeypatch.setattr(stripe_sdk.RequestsClient, "request", interrupt)
    with pytest.raises(KeyboardInterrupt) as raised:
        services.complete_payment(payment)
    assert list(list_contexts(raised.value)) == [raised.value]


@pytest.mark.parametrize("body", [b'{"client_secret": "pi_1_secret_2"', b'{"x": "pi_1_secret_2\xff"}'])
def test_a_refused_event_s_error_holds_no_body(body: bytes) -> None:
    request = RequestFactory().post("/", body, content_type="application/json")
    with pytest.raises(BadRequestError) as raised:
        read_event(request)
    assert list(list_contexts(raised.value)) == [raised.value]


@pytest.mark.parametrize(
    "setting", ["API_GATEWAY_KEY", "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_ACCOUNTS"]
)
@pytest.mark.parametrize(
    "wrong",
    [
        ["wrong-key", None],
        {"a": "wrong-key", "b": "wrong-key"},
        {"a": ["wrong-key", 7]},
        {"a": {"STRIPE_API_KEY": "wrong-key", "STRIPE_WEBHOOK_SECRET": b"wrong-key"}},
        b"wrong-key",
    ],
)
def test_no_error_report_about_a_setting_has_a_secret(
    setting: str, wrong: Any, api: GatewayApi, configure: Callable[..., None], reporter: Reporter
) -> None:
    configure(**{setting: wrong})
    with watching(ANY_SECRET) as seen:
        assert api.create().status_code == 500
        api.post_event(b"{}", "t=1,v1=x")
    assert any(where == "ConfigurationError" for where, _shown in reporter.sent)
    assert list_leaks(reporter) == []
    assert seen == []


@pytest.mark.parametrize("prepare", [create, complete, refund, take_an_event])
def test_no_mail_to_the_admins_has_a_secret(
    prepare: Any,
    api: GatewayApi,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    mailoutbox: list[Any],
) -> None:
    settings.ADMINS = ["admin@example.com"] if django.VERSION >= (6,) else [("Admin", "admin@example.com")]
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    handler = AdminEmailHandler(include_html=True)
    action = prepare(api, stripe)
    monkeypatch.setattr(PaymentSerializer, "to_representation", fail_saying_nothing)
    monkeypatch.setattr(inbox, "_handle", fail_saying_nothing)
    loggers = [logging.getLogger(name) for name in ("octo_stripe_gateway", "django.request")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        assert action().status_code == 500
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    html = "".join(str(part[0]) for mail in mailoutbox for part in mail.alternatives)
    assert "ZeroDivisionError" in html
    assert "OCTO_STRIPE_GATEWAY" in html
    assert ANY_SECRET.findall(html + "".join(mail.body for mail in mailoutbox)) == []


def fail_saying_nothing(*_args: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("level", ["debug", "info"])
def test_the_sdk_prints_no_secret(
    level: str,
    api: GatewayApi,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With STRIPE_LOG in the environment it would."""
    monkeypatch.setattr(stripe_sdk._util, "STRIPE_LOG", level)
    api.create()
    printed = capsys.readouterr().err
    assert "Stripe API response" in printed
    assert ("_secret_[redacted]" in printed) == (level == "debug")
    assert ANY_SECRET.findall(printed) == []


@pytest.mark.parametrize("underscore", [b"_", b"\\u005f"])
def test_a_verified_event_is_left_in_the_request_without_its_secret(
    underscore: bytes, stripe: StripeEmulator
) -> None:
    """Error reporters send the body of the request as well."""
    body, _signature = signed_event("invoice.paid", {"id": "in_1", "client_secret": "pi_1_secret_hush"})
    body = body.replace(b"_secret_hush", underscore + b"secret" + underscore + b"hush")
    signature = WebhookSignature.generate_signature_header(body.decode(), "whsec_gateway")
    request = RequestFactory().post(
        "/", body, content_type="application/json", headers={"Stripe-Signature": signature}
    )
    assert WebhookView.as_view()(request).status_code == 200
    assert b"in_1" in request.body
    assert b"hush" not in request.body


@pytest.mark.parametrize(
    "event",
    [
        {"id": "evt_1\n[OctoStripeGateway] Payment paid"},
        {"id": "evt_1", "type": "invoice.paid\r\n[OctoStripeGateway] Payment paid"},
        {"id": "evt_1\u2028x"},
        {"id": "evt_1", "type": "\x1b[2J"},
        {"id": "x" * 256},
        {"id": ""},
        {"id": "evt_1", "type": 7},
    ],
)
def test_an_events_id_breaks_no_line_of_the_log(
    event: dict[str, Any], api: GatewayApi, caplog: pytest.LogCaptureFixture
) -> None:
    answer = api.post_event(*signed_event("invoice.paid", {"id": "in_1"}, **event))
    assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
    assert "Payment paid" not in caplog.text
    assert not WebhookEvent.objects.exists()
