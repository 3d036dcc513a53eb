"""The variant table against literal figures: parameters, multiply-accumulates, map sizes, LRN constants."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fastalex.errors import UserError
from fastalex.networks import activations
from fastalex.networks.layers import layer_table
from fastalex.variants import LRN, VARIANTS, Variant, from_dict, get

# Counted by hand from the published networks: each figure is the sum of K*C/g*R*S + K over the layers.
PARAMS = [
    ("alexnet2012", {}, 60_965_224),
    ("alexnet2012-original", {}, 60_965_224),
    ("bvlc_alexnet", {}, 60_965_224),
    ("caffenet", {}, 60_965_224),
    ("caffenet", {"num_classes": 365}, 58_363_629),
    ("alexnet2012", {"columns": 1}, 62_378_344),
    ("torchvision", {}, 61_100_840),
    ("torchvision", {"num_classes": 2}, 57_012_034),
    ("torchvision", {"num_classes": 365}, 58_499_245),
    ("torchvision", {"num_classes": 565}, 59_318_645),
    ("owt", {}, 61_100_840),
    ("alexnet-digits", {}, 302_442),
]
MACS = [
    ("alexnet2012", {}, 724_406_816),
    ("alexnet2012-original", {}, 724_406_816),
    ("bvlc_alexnet", {}, 724_406_816),
    ("alexnet2012", {"columns": 1}, 1_135_256_096),
    ("torchvision", {}, 714_188_480),
]

# (size, alpha, divided by size, beta, k, crosses the columns)
LRN_ROWS = {
    "alexnet2012": (5, 1e-4, True, 0.75, 2.0, False),
    "alexnet2012-original": (5, 1e-4, True, 0.75, 2.0, False),
    "bvlc_alexnet": (5, 1e-4, True, 0.75, 1.0, True),
    "caffenet": (5, 1e-4, True, 0.75, 1.0, True),
    "owt": (5, 1e-4, True, 0.75, 2.0, True),
    "alexnet-digits": (5, 1e-4, True, 0.75, 2.0, False),
}

# The order of the steps up to the first fully connected layer.
ORDER = {
    "alexnet2012": "conv relu lrn maxpool conv relu lrn maxpool conv relu conv relu conv relu maxpool",
    "alexnet2012-original": "conv lrn maxpool relu conv relu lrn spatial_norm maxpool conv relu conv relu "
    "conv maxpool relu",
    "bvlc_alexnet": "conv relu lrn maxpool conv relu lrn maxpool conv relu conv relu conv relu maxpool",
    "caffenet": "conv relu maxpool lrn conv relu maxpool lrn conv relu conv relu conv relu maxpool",
    "torchvision": "conv relu maxpool conv relu maxpool conv relu conv relu conv relu maxpool adaptive_avgpool",
    "owt": "conv lrn maxpool relu conv relu lrn maxpool conv relu conv relu conv maxpool relu",
    "alexnet-digits": "conv relu lrn maxpool conv relu lrn maxpool conv relu conv relu conv relu maxpool",
}


def sides(row, op, **size):
    return [layer.out_shape[1] for layer in row.layers(**size) if layer.op == op]


@pytest.mark.parametrize(("name", "overrides", "count"), PARAMS)
def test_parameters_to_the_unit(name, overrides, count):
    row = get(name, **overrides)
    assert row.params == count
    total = 0
    for shape in row.parameter_shapes().values():
        product = 1
        for side in shape:
            product *= side
        total += product
    assert total == count


@pytest.mark.parametrize(("name", "overrides", "count"), MACS)
def test_multiply_accumulates_to_the_unit(name, overrides, count):
    assert get(name, **overrides).macs == count


def test_convolutions_of_torchvision_are_what_lpips_needs():
    assert sum(layer.params for layer in get("torchvision").layers() if layer.op == "conv") == 2_469_696


def test_fully_connected_layers_are_96_percent():
    row = get("alexnet2012")
    count = sum(layer.params for layer in row.layers() if layer.op == "fc")
    assert count == 58_631_144
    assert round(100 * count / row.params) == 96


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "alexnet-digits"])
def test_map_sizes(name):
    row = get(name)
    assert sides(row, "conv") == [55, 27, 13, 13, 13]
    assert sides(row, "maxpool") == [27, 13, 6]
    fc6 = next(layer for layer in row.layers() if layer.op == "fc")
    assert fc6.param_shapes[fc6.param + ".weight"] == (4096, 9216)


def test_map_sizes_of_the_digits_network():
    row = get("alexnet-digits")
    assert sides(row, "conv") == [31, 15, 7, 7, 7]
    assert sides(row, "maxpool") == [15, 7, 3]


def test_rounding_up_gives_55_from_224_and_rounding_down_54():
    assert sides(get("alexnet2012-original"), "conv")[0] == 55
    assert sides(get("alexnet2012-original", conv_rounding="floor"), "conv")[0] == 54
    assert sides(get("alexnet2012"), "conv")[0] == 55


def test_pool_rounding_differs_only_where_a_window_overhangs():
    caffe = get("bvlc_alexnet", adaptive_pool=6)
    assert sides(caffe, "maxpool", input_size=231) == [28, 14, 7]  # 56 -> 27.5 + 1
    assert sides(dataclasses.replace(caffe, pool_rounding="floor"), "maxpool", input_size=231) == [27, 13, 6]


def test_torchvision_works_from_63_up():
    row = get("torchvision")
    assert row.layers(63)[-1].out_shape == (1000,)
    assert row.layers((63, 500))[-1].out_shape == (1000,)
    with pytest.raises(UserError, match="torchvision.*too small.*pool5"):
        row.layers(62)


def test_without_an_adaptive_pool_the_input_must_fit_the_first_fc_layer():
    with pytest.raises(UserError, match="227 x 227.*300 x 300"):
        get("alexnet2012").layers(300)
    assert get("alexnet2012").layers(228)[-1].out_shape == (1000,)  # floors to the same maps


@pytest.mark.parametrize("name", VARIANTS)
def test_order_of_the_steps(name):
    ops = [layer.op for layer in get(name).layers()]
    first_dense = min(ops.index("fc"), ops.index("dropout"))
    assert " ".join(ops[:first_dense]) == ORDER[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_dropout_stands_where_the_sources_put_it(name):
    ops = [layer.op for layer in get(name).layers()]
    dense = ops[min(ops.index("fc"), ops.index("dropout")) :]
    before = ["dropout", "fc", "relu", "dropout", "fc", "relu", "fc"]
    after = ["fc", "relu", "dropout", "fc", "relu", "dropout", "fc"]
    assert dense == (before if name == "torchvision" else after)


@pytest.mark.parametrize("name", VARIANTS)
def test_groups(name):
    groups = [layer.options["groups"] for layer in get(name).layers() if layer.op == "conv"]
    assert groups == ([1] * 5 if name in ("torchvision", "owt") else [1, 2, 1, 2, 2])


@pytest.mark.parametrize("name", VARIANTS)
def test_local_response_normalization_of_each_row(name):
    row = get(name)
    if name not in LRN_ROWS:
        assert row.lrn is None
        return
    assert dataclasses.astuple(row.lrn) == LRN_ROWS[name]
    layers = [layer for layer in row.layers() if layer.op == "lrn"]
    assert [layer.name for layer in layers] == ["norm1", "norm2"]
    for layer in layers:
        assert layer.options["alpha"] == pytest.approx(2e-5)  # 1e-4 / 5
        assert layer.options["groups"] == (1 if row.lrn.crosses_columns else row.columns)


def test_spatial_normalization_of_the_released_source():
    norm = [layer for layer in get("alexnet2012-original").layers() if layer.op == "spatial_norm"]
    assert len(norm) == 1
    assert norm[0].options["size"] == 5
    assert norm[0].options["alpha"] == pytest.approx(0.001 / 25)
    assert (norm[0].options["beta"], norm[0].options["k"]) == (0.75, 1.0)


def test_the_undivided_reading_of_the_paper_is_a_parameter():
    row = get("alexnet2012", lrn_alpha_divided=False)
    alphas = [layer.options["alpha"] for layer in row.layers() if layer.op == "lrn"]
    assert alphas == [pytest.approx(1e-4)] * 2


def test_parameter_names():
    caffe = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    torchvision = [f"features.{i}" for i in (0, 3, 6, 8, 10)] + [f"classifier.{i}" for i in (1, 4, 6)]
    for name in VARIANTS:
        prefixes = [key[: -len(".weight")] for key in get(name).parameter_shapes() if key.endswith(".weight")]
        assert prefixes == (torchvision if name == "torchvision" else caffe), name


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"num_classes": 7},
        {"activation": "tanh"},
        {"activation": ("relu", "leaky_relu(0.2)", "tanh", "sigmoid", "relu", "none", "relu"), "output": "sigmoid"},
        {"widths": (8, 16, 24, 24, 16, 32, 32)},
        {"columns": 1, "input_size": 259},
    ],
)
@pytest.mark.parametrize("name", VARIANTS)
def test_dictionary_round_trip_through_json(name, overrides):
    row = get(name, **overrides)
    assert from_dict(json.loads(json.dumps(row.to_dict()))) == row


@pytest.mark.parametrize("name", VARIANTS)
def test_override_of_the_activation_replaces_every_relu(name):
    ops = [layer.op for layer in get(name, activation="tanh").layers()]
    assert "relu" not in ops
    assert ops.count("tanh") == 7


def test_each_layer_may_have_its_own_activation():
    words = ("relu", "leaky_relu(0.2)", "tanh", "sigmoid", "relu", "none", "leaky_relu")
    table = get("torchvision", activation=words, output="sigmoid").layers()
    found = [(layer.name, layer.op, layer.options) for layer in table if layer.op in activations.OPS]
    assert found == [
        ("relu1", "relu", {}),
        ("leaky_relu2", "leaky_relu", {"alpha": 0.2}),
        ("tanh3", "tanh", {}),
        ("sigmoid4", "sigmoid", {}),
        ("relu5", "relu", {}),
        ("leaky_relu7", "leaky_relu", {"alpha": 0.01}),
        ("prob", "sigmoid", {}),
    ]
    assert "leaky_relu name=leaky_relu2 alpha=0.2\n" in layer_table(table)


def test_a_row_is_accepted_in_place_of_a_name_and_none_overrides_nothing():
    row = get("torchvision")
    assert get(row) is row
    assert get(row, num_classes=None) is row
    assert get(row, num_classes=3).num_classes == 3
    assert VARIANTS["torchvision"].num_classes == 1000


@pytest.mark.parametrize("name", VARIANTS)
def test_layer_table_has_one_line_per_step_but_dropout(name):
    layers = get(name).layers()
    lines = layer_table(layers).splitlines()
    assert len(lines) == sum(layer.op != "dropout" for layer in layers)
    assert lines[0].startswith(f"conv name=conv1 out={get(name).widths[0]} kernel=11 stride=4")
    assert lines[-1].split() == ["fc", "name=fc8", f"out={get(name).num_classes}"]


@pytest.mark.parametrize(
    ("name", "overrides", "match"),
    [
        ("alexnet-2012", {}, "mean 'alexnet2012'"),
        ("vgg", {}, "'vgg'"),
        ("torchvision", {"classes": 2}, "'classes'"),
        ("torchvision", {"num_classes": 0}, "num_classes.*above 0, not 0"),
        ("torchvision", {"num_classes": True}, "not True"),
        ("torchvision", {"num_classes": 2.0}, r"not 2\.0"),
        ("torchvision", {"widths": (1, 2, 3)}, "widths.*seven"),
        ("torchvision", {"widths": (64, 192, 0, 256, 256, 8, 8)}, "widths.*above 0, not 0"),
        ("torchvision", {"lrn_alpha_divided": False}, "no LRN"),
        ("alexnet2012", {"columns": 3}, "3 columns"),
        ("alexnet2012", {"activation": "gelu"}, "activation.*'gelu'"),
        ("alexnet2012", {"activation": "leaky_relu(nan)"}, r"activation.*\(nan\)"),
        ("alexnet2012", {"activation": "none"}, "not 'none'"),
        ("alexnet2012", {"activation": 3}, "not 3"),
        ("alexnet2012", {"activation": ("relu", "tanh")}, "activation.*seven"),
        ("alexnet2012", {"activation": ("none",) * 7}, "conv1.*'none'"),
        ("alexnet2012", {"activation": ("relu",) * 7, "blocks": ("conv",) * 5}, "conv1.*'relu'"),
        ("alexnet2012", {"conv_rounding": "round"}, "rounding.*'round'"),
        ("alexnet2012", {"naming": "keras"}, "naming.*'keras'"),
        ("alexnet2012", {"blocks": ("conv act",) * 4}, "five"),
        ("alexnet2012", {"blocks": ("act conv",) * 5}, "'act conv'"),
        ("alexnet2012", {"lrn": LRN(), "blocks": ("conv swish",) * 5}, "'conv swish'"),
        ("torchvision", {"blocks": ("conv lrn",) * 5}, "no lrn constants"),
        ("torchvision", {"blocks": ("conv spatial_norm",) * 5}, "no spatial_norm constants"),
    ],
)
def test_mistakes_are_one_sentence(name, overrides, match):
    with pytest.raises(UserError, match=match) as caught:
        get(name, **overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("widths"),
        lambda row: row.update(color="red"),
        lambda row: row.update(widths=5),
        lambda row: row.update(lrn={"size": 5, "gamma": 1}),
        lambda row: row.update(num_classes="ten"),
    ],
)
def test_a_broken_dictionary_is_refused(change):
    values = get("alexnet2012").to_dict()
    change(values)
    with pytest.raises(UserError):
        from_dict(values)


def test_rows_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get("alexnet2012").num_classes = 5
    assert isinstance(VARIANTS["alexnet2012"], Variant)
