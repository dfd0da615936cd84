"use strict";
// Draws every chart to the width it is given, and again when that changes. Colours are CSS variables: a
// change of theme needs no redrawing.
(() => {
  const MINIMUM = 168;        // of a small multiple on a wide page
  const NARROW = 112;         // and on a phone
  const AXIS = 58;            // the axis at the left, its title included
  const GAP = 22;
  const WIDEST = 460;
  const PHONE = 560;
  const charts = [...document.querySelectorAll("[data-chart]")].map((place) => ({
    place,
    spec: JSON.parse(document.getElementById(place.dataset.chart).textContent),
    width: 0,
  }));

  const columnsOf = (width, axis, minimum) => Math.max(1, Math.floor((width - axis + GAP) / (minimum + GAP)));

  function fitFacet(view, panels, row, width, axis, minimum) {
    const most = columnsOf(width, axis, minimum);
    const rows = Math.ceil(panels / most);
    const columns = row && row <= most ? row : Math.ceil(panels / rows);
    const panel = Math.min(WIDEST, Math.floor((width - axis - GAP * (columns - 1)) / columns));
    view.columns = columns;
    if (panels % columns) view.resolve = { ...view.resolve, axis: { x: "independent" } };
    else if (view.resolve) delete view.resolve.axis;
    view.spec.width = panel;
    view.facet.header = { ...view.facet.header, labelLimit: panel + GAP - 6 };
    if (panel < MINIMUM) {
      // A detail too long for its panel breaks at its comma.
      const long = Math.floor((panel + GAP) / 7);
      const broken = "split(replace(datum.value, ', ', ',\\n'), '\\n')";
      const whole = "split(datum.value, '\\n')";
      view.facet.header.labelExpr = `length(datum.value) > length(${whole}[0]) + ${long} ? ${broken} : ${whole}`;
      view.facet.header.labelFontSize = 11;
    }
  }

  function fit(spec, width, axis) {
    const fitted = JSON.parse(JSON.stringify(spec));
    const minimum = Math.max(width < PHONE ? NARROW : MINIMUM, spec.usermeta.minimum);
    const views = fitted.hconcat || fitted.vconcat || [fitted];
    let share = width;
    if (fitted.hconcat) {
      share = Math.floor((width - 2 * GAP) / views.length);
      if (columnsOf(share, axis, minimum) < Math.max(...spec.usermeta.panels)) {
        fitted.vconcat = views;
        delete fitted.hconcat;
        share = width;
      }
    }
    views.forEach((view, place) => {
      if (view.facet) fitFacet(view, spec.usermeta.panels[place], spec.usermeta.row, share, axis, minimum);
      else view.width = width - axis;
    });
    fitted.config.legend = { ...fitted.config.legend, columns: Math.max(1, Math.floor((width - axis) / spec.usermeta.legend)) };
    return fitted;
  }

  async function draw(chart) {
    const width = Math.floor(chart.place.clientWidth);
    if (width === 0 || width === chart.width) return;
    chart.width = width;
    const options = { actions: false, renderer: "svg", ast: true, mode: "vega-lite", defaultStyle: false };
    let axis = Number(chart.place.dataset.axis) || AXIS;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const result = await vegaEmbed(chart.place, fit(chart.spec, width, axis), options);
      if (chart.finalize) chart.finalize();
      chart.finalize = () => result.finalize();
      const svg = chart.place.querySelector("svg");
      const over = svg.getBoundingClientRect().width - width;
      if (over <= 0) break;
      axis += Math.ceil(over) + 2; // labels were wider than thought
      chart.place.dataset.axis = axis;
    }
    chart.place.dataset.drawn = "yes";
  }

  async function drawAll() {
    for (const chart of charts) {
      try {
        await draw(chart);
      } catch (error) {
        chart.place.textContent = "This chart could not be drawn; its data are in the table below it.";
        console.error(error);
      }
    }
    document.documentElement.dataset.charts = "drawn";
  }

  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  });

  const names = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const next = names[(names.indexOf(root.dataset.theme || "auto") + 1) % names.length];
    root.dataset.theme = next;
    button.textContent = `Theme: ${next}`;
  });

  drawAll();
})();
