"""What a job of many pictures takes: hours, storage, network, shards, records, failures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from core.jobs.fleet import Fleet, Work, estimate_seconds, simulate

SHARD_PICTURES = (1_000, 10_000, 100_000)
"""Sizes of shards that are compared."""
RECORD_BYTES = 150
"""A line of the manifest: three names of 30 characters, size and checksum."""
_MOST_SHARDS = 2_000_000
"""Which take some seconds to simulate."""
_DIGEST_BYTES = 16
"""What a picture that is done takes in the memory of each process of a job."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of a file, on average.

    Attributes:
        given: of an input.
        made: of a result.
    """

    given: int
    made: int


def plan(num_pictures: int, fleet: Fleet, sizes: Sizes) -> Iterator[str]:
    """Give the lines of a plan; the hours are simulated with each size of shards.

    Args:
        num_pictures: in all.
        fleet: the machines.
        sizes: of the files.
    """
    machines, rate = fleet.num_workers, fleet.num_workers * fleet.rate
    yield f"{num_pictures:,} pictures, {machines:,} machines of {fleet.rate:g} pictures a second"
    for verb, size in (("read", sizes.given), ("written", sizes.made)):
        yield (
            f"{verb}: {num_pictures * size / 1e12:,.2f} TB, {rate * size / 1e6:,.0f} MB/s in all, "
            f"{fleet.rate * size / 1e6:.2f} MB/s a machine"
        )
    yield (
        f"manifest: {num_pictures * RECORD_BYTES / 1e9:,.1f} GB, {rate / 256:,.1f} appends a "
        f"second; {num_pictures * _DIGEST_BYTES / 1e6:,.0f} MB of memory in every process"
    )
    yield (
        "sharing       shard     objects  GB each    hours  by arithmetic   used  failures  "
        "made twice"
    )
    for shard_pictures in SHARD_PICTURES:
        if machines <= num_pictures / shard_pictures <= _MOST_SHARDS:
            yield _row(fleet, Work(num_pictures, shard_pictures), sizes)
    share = math.ceil(num_pictures / machines)
    yield _row(fleet, Work(num_pictures, share, sharing="fixed"), sizes)


def _row(fleet: Fleet, work: Work, sizes: Sizes) -> str:
    outcome = simulate(fleet, work)
    arithmetic = f"{estimate_seconds(fleet, work) / 3600:.2f}" if work.sharing == "queue" else ""
    return (
        f"{work.sharing:7} {work.shard_pictures:11,} {len(work.shards()):11,} "
        f"{work.shard_pictures * sizes.made / 1e9:8.2f} {outcome.seconds / 3600:8.2f} "
        f"{arithmetic:>14} {outcome.efficiency:6.1%} {outcome.failures:9,} {outcome.repeated:11,}"
    )
