"""Shapes, parameter counts and starting values of the encoders and decoders."""

import json
import math

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.networks import ACTIVATIONS, MLP, Conv, ConvTiny, architecture, architecture_config

EVENT_SHAPES = {
    "mlp": [(7,), (1, 8, 8), (3, 5, 4), (2, 2, 2, 2)],
    "conv": [(1, 28, 28), (1, 27, 27), (1, 8, 8), (3, 8, 8), (3, 9, 6), (1, 1, 1), (2, 2, 5)],
    "conv-tiny": [(1, 3, 3), (3, 3, 3)],
}
CASES = [(name, shape) for name, shapes in EVENT_SHAPES.items() for shape in shapes]


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("num_parameters", [1, 2])
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_encoder_gives_features_and_decoder_every_parameter_of_every_coordinate(
    name, shape, num_parameters, latent_dim
):
    network = architecture(name)
    features = network.encoder(shape)(torch.rand(4, *shape))
    assert features.dim() == 2
    assert len(features) == 4
    decoded = network.decoder(latent_dim, shape, num_parameters)(torch.randn(4, latent_dim))
    assert len(decoded) == 4
    assert decoded[0].numel() == num_parameters * math.prod(shape)


@pytest.mark.parametrize("name", EVENT_SHAPES)
def test_data_of_a_batch_do_not_touch_each_other(name):
    shape = EVENT_SHAPES[name][0]
    encoder, x = architecture(name).encoder(shape), torch.rand(3, *shape)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]), rtol=1e-4, atol=1e-6)


def test_convolutional_pair_has_the_published_number_of_parameters():
    vae = pv.VAE((1, 28, 28), 2, network="conv")
    assert count(vae.guide) == 69_076
    assert count(vae.model) == 65_089


def test_convolutional_pair_halves_twice_and_doubles_twice():
    vae = pv.VAE((1, 28, 28), 2, network="conv")
    shapes = output_shapes(vae.guide.encoder, torch.rand(1, 1, 28, 28))
    assert [s[1:] for s in shapes] == [(32, 14, 14)] * 2 + [(64, 7, 7)] * 2 + [(3136,), (16,), (16,)]
    shapes = output_shapes(vae.model.decoder, torch.rand(1, 2))
    assert [s[1:] for s in shapes] == (
        [(3136,)] * 2 + [(64, 7, 7)] + [(64, 14, 14)] * 2 + [(32, 28, 28)] * 2 + [(1, 28, 28)]
    )


def test_tiny_pair_has_the_shapes_of_the_3x3_system():
    tiny = ConvTiny()
    shapes = output_shapes(tiny.encoder((1, 3, 3)), torch.rand(1, 1, 3, 3))
    assert [s[1:] for s in shapes] == [(6, 2, 2)] * 2 + [(2, 1, 1)] * 2 + [(2,)]
    shapes = output_shapes(tiny.decoder(2, (1, 3, 3), 1), torch.rand(1, 2))
    assert [s[1:] for s in shapes] == [(2, 1, 1)] + [(6, 2, 2)] * 2 + [(1, 3, 3)] * 2 + [(9,)] * 2
    # conv 2x2: 4*6+6, 4*6*2+2; transposed: 4*2*6+6, 4*6+1; dense: 9*9+9.
    assert count(tiny.encoder((1, 3, 3))) == 30 + 50
    assert count(tiny.decoder(2, (1, 3, 3), 1)) == 54 + 25 + 90


def test_batch_norm_stands_between_a_layer_and_its_activation():
    network = MLP(hidden=(5, 3), activation="relu", batch_norm=True)
    kinds = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert [type(layer) for layer in network.encoder((4,))] == [nn.Flatten, *kinds, *kinds]
    assert [type(layer) for layer in network.decoder(2, (4,), 1)] == [*kinds, *kinds, nn.Linear]
    assert [layer.bias is None for layer in network.decoder(2, (4,), 1) if isinstance(layer, nn.Linear)] == [
        True,
        True,
        False,
    ]
    assert architecture(architecture_config(network)) == network


