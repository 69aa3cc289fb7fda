"""What is measured on which data, by numbers that can be told by hand."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import core.evaluation.networks
from core.checkpoints.official_files import read_state
from core.config import validate
from core.errors import UserError
from core.evaluation.image_set import Preprocess, find_evaluation_set
from core.evaluation.metrics import weights
from core.evaluation.metrics.diversity import pixel_distance
from core.evaluation.metrics.fid import frechet_distance
from core.evaluation.metrics.kid import kernel_distance
from core.evaluation.metrics.lpips import LPIPS, lpips_diversity
from core.evaluation.model import Evaluator
from core.evaluation.networks import Features
from core.evaluation.samples import evaluate_samples
from core.evaluation.scores import Evaluation, Measure, Scores
from core.evaluation.share import Share
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.options import EvaluateOptions
from core.report.pictures import to_uint8
from dcgan.family import DCGAN
from tests.small import family
from tests.toy_styles import Tint

CPU = torch.device("cpu")


class Negative(torch.nn.Module):
    """The generator that the colour-inversion score is for."""

    multiple = minimum = 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -images


class Same(torch.nn.Module):
    multiple = minimum = 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.clone()


def known(name: str = "cyclegan", size: int = 32) -> Translator:
    """A to B gives the negative, B to A the input itself."""
    built = family(name)
    data = built.config.data.model_copy(update={"crop_size": size, "load_size": size})
    built.config = built.config.model_copy(update={"data": data})
    networks: dict[str, torch.nn.Module] = {"G_A": Negative(), "G_B": Same()}
    built.networks.update(networks if name == "cyclegan" else {"G": Negative()})
    return Translator(built, CPU)


def tint() -> Translator:
    return Translator(Tint(), CPU)  # type: ignore[arg-type]


def write(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def pictures(number: int, seed: int, side: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(number)]


def evaluator(
    translator: Translator,
    root: Path,
    options: EvaluateOptions,
    preprocess: Preprocess = "official",
) -> Evaluator:
    """On the test split below a folder."""
    test_set = find_evaluation_set(root, translator, preprocess, options.max_images)
    return Evaluator(translator, test_set, options)


@pytest.fixture
def unpaired(tmp_path: Path) -> Path:
    """Three images of A, four of B; of A the truth is known: the negative, one level off."""
    root = tmp_path / "unpaired"
    for i, pixels in enumerate(pictures(3, 0)):
        write(root / "testA" / f"{i}.png", pixels)
        write(root / "truthB" / f"{i}.png", np.clip(256 - pixels.astype(int), 0, 255))
    for i, pixels in enumerate(pictures(4, 1)):
        write(root / "testB" / f"{i}.png", pixels)
    return root


def by_name(scores: Scores) -> dict[str, Measure]:
    return dict(scores.measures)


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_scores_that_can_be_told_by_hand(unpaired: Path) -> None:
    result = evaluator(known(), unpaired, EvaluateOptions())()
    there, back = result.directions["AtoB"], result.directions["BtoA"]
    assert (there.num_images, there.num_real, back.num_images) == (3, 4, 4)
    scores = by_name(there)
    kept = ["edge_correlation", "color_inversion", "structure_distance"]
    assert list(scores) == ["detail_distance", "psnr", "ssim", "l1", "student_distance", *kept]
    assert scores["l1"].value == pytest.approx(1 / 255, rel=0.02)
    # A negative has the energy of its original, on every scale.
    detail = scores["detail_distance"]
    assert detail.value == pytest.approx(detail.input_copied)
    # One grey level off nearly everywhere (0 has no 256).
    assert scores["psnr"].value == pytest.approx(20 * math.log10(255), abs=0.1)
    assert scores["psnr"].input_copied == pytest.approx(10 * math.log10(3), abs=0.3)
    assert scores["ssim"].value > 0.999 > 0 > (scores["ssim"].input_copied or 0)
    assert scores["color_inversion"].value == pytest.approx(-1)
    assert scores["edge_correlation"].value == pytest.approx(1)
    # There is no truthA, and a copy is its input.
    assert list(by_name(back)) == ["detail_distance", *kept]
    assert by_name(back)["color_inversion"].value == pytest.approx(1)
    first, second = result.notes
    assert "fid and kid not measured" in first and "--download" in first
    assert "lpips not measured" in second
    assert result.protocol["ssim"].startswith("Gaussian window of 11 px")


def test_images_share_a_pass_where_none_depends_on_another(unpaired: Path) -> None:
    class Counted(Negative):
        passes: ClassVar[list[int]] = []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.passes.append(len(images))
            return super().forward(images)

    write(unpaired / "testA" / "9.png", np.zeros((40, 32, 3)))  # another size: a pass of its own
    (unpaired / "truthB").rename(unpaired / "elsewhere")
    translator = known()
    translator.family.networks["G_A"] = Counted()
    together = evaluator(translator, unpaired, EvaluateOptions(), "none")()
    assert Counted.passes == [3, 1]
    translator.family.networks["G_B"] = torch.nn.Sequential(Same(), torch.nn.Dropout())
    alone = evaluator(translator, unpaired, EvaluateOptions(), "none")()
    found, expected = (
        {name: measure.value for name, measure in by_name(result.directions["AtoB"]).items()}
        for result in (alone, together)
    )
    assert found == pytest.approx(expected)
    assert Counted.passes[2:] == [1, 1, 1, 1]


@pytest.mark.parametrize("styles", [False, True])
def test_parts_put_together_are_the_whole(unpaired: Path, styles: bool) -> None:
    """Also of more processes than there are pictures, and with dropout."""
    translator = tint() if styles else known()
    if not styles:
        translator.family.networks["G_B"] = torch.nn.Sequential(Same(), torch.nn.Dropout())
    measured = evaluator(translator, unpaired, EvaluateOptions(features="random"))
    parts = [measured.share(part, 5) for part in range(5)]
    assert [len(part["AtoB"].inputs) for part in parts] == [0, 1, 0, 1, 1]
    sent = [{d: Share(**share.state()) for d, share in part.items()} for part in parts]
    whole, together = measured(), measured.summary(sent)
    assert together.notes == whole.notes
    # A network sees the same pictures in other batches.
    assert together.flat() == pytest.approx(whole.flat(), rel=1e-4, abs=1e-6)


def test_pairs_know_their_truth_also_for_a_family_without_pairs(tmp_path: Path) -> None:
    for i, pixels in enumerate(pictures(2, 0)):
        write(tmp_path / "val" / f"{i}.png", np.concatenate([pixels, 255 - pixels], axis=1))
    for name in ("pix2pix", "cyclegan"):
        result = evaluator(known(name), tmp_path, EvaluateOptions())()
        assert by_name(result.directions["AtoB"])["psnr"].value == math.inf
        tree = json.loads(json.dumps(result.tree(), allow_nan=False))
        assert tree["directions"]["AtoB"]["measures"]["psnr"]["value"] is None
        assert "test_psnr_AtoB" not in result.flat()
        assert result.flat()["test_ssim_AtoB"] == pytest.approx(1)
    assert by_name(result.directions["BtoA"])["psnr"].value < 10


def test_sizes_follow_the_published_test_or_stay(tmp_path: Path) -> None:
    for domain in "AB":
        write(tmp_path / f"test{domain}" / "0.png", np.zeros((20, 50, 3)))
    translator = known(size=32)
    official = find_evaluation_set(tmp_path, translator)
    native = find_evaluation_set(tmp_path, translator, "none")
    assert official.inputs["AtoB"].read(0).shape == (3, 32, 32)
    assert native.inputs["BtoA"].read(0).shape == (3, 20, 50)
    evaluator(translator, tmp_path, EvaluateOptions(), "none")()
    small = known(size=8)
    with pytest.raises(UserError, match=r"testA/0.png: 8x8 px; measured are images of at least 12"):
        evaluator(small, tmp_path, EvaluateOptions())()


def test_truths_must_be_complete_and_fit(unpaired: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate.weights: .* no such folder"):
        evaluator(known(), unpaired, EvaluateOptions(weights=str(unpaired / "none")))
    write(unpaired / "truthB" / "1.png", np.zeros((32, 16, 3)))
    with pytest.raises(UserError, match=r"1.png: its translation has 32x32 px, its truth 16x32"):
        evaluator(known(), unpaired, EvaluateOptions(), "none")()
    (unpaired / "truthB" / "1.png").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of 3 truths, first 1.png"):
        evaluator(known(), unpaired, EvaluateOptions())


def test_styles_diversity_and_guidance_by_the_truth(tmp_path: Path) -> None:
    """The toy's translation is the input's shading around the style's mean colour."""
    ramp = np.linspace(-20, 20, 16)[None, :, None]
    for i, (gray, color) in enumerate([(100, (60, 90, 120)), (150, (200, 120, 90))]):
        write(tmp_path / "testA" / f"{i}.png", gray + ramp.repeat(16, 0).repeat(3, 2))
        write(tmp_path / "testB" / f"{i}.png", np.full((16, 16, 3), color))
        write(tmp_path / "truthB" / f"{i}.png", np.array(color) + ramp.repeat(16, 0))
    translator = tint()
    measure = evaluator(translator, tmp_path, EvaluateOptions(num_styles=4))
    result = measure()
    scores = by_name(result.directions["AtoB"])
    assert scores["psnr"].value > 45 > 20 > (scores["psnr"].input_copied or 99)
    assert {"diversity", "diversity_features"} <= scores.keys()
    expected = []
    for i in range(2):
        image = find_evaluation_set(tmp_path, translator).inputs["AtoB"].read(i)
        styles = translator.random_styles(4, seed=i)
        outputs = torch.stack(translator.in_styles(image / 127.5 - 1, styles, "AtoB"))
        expected.append(float(pixel_distance(outputs[:, None])))
    assert scores["diversity"].value == pytest.approx(np.mean(expected), abs=0.005)
    assert any("lpips_diversity not measured" in note for note in result.notes)
    assert measure() == result, "the same at every call"


