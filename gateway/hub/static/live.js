(function () {
  "use strict";
  var d = document, gate = window.gate, words = d.body.dataset, back = d.getElementById("back");
  var one = gate.one, all = gate.all, tell = gate.tell, start = d.getElementById("page").dataset;
  var seen = start.revision, paused = start.can === "no", failures = 0, busy = false, timer = 0, before = "", newest = seen;

  // What the page says that is worth announcing: not when a sensor was last heard.
  function said() { return all("h1, h3, .tag").map(el => el.textContent).join("\n"); }

  // Put a freshly rendered page of ours in place of this one, keeping open folds, what is typed, and the focus.
  function swap(html) {
    var next = new DOMParser().parseFromString(html, "text/html"), fresh = one("#page[data-revision]", next);
    if (!fresh) return false;
    var old = d.getElementById("page"), focus = d.activeElement && d.activeElement.id;
    all("details[open][id]", old).forEach(el => {
      var same = one("#" + CSS.escape(el.id), fresh);
      if (same) same.open = true;
    });
    all("input[id]", old).forEach(el => {
      var same = one("#" + CSS.escape(el.id), fresh);
      if (!same) return;
      same.value = el.value;
      same.checked = el.checked;
    });
    var caret = focus && d.activeElement.selectionStart;
    old.replaceWith(d.adoptNode(fresh));
    d.title = next.title;
    seen = fresh.dataset.revision;
    gate.enhance();
    var again = focus && d.getElementById(focus);
    if (again) again.focus({ preventScroll: true });
    if (again && typeof caret === "number") again.setSelectionRange(caret, caret);
    return true;
  }
  function ask(url, accept, options) {
    return fetch(url, { cache: "no-store", headers: { Accept: accept }, ...options });
  }
  function load(url, options) {
    return ask(url, "text/html", options).then(answer => {
      return answer.text().then(html => ({ url: answer.url, html }));
    });
  }

  d.addEventListener("submit", event => {
    var form = event.target, button = one("button", form);
    if (form.id !== "recheck") return;
    event.preventDefault();
    if (button.getAttribute("aria-disabled")) return;
    button.setAttribute("aria-disabled", "true");
    tell(words.wordChecking);
    load(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }).then(answer => {
      var notice = swap(answer.html) && one("#notice p");
      if (!one("#page").contains(form)) tell(notice ? notice.textContent : one("h1").textContent);
      else location.assign(answer.url === form.action ? start.page : answer.url);
    }).catch(() => { form.submit(); });
  });

  // Access is back: say so, then lead the person to the page they wanted, unless they would rather stay.
  function restored(target) {
    var url = new URL(target || start.page, location.href), left = 5, auto = d.getElementById("auto");
    if (!/^https?:$/.test(url.protocol)) return;
    one("a", back).href = url.href;
    back.hidden = false;
    back.focus();
    if (auto && !auto.checked) { rest(); tell(one("h2", back).textContent + ". " + words.wordStayed); return; }
    tell(one("h2", back).textContent + ". " + one("p", back).textContent);
    if (target) timer = setInterval(() => {
      left -= 1;
      if (left === 0) { clearInterval(timer); location.replace(url.href); }
    }, 1000);
  }
  function rest() {
    one("p", back).textContent = words.wordStayed;
    one("button", back).hidden = true;
  }
  function stay() {
    if (!timer) return;
    clearInterval(timer);
    timer = 0;
    rest();
    one("a", back).focus();
    tell(words.wordStayed);
  }

  function apply(status) {
    if (paused && status.can_continue) restored(status.continue_url);
    else if (!paused && !status.can_continue) { clearInterval(timer); timer = 0; back.hidden = true; }
    paused = !status.can_continue;
    newest = status.revision;
    if (newest !== seen && !busy) refresh(newest);
  }
  // What comes while a page is on its way may not be on it: that one is asked for again.
  function refresh(revision) {
    seen = revision;
    busy = true;
    load(start.page).then(answer => {
      var before = said();
      busy = false;
      if (!swap(answer.html)) location.replace(start.page);
      else if (!timer && said() !== before) tell(words.wordNews + " " + one("h1").textContent);
      if (newest !== revision && newest !== seen) refresh(newest);
    }, () => { busy = false; seen = ""; });
  }
  function show(text) {
    var live = d.getElementById("live");
    if (!live) return;
    before = before || live.textContent;
    live.textContent = text || before;
  }
  function later() {
    failures += 1;
    if (failures === 3) { tell(words.wordLost); show(words.wordLost); }
    setTimeout(poll, Math.min(30000, 500 * Math.pow(2, failures)));
  }
  function listen() {
    var source = new EventSource(start.stream);
    source.onopen = () => { if (failures > 2) show(""); failures = 0; };
    source.onmessage = event => { apply(JSON.parse(event.data)); };
    source.addEventListener("status", source.onmessage);
    source.onerror = () => { if (source.readyState === 2) later(); };
  }
  function poll() {
    ask(start.status, "application/json").then(answer => {
      if (answer.status === 401) { tell(words.wordSignedOut); show(words.wordSignedOut); return; }
      if (!answer.ok) throw answer;
      return answer.json().then(status => { apply(status); listen(); });
    }).catch(later);
  }

  if (!window.EventSource) return;
  back.addEventListener("click", event => { if (event.target.closest("button")) stay(); });
  d.addEventListener("keydown", event => { if (event.key === "Escape") stay(); });
  listen();
})();
