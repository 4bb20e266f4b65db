"""An encoder for a search without pretrained weights: about a minute of training on the search's own images.

With a frozen encoder of random weights stage 1 would compare noise. A few epochs end to end, together with a small
decoder, give features of edges, textures and the classes at hand; ImageNet's weights are far better.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from fastnas.errors import FastnasError
from fastnas.models.decoder import Decoder
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.models.network import Network
from fastnas.models.zoo import ZOO
from fastnas.search.evaluation.data import SearchImages, train_crop
from fastnas.search.settings import SearchSettings
from fastnas.storing import write_tensors
from fastnas.tasks.registry import head_for
from fastnas.train.loaders import EpochBatches, SeededSamples, train_loader
from fastnas.train.objective import WeightUpdate, require_finite_weights, training_loss

STEPS, BATCH, LEARNING_RATE = 150, 16, 2e-3
DECODER = ZOO["arch1"], 32
"""The decoder that the encoder is trained with, and its channels."""


Notify = Callable[[str, int, int], None]


def warmed_up(settings: SearchSettings, images: SearchImages, cache: Path, notify: Notify) -> Encoder:
    """The encoder, trained now unless an earlier run of the same settings has left its weights in `cache`.

    Raises:
        FastnasError: see `warm_up_file`; or the stored weights are damaged.
    """
    encoder, path = make_encoder(settings.evaluation.encoder), warm_up_file(settings, images, cache, notify)
    try:
        encoder.load_state_dict(load_file(path))
    except Exception as error:  # safetensors' errors and torch's have no common class
        raise FastnasError(f"the stored encoder {path} is damaged: remove it") from error
    return encoder


def warm_up_file(settings: SearchSettings, images: SearchImages, cache: Path, notify: Notify) -> Path:
    """The file of the encoder's weights, trained now unless an earlier run of the same settings has left them.

    Raises:
        FastnasError: the encoder is unknown, there are fewer images than a batch, or nothing can be stored.
    """
    how = settings.evaluation
    about: list[object] = [settings.data, settings.root, settings.task, settings.images, settings.seed, how.encoder]
    about += [how.validation_share, how.stage1_crop, how.stage1_short_side, STEPS, BATCH, LEARNING_RATE]
    encoder = make_encoder(how.encoder)
    about += encoder.normalisation
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]
    path = cache / "encoders" / f"{key}.safetensors"
    if not path.is_file():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            encoder = _train(make_encoder(how.encoder), settings, images, notify)
        write_tensors(path, encoder.state_dict())
    return path


def _train(encoder: Encoder, settings: SearchSettings, images: SearchImages, notify: Notify) -> Encoder:
    how, head = settings.evaluation, head_for(images.task)
    genotype, channels = DECODER
    decoder = Decoder(genotype, encoder.channels, channels, 1, images.task.outputs)
    network = Network(encoder, decoder).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    update = WeightUpdate(network, [(optimiser, 0.0)])
    scale = (how.scale_low, how.scale_high)
    crop = train_crop(images.task, how.stage1_crop, how.stage1_short_side, scale, encoder.normalisation)
    samples = SeededSamples([images.train], crop, settings.seed)
    batches = EpochBatches([len(samples)], min(BATCH, len(samples)), settings.seed)
    network.train()
    done = 0
    while done < STEPS:
        for batch in train_loader(samples, batches, workers=0):
            outputs = network(batch["image"].contiguous(memory_format=torch.channels_last))
            loss = training_loss(head, outputs, batch)
            loss.backward()
            update.step()
            schedule.step()
            done += 1
            notify("the encoder's weights", done, STEPS)
            if done == STEPS:
                break
        batches.epoch += 1
    require_finite_weights(network, "the encoder's warm-up")
    return encoder
