// The console page. Whatever clients have sent is shown through textContent alone.
"use strict";

const MOST = 1000; // entries that are kept
const KINDS = {
  event: ["event", "accent"],
  client_event: ["client event", "blue"],
  subscribed: ["subscribed", "green"],
  unsubscribed: ["unsubscribed", ""],
  connected: ["connected", "green"],
  disconnected: ["disconnected", ""],
  signed_in: ["signed in", "green"],
  webhook: ["webhook", "amber"],
  webhook_failed: ["webhook failed", "red"],
  refused: ["refused", "red"],
  error: ["error", "red"],
  trouble: ["trouble", "amber"],
};
const GROUPS = {
  "": ["All kinds", null],
  "+events": ["All events", ["event", "client_event"]],
  "+problems": ["All problems", ["refused", "error", "webhook_failed"]],
};
const TITLES = { channels: "Occupied channels", connections: "Open connections", webhooks: "Requests to webhooks", publish: "Publish an event", snippet: "Connect a page" };
const KEYS = [
  ["/", "filter"], ["j k", "next, previous row"], ["Enter", "open the row"], ["Esc", "close what is open"],
  ["p", "pause, resume"], ["x", "clear"], ["c", "channels"], ["o", "connections"], ["w", "webhooks"],
  ["n", "publish"], ["Ctrl Enter", "send what is written"], ["s", "snippet"], ["t", "theme"], ["?", "this list"],
];

const $ = (id) => document.getElementById(id);

// Makes an element; strings among the children become text, and never markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "click") element.addEventListener("click", value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const stored = {
  get(name, otherwise) {
    try { return JSON.parse(localStorage.getItem(`txpusher.${name}`)) ?? otherwise; } catch { return otherwise; }
  },
  set(name, value) {
    try { localStorage.setItem(`txpusher.${name}`, JSON.stringify(value)); } catch { /* private windows have none */ }
  },
};

async function ask(path, body, method = "POST") {
  const options = body === undefined ? {} : { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(`console/${path}`, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || `status ${response.status}`);
  return answer;
}

// What is shown

let run = "";
let apps = [];
let entries = []; // the oldest first
let arrived = []; // not shown yet
let paused = false;
let clearedTo = 0;
let selected = null;
let view = null;
let drawing = false;
const rows = new Map();
let ignored = stored.get("ignored", []);

const appId = () => $("app").value || null;
const chosenApp = () => apps.find((app) => app.id === $("form-app").value) || apps[0];

function shortTime(seconds) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

const bytes = (text) => (text === null ? null : new TextEncoder().encode(text).length);
const sizeText = (count) => (count === null ? "" : count < 1000 ? `${count} B` : `${(count / 1024).toFixed(1)} kB`);
const clear = (entry) => entry.decrypted ?? entry.data;

function whoText(entry) {
  if (entry.kind === "event") return entry.socket_id ? `API, not to ${entry.socket_id}` : "API";
  return [entry.user_id, entry.socket_id].filter(Boolean).join(" · ");
}

function matcher() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = words.filter((word) => word.length === 1 || word[0] !== "-");
  const unwanted = words.filter((word) => word.length > 1 && word[0] === "-").map((word) => word.slice(1));
  const kind = $("kind").value;
  const kinds = kind in GROUPS ? GROUPS[kind][1] : [kind];
  const app = appId();
  return (entry) => {
    if (kinds && !kinds.includes(entry.kind)) return false;
    if (app && entry.app && entry.app !== app) return false;
    if (ignored.some(([field, value]) => entry[field] === value)) return false;
    if (!words.length) return true;
    entry.words ??= [entry.kind, (KINDS[entry.kind] || [""])[0], entry.channel, entry.event, clear(entry), entry.user_id, entry.socket_id, entry.detail]
      .filter(Boolean).join("\n").toLowerCase();
    return wanted.every((word) => entry.words.includes(word)) && !unwanted.some((word) => entry.words.includes(word));
  };
}

function badge(kind) {
  const [text, tone] = KINDS[kind] || [kind, ""];
  return make("span", { class: "kind", role: "gridcell", "data-tone": tone }, text);
}

