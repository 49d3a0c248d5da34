// Renews the middle of the page every five seconds while somebody looks at it. Without this script the page reloads itself.
"use strict";
(function () {
  var pace = 5000, main = document.querySelector("main"), note = document.getElementById("live");

  function renew() {
    if (document.hidden) { later(); return; }
    fetch("/", { cache: "no-store", credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok) { throw new Error("HTTP " + answer.status); }
        return answer.text();
      })
      .then(function (text) {
        var fresh = new DOMParser().parseFromString(text, "text/html");
        var next = fresh.querySelector("main"), pill = fresh.getElementById("pill"), up = fresh.getElementById("up");
        if (!next) { throw new Error("no page"); }
        // A person who is selecting text to copy it keeps the text.
        if (String(document.getSelection()) === "") { main.replaceWith(next); main = next; local(); }
        document.getElementById("pill").replaceWith(pill);
        document.getElementById("up").replaceWith(up);
        say("live", false);
      })
      .catch(function () { say("no answer from the appliance; trying again", true); })
      .then(later);
  }

  function later() { setTimeout(renew, pace); }

  function say(words, bad) {
    if (note.textContent !== words) { note.textContent = words; }
    note.className = bad ? "lost" : "";
    document.body.className = bad ? "stale" : "";
  }

  // The time of the page, in the zone of the person who looks.
  function local() {
    var time = document.querySelector("time");
    if (time) { time.textContent = new Date(time.dateTime).toLocaleTimeString(); }
  }

  document.addEventListener("visibilitychange", function () { if (!document.hidden) { local(); } });
  local();
  say("live", false);
  later();
})();
