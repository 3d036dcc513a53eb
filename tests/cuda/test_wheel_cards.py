"""GPUs that the wheel has code for and no file of devices/ describes, on the emulator: each op within its bound, and no
kernel whose instructions they lack."""

from __future__ import annotations

import pytest

from cuda_emulator import emulated
from fastalex.selftest import checks
from tests.support.small_net import batch_of, small

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("own_cache")]

# CUDA programming guide, "technical specifications per compute capability".
CARDS = {
    "pascal": "name=NVIDIA GeForce GTX 1080,sm=61,sms=20,threads_per_sm=2048,shared_per_sm=98304,"
    "shared_per_block=49152,tensor_cores=0",
    "volta": "name=Tesla V100-SXM2-16GB,sm=70,sms=80,threads_per_sm=2048,shared_per_sm=98304,"
    "shared_per_block=98304,tensor_cores=1",
}


@pytest.mark.parametrize("card", sorted(CARDS))
def test_every_op_is_served(card):
    with emulated.pretend(CARDS[card]):
        outcomes = checks.run_all(["emulated"])
    assert len(outcomes) > 50
    assert not [outcome for outcome in outcomes if not outcome.ok]


@pytest.mark.parametrize("card", sorted(CARDS))
@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_kernels_of_fp16(card, storage, parameters):
    """Volta has tensor cores, but not the instruction of these kernels, which starts at sm_75."""
    with emulated.pretend(CARDS[card]):
        net = small(parameters, precision="fp16", fc_weights=storage)
        net(batch_of(2))
        used = str(net.kernels())
    assert "simt" in used
    assert "mma" not in used
