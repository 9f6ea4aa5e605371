"""What the option ``bus`` takes: True, the URL of a broker, those of a cluster's, or a bus of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .checks import Refused
from .misspelt import meant

__all__ = ["SCHEMES", "BusPlace", "bus"]

SCHEMES = {"nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis", "unix": "hub"}
"""By the scheme of a URL, which engine it means."""
NEEDED = ("connect", "publish", "subscribe", "unsubscribe", "request", "confirm", "health", "close")
TAKES = (
    "True (the hub of workers.run), 'nats://host:port', 'tls://host:port' (NATS over TLS), 'redis://host:port', "
    "'rediss://host:port', several of NATS ('nats://one:4222,nats://two:4222', or a list of them), or a bus of your "
    "own with the methods of node_ipc.scale.bus.Bus"
)
ONE_REDIS = (
    "one URL of Redis, since what is published on one server its others do not hear: several are for the servers of a "
    "NATS cluster"
)


class BusPlace:
    """Where a broker is, or each server of a cluster of them. What is shown of it has no password in it."""

    __slots__ = ("scheme", "urls")

    def __init__(self, *urls: str) -> None:
        self.urls = urls
        """As they were given, secrets included."""
        self.scheme = urls[0].partition(":")[0].lower()

    @property
    def url(self) -> str:
        """The first, which is all there is but in a cluster."""
        return self.urls[0]

    def __str__(self) -> str:
        """The URLs without user, password and token."""
        return ",".join(map(shown, self.urls))

    def __repr__(self) -> str:
        return f"BusPlace({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BusPlace) and other.urls == self.urls

    def __hash__(self) -> int:
        return hash(self.urls)


def shown(url: str) -> str:
    """A URL without user, password, token and query."""
    if url.startswith("unix:"):
        return url
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def bus(value: object) -> Any:
    """None and False: no bus."""
    if value is None or value is False:
        return None
    if value is True or isinstance(value, BusPlace):
        return value
    if isinstance(value, str):
        return _place(list(_cut(value)))
    if isinstance(value, (list, tuple)) and value and all(isinstance(url, str) for url in value):
        return _place(list(value))
    if all(callable(getattr(value, name, None)) for name in NEEDED):
        return value
    raise Refused(TAKES)


def _cut(text: str) -> Iterator[str]:
    """The URLs in a list of them, of which only the first needs a scheme; a path may have commas."""
    if text.startswith("unix:"):
        yield text
        return
    first, *others = text.split(",")
    yield first.strip()
    scheme = first.partition("://")[0].strip()
    for other in others:
        yield other.strip() if "://" in other else f"{scheme}://{other.strip()}"


def _place(urls: list[str]) -> BusPlace:
    engines = {_engine(url) for url in urls}
    if len(urls) > 1 and engines == {"redis"}:
        raise Refused(ONE_REDIS)
    if None in engines or (len(urls) > 1 and engines != {"nats"}):
        raise Refused(TAKES + _scheme_meant(urls))
    return BusPlace(*dict.fromkeys(urls))


def _scheme_meant(urls: list[str]) -> str:
    """What to add where it is the scheme that nobody knows; of what is behind it nothing is shown."""
    for url in urls:
        scheme, middle, _ = url.partition("://")
        if middle and scheme.lower() not in SCHEMES:
            near = meant(scheme.lower(), SCHEMES)
            return f". The scheme {scheme[:20]!r} is none of these" + (
                "" if near is None else f": did you mean {near!r}?"
            )
        if middle and _engine(f"{scheme}://host") and not _has_host(url):
            return f". There is no host behind {scheme}://: write {scheme}://host:port"
    return ""


def _has_host(url: str) -> bool:
    from urllib.parse import urlsplit

    try:
        return bool(urlsplit(url).hostname)
    except ValueError:  # it is something else that is wrong there
        return True


def _engine(url: str) -> str | None:
    """Which engine a URL means; None for what is none."""
    from urllib.parse import urlsplit  # 2 ms, and only who names a broker pays for it

    scheme = url.partition(":")[0].lower()
    try:
        parts = urlsplit(url)
        known = parts.path if scheme == "unix" else parts.hostname
        _ = parts.port
    except ValueError:
        return None
    return SCHEMES.get(scheme) if known else None
