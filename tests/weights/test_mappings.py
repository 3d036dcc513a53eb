"""Mappings of tensors as weights: parameters, other types, the meta device."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from fastalex import AlexNet, variants
from fastalex.errors import UserError
from fastalex.networks import torch_reference

pytestmark = pytest.mark.peers

ROW = variants.get("alexnet-digits")
X = np.random.default_rng(1).standard_normal((1, 3, 131, 131)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return torch_reference.build(ROW).eval()


def of(mapping):
    return AlexNet(ROW, weights=mapping, device="cpu")(X)


def test_parameters_that_require_a_gradient(model):
    expected = of({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    np.testing.assert_array_equal(of(dict(model.named_parameters())), expected)
    np.testing.assert_array_equal(of(model.state_dict()), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_of_other_types(model, dtype):
    given = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    np.testing.assert_array_equal(of(given), of({name: tensor.float().numpy() for name, tensor in given.items()}))


def test_a_tensor_without_values_is_one_sentence(model):
    given = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match="meta device") as caught:
        of(given)
    assert "\n" not in str(caught.value)
