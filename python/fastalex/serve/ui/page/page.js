// The page: a view for each address behind '#', drawn from the documents and pictures below ui/.
// Text reaches the page as text alone (textContent, attributes), whatever a class or a file is called.
"use strict";

// What is known -------------------------------------------------------------------------------------------------------

const saved = globalThis.fastalexSaved || null; // the documents of a saved page, by address
const state = { about: null, facts: new Map(), model: "", picture: "", token: recall("token") || "", turn: 0 };
const $ = (id) => document.getElementById(id);
const VIEWS = [
  ["", "Picture"], ["filters", "Filters"], ["layers", "Layers"], ["why", "Why"], ["neighbors", "Neighbors"],
  ["compare", "Compare"], ["time", "Time"], ["collect", "Collect"],
];
const GONE = "The server does not answer. Is 'fastalex ui' still running? Start it again, then reload this page.";
const PAGE_OF_DOTS = 512; // units of a fully connected layer at once
const SLOW_MS = 600; // after which waiting is shown
const LARGE = 454; // pixels of the side of a large picture
const FRAME_SIDE = 256; // pixels of the shorter side of a camera frame that is sent: what the networks resize to
const OPS = {
  conv: "convolution", relu: "ReLU", lrn: "normalization", maxpool: "max pooling", fc: "fully connected",
  adaptive_avgpool: "average pooling", softmax: "softmax", spatial_norm: "normalization", leaky_relu: "leaky ReLU",
};

class Sentence extends Error {} // what people are told
class Stale extends Error {} // of a view that was left

function recall(key) {
  try { return sessionStorage.getItem("fastalex." + key); } catch { return null; }
}
function remember(key, value) {
  try { sessionStorage.setItem("fastalex." + key, value); } catch { /* a browser that keeps nothing */ }
}

// Elements ------------------------------------------------------------------------------------------------------------

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("--")) element.style.setProperty(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const percent = (share, digits = 1) => (100 * share).toFixed(digits) + "\u2009%";
function short(value) {
  if (value === null || value === undefined) return "not a number";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1).replaceAll("-", "\u2212");
  return String(Number(value.toPrecision(3))).replace("-", "\u2212");
}
const times = "\u2009\u00d7\u2009";
const shapeText = ([count, height, width]) => (height * width === 1 ? `${count} units` : [count, height, width].join(times));
const address = (...parts) => "#/" + parts.map(encodeURIComponent).join("/");
const inModel = (...parts) => ["models", state.model, ...parts];
const inPicture = (...parts) => inModel(state.picture, ...parts);

function say(sentence) { // for people who listen
  $("status").textContent = sentence;
}

function tell(problem) {
  if (problem instanceof Stale) return;
  const text = problem instanceof Sentence ? problem.message : "This page made a mistake: " + problem.message;
  if (!(problem instanceof Sentence)) console.error(problem);
  $("notice").firstElementChild.textContent = text;
  $("notice").hidden = false;
}

function hush() {
  $("notice").hidden = true;
}

// The server ----------------------------------------------------------------------------------------------------------

let pending = 0;
async function busy(promise) { // shows a bar if it takes long
  pending += 1;
  const timer = setTimeout(() => { $("busy").hidden = false; }, SLOW_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    pending -= 1;
    if (!pending) $("busy").hidden = true;
  }
}

async function ask(parts, options = {}) {
  const headers = { ...options.headers };
  if (state.token) headers.Authorization = "Bearer " + state.token;
  let answer;
  try {
    answer = await fetch("ui/" + parts.map(encodeURIComponent).join("/"), { ...options, headers, cache: "no-store" });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Sentence(GONE);
  }
  if (answer.status === 401) {
    await askToken();
    return ask(parts, options);
  }
  if (answer.ok) return answer;
  let sentence = "";
  try { sentence = (await answer.json()).error; } catch { /* no JSON: from something between */ }
  throw new Sentence(sentence ? sentence[0].toUpperCase() + sentence.slice(1) + "." : `The server answered ${answer.status}.`);
}

