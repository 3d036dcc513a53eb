"""The Open Inference Protocol without HTTP: requests that tritonclient writes, and answers that it reads."""

from __future__ import annotations

import base64
import json
import struct
import tracemalloc

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor

from fastalex.errors import UserError
from fastalex.serve.errors import ServiceError
from fastalex.serve.protocol import metadata, request, response, tensors
from fastalex.serve.served import TensorSpec

SPECS = [
    TensorSpec("input", "FP32", (-1, 3, 4, 4)),
    TensorSpec("image", "BYTES", (-1,)),
    TensorSpec("pixels", "UINT8", (-1, -1, -1, 3)),
]
RANDOM = np.random.default_rng(3)
BATCH = RANDOM.normal(size=(2, 3, 4, 4)).astype(np.float32)


def written(name, array, datatype, binary=True, **options):
    """The body that tritonclient writes for one input, and the length of its JSON."""
    one = triton.InferInput(name, list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return triton.InferenceServerClient.generate_request_body([one], **options)


def read(document):
    """Read a request of JSON alone."""
    return request.read(json.dumps(document).encode(), None)


def one_input(**changes):
    """A good request, with changes to its input; None takes a field out."""
    row = {"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0], **changes}
    return {"inputs": [{key: value for key, value in row.items() if value is not None}]}


# Requests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_float_tensors_arrive_with_the_same_bits(binary):
    asked = request.read(*written("input", BATCH, "FP32", binary))
    tensor = request.choose_input(asked, SPECS, "m")
    assert tensor.values.dtype == np.float32 and tensor.values.flags.aligned
    np.testing.assert_array_equal(tensor.values, BATCH)


@pytest.mark.parametrize("padding", range(4))
def test_binary_data_after_json_of_any_length_is_aligned(padding):
    body, length = written("input", BATCH, "FP32", request_id="x" * (padding + 1))
    values = request.choose_input(request.read(body, length), SPECS, "m").values
    assert values.flags.aligned and np.array_equal(values, BATCH)


def test_half_precision_is_binary_alone():
    half = BATCH.astype(np.float16)
    tensor = request.choose_input(request.read(*written("input", half, "FP16")), SPECS, "m")
    assert tensor.values.dtype == np.float16
    np.testing.assert_array_equal(tensor.values, half)
    with pytest.raises(ServiceError, match="FP16, which JSON does not have") as caught:
        read(one_input(datatype="FP16"))
    assert caught.value.status == 400


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_arrive(binary):
    pixels = RANDOM.integers(0, 256, (1, 5, 7, 3), np.uint8)
    tensor = request.choose_input(request.read(*written("pixels", pixels, "UINT8", binary)), SPECS, "m")
    assert tensor.values.dtype == np.uint8
    np.testing.assert_array_equal(tensor.values, pixels)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_bytes_arrive_as_tritonclient_sends_them(images):
    array = np.empty(len(images), object)
    array[:] = images
    assert request.read(*written("image", array, "BYTES")).inputs[0].values == images
    texts = [base64.b64encode(image).decode() for image in images]
    row = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": texts}
    assert read({"inputs": [row]}).inputs[0].values == images


def test_an_axis_of_batches_in_front_of_one_image_each_is_taken():
    array = np.array([[b"a"], [b"bc"]], object)
    tensor = request.choose_input(request.read(*written("image", array, "BYTES")), SPECS, "m")
    assert tensor.values == [b"a", b"bc"] and tensor.shape == (2,)


def test_nested_and_flat_data_are_the_same():
    flat = read(one_input(shape=[2, 2], data=[1, 2.5, 3, 4])).inputs[0].values
    nested = read(one_input(shape=[2, 2], data=[[1, 2.5], [3, 4]])).inputs[0].values
    np.testing.assert_array_equal(flat, np.array([[1, 2.5], [3, 4]], np.float32))
    np.testing.assert_array_equal(flat, nested)


def test_outputs_ids_and_parameters_are_read():
    outputs = [
        triton.InferRequestedOutput("probabilities", binary_data=True, class_count=3),
        triton.InferRequestedOutput("logits", binary_data=False),
    ]
    asked = request.read(*written("input", BATCH, "FP32", outputs=outputs, request_id="7", timeout=1500))
    assert asked.outputs == [request.Output("probabilities", True, 3), request.Output("logits", False, 0)]
    assert asked.id == "7" and asked.timeout_us == 1500
    all_binary = request.read(*written("input", BATCH, "FP32"))
    assert all_binary.binary and all_binary.outputs == []
    default = read({**one_input(), "parameters": {"binary_data_output": True}, "outputs": [{"name": "a"}]})
    assert default.outputs[0].binary, "binary_data_output is for outputs that do not say"


@pytest.mark.parametrize("text", ["7", "a\nb\u2028\x1b[0m", "\ud800"])
def test_an_id_comes_back_as_it_was(text):
    asked = read({**one_input(), "id": text})
    _, body = response.write(asked, [], ("m", "1"), {}, None)
    assert json.loads(body)["id"] == text and b"\n" not in body


PARAMETERS = [
    ({"sequence_id": 5}, "does not have sequences"),
    ({"priority": 1}, "does not have priorities"),
    ({"my_own": 1}, "no parameter 'my_own', only binary_data_output, timeout"),
    ({"timeout": -1}, "'timeout' must be a whole number"),
    ({"binary_data_output": 1}, "must be true or false"),
    (7, "must be an object"),
]


@pytest.mark.parametrize(("parameters", "sentence"), PARAMETERS)
def test_parameters_that_are_not_here_are_refused(parameters, sentence):
    with pytest.raises(ServiceError, match=sentence) as caught:
        read({**one_input(), "parameters": parameters})
    assert caught.value.status == 400


BROKEN = [
    (one_input(shape=[3]), "2 values, but its 'shape' [3] has 3"),
    (one_input(shape=[2, 1], data=[[1.0, 2.0]]), "nested as [1, 2]"),
    (one_input(shape=[-1, 2]), "'shape' of 'input' must be"),
    (one_input(shape=[2**31, 2**31]), "more than 2147483647 values"),
    (one_input(shape=[1] * 9), "at most 8"),
    (one_input(shape=[True, 2]), "'shape' of 'input' must be"),
    (one_input(shape=None), "'shape' of 'input' must be"),
    (one_input(datatype="FP64"), "one of FP32, FP16, UINT8, BYTES"),
    (one_input(data=["a", "b"]), "must be numbers"),
    (one_input(data=[[1.0], [2.0, 3.0]]), "must be numbers"),
    (one_input(data=[1.0, None]), "must be numbers"),
    (one_input(data=[1.0, True]), "must be numbers"),
    (one_input(data=[1.0, [2.0]]), "must be numbers"),
    (one_input(data=[[[[[[[[[1.0, 2.0]]]]]]]]]), "must be numbers"),
    (one_input(data="12"), "must be a list"),
    (one_input(data=None), "must be a list"),
    (one_input(datatype="UINT8", data=[1, 256]), "from 0 to 255"),
    (one_input(datatype="UINT8", data=[1, 1.5]), "from 0 to 255"),
    (one_input(datatype="BYTES", data=["a", "b"]), "not base64"),
    (one_input(name=7), "'name' of an input must be text"),
    (one_input(name="x" * 257), "1 to 256 characters"),
    (one_input(parameters={"shared_memory_region": "r"}), "does not have shared memory"),
    (one_input(parameters={"binary_data_size": 8}), "both 'data' and 'binary_data_size'"),
    (one_input(data=None, parameters={"binary_data_size": 8}), "Inference-Header-Content-Length"),
    ({"inputs": [7]}, "list of at most 16 objects"),
    ({"inputs": {}}, "list of at most 16 objects"),
    ({}, "'inputs' must be a list"),
    ({**one_input(), "outputs": [{"name": "a"}, {"name": "a"}]}, "asked for twice"),
    ({**one_input(), "outputs": [{}]}, "'name' of an output"),
    ({**one_input(), "outputs": [{"name": "a", "parameters": {"classification": -1}}]}, "'classification' must be"),
    ({**one_input(), "outputs": [{"name": "a", "parameters": {"classification": True}}]}, "'classification' must be"),
    ({**one_input(), "id": 5}, "'id' must be text"),
    ([], "must be a JSON object"),
]


@pytest.mark.parametrize(("document", "sentence"), BROKEN, ids=range(len(BROKEN)))
def test_broken_requests_get_one_sentence(document, sentence):
    with pytest.raises(ServiceError) as caught:
        read(document)
    assert sentence in str(caught.value) and caught.value.status == 400


def test_a_long_text_among_the_numbers_does_not_multiply():
    data = ["x" * 100_000] + ["a"] * 5000  # as an array of texts 2 GB
    tracemalloc.start()
    try:
        with pytest.raises(ServiceError, match="must be numbers"):
            tensors.from_json("input", "FP32", (5001,), data)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("datatype", "shape", "size"), [("BYTES", [1, 1 << 20], 4 << 20), ("UINT8", [1 << 20, 1, 1, 3], 3 << 20)]
)
def test_a_million_tiny_images_are_refused_before_they_are_objects(datatype, shape, size):
    row = {"name": "image", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [row]}).encode()
    body = head + bytes(size)
    tracemalloc.start()
    try:
        with pytest.raises(ServiceError, match="has 1048576 images, more than 65536; send several requests") as caught:
            request.read(body, len(head))
        assert tracemalloc.get_traced_memory()[1] < 1e6 and caught.value.status == 413
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"inputs": NaN}', b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_gets_one_sentence(body):
    with pytest.raises(ServiceError, match="JSON") as caught:
        request.read(body, None)
    assert caught.value.status == 400 and len(str(caught.value)) < 200