function makeRow(entry) {
  const cell = (name, text) => make("span", { class: name, role: "gridcell" }, text ?? "");
  const alone = entry.channel === null && entry.event === null && entry.detail !== null;
  const text = clear(entry);
  const told = !alone && entry.event === null && entry.detail !== null && text === null;
  const preview = text !== null ? cell("preview", text.slice(0, 200)) : cell("said", (entry.detail || "").slice(0, 300));
  const problem = GROUPS["+problems"][1].includes(entry.kind);
  const row = make("div", {
    class: `row${alone ? " alone" : ""}${alone && !whoText(entry) ? " wide" : ""}${told ? " told" : ""}${problem ? " problem" : ""}`,
    role: "row", tabindex: "-1", "data-testid": "event-row", "data-id": entry.id, "data-kind": entry.kind,
  }, cell("time", shortTime(entry.time)), badge(entry.kind));
  if (!alone) row.append(cell("channel", entry.channel));
  if (!alone && !told) row.append(cell("event", entry.event));
  row.append(preview, cell("size", sizeText(bytes(entry.data))), cell("who", whoText(entry)));
  if (selected === entry.id) row.setAttribute("aria-selected", "true");
  return row;
}

function rowOf(entry, isNew) {
  let row = rows.get(entry.id);
  if (!row) {
    row = makeRow(entry);
    if (isNew) row.classList.add("new");
    rows.set(entry.id, row);
  }
  return row;
}

// Everything anew: the filter has changed, or entries are gone.
function redraw() {
  const matches = matcher();
  const shown = entries.filter(matches).reverse();
  $("rows").replaceChildren(...shown.map((entry) => rowOf(entry, false)));
  tell();
}

// What has arrived, once in a frame, however much that is.
function draw() {
  drawing = false;
  if (paused) return tell();
  const matches = matcher();
  const few = arrived.length < 20;
  const fresh = arrived.filter(matches).reverse();
  entries = entries.concat(arrived);
  arrived = [];
  const gone = entries.splice(0, Math.max(0, entries.length - MOST));
  for (const entry of gone) {
    rows.get(entry.id)?.remove();
    rows.delete(entry.id);
  }
  const oldest = entries.length ? entries[0].id : 0;
  $("rows").prepend(...fresh.filter((entry) => entry.id >= oldest).map((entry) => rowOf(entry, few)));
  tell();
}

function later() {
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

function tell() {
  const count = $("rows").childElementCount;
  $("shown").textContent = count === entries.length ? `${count}` : `${count} of ${entries.length}`;
  $("pause").textContent = paused ? (arrived.length ? `Resume (${arrived.length} new)` : "Resume") : "Pause";
  $("pause").setAttribute("aria-pressed", String(paused));
  $("empty").hidden = count > 0;
  $("empty-code").hidden = entries.length > 0;
  $("empty-text").textContent = entries.length ? "Nothing here fits the filter." : "Nothing has happened yet. Connect a page to this server, or publish something.";
}

function setPaused(value) {
  paused = value;
  if (paused) tell();
  else later();
}

function forgetUpTo(id) {
  clearedTo = Math.max(clearedTo, id);
  entries = entries.filter((entry) => entry.id > clearedTo);
  arrived = arrived.filter((entry) => entry.id > clearedTo);
  for (const key of rows.keys()) if (key <= clearedTo) rows.delete(key);
  if (selected !== null && selected <= clearedTo) {
    selected = null;
    if (view === "detail") show(null);
  }
  redraw();
}

async function clearAll() {
  const newest = arrived.at(-1) || entries.at(-1);
  if (newest) forgetUpTo(newest.id);
  await ask("events", {}, "DELETE").catch(() => {});
}

// The stream

let last = 0;
let source = null;
let hiding = null;

// A browser opens six connections to a server, and each stream keeps one: a page that nobody
// looks at gives its own back, and goes on where it was once it is looked at.
function onVisibility() {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => {
      source?.close();
      source = null;
    }, 30_000);
  } else if (source === null) listen();
}

function listen() {
  const stream = (source = new EventSource(`console/stream?run=${encodeURIComponent(run)}&since=${last}`));
  const on = (name, act) => stream.addEventListener(name, (event) => act(JSON.parse(event.data)));
  on("hello", (hello) => {
    if (hello.run !== run) {
      // Another server, or the same after a new start: its ids begin anew.
      run = hello.run;
      last = clearedTo = 0;
      entries = []; arrived = []; rows.clear(); selected = null;
      if (view === "detail") show(null);
      redraw();
      ask("state").then(setApps).catch(() => {});
    }
    $("status").dataset.state = "live";
    $("status").textContent = "live";
    refreshSoon();
  });
  on("entries", (list) => {
    last = list.at(-1).id;
    arrived = arrived.concat(list).slice(-MOST);
    if (list.some((entry) => !["event", "client_event"].includes(entry.kind))) refreshSoon();
    later();
  });
  on("cleared", ({ id }) => forgetUpTo(id));
  on("counts", (counts) => {
    $("channel-count").textContent = counts.channels || "";
    $("connection-count").textContent = counts.connections || "";
  });
  stream.onerror = () => {
    stream.close();
    $("status").dataset.state = "lost";
    $("status").textContent = "server not reached, trying again";
    setTimeout(() => { if (source === stream) listen(); }, 1000);
  };
}