// An answer. While the server still computes it, `progress(done, total)` is told how far it is.
async function answerTo(parts, progress, turn) {
  for (let pause = 60; ; pause = Math.min(500, pause * 1.5)) {
    const answer = await ask(parts);
    if (answer.status !== 202) return answer;
    if (turn !== state.turn) throw new Stale();
    const found = await answer.json();
    if (progress) progress(found.done, found.total);
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
}

async function load(parts, progress, turn = state.turn) { // a document
  if (!saved) return (await answerTo(parts, progress, turn)).json();
  const found = saved[parts.join("/")];
  if (!found) throw new Sentence("This saved page does not have that; run 'fastalex ui' for the rest.");
  return found;
}

async function image(parts, turn = state.turn) { // a decoded picture
  const element = new Image();
  if (saved) element.src = "ui/" + parts.map(encodeURIComponent).join("/");
  else element.src = URL.createObjectURL(await (await answerTo(parts, null, turn)).blob());
  try {
    await element.decode();
  } catch {
    throw new Sentence("A picture could not be shown.");
  } finally {
    if (!saved) URL.revokeObjectURL(element.src);
  }
  return element;
}

let asking = null; // the dialog for all requests that wait
function askToken() {
  asking = asking || new Promise((resolve) => {
    const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const box = h("dialog", { "aria-labelledby": "token-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "token-title" }, "This server asks for its token"),
        h("label", { for: "token", class: "soft" }, "Its --token, or what follows #token= in the address that it printed"), field,
        h("button", { class: "main" }, "Go on")));
    box.addEventListener("cancel", (event) => event.preventDefault());
    box.addEventListener("close", () => {
      state.token = field.value.trim();
      remember("token", state.token);
      box.remove();
      asking = null;
      resolve();
    });
    document.body.append(box);
    box.showModal();
  });
  return asking;
}

async function factsOf(model) {
  if (!state.facts.has(model)) state.facts.set(model, await load(["models", model, "model.json"]));
  return state.facts.get(model);
}

// A part of a view that comes later: a bar in its place at first, a sentence if it fails.
function later(label, work, turn = state.turn) {
  const bar = h("progress", { "aria-label": label });
  const text = h("p", { class: "small soft" }, label);
  const place = h("div", { class: "wait", "aria-busy": "true" });
  const timer = setTimeout(() => place.append(text, bar), 250);
  const progress = (done, total) => {
    if (!total) return;
    bar.max = total;
    bar.value = done;
    text.textContent = `${label}: ${done} of ${total}`;
  };
  work(progress).then((element) => {
    clearTimeout(timer);
    place.className = "came"; // it stays, because the view may not have it yet
    place.removeAttribute("aria-busy");
    place.replaceChildren(...[element].flat());
  }, (problem) => {
    clearTimeout(timer);
    if (problem instanceof Stale || turn !== state.turn) return;
    if (!(problem instanceof Sentence)) console.error(problem);
    place.removeAttribute("aria-busy");
    place.replaceChildren(h("p", { class: "small", role: "alert" }, problem.message));
  });
  return place;
}

// Pictures on canvases ------------------------------------------------------------------------------------------------

// One unit of a sprite: `row` has shape and across.
function unitOf(sprite, row, unit) {
  const [, height, width] = row.shape;
  const canvas = h("canvas", { width, height });
  canvas.getContext("2d").drawImage(
    sprite, (unit % row.across) * width, Math.floor(unit / row.across) * height, width, height, 0, 0, width, height);
  return canvas;
}

// Several units beside each other, a pixel apart.
function sheet(sprite, row, count, across, properties) {
  const [, height, width] = row.shape;
  const gap = height > 1 ? Math.max(1, Math.round(height / 12)) : 0;
  const canvas = h("canvas", {
    width: across * (width + gap) - gap, height: Math.ceil(count / across) * (height + gap) - gap, ...properties });
  const context = canvas.getContext("2d");
  for (let unit = 0; unit < count; unit++) {
    context.drawImage(
      sprite, (unit % row.across) * width, Math.floor(unit / row.across) * height, width, height,
      (unit % across) * (width + gap), Math.floor(unit / across) * (height + gap), width, height);
  }
  return canvas;
}

// What the network sees, large and under a shade, to have something drawn over it with the context.
function shaded(picture, shade, label) {
  const canvas = h("canvas", { width: LARGE, height: LARGE, class: "large", role: "img", "aria-label": label });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = picture.width > 160;
  context.drawImage(picture, 0, 0, LARGE, LARGE);
  context.fillStyle = `rgb(10 10 14 / ${shade})`;
  context.fillRect(0, 0, LARGE, LARGE);
  context.imageSmoothingEnabled = true;
  return [canvas, context];
}

// Heat of 0 to 1 over what the network sees.
function heated(picture, grid, label) {
  const small = h("canvas", { width: grid[0].length, height: grid.length });
  const context = small.getContext("2d");
  const pixels = context.createImageData(small.width, small.height);
  grid.flat().forEach((value, index) => pixels.data.set([255, 140, 40, Math.round(225 * (value || 0))], 4 * index));
  context.putImageData(pixels, 0, 0);
  const [canvas, whole] = shaded(picture, 0.55, label);
  whole.imageSmoothingQuality = "high";
  whole.drawImage(small, 0, 0, LARGE, LARGE);
  return canvas;
}

// One place in the order of Tab for many links; the arrows move within.
function roving(grid) {
  const items = [...grid.querySelectorAll("a, button")];
  items.forEach((item, index) => { item.tabIndex = index ? -1 : 0; });
  const across = () => {
    const top = items[0].getBoundingClientRect().top;
    const first = items.findIndex((item) => Math.abs(item.getBoundingClientRect().top - top) > 2);
    return first < 0 ? items.length : first;
  };
  grid.addEventListener("focusin", (event) => {
    const now = items.indexOf(event.target.closest("a, button"));
    if (now >= 0) items.forEach((item, index) => { item.tabIndex = index === now ? 0 : -1; });
  });
  grid.addEventListener("keydown", (event) => {
    const now = items.indexOf(document.activeElement);
    const steps = {
      ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: items.length - 1,
      ArrowDown: now + across(), ArrowUp: now - across(),
    };
    const next = steps[event.key];
    if (now < 0 || next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (items[next]) items[next].focus();
  });
  return grid;
}

// The camera ----------------------------------------------------------------------------------------------------------

const camera = { stream: null, video: null, ended: null };

async function openCamera(ended) {
  if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
    throw new Sentence("Browsers give a camera only to pages from this machine (127.0.0.1) or over HTTPS.");
  }
  closeCamera();
  const turn = state.turn;
  const wanted = { video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "environment" }, audio: false };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia(wanted);
  } catch (problem) {
    const sentences = {
      NotAllowedError: "The browser was not allowed to use the camera; allow it for this page, then start again.",
      NotFoundError: "There is no camera; plug one in, then start again.",
      NotReadableError: "The camera is in use by another program; close that, then start again.",
    };
    throw new Sentence(sentences[problem.name] || `The camera cannot be opened: ${problem.message || problem.name}.`);
  }
  const video = h("video", { playsinline: true, "aria-label": "Camera" });
  video.muted = true;
  video.srcObject = stream;
  Object.assign(camera, { stream, video, ended });
  for (const track of stream.getTracks()) {
    track.addEventListener("ended", () => {
      if (camera.stream !== stream) return;
      closeCamera();
      tell(new Sentence("The camera has gone away; connect it again, then start it."));
    });
  }
  await video.play().catch(() => {});
  if (turn !== state.turn || camera.stream !== stream) { // the view was left meanwhile
    for (const track of stream.getTracks()) track.stop();
    throw new Stale();
  }
  return video;
}

function closeCamera() {
  const { stream, ended } = camera;
  Object.assign(camera, { stream: null, video: null, ended: null });
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  if (ended) ended();
}

