// A part of a page that is loaded again keeps what its reader opened: <details> with an id.
"use strict";

(() => {
  const open = new Set();

  document.addEventListener("htmx:beforeSwap", (event) => {
    open.clear();
    event.detail.target.querySelectorAll("details[id][open]").forEach(({ id }) => open.add(id));
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of open) {
      document.getElementById(id)?.setAttribute("open", "");
    }
  });
})();
