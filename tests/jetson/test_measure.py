"""Sensors of two generations of boards, statistics and flags of the benchmark, reports, comparison, and the command."""

import csv
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec

import click
import numpy as np
import pytest
from click.testing import CliRunner

from fastnas.jetson import sidecar
from fastnas.jetson.bench import measure, report
from fastnas.jetson.bench import run as bench_run
from fastnas.jetson.bench.sampler import Sampler, summarise_readings
from fastnas.jetson.commands import main
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.errors import JetsonError, Unsupported
from fastnas.jetson.options import RESOLUTION, SWEEP, EngineOptions
from fastnas.jetson.system.machine import Machine
from fastnas.jetson.system.sensors import total_power
from tests.helpers import paths
from tests.helpers.jetson_toys import toy_artifacts
from tests.helpers.waiting import wait_for

MATPLOTLIB = find_spec("matplotlib") is not None


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


def board(folder, name, **changes):
    """A machine whose files are those of a board; a change to None removes a file."""
    with open(os.path.join(paths.FIXTURES, "sysfs_{}.json".format(name)), encoding="utf-8") as file:
        tree = dict(json.load(file), **changes)
    for path, text in tree.items():
        full = os.path.join(str(folder), path)
        if text is not None:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w") as file:
                file.write(text)
    return Machine(str(folder))


def test_a_thor_is_read(tmp_path):
    """JetPack 7: the GPU's clock and the input's power have other names than on all boards before."""
    machine = board(tmp_path, "thor")
    assert (machine.l4t, machine.jetpack, machine.power_mode) == ("39.2.0", "7.2", "120W")
    assert machine.title() == "NVIDIA Jetson AGX Thor Developer Kit, L4T 39.2.0 (JetPack 7.2), 120W"
    reading = machine.sensors.read()
    assert reading["power"] == {"VDD_GPU": pytest.approx(3.104), "VIN": pytest.approx(32.67)}
    assert total_power(reading["power"]) == pytest.approx(32.67)
    assert reading["gpu_mhz"] == 1575
    assert machine.sensors.clocks()["gpu"]["pinned"]
    assert machine.sensors.absent() == []


def test_a_tx2_is_read(tmp_path):
    machine = board(tmp_path, "tx2")
    assert (machine.module, machine.l4t, machine.jetpack) == ("quill", "32.7.1", "4.6.1 to 4.6.6")
    assert machine.power_mode == "MAXP_CORE_ARM"
    reading = machine.sensors.read()
    assert reading["power"] == {
        "VDD_SYS_GPU": 0.152,
        "VDD_SYS_SOC": 0.534,
        "VDD_4V0_WIFI": 0.019,
        "VDD_IN": 3.051,
        "VDD_SYS_CPU": 0.305,
        "VDD_SYS_DDR": 0.727,
    }
    assert total_power(reading["power"]) == 3.051
    assert reading["temperature"]["GPU-therm"] == 34.0
    assert "PMIC-Die" not in reading["temperature"]
    assert reading["gpu_mhz"] == pytest.approx(1134.75)
    assert reading["cpu_mhz"] == pytest.approx(2035.2)
    assert reading["memory_mb"] == pytest.approx((8048356 - 5524452) / 1024)
    assert not machine.sensors.clocks()["gpu"]["pinned"]
    assert machine.sensors.throttle_events() is None
    assert machine.sensors.absent() == []
    assert machine.fingerprint()["fan_pwm"] == "90"


def test_an_orin_is_read(tmp_path):
    machine = board(tmp_path, "orin")
    assert (machine.l4t, machine.jetpack, machine.power_mode) == ("36.4.3", "6.1 or 6.2", "15W")
    power = machine.sensors.power()
    assert set(power) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}
    assert total_power(power) == pytest.approx(5.040 * 0.912)
    assert set(machine.sensors.temperature()) == {"cpu-thermal", "gpu-thermal", "soc0-thermal", "tj-thermal"}
    assert machine.sensors.clocks()["gpu"]["pinned"]
    assert machine.sensors.throttle_events() == 2
    assert machine.swap_mb == 0
    newer = board(tmp_path / "newer", "orin", **{"etc/nv_tegra_release": "# R36 (release), REVISION: 5.0, GCID: 1"})
    assert newer.jetpack == "6.2.2"  # docker/run.sh has an image for it, so doctor must know it