function grab() { // the newest frame as a JPEG
  const { video } = camera;
  if (!video || !video.videoWidth) throw new Sentence("The camera has no picture yet; wait a moment.");
  const scale = Math.min(1, FRAME_SIDE / Math.min(video.videoWidth, video.videoHeight));
  const canvas = h("canvas", {
    width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Sentence("A frame could not be read."))), "image/jpeg", 0.9);
  });
}

const post = (parts, body) => ask(parts, { method: "POST", body, headers: { "Content-Type": body.type || "application/octet-stream" } });

// The picture at the side ---------------------------------------------------------------------------------------------

async function bring(file) {
  try {
    hush();
    const facts = await (await busy(post(["pictures"], file))).json();
    choose(facts.id);
  } catch (problem) {
    tell(problem);
  }
}

function choose(id) {
  state.picture = id;
  remember("picture", id);
  closeCamera();
  render();
}

function named(id) {
  const found = state.about.examples.find((picture) => picture.id === id);
  return found ? found.name : id.startsWith("folder-") ? "from the folder" : "your picture";
}

async function photo(id, alternative) {
  const element = await image(["pictures", id]);
  element.alt = alternative;
  if (Math.max(element.naturalWidth, element.naturalHeight) <= 64) element.classList.add("pixels");
  return element;
}

function showPicture() {
  const side = $("picture");
  side.classList.remove("live");
  const stage = h("div", { class: "stage" });
  const caption = h("p", { class: "caption" }, named(state.picture));
  const turn = state.turn;
  photo(state.picture, named(state.picture)).then((element) => {
    if (turn === state.turn) stage.replaceChildren(element);
  }, (problem) => {
    if (turn === state.turn) tell(problem);
  });
  const file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => file.files[0] && bring(file.files[0]) });
  const buttons = saved ? null : h("div", { class: "row" },
    h("button", { type: "button", onclick: () => file.click() }, "Choose a picture"),
    h("button", { type: "button", id: "camera", onclick: () => live() }, "Camera"), file);
  const list = side.querySelector(".examples") || side.appendChild(exampleList()); // it stays, with focus and place
  while (side.firstChild !== list) side.firstChild.remove();
  list.before(stage, h("div", { class: "wait" }, caption, ...[buttons].filter(Boolean)));
  markExample(list);
}

function exampleList() { // of a folder, which may be large: a picture is asked for when its place is first seen
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      photo(target.dataset.id, "").then((element) => target.append(element), () => target.append("?"));
    }
  });
  return roving(h("ul", { class: "examples", "aria-label": "Examples" }, state.about.examples.map(({ id, name }) => {
    const button = h("button", { type: "button", "aria-label": name, title: name, "data-id": id, onclick: () => choose(id) });
    seen.observe(button);
    return h("li", {}, button);
  })));
}

function markExample(list) { // the chosen one, which is also the one that Tab reaches
  const buttons = [...list.querySelectorAll("button")];
  const known = buttons.some((button) => button.dataset.id === state.picture);
  for (const button of buttons) {
    const chosen = button.dataset.id === state.picture;
    button.setAttribute("aria-pressed", String(chosen));
    if (known) button.tabIndex = chosen ? 0 : -1;
    if (chosen) reveal(list, button);
  }
}

function reveal(list, item) { // without scrolling the page, as scrollIntoView does
  const [outer, inner] = [list, item].map((element) => element.getBoundingClientRect());
  if (inner.left < outer.left || inner.right > outer.right) list.scrollLeft += inner.left - outer.left;
  if (inner.top < outer.top || inner.bottom > outer.bottom) list.scrollTop += inner.top - outer.top;
}

async function live() {
  if (place().view !== "") {
    location.hash = "#/";
    await new Promise((resolve) => { addEventListener("hashchange", () => setTimeout(resolve), { once: true }); });
  }
  const turn = state.turn;
  try {
    hush();
    const video = await openCamera(() => { if (turn === state.turn) render(); });
    const side = $("picture");
    side.classList.add("live");
    side.querySelector(".stage").replaceChildren(video);
    const rate = h("p", { class: "caption", id: "rate" }, "starting");
    side.querySelector(".wait").replaceChildren(rate, h("div", { class: "row" },
      h("button", { type: "button", class: "main", onclick: () => grab().then(bring, tell) }, "Look into this frame"),
      h("button", { type: "button", onclick: () => choose(state.picture) }, "Stop")));
    await watch(video, rate, turn);
  } catch (problem) {
    closeCamera();
    tell(problem);
  }
}

async function watch(video, rate, turn) {
  const bars = $("bars");
  const ends = [];
  let told = "";
  let toldAt = 0;
  while (camera.video === video && turn === state.turn) {
    await new Promise((resolve) => { requestAnimationFrame(resolve); });
    if (document.hidden || !video.videoWidth) {
      await new Promise((resolve) => { setTimeout(resolve, 100); });
      continue;
    }
    const found = await (await post(inModel("frame"), await grab())).json();
    if (camera.video !== video || turn !== state.turn) return;
    setBars(bars, found.top);
    const now = performance.now();
    ends.push(now);
    while (ends[0] < now - 2000) ends.shift();
    const fps = ends.length > 1 ? (1000 * (ends.length - 1)) / (now - ends[0]) : 0;
    rate.textContent = `${fps.toFixed(1)} frames a second, ${found.ms.toFixed(1)} ms at the server`;
    if (found.top[0].label !== told && now - toldAt > 2000) {
      told = found.top[0].label;
      toldAt = now;
      say(`${told}, ${percent(found.top[0].probability, 0)}`);
    }
  }
}

// Views ---------------------------------------------------------------------------------------------------------------

function heading(title, detail, ...tools) {
  return h("div", { class: "head" },
    h("div", {}, h("h1", { tabindex: "-1" }, title), detail ? h("p", { class: "soft" }, detail) : null),
    tools.length ? h("div", { class: "row" }, tools) : null);
}

