"""From folders of images to FID and KID, against torch-fidelity with the same (random) weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.evaluation.metrics.fid import frechet_distance
from core.evaluation.metrics.inception import BATCH_SIZE, FeatureCollector, Inception
from core.evaluation.metrics.kid import kernel_distance

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
    torch.save(Untrained("random", ["2048"], str(path)).state_dict(), path)
    return path


def test_equals_torch_fidelity_from_the_files_on(weights: Path, tmp_path: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity", reason=REASON)
    rng = np.random.default_rng(0)
    sets = []
    inception = Inception(weights, CPU)
    for name, top in (("one", 256), ("two", 200)):
        (tmp_path / name).mkdir()
        collector = FeatureCollector(inception)
        for i in range(3):
            pixels = rng.integers(0, top, (24, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
            collector.add(torch.from_numpy(pixels).movedim(2, 0))
        sets.append(collector.features())
    theirs = fidelity.calculate_metrics(
        input1=str(tmp_path / "one"),
        input2=str(tmp_path / "two"),
        fid=True,
        kid=True,
        kid_subset_size=3,
        feature_extractor_weights_path=str(weights),
        cuda=False,
        cache=False,
        verbose=False,
        batch_size=3,
        save_cpu_ram=True,  # reads in this process
    )
    assert sets[0].shape == (3, 2048)
    expected = theirs["frechet_inception_distance"]
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-4)
    found = kernel_distance(*sets, subset_size=3)
    expected = theirs["kernel_inception_distance_mean"]
    assert found.mean == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_other_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not the weights of Inception v3"):
        Inception(tmp_path / "x.pth", CPU)


def test_collector_batches_neighbours_of_equal_size_and_keeps_the_order() -> None:
    shapes: list[tuple[int, ...]] = []

    def extractor(images: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(images.shape))
        return images.float().mean(dim=(2, 3))

    collector = FeatureCollector(extractor)
    sides = [4] * (BATCH_SIZE + 2) + [6, 4]
    for i, side in enumerate(sides):
        collector.add(torch.full((3, side, side), i, dtype=torch.uint8))
    assert collector.features()[:, 0].tolist() == list(range(len(sides)))
    assert [shape[0] for shape in shapes] == [BATCH_SIZE, 2, 1, 1]
