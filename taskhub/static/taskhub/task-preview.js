// Preview of a kept file, in a dialog: text, Markdown as the service has rendered it, or an image.

import { textOf } from "./ansi.js";
import { call, file, Refused } from "./api.js";
import { $, element } from "./dom.js";
import { closable } from "./forms.js";
import { fileSize } from "./format.js";
import { showMarkdown } from "./markdown.js";

/** @import { Artifact, ArtifactPreview } from "schemas" */

export class FilePreview {
  #dialog = closable($("file-dialog", HTMLDialogElement));
  #place = $("file-shown");

  /**
   * @param {Artifact} artifact
   * @throws {Refused}
   */
  async open({ path, size, url }) {
    /** @type {ArtifactPreview} */
    const preview = await call("GET", `${url}/preview/`);
    const { place, note } = await shownOf(preview, url);
    $("file-title").textContent = path;
    $("file-note").textContent = [fileSize(size), note].filter(Boolean).join(". ");
    this.#place.hidden = !place;
    this.#place.replaceChildren(...(place ? [place] : []));
    this.#dialog.showModal();
    this.#place.scrollTop = 0;
  }
}

/**
 * @param {ArtifactPreview} preview
 * @param {string} url - Of the file.
 * @returns {Promise<{ place?: HTMLElement, note: string }>}
 * @throws {Refused}
 */
async function shownOf({ kind, text, html, media_type: type, is_cut: isCut, path }, url) {
  if (kind === "none") return { note: "There is no preview of this file: download it." };
  if (kind === "image") return { place: await picture(await file(url), type, path), note: "" };
  if (!text) return { note: "The file is empty." };
  const place = element("div", "", kind === "markdown" && html !== null ? "markdown" : "markdown plain");
  if (html === null) place.textContent = text.split("\n").map(textOf).join("\n");
  else showMarkdown(place, text, html);
  return { place, note: isCut ? "Only its beginning is shown." : "" };
}

/**
 * A data URL: the policy of the pages allows no others that a script has made. A picture in SVG runs no scripts and
 * loads nothing in an `<img>`.
 *
 * @param {Blob} content
 * @param {string} type
 * @param {string} path
 * @throws {Refused}
 */
async function picture(content, type, path) {
  const image = element("img");
  image.alt = path;
  image.src = await dataUrl(new Blob([content], { type }));
  try {
    await image.decode();
  } catch {
    throw new Refused(`${path} is damaged, or this browser cannot show it: download it.`);
  }
  return image;
}

/**
 * @param {Blob} content
 * @returns {Promise<string>}
 */
function dataUrl(content) {
  const reader = new FileReader();
  return new Promise((resolve, reject) => {
    reader.addEventListener("load", () => resolve(/** @type {string} */ (reader.result)));
    reader.addEventListener("error", () => reject(new Refused("The file could not be read.")));
    reader.readAsDataURL(content);
  });
}
