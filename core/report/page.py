"""What the HTML pages of `core.report.gallery` are made of: frame, style, lightbox, escaping."""

from __future__ import annotations

import html
import os
from pathlib import Path
from urllib.parse import quote

from core.report.pictures import write_file

STYLE = """
:root { color-scheme: light dark; --page: #fafaf8; --card: #fff; --line: #e3e2dd; --text: #22221f;
  --soft: #6b6a64; --accent: #2f6f8f; --alarm: #b3402a; }
@media (prefers-color-scheme: dark) { :root { --page: #161715; --card: #1f201e; --line: #343531;
  --text: #e9e8e3; --soft: #9c9b94; --accent: #7fbad6; --alarm: #f08a70; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1600px; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 4rem;
  background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.4rem; font-weight: 600; overflow-wrap: anywhere; }
h2 { margin: 2.25rem 0 .75rem; font-size: 1rem; font-weight: 600; }
img { display: block; max-width: 100%; height: auto; }
.soft { color: var(--soft); font-size: .85rem; }
.number { font-variant-numeric: tabular-nums; }
.card { margin: 0; padding: .75rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
"""

RUN_STYLE = """
.charts { display: grid; gap: .75rem; grid-template-columns:
  repeat(auto-fill, minmax(200px, 1fr)); }
.charts figcaption { display: flex; justify-content: space-between; gap: .5rem; }
.charts svg { display: block; width: 100%; height: 48px; margin: .4rem 0 .2rem; }
.charts path { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.range { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 .5rem; }
h2 .soft { font-weight: 400; }
.alarms { margin: 0; padding-left: 1rem; list-style: none; border-left: 3px solid var(--alarm); }
.alarms b, .bad { color: var(--alarm); }
.sample { margin-bottom: 1rem; }
.sample figcaption { display: flex; justify-content: space-between; padding-bottom: .5rem; }
"""

TEST_STYLE = """
.bar { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: baseline;
  gap: .5rem 1rem; padding: .75rem 0; background: var(--page); }
.bar input { margin-left: auto; width: min(100%, 18rem); padding: .35rem .6rem; font: inherit;
  color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
.rows { display: grid; gap: .75rem;
  grid-template-columns:
    repeat(auto-fill, minmax(min(100%, calc(var(--columns) * 11.5rem)), 1fr)); }
.figure { margin-bottom: 1rem; overflow-x: auto; }
.figure figcaption { padding-bottom: .5rem; }
.rows h2 { margin: 0 0 .5rem; font-size: .85rem; font-weight: 500; overflow-wrap: anywhere; }
.rows article[hidden] { display: none; }
.cells { display: grid; gap: .5rem; align-items: end;
  grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
@media (max-width: 40rem) {
  .cells { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); } }
.cells figure { margin: 0; }
.cells img { width: 100%; border-radius: 4px; }
.cells figcaption { padding-top: .25rem; text-align: center; overflow-wrap: anywhere; }
.missing { display: grid; place-items: center; aspect-ratio: 1; border: 1px dashed var(--line);
  border-radius: 4px; }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
dialog { width: 100vw; height: 100vh; height: 100dvh; max-width: none; max-height: none; margin: 0;
  padding: .75rem; border: 0; background: var(--page); color: var(--text); }
dialog[open] { display: grid; grid-template-rows: auto minmax(0, 1fr) auto; gap: .75rem; }
dialog header { display: flex; align-items: baseline; gap: 1rem; min-width: 0; }
dialog strong { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 500; }
dialog header button { margin-left: auto; }
dialog img { width: 100%; height: 100%; object-fit: contain; }
dialog img.pixels { image-rendering: pixelated; }
dialog footer, #labels { display: flex; flex-wrap: wrap; justify-content: center; gap: .4rem; }
@media (hover: none) { #keys { display: none; } }
button { padding: .35rem .8rem; font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; cursor: pointer; }
button[aria-pressed=true] { border-color: var(--accent); color: var(--accent); }
"""

LIGHTBOX = """
<dialog aria-label="Enlarged picture">
<header><strong></strong><span class="soft number" id="place"></span>
<span class="soft" id="keys">← → inputs, ↑ ↓ labels</span>
<button type="button" id="close" aria-label="Close">✕</button></header>
<img alt="">
<footer><button type="button" id="back" aria-label="Previous input">←</button>
<span id="labels"></span>
<button type="button" id="next" aria-label="Next input">→</button></footer>
</dialog>
"""

