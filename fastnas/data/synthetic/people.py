"""People: the 16 joints of MPII, in its order, in a plausible pose, and the primitives of a body around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from fastnas.data.synthetic import primitives as p
from fastnas.data.synthetic.camera import Floats

SKIN = ((0.95, 0.78, 0.66), (0.87, 0.66, 0.5), (0.72, 0.5, 0.36), (0.5, 0.34, 0.24), (0.34, 0.23, 0.17))
HAIR = ((0.1, 0.08, 0.07), (0.28, 0.18, 0.1), (0.55, 0.38, 0.18), (0.85, 0.72, 0.42), (0.6, 0.6, 0.6))


@dataclass(frozen=True)
class PosedPerson:
    """The joints [16, 3] in the world, and the primitives of the body."""

    joints: Floats
    primitives: tuple[p.Primitive, ...]


# A pose in degrees: for each leg (hip forward, hip outward, knee), for each arm (shoulder forward, shoulder outward,
# elbow), and the lean of the back. Each person takes one, from either side, and departs from it at random.
_POSES = (
    ((0, 4, 3), (0, 4, 3), (0, 8, 12), (0, 8, 12), 0),  # standing
    ((25, 3, 10), (-20, 3, 15), (-25, 6, 20), (25, 6, 25), 4),  # walking
    ((55, 3, 70), (-25, 3, 75), (-45, 10, 90), (50, 10, 95), 14),  # running
    ((0, 5, 3), (0, 5, 3), (0, 140, 35), (0, 8, 10), 0),  # waving
    ((0, 8, 3), (0, 8, 3), (165, 10, 10), (165, 10, 10), -3),  # reaching up
    ((0, 25, 5), (0, 25, 5), (0, 115, 10), (0, 115, 10), 0),  # a star
    ((95, 12, 115), (95, 12, 115), (60, 10, 40), (60, 10, 40), 30),  # squatting
    ((70, 5, 90), (-35, 4, 25), (20, 20, 60), (20, 20, 60), 8),  # a lunge
    ((80, 5, 15), (-8, 4, 8), (-20, 35, 25), (40, 30, 30), -10),  # a kick
    ((5, 8, 8), (5, 8, 8), (15, 40, 105), (15, 40, 105), 2),  # hands on hips
    ((15, 4, 10), (5, 4, 5), (75, 5, 25), (75, 5, 25), 35),  # bending
)


def make_person(rng: Random, x: float, z: float) -> PosedPerson:
    """Somebody standing at (x, z), or just in the air above it."""
    pose = rng.choice(_POSES)
    right_leg, left_leg, right_arm, left_arm, lean = (
        pose if rng.random() < 0.5 else (pose[1], pose[0], pose[3], pose[2], pose[4])
    )
    tall = rng.uniform(1.45, 1.95)
    heading = rng.uniform(-math.pi, math.pi)
    forward = np.array([math.sin(heading), 0, -math.cos(heading)])  # towards the camera at 0
    right = np.array([-math.cos(heading), 0, -math.sin(heading)])
    up = np.array([0.0, 1.0, 0.0])
    back_lean, side_lean = math.radians(lean + rng.gauss(0, 6)), math.radians(rng.gauss(0, 5))
    spine = _unit(up * math.cos(back_lean) + forward * math.sin(back_lean) + right * math.sin(side_lean))
    chest_right = _unit(right - spine * float(right @ spine))
    chest_forward = np.cross(chest_right, spine)

    joint = np.zeros((16, 3))
    joint[2], joint[3] = right * 0.06 * tall, right * -0.06 * tall
    joint[7] = spine * 0.29 * tall
    nod = _unit(spine + chest_forward * rng.uniform(-0.1, 0.35) + chest_right * rng.uniform(-0.15, 0.15))
    joint[8] = joint[7] + nod * 0.045 * tall
    joint[9] = joint[8] + nod * 0.135 * tall
    joint[12] = joint[7] + chest_right * 0.105 * tall - spine * 0.015 * tall
    joint[13] = joint[7] - chest_right * 0.105 * tall - spine * 0.015 * tall
    for side, (hip, knee, ankle), leg in ((1, (2, 1, 0), right_leg), (-1, (3, 4, 5), left_leg)):
        swing, out, bend = (math.radians(angle + rng.gauss(0, 7)) for angle in leg)
        bend = max(bend, 0.0)
        thigh = _direction(swing, out, side, right, up, forward)
        shin = _direction(swing - bend, out * 0.6, side, right, up, forward)
        joint[knee] = joint[hip] + thigh * 0.245 * tall
        joint[ankle] = joint[knee] + shin * 0.235 * tall
    for side, (shoulder, elbow, wrist), arm in ((1, (12, 11, 10), right_arm), (-1, (13, 14, 15), left_arm)):
        swing, out, bend = (math.radians(angle + rng.gauss(0, 12)) for angle in arm)
        upper = _direction(swing, max(out, 0.05), side, chest_right, spine, chest_forward)
        hint = chest_forward + spine * rng.uniform(-0.2, 0.5) - chest_right * side * rng.uniform(0, 0.8)
        fold = _unit(hint - upper * float(hint @ upper))
        joint[elbow] = joint[shoulder] + upper * 0.17 * tall
        joint[wrist] = joint[elbow] + (upper * math.cos(bend) + fold * math.sin(max(bend, 0.0))) * 0.15 * tall
    leap = rng.uniform(0.05, 0.45) if rng.random() < 0.12 else 0.0
    joint += np.array([x, 0.05 * tall + leap - min(joint[0, 1], joint[5, 1]), z])
    return PosedPerson(joint.astype(np.float32), _dress(rng, joint, tall, forward, nod, chest_forward))


def _dress(
    rng: Random, joint: Floats, tall: float, forward: Floats, nod: Floats, face: Floats
) -> tuple[p.Primitive, ...]:
    """Shoes, trousers or shorts, a shirt with long or short sleeves, hands, a face in front and hair behind."""
    skin, hair = p.Material(rng.choice(SKIN), p.darker(rng.choice(SKIN), 0.9)), p.Material(rng.choice(HAIR), (0, 0, 0))
    shirt, trousers = p.material(rng, (0.2, 0.6)), p.material(rng, (0.2, 0.6))
    shoes = p.Material(p.colour(rng), (0, 0, 0))
    sleeve = shirt if rng.random() < 0.5 else skin
    calf = trousers if rng.random() < 0.7 else skin
    stout = rng.uniform(0.85, 1.25) * tall

    def limb(material: p.Material, a: Floats, b: Floats, ra: float, rb: float) -> p.Round:
        return p.Round(p.PERSON, material, _point(a), _point(b), ra * stout, rb * stout)

    head = joint[8] + nod * 0.065 * tall
    crown = joint[8] + nod * 0.085 * tall
    nape, top = crown - face * 0.018 * tall, crown + (nod * 0.008 - face * 0.012) * tall
    body: list[p.Primitive] = [
        limb(shirt, joint[6] + (joint[7] - joint[6]) * 0.15, joint[7] - nod * 0.03 * tall, 0.066, 0.07),
        limb(shirt, joint[2] + (joint[6] - joint[2]) * 0.2, joint[12], 0.05, 0.042),
        limb(shirt, joint[3] + (joint[6] - joint[3]) * 0.2, joint[13], 0.05, 0.042),
        limb(shirt, joint[12], joint[13], 0.04, 0.04),
        limb(trousers, joint[2], joint[3], 0.058, 0.058),
        limb(skin, joint[7], joint[8], 0.034, 0.03),
        p.Round(p.PERSON, skin, _point(head), _point(crown), 0.05 * tall, 0.052 * tall),
        p.Round(p.PERSON, hair, _point(nape), _point(top), 0.053 * tall, 0.052 * tall),
    ]
    for hip, knee, ankle in ((2, 1, 0), (3, 4, 5)):
        toe = joint[ankle] + forward * 0.1 * tall - np.array([0, 0.028 * tall, 0])
        body.append(limb(trousers, joint[hip], joint[knee], 0.055, 0.037))
        body.append(limb(calf, joint[knee], joint[ankle], 0.034, 0.024))
        body.append(limb(shoes, joint[ankle] - np.array([0, 0.02 * tall, 0]), toe, 0.03, 0.022))
    for shoulder, elbow, wrist in ((12, 11, 10), (13, 14, 15)):
        hand = joint[wrist] + (joint[wrist] - joint[elbow]) * 0.3
        body.append(limb(shirt, joint[shoulder], joint[elbow], 0.036, 0.027))
        body.append(limb(sleeve, joint[elbow], joint[wrist], 0.025, 0.019))
        body.append(limb(skin, joint[wrist], hand, 0.022, 0.021))
    return tuple(body)


def _direction(swing: float, out: float, side: int, right: Floats, up: Floats, forward: Floats) -> Floats:
    """A limb hanging down, swung forward and then lifted outward."""
    down = forward * math.sin(swing) - up * math.cos(swing)
    return down * math.cos(out) + right * (side * math.sin(out))


def _unit(vector: Floats) -> Floats:
    """The vector at length 1."""
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _point(vector: Floats) -> p.Point:
    """The vector as three plain numbers."""
    x, y, z = vector.tolist()
    return (x, y, z)