function setApps(state) {
  apps = state.apps;
  const several = apps.length > 1;
  const chosen = [$("app").value, $("form-app").value];
  const options = () => apps.map((app) => make("option", { value: app.id }, `app ${app.id}`));
  $("app").replaceChildren(make("option", { value: "" }, "All apps"), ...options());
  $("form-app").replaceChildren(...options());
  $("app").value = apps.some((app) => app.id === chosen[0]) ? chosen[0] : "";
  if (apps.some((app) => app.id === chosen[1])) $("form-app").value = chosen[1];
  $("app").hidden = $("form-app-label").hidden = !several;
  $("empty-code").replaceChildren(codeBox(connectCode()));
  sealedNote();
  if (view === "snippet") drawSnippet();
}

// Code to copy

// Escapes what nobody sees: controls, and characters that turn the direction of text around.
const HIDDEN = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const code = (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
const escaped = (json) => json.replace(HIDDEN, code);
const quoted = (text) => escaped(JSON.stringify(text));
const ascii = (json) => json.replace(/[\u007f-\uffff]/g, code);
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const base = () => new URL(".", document.baseURI);

function connectLine(app) {
  const { protocol, hostname, port, pathname } = base();
  const tls = protocol === "https:";
  const number = Number(port) || (tls ? 443 : 80);
  const path = pathname.replace(/\/$/, "");
  const options = [`wsHost: ${quoted(hostname)}`, `${tls ? "wssPort" : "wsPort"}: ${number}`, `forceTLS: ${tls}`, `enabledTransports: ["ws"]`, 'cluster: ""'];
  if (path) options.splice(2, 0, `wsPath: ${quoted(path)}`);
  return `const pusher = new Pusher(${quoted(app.key)}, {\n  ${options.join(",\n  ")}\n});`;
}

function connectCode() {
  const app = chosenApp();
  if (!app) return {};
  const { protocol, hostname, port, pathname } = base();
  const tls = protocol === "https:";
  const number = Number(port) || (tls ? 443 : 80);
  const path = pathname.replace(/\/$/, "");
  const echo = [`broadcaster: "pusher"`, `key: ${quoted(app.key)}`, `wsHost: ${quoted(hostname)}`, `${tls ? "wssPort" : "wsPort"}: ${number}`, `forceTLS: ${tls}`, `enabledTransports: ["ws"]`, `cluster: ""`];
  if (path) echo.splice(4, 0, `wsPath: ${quoted(path)}`);
  const line = connectLine(app);
  return {
    "pusher-js": `${line}\n\npusher.subscribe("my-channel").bind("my-event", (data) => {\n  console.log(data);\n});`,
    "Laravel Echo": `window.Pusher = Pusher;\nconst echo = new Echo({\n  ${echo.join(",\n  ")}\n});`,
    Python: pythonCode(`pusher.trigger("my-channel", "my-event", {"hello": "world"})`),
    curl: curlCode({ app: app.id, channels: ["my-channel"], event: "my-event", data: '{"hello":"world"}' }),
  };
}

const pythonCode = (call) => `from txpusher import BlockingPusher\n\n# PUSHER_URL is what "txpusher serve" prints.\npusher = BlockingPusher.from_env()\n${call}`;
const curlCode = (fields, path = "publish") => `curl ${shell(new URL(`console/${path}`, base()).href)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shell(ascii(JSON.stringify(fields)))}`;

function entryCode(entry) {
  const app = apps.find((one) => one.id === entry.app);
  if (!app || entry.channel === null) return {};
  const connect = connectLine(app);
  if (entry.event === null) return { "pusher-js": `${connect}\n\nconst channel = pusher.subscribe(${quoted(entry.channel)});` };
  const data = clear(entry) ?? "";
  const user = entry.channel.startsWith("#server-to-user-") ? entry.channel.slice(16) : null;
  if (entry.kind === "client_event") {
    return {
      "pusher-js": `${connect}\n\nconst channel = pusher.subscribe(${quoted(entry.channel)});\nchannel.bind("pusher:subscription_succeeded", () => {\n  channel.trigger(${quoted(entry.event)}, ${isJson(data) ? escaped(data) : quoted(data)});\n});`,
      curl: curlCode({ app: entry.app, socket_id: entry.socket_id, channel: entry.channel, event: entry.event, data }, "client-event"),
      Python: pythonCode(`pusher.trigger(${[entry.channel, entry.event, data].map(quoted).join(", ")})`),
    };
  }
  const fields = user === null ? { app: entry.app, channels: [entry.channel] } : { app: entry.app, user };
  Object.assign(fields, { event: entry.event, data });
  if (entry.socket_id) fields.socket_id = entry.socket_id;
  const but = entry.socket_id ? `, socket_id=${quoted(entry.socket_id)}` : "";
  const bound = user === null ? `pusher.subscribe(${quoted(entry.channel)})` : "pusher.signin();\npusher.user";
  return {
    curl: curlCode(fields),
    Python: pythonCode(user === null
      ? `pusher.trigger(${[entry.channel, entry.event, data].map(quoted).join(", ")}${but})`
      : `pusher.send_to_user(${[user, entry.event, data].map(quoted).join(", ")})`),
    "pusher-js": `${connect}\n\n${bound}.bind(${quoted(entry.event)}, (data) => {\n  console.log(data);\n});`,
  };
}

function isJson(text) {
  try { JSON.parse(text); return true; } catch { return false; }
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only pages of this machine and of https have a clipboard.
    const area = make("textarea", { class: "mono" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.dataset.label || button.textContent;
  button.dataset.label = before;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}

// Code in several languages, of which one is on view, and a button that copies it.
function codeBox(codes) {
  const names = Object.keys(codes);
  const box = make("div", { class: "code" });
  if (!names.length) return box;
  const text = make("pre", { "data-testid": "code", tabindex: "0" });
  const tabs = names.map((name) => make("button", { type: "button", title: `Show as ${name}`, click: () => choose(name) }, name));
  const button = make("button", { type: "button", class: "copy", click: () => copy(text.textContent, button) }, "Copy");
  const choose = (name) => {
    text.textContent = codes[name];
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.textContent === name));
  };
  box.append(make("div", { class: "tabs" }, ...tabs, button), text);
  choose(names[0]);
  return box;
}

// A JSON text, indented and coloured token by token, the numbers as they were written.
function pretty(text) {
  const out = document.createDocumentFragment();
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[-+.\w]+|[{}[\],:]/g) || [];
  let depth = 0;
  const indent = () => `\n${"  ".repeat(Math.min(depth, 40))}`;
  tokens.forEach((token, place) => {
    const next = tokens[place + 1];
    if (token === "{" || token === "[") {
      depth += 1;
      out.append(token, next === "}" || next === "]" ? "" : indent());
    } else if (token === "}" || token === "]") {
      depth -= 1;
      const before = tokens[place - 1];
      out.append(before === "{" || before === "[" ? "" : indent(), token);
    } else if (token === ",") out.append(",", indent());
    else if (token === ":") out.append(": ");
    else {
      const tone = token[0] === '"' ? (next === ":" ? "j-key" : "j-text") : /[-\d]/.test(token[0]) ? "j-number" : "j-word";
      out.append(make("span", { class: tone }, token));
    }
  });
  return out;
}

