"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const slider = document.getElementById("budget");
  const place = (id) => document.getElementById(id);
  const svg = (name, attributes, parent) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    parent.append(node);
    return node;
  };
  const dot = svg("circle", { r: 5 }, document.querySelector("#curve .marker"));
  const line = svg("line", { y1: data.line.top, y2: data.line.bottom },
    document.querySelector("#shares .marker"));
  const bars = document.querySelectorAll("[data-model]");

  const written = (share) => (share > 0 && share < 0.5 ? "<1%" : `${Math.round(share)}%`);

  const show = () => {
    const at = Number(slider.value);
    const now = data.readouts[at];
    for (const [key, text] of Object.entries(now)) place(`now-${key}`).textContent = text;
    slider.setAttribute("aria-valuetext",
      `Budget ${now.budget} ${data.per}: spends ${now.cost}, quality ${now.quality}`);
    for (const bar of bars) {
      const share = data.shares[at][Number(bar.dataset.model)];
      bar.querySelector(".fill").style.width = `${share}%`;
      bar.querySelector(".share").textContent = written(share);
    }
    const [x, y] = data.curve[at];
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    line.setAttribute("x1", data.line.x[at]);
    line.setAttribute("x2", data.line.x[at]);
  };

  slider.disabled = false;
  slider.addEventListener("input", show);
  show();
})();
