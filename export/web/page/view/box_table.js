// Boxes as text.

import { make, toWords } from "./elements.js";

/**
 * Show the boxes of one pathology.
 *
 * @param {HTMLTableElement} table
 * @param {HTMLElement} note
 * @param {import("../result.js").Result} result
 * @param {number} chosen column.
 */
export function showBoxes(table, note, result, chosen) {
  const boxes = result.boxes(chosen);
  const spacing = result.xray.spacing;
  const heads = ["Left", "Top", "Width", "Height", "Score"];
  if (spacing) heads.splice(4, 0, "In mm");
  const head = heads.map((text) => make("th", { scope: "col" }, [text]));
  const rows = boxes.map((box) => makeRow(box, spacing));
  table.replaceChildren(
    ...(boxes.length
      ? [make("thead", {}, [make("tr", {}, head)]), make("tbody", {}, rows)]
      : []),
  );
  note.textContent = describe(result, chosen, boxes.length);
}

function describe(result, chosen, count) {
  const { contract } = result;
  const name = contract.pathologies[chosen];
  const [least, most] = [contract.shown_min_area, contract.shown_max_area].map(
    (area) => `${Number((100 * area).toPrecision(3))}%`,
  );
  if (!result.isPositive(chosen)) {
    return `${toWords(name)} is below its threshold: it is not called and has no box.`;
  }
  if (!count) {
    return (
      `No box: above this threshold, the map of ${toWords(name)} points nowhere. Each ` +
      `region covers less than ${least} of it, or a box would cover more than ${most}.`
    );
  }
  const [height, width] = result.xray.size;
  return (
    `In pixels of the image, ${width}×${height}: ${contract.shown_max_boxes} at most, ` +
    `none in another, and none of a region under ${least} of the map.`
  );
}

function makeRow({ xyxy: [left, top, right, bottom], score }, spacing) {
  const [width, height] = [right - left, bottom - top];
  const cells = [left, top, width, height].map((value) => String(Math.round(value)));
  if (spacing) {
    const sides = [width * spacing[1], height * spacing[0]];
    cells.push(sides.map((side) => Math.round(side)).join("×"));
  }
  cells.push(score.toFixed(2));
  return make("tr", {}, cells.map((text) => make("td", {}, [text])));
}