function setBars(list, top) {
  while (list.children.length > top.length) list.lastChild.remove();
  top.forEach((entry, index) => {
    let row = list.children[index];
    if (!row) {
      row = h("li", {}, h("span", { class: "label" }), h("span", { class: "percent" }),
        h("span", { class: "track", "aria-hidden": "true" }, h("i")));
      list.append(row);
    }
    row.children[0].textContent = entry.label;
    row.children[0].title = entry.label;
    row.children[1].textContent = percent(entry.probability);
    row.children[2].firstChild.style.setProperty("--share", entry.probability);
  });
}

const views = {};

views[""] = async (facts) => {
  const bars = h("ol", { class: "bars best", id: "bars", "aria-label": "The most probable classes" });
  const top = later("Classifying", async () => {
    const found = await load(inPicture("top.json"));
    setBars(bars, found.top);
    say(`${found.top[0].label}, ${percent(found.top[0].probability, 0)}`);
    return bars;
  });
  const seen = h("div", { class: "stage" });
  const look = later("Reading the picture", async () => {
    const picture = await image(inPicture("seen.png"));
    picture.alt = "The part of the picture that the network sees";
    seen.append(picture);
    return h("figure", { class: "wait" }, seen, h("figcaption", { class: "caption" },
      `What the network sees: ${facts.input}${times}${facts.input} pixels`));
  });
  return [
    heading("What is it?", `${facts.name} on ${facts.device}, ${facts.classes} classes`),
    h("div", { class: "pair" }, h("section", { class: "card", "aria-label": "Classes" }, top), look),
  ];
};

views.filters = async (facts) => {
  const { count, side, across, groups } = facts.filters;
  const row = { shape: [count, side, side], across };
  const first = facts.layers[0].name;
  const grids = later("Reading the filters", async () => {
    const sprite = await image(inModel("filters.png"));
    const each = count / groups;
    return h("div", { class: "columns" }, [...Array(groups).keys()].map((group) => {
      const title = groups > 1 ? `Column ${group + 1}` : `${count} filters`;
      const grid = h("div", { class: "grid", role: "group", "aria-label": `${title}, move with the arrow keys` },
        [...Array(each).keys()].map((index) => {
          const unit = group * each + index;
          return h("a", { href: address(first, "unit", unit), "aria-label": `Filter ${unit}` }, unitOf(sprite, row, unit));
        }));
      return h("section", { class: "card" }, h("h2", {}, title), roving(grid));
    }));
  });
  const apart = groups > 1 ? ` The ${groups} columns share nothing here, and tend to divide form and color between them.` : "";
  return [heading("Filters of " + first, `${count} filters of ${side}${times}${side} pixels; gray is zero.${apart}`), grids];
};

views.layers = async (facts) => {
  const list = later("Computing all layers", async () => {
    const found = await load(inPicture("layers.json"));
    const known = new Map(found.layers.map((row) => [row.name, row]));
    return h("ul", { class: "layers" }, facts.layers.map((row) => {
      const numbers = known.get(row.name);
      const strip = h("canvas", { width: 520, height: 52, "aria-hidden": "true" });
      image(inPicture("maps", row.name + ".png")).then((sprite) => drawStrip(strip, sprite, row), () => {});
      return h("li", {}, h("a", { href: address(row.name) },
        h("span", { class: "name" }, row.name),
        h("span", { class: "small soft shape" }, shapeText(row.shape)), strip, zerosOf(numbers)));
    }));
  });
  return [heading("Layers", "What each layer makes of the picture. Zero is black, positive is warm, negative is cold."), list];
};

function drawStrip(canvas, sprite, row) {
  const dense = row.shape[1] * row.shape[2] === 1;
  const side = dense ? 10 : 52;
  const down = dense ? 4 : 1;
  const step = side + (dense ? 4 : 6);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  for (let unit = 0; unit < Math.min(row.shape[0], Math.floor(520 / step) * down); unit++) {
    const [, height, width] = row.shape;
    context.drawImage(
      sprite, (unit % row.across) * width, Math.floor(unit / row.across) * height, width, height,
      Math.floor(unit / down) * step, (unit % down) * step, side, side);
  }
}

function zerosOf(numbers) {
  return h("span", { class: "zeros" }, `${percent(numbers.zeros, 0)} zeros`,
    h("span", { class: "track", "aria-hidden": "true" }, h("i", { "--share": numbers.zeros })));
}

function around(facts, name) { // links to the layers before and after
  const index = facts.layers.findIndex((row) => row.name === name);
  return [facts.layers[index - 1], facts.layers[index + 1]].map((row, after) =>
    row ? h("a", { class: "button", href: address(row.name) }, after ? row.name + " \u2192" : "\u2190 " + row.name) : null);
}

function layerOf(facts, name) {
  const row = facts.layers.find((one) => one.name === name);
  if (!row) throw new Sentence(`${facts.name} has no layer '${name}'; it has ${facts.layers.map((one) => one.name).join(", ")}.`);
  return row;
}

function classOf(facts, row, unit) { // that a unit stands for, from the last fully connected layer on
  const last = facts.layers.map((one) => one.op).lastIndexOf("fc");
  return facts.layers.indexOf(row) >= last ? facts.labels[unit] : "";
}

