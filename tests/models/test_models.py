"""Networks: exact counts, absorbing, memory, what is refused."""

import numpy as np
import pytest
import torch
from helpers import lively
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mignon.classifier import parameter_count
from mignon.errors import ModelError
from mignon.measure.cost import layers, peak_activation_bytes
from mignon.models import build, parse_model, units
from mignon.models.activations import ActivationGrid, grids_of, insert_grids, remove_grids
from mignon.models.graph import blocks, clone, shapes, trace
from mignon.models.layers import Add, GlobalAverage
from mignon.models.weights import absorb, norm_gain, set_rule
from mignon.rules.grid import Grid
from mignon.rules.scales import scale

COUNTS = [  # family, options, classes, channels, parameters
    ("digits-cnn", {}, 10, 1, 3_778),
    ("resnet20-cifar", {}, 10, 3, 272_474),
    ("resnet20-cifar", {"shortcut": "a"}, 10, 3, 269_722),
    ("resnet56-cifar", {}, 10, 3, 855_770),
    ("resnet110-cifar", {}, 10, 3, 1_730_714),
    ("mobilenetv2-cifar", {}, 10, 3, 2_236_682),
    ("mobilenetv2-cifar", {"reduction": 4}, 10, 3, 2_236_682),
    ("mobilenetv2-cifar", {"width": 0.35, "last": 448}, 10, 3, 305_770),
    ("mobilenetv1-cifar", {}, 10, 3, 3_217_226),
    ("vgg16-cifar", {}, 10, 3, 15_240_906),
    ("vgg16-bn-cifar", {}, 10, 3, 15_249_354),
    ("wrn-16-10-cifar", {}, 10, 3, 17_116_634),
    ("squeezenet1_1", {}, 1000, 3, 1_235_496),
    ("squeezenet1_1", {"activation": "elu", "bypass": "simple"}, 256, 3, 853_824),
    ("squeezenet1_1", {}, 200, 3, 825_096),
    ("squeezenet1_1", {}, 10, 3, 727_626),
    ("squeezenet1_1", {}, 2, 3, 723_522),
    ("squeezenet1_1", {"bypass": "complex"}, 256, 3, 1_190_976),
    ("squeezenet1_1", {"bypass": "complex"}, 1000, 3, 1_572_648),
    ("squeezenet1_0", {}, 1000, 3, 1_248_424),
    ("squeezenet1_0", {"bypass": "complex"}, 1000, 3, 1_589_672),
    ("alexnet", {}, 1000, 3, 61_100_840),
    ("alexnet", {}, 256, 3, 58_052_672),
    ("alexnet", {}, 200, 3, 57_823_240),
    ("alexnet", {}, 10, 3, 57_044_810),
    ("alexnet", {}, 2, 3, 57_012_034),
    ("alexnet-bn", {}, 256, 3, 59_349_312),
    ("alexnet-bn", {}, 200, 3, 59_119_880),
    ("alexnet-bn", {}, 1000, 3, 62_397_480),
    ("zfnet", {}, 256, 3, 104_600_640),
    ("zfnet", {}, 200, 3, 104_371_208),
    ("zfnet", {}, 1000, 3, 107_648_808),
    ("mobilenetv2", {}, 1000, 3, 3_504_960 - 1_088 + 1_000),  # pytorchcv expands in the first block, without a bias
    ("mobilenetv3-small", {}, 1000, 3, 2_542_856),
    ("resnet18", {}, 1000, 3, 11_689_512),
    ("resnet50", {}, 1000, 3, 25_557_032),
    ("vgg16", {}, 1000, 3, 138_357_544),
    ("vgg16-bn", {}, 1000, 3, 138_365_992),
    ("efficientnet-lite0", {}, 1000, 3, 4_652_008),
    ("fdmobilenet", {"width": 1.0}, 1000, 3, 2_901_288),
    ("fdmobilenet", {"width": 0.75}, 1000, 3, 1_833_304),
    ("fdmobilenet", {"width": 0.5}, 1000, 3, 993_928),
    ("fdmobilenet", {"width": 0.25}, 1000, 3, 383_160),
    ("fdmobilenet", {"width": 1.0}, 2, 3, 1_878_338),
    ("fdmobilenet", {"width": 0.75}, 2, 3, 1_065_842),
    ("fdmobilenet", {"width": 0.5}, 2, 3, 481_954),
    ("fdmobilenet", {"width": 0.25}, 2, 3, 126_674),
    ("mobilenetv1", {"width": 1.0}, 1000, 3, 4_231_976),
    ("mobilenetv1", {"width": 0.75}, 1000, 3, 2_585_560),
    ("mobilenetv1", {"width": 0.5}, 1000, 3, 1_331_592),
    ("mobilenetv1", {"width": 0.25}, 1000, 3, 470_072),
    ("mobilenetv1", {"width": 1.0}, 2, 3, 3_209_026),
    ("mobilenetv1", {"width": 0.75}, 2, 3, 1_818_098),
    ("mobilenetv1", {"width": 0.5}, 2, 3, 819_618),
    ("mobilenetv1", {"width": 0.25}, 2, 3, 213_586),
]
MACS = [  # family, options, classes, pixels, multiply-accumulates
    ("resnet20-cifar", {}, 10, 32, 40_813_184),
    ("resnet20-cifar", {"shortcut": "a"}, 10, 32, 40_551_040),
    ("resnet56-cifar", {"shortcut": "a"}, 10, 32, 125_485_696),
    ("mobilenetv2-cifar", {}, 10, 32, 87_976_448),
    ("mobilenetv2-cifar", {"reduction": 4}, 10, 32, 296_473_088),
    ("mobilenetv1-cifar", {}, 10, 32, 46_354_432),
    ("vgg16-cifar", {}, 10, 32, 313_725_952),
    ("vgg16-bn-cifar", {}, 10, 32, 313_725_952),
    ("fdmobilenet", {"width": 1.0}, 1000, 224, 144_489_728),
    ("fdmobilenet", {"width": 1.0}, 1000, 128, 47_869_952),
    ("fdmobilenet", {"width": 1.0}, 2, 224, 143_467_776),
    ("fdmobilenet", {"width": 1.0}, 2, 128, 46_848_000),
    ("fdmobilenet", {"width": 1.0}, 2, 96, 26_352_896),
    ("fdmobilenet", {"width": 0.75}, 1000, 224, 84_282_816),
    ("fdmobilenet", {"width": 0.75}, 1000, 128, 28_038_144),
    ("fdmobilenet", {"width": 0.75}, 2, 224, 83_516_352),
    ("fdmobilenet", {"width": 0.75}, 2, 128, 27_271_680),
    ("fdmobilenet", {"width": 0.75}, 2, 96, 15_340_992),
    ("fdmobilenet", {"width": 0.5}, 1000, 224, 40_132_224),
    ("fdmobilenet", {"width": 0.5}, 1000, 128, 13_449_216),
    ("fdmobilenet", {"width": 0.5}, 2, 224, 39_621_248),
    ("fdmobilenet", {"width": 0.5}, 2, 128, 12_938_240),
    ("fdmobilenet", {"width": 0.5}, 2, 96, 7_278_208),
    ("fdmobilenet", {"width": 0.25}, 1000, 224, 12_037_952),
    ("fdmobilenet", {"width": 0.25}, 1000, 128, 4_103_168),
    ("fdmobilenet", {"width": 0.25}, 2, 224, 11_782_464),
    ("fdmobilenet", {"width": 0.25}, 2, 128, 3_847_680),
    ("fdmobilenet", {"width": 0.25}, 2, 96, 2_164_544),
    ("squeezenet1_1", {}, 1000, 224, 349_151_936),
    ("squeezenet1_1", {}, 1000, 128, 105_179_840),
    ("squeezenet1_1", {}, 256, 224, 284_775_104),
    ("squeezenet1_1", {}, 256, 128, 86_514_368),
    ("squeezenet1_1", {"bypass": "simple"}, 256, 224, 284_775_104),
    ("squeezenet1_1", {}, 200, 224, 279_929_536),
    ("squeezenet1_1", {}, 10, 224, 263_489_216),
    ("squeezenet1_1", {}, 2, 224, 262_796_992),
    ("squeezenet1_1", {}, 200, 128, 85_109_440),
    ("squeezenet1_1", {}, 10, 128, 80_342_720),
    ("squeezenet1_1", {}, 2, 128, 80_142_016),
    ("squeezenet1_1", {"bypass": "complex"}, 256, 224, 383_283_904),
    ("squeezenet1_1", {"bypass": "complex"}, 1000, 224, 447_660_736),
    ("squeezenet1_1", {"bypass": "complex"}, 256, 128, 116_210_368),
    ("squeezenet1_1", {"bypass": "complex"}, 1000, 128, 134_875_840),
    ("squeezenet1_0", {}, 1000, 224, 818_924_576),
    ("squeezenet1_0", {}, 1000, 128, 251_277_344),
    ("squeezenet1_0", {"bypass": "complex"}, 1000, 224, 1_165_298_720),
    ("squeezenet1_0", {"bypass": "complex"}, 1000, 128, 358_182_944),
    ("alexnet", {}, 1000, 224, 714_188_480),
    ("alexnet", {}, 256, 224, 711_141_056),
    ("alexnet", {}, 200, 224, 710_911_680),
    ("alexnet", {}, 10, 224, 710_133_440),
    ("alexnet", {}, 2, 224, 710_100_672),
    ("alexnet-bn", {}, 256, 227, 1_132_208_672),
    ("alexnet-bn", {}, 200, 227, 1_131_979_296),
    ("alexnet-bn", {}, 1000, 227, 1_135_256_096),
    ("zfnet", {}, 256, 227, 2_509_339_424),
    ("zfnet", {}, 200, 227, 2_509_110_048),
    ("zfnet", {}, 1000, 227, 2_512_386_848),
    ("resnet18", {}, 1000, 224, 1_814_073_344),
    ("wrn-16-10-cifar", {}, 10, 32, 2_412_173_568),
    ("resnet56-cifar", {}, 10, 32, 125_747_840),
    ("mobilenetv2", {}, 1000, 224, 313_619_328 - 12_845_056),  # pytorchcv expands in the first block
    ("mobilenetv1", {"width": 1.0}, 1000, 224, 568_740_352),
    ("mobilenetv1", {"width": 1.0}, 1000, 128, 186_400_768),
    ("mobilenetv1", {"width": 1.0}, 2, 224, 567_718_400),
    ("mobilenetv1", {"width": 1.0}, 2, 128, 185_378_816),
    ("mobilenetv1", {"width": 1.0}, 2, 96, 104_276_480),
    ("mobilenetv1", {"width": 0.75}, 1000, 224, 325_400_448),
    ("mobilenetv1", {"width": 0.75}, 1000, 128, 106_770_432),
    ("mobilenetv1", {"width": 0.75}, 2, 224, 324_633_984),
    ("mobilenetv1", {"width": 0.75}, 2, 128, 106_003_968),
    ("mobilenetv1", {"width": 0.75}, 2, 96, 59_627_904),
    ("mobilenetv1", {"width": 0.5}, 1000, 224, 149_497_088),
    ("mobilenetv1", {"width": 0.5}, 1000, 128, 49_160_192),
    ("mobilenetv1", {"width": 0.5}, 2, 224, 148_986_112),
    ("mobilenetv1", {"width": 0.5}, 2, 128, 48_649_216),
    ("mobilenetv1", {"width": 0.5}, 2, 96, 27_365_632),
    ("mobilenetv1", {"width": 0.25}, 1000, 224, 41_030_272),
    ("mobilenetv1", {"width": 0.25}, 1000, 128, 13_570_048),
    ("mobilenetv1", {"width": 0.25}, 2, 224, 40_774_784),
    ("mobilenetv1", {"width": 0.25}, 2, 128, 13_314_560),
    ("mobilenetv1", {"width": 0.25}, 2, 96, 7_489_664),
]


