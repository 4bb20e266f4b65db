"""What keeping freed memory saves in training on a CPU. Run: python benchmarks/allocator.py [--network camvid1]

The same steps with and without `fastnas.hardware.keep_freed_memory`, each variant in a process of its own, since
the setting cannot be taken back; the variants take turns. Compared are processor times, user and system together.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys


def steps(network: str, batch: int, size: int, count: int) -> None:
    """Train for some steps in bf16 and print the processor seconds of one, warm-up left out."""
    import torch

    from fastnas.data import default_task
    from fastnas.models.spec import ModelSpec, build
    from fastnas.tasks.registry import head_for

    torch.set_num_threads(1)
    task = default_task("segmentation")
    model = build(ModelSpec(network, task)).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = {"mask": torch.randint(0, task.outputs, (batch, size, size), dtype=torch.uint8)}
    began = 0.0
    for step in range(count + 1):
        if step == 1:
            began = sum(os.times()[:2])
        with torch.autocast("cpu", torch.bfloat16):
            logits, *_ = model(images)
        head_for(task).loss(logits, labels).backward()
    print((sum(os.times()[:2]) - began) / count)


def main() -> None:
    """Measure both variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="camvid1")
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--size", type=int, default=224, help="side of the crops, pixels")
    parser.add_argument("--steps", type=int, default=4, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    call = f"steps({given.network!r}, {given.batch}, {given.size}, {given.steps})"
    keep = "from fastnas.hardware import keep_freed_memory; keep_freed_memory(); "
    seconds: dict[str, list[float]] = {"as the system has it": [], "freed memory is kept": []}
    for _ in range(given.rounds):
        for variant, before in zip(seconds, ("", keep), strict=True):
            code = f"import sys; sys.path.insert(0, 'benchmarks'); {before}from allocator import steps; {call}"
            run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds[variant].append(float(run.stdout))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; processor seconds of a step, 1 thread")
    for variant, values in seconds.items():
        print(f"{variant:22} {statistics.median(values):.3f}  ({min(values):.3f} to {max(values):.3f})")
    before, after = seconds.values()
    ratios = sorted(b / a for a, b in zip(before, after, strict=True))
    print(f"ratio                  {statistics.median(ratios):.3f}  ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
