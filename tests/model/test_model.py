"""The class AlexNet: every variant against PyTorch, and usage errors."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastalex import VARIANTS, AlexNet, BackendError, Prediction, UserError
from fastalex.selftest import cases, native, winograd_bounds
from fastalex.variants import get
from fastalex.weights import initial

SAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
#: All variants; the small one also in the quick tier.
FAMILY = [pytest.param(name, marks=[] if name == "alexnet-digits" else pytest.mark.slow) for name in VARIANTS]
U = 2.0**-24


def images(row, batch=1, size=None, seed=3):
    shape = (batch, row.channels, size or row.input_size, size or row.input_size)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def reference_outputs(row, arrays, x):
    """PyTorch's output in float64, and in float32 as float64."""
    torch = pytest.importorskip("torch")
    from fastalex.networks import torch_reference

    outputs = []
    for dtype in (torch.float64, torch.float32):
        model = torch_reference.build(row, dtype=dtype).eval()
        torch_reference.load(model, arrays)
        with torch.no_grad():
            outputs.append(model(torch.from_numpy(x).to(dtype)).double().numpy())
    return outputs


def rms(errors):
    return np.sqrt(np.mean(np.square(errors)))


def worst_winograd_factor(row):
    """The error that Winograd's roundings give a layer of the network over that of PyTorch's sums, of the worst one."""
    torch_table = pytest.importorskip("tests.support.torch_table")
    import torch

    factors = [0.0]
    for case in cases.layers_of(row):
        form = native.arithmetic_of(case, "cpu").form if case.op == "conv" else ""
        if form.startswith("winograd"):
            x, params = case.random()
            exact = torch_table.run(case.table, x, params)
            theirs = torch_table.run(case.table, x, params, torch.float32) - exact
            factors.append(rms(winograd_bounds.deviation(case, x, params, form, 64)) / rms(theirs))
    return max(factors)


@pytest.fixture(scope="module")
def digits():
    return AlexNet(weights="digits", device="cpu")


@pytest.mark.peers
@pytest.mark.parametrize("name", FAMILY)
def test_variant_is_pytorch_in_float64(name):
    """naive: one rounding away. Tuned: over three networks at most twice PyTorch's fp32 error, and a rounding.

    By Winograd's algorithm errors are larger by as much as those of its worst layer, also twice at most.
    """
    row = get(name)
    x = images(row)
    ours, fast, theirs = [], [], []
    for seed in (5, 6, 7):
        arrays = initial.random_weights(row, seed=seed)
        exact, single = reference_outputs(row, arrays, x)
        scale = np.abs(exact).max()
        assert scale > 0.1
        if seed == 5:
            naive = AlexNet(row, weights=arrays, device="naive")(x)
            assert np.abs(naive - exact).max() <= (U + 1e-12) * scale
        ours.append((AlexNet(row, weights=arrays, device="cpu", exact=True)(x) - exact) / scale)
        fast.append((AlexNet(row, weights=arrays, device="cpu")(x) - exact) / scale)
        theirs.append((single - exact) / scale)
    for size in (np.max, rms):
        assert size(np.abs(ours)) <= 2 * size(np.abs(theirs)) + 2 * U
    assert rms(fast) <= 2 * max(1, worst_winograd_factor(row)) * rms(theirs) + 2 * U


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("fc_weights", ["fp16", "int8"])
@pytest.mark.parametrize("name", ["alexnet2012", "torchvision"])
def test_quantized_net_is_pytorch_with_its_own_weights(name, fc_weights):
    """Against its dequantized weights as tightly as an unquantized net; the quantization error is another matter."""
    row = get(name)
    x = images(row)
    net = AlexNet(row, device="cpu", fc_weights=fc_weights, exact=True)
    exact, single = reference_outputs(row, net.state_dict(), x)
    scale = np.abs(exact).max()
    assert np.abs(net(x) - exact).max() <= 2 * np.abs(single - exact).max() + 2 * U * scale
    unquantized = AlexNet(row, device="cpu", exact=True)
    assert net.param_bytes < 0.53 * unquantized.param_bytes
    assert 0 < np.abs(net(x) - unquantized(x)).max() < 0.05 * scale


