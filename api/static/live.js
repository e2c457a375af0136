// Answers and "what if" without leaving the page: what was asked for comes back as a part, and takes the old one's place.
// Without this file both are plain forms that bring the whole page.
"use strict";
(() => {
  const send = (form, submitter) => {
    const body = new URLSearchParams(new FormData(form, submitter));
    return fetch(submitter?.getAttribute("formaction") || form.getAttribute("action"), { method: "POST", body, headers: { "X-Rxrec": "part" } });
  };
  const say = (place, text) => {
    let said = place.querySelector(".problem");
    if (!said) {
      said = document.createElement("p");
      said.className = "problem";
      said.setAttribute("role", "alert");
      place.append(said);
    }
    said.textContent = text;
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest(".answering");
    const place = event.submitter?.closest(".answers");
    if (!form || !place) return;
    event.preventDefault();
    if (place.getAttribute("aria-busy") === "true") return;
    place.setAttribute("aria-busy", "true");
    try {
      const answer = await send(form, event.submitter);
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".answers");
      if (!found) throw new Error("no part");
      place.replaceWith(found);
      (found.querySelector(".undo") || found.querySelector(".ask[open] button, button, summary"))?.focus();
    } catch {
      place.removeAttribute("aria-busy");
      say(place, document.body.dataset.offline);
    }
  });

  // --- what if ---

  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const places = () => new Map(Array.from(document.querySelectorAll(".suggestion"),
    (row) => [row.querySelector("h3")?.title, row.getBoundingClientRect().top]));
  const moved = (before) => {
    if (calm.matches) return;
    for (const row of document.querySelectorAll(".suggestion")) {
      const was = before.get(row.querySelector("h3")?.title);
      const by = was === undefined ? 0 : was - row.getBoundingClientRect().top;
      if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 180, easing: "ease-out" });
    }
  };

  // the part that comes back is new, and what is new is not read out: this place stays
  const announce = (text) => { document.getElementById("said").textContent = text.replace(/\s+/g, " ").trim(); };

  let asked = 0;
  document.addEventListener("submit", async (event) => {
    const form = event.target.closest(".adding");
    if (!form) return;
    event.preventDefault();
    const number = ++asked;
    const patient = form.closest(".patient");
    const focused = event.submitter?.name === "clear" ? "" : document.activeElement?.id;
    patient.setAttribute("aria-busy", "true");
    announce(form.dataset.working);
    try {
      const answer = await send(form, event.submitter);
      if (!answer.ok) throw new Error("no answer");
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".patient");
      if (number !== asked) return;
      const before = places();
      patient.replaceWith(found);
      moved(before);
      announce(found.querySelector(".what-changed")?.textContent ?? "");
      (document.getElementById(focused) || document.getElementById("if-condition"))?.focus({ preventScroll: true });
    } catch {
      if (number !== asked) return;
      patient.removeAttribute("aria-busy");
      const time = new Date().toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      say(form, form.dataset.offline.replace("{time}", time));
    }
  });

  let waiting = 0;
  document.addEventListener("input", (event) => {
    const field = event.target.closest("[data-names]");
    if (!field || field.value.trim().length < 2) return;
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const body = new URLSearchParams({ kind: field.dataset.names, text: field.value });
      try {
        const answer = await fetch("/patient/names", { method: "POST", body, headers: { "X-Rxrec": "part" } });
        const { names } = await answer.json();
        const list = document.getElementById(field.getAttribute("list"));
        list?.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
      } catch { /* a name can be typed in full */ }
    }, 120);
  });

  // --- what changes while the page is open ---
  // Server-sent events, asked for in a body and not by EventSource, which could only put the patient into an address.

  const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
  const seen = () => new Promise((done) => {
    if (!document.hidden) done();
    else document.addEventListener("visibilitychange", () => done(), { once: true });
  });
  const told = (form, event) => {
    const row = document.createElement("li");
    row.className = event.severity;
    row.append(Object.assign(document.createElement("b"), { textContent: event.title }),
      Object.assign(document.createElement("span"), { lang: "en", textContent: `${event.text} ${event.management}` }));
    form.querySelector("ul").prepend(row);
    form.hidden = false;
  };
  const follow = async (form) => {
    let after = form.dataset.after;
    for (let failed = 0; ; ) {
      await seen();
      try {
        const body = new URLSearchParams(new FormData(form));
        body.set("after", after);
        body.set("wait", "20");
        const answer = await fetch(form.dataset.events, { method: "POST", body, headers: { "X-Rxrec": "part" } });
        if (!answer.ok) throw new Error("no events");
        for (const block of (await answer.text()).split("\n\n")) {
          const fields = new Map(block.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
          if (fields.has("data")) told(form, JSON.parse(fields.get("data")));
          after = fields.get("id") ?? after;
        }
        failed = 0;
      } catch {
        failed += 1;
        if (failed === 3) {
          say(form, form.dataset.lost);
          form.hidden = false;
        }
      }
      await pause(failed ? Math.min(60, 2 ** failed) : 1);
    }
  };
  const news = document.getElementById("news");
  if (news) follow(news);
})();