// The detail of one entry

function facts(pairs) {
  const list = make("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value !== null && value !== undefined && value !== "") list.append(make("dt", {}, name), make("dd", {}, String(value)));
  }
  return list;
}

function drawDetail(entry) {
  const panel = $("detail");
  const app = apps.length > 1 ? entry.app : null;
  const told = entry.explanation;
  const [reason, ...rest] = (told || "").split("\n");
  const sealed = (entry.channel || "").startsWith("private-encrypted-") && entry.data !== null;
  $("dock-kind").replaceChildren(badge(entry.kind));
  panel.replaceChildren(facts([
    ["Time", new Date(entry.time * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" })],
    ["App", app], ["Channel", entry.channel], ["Event", entry.event],
    [entry.kind === "event" ? "Not to" : "Connection", entry.socket_id], ["User", entry.user_id],
    ["Size", entry.data === null ? null : `${bytes(entry.data)} bytes`],
    [entry.kind === "refused" ? "Reason" : "Detail", told ? reason : entry.detail], ["Number", entry.id],
  ]));
  if (told && rest.length) panel.append(make("h3", {}, "To be signed"), make("pre", { tabindex: "0" }, rest.join("\n")));
  if (entry.data !== null) {
    const text = clear(entry);
    const raw = make("pre", { tabindex: "0", "data-testid": "payload" });
    const showAs = (isRaw) => {
      if (isRaw || !isJson(text)) raw.textContent = isRaw ? entry.data : text;
      else raw.replaceChildren(pretty(text));
      tabs.forEach((tab, place) => tab.setAttribute("aria-pressed", String(place === Number(isRaw))));
    };
    const tabs = [make("button", { type: "button", click: () => showAs(false) }, isJson(text) ? "JSON" : "Text"), make("button", { type: "button", click: () => showAs(true) }, "As sent")];
    const button = make("button", { type: "button", class: "copy", click: () => copy(text, button) }, "Copy data");
    panel.append(make("h3", {}, sealed ? (entry.decrypted === null ? "Data (encrypted; the server has no key that opens it)" : "Data (decrypted)") : "Data"), make("div", { class: "tabs" }, ...tabs, button), raw);
    showAs(false);
  }
  if (entry.headers) {
    panel.append(make("h3", {}, "Headers of the request"), facts(entry.headers));
  }
  const codes = entryCode(entry);
  if (Object.keys(codes).length) panel.append(make("h3", {}, "Copy as"), codeBox(codes));
  const ignore = (field, label) => entry[field] === null ? null : make("button", { type: "button", click: () => addIgnored(field, entry[field]) }, label);
  const refill = entry.data !== null && entry.kind === "event" ? make("button", { type: "button", click: () => refillFrom(entry) }, "Edit and send") : null;
  panel.append(make("h3", {}, "In the table"), make("div", { class: "actions" }, refill, ignore("channel", "Ignore channel"), ignore("event", "Ignore event"), ignore("kind", "Ignore kind")));
  const title = entry.kind === "refused" && told ? entry.detail.split(": ")[0] : (KINDS[entry.kind] || [entry.kind])[0];
  $("dock-title").textContent = entry.event || entry.channel || title;
}

function select(id, focus = false) {
  if (selected !== null) rows.get(selected)?.removeAttribute("aria-selected");
  selected = id;
  const row = rows.get(id);
  const entry = entries.find((one) => one.id === id);
  if (!row || !entry) return;
  row.setAttribute("aria-selected", "true");
  if (focus) {
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }
  drawDetail(entry);
  if (view !== "detail") show("detail");
  $("detail").scrollTop = 0;
}

function move(step) {
  const shown = [...$("rows").children];
  if (!shown.length) return;
  const at = shown.findIndex((row) => Number(row.dataset.id) === selected);
  const to = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + step));
  select(Number(shown[to].dataset.id), true);
}