def test_what_is_not_there_is_absent_and_never_zero(tmp_path):
    machine = Machine(str(tmp_path))
    assert machine.sensors.read() == {
        "power": {},
        "temperature": {},
        "gpu_mhz": None,
        "cpu_mhz": None,
        "memory_mb": None,
    }
    assert machine.sensors.absent() == ["power", "temperature", "gpu_mhz", "cpu_mhz", "memory_mb"]
    assert (machine.module, machine.l4t, machine.jetpack, machine.power_mode) == (None, None, None, None)
    with Sampler(machine.sensors, hertz=100) as sampler:
        wait_for(lambda: len(sampler.readings) >= 2, 30)
    assert set(summarise_readings(sampler.readings).values()) == {None}


def test_statistics_are_those_of_numpy_and_clip_nothing():
    found = measure.summarise([1.0] * 99 + [100.0])
    assert found["count"] == 100
    assert found["max"] == 100
    assert found["mean"] == pytest.approx(1.99)
    assert found["std"] == pytest.approx(9.9)
    assert found["cov"] == pytest.approx(9.9 / 1.99)
    assert (found["median"], found["p90"]) == (1, 1)


def row_of(toys, samples, sensors=None):
    row = measure.Result(measure.Workload(sidecar.load(toys["depth"]), (32, 32), "fp32"))
    for stage in measure.STAGES:
        row.samples[stage] = list(samples)
    row.sensors = dict({"seconds": 2.0, "frames": 100}, **(sensors or {}))
    return row


def test_a_steady_result_is_not_flagged_and_an_unsteady_one_is(tmp_path, toys):
    machine, settings = Machine(str(tmp_path)), measure.Settings()
    steady, shaky, short = row_of(toys, [10.0, 10.1] * 50), row_of(toys, [10.0, 14.0] * 50), row_of(toys, [10.0] * 20)
    for row in (steady, shaky, short):
        measure._check(row, settings, machine)
    assert steady.to_dict()["reasons"] == []
    assert shaky.reasons == ["times vary by 17% (more than 5%)"]
    assert short.reasons == ["20 passes instead of 100"]


@pytest.mark.parametrize(("enqueue", "bound"), [(9.1, True), (8.9, False), (None, False)])
def test_a_gpu_that_waits_for_launches_is_told(toys, enqueue, bound):
    row = row_of(toys, [10.0] * 100)
    row.samples["enqueue"] = [] if enqueue is None else [enqueue] * 100
    row.about = {"engine": "tensorrt"}
    values = row.to_dict()
    assert values["bound_by_launches"] is bound
    table = report.to_table(report.make_report({}, "a board", {}, [values]))
    line = (
        "toy-depth fp32 32x32: bound by launches: the host takes 9.10 ms to enqueue what the GPU computes in 10.00 ms"
    )
    assert (line in table) is bound
    (stages,) = [text.split() for text in table.splitlines() if text.startswith("toy-depth fp32 32x32  ")]
    assert stages[6] == ("-" if enqueue is None else "{:.2f}".format(enqueue))


def test_on_a_board_loose_clocks_are_flagged_and_energy_is_counted(tmp_path, toys):
    row = row_of(toys, [10.0] * 100, {"power_w": 7.0, "gpu_mhz_min": 600.0, "gpu_mhz_max": 1134.0})
    measure._check(row, measure.Settings(), board(tmp_path, "tx2"))
    measure._add_energy(row.sensors, idle=3.0)
    assert row.reasons == [
        "clocks are not pinned (gpu, cpu); use --pin-clocks",
        "the GPU's clock moved between 600 and 1134 MHz",
    ]
    assert row.sensors["energy_mj"] == pytest.approx(7.0 * 20)
    assert row.sensors["energy_above_idle_mj"] == pytest.approx(4.0 * 20)


def test_slowing_down_while_running_is_heat(tmp_path, toys):
    row = row_of(toys, np.linspace(10, 13, 300))
    measure._check(row, measure.Settings(seconds=3), Machine(str(tmp_path)))
    assert row.reasons[-1] == "it slowed down by 19% while running: heat"


