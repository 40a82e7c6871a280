/* Light, dark, or as the system has it. Not a module: it runs before the first paint. */
(() => {
  const kept = localStorage.getItem("theme");
  if (kept) document.documentElement.dataset.theme = kept;
})();
