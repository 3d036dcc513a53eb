"""Conformance by NVIDIA's own client: every method of ``tritonclient.http.InferenceServerClient``.

``python -m tests.serve.test_triton_client`` prints the table of ``docs/serving.md``.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from fastalex import AlexNet
from tests.support import service

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
FILES = sorted(DIGITS.glob("*.png"))[:3]
TOKEN = {"Authorization": "Bearer secret"}

_SHARED = "this server does not have shared memory"
_TRACES = "this server does not have traces; GET /metrics has times"
_LOG = "this server does not have settings of its log; every request is a line of JSON on standard error"

# Method -> arguments, and None if it works or the sentence with which it is refused. In the order of the table.
CALLS = {
    "is_server_live": ((), None),
    "is_server_ready": ((), None),
    "is_model_ready": (("digits", "1"), None),
    "get_server_metadata": ((), None),
    "get_model_metadata": (("digits",), None),
    "get_model_config": (("digits",), None),
    "get_inference_statistics": (("digits",), None),
    "infer": ((), None),
    "async_infer": ((), None),
    "get_model_repository_index": ((), None),
    "load_model": (("digits",), None),
    "unload_model": (("digits",), None),
    "get_trace_settings": ((), _TRACES),
    "update_trace_settings": (("digits", {"trace_level": ["TIMESTAMPS"]}), _TRACES),
    "get_log_settings": ((), _LOG),
    "update_log_settings": (({"log_verbose_level": 1},), _LOG),
    "get_system_shared_memory_status": ((), _SHARED),
    "register_system_shared_memory": (("a", "/a", 8), _SHARED),
    "unregister_system_shared_memory": (("a",), _SHARED),
    "get_cuda_shared_memory_status": (("a",), _SHARED),
    "register_cuda_shared_memory": (("a", "handle", 0, 8), _SHARED),
    "unregister_cuda_shared_memory": ((), _SHARED),
}
# Of the client alone: they send nothing.
OFFLINE = {"close", "generate_request_body", "parse_response_body", "plugin", "register_plugin", "unregister_plugin"}


@pytest.fixture(scope="module")
def server():
    with service.running(token="secret", allow_control=True) as running:
        yield running


@pytest.fixture
def client(server):
    client = triton.InferenceServerClient(server.host)
    yield client
    client.close()


@pytest.fixture(scope="module")
def net():
    return AlexNet(weights="digits", device="cpu", threads=1)


def images_input(binary=True):
    one = triton.InferInput("image", [len(FILES)], "BYTES")
    one.set_data_from_numpy(np.array([file.read_bytes() for file in FILES], object), binary_data=binary)
    return one


def tensor_input(name, array, datatype, binary=True):
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def infer(client, *inputs, **options):
    return client.infer("digits", list(inputs), headers=dict(TOKEN), **options)  # the client writes to it


# The methods ----------------------------------------------------------------------------------------------------------


def test_the_table_has_every_method():
    public = {name for name, _ in inspect.getmembers(triton.InferenceServerClient) if not name.startswith("_")}
    assert public == set(CALLS) | OFFLINE


@pytest.mark.parametrize("method", [name for name, (_, sentence) in CALLS.items() if sentence])
def test_methods_that_are_refused_give_their_sentence(client, method):
    arguments, sentence = CALLS[method]
    with pytest.raises(InferenceServerException) as caught:
        getattr(client, method)(*arguments, headers=TOKEN)
    assert caught.value.message() == sentence and caught.value.status() == "400"


def test_health(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits", headers=TOKEN) and client.is_model_ready("digits", "1", headers=TOKEN)
    assert not client.is_model_ready("digits", "2", headers=TOKEN)
    assert not client.is_model_ready("unknown", headers=TOKEN)


def test_descriptions(client):
    assert client.get_server_metadata(headers=TOKEN)["name"] == "fastalex"
    model = client.get_model_metadata("digits", "1", headers=TOKEN)
    assert {row["name"]: row["datatype"] for row in model["inputs"]} == {
        "input": "FP32",
        "image": "BYTES",
        "pixels": "UINT8",
    }
    config = client.get_model_config("digits", headers=TOKEN)
    assert [row["dims"] for row in config["output"]] == [[10], [10]]
    for wrong in (("unknown",), ("digits", "2")):
        with pytest.raises(InferenceServerException, match="model") as caught:
            client.get_model_metadata(*wrong, headers=TOKEN)
        assert caught.value.status() == "404"


def test_statistics_count_images_and_requests(client):
    before = client.get_inference_statistics("digits", headers=TOKEN)["model_stats"][0]
    infer(client, images_input())
    with pytest.raises(InferenceServerException):
        infer(client, tensor_input("input", np.zeros((1, 3, 9, 9), np.float32), "FP32"))
    after = client.get_inference_statistics(headers=TOKEN)["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == len(FILES)
    assert 1 <= after["execution_count"] - before["execution_count"] <= len(FILES)
    for part, count in (("success", 1), ("fail", 1)):
        assert after["inference_stats"][part]["count"] - before["inference_stats"][part]["count"] == count
        assert after["inference_stats"][part]["ns"] > before["inference_stats"][part]["ns"]
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert after["last_inference"] > 1e12, "milliseconds since the epoch"


def test_models_are_loaded_and_unloaded(client):
    assert client.get_model_repository_index(headers=TOKEN)[0]["state"] == "READY"
    client.unload_model("digits", headers=TOKEN)
    try:
        assert client.get_model_repository_index(headers=TOKEN)[0]["state"] == "UNAVAILABLE"
        assert client.is_server_live() and not client.is_server_ready()
        with pytest.raises(InferenceServerException, match="it was unloaded") as caught:
            infer(client, images_input())
        assert caught.value.status() == "503"
    finally:
        client.load_model("digits", headers=TOKEN)
    assert client.is_server_ready() and client.is_model_ready("digits", headers=TOKEN)
    client.load_model("digits", headers=TOKEN)  # again, while it serves
    with pytest.raises(InferenceServerException, match="no model 'unknown'") as caught:
        client.load_model("unknown", headers=TOKEN)
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="come from the command line"):
        client.load_model("digits", headers=TOKEN, config="{}")


# Inference ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_a_tensor_has_the_results_of_the_library(client, net, binary):
    x = net.preprocess([str(file) for file in FILES])
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("logits", "probabilities", "relu7")]
    result = infer(client, tensor_input("input", x, "FP32", binary), outputs=outputs, request_id="12")
    np.testing.assert_array_equal(result.as_numpy("logits"), net(x))
    np.testing.assert_array_equal(result.as_numpy("probabilities"), net.predict_proba(x))
    np.testing.assert_array_equal(result.as_numpy("relu7"), net.taps(x, ["relu7"])["relu7"])
    assert result.get_response()["id"] == "12"


def test_image_files_have_the_results_of_the_library(client, net):
    expected = net.predict_proba([str(file) for file in FILES])
    np.testing.assert_array_equal(infer(client, images_input()).as_numpy("probabilities"), expected)


def test_half_precision_is_widened_exactly(client, net):
    half = net.preprocess(str(FILES[0])).astype(np.float16)
    result = infer(client, tensor_input("input", half, "FP16"))
    np.testing.assert_array_equal(result.as_numpy("logits"), net(half.astype(np.float32)))


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_have_the_results_of_the_library(client, net, binary):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 20, 30, 3), np.uint8)
    result = infer(client, tensor_input("pixels", pixels, "UINT8", binary))
    np.testing.assert_array_equal(result.as_numpy("logits"), net(net.preprocess(list(pixels))))


def test_classification_names_the_best_classes(client, net):
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    rows = infer(client, images_input(), outputs=[output]).as_numpy("probabilities")
    for row, predictions in zip(rows, net.classify([str(file) for file in FILES], topk=2)):
        assert [cell.decode() for cell in row] == [f"{p.probability:f}:{p.index}:{p.label}" for p in predictions]


def test_calls_run_at_once(client, net):
    waiting = [client.async_infer("digits", [images_input()], headers=dict(TOKEN)) for _ in range(4)]
    expected = net.predict_proba([str(file) for file in FILES])
    for call in waiting:
        np.testing.assert_array_equal(call.get_result().as_numpy("probabilities"), expected)


REFUSED = [
    ({"sequence_id": 3}, "does not have sequences", "400"),
    ({"priority": 2}, "does not have priorities", "400"),
    ({"parameters": {"speed": 3}}, "has no parameter 'speed'", "400"),
    ({"outputs": [triton.InferRequestedOutput("conv9")]}, "conv9", "404"),
    ({"timeout": 1}, "deadline", "504"),
    ({"request_compression_algorithm": "gzip"}, "without Content-Encoding", "415"),
    ({"model_version": "7"}, "no version '7'", "404"),
]


@pytest.mark.parametrize(("options", "sentence", "status"), REFUSED)
def test_requests_for_what_is_not_here_are_refused(client, options, sentence, status):
    with pytest.raises(InferenceServerException, match=sentence) as caught:
        infer(client, images_input(), **options)
    assert caught.value.status() == status


def test_an_answer_may_stay_uncompressed(client):
    assert infer(client, images_input(), response_compression_algorithm="gzip").as_numpy("logits").shape == (3, 10)


@pytest.mark.parametrize(
    ("content", "status"), [(b"", "422"), (b"no image", "422"), (FILES[0].read_bytes()[:60], "422")]
)
def test_images_that_cannot_be_read_give_one_sentence(client, content, status):
    one = triton.InferInput("image", [1], "BYTES")
    one.set_data_from_numpy(np.array([content], object))
    with pytest.raises(InferenceServerException) as caught:
        infer(client, one)
    assert caught.value.status() == status and "\n" not in caught.value.message()


def table():
    """The rows of the table: a method and what becomes of it."""
    return [
        f"| `{name}` | {f'refused: {sentence}' if sentence else 'works'} |" for name, (_, sentence) in CALLS.items()
    ]


if __name__ == "__main__":
    print("\n".join(["| Method of `tritonclient.http` | |", "| --- | --- |", *table()]))
