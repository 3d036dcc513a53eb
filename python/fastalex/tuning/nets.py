"""A native net with the tuning rules of its device, or of the user's cache."""

from __future__ import annotations

import warnings
from typing import Callable, Tuple

from .. import _core
from ..errors import UserError
from ..runtime.device_spec import DeviceSpec
from . import rules


def make(
    make_net: Callable[[str], _core.Net], device: DeviceSpec, engine: str, size: int, stacklevel: int
) -> Tuple[_core.Net, str]:
    """The net that ``make_net`` makes with the rules for ``device``, and where those come from.

    Rules of the cache that do not work are left out with a warning.

    :param size: side of the network's images.
    """
    chosen = rules.choose(device, engine)
    if not chosen.cached:
        return make_net(chosen.text), chosen.source
    try:
        net = make_net(chosen.text)
        net.shapes(_core.Call(shape=(1, size, size)))  # rules are followed when a plan is made
        return net, chosen.source
    except UserError as error:  # the network itself is sound if it can be made without the cache
        file = rules.of_device_file(device.gpu)
        net = make_net(file.text)
        warnings.warn(f"the cached tuning is not used ({error}); run fastalex tune again", stacklevel=stacklevel + 1)
        return net, file.source
