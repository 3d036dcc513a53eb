"""Models behind their queues give the bits of the library, whatever else is computed at the same time."""

from __future__ import annotations

import asyncio
import io
import time

import numpy as np
import pytest
from PIL import Image

from fastalex import LPIPS, VARIANTS, AlexNet, quantize
from fastalex.images import PROFILES
from fastalex.lpips import heads
from fastalex.serve.distance import Distance
from fastalex.serve.errors import ServiceError
from fastalex.serve.metrics import Metrics
from fastalex.serve.repository import Repository
from fastalex.serve.settings import Settings
from fastalex.serve.specs import LpipsSpec, ModelSpec
from tests.support import small_net

FILES = [path.read_bytes() for path in small_net.DIGITS]
DIGITS = AlexNet(weights="digits", device="cpu")
PICTURE = np.random.default_rng(7).integers(0, 256, (90, 117, 3), np.uint8)


def serve(scenario, *specs, **options):
    """Run ``scenario(repository)`` on a loop, with the models ``specs`` loaded."""
    settings = Settings(models=tuple(map(ModelSpec.parse, specs)), decoders=2, **options)
    repository = Repository(settings, Metrics())
    repository.start(wait=True)
    try:
        assert repository.ready, repository.index()
        return asyncio.run(asyncio.wait_for(scenario(repository), 30))
    finally:
        repository.close(20)


async def status(answer):
    with pytest.raises(ServiceError) as caught:
        await answer
    assert "\n" not in str(caught.value)
    return caught.value.status


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


def calibrated(folder):
    """Write the weights of the digits with their calibration, and return the path."""
    calibration = quantize.calibrate(DIGITS, [DIGITS.preprocess(FILES)])
    path = folder / "calibrated.safetensors"
    AlexNet(weights="digits", device="cpu", precision="int8", calibration=calibration).save(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16"},
        {"fc_weights": "int8"},
        {"fc_weights": "int4", "fc_layout": "throughput"},
        {"precision": "int8", "fc_weights": "int4"},
        {"threads": 1},
    ],
    ids=str,
)
def test_the_bits_of_calls_without_batching(tmp_path, options):
    file = calibrated(tmp_path) if options.get("precision") == "int8" else "digits"
    net = AlexNet(weights=file, device="cpu", **options)
    x = net.preprocess(FILES)
    logits = [net(row[None])[0] for row in x]
    probabilities = [net.predict_proba(row[None])[0] for row in x]
    conv5 = [net.taps(row[None], ["conv5"])["conv5"][0] for row in x]

    async def scenario(repository):
        served, generator, asked = repository.get("net"), np.random.default_rng(3), []
        for number in range(40):
            some = generator.integers(0, len(FILES), generator.integers(1, 7))
            outputs = ((), ("logits",), ("conv5", "probabilities"))[number % 3]
            call = (
                served.infer(x[some], outputs, str(number % 5))
                if number % 2
                else served.infer_images([FILES[i] for i in some], outputs, str(number % 5))
            )
            asked.append((some, outputs or ("probabilities", "logits"), asyncio.ensure_future(call)))
        expected = {"logits": logits, "probabilities": probabilities, "conv5": conv5}
        for some, outputs, task in asked:
            answer = await task
            assert tuple(answer) == outputs
            for name, values in answer.items():
                assert values.dtype == np.float32
                np.testing.assert_array_equal(values, np.stack([expected[name][i] for i in some]))

    text = ",".join([f"net={file}", "device=cpu", *(f"{name}={value}" for name, value in options.items())])
    serve(scenario, text, max_batch=5)


@pytest.mark.parametrize("profile", PROFILES)
def test_images_are_prepared_as_the_library_does(profile):
    turned = Image.Exif()
    turned[0x0112] = 6
    images = [encoded(PICTURE), encoded(PICTURE, "JPEG", exif=turned), PICTURE]
    wanted = DIGITS(DIGITS.preprocess(images, profile))

    async def scenario(repository):
        answer = await repository.get("digits").infer_images(images, ["logits"])
        np.testing.assert_array_equal(answer["logits"], wanted)

    serve(scenario, f"digits=digits,profile={profile}")


