(() => {
  const cells = JSON.parse(document.getElementById("over-time-data").textContent);
  const [section, choice, holder] = ["over-time", "over-time-cell", "over-time-chart"].map((id) => document.getElementById(id));
  const colours = ["#0173b2", "#de8f05", "#029e73", "#cc78bc", "#ca9161", "#949494", "#ece133", "#56b4e9"]; // seaborn's, for the colour-blind
  const dashes = { "memory": "solid", "tmem clean": "dash", "tmem swap": "dot", "clean hits": "dash", "swap hits": "dot" };
  const mib = (pages) => pages === null ? null : pages / 256;
  const hidden = new Set();
  const name = (line) => `${line.guest} ${line.what}`;
  const traces = (cell) => {
    const guests = [...new Set(cell.lines.map((line) => line.guest))];
    return cell.lines.map((line) => ({
      type: "scatter", mode: "lines+markers", name: name(line), x: line.times,
      y: line.panel === "memory" ? line.pages.map(mib) : line.pages, yaxis: line.panel === "memory" ? "y" : "y2",
      hovertemplate: line.panel === "memory" ? "%{y:,.1f} MiB" : "%{y:,} pages", marker: { size: 4 },
      line: { width: 1.5, dash: dashes[line.what], color: colours[guests.indexOf(line.guest) % colours.length] },
      visible: hidden.has(name(line)) ? "legendonly" : true,
    }));
  };
  const layout = (cell) => {
    const left = 64, right = 4, top = 8;
    const inside = holder.clientWidth - left - right, narrow = inside < 420;
    const entry = narrow ? inside / 2 : 176; // of the legend: a text beside 46 pixels of line
    const hits = cell.lines.some((line) => line.panel === "hits");
    const across = Math.max(1, Math.floor(inside / entry));
    const bottom = 52 + 21 * Math.ceil(cell.lines.length / across);
    const said = (text) => ({ text, standoff: 6, font: { size: 13 } });
    const axis = { rangemode: "tozero", zeroline: false, gridcolor: "#d9d9d9", automargin: false, tickformat: "~s" };
    return {
      width: holder.clientWidth, height: top + (hits ? 440 : 260) + bottom,
      margin: { l: left, r: right, t: top, b: bottom, autoexpand: false },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "#222" },
      paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "x unified", hoverdistance: -1, hoversubplots: "axis",
      hoverlabel: { font: { size: 11 }, namelength: -1 }, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      grid: hits ? { rows: 2, columns: 1, subplots: [["xy"], ["xy2"]], roworder: "top to bottom" } : undefined,
      xaxis: {
        title: said("time since the release [s]"), gridcolor: "#d9d9d9", zerolinecolor: "#666", hoverformat: ",.1f",
        anchor: hits ? "y2" : "y", unifiedhovertitle: { text: `${cell.cell}, %{x} s` },
      },
      yaxis: { ...axis, tickformat: "", title: said("memory [MiB]"), domain: hits ? [0.45, 1] : [0, 1] },
      ...(hits ? { yaxis2: { ...axis, title: said("hits so far [pages]"), domain: [0, 0.38] } } : {}),
      legend: {
        orientation: "h", x: 0, xanchor: "left", xref: "container", y: 0, yanchor: "bottom", yref: "container",
        entrywidth: entry - 48, entrywidthmode: "pixels", font: { size: narrow ? 10 : 12 },
      },
    };
  };
  const cell = () => cells[choice.selectedIndex];
  const draw = () => Plotly.react(holder, traces(cell()), layout(cell()), { displayModeBar: false, doubleClick: "reset" });
  for (const each of cells) choice.append(new Option(each.cell));
  section.hidden = false;
  draw();
  holder.on("plotly_restyle", () => { // a line that was hidden stays so in the next cell
    for (const line of holder.data) hidden[line.visible === "legendonly" ? "add" : "delete"](line.name);
  });
  choice.addEventListener("change", draw);
  addEventListener("resize", () => Plotly.relayout(holder, layout(cell())));
})();
