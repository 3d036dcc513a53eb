"""The scripts and notebooks of examples/ run, against the original code paths where those can be installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from fastalex.jetbot import CollisionAvoidance
from tests.support import jetbot_original

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DIGITS = EXAMPLES / "digits"


def run(script, *words, code=0):
    """Output and errors of a script in a process of its own."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    said = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said[1]
    return said


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Output of a script run in this process, which saves importing PyTorch again."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def call(script, *words):
        module = importlib.import_module(script[: -len(".py")])
        assert module.main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """A folder with best_model.pth and pictures/, and the network in PyTorch."""
    folder = tmp_path_factory.mktemp("robot")
    (folder / "pictures").mkdir()
    model = jetbot_original.trained()
    torch.save(model.state_dict(), folder / "best_model.pth")
    for number, frame in enumerate(jetbot_original.frames()):
        cv2.imwrite(str(folder / "pictures" / (f"{number}.png")), frame)
    return folder, model


@pytest.mark.slow
def test_jetbot_against_the_notebooks_code_in_torch(robot, run_here):
    folder, model = robot
    pictures = sorted((folder / "pictures").iterdir())
    out = run_here("jetbot_demo.py", folder / "best_model.pth", *pictures, "--check", "--device", "cpu")
    lines = out.splitlines()
    assert len(lines) == len(pictures)
    for line, frame in zip(lines, jetbot_original.frames()):
        expected = jetbot_original.blocked(model, frame)
        assert ("free" if expected < 0.5 else "blocked") in line.split(",")[0]
        assert f"PyTorch {expected:.4f}" in line
    assert {line.split(": ")[1].split(",")[0] for line in lines} == {"free", "blocked"}


@pytest.mark.slow
def test_thingsvision_against_hooks_in_torch(robot, run_here):
    folder, _ = robot
    out = run_here("thingsvision_demo.py", folder / "best_model.pth", folder / "pictures", "--check")
    assert "features.10: 6 x 256 x 13 x 13" in out and "classifier.4: 6 x 4096" in out
    assert out.count("largest difference from PyTorch") == 2


@pytest.mark.slow
def test_brain_score_against_hooks_in_torch(robot, run_here):
    folder, _ = robot
    pictures = sorted((folder / "pictures").iterdir())[:2]
    out = run_here("brain_score_demo.py", folder / "best_model.pth", *pictures, "--check")
    assert "features.2: 2 x 64 x 27 x 27" in out and "classifier.5: 2 x 4096" in out
    assert out.count("largest difference from PyTorch") == 7


def test_jetson_inference_on_a_video(tmp_path):
    video, out = tmp_path / "in.avi", tmp_path / "out.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for _ in range(4):
        writer.write(cv2.resize(cv2.imread(str(DIGITS / "digit-3-sample-0003.png")), (160, 120)))
    writer.release()
    said, _ = run("jetson_inference_demo.py", video, out, "--model", "digits", "--topK", 2, "--threshold", 0.5)
    lines = said.splitlines()
    assert len(lines) == 4 and all(line.startswith("imagenet:  ") and line.endswith("class #3 (3)") for line in lines)
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 4
    said = run("jetson_inference_demo.py", tmp_path / "none.avi", tmp_path / "x.avi", "--model", "digits", code=2)
    assert "there is no video" in said[1] and not (tmp_path / "x.avi").exists()


@pytest.mark.parametrize(
    "script", ["jetbot_demo.py", "thingsvision_demo.py", "brain_score_demo.py", "jetson_inference_demo.py"]
)
def test_a_mistake_is_one_sentence(script, tmp_path):
    words = [tmp_path / "none.pth", DIGITS / "digit-3-sample-0003.png"]
    if script == "jetson_inference_demo.py":
        words = [DIGITS / "digit-3-sample-0003.png", tmp_path / "out", "--model", tmp_path / "none.pth"]
    _, err = run(script, *words, code=2)
    assert err.startswith(script + ": ") and err.count("\n") == 1


# Notebooks


def execute(name, folder, environment=(), extra=""):
    """Run a notebook's cells in a kernel in ``folder``; return what ``extra``, one more cell, prints."""
    import nbclient
    import nbformat

    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs"), f"{name} is kept without outputs"
    notebook.cells.append(nbformat.v4.new_code_cell(extra))
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
        client.execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return "".join(part.get("text", "") for part in notebook.cells[-1].outputs)


@pytest.mark.slow
def test_the_live_demo_drives_as_the_original_in_torch(robot):
    """Each frame of the camera moves the robot once, as the original's probability says."""
    folder, model = robot
    robots = ROOT / "tests/support/simulated_robot"
    environment = {"PYTHONPATH": str(robots), "SIMULATED_CAMERA": str(folder / "pictures")}
    cells = """
import json
robot.moves.clear()
camera.observe(update, names="value")
camera.play()
camera.unobserve(update, names="value")
print(json.dumps({"moves": robot.moves, "slider": blocked_slider.value, "jpeg": image.value[:2].hex()}))
"""
    found = json.loads(execute("jetbot_live_demo.ipynb", folder, environment, cells))
    chances = [jetbot_original.blocked(model, frame) for frame in jetbot_original.frames()]
    expected = ["forward" if chance < 0.5 else "left" for chance in chances]
    assert found["moves"] == expected
    assert set(expected) == {"forward", "left"}
    assert found["jpeg"] == "ffd8"
    last = CollisionAvoidance(folder / "best_model.pth")(jetbot_original.frames()[-1])
    assert found["slider"] == pytest.approx(last, abs=1e-6)


@pytest.mark.slow
def test_the_notebook_of_layers_runs():
    assert execute("layer_readouts.ipynb", EXAMPLES, extra="print(features.shape, on_disk.shape)").split() == [
        *"(20, 192) (20, 192)".split()
    ]


def test_the_live_demo_is_what_the_original_is():
    """The cells that the original has besides the model and its preprocessing are all there."""
    notebook = json.loads((EXAMPLES / "jetbot_live_demo.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    for line in (
        "camera = Camera.instance(width=224, height=224)",
        "robot = Robot()",
        "robot.forward(0.4)",
        "robot.left(0.4)",
        'camera.observe(update, names="value")',
        'camera.unobserve(update, names="value")',
        "camera_link.unlink()",
        "camera_link.link()",
    ):
        assert line in code
    assert "torch" not in code
