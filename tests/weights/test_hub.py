"""Weights called hf:OWNER/NAME, by huggingface_hub from an imitation of the Hub (tests/support/imitated_hub.py)."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import pytest

from fastalex import AlexNet
from fastalex.errors import UserError
from fastalex.weights import initial
from fastalex.weights.hub import choice, names
from fastalex.weights.readers import npz, safetensors
from tests.support import imitated_hub, servers

WORKER = """
import json, sys, warnings
from fastalex import AlexNet, UserError
for line in sys.stdin:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            from fastalex.weights import registry
            path = registry.locate(line.strip())
            net = AlexNet(weights=path, device="cpu")
            said = {"path": path, "variant": net.variant.name, "labels": net.labels, "error": ""}
        except UserError as error:
            said = {"error": str(error)}
    print(json.dumps(dict(said, warnings=[str(one.message) for one in caught])), flush=True)
"""
LETTERS = list("abcdefghij")
ID2LABEL = json.dumps({"id2label": {str(number): name for number, name in enumerate(LETTERS)}}).encode()


def digits(writer=safetensors, seed=0):
    stream = io.BytesIO()
    writer.write(stream, initial.random_weights("alexnet-digits", seed=seed), {})
    return stream.getvalue()


NET = digits()


@pytest.fixture(scope="module")
def hub():
    with servers.serving(imitated_hub.made()) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def start(hub, folder):
    """Start a process that says what names mean to it, which has its own variables."""
    running = []

    def started(**variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment = dict(
            kept,
            HF_ENDPOINT=hub.url,
            HF_HOME=str(folder / "hf"),
            FASTALEX_WEIGHTS_DIR=str(folder / "own"),
            no_proxy="127.0.0.1,localhost",
            **variables,
        )
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        worker = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, **pipes)
        running.append(worker)

        def ask(name):
            worker.stdin.write(name.encode() + b"\n")
            worker.stdin.flush()
            return json.loads(worker.stdout.readline())

        return ask

    yield started
    for worker in running:
        _, errors = worker.communicate()
        assert errors == b"", "huggingface_hub has the last word"


@pytest.fixture(scope="module")
def ask(start):
    return start()


@pytest.fixture
def repository(hub):
    """Add a repository with these files."""

    def added(name, files, *revisions, **options):
        made = hub.repositories.setdefault(name, imitated_hub.Repository(**options))
        made.commit(files, *(revisions or ("main",)))
        return made

    yield added
    hub.fault, hub.cuts = "", 0
    hub.stated.clear()


def refusal(said):
    assert said["error"] and "\n" not in said["error"] and not said["warnings"], said
    return said["error"]


def place(said):
    return said["path"].split("/snapshots/")[1].split("/", 1)


@pytest.mark.slow
def test_a_file_with_the_names_of_its_classes(repository, hub, ask):
    made = repository("robot/net", {"model.safetensors": NET, "config.json": ID2LABEL, "README.md": b"# net"})
    said = ask("hf:robot/net")
    assert (said["error"], said["warnings"]) == ("", [])
    assert (said["variant"], said["labels"]) == ("alexnet-digits", LETTERS)
    assert place(said) == [made.revisions["main"], "model.safetensors"]
    hub.requests.clear()
    assert ask("hf:robot/net") == said
    assert not [path for _, path, _ in hub.requests if path.startswith("/cdn/")]


@pytest.mark.slow
def test_a_revision_and_a_file(repository, ask):
    made = repository("robot/two", {"a/net.npz": digits(npz), "b.safetensors": NET}, "main", "v1")
    made.commit({"b.safetensors": digits(seed=2)}, "main", "feature/x")
    assert place(ask("hf:robot/two@v1/a/net.npz")) == [made.revisions["v1"], "a/net.npz"]
    assert place(ask("hf:robot/two@v1")) == [made.revisions["v1"], "b.safetensors"]
    assert place(ask("hf:robot/two")) == [made.revisions["main"], "b.safetensors"]
    assert place(ask("hf:robot/two@feature%2Fx"))[0] == made.revisions["main"]
    assert "robot/two has no revision 'v9'" in refusal(ask("hf:robot/two@v9"))
    assert "hf:robot/two has no file c.npz (it has b.safetensors)" in refusal(ask("hf:robot/two/c.npz"))


@pytest.mark.slow
def test_what_may_not_be_read(repository, start, ask, hub):
    repository("robot/private", {"model.safetensors": NET}, private=True)
    repository("robot/gated", {"model.safetensors": NET}, gated=True)
    for name in ("robot/private", "robot/none"):
        assert re.match(f"there is no repository {name} .* without a token: .*HF_TOKEN", refusal(ask(f"hf:{name}")))
    assert "is gated: ask for access" in refusal(ask("hf:robot/gated"))
    known = start(HF_TOKEN=imitated_hub.TOKEN)
    assert known("hf:robot/private")["error"] == known("hf:robot/gated")["error"] == ""
    assert "with this token" in refusal(known("hf:robot/none"))
    elsewhere = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert elsewhere and not any("authorization" in map(str.lower, headers) for headers in elsewhere)


@pytest.mark.slow
def test_a_wrong_token(repository, start):
    repository("robot/net", {"model.safetensors": NET})
    assert "does not accept the token of HF_TOKEN" in refusal(start(HF_TOKEN="hf_wrong")("hf:robot/net"))


@pytest.mark.slow
def test_a_broken_download(repository, hub, ask):
    repository("robot/cut", {"model.safetensors": digits(seed=3)})
    hub.cuts = 100
    assert "hf:robot/cut cannot be downloaded" in refusal(ask("hf:robot/cut"))
    hub.cuts = 0
    assert ask("hf:robot/cut")["error"] == ""


@pytest.mark.slow
def test_the_data_of_an_onnx_file_and_a_large_config(repository, hub, ask):
    files = {"m.onnx": b"\x08\x07", "m.onnx.data": NET, "config.json": b" " * (2 << 20), "other.data": b"x"}
    repository("robot/onnx", files)
    hub.fault, hub.requests[:] = "other bytes", []
    assert "does not have the sha256" in refusal(ask("hf:robot/onnx"))
    hub.fault = ""
    got = {path.rsplit("/", 1)[1] for command, path, _ in hub.requests if command == "HEAD"}
    assert got == {"m.onnx", "m.onnx.data"}


@pytest.mark.slow
def test_other_bytes_of_the_same_size(repository, hub, ask):
    repository("robot/other", {"model.safetensors": digits(seed=4)})
    hub.fault = "other bytes"
    message = refusal(ask("hf:robot/other"))
    blob = re.match(r"(\S+/blobs/[0-9a-f]{64}) does not have the sha256 .*: delete it", message).group(1)
    hub.fault = ""
    assert refusal(ask("hf:robot/other")) == message
    os.unlink(blob)
    assert ask("hf:robot/other")["error"] == ""


@pytest.mark.slow
def test_files_that_are_too_large(repository, hub, ask):
    repository("robot/large", {"huge.safetensors": NET})
    hub.stated["huge.safetensors"] = 3 << 30
    hub.requests.clear()
    assert f"has {3 << 30} bytes, more than the {2 << 30}" in refusal(ask("hf:robot/large"))
    assert len([path for _, path, _ in hub.requests if "/api/models/" in path]) == len(hub.requests) == 1


@pytest.mark.slow
def test_without_a_network_the_cache_is_used(repository, hub, ask, start):
    repository("robot/kept", {"model.safetensors": NET, "config.json": ID2LABEL})
    path = ask("hf:robot/kept")["path"]
    hub.fault = "503"
    said = ask("hf:robot/kept")
    assert (said["path"], said["labels"]) == (path, LETTERS)
    assert re.fullmatch(r"hf:robot/kept: \S+ answers 503; the copy in the cache is used", said["warnings"][0])
    assert re.search(r"answers 503\), and the cache \S+ does not have it.*weights pack", refusal(ask("hf:robot/no")))
    hub.fault = ""
    hub.requests.clear()
    offline = start(HF_HUB_OFFLINE="1")
    assert offline("hf:robot/kept") == dict(said, warnings=[])
    assert "(HF_HUB_OFFLINE is set), and the cache" in refusal(offline("hf:robot/no"))
    assert hub.requests == []


def test_the_package_is_named_if_it_is_missing(monkeypatch, tmp_path):
    from fastalex.weights import registry

    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"hf:robot/net needs .*: pip install 'fastalex\[hub\]'"):
        registry.locate("hf:robot/net")


def test_where_a_path_is_expected_a_name_is_told_where_it_belongs():
    for name in ("hf:robot/net", "hf:robot/net/model.safetensors", "torchvision"):
        with pytest.raises(UserError, match=f"no weights file {name}; from_pretrained takes names of weights$"):
            AlexNet(weights=name)
    with pytest.raises(UserError, match=r"there is no weights file net\.pth$"):
        AlexNet(weights="net.pth")


# Names and choices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:a/b", ("a/b", "main", None)),
        ("hf:a/b@v1.0", ("a/b", "v1.0", None)),
        ("hf:a/b@refs/pr/3/c/d.npz", ("a/b", "refs/pr/3", "c/d.npz")),
        ("hf:a/b@x%2Fy/d.npz", ("a/b", "x/y", "d.npz")),
        ("hf:a-1/b_2.c/d e.npz", ("a-1/b_2.c", "main", "d e.npz")),
    ],
)
def test_names(text, parts):
    name = names.parsed(text)
    assert tuple(name) == parts
    assert names.parsed(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:a", "hf:/b", "hf:a/", "hf:a/b@", "hf:a/b/", "hf:a/b//c", "hf:a/b/../c", "hf:a/b/./c", "hf:a/b\\c"),
        *("hf:a--b/c", "hf:a/b..c", "hf:a/b.git", "hf:-a/b", "hf:a/b.", "hf://a/b", "hf:a/b/\x1b[2J", "hf:a b/c"),
        *("hf:" + "a" * 97 + "/b", "hf:a/b@%2e%2e", "hf:a/b@..%2F..%2Fc", "hf:a/b@%2Fetc", "hf:a/b@v%0A1"),
    ],
)
def test_names_that_are_none(text):
    with pytest.raises(UserError, match="is not the name of a repository: write hf:OWNER/NAME"):
        names.parsed(text)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["README.md", "net.safetensors", "net.pth", "net.onnx"], "net.safetensors"),
        (["a.safetensors", "model.safetensors", "b/model.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin", "optimizer.pt", "rng_state_0.pth"], "pytorch_model.bin"),
        (["net.caffemodel", "deploy.prototxt", "net.zip"], "net.caffemodel"),
        (["a/Net.ONNX", "a/Net.onnx.data"], "a/Net.ONNX"),
    ],
)
def test_the_file_that_is_chosen(files, chosen):
    assert choice.choose(names.parsed("hf:a/b"), files) == chosen


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "has no weights file that fastalex reads .*it has no files"),
        (["a.txt"], r"has no weights file that fastalex reads \(\.safetensors, .*it has a\.txt"),
        (["a.npz", "b.onnx"], "several weights files, name one: hf:a/b@v1/a.npz, hf:a/b@v1/b.onnx"),
        ([f"{number}.safetensors" for number in range(20)], "name one: .* and 12 more"),
    ],
)
def test_no_file_is_chosen(files, sentence):
    with pytest.raises(UserError, match=sentence):
        choice.choose(names.parsed("hf:a/b@v1"), files)


def test_files_that_come_with_the_chosen_one():
    files = ["config.json", "a/config.json", "a/m.onnx", "a/m.onnx.data", "a/m.onnx_data", "m.onnx.data"]
    assert choice.companions("a/m.onnx", files, "config.json") == ["a/config.json", "a/m.onnx.data", "a/m.onnx_data"]
    assert choice.companions("a.npz", files, "config.json") == ["config.json"]
