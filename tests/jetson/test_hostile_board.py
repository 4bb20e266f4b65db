"""A board that answers with anything: one line here, bounded, and no file of this machine leaves it by a link."""

import copy
import json
import os
import stat

import pytest

from fastnas.jetson import sidecar
from fastnas.jetson.bench import remote, report
from fastnas.jetson.bench.measure import STAGES, Settings, Workload, summarise
from fastnas.jetson.checks import LINE_BYTES
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import parse_host


def a_report():
    """What a board sends after two passes of one network."""
    row = {
        "name": "toy", "precision": "fp32", "size": [32, 64], "trained": False,
        "engine": {"engine": "onnxruntime", "version": "1.10.0", "provider": "CPUExecutionProvider"},
        "ms": {stage: summarise([1.0, 2.0]) for stage in STAGES},
        "fps": {"inference": 600.0, "end_to_end": 500.0},
        "sensors": {"seconds": 0.1, "frames": 2, "power_w": 5.0, "power_w_max": 6.0, "hottest": "GPU-therm"},
        "reasons": ["2 passes instead of 100"],
        "samples": {stage: [1.0, 2.0] for stage in STAGES},
        "readings": [{"seconds": 0.0}],
    }  # fmt: skip
    machine = {"module": "NVIDIA Jetson TX2", "cores": 6, "absent_sensors": ["power"]}
    return report.make_report(machine, "a board", {"passes": 2}, [row])


def changed(path, value):
    """The report with one place changed; the value `del` removes it."""
    values = copy.deepcopy(a_report())
    place = values
    for key in path[:-1]:
        place = place[key]
    if value == "del":
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return values


def test_a_report_is_taken_and_shown(tmp_path):
    values = report.check_report(json.loads(json.dumps(a_report())), "it")
    assert values == a_report()
    assert "5.0 W, at most 6.0" in report.to_table(values)
    assert "GPU-therm" not in report.to_table(values)  # a zone without its temperature
    report.save(values, str(tmp_path / "bench.json"), print)


ROW = ["rows", 0]


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["title"], "del", "title is missing"),
        (["title"], "a\x1b]0;b\x07", "title must be text without control characters"),
        (["machine", "module"], ["x"], "machine.module must be text, not"),
        (["machine", "cores"], "6", "machine.cores must be a whole number"),
        (["machine", "absent_sensors"], "power", "absent_sensors must be a list"),
        (["rows"], [], "rows is empty"),
        (["rows"], {}, "rows must be a list"),
        (["rows"], [1] * 10001, "rows must have 1 to 10000 items"),
        (ROW, 7, r"rows\[0\] must be an object, not 7"),
        (ROW + ["name"], "../../x", "name must be a name without /"),
        (ROW + ["name"], '=HYPERLINK("http://x")', "name must be a name"),
        (ROW + ["precision"], "fp8", "precision must be one of fp32"),
        (ROW + ["trained"], 1, "trained must be true or false"),
        (ROW + ["size"], [2**40, 1], r"size\[0\] must be a whole number from 1 to 16384"),
        (ROW + ["size"], [0, 1], r"size\[0\] must be a whole number from 1 to 16384"),
        (ROW + ["engine"], "x", "engine must be an object"),
        (ROW + ["engine", "engine"], None, "engine.engine must be text"),
        (ROW + ["engine", "provider"], 5, "engine.provider must be text"),
        (ROW + ["ms"], {}, "ms is empty"),
        (ROW + ["ms"], {"x": {}}, "'x' is no stage"),
        (ROW + ["ms", "compute"], "del", "ms.compute is missing"),
        (ROW + ["ms", "compute", "median"], 0, "compute.median must be a number from 1e-06"),
        (ROW + ["ms", "compute", "median"], float("nan"), "compute.median must be a number from"),
        (ROW + ["ms", "compute", "p99"], "1", "compute.p99 must be a number, not '1'"),
        (ROW + ["ms", "end_to_end", "std"], -1, "end_to_end.std must be a number from 0"),
        (ROW + ["ms", "compute", "mean"], 10**400, "compute.mean must be a number from"),
        (ROW + ["fps", "inference"], "del", "fps.inference is missing"),
        (ROW + ["sensors", "power_w"], "5", "sensors.power_w must be a number"),
        (ROW + ["sensors", "hottest"], "a\nb", "sensors.hottest must be text without control characters"),
        (ROW + ["reasons"], ["x"] * 101, "reasons must have 0 to 100 items"),
        (ROW + ["reasons"], [3], r"reasons\[0\] must be text"),
        (ROW + ["samples", "compute"], [1.0, "x"], "'compute' must be numbers"),
        (ROW + ["readings"], [1], r"readings\[0\] must be an object"),
    ],
)
def test_a_wrong_report_is_one_line_with_the_place_and_the_limit(path, value, text):
    with pytest.raises(JetsonError, match=text) as caught:
        report.check_report(changed(path, value), "the report of board")
    assert str(caught.value).startswith("the report of board")
    assert str(caught.value).isprintable()


