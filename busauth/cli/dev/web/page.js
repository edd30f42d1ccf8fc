"use strict";
// What comes from the bus is a sender's word: it is shown as text, never as markup.
const LOOK_MS = 1000;
const MOST_ROWS = 1000;
const find = (id) => document.getElementById(id);
let last = 0;
let token = ""; // in this page's memory alone

async function asked(path, options) {
  const answer = await fetch(path, {cache: "no-store", ...options});
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail || said.error_description || said.title || answer.statusText);
  return said;
}

function cell(row, name, text) {
  const made = row.insertCell();
  made.className = name;
  made.textContent = text;
  return made;
}

function show(told) {
  const row = find("rows").insertRow(0); // the latest first: nobody has to scroll for it
  row.className = told.tone;
  const at = new Date(told.at * 1000);
  cell(row, "time", at.toLocaleTimeString([], {hour12: false}) + "." + Math.floor(at.getMilliseconds() / 100));
  if (!told.message) {
    cell(row, "what", told.what).colSpan = 5;
    return;
  }
  for (const name of ["message", "what", "queue", "who", "why"]) cell(row, name, told[name]);
}

async function look() {
  try {
    const said = await asked(`/timeline?after=${last}`);
    find("bus").textContent = said.bus || "The bus has not been imported yet: the terminal says why.";
    for (const told of said.rows) {
      last = told.number;
      show(told);
    }
    find("nothing").hidden = last > 0;
    while (find("rows").rows.length > MOST_ROWS) find("rows").deleteRow(-1);
  } catch {
    find("bus").textContent = "busauth dev does not answer: has it ended?";
  }
  setTimeout(look, LOOK_MS);
}

function tell(words) {
  find("said").textContent = words;
}

find("mint").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = new FormData(event.target);
  try {
    const wanted = {
      subject: given.get("subject"),
      scope: given.get("scope"),
      lifetime: Number(given.get("lifetime")),
      claims: JSON.parse(given.get("claims") || "{}"),
    };
    const headers = {"Content-Type": "application/json"};
    const minted = await asked("/mint", {method: "POST", headers, body: JSON.stringify(wanted)});
    token = minted.access_token;
    find("token").value = token;
    find("token-label").hidden = find("publish").hidden = false;
    tell(`A token of ${wanted.subject}'s for ${wanted.lifetime} s.`);
  } catch (error) {
    tell(error.message);
  }
});

find("publish").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = new FormData(event.target);
  const path = "/publish/" + encodeURIComponent(given.get("queue"));
  try {
    const headers = {"Authorization": `Bearer ${token}`};
    const said = await asked(path, {method: "POST", headers, body: given.get("body")});
    tell(`Published ${said.message.slice(0, 6)} to ${said.published}.`);
  } catch (error) {
    tell(error.message);
  }
});

look();