def test_a_gray_network_with_a_mean_image(tmp_path):
    row = {"channels": 1, "input_size": 67, "widths": (8, 8, 8, 8, 8, 16, 16), "num_classes": 5}
    mean = np.random.default_rng(1).uniform(0, 255, (1, 67, 67)).astype(np.float32)
    net = AlexNet("caffenet", weights="random", device="cpu", mean_image=mean, **row)
    net.save(tmp_path / "gray.npz")

    async def scenario(repository):
        served = repository.get("gray")
        answer = await served.infer_images([PICTURE, encoded(PICTURE)])
        np.testing.assert_array_equal(answer["logits"], net(net.preprocess([PICTURE] * 2)))
        assert [tensor.shape for tensor in served.inputs()] == [(-1, 1, 67, 67), (-1,), (-1, -1, -1, 3)]

    serve(scenario, f"gray={tmp_path / 'gray.npz'}")


def test_two_models_at_the_same_time():
    random = AlexNet("alexnet-digits", weights="random", device="cpu")
    x = DIGITS.preprocess(FILES)

    async def scenario(repository):
        first, second = repository.get("digits"), repository.get("other")
        answers = await asyncio.gather(
            *(served.infer_images([file], client=str(i)) for i, file in enumerate(FILES) for served in (first, second))
        )
        for served, net in ((0, DIGITS), (1, random)):
            logits = np.concatenate([answer["logits"] for answer in answers[served::2]])
            np.testing.assert_array_equal(logits, net(x))

    serve(scenario, "digits", "other=random,variant=alexnet-digits")


def test_tensors_that_are_read_only_half_or_no_batch():
    x = DIGITS.preprocess(FILES[0])
    frozen = np.frombuffer(x.tobytes(), np.float32).reshape(x.shape)
    half = x.astype(np.float16)

    async def scenario(repository):
        served = repository.get("digits")
        for sent, seen in ((frozen, x), (half, half.astype(np.float32)), (x.transpose(0, 1, 3, 2), x.swapaxes(2, 3))):
            np.testing.assert_array_equal((await served.infer(sent, ["logits"]))["logits"], DIGITS(seen))
        for wrong in (x[0], x[:0], x[:, :2], x[..., :64], x.astype(np.uint8), x.astype(np.float64)):
            assert await status(served.infer(wrong)) == 422

    serve(scenario, "digits")


def test_requests_that_cannot_be_answered():
    large, dense = encoded(np.zeros((400, 300, 3), np.uint8)), np.zeros((300, 400, 3), np.uint8)

    async def scenario(repository):
        served = repository.get("digits")
        assert await status(served.infer_images([FILES[0]], ["conv9"])) == 404
        assert await status(served.infer_images([])) == 422
        for image in (b"", b"no image", FILES[0][:-40], np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)):
            assert await status(served.infer_images([FILES[1], image])) == 422
        for image in (large, dense):
            assert await status(served.infer_images([image])) == 413
        assert await status(served.infer_images([FILES[0]] * 21)) == 413
        assert await status(served.infer_images([FILES[0]], deadline=time.monotonic() - 1)) == 504
        assert (await served.infer_images(FILES[:3]))["probabilities"].shape == (3, 10)

    serve(scenario, "digits", max_pixels=300 * 400 - 1, queue_per_client=20)


