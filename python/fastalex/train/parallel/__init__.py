"""Schemes for training a network on several devices, with one interface to the training loop.

===========  =============================  ===============================================
scheme       each process has               and exchanges
===========  =============================  ===============================================
``none``     everything                     nothing
``data``     all layers, its own samples    gradients of all parameters
``columns``  a column, all samples          activations at conv3 and the fc layers
``hybrid``   all convs with its own         conv gradients, last maps and fc activations
             samples, its part of fc
===========  =============================  ===============================================
"""

from __future__ import annotations

import contextlib
import datetime
import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ...errors import UserError
from ...networks.architecture import Variant
from ...networks.torch_reference import pytorch
from .. import elastic
from ..dropout import Masks
from .link import Devices, Processes, Traffic
from .networks import Own, classes, column_error, pieces

SCHEMES = ("none", "data", "columns", "hybrid")
# The process group, kept until the process ends. If a DistributedDataParallel were the last to refer to it, the group
# would be freed under the GIL, and wait for threads of gloo that need the GIL to free tensors.
_group: List[Any] = []


class Scheme:
    """A network on its devices.

    Gradients are those of the sum of the losses of all processes, each of which computes that of its own targets.

    :ivar rank: number of this process.
    :ivar world: number of processes.
    :ivar shares: number of processes that the samples of a batch are split over.
    """

    def __init__(self, kind: str, row: Variant, devices: Sequence[Any], masks: Masks, mode: str) -> None:
        torch = pytorch()
        distributed = torch.distributed
        several = distributed.is_available() and distributed.is_initialized()
        self.kind, self.row, self.masks, self.device = kind, row, masks, devices[0]
        self.link = Processes(devices[0]) if several else Devices(devices)
        self.rank, self.world = (self.link.rank, self.link.size) if several else (0, 1)
        self.shares = self.world if kind in ("data", "hybrid") else 1
        made = classes()
        if kind == "columns":
            refused, sentence = column_error(row, self.link.size)
            if refused:
                raise UserError(sentence)
            self.network = made["Columns"](row, self.link, masks, mode)
        elif kind == "hybrid":
            self.network = made["Hybrid"](row, self.link, masks, mode)
        else:
            self.network = made["Whole"](row.layers(), masks, mode)
        self._several = several
        self._averaged: Any = None
        self.module = self.network

    def prepare(self, dtype: Any = None) -> None:
        """Move the network to its devices and ``dtype``, and wrap its replicated part so that gradients are added."""
        if dtype is not None:
            self.network.to(dtype)
        if self.kind != "columns":
            self.network.to(self.device)
        if not self._several:
            return
        if self.kind == "data":
            self._averaged = self.module = self._replicas(self.network)
        elif self.kind == "hybrid":
            self._averaged = self.network.replicas = self._replicas(self.network.features)

    def _replicas(self, network: Any) -> Any:
        torch = pytorch()
        on_gpu = self.device.type == "cuda"
        wrapped = torch.nn.parallel.DistributedDataParallel(network, device_ids=[self.device] if on_gpu else None)
        # A lambda, because PyTorch rejects a hook whose annotations are strings.
        wrapped.register_comm_hook(self.processes, lambda link, bucket: _added_up(link, bucket))
        return wrapped

    @property
    def processes(self) -> Processes:
        """The link between several processes."""
        assert isinstance(self.link, Processes)
        return self.link

    @property
    def traffic(self) -> Traffic:
        """The bytes sent by this process."""
        return self.link.traffic

    def owned(self) -> List[Own]:
        """List the tensors in this process, with the parameters they belong to."""
        return list(self.network.owned())

    def logits(self, x: Any, train: bool = True) -> Any:
        """Compute the logits of the samples of :meth:`targets`.

        This is a collective call with ``columns`` and ``hybrid``; with ``data``, its backward pass is one if ``train``.
        """
        return (self.module if train else self.network)(x)

    def targets(self, own: Any) -> Any:
        """Return the targets of the rows of :meth:`logits`: those of this process, or of all with ``hybrid``."""
        if self.kind == "hybrid" and self._several:
            return pytorch().cat(self.processes.gathered(own))
        return own

    def added(self, values: Any) -> Any:
        """Add sums over the samples of each process, so that every sample of the batch counts once."""
        if self.kind == "data" and self._several:
            return self.processes.added(values)
        return values

    def counted(self, values: Any) -> Any:
        """Add sums over the rows that each process loaded."""
        return self.processes.added(values) if self.shares > 1 else values

    def largest(self, number: int) -> int:
        """Return the largest ``number`` of all processes. A collective call."""
        return self.processes.largest(number) if self._several else number

    def listed(self, own: List[Any], shares: int) -> List[Any]:
        """Concatenate the lists of all processes, if each of ``shares`` processes has its own."""
        return own if shares == 1 else [item for items in self.gathered(own) for item in items]

    def gathered(self, own: Any) -> List[Any]:
        """Return the objects of all processes. A collective call."""
        found: List[Any] = [own] * self.world
        if self._several:
            pytorch().distributed.all_gather_object(found, own)
        return found

    def hold(self, later: bool) -> Any:
        """Return a context in which gradients are accumulated without an exchange, if ``later`` ones follow."""
        return self._averaged.no_sync() if later and self._averaged is not None else contextlib.nullcontext()

    def load(self, arrays: Mapping[str, np.ndarray], into: Optional[Callable[[Any], Any]] = None) -> None:
        """Copy whole arrays into the tensors of this process; ``into`` maps a parameter to another tensor to fill."""
        torch = pytorch()
        with torch.no_grad():
            for own in self.owned():
                target = own.tensor if into is None else into(own.tensor)
                target.copy_(pieces(torch.as_tensor(arrays[own.name]), own))

    def assemble(self, of: Callable[[Any], Any]) -> Dict[str, Any]:
        """Put together whole tensors on the CPU, by parameter name. A collective call.

        :param of: maps the tensor of a parameter to the tensor to assemble.
        """
        torch = pytorch()
        parts: Dict[str, List[Any]] = {}
        dims: Dict[str, int] = {}
        for own in self.owned():
            value = of(own.tensor).detach()
            if own.shard is None:
                parts[own.name] = [value.cpu()]
                continue
            dims[own.name] = own.shard.dim
            values = self.processes.gathered(value) if self._several else [value]
            parts.setdefault(own.name, []).extend(part.cpu() for part in values)
        names = self.row.parameter_shapes()
        return {name: torch.cat(parts[name], dims.get(name, 0)).clone() for name in names}


