addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelectorAll(".enlarge:checked").forEach((box) => { box.checked = false; });
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("details:not(.files, .gate)").forEach((each) => { each.open = true; });
});
(() => {
  const told = document.getElementById("over-time-data");
  if (!told) return;
  const cells = JSON.parse(told.textContent);
  const [section, choice, holder] = ["over-time", "over-time-cell", "over-time-chart"].map((id) => document.getElementById(id));
  const colours = ["#0173b2", "#de8f05", "#029e73", "#cc78bc", "#ca9161", "#949494"]; // seaborn's, for the colour-blind
  const dashes = { "memory": [], "clean in tmem": [6, 3], "swapped to tmem": [2, 2] };
  const size = () => ({ width: holder.clientWidth, height: Math.max(240, Math.min(420, holder.clientWidth / 2)) });
  let chart = null;
  const draw = () => {
    const cell = cells[choice.selectedIndex];
    const guests = [...new Set(cell.lines.map((line) => line.guest))];
    const shown = (unit) => (_, value) => value === null || value === undefined ? "–" : `${value} ${unit}`;
    if (chart) chart.destroy();
    chart = new uPlot({
      ...size(),
      scales: { x: { time: false } },
      axes: [{ label: "time since the release [s]" }, { label: "MiB" }],
      series: [
        { label: "time", value: shown("s") },
        ...cell.lines.map((line) => ({
          label: `${line.guest}, ${line.what}`, value: shown("MiB"), spanGaps: true, width: 1.5, points: { show: false },
          stroke: colours[guests.indexOf(line.guest) % colours.length], dash: dashes[line.what],
        })),
      ],
    }, [cell.times, ...cell.lines.map((line) => line.mib)], holder);
  };
  for (const cell of cells) choice.append(new Option(cell.cell));
  section.hidden = false;
  draw();
  choice.addEventListener("change", draw);
  addEventListener("resize", () => chart.setSize(size()));
})();
