"""Oddities of PyTorch networks beyond the family's layers; a refusal names the operations of their export."""

from __future__ import annotations

from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .cases import Kind
from .torch_exports import Apply, Draft


def _choose(draft: Draft, choices: Sequence[Any]) -> Any:
    return choices[int(draft.rng.integers(len(choices)))]


def _act(draft: Draft) -> None:
    kinds = (
        lambda: nn.LeakyReLU(0.1),
        nn.Sigmoid,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Hardswish,
        nn.ReLU6,
        lambda: nn.Hardtanh(-0.5, 0.7),
        nn.Softplus,
        lambda: Apply("relu * 0.5", lambda x: x.relu() * 0.5),
    )
    where = _choose(draft, ([int(draft.rng.integers(7))], [5, 6], [int(draft.rng.integers(5))]))
    kind = _choose(draft, kinds)
    draft.acts = [kind if at in where else act for at, act in enumerate(draft.acts)]


def _mixed(draft: Draft) -> None:
    at = int(draft.rng.integers(7))
    draft.acts = [(nn.Tanh if (act is nn.ReLU) == (index == at) else nn.ReLU) for index, act in enumerate(draft.acts)]


def _none(draft: Draft) -> None:
    at = int(draft.rng.integers(7))
    draft.acts = [nn.Identity if index == at else act for index, act in enumerate(draft.acts)]


def _norm2d(draft: Draft) -> None:
    for at in _choose(draft, (range(5), [int(draft.rng.integers(5))])):
        target = _choose(draft, (draft.before, draft.before, draft.behind))
        target[at] = [nn.BatchNorm2d(draft.convs[at].out_channels)]


def _norm1d(draft: Draft) -> None:
    at = int(draft.rng.integers(2))
    draft.between[at].append(nn.BatchNorm1d(draft.hidden[at]))


def _layer_norm(draft: Draft) -> None:
    at = int(draft.rng.integers(2))
    draft.between[at].append(nn.LayerNorm(draft.hidden[at]))


def _lrn(draft: Draft) -> None:
    first = nn.LocalResponseNorm(5, 0.3, 0.75, _choose(draft, (1.0, 2.0)))
    second = _choose(draft, (first, first, nn.LocalResponseNorm(3, 0.3, 0.75, 1.0)))
    draft.behind.update({0: [first], 1: [second]})
    draft.adaptive = False  # the exporter no longer knows the size of the map


def _pool(draft: Draft) -> None:
    kinds = (nn.AvgPool2d(3, 2), nn.MaxPool2d(2, 2), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(3, 1))
    draft.pools[_choose(draft, (0, 1, 4))] = _choose(draft, (*kinds, nn.LPPool2d(2, 3, 2)))


def _one_ceil(draft: Draft) -> None:
    at = _choose(draft, (0, 1, 4))
    draft.pools[at] = nn.MaxPool2d(3, 2, ceil_mode=not draft.pools[at].ceil_mode)


def _conv(draft: Draft) -> None:
    at = int(draft.rng.integers(5))
    old = draft.convs[at]
    usual = {"stride": old.stride, "padding": old.padding, "groups": old.groups}
    pad, kernel = old.padding[0], old.kernel_size[0]
    choices = (
        dict(usual, padding=(pad, pad + 1)),
        dict(usual, padding=pad + 1),
        dict(usual, dilation=2, padding=2 * pad),
        dict(usual, stride=_choose(draft, (2, 3))),
        dict(usual, bias=False),
        dict(usual, padding_mode=_choose(draft, ("reflect", "replicate")), padding=1),
        dict(usual, groups=2 if old.groups == 1 and at else 1),
    )
    draft.convs[at] = nn.Conv2d(old.in_channels, old.out_channels, kernel, **_choose(draft, choices))


def _pad_module(draft: Draft) -> None:
    first = draft.convs[0]
    usual = first.padding[0]
    pads = _choose(draft, ((usual, usual, usual, usual), (usual, usual + 1, usual, usual + 1), (1, 2, 1, 2)))
    draft.convs[0] = nn.Conv2d(3, first.out_channels, 11, 4, 0)
    draft.inputs.append(nn.ZeroPad2d(pads))


def _swap(draft: Draft) -> None:
    kinds = (
        Apply("x[:, [2, 1, 0]]", lambda x: x[:, [2, 1, 0]]),
        Apply("flip(1)", lambda x: x.flip(1)),
        Apply("cat of planes", lambda x: torch.cat([x[:, 2:3], x[:, 1:2], x[:, 0:1]], 1)),
        Apply("index_select", lambda x: x.index_select(1, torch.tensor([1, 2, 0]))),
    )
    draft.inputs.append(_choose(draft, kinds))


def _turn(draft: Draft) -> None:
    kinds = (
        Apply("flip(3)", lambda x: x.flip(3)),
        Apply("transpose(2, 3)", lambda x: x.transpose(2, 3)),
        Apply("roll", lambda x: torch.cat([x[:, :, 5:], x[:, :, :5]], 2)),
    )
    draft.inputs.append(_choose(draft, kinds))


def _scale_input(draft: Draft) -> None:
    mean = torch.from_numpy(draft.rng.uniform(-0.5, 0.5, (1, 3, 1, 1))).float()
    std = torch.from_numpy(draft.rng.uniform(0.5, 2, (1, 3, 1, 1))).float()
    kinds = (
        Apply("(x - mean) / std", lambda x: (x - mean.to(x.dtype)) / std.to(x.dtype)),
        Apply("x * 2 - 0.5", lambda x: x * 2 - 0.5),
        Apply("x / 2", lambda x: x / 2),
    )
    draft.inputs.append(_choose(draft, kinds))