@pytest.mark.parametrize(("family", "options", "classes", "channels", "expected"), COUNTS)
def test_parameters_are_those_of_the_papers(family, options, classes, channels, expected):
    assert parameter_count(family, options, classes, channels) == expected


@pytest.mark.parametrize(("family", "options", "classes", "pixels", "expected"), MACS)
def test_multiply_accumulates_are_those_of_the_papers(family, options, classes, pixels, expected):
    with torch.device("meta"):
        network = trace(build(family, options, classes, 3))
        assert sum(layer.macs for layer in layers(network, (3, pixels, pixels))) == expected


@pytest.mark.parametrize(
    ("family", "expected"),
    [("mobilenetv1", (21_888, 16_416, 10_944, 5_472)), ("fdmobilenet", (15_744, 11_808, 7_872, 3_936))],
)
@pytest.mark.parametrize("number", range(4))
def test_the_share_of_batchnorm_in_mobilenet_is_that_of_the_table(family, expected, number):
    with torch.device("meta"):
        network = build(family, {"width": 1 - number / 4}, 2, 3)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(p.numel() for m in norms for p in m.parameters()) == expected[number]


@pytest.mark.parametrize(
    ("family", "options", "classes", "expected"),
    [
        ("mobilenetv1", {"width": 0.25}, 2, (514, 69_378, 104_066)),
        ("fdmobilenet", {"width": 0.25}, 2, (514, 35_202, 53_250)),
        ("mobilenetv1", {"width": 1.0}, 2, (2_050,)),
        ("alexnet", {}, 200, (819_400,)),
    ],
)
def test_numbers_from_the_last_blocks_on_are_those_of_the_table(family, options, classes, expected):
    with torch.device("meta"):
        names = dict(build(family, options, classes, 3).named_parameters())
    modules = [name.rpartition(".")[0] for name in names]
    starts = [modules.index(modules[-1])]
    starts += [next(i for i, n in enumerate(names) if n.startswith(unit)) for unit in reversed(units(family, options))]
    sizes = [tensor.numel() for tensor in names.values()]
    assert tuple(sum(sizes[start:]) for start in starts[: len(expected)]) == expected


