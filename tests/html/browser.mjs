// Opens pages in Chromium, and prints as JSON what happened there. Needs no package: it speaks the DevTools protocol
// over a pipe.
//
//     node browser.mjs CHROMIUM AXE.js PROFILE [--screenshots DIR] PAGE.html...

import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const WAIT_MS = 60_000;
const [chromium, axeFile, profile, ...rest] = process.argv.slice(2);
const screenshots = rest[0] === "--screenshots" ? rest.splice(0, 2)[1] : null;
const axe = readFileSync(axeFile, "utf8");

const browser = spawn(
  chromium,
  [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    `--user-data-dir=${profile}`,
    "about:blank",
  ],
  { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] },
);
let log = "";
browser.stderr.on("data", (data) => (log = (log + data).slice(-4000)));
const [, , , input, output] = browser.stdio;

let lastId = 0;
const waiting = new Map();
const listeners = new Set();
let received = "";
output.setEncoding("utf8");
output.on("data", (data) => {
  const messages = (received + data).split("\0");
  received = messages.pop();
  for (const text of messages) {
    const message = JSON.parse(text);
    if (message.id === undefined) {
      for (const listener of listeners) listener(message);
      continue;
    }
    const { done, fail, method } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) fail(new Error(`${method}: ${message.error.message}`));
    else done(message.result);
  }
});
browser.on("exit", (code) => {
  for (const { fail, method } of waiting.values()) {
    fail(new Error(`${method}: Chromium ended with ${code}: ${log}`));
  }
});

