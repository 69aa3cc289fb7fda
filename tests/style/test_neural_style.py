"""Neural style as a user meets it: sizes, colours, masks, blends, scales, resumption, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.config import validate
from core.cpu.convolutions import Conv2d
from core.errors import UserError
from core.nn.vgg import VGG
from core.stylizer import Look
from style.neural.config import Config, Run
from style.neural.descent import Descent
from style.neural.images import scaled_size, to_picture, to_tensor, with_colors_of
from style.neural.losses import gram, total_variation
from style.neural.networks import RandomFilters, VGGEncoder, arrange, make_encoder
from style.neural.objective import Objective, Picture
from style.neural.reconstruct import reconstructions
from style.neural.stylizer import NeuralStyle, class_masks

CPU = torch.device("cpu")
RANDOM: dict[str, Any] = {
    "encoder": "random_filters",
    "pooling": "average",
    "content_layers": ["scale2"],
    "style_layers": ["scale1", "scale3"],
}


def config(**sections: Any) -> Config:
    tree = {
        "family": "neural_style",
        "name": "test",
        "model": RANDOM,
        "loss": {"content_weight": 0.1, "style_weight": 10.0},
        "optim": {"optimizer": "adam", "lr": 5.0},
        "scales": [{"size": 48, "iterations": 3}],
        "image": {"init": "content"},
    }
    return validate(Config, tree | sections)


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Noise of large and small grain."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    fine = generator.integers(-30, 30, (height, width, 3))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) + fine
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image).astype(int)


class Recorder:
    """A `Progress` that remembers, and may take up an earlier one."""

    def __init__(self, begun: tuple[int, Image.Image] | None = None) -> None:
        self.begun, self.seen = begun, list[tuple[int, int]]()
        self.looks: dict[int, Look] = {}

    def resumed(self) -> tuple[int, Image.Image] | None:
        return self.begun

    def advance(self, done: int, total: int, look: Callable[[], Look]) -> None:
        self.seen.append((done, total))
        self.looks[done] = look()


def stylize(changed: Config, *args: Any, **kwargs: Any) -> Image.Image:
    return NeuralStyle.build(changed, CPU).stylize(*args, **kwargs)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(50, 37), (33, 70), (300, 200)])
def test_any_content_and_style(size: tuple[int, int], mode: str) -> None:
    content, style = picture(*size, mode=mode), picture(size[1], 80, 1, mode)
    result = stylize(config(), content, [style])
    assert result.mode == "RGB"
    assert result.size == scaled_size(*size, 48)


def test_objective_falls_and_style_arrives() -> None:
    content, style = picture(60, 48), picture(48, 60, 1)
    recorder = Recorder()
    long = config(scales=[{"size": 48, "iterations": 40}])
    stylize(long, content, [style], progress=recorder)
    first, last = (sum(recorder.looks[step].terms.values()) for step in (1, 40))
    assert last < 0.25 * first
    assert recorder.seen == [(step, 40) for step in range(1, 41)]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_both_optimizers_minimise(optimizer: Any) -> None:
    options = config(
        model=RANDOM | {"style_layers": ["scale1"]}, optim={"optimizer": optimizer, "lr": 5.0}
    )
    start = to_tensor(picture(48, 48))
    style = Picture(to_tensor(picture(48, 48, 1)))
    objective = Objective(RandomFilters(), options, Picture(start), [style])
    descent = Descent(start, objective, options.optim)
    values = [float(sum(descent.step().values())) for _ in range(25)]
    assert values[-1] < 0.5 * values[0]
    assert not descent.image.detach().equal(start)


def test_stages_resume_at_the_last_picture() -> None:
    """From the end of a stage it is the same computation; within one, Adam's memory is new."""
    stages = [{"size": 40, "iterations": 3}, {"size": 64, "iterations": 2}]
    changed = config(scales=stages)
    content, style = picture(60, 48), picture(48, 60, 1)
    whole = Recorder()
    result = stylize(changed, content, [style], progress=whole)
    assert result.size == (64, 51)
    assert whole.seen[-1] == (5, 5)
    again = Recorder((3, whole.looks[3].state))
    assert pixels(stylize(changed, content, [style], progress=again)).tolist() == (
        pixels(result).tolist()
    )
    assert again.seen == [(4, 5), (5, 5)]
    within = Recorder((4, whole.looks[4].state))
    assert stylize(changed, content, [style], progress=within).size == result.size
    assert within.seen == [(5, 5)]
    ended = Recorder((5, result))
    assert stylize(changed, content, [style], progress=ended) == result
    assert ended.seen == []


