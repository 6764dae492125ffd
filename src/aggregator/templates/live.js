// Keeps the dashboard alive: the number of now by server-sent events, everything else by asking for the same page again.
// Without it the page shows the same, and asks again every minute.
"use strict";
(() => {
  const STALE_MS = 6000, AGAIN_MS = 5000, PAGE_MS = 30000, SAY_MS = 60000;
  const $ = (id) => document.getElementById(id);
  const status = $("live"), number = $("power-number"), unit = $("power-unit"), said = $("power-said");
  const isFleet = document.body.dataset.live === "fleet";
  let source = null, timer = 0, heard = Date.now(), spoke = 0, state = "";

  function show(now, text) {
    if (status) { status.dataset.state = now; status.textContent = text; }
    if (state !== now && state !== "" && said) { said.textContent = "Live figures: " + text; spoke = Date.now(); }
    state = now;
  }

  function take(event) {
    let news;
    try { news = JSON.parse(event.data); } catch { return; }
    heard = Date.now();
    show("live", "live");
    // The first readings of a ledger that was empty.
    if (document.body.dataset.live === "empty" && news.shown) { location.reload(); return; }
    if (!isFleet || !number) { return; }
    number.textContent = news.shown ? news.shown.number : "–";
    unit.textContent = news.shown ? " " + news.shown.unit : "";
    document.title = (news.shown ? news.shown.number + " " + news.shown.unit + " · " : "") + "wattledger";
    if (said && Date.now() - spoke > SAY_MS) {
      said.textContent = news.shown ? "Fleet power: " + news.shown.number + " " + news.shown.unit : "Fleet power is not known";
      spoke = Date.now();
    }
  }

  function listen() {
    clearTimeout(timer);
    if (source || document.hidden) { return; }
    source = new EventSource("/api/v1/events");
    source.addEventListener("power", take);
    source.onopen = () => { if (state === "stale") { again(); } };
    source.onerror = () => {
      show("stale", "connection lost, trying again");
      // A refused connection is tried again by the browser; an answer that is no stream is not.
      if (source && source.readyState === EventSource.CLOSED) { leave(); timer = setTimeout(listen, AGAIN_MS); }
    };
  }

  function leave() {
    if (source) { source.close(); source = null; }
  }

  // A part is left alone while somebody is in it.
  function isInUse(part) {
    const selection = document.getSelection();
    const selected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return selected || (part.contains(document.activeElement) && document.activeElement !== document.body);
  }

  async function again() {
    if (document.hidden) { return; }
    let text;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) { return; }
      text = await answer.text();
    } catch { return; }
    const next = new DOMParser().parseFromString(text, "text/html");
    const parts = document.querySelectorAll("[data-part]");
    for (const part of parts) {
      const fresh = next.querySelector('[data-part="' + part.dataset.part + '"]');
      if (fresh && !isInUse(part)) { part.replaceChildren(...fresh.childNodes); }
    }
  }

  setInterval(() => {
    const age = Date.now() - heard;
    if (!document.hidden && state !== "" && age > STALE_MS) {
      show("stale", "stale: no news for " + Math.round(age / 1000) + " s");
    }
  }, 1000);
  setInterval(again, PAGE_MS);
  setTimeout(again, AGAIN_MS);
  // Browsers allow few connections to one server: a tab that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { leave(); } else { heard = Date.now(); listen(); again(); }
  });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => { if (event.persisted) { heard = Date.now(); listen(); again(); } });
  if (status) { show("wait", "connecting"); }
  listen();
})();
