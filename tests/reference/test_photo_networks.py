"""PhotoWCT's networks, cascade and command line: the published numbers, in float64."""

from __future__ import annotations

import numpy as np
import torch

from style.labels import LabelMap
from style.photo.config import PhotoConfig
from style.photo.guided import guided_filter
from style.photo.labels import Regions
from style.photo.networks import Pooling
from style.photo.stylizer import PhotoStylizer, to_image
from style.photo.wct import transfer
from tests.reference.cases import Case, close, each
from tests.reference.photo import (
    cascade,
    photo_input,
    picture,
    pixels,
    planes,
    same_bytes,
    stored_inputs_agree,
    sums_agree,
)


@each("encoder_decoder")
def test_features_and_reconstructions(case: Case) -> None:
    golden, tolerance = case.arrays, case.data["tolerance"]["float64"]
    networks = cascade(case).networks
    content = photo_input(case, "content")
    for level in case.hyper["levels"]:
        features, poolings = networks.encoder(level)(content)
        close(features[level], golden[f"e{level}_feature"], **tolerance)
        sums_agree(case, f"e{level}_feature", features[level])
        for k, pooling in enumerate(poolings, 1):
            assert torch.equal(pooling.indices, golden[f"e{level}_pool{k}_indices"].long())
            size = case.data["reference_values"]["stats"][f"e{level}_pool{k}_size_before_pooling"]
            assert list(pooling.size) == size[2:]
        image = networks.decoder(level)(features[level], poolings)
        close(image, golden[f"d{level}_image"], **tolerance)
        sums_agree(case, f"d{level}_image", image)
        if level == max(case.hyper["levels"]):
            for k, found in features.items():
                sums_agree(case, f"e{level}_multiple_relu{k}_1", found)


@each("encoder_decoder")
def test_float32_with_the_given_positions(case: Case) -> None:
    golden, tolerance = case.arrays, case.data["tolerance"]["float32"]
    limits = {"rtol": tolerance["rtol"], "atol": tolerance["atol"]}
    networks = cascade(case, torch.float32).networks
    content = photo_input(case, "content").float()
    for level in case.hyper["levels"]:
        features, poolings = networks.encoder(level)(content)
        close(features[level], golden[f"e{level}_feature"], **limits)
        given = tuple(
            Pooling(golden[f"e{level}_pool{k}_indices"].long(), pooling.size)
            for k, pooling in enumerate(poolings, 1)
        )
        image = networks.decoder(level)(golden[f"e{level}_feature"], given)
        close(image, golden[f"d{level}_image"], **limits)


@each("cascade")
def test_image_after_every_level(case: Case) -> None:
    stored_inputs_agree(case)
    golden, tolerance = case.arrays, case.data["tolerance"]["float64"]
    run = cascade(case)
    content, style = photo_input(case, "content"), photo_input(case, "style")
    regions = Regions.of(
        *(LabelMap(photo_input(case, f"{side}_labels")) for side in ("content", "style"))
    )
    levels = [int(level) for level in case.hyper["levels"].split(",")]
    of_style, _ = run.networks.encoder(levels[0])(style)
    for prefix, chosen in (("", None), ("masked_", regions)):
        images = dict(run.images(content, style, chosen))
        assert list(images) == levels
        before = content
        for level in levels:
            close(images[level], golden[f"{prefix}image_after_level{level}"], **tolerance)
            features, _ = run.networks.encoder(level)(before)
            moved = transfer(features[level], of_style[level], chosen)
            sums_agree(case, f"{prefix}transformed_feature_level{level}", moved, rtol=1e-6)
            before = images[level]
        assert torch.equal(run(content, style, chosen), images[levels[-1]])


@each("cascade")
def test_float32_level_by_level(case: Case) -> None:
    """Each level from the golden image before it, as the case asks for.

    Few pixels may be off at all: where a near-tie of the max pooling falls the other way, the
    decoder puts a value beside its place. Decompositions are float64 whatever the features are.
    """
    golden = case.arrays
    run = cascade(case, torch.float32).networks
    content, style = (photo_input(case, name).float() for name in ("content", "style"))
    labels = (LabelMap(photo_input(case, f"{side}_labels")) for side in ("content", "style"))
    regions = Regions.of(*labels)
    of_style, _ = run.encoder(4)(style)
    for prefix, chosen in (("", None), ("masked_", regions)):
        before = content
        for level in (int(level) for level in case.hyper["levels"].split(",")):
            features, poolings = run.encoder(level)(before)
            moved = transfer(features[level], of_style[level], chosen)
            wanted = golden[f"{prefix}image_after_level{level}"].float()
            off = (run.decoder(level)(moved, poolings) - wanted).abs() / wanted.abs().mean()
            assert (off > 1e-4).float().mean() < 0.01
            before = wanted


@each("pipeline")
def test_command_line_stage_by_stage(case: Case) -> None:
    """Each stage from the golden bytes of the one before: a flipped truncation would spread."""
    stored_inputs_agree(case)
    golden = case.arrays
    run = cascade(case)
    content, style = photo_input(case, "content"), photo_input(case, "style")
    stylised = run(planes(content)[None], planes(style)[None])
    close(
        stylised, golden["stylised_float"], **case.data["tolerance"]["stylised (float64 network)"]
    )
    same_bytes(to_image(stylised[0]), golden["stylised_uint8"], pixels(stylised[0]) * 255)

    config = PhotoConfig.model_validate({"weights": "unread"})
    exact = config.model_copy(
        update={"matting": config.matting.model_copy(update={"tolerance": 1e-5})}
    )
    steps = PhotoStylizer(exact, run, torch.device("cpu"))
    content_picture = picture(content)
    propagated = steps.matting(picture(golden["stylised_uint8"]), content_picture)
    same_bytes(
        propagated, golden["propagated_uint8"], golden["propagated_float"].double() * 255, near=0.05
    )
    final = steps.affine(picture(golden["propagated_uint8"]), content_picture)
    same_bytes(final, golden["final_uint8"], golden["final_float"].double() * 255)

    guided = steps.guided(picture(golden["stylised_uint8"]), content_picture)
    off = np.abs(np.asarray(guided).astype(int) - golden["fast_guided_uint8"].numpy())
    assert off.max() <= 1
    assert (off != 0).mean() < 1e-3
    fast = steps.affine(picture(golden["fast_guided_uint8"]), content_picture)
    same_bytes(fast, golden["fast_final_uint8"], golden["fast_final_float"].double() * 255)
    assert (
        guided_filter(
            planes(golden["stylised_uint8"], 1), planes(content, 1), eps=exact.guided.eps
        ).shape
        == planes(content).shape
    )


@each("pipeline")
def test_command_line_as_a_whole(case: Case) -> None:
    """From both photos to the last byte in float32, as a user runs it: close, where not equal."""
    golden = case.arrays
    config = PhotoConfig.model_validate({"weights": "unread"})
    steps = PhotoStylizer(config, cascade(case), torch.device("cpu"))
    steps.cascade.float()
    content, style = (picture(photo_input(case, name)) for name in ("content", "style"))
    result = steps.stylize(content, [style])
    wanted = golden["final_uint8"].numpy()
    assert np.asarray(result).shape == wanted.shape
    # Truncated bytes flip by one level; more only where pooling met a near-tie (as above).
    assert np.abs(np.asarray(result).astype(int) - wanted.astype(int)).mean() < 1