def _crop(draft: Draft) -> None:
    side = draft.side
    draft.inputs.append(Apply("crop", lambda x: x[:, :, 4 : side - 4, 4 : side - 4]))


def _resize(draft: Draft) -> None:
    size, draft.adaptive = draft.side, False
    draft.inputs.append(Apply("interpolate", lambda x: F.interpolate(x, size=(size - 8, size - 8), mode="nearest")))


def _between(draft: Draft) -> None:
    kinds = (
        Apply("x * 0.5", lambda x: x * 0.5),
        Apply("x + 0.3", lambda x: x + 0.3),
        Apply("-x", lambda x: -x),
        Apply("flip(1)", lambda x: x.flip(1)),
        Apply("F.normalize", lambda x: F.normalize(x, dim=1)),
        Apply("clamp", lambda x: x.clamp(-0.4, 0.6)),
    )
    draft.between[int(draft.rng.integers(2))].append(_choose(draft, kinds))


def _heads(draft: Draft) -> None:
    count = draft.classes
    order = [int(i) for i in draft.rng.permutation(count)]
    kinds = (
        (nn.Softmax(1), 1.0),
        (nn.LogSoftmax(1), 2.0),
        (nn.Sigmoid(), 0.25),
        (Apply("softmax(x / 2)", lambda x: torch.softmax(x / 2, 1)), 1.0),
        (Apply("x / 1.5", lambda x: x / 1.5), 1.0),
        (Apply("-x", lambda x: -x), 1.0),
        (Apply("clamp", lambda x: x.clamp(-0.5, 0.5)), 1.0),
        (Apply(f"x[:, {order}]", lambda x: x[:, order]), 1.0),
        (Apply("fewer classes", lambda x: x[:, : count - 1]), 1.0),
        (Apply("argmax", lambda x: x.argmax(1)), 1.0),
        (nn.Tanh(), 1.0),
        (Apply("x * x", lambda x: x * x), 100.0),
    )
    module, slope = _choose(draft, kinds)
    draft.head, draft.slope = [module], slope


def _middle(draft: Draft) -> None:
    draft.middle = _choose(draft, (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), nn.AvgPool2d(2, 2)))
    draft.convs[4] = _wider(draft.convs[4])


def _wider(old: nn.Conv2d) -> nn.Conv2d:
    words = {"padding": old.padding, "groups": old.groups}
    return nn.Conv2d(old.in_channels, 24, old.kernel_size, **words)


class _Residual(nn.Module):
    """conv4 with what it reads added to its result."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv, self.out_channels = conv, conv.out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + x


def _residual(draft: Draft) -> None:
    third, fifth = draft.convs[2], draft.convs[4]
    draft.convs[3] = _Residual(nn.Conv2d(third.out_channels, third.out_channels, 3, padding=1))
    draft.convs[4] = nn.Conv2d(third.out_channels, fifth.out_channels, 3, padding=1)


def _no_fc_bias(draft: Draft) -> None:
    draft.biases[int(draft.rng.integers(3))] = False


_ARITHMETIC = r"\b(mul|div|add|sub|neg|pow|sqrt|exp|erf|clip|relu|max|min|cast)\b"
_CHOSEN = "gather|slice|concat|split|reverse|transpose"
ODDITIES = {
    "another activation": Kind("leaky|greater|sigmoid|elu|gelu|swish|softplus|activation|" + _ARITHMETIC, _act),
    "tanh beside relu": Kind("tanh|relu|activation", _mixed),
    "no activation": Kind(r"activation|no relu|conv\d|fc\d|follow|between|gemm|fully connected|relu|tanh", _none),
    "BatchNorm2d": Kind("batch ?norm|" + _ARITHMETIC, _norm2d),
    "BatchNorm1d": Kind("batch ?norm|" + _ARITHMETIC, _norm1d),
    "LayerNorm": Kind("layer ?norm|reducemean|" + _ARITHMETIC, _layer_norm),
    "LocalResponseNorm": Kind("lrn|norm|pool|unsqueeze|pad|reshape|squeeze|" + _ARITHMETIC, _lrn),
    "another pool": Kind("pool|kernel|stride|pad|average|window|" + _ARITHMETIC, _pool),
    "one pool rounds otherwise": Kind("ceil|round|pool", _one_ceil),
    "another convolution": Kind("pad|dilat|stride|bias|group|column|channel|shape", _conv),
    "a padding module": Kind("pad", _pad_module),
    "channels of the input swapped": Kind(_CHOSEN + "|channel", _swap),
    "a turned picture": Kind(_CHOSEN, _turn),
    "arithmetic of the input": Kind("input|" + _ARITHMETIC, _scale_input),
    "a cut picture": Kind("slice|crop|input", _crop),
    "a resized picture": Kind("resize|upsample|input", _resize),
    "something between fully connected layers": Kind("norm|reduce|expand|" + _CHOSEN + "|" + _ARITHMETIC, _between),
    "a head": Kind("softmax|sigmoid|argmax|tanh|class|output|" + _CHOSEN + "|" + _ARITHMETIC, _heads),
    "another pool before the classifier": Kind("global|pool|adaptive|reduce", _middle),
    "a residual": Kind(r"\badd\b|residual|branch", _residual),
    "no bias of a fully connected layer": Kind("bias", _no_fc_bias),
}
