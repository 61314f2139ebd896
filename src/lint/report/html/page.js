"use strict";
// Filters the findings and the objects. The page has everything without this script.
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const shown = document.getElementById("shown");
  const fields = ["verdict", "rule", "certainty", "server"];
  const items = Array.from(document.querySelectorAll("[data-verdict]"), (element) => ({
    element,
    object: element.closest(".object"),
    values: { ...element.dataset, server: (element.dataset.server || "").split(" ") },
    isFinding: element.matches("article"),
    text: null,
  }));
  const objects = Array.from(document.querySelectorAll(".object"));
  const table = document.querySelector("table.objects");
  const total = { findings: items.filter((item) => item.isFinding).length };
  total.objects = items.length - total.findings;

  const textOf = (item) => {
    if (item.text === null) {
      const heading = item.object ? item.object.querySelector("h3").textContent : "";
      item.text = `${heading} ${item.element.textContent}`.toLowerCase();
    }
    return item.text;
  };
  const matches = (item, wanted, words) =>
    fields.every((field) => {
      if (!wanted[field]) return true;
      const value = item.values[field];
      return Array.isArray(value) ? value.includes(wanted[field]) : value === wanted[field];
    }) && words.every((word) => textOf(item).includes(word));

  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    const isFiltered = words.length > 0 || fields.some((field) => wanted[field]);
    const visible = new Set();
    let findings = 0;
    let rows = 0;
    for (const item of items) {
      const matched = matches(item, wanted, words);
      item.element.hidden = !matched;
      if (!matched) continue;
      if (item.isFinding) {
        findings += 1;
        visible.add(item.object);
      } else {
        rows += 1;
      }
    }
    // An object with a remark and no finding is hidden only if something is filtered.
    for (const object of objects) object.hidden = isFiltered && !visible.has(object);
    if (table) table.hidden = rows === 0;
    const parts = [];
    if (total.findings > 0) parts.push(`${findings} of ${total.findings} findings`);
    if (total.objects > 0) parts.push(`${rows} of ${total.objects} objects without findings`);
    shown.textContent = `Shown: ${parts.join(", ")}.`;
  };

  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = items.length === 0;
  apply();
})();
