"""Networks that are split into parts, as modules: each part has its own list of layers."""

from __future__ import annotations

import functools
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ...networks.architecture import Variant
from ...networks.layers import Layer
from ...networks.torch_reference import module, pytorch
from ..dropout import Masks, dropout_class
from .shards import Shard, Step, shards, split


class Own(NamedTuple):
    """A tensor with the parameter ``name``, or with the part ``shard`` of it."""

    name: str
    tensor: Any
    shard: Optional[Shard]


def modules_of(table: Sequence[Layer], masks: Masks, mode: str) -> List[Any]:
    """Create the module of each layer; dropouts are those of :mod:`fastalex.train.dropout`, counted from 0."""
    modules, drops = [], 0
    for layer in table:
        if layer.op == "dropout":
            modules.append(dropout_class()(masks, drops, mode))
            drops += 1
        else:
            modules.append(module(layer))
    return modules


@functools.lru_cache(maxsize=None)
def classes() -> Dict[str, Any]:
    """Return the classes of networks by name, created at first use because their base class is PyTorch's."""
    torch = pytorch()
    nn = torch.nn
    base: Any = nn.Module

    class Whole(base):
        """A network in one part."""

        def __init__(self, table: Sequence[Layer], masks: Masks, mode: str) -> None:
            super().__init__()
            self.table = list(table)
            self.layers = nn.ModuleList(modules_of(table, masks, mode))

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

        def owned(self) -> Iterator[Own]:
            for layer, own in zip(self.table, self.layers):
                for leaf, tensor in own.named_parameters():
                    yield Own(f"{layer.param}.{leaf}", tensor, None)

    class Parted(base):
        """Layers split over the parts of ``link``, by the channels of convolutions and the units of fc layers."""

        def __init__(self, table: Sequence[Layer], link: Any, masks: Masks, mode: str) -> None:
            super().__init__()
            self.link = link
            self.steps: List[Step] = split(table, link.size)
            local = [step.layer for step in self.steps]
            self.parts = nn.ModuleList(nn.ModuleList(modules_of(local, masks, mode)) for _ in link.devices)
            self.indices = range(link.rank, link.rank + len(link.devices))
            for index, part in zip(self.indices, self.parts):
                for step, own in zip(self.steps, part):
                    if step.layer.op == "dropout":
                        own.part = (index, link.size) if step.partial else (0, 1)
                    if step.sums and index != self.indices[0]:
                        own.bias = None  # each process adds the bias once
            for device, part in zip(link.devices, self.parts):
                part.to(device)

        def forward(self, values: List[Any]) -> Any:
            for number, step in enumerate(self.steps):
                if step.gathers:
                    values = self.link.gather(values, 1)
                if step.cuts:
                    values = [v.chunk(self.link.size, 1)[i] for v, i in zip(values, self.indices)]
                modules = [part[number] for part in self.parts]
                if step.sums:
                    products = [nn.functional.linear(v.flatten(1), m.weight) for v, m in zip(values, modules)]
                    values = [v + modules[0].bias for v in self.link.total(products)]
                else:
                    values = [m(v) for v, m in zip(values, modules)]
            return values[0]

        def owned(self) -> Iterator[Own]:
            for index, part in zip(self.indices, self.parts):
                table = shards(self.steps, index, self.link.size)
                for step, own in zip(self.steps, part):
                    for leaf, tensor in own.named_parameters():
                        name = f"{step.layer.param}.{leaf}"
                        yield Own(name, tensor, table[name])

    class Columns(base):
        """A network with each column on its own device, like the two GPUs of the paper."""

        def __init__(self, row: Variant, link: Any, masks: Masks, mode: str) -> None:
            super().__init__()
            self.body = Parted(row.layers(), link, masks, mode)

        def forward(self, x: Any) -> Any:
            return self.body([x.to(device) for device in self.body.link.devices])

        def owned(self) -> Iterator[Own]:
            return self.body.owned()

    class Hybrid(base):
        """A network split by samples in the convolutions, and by units in the fully connected layers.

        Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997, scheme (a).
        """

        def __init__(self, row: Variant, link: Any, masks: Masks, mode: str) -> None:
            super().__init__()
            table = row.layers()
            start = next(i for i, layer in enumerate(table) if layer.op in ("dropout", "fc"))
            self.link = link
            self.features = Whole(table[:start], masks, mode)
            self.classifier = Parted(table[start:], link, masks, mode)
            self.replicas: Any = self.features

        def forward(self, x: Any) -> Any:
            maps = self.replicas(x).flatten(1)
            return self.classifier(self.link.gather([maps], 0))

        def owned(self) -> Iterator[Own]:
            yield from self.features.owned()
            yield from self.classifier.owned()

    return {"Whole": Whole, "Columns": Columns, "Hybrid": Hybrid}


def pieces(full: Any, own: Own) -> Any:
    """Return the part of the tensor ``full`` that belongs to ``own``."""
    return full if own.shard is None else full.chunk(own.shard.parts, own.shard.dim)[own.shard.part]


def column_error(row: Variant, size: int) -> Tuple[bool, str]:
    """Return whether ``size`` devices do not fit the columns of ``row``, and an error message."""
    if row.columns < 2:
        return True, f"{row.name} has one column: use --parallel data or hybrid"
    sentence = f"{row.name} has {row.columns} columns, which need as many processes or devices, not {size}"
    return row.columns != size, sentence