SHAPES = {  # of system 003: channels and side of every map that is another than the one before
    ("squeezenet1_1", 224): "64x111 64x55 128x55 128x27 256x27 256x13 384x13 512x13 256x13",
    ("alexnet-bn", 227): "96x55 96x27 256x27 256x13 384x13 256x13 256x6",
    ("zfnet", 227): "96x111 96x55 256x27 256x13 512x13 1024x13 512x13 512x6",
}


@pytest.mark.parametrize(("family", "pixels"), SHAPES)
def test_maps_are_those_of_system_003(family, pixels):
    with torch.device("meta"):
        known = shapes(trace(build(family, {}, 256, 3)), 3, pixels, pixels)
    maps = [
        f"{s[0]}x{s[1]}" for name, s in known.items() if len(s) == 3 and "squeeze" not in name and "exp" not in name
    ]
    changes = [now for now, before in zip(maps[1:], maps) if now != before]
    assert " ".join(changes) == SHAPES[family, pixels]


def test_a_copy_shares_nothing_with_what_it_was_copied_from():
    network = trace(build("digits-cnn", {}, 10, 1))
    module = network.get_submodule("3")
    rule = Grid({"rule": "grid", "bits": 4}, tuple(module.weight.shape))
    rule.choose_scales(module.weight, None)
    rule.fit(module.weight)
    set_rule(module, rule, module.weight)
    expected = module.weight.clone()
    for copied in (clone(network), absorb(network)):
        other = copied.get_submodule("3")
        other.parametrizations["weight"][0].q.zero_()
        set_rule(other, Grid({"rule": "grid", "bits": 2}, tuple(rule.shape)), torch.zeros(rule.shape))
        if other.bias is not None:
            set_rule(other, Grid({"rule": "grid", "bits": 2}, tuple(other.bias.shape)), other.bias, "bias")
        assert torch.equal(module.weight, expected) and module.bias is None


