"""The default number of threads: affinity, a container's CPU quota, and the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALL = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("usable_cpus") / "usable_cpus"
    sources = ["tests/support/cpp/usable_cpus.cpp", "csrc/cpu/usable_cpus.cpp"]
    command = ["g++", "-std=c++14", "-I", "csrc", "-I", "csrc/include", "-o", str(path)]
    subprocess.run([*command, *sources], check=True, cwd=ROOT)
    return str(path)


def threads(program, root, **environment):
    """What the program prints; without the variables of this process, but for those given."""
    clean = {key: value for key, value in os.environ.items() if not key.endswith("NUM_THREADS")}
    done = subprocess.run([program, str(root)], stdout=subprocess.PIPE, env={**clean, **environment})
    return done.stdout.decode().strip()


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


V2 = "proc/self/cgroup"


@pytest.mark.parametrize(
    ("files", "bound"),
    [
        ({}, None),
        ({V2: "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({V2: "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({V2: "0::/\n", "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({V2: "0::/\n", "sys/fs/cgroup/cpu.max": "100001 100000\n"}, 2),
        ({V2: "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "100000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 1\n"}, 1),
        ({V2: "0::/elsewhere\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({V2: "0::/../..\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, None),
        ({V2: "0::/\n", "sys/fs/cgroup/cpu.max": "garbage\n"}, None),
        (
            {
                V2: "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "90000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                V2: "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_a_quota_bounds_the_default(program, tmp_path, files, bound):
    write(tmp_path, files)
    assert threads(program, tmp_path) == str(ALL if bound is None else min(ALL, bound))


@pytest.mark.parametrize(
    ("environment", "bound"),
    [
        ({"FASTALEX_NUM_THREADS": "1"}, 1),
        ({"FASTALEX_NUM_THREADS": "100000"}, ALL),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"OMP_NUM_THREADS": "none"}, ALL),
        ({"OMP_NUM_THREADS": "1", "FASTALEX_NUM_THREADS": "2"}, min(ALL, 2)),
        ({"OMP_NUM_THREADS": "1", "FASTALEX_NUM_THREADS": ""}, 1),
    ],
)
def test_the_environment_bounds_the_default(program, tmp_path, environment, bound):
    assert threads(program, tmp_path, **environment) == str(bound)


@pytest.mark.parametrize("text", ["0", "-1", "many", "2x", "1,2"])
def test_a_wrong_number_is_one_sentence(program, tmp_path, text):
    assert threads(program, tmp_path, FASTALEX_NUM_THREADS=text).endswith(
        "FASTALEX_NUM_THREADS must be a whole number above 0, not " + text
    )


def test_python_follows_it():
    code = "from fastalex import AlexNet; print(AlexNet('alexnet-digits', device='cpu').threads)"
    for name in ("FASTALEX_NUM_THREADS", "OMP_NUM_THREADS"):
        environment = {key: value for key, value in os.environ.items() if not key.endswith("NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**environment, name: "1"}, check=True
        )
        assert done.stdout.split()[-1] == b"1"
