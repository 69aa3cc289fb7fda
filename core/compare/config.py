"""Options of a comparison: which methods, on which images, and what is shown and measured."""

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from core.evaluation.scores import is_measure
from core.options import (
    CountInt,
    Direction,
    EvaluateOptions,
    FeatureName,
    NamedConfig,
    Options,
    PositiveInt,
    Resize,
    Speed,
)

RESERVED = ("input", "example", "truth", "reconstruction")
"""Labels of the pictures beside those of the methods."""


def slug(name: str) -> str:
    """Turn a name into a part of file names and addresses: lower case, digits, underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


class Seasons(Options):
    """Procedural landscapes, drawn into `data.root` if they are not there (docs/data.md)."""

    num_train: PositiveInt = 400
    num_test: PositiveInt = 24
    seed: int = 0


class Data(Options):
    """The test images; every entry gets the same ones."""

    root: str
    """A data set with a test split: two domains, or pairs."""
    size: PositiveInt | None = 256
    """Pixels; images are resized to squares of this side. None takes them as they are."""
    max_images: PositiveInt | None = None
    """At most so many per domain are measured."""
    seasons: Seasons | None = None

    @model_validator(mode="after")
    def _drawn_at_a_size(self) -> Self:
        if self.seasons is not None and self.size is None:
            raise ValueError("seasons are drawn at data.size: give it in pixels")
        return self


class Show(Options):
    """What is drawn."""

    num_images: PositiveInt = 6
    """Inputs of each domain, from the first."""
    num_examples: PositiveInt = 3
    """Images of the target domain whose style is taken, in methods that take one."""
    num_random: CountInt = 3
    """Random styles, in methods that can draw them."""


class Inference(Options):
    """How pictures are made, and how long one takes."""

    speed: Speed = "auto"
    """`auto` runs the networks of checkpoints as fast as the device can at the same results to
    rounding; `off` as they were written."""
    sizes: tuple[PositiveInt, ...] = ()
    """Pixels; sides of the images. None given: `data.size`, or 256."""
    repeats: PositiveInt = 10
    """Runs that the median is taken of, after a first one that does not count; fewer of a method
    that is slow."""


class Entry(Options):
    """One method: a checkpoint, a training, a style method, pictures, or published figures."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    checkpoint: str | None = None
    """Checkpoint file or run folder of a family that translates."""
    which: Annotated[str, BeforeValidator(str)] = "last"
    """Of a run folder: `last`, `best`, a step, or `epoch:N` (docs/testing.md)."""
    config: str | None = None
    """Config file: of a family, which is trained first unless it is finished, or of a style
    method."""
    set: tuple[str, ...] = ()
    """Changes to that config, `section.key=value`."""
    run: str | None = None
    """Run folder of the training; default `runs/<name of the comparison>/<name of the entry>`."""

    folder: dict[Direction, str] | None = None
    """Pictures of any program, `AtoB: results/zebras`: folders or lists with one for each input, of
    equal names."""
    published: dict[Direction, dict[str, float]] | None = None
    """Figures of a paper, `AtoB: {fid: 77.2}`, to stand beside one's own."""
    source: str = ""
    """Where the published figures are from."""

    @field_validator("published")
    @classmethod
    def _known_measures(
        cls, published: dict[Direction, dict[str, float]] | None
    ) -> dict[Direction, dict[str, float]] | None:
        for measures in (published or {}).values():
            for name in measures:
                if not is_measure(name):
                    raise ValueError(f"{name} is no measure; docs/metrics.md lists them")
        return published

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.checkpoint, self.config, self.folder, self.published)
        if sum(map(bool, sources)) != 1:
            raise ValueError("give either checkpoint, config, folder or published")
        if bool(self.published) != bool(self.source):
            raise ValueError("published figures need their source, and nothing else does")
        if self.config is None and (self.set or self.run is not None):
            raise ValueError("set and run go with config; a checkpoint states its own options")
        if not slug(self.name):
            raise ValueError("name needs a letter or a digit, for it names files")
        if slug(self.name) in RESERVED:
            raise ValueError(f"name: other pictures are called {', '.join(RESERVED)}")
        return self


class Evaluate(Options):
    """What is measured; see `core.options.EvaluateOptions`."""

    num_styles: Annotated[int, Field(ge=2)] = EvaluateOptions().num_styles
    kid_subset_size: Annotated[int, Field(ge=2)] = EvaluateOptions().kid_subset_size
    features: FeatureName = "inception"
    resize: Resize = "tf1"
    bootstrap: CountInt = 0
    weights: str | None = None


class Config(NamedConfig):
    """A comparison."""

    family: Literal["compare"] = "compare"
    data: Data
    entries: Annotated[tuple[Entry, ...], Field(min_length=1)]
    show: Show = Show()
    evaluate: Evaluate = Evaluate()
    inference: Inference = Inference()

    @model_validator(mode="after")
    def _names_apart(self) -> Self:
        names = [slug(entry.name) for entry in self.entries]
        for i, name in enumerate(names):
            if name in names[:i]:
                first = self.entries[names.index(name)].name
                raise ValueError(
                    f"entries: {first!r} and {self.entries[i].name!r} would name the same files; "
                    "give them names that differ in letters or digits"
                )
        return self


class Comparison:
    """What `core.config.load_config` looks for under `family: compare`."""

    Config = Config
