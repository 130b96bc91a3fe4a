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
  const bars = [...document.querySelectorAll("[data-bar]")];

  const written = (share) => (share > 0 && share < 0.5 ? "<1%" : `${Math.round(share)}%`);

  // Those that are called most come first; the last bar may stand for all others.
  const fill = (shares) => {
    const order = [...data.models].sort((a, b) => shares[b[0]] - shares[a[0]]);
    let rest = 100;
    for (const [at, bar] of bars.entries()) {
      const others = bars.length < order.length && at === bars.length - 1;
      const [model, name, color] = order[at];
      const share = others ? Math.max(Math.round(rest * 10) / 10, 0) : shares[model];
      if (!others) {
        bar.dataset.bar = model;
        bar.querySelector(".name").textContent = name;
        bar.querySelector(".fill").style.background = color;
      }
      bar.querySelector(".fill").style.width = `${share}%`;
      bar.querySelector(".share").textContent = written(share);
      rest -= share;
    }
  };

  const show = () => {
    const at = Number(slider.value);
    const now = data.readouts[at];
    for (const [key, text] of Object.entries(now)) place(`now-${key}`).textContent = text;
    slider.setAttribute("aria-valuetext",
      `Budget ${now.budget} ${data.per}: spends ${now.cost}, quality ${now.quality}`);
    fill(data.shares[at]);
    const [x, y] = data.curve[at];
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    line.setAttribute("x1", data.line.x[at]);
    line.setAttribute("x2", data.line.x[at]);
    place("copied").textContent = "";
  };

  // Frames and old browsers may not let a page write to the clipboard by itself.
  const copy = async () => {
    const call = place("now-call");
    try {
      await navigator.clipboard.writeText(call.textContent);
    } catch {
      getSelection().selectAllChildren(call);
      if (!document.execCommand("copy")) {
        place("copied").textContent = "Selected: copy it with your keyboard.";
        return;
      }
    }
    place("copied").textContent = "Copied.";
  };

  slider.disabled = false;
  slider.addEventListener("input", show);
  place("copy").hidden = false;
  place("copy").addEventListener("click", copy);
  show();
})();
