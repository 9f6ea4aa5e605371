"""What the option ``bus`` takes: True, the URL of a broker, or a bus of one's own."""

from __future__ import annotations

from typing import Any

from .checks import Refused

__all__ = ["SCHEMES", "BusPlace", "bus"]

SCHEMES = {"nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis", "unix": "hub"}
"""By the scheme of a URL, which engine it means."""
NEEDED = ("connect", "publish", "subscribe", "unsubscribe", "request", "confirm", "health", "close")
TAKES = (
    "True (the hub of workers.run), 'nats://host:port', 'tls://host:port' (NATS over TLS), 'redis://host:port', "
    "'rediss://host:port', or a bus of your own with the methods of node_ipc.scale.bus.Bus"
)


class BusPlace:
    """Where a broker is. What is shown of it has no password in it."""

    __slots__ = ("scheme", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        """As it was given, secrets included."""
        self.scheme = url.partition(":")[0].lower()

    def __str__(self) -> str:
        """The URL without user, password and token."""
        if self.scheme == "unix":
            return self.url
        from urllib.parse import urlsplit, urlunsplit

        parts = urlsplit(self.url)
        return urlunsplit((self.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def __repr__(self) -> str:
        return f"BusPlace({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BusPlace) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)


def bus(value: object) -> Any:
    """None and False: no bus."""
    if value is None or value is False:
        return None
    if value is True or isinstance(value, BusPlace):
        return value
    if isinstance(value, str):
        from urllib.parse import urlsplit  # 2 ms, and only who names a broker pays for it

        place = BusPlace(value)
        try:
            parts = urlsplit(value)
            known = place.scheme in SCHEMES and (parts.path if place.scheme == "unix" else parts.hostname)
            _ = parts.port
        except ValueError:
            known = None
        if not known:
            raise Refused(TAKES)
        return place
    if all(callable(getattr(value, name, None)) for name in NEEDED):
        return value
    raise Refused(TAKES)
