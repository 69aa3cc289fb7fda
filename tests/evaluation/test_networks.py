"""From folders of images to the measures of sets, against torch-fidelity and clean-fid.

The weights are random, and the same for all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.evaluation.features import FeatureDistances
from core.evaluation.networks import (
    BATCH_SIZE,
    FeatureCollector,
    Features,
    Inception,
    RandomFeatures,
    _resized,
)
from core.evaluation.statistics import SetFeatures
from core.options import EvaluateOptions

REASON = "pip install -e '.[metrics]'"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason=REASON)

    class Untrained(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state: object) -> None:
            """Keeps what it was made with."""

    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({}, path)
    torch.manual_seed(0)
    network = Untrained("random", ["2048"], str(path))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as they come they do nothing
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    torch.save(network.state_dict(), path)
    return path


def measured(network: Inception, fakes: Features, reals: Features) -> dict[str, float]:
    distances = FeatureDistances(EvaluateOptions(kid_subset_size=5, features="random"), CPU)
    found = distances.measures(fakes, SetFeatures.of(reals, network.protocol))
    return {name.removesuffix("_random"): measure.value for name, measure in found.items()}


def test_equals_torch_fidelity_from_the_files_on(weights: Path, tmp_path: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity", reason=REASON)
    rng = np.random.default_rng(0)
    sets = []
    inception = Inception(weights, CPU)
    for name, top in (("one", 256), ("two", 200)):
        (tmp_path / name).mkdir()
        collector = FeatureCollector(inception)
        for i in range(5):
            pixels = rng.integers(0, top, (24, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
            collector.add(torch.from_numpy(pixels).movedim(2, 0))
        sets.append(collector.features())
    theirs = fidelity.calculate_metrics(
        input1=str(tmp_path / "one"),
        input2=str(tmp_path / "two"),
        fid=True,
        kid=True,
        isc=True,
        prc=True,
        kid_subset_size=5,
        isc_splits=5,
        feature_extractor="inception-v3-compat",  # else precision would be that of VGG-16
        feature_extractor_weights_path=str(weights),
        cuda=False,
        cache=False,
        verbose=False,
        batch_size=5,
        save_cpu_ram=True,  # reads in this process
    )
    assert sets[0].values.shape == (5, 2048)
    ours = measured(inception, *sets)
    # The extractor of torch-fidelity adds the images of one batch in another order.
    assert ours["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    expected = theirs["kernel_inception_distance_mean"]
    assert ours["kid"] == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert ours["inception_score"] == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    for name in ("precision", "recall"):
        assert ours[name] == pytest.approx(theirs[name])


@pytest.mark.parametrize(("ours", "theirs"), [("clean", "clean"), ("legacy", "legacy_pytorch")])
def test_resizes_are_those_of_clean_fid(ours: str, theirs: str) -> None:
    module = pytest.importorskip("cleanfid.resize", reason="pip install clean-fid")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 320, 3)).astype(np.uint8)
    expected = module.build_resizer(theirs)(pixels)
    images = torch.from_numpy(pixels).movedim(2, 0)[None]
    found = _resized(images, ours)[0].movedim(0, 2)  # type: ignore[arg-type]
    np.testing.assert_allclose(
        found, expected, atol=1e-2
    )  # of 255; torch rounds the filter's weights


def test_another_resize_reaches_the_network(weights: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    found = {r: Inception(weights, CPU, r)(images).values for r in ("tf1", "clean", "legacy")}  # type: ignore[arg-type]
    apart = (found["tf1"] - found["clean"]).abs().max()
    # Images of 299 px are not resized by any of them.
    images = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8)
    tf1, legacy = (Inception(weights, CPU, r)(images).values for r in ("tf1", "legacy"))  # type: ignore[arg-type]
    assert (tf1 - legacy).abs().max() < 0.1 * apart


def test_other_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not the weights of Inception v3"):
        Inception(tmp_path / "x.pth", CPU)


def test_collector_batches_neighbours_of_equal_size_and_keeps_the_order() -> None:
    shapes: list[tuple[int, ...]] = []

    def network(images: torch.Tensor) -> Features:
        shapes.append(tuple(images.shape))
        return Features(images.float().mean(dim=(2, 3)))

    collector = FeatureCollector(network)
    sides = [4] * (BATCH_SIZE + 2) + [6, 4]
    for i, side in enumerate(sides):
        collector.add(torch.full((3, side, side), i, dtype=torch.uint8))
    assert collector.features().values[:, 0].tolist() == list(range(len(sides)))
    assert [shape[0] for shape in shapes] == [BATCH_SIZE, 2, 1, 1]


def test_random_features_do_not_depend_on_the_batch() -> None:
    images = torch.randint(0, 256, (3, 3, 20, 16), dtype=torch.uint8)
    together = RandomFeatures()(images).values
    alone = torch.cat([RandomFeatures()(image[None]).values for image in images])
    torch.testing.assert_close(together, alone)
    assert together.shape == (3, 448)


def test_dinov2_is_taken_from_the_hub_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip("torch_fidelity.feature_extractor_dinov2", reason=REASON)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def seen(*names: str) -> torch.nn.Module:
        class Mean(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.mean(dim=(2, 3))

        asked.append(names)
        return Mean()

    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(module.torch.hub, "load", seen)
    for path in ("facebookresearch_dinov2_main", "checkpoints/dinov2_vits14_pretrain.pth"):
        distances = FeatureDistances(EvaluateOptions(features="dinov2"), CPU)
        assert not asked and path in distances.notes[0] and not distances.names()
        (tmp_path / path).mkdir(parents=True)
    network = FeatureDistances(EvaluateOptions(features="dinov2"), CPU).collector()
    assert network is not None
    network.add(torch.zeros(3, 20, 20, dtype=torch.uint8))
    assert network.features().values.shape == (1, 3) and len(asked) == 1
