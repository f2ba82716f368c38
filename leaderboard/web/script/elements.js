// Building the page. Data enter it as text and attributes only, never as markup.

const byId = (id) => document.getElementById(id);

// make("td", {className: "n", onclick: f, "aria-label": "x"}, "text", element, ...)
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(
    ...options.map(([value, text, group]) =>
      make("option", { value, textContent: text, selected: value === chosen, disabled: group === "off" }),
    ),
  );
}

const entryOptions = () =>
  entries.map((entry, place) => [String(place), entry.name + (isPublished(entry) ? " (published)" : "")]);

const badge = (text, kind) => make("span", { className: `badge ${kind}`, textContent: text });

const entryLink = (entry) => make("a", { href: `#/entry/${encodeURIComponent(entry.name)}`, textContent: entry.name });

function remember(key, value) {
  // Some browsers forbid storage to pages from a file.
  try {
    localStorage.setItem(`vlagen-${key}`, value);
  } catch {
    /* then it is forgotten */
  }
}

function recall(key) {
  try {
    return localStorage.getItem(`vlagen-${key}`);
  } catch {
    return null;
  }
}
