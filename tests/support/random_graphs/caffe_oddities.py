"""Oddities of caffemodels beyond the family's layers. Each changes a draft and has the words that its refusal must
match: those of the layer or of its field."""

from __future__ import annotations

from typing import Any, Dict, List

from .caffe_nets import Draft, Part, pool, relu
from .cases import Impossible, Table

ODDITIES = Table()
oddity = ODDITIES.add


def _pick(draft: Draft, choices: Any) -> Any:
    return choices[int(draft.rng.integers(len(choices)))]


# Activations --------------------------------------------------------------------------------------------------------

_ACT = "|activation"


@oddity("negative_slope", "negative_slope|leaky|slope" + _ACT)
def _leaky(draft: Draft) -> None:
    part = relu(float(draft.rng.choice([0.01, 0.1, 0.2])))
    for at in _pick(draft, [range(7), [5, 6], [int(draft.rng.integers(7))]]):
        draft.set_act(at, part)


@oddity("another activation", "tanh|sigmoid|elu|absval|bnll|prelu|relu" + _ACT)
def _other_act(draft: Draft) -> None:
    kinds = ["Sigmoid", "Sigmoid", "AbsVal", "BNLL", "PReLU", "TanH", "ELU"]
    kind = _pick(draft, kinds)
    at = int(draft.rng.integers(7))
    if kind == "TanH" and draft.acts[at] is not None and draft.acts[at].kind == "TanH":
        kind = "ReLU"
    options = {"alpha": 0.7} if kind == "ELU" else {}
    if kind == "PReLU" and at > 4:
        raise Impossible
    draft.set_act(at, Part(kind, {"ELU": "elu_param", "ReLU": "relu_param"}.get(kind, ""), **options))


@oddity("no activation", r"activation|no relu|conv\d|fc\d|follow|between|innerproduct|fully connected|relu|tanh")
def _no_act(draft: Draft) -> None:
    draft.set_act(int(draft.rng.integers(7)), None)


@oddity("an activation that nothing reads", r"activation|relu|tanh|read|branch|output|conv\d|fc\d|several|two")
def _unread(draft: Draft) -> None:
    at = int(draft.rng.integers(7))
    part = Part("ReLU", "relu_param")
    part.dangling = True
    draft.set_act(at, part)


# Between layers -----------------------------------------------------------------------------------------------------


def _power(**options: float) -> Part:
    return Part("Power", "power_param", **options)


def _powers(draft: Draft) -> Part:
    choices = ({"scale": 0.5}, {"shift": 0.4}, {"scale": -1.5, "shift": 0.2}, {"power": 2.0, "scale": 0.7})
    return _power(**_pick(draft, choices))


@oddity("a Power between fully connected layers", "power|scale|shift")
def _power_fc(draft: Draft) -> None:
    after = draft.after[int(draft.rng.integers(2))]
    after.insert(int(draft.rng.integers(len(after) + 1)), _powers(draft))


@oddity("a Power in a block", "power|scale|shift")
def _power_block(draft: Draft) -> None:
    draft.put(int(draft.rng.integers(5)), _powers(draft))


@oddity("a Power of the input", "power|scale|shift|input")
def _power_input(draft: Draft) -> None:
    draft.first.append(_power(**_pick(draft, ({"scale": 0.5}, {"shift": 20.0}, {"scale": 0.5, "shift": -10.0}))))


def _norms(draft: Draft) -> List[Part]:
    norm = Part("BatchNorm", "batch_norm_param", **_pick(draft, ({"use_global_stats": True}, {"eps": 1e-3}, {})))
    scale = Part("Scale", "scale_param", bias_term=True)
    return _pick(draft, ([norm, scale], [norm, scale], [norm], [scale], [Part("Scale", "scale_param")]))


@oddity("batch norm of a convolution", "batch ?norm|scale")
def _norm_block(draft: Draft) -> None:
    block = draft.blocks[int(draft.rng.integers(5))]
    at = int(draft.rng.integers(len(block) + 1)) if draft.rng.integers(2) else 0
    block[at:at] = _norms(draft)


