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
})();
