"""The normalisation of images for every network: RGB in 0..1, with ImageNet's mean and standard deviation."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
