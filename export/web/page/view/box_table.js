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
  const { pathologies, shown_min_area: area, shown_max_boxes: most } = result.contract;
  const name = pathologies[chosen];
  const least = `${Number((100 * area).toPrecision(2))}% of the map`;
  if (!result.isPositive(chosen)) {
    return `${toWords(name)} is below its threshold: it is not called and has no box.`;
  }
  if (!count) {
    return `No region of ${toWords(name)} above this threshold covers ${least}.`;
  }
  const [height, width] = result.xray.size;
  return (
    `In pixels of the image, ${width}×${height}. Smaller regions than ${least} have no ` +
    `box, and ${most} at most have one.`
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
