// Runs in a page; returns what is wrong with it, as texts. Called by test_pages_browser.py.
() => {
  const wrong = [];
  const all = css => Array.from(document.querySelectorAll(css));
  const shown = el => el.checkVisibility({visibilityProperty: true}) && !el.closest(".sr, .skip, head, script");
  const name = el => el.tagName.toLowerCase() + (el.className && el.className.baseVal === undefined ? "." + el.className : "")
    + " `" + el.textContent.trim().slice(0, 30) + "`";
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("scrolls sideways: " + document.documentElement.scrollWidth);

  // contrast (WCAG 1.4.3): text against the nearest painted background
  const parse = text => { const n = text.match(/[\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const lum = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const behind = el => {
    for (; el; el = el.parentElement) { const c = parse(getComputedStyle(el).backgroundColor); if (c[3] === 1) return c; }
    return [255, 255, 255, 1];
  };
  for (const el of all("body *")) {
    const own = Array.from(el.childNodes).some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !shown(el)) continue;
    const style = getComputedStyle(el), size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
    const least = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    const is = ratio(parse(style.color), behind(el));
    if (is < least) wrong.push("contrast " + is.toFixed(2) + ": " + name(el));
  }
  for (const el of all(".button, .dot, .dot b")) {
    if (!shown(el)) continue;
    const style = getComputedStyle(el);
    const paint = el.matches(".button") ? style.borderTopColor : style.color;
    const ground = el.matches(".button") ? behind(el.parentElement) : behind(el);
    if (ratio(parse(paint), ground) < 3) wrong.push("edge contrast: " + name(el));
  }

  // structure
  if (!document.documentElement.lang) wrong.push("no lang");
  if (all("h1").filter(shown).length !== 1) wrong.push("not one h1");
  for (const css of ["header", "main", "footer"]) if (all("body > " + css).length !== 1) wrong.push("not one " + css);
  let level = 0;
  for (const el of all("h1, h2, h3, h4").filter(shown)) {
    const next = Number(el.tagName[1]);
    if (next > level + 1) wrong.push("skipped a heading level: " + name(el));
    level = next;
  }
  const ids = all("[id]").map(el => el.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("id twice: " + id);
  for (const el of all("[aria-labelledby]"))
    for (const id of el.getAttribute("aria-labelledby").split(" "))
      if (!document.getElementById(id)) wrong.push("label missing: " + id);
  for (const el of all("svg")) if (el.getAttribute("aria-hidden") !== "true") wrong.push("icon that is read out");
  for (const el of all("a, button, summary")) if (!el.textContent.trim()) wrong.push("no name: " + el.outerHTML);
  for (const el of all("[style], [onclick]")) wrong.push("inline: " + name(el));
  for (const el of all("ul, ol"))
    for (const child of el.children) if (child.tagName !== "LI") wrong.push("list holds " + child.tagName);
  for (const el of all("dl > *")) if (el.tagName !== "DIV" || el.children[0].tagName !== "DT") wrong.push("bad dl");
  if (!all("[role=status]").length) wrong.push("nowhere to announce");
  const zoom = document.querySelector("meta[name=viewport]").content;
  if (/maximum-scale|user-scalable/.test(zoom)) wrong.push("zoom is locked");

  // targets (WCAG 2.5.8), links inside sentences excepted
  for (const el of all("a, button, summary, input:not([type=hidden])")) {
    if (!shown(el) || (el.tagName === "A" && el.closest("p:not(.actions), .md"))) continue;
    const box = el.getBoundingClientRect();
    if (box.width < 24 || box.height < 24) wrong.push("small target: " + name(el));
  }
  return wrong;
}