async function layerView(facts, name) {
  const row = layerOf(facts, name);
  const dense = row.shape[1] * row.shape[2] === 1;
  const body = h("div", { class: "wait" });
  const numbers = await load(inPicture("maps", name + ".json"));
  let order = "number";
  let page = 0;
  let kind = "maps";
  let draws = 0;
  const draw = async () => {
    const own = ++draws;
    const sprite = await image(inPicture(kind, name + ".png"));
    if (own !== draws) return; // something else was chosen meanwhile
    const units = [...Array(row.shape[0]).keys()];
    if (order === "strength") units.sort((a, b) => Math.abs(numbers.peaks[b]) - Math.abs(numbers.peaks[a]));
    const shown = units.slice(page * PAGE_OF_DOTS, (page + 1) * PAGE_OF_DOTS);
    const grid = h("div", { class: dense ? "grid dots" : "grid", role: "group", "aria-label": `Units of ${name}, move with the arrow keys` },
      shown.map((unit) => {
        const label = classOf(facts, row, unit);
        const text = `Unit ${unit}, ${label ? label + ", " : ""}${short(numbers.peaks[unit])}`;
        return h("a", { href: address(name, "unit", unit), title: text, "aria-label": text },
        unitOf(sprite, row, unit), dense ? null : h("span", { "aria-hidden": "true" }, unit));
      }));
    body.replaceChildren(roving(grid), ...pager());
  };
  const redraw = () => { const turn = state.turn; busy(draw()).catch((problem) => turn === state.turn && tell(problem)); };
  const pager = () => {
    const pages = Math.ceil(row.shape[0] / PAGE_OF_DOTS);
    if (pages < 2) return [];
    const turnTo = (step) => { page += step; redraw(); };
    return [h("div", { class: "row" },
      h("button", { type: "button", disabled: page === 0, onclick: () => turnTo(-1) }, "Before"),
      h("span", { class: "small soft" }, `${page + 1} of ${pages}`),
      h("button", { type: "button", disabled: page === pages - 1, onclick: () => turnTo(1) }, "After"))];
  };
  const sorted = select("Order", [["number", "by number"], ["strength", "strongest first"]], (value) => { order = value; page = 0; redraw(); });
  const scaled = saved || dense ? null : select("Scale", [["maps", "one for all"], ["each", "each its own"]], (value) => { kind = value; redraw(); });
  await draw();
  return [
    crumbs(["Layers", "#/layers"], name),
    heading(name, `${OPS[row.op] || row.op}, ${shapeText(row.shape)}; from ${short(numbers.low)} to ${short(numbers.high)}, ${percent(numbers.zeros)} zeros`, around(facts, name)),
    h("div", { class: "row" }, sorted, scaled), body,
  ];
}

function crumbs(...steps) {
  return h("nav", { class: "crumbs", "aria-label": "Where you are" },
    steps.flatMap((step, index) => [index ? h("span", { class: "soft", "aria-hidden": "true" }, "\u2002/\u2002") : null,
      Array.isArray(step) ? h("a", { href: step[1] }, step[0]) : h("span", {}, step)]));
}

