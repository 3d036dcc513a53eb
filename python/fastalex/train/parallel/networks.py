"""Networks that run in parts: modules made from the layer table, one list of them for each part in this process."""

from __future__ import annotations

import functools
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ...networks.architecture import Variant
from ...networks.layers import Layer
from ...networks.torch_reference import module, pytorch
from ..dropout import Masks, dropout_class
from .shards import Shard, Step, shards, split


class Own(NamedTuple):
    """A tensor that holds the parameter ``name``, or the part ``shard`` of it."""

    name: str
    tensor: Any
    shard: Optional[Shard]


def modules_of(table: Sequence[Layer], masks: Masks, mode: str) -> List[Any]:
    """The module of each layer; dropout is :mod:`fastalex.train.dropout`'s, numbered by its place."""
    made, drops = [], 0
    for layer in table:
        if layer.op == "dropout":
            made.append(dropout_class()(masks, drops, mode))
            drops += 1
        else:
            made.append(module(layer))
    return made


@functools.lru_cache(maxsize=None)
def classes() -> Dict[str, Any]:
    """``Whole``, ``Parted``, ``Columns`` and ``Hybrid``, made at first use because their base class is PyTorch's."""
    torch = pytorch()
    nn = torch.nn

    class Whole(nn.Module):
        """All layers in turn."""

        def __init__(self, table: Sequence[Layer], masks: Masks, mode: str) -> None:
            super().__init__()
            self.table = list(table)
            self.layers = nn.ModuleList(modules_of(table, masks, mode))

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

        def owned(self) -> Iterator[Own]:
            for layer, made in zip(self.table, self.layers):
                for leaf, tensor in made.named_parameters():
                    yield Own(f"{layer.param}.{leaf}", tensor, None)

    class Parted(nn.Module):
        """Layers that are shared out over the parts of ``link``: channels of convolutions, units of fc layers."""

        def __init__(self, table: Sequence[Layer], link: Any, masks: Masks, mode: str) -> None:
            super().__init__()
            self.link = link
            self.steps: List[Step] = split(table, link.size)
            local = [step.layer for step in self.steps]
            self.parts = nn.ModuleList(nn.ModuleList(modules_of(local, masks, mode)) for _ in link.devices)
            self.indices = range(link.rank, link.rank + len(link.devices))
            for index, part in zip(self.indices, self.parts):
                for step, made in zip(self.steps, part):
                    if step.layer.op == "dropout":
                        made.part = (index, link.size) if step.partial else (0, 1)
                    if step.sums and index != self.indices[0]:
                        made.bias = None  # one of each process is added once
            for device, part in zip(link.devices, self.parts):
                part.to(device)

        def forward(self, values: List[Any]) -> Any:
            for number, step in enumerate(self.steps):
                if step.gathers:
                    values = self.link.gather(values, 1)
                if step.cuts:
                    values = [v.chunk(self.link.size, 1)[i] for v, i in zip(values, self.indices)]
                made = [part[number] for part in self.parts]
                if step.sums:
                    products = [nn.functional.linear(v.flatten(1), m.weight) for v, m in zip(values, made)]
                    values = [v + made[0].bias for v in self.link.total(products)]
                else:
                    values = [m(v) for v, m in zip(values, made)]
            return values[0]

        def owned(self) -> Iterator[Own]:
            for index, part in zip(self.indices, self.parts):
                table = shards(self.steps, index, self.link.size)
                for step, made in zip(self.steps, part):
                    for leaf, tensor in made.named_parameters():
                        name = f"{step.layer.param}.{leaf}"
                        yield Own(name, tensor, table[name])

    class Columns(nn.Module):
        """The paper's two GPUs: each column of the network on a device of its own."""

        def __init__(self, row: Variant, link: Any, masks: Masks, mode: str) -> None:
            super().__init__()
            self.body = Parted(row.layers(), link, masks, mode)

        def forward(self, x: Any) -> Any:
            return self.body([x.to(device) for device in self.body.link.devices])

        def owned(self) -> Iterator[Own]:
            return self.body.owned()

    class Hybrid(nn.Module):
        """Convolutions on each process's own samples, fully connected layers on its share of the units of all samples
        (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997, scheme (a))."""

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
    """The part of the tensor ``full`` that ``own`` holds."""
    return full if own.shard is None else full.chunk(own.shard.count, own.shard.dim)[own.shard.index]


def column_error(row: Variant, size: int) -> Tuple[bool, str]:
    """Whether ``size`` devices are not what the columns of ``row`` need, and the sentence that says so."""
    if row.columns < 2:
        return True, f"{row.name} has one column: --parallel data or hybrid share it out"
    sentence = f"{row.name} has {row.columns} columns, which need as many processes or devices, not {size}"
    return row.columns != size, sentence
