/* Applies the stored theme, and reports scripts that do not run. If one does not load, for example
   because the network has changed, the page is loaded again. Not a module, because it must run
   before the first paint and in browsers that cannot run the others. */
addEventListener("error", ({ message }) => {
  const connection = document.getElementById("connection");
  if (!connection || connection.dataset.state !== "connecting") return;
  connection.dataset.state = "down";
  const reason = message || "a script is missing, loading it again";
  connection.firstElementChild.textContent = `The page cannot run: ${reason}`;
  if (!message) setTimeout(() => location.reload(), 5000);
}, true);
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // storage is forbidden: the system's theme applies
}