def test_original_colors_keep_the_contents_chroma_and_the_state_its_own() -> None:
    content, style = picture(48, 40), picture(48, 40, 1)
    changed = config(image={"init": "content", "original_colors": True})
    recorder = Recorder()
    result = stylize(changed, content, [style], progress=recorder)
    chroma = [pixels(x.convert("YCbCr"))[..., 1:] for x in (result, content)]
    assert np.abs(chroma[0] - chroma[1]).mean() < 4  # clipping of RGB moves a few
    assert recorder.looks[3].state != result
    assert with_colors_of(recorder.looks[3].state, content) == result


def test_blending_weights_reach_both_ends() -> None:
    content, styles = picture(48, 40), [picture(48, 40, 1), picture(40, 48, 2)]
    one = stylize(config(), content, styles[:1])
    image = {"init": "content", "style_blend_weights": [1.0, 1e-9]}
    assert stylize(config(image=image), content, styles) == one
    equal = stylize(config(), content, styles)
    assert equal != one
    assert equal == stylize(
        config(image=image | {"style_blend_weights": [2.0, 2.0]}), content, styles
    )
    with pytest.raises(UserError, match=r"style_blend_weights: 2 for 1 styles"):
        stylize(config(image=image), content, styles[:1])


def test_starts(tmp_path: Any) -> None:
    content, style = picture(48, 40), picture(48, 40, 1)
    picture(90, 31, 3).save(tmp_path / "start.png")
    images = [
        {"init": "noise"},
        {"init": "noise", "seed": 1},
        {"init": "content"},
        {"init": "image", "init_image": str(tmp_path / "start.png")},
    ]
    results = [pixels(stylize(config(image=image), content, [style])) for image in images]
    for place, result in enumerate(results):
        assert all((result != other).any() for other in results[:place])
    again = pixels(stylize(config(image=images[0]), content, [style]))
    assert (again == results[0]).all()