// Ignored

function addIgnored(field, value) {
  if (!ignored.some(([one, other]) => one === field && other === value)) ignored.push([field, value]);
  drawIgnored();
}

function drawIgnored() {
  stored.set("ignored", ignored);
  $("ignored").hidden = !ignored.length;
  $("ignored").replaceChildren(...ignored.map((pair) => make("li", {}, make("button", {
    type: "button", title: "Ignore this no more",
    click: () => { ignored = ignored.filter((one) => one !== pair); drawIgnored(); },
  }, `without ${pair[0]} ${pair[1]} ×`))));
  redraw();
}

// The dock

function show(name) {
  view = name;
  $("dock").hidden = name === null;
  for (const panel of document.querySelectorAll(".panel")) panel.hidden = panel.id !== name;
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-expanded", String(button.dataset.view === name));
  if (name !== "detail") $("dock-kind").replaceChildren();
  if (name === null || name === "detail") return;
  $("dock-title").textContent = TITLES[name];
  if (name === "snippet") drawSnippet();
  if (name === "publish") $("target").focus();
  refresh();
}

function drawSnippet() {
  $("snippet").replaceChildren(
    make("p", { class: "dim" }, "For a page, with the key of this server. Private and presence channels also need channelAuthorization: an endpoint of your program that signs."),
    make("h3", {}, "Code"), codeBox(connectCode()),
  );
}

let refreshing = null;

// Soon, and once for however much happens meanwhile.
function refreshSoon() {
  if (refreshing === null) refreshing = setTimeout(() => { refreshing = null; refresh(); }, 200);
}

const opened = new Set(); // what is unfolded, and stays so

