#!/usr/bin/env bash
# A streaming data set of Hugging Face (IterableDataset) inside a torch DataLoader worker gives that
# worker its own shards if one iterates over it, and all rows if one iterates over its batches:
# `for row in stream` is shared out among the workers, `stream.iter(batch_size=n)` is not. A loader
# that reads by batches sees every row as many times as it has workers, without a word.
#
# The guess was: both are the same rows, once one by one and once n at a time.
#
# Why it matters: reading images by batches is the usual way to make a stream faster; with four
# workers an epoch is then four epochs, in an order in which the copies come close together. Who
# counts on the sharing the other way round (a worker that must find row 1,000 after a resume) loses
# rows in silence with `for`, and has them all with `iter`.
#
# Versions: datasets 5.2.0, torch 2.14.1, Python 3.11.
# Output seen on 2026-11-29:
#   for row in stream, two workers: [0, 1, 2, 3, 4, 5, 6, 7]
#   stream.iter(batch_size=1), two workers: [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q "datasets==5.2.0" "torch==2.14.1"
cat > show.py <<'PY'
import datasets
from torch.utils.data import DataLoader, IterableDataset


def rows(shards):
    for shard in shards:
        yield from ({"number": 2 * shard + i} for i in range(2))


class Reader(IterableDataset):
    def __init__(self, batched):
        self.stream = datasets.IterableDataset.from_generator(
            rows, gen_kwargs={"shards": [0, 1, 2, 3]}
        )
        self.batched = batched

    def __iter__(self):
        if self.batched:
            for batch in self.stream.iter(batch_size=1):
                yield from batch["number"]
        else:
            yield from (row["number"] for row in self.stream)


if __name__ == "__main__":
    found = {}
    for name, batched in (("for row in stream", False), ("stream.iter(batch_size=1)", True)):
        loader = DataLoader(Reader(batched), batch_size=None, num_workers=2)
        found[batched] = sorted(int(number) for number in loader)
        print(f"{name}, two workers: {found[batched]}")
    if found[False] != list(range(8)) or found[True] != sorted(2 * list(range(8))):
        raise SystemExit("changed: see the head of this file")
PY
venv/bin/python show.py