function select(label, options, change, value) {
  const box = h("select", { onchange: () => change(box.value) }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return h("label", { class: "field" }, label, box);
}

async function unitView(facts, name, text) {
  const row = layerOf(facts, name);
  const unit = Number(text);
  if (!/^\d+$/.test(text) || unit >= row.shape[0]) {
    throw new Sentence(`${name} has units 0 to ${row.shape[0] - 1}, not '${text.slice(0, 40)}'.`);
  }
  const [numbers, sprite, seen] = await Promise.all([
    load(inPicture("maps", name + ".json")), image(inPicture("maps", name + ".png")), image(inPicture("seen.png"))]);
  const map = unitOf(sprite, row, unit);
  const dense = row.shape[1] * row.shape[2] === 1;
  map.className = dense ? "large value" : "large pixels";
  map.setAttribute("role", "img");
  map.setAttribute("aria-label", dense ? `Value of unit ${unit} of ${name}` : `Map of unit ${unit} of ${name}`);
  const [over, context] = shaded(seen, 0.45, "The map over the picture");
  context.globalCompositeOperation = "screen";
  context.drawImage(map, 0, 0, LARGE, LARGE);
  const value = numbers.peaks[unit];
  const label = classOf(facts, row, unit);
  const range = `; the layer goes from ${short(numbers.low)} to ${short(numbers.high)}`;
  const first = name === facts.layers[0].name;
  const step = (to, label) => h("a", { class: "button", href: address(name, "unit", to), "aria-label": `Unit ${to}` }, label);
  return [
    crumbs(["Layers", "#/layers"], [name, address(name)], `unit ${unit}`),
    heading(`${name}, unit ${unit}`, (label ? `The class \u201c${label}\u201d. ` : "") + (dense ? "Its value is " : "Strongest at ") + short(value) + range,
      unit > 0 ? step(unit - 1, "\u2190 " + (unit - 1)) : null, unit + 1 < row.shape[0] ? step(unit + 1, unit + 1 + " \u2192") : null),
    h("div", { class: "pair" },
      h("figure", { class: "wait" }, map, h("figcaption", { class: "caption" }, dense ? "Its value as a color" : `Its map, ${row.shape[1]}${times}${row.shape[2]}`)),
      dense ? null : h("figure", { class: "wait" }, over, h("figcaption", { class: "caption" }, "Over what the network sees")),
      first ? h("figure", { class: "wait" }, later("Reading the filter", () => filterOf(facts, unit)), h("figcaption", { class: "caption" }, "Its filter")) : null),
    h("section", { class: "card" }, h("h2", {}, "What excites it most"), later("Computing the pictures of the folder", async (progress) => {
      const found = await load(inModel("likes", name + ".json"), progress);
      const liked = found.units[unit].filter(([, strength]) => strength > 0);
      if (!liked.length) return h("p", { class: "soft" }, "None of the pictures excites it.");
      return photos(liked.map(([index, strength]) => ({ ...found.pictures[index], text: short(strength) })));
    })),
  ];
}

async function filterOf(facts, unit) {
  const { count, side, across } = facts.filters;
  const canvas = unitOf(await image(inModel("filters.png")), { shape: [count, side, side], across }, unit);
  canvas.className = "large pixels";
  return canvas;
}

function photos(rows) {
  return h("ul", { class: "photos" }, rows.map((row) => {
    const holder = h("span", { class: "stage" });
    photo(row.id, "").then((element) => holder.append(element), () => holder.append("?"));
    return h("li", {}, h("button", { type: "button", onclick: () => choose(row.id), title: "Look into this picture" },
      holder, h("span", { class: "caption" }, row.name, h("br"), row.text)));
  }));
}

views.why = async (facts) => {
  const top = await load(inPicture("top.json"));
  const best = top.top[0].index;
  const turn = state.turn;
  const body = h("div", { class: "pair" });
  const draw = (index) => {
    const label = facts.labels[index];
    body.replaceChildren(
      h("section", { class: "card wait" }, h("h2", {}, "Grad-CAM"), later("Computing Grad-CAM", async (progress) => {
        const [found, seen] = await Promise.all([load(inPicture("gradcam", index + ".json"), progress, turn), image(inPicture("seen.png"))]);
        return [heated(seen, found.grid, `Grad-CAM of ${label}`), h("p", { class: "caption" }, `Where ${found.layer} speaks for \u201c${label}\u201d`)];
      })),
      h("section", { class: "card wait" }, h("h2", {}, "Occlusion"), later("Covering one place after the other", async (progress) => {
        const [found, seen] = await Promise.all([load(inPicture("occlusion", index + ".json"), progress, turn), image(inPicture("seen.png"))]);
        const falls = found.grid.map((line) => line.map((value) => Math.max(0, found.whole - value)));
        const most = Math.max(...falls.flat());
        const lowest = Math.min(...found.grid.flat());
        const text = most > 0.0005
          ? `A gray square of ${found.patch} pixels lowers \u201c${label}\u201d from ${percent(found.whole)} to ${percent(lowest)} at most`
          : `A gray square of ${found.patch} pixels does not lower \u201c${label}\u201d (${percent(found.whole)}) anywhere`;
        return [heated(seen, falls.map((line) => line.map((value) => (most > 0 ? value / most : 0))), `Occlusion map of ${label}`), h("p", { class: "caption" }, text)];
      })));
  };
  draw(best);
  const options = saved ? [[String(best), facts.labels[best]]]
    : [...top.top.map((entry) => [String(entry.index), entry.label]),
      ...facts.labels.map((label, index) => [String(index), label]).filter(([index]) => !top.top.some((entry) => String(entry.index) === index))];
  return [heading("Why?", "Where in the picture a class comes from.", select("Class", options, (value) => draw(Number(value)))), body];
};

views.neighbors = async () => {
  const folder = state.about.own_folder ? "the folder" : "the examples";
  const list = later(`Reading ${folder}`, async (progress) => {
    const found = await load(inPicture("neighbors.json"), progress);
    const left = found.left_out.length ? h("p", { class: "small soft" }, `${found.left_out.length} could not be read, the first one: ${found.left_out[0]}`) : null;
    return [photos(found.near.map((row) => ({ ...row, text: "distance " + short(row.distance) }))), ...[left].filter(Boolean)];
  });
  const hint = state.about.own_folder || saved ? null : [" Start with ", h("code", {}, "--folder DIR"), " to search your own."];
  return [heading("Nearest neighbors", [`The pictures of ${folder} that fc7 finds most alike, ${state.about.searched} in all.`, hint]), h("section", { class: "card wait" }, list)];
};

views.compare = async (facts) => {
  const others = state.about.models.filter((row) => row.name !== state.model).map((row) => row.name);
  if (!others.length) {
    return [heading("Compare", "Two networks, or one in two precisions, on the same picture."), h("section", { class: "card wait" },
      h("p", {}, "There is one network. Start with two to see them side by side, for example:"),
      h("pre", {}, "fastalex ui --model digits --model small=digits,fc_weights=int4"))];
  }
  let other = others.includes(recall("other")) ? recall("other") : others[0];
  const body = h("div", { class: "stack" });
  const turn = state.turn;
  const draw = async () => {
    const own = other;
    remember("other", own);
    const [found, second] = await Promise.all([load(inPicture("compare", own + ".json")), factsOf(own)]);
    if (turn !== state.turn || own !== other) throw new Stale();
    body.replaceChildren(
      h("section", { class: "card" }, h("h2", {}, "Classes"), h("div", { class: "scroll" }, classTable(found.classes, other))),
      h("section", { class: "card" }, h("h2", {}, "Layers"), layerTable(facts, found.layers, other),
        found.layers.length ? null : h("p", { class: "soft" }, `No layer of ${second.variant} has the shape of one of ${facts.variant}.`)));
  };
  const picker = select("With", others.map((name) => [name, name]), (name) => { other = name; busy(draw()).catch(tell); }, other);
  await draw();
  return [heading("Compare", `${facts.name} and another network on this picture.`, picker), body];
};

function twoBars(values) {
  return h("span", { class: "two", "aria-hidden": "true" }, values.map((value, index) =>
    h("span", { class: "track" }, h("i", { "--share": value, class: index ? null : "hot" }))));
}

function classTable(rows, other) {
  return h("table", {}, h("thead", {}, h("tr", {}, ["Class", "", state.model, other, "Difference"].map((text, index) =>
    h("th", { scope: "col", class: ["", "narrow-hide", "number", "number", "number narrow-hide"][index] }, text)))),
  h("tbody", {}, rows.map(({ label, probabilities: [one, two] }) => h("tr", {},
    h("th", { scope: "row" }, label), h("td", { class: "narrow-hide wide-cell" }, twoBars([one, two])),
    h("td", { class: "number" }, percent(one, 2)), h("td", { class: "number" }, percent(two, 2)),
    h("td", { class: "number narrow-hide" }, (two < one ? "\u2212" : "+") + percent(Math.abs(two - one), 2))))));
}

function layerTable(facts, rows, other) {
  const sheets = h("div", { class: "pair" });
  let wanted = "";
  const show = async (name) => {
    wanted = name;
    const row = layerOf(facts, name);
    const parts = [[state.model, inPicture("maps", name + ".png")], [other, ["models", other, state.picture, "maps", name + ".png"]],
      ["difference", inPicture("compare", other, name + ".png")]];
    const sprites = await Promise.all(parts.map(([, where]) => image(where)));
    if (name !== wanted) return; // another layer was chosen meanwhile
    const dense = row.shape[1] === 1;
    const count = Math.min(row.shape[0], dense ? 1024 : 64);
    sheets.replaceChildren(...sprites.map((sprite, index) => h("figure", { class: "wait" },
      sheet(sprite, row, count, Math.ceil(Math.sqrt(count)), { class: "large pixels", role: "img", "aria-label": `${name}: ${parts[index][0]}` }),
      h("figcaption", { class: "caption" }, parts[index][0], index === 2 ? ", on a scale of its own" : ""))));
    for (const line of body.children) line.setAttribute("aria-current", String(line.dataset.name === name));
  };
  const open = (name) => busy(show(name)).catch(tell);
  const worst = Math.max(...rows.map((row) => row.relative || 0), 1e-12);
  const body = h("tbody", {}, rows.map((row) => h("tr", { "data-name": row.name },
    h("th", { scope: "row" }, h("button", { type: "button", class: "quiet", onclick: () => open(row.name) }, row.name)),
    h("td", { class: "wide-cell narrow-hide" }, h("span", { class: "track", "aria-hidden": "true" }, h("i", { class: "hot", "--share": (row.relative || 0) / worst }))),
    h("td", { class: "number" }, row.relative === null ? "\u2013" : percent(row.relative, 2)), h("td", { class: "number" }, short(row.largest)))));
  const preferred = rows.find((row) => row.name === "conv5" && row.largest) || rows.find((row) => row.largest) || rows[0];
  if (preferred) open(preferred.name);
  return h("div", { class: "columns" }, h("div", { class: "scroll" }, h("table", {},
    h("caption", {}, "Root mean square of the difference, in percent of the layer\u2019s own"),
    h("thead", {}, h("tr", {}, ["Layer", "", "Relative", "Largest"].map((text, index) => h("th", { scope: "col", class: index === 1 ? "narrow-hide" : index ? "number" : null }, text)))), body)), sheets);
}

views.time = async (facts) => {
  const table = later("Measuring", async (progress) => {
    const found = await load(inModel("times.json"), progress);
    const all = found.rows.reduce((sum, row) => sum + row.ms, 0);
    const floors = found.rows.reduce((sum, row) => sum + (row.floor_ms || 0), 0);
    const longest = Math.max(...found.rows.map((row) => row.ms));
    return [
      h("p", {}, `${all.toFixed(2)} ms an image`, floors ? `; the roofline allows ${floors.toFixed(2)} ms.` : "."),
      h("div", { class: "scroll" }, h("table", {},
        h("caption", {}, floors ? `The line in a bar is the least that the peak and the bandwidth of ${found.card} allow (${found.basis}).` : "The peak and the bandwidth of this device are not known for this precision."),
        h("thead", {}, h("tr", {}, ["Step", "", "ms", "Roofline ms", "Limit", "MFLOP"].map((text, index) =>
          h("th", { scope: "col", class: ["", "narrow-hide", "number", "number", "number narrow-hide", "number narrow-hide"][index] }, text)))),
        h("tbody", {}, found.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.layers.join(" ")),
          h("td", { class: "wide-cell narrow-hide" }, h("span", { class: "track", "aria-hidden": "true" },
            h("i", { class: "hot", "--share": row.ms / longest }), row.floor_ms ? h("b", { "--at": Math.min(0.995, row.floor_ms / longest) }) : null)),
          h("td", { class: "number" }, row.ms.toFixed(3)), h("td", { class: "number" }, row.floor_ms ? row.floor_ms.toFixed(3) : "\u2013"),
          h("td", { class: "number narrow-hide" }, row.bound || "\u2013"), h("td", { class: "number narrow-hide" }, row.flop ? (row.flop / 1e6).toFixed(1) : "\u2013")))))),
    ];
  });
  const zeros = later("Counting zeros", async () => {
    const found = await load(inPicture("layers.json"));
    return h("ul", { class: "bars" }, found.layers.map((row) => h("li", {}, h("a", { class: "label", href: address(row.name) }, row.name),
      h("span", { class: "percent" }, percent(row.zeros)), h("span", { class: "track", "aria-hidden": "true" }, h("i", { "--share": row.zeros })))));
  });
  const trace = h("button", { type: "button", onclick: () => busy(saveTrace()).catch(tell) }, "Save a trace");
  return [
    heading("Time", `${facts.name} on ${facts.device}, ${facts.precision}, fully connected weights in ${facts.fc_weights}, ${facts.threads} threads.`, trace),
    h("section", { class: "card wait" }, h("h2", {}, "Steps and their roofline"), table),
    h("section", { class: "card wait" }, h("h2", {}, "Zeros on this picture"), h("p", { class: "small soft" }, "Weights that meet a zero need not be read."), zeros),
  ];
};