def test_a_title_is_no_formula(tmp_path):
    pytest.importorskip("matplotlib")
    values = a_report()
    values["title"] = r"a board $\nonsense{"
    other = copy.deepcopy(values["rows"][0])
    other["size"], other["name"] = [64, 64], r"toy$\frac$"
    values["rows"].append(other)
    assert len(report.save(values, str(tmp_path / "bench.json"), print)) == 3


def test_a_report_is_read_through_no_link_out_of_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    report.save(a_report(), str(tmp_path / "bench.json"), print)
    os.symlink(str(tmp_path / "bench.json"), str(tmp_path / "latest.json"))
    assert report.read_report(str(tmp_path / "latest.json")) == a_report()
    os.symlink(str(tmp_path / "bench.json"), str(tmp_path / "a" / "bench.json"))
    with pytest.raises(JetsonError, match="bench.json is a link that leads out of"):
        report.read_report(str(tmp_path / "a" / "bench.json"))


@pytest.fixture
def board(tmp_path, monkeypatch):
    """`ssh` as a program of this test: `answer` is what the board prints for the report, `say` while it measures.

    It ends when it is told to, as ssh does: a part must leave nothing running behind itself.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    script = '#!/bin/sh\nfor last; do :; done\ncase "$last" in\n'
    parts = {"cat report-": "answer", "measure": "say", "sha256sum": "listing"}
    script += "".join('*"{}"*) exec sh "{{0}}/{}";;\n'.format(*part) for part in parts.items())
    script += "*tar*) cat > {0}/sent.tar;;\nesac\n"
    program = folder / "ssh"
    program.write_text(script.format(folder))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in ("answer", "say", "listing"):
        (folder / name).write_text("true\n")
    (folder / "report.json").write_text(json.dumps(a_report()))
    (folder / "answer").write_text("cat {}/report.json\n".format(folder))
    monkeypatch.setenv("PATH", "{}:{}".format(folder, os.environ["PATH"]))
    return folder


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"\x1a\x07a graph")  # the name of a version, in protobuf
    file = sidecar.describe_file(str(folder), "model.onnx", "fp32", ("onnxruntime",))
    task = {"kind": "depth", "minimum": 0.5, "maximum": 10.0}
    image = sidecar.Input("image", "NCHW", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    sidecar.save(str(folder), sidecar.Sidecar("toy", image, (sidecar.Output("out", task, "depth", 4),), (file,)))
    return sidecar.load(str(folder))


def ask(artifact, log=None, images=None):
    work = [Workload(artifact, (32, 64), "fp32")]
    return remote.measure_there("board", 22, work, Settings(), False, images, log or (lambda line: None))


def test_an_honest_board(board, artifact):
    assert ask(artifact) == a_report()
    assert b"a graph" in (board / "sent.tar").read_bytes()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("echo '{'", "cannot read the report of board: Expecting property name"),
        ("printf '\\377'", "cannot read the report of board: 'utf-8' codec"),
        ("yes [ | head -c 100000 | tr -d '\\n'", "the report of board: it is nested more than 32 levels"),
        ("echo NaN", "the report of board: it holds NaN"),
        ("echo 5", "the report of board must be an object, not 5"),
        ("true", "cannot read the report of board: Expecting value"),
        ("exit 3", "board: exit 3"),
        ("printf 'a\\033[2Jb\\n' >&2; exit 3", r"board: a\\x1b\[2Jb"),
        (
            'x=$(printf %999s); while :; do echo "$x" >&2; echo "$x"; done',
            "board sends more than the 1000000 bytes that are read",
        ),
    ],
)
def test_what_a_board_sends_as_a_report(board, artifact, monkeypatch, answer, text):
    monkeypatch.setattr(remote, "REPORT_BYTES", 10**6)
    (board / "answer").write_text(answer + "\n")
    with pytest.raises(JetsonError, match=text) as caught:
        ask(artifact)
    assert str(caught.value).isprintable()


def test_a_boards_log_steers_no_terminal_and_is_bounded(board, artifact):
    lines = []
    (board / "say").write_text("printf 'a\\033[2Jb\\377c\\n'; head -c 300000 /dev/zero | tr '\\0' x; echo; echo end\n")
    ask(artifact, lines.append)
    assert "a\\x1b[2Jb\ufffdc" in lines
    assert lines[-1] == "end"
    assert all(line.isprintable() and len(line) <= LINE_BYTES for line in lines)


def test_a_listing_without_end_is_not_read(board, artifact, monkeypatch):
    monkeypatch.setattr(remote, "LISTING_BYTES", 10**6)
    (board / "listing").write_text("yes\n")
    with pytest.raises(JetsonError, match="sends more than the 1000000 bytes"):
        ask(artifact)


def test_no_file_of_this_machine_is_sent_through_a_link(board, artifact, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    images = tmp_path / "images"
    images.mkdir()
    os.symlink(str(secret), str(images / "a.png"))
    with pytest.raises(JetsonError, match="a.png is a link that leads out of"):
        ask(artifact, images=str(images))
    path = os.path.join(artifact.folder, "model.onnx")
    os.unlink(path)
    os.symlink(str(secret), path)
    with pytest.raises(JetsonError, match="model.onnx is a link that leads out of"):
        ask(artifact)
    os.unlink(path)
    with open(path, "w") as file:
        file.write("secret")
    with pytest.raises(JetsonError, match="is not the file that was exported"):
        ask(artifact)
    assert not (board / "sent.tar").exists()


@pytest.mark.parametrize(
    "text",
    ["", " ", "-oProxyCommand=x", "me@-oProxyCommand=x", "a b", "a\nb", "a\0", "a;b", "$(x)", "`x`", "@a", "a@", "a\tb"]
    + ["a|b", "a&b", "a'b", 'a"b', "\x1b", "a\ud800", "x" * 256, "\u00a0", "a\\b", "<a>", "{a}"],
)
def test_what_is_no_host(text, artifact):
    with pytest.raises(ValueError, match="is no host; give USER@NAME"):
        parse_host(text)
    with pytest.raises(JetsonError, match="is no host; give USER@NAME") as caught:
        remote.measure_there(text, 22, [Workload(artifact, (32, 64), "fp32")], Settings(), False, None, print)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["board", "me@board", "me@10.0.0.7", "a.b-c_d", "me@fe80::1%eth0", "a@b@jump", "b\u00fc"]
)
def test_what_is_a_host(text):
    assert parse_host(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "5", "[]", "{}", "x", '{"workloads": [[1, 2, 3]]}', '{"workloads": [["a", [1, 2]]]}', '{"workloads": []}'],
)
def test_a_request_that_a_board_does_not_understand_is_one_line(text):
    with pytest.raises(JetsonError, match="the request"):
        remote.read_request(text)


@pytest.mark.parametrize("engine", [{}, {"engine": "x"}, 5, {"engine": "onnxruntime", "threads": "1"}])
def test_settings_of_a_request(engine):
    with pytest.raises(JetsonError, match="settings"):
        Settings.from_dict(dict(Settings().to_dict(), engine=engine))
    assert Settings.from_dict(Settings().to_dict()) == Settings()
