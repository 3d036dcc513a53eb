"""Resource limits of kernels on a device, and the blocks that a multiprocessor holds (pure functions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Mapping, Optional

from fastalex.hardware import devices

from .families import Instance
from .toolchain import Usage

WARP = 32
# cuda_occupancy.h of CUDA 13.0: registers are given to a warp in units, warps count in fours (sub-partitions), shared
# memory is given to a block in units; from 8.0 on the system takes 1 KiB of it for each block (CUDA programming guide,
# shared memory of 8.x), and a multiprocessor holds only so many blocks.
REGISTER_UNIT = 256
SUB_PARTITIONS = 4
RESERVED_SHARED = 1024


def shared_unit(architecture: int) -> int:
    return 128 if architecture >= 80 else 256


def most_blocks(architecture: int) -> int:
    """Blocks that a multiprocessor holds at most, whatever they use."""
    if architecture == 75:
        return 16
    return {86: 16, 87: 16, 89: 24, 120: 24}.get(architecture, 32)


@dataclass(frozen=True)
class Limits:
    """Limits that hold on all devices of an architecture: the least of each."""

    architecture: int
    registers_per_block: int
    registers_per_sm: int
    shared_per_block: int
    shared_per_sm: int
    threads_per_sm: int


def architecture_of(device: devices.Device) -> int:
    major, minor = device.compute_capability
    return 10 * major + minor


def limits_of(device: devices.Device) -> Limits:
    values = device.limits
    return Limits(
        architecture_of(device),
        values["registers_per_block"],
        values["registers_per_sm"],
        values["shared_memory_per_block_kib"] * 1024,
        values["shared_memory_per_sm_kib"] * 1024,
        values["threads_per_sm"],
    )


def limits_for(architecture: int, known: Optional[Mapping[str, devices.Device]] = None) -> Optional[Limits]:
    """The least limits of an architecture's devices; None if no device file has that architecture."""
    known = devices.load_all() if known is None else known
    device_limits = [limits_of(device) for device in known.values() if architecture_of(device) == architecture]
    if not device_limits:
        return None
    return Limits(
        architecture,
        *(min(getattr(limits, key) for limits in device_limits) for key in list(vars(device_limits[0]))[1:]),
    )


def registers_of_block(threads: int, registers: int) -> int:
    """Registers allocated to a block: in units per warp, with warps in groups of four."""
    warps = -(-threads // WARP)
    return _up(registers * WARP, REGISTER_UNIT) * _up(warps, SUB_PARTITIONS)


def blocks_per_sm(limits: Limits, threads: int, shared_bytes: int, usage: Usage) -> int:
    """Blocks of a kernel that one multiprocessor holds at a time; 0: it cannot run."""
    warps = -(-threads // WARP)
    of_warp = _up(usage.registers * WARP, REGISTER_UNIT)
    if registers_of_block(threads, usage.registers) > limits.registers_per_block:
        return 0
    shared = shared_bytes + usage.shared
    if shared > limits.shared_per_block:
        return 0
    if limits.architecture >= 80:
        shared += RESERVED_SHARED
    by_registers = limits.registers_per_sm // SUB_PARTITIONS // of_warp * SUB_PARTITIONS // warps
    by_threads = limits.threads_per_sm // (warps * WARP)
    by_shared = limits.shared_per_sm // _up(shared, shared_unit(limits.architecture)) if shared else by_threads
    return min(by_registers, by_threads, by_shared, most_blocks(limits.architecture))


def occupancy(limits: Limits, threads: int, shared_bytes: int, usage: Usage) -> float:
    """Share of a multiprocessor's threads that blocks of this kernel can fill."""
    blocks = blocks_per_sm(limits, threads, shared_bytes, usage)
    return blocks * _up(threads, WARP) / limits.threads_per_sm


@dataclass(frozen=True)
class Allowed:
    """Spills or stack that a kernel may have: bytes of a thread, where, and why."""

    instance: str
    architecture: int
    stack: int
    spills: int
    reason: str


# Each row has a reason from a measurement or the disassembly.
ALLOWED: List[Allowed] = []


def problems(instance: Instance, usage: Usage, limits: Optional[Limits], architecture: int) -> List[str]:
    """Problems of a compiled kernel, one sentence each."""
    where = f"{instance.family}, {instance.name} for sm_{architecture}"
    sentences = []
    allowed = [one for one in ALLOWED if (one.instance, one.architecture) == (instance.name, architecture)]
    spills = usage.spill_stores + usage.spill_loads
    if spills > max((one.spills for one in allowed), default=0):
        sentences.append(f"{where}: spills {usage.spill_stores} bytes out of and {usage.spill_loads} into registers")
    if usage.stack > max((one.stack for one in allowed), default=0):
        sentences.append(f"{where}: keeps {usage.stack} bytes of a thread on the stack")
    if usage.shared:
        sentences.append(f"{where}: has {usage.shared} bytes of static shared memory; it must be dynamic")
    if limits is None:
        return sentences
    registers = registers_of_block(instance.threads, usage.registers)
    if registers > limits.registers_per_block:
        sentences.append(f"{where}: a block takes {registers} registers of {limits.registers_per_block}")
    if instance.shared_bytes + usage.shared > limits.shared_per_block:
        sentences.append(f"{where}: a block takes {instance.shared_bytes} bytes of {limits.shared_per_block}")
    if not sentences and blocks_per_sm(limits, instance.threads, instance.shared_bytes, usage) < 1:
        sentences.append(f"{where}: no block of {instance.threads} threads fits a multiprocessor")
    return sentences


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
