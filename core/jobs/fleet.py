"""How long a job takes on many machines, some of which are slow and all of which may fail.

A simulation of the scheduling alone, event by event: workers take shards of pictures, fail, come
back, and what was not recorded is done again. docs/scale.md reads its plans off it, by
`scripts/plan.py`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Literal

Sharing = Literal["queue", "fixed"]
"""`queue`: who is free takes the next shard (Ray). `fixed`: each worker has its own shards from the
start (torchrun)."""

_HOUR = 3600.0


@dataclass(frozen=True)
class Fleet:
    """Machines that work, one worker on each.

    Attributes:
        num_workers: how many.
        rate: pictures a second of a usual one.
        spread: standard deviation of the logarithm of their rates.
        slow_share: share of stragglers.
        slow_factor: how many times slower these are.
        failures_per_million_hours: of one machine, on average; at any time alike.
        restart_seconds: until a machine that failed works again.
    """

    num_workers: int
    rate: float
    spread: float = 0.05
    slow_share: float = 0.01
    slow_factor: float = 4.0
    failures_per_million_hours: float = 160.0
    restart_seconds: float = 600.0

    def rates(self, draw: random.Random) -> list[float]:
        """Draw the rate of each worker."""
        rates = []
        for _ in range(self.num_workers):
            slow = self.slow_factor if draw.random() < self.slow_share else 1.0
            rates.append(self.rate * math.exp(draw.gauss(0, self.spread)) / slow)
        return rates


@dataclass(frozen=True)
class Work:
    """A job.

    Attributes:
        num_pictures: in all.
        shard_pictures: pictures of a shard.
        group_pictures: pictures whose records are written together; a failure loses fewer.
        sharing: how workers get their shards.
    """

    num_pictures: int
    shard_pictures: int
    group_pictures: int = 256
    sharing: Sharing = "queue"

    def shards(self) -> list[int]:
        """Return the number of pictures of each shard."""
        whole, rest = divmod(self.num_pictures, self.shard_pictures)
        return [self.shard_pictures] * whole + [rest] * bool(rest)


@dataclass
class Outcome:
    """What a simulated job came to.

    Attributes:
        seconds: until the last picture was recorded.
        recorded: pictures whose record was written.
        repeated: pictures that were made again since their record was lost.
        failures: of machines, while the job ran.
        efficiency: pictures over what the machines could have made in that time without failures.
    """

    seconds: float
    recorded: int
    repeated: int
    failures: int
    efficiency: float


def estimate_seconds(fleet: Fleet, work: Work) -> float:
    """Return how long a job should take by arithmetic, with shards from a queue.

    That is the work over the fleet's rate; what failures cost, the restart and half a group of
    records each; and the end, when the queue is empty: workers have half a shard left on average,
    and the last to finish is a straggler that has just begun, if there are any.
    """
    usual = math.exp(fleet.spread**2 / 2) * fleet.rate
    mean = usual * (1 - fleet.slow_share + fleet.slow_share / fleet.slow_factor)
    busy = work.num_pictures / (fleet.num_workers * mean)
    lost = fleet.restart_seconds + work.group_pictures / 2 / fleet.rate
    failures_per_second = fleet.failures_per_million_hours / 1e6 / _HOUR
    stragglers = fleet.slow_share * fleet.num_workers
    last = max(1.0, fleet.slow_factor * stragglers / (stragglers + 1))  # the last of so many
    end = (last - 0.5) * work.shard_pictures / fleet.rate
    return busy * (1 + failures_per_second * lost) + end


def simulate(fleet: Fleet, work: Work, seed: int = 0) -> Outcome:
    """Run a job on a fleet, drawing rates and failures by the seed."""
    return _Simulation(fleet, work, seed).run()


class _Simulation:
    """Events in the order of time: a worker is free, or the rest of a shard comes back."""

    def __init__(self, fleet: Fleet, work: Work, seed: int) -> None:
        self._draw = random.Random(seed)
        self._fleet, self._work = fleet, work
        self._rates = fleet.rates(self._draw)
        self._failures_per_second = fleet.failures_per_million_hours / 1e6 / _HOUR
        shards, number = work.shards(), fleet.num_workers
        if work.sharing == "queue":
            self._queues = [deque(shards)] * number  # one and the same
        else:
            self._queues = [deque(shards[worker::number]) for worker in range(number)]
        self._idle: list[int] = []
        self._end = 0.0
        self._events: list[tuple[float, int, int]] = []
        """(seconds, worker, 0), or (seconds, -1, pictures of the shard that comes back)."""
        self._recorded = self._repeated = self._failures = 0

    def run(self) -> Outcome:
        """Return what the job came to."""
        for worker in range(self._fleet.num_workers):
            self._begin(0.0, worker)
        while self._events:
            seconds, worker, rest = heapq.heappop(self._events)
            if rest:
                self._queues[0].appendleft(rest)
                if not self._idle:
                    continue
                worker = self._idle.pop()
            self._begin(seconds, worker)
        efficiency = self._recorded / (sum(self._rates) * self._end)
        return Outcome(self._end, self._recorded, self._repeated, self._failures, efficiency)

    def _begin(self, seconds: float, worker: int) -> None:
        """Let a worker that is free take its next shard, if there is one, and finish or fail."""
        if not self._queues[worker]:
            self._idle.append(worker)
            return
        num, rate = self._queues[worker].popleft(), self._rates[worker]
        works_for = math.inf
        if self._failures_per_second:  # alike at any time, so drawn anew for each shard
            works_for = self._draw.expovariate(self._failures_per_second)
        if num / rate <= works_for:
            self._recorded += num
            done = seconds + num / rate
            self._end = max(self._end, done)
            heapq.heappush(self._events, (done, worker, 0))
            return
        self._fail(seconds + works_for, worker, num, int(works_for * rate))

    def _fail(self, seconds: float, worker: int, num: int, made: int) -> None:
        """Let a worker fail that has made some pictures of a shard of `num`."""
        kept = made // self._work.group_pictures * self._work.group_pictures
        self._failures += 1
        self._recorded += kept
        self._repeated += made - kept
        if self._work.sharing == "queue":
            heapq.heappush(self._events, (seconds, -1, num - kept))
        else:
            self._queues[worker].appendleft(num - kept)
        heapq.heappush(self._events, (seconds + self._fleet.restart_seconds, worker, 0))