async function saveTrace() {
  const found = await load(inModel("trace.json"));
  const link = h("a", { download: `${state.model}-trace.json`, href: URL.createObjectURL(new Blob([JSON.stringify(found)], { type: "application/json" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say("The trace was saved; open it at ui.perfetto.dev");
}

views.collect = async () => {
  if (saved || !state.about.collect) {
    return [heading("Collect", "Camera frames as pictures to train on, in a folder for each class."), h("section", { class: "card wait" },
      h("p", {}, "Start with a folder and the classes, for example:"), h("pre", {}, "fastalex ui --collect dataset --classes free,blocked"))];
  }
  const first = await load(["collect.json"]);
  const off = () => h("p", {}, "The camera is off");
  const stage = h("div", { class: "stage" }, off());
  const classes = h("ul", { class: "classes", "aria-label": "Save a frame as" });
  const turn = state.turn;
  const save = async (index) => {
    try {
      hush();
      const blob = await grab();
      const found = await (await post(["collect", String(index)], blob)).json();
      if (turn !== state.turn) return;
      update(found);
      say(`${found.classes[index].count} pictures of ${found.classes[index].name}`);
    } catch (problem) {
      tell(problem);
    }
  };
  first.classes.forEach((row, index) => {
    const key = index < 9 ? h("kbd", { class: "small soft narrow-hide" }, index + 1) : null;
    classes.append(h("li", {}, h("button", { type: "button", disabled: true, onclick: () => save(index), "aria-keyshortcuts": index < 9 ? String(index + 1) : null },
      h("span", { class: "label" }, row.name), h("span", { class: "row" }, key, h("b", {})))));
  });
  const command = h("pre", { tabindex: "0", "aria-label": "The command that trains" });
  const update = (found) => {
    found.classes.forEach((row, index) => { classes.children[index].querySelector("b").textContent = row.count; });
    command.textContent = found.command;
  };
  update(first);
  const usable = (on) => { for (const button of classes.querySelectorAll("button")) button.disabled = !on; };
  const toggle = h("button", { type: "button", class: "main", onclick: async () => {
    if (camera.stream) { closeCamera(); return; }
    try {
      hush();
      const video = await openCamera(() => { stage.replaceChildren(off()); usable(false); toggle.textContent = "Start the camera"; });
      stage.replaceChildren(video);
      toggle.textContent = "Stop the camera";
      usable(true);
    } catch (problem) {
      tell(problem);
    }
  } }, "Start the camera");
  const copy = h("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      copy.textContent = "Copied";
      say("Copied");
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    } catch {
      getSelection().selectAllChildren(command);
    }
  } }, "Copy");
  shortcuts = (event) => {
    const index = Number(event.key) - 1;
    if (/^[1-9]$/.test(event.key) && first.classes[index] && camera.stream) save(index);
  };
  return [
    heading("Collect", `Each press saves the camera\u2019s frame below ${first.folder}.`, toggle),
    h("div", { class: "collect" }, stage, h("div", { class: "wait" }, classes)),
    h("section", { class: "card wait" }, h("h2", {}, "Then train on them"), command, h("div", { class: "row" }, copy)),
  ];
};
let shortcuts = null; // of the view

// Addresses -----------------------------------------------------------------------------------------------------------

function place() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return { view: parts[0], parts };
}

async function content(facts) {
  const { view, parts } = place();
  if (views[view]) return views[view](facts);
  if (parts[1] === "unit" && parts.length === 3) return unitView(facts, view, parts[2]);
  return layerView(facts, view);
}

let shownAt = null; // the address that is drawn

async function render() {
  const turn = ++state.turn;
  const { view } = place();
  const moved = shownAt !== null && shownAt !== location.hash;
  shownAt = location.hash;
  shortcuts = null;
  const sideless = ["collect", "filters"].includes(view);
  document.querySelector(".frame").classList.toggle("wide", sideless);
  $("picture").hidden = sideless;
  closeCamera();
  for (const link of $("nav").children) {
    const here = link.dataset.view === view || (link.dataset.view === "layers" && !views[view]);
    link.toggleAttribute("aria-current", here);
    if (here) { link.setAttribute("aria-current", "page"); link.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  }
  if (!sideless) showPicture();
  try {
    const facts = await busy(factsOf(state.model));
    const parts = await busy(content(facts));
    if (turn !== state.turn) return;
    $("view").replaceChildren(...parts.flat().filter(Boolean));
  } catch (problem) {
    if (turn !== state.turn || problem instanceof Stale) return;
    $("view").replaceChildren(heading("Nothing to show"));
    tell(problem);
  }
  const title = $("view").querySelector("h1");
  document.title = `${title.textContent} \u2013 fastalex`;
  if (moved) {
    scrollTo(0, 0);
    title.focus({ preventScroll: true });
  }
}

// The start -----------------------------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
function useTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[name];
  $("theme").setAttribute("aria-label", `Colors: ${name}. Press to change.`);
}

function recallTheme() {
  try { return THEMES.find((name) => name === localStorage.getItem("fastalex.theme")) || "auto"; } catch { return "auto"; }
}

function takeToken() { // of an address that the command printed, so that it is in no history
  const [, token] = location.hash.match(/^#token=([\w-]+)$/) || [];
  if (!token) return;
  state.token = token;
  remember("token", token);
  history.replaceState(null, "", "#/");
}

function start() {
  takeToken();
  let theme = recallTheme();
  useTheme(theme);
  $("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try { localStorage.setItem("fastalex.theme", theme); } catch { /* kept until the page closes */ }
    useTheme(theme);
  });
  $("notice").lastElementChild.addEventListener("click", hush);
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("view").focus(); });
  addEventListener("hashchange", () => { takeToken(); hush(); render(); });
  addEventListener("keydown", (event) => {
    if (shortcuts && !event.ctrlKey && !event.altKey && !event.metaKey && !/^(INPUT|SELECT)$/.test(event.target.tagName)) shortcuts(event);
  });
  if (!saved) listenForPictures();
}

