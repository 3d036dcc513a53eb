"""Links between the parts of a network: gathering and adding tensors in forward and backward, and counting bytes.

A link takes and returns lists with one tensor for each part of the network in this process.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, List, Sequence

from ...networks.torch_reference import pytorch


class Traffic:
    """The bytes that this process sent to others since the last :meth:`take`, by collective.

    For all-gather and all-to-all, these are the bytes received by the others. For all-reduce, they are those of the
    best algorithm, reduce-scatter and all-gather around a ring: twice the tensor without the process's own part.
    """

    def __init__(self) -> None:
        self.sent: Dict[str, int] = {}

    def add(self, collective: str, count: float) -> None:
        """Add ``count`` bytes."""
        self.sent[collective] = self.sent.get(collective, 0) + round(count)

    def take(self) -> Dict[str, int]:
        """Return the bytes by collective, and start again at 0."""
        taken, self.sent = self.sent, {}
        return taken


class Processes:
    """The link of a network with one part in each process of ``torch.distributed``'s default group."""

    def __init__(self, device: Any) -> None:
        self.distributed = pytorch().distributed
        self.size, self.rank = self.distributed.get_world_size(), self.distributed.get_rank()
        self.devices = [device]
        self.traffic = Traffic()

    def gather(self, values: Sequence[Any], dim: int) -> List[Any]:
        """Concatenate the tensors of all parts along ``dim``; backward, the gradients of all processes are added."""
        return [_functions()["Gather"].apply(value, self, dim) for value in values]

    def total(self, values: Sequence[Any]) -> List[Any]:
        """Add the tensors of all parts.

        All processes compute the same from the sum, so the gradient passes backward unchanged.
        """
        return [_functions()["Total"].apply(value, self) for value in values]

    def gathered(self, value: Any) -> List[Any]:
        """Return the tensors ``value`` of all processes."""
        value = value.contiguous()
        parts = [pytorch().empty_like(value) for _ in range(self.size)]
        self.distributed.all_gather(parts, value)
        self.traffic.add("all_gather", value.numel() * value.element_size() * (self.size - 1))
        return parts

    def scattered(self, value: Any, dim: int) -> Any:
        """Add the tensors ``value`` of all processes; return the part of this process along ``dim``."""
        torch = pytorch()
        pieces = torch.stack(value.chunk(self.size, dim))
        received = torch.empty_like(pieces)
        self.distributed.all_to_all_single(received, pieces)
        self.traffic.add("all_to_all", value.numel() * value.element_size() * (self.size - 1) / self.size)
        return received.sum(0)

    def added(self, value: Any) -> Any:
        """Add the tensors ``value`` of all processes, in place, and return the sum."""
        self.distributed.all_reduce(value)
        self.count_all_reduce(value)
        return value

    def largest(self, number: int) -> int:
        """Return the largest ``number`` of all processes; its few bytes are not counted."""
        value = pytorch().tensor(number, device=self.devices[0])
        self.distributed.all_reduce(value, self.distributed.ReduceOp.MAX)
        return int(value)

    def count_all_reduce(self, value: Any) -> None:
        """Count the bytes of an all-reduce of ``value``."""
        self.traffic.add("all_reduce", 2 * value.numel() * value.element_size() * (self.size - 1) / self.size)


class Devices:
    """The link of a network with all parts in this process, one on each of ``devices``; autograd works across them."""

    def __init__(self, devices: Sequence[Any]) -> None:
        self.devices, self.size, self.rank = list(devices), len(devices), 0
        self.traffic = Traffic()

    def gather(self, values: Sequence[Any], dim: int) -> List[Any]:
        """Concatenate the tensors of all parts along ``dim``, on each device."""
        torch = pytorch()
        self._count("copies", values)
        return [torch.cat([value.to(device) for value in values], dim) for device in self.devices]

    def total(self, values: Sequence[Any]) -> List[Any]:
        """Add the tensors of all parts, only on the first device, because the loss is computed once."""
        self.traffic.add("copies", sum(2 * v.numel() * v.element_size() for v in values[1:]))
        return [sum(value.to(self.devices[0]) for value in values)]

    def _count(self, name: str, values: Sequence[Any]) -> None:
        # Forward, each part goes to each other device; backward, as many gradients come back.
        self.traffic.add(name, sum(2 * v.numel() * v.element_size() * (self.size - 1) for v in values))


@functools.lru_cache(maxsize=None)
def _functions() -> Dict[str, Any]:
    torch = pytorch()
    base: Any = torch.autograd.Function

    class Gather(base):
        @staticmethod
        def forward(ctx: Any, value: Any, link: Processes, dim: int) -> Any:
            ctx.link, ctx.dim = link, dim
            return torch.cat(link.gathered(value), dim)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return ctx.link.scattered(grad, ctx.dim), None, None

    class Total(base):
        @staticmethod
        def forward(ctx: Any, value: Any, link: Processes) -> Any:
            return link.added(value.clone())

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad, None

    return {"Gather": Gather, "Total": Total}
