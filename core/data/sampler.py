"""Which image comes when: stateless arithmetic, so that training resumes exactly.

Batch number -> samples is a pure function of the seed. Nothing is stored but the number of the
next batch, whatever the number of loader workers or processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# First word of every seed: keeps the streams apart. Without it (seed, epoch) and (seed, epoch, 0)
# would be one stream, as SeedSequence pads with zeros.
_ORDER_STREAM, _SAMPLE_STREAM = 1, 2
AUGMENT_STREAMS = 3, 4
"""For `Sample.generator`: further changes of a sample's A and B, which shift no crop."""


@dataclass(frozen=True)
class Sample:
    """One place in the order of an epoch.

    Attributes:
        epoch: From 0.
        position: Place in the epoch's global order, before it is divided among processes; beyond
            the number of items where the last batch wraps round.
        item: The item to read there.
    """

    seed: int
    epoch: int
    position: int
    item: int

    def generator(self, stream: int = _SAMPLE_STREAM) -> np.random.Generator:
        """Return own random numbers, independent of workers, processes and batch size."""
        words = [stream, self.seed % 2**64, self.epoch, self.position]
        return np.random.default_rng(words)


@dataclass(frozen=True)
class EpochSampler:
    """Cuts shuffled epochs into batches, the same for one process as for many.

    A global batch is `batch_size * world_size` consecutive samples; process `rank` takes its
    contiguous slice. So N processes with batch b see the batches of one process with N * b. The
    last batch of an epoch is filled up from the epoch's beginning.

    Attributes:
        batch_size: Samples per process.
        seed: Any integer.
        shuffle: A new order each epoch; otherwise as numbered.
    """

    num_items: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    shuffle: bool = True

    def __post_init__(self) -> None:
        assert self.num_items >= 1 and self.batch_size >= 1
        assert 0 <= self.rank < self.world_size

    @property
    def global_batch_size(self) -> int:
        """Samples of all processes together."""
        return self.batch_size * self.world_size

    @property
    def batches_per_epoch(self) -> int:
        """Batches that each process gets from an epoch."""
        return -(-self.num_items // self.global_batch_size)

    def batch(self, number: int) -> list[Sample]:
        """Return this process's samples of batch `number`, counted from 0 over all epochs."""
        epoch, in_epoch = divmod(number, self.batches_per_epoch)
        first = in_epoch * self.global_batch_size + self.rank * self.batch_size
        order = _epoch_order(self.seed % 2**64, epoch, self.num_items) if self.shuffle else None
        samples = []
        for position in range(first, first + self.batch_size):
            place = position % self.num_items
            item = place if order is None else int(order[place])
            samples.append(Sample(self.seed, epoch, position, item))
        return samples


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, num_items: int) -> npt.NDArray[np.int64]:
    """Draw the permutation of an epoch; the same array for every batch of it, so read-only."""
    order = np.random.default_rng([_ORDER_STREAM, seed, epoch]).permutation(num_items)
    order.setflags(write=False)
    return order
