"use strict";
(() => {
  const data = JSON.parse(document.getElementById("figures").textContent);
  const NONE = "–", BLANK = "\u00a0";
  // What lies exactly between two figures goes to the even one, as in the figures that stand here without this script.
  const fixed = (value, digits) => {
    const exact = value.toFixed(80), end = exact.indexOf(".") + 1 + digits;
    const down = exact.slice(0, digits ? end : end - 1);
    return /^50*$/.test(exact.slice(end)) && Number(down.at(-1)) % 2 === 0 ? down : value.toFixed(digits);
  };
  const grouped = (value, digits = 0) =>
    fixed(value, digits).replace(/^(-?\d+)/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
  const words = {
    count: (value) => grouped(value),
    share: (value) => {
      const part = value * 100;
      if (part > 0 && part < 0.05) return "<" + BLANK + "0.1" + BLANK + "%";
      if (part >= 99.95 && part < 100) return ">" + BLANK + "99.9" + BLANK + "%";
      return fixed(part, 1) + BLANK + "%";
    },
    usd: (value) => {
      const size = Math.abs(value), sign = value < 0 ? "−" : "";
      if (size === 0) return "$0";
      if (size >= 1000) return sign + "$" + grouped(size);
      if (size >= 0.0995) return sign + "$" + fixed(size, 2);
      return size >= 0.00005 ? sign + "$" + fixed(size, 4) : "<" + BLANK + "$0.0001";
    },
  };

  const move = (slider) => {
    const key = slider.dataset.key, group = data.groups[key], place = Number(slider.value);
    const cap = group.cap_tokens[place];
    const said = words.count(cap) + BLANK + "tokens";
    document.getElementById("cap-" + key).textContent = said;
    slider.setAttribute("aria-valuetext", said);
    for (const [name, kind] of Object.entries(data.kinds)) {
      const value = group[name][place];
      document.querySelector(`[data-figure="${key}-${name}"]`).textContent = value === null ? NONE : words[kind](value);
    }
    const shares = document.querySelector(`[data-shares="${key}"]`);
    shares.querySelector('[data-part="most"]').setAttribute("width", String(1000 * (group.at_most_share[place] || 0)));
    shares.querySelector('[data-part="certain"]').setAttribute("width", String(1000 * (group.certain_share[place] || 0)));
    for (const marker of document.querySelectorAll(`[data-marker="${key}"]`)) {
      const { start, end, low, high } = marker.dataset;
      const part = Math.log(cap / low) / Math.log(high / low);
      const x = Number(start) + Math.min(Math.max(part, 0), 1) * (end - start);
      marker.setAttribute("x1", String(x));
      marker.setAttribute("x2", String(x));
    }
  };
  for (const slider of document.querySelectorAll("input[data-key]")) {
    slider.addEventListener("input", () => move(slider));
    move(slider);
  }

  const sort = (title) => {
    const body = title.closest("table").tBodies[0], column = title.cellIndex;
    const down = title.getAttribute("aria-sort") !== "descending";
    for (const other of title.parentNode.children) other.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column], number = cell.dataset.value;
      return number === undefined ? (title.classList.contains("number") ? null : cell.textContent) : Number(number);
    };
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last
      const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
      return down ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const title of document.querySelectorAll("thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    button.addEventListener("click", () => sort(title));
    title.append(button);
  }

  // A link to a list opens it.
  const open = () => {
    const at = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (at && at.tagName === "DETAILS") at.open = true;
  };
  addEventListener("hashchange", open);
  open();
})();
