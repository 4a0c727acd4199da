// A part of a page that is loaded again keeps what its reader had, of whatever has an id: <details>
// that were open, tables that were scrolled, the focus. It is not read aloud again: only its
// `data-said` is, once it has changed.
"use strict";

(() => {
  let before;

  document.addEventListener("htmx:beforeSwap", ({ detail: { target } }) => {
    const named = [...target.querySelectorAll("[id]")];
    before = {
      open: named.filter((one) => one.open).map(({ id }) => id),
      scrolled: named.filter((one) => one.scrollTop || one.scrollLeft).map(({ id, scrollTop, scrollLeft }) => [id, scrollLeft, scrollTop]),
      focused: target.contains(document.activeElement) ? document.activeElement.id : "",
      said: said(target),
    };
  });

  document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => {
    for (const id of before.open) {
      document.getElementById(id)?.setAttribute("open", "");
    }
    for (const [id, left, top] of before.scrolled) {
      document.getElementById(id)?.scrollTo(left, top);
    }
    // htmx gives the focus back too, but not to what stood in <details> that are closed at first.
    if (before.focused && document.activeElement?.id !== before.focused) {
      document.getElementById(before.focused)?.focus({ preventScroll: true });
    }
    if (said(target) !== before.said) {
      document.getElementById("said").textContent = said(target);
    }
  });

  function said(part) {
    return part.querySelector("[data-said]")?.dataset.said ?? "";
  }
})();
