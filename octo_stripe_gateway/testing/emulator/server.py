"""The HTTP side: API keys, idempotency, faults, the request log, and access for browsers."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import errno
import json
import logging
import re
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stripe
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

from octo_stripe_gateway.testing.emulator.accounts import masked
from octo_stripe_gateway.testing.emulator.api import Call
from octo_stripe_gateway.testing.emulator.errors import UNKNOWN_ERROR, StripeApiError
from octo_stripe_gateway.testing.emulator.events import NOBODY, Origin
from octo_stripe_gateway.testing.emulator.idempotency import Answer, IdempotencyKeys
from octo_stripe_gateway.testing.emulator.params import decode
from octo_stripe_gateway.testing.emulator.store import random_text
from octo_stripe_gateway.testing.emulator.versions import check_version, modernize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from octo_stripe_gateway.testing.emulator.accounts import Accounts, Caller
    from octo_stripe_gateway.testing.emulator.api import Api, Endpoint
    from octo_stripe_gateway.testing.emulator.events import Events
    from octo_stripe_gateway.testing.emulator.faults import Fault, Faults, When
    from octo_stripe_gateway.testing.emulator.idempotency import Key
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import Store

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = frozenset({LOOPBACK, "localhost", "[::1]"})
FOREIGN_HOST = (
    "The emulator answers to 127.0.0.1 and localhost only, so that no page of another site can drive it."
)
STRIPE_JS = Path(__file__).with_name("stripe.js")
RATE_LIMITED = (
    "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
)
LOCKED = (
    "This object cannot be accessed right now because another API request or Stripe process is currently "
    "accessing it. If you see this error intermittently, retry the request. If you see this error frequently "
    "and are making multiple concurrent requests to a single object, make your requests serially or at a "
    "lower rate. For more details, see https://stripe.com/docs/rate-limits#object-lock-timeouts."
)
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Account, Stripe-Version",
    "Access-Control-Max-Age": "300",
}


@dataclasses.dataclass
class LoggedRequest:
    """A request as it came in; its status is None until it is answered, and stays None after a reset."""

    method: str
    path: str
    params: Parameters
    headers: dict[str, str]
    request_id: str
    idempotency_key: str | None
    stripe_account: str | None
    status: int | None = None
    replayed: bool = False


class Application:
    """Answers the HTTP requests of one emulator."""

    def __init__(
        self,
        store: Store,
        *,
        api: Api,
        accounts: Accounts,
        events: Events,
        faults: Faults,
        control: Callable[[Request], Response],
        save: Callable[[], None],
    ) -> None:
        self.keys = IdempotencyKeys()
        self.log: list[LoggedRequest] = []
        self._accounts = accounts
        self._store = store
        self._api = api
        self._events = events
        self._faults = faults
        self._control = control
        self._save = save
        self._answering: set[str] = set()
        self._answered = threading.Condition()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._route(Request(environ))(environ, start_response)

    def _route(self, request: Request) -> Response:
        if not _is_for_loopback(request.environ.get("HTTP_HOST", LOOPBACK)):
            error = StripeApiError(FOREIGN_HOST, status=403)
            return _json(error.body(request_id="req_refused"), status=403)
        if request.path == "/stripe.js":
            return Response(STRIPE_JS.read_bytes(), mimetype="text/javascript")
        if request.path.startswith("/_emulator"):
            return self._control(request)
        asked = request.headers.get("Access-Control-Request-Method", request.method)
        cors = CORS_HEADERS if self._api.is_for_browsers(asked, request.path) else {}
        if request.method == "OPTIONS":
            return Response(status=204, headers=cors)
        response = self._respond(request)
        response.headers.extend(cors)
        return response

    def _respond(self, request: Request) -> Response:
        entry = LoggedRequest(
            method=request.method,
            path=request.path,
            params={},
            headers=_without_key(request),
            request_id=f"req_{random_text(14)}",
            idempotency_key=request.headers.get("Idempotency-Key"),
            stripe_account=request.headers.get("Stripe-Account") or request.headers.get("Stripe-Context"),
        )
        self.log.append(entry)
        try:
            with self._counting(entry):
                answer = self._answer(request, entry)
        except StripeApiError as error:
            answer = _refusal(error, entry=entry)
        except FaultError as error:
            answer = error.answer
        except ProxyFaultError as error:
            entry.status = error.fault.status
            return _page(error.fault)
        entry.status, entry.replayed = answer.status, answer.replayed
        return _response(answer, entry=entry)

    @contextlib.contextmanager
    def _counting(self, entry: LoggedRequest) -> Iterator[None]:
        with self._answered:
            self._answering.add(entry.request_id)
        try:
            yield
        finally:
            with self._answered:
                self._answering.remove(entry.request_id)
                self._answered.notify_all()

    def wait_for_answers(self) -> None:
        """Wait until every request that came in is answered, even if its client has given up."""
        with self._answered:
            waiting = set(self._answering)
            self._answered.wait_for(lambda: waiting.isdisjoint(self._answering))

    def now(self) -> int:
        """Return the second that the emulator's clock shows."""
        return self._store.now()

    def _answer(self, request: Request, entry: LoggedRequest) -> Answer:
        caller = self._accounts.identify(_key_of(request), stripe_account=entry.stripe_account)
        entry.params = _params_of(request)
        version = check_version(entry.headers.get("Stripe-Version"))
        endpoint, target = self._api.find(entry.method, entry.path)
        self._api.check_permission(endpoint, caller, method=entry.method)
        faults = self._take("before", entry)
        _break(faults, request_id=entry.request_id)
        key = self._idempotency_key(entry, caller=caller)
        params = copy.deepcopy(entry.params)
        if key and (saved := self.keys.claim(key, path=entry.path, params=params)):
            return self._finish(entry, answer=saved, faults=self._take("after", entry))
        try:
            self._pause("before", entry, faults=faults)
            given = modernize(entry.params, version=version) if endpoint.creates_intent else entry.params
            checked = endpoint.schema.check(given)
            call = Call(params=checked, caller=caller, target=target, path=entry.path, version=version)
            answer, faults = self._execute(entry, endpoint=endpoint, call=call, key=key)
        except BaseException:
            if key:
                self.keys.release(key)
            raise
        if entry.method != "GET":
            self._save()
        return self._finish(entry, answer=answer, faults=faults)

    def _execute(
        self, entry: LoggedRequest, *, endpoint: Endpoint, call: Call, key: Key | None
    ) -> tuple[Answer, list[Fault]]:
        # Under one lock, so that no saved state has the work without the key's answer, or the reverse.
        with self._store.lock:
            answer = self._run(entry, endpoint=endpoint, call=call)
            faults = self._take("after", entry)
            spoiled = _spoil(answer, faults=faults)
            if key:
                forgiving = any(fault.kind == "status" and not fault.save for fault in faults)
                self.keys.save(key, answer if forgiving else spoiled)
        return answer, faults

    def _run(self, entry: LoggedRequest, *, endpoint: Endpoint, call: Call) -> Answer:
        self._events.origin = Origin(entry.request_id, entry.idempotency_key)
        try:
            body = self._api.run(endpoint, call)
        except StripeApiError as error:
            if not error.saved:
                raise
            return _refusal(error, entry=entry)
        finally:
            self._events.origin = NOBODY
        return Answer(status=200, body=body, request_id=entry.request_id)

    def _finish(self, entry: LoggedRequest, *, answer: Answer, faults: list[Fault]) -> Answer:
        self._pause("after", entry, faults=faults)
        _cut_off(faults)
        return _spoil(answer, faults=faults)

    def _pause(self, when: When, entry: LoggedRequest, *, faults: list[Fault]) -> None:
        self._faults.wait(method=entry.method, path=entry.path, when=when)
        self._faults.delay(sum(fault.seconds for fault in faults if fault.kind == "delay"))

    def _take(self, when: When, entry: LoggedRequest) -> list[Fault]:
        return self._faults.take(method=entry.method, path=entry.path, when=when)

    def _idempotency_key(self, entry: LoggedRequest, *, caller: Caller) -> Key | None:
        if entry.method != "POST" or not entry.idempotency_key:
            return None
        return caller.account, entry.idempotency_key


