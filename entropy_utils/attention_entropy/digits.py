"""scikit-learn's bundled digits as patches for a tiny vision transformer: 1797 images of 8 x 8 pixels, no download."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropy_utils.lab.errors import ParameterError

SIDE, CLASSES, TRAIN = 8, 10, 1437


class Digits(NamedTuple):
    """Standardised images (n, patches, pixels of a patch) in float32 and their labels (n,)."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


@cache
def digits(patch: int = 2) -> Digits:
    """1437 training and 360 test images, always split alike, cut into patches of `patch` x `patch` pixels.

    Pixels are standardised with mean and standard deviation of the training images.
    """
    if type(patch) is not int or patch < 1 or SIDE % patch:
        raise ParameterError.of("patch", patch, "1, 2, 4 or 8")
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images, labels = found.images[order], torch.from_numpy(found.target[order])
    images = (images - images[:TRAIN].mean()) / images[:TRAIN].std()
    across = SIDE // patch
    patches = images.reshape(-1, across, patch, across, patch).swapaxes(2, 3).reshape(len(labels), across**2, patch**2)
    patches = torch.from_numpy(patches.astype(np.float32))
    return Digits(patches[:TRAIN], labels[:TRAIN], patches[TRAIN:], labels[TRAIN:])
