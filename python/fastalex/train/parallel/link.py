"""What passes between the parts of a network: gathering and adding up, forward and backward, with the bytes counted.

A link takes and gives a list: one tensor for each part that lives in this process.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, List, Sequence

from ...networks.torch_reference import pytorch


class Traffic:
    """Bytes that this process sent to others, by collective, since the last :meth:`take`.

    All-gather and all-to-all: what each of the others gets. All-reduce: twice the tensor less its own share, what its
    best algorithm (reduce-scatter, then all-gather, round a ring) sends.
    """

    def __init__(self) -> None:
        self.sent: Dict[str, int] = {}

    def add(self, collective: str, count: float) -> None:
        self.sent[collective] = self.sent.get(collective, 0) + round(count)

    def take(self) -> Dict[str, int]:
        taken, self.sent = self.sent, {}
        return taken


class Processes:
    """A part in each process of ``torch.distributed``'s default group."""

    def __init__(self, device: Any) -> None:
        self.distributed = pytorch().distributed
        self.size, self.rank = self.distributed.get_world_size(), self.distributed.get_rank()
        self.devices = [device]
        self.traffic = Traffic()

    def gather(self, values: Sequence[Any], dim: int) -> List[Any]:
        """All parts side by side along ``dim``, in their order; the gradients of all users are added up."""
        return [_functions()["Gather"].apply(value, self, dim) for value in values]

    def total(self, values: Sequence[Any]) -> List[Any]:
        """The sum of all parts. What follows is the same in each process, so it gets that one's gradient as it is."""
        return [_functions()["Total"].apply(value, self) for value in values]

    def gathered(self, value: Any) -> List[Any]:
        value = value.contiguous()
        parts = [pytorch().empty_like(value) for _ in range(self.size)]
        self.distributed.all_gather(parts, value)
        self.traffic.add("all_gather", value.numel() * value.element_size() * (self.size - 1))
        return parts

    def scattered(self, value: Any, dim: int) -> Any:
        """The sum over the processes of the part of ``value`` along ``dim`` that is this one's."""
        torch = pytorch()
        pieces = torch.stack(value.chunk(self.size, dim))
        received = torch.empty_like(pieces)
        self.distributed.all_to_all_single(received, pieces)
        self.traffic.add("all_to_all", value.numel() * value.element_size() * (self.size - 1) / self.size)
        return received.sum(0)

    def added(self, value: Any) -> Any:
        """``value``, in place, as its sum over the processes."""
        self.distributed.all_reduce(value)
        self.count_all_reduce(value)
        return value

    def count_all_reduce(self, value: Any) -> None:
        self.traffic.add("all_reduce", 2 * value.numel() * value.element_size() * (self.size - 1) / self.size)


class Devices:
    """All parts in this process, one on each of ``devices``; autograd itself crosses between them."""

    def __init__(self, devices: Sequence[Any]) -> None:
        self.devices, self.size, self.rank = list(devices), len(devices), 0
        self.traffic = Traffic()

    def gather(self, values: Sequence[Any], dim: int) -> List[Any]:
        """As :meth:`Processes.gather`."""
        torch = pytorch()
        self._count("copies", values)
        return [torch.cat([value.to(device) for value in values], dim) for device in self.devices]

    def total(self, values: Sequence[Any]) -> List[Any]:
        """As :meth:`Processes.total`, on the first device only: the loss is computed once."""
        self.traffic.add("copies", sum(2 * v.numel() * v.element_size() for v in values[1:]))
        return [sum(value.to(self.devices[0]) for value in values)]

    def _count(self, name: str, values: Sequence[Any]) -> None:
        # forward: each part to each other device; backward: as many gradients back
        self.traffic.add(name, sum(2 * v.numel() * v.element_size() * (self.size - 1) for v in values))


@functools.lru_cache(maxsize=None)
def _functions() -> Dict[str, Any]:
    torch = pytorch()

    class Gather(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Any, link: Processes, dim: int) -> Any:
            ctx.link, ctx.dim = link, dim
            return torch.cat(link.gathered(value), dim)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return ctx.link.scattered(grad, ctx.dim), None, None

    class Total(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Any, link: Processes) -> Any:
            return link.added(value.clone())

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad, None

    return {"Gather": Gather, "Total": Total}
