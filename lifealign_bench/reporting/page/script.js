"use strict";
(() => {
  const make = (name, kind, text) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Theme: as the system says, or one of the two.
  const themes = { "": "as the system", light: "light", dark: "dark" };
  const theme = document.getElementById("theme");
  const wear = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    theme.textContent = "Theme: " + themes[name];
  };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const names = Object.keys(themes);
    wear(names[(names.indexOf(document.documentElement.dataset.theme || "") + 1) % names.length]);
  });

  // A link into a folded part opens it.
  const unfold = () => {
    let node = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1).split("?")[0])) : null;
    const target = node;
    for (; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  const later = (work) => {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, 80);
    };
  };

  const narrow = matchMedia("(max-width: 720px)");
  const labelled = (text, control, kind) => {
    const label = make("label", kind);
    if (kind === "check") label.append(control, text);
    else label.append(text, control);
    return label;
  };
  const choice = (names, chosen) => {
    const select = make("select");
    select.append(...names.map(([text, value]) => new Option(text, value, false, value === chosen)));
    return select;
  };

  // Tables: a heading sorts, largest number or first word first, then the other way round; dashes stay at the end.
  // Of a long table only the first rows are shown until all are asked for: the browser lays out what is shown.
  const ROWS = 200;
  const collator = new Intl.Collator("en", { numeric: true });
  const keyOf = (cell) => (cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent);
  const isMain = (head) => head.dataset.main !== undefined;
  const isNothing = (key) => key === "—" || key === "";
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return collator.compare(a, b);
  };
  const manage = (table, controls) => {
    const body = table.tBodies[0];
    let rows = Array.from(body.rows);
    let fits = () => true;
    let all = rows.length <= 1.5 * ROWS;
    const more = make("button", "more");
    more.type = "button";
    const show = () => {
      const found = rows.filter(fits);
      const shown = all ? found : found.slice(0, ROWS);
      const part = document.createDocumentFragment();
      for (const row of shown) part.append(row);
      body.replaceChildren(part);
      more.hidden = shown.length === found.length;
      more.textContent = "Show all " + found.length + " rows (" + shown.length + " shown)";
      return found.length;
    };
    more.addEventListener("click", () => {
      all = true;
      show();
    });
    if (!all) {
      table.parentElement.after(more);
      show();
    }

    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      button.style.textAlign = head.classList.contains("w") ? "left" : "right";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = rows.some((row) => row.cells[column].dataset.v !== undefined);
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : numeric;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const keyed = rows.map((row, place) => ({ row, place, key: keyOf(row.cells[column]) }));
        const direction = down ? -1 : 1;
        keyed.sort(
          (a, b) =>
            isNothing(a.key) - isNothing(b.key) || direction * compare(a.key, b.key) || a.place - b.place,
        );
        rows = keyed.map(({ row }) => row);
        show();
      });
    });

    const search = controls && controls.querySelector("input[type=search]");
    if (!search) return;
    const picks = heads.map((head, column) => {
      const pick = make("input");
      pick.type = "checkbox";
      pick.checked = !narrow.matches || !heads.some(isMain) || isMain(head);
      const change = () => {
        for (const row of [table.tHead.rows[0], ...rows]) row.cells[column].hidden = !pick.checked;
      };
      pick.addEventListener("change", change);
      if (!pick.checked) change();
      return labelled(head.textContent, pick, "check");
    });
    const columns = make("details", "columns");
    const box = make("div");
    box.append(...picks);
    columns.append(make("summary", "", "Columns"), box);
    controls.insertBefore(columns, controls.querySelector("output"));
    const choices = Array.from(controls.querySelectorAll("select"));
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const sift = () => {
      const wanted = search.value.trim().toLowerCase();
      fits = (row) =>
        (!wanted || texts.get(row).includes(wanted)) &&
        choices.every((c) => !c.value || row.cells[c.dataset.column].textContent === c.value);
      const count = show();
      controls.querySelector("output").textContent = (count < rows.length ? count + " of " : "") + rows.length + " rows";
    };
    search.addEventListener("input", later(sift));
    for (const choice of choices) choice.addEventListener("change", sift);
  };
  for (const table of document.querySelectorAll("table.sorts")) {
    const block = table.closest(".table");
    manage(table, block && block.querySelector(".controls"));
  }

  // Generations: searched in what is shown of them. Texts of models and data go into the page as text, never as HTML.
  const PAGE = 20;
  const pattern = (words) =>
    words.trim() ? new RegExp(words.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu") : null;
  const write = (node, text, wanted) => {
    if (!wanted) {
      node.textContent = text;
      return node;
    }
    let at = 0;
    for (const found of text.matchAll(wanted)) {
      node.append(text.slice(at, found.index), make("mark", "", found[0]));
      at = found.index + found[0].length;
    }
    node.append(text.slice(at));
    return node;
  };
  const block = (title, text, wanted) => {
    const whole = make("div");
    whole.append(make("h4", "", title));
    const body = write(make("p", text ? "text" : "text none"), text || "(empty)", text ? wanted : null);
    body.dir = "auto";
    whole.append(body);
    return whole;
  };
  const textsOf = (pair, wanted) => {
    if (!(pair.prompt || pair.chosen || pair.rejected)) return [];
    const both = make("div", "both");
    both.append(block("Chosen", pair.chosen, wanted), block("Rejected", pair.rejected, wanted));
    return [block("Prompt", pair.prompt, wanted), both];
  };
  // Margin and response after one stage; of a run that has no such stage, dashes.
  const said = (pair, k, wanted) => {
    const margin = k < pair.margins.length ? pair.margins[k] : null;
    const response = k < pair.responses.length ? pair.responses[k] : null;
    const sign = margin > 0 ? " up" : margin < 0 ? " down" : "";
    const body = make("p", response ? "text" : "text none");
    body.dir = "auto";
    write(body, response || (response === null ? "not generated" : "(empty)"), response ? wanted : null);
    return [make("span", "margin" + sign, margin === null ? "—" : (margin > 0 ? "+" : "") + margin.toFixed(2)), body];
  };
  const pairOf = (pair, data, stages, wanted) => {
    const card = make("article", "pair");
    const head = make("header");
    head.append(make("b", "", pair.id), make("span", "", pair.task));
    if (pair.lost) head.append(make("span", "badge", "lost since learned"));
    card.append(head);
    card.append(...textsOf(pair, wanted), make("h4", "", "After each stage: margin, response"));
    data.stages.forEach((stage, k) => {
      if (!stages.has(k)) return;
      const line = make("div", "stage");
      line.append(make("span", "", stage.label), ...said(pair, k, wanted));
      card.append(line);
    });
    return card;
  };
  const read = {};
  const dataOf = (id) => (read[id] ??= JSON.parse(document.getElementById(id + "-data").textContent));
  const browse = (root) => {
    const data = dataOf(root.id);
    const stages = new Set(data.stages.map((_, k) => k));
    const search = make("input");
    search.type = "search";
    search.placeholder = "words in prompts and responses";
    search.autocomplete = "off";
    const task = choice([["all", ""], ...data.tasks.map((name) => [name, name])]);
    const lost = make("input");
    lost.type = "checkbox";
    const count = make("output");
    const controls = make("div", "controls");
    controls.append(labelled("Search", search), labelled("Task", task));
    if (data.pairs.some((pair) => pair.lost)) controls.append(labelled("lost since learned", lost, "check"));
    controls.append(count);
    const chips = make("fieldset", "chips");
    chips.append(make("legend", "", "Stages shown and searched"));
    data.stages.forEach((stage, k) => {
      const chip = make("button", "", stage.label);
      chip.type = "button";
      chip.setAttribute("aria-pressed", "true");
      chip.addEventListener("click", () => {
        if (!stages.delete(k)) stages.add(k);
        chip.setAttribute("aria-pressed", String(stages.has(k)));
        refresh();
      });
      chips.append(chip);
    });
    const list = make("div", "pairs");
    const more = make("button", "more");
    more.type = "button";
    let found = [];
    let shown = 0;
    let wanted = null;
    const extend = () => {
      const next = found.slice(shown, shown + PAGE);
      list.append(...next.map((pair) => pairOf(pair, data, stages, wanted)));
      shown += next.length;
      more.hidden = shown >= found.length;
      more.textContent = "Show " + Math.min(PAGE, found.length - shown) + " more (" + (found.length - shown) + " left)";
    };
    const has = (text) => text !== null && ((wanted.lastIndex = 0), wanted.test(text));
    const fits = (pair) =>
      (!task.value || pair.task === task.value) &&
      (!lost.checked || pair.lost) &&
      (!wanted ||
        [pair.id, pair.prompt, pair.chosen, pair.rejected].some(has) ||
        pair.responses.some((text, k) => stages.has(k) && has(text)));
    const refresh = () => {
      wanted = pattern(search.value);
      found = data.pairs.filter(fits);
      shown = 0;
      list.replaceChildren();
      count.textContent = found.length + " of " + data.pairs.length + " pairs";
      if (!found.length) list.append(make("p", "none", "No pair fits."));
      extend();
    };
    more.addEventListener("click", extend);
    search.addEventListener("input", later(refresh));
    task.addEventListener("change", refresh);
    lost.addEventListener("change", refresh);
    root.append(controls, chips, list, more);
    refresh();
  };
  // Those in folded parts when they are opened: a page of several runs opens as quickly as one of one.
  for (const root of document.querySelectorAll(".browser")) {
    const folded = root.closest("details.section");
    if (!folded || folded.open) browse(root);
    else folded.addEventListener("toggle", () => browse(root), { once: true });
  }

  // Two runs' responses to one prompt. What is chosen is in the page's address, which leads to the very same view.
  const compareSides = (root) => {
    const runs = JSON.parse(root.dataset.runs).map(([title, id]) => ({ title, id }));
    const names = runs.map((run, i) => [run.title, String(i)]);
    const sides = [0, 1].map((i) => choice(names, String(i)));
    const pairs = make("select");
    const step = (by, text) => {
      const button = make("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => {
        pairs.selectedIndex = Math.min(Math.max(pairs.selectedIndex + by, 0), pairs.length - 1);
        show();
      });
      return button;
    };
    const link = make("a", "", "Link to this view");
    const controls = make("div", "controls");
    controls.append(labelled("Left", sides[0]), labelled("Right", sides[1]), labelled("Prompt", pairs));
    controls.append(step(-1, "‹ previous"), step(1, "next ›"), link);
    const card = make("article", "pair");
    root.append(controls, card);
    const chosen = () => sides.map((side) => runs[side.value] || runs[0]);
    const fill = (wanted) => {
      const [left, right] = chosen().map((run) => new Set(dataOf(run.id).pairs.map((pair) => pair.id)));
      const both = [...left].filter((id) => right.has(id));
      pairs.replaceChildren(...both.map((id) => new Option(id, id, false, id === wanted)));
      show();
    };
    const show = () => {
      const shown = chosen().map(({ title, id }) => {
        const data = dataOf(id);
        return { title, stages: data.stages, pair: data.pairs.find((pair) => pair.id === pairs.value) };
      });
      if (!shown[0].pair) return card.replaceChildren(make("p", "none", "No prompt of both is in this page."));
      const [left, right] = shown.map(({ pair }) => pair);
      link.href = "#" + root.id + "?" + new URLSearchParams({ left: sides[0].value, right: sides[1].value, pair: left.id });
      const head = make("div", "stage two");
      head.append(make("span", "", "after stage"), ...shown.flatMap(({ title }) => [make("span"), make("b", "text", title)]));
      const count = Math.max(left.responses.length, right.responses.length);
      const lines = Array.from({ length: count }, (_, k) => {
        const labels = new Set(shown.filter(({ stages }) => stages[k]).map(({ stages }) => stages[k].label));
        const line = make("div", "stage two");
        line.append(make("span", "", [...labels].join(" / ")), ...said(left, k, null), ...said(right, k, null));
        return line;
      });
      return card.replaceChildren(...textsOf(left, null), head, ...lines);
    };
    for (const side of sides) side.addEventListener("change", () => fill(pairs.value));
    pairs.addEventListener("change", show);
    const follow = () => {
      if (!location.hash.startsWith("#" + root.id + "?")) return false;
      const asked = new URLSearchParams(location.hash.split("?")[1]);
      ["left", "right"].forEach((side, i) => (sides[i].value = asked.get(side)));
      fill(asked.get("pair"));
      return true;
    };
    addEventListener("hashchange", follow);
    if (!follow()) fill();
  };
  for (const root of document.querySelectorAll(".sides")) compareSides(root);
})();
