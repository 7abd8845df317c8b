// The API's document: what Swagger UI writes that a screen reader stumbles over is put right, each time it writes.

import { $ } from "./dom.js";

const place = $("swagger-ui");
let isDue = false;

/** @param {string} selector @param {Record<string, string>} attributes */
function set(selector, attributes) {
  for (const element of place.querySelectorAll(selector)) {
    for (const [name, value] of Object.entries(attributes)) {
      if (element.getAttribute(name) !== value) element.setAttribute(name, value);
    }
  }
}

function mend() {
  isDue = false;
  set("h3.opblock-tag, section.models > h4", { role: "heading", "aria-level": "2" }); // below the first heading
  set(".information-container", { role: "region", "aria-label": "About" });
  set(".scheme-container", { role: "region", "aria-label": "Server and authorization" });
  set("#servers", { "aria-label": "Server" });
  // A link in a button: the button opens the operation and writes its address, as the link does.
  for (const link of place.querySelectorAll("button a[href]")) link.removeAttribute("href");
}

new MutationObserver(() => {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(mend);
}).observe(place, { attributes: true, attributeFilter: ["href"], childList: true, subtree: true });
