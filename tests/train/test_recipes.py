"""Recipes, the update rule, the schedule, the initial state and dropout, against their sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastalex import variants
from fastalex.errors import UserError
from fastalex.train import initial, recipes
from fastalex.train.dropout import Masks, dropout_class
from fastalex.train.schedule import Schedule

torch = pytest.importorskip("torch")

from fastalex.train import update  # noqa: E402

pytestmark = pytest.mark.peers

NARROW = {"widths": (8, 16, 24, 24, 16, 32, 32), "num_classes": 5}


def test_no_command_needs_torch_before_it_trains():
    code = "import sys; from fastalex.cli.main import main; main(['train', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_paper_recipe_has_the_numbers_of_section_5():
    paper = recipes.RECIPES["paper"]
    assert (paper.batch, paper.momentum, paper.weight_decay, paper.lr) == (128, 0.9, 0.0005, 0.01)
    assert (paper.epochs, paper.schedule, paper.reductions) == (90, "plateau", 3)
    assert (paper.weight_std, dict(paper.weight_stds)) == (0.01, {})
    assert paper.bias == 1
    assert set(paper.bias_layers) == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert paper.augmentation.color == "eigenvalues"
    assert paper.augmentation.color_sigma == 0.1


def test_the_document_lists_every_recipe():
    text = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    section = text.split("## Recipes\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"
    ]
    rows = {row[0]: row for row in cells[2:]}
    assert list(rows) == list(recipes.RECIPES)
    for name, recipe in recipes.RECIPES.items():
        assert (rows[name][1], rows[name][5]) == (recipe.variant, recipe.dropout)
        assert rows[name][2].startswith("paper's") == (recipe.update == "paper")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipes_name_a_variant_and_real_layers(name):
    recipe = recipes.RECIPES[name]
    layers = {layer.name for layer in variants.get(recipe.variant).layers() if layer.param}
    assert layers == set(recipes.LAYERS)
    assert set(recipe.bias_layers) | set(recipe.weight_stds) | {row[0] for row in recipe.layer_lr} <= layers


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0.0), ("update", "adam"), ("schedule", "cosine"), ("init", "zeros"), ("crop", "x"), ("nothing", 1)],
)
def test_wrong_fields_are_refused(field, value):
    with pytest.raises(UserError):
        recipes.get("paper", **{field: value})
    with pytest.raises(UserError, match="mean 'paper'"):
        recipes.get("papre")


def test_the_paper_s_rule_against_its_formula_in_numpy():
    """Section 5, with a cut of the rate in between: the velocity keeps the size it had."""
    generator = np.random.default_rng(0)
    w, v = generator.standard_normal(50), np.zeros(50)
    tensor = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = update.paper_sgd()([tensor], lr=0.1, momentum=0.9, weight_decay=0.0005)
    plain = torch.nn.Parameter(torch.from_numpy(w.copy()))
    other = torch.optim.SGD([plain], lr=0.1, momentum=0.9, weight_decay=0.0005)
    for step in range(12):
        rate = 0.1 if step < 6 else 0.01
        gradient = generator.standard_normal(50)
        v = 0.9 * v - 0.0005 * rate * w - rate * gradient
        w = w + v
        for group in (optimizer.param_groups[0], other.param_groups[0]):
            group["lr"] = rate
        tensor.grad, plain.grad = torch.from_numpy(gradient.copy()), torch.from_numpy(gradient.copy())
        optimizer.step()
        other.step()
        np.testing.assert_allclose(tensor.detach().numpy(), w, rtol=1e-13, atol=1e-14)
        same = np.allclose(plain.detach().numpy(), w, rtol=1e-12, atol=1e-13)
        assert same == (step < 6), "torch.optim.SGD is the same rule until the rate changes"


def test_original_schedule_follows_the_diary_of_the_run():
    """github.com/computerhistory/AlexNet-Source-Code, layers/layers-145.cfg, first lines."""
    schedule = Schedule(recipes.RECIPES["original"])

    def rate(layer, epoch, bias=False):
        return schedule.rate(layer, bias, epoch, 0)

    assert [rate("conv3", e) for e in (0, 24, 25, 50, 51, 78, 79, 90)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )
    assert [rate("conv1", e) for e in (66, 67, 71, 72, 90)] == pytest.approx([1e-4, 1e-5, 1e-5, 0, 0])
    assert [rate("conv2", e, True) for e in (0, 25, 90)] == [0.02] * 3
    assert [rate("conv1", e, True) for e in (0, 71, 72)] == [0.02, 0.02, 0]  # layer-params-145.cfg: epsB=0


def test_plateau_cuts_three_times_and_then_ends():
    recipe = recipes.get("paper", patience=1)
    schedule = Schedule(recipe)
    rates, going = [], True
    for error in [0.9, 0.8, *[0.8] * 40]:
        rates.append(schedule.rate("conv1", False, 0, 0))
        going = schedule.validated(error)
        if not going:
            break
    assert not going
    assert sorted(set(rates), reverse=True) == pytest.approx([0.01, 0.001, 0.0001, 0.00001])
    assert len(rates) == 2 + 4 * 2
    again = Schedule(recipe)
    again.load_state_dict(schedule.state_dict())
    assert again.rate("conv1", False, 0, 0) == rates[-1]


def test_caffe_schedule_counts_iterations():
    schedule = Schedule(recipes.RECIPES["caffe"])
    rates = [schedule.rate("fc6", False, 0, at) for at in (99_999, 100_000, 449_999)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-6])
    assert schedule.rate("fc6", True, 0, 100_000) == pytest.approx(2e-3)  # lr_mult: 2


@pytest.mark.parametrize("name", ["paper", "original", "caffe"])
def test_initial_state_has_the_stated_moments(name):
    recipe = recipes.RECIPES[name]
    row = variants.get(recipe.variant, widths=(24, 64, 96, 96, 64, 256, 256), num_classes=100)
    found = initial.arrays(row, recipe, 0)
    assert {key: value.shape for key, value in found.items()} == row.parameter_shapes()
    for layer in recipes.LAYERS:
        weight, bias = found[layer + ".weight"], found[layer + ".bias"]
        std = recipe.weight_stds.get(layer, recipe.weight_std)
        # standard errors of mean and deviation of n normal numbers: std / sqrt(n), std / sqrt(2 n); five of them
        assert abs(weight.mean()) < 5 * std / weight.size**0.5
        assert abs(weight.std() - std) < 5 * std / (2 * weight.size) ** 0.5
        assert (bias == (recipe.bias if layer in recipe.bias_layers else 0)).all()


def test_pytorch_initial_state_has_the_bounds_of_its_modules():
    row = variants.get("torchvision", **NARROW)
    found = initial.arrays(row, recipes.RECIPES["torchvision"], 0)
    conv = torch.nn.Conv2d(3, 4096, 11)
    largest = float(conv.weight.detach().abs().max())  # 1.5 million draws: within a millionth or so of the bound
    assert np.abs(found["features.0.weight"]).max() == pytest.approx(largest, rel=1e-3)
    assert np.abs(found["features.0.bias"]).max() <= largest * 1.001


@pytest.mark.parametrize("variant", ["alexnet2012", "torchvision"])
def test_halving_in_evaluation_equals_inverted_dropout(variant):
    """Section 4.2 halves all outputs at test time. With the weights after dropout halved, inverted dropout gives the
    same values in training and in evaluation, to the last bit: factors of two round nothing."""
    from fastalex.train.parallel import Scheme

    row = variants.get(variant, **NARROW, **({"input_size": 67} if variant == "alexnet2012" else {}))
    cpu = [torch.device("cpu")]
    paper = recipes.get("paper", init="he")
    arrays = initial.arrays(row, paper, 1)
    halved = Scheme("none", row, cpu, Masks(5), "halved")
    inverted = Scheme("none", row, cpu, Masks(5), "inverted")
    halved.load(arrays)
    inverted.load(initial.scale(row, arrays, paper, initial.KEEP))
    images = torch.randn(3, 3, row.input_size, row.input_size, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        logits = []
        for scheme in (halved, inverted):
            scheme.network.train(training)
            with torch.no_grad():
                logits.append(scheme.logits(images))
        assert logits[0].abs().max() > 1e-2
        assert torch.equal(*logits)


def test_masks_are_even_and_follow_from_place_alone():
    masks = Masks(7)
    masks.step = 3
    whole = masks.draw(0, 64, 0, 1000)
    # 64000 fair coins: the share's standard error is 0.5 / sqrt(64000); five of them
    assert abs(whole.mean() - 0.5) < 5 * 0.5 / 64000**0.5
    assert np.array_equal(masks.draw(0, 16, 32, 1000), whole[32:48])
    for changed in (masks.draw(1, 64, 0, 1000), Masks(8).draw(0, 64, 0, 1000)):
        assert not np.array_equal(changed, whole)
    masks.step = 4
    assert not np.array_equal(masks.draw(0, 64, 0, 1000), whole)


def test_dropout_of_a_part_takes_its_units_of_the_mask():
    masks = Masks(1)
    x = torch.ones(4, 6, 2, 2)
    whole, second = dropout_class()(masks, 0, "inverted"), dropout_class()(masks, 0, "inverted")
    second.part = (1, 2)
    assert torch.equal(whole(x)[:, 3:], second(x[:, 3:]))
    assert set(whole(x).unique().tolist()) == {0.0, 2.0}