def test_peak_memory_counts_what_lives_at_one_time():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.relu, self.b = nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1)
            self.add, self.flat, self.last = Add(), nn.Flatten(), nn.Linear(32, 3)

        def forward(self, x):
            x = self.relu(self.a(x))
            return self.last(self.flat(self.add(self.b(x), x)))

    network = trace(Small())
    # at the add: its two inputs of 2 x 4 x 4 and its output live
    assert peak_activation_bytes(network, (1, 4, 4)) == 3 * 32 * 4
    assert peak_activation_bytes(network, (1, 4, 4), bits=8) == 3 * 32


@pytest.mark.parametrize(
    ("family", "options", "classes", "channels"),
    [
        ("resnet21", {}, 10, 3),
        ("resnet20-cifar", {"shortcut": "c"}, 10, 3),
        ("resnet20-cifar", {"width": 2}, 10, 3),
        ("mobilenetv1", {"width": 0}, 10, 3),
        ("mobilenetv1", {"width": 1e9}, 10, 3),
        ("mobilenetv1", {"width": float("nan")}, 10, 3),
        ("mobilenetv2-cifar", {"last": 10**9}, 10, 3),
        ("mobilenetv2-cifar", {"last": 2.5}, 10, 3),
        ("mobilenetv2-cifar", {"reduction": 16}, 10, 3),
        ("mobilenetv1-cifar", {"width": 0}, 10, 3),
        ("vgg16-cifar", {"width": 1}, 10, 3),
        ("squeezenet1_1", {"stride": 3}, 10, 3),
        ("digits-cnn", {}, 0, 3),
        ("digits-cnn", {}, 10, 2),
    ],
)
def test_networks_that_make_no_sense_are_refused(family, options, classes, channels):
    with pytest.raises(ModelError):
        build(family, options, classes, channels)


