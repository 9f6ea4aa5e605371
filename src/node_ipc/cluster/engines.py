"""Which bus the option ``bus`` means; each engine is loaded when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from ..config.bus_options import SCHEMES, BusPlace
from ..errors import ConfigError

if TYPE_CHECKING:
    from .bus import Bus

__all__ = ["bus_of"]


def bus_of(option: Any) -> Bus:
    """The bus, not connected. Raises :class:`ConfigError` where what it needs is not installed."""
    if isinstance(option, BusPlace):
        engine = SCHEMES[option.scheme]
        try:
            module = importlib.import_module(f".{engine}", __package__)
        except ImportError as error:
            raise ConfigError(f"bus={option} needs what is not installed: pip install 'node-ipc[{engine}]'") from error
        return cast("Bus", module.make(option))
    if option is True:
        raise ConfigError(
            "bus=True is the hub between the workers of scale.workers.run(…, bus=True). For servers that are started "
            "by themselves give a broker: bus='nats://host:4222' or bus='redis://host:6379'"
        )
    return cast("Bus", option)