const limited = (what, promise) => {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what}: no answer within ${WAIT_MS / 1000} s: ${log}`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

const call = (method, params = {}, sessionId = undefined) => {
  lastId += 1;
  const id = lastId;
  const answer = new Promise((done, fail) => waiting.set(id, { done, fail, method }));
  input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return limited(method, answer);
};

/** A tab with one page. */
class Tab {
  static async open() {
    const { targetId } = await call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab();
    Object.assign(tab, { targetId, sessionId, requests: [], messages: [], loaded: () => {} });
    tab.listener = ({ method, params, sessionId: from }) => {
      if (from !== sessionId) return;
      if (method === "Network.requestWillBeSent") tab.requests.push(params.request.url);
      if (method === "Page.loadEventFired") tab.loaded();
      if (method === "Runtime.exceptionThrown") tab.messages.push(params.exceptionDetails.text);
      if (method === "Log.entryAdded") tab.messages.push(params.entry.text);
    };
    listeners.add(tab.listener);
    for (const domain of ["Page", "Network", "Runtime", "Log", "DOM"]) await tab.call(`${domain}.enable`);
    return tab;
  }

  call(method, params) {
    return call(method, params, this.sessionId);
  }

  async load(url) {
    const loaded = new Promise((done) => (this.loaded = done));
    await this.call("Page.navigate", { url });
    await limited(`load ${url}`, loaded);
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  async media(scheme, media = "") {
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.call("Emulation.setEmulatedMedia", { media, features });
  }

  async size(width, height = 900) {
    await this.call("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: false,
    });
  }

  async key(key, code = 0) {
    const text = key.length === 1 ? { text: key } : key === "Enter" ? { text: "\r" } : {};
    const params = { key, code: key, windowsVirtualKeyCode: code, ...text };
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", ...params });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", key, code: key, windowsVirtualKeyCode: code });
  }

  /** Presses Tab until this element has the focus; returns how often. */
  async tabTo(selector) {
    for (let presses = 1; presses <= 30; presses += 1) {
      await this.key("Tab", 9);
      const test = `document.activeElement.matches(${JSON.stringify(selector)})`;
      if (await this.evaluate(test)) return presses;
    }
    throw new Error(`30 presses of Tab do not reach ${selector}`);
  }

  async screenshot(name) {
    if (!screenshots) return;
    const { width, height } = (await this.call("Page.getLayoutMetrics")).cssContentSize;
    const clip = { x: 0, y: 0, width, height: Math.min(height, 3000), scale: 1 };
    const params = { format: "png", captureBeyondViewport: true, clip };
    const { data } = await this.call("Page.captureScreenshot", params);
    writeFileSync(join(screenshots, `${name}.png`), Buffer.from(data, "base64"));
  }

  async close() {
    listeners.delete(this.listener);
    await call("Target.closeTarget", { targetId: this.targetId });
  }
}

/** How many objects of a large page axe-core looks at in one run. It takes more than a minute for 1,000 at once. */
const BATCH = 10;
/** How long it may take with a large page, in each colour scheme, before the last batch begins. */
const AXE_MS = 15_000;

/**
 * Opens all details, and looks for violations: in the whole page, or in a large page with one batch of its objects after
 * the other.
 */
const AXE = (large) => `(async () => {
  for (const element of document.querySelectorAll("details")) element.open = true;
  const objects = [...document.querySelectorAll("section.object")];
  const start = performance.now();
  const result = { rules: 0, violations: [], all: objects.length, objects: 0 };
  const run = async () => {
    const { violations, passes } = await axe.run(document, { resultTypes: ["violations"] });
    result.rules = passes.length;
    const told = violations.map(({ id, nodes }) => ({ id, nodes: nodes.length, first: nodes[0].html.slice(0, 200) }));
    result.violations.push(...told);
  };
  if (${large}) {
    const parent = objects[0].parentElement;
    for (const object of objects) object.remove();
    while (result.objects < objects.length && performance.now() - start < ${AXE_MS}) {
      const batch = objects.slice(result.objects, result.objects + ${BATCH});
      parent.append(...batch);
      await run();
      for (const object of batch) object.remove();
      result.objects += batch.length;
    }
    parent.append(...objects);
  } else {
    await run();
    result.objects = objects.length;
  }
  result.ms = Math.round(performance.now() - start);
  return result;
})()`;

const VISIBLE = `(() => {
  const visible = (selector) => [...document.querySelectorAll(selector)].filter((it) => it.checkVisibility()).length;
  return {
    findings: visible("article.finding"),
    objects: visible("tr[data-verdict]"),
    status: document.getElementById("shown")?.textContent ?? "",
  };
})()`;

/** The choice of rules, or of causes. */
const SECOND = ":is([name=rule], [name=cause])";

/** Uses the filter with the keyboard alone. */
const filter = async (tab) => {
  if (!(await tab.evaluate(`document.getElementById("filter")?.checkVisibility() ?? false`))) return null;
  const steps = { start: await tab.evaluate(VISIBLE) };
  await tab.evaluate(`document.activeElement.blur()`);
  steps.presses = await tab.tabTo("#filter [name=text]");
  for (const letter of "rejected") await tab.key(letter);
  steps.text = await tab.evaluate(VISIBLE);
  await tab.tabTo(`#filter ${SECOND}`);
  await tab.key("ArrowDown", 40);
  steps.choice = await tab.evaluate(VISIBLE);
  steps.chosen = await tab.evaluate(`document.querySelector("#filter ${SECOND}").value`);
  await tab.tabTo("#filter button");
  await tab.key("Enter", 13);
  await tab.evaluate(`new Promise((done) => setTimeout(done, 50))`);
  steps.end = await tab.evaluate(VISIBLE);
  return steps;
};

/** How long the filter takes, with the layout after it. */
const FILTER_MS = `(async () => {
  const field = document.querySelector("#filter [name=text]");
  const times = [];
  for (const text of ["liveness", "cart-19", "no such text", ""]) {
    const start = performance.now();
    field.value = text;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    document.body.getBoundingClientRect();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(Math.round(performance.now() - start));
  }
  return times;
})()`;