@pytest.mark.peers
@pytest.mark.parametrize("name", FAMILY)
def test_variant_is_onnxruntime(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from fastalex.networks.onnx_export import graph_of

    row = get(name)
    arrays = initial.random_weights(row, seed=6)
    x = images(row, batch=2)
    session = onnxruntime.InferenceSession(
        graph_of(row, arrays, 2).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": x})[0]
    got = AlexNet(row, weights=arrays, device="cpu")(x)
    # Two fp32 engines, each a few units of the largest value off: eight layers of sums, 2^-24 * sqrt(9216) = 96 u.
    assert np.abs(got - expected).max() <= 96 * U * np.abs(expected).max()


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("alexnet2012", {"activation": "tanh", "widths": (16, 32, 48, 48, 32, 64, 64)}),
        ("alexnet2012", {"activation": "leaky_relu(0.2)", "widths": (16, 32, 48, 48, 32, 64, 64), "output": "sigmoid"}),
        (
            "torchvision",
            {
                "activation": ("relu", "sigmoid", "tanh", "leaky_relu", "relu", "none", "sigmoid"),
                "widths": (10, 21, 37, 29, 19, 53, 41),
            },
        ),
        ("alexnet2012", {"lrn_alpha_divided": False, "widths": (16, 32, 48, 48, 32, 64, 64), "num_classes": 7}),
        ("alexnet2012", {"columns": 1, "widths": (15, 31, 47, 45, 33, 61, 63)}),
        ("torchvision", {"widths": (10, 21, 37, 29, 19, 53, 41), "num_classes": 2}),
    ],
)
def test_overrides_are_pytorch_too(name, overrides):
    """At most twice PyTorch's fp32 error over several networks and images: some have two outputs only."""
    row = get(name, **overrides)
    x = 20 * images(row, batch=4)
    ours, theirs = [], []
    for seed in (7, 8, 9):
        arrays = initial.random_weights(row, seed=seed)
        exact, single = reference_outputs(row, arrays, x)
        scale = np.abs(exact).max()
        net = AlexNet(name, weights=arrays, device="cpu", exact=True, **overrides)
        assert net(x).shape == (4, row.num_classes)
        ours.append((net(x) - exact) / scale)
        theirs.append((single - exact) / scale)
    for size in (np.max, rms):
        assert size(np.abs(ours)) <= 2 * size(np.abs(theirs)) + 2 * U


def test_the_undivided_reading_of_alpha_is_another_network():
    widths = (16, 32, 48, 48, 32, 64, 64)
    x = 200 * images(get("alexnet2012"))
    divided = AlexNet("alexnet2012", device="cpu", widths=widths)(x)
    undivided = AlexNet("alexnet2012", device="cpu", widths=widths, lrn_alpha_divided=False)(x)
    assert np.abs(divided - undivided).max() > 0.1 * np.abs(divided).max()


@pytest.mark.peers
@pytest.mark.parametrize(("height", "width"), [(63, 63), (64, 200), (300, 224)])
def test_torchvision_takes_any_size_from_63_up(height, width):
    torch = pytest.importorskip("torch")
    from fastalex.networks import torch_reference

    row = get("torchvision", widths=(16, 32, 48, 48, 32, 64, 64), num_classes=5)
    arrays = initial.random_weights(row)
    x = np.random.default_rng(1).standard_normal((2, 3, height, width), dtype=np.float32)
    model = torch_reference.build(row, dtype=torch.float64).eval()
    torch_reference.load(model, arrays)
    with torch.no_grad():
        exact = model(torch.from_numpy(x).double()).numpy()
    net = AlexNet(row, weights=arrays, device="cpu")
    assert np.abs(net(x) - exact).max() <= 1e-5 * np.abs(exact).max()


# Input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((1, 131, 131, 3), np.float32), r"\[N, H, W, C\].*x\.transpose"),
        (np.zeros((3, 131, 131), np.float32), r"x\[None\]"),
        (np.zeros((131, 131), np.float32), r"\[N, 3, H, W\].*\(131, 131\)$"),
        (np.zeros((1, 4, 131, 131), np.float32), "3 channels.*4"),
        (np.zeros((0, 3, 131, 131), np.float32), "batch is empty"),
        (np.zeros((1, 3, 131, 131)), r"not float64.*x\.astype\('float32'\)"),
        (np.zeros((1, 3, 131, 131), np.uint8), "not uint8"),
        (np.zeros((1, 3, 224, 224), np.float32), "131 x 131.*224 x 224"),
        (np.zeros((1, 3, 9, 9), np.float32), "9 x 9.*too small"),
        ([[0.0]], "DLPack, not list"),
        (None, "DLPack, not NoneType"),
    ],
)
def test_a_wrong_input_is_one_sentence(digits, x, match):
    with pytest.raises(UserError, match=match) as error:
        digits(x)
    assert "\n" not in str(error.value)


def test_any_strides_are_accepted(digits):
    x = images(digits.variant, batch=3)
    expected = digits(x)
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for view in (nhwc, np.asfortranarray(x), x[::-1][::-1], x.astype(">f4").astype("=f4")):
        np.testing.assert_array_equal(digits(view), expected)
    np.testing.assert_array_equal(digits(x[::-1]), expected[::-1])
    readonly = x.copy()
    readonly.flags.writeable = False
    np.testing.assert_array_equal(digits(readonly), expected)