class Mean:
    """Features for a test: mean and spread of each colour."""

    protocol: ClassVar = {"features": "mean and spread"}

    def __call__(self, images: torch.Tensor) -> Features:
        x = images.double() / 255
        return Features(torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1))


def stand_in(monkeypatch: pytest.MonkeyPatch, trunk: Any = None, linear: Any = None) -> list[Path]:
    """Files of weights are there (AlexNet if given), and what is made of them is known."""
    states = {weights.ALEXNET.name: trunk, weights.LPIPS_ALEXNET.name: linear}

    def locate(item: weights.Published, folder: Path | None) -> Path:
        if item.name in states and trunk is None:
            raise weights.MissingError("no AlexNet")
        return Path(item.name)

    for module in (weights, core.evaluation.networks):
        monkeypatch.setattr(module, "locate", locate)
    monkeypatch.setattr("core.evaluation.pairs.read_state", lambda path: states[path.name])
    opened: list[Path] = []

    def build(path: Path, device: torch.device, resize: str) -> Mean:
        opened.append(path)
        return Mean()

    monkeypatch.setattr(core.evaluation.networks, "Inception", build)
    return opened


def test_fid_and_kid_of_the_right_sets(unpaired: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = stand_in(monkeypatch)
    options = EvaluateOptions(kid_subset_size=3)
    measure = evaluator(known(), unpaired, options)
    scores = by_name(measure().directions["AtoB"])
    assert opened == [Path(weights.INCEPTION.name)]
    a, b = (torch.from_numpy(np.stack(pictures(n, s))).movedim(3, 1) for n, s in ((3, 0), (4, 1)))
    fakes, inputs, reals = (Mean()(images).values for images in (255 - a, a, b))
    assert scores["fid"].value == pytest.approx(frechet_distance(fakes, reals))
    assert scores["fid"].input_copied == pytest.approx(frechet_distance(inputs, reals))
    assert scores["kid"].value == pytest.approx(kernel_distance(fakes, reals, 3).mean)
    assert scores["kid_std"].value == pytest.approx(kernel_distance(fakes, reals, 3).std)
    assert [m.better for m in scores.values()][:3] == ["lower", "lower", ""]
    few = "precision and recall not measured: more than 3 images needed"
    assert measure().notes == (few, "lpips not measured: no AlexNet")
    few = evaluator(known(), unpaired, EvaluateOptions())()
    assert any("subsets of 3 images" in note for note in few.notes)
    one = evaluator(known(), unpaired, EvaluateOptions(max_images=1))()
    assert "fid" not in by_name(one.directions["AtoB"])
    assert any("need two images" in note for note in one.notes)


def test_lpips_of_every_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    trunk = torchvision.models.alexnet(weights=None).features.state_dict(prefix="features.")
    widths = (64, 192, 384, 256, 256)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1) for i, w in enumerate(widths)}
    stand_in(monkeypatch, trunk, linear)
    for domain, seed in (("A", 0), ("B", 1)):
        write(tmp_path / f"test{domain}" / "0.png", pictures(1, seed, 40)[0])
    translator = tint()
    options = EvaluateOptions(num_styles=3)
    scores = by_name(evaluator(translator, tmp_path, options, "none")().directions["AtoB"])
    image = find_evaluation_set(tmp_path, translator, "none").inputs["AtoB"].read(0)
    styles = translator.random_styles(3, seed=0)
    outputs = torch.stack(translator.in_styles(image / 127.5 - 1, styles, "AtoB"))
    expected = float(lpips_diversity(LPIPS(trunk, linear), outputs))
    assert scores["lpips_diversity"].value == pytest.approx(expected, rel=0.02)
    # At the official 16 px AlexNet has nothing left.
    small = evaluator(translator, tmp_path, options)()
    assert "lpips_diversity" not in by_name(small.directions["AtoB"])
    assert any("below 31 px" in note for note in small.notes)


