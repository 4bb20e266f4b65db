"""How images come to every network: RGB in 0..1, less the mean, divided by the deviation of ImageNet's images."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
