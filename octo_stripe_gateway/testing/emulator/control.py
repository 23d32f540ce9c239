"""The same commands over HTTP, for an emulator that runs in a process of its own.

All answer JSON; bodies are JSON objects, every field optional unless it is named required. The `:id` of a
payment intent may be `latest`:

    GET    /_emulator                                 its settings and the test cards
    POST   /_emulator/reset                           forgets everything
    GET    /_emulator/requests, /_emulator/events     the logs
    POST   /_emulator/events/:id/deliver              sends the event now  {copies}
    POST   /_emulator/webhook                         {url, secret, api_version,
                                                       payload: snapshot|thin}
    POST   /_emulator/trigger                         {type, payment_intent}: brings that event about
    POST   /_emulator/withhold                        {types: ["payment_intent.*"]}
    POST   /_emulator/release                         {order: created|reversed|shuffled, copies,
                                                       delay, keep_withholding}
    POST   /_emulator/faults                          {kind: delay|status|proxy|reset, method, path,
                                                       when, times, ...}
    DELETE /_emulator/faults
    POST   /_emulator/idempotency_keys/forget
    POST   /_emulator/accounts                        {keys, account}: answers {id, secret_key, ...}
    POST   /_emulator/connected_accounts              {account, platform}: answers {id}
    POST   /_emulator/permissions                     {key: rk_test_…, permissions: [rak_charge_read, ...]}
    POST   /_emulator/balance                         {refunds: refused|pending|enough, account}
    POST   /_emulator/payment_intents/:id/confirm     {payment_method, return_url}
    POST   /_emulator/payment_intents/:id/authenticate  {succeed, client_secret}
    POST   /_emulator/payment_intents/:id/settle      {succeed}
    POST   /_emulator/payment_intents/:id/capture     {amount}
    POST   /_emulator/payment_intents/:id/cancel      {reason}
    POST   /_emulator/payment_intents/:id/expire
    POST   /_emulator/payment_intents/:id/refund      {amount, reverse_transfer, refund_application_fee}
    POST   /_emulator/payment_intents/:id/dispute     {reason, amount, currency, inquiry}
    POST   /_emulator/payment_intents/:id/fraud_warning  {fraud_type}
    POST   /_emulator/payment_intents/:id/book
    POST   /_emulator/refunds/:id/settle              {status, reason}
    POST   /_emulator/disputes/:id/close              {won}
    POST   /_emulator/disputes/:id/reopen             {status: appeal_needs_response|needs_response|...}

A browser may call `authenticate` (and the page of a redirect, `/_emulator/challenges/:id`) with
the intent's client secret.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from octo_stripe_gateway.testing.emulator import cards
from octo_stripe_gateway.testing.emulator.currencies import format_amount
from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.faults import Fault
from octo_stripe_gateway.testing.emulator.trigger import trigger
from octo_stripe_gateway.testing.emulator.urls import match

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Request

    from octo_stripe_gateway.testing.emulator.commands import Commands
    from octo_stripe_gateway.testing.emulator.events import LoggedEvent
    from octo_stripe_gateway.testing.emulator.store import JsonObject


CHALLENGE_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Authenticate your payment</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #f6f8fa; color: #1a1f36; }}
  main {{ box-sizing: border-box; width: min(26rem, 100% - 2rem); margin: 12vh auto; padding: 2rem;
         background: #fff; border-radius: 12px;
         box-shadow: 0 8px 32px rgb(26 31 54 / 12%); }}
  h1 {{ margin: 0 0 .5rem; font-size: 1.35rem; line-height: 1.3; }}
  button {{ font: inherit; padding: .6rem 1.4rem; border-radius: 8px; border: 1px solid #635bff;
           background: #635bff; color: #fff; cursor: pointer; }}
  button + button {{ background: #fff; color: #1a1f36; border-color: #c9d0dc; }}
</style>
<main><h1>Authenticate your payment</h1>
<p>Your bank wants to know that it is you: {amount}.<br>
This is the emulator's test page.</p>
<form method="post"><button name="outcome" value="complete">Complete</button>
<button name="outcome" value="fail">Fail</button></form></main></html>
"""
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Content-Type",
}