@pytest.mark.parametrize(
    ("family", "options", "pixels"),
    [
        ("digits-cnn", {}, 1),
        ("vgg11-cifar", {}, 31),
        ("alexnet", {}, 62),
        ("squeezenet1_1", {}, 16),
        ("squeezenet1_1", {"stride": 1}, 8),
    ],
)
def test_pictures_that_are_too_small_are_refused(family, options, pixels):
    with pytest.raises(ModelError, match=f"{pixels} x {pixels}"):
        shapes(trace(build(family, options, 10, 1)), 1, pixels, pixels)


@pytest.mark.parametrize(("stride", "pixels", "side"), [(2, 224, 13), (2, 32, 1), (1, 32, 3)])
def test_squeezenet_pools_as_published_and_takes_small_pictures_too(stride, pixels, side):
    known = shapes(trace(build("squeezenet1_1", {"stride": stride}, 10, 3)), 3, pixels, pixels)
    assert known["classifier_2"] == (10, side, side) and known["output"] == (10,)


def test_a_deeper_network_has_its_layers_in_the_order_of_its_name():
    for depth in (11, 13, 16, 19):
        found = blocks(trace(build(f"vgg{depth}-cifar", {}, 10, 3)))
        assert sum(b.weighted for b in found) == depth
    for depth in (14, 20, 32, 44, 56, 110):
        found = blocks(trace(build(f"resnet{depth}-cifar", {"shortcut": "a"}, 10, 3)))
        assert sum(b.weighted for b in found) == depth


