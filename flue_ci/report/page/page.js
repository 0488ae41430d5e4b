"use strict";
// Search, keys and folding of everything at once. Without it the page can be read and folded all the same.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const entries = all("[data-find]");
  const input = document.getElementById("find");
  const hits = document.getElementById("hits");
  const texts = new Map();
  let folds = null; // what was open before the search

  const textOf = (entry) => {
    if (!texts.has(entry)) texts.set(entry, entry.textContent.toLowerCase());
    return texts.get(entry);
  };

  const restore = () => {
    for (const entry of entries) entry.hidden = false;
    if (folds) for (const [entry, open] of folds) entry.open = open;
    folds = null;
    hits.textContent = "";
  };

  const search = () => {
    const words = input.value.trim().toLowerCase();
    if (!words) return restore();
    folds ??= new Map(entries.filter((entry) => "open" in entry).map((entry) => [entry, entry.open]));
    for (const entry of entries) {
      entry.hidden = !textOf(entry).includes(words);
      if (!entry.hidden && "open" in entry) entry.open = true;
    }
    const count = entries.filter((entry) => !entry.hidden && !entry.querySelector("[data-find]:not([hidden])")).length;
    hits.textContent = count === 1 ? "1 place" : `${count} places`;
  };

  const summaries = () => all("summary").filter((each) => each.checkVisibility());

  const move = (step) => {
    const list = summaries();
    const place = list.indexOf(document.activeElement);
    const next = list[place < 0 ? (step > 0 ? 0 : list.length - 1) : place + step];
    if (!next) return;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };

  const foldAll = (open) => {
    for (const each of all("details")) each.open = open;
  };

  const openTarget = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const fold = target && (target.matches("details") ? target : target.querySelector("details"));
    if (fold) fold.open = true;
  };

  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 120);
  });
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
    move(1);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const writes = event.target === input;
    if (event.key === "Escape") {
      input.value = "";
      restore();
      input.blur();
    } else if (writes) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      input.focus();
    } else if (event.key === "j" || event.key === "k") {
      move(event.key === "j" ? 1 : -1);
    }
  });
  document.getElementById("fold").addEventListener("click", () => foldAll(false));
  document.getElementById("unfold").addEventListener("click", () => foldAll(true));
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", () => foldAll(true));
  for (const each of all("form[hidden], .buttons, .keys")) each.hidden = false;
  openTarget();
})();