def test_the_input_is_left_alone(digits):
    x = images(digits.variant)
    before = x.copy()
    digits(x)
    np.testing.assert_array_equal(x, before)


def test_nan_goes_through_to_its_image_only(digits):
    x = images(digits.variant, batch=3)
    expected = digits(x)
    x[1, 0, 60, 60] = np.nan
    got = digits(x)
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[[0, 2]], expected[[0, 2]])


@pytest.mark.peers
def test_torch_tensors_in_and_out_without_a_copy(digits, monkeypatch):
    torch = pytest.importorskip("torch")
    x = images(digits.variant)
    tensor = torch.from_numpy(x)
    seen = []
    monkeypatch.setattr(digits, "_net", _Spy(digits._net, seen))
    got = digits(tensor)
    assert isinstance(got, torch.Tensor)
    assert seen[0].ctypes.data == tensor.data_ptr()
    np.testing.assert_array_equal(got.numpy(), digits(x))
    assert isinstance(digits.predict_proba(tensor), torch.Tensor)
    with pytest.raises(UserError, match=r"x\.detach"):
        digits(tensor.clone().requires_grad_())
    with pytest.raises(UserError, match="not float16"):
        digits(tensor.half())
    with pytest.raises(UserError, match="DLPack.*meta"):
        digits(torch.empty(1, 3, 131, 131, device="meta"))
    with pytest.raises(UserError, match="CPU memory"):
        digits(_Elsewhere())


class _Elsewhere:
    """Speaks DLPack for an array on a CUDA device (kDLCUDA = 2)."""

    def __dlpack__(self, **options):
        raise AssertionError("not to be asked")

    def __dlpack_device__(self):
        return 2, 0


class _Spy:
    def __init__(self, net, seen):
        self.net, self.seen = net, seen

    def run(self, call):
        self.seen.append(call.input)
        return self.net.run(call)


# Classification ---------------------------------------------------------------------------------------------------


def test_real_images_are_classified(digits):
    answers = digits.classify(SAMPLES, topk=3)
    assert [answer[0].label for answer in answers] == [path.name.split("-")[1] for path in SAMPLES]
    one = digits.classify(str(SAMPLES[0]))
    assert isinstance(one[0], Prediction)
    assert len(one) == 5
    assert one[0][:1] + one[0][2:] == answers[0][0][:1] + answers[0][0][2:]
    assert [p.probability for p in one] == sorted((p.probability for p in one), reverse=True)
    assert len(digits.classify(str(SAMPLES[0]), topk=99)) == 10


