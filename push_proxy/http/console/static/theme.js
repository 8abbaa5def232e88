// Before the first paint, so that nothing flashes: the colour scheme that was chosen here.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("push-proxy.theme");
  } catch {
    // Storage is forbidden: the system's scheme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
