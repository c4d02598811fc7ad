// The page: what happens when, and what is shown then.

import { Result } from "./result.js";
import { keepOffline } from "./offline.js";
import { startWorker } from "./worker_client.js";
import { showBlocks } from "./view/blocks.js";
import { showBoxes } from "./view/box_table.js";
import { toPercent, toWords } from "./view/elements.js";
import { showExamples } from "./view/examples.js";
import { showFindings } from "./view/findings_list.js";
import { listen } from "./view/gestures.js";
import { listenForFiles } from "./view/intake.js";
import { paintLegend } from "./view/legend.js";
import { saveNumbers, savePicture } from "./view/save.js";
import { sayBusy, sayDone, sayError } from "./view/status.js";
import { listenForTheme } from "./view/theme.js";
import { Viewer } from "./view/viewer.js";

const BASE = new URL("./", location.href);
const find = (id) => document.getElementById(id);
const viewer = new Viewer(find("canvas"));

let contract = null;
let send = null;
let waiting = null; // a file that came before the model was there
let job = 0; // the newest one; answers to older ones are passed over
let jobName = "";
let result = null;
let chosen = 0;
let block = null; // whose map is shown; null for the fused one

// Files in

async function take(files) {
  sayError("");
  const more = files.length - 1;
  const others = more === 1 ? "the other one was" : `the other ${more} were`;
  await analyse(files[0], more ? `One X-ray at a time: ${others} left out.` : "");
}

async function analyse(file, remark = "") {
  if (remark) sayError(remark);
  job += 1;
  const id = job;
  jobName = file.name || "The image";
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    sayError(`${jobName} cannot be opened.`);
    return;
  }
  if (id !== job) return;
  waiting = { id, bytes };
  sendWaiting();
}

function sendWaiting() {
  if (!send || !waiting || !contract) return;
  sayBusy(`Reading ${jobName}`);
  send(waiting.id, waiting.bytes);
  waiting = null;
}

async function openExample({ file, title }) {
  sayError("");
  const response = await fetch(new URL(file, BASE));
  if (!response.ok) {
    sayError(`${title} can't be loaded.`);
    return;
  }
  const name = file.split("/").pop();
  await analyse(new File([await response.blob()], name));
}

// Answers of the worker

function receive(message) {
  if (message.kind === "download") {
    const [loaded, total] = [message.loaded / 1e6, message.total / 1e6];
    sayBusy(`Loading the model, ${total.toFixed(0)} MB`, loaded / total);
  } else if (message.kind === "ready") {
    contract = message.contract;
    sayDone("Ready. Open an X-ray or choose an example.");
    sendWaiting();
  } else if (message.kind === "failed") {
    sayDone("The model is not there.");
    sayError(`The model can't be loaded: ${message.reason}`);
  } else if (message.id === job) {
    receiveAnswer(message);
  }
}

function receiveAnswer(message) {
  if (message.kind === "step") {
    sayBusy(message.step);
  } else if (message.kind === "refused") {
    sayDone("");
    sayError(`${jobName} ${message.reason}.`);
  } else if (message.kind === "done") {
    show(new Result(contract, message.outputs, message.xray, jobName));
  }
}

function show(next) {
  result = next;
  chosen = result.order.find((column) => result.isPositive(column)) ?? result.order[0];
  block = null;
  find("welcome").hidden = true;
  find("details").hidden = false;
  find("legend").hidden = false;
  for (const id of ["centre", "width", "closer", "farther", "fit"]) {
    find(id).disabled = false;
  }
  viewer.setXray(result.xray, result.field);
  resetWindow();
  choose(chosen);
  sayDone(summarize());
}

function summarize() {
  const called = result.order.filter((column) => result.isPositive(column));
  const names = called.map(
    (column) => `${toWords(contract.pathologies[column])} ${toPercent(result.probabilities[column])}`,
  );
  const found = names.length ? `Called: ${names.join(", ")}.` : "No finding is called.";
  return [`${result.name}.`, found, ...result.xray.warnings].join(" ");
}

// What is shown

function choose(column) {
  chosen = column;
  showFindings(find("findings"), result, chosen, choose);
  find("findings").querySelector(":checked")?.focus({ preventScroll: true });
  find("findings-note").textContent =
    "A tick marks the threshold from which a finding is called.";
  showLevel();
  chooseBlock(block);
}

function chooseBlock(next) {
  block = next;
  showBlocks(find("blocks"), result, chosen, block, (value) => {
    chooseBlock(value);
    find("blocks").querySelector(":checked")?.focus({ preventScroll: true });
  });
  showMap();
}

function showMap() {
  const opacity = Number(find("opacity").value) / 100;
  const above = find("above").checked ? Math.min(...result.levels[chosen]) : 0;
  const { values, size } =
    block === null
      ? { values: result.heatmap(chosen), size: contract.image_size }
      : result.blockMap(block, chosen);
  viewer.setHeat(values, size, { opacity, above });
  const boxes = result.boxes(chosen);
  viewer.setBoxes(boxes);
  showBoxes(find("boxes"), find("boxes-note"), result, chosen);
  find("canvas").setAttribute("aria-label", describePicture(boxes.length));
}

function describePicture(count) {
  const name = toWords(contract.pathologies[chosen]);
  const map = block === null ? "heat map" : `map of block ${block}`;
  const boxes = count === 1 ? "1 box" : `${count} boxes`;
  return `X-ray ${result.name} with the ${map} of ${name} and ${boxes}`;
}

function showLevel() {
  const levels = result.levels[chosen];
  find("level").value = Math.round(100 * levels[0]);
  find("level-value").textContent = levels.map((level) => toLevel(level)).join(", ");
  const own = contract.cam_thresholds[chosen];
  find("own").disabled = String(levels) === String(own);
}

function toLevel(level) {
  return level.toFixed(2);
}

// The window

const display = { centre: 127.5, width: 255 };

function changeWindow(level, width) {
  if (!result) return;
  display.centre = Math.min(Math.max(display.centre + level, 0), 255);
  display.width = Math.min(Math.max(display.width + width, 2), 510);
  find("centre").value = display.centre;
  find("width").value = display.width;
  viewer.setWindow(display);
}

function resetWindow() {
  changeWindow(127.5 - display.centre, 255 - display.width);
}

// Controls

function connect() {
  listenForTheme(find("theme"));
  listenForFiles(find("file"), find("viewer"), take);
  listen(find("viewer"), viewer, changeWindow);
  find("centre").oninput = ({ target }) => changeWindow(target.value - display.centre, 0);
  find("width").oninput = ({ target }) => changeWindow(0, target.value - display.width);
  find("closer").onclick = () => viewer.zoom(1.25);
  find("farther").onclick = () => viewer.zoom(0.8);
  find("fit").onclick = () => {
    viewer.fit();
    resetWindow();
  };
  find("opacity").oninput = ({ target }) => {
    find("opacity-value").textContent = `${target.value}%`;
    showMap();
  };
  find("level").oninput = ({ target }) => setLevels([target.value / 100]);
  find("own").onclick = () => setLevels([...contract.cam_thresholds[chosen]]);
  find("above").onchange = showMap;
  find("save-png").onclick = () => savePicture(viewer.toPicture(), result.name);
  find("save-json").onclick = () => saveNumbers(result.toDict(), result.name);
}

function setLevels(levels) {
  result.levels[chosen] = levels;
  showLevel();
  showMap();
}

connect();
paintLegend(find("scale"));
await keepOffline(BASE);
send = startWorker(BASE, receive);
await showExamples(find("examples"), BASE, openExample);