def drawing(root: Path, tags: str | None = None) -> Sampler:
    """An untrained DCGAN of 16 px; with tags it draws what it is told."""
    tree: dict[str, Any] = {
        "family": "dcgan",
        "data": {"root": str(root), "load_size": 16, "crop_size": 16, "tags": tags},
        "model": {"nz": 5, "ngf": 4, "ndf": 4} | ({"text": {"projection_dim": 4}} if tags else {}),
    }
    torch.manual_seed(0)
    return Sampler(DCGAN.build(validate(DCGAN.Config, tree)), CPU)


def test_samples_are_compared_with_the_real_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    for i, pixels in enumerate(pictures(5, 0, 16)):
        write(tmp_path / "test" / f"{i}.png", np.pad(pixels, ((0, 0), (4, 4), (0, 0))))
    for i, pixels in enumerate(pictures(2, 1, 16), start=5):
        write(tmp_path / "train" / f"{i}.png", pixels)
    lines = [f"{i},{('blue', 'red')[i % 2]} hair" for i in range(7)]
    (tmp_path / "tags.csv").write_text("\n".join(lines))
    options = EvaluateOptions(kid_subset_size=4, max_images=4)
    sampler = drawing(tmp_path)
    result = evaluate_samples(sampler, tmp_path, options)
    scores = by_name(result.directions["samples"])
    noise = sampler.family.random_noise(4, torch.Generator().manual_seed(0))
    fakes = Mean()(to_uint8(sampler(noise))).values
    # The middle of the wide pictures, which is what the networks learn from.
    reals = Mean()(torch.from_numpy(np.stack(pictures(5, 0, 16)[:4])).movedim(3, 1)).values
    assert scores["fid"].value == pytest.approx(frechet_distance(fakes, reals))
    assert scores["kid"].value == pytest.approx(kernel_distance(fakes, reals, 4).mean)
    assert scores["fid"].input_copied is None and result.notes == []
    assert "samples, 4 images" in str(result) and "drawn" in str(result)
    assert evaluate_samples(sampler, tmp_path, options) == result
    told = drawing(tmp_path, "tags.csv")
    captions = [line.partition(",")[2] for line in lines[:4]]
    fakes = Mean()(to_uint8(told(noise, captions))).values
    scores = by_name(evaluate_samples(told, tmp_path, options).directions["samples"])
    assert scores["fid"].value == pytest.approx(frechet_distance(fakes, reals))
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(UserError, match="no images for split 'test'"):
        evaluate_samples(sampler, tmp_path, options)
    (tmp_path / "train").rename(tmp_path / "images")
    assert "no test split" in evaluate_samples(sampler, tmp_path, options).notes[-1]