class Control:
    """Runs the commands that arrive over HTTP."""

    def __init__(self, emulator: Commands) -> None:
        self._emulator = emulator
        self._commands = self._logs() | self._objects()

    def __call__(self, request: Request) -> Response:
        """Answer a command; anything from a browser needs the intent's client secret."""
        names = (*self._commands, *PAGES)
        matched = match(names, method=request.method, path=request.path)
        if matched is None:
            return _json({"error": {"message": "There is no such command."}}, status=404)
        name, target = matched[0], matched[1] or ""
        if target == LATEST and "/payment_intents/" in name:
            target = self._latest()
        if name in PAGES:
            return self._challenge(request, target=target)
        if request.method == "OPTIONS":
            return Response(status=204, headers=CORS_HEADERS)
        return self._run(request, name=name, target=target)

    def _run(self, request: Request, *, name: str, target: str) -> Response:
        browser = name == AUTHENTICATE
        try:
            body = json.loads(request.get_data() or b"{}")
            if "Origin" in request.headers:
                self._check_browser(body, target=target, allowed=browser)
            result = self._commands[name](body, target)
        except StripeApiError as error:
            return _json(error.body(request_id="req_control"), status=error.status, browser=browser)
        except (KeyError, TypeError, ValueError) as error:
            message = f"{type(error).__name__}: {error}"
            return _json({"error": {"message": message}}, status=400, browser=browser)
        return _json({} if result is None else result, browser=browser)

    def _check_browser(self, body: JsonObject, *, target: str, allowed: bool) -> None:
        secret = self._emulator.payment_intents.get(target, {}).get("client_secret", "")
        given = str(body.get("client_secret", ""))
        if not (allowed and secret and hmac.compare_digest(secret, given)):
            raise StripeApiError("This command isn't for browsers.", status=403)

    def _logs(self) -> dict[str, Callable[[JsonObject, str], Any]]:
        stripe = self._emulator
        return {
            "GET /_emulator": lambda _body, _id: self._settings(),
            "POST /_emulator/reset": lambda _body, _id: stripe.reset(),
            "GET /_emulator/requests": lambda _body, _id: [dataclasses.asdict(r) for r in stripe.requests],
            "GET /_emulator/events": lambda _body, _id: _listed(stripe.events),
            "POST /_emulator/events/<target>/deliver": lambda body, target: [
                dataclasses.asdict(stripe.deliver_webhook(target)) for _ in range(body.get("copies", 1))
            ],
            "POST /_emulator/webhook": lambda body, _id: self._set_webhook(body),
            "POST /_emulator/trigger": lambda body, _id: self._trigger(body),
            "POST /_emulator/withhold": lambda body, _id: stripe.withhold(*body.get("types", ())),
            "POST /_emulator/release": lambda body, _id: _listed(stripe.release(**body)),
            "POST /_emulator/faults": lambda body, _id: stripe.add_fault(Fault(**body)),
            "DELETE /_emulator/faults": lambda _body, _id: stripe.clear_faults(),
            "POST /_emulator/idempotency_keys/forget": lambda _body, _id: stripe.forget_idempotency_keys(),
            "POST /_emulator/accounts": lambda body, _id: dataclasses.asdict(
                stripe.add_account(*body.get("keys", ()), account=body.get("account"))
            ),
            "POST /_emulator/connected_accounts": lambda body, _id: {"id": stripe.connect_account(**body)},
            "POST /_emulator/permissions": lambda body, _id: stripe.restrict(
                body["key"], *body["permissions"]
            ),
            "POST /_emulator/balance": lambda body, _id: self._set_balance(body),
        }

    def _objects(self) -> dict[str, Callable[[JsonObject, str], Any]]:
        stripe = self._emulator
        intent = "/_emulator/payment_intents/<target>"
        return {
            f"POST {intent}/confirm": lambda body, target: stripe.confirm(target, **body),
            AUTHENTICATE: lambda body, target: stripe.authenticate(target, succeed=body.get("succeed", True)),
            f"POST {intent}/settle": lambda body, target: stripe.settle(target, **body),
            f"POST {intent}/capture": lambda body, target: stripe.capture(target, **body),
            f"POST {intent}/cancel": lambda body, target: stripe.cancel(target, **body),
            f"POST {intent}/expire": lambda _body, target: stripe.expire(target),
            f"POST {intent}/refund": lambda body, target: stripe.refund(target, **body),
            f"POST {intent}/dispute": lambda body, target: stripe.open_dispute(target, **body),
            f"POST {intent}/fraud_warning": lambda body, target: stripe.warn_of_fraud(target, **body),
            f"POST {intent}/book": lambda _body, target: stripe.book(target),
            "POST /_emulator/refunds/<target>/settle": lambda body, target: stripe.settle_refund(
                target, **body
            ),
            "POST /_emulator/disputes/<target>/close": lambda body, target: stripe.close_dispute(
                target, **body
            ),
            "POST /_emulator/disputes/<target>/reopen": lambda body, target: stripe.reopen_dispute(
                target, **body
            ),
        }

    def _settings(self) -> JsonObject:
        shown = [
            {"number": card.number, "payment_method": card.payment_method, "does": card.does}
            for card in cards.CARDS
        ]
        return {
            "url": self._emulator.url,
            "webhook_url": self._emulator.webhook_url,
            "test_cards": shown,
        }

    def _trigger(self, body: JsonObject) -> JsonObject:
        named = body.get("payment_intent")
        intent_id = self._latest() if named == LATEST else named
        event = trigger(self._emulator, body["type"], payment_intent=intent_id)
        return {"id": event.id, "type": event.type, "payload": event.payload}

    def _latest(self) -> str:
        return next(reversed([*self._emulator.payment_intents]), LATEST)

    def _set_webhook(self, body: JsonObject) -> None:
        self._emulator.webhook_url = body.get("url")
        if secret := body.get("secret"):
            self._emulator.webhook_secret = secret
        if version := body.get("api_version"):
            self._emulator.webhook_api_version = version
        if payload := body.get("payload"):
            self._emulator.webhook_payload = payload

    def _set_balance(self, body: JsonObject) -> None:
        if body["refunds"] == "enough":
            self._emulator.top_up_balance()
        else:
            self._emulator.drain_balance(**body)

    def _challenge(self, request: Request, *, target: str) -> Response:
        intent = self._emulator.payment_intents.get(target, {})
        secret = request.args.get("client_secret", "")
        if not intent or not hmac.compare_digest(str(intent["client_secret"]), secret):
            return Response("No such challenge.", status=404)
        action = (intent["next_action"] or {}).get("redirect_to_url")
        if action is None:
            return Response("This payment waits for no authentication.", status=409)
        if request.method == "GET":
            amount = format_amount(intent["amount"], currency=intent["currency"])
            return Response(CHALLENGE_PAGE.format(amount=amount), mimetype="text/html")
        completed = request.form.get("outcome") == "complete"
        ended = self._emulator.authenticate(target, succeed=completed)
        result = {
            "payment_intent": target,
            "payment_intent_client_secret": secret,
            "redirect_status": "failed" if ended["last_payment_error"] else "succeeded",
        }
        back = urlsplit(action["return_url"])
        query = "&".join(filter(None, (back.query, urlencode(result))))
        return redirect(back._replace(query=query).geturl(), code=303)


LATEST = "latest"
AUTHENTICATE = "POST|OPTIONS /_emulator/payment_intents/<target>/authenticate"
PAGES = ("GET|POST /_emulator/challenges/<target>",)


def _listed(events: list[LoggedEvent]) -> list[JsonObject]:
    return [
        {
            "id": event.id,
            "type": event.type,
            "payload": event.payload,
            "deliveries": [dataclasses.asdict(delivery) for delivery in event.deliveries],
        }
        for event in events
    ]


def _json(body: Any, *, status: int = 200, browser: bool = False) -> Response:
    headers = CORS_HEADERS if browser else {}
    text = json.dumps(body, indent=2)
    return Response(text, status=status, mimetype="application/json", headers=headers)
