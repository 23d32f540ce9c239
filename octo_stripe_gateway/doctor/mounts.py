"""Where the host has mounted the routes, for commands that have no request to tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

from octo_stripe_gateway.webhooks.views import WebhookView


def find_webhook_paths() -> list[str]:
    """Return the paths that events may be posted to, except those with a parameter in their route."""
    paths = set()
    for name in _list_names(get_resolver(), namespaces=()):
        with suppress(NoReverseMatch):
            paths.add(reverse(name))
    return sorted(paths)


def _list_names(resolver: URLResolver, *, namespaces: tuple[str, ...]) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from _list_names(pattern, namespaces=inner)
        elif pattern.name and _takes_events(pattern):
            yield ":".join((*namespaces, pattern.name))


def _takes_events(pattern: URLPattern) -> bool:
    view_class = getattr(pattern.callback, "view_class", None)
    return isinstance(view_class, type) and issubclass(view_class, WebhookView)
