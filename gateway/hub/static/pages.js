(function () {
  "use strict";
  var d = document, say = d.getElementById("say"), words = d.body.dataset;
  var one = (css, root) => (root || d).querySelector(css);
  var all = (css, root) => Array.from((root || d).querySelectorAll(css));
  var tell = text => { say.textContent = ""; setTimeout(() => { say.textContent = text; }, 60); };

  // Times in the reader's own zone; relative ones stay true while the page is open.
  var lang = d.documentElement.lang, unit = [["day", 86400], ["hour", 3600], ["minute", 60]];
  if ((navigator.language || "").split("-")[0] === lang.split("-")[0]) lang = navigator.language;
  var full = at => new Intl.DateTimeFormat(lang, {
    weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
    year: at.getFullYear() === new Date().getFullYear() ? undefined : "numeric"
  }).format(at);
  var ago = new Intl.RelativeTimeFormat(lang, { numeric: "always" });
  function times() {
    all("time[datetime]").forEach(el => {
      var at = new Date(el.dateTime), s = (at - Date.now()) / 1000;
      if (!el.dataset.ago) { el.textContent = full(at); return; }
      var u = unit.filter(u => Math.abs(s) >= u[1] - u[1] / 50)[0];
      if (u) el.textContent = ago.format(Math.round(s / u[1]), u[0]);
    });
  }

  function enhance() {
    times();
    if (navigator.clipboard) all("button[data-copy]").forEach(button => { button.hidden = false; });
    all("[data-js]").forEach(el => { el.hidden = false; });
    all("[data-nojs]").forEach(el => { el.hidden = true; });
  }

  d.addEventListener("click", event => {
    var button = event.target.closest("button[data-copy]");
    if (!button) return;
    navigator.clipboard.writeText(button.dataset.copy).then(() => {
      tell(words.wordCopied); one("span", button).textContent = words.wordCopied;
      setTimeout(() => { one("span", button).textContent = words.wordCopy; }, 2500);
    }, () => {});
  });

  window.gate = { one, all, tell, enhance };
  enhance();
  setInterval(times, 20000);
})();
