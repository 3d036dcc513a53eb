"""The documents, the build options and the packaging files say what is so."""

from __future__ import annotations

import doctest
import fnmatch
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fastalex.hardware import devices
from fastalex.images.profiles import PROFILES
from fastalex.runtime.precisions import SUPPORTED
from fastalex.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
# Files of which CONTRIBUTING.md says how they are named.
PLACEHOLDERS = {"<family>": "*", "<name>": "*", "<op>": "*", "<format>": "*"}
NOT_THERE_YET = {"csrc/<name>/CMakeLists.txt"}  # an accelerator's folder


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / (name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(document, heading):
    """Rows of the Markdown table below a heading of a document, without its head."""
    section = re.split(rf"^#+ {re.escape(heading)}\n", text(document), flags=re.M)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def project_files():
    """The files of the project: those that git knows or would add, or all of an unpacked source distribution."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


def configure(folder, *definitions):
    """Output and exit code of a CMake configuration that finds no CUDA compiler."""
    cmake = shutil.which("cmake")
    command = [cmake] if cmake else [sys.executable, "-m", "cmake"]
    command += ["-S", str(ROOT), "-B", str(folder), *("-D" + one for one in definitions)]
    without_nvcc = dict(os.environ, CUDACXX="/nowhere/nvcc")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=without_nvcc)
    return " ".join(done.stdout.decode().split()), done.returncode


def test_documents_have_the_precisions_of_each_backend():
    found = {}
    for device, precision, kinds in table("docs/precisions.md", "Precision: fp16, bf16, int8 and int4"):
        found.setdefault(device, {})[precision.strip("`")] = tuple(re.findall(r"`(\w+)`", kinds))
    assert found == {backend: SUPPORTED[backend] for backend in ("cpu", "cuda", "tensorrt")}


def test_readme_has_two_commands():
    reader = tool("readme_command")
    found = reader.commands(text("README.md"))
    assert list(found) == ["install", "test"]
    for command in found.values():
        assert "\n" not in command, "a command is one line, to be copied at once"
        assert command.startswith(
            "sudo apt-get update && sudo apt-get install -y build-essential python3-dev python3-venv"
        )
        assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0
        for word in re.findall(r"(?:[\w.]+/)+[\w*.]+\.(?:py|png)|constraints\.txt", command):
            assert list(ROOT.glob(word)), word
    assert "torch" not in found["install"]
    assert "[test]" not in found["install"]
    with pytest.raises(ValueError, match="twice"):
        reader.commands(text("README.md") * 2)


def test_the_tool_prints_a_command(capsys):
    reader = tool("readme_command")
    assert reader.main(["test"]) == 0
    assert capsys.readouterr().out.rstrip("\n") in text("README.md").splitlines()
    assert reader.main(["tests"]) == 2
    assert "install, test" in capsys.readouterr().err


def test_ci_takes_the_commands_from_the_readme():
    ci = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / ".ci").rglob("*.sh")))
    for name in tool("readme_command").commands(text("README.md")):
        assert f"readme_command {name}" in ci
    assert "classify --weights digits examples" not in ci
    for path in (ROOT / ".ci" / "run", ROOT / ".ci" / "lib.sh", *(ROOT / ".ci" / "steps").iterdir()):
        assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
        assert path.name == "lib.sh" or os.access(str(path), os.X_OK)


def test_readme_is_short():
    assert len(text("README.md").splitlines()) <= 120


def test_readme_code_runs():
    code = text("README.md").split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=str(ROOT), stdout=subprocess.PIPE, check=True)
    answer, shape = done.stdout.decode().splitlines()
    assert "label='3'" in answer.split("Prediction")[1]
    layer = next(layer for layer in VARIANTS["alexnet-digits"].layers() if layer.name == "conv5")
    assert shape == str((1, *layer.out_shape))


def test_the_example_of_the_package_runs(monkeypatch):
    source = text("python/fastalex/__init__.py")
    example = doctest.DocTestParser().get_doctest(source.split('"""')[1], {}, "fastalex", None, 0)
    assert example.examples
    monkeypatch.chdir(ROOT)
    assert doctest.DocTestRunner().run(example).failed == 0


def test_no_speed_is_claimed_of_what_was_not_measured():
    """The first words of the package, of the index and of README name no device without a figure."""
    first = [text("python/fastalex/__init__.py").split("\n")[0], text("README.md").split("\n")[2]]
    first += re.findall('^description = "(.*)"$', text("pyproject.toml"), re.M)
    assert len(first) == 3
    for name, device in devices.load_all().items():
        if not list((ROOT / "benchmarks" / "results" / name).glob("*.json")):
            words = set(re.findall(r"\w+", device.title)) - {"NVIDIA", "and"}
            assert words, name
            assert not [line for line in first if words & set(re.findall(r"\w+", line))], name


def test_readme_names_every_device():
    cells = [row[0] for row in table("README.md", "What is measured") if "cpu" not in row[1]]
    named = sorted(re.findall(r"`(\w+)`", " ".join(cells)))
    assert named == sorted(path.stem for path in (ROOT / "devices").glob("*.toml"))


def test_readme_says_measured_where_there_is_a_result():
    isas = set()
    results = ROOT / "benchmarks" / "results"
    for path in [*(results / "cpu").glob("*.json"), *(results / "peers").glob("*.json")]:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not record["quick"]:
            isas.add(record["machine"]["isa"])
    names = {"x86-64-v2": "v2", "x86-64-v3": "v3", "x86-64-v4": "v4", "aarch64": "neon"}
    names.update({f"x86-64-{isa}": isa for isa in ("v3vnni", "v4vnni", "v4bf16", "v4amx")})
    rows = table("README.md", "What is measured")
    assert {row[3] for row in rows} <= {"yes", "no"}
    said = {names[row[0].split()[0]] for row in rows if row[1] == "cpu" and row[3] == "yes"}
    assert said == isas, "README's table and benchmarks/results differ"
    for row in rows:
        for device in re.findall(r"`(\w+)`", row[0]):
            assert (row[3] == "yes") == bool(list((ROOT / "benchmarks" / "results" / device).glob("*.json")))


def test_documents_describe_every_variant():
    rows = {row[0].strip("`"): row for row in table("docs/variants.md", "Networks of the AlexNet family")}
    assert list(rows) == list(VARIANTS)
    for name, row in rows.items():
        variant = VARIANTS[name]
        assert row[1] == str(variant.input_size)
        assert row[3] == f"`{variant.profile}`"
        if variant.lrn is None:
            assert row[2] == "none"
            continue
        assert row[2].startswith(f"k={variant.lrn.k:g}")
        if variant.columns > 1:
            assert ("across" in row[2]) == variant.lrn.crosses_columns


def test_documents_list_every_profile():
    listed = text("docs/images.md").split("Preprocessing profiles: ")[1].split(". ")[0]
    assert re.findall(r"`([\w-]+)`", listed) == list(PROFILES)


DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "NOTICE"]
DOCUMENTS += [
    path.relative_to(ROOT).as_posix()
    for path in project_files()
    if path.match("docs/*.md") or path.match("docs/*/*.md")
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document):
    folders = r"csrc|python|cmake|devices|tests|benchmarks|examples|tools|cuda_emulator|\.ci"
    pattern = rf"(?:^|[\s`]|(?<!\])\()((?:{folders})/[\w./<>*-]*[\w>*/])"  # but links, which are checked as such
    names = set(re.findall(pattern, text(document))) - NOT_THERE_YET
    for name in names:
        wanted = name
        for placeholder, star in PLACEHOLDERS.items():
            wanted = wanted.replace(placeholder, star)
        assert list(ROOT.glob(wanted.rstrip("/"))), f"{document} names {name}, which is not there"
    assert names or document.startswith("docs/") or document == "CHANGELOG.md"