def output_shapes(network, x):
    shapes = []
    for layer in network:
        x = layer(x)
        shapes.append(tuple(x.shape))
    return shapes


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("seed", range(3))
def test_convolutions_start_glorot_uniform_with_zero_biases(half, seed):
    torch.manual_seed(seed)
    network = Conv().encoder((1, 28, 28)) if half == "encoder" else Conv().decoder(2, (1, 28, 28), 1)
    layers = [layer for layer in network if hasattr(layer, "weight")]
    assert layers
    for layer in layers:
        kernel = layer.weight[0, 0].numel() if layer.weight.dim() == 4 else 1
        rows, columns = layer.weight.shape[:2]
        bound = math.sqrt(6 / ((rows + columns) * kernel))
        assert layer.weight.abs().max() <= bound
        # U(-a, a) has standard deviation a / sqrt 3; that of n draws has relative standard error sqrt(0.2 / n).
        n = layer.weight.numel()
        ratio = (layer.weight.square().mean().sqrt() * math.sqrt(3) / bound).item()
        assert abs(ratio - 1) < 4 * math.sqrt(0.2 / n)
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_uses_the_activation_it_is_told(activation):
    network = MLP((3, 4), activation)
    encoder = network.encoder((2, 5))
    assert [type(layer) for layer in encoder][2::2] == [type(ACTIVATIONS[activation]())] * 2
    widths = [layer.out_features for layer in network.decoder(6, (2, 5), 2) if isinstance(layer, nn.Linear)]
    assert widths == [4, 3, 20]


def test_default_mlp_is_pyros_tutorial_network():
    vae = pv.VAE((784,), 50)
    assert count(vae.guide) == 784 * 400 + 400 + 2 * (400 * 50 + 50)
    assert count(vae.model) == 50 * 400 + 400 + 400 * 784 + 784


@pytest.mark.parametrize(
    "network",
    [MLP(), MLP((5, 6), "tanh"), Conv(), Conv((4, 8), 3), ConvTiny(), ConvTiny(2)],
    ids=repr,
)
def test_configuration_survives_json(network):
    stored = json.loads(json.dumps(architecture_config(network)))
    assert architecture(stored) == network


@pytest.mark.parametrize("name", EVENT_SHAPES)
def test_name_stands_for_the_defaults(name):
    assert architecture_config(architecture(name))["name"] == name
    assert architecture(name) == architecture({"name": name})


def test_architecture_of_the_users_own_has_no_configuration():
    class Own(MLP):
        pass

    assert architecture_config(Own()) is None
    assert architecture(own := Own()) is own


@pytest.mark.parametrize(("name", "shape"), [("conv", (784,)), ("conv", (28, 28)), ("conv-tiny", (9,))])
def test_images_need_three_dimensions(name, shape):
    for build in (
        lambda: architecture(name).encoder(shape),
        lambda: architecture(name).decoder(2, shape, 1),
    ):
        with pytest.raises(ModelError, match=rf"{name}.*\(C, H, W\), got \({shape[0]}"):
            build()


def test_tiny_pair_needs_images_of_3x3():
    with pytest.raises(ModelError, match=r"3x3 pixels, got event_shape \(1, 4, 3\)"):
        ConvTiny().encoder((1, 4, 3))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("convv", "unknown network 'convv'; did you mean 'conv'"),
        ({"name": "mpl"}, "did you mean 'mlp'"),
        ({"name": "mlp", "hiden": (3,)}, "network 'mlp'.*hiden"),
        ({"hidden": (3,)}, "network must be"),
        (3, "network must be"),
        ([nn.Identity(), nn.Identity()], "network must be"),
        (nn.Identity(), "network must be"),
    ],
)
def test_what_is_no_network_is_refused(spec, message):
    with pytest.raises(ModelError, match=message):
        architecture(spec)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "sofplus"}, "unknown activation 'sofplus'; did you mean 'softplus'"),
        ({"hidden": ()}, r"hidden must be one or more sizes, got \(\)"),
        ({"hidden": (3, 0)}, "hidden must be an integer of at least 1, got 0"),
    ],
)
def test_mlp_refuses_what_it_cannot_build(options, message):
    with pytest.raises(ModelError, match=message):
        MLP(**options)
