(function () {
  "use strict";
  // A kept form is sent once by one click; whoever comes back to it is told that it went.
  var d = document, kept = d.getElementById("resume"), mark = "sent" + location.search;
  if (!kept) return;
  kept.addEventListener("submit", event => {
    if (kept.dataset.sent) event.preventDefault();
    kept.dataset.sent = sessionStorage[mark] = "yes";
  });
  addEventListener("pageshow", () => {
    delete kept.dataset.sent;
    if (sessionStorage[mark]) { d.getElementById("sent").hidden = false; kept.querySelector(".button").classList.add("quiet"); }
  });
})();