def test_links_lead_somewhere():
    for document in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)]+)\)", text(document)):
            assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        ("FASTALEX_CUDA=ON", "FASTALEX_CUDA=ON, but no CUDA compiler was found (install the CUDA toolkit"),
        ("FASTALEX_TENSORRT=ON", "FASTALEX_TENSORRT=ON, but "),
        ("FASTALEX_TENSORRT=yes", "FASTALEX_TENSORRT is 'yes': say AUTO, ON or OFF"),
        ("FASTALEX_CUDA=maybe", "FASTALEX_CUDA is 'maybe': say AUTO, ON or OFF"),
    ],
)
def test_what_cannot_be_built_is_refused(definition, sentence, tmp_path):
    said, code = configure(tmp_path, definition)
    assert code != 0
    assert sentence in said


def tarball(folder, version, macro="NV_TENSORRT_%s"):
    """An unpacked TensorRT, as far as the build looks at it."""
    (folder / "include").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "include" / "NvInfer.h").write_text("")
    (folder / "lib" / ("libnvinfer.so." + version.split(".")[0])).write_text("")
    numbers = zip(("MAJOR", "MINOR", "PATCH"), version.split("."))
    lines = [f"#define {macro % part} {number} //!< number" for part, number in numbers]
    (folder / "include" / "NvInferVersion.h").write_text("\n".join(lines))
    return folder