def half_map(width: int, height: int, left: int, right: int) -> Image.Image:
    levels = np.full((height, width), left, np.uint8)
    levels[:, width // 2 :] = right
    return Image.fromarray(levels)


def test_masks_send_each_style_to_its_class() -> None:
    """A dim and a bright style, one for each half; with the content's classes swapped, swapped."""
    content = Image.new("RGB", (64, 48), (128, 128, 128))
    styles = [Image.new("RGB", (64, 48), (level,) * 3) for level in (150, 240)]
    changed = config(
        scales=[{"size": 64, "iterations": 40}], loss={"content_weight": 0.0, "style_weight": 10.0}
    )
    for classes, sign in (((1, 2), 1), ((2, 1), -1)):
        result = stylize(
            changed,
            content,
            styles,
            content_mask=half_map(64, 48, *classes),
            style_masks=[half_map(9, 7, 1, 1), half_map(9, 7, 2, 2)],
        )
        left, right = pixels(result)[:, 4:28].mean(), pixels(result)[:, 36:60].mean()
        assert sign * (right - left) > 15


def test_a_single_class_is_the_whole_image() -> None:
    content, style = picture(48, 40), picture(40, 48, 1)
    plain = pixels(stylize(config(), content, [style]))
    ones = {"content_mask": half_map(12, 10, 3, 3), "style_masks": [half_map(5, 6, 3, 3)]}
    assert np.abs(pixels(stylize(config(), content, [style], **ones)) - plain).max() <= 1


def test_one_pixel_classes_and_classes_of_one_side() -> None:
    content, style = picture(48, 40), picture(40, 48, 1)
    here, there = np.ones((40, 48), np.uint8), np.ones((48, 40), np.uint8)
    here[0, 0], here[20:], there[5, 5], there[:9] = 7, 4, 7, 9
    result = stylize(
        config(),
        content,
        [style],
        content_mask=Image.fromarray(here),
        style_masks=[Image.fromarray(there)],
    )
    assert result.size == content.size
    assert np.isfinite(pixels(result)).all()


def test_classes_come_from_the_styles_that_have_them() -> None:
    image = picture(48, 40)
    styles = [half_map(48, 40, 1, 3), half_map(12, 10, 1, 1)]
    masks = class_masks(image, [image, image], half_map(48, 40, 1, 2), styles)
    assert [list(classes) for classes in masks] == [[1], [1], [1]]
    with pytest.raises(UserError, match=r"content mask: 2 .*style mask: 3 .*use the same ids"):
        class_masks(image, [image], half_map(48, 40, 2, 2), [half_map(48, 40, 3, 3)])


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("model", RANDOM | {"style_layers": ["relu1_1"]}, "random_filters has no layer 'relu1_1'"),
        ("model", {"style_layers": ["relu9_1"]}, "vgg19_caffe has no layer 'relu9_1'"),
        ("model", {"weights": "nowhere.pth"}, "nowhere.pth: cannot read the VGG weights"),
        ("model", RANDOM | {"weights": "a.pth"}, "drawn, not read"),
        ("model", {"encoder": "vgg16_caffe", "content_layers": ["relu3_4"]}, "vgg16_caffe has no"),
        ("model", RANDOM | {"pooling": "max"}, "set pooling: average"),
        ("image", {"init": "image"}, "init_image: FILE go together"),
        ("scales", [{"size": 8}], "greater than or equal to 16"),
        ("scales", [], "at least 1"),
    ],
)
def test_bad_options(section: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_encoder(config(**{section: value}).model)


def test_images_too_thin_are_refused() -> None:
    with pytest.raises(UserError, match=r"600x20 px become 48x1 at 48 px"):
        stylize(config(), picture(600, 20), [picture(48, 48)])


def test_divergence_is_said() -> None:
    changed = config(loss={"content_weight": 1e300, "style_weight": 1e300})
    with pytest.raises(UserError, match="diverged"):
        stylize(changed, picture(48, 48), [picture(48, 48, 1)])


def test_pictures_survive_the_round_trip() -> None:
    image = picture(31, 17)
    assert to_picture(to_tensor(image)) == image


def test_gram_with_a_mask_of_ones_and_total_variation_by_hand() -> None:
    features = torch.rand(1, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(gram(features, torch.ones(5, 6)), gram(features))
    image = torch.tensor([[[[0.0, 2.0], [5.0, 1.0]]]])
    assert total_variation(image) == 2 + 4 + 5 + 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gram_has_the_gradients_of_its_formula(layout: torch.memory_format) -> None:
    features = (
        torch.rand(1, 4, 3, 5, dtype=torch.float64)
        .contiguous(memory_format=layout)
        .requires_grad_()
    )
    assert torch.autograd.gradcheck(gram, features)
    assert torch.autograd.gradgradcheck(gram, features)


def test_encoders_are_frozen_and_the_same_everywhere() -> None:
    first, second = RandomFilters(), RandomFilters()
    image = to_tensor(picture(128, 160))
    for one, two in zip(
        first(image, first.names()).values(), second(image, second.names()).values(), strict=True
    ):
        assert torch.equal(one, two)
    assert not any(parameter.requires_grad for parameter in first.parameters())
    vgg = VGGEncoder(VGG(19, "relu2_1", widths=(4, 4, 4, 4, 4)), "caffe")
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    assert vgg.minimum == 2


def test_channels_last_changes_nothing() -> None:
    content, style = picture(48, 40), picture(40, 48, 1)
    plain = pixels(stylize(config(), content, [style]))
    other = pixels(stylize(config(run={"channels_last": True}), content, [style]))
    assert np.abs(other - plain).max() <= 1


@pytest.mark.parametrize("encoder", ["random", "vgg"])
def test_compiled_terms_are_the_same(encoder: str) -> None:
    """The graph is whole and its gradient right; generating C++ for it would only take time."""
    network = RandomFilters(3) if encoder == "random" else VGGEncoder(VGG(19, "relu2_1"), "caffe")
    layers = ("scale1", "scale3") if encoder == "random" else ("relu1_2", "relu2_1")
    model = RANDOM | {"content_layers": layers, "style_layers": layers}
    target = Picture(to_tensor(picture(40, 48, 1)))
    gradients = []
    for compiled in (False, True):
        objective = Objective(network, config(model=model), target, [target])
        if compiled:
            objective.compile(backend="aot_eager")
        x = to_tensor(picture(40, 48, 2)).requires_grad_()
        sum(objective(x).values()).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_minimal_filtering_changes_the_rounding_only() -> None:
    torch.manual_seed(0)  # of other weights a feature may lie on the edge of a ReLU
    network = VGGEncoder(VGG(19, "relu2_2", widths=(8, 128, 8, 8, 8)), "caffe")
    layers = ("relu1_2", "relu2_2")
    image = to_tensor(picture(64, 64)).requires_grad_()
    gradients = []
    for winograd in (False, True):
        arrange(network, Run(winograd=winograd), CPU)
        features = network(image, layers)
        loss = sum((features[name] * features[name].detach().cos()).sum() for name in layers)
        gradients.append(torch.autograd.grad(loss, image)[0])
    assert isinstance(network.vgg.features[0], Conv2d)
    assert not torch.equal(*gradients)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))


