"""Native nets with the tuning rules of their device or of the user's cache."""

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
    """Make a net with the rules for ``device``; return it and the source of the rules.

    Rules of the user's cache that do not work are left out, with a warning.

    :param make_net: makes the net from the text of rules.
    :param engine: the engine mode of a TensorRT device, otherwise empty.
    :param size: side of the network's images in pixels.
    :param stacklevel: of the warning, as for :func:`warnings.warn`.
    :raises UserError: if the net cannot be made.
    """
    chosen = rules.choose(device, engine)
    if device.gpu is None or not chosen.cached:
        return make_net(chosen.text), chosen.source
    try:
        net = make_net(chosen.text)
        net.shapes(_core.Call(shape=(1, size, size)))  # makes a plan, which applies the rules
        return net, chosen.source
    except UserError as error:  # the rules are at fault if the net can be made without them
        file = rules.of_device_file(device.gpu)
        net = make_net(file.text)
        warnings.warn(f"the cached tuning is not used ({error}); run fastalex tune again", stacklevel=stacklevel + 1)
        return net, file.source
