"""A client over real HTTP, for a server in another process."""

from __future__ import annotations

from typing import Any

import requests


class HttpClient:
    """Sends what Django's test client would, over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def generic(
        self, method: str, path: str, body: Any, *, content_type: str, headers: dict[str, str]
    ) -> Any:
        headers = headers | {"Content-Type": content_type}
        return self.session.request(method, self.url + path, data=body, headers=headers, timeout=30)

    def post(self, path: str, body: bytes, **kwargs: Any) -> Any:
        return self.generic("POST", path, body, **kwargs)