def test_rounds_go_forth_and_back_and_all_passes_are_kept(toys):
    workloads = [measure.Workload(sidecar.load(toys[kind]), (32, 32), "fp32") for kind in ("depth", "pose")]
    lines = []
    settings = measure.Settings(passes=10, rounds=3, engine=EngineOptions("onnxruntime", threads=1))
    rows = measure.measure(workloads, bench_run.load_images(None), settings, Machine("/none"), lines.append)
    assert [line.split()[2] for line in lines] == [
        "toy-depth", "toy-pose", "toy-pose", "toy-depth", "toy-depth", "toy-pose",
    ]  # fmt: skip
    for row in rows:
        values = row.to_dict()
        assert {len(values["samples"][stage]) for stage in ("pre", "compute", "inference", "post", "end_to_end")} == {
            10
        }
        assert values["samples"]["copy_in"] == []
        assert "copy_in" not in values["ms"]
        for pre, inference, post, whole in zip(
            *(values["samples"][s] for s in ("pre", "inference", "post", "end_to_end"))
        ):
            assert whole >= pre + post > 0
            assert whole >= inference > 0


def test_sensors_are_read_in_every_round_and_hardly_cost_a_pass(toys, tmp_path, monkeypatch):
    """Each round finds the board in another state: mean and highest are of all, not of the last."""
    machine = board(tmp_path, "tx2")
    watts = iter([4.0, 9.0, 5.0] + [6.0] * 100)
    monkeypatch.setattr(measure, "_idle_power", lambda machine: 3.0)
    monkeypatch.setattr(machine.sensors, "power", lambda: {"VDD_IN": next(watts)})
    monkeypatch.setattr(subprocess, "Popen", None)  # files alone are read
    settings = measure.Settings(passes=9, rounds=3, engine=EngineOptions("onnxruntime", threads=1))
    workloads = [measure.Workload(sidecar.load(toys["depth"]), (32, 32), "fp32")]
    (row,) = measure.measure(workloads, bench_run.load_images(None), settings, machine, print)
    seconds = row.sensors["seconds"]
    assert 3 <= len(row.readings) <= 3 + 2 * seconds
    assert row.sensors["frames"] == 9
    assert row.sensors["power_w_max"] == 9.0
    assert row.sensors["power_w"] == pytest.approx(6.0)  # however many there are
    assert (row.sensors["temperature_c"], row.sensors["temperature_c_max"]) == (36.5, 36.5)
    assert row.sensors["gpu_mhz"] == row.sensors["gpu_mhz_min"] == pytest.approx(1134.75)
    places = [reading["seconds"] for reading in row.readings]
    assert places == sorted(places)
    assert places[0] < places[-1] < seconds


def test_what_the_board_cannot_run_is_left_out_and_told(toys, monkeypatch):
    """An artifact with an INT8 file on a TX2: hours of other measurements must not be lost for it."""

    def open_there(artifact, size, precision, *rest):
        if precision == "int8":
            raise Unsupported("NVIDIA Tegra X2 has no INT8 instructions; use --precision fp16")
        return open_engine(artifact, size, precision, *rest)

    monkeypatch.setattr(measure, "open_engine", open_there)
    settings = measure.Settings(passes=4, rounds=2, engine=EngineOptions("onnxruntime"))
    artifact, said = sidecar.load(toys["segmentation"]), []
    workloads = [measure.Workload(artifact, (64, 96), precision) for precision in ("int8", "fp32")]
    rows = measure.measure(workloads, bench_run.load_images(None), settings, Machine("/none"), said.append)
    assert [row.workload.precision for row in rows] == ["fp32"]
    assert len(rows[0].samples["compute"]) == 4
    assert len([line for line in said if "has no INT8" in line]) == 1
    with pytest.raises(Unsupported):
        measure.measure(workloads[:1], bench_run.load_images(None), settings, Machine("/none"), print)


def test_a_nan_in_the_output_is_flagged(toys, monkeypatch):
    monkeypatch.setattr(
        "fastnas.jetson.inference.preprocess.Preprocessor.__call__", lambda self, picture, out: out.fill(np.nan)
    )
    workloads = [measure.Workload(sidecar.load(toys["depth"]), (32, 32), "fp32")]
    settings = measure.Settings(passes=1, engine=EngineOptions("onnxruntime"))
    (row,) = measure.measure(workloads, bench_run.load_images(None), settings, Machine("/none"), print)
    assert "an output holds NaN or infinite values" in row.reasons


