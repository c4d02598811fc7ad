// The map of every block beside the fused one, with what each weighs.

import { paintMap } from "./layers.js";
import { make, toPercent } from "./elements.js";

/**
 * Show the maps of one pathology.
 *
 * @param {HTMLFieldSetElement} place
 * @param {import("../result.js").Result} result
 * @param {number} column of the pathology.
 * @param {number | null} chosen block, null for the fused map.
 * @param {(block: number | null) => void} choose
 */
export function showBlocks(place, result, column, chosen, choose) {
  const { blocks, image_size: size, relevance_weights: weights } = result.contract;
  const shares = result.shares(column);
  const fused = { values: result.heatmap(column), size };
  const tiles = blocks.map((block, row) => {
    const map = result.blockMap(block, column);
    const facts = [
      ["Weight", weights[row][column].toFixed(2)],
      ["Share", toPercent(shares[row])],
    ];
    return makeTile(`Block ${block}`, map, facts, chosen === block, () => choose(block));
  });
  const own = makeTile("Fused", fused, [], chosen === null, () => choose(null));
  place.replaceChildren(place.querySelector("legend"), ...tiles, own);
}

function makeTile(name, map, facts, checked, choose) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  paintMap(canvas, map);
  const size = `${map.size[0]}×${map.size[1]}`;
  const rows = facts.flatMap(([term, value]) => [
    make("dt", {}, [term]),
    make("dd", {}, [value]),
  ]);
  const input = make("input", {
    type: "radio", name: "block", checked, onchange: choose, "aria-label":
      [name, `size ${size}`, ...facts.map(([term, value]) => `${term} ${value}`)].join(", "),
  }); // prettier-ignore
  return make("div", { class: "block" }, [
    input,
    canvas,
    make("strong", {}, [name]),
    make("span", {}, [size]),
    make("dl", {}, rows),
  ]);
}
