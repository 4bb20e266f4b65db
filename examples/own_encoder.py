"""Search and train with your own encoder. Run: python examples/own_encoder.py

An encoder is four stages in a row; what each gives, at strides 4, 8, 16 and 32, is a feature that decoders draw from.
"""

from torch import nn

import fastnas


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Halve the size once or twice."""
    layers: list[nn.Module] = []
    while stride > 1:
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        inputs, stride = outputs, stride // 2
    return nn.Sequential(*layers)


def tiny() -> fastnas.Encoder:
    """Six convolutions."""
    channels = (16, 32, 64, 128)
    stages = [stage(i, o, s) for i, o, s in zip((3, *channels[:-1]), channels, (4, 2, 2, 2), strict=True)]
    return fastnas.Encoder(stages, channels)


def main() -> None:
    fastnas.add_encoder("tiny", tiny)
    # From here on the name works wherever an encoder is asked for: ModelSpec, search settings, model files.
    task = fastnas.open_dataset("synthetic").task
    for encoder in ("tiny", "mobilenet_v2"):
        counts = fastnas.count(fastnas.build(fastnas.ModelSpec("arch2", task, encoder=encoder)), (512, 512))
        print(f"arch2 on {encoder}: {counts.parameters:,} parameters, {counts.multiply_adds / 1e9:.2f} G multiply-adds")


if __name__ == "__main__":
    main()