def fake_report(factor=1.0, name="arch0", cpu="a CPU"):
    rows = []
    for side in (128, 256, 512):
        samples = [factor * 1e-4 * side * side] * 100
        ms = {"compute": measure.summarise(samples), "end_to_end": measure.summarise(samples)}
        rows.append(
            {
                "name": name, "precision": "fp32", "size": [side, side], "trained": True,
                "engine": {"engine": "onnxruntime", "provider": "CPU"}, "ms": ms,
                "fps": {"inference": 1.0, "end_to_end": 1.0}, "sensors": {}, "reasons": [],
                "samples": {"compute": samples}, "readings": [],
            }
        )  # fmt: skip
    return report.make_report({"cpu": cpu, "absent_sensors": ["power"]}, "a machine", {}, rows)


def test_a_report_is_written_whole_and_read_back(tmp_path):
    path = str(tmp_path / "r" / "bench.json")
    written = report.save(fake_report(), path, print)
    assert [os.path.basename(name) for name in written] == ["bench.json", "bench.csv"] + ["bench.svg"] * MATPLOTLIB
    assert report.read_report(path) == fake_report()
    with open(written[1]) as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6
    assert float(lines[0]["mean"]) == pytest.approx(1.6384)


@pytest.mark.skipif(not MATPLOTLIB, reason="draws with matplotlib, where it is installed")
def test_a_sweep_is_plotted_where_there_is_matplotlib(tmp_path, monkeypatch):
    path = str(tmp_path / "bench.json")
    report.save(fake_report(), path, print)
    svg = (tmp_path / "bench.svg").read_text(encoding="utf-8")
    assert ET.fromstring(svg).tag.endswith("}svg")
    assert "<!-- arch0 fp32 -->" in svg  # the legend; matplotlib writes a text's letters beside its outlines
    assert "enqueue" not in svg
    launched = fake_report()
    for row in launched["rows"]:
        row["ms"]["enqueue"] = row["ms"]["compute"]
    report.save(launched, path, print)
    assert "<!-- arch0 fp32, enqueue -->" in (tmp_path / "bench.svg").read_text(encoding="utf-8")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    lines = []
    assert [os.path.basename(name) for name in report.save(fake_report(), path, lines.append)][2:] == []
    assert lines[0].startswith("no plot: matplotlib is not installed")


def test_the_table_shows_published_figures_as_published():
    table = report.to_table(fake_report())
    assert "109.36 ± 0.39" in table
    assert "measured by its authors on their devices, not here" in table
    assert "sensors absent on this machine: power" in table
    assert "published" not in report.to_table(fake_report(name="mine"))


def test_growth_is_the_exponent_in_pixels():
    assert report.growth(fake_report()) == {"arch0 fp32": pytest.approx(1.0)}


def test_comparison_finds_a_regression_and_refuses_other_machines():
    assert [change.regressed for change in report.compare(fake_report(1.04), fake_report())] == [False] * 3
    slower = report.compare(fake_report(1.06), fake_report())
    assert [change.regressed for change in slower] == [True] * 3
    assert slower[0].ratio == pytest.approx(1.06)
    with pytest.raises(JetsonError, match="of another machine"):
        report.compare(fake_report(), fake_report(cpu="another"))
    with pytest.raises(JetsonError, match="none of these networks"):
        report.compare(fake_report(), fake_report(name="arch1"))


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2}', '{"format": 1, "machine": {}, "rows": [{}]}', "x"])
def test_what_is_no_report_is_one_line(tmp_path, text):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(JetsonError, match="old.json") as caught:
        report.read_report(str(path))
    assert "\n" not in str(caught.value)


def test_sizes_and_sweeps():
    assert RESOLUTION("512") == (512, 512)
    assert RESOLUTION("256x512") == (256, 512)
    assert SWEEP("128:512:128") == [(128, 128), (256, 256), (384, 384), (512, 512)]
    assert SWEEP("128:500:128") == [(128, 128), (256, 256), (384, 384)]
    for text in ("", "0", "5x", "axb", "-32", "32x0", "512\n", "16385"):
        with pytest.raises(click.BadParameter, match="is not a size in pixels such as 512"):
            RESOLUTION(text)
    for text in ("128", "128:64:32", "1:2:0", "a:b:c"):
        with pytest.raises(click.BadParameter, match="is not FIRST:LAST:STEP"):
            SWEEP(text)


def run(*arguments):
    return CliRunner().invoke(main, ["jetson-bench"] + [str(argument) for argument in arguments])


