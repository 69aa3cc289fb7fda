from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.data.sampler import EpochSampler, Sample

SIZES = {
    "num_items": st.integers(1, 30),
    "batch_size": st.integers(1, 7),
    "seed": st.integers(-5, 2**70),
    "shuffle": st.booleans(),
}


@given(**SIZES, world_size=st.integers(1, 4), number=st.integers(0, 40))
def test_processes_share_out_the_batches_of_one(
    num_items: int, batch_size: int, seed: int, shuffle: bool, world_size: int, number: int
) -> None:
    one = EpochSampler(num_items, batch_size * world_size, seed, shuffle=shuffle)
    many = [
        EpochSampler(num_items, batch_size, seed, rank, world_size, shuffle)
        for rank in range(world_size)
    ]
    assert one.batches_per_epoch == many[0].batches_per_epoch
    assert one.batch(number) == [sample for part in many for sample in part.batch(number)]


@given(**SIZES)
def test_an_epoch_has_every_item_and_wraps_round(
    num_items: int, batch_size: int, seed: int, shuffle: bool
) -> None:
    sampler = EpochSampler(num_items, batch_size, seed, shuffle=shuffle)
    for epoch in range(2):
        numbers = range(epoch * sampler.batches_per_epoch, (epoch + 1) * sampler.batches_per_epoch)
        samples = [sample for number in numbers for sample in sampler.batch(number)]
        assert {sample.epoch for sample in samples} == {epoch}
        assert [sample.position for sample in samples] == list(range(len(samples)))
        items = [sample.item for sample in samples]
        assert sorted(items[:num_items]) == list(range(num_items))
        assert all(item == items[i % num_items] for i, item in enumerate(items))
        assert len(items) - num_items < batch_size


@given(**SIZES, start=st.integers(0, 20))
def test_starting_anywhere_continues_the_same_series(
    num_items: int, batch_size: int, seed: int, shuffle: bool, start: int
) -> None:
    series = [
        EpochSampler(num_items, batch_size, seed, shuffle=shuffle).batch(i) for i in range(25)
    ]
    resumed = EpochSampler(num_items, batch_size, seed, shuffle=shuffle)
    assert [resumed.batch(i) for i in range(start, 25)] == series[start:]


def test_epochs_and_seeds_have_different_orders() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(sample.item for sample in EpochSampler(50, 50, seed).batch(epoch))

    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


def test_orders_are_fair() -> None:
    first = Counter(EpochSampler(4, 1, seed).batch(0)[0].item for seed in range(400))
    assert sorted(first) == [0, 1, 2, 3] and min(first.values()) > 60


def test_each_sample_has_numbers_of_its_own() -> None:
    keys = [(s, e, p) for s in range(-1, 3) for e in range(3) for p in range(3)]
    drawn = {Sample(*key, item=0).generator().random() for key in keys}
    assert len(drawn) == len(keys)
    assert Sample(1, 2, 3, 4).generator().random() == Sample(1, 2, 3, 9).generator().random()


def test_random_numbers_stay_what_they_are() -> None:
    """A change here breaks the resuming of runs begun before it."""
    assert [sample.item for sample in EpochSampler(8, 8, 0).batch(1)] == [5, 2, 6, 7, 4, 0, 1, 3]
    np.testing.assert_allclose(Sample(1, 2, 3, 0).generator().random(), 0.29697001799775846)
