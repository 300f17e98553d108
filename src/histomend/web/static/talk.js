// Asks the server, and says what it answers.

/** Ask for JSON; an error of the server becomes an Error with its words. */
export async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const raw = typeof body === "string";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer. Was it ended? Start it again by the same command, and open the address that it prints.");
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.error || `The server answered ${answer.status}.`);
  return found;
}

let timer = 0;

/** Say something at the bottom of the page, and to screen readers. */
export function say(text, kind = "") {
  const place = document.getElementById("said");
  place.textContent = text;
  place.className = kind;
  clearTimeout(timer);
  timer = setTimeout(() => (place.textContent = ""), kind === "error" ? 12000 : 5000);
}

/** Run something, and say its error. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message, "error");
    return undefined;
  }
}

/** Make an element: el("p", {class: "quiet"}, "text", child). Text is never markup. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** Write a number as people do. */
export const digits = (value) => DIGITS.format(value);

/** Write an area: in pixels, or in the unit that suits it. */
export function area(change) {
  const um2 = change.area_um2;
  if (um2 === null || um2 === undefined) return `${change.area_px.toLocaleString("en")} px`;
  return um2 >= 1e5 ? `${digits(um2 / 1e6)} mm²` : `${digits(um2)} µm²`;
}