def test_a_fire_module_reads_two_activated_halves_and_needs_memory_for_both():
    network = trace(build("squeezenet1_1", {}, 10, 3))
    found = {b.name: b for b in blocks(network)}
    concat = found["features.3.concat"]
    assert concat.kind == "join" and concat.activation is None
    assert concat.sources == [found[f"features.3.expand{k}"].end for k in ("1x1", "3x3")]
    assert isinstance(found["features.3.expand3x3"].activation, nn.ReLU)
    # at the first max-pool: 64 maps of 111 x 111 and of 55 x 55
    assert peak_activation_bytes(network, (3, 224, 224), bits=8) == 64 * (111**2 + 55**2)


def test_dropout_is_nothing_in_evaluation_and_needs_no_memory():
    class Dropped(nn.Module):
        def __init__(self, rate):
            super().__init__()
            self.a, self.relu, self.drop = nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Dropout(rate)
            self.b, self.c, self.add = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1), Add()

        def forward(self, x):
            x = self.relu(self.a(x))
            return self.add(self.b(self.drop(x)), self.c(x))

    network, x = trace(Dropped(0.9)), torch.randn(2, 1, 5, 5)
    assert torch.equal(network(x), network(x)) and not torch.equal(network.train()(x), network(x))
    network.eval()
    plain = nn.Sequential(network.a, network.relu)(x)
    assert torch.equal(network(x), network.b(plain) + network.c(plain))
    # the 4 maps of a stay for c while b and c make theirs: what is dropped is no copy of them
    assert peak_activation_bytes(network, (1, 5, 5), bits=8) == 6 * 25


def test_given_weights_load_and_trunks_say_what_to_type(shared_data):
    from mignon.checkpoint import load_safetensors

    for name in ("resnet20-cifar10", "resnet20-cifar10-jpeg", "mobilenetv2-035-cifar10-jpeg"):
        given = load_safetensors(shared_data / f"{name}.safetensors")
        assert given.classes[0] == "airplane" and np.isfinite(given.logits(np.zeros((1, 32, 32, 3), np.uint8))).all()
    trunk = shared_data / "mobilenet-025-imagenet-trunk.safetensors"
    with pytest.raises(ModelError, match="trunk"):
        load_safetensors(trunk)


def test_two_inputs_of_a_join_live_as_long_as_they_are_needed():
    class Long(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(i, o, 1) for i, o in ((1, 8), (8, 1), (1, 8)))
            self.add, self.pool, self.last = Add(), GlobalAverage(), nn.Linear(8, 2)

        def forward(self, x):
            first = self.a(x)
            return self.last(self.pool(self.add(self.c(self.b(first)), first)))

    # input 1, a 8, b 1, c 8, sum 8 maps of 5 x 5: most at the add, 24 maps, since a waits for it
    assert peak_activation_bytes(trace(Long()), (1, 5, 5), bits=8) == 24 * 25
    # without the wait: 9 maps at most
    chain = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 1, 1), nn.Conv2d(1, 8, 1), GlobalAverage(), nn.Linear(8, 2))
    assert peak_activation_bytes(trace(chain), (1, 5, 5), bits=8) == 9 * 25


@pytest.mark.parametrize("shortcut", ["a", "b"])
def test_resnet_needs_most_memory_at_its_first_adds(shortcut):
    network = trace(build("resnet20-cifar", {"shortcut": shortcut}, 10, 3))
    assert peak_activation_bytes(network, (3, 32, 32), bits=8) == 3 * 16 * 32 * 32


def test_an_activation_that_another_block_still_needs_is_not_overwritten():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.relu, self.add = nn.Conv2d(1, 4, 1), nn.ReLU(), Add()
            self.pool, self.last = GlobalAverage(), nn.Linear(4, 2)

        def forward(self, x):
            x = self.a(x)
            return self.last(self.pool(self.add(self.relu(x), x)))

    assert peak_activation_bytes(trace(Both()), (1, 5, 5), bits=8) == 3 * 4 * 25