function listenForPictures() {
  let depth = 0;
  const carries = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  addEventListener("dragenter", (event) => { if (carries(event)) { depth += 1; $("veil").hidden = false; } });
  addEventListener("dragleave", (event) => { if (carries(event) && --depth <= 0) { depth = 0; $("veil").hidden = true; } });
  addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    $("veil").hidden = true;
    if (!carries(event)) return;
    event.preventDefault();
    if (event.dataTransfer.files[0]) bring(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData && [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) bring(file);
  });
}

async function main() {
  start();
  try {
    state.about = await busy(load(["about.json"]));
  } catch (problem) {
    tell(problem);
    return;
  }
  const usable = state.about.models.filter((row) => row.ready);
  const remembered = usable.find((row) => row.name === recall("model"));
  state.model = (remembered || usable[0] || state.about.models[0]).name;
  const known = recall("picture");
  const first = state.about.examples[0].id;
  state.picture = known && (!saved || state.about.examples.some((picture) => picture.id === known)) ? known : first;
  if (!saved && state.picture !== first) {
    await ask(["pictures", state.picture]).catch(() => { state.picture = first; });
  }
  const box = $("model");
  box.append(...state.about.models.map((row) => h("option", { value: row.name, disabled: !row.ready, title: row.reason, selected: row.name === state.model }, row.name)));
  box.addEventListener("change", () => { state.model = box.value; remember("model", box.value); hush(); render(); });
  const views_ = VIEWS.filter(([name]) => !(saved && name === "collect"));
  $("nav").append(...views_.map(([name, text]) => h("a", { href: "#/" + name, "data-view": name }, text)));
  const broken = state.about.models.find((row) => !row.ready && row.reason);
  if (broken) tell(new Sentence(`The network ${broken.name} is not there: ${broken.reason}`));
  await render();
}

main();
