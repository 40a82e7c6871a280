/* Applies the stored theme. Not a module, because it must run before the first paint. */
(() => {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
})();
