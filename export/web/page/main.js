// The page: what happens when, and what is shown then.

import { Result } from "./result.js";
import { reach } from "./download.js";
import { keepOffline } from "./offline.js";
import { startWorker } from "./worker_client.js";
import { ImageError, checkBytes } from "./reading/image_error.js";
import { showBlocks } from "./view/blocks.js";
import { showBoxes } from "./view/box_table.js";
import { toPercent, toWords } from "./view/elements.js";
import { showExamples } from "./view/examples.js";
import { showFindings } from "./view/findings_list.js";
import { listen } from "./view/gestures.js";
import { listenForFiles } from "./view/intake.js";
import { paintLegend } from "./view/legend.js";
import { saveNumbers, savePicture } from "./view/save.js";
import { sayBusy, sayDone, sayError, sayNews } from "./view/status.js";
import { listenForTheme } from "./view/theme.js";
import { Viewer } from "./view/viewer.js";

const BASE = new URL("./", location.href);
const find = (id) => document.getElementById(id);
const viewer = new Viewer(find("canvas"));

const READY = "Ready. Open an X-ray or choose an example.";
const NEWER =
  "A newer version of this page is there; it opens once all tabs with this one are closed.";

let contract = null;
let broken = ""; // why there will be no model
let send = null;
let waiting = null; // a file that came before the model was there
let job = 0; // the newest one; answers to older ones are passed over
let jobName = "";
let result = null;
let chosen = 0;
let block = null; // whose map is shown; null for the fused one

// Files in

async function take([file, ...others]) {
  const count = others.length;
  const more = count === 1 ? "the other one was" : `the other ${count} were`;
  const remark = count ? `One X-ray at a time: ${more} left out.` : "";
  const read = async () => {
    checkBytes(file.size);
    return file.arrayBuffer();
  };
  await analyse(file.name || "The image", read, remark);
}

async function openExample({ file }) {
  const name = file.split("/").pop();
  await analyse(name, async () => (await reach(new URL(file, BASE))).arrayBuffer());
}

/**
 * Analyse an image, unless another one comes before it is read.
 *
 * @param {string} name
 * @param {() => Promise<ArrayBuffer>} read
 * @param {string} remark to say meanwhile.
 */
async function analyse(name, read, remark = "") {
  sayError(broken || remark);
  if (broken) return;
  job += 1;
  const id = job;
  jobName = name;
  try {
    const bytes = await read();
    if (id !== job) return;
    waiting = { id, bytes };
    sendWaiting();
  } catch (error) {
    if (id !== job) return;
    waiting = null; // an image before it, which the model was not there for
    refuse(error instanceof ImageError ? error.message : "cannot be opened");
  }
}

function sendWaiting() {
  if (!send || !waiting || !contract) return;
  sayBusy(`Reading ${jobName}`);
  send(waiting.id, waiting.bytes);
  waiting = null;
}

/** Say why there is no result for a file, and what is shown still. */
function refuse(reason) {
  if (contract) sayDone(result ? summarize() : READY);
  sayError(`${jobName} ${reason}.`);
}

// Answers of the worker

function receive(message) {
  if (message.kind === "download") {
    if (broken) return; // the other files are still on their way
    const { loaded, total } = message;
    const next = waiting ? `; then comes ${jobName}` : "";
    sayBusy(`Loading the model, ${(total / 1e6).toFixed(0)} MB${next}`, loaded / total);
  } else if (message.kind === "ready") {
    contract = message.contract;
    sayDone(READY);
    sendWaiting();
  } else if (message.kind === "failed") {
    broken = `The model can't be loaded: ${message.reason}.`;
    sayDone("The model is not there.");
    sayError(broken);
  } else if (message.id === job) {
    receiveAnswer(message);
  }
}

function receiveAnswer(message) {
  if (message.kind === "step") {
    sayBusy(message.step);
  } else if (message.kind === "refused") {
    refuse(message.reason);
  } else if (message.kind === "done") {
    show(new Result(contract, message.outputs, message.xray, jobName));
  }
}

function show(next) {
  result = next;
  chosen = result.order.find((column) => result.isPositive(column)) ?? result.order[0];
  block = null;
  const isFirst = find("welcome").contains(document.activeElement);
  find("welcome").hidden = true;
  find("details").hidden = false;
  find("legend").hidden = false;
  for (const id of ["centre", "width", "closer", "farther", "fit"]) {
    find(id).disabled = false;
  }
  viewer.setXray(result.xray, result.field);
  resetWindow();
  choose(chosen);
  if (isFirst) focusOnChosen(find("findings")); // what had the focus is hidden now
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
  redraw(find("findings"), (list) => showFindings(list, result, chosen, choose));
  find("findings-note").textContent =
    "A tick marks the threshold from which a finding is called.";
  showThreshold();
  chooseBlock(block);
}

function chooseBlock(next) {
  block = next;
  redraw(find("blocks"), (place) =>
    showBlocks(place, result, chosen, block, chooseBlock),
  );
  showMap();
}

/** Draw a group of radio buttons anew; where it had the focus, it keeps it. */
function redraw(group, draw) {
  const isFocused = group.contains(document.activeElement);
  draw(group);
  if (isFocused) focusOnChosen(group);
}

function focusOnChosen(group) {
  group.querySelector(":checked")?.focus({ preventScroll: true });
}

function showMap() {
  const opacity = Number(find("opacity").value) / 100;
  const above = find("above").checked ? result.thresholds[chosen] : 0;
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

function showThreshold() {
  const threshold = result.thresholds[chosen];
  const text = threshold.toFixed(2);
  find("threshold").value = Math.round(100 * threshold);
  find("threshold-value").textContent = text;
  find("threshold").setAttribute("aria-valuetext", text);
  find("own").disabled = result.isAtOwnThreshold(chosen);
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
    target.setAttribute("aria-valuetext", `${target.value}%`);
    showMap();
  };
  find("threshold").oninput = ({ target }) => setThreshold(target.value / 100);
  find("own").onclick = () => {
    find("threshold").focus(); // the button has nothing more to do
    setThreshold(contract.shown_threshold);
  };
  find("above").onchange = showMap;
  find("save-png").onclick = () =>
    savePicture(viewer.toPicture(), result.name, contract.pathologies[chosen]).catch(
      (error) => sayError(`The picture can't be saved: ${error.message}.`),
    );
  find("save-json").onclick = () => saveNumbers(result.toDict(), result.name);
}

function setThreshold(threshold) {
  result.thresholds[chosen] = threshold;
  showThreshold();
  showMap();
}

connect();
paintLegend(find("scale"));
await keepOffline(BASE, () => sayNews(NEWER));
send = startWorker(BASE, receive);
// Without the site's list there is no model either, as the worker says.
await showExamples(find("examples"), BASE, openExample).catch(() => {});
