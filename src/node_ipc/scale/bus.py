"""For those who write a bus for another broker: the protocol, and what it hears.

    class MyBus:
        name = "mine"
        …

    node_ipc.serve("world", bus=MyBus())

``node_ipc.cluster.bus`` says what each method has to do.
"""

from __future__ import annotations

from ..cluster.bus import Bus, Hears

__all__ = ["Bus", "Hears"]
