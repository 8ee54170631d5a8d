addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelectorAll(".enlarge:checked").forEach((box) => { box.checked = false; });
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("details:not(.files, .gate)").forEach((each) => { each.open = true; });
});