def test_the_command_prints_writes_and_compares(tmp_path, toys):
    output = tmp_path / "bench.json"
    options = ["--engine", "onnxruntime", "--threads", 1, "--passes", 5, "--report", output]
    done = run(toys["depth"], toys["pose"], "--sweep", "32:96:32", *options)
    assert done.exit_code == 3, done.output  # five passes are too few
    assert "unreliable, all: 5 passes instead of 100" in done.output
    assert sorted(os.listdir(str(tmp_path))) == ["bench.csv", "bench.json"] + ["bench.svg"] * MATPLOTLIB
    values = json.loads(output.read_text())
    assert len(values["rows"]) == 6

    for row in values["rows"]:
        row["ms"]["compute"]["median"] /= 1000
    old = tmp_path / "old.json"
    old.write_text(json.dumps(values))
    done = run(toys["depth"], "--res", "32", "--compare", old, *options)
    assert done.exit_code == 4
    assert "REGRESSED" in done.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "nowhere is no artifact"),
        (["--res", "100"], "multiples of 32, not 100x100"),
        (["--precision", "int8"], "no int8 file for onnxruntime"),
        (["--engine", "tpu"], "is not one of 'auto'"),
        (["--sweep", "1"], "FIRST:LAST:STEP"),
        (["--pin-clocks"], "which only a Jetson has"),
        (["--host", ""], "'' is no host; give USER@NAME"),
        (["--host", "-oProxyCommand=x"], "'-oProxyCommand=x' is no host"),
        (["--host", "a b"], "'a b' is no host"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, toys, arguments, text):
    artifact = [] if arguments == ["nowhere"] else [toys["depth"]]
    done = run(*(artifact + arguments + ["--report", tmp_path / "bench.json"]))
    assert done.exit_code in (1, 2)
    assert text in done.output
    assert "Traceback" not in done.output
    assert os.listdir(str(tmp_path)) == []


def test_without_artifacts_the_folder_artifacts_is_measured(tmp_path, toys, monkeypatch):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "toy").symlink_to(toys["depth"])
    monkeypatch.chdir(str(tmp_path))
    assert [found.sidecar.name for found in bench_run.find_artifacts([], print)] == ["toy-depth"]
    monkeypatch.chdir("/")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(JetsonError, match="there is no artifact under artifacts/"):
        bench_run.find_artifacts([], print)


PINNED = """
import sys, time
from fastnas.jetson.bench.clocks import pinned_clocks
with pinned_clocks(True, lambda line: print(line, flush=True), sys.argv[2]):
    if sys.argv[1] == "fail":
        raise RuntimeError("inside")
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def tools(tmp_path):
    """nvpmodel and jetson_clocks that keep their state in files, on the path of an environment."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "nvpmodel": 'case $1 in -q) echo "NV Power Mode: X"; cat {0}/mode;; -m) echo $2 > {0}/mode;; esac',
        "jetson_clocks": "case $1 in --store) cp {0}/clocks $2;; --restore) cp $2 {0}/clocks;; *) echo m > {0}/clocks;"
        "; esac",
        "sudo": 'shift; exec "$@"',
    }
    for name, text in scripts.items():
        (folder / name).write_text("#!/bin/sh\n" + text.replace("{0}", str(tmp_path)) + "\n")
        (folder / name).chmod(0o755)
    with open(os.path.join(paths.FIXTURES, "nvpmodel.json"), encoding="utf-8") as file:
        modes = json.load(file)["Xavier NX"]
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nvpmodel.conf").write_text(modes)
    (tmp_path / "mode").write_text("3\n")
    (tmp_path / "clocks").write_text("loose\n")
    changed = {"PATH": "{}:{}".format(folder, os.environ["PATH"]), "PYTHONPATH": paths.ROOT}
    return dict(os.environ, **changed)


def state(folder):
    return (folder / "mode").read_text().strip(), (folder / "clocks").read_text().strip()


@pytest.mark.parametrize("ending", ["normal", "fail", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_clocks_are_pinned_meanwhile_and_restored_however_it_ends(tmp_path, tools, ending):
    how = {"normal": "0", "fail": "fail"}.get(ending, "30")
    process = subprocess.Popen(
        [sys.executable, "-c", PINNED, how, str(tmp_path)],
        env=tools,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "clocks pinned (power mode 8: MODE_20W_6CORE; before 3)\n"
    if how == "30":
        assert state(tmp_path) == ("8", "m")
        process.send_signal(ending)
    rest, errors = process.communicate(timeout=20)
    assert rest == "clocks restored\n"
    assert state(tmp_path) == ("3", "loose")
    assert (process.returncode == 0) == (ending == "normal"), errors
