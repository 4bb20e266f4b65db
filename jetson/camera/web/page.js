"use strict";
const at = (id) => document.getElementById(id);
const number = (value, digits) => value === null || value === undefined ? "–" : value.toFixed(digits);
const trace = [];
let busy = false; // while a finger is on the slider, the statistics do not move it
let failures = 0;

// The token of the address is a cookie by now: keep it out of the history and of bookmarks.
if (location.search) history.replaceState(null, "", location.pathname);

function watch() {
  at("frame").src = "stream.mjpg?" + Date.now();
}
at("frame").addEventListener("load", () => { at("waiting").hidden = true; });
at("frame").addEventListener("error", () => setTimeout(watch, 2000));

async function control(changes) {
  try {
    const answer = await fetch("control", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(changes) });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    show(await answer.json());
  } catch (error) {
    at("message").textContent = error.message;
  }
}

function makeTasks(tasks) {
  if (at("tasks").dataset.tasks === tasks.join()) return;
  at("tasks").dataset.tasks = tasks.join();
  at("tasks").hidden = tasks.length < 2;
  for (const task of tasks) {
    const label = document.createElement("label"), input = document.createElement("input");
    const text = document.createElement("span");
    input.type = "radio";
    input.name = "task";
    input.value = task;
    input.addEventListener("change", () => control({ task }));
    text.textContent = task;
    label.append(input, text);
    at("tasks").append(label);
  }
}

function show(now) {
  at("name").textContent = now.name;
  at("state").dataset.state = at("state-text").textContent = now.state;
  makeTasks(now.tasks);
  for (const input of document.getElementsByName("task")) input.checked = input.value === now.task;
  at("opacity").hidden = !now.tasks.includes("segmentation");
  if (!busy) at("alpha").value = now.alpha;
  at("alpha-value").textContent = Math.round(100 * at("alpha").value) + " %";
  at("pause").setAttribute("aria-pressed", now.paused);
  at("pause").textContent = now.paused ? "Go on" : "Pause";
  at("record").setAttribute("aria-pressed", now.recording);
  at("record").textContent = now.recording ? "Stop" : "Record";
  at("recording").hidden = !now.recording;
  for (const rate of ["shown_fps", "inference_fps", "camera_fps"]) at(rate).textContent = number(now[rate], 1);
  const latency = now.latency_ms, inference = now.inference_ms;
  at("latency").textContent = latency ? number(latency.p50, 0) : "–";
  at("latency-rest").textContent = latency ? `p90 ${number(latency.p90, 0)} · p99 ${number(latency.p99, 0)}` : "from capture to finished frame";
  at("inference_ms").textContent = inference ? `${number(inference.p50, inference.p50 < 10 ? 1 : 0)} ms · p99 ${number(inference.p99, 0)}` : "networks alone";
  at("dropped").textContent = `${now.dropped} of ${now.captured} dropped` + (now.corrupt ? `, ${now.corrupt} corrupt` : "");
  at("temperature").textContent = number(now.temperature_c, 0);
  at("hottest").textContent = now.hottest || "no sensor";
  at("power").textContent = number(now.power_w, 1);
  at("power-from").textContent = now.power_w === null ? "no sensor" : "whole board";
  showBudget(now.budget);
  showCameras(now.cameras);
  at("message").textContent = now.message;
  at("pipeline").textContent = now.pipeline;
  if (latency) draw(latency.p50);
}

const LIMITS = { capture: "the camera or file itself", pre: "pre-processing", inference: "the networks",
  post: "reading the networks' outputs", draw: "drawing", record: "recording", encode: "JPEG encoding" };

function showBudget(budget) {
  at("stages").replaceChildren(...Object.entries(budget.stages).map(([stage, { ms, share }]) => {
    const row = document.createElement("li"), meter = document.createElement("meter");
    meter.value = share;
    const cells = [stage, meter, `${number(ms, ms < 10 ? 1 : 0)} ms`, `${Math.round(100 * share)} %`];
    row.append(...cells.map((cell) => {
      if (cell === meter) return meter;
      const text = document.createElement("span");
      text.textContent = cell;
      return text;
    }));
    row.dataset.limits = stage === budget.limit;
    return row;
  }));
  at("limit").textContent = budget.limit ? `share of the time; the limit is ${LIMITS[budget.limit]}` : "no frames";
}

function showCameras(cameras) {
  at("cameras").hidden = cameras.length === 0;
  at("cameras").replaceChildren(...cameras.map((camera) => {
    const card = document.createElement("div"), name = document.createElement("h2"), rest = document.createElement("small");
    card.className = "card";
    card.dataset.state = camera.state;
    name.textContent = `${camera.name} · ${camera.state}`;
    const latency = camera.latency_ms ? `, ${number(camera.latency_ms.p50, 0)} ms` : "";
    rest.textContent = `${number(camera.shown_fps, 1)} of ${number(camera.camera_fps, 1)} FPS${latency}, `
      + `${camera.dropped} of ${camera.captured} dropped` + (camera.state === "reconnecting" ? ` · ${camera.message}` : "");
    card.append(name, rest);
    return card;
  }));
}

function draw(value) {
  trace.push(value);
  if (trace.length > 60) trace.shift();
  const top = 1.15 * Math.max(...trace);
  const points = trace.map((each, index) => `${(120 * (60 - trace.length + index)) / 59},${(36 * (1 - each / top)).toFixed(1)}`);
  at("trace").firstElementChild.setAttribute("points", points.join(" "));
}

async function poll() {
  try {
    const answer = await fetch("statistics");
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const now = await answer.json();
    if (failures > 0) watch();
    failures = 0;
    show(now);
  } catch (error) {
    failures += 1;
    at("state").dataset.state = at("state-text").textContent = "no connection";
  }
  setTimeout(poll, document.hidden ? 5000 : 1000);
}

at("alpha").addEventListener("pointerdown", () => { busy = true; });
at("alpha").addEventListener("pointerup", () => { busy = false; });
at("alpha").addEventListener("input", () => { at("alpha-value").textContent = Math.round(100 * at("alpha").value) + " %"; });
at("alpha").addEventListener("change", () => { busy = false; control({ alpha: Number(at("alpha").value) }); });
at("pause").addEventListener("click", () => control({ paused: at("pause").getAttribute("aria-pressed") !== "true" }));
at("record").addEventListener("click", () => control({ recording: at("record").getAttribute("aria-pressed") !== "true" }));
at("snapshot").addEventListener("click", () => control({ snapshot: true }));
watch();
poll();
