"""DRIT's networks: sizes, the shortcuts against the plain way, spectral norm, initial weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from drit.layers import FeatureBlock, SpectralConv2d, gaussian_init
from drit.networks import (
    AttributeEncoder,
    ConcatAttributeEncoder,
    ConcatGenerator,
    ContentDiscriminator,
    ContentEncoder,
    Discriminator,
    Domain,
    MultiScaleDiscriminator,
)


def with_attribute_everywhere(gen: ConcatGenerator, content: Tensor, z: Tensor) -> Tensor:
    """The published forward of decoder A: every block sees the attribute."""
    x = gen.dec_share(content)
    for n in (1, 2, 3, 4):
        z_map = z[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = gen.get_submodule(f"decA{n}")(torch.cat([x, z_map], 1))
    return x


def test_attribute_may_be_added_behind_the_residual_blocks() -> None:
    torch.manual_seed(0)
    gen = ConcatGenerator(3, 3, dim=4, nz=8).double()
    content, z = torch.randn(2, 16, 9, 7).double(), torch.randn(2, 8).double().requires_grad_()
    results = []
    for image in (gen(content, z, "A"), with_attribute_everywhere(gen, content, z)):
        parameters = [p for key, p in gen.named_parameters() if not key.startswith("decB")]
        gradients = torch.autograd.grad(image.square().sum(), [z, *parameters])
        results.append([image, *gradients])
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)


def test_code_may_be_mixed_in_by_its_half_of_the_convolution() -> None:
    torch.manual_seed(0)
    block = FeatureBlock(6).double()
    x, code = torch.randn(2, 6, 5, 4).double(), torch.randn(2, 6).double()
    appended = code[:, :, None, None].expand(-1, -1, 5, 4)
    y = block.blk1(torch.cat([block.conv1(x), appended], 1))
    plain = x + block.blk2(torch.cat([block.conv2(y), appended], 1))
    torch.testing.assert_close(block(x, code), plain)


@pytest.mark.parametrize(
    "network",
    [
        Discriminator(3, 2),
        MultiScaleDiscriminator(3, 2, 1),
        MultiScaleDiscriminator(3, 2, 2),
        MultiScaleDiscriminator(3, 2, 3),
    ],
    ids=["single", "scales-1", "scales-2", "scales-3"],
)
def test_smallest_image_of_a_discriminator(network: nn.Module) -> None:
    minimum = network.minimum
    assert isinstance(minimum, int)
    network(torch.rand(1, 3, minimum, minimum + 5))
    with pytest.raises(RuntimeError):
        network(torch.rand(1, 3, minimum - 1, minimum + 5))


@pytest.mark.parametrize(("layers", "pixels"), [(3, 209), (2, 97), (1, 41)])
def test_smallest_image_of_the_content_discriminator(layers: int, pixels: int) -> None:
    network = ContentDiscriminator(2, layers)
    assert network.minimum == pixels

    def judge(side: int) -> list[Tensor]:
        return network(torch.rand(1, 2, -(-side // 4), 60))

    judge(pixels)
    with pytest.raises(RuntimeError):
        judge(pixels - 4)


@pytest.mark.parametrize("domain", ["A", "B"])
@pytest.mark.parametrize("kind", [AttributeEncoder, ConcatAttributeEncoder])
def test_smallest_image_of_the_encoders(kind: type[nn.Module], domain: Domain) -> None:
    enc_a, enc_c = kind(3, 3, 2, 8), ContentEncoder(3, 3, 2)
    side = max(int(enc_a.minimum), enc_c.minimum)  # type: ignore[arg-type]
    mean, _ = enc_a(torch.rand(2, 3, side, side + 3), domain)
    assert mean.shape == (2, 8)
    assert enc_c(torch.rand(2, 3, side, side + 3), domain).shape == (2, 8, 4, 5)


def test_spectral_norm_tends_to_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 8, 3)
    x = torch.rand(1, 3, 5, 5)
    for _ in range(200):
        conv(x)
    largest = torch.linalg.matrix_norm(conv.weight_orig.flatten(1), 2)
    torch.testing.assert_close(conv.weight, conv.weight_orig / largest)
    kept = conv.weight_u.clone()
    conv.eval()
    torch.testing.assert_close(
        conv(x), nn.functional.conv2d(x, conv.weight_orig / largest, conv.bias)
    )
    assert torch.equal(kept, conv.weight_u)


def test_gradient_of_a_call_survives_the_next_one() -> None:
    """The power iteration changes buffers, which an earlier graph must not hold."""
    conv = SpectralConv2d(3, 4, 3)
    x = torch.rand(1, 3, 5, 5)
    first = conv(x).sum()
    conv(x)
    first.backward()
    assert conv.weight_orig.grad is not None


@pytest.mark.parametrize("spectral", [False, True])
def test_initial_weights(spectral: bool) -> None:
    torch.manual_seed(0)
    dis = MultiScaleDiscriminator(3, 32, 1, spectral)
    before = {key: value.clone() for key, value in dis.state_dict().items()}
    gaussian_init(dis)
    leaf = "weight_orig" if spectral else "weight"
    for key, value in dis.named_parameters():
        if key.endswith("bias") or (spectral and key == f"Diss.0.4.{leaf}"):
            assert torch.equal(value, before[key]), key
        else:
            assert value.std().item() == pytest.approx(0.02, rel=0.15), key
    enc_a = ConcatAttributeEncoder(3, 3, 8, 8)
    linear = enc_a.fc_A[0].weight.clone()
    gaussian_init(enc_a)
    assert torch.equal(linear, enc_a.fc_A[0].weight)
