"use strict";
const rows = [...document.querySelectorAll("article")];
const names = rows.map(row => row.querySelector("h2").textContent.toLowerCase());
const find = id => document.getElementById(id);
const box = document.querySelector("dialog"), picture = box.querySelector("img");
let row, label, place, touched;

find("filter")?.addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  rows.forEach((row, i) => { row.hidden = !words.every(word => names[i].includes(word)); });
  const count = rows.filter(row => !row.hidden).length;
  find("count").textContent = count === rows.length ? `${count}` : `${count} of ${rows.length}`;
});

// Pictures shown at twice their size or more are shown as the pixels they are.
const pixels = new ResizeObserver(all => all.forEach(({ target }) =>
  target.classList.toggle("pixels", target.clientWidth >= 2 * target.getAttribute("width"))));
document.querySelectorAll("main img[width], .figure img").forEach(image => pixels.observe(image));
picture.addEventListener("load", () => picture.classList.toggle("pixels", 4 <= Math.min(
  picture.clientWidth / picture.naturalWidth, picture.clientHeight / picture.naturalHeight)));

const links = row => [...row.querySelectorAll("a[data-label]")];
// A page may have several groups of rows; stepping stays within one.
const stops = () => rows.filter(one =>
  !one.hidden && links(one).length && one.dataset.group === row.dataset.group);
// A row that lacks the label (of the other direction, say) shows what stands in its place.
const shown = (one = row) => links(one).find(link => link.dataset.label === label)
  || links(one)[place] || links(one)[0];
const step = (list, item, by) => list[(list.indexOf(item) + by + list.length) % list.length];

function show(newRow, link) {
  // The label is kept over rows that lack it, so that stepping on comes back to it.
  row = newRow;
  if (link) { label = link.dataset.label; place = links(row).indexOf(link); }
  link = shown();
  const name = row.querySelector("h2").textContent;
  picture.src = link.href;
  picture.alt = `${link.dataset.label} of ${name}`;
  box.querySelector("strong").textContent = name;
  find("place").textContent = `${stops().indexOf(row) + 1} / ${stops().length}`;
  find("keys").textContent = links(row).length > 1 ? "← → rows, ↑ ↓ labels" : "← →";
  find("labels").replaceChildren(...links(row).map(one => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = one.dataset.label;
    button.setAttribute("aria-pressed", one === link);
    button.addEventListener("click", () => show(row, one));
    return button;
  }));
  for (const by of [-1, 1]) new Image().src = shown(step(stops(), row, by)).href;
}
const stepRow = by => show(step(stops(), row, by));
const stepLabel = by => show(row, step(links(row), shown(), by));

document.querySelector("main").addEventListener("click", event => {
  const link = event.target.closest("a[data-label]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(link.closest("article"), link);
  box.showModal();
});
const keys = { ArrowLeft: () => stepRow(-1), ArrowRight: () => stepRow(1),
  ArrowUp: () => stepLabel(-1), ArrowDown: () => stepLabel(1) };
// On the document: a label's button that had the focus is gone once the next label is shown.
document.addEventListener("keydown", event => {
  if (box.open && keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
picture.addEventListener("touchstart", event => { touched = event.touches[0].clientX; },
  { passive: true });
picture.addEventListener("touchend", event => {
  const moved = event.changedTouches[0].clientX - touched;
  if (Math.abs(moved) > 40) stepRow(moved < 0 ? 1 : -1);
});
box.addEventListener("close", () => shown().focus());
find("close").addEventListener("click", () => box.close());
find("back").addEventListener("click", () => stepRow(-1));
find("next").addEventListener("click", () => stepRow(1));
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const value = (line, i) => line.cells[i].dataset.value;
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(one => one.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort((p, q) => {
      const a = value(p, i), b = value(q, i);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? order : -order;
    }));
  }));
}
