"""A page to try translators in: pick a checkpoint, drop a picture, choose direction and styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from core.checkpoints import store
from core.errors import UserError
from core.family import FamilyTable
from core.inference import safe_files
from core.inference.loading import load_translator
from core.inference.translator import Translator
from core.options import Direction, Speed

MAX_STYLES = 16


def find_runs(folder: Path, table: FamilyTable) -> dict[str, Path]:
    """Find run folders and converted checkpoints that translate, by their names below a folder.

    Raises:
        UserError: there are none.
    """
    runs = {path.parent.parent for path in folder.rglob("checkpoints/step_*.pt")}
    files = {path for path in folder.rglob("*.pt") if path.parent.name != "checkpoints"}
    files |= {*folder.rglob("*.safetensors")}
    translating = (path for path in sorted(runs | files) if _translates(path, table))
    found = {path.relative_to(folder).as_posix(): path for path in translating}
    if not found:
        others = f" ({len(runs | files)} that do not translate)" if runs | files else ""
        raise UserError(
            f"--runs {folder}: no run folder and no checkpoint of a translator below it{others}; "
            "train one first, or convert a released one with scripts/convert.py"
        )
    return {folder.name if name == "." else name: path for name, path in found.items()}


def _translates(path: Path, table: FamilyTable) -> bool:
    """Tell whether a run or a file is of a family that translates, without reading its weights."""
    file = path if path.is_file() else store.listed(path / "checkpoints")[0]
    try:
        if file.suffix == ".safetensors":
            state = safe_files.load_safetensors(file)
        else:
            state = torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except Exception:  # whatever it is, it is no checkpoint of ours
        return False
    name = state.get("family") if isinstance(state, dict) else None
    return hasattr(table.get(str(name)), "translate")


class Demo:
    """What the page does, without the page, with the runs that `find_runs` has found."""

    def __init__(
        self,
        runs: dict[str, Path],
        device: torch.device,
        table: FamilyTable,
        speed: Speed = "auto",
    ) -> None:
        self.runs, self._device, self._table, self._speed = runs, device, table, speed
        self._loaded: tuple[Path, Translator] | None = None

    def translator(self, name: str) -> Translator:
        """Return the translator of a run's newest checkpoint; the last one used stays in memory.

        Raises:
            UserError: the checkpoint cannot be loaded, or does not translate.
        """
        file, _ = store.find(self.runs[name])
        if self._loaded is None or self._loaded[0] != file:
            self._loaded = None  # both would not fit a small GPU
            loaded = load_translator(file, self._table, self._device, speed=self._speed)
            self._loaded = file, loaded
        return self._loaded[1]

    def translate(
        self,
        name: str,
        image: Path | None,
        direction: Direction,
        num_styles: int,
        example: Path | None,
        seed: int,
    ) -> list[tuple[Image.Image, str]]:
        """Return translations of a picture file, in 8 bits, with their captions.

        In a family with styles that is one in the style of the example, if there is one, and
        `num_styles` in random styles; in others, one.

        Raises:
            UserError: no picture, or one that cannot be translated.
        """
        if image is None:
            raise UserError("drop a picture first")
        translator = self.translator(name)
        direction = translator.check_direction(direction)
        picture = translator.read(image, direction)
        if translator.styles is None:
            return [(translator(picture, direction).to_pil(), direction)]
        codes, captions = [], []
        if example is not None:
            shown = translator.read(example, direction, target=True)
            codes.append(translator.encode_style(shown, direction))
            captions.append("style of the example")
        if num_styles:
            codes.append(translator.random_styles(num_styles, seed))
            captions += [f"random style {i + 1}" for i in range(num_styles)]
        if not codes:
            raise UserError("choose at least one random style, or drop an example")
        results = translator.in_styles(picture, torch.cat(codes), direction)
        return [(one.to_pil(), caption) for one, caption in zip(results, captions, strict=True)]


def build_page(demo: Demo) -> Any:
    """Make the page, `gradio.Blocks`, to be launched.

    Raises:
        UserError: gradio is not installed.
    """
    try:
        import gradio as gr  # noqa: PLC0415
    except ImportError:
        raise UserError("the demo page needs gradio: pip install -e '.[app]'") from None

    def choose(name: str) -> tuple[Any, Any]:
        try:
            translator = demo.translator(name)
        except UserError as error:
            raise gr.Error(str(error)) from None
        directions = list(translator.directions)
        return (
            gr.Radio(choices=directions, value=directions[0]),
            gr.Group(visible=translator.styles is not None),
        )

    def translate(
        name: str, image: str | None, direction: Direction, num: int, example: str | None, seed: int
    ) -> list[tuple[Image.Image, str]]:
        files = (Path(file) if file else None for file in (image, example))
        try:
            return demo.translate(name, next(files), direction, num, next(files), seed)
        except UserError as error:
            raise gr.Error(str(error)) from None

    names = list(demo.runs)
    # Nothing leaves the machine: no usage reports here, no web fonts in `launch`.
    with gr.Blocks(title="Image translation", analytics_enabled=False) as page:
        gr.Markdown("# Image translation")
        with gr.Row():
            with gr.Column():
                run = gr.Dropdown(names, value=names[0], label="Checkpoint")
                direction = gr.Radio(["AtoB", "BtoA"], value="AtoB", label="Direction")
                image = gr.Image(type="filepath", label="Picture")
                with gr.Group(visible=False) as styles:
                    num_styles = gr.Slider(0, MAX_STYLES, 4, step=1, label="Random styles")
                    seed = gr.Number(0, precision=0, label="Seed of the random styles")
                    example = gr.Image(type="filepath", label="Style of this picture")
                button = gr.Button("Translate", variant="primary")
            results = gr.Gallery(label="Translations", format="png", columns=2)
        for event in (page.load, run.change):
            event(choose, run, [direction, styles], api_visibility="private")
        inputs = [run, image, direction, num_styles, example, seed]
        button.click(translate, inputs, results, api_name="translate")
    return page


def launch(page: Any, host: str, port: int | None) -> str:
    """Begin to serve a page, and return its address; `page.block_thread()` waits for Ctrl-C.

    The host 127.0.0.1 keeps the page to this machine; without a port the first free one from 7860
    on is taken.

    Raises:
        UserError: the port is taken.
    """
    import gradio as gr  # noqa: PLC0415

    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, theme=theme, prevent_thread_lock=True, quiet=True
        )
    except OSError as error:
        raise UserError(f"--port {port}: {error}; choose another") from None
    print(f"serving at {address}", flush=True)
    return str(address)
