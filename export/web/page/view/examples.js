// Chests to try the page on, drawn when the site was built.

import { reach } from "../download.js";
import { make } from "./elements.js";

/**
 * Show a button for each.
 *
 * @param {HTMLElement} place
 * @param {URL} base of the site.
 * @param {(example: {file: string, title: string}) => void} open
 */
export async function showExamples(place, base, open) {
  const { examples } = await (await reach(new URL("site.json", base))).json();
  const buttons = examples.map((example) => {
    const { thumbnail: src, title } = example;
    const onclick = () => open(example);
    return make("button", { type: "button", title, onclick }, [
      make("img", { src, alt: title }),
    ]);
  });
  place.replaceChildren(...buttons);
}