def test_probabilities_are_the_softmax_of_the_logits(digits):
    x = digits.preprocess(SAMPLES[:4])
    logits = digits(x).astype(np.float64)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    got = digits.predict_proba(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_array_equal(digits.predict_proba(SAMPLES[:4]), got)


@pytest.mark.parametrize("topk", [0, -1, 2.5, True, "5"])
def test_a_wrong_topk_is_refused(digits, topk):
    with pytest.raises(UserError, match="topk"):
        digits.classify(SAMPLES[0], topk=topk)


def test_wrong_images_are_refused(digits, tmp_path):
    with pytest.raises(UserError):
        digits.classify([])
    with pytest.raises(UserError, match=r"missing\.png"):
        digits.classify(tmp_path / "missing.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(SAMPLES[0].read_bytes()[:60])
    with pytest.raises(UserError, match=r"broken\.png"):
        digits.classify([SAMPLES[0], broken])


@pytest.mark.parametrize(("name", "options"), [("torchvision", {}), ("caffenet", {"lrn": None})])
def test_pixels_that_are_not_normalized_are_told(name, options):
    """What is told is what no image becomes: each plane of a white image is the largest value of its kind."""
    row = get(name, widths=(8, 16, 12, 12, 8, 24, 20), num_classes=7, input_size=67, **options)
    net = AlexNet(row, weights=initial.random_weights(row, seed=4), device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 80, 80, 3), dtype=np.uint8)
    for sound in (pixels, np.full_like(pixels, 255), np.zeros_like(pixels)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            answers = net.classify(sound)
            assert net.classify(net.preprocess(sound)) == answers == [net.classify(each) for each in sound]
    raw = pixels[:, :67, :67].transpose(0, 3, 1, 2).astype(np.float32)
    with pytest.warns(UserWarning, match="not normalized.* 0 to 255.*net.preprocess") as said:
        net.classify(raw)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"not uint8.*net\.preprocess"):
            net.classify(raw.astype(np.uint8))


def test_random_weights_warn_before_they_answer():
    net = AlexNet("alexnet-digits")
    with pytest.warns(UserWarning, match="random"):
        net.classify(SAMPLES[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AlexNet(weights="digits").classify(SAMPLES[0])


# Weights and options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("fc_weights", ["fp32", "fp16", "int8"])
def test_save_and_load(digits, tmp_path, suffix, fc_weights):
    net = AlexNet(weights="digits", fc_weights=fc_weights)
    path = tmp_path / ("net" + suffix)
    net.save(path)
    again = AlexNet(weights=path)
    assert again.variant == net.variant
    assert again.labels == net.labels == [str(digit) for digit in range(10)]
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    x = images(net.variant)
    # fp16 is exact here; int8 adds up scaled integers instead of rounded weights: one more rounding a product.
    tolerance = 0 if fc_weights != "int8" else 96 * U * np.abs(net(x)).max()
    assert np.abs(again(x) - net(x)).max() <= tolerance


@pytest.mark.peers
def test_one_parameter_is_that_of_the_state_dict():
    net = AlexNet(weights="digits", device="cpu", fc_weights="int4")
    for name, array in net.state_dict().items():
        one = net.get_parameter(name)
        np.testing.assert_array_equal(one, array)
        one[...] = np.nan  # a copy
        np.testing.assert_array_equal(net.get_parameter(name), array)
    with pytest.raises(UserError, match="no parameter 'fc9.weight'; there are: conv1.weight, "):
        net.get_parameter("fc9.weight")


@pytest.mark.peers
def test_state_dict_is_torchvisions(tmp_path):
    torch = pytest.importorskip("torch")
    net = AlexNet("torchvision", widths=(8, 16, 24, 16, 16, 32, 32), num_classes=4)
    expected = [
        f"{part}.{index}.{kind}"
        for part, indices in (("features", (0, 3, 6, 8, 10)),)
        for index in indices
        for kind in ("weight", "bias")
    ]
    assert list(net.state_dict())[:10] == expected
    tensors = {name: torch.from_numpy(array) for name, array in net.state_dict().items()}
    again = AlexNet("torchvision", weights=tensors, widths=(8, 16, 24, 16, 16, 32, 32), num_classes=4)
    x = images(get("torchvision"))
    np.testing.assert_array_equal(again(x), net(x))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"variant": "alexnet2013"}, "'alexnet2013'.*mean 'alexnet2012'"),
        ({"precision": "fp8"}, "precision.*'fp8'"),
        ({"precision": "fp16", "device": "cpu"}, "precision='fp16'.*device='cpu'"),
        ({"fc_weights": "int2"}, "fc_weights.*'int2'"),
        ({"precision": "int8", "fc_weights": "fp32", "device": "cpu"}, "fc_weights='fp32'.*precision='int8'"),
        ({"exact": 1, "device": "cpu"}, "exact.*not 1"),
        ({"exact": True, "device": "naive"}, "exact=True.*device='naive'"),
        ({"device": "cpu:0"}, "'cpu:0'"),
        ({"threads": 0}, "threads.*not 0"),
        ({"threads": 2.0}, r"threads.*not 2\.0"),
        ({"device": "gpu"}, "device.*'gpu'"),
        ({"weights": "no-such-file.safetensors"}, r"no-such-file\.safetensors"),
        ({"weights": "weights.pth"}, r"weights\.pth"),
        ({"weights": 3}, "weights must be.*not int"),
        ({"weights": {}}, r"lack.*conv1\.weight"),
        ({"weights": "digits", "num_classes": 5}, "num_classes=10"),
        ({"weights": "digits", "variant": "torchvision"}, r"features\.0\.weight"),
        ({"device": "naive", "variant": "alexnet-digits", "fc_weights": "int8"}, "fc_weights='int8'.*device='naive'"),
        ({"height": 3}, "'height'"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments, match):
    with pytest.raises(UserError, match=match) as error:
        AlexNet(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_cannot_be_had_raises_with_the_reason(device):
    with pytest.raises(BackendError, match=f"device='{device}'.*no {device} library"):
        AlexNet(device=device)


def test_auto_says_what_it_chose(digits):
    net = AlexNet(weights="digits", threads=1)
    assert net.device == "cpu"
    assert repr(net) == "AlexNet('alexnet-digits', num_classes=10, device='cpu', fc_weights='fp32', threads=1)"


# Start-up ---------------------------------------------------------------------------------------------------------

START_UP = """
import sys, time
import numpy
start = time.perf_counter()
import fastalex
print(time.perf_counter() - start)
net = fastalex.AlexNet(weights="digits")
net.classify(sys.argv[1])
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.mark.peers
def test_import_is_quick_and_inference_needs_no_torch():
    done = [
        subprocess.run([sys.executable, "-c", START_UP, str(SAMPLES[0])], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert min(float(one.stdout) for one in done) < 0.15