// Something to unfold; what it holds is made when it is opened.
function unfold(key, title, fill) {
  const details = make("details", {}, make("summary", {}, title));
  const open = () => {
    if (details.childElementCount === 1) details.append(...fill().filter((child) => child !== null));
  };
  if (opened.has(key)) {
    open();
    details.open = true;
  }
  details.addEventListener("toggle", () => {
    if (details.open) {
      opened.add(key);
      open();
    } else opened.delete(key);
  });
  return details;
}

const LISTS = {
  channels: { empty: "No channel is occupied.", row: channelRow },
  connections: { empty: "No client is connected.", row: connectionRow },
  webhooks: { empty: "No request was sent to a webhook yet. txpusher serve --webhook URL says where they go.", row: webhookRow },
};

async function refresh() {
  const name = view;
  if (name === "publish") {
    const { rows: found } = await ask("connections").catch(() => ({ rows: [] }));
    $("sockets").replaceChildren(...found.map((one) => make("option", { value: one.socket_id }, [...one.users, ...one.channels].join(", "))));
  }
  if (!(name in LISTS)) return;
  const query = new URLSearchParams();
  const find = $(name).querySelector(".find");
  if (appId()) query.set("app", appId());
  if (find && find.value) query.set("text", find.value);
  const list = $(name).querySelector(".list");
  try {
    const answer = await ask(name + (query.size ? `?${query}` : ""));
    if (view !== name) return;
    const found = Array.isArray(answer) ? answer.filter((one) => !appId() || one.app === appId()) : answer.rows;
    const focus = document.activeElement?.dataset?.key;
    const rest = (answer.total || found.length) - found.length;
    list.replaceChildren(...found.map(LISTS[name].row));
    if (rest > 0) list.append(make("li", { class: "dim" }, `and ${rest} more`));
    if (!found.length) list.append(make("li", { class: "dim" }, LISTS[name].empty));
    if (focus) [...list.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focus)?.focus();
  } catch (error) {
    list.replaceChildren(make("li", { class: "bad" }, error.message));
  }
}

const number = (count, one, many) => `${count} ${count === 1 ? one : many}`;

function channelRow(channel) {
  const info = (member) => (member.info === null || member.info === undefined ? member.id : `${member.id}  ${JSON.stringify(member.info)}`);
  const counts = [number(channel.subscriptions, "subscription", "subscriptions")];
  if (channel.users !== null) counts.push(number(channel.users, "user", "users"));
  if (apps.length > 1) counts.push(`app ${channel.app}`);
  const rest = (all, some) => (all > some.length ? make("div", { class: "dim" }, `and ${all - some.length} more`) : null);
  return make("li", { "data-testid": "channel-row" },
    make("div", { class: "between" }, make("span", { class: "name" }, channel.name),
      make("span", { class: "actions" },
        make("button", { type: "button", title: "Only its events in the table", "data-key": `f${channel.name}`, click: () => { $("filter").value = channel.name; redraw(); } }, "Filter"),
        make("button", { type: "button", title: "Write an event to it", "data-key": `s${channel.name}`, click: () => { show("publish"); setMode("channels"); $("target").value = channel.name; sealedNote(); $("event").focus(); } }, "Send"))),
    make("div", { class: "more" }, counts.join(" · ")),
    channel.members === null || !channel.members.length ? null : make("div", { class: "marks" }, ...channel.members.map((member) => make("span", { class: "kind", "data-tone": "blue", title: info(member) }, member.id)), rest(channel.users, channel.members)),
    unfold(`channel ${channel.name}`, channel.members === null ? "Who is subscribed" : "Who is subscribed, and what is known of them",
      () => [
        channel.members === null ? null : make("div", { class: "mono" }, ...channel.members.map((member) => make("div", {}, info(member)))),
        make("div", { class: "mono dim" }, ...channel.connections.map((id) => make("div", {}, id))), rest(channel.subscriptions, channel.connections),
      ]));
}

async function act(path, fields, button) {
  button.disabled = true;
  try {
    await ask(path, fields);
  } catch (error) {
    button.after(make("span", { class: "bad" }, error.message));
  }
  refreshSoon();
}

