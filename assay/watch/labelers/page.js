// Keys for the buttons of the page: 1, 2, = (and t, 0, for keyboards without =), u to undo. One answer a page view.
"use strict";
const keys = { "1": "1", "2": "2", "=": "=", "t": "=", "0": "=", "ArrowLeft": "1", "ArrowRight": "2" };
let sent = false;
document.addEventListener("submit", (event) => { if (sent) event.preventDefault(); sent = true; });
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || sent) return;
  const button = event.key === "u" ? document.getElementById("undo")
    : keys[event.key] ? document.querySelector(`button[data-key="${keys[event.key]}"]`) : null;
  if (button) { event.preventDefault(); button.click(); }
});
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
