"""Ctrl-C ends a long call soon, and leaves the network usable."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys, threading, time
import numpy as np
from fastalex import AlexNet
import os, signal

net = AlexNet("torchvision", device="cpu", threads=int(sys.argv[1]), **eval(sys.argv[2]))
x = np.random.default_rng(0).standard_normal((256, 3, 224, 224), dtype=np.float32)
one = net(x[:1])
net(x[:8])
sent = []

def send():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

threading.Timer(0.3, send).start()
try:
    net(x)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
else:
    sys.exit("the call was not interrupted")
np.testing.assert_array_equal(net(x[:1]), one)
np.testing.assert_array_equal(net(x[:3])[:1], one)
"""


@pytest.mark.parametrize(("threads", "options"), [(1, {}), (2, {}), (1, {"exact": True})])
def test_ctrl_c_ends_a_long_call(threads, options):
    """Within 0.2 s where the processor is free; five times that for a busy one."""
    waits = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(threads), repr(options)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        waits.append(float(done.stdout))
        if waits[-1] < 0.2:
            break
    assert min(waits) < 1.0, waits


def test_a_handler_that_does_not_raise_does_not_end_the_call():
    from fastalex import AlexNet

    net = AlexNet("torchvision", device="cpu", threads=1)
    x = np.random.default_rng(0).standard_normal((48, 3, 224, 224), dtype=np.float32)
    expected, seen = net(x), []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        np.testing.assert_array_equal(net(x), expected)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen
