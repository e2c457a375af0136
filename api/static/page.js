// Keys for the pages: / search, j and k through the suggestions, o their reasons, a accept, r not for this patient,
// ? help. Everything works without it.
"use strict";
(() => {
  document.documentElement.classList.add("js");
  const help = document.getElementById("help");
  const rows = () => Array.from(document.querySelectorAll(".suggestion"));

  // paper cannot be unfolded, and must not leave out part of a chart
  let before = [];
  const folds = () => document.querySelectorAll(".fold, .more, .therapy-warnings, .unchecked details");
  window.addEventListener("beforeprint", () => {
    before = Array.from(folds(), (part) => [part, part.open]);
    for (const [part] of before) part.open = true;
  });
  window.addEventListener("afterprint", () => { for (const [part, open] of before) part.open = open; });

  const openHelp = () => { if (!help.open) help.showModal(); };
  for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", openHelp);

  const here = () => rows().find((item) => item.contains(document.activeElement));
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(here());
    const next = all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };

  const keys = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    "j": () => move(1),
    "k": () => move(-1),
    "o": () => {
      const parts = here()?.querySelector(".parts");
      if (parts) parts.open = !parts.open;
    },
    "a": () => here()?.querySelector("[data-accept]")?.click(),
    "r": () => {
      const reject = here()?.querySelector("[data-reject]");
      if (!reject) return;
      reject.open = true;
      reject.querySelector("button")?.focus();
    },
    "?": openHelp,
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea, select");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || help.open || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
})();
