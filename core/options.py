"""The options that every family shares, as frozen pydantic models.

A family's `config.py` subclasses a section where its published defaults differ, so that a config
file states only the data and its deviations. Reading YAML into these models is `core.config`.
"""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
CountInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Direction = Literal["AtoB", "BtoA"]
FeatureName = Literal["inception", "vgg16", "dinov2", "student", "random"]
Speed = Literal["auto", "off"]
"""`auto` takes what is fastest on the device with the same results to rounding; `off` runs networks
as they were written, as exporters need them."""
Resize = Literal["tf1", "clean", "legacy"]
Preprocess = Literal[
    "resize_and_crop",
    "crop",
    "scale_width",
    "scale_width_and_crop",
    "scale_shorter_and_crop",
    "scale_and_center_crop",
    "none",
]
TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]
Policy = Literal["linear", "linear_legacy", "step", "plateau", "cosine", "constant"]
Span = tuple[float, float]
"""The stored values that are black and white."""


def other_way(direction: Direction) -> Direction:
    """Return the opposite direction."""
    return "BtoA" if direction == "AtoB" else "AtoB"


class Options(BaseModel):
    """Base of every option model: immutable, unknown keys and infinite numbers refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


class Input(Options):
    """A part of the images of a domain, by its address; in YAML the address alone will do."""

    path: str
    """A folder, list, shard, array or data set, relative to `data.root` (docs/data.md)."""
    labels: Annotated[int, Field(ge=2, le=255)] | None = None
    """It holds label maps of so many classes: a channel for each."""
    white: PositiveFloat | Span | None = None
    """As `data.white`, of this input alone."""
    channels: PositiveInt | None = None
    """Channels in a stack; default: those of the first training picture."""

    @property
    def span(self) -> Span | None:
        """Black and white; None where `data.white` or the files say."""
        return (0.0, self.white) if isinstance(self.white, float) else self.white

    @model_validator(mode="after")
    def _labels_are_no_colours(self) -> Self:
        if self.labels and (self.white or self.channels):
            raise ValueError("labels: has neither white nor channels of its own")
        return self


def _as_inputs(given: object) -> object:
    """Let an address stand for an input, and one input for a stack of one."""
    parts = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return tuple({"path": part} if isinstance(part, str) else part for part in parts)


Inputs = Annotated[tuple[Input, ...], BeforeValidator(_as_inputs)]
"""One address, or several whose pictures of equal name are stacked."""


class AugmentOptions(Options):
    """Random changes of training images besides crop and flip (`core.data.augment`)."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Degrees; turn by up to so many, either way."""
    scale: tuple[Annotated[float, Field(ge=0.5)], Annotated[float, Field(le=2)]] = (1.0, 1.0)
    """Enlarge by a factor between these two."""
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    """These three by factors of 1 plus or minus up to so much."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Turn the colour circle by up to this part of it, either way."""
    color_domains: Literal["both", "A", "B"] = "both"
    """Of the data set; those whose colours change."""

    @model_validator(mode="after")
    def _smaller_scale_first(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: give the smaller factor first, not {[*self.scale]}")
        return self


class DataOptions(Options):
    """Where the images are and how they are read.

    `load_size`, `crop_size`, `preprocess` and `flip` follow the official CycleGAN and pix2pix
    data code (`data/base_dataset.py`), `scale_shorter_and_crop` the official MUNIT's (`utils.py`).
    The layouts are described in docs/data.md.
    """

    _single: ClassVar[bool] = False
    """Whether there is one domain only."""
    root: str
    """Folder with `trainA/ trainB/ testA/ testB/` (unpaired), `train/ val/` of side-by-side
    pairs, `A/ B/` with equal names, or list files `trainA.txt`, ..."""
    a: Inputs = ()
    """Where the images of A are, instead of what `root` holds by its layout: an address, or
    several whose images of equal name are stacked, such as `[rgb/, depth/]`."""
    b: Inputs = ()
    """Likewise of B."""
    direction: Direction = "AtoB"
    """With BtoA the model takes the data set's B as its A."""
    preprocess: Preprocess = "resize_and_crop"
    load_size: PositiveInt = 286
    """Pixels; side (or width, or shorter side) after the resize."""
    crop_size: PositiveInt = 256
    """Pixels; side of the random crop that the networks see."""
    fit: Literal["refuse", "pad"] = "refuse"
    """What becomes of images whose sides the networks cannot take, such as 300 px in a U-Net:
    refused, or mirrored at the borders up to the next size that they can, as in testing."""
    flip: bool = True
    """Mirror left-right with probability 0.5."""
    augment: AugmentOptions = AugmentOptions()
    serial: bool = False
    """Take images in order, B along with A, instead of at random (official `serial_batches`)."""
    max_images: PositiveInt | None = None
    """Use at most this many images per domain (after sorting)."""
    num_workers: CountInt = 4
    """Loader processes; 0 reads in the training process."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Keep decoded, resized images once they are read, in memory or in a file that survives."""
    cache_dir: str | None = None
    """Folder of the disk cache; default `<root>/.image_cache`."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """An unreadable image stops the run, or is named once and replaced by the next one."""
    white: PositiveFloat | Literal["auto"] | tuple[Span | None, ...] | None = None
    """In images of more than 8 bits, the stored value that is white (0 is black); `auto` takes the
    smallest and the largest value of the training images; or black and white of each domain, such
    as `[[-1024, 3071], null]`. Default: what the files state, or the full range of 16 bits."""
    val_fraction: Fraction = 0.0
    """Where there is neither a val nor a test split, keep this share of train for them."""

    @field_validator("white")
    @classmethod
    def _white_is_above_black(cls, white: object) -> object:
        if isinstance(white, tuple):
            if len(white) > 2 or not white:
                raise ValueError("black and white are of one domain, or of A and of B")
            if any(span is not None and span[0] >= span[1] for span in white):
                raise ValueError("black must be below white")
        return white

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if bool(self.a) != bool(self.b) and not self._single:
            raise ValueError("a and b: give both, or neither")
        return self

    @model_validator(mode="after")
    def _one_domain_has_no_other(self) -> Self:
        if self._single and self.b:
            raise ValueError("b: there is one domain only, which is a")
        if self.a and getattr(self, "tags", None):
            raise ValueError("tags: go with the images of root; leave out a")
        return self

    @property
    def spans(self) -> tuple[Span | None, Span | None]:
        """Black and white of the data set's A and B; None where the files state them.

        `auto` is measured when a training begins (`core.data.white`), and None before.
        """
        spans: tuple[Span | None, Span | None] = (None, None)
        if isinstance(self.white, float):
            spans = (0.0, self.white), (0.0, self.white)
        elif isinstance(self.white, tuple):
            spans = self.white[0], self.white[-1]
        own = [inputs[0].span if len(inputs) == 1 else None for inputs in (self.a, self.b)]
        return own[0] or spans[0], own[1] or spans[1]


class SingleDataOptions(DataOptions):
    """Images of one domain, as generative families take them.

    The defaults are the data code of pytorch/examples `dcgan/main.py`: shorter side to the image
    size, crop from the centre, no mirroring.
    """

    _single: ClassVar[bool] = True
    root: str
    """Folder of images, or one with `train/`, `test/` folders of them, or with MNIST's idx files
    (`train-images-idx3-ubyte`, `t10k-images-idx3-ubyte`, gzipped or not)."""
    direction: Literal["AtoB"] = "AtoB"
    """One domain has no other direction."""
    preprocess: Preprocess = "scale_and_center_crop"
    fit: Literal["refuse"] = "refuse"
    """The networks make images of `crop_size`, and those they learn from are as large."""
    load_size: PositiveInt = 64
    crop_size: PositiveInt = 64
    """Pixels; side of the images that the networks make."""
    flip: bool = False
    tags: str | None = None
    """File below `root` with a line `id,blue hair red eyes` for each image (docs/data.md)."""


class TrainOptions(Options):
    """How long and how to train; nothing here changes what is being minimised."""

    num_epochs: CountInt = 100
    """Epochs at the full learning rate."""
    num_epochs_decay: CountInt = 100
    """Further epochs over which the rate falls (linear policy)."""
    num_steps: PositiveInt | None = None
    """If given, count the schedule in steps instead: this many at full rate, then
    `num_steps_decay`; the two epoch counts are ignored."""
    num_steps_decay: CountInt = 0
    batch_size: PositiveInt = 1
    """Images that a process has in its networks at once."""
    accumulate: PositiveInt = 1
    """Batches of `batch_size` in a step: it is that of one batch of so many times the size, in
    little more memory and more time. See `core.training.accumulate`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    deterministic: bool = False
    """Only deterministic kernels (slower on CUDA)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast type; fp16 uses a gradient scaler."""
    tf32: bool = True
    """On GPUs since Ampere, convolutions and products of fp32 in TF32, as torch's convolutions
    have it by default; never inside a gradient penalty."""
    speed: Literal["auto", "off"] = "auto"
    """auto takes what is fastest here with the same mathematics, to float32 rounding, and says
    so; off is torch's own way. The next three override it (see `core.training.speed`)."""
    channels_last: bool | None = None
    """Images and weights with their channels side by side in memory."""
    winograd: bool | None = None
    """In fp32 on a CPU, convolutions the way that is measured to be fastest for their shape: by
    minimal filtering, by cells of pixels from and to images, their parts in either layout;
    elsewhere without effect. See `core.cpu.accelerate`."""
    keep_memory: bool | None = None
    """On a CPU, keep freed memory for the next tensor: faster where tensors are over 32 MiB, with
    a little more of it held; elsewhere without effect. See `core.cpu.memory`."""
    compile: bool = False
    """torch.compile of each network, in place: state-dict keys stay."""
    gradient_checkpointing: bool = False
    """Recompute residual blocks in the backward pass: less memory, about a third more time."""
    clip_grad_norm: PositiveFloat | None = None
    ema_decay: Fraction = 0.0
    """0 switches the moving average of the generators off (the published way)."""
    max_nonfinite_steps: PositiveInt = 10
    """Stop after so many steps in a row whose loss or gradient was not finite."""
    stop_after: PositiveInt | None = None
    """End the training after so many evaluations in a row without a better `checkpoint.best`."""

    @property
    def images_per_step(self) -> int:
        """Images per process and step."""
        return self.batch_size * self.accumulate


class OptimOptions(Options):
    """Adam and its schedule, with the defaults of the official CycleGAN and pix2pix."""

    lr: PositiveFloat = 2e-4
    beta1: Fraction = 0.5
    beta2: Fraction = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: Weight = 0.0
    policy: Policy = "linear"
    """`linear_legacy` is the official linear rule before 2020-07-19, one epoch later."""
    decay_every: PositiveInt = 50
    """Step policy: epochs (or steps) between two cuts of the rate (official `lr_decay_iters`)."""
    decay_factor: PositiveFloat = 0.1
    """Step policy: factor of one cut."""
    first_epoch: Literal[0, 1] = 1
    """Number of the first epoch (or step) in the policy's formula."""


class LogOptions(Options):
    """What is written while training; counts are in steps where they do not say otherwise."""

    every: PositiveInt = 100
    """Loss terms, averaged over this many steps, to log.jsonl and the trackers."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where numbers, sample grids and options go besides the run folder's log and page; all but
    TensorBoard are extras of the same names (docs/training.md)."""
    samples_every: CountInt = 1000
    """Sample grid on fixed inputs; 0: never."""
    samples_every_epochs: CountInt = 0
    """Sample grid at the end of every N-th epoch, besides; 0: never."""
    num_samples: PositiveInt = 4
    """Fixed inputs in a sample grid."""
    bands: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Of images with other channels than gray, RGB and alpha, those that pictures show as red,
    green and blue, counted from 1; default: the first three, or the first if there are two."""


class GenerativeLogOptions(LogOptions):
    """A grid of the same noise at the end of every epoch, as the published GAN code draws."""

    samples_every: CountInt = 0
    samples_every_epochs: CountInt = 1
    num_samples: PositiveInt = 64


class CheckpointOptions(Options):
    """When checkpoints are written and which are kept; counts are in steps."""

    every: PositiveInt = 1000
    keep_last: PositiveInt = 2
    keep_every: CountInt = 0
    """Additionally keep every N-th step for good; 0: none."""
    keep_every_epochs: CountInt = 0
    """Additionally write one at the end of every N-th epoch, and keep it for good; 0: none."""
    best: str | None = None
    """Additionally keep the best by this measure of the evaluations while training (needs
    `evaluate.every`), `<measure>_<direction>`, e.g. `psnr_AtoB`."""


class EvaluateOptions(Options):
    """What is measured on the test images, while training or by `scripts/evaluate.py`."""

    every: CountInt = 0
    """Steps between two evaluations while training; 0: none."""
    max_images: PositiveInt | None = None
    """Use at most this many test images per domain (after sorting)."""
    num_styles: Annotated[int, Field(ge=2)] = 10
    """Random styles of each image for diversity, in families that have styles; MUNIT and DRIT
    compare about as many pairs (Huang et al. 2018, section 6.2: 19 an image)."""
    kid_subset_size: Annotated[int, Field(ge=2)] = 100
    """Features of either side in one of KID's 100 subsets; all there are, if those are fewer."""
    features: FeatureName = "inception"
    """Network in whose features sets are compared. FID, KID and the others carry the name of any
    but the published one; "random" needs no weights."""
    resize: Resize = "tf1"
    """Resize in front of Inception: of the papers (TensorFlow 1's bilinear), or clean-fid's "clean"
    and "legacy"."""
    neighbours: PositiveInt = 3
    """The k of precision, recall, density and coverage."""
    bootstrap: CountInt = 0
    """Draws for the intervals of FID and KID; 0: none."""
    cache: str | None = None
    """Folder that keeps features of real images between runs; default below ~/.cache; "": none."""
    weights: str | None = None
    """Folder with the weights behind FID, KID and LPIPS (docs/evaluation.md); default
    torch.hub's. Metrics whose weights are not there are left out and named."""


class NamedConfig(Options):
    """The root of every config file."""

    folder: ClassVar[str] = ""
    """Folder of its config files below `configs/`; empty: the family's name."""
    family: str
    name: str = ""
    """Name of what comes out; default: the config's `<folder>/<file stem>`. Also its folder below
    `runs/` or `results/`."""

    @field_validator("name")
    @classmethod
    def _name_stays_below_its_folder(cls, name: str) -> str:
        if name.startswith(("/", "~")) or {"..", "."} & set(re.split(r"[/\\\\]", name)):
            raise ValueError("a name is a relative path without `.` and `..`")
        return name


class RunConfig(NamedConfig):
    """A whole run of training. Families subclass it and add `model`."""

    data: DataOptions
    train: TrainOptions = TrainOptions()
    optim: OptimOptions = OptimOptions()
    log: LogOptions = LogOptions()
    checkpoint: CheckpointOptions = CheckpointOptions()
    evaluate: EvaluateOptions = EvaluateOptions()

    @model_validator(mode="after")
    def _a_best_one_is_measured(self) -> Self:
        if self.checkpoint.best is not None and not self.evaluate.every:
            raise ValueError(
                f"checkpoint.best: {self.checkpoint.best}, but nothing is measured while training; "
                "set evaluate.every"
            )
        if self.train.stop_after is not None and self.checkpoint.best is None:
            raise ValueError("train.stop_after needs checkpoint.best, by which it stops")
        return self