function connectionRow(connection) {
  const { app, socket_id: id, user, users, channels, channel_count: all } = connection;
  const more = [];
  if (user) more.push(`signed in as ${user.id}`);
  else if (users.length) more.push(`present as ${users.join(", ")}`);
  else more.push("no user");
  if (apps.length > 1) more.push(`app ${app}`);
  const end = make("button", { type: "button", class: "danger", "data-key": id, title: "End this connection; its client does not come back", click: () => act("terminate", { app, socket_id: id }, end) }, "Terminate");
  const out = user && make("button", { type: "button", class: "danger", "data-key": `u${id}`, title: `End every connection of ${user.id}`, click: () => act("terminate", { app, user: user.id }, out) }, "End all of the user's");
  return make("li", { "data-testid": "connection-row" },
    make("div", { class: "between" }, make("span", { class: "name mono" }, id), make("span", { class: "actions" }, out, end)),
    make("div", { class: "more" }, more.join(" · ")),
    make("div", { class: "marks" }, ...channels.map((name) => make("span", { class: "kind" }, name)), all > channels.length ? make("span", { class: "dim" }, `and ${all - channels.length} more`) : null));
}

const STATES = { sending: "amber", accepted: "green", repeating: "amber", failed: "red" };

function webhookRow(hook) {
  const again = make("button", { type: "button", "data-key": String(hook.id), title: "Send the same request again", click: () => act("webhooks/repeat", { id: hook.id }, again) }, "Repeat");
  const last = hook.attempts.at(-1);
  const told = last ? `${last.result} after ${last.milliseconds} ms · ${shortTime(last.time)}` : "waiting for the reply";
  return make("li", { "data-testid": "webhook-row", "data-state": hook.state },
    make("div", { class: "between" }, make("span", { class: "name" }, hook.events), make("span", { class: "actions" }, make("span", { class: "kind", "data-tone": STATES[hook.state] }, hook.state), again)),
    make("div", { class: "more" }, hook.url), make("div", { class: "more" }, told),
    unfold(`webhook ${hook.id}`, `Body, and ${number(hook.attempts.length, "attempt", "attempts")}`,
      () => [
        make("div", { class: "mono" }, ...hook.attempts.map((one) => make("div", { class: one.accepted ? "good" : "bad" }, `${shortTime(one.time)}  ${one.result}, ${one.milliseconds} ms`))),
        make("pre", {}, isJson(hook.body) ? pretty(hook.body) : hook.body),
      ]));
}

// Publishing

const MODES = {
  channels: ["To", "my-channel, another", "Not to", "Nobody is left out"],
  user: ["To the user", "user id", null, ""],
  client: ["On", "private-channel", "From the connection", "socket id"],
};

function setMode(mode) {
  $("mode").value = mode;
  const [target, place, socket, hint] = MODES[mode];
  $("target-label").textContent = target;
  $("target").placeholder = place;
  $("socket").parentElement.hidden = socket === null;
  $("socket-label").textContent = socket || "";
  $("socket").placeholder = hint;
  $("socket").required = mode === "client";
  $("event").placeholder = mode === "client" ? "client-event" : "my-event";
}

function sealedNote() {
  const app = chosenApp();
  const sealed = $("target").value.trim().startsWith("private-encrypted-");
  $("sealed").hidden = !sealed || !app || app.decrypts;
  $("sealed").textContent = "An encrypted channel, and the server has no master key: it can neither encrypt nor show what is sent.";
}

function noteJson() {
  const text = $("data").value;
  $("is-json").textContent = text === "" ? "empty" : isJson(text) ? "JSON" : "text, not JSON";
}

function request() {
  const mode = $("mode").value;
  const target = $("target").value;
  const fields = { app: chosenApp()?.id, event: $("event").value, data: $("data").value };
  if (mode === "client") return ["client-event", { ...fields, channel: target.trim(), socket_id: $("socket").value.trim() }];
  if (mode === "user") return ["publish", { ...fields, user: target.trim() }];
  const channels = target.split(",").map((name) => name.trim()).filter(Boolean);
  return ["publish", { ...fields, channels, socket_id: $("socket").value.trim() || null }];
}

async function send() {
  const [path, fields] = request();
  const told = $("sent");
  try {
    await ask(path, fields);
    told.className = "good";
    told.textContent = `Sent at ${shortTime(Date.now() / 1000).slice(0, 8)}`;
    const entry = { mode: $("mode").value, target: $("target").value, event: fields.event, data: fields.data, socket: $("socket").value, at: Date.now() / 1000 };
    const same = (one) => ["mode", "target", "event", "data", "socket"].every((name) => one[name] === entry[name]);
    stored.set("history", [entry, ...stored.get("history", []).filter((one) => !same(one))].slice(0, 20));
    drawHistory();
  } catch (error) {
    told.className = "bad";
    told.textContent = error.message;
  }
}