def test_json_has_a_limit_that_points_to_binary_data(monkeypatch):
    monkeypatch.setattr(request, "MAX_JSON_PARTS", 10)
    with pytest.raises(ServiceError, match="more than 10 parts; large tensors go as binary data"):
        read(one_input(shape=[20], data=[0] * 20))
    monkeypatch.setattr(request, "MAX_JSON_BYTES", 10)
    with pytest.raises(ServiceError, match="more than 10; send tensors as binary data"):
        read(one_input())


@pytest.mark.parametrize("shift", [-1, 1, 10**6])
def test_a_wrong_length_of_the_json_is_an_error(shift):
    body, length = written("input", BATCH, "FP32")
    with pytest.raises(ServiceError) as caught:
        request.read(body, length + shift)
    assert caught.value.status == 400


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_binary_requests_give_a_request_or_one_sentence(data):
    array = np.array([b"abc", b"", b"x" * 30], object)
    body, length = written("image", array, "BYTES")
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        asked = request.read(cut, length)
        request.choose_input(asked, SPECS, "m")
    except UserError as error:
        assert isinstance(error, ServiceError) and error.status in (400, 422) and "\n" not in str(error)
        assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("prefixes", "sentence"),
    [([5], "5 bytes by its prefix, but 2 follow"), ([1], "must be 1 elements"), ([2**32 - 1], "but 2 follow")],
)
def test_wrong_prefixes_of_bytes_are_refused(prefixes, sentence):
    data = b"".join(struct.pack("<I", prefix) for prefix in prefixes) + b"ab"
    with pytest.raises(ServiceError, match=sentence):
        tensors.from_binary("image", "BYTES", (1,), memoryview(data))


