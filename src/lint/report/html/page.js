"use strict";
// Filters the findings and the rows. The page has everything without this script.
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const shown = document.getElementById("shown");
  const fields = Array.from(form.querySelectorAll("select"), (select) => select.name);
  const objects = Array.from(document.querySelectorAll("section[aria-labelledby=findings] .object"));
  const tables = Array.from(document.querySelectorAll("table:has(.item)"));
  // An attribute can have several values, such as the servers of an object.
  const valuesOf = (element) =>
    Object.fromEntries(Object.entries(element.dataset).map(([name, value]) => [name, value.split(" ")]));
  const items = Array.from(document.querySelectorAll(".finding, .item"), (element) => ({
    element,
    object: element.closest(".object"),
    values: valuesOf(element),
    isFinding: element.matches(".finding"),
    text: null,
  }));
  const findings = items.filter((item) => item.isFinding).length;
  const rows = items.length - findings;

  const textOf = (item) => {
    if (item.text === null) {
      const heading = item.object ? item.object.querySelector("h3").textContent : "";
      item.text = `${heading} ${item.element.textContent}`.toLowerCase();
    }
    return item.text;
  };

  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = fields.filter((field) => wanted[field]);
    const isFiltered = words.length > 0 || chosen.length > 0;
    const matches = (item) =>
      chosen.every((field) => item.values[field]?.includes(wanted[field])) &&
      words.every((word) => textOf(item).includes(word));
    const visible = new Set();
    const number = { findings: 0, rows: 0 };
    for (const item of items) {
      const matched = matches(item);
      item.element.hidden = !matched;
      if (!matched) continue;
      number[item.isFinding ? "findings" : "rows"] += 1;
      visible.add(item.object ?? item.element.closest("table"));
    }
    // What has no item to filter is hidden only if something is filtered.
    for (const group of [...objects, ...tables]) group.hidden = isFiltered && !visible.has(group);
    const parts = [];
    if (findings > 0) parts.push(`${number.findings} of ${findings} findings`);
    if (rows > 0) parts.push(`${number.rows} of ${rows} ${form.dataset.rows}`);
    shown.textContent = `Shown: ${parts.join(", ")}.`;
  };

  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = items.length === 0;
  apply();
})();