def test_bf16_stays_near() -> None:
    content, style = picture(48, 40), picture(40, 48, 1)
    plain = pixels(stylize(config(), content, [style]))
    half = pixels(stylize(config(run={"precision": "bf16"}), content, [style]))
    assert np.abs(half - plain).mean() < 5


def test_reconstructions_are_of_single_layers_and_growing_sets() -> None:
    contents = dict(reconstructions(config(), "content", ["scale1", "scale2"]))
    styles = dict(reconstructions(config(), "style"))
    assert [c.model.content_layers for c in contents.values()] == [("scale1",), ("scale2",)]
    assert [s.model.style_layers for s in styles.values()] == [("scale1",), ("scale1", "scale3")]
    assert all(c.loss.style_weight == 0 for c in contents.values())
    assert all(s.loss.content_weight == 0 for s in styles.values())
    image = picture(48, 40)
    again = stylize(
        contents["content_scale1"].model_copy(
            update={"scales": config(scales=[{"size": 48, "iterations": 80}]).scales}
        ),
        image,
        [image],
    )
    gray = np.abs(pixels(image) - 128).mean()
    assert np.abs(pixels(again) - pixels(image)).mean() < 0.5 * gray
    with pytest.raises(UserError, match="content_weight: 0 leaves nothing"):
        reconstructions(config(loss={"content_weight": 0.0}), "content")


def test_default_stages_go_from_coarse_to_fine_where_the_encoder_can_see() -> None:
    default = validate(Config, {"family": "neural_style", "model": RANDOM})
    stylizer = NeuralStyle.build(default, CPU)
    assert [s.size for s in stylizer._scales([picture(60, 40)])] == [128, 256, 512]
    minimum = stylizer.encoder.minimum
    strip = picture(1024, 3 * minimum)  # a 128th or a 256th of it is too thin
    assert [s.size for s in stylizer._scales([picture(60, 40), strip])] == [512]
    assert default.at(default.scales[0]).optim.lr == 20.0
    named = validate(Config, {"family": "neural_style", "scales": [{"size": 64}]})
    assert [s.size for s in named.scales] == [64]