def test_a_network_of_other_channels_takes_tensors_alone(tmp_path):
    net = AlexNet("alexnet-digits", weights="random", device="cpu", channels=5)
    net.save(tmp_path / "five.npz")
    x = np.random.default_rng(0).standard_normal((2, 5, 131, 131), np.float32)

    async def scenario(repository):
        served = repository.get("five")
        assert [tensor.name for tensor in served.inputs()] == ["input"]
        np.testing.assert_array_equal((await served.infer(x))["logits"], net(x))
        assert await status(served.infer_images([FILES[0]])) == 422

    serve(scenario, f"five={tmp_path / 'five.npz'}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_outputs_of_every_variant_are_those_of_the_library(tmp_path, variant):
    net = AlexNet(variant, weights="random", device="cpu", widths=(8, 8, 8, 8, 8, 16, 16), num_classes=6)
    net.save(tmp_path / "net.npz")
    x = np.random.default_rng(0).standard_normal((2, 3, *[net.variant.input_size] * 2), np.float32)

    async def scenario(repository):
        served = repository.get("net")
        answer = await served.infer(x)
        np.testing.assert_array_equal(answer["logits"], net(x))
        np.testing.assert_array_equal(answer["probabilities"], net.predict_proba(x))
        assert [tuple(tensor) for tensor in served.outputs()] == [
            ("probabilities", "FP32", (-1, 6)),
            ("logits", "FP32", (-1, 6)),
        ]

    serve(scenario, f"net={tmp_path / 'net.npz'}")


def test_a_quantized_file_whose_name_has_a_comma(tmp_path):
    path = tmp_path / "a,b.safetensors"
    DIGITS.save(path, fc_weights="int8")
    net = AlexNet(weights=path, device="cpu")

    async def scenario(repository):
        served = repository.get("net")
        assert served.net.fc_weights == "int8"
        answer = await served.infer_images(FILES)
        np.testing.assert_array_equal(answer["logits"], net(net.preprocess(FILES)))

    serve(scenario, f"net={path}")


# The distance ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory):
    """The paths of random convolutions and of random heads, which are not the published ones."""
    folder = tmp_path_factory.mktemp("lpips")
    generator = np.random.default_rng(5)
    channels = (64, 192, 384, 256, 256)
    np.savez(
        folder / "heads.npz",
        **{heads.NAME % k: generator.random((1, count, 1, 1), np.float32) for k, count in enumerate(channels)},
    )
    return folder


def test_the_distance_is_that_of_the_library(lpips_files, monkeypatch):
    monkeypatch.setattr(heads, "_check_hash", lambda path, version: None)
    other = np.random.default_rng(8).integers(0, 256, PICTURE.shape, np.uint8)
    metric = LPIPS(weights="random", heads=str(lpips_files / "heads.npz"), device="cpu")
    a, b = (picture.transpose(2, 0, 1)[None] for picture in (PICTURE, other))
    wanted = float(metric(a, b)[0, 0, 0, 0])

    async def scenario(repository):
        distance = repository.distance
        assert isinstance(distance, Distance)
        answers = await asyncio.gather(
            distance.compare(encoded(PICTURE), encoded(other), "a"),
            distance.compare(other, PICTURE, "b"),
            distance.compare(PICTURE, encoded(PICTURE), "a"),
        )
        assert answers == [wanted, float(metric(b, a)[0, 0, 0, 0]), 0.0]
        assert await status(distance.compare(PICTURE, PICTURE[1:])) == 422
        assert await status(distance.compare(PICTURE, b"no image")) == 422
        assert await status(distance.compare(PICTURE[:8], PICTURE[:8])) == 422
        assert await status(distance.compare(PICTURE, np.zeros((200, 200, 3), np.uint8))) == 413

    spec = LpipsSpec.parse(f"random,heads={lpips_files / 'heads.npz'},device=cpu")
    serve(scenario, lpips=spec, max_pixels=30000)


def test_a_server_without_a_distance_and_one_whose_heads_are_not_published(lpips_files):
    async def none(repository):
        assert repository.distance is None

    serve(none)
    spec = LpipsSpec.parse(f"random,heads={lpips_files / 'heads.npz'}")
    repository = Repository(Settings(lpips=spec), Metrics())
    repository.start(wait=True)
    with pytest.raises(ServiceError, match="the distance is not available: .* SHA-256") as caught:
        _ = repository.distance
    assert caught.value.status == 503 and not repository.ready
    repository.close()