def _is_for_loopback(host: str) -> bool:
    name = re.sub(r":\d+\Z", "", host)
    return name.lower() in LOOPBACK_NAMES


def _key_of(request: Request) -> str:
    given = request.authorization
    return str(given.token or given.username or "") if given else ""


def _params_of(request: Request) -> Parameters:
    """Return the parameters: form-encoded in v1, JSON in v2."""
    query = decode(request.args.items(multi=True))
    if not request.path.startswith("/v2/"):
        return query | decode(request.form.items(multi=True))
    try:
        body: Parameters = json.loads(request.get_data() or b"{}")
    except ValueError:
        raise StripeApiError("Invalid JSON in the request's body.", saved=False) from None
    return query | body


def _without_key(request: Request) -> dict[str, str]:
    headers = dict(request.headers.items())
    if "Authorization" in headers:
        headers["Authorization"] = f"Bearer {masked(_key_of(request))}"
    return headers


def _break(faults: list[Fault], *, request_id: str) -> None:
    _cut_off(faults)
    for fault in faults:
        if fault.kind == "status":
            raise FaultError(_failure(fault, request_id=request_id))


def _cut_off(faults: list[Fault]) -> None:
    """Keep Stripe's answer from the client, if a fault comes in between."""
    for fault in faults:
        if fault.kind == "reset":
            raise ResetFaultError
        if fault.kind == "proxy":
            raise ProxyFaultError(fault)