def test_random_numbers_of_the_caller_stay(unpaired: Path) -> None:
    built = family("pix2pix", {"norm": "batch", "dropout": True})
    data = built.config.data.model_copy(update={"crop_size": 32, "load_size": 32})
    built.config = built.config.model_copy(update={"data": data})
    for i, pixels in enumerate(pictures(2, 0)):
        write(unpaired / "val" / f"{i}.png", np.concatenate([pixels, pixels], axis=1))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    (unpaired / "testA").rename(unpaired / "A_elsewhere")
    (unpaired / "testB").rename(unpaired / "B_elsewhere")
    measure = evaluator(Translator(built, CPU), unpaired, EvaluateOptions())
    first = measure()
    assert torch.equal(torch.rand(3), expected)
    assert measure() == first, "dropout is drawn anew, but from the same seed"


def test_table() -> None:
    measures = {
        "psnr": Measure(20.125, 8.5, "higher"),
        "diversity": Measure(0.25, None, "higher"),
    }
    text = str(Evaluation({"AtoB": Scores(3, 4, measures)}, ("one thing",)))
    assert [line.split() for line in text.splitlines()] == [
        ["AtoB,", "3", "images", "translated", "input", "copied", "better"],
        ["psnr", "20.1250", "8.5000", "higher"],
        ["diversity", "0.2500", "higher"],
        [],
        ["note:", "one", "thing"],
    ]


