"""Search for the best network that a board runs in time. Run: python examples/own_reward.py [FOLDER] [USER@JETSON]

The reward is your own function of what was measured: here accuracy, less what a network is late for a camera's next
frame. Without a board the latency is this machine's. The settings are as small as can be, for the example's sake.
"""

import sys
from pathlib import Path

import fastnas
from fastnas.config import override
from fastnas.search.costs import costs
from fastnas.search.driver import LocalWorker, Search
from fastnas.search.evaluation.evaluator import Evaluation
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.history import Run
from fastnas.search.presets import preset

FRAME = 1000 / 30
"""Milliseconds between two frames."""


def reward(evaluation: Evaluation, found: dict[str, float]) -> float:
    """Accuracy, less a tenth for every frame time that the network is late."""
    late = max(found["latency"] / FRAME - 1, 0)
    return evaluation.reward - 0.1 * late


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-reward")
    changes = ["images=24", "candidates=3", "evaluation.encoder_weights=none", "evaluation.channels=8"]
    changes += [f"evaluation.stage{n}_{what}" for n in (1, 2) for what in ("crop=32", "short_side=32", "batch=8")]
    # A latency is measured where a limit or a target asks for it: refuse what takes a second.
    changes += ["evaluation.stage1_epochs=1", "limits.latency=1000", "limits.resolution=128"]
    if len(sys.argv) > 2:
        changes += [f"limits.latency_host={sys.argv[2]}"]
    settings = override(preset("tiny"), changes)
    with Run.start(folder, settings) as run:
        evaluator = prepare(settings, cache=folder / "cache")

        def cost(genotype: fastnas.Genotype) -> dict[str, float]:
            encoder = settings.evaluation.encoder
            return costs(genotype, evaluator.images.task, encoder, settings.limits, folder / "cache")

        Search(run, LocalWorker(evaluator), costs=cost, reward=reward).go_on()
    for record in run.records:
        if record.reward is None:
            print(f"candidate {record.candidate.number} {record.status}: {record.reason}")
        else:
            print(f"candidate {record.candidate.number}: {record.scores['latency']:.1f} ms, reward {record.reward:.3f}")


if __name__ == "__main__":
    main()
