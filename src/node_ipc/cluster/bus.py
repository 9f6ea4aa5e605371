"""What a bus is: the one thing that somebody has to write for another broker.

A bus relays bytes between nodes by subject. It may lose messages, and nobody expects it to say so: whoever sends
numbers them, and whoever receives finds out what is missing. All it has to keep is the order of what one node
publishes, over all subjects: what a subscriber gets of it comes in that order.

``hub.py``, ``nats.py`` and ``redis.py`` are the three that are here; a fourth is an object with these methods, given as
``serve(…, bus=that)``. It is used on one event loop, by one server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["Bus", "Hears"]


class Hears(Protocol):
    """What a bus tells its node. None of it may be called inside a call of the node's."""

    def heard(self, subject: str, data: bytes) -> None:
        """A message came; its node looks at it here and now, and is done when this returns."""

    def writable(self) -> None:
        """After ``publish`` gave False: there is room again."""

    def missed(self) -> None:
        """Messages were dropped on their way in, as a client library does for a slow subscriber."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone, told once. ``connect`` will be called again."""


@runtime_checkable
class Bus(Protocol):
    """One node's connection to a broker. Everything but ``connect``, ``confirm`` and ``close`` returns at once."""

    name: str
    """What it is called in ``stats()`` and messages: ``nats``."""
    size_option: str
    """What limits the size of a message there, for the error: ``max_payload of nats-server``."""
    has_groups: bool
    """Whether ``subscribe(subject, group)`` gives each message to one member of the group."""

    async def connect(self, hears: Hears) -> int | None:
        """Connect, once; returns the largest message in bytes, or None for no limit. Raises why it cannot.

        Nothing is subscribed then, also where this object was connected before.
        """

    def publish(self, subject: str, data: bytes) -> bool:
        """Send to all subscribers but this node; where it gets it back, the node drops it. Never waits.

        False: enough waits for the connection, and ``writable`` says when to go on; this message is taken all the same.
        """

    def request(self, subject: str, data: bytes, unheard: Callable[[], None]) -> None:
        """As ``publish``; and call ``unheard`` as soon as it is known that nobody subscribes to this subject."""

    def subscribe(self, subject: str, group: str = "") -> None:
        """Hear what is published under this subject from now on."""

    def unsubscribe(self, subject: str) -> None:
        """Hear no more of it."""

    async def confirm(self) -> None:
        """Until the broker has dealt with every call so far: what was published is on its way, what was subscribed
        is heard."""

    def health(self) -> str:
        """Where it is connected to and how it is, in a few words and without secrets."""

    async def close(self) -> None:
        """End the connection, after ``confirm`` where that went well. No ``lost``."""
