"""No reference case goes unnoticed: a kind that no test runs fails here."""

from __future__ import annotations

import pytest

from tests.conftest import reference_dir
from tests.reference.cases import Case, all_cases, each

TESTED_IN = {
    "forward": "test_forward.py",
    "checkpoint": "test_released_checkpoints.py",
    "cyclegan_iteration": "test_iterations.py",
    "pix2pix_iteration": "test_iterations.py",
    "gan_losses": "test_objectives.py",
    "gradient_penalty": "test_objectives.py",
    "image_pool": "test_training_helpers.py",
    "lr_schedule": "test_training_helpers.py",
    "data": "test_data_cases.py",
    "aligned_data": "test_data_cases.py",
    "dcgan_forward": "test_dcgan_forward.py",
    "dcgan_iteration": "test_dcgan_iterations.py",
    "dcgan_text": "test_dcgan_iterations.py",
    "adain_gen": "test_munit_networks.py",
    "unit_vaegen": "test_munit_networks.py",
    "ms_image_dis": "test_munit_networks.py",
    "vgg_loss": "test_munit_networks.py",
    "inference": "test_munit_networks.py",
    "iteration_nocyc": "test_munit_iterations.py",
    "iteration_cyc": "test_munit_iterations.py",
    "iteration_vgg": "test_munit_iterations.py",
    "unit_iteration": "test_munit_iterations.py",
    "drit/attribute_encoder": "test_drit_networks.py",
    "drit/content_encoder": "test_drit_networks.py",
    "drit/generator": "test_drit_networks.py",
    "drit/discriminator": "test_drit_networks.py",
    "drit/content_discriminator": "test_drit_networks.py",
    "drit/test_outputs": "test_drit_networks.py",
    "drit/train_step": "test_drit_iterations.py",
    "drit/resume": "test_drit_training.py",
    "drit/schedule": "test_drit_training.py",
}


def test_every_kind_has_a_test() -> None:
    if not reference_dir().is_dir():
        pytest.skip(f"no reference cases at {reference_dir()} (set $REFERENCE_DIR)")
    unknown = {
        f"{case.family}/{case.folder.name}": case.kind
        for case in all_cases()
        if case.kind not in TESTED_IN
    }
    assert not unknown, f"no test runs these cases: {unknown}"


@each("cyclegan_iteration", "pix2pix_iteration")
def test_iterations_stand_in_their_family(case: Case) -> None:
    assert case.kind == f"{case.family}_iteration"