@oddity("batch norm of a fully connected layer", "batch ?norm|scale")
def _norm_fc(draft: Draft) -> None:
    after = draft.after[int(draft.rng.integers(2))]
    at = int(draft.rng.integers(len(after) + 1))
    after[at:at] = _norms(draft)


@oddity("batch norm of the input", "batch ?norm|scale|input")
def _norm_input(draft: Draft) -> None:
    draft.first.append(Part("Scale", "scale_param"))


@oddity("two halves swapped", "slice|concat|branch|order")
def _swapped(draft: Draft) -> None:
    block = int(draft.rng.integers(4))
    out = draft.convs[block].options["num_output"]
    parts = [Part("Slice", "slice_param", slice_point=[out // 2], axis=1)]
    parts.append(Part("Concat", "concat_param", reads=["first half"], axis=1))
    at = int(draft.rng.integers(len(draft.blocks[block]) + 1))
    draft.blocks[block][at:at] = parts


@oddity("a residual", "eltwise|concat|branch|residual|bottom|two|several")
def _residual(draft: Draft) -> None:
    draft.convs[3].options["num_output"] = draft.convs[2].options["num_output"]
    parts = [Part("Eltwise", "eltwise_param", reads=["conv3"], operation=int(draft.rng.integers(3)))]
    parts.append(Part("Concat", "concat_param", reads=["conv3"], axis=1))
    draft.blocks[3].append(_pick(draft, parts))


# Pools and LRN ------------------------------------------------------------------------------------------------------


def _set_pool(draft: Draft, part: Part) -> None:
    at = int(draft.rng.choice(draft.pool_blocks()))
    draft.pools = [part if index == at else one for index, one in enumerate(draft.pools)]


def _usual(draft: Draft) -> int:
    return int(draft.pools[0].options["kernel_size"])


@oddity("another pool", "pool|average|ave|kernel|stride|pad|global|window")
def _other_pool(draft: Draft) -> None:
    kernel = _usual(draft)
    choices = (
        pool(kernel, pool=1),
        pool(5 - kernel),
        pool(kernel, 1),
        pool(kernel, pad=1),
        pool(kernel, pad=1, pool=1),
        pool(3, 3),
    )
    _set_pool(draft, _pick(draft, choices))


@oddity("one pool rounds down", "round|pool|floor|ceil")
def _round_mode(draft: Draft) -> None:
    _set_pool(draft, pool(_usual(draft), round_mode=1))


@oddity("all pools round down", "round|pool|floor|ceil")
def _round_modes(draft: Draft) -> None:
    draft.pools = [pool(_usual(draft), round_mode=1)] * 5


@oddity("a global pool", "global|pool|average|ave")
def _global(draft: Draft) -> None:
    method = int(draft.rng.integers(2))
    draft.last_map = [Part("Pooling", "pooling_param", pool=method, global_pooling=True), *draft.last_map]
    draft.convs[4].options["num_output"] = 2 * int(draft.rng.integers(6, 13))


@oddity("two LRNs of different constants", "lrn|norm")
def _two_lrns(draft: Draft) -> None:
    draft.blocks[:2] = [["act", "lrn", "pool"], ["act", "lrn", "pool"]]
    one = {"local_size": 5, "alpha": 0.3, "beta": 0.75, "k": 1.0}
    other = dict(one, **_pick(draft, ({"local_size": 3}, {"alpha": 0.02}, {"beta": 0.5}, {"k": 2.0})))
    both = [Part("LRN", "lrn_param", **one), Part("LRN", "lrn_param", **other)]
    draft.lrns = (both if draft.rng.integers(2) else both[::-1]) + draft.lrns[2:]


@oddity("LRN within a channel", "within|region|spatial|lrn|norm")
def _within(draft: Draft) -> None:
    draft.blocks[:2] = [["act", "lrn", "pool"], ["act", "pool"]]
    draft.lrns = [Part("LRN", "lrn_param", local_size=3, alpha=0.3, beta=0.75, norm_region=1)] * 5


# Convolutions and fully connected layers ----------------------------------------------------------------------------


def _later_conv(draft: Draft) -> Dict[str, Any]:
    return draft.convs[int(draft.rng.integers(1, 5))].options


@oddity("dilation", "dilat")
def _dilation(draft: Draft) -> None:
    options = _later_conv(draft)
    options["dilation"] = [2]
    if draft.rng.integers(2):
        options["pad"] = [options["kernel_size"][0] - 1]


@oddity("other pads", "pad")
def _pads(draft: Draft) -> None:
    options = _later_conv(draft)
    options["pad"] = [options["pad"][0] + int(draft.rng.choice([-1, 1]))]


@oddity("pads by side", "pad")
def _pads_by_side(draft: Draft) -> None:
    """As high as wide, or not."""
    options = draft.convs[int(draft.rng.integers(5))].options
    usual = options.pop("pad", [0])[0]
    options["pad_h"], options["pad_w"] = usual, usual + int(draft.rng.integers(2))


@oddity("kernel and stride by side", "kernel|stride|shape|window")
def _kernel_by_side(draft: Draft) -> None:
    options = draft.convs[0].options
    options.pop("kernel_size")
    options.pop("stride")
    options["kernel_h"] = options["kernel_w"] = 11
    options["stride_h"], options["stride_w"] = _pick(draft, ((4, 4), (4, 2), (2, 4)))


@oddity("other strides", "stride")
def _strides(draft: Draft) -> None:
    at = int(draft.rng.integers(5))
    draft.convs[at].options["stride"] = [int(draft.rng.choice([2, 3]))]


@oddity("other groups", "group|column|shape|channel")
def _groups(draft: Draft) -> None:
    at = int(draft.rng.integers(1, 5))
    options = draft.convs[at].options
    options["group"] = 1 if options.get("group", 1) > 1 else 2


@oddity("no bias", "bias")
def _no_bias(draft: Draft) -> None:
    part = draft.convs[int(draft.rng.integers(5))] if draft.rng.integers(2) else draft.fcs[int(draft.rng.integers(3))]
    part.options["bias_term"] = False


@oddity("a weight stored transposed", "transpose")
def _transpose(draft: Draft) -> None:
    fc = draft.fcs[int(draft.rng.integers(3))]
    fc.options["transpose"] = True


@oddity("six convolutions", r"convolution|conv\d|layers")
def _six(draft: Draft) -> None:
    at = int(draft.rng.integers(1, 5))
    out = draft.convs[at].options["num_output"]
    extra = Part("Convolution", "convolution_param", num_output=out, kernel_size=[3], pad=[1])
    draft.blocks[at].append(extra)


@oddity("another number of fully connected layers", r"fully connected|innerproduct|fc\d|layers")
def _fcs(draft: Draft) -> None:
    if draft.rng.integers(2):
        draft.fcs.pop(1)
        draft.after.pop(1)
    else:
        extra = Part("InnerProduct", "inner_product_param", num_output=5)
        draft.after[2] = [relu()]
        draft.fcs.append(extra)
        draft.after.append([])


# The end ------------------------------------------------------------------------------------------------------------


@oddity("softmax", "softmax|prob")
def _softmax(draft: Draft) -> None:
    draft.after[-1].append(Part("Softmax"))


@oddity("sigmoid at the end", "sigmoid")
def _sigmoid(draft: Draft) -> None:
    draft.after[-1].append(Part("Sigmoid"))


@oddity("arithmetic at the end", "power|relu|tanh|scale|absval|shift|slope" + _ACT)
def _end(draft: Draft) -> None:
    choices = (
        [_power(scale=0.5)],
        [_power(scale=-1.0)],
        [relu()],
        [Part("TanH")],
        [Part("Scale", "scale_param", bias_term=True)],
        [Part("AbsVal")],
        [_power(scale=0.5), Part("Softmax")],
    )
    draft.after[-1] += _pick(draft, choices)


@oddity("a second classifier", r"output|branch|innerproduct|aside|fully connected|two|several|fc\d|bottom|read")
def _second(draft: Draft) -> None:
    """Beside the last layer, as for an auxiliary loss; it may have as many classes."""
    count = draft.fcs[-1].options["num_output"] if draft.rng.integers(2) else 4
    part = Part("InnerProduct", "inner_product_param", num_output=count)
    draft.aside.append((str(draft.rng.choice(["fc6", "fc7", "conv5"])), part))