class ResetFaultError(ConnectionResetError):
    """Makes the server reset the connection instead of answering."""


class FaultError(Exception):
    """Answers with a fault instead of doing the work."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class ProxyFaultError(Exception):
    """Answers as something between the client and Stripe."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault


def _failure(fault: Fault, *, request_id: str) -> Answer:
    if fault.status == 429:
        message = LOCKED if fault.code == "lock_timeout" else RATE_LIMITED
        error = StripeApiError(message, status=429, code=fault.code or "rate_limit")
    else:
        error = StripeApiError(UNKNOWN_ERROR, status=fault.status, kind="api_error", code=fault.code)
    body = error.body(request_id=request_id)
    return Answer(status=fault.status, body=body, request_id=request_id, headers=fault.answered_headers)


def _spoil(answer: Answer, *, faults: list[Fault]) -> Answer:
    spoiling = next((fault for fault in faults if fault.kind == "status"), None)
    return _failure(spoiling, request_id=answer.request_id) if spoiling else answer


def _refusal(error: StripeApiError, *, entry: LoggedRequest) -> Answer:
    body = error.body(request_id=entry.request_id)
    return Answer(status=error.status, body=body, request_id=entry.request_id)


def _page(fault: Fault) -> Response:
    return Response(fault.page, status=fault.status, content_type=fault.content_type, headers=fault.headers)


def _response(answer: Answer, *, entry: LoggedRequest) -> Response:
    headers = {
        "Request-Id": entry.request_id,
        "Stripe-Version": entry.headers.get("Stripe-Version", stripe.api_version),
        **answer.headers,
    }
    if entry.idempotency_key:
        headers["Idempotency-Key"] = entry.idempotency_key
    if answer.replayed:
        headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.request_id}
        if answer.status >= 500:
            headers["Stripe-Should-Retry"] = "false"
    return _json(answer.body, status=answer.status, headers=headers)


def _json(body: Any, *, status: int, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(body, indent=2)
    return Response(text, status=status, mimetype="application/json", headers=headers)


class _Handler(WSGIRequestHandler):
    """Writes no access log, and resets the connection when the application asks for it."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Date answers by the emulator's clock."""
        application: Any = self.server.app
        return super().date_time_string(timestamp or application.now())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing: the emulator keeps a log of its own."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        logger.warning(message.rstrip(), *args)

    def connection_dropped(self, error: BaseException, environ: WSGIEnvironment | None = None) -> None:
        self.close_connection = True
        if environ is not None and isinstance(error, ResetFaultError):
            # Closing with linger 0 sends a reset. An open reader would keep the socket open.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.rfile.close()
            self.connection.close()


class _ThreadedServer(ThreadedWSGIServer):
    """Tracks its connections: a browser opens some ahead of use, and they must not outlive the server."""

    daemon_threads = False

    def __init__(self, application: Application, *, port: int) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(LOOPBACK, port, application, handler=_Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Read no further request, and wait until those that came in are answered."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        super().server_close()


class HttpServer:
    """Serves an application on loopback from a thread of its own."""

    def __init__(self, application: Application, *, port: int) -> None:
        try:
            self._server = _ThreadedServer(application, port=port)
        except SystemExit:  # how werkzeug reports a port in use
            raise OSError(errno.EADDRINUSE, f"{LOOPBACK}:{port} is in use") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.01},
            name="stripe-emulator",
        )

    @property
    def port(self) -> int:
        return self._server.port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and wait for the requests that are being answered."""
        self._server.shutdown()
        self._thread.join()