SCRIPT = """
"use strict";
const rows = [...document.querySelectorAll("article")];
const names = rows.map(row => row.querySelector("h2").textContent.toLowerCase());
const find = id => document.getElementById(id);
const box = document.querySelector("dialog"), picture = box.querySelector("img");
let row, label, touched;

find("filter").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  rows.forEach((row, i) => { row.hidden = !words.every(word => names[i].includes(word)); });
  const count = rows.filter(row => !row.hidden).length;
  find("count").textContent = count === rows.length ? `${count}` : `${count} of ${rows.length}`;
});

const links = row => [...row.querySelectorAll("a[data-label]")];
// A page may have several groups of rows; stepping stays within one.
const stops = () => rows.filter(one =>
  !one.hidden && links(one).length && one.dataset.group === row.dataset.group);
const shown = () => links(row).find(link => link.dataset.label === label) || links(row)[0];
const step = (list, item, by) => list[(list.indexOf(item) + by + list.length) % list.length];

function show(newRow, newLabel) {
  // The label is kept over inputs that lack it, so that stepping on comes back to it.
  row = newRow; label = newLabel;
  const all = links(row), link = shown();
  const name = row.querySelector("h2").textContent;
  picture.src = link.href;
  picture.alt = `${link.dataset.label} of ${name}`;
  box.querySelector("strong").textContent = name;
  find("place").textContent = `${stops().indexOf(row) + 1} / ${stops().length}`;
  find("labels").replaceChildren(...all.map(one => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = one.dataset.label;
    button.setAttribute("aria-pressed", one === link);
    button.addEventListener("click", () => show(row, one.dataset.label));
    return button;
  }));
  for (const by of [-1, 1]) {
    const near = links(step(stops(), row, by));
    new Image().src = (near.find(link => link.dataset.label === label) || near[0]).href;
  }
}
const stepInput = by => show(step(stops(), row, by), label);
const stepLabel = by => show(row, step(links(row), shown(), by).dataset.label);

document.querySelector("main").addEventListener("click", event => {
  const link = event.target.closest("a[data-label]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(link.closest("article"), link.dataset.label);
  box.showModal();
});
// Pictures enlarged fourfold or more are shown as the pixels they are.
picture.addEventListener("load", () => picture.classList.toggle("pixels", 4 <= Math.min(
  picture.clientWidth / picture.naturalWidth, picture.clientHeight / picture.naturalHeight)));
const keys = { ArrowLeft: () => stepInput(-1), ArrowRight: () => stepInput(1),
  ArrowUp: () => stepLabel(-1), ArrowDown: () => stepLabel(1) };
// On the document: a label's button that had the focus is gone once the next label is shown.
document.addEventListener("keydown", event => {
  if (box.open && keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
picture.addEventListener("touchstart", event => { touched = event.touches[0].clientX; },
  { passive: true });
picture.addEventListener("touchend", event => {
  const moved = event.changedTouches[0].clientX - touched;
  if (Math.abs(moved) > 40) stepInput(moved < 0 ? 1 : -1);
});
box.addEventListener("close", () => shown().focus());
find("close").addEventListener("click", () => box.close());
find("back").addEventListener("click", () => stepInput(-1));
find("next").addEventListener("click", () => stepInput(1));
"""


def text(content: str) -> str:
    """HTML of any string; file names that are no valid Unicode show a question mark."""
    return html.escape(content.encode("utf-8", "replace").decode("utf-8"))


def url(path: str) -> str:
    """Attribute value that leads to a relative path, whatever characters are in it."""
    # Back to the bytes on the disk, which is what a browser looks for.
    return html.escape(quote(os.fsencode(path)))


def write_page(path: Path, title: str, style: str, body: str) -> None:
    """Write a whole page in one go.

    Args:
        path: the file; replaced if it exists.
        title: plain text for the browser's tab.
        style: CSS beyond the common `STYLE`.
        body: HTML, escaped already.

    Raises:
        UserError: the file cannot be written.
    """
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
    write_file(path, lambda file: file.write(page.encode("utf-8")))