def test_weights_are_checked_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_packaged", lambda: None)
    with pytest.raises(weights.MissingError, match=r"alex.pth is not there; fetch it with --downl"):
        weights.locate(weights.LPIPS_ALEXNET, tmp_path)
    (tmp_path / "alex.pth").write_bytes(b"other")
    with pytest.raises(UserError, match=r"SHA-256 is .* instead of df73285e"):
        weights.locate(weights.LPIPS_ALEXNET, tmp_path)
    with pytest.raises(UserError, match="not weights that can be read safely"):
        read_state(tmp_path / "alex.pth")

    def fetch(url: str, path: Path, *, advice: str) -> None:
        path.write_bytes(url.encode())

    monkeypatch.setattr(weights, "fetch", fetch)
    items = []
    for item in (weights.INCEPTION, weights.ALEXNET):
        digest = hashlib.sha256(item.url.encode()).hexdigest()
        items.append(weights.Published(item.url, digest, item.size))
    monkeypatch.setattr(weights, "INCEPTION", items[0])
    monkeypatch.setattr(weights, "ALEXNET", items[1])
    with pytest.raises(UserError, match="SHA-256"):
        weights.fetch_missing(tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*-*"))] == sorted(i.name for i in items)
    (tmp_path / "alex.pth").unlink()
    with pytest.raises(UserError, match="SHA-256"):
        weights.fetch_missing(tmp_path)
    assert not (tmp_path / "alex.pth").exists(), "what is not the file is not kept"


def test_packaged_linear_weights_are_the_published_ones(tmp_path: Path) -> None:
    pytest.importorskip("lpips", reason="pip install -e '.[metrics]'")
    path = weights.locate(weights.LPIPS_ALEXNET, tmp_path)
    state = read_state(path)
    assert sorted(state) == [f"lin{i}.model.1.weight" for i in range(5)]
    assert all((value >= 0).all() for value in state.values())