def _added_up(link: Processes, bucket: Any) -> Any:
    """Add gradients instead of averaging them: a communication hook of DistributedDataParallel."""
    buffer = bucket.buffer()
    link.count_all_reduce(buffer)
    work = link.distributed.all_reduce(buffer, async_op=True)
    return work.get_future().then(lambda future: future.value()[0])


def remaining(kind: str) -> str:
    """Return the scheme of this run: ``none`` if all other hosts of ``data`` or ``hybrid`` under torchrun are gone."""
    alone = os.environ.get("WORLD_SIZE") == "1" and "TORCHELASTIC_RUN_ID" in os.environ
    return "none" if alone and kind in ("data", "hybrid") else kind


def start(kind: str, device: str, timeout: int = 1800) -> List[Any]:
    """Join the process group if torchrun started several processes; return the devices of this process.

    :param timeout: seconds that a process waits for the others before they count as gone.
    :raises UserError: if the scheme does not fit the number of processes or devices.
    """
    torch = pytorch()
    if kind not in SCHEMES:
        raise UserError(f"--parallel must be one of {', '.join(SCHEMES)}, not '{kind}'")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    devices = [_device(name, world) for name in device.split(",")]
    if world > 1 and kind == "none":
        raise UserError(f"torchrun started {world} processes: add --parallel data, columns or hybrid")
    if world > 1 and len(devices) > 1:
        raise UserError("each process of torchrun has one device: pass a single --device")
    if world == 1 and kind != "none" and not (kind == "columns" and len(devices) > 1):
        more = " (columns also run as --device cuda:0,cuda:1)" if kind == "columns" else ""
        raise UserError(
            f"--parallel {kind} needs several processes: torchrun --nproc-per-node 2 -m fastalex.train ...{more}"
        )
    if kind != "columns" and len(devices) > 1:
        raise UserError("several devices in one process work only with --parallel columns")
    if world > 1 and not torch.distributed.is_initialized():
        if devices[0].type == "cuda":
            torch.cuda.set_device(devices[0])
        elastic.meet(timeout)
        backend, seconds = "nccl" if devices[0].type == "cuda" else "gloo", datetime.timedelta(seconds=timeout)
        torch.distributed.init_process_group(backend, timeout=seconds)
        _group[:] = [torch.distributed.group.WORLD]
    return devices


def divided(function: Callable[[str], Any], arguments: Sequence[str]) -> List[Any]:
    """Call ``function`` with each argument in one of the processes, and return what it gave. A collective call."""
    distributed = pytorch().distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return [function(argument) for argument in arguments]
    world, rank = distributed.get_world_size(), distributed.get_rank()
    parts: List[Any] = [None] * world
    distributed.all_gather_object(parts, [function(argument) for argument in arguments[rank::world]])
    return [parts[number % world][number // world] for number in range(len(arguments))]


def finish() -> None:
    """Leave the process group that :func:`start` joined."""
    distributed = pytorch().distributed
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _device(name: str, world: int) -> Any:
    torch = pytorch()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device '{name}': use cpu, cuda or cuda:1") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError("PyTorch finds no GPU: use --device cpu, or install a build of PyTorch for CUDA")
        index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None and world > 1 else device.index or 0
        if index >= torch.cuda.device_count():
            raise UserError(f"there is no cuda:{index}: PyTorch finds {torch.cuda.device_count()} GPUs")
        device = torch.device("cuda", index)
    elif device.type != "cpu":
        raise UserError(f"training runs on cpu or cuda, not on '{name}'")
    return device
