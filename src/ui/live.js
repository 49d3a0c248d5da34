// Updates the page: elements with data-live are reloaded from the same address, at each event of the stream, or every
// five seconds where there is no stream. Without this script the pages can be read all the same.
"use strict";
(function () {
  var note = document.getElementById("live"), busy = false, leaving = false, last = Date.now();

  function renew() {
    if (busy || leaving || document.hidden) { return; }
    busy = true;
    last = Date.now();
    fetch(location.href, { cache: "no-store", credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) { throw new Error("HTTP " + answer.status); }
        return answer.text();
      })
      .then(function (text) {
        var fresh = new DOMParser().parseFromString(text, "text/html");
        document.querySelectorAll("[data-live]").forEach(function (old) {
          var next = fresh.getElementById(old.id);
          if (next && !inUse(old)) { unfold(old, next); old.replaceWith(next); }
        });
        document.title = fresh.title;
        local();
        if (!leaving) { say("live", false); }
      })
      .catch(function () { if (!leaving) { say("no answer from the relay; trying again", true); } })
      .then(function () { busy = false; });
  }

  // What the user has unfolded stays unfolded, identified by its text.
  function unfold(old, next) {
    old.querySelectorAll("details[open]").forEach(function (open) {
      var words = open.querySelector("pre, summary").textContent;
      next.querySelectorAll("details").forEach(function (one) {
        if (one.querySelector("pre, summary").textContent === words) { one.open = true; }
      });
    });
  }

  // What a person is just reading with the mouse or the keyboard stays as it is.
  function inUse(part) {
    var chosen = document.getSelection();
    return part.contains(document.activeElement) || (String(chosen) !== "" && part.contains(chosen.anchorNode));
  }

  function say(words, bad) {
    if (note.textContent !== words) { note.textContent = words; }
    note.className = bad ? "lost" : "";
    document.body.classList.toggle("stale", bad);
  }

  // Times in the language and the zone of the viewer; the moment as the server writes it (RFC 3339) shows on hover.
  var forms = {
    time: { hour: "2-digit", minute: "2-digit" },
    date: { month: "short", day: "numeric" },
    clock: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
    today: { hour: "2-digit", minute: "2-digit", timeZoneName: "short" },
    full: { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }
  };

  function local() {
    document.querySelectorAll("time[datetime]").forEach(function (time) {
      var date = new Date(time.dateTime);
      if (isNaN(date)) { return; }
      if (time.hasAttribute("data-keep")) {
        time.title = date.toLocaleString(undefined, forms.full) + " (" + time.dateTime + ")";
      } else {
        var form = time.dataset.form;
        if (form === "today" && date.toDateString() !== new Date().toDateString()) { form = "full"; }
        time.textContent = date.toLocaleString(undefined, forms[form] || forms.full);
        time.title = time.dateTime;
      }
    });
  }

  // An action on many messages takes its time; one press is enough.
  document.addEventListener("submit", function (event) {
    if (event.target.method !== "post") { return; }
    if (leaving) { event.preventDefault(); return; }
    leaving = true;
    say("working…", false);
  });
  window.addEventListener("pageshow", function () { leaving = false; });

  // One checkbox for all.
  var all = document.getElementById("all");
  if (all) {
    all.hidden = false;
    all.addEventListener("change", function () {
      document.querySelectorAll("input[name=ids]").forEach(function (box) { box.checked = all.checked; });
    });
  }

  // The stream reports changes; without it, the page is checked every five seconds.
  function listen() {
    if (!window.EventSource || document.hidden) { return; }
    var source = new EventSource(document.body.dataset.root + "api/v1/stream");
    source.addEventListener("status", function () { if (Date.now() - last >= 1900) { renew(); } });
    document.addEventListener("visibilitychange", function () { if (document.hidden) { source.close(); } else { listen(); } }, { once: true });
  }

  if (document.querySelector("main [data-live]")) {
    document.addEventListener("visibilitychange", renew);
    listen();
    setInterval(function () { if (Date.now() - last >= 4900) { renew(); } }, 1000);
    say("live", false);
  }
  local();
})();