FITTING = [
    ("logits", "FP32", (1, 2), "no input 'logits', only input, image, pixels", 400),
    ("input", "UINT8", (1, 3, 4, 4), "is FP32, not UINT8", 400),
    ("input", "FP32", (1, 3, 4, 5), "has the shape [any, 3, 4, 4], not [1, 3, 4, 5]", 422),
    ("input", "FP32", (3, 4, 4), "has the shape [any, 3, 4, 4]", 422),
    ("input", "FP32", (0, 3, 4, 4), "is empty", 422),
    ("pixels", "UINT8", (1, 0, 4, 3), "is empty", 422),
    ("pixels", "UINT8", (1, 4, 4, 4), "has the shape [any, any, any, 3]", 422),
]


@pytest.mark.parametrize(("name", "datatype", "shape", "sentence", "status"), FITTING)
def test_inputs_that_do_not_fit_the_model(name, datatype, shape, sentence, status):
    values = np.zeros(shape, tensors.DTYPES[datatype])
    asked = request.InferRequest("", [tensors.Tensor(name, datatype, shape, values)], [], False, None)
    with pytest.raises(ServiceError) as caught:
        request.choose_input(asked, SPECS, "m")
    assert sentence in str(caught.value) and caught.value.status == status


@pytest.mark.parametrize("count", [0, 2])
def test_a_request_has_one_input(count):
    asked = read({"inputs": one_input()["inputs"] * count})
    with pytest.raises(ServiceError, match=f"exactly one input, one of input, image, pixels; this has {count}"):
        request.choose_input(asked, SPECS, "m")