function fill({ mode, target, event, data, socket }) {
  setMode(mode);
  $("target").value = target;
  $("event").value = event;
  $("data").value = data;
  $("socket").value = socket || "";
  noteJson();
  sealedNote();
}

function refillFrom(entry) {
  if (apps.some((app) => app.id === entry.app)) $("form-app").value = entry.app;
  show("publish");
  const user = entry.channel.startsWith("#server-to-user-");
  fill({ mode: user ? "user" : "channels", target: user ? entry.channel.slice(16) : entry.channel, event: entry.event, data: clear(entry), socket: entry.socket_id });
}

function drawHistory() {
  const history = stored.get("history", []);
  $("history").replaceChildren(...history.map((one) => make("li", {}, make("button", { type: "button", class: "again", title: "Fill the form with it", click: () => fill(one) },
    make("span", { class: "dim mono" }, shortTime(one.at).slice(0, 8)), ` ${one.event} `, make("span", { class: "dim" }, `→ ${one.target}`)))));
  if (!history.length) $("history").append(make("li", { class: "dim" }, "Nothing yet."));
}

// Theme and keyboard

const THEMES = { auto: ["◐", "as the system has it"], light: ["☀", "light"], dark: ["☾", "dark"] };

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = THEMES[name][0];
  $("theme").title = `Theme: ${THEMES[name][1]} (t)`;
  stored.set("theme", name);
}

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(stored.get("theme", "auto")) + 1) % names.length]);
}

function toggle(name) {
  show(view === name ? null : name);
}

const ACTIONS = {
  "/": () => $("filter").focus(), j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
  p: () => setPaused(!paused), x: clearAll, c: () => toggle("channels"), o: () => toggle("connections"), w: () => toggle("webhooks"),
  n: () => toggle("publish"), s: () => toggle("snippet"), t: nextTheme, "?": () => $("keys").showModal(),
};

function onKey(event) {
  if ($("keys").open || event.isComposing) return;
  const writing = event.target.closest("input, textarea, select");
  if (event.key === "Escape") {
    if (writing) event.target.blur();
    else show(null);
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && view === "publish") {
    event.preventDefault();
    $("form").requestSubmit();
    return;
  }
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const row = event.target.closest(".row");
  if (event.key === "Enter" && row) return select(Number(row.dataset.id), true);
  if (!(event.key in ACTIONS)) return;
  if (event.key.startsWith("Arrow") && event.target.closest("#dock")) return;
  event.preventDefault();
  ACTIONS[event.key]();
}

// The beginning

function start() {
  for (const [value, [text]] of [...Object.entries(GROUPS), ...Object.entries(KINDS)]) $("kind").append(make("option", { value }, text));
  for (const [keys, what] of KEYS) $("key-list").append(make("dt", {}, ...keys.split(" ").flatMap((key) => [make("kbd", {}, key), " "])), make("dd", {}, what));
  $("data").value = '{"hello": "world"}';
  setTheme(stored.get("theme", "auto") in THEMES ? stored.get("theme", "auto") : "auto");
  setMode("channels");
  noteJson();
  drawHistory();
  drawIgnored();
  $("filter").addEventListener("input", redraw);
  $("kind").addEventListener("change", redraw);
  $("app").addEventListener("change", () => { if (appId()) $("form-app").value = appId(); $("empty-code").replaceChildren(codeBox(connectCode())); redraw(); if (view === "snippet") drawSnippet(); refresh(); });
  $("pause").addEventListener("click", () => setPaused(!paused));
  $("clear").addEventListener("click", clearAll);
  $("rows").addEventListener("click", (event) => { const row = event.target.closest(".row"); if (row) select(Number(row.dataset.id), true); });
  for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => toggle(button.dataset.view));
  $("close").addEventListener("click", () => show(null));
  $("theme").addEventListener("click", nextTheme);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("mode").addEventListener("change", () => setMode($("mode").value));
  $("target").addEventListener("input", sealedNote);
  $("form-app").addEventListener("change", sealedNote);
  $("data").addEventListener("input", noteJson);
  $("format").addEventListener("click", () => { if (isJson($("data").value)) { const box = make("pre"); box.append(pretty($("data").value)); $("data").value = box.textContent; } });
  $("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  for (const find of document.querySelectorAll(".find")) find.addEventListener("input", refreshSoon);
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", onVisibility);
  listen();
}

start();
