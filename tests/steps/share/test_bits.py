"""Bits of shared kernels against the tables that were worked out for the networks of the source."""

import itertools

import pytest

from mignon.steps.share.bits import Sizes, bits_a_weight, learned_sizes, ratio, shape_bits, sizes, total_bits

SETTINGS = {
    "v1": (32, 0, 0),
    "v2": (32, 32, 32),
    "v2nb": (32, 32, 0),
    "v2q": (8, 32, 32),
    "v2qq": (8, 8, 8),
    "v2qqnb": (8, 8, 0),
    "4/8/8": (4, 8, 8),
    "8/4/4": (8, 4, 4),
    "4/4/4": (4, 4, 4),
    "v2q-ab": (32, 8, 8),
}


def resnet_cifar(blocks):
    shapes, inputs = [(16, 3, 3, 3)], 16
    for width in (16, 32, 64):
        for _ in range(blocks):
            shapes += [(width, inputs, 3, 3), (width, width, 3, 3)]
            inputs = width
    return [(shapes, 9)]


def mobilenet():
    channels = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    depthwise = [(c, 1, 3, 3) for c in channels[:-1]]
    return [(depthwise, 9), ([(b, a, 1, 1) for a, b in itertools.pairwise(channels)], 8)]


def mobilenetv2():
    depthwise, pointwise, inputs = [], [], 32
    for t, c, n, _ in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for _ in range(n):
            hidden = inputs * t
            depthwise.append((hidden, 1, 3, 3))
            pointwise += ([(hidden, inputs, 1, 1)] if t > 1 else []) + [(c, hidden, 1, 1)]
            inputs = c
    return [(depthwise, 9), (pointwise, 8)]


def vgg16():
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    return [([(b, a, 3, 3) for a, b in itertools.pairwise(channels)], 9)]


def resnet18():
    shapes, inputs = [], 64
    for width in (64, 128, 256, 512):
        for _ in range(2):
            shapes += [(width, inputs, 3, 3), (width, width, 3, 3)]
            inputs = width
    return [(shapes, 9)]


def resnet50():
    kernels, pointwise, inputs = [], [], 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for _ in range(count):
            kernels.append((width, width, 3, 3))
            pointwise += [(width, inputs, 1, 1), (4 * width, width, 1, 1)]
            inputs = 4 * width
    return [(kernels, 9), (pointwise, 8)]


NETWORKS = {
    "ResNet-20": (272_474, resnet_cifar(3)),
    "ResNet-56": (855_770, resnet_cifar(9)),
    "MobileNet": (3_217_226, mobilenet()),
    "MobileNetV2": (2_236_682, mobilenetv2()),
    "VGG16-BN": (15_249_354, vgg16()),
    "ResNet-50": (25_557_032, resnet50()),
}


def bits_of(parameters, families, setting, **more):
    found = [sizes(shapes, length) for shapes, length in families]
    return total_bits(parameters, found, *SETTINGS[setting], **more)


@pytest.mark.parametrize(
    ("network", "layers", "references", "index_bits", "pieces", "outside"),
    [
        ("ResNet-20", [19], [48], [6], [29_696], 4_778),
        ("ResNet-56", [55], [48], [6], [94_208], 7_466),
        ("MobileNet", [13, 13], [32, 1600], [5, 11], [4_928, 392_192], 33_002),
        ("MobileNetV2", [17, 33], [32, 400], [5, 9], [7_104, 214_320], 457_386),
        ("VGG16-BN", [13], [192], [8], [1_634_304], 538_890),
        ("ResNet-50", [16, 32], [4096, 3648], [12, 12], [1_253_376, 1_169_408], 4_880_424),
    ],
)
def test_counts_of_the_networks(network, layers, references, index_bits, pieces, outside):
    parameters, shapes = NETWORKS[network]
    found = [sizes(s, length) for s, length in shapes]
    assert [f.layers + 1 for f in found] == layers
    assert [f.references for f in found] == references and [f.index_bits for f in found] == index_bits
    assert [f.pieces for f in found] == pieces
    assert parameters - sum(f.reference_weights + f.weights for f in found) == outside


@pytest.mark.parametrize(
    ("network", "bits", "ratios"),
    [
        (
            "ResNet-20",
            "344,896 2,245,440 1,295,168 2,235,104 810,848 572,704",
            "25.281 3.883 6.732 3.901 10.753 15.225",
        ),
        (
            "ResNet-56",
            "817,984 6,847,296 3,832,640 6,836,960 2,318,432 1,563,040",
            "33.478 3.999 7.145 4.005 11.812 17.520",
        ),
        (
            "MobileNet",
            "5,469,568 30,885,248 18,177,408 30,829,248 11,769,024 8,591,296",
            "18.823 3.333 5.664 3.339 8.748 11.983",
        ),
        (
            "MobileNetV2",
            "16,626,352 30,797,488 23,711,920 30,778,352 20,153,072 18,380,144",
            "4.305 2.324 3.018 2.325 3.552 3.894",
        ),
        (
            "VGG16-BN",
            "30,374,208 134,969,664 82,671,936 134,928,224 56,482,400 43,407,584",
            "16.066 3.615 5.903 3.617 8.639 11.242",
        ),
        (
            "ResNet-50",
            "186,557,696 341,615,872 264,086,784 340,632,896 224,342,208 204,958,464",
            "4.384 2.394 3.097 2.401 3.645 3.990",
        ),
    ],
)
def test_bits_of_the_versions(network, bits, ratios):
    for setting, total, wanted in zip(SETTINGS, bits.replace(",", "").split(), ratios.split()):
        found = bits_of(*NETWORKS[network], setting)
        assert found == int(total)
        assert f"{ratio(NETWORKS[network][0], found):.3f}" == wanted