/** Tries what the policy of the page forbids; returns what was not stopped. */
const escapes = (tab, port) =>
  tab.evaluate(`(async () => {
    const escaped = [];
    const url = "http://127.0.0.1:${port}/";
    await fetch(url).then(() => escaped.push("fetch"), () => {});
    await new Promise((done) => {
      const image = new Image();
      image.onload = () => { escaped.push("image"); done(); };
      image.onerror = done;
      image.src = url;
    });
    const script = document.createElement("script");
    script.textContent = "window.escaped = true";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", "<b style='color: red' onclick='window.escaped = true'>x</b>");
    const probe = document.body.lastElementChild;
    if (getComputedStyle(probe).color === "rgb(255, 0, 0)") escaped.push("style");
    probe.click();
    probe.remove();
    script.remove();
    if (window.escaped) escaped.push("script");
    return escaped;
  })()`);

const inspect = async (file) => {
  const name = basename(file, ".html");
  const url = pathToFileURL(resolve(file)).href;
  const tab = await Tab.open();
  await tab.size(1100);
  await tab.media("light");
  await tab.load(url);
  const page = { name, axe: {}, background: {}, overflow: {} };
  page.loadMs = await tab.evaluate(`Math.round(performance.getEntriesByType("navigation")[0].loadEventEnd)`);
  page.hacked = await tab.evaluate(`Boolean(window.hacked) || document.querySelectorAll("img, iframe, object").length > 0`);
  page.pictures = await tab.evaluate(`document.querySelectorAll("svg").length`);
  await tab.screenshot(`${name}-light`);
  page.filter = await filter(tab);
  if (page.filter) page.filterMs = await tab.evaluate(FILTER_MS);
  const large = page.pictures > 1000;
  await tab.evaluate(`${axe}; 0`);
  for (const scheme of ["light", "dark"]) {
    await tab.media(scheme);
    page.axe[scheme] = await tab.evaluate(AXE(large));
    page.background[scheme] = await tab.evaluate(`getComputedStyle(document.body).backgroundColor`);
    await tab.screenshot(`${name}-${scheme}-open`);
  }
  for (const width of [1100, 320]) {
    await tab.size(width);
    page.overflow[width] = await tab.evaluate(`document.documentElement.scrollWidth - innerWidth`);
    await tab.screenshot(`${name}-${width}`);
  }
  page.requests = tab.requests.filter((request) => request !== url);
  page.messages = [...tab.messages];

  // On paper: light, without the form, with all details.
  await tab.load(url);
  await tab.media("dark", "print");
  page.print = await tab.evaluate(`({
    background: getComputedStyle(document.body).backgroundColor,
    hasForm: document.getElementById("filter")?.checkVisibility() ?? false,
    hidden: [...document.querySelectorAll("details dl")].filter((it) => it.getBoundingClientRect().height === 0).length,
  })`);
  if (screenshots && !large) {
    const { data } = await tab.call("Page.printToPDF", {});
    writeFileSync(join(screenshots, `${name}.pdf`), Buffer.from(data, "base64"));
  }
  await tab.media("light");

  let asked = 0;
  const server = createServer((_, answer) => {
    asked += 1;
    answer.setHeader("access-control-allow-origin", "*");
    answer.end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  page.escaped = await escapes(tab, server.address().port);
  server.close();
  server.closeAllConnections();
  page.asked = asked;

  // Without scripts.
  await tab.call("Emulation.setScriptExecutionDisabled", { value: true });
  await tab.load(url);
  const { root } = await tab.call("DOM.getDocument");
  const visible = async (selector) => {
    const { nodeIds } = await tab.call("DOM.querySelectorAll", { nodeId: root.nodeId, selector });
    return nodeIds.length;
  };
  page.withoutScript = {
    findings: await visible("article.finding:not([hidden])"),
    forms: await visible("form:not([hidden])"),
  };
  await tab.close();
  return page;
};

try {
  const pages = [];
  for (const file of rest) pages.push(await inspect(file));
  process.stdout.write(JSON.stringify(pages));
  await Promise.race([call("Browser.close"), new Promise((done) => setTimeout(done, 5_000).unref())]);
} catch (error) {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
} finally {
  browser.kill("SIGKILL");
}
