// Probabilities as bars, the highest first; one of them is chosen.

import { draw, make, toPercent, toWords } from "./elements.js";

/**
 * Show a result.
 *
 * @param {HTMLFieldSetElement} list
 * @param {import("../result.js").Result} result
 * @param {number} chosen column.
 * @param {(column: number) => void} choose
 */
export function showFindings(list, result, chosen, choose) {
  const legend = list.querySelector("legend");
  const rows = result.order.map((column) => makeRow(result, column, chosen, choose));
  list.replaceChildren(legend, ...rows);
}

function makeRow(result, column, chosen, choose) {
  const { pathologies, probability_thresholds: thresholds } = result.contract;
  const called = result.isPositive(column);
  const [probability, threshold] = [result.probabilities[column], thresholds[column]];
  const input = make("input", {
    type: "radio", name: "finding", value: pathologies[column],
    checked: column === chosen, onchange: () => choose(column),
  }); // prettier-ignore
  const text = describe(called, threshold);
  return make("label", { class: called ? "finding called" : "finding", title: text }, [
    input,
    make("span", {}, [toWords(pathologies[column])]),
    makeBar(probability, threshold),
    make("span", { class: "percent" }, [toPercent(probability)]),
    make("span", { class: "unseen" }, [text]),
  ]);
}

function describe(called, threshold) {
  if (threshold === null) return "Never called: no threshold is better than chance";
  return `${called ? "Called" : "Not called"}: its threshold is ${toPercent(threshold)}`;
}

function makeBar(probability, threshold) {
  const parts = [
    draw("rect", { class: "track", width: 100, height: 6, y: 1, rx: 0.8 }),
    draw("rect", { class: "value", width: 100 * probability, height: 6, y: 1, rx: 0.8 }),
  ];
  if (threshold !== null) {
    const x = 100 * threshold;
    parts.push(draw("line", { class: "tick", x1: x, x2: x, y1: 0, y2: 8 }));
  }
  const frame = { viewBox: "0 0 100 8", preserveAspectRatio: "none" };
  return draw("svg", { class: "bar", "aria-hidden": "true", ...frame }, parts);
}