@pytest.mark.parametrize(
    ("network", "bits", "ratios"),
    [
        ("ResNet-20", "809,120 573,280 571,552 821,184", "10.776 15.209 15.255 10.618"),
        ("ResNet-56", "2,316,704 1,564,768 1,563,040 2,328,768", "11.821 17.501 17.520 11.759"),
        ("MobileNet", "11,759,680 8,592,064 8,582,720 11,825,024", "8.755 11.982 11.995 8.706"),
        ("MobileNetV2", "20,149,872 18,381,680 18,378,480 20,172,208", "3.552 3.894 3.894 3.548"),
        ("VGG16-BN", "56,475,488 43,407,968 43,401,056 56,523,840", "8.641 11.242 11.243 8.633"),
        ("ResNet-50", "224,178,368 204,959,936 204,796,096 225,325,184", "3.648 3.990 3.993 3.630"),
    ],
)
def test_bits_at_other_widths(network, bits, ratios):
    for setting, total, wanted in zip(list(SETTINGS)[6:], bits.replace(",", "").split(), ratios.split()):
        found = bits_of(*NETWORKS[network], setting)
        assert found == int(total)
        assert f"{ratio(NETWORKS[network][0], found):.3f}" == wanted


@pytest.mark.parametrize(
    ("parameters", "families", "bits", "wanted"),
    [
        (15_240_906, vgg16(), 56_212_064, "8.676"),
        (1_730_714, resnet_cifar(18), 4_579_808, "12.093"),
        (11_689_512, resnet18(), 56_887_520, "6.576"),
        (4_231_976, mobilenet(), 44_241_024, "3.061"),
        (3_504_872, mobilenetv2(), 60_735_152, "1.847"),
        (138_353_320, vgg16(), 3_995_809_312, "1.108"),
        (3_217_226, mobilenet()[:1], 101_629_344, "1.013"),
        (2_236_682, mobilenetv2()[:1], 69_671_200, "1.027"),
        (25_557_032, resnet50()[:1], 491_063_520, "1.665"),
    ],
)
def test_bits_of_more_networks_and_without_windows(parameters, families, bits, wanted):
    found = bits_of(parameters, families, "v2qq")
    assert found == bits and f"{ratio(parameters, found):.3f}" == wanted


def test_all_other_parameters_in_eight_bits():
    wanted = [12.524, 12.801, 9.379, 7.800, 11.205, 7.628]
    for network, expected in zip(NETWORKS, wanted):
        found = bits_of(*NETWORKS[network], "v2qq", other_bits=8)
        assert round(ratio(NETWORKS[network][0], found), 3) == expected


@pytest.mark.parametrize(
    ("network", "family", "figures"),
    [
        ("ResNet-20", 0, (0.667, 1.556, 2.444, 7.778)),
        ("MobileNet", 0, (0.556, 1.444, 2.333, 7.667)),
        ("MobileNet", 1, (1.375, 2.375, 3.375, 9.375)),
        ("MobileNetV2", 1, (1.125, 2.125, 3.125, 9.125)),
        ("VGG16-BN", 0, (0.889, 1.778, 2.667, 8.000)),
        ("ResNet-50", 0, (1.333, 2.222, 3.111, 8.444)),
        ("ResNet-50", 1, (1.500, 2.500, 3.500, 9.500)),
    ],
)
def test_bits_a_coded_weight(network, family, figures):
    shapes, length = NETWORKS[network][1][family]
    found = sizes(shapes, length)
    for (alpha, beta), figure in zip(((0, 0), (8, 0), (8, 8), (32, 32)), figures):
        assert round(bits_a_weight(found, length, alpha, beta), 3) == figure


@pytest.mark.parametrize(
    ("network", "family", "references", "index_bits", "pieces"),
    [
        ("ResNet-20", 0, 24, 5, 14_848),
        ("ResNet-56", 0, 24, 5, 47_104),
        ("MobileNet", 0, 16, 4, 2_464),
        ("MobileNetV2", 0, 16, 4, 3_552),
        ("VGG16-BN", 0, 96, 7, 817_152),
    ],
)
def test_bound_kernels(network, family, references, index_bits, pieces):
    parameters, families = NETWORKS[network]
    found = sizes(families[family][0], 18)
    assert (found.references, found.index_bits, found.pieces) == (references, index_bits, pieces)
    if network == "ResNet-20":
        assert total_bits(parameters, [found], 8, 8, 8) == 469_344
        assert round(ratio(parameters, 469_344), 3) == 18.577


def test_index_bits_of_counts_and_of_transformed_references():
    for count, bits in ((32, 5), (48, 6), (192, 8), (400, 9), (1600, 11), (3456, 12), (4096, 12), (1, 1), (2, 1)):
        assert Sizes(0, count, 1, 0, 0).index_bits == bits
    shapes = resnet_cifar(3)[0][0]
    for turn, count in (("square", 384), ("shifts", 432), ("all", 3456)):
        assert sizes(shapes, 9, turn=turn).references == count


def test_learned_shapes_cost_what_is_said_of_them():
    coded = resnet_cifar(3)[0][0][1:]
    for count, bits in ((16, 1.34), (48, 1.57), (128, 1.70), (256, 1.85)):
        found = learned_sizes(coded, 9, count)
        assert found.weights == 267_264 and found.pieces == 29_696
        own = shape_bits(count, 9) / found.weights
        assert round(bits_a_weight(found, 9, 4, 4) + own, 2) == bits
