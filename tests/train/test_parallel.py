"""A network in parts equals the whole one: losses, gradients and parameters over five steps, in float64."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from fastalex import variants  # noqa: E402
from fastalex.errors import UserError  # noqa: E402
from fastalex.train import recipes  # noqa: E402
from fastalex.train.dropout import Masks  # noqa: E402
from fastalex.train.parallel import Scheme, start  # noqa: E402
from fastalex.train.parallel.shards import split  # noqa: E402
from tests.support import train_steps  # noqa: E402

pytestmark = pytest.mark.peers

LIMIT = 1e-10
SMALL = train_steps.SMALL


@pytest.fixture(scope="module")
def single():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield train_steps.steps("none")
    torch.set_num_threads(threads)


def same(found, expected):
    assert max(abs(a - b) for a, b in zip(found["losses"], expected["losses"])) <= LIMIT
    assert len(set(expected["losses"])) == train_steps.STEPS
    pairs = [*zip(found["gradients"], expected["gradients"]), (found["parameters"], expected["parameters"])]
    assert len(pairs) == 3
    for one, other in pairs:
        assert one.keys() == other.keys()
        for name, tensor in other.items():
            assert tensor.abs().max() > 1e-6, name
            assert (one[name] - tensor).abs().max() <= LIMIT, name


@pytest.mark.slow
@pytest.mark.parametrize(("world", "kinds"), [(2, ("columns", "data", "hybrid")), (4, ("data", "hybrid"))])
def test_processes_equal_the_single_device(single, world, kinds, tmp_path):
    torch.multiprocessing.spawn(train_steps.run, (world, str(tmp_path), kinds), world)
    sent, small = {}, train_steps.steps("none", row=SMALL)
    for kind in kinds:
        found = torch.load(tmp_path / (kind + ".pt"), weights_only=True)
        same(found["whole"], single)
        same(found["parts"], small)  # with gradients that gather over parts of the batch
        sent[kind] = found["whole"]["sent"]
    check_bytes(sent, world)


def check_bytes(sent, world):
    """What was counted against what the shapes say, in float64."""
    row, batch = train_steps.ROW, train_steps.BATCH
    shapes = {layer.name: layer.out_shape for layer in row.layers()}
    numbers = {name: int(torch.tensor(shape).prod()) for name, shape in shapes.items()}
    convs = sum(layer.params for layer in row.layers() if layer.op == "conv")
    ring = 2 * (world - 1) / world * 8
    # PyTorch's gradient buckets are padded to nothing: the bytes are those of the gradients and the loss
    assert sent["data"]["all_reduce"] == pytest.approx(ring * (row.params + 1), rel=1e-6)
    others = (world - 1) / world * 8 * batch
    hybrid = others * (numbers["pool5"] + numbers["fc6"])
    assert sent["hybrid"]["all_gather"] == pytest.approx(hybrid + (world - 1) * batch / world * 8)  # and the targets
    assert sent["hybrid"]["all_to_all"] == pytest.approx(hybrid)
    assert sent["hybrid"]["all_reduce"] == pytest.approx(ring * (convs + batch * row.num_classes), rel=1e-6)
    if "columns" in sent:
        columns = others * (numbers["pool2"] + numbers["pool5"] + numbers["fc6"])
        assert sent["columns"]["all_gather"] == sent["columns"]["all_to_all"] == pytest.approx(columns)


@pytest.mark.slow
def test_two_devices_in_one_process_equal_the_single_one(single):
    same(train_steps.steps("columns", (train_steps.CPU,) * 2), single)


@pytest.mark.slow
def test_accumulated_gradients_equal_those_of_the_whole_batch():
    small = {"row": SMALL}
    same(train_steps.steps("none", accumulate=2, **small), train_steps.steps("none", **small))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("alexnet2012-original", {}),  # norm before pool and activation, spatial normalization
        ("bvlc_alexnet", {}),  # LRN reads across the columns
        ("alexnet2012", {"dropout_first": True}),
    ],
)
def test_columns_of_other_networks(name, overrides):
    size = 67 if name != "alexnet2012-original" else 64
    row = variants.get(name, widths=SMALL.widths, num_classes=10, input_size=size, **overrides)
    same(train_steps.steps("columns", (train_steps.CPU,) * 2, row=row), train_steps.steps("none", row=row))


def test_only_where_the_paper_says_is_the_other_column_read():
    gathers = [step.layer.name for step in split(variants.get("alexnet2012").layers(), 2) if step.gathers]
    assert gathers == ["conv3", "fc6", "fc7"]


def test_what_does_not_divide_is_refused():
    cpu = train_steps.CPU
    with pytest.raises(UserError, match="torchvision has one column"):
        Scheme("columns", variants.get("torchvision"), [cpu] * 2, Masks(0), "off")
    with pytest.raises(UserError, match="2 columns, which need as many"):
        Scheme("columns", SMALL, [cpu] * 3, Masks(0), "off")
    with pytest.raises(UserError, match="fc6 has 32 units, which 3"):
        split(SMALL.layers()[-8:], 3)


@pytest.mark.parametrize(
    ("kind", "device", "sentence"),
    [
        ("data", "cpu", "torchrun --nproc-per-node 2"),
        ("columns", "cpu", "--device cuda:0,cuda:1"),
        ("none", "cpu,cpu", "work only with --parallel columns"),
        ("pipeline", "cpu", "must be one of"),
        ("none", "tpu:x", "there is no device 'tpu:x'"),
        ("none", "meta", "not on 'meta'"),
    ],
)
def test_schemes_that_do_not_go_with_the_devices(kind, device, sentence):
    with pytest.raises(UserError, match=sentence):
        start(kind, device)


def test_the_recipe_of_the_proof_has_dropout_and_lrn():
    assert train_steps.RECIPE.dropout == recipes.RECIPES["paper"].dropout == "halved"
    assert [layer.op for layer in train_steps.ROW.layers()].count("lrn") == 2
    assert all(4 * a == b for a, b in zip(train_steps.ROW.widths, variants.get("alexnet2012").widths))
