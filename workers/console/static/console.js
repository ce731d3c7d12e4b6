// Makes open pages follow what happens. Everything works without it; a reload shows the same.
"use strict";
(() => {
  const LEAST_MS = 3000; // between two fetches of the page, however much happens
  const events = document.body.dataset.events;
  const said = document.querySelector("[data-live-state]");
  const parts = () => [...document.querySelectorAll("[data-live]")];
  let changed = new Set(), timer = 0, last = 0, busy = false;

  const say = (text) => { if (said) said.textContent = text; };

  // What somebody is about to use stays as it is. What is only unfolded (details.more with an id) is fetched anew and stays unfolded.
  const unfolder = () => document.activeElement.closest("details.more[id] > summary");
  const inUse = (part) => part.contains(document.activeElement) && document.activeElement !== part && !unfolder()
    || part.querySelector("details[open]:not(.more[id]), input:checked:not([data-keep])") !== null;

  function put(part, other) {
    for (const one of part.querySelectorAll("details.more[id][open]")) {
      const again = [...other.querySelectorAll("details.more[id]")].find((it) => it.id === one.id);
      if (again) again.open = true;
    }
    if (other.innerHTML === part.innerHTML) return;
    const focused = part.contains(unfolder()) ? unfolder().parentElement.id : "";
    part.replaceChildren(...document.adoptNode(other).childNodes);
    if (focused) document.getElementById(focused)?.querySelector("summary").focus({ preventScroll: true });
  }

  const wanted = (part) => part.dataset.live.split(" ").some((topic) => changed.has(topic)) && !inUse(part);

  async function refresh() {
    timer = 0;
    if (busy || document.hidden || !parts().some(wanted)) return;
    busy = true;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "error", cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts().filter(wanted)) {
        const other = part.id && fresh.getElementById(part.id);
        if (other) put(part, other);
      }
      changed = new Set();
    } catch {
      say("Not live: the console does not answer.");
    } finally {
      busy = false;
    }
  }

  const soon = () => { if (!timer) timer = setTimeout(refresh, Math.max(200, last + LEAST_MS - Date.now())); };

  if (events && parts().length && window.EventSource) {
    const stream = new EventSource(events);
    stream.addEventListener("changed", (event) => { event.data.split(" ").forEach((topic) => changed.add(topic)); soon(); });
    stream.addEventListener("open", () => say("Live."));
    stream.addEventListener("error", () => say("Not live: trying again."));
    document.addEventListener("visibilitychange", () => { if (!document.hidden && changed.size) soon(); });
    window.addEventListener("pagehide", () => stream.close());
  }

  // Menus close with Escape and by a click elsewhere.
  const menus = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menus().forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
  });
  document.addEventListener("click", (event) => menus().forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));

  // "Choose all" boxes.
  document.addEventListener("change", (event) => {
    const name = event.target.dataset && event.target.dataset.chooses;
    if (name) document.querySelectorAll(`input[type=checkbox][name="${CSS.escape(name)}"]`).forEach((box) => { box.checked = event.target.checked; });
  });

  // Known values: what is typed is looked for among all of them; the page itself has the first ones.
  let looking = 0;
  document.addEventListener("input", (event) => {
    const field = event.target, form = field.form, name = field.dataset && field.dataset.list;
    if (!name || !form || !form.dataset.values) return;
    clearTimeout(looking);
    looking = setTimeout(async () => {
      const asked = field.value;
      const answer = await fetch(`${form.dataset.values}&${new URLSearchParams({ values: name, search: asked })}`).catch(() => null);
      if (!answer || !answer.ok || field.value !== asked || !field.list) return;
      field.list.replaceChildren(...(await answer.json()).items.map((one) => new Option(one.name, one.number)));
    }, 200);
  });
})();