def test_tensorrt_without_headers_says_where_to_get_them(tmp_path):
    said, code = configure(tmp_path / "build", "FASTALEX_TENSORRT=ON", f"TENSORRT_ROOT={tmp_path}")
    assert code != 0
    assert "FASTALEX_TENSORRT=ON, but TensorRT's headers were not found (NvInfer.h)" in said
    for source in ("sudo apt-get install tensorrt", "developer.nvidia.com/tensorrt", "TENSORRT_INCLUDE_DIR"):
        assert source in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "macro"), [("8.2.1", "NV_TENSORRT_%s"), ("10.3.0", "NV_TENSORRT_%s"), ("11.1.0", "TRT_%s_ENTERPRISE")]
)
def test_tensorrt_is_found(version, macro, tmp_path):
    root, cuda = tarball(tmp_path / "TensorRT", version, macro), tmp_path / "cuda"
    cuda.mkdir()
    (cuda / "cuda_runtime_api.h").write_text("")
    said, code = configure(tmp_path / "b", f"TENSORRT_ROOT={root}", f"TensorRT_CUDA_INCLUDE_DIR={cuda}")
    assert code == 0, said
    library = root / "lib" / ("libnvinfer.so." + version.split(".")[0])
    assert f"-- TensorRT {version}: headers {root / 'include'}, library {library}" in said
    assert "-- tensorrt off: its plugins run the CUDA library's kernels, and that is off" in said


def test_a_tensorrt_that_nothing_was_written_for_is_refused(tmp_path):
    root = tarball(tmp_path / "TensorRT", "9.3.0")
    said, code = configure(tmp_path / "b", "FASTALEX_TENSORRT=ON", f"TENSORRT_ROOT={root}")
    assert code != 0
    assert "has the headers of TensorRT '9.3.0', fastalex builds for 8, 10 and 11" in said


def test_an_unknown_device_is_refused_with_the_known_ones(tmp_path):
    said, code = configure(tmp_path, "FASTALEX_DEVICE=nonsense")
    assert code != 0
    assert "there is no devices/nonsense.toml" in said
    for path in (ROOT / "devices").glob("*.toml"):
        assert path.stem in said.split("there are:")[1]


def test_configuring_prints_what_is_decided(tmp_path):
    said, code = configure(tmp_path, "FASTALEX_DEVICE=tx2", "FASTALEX_TENSORRT=OFF")
    assert code == 0, said
    assert "-- device tx2 " in said
    assert "-- cpu on: " in said
    assert "-- cuda off: no CUDA compiler was found" in said
    assert "-- tensorrt off: FASTALEX_TENSORRT=OFF" in said


def test_licenses_are_installed():
    files = [str(path) for path in metadata.distribution("fastalex").files or ()]
    for name in ("LICENSE", "NOTICE"):
        installed = [one for one in files if fnmatch.fnmatch(one, "fastalex-*.dist-info/*" + name)]
        assert len(installed) == 1, "install the package again: it has no " + name
        assert metadata.distribution("fastalex").locate_file(installed[0]).read_text(encoding="utf-8") == text(name)


def test_version_is_written_alike():
    version = metadata.version("fastalex")
    assert f'version = "{version}"' in text("pyproject.toml")
    assert f'__version__ = "{version}"' in text("python/fastalex/_version.py")
    assert re.search(rf"^## \[{re.escape(version)}\] - (unreleased|\d{{4}}-\d\d-\d\d)$", text("CHANGELOG.md"), re.M)


def test_bundled_data_is_in_the_notice():
    notice = text("NOTICE")
    for path in (ROOT / "python/fastalex/data").iterdir():
        assert "python/fastalex/data/" + path.name in notice, path.name


def test_no_file_keeps_traces_of_a_machine():
    """Absolute paths of somebody's folders, conflict markers, notes to oneself."""
    words = [
        "/" + "work/",
        "/" + "root/",
        "/" + "home/",
        "<" * 7 + " ",
        ">" * 7 + " ",
        "TO" + "DO",
        "FIX" + "ME",
        "XX" + "X",
    ]
    pattern = re.compile("|".join(map(re.escape, words)).encode())
    found = []
    for path in project_files():
        if path.suffix in (".png", ".safetensors") or path.name == "LICENSE":
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert not found