def test_operators_outside_of_modules_are_refused_with_what_to_use():
    class Plus(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.a(x) + x

    with pytest.raises(ModelError, match="layers"):
        trace(Plus())


def test_a_convolution_that_others_read_before_its_activation_keeps_it_outside():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.relu, self.add = nn.Conv2d(1, 4, 1), nn.ReLU(), Add()

        def forward(self, x):
            x = self.a(x)
            return self.add(self.relu(x), x)

    found = blocks(trace(Read()))
    assert [b.kind for b in found] == ["input", "conv", "join"] and found[1].activation is None


def test_a_convolution_with_a_bias_absorbs_batchnorm_too():
    torch.manual_seed(0)
    network = lively(trace(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())))
    with torch.no_grad():
        network(torch.ones(1, 2, 6, 6))
        images = torch.randn(4, 2, 6, 6)
        torch.testing.assert_close(absorb(network)(images), network(images), rtol=1e-5, atol=1e-6)


def test_quantized_weights_absorb_batchnorm_without_any_change():
    network = lively(trace(build("digits-cnn", {}, 10, 1)))
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for block in blocks(network):
        if block.weighted:
            weight = block.module.weight
            rule = Grid({"rule": "grid", "bits": 4}, tuple(weight.shape))
            rule.choose_scales(weight, norm_gain(network, block))
            rule.fit(weight)
            set_rule(block.module, rule, weight)
    with torch.no_grad():
        before, after = network(images), absorb(network)(images)
    assert float((after - before).abs().max()) <= 1e-5 * float(before.abs().max())


def test_grids_that_are_fine_change_little_and_can_be_taken_out_again():
    torch.manual_seed(0)
    network = trace(build("resnet20-cifar", {}, 10, 3))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        before = network(images)
        gridded = clone(network)
        grids = insert_grids(gridded, 16)
        assert len(grids) == len(blocks(network)) and set(grids_of(gridded)) == {n.replace(".", "_") for n in grids}
        for grid in grids.values():
            grid.cover(-20.0, 20.0)
        assert 0 < float((gridded(images) - before).abs().max()) < 0.05
        assert grids_of(clone(network)) == {}
        remove_grids(gridded)
        assert torch.equal(gridded(images), before) and grids_of(gridded) == {}


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from([2, 4, 8]))
def test_an_activation_grid_holds_zero_and_covers_its_range(low, width, bits):
    grid = ActivationGrid(bits)
    high = low + width
    grid.cover(low, high)
    low, high = min(low, 0.0), max(high, 0.0)
    x = torch.linspace(low, high, 101)
    y = grid(x)
    assert bool(torch.isfinite(y).all()) and float(grid(torch.zeros(1))) == 0
    assert 0 <= int(grid.zero) <= 2**bits - 1 and len(y.unique()) <= 2**bits
    step = float(scale(grid.k, 16))
    assert step <= max(high - low, 1e-12) / (2**bits - 1) * 2 ** (1 / 16) * 1.001
    assert float((y - x).abs().max()) <= 1.01 * step + 1e-6 * float(x.abs().max())


def test_asking_for_shapes_leaves_the_network_in_its_mode():
    network = trace(build("digits-cnn", {}, 10, 1))
    for training in (True, False):
        network.train(training)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        assert shapes(network, 1, 8, 8)
        assert network.training is training
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_model_is_named_with_its_options():
    assert parse_model("resnet20-cifar,shortcut=a") == ("resnet20-cifar", {"shortcut": "a"})
    assert parse_model("mobilenetv2-cifar,reduction=4,width=0.5")[1] == {"reduction": 4, "width": 0.5}
    for text, word in [("resnet20-cifar,a", "key=value"), ("resnet20-cifar,depth=3", "settings"), ("resnet2", "known")]:
        with pytest.raises(ModelError, match=word):
            parse_model(text)
