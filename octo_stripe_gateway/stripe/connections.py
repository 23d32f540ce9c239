"""The SDK's connections to Stripe, without a session of requests: that takes longer than the call itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
import urllib3
from requests import Request, utils
from requests.adapters import HTTPAdapter

POOL_SIZE = 64


class PooledClient(stripe.HTTPClient):
    """Sends the SDK's calls over one pool of connections for all threads.

    A server that starts a thread for each request would otherwise open a connection, and do a TLS handshake,
    for each. Redirects are not followed: Stripe has none, and what has, such as a proxy's log-in page, must
    not get the request.
    """

    name = "urllib3"

    def __init__(self, api_base: str, *, timeout: tuple[float, float]) -> None:
        """Read the environment's proxies, once; a .netrc, which could replace the API key, is never read."""
        super().__init__()
        base = urlsplit(api_base)
        # Only an emulator speaks plain HTTP, and no proxy stands before that.
        proxies = utils.get_environ_proxies(api_base) if base.scheme == "https" else {}
        self.pool: Any = HTTPAdapter(pool_maxsize=POOL_SIZE).get_connection_with_tls_context(
            Request("GET", api_base).prepare(), verify=stripe.ca_bundle_path, proxies=proxies
        )
        self.timeout = urllib3.Timeout(connect=timeout[0], read=timeout[1])
        self.origin = f"{base.scheme}://{base.netloc}"

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **options: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Return the answer's body, status and headers; raises APIConnectionError."""
        try:
            answer = self.pool.urlopen(
                method.upper(),
                url.removeprefix(self.origin),
                body=post_data,
                headers={**(headers or {}), "Accept-Encoding": "gzip"},
                timeout=self.timeout,
                retries=False,
                redirect=False,
            )
        except Exception as error:
            # The SDK asks again, but for what no second time would change. An error's own words may hold the
            # key: those of one that can't be a header do.
            is_lost = isinstance(error, urllib3.exceptions.HTTPError)
            should_retry = is_lost and not isinstance(error, urllib3.exceptions.SSLError)
            name = type(error).__name__
            raise stripe.APIConnectionError(name, should_retry=should_retry) from error  # type: ignore[no-untyped-call]
        return answer.data, answer.status, answer.headers
