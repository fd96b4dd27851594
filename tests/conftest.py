"""Strict settings and the few things that many tests start from."""

import os

os.environ["OMP_WAIT_POLICY"] = "passive"

import pytest


@pytest.fixture
def digits():
    from mignon.data.cache import open_images
    from mignon.data.look import neutral_spec

    return open_images("digits", neutral_spec(8, 1))


@pytest.fixture
def tiny_classifier(digits):
    from mignon.classifier import fresh
    from mignon.data.look import input_spec

    return fresh("digits-cnn", {}, input_spec(digits.train, digits.input), digits.classes, 0)
