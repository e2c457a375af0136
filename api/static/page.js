// Keys for the pages: / search, j and k through the suggestions, o their reasons, ? help. Everything works without it.
"use strict";
(() => {
  document.documentElement.classList.add("js");
  const help = document.getElementById("help");
  const suggestions = Array.from(document.querySelectorAll(".suggestion"));

  // the chart folds where it would push the list off the screen
  const fold = document.querySelector(".fold");
  const wide = window.matchMedia("(min-width: 900px)");
  if (fold) {
    fold.open = wide.matches;
    wide.addEventListener("change", () => { fold.open = wide.matches; });
    // paper cannot be unfolded, and must not leave out part of a chart
    const chart = document.querySelectorAll(".fold, .more");
    let before = [];
    window.addEventListener("beforeprint", () => {
      before = Array.from(chart, (part) => part.open);
      for (const part of chart) part.open = true;
    });
    window.addEventListener("afterprint", () => chart.forEach((part, i) => { part.open = before[i]; }));
  }

  const openHelp = () => { if (!help.open) help.showModal(); };
  for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", openHelp);

  const here = () => suggestions.findIndex((item) => item.contains(document.activeElement));
  const move = (step) => {
    if (!suggestions.length) return;
    const at = here();
    const next = at < 0 ? 0 : Math.min(Math.max(at + step, 0), suggestions.length - 1);
    suggestions[next].focus();
    suggestions[next].scrollIntoView({ block: "nearest" });
  };

  const keys = {
    "/": () => document.querySelector("[data-search]")?.focus(),
    "j": () => move(1),
    "k": () => move(-1),
    "o": () => {
      const parts = suggestions[here()]?.querySelector("details");
      if (parts) parts.open = !parts.open;
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