# Answers --------------------------------------------------------------------------------------------------------------


def answered(outputs, results, labels=None, id_=""):
    """What tritonclient reads from the answer."""
    asked = request.InferRequest(id_, [], outputs, False, None)
    length, body = response.write(asked, outputs, ("m", "1"), results, labels)
    assert (length is None) == (not any(output.binary for output in outputs))
    return triton.InferenceServerClient.parse_response_body(body, header_length=length)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_reads_the_answer(binary):
    results = {"logits": BATCH.reshape(2, -1), "conv5": BATCH}
    outputs = [request.Output("conv5", binary), request.Output("logits", True)]
    read_back = answered(outputs, results, id_="a-1")
    for name, values in results.items():
        np.testing.assert_array_equal(read_back.as_numpy(name), values)
    document = read_back.get_response()
    assert document["id"] == "a-1" and document["model_name"] == "m" and document["model_version"] == "1"


@pytest.mark.parametrize("binary", [True, False])
def test_classification_is_written_as_triton_does(binary):
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.5]], np.float32)
    read_back = answered([request.Output("probabilities", binary, 2)], {"probabilities": scores}, ["a", "b", "c"])
    rows = read_back.as_numpy("probabilities")
    expected = [["0.700000:1:b", "0.200000:2:c"], ["0.500000:0:a", "0.500000:2:c"]]
    assert [[getattr(cell, "decode", lambda cell=cell: cell)() for cell in row] for row in rows] == expected
    assert read_back.get_output("probabilities")["datatype"] == "BYTES"


def test_classification_of_a_layer_has_no_labels_and_at_most_its_values():
    read_back = answered([request.Output("fc7", False, 9)], {"fc7": np.array([[3, 4]], np.float32)}, ["a", "b"])
    assert read_back.as_numpy("fc7").tolist() == [["4.000000:1", "3.000000:0"]]


def test_bytes_are_written_as_tritonclient_serializes_them():
    elements = [b"", b"abc", "ä".encode()]
    expected = serialize_byte_tensor(np.array(elements, object)).item()
    assert tensors.to_binary(elements) == expected


def test_values_that_json_lacks_are_refused_there_and_kept_in_binary():
    values = {"logits": np.array([[np.nan, 1, np.inf]], np.float32)}
    np.testing.assert_array_equal(
        answered([request.Output("logits", True)], values).as_numpy("logits"), values["logits"]
    )
    with pytest.raises(ServiceError, match="which JSON lacks; ask for it as binary data"):
        answered([request.Output("logits", False)], values)


@given(st.lists(st.floats(width=32), min_size=1, max_size=12), st.integers(1, 14))
@settings(max_examples=60, deadline=None)
def test_the_largest_values_come_first_and_ties_by_index(values, count):
    row = np.array(values, np.float32)
    ranked = sorted(range(len(row)), key=lambda i: (not np.isnan(row[i]), -row[i] if not np.isnan(row[i]) else 0, i))
    assert tensors.largest(row[None], count)[0].tolist() == ranked[:count]


# Descriptions ---------------------------------------------------------------------------------------------------------


def test_descriptions_have_the_fields_of_the_protocol():
    described = metadata.model("m", "1", SPECS, [TensorSpec("logits", "FP32", (-1, 10))])
    assert set(described) == {"name", "versions", "platform", "inputs", "outputs"}
    assert described["inputs"][0] == {"name": "input", "datatype": "FP32", "shape": [-1, 3, 4, 4]}
    assert set(metadata.server()) == {"name", "version", "extensions"}
    config = metadata.config("m", SPECS, [TensorSpec("logits", "FP32", (-1, 10))], 8, 100)
    assert [row["dims"] for row in config["input"]] == [[3, 4, 4], [1], [-1, -1, 3]]
    assert config["max_batch_size"] == 8
