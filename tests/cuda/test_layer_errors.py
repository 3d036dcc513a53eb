"""The errors that are noted beside simulated runs: of single layers of a network on the emulator."""

from __future__ import annotations

import pytest

from cuda_emulator import emulated as emulator
from tools.cuda_gate import emulation, plans

pytestmark = [pytest.mark.emulator, pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


def place(layer, density=None):
    return emulation.Place("alexnet2012", "fp16", "int8", 1, density, layer)


def test_layers_run_alone_with_the_kernels_of_the_network(emulated):
    """Sums of up to 4096 products of halves in fp32, or in a short sum of halves in Winograd's products."""
    library = plans.Path(emulator.library())
    pool, conv, fc = place("pool5"), place("conv5"), place("fc8", 0.35)
    found = emulation.read_errors(library, "nano", [pool, conv, fc])
    assert found[pool] == emulation.Emulated(0.0, ("pool_half",))
    assert [name.rsplit("_", 2)[0] for name in found[conv].kernels][::2] == ["winograd_input", "winograd_output"]
    assert 1e-4 < found[conv].error < 4e-3
    assert found[fc].kernels == ("columns_half_int8_b1",) and 1e-4 < found[fc].error < 1e-3
    with emulator.pretend(blocks=2, kernel="pool_half"):  # of six
        (spoiled,) = emulation.read_errors(library, "nano", [pool]).values()
    assert not spoiled.error < 0.1
