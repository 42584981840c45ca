// Names that the user gives to clusters: kept by the browser, exported as names.csv. Next: grid.js.
"use strict";

let givenNames; // cluster number, as text -> name

function readNames() {
  givenNames = { ...overview.names };
  try {
    Object.assign(givenNames, JSON.parse(remembered(`deepcluster/${overview.key}/names`) || "{}"));
  } catch {
    // what is kept there is not ours
  }
}

/** The name of a cluster; empty if it has none. */
const nameOfCluster = (number) => givenNames[number] || "";

/** What a cluster is called: its name, else its number. */
function titleOfCluster(number) {
  return nameOfCluster(number) || (number < 0 ? "no cluster" : `Cluster ${number}`);
}

/** The commonest label of a row of the cluster table and its share, or null. */
function majority(row) {
  const shares = overview.clusters.shares?.[row];
  return shares?.length ? { label: labelName(shares[0][0]), share: shares[0][1] } : null;
}

const labelName = (label) => (label < 0 ? "no label" : overview.classes?.[label] ?? String(label));

function nameCluster(number, name) {
  givenNames[number] = name.trim();
  return remember(`deepcluster/${overview.key}/names`, JSON.stringify(givenNames));
}

/** names.csv: cluster, name, by number. */
function namesAsCsv() {
  const named = overview.clusters.number.filter((number) => nameOfCluster(number));
  return csvRow(["cluster", "name"]) + named.map((number) => csvRow([number, nameOfCluster(number)])).join("");
}

/** The field in which a cluster is named. */
function nameField(number) {
  const note = make("span", { class: "note", role: "status" });
  const keep = () => {
    if (field.value.trim() === nameOfCluster(number)) return;
    note.textContent = nameCluster(number, field.value) ? "kept in this browser" : "kept until this page is closed";
    document.dispatchEvent(new Event("named"));
  };
  const field = make("input", {
    class: "name", placeholder: "Name this cluster", title: "key: n", "aria-label": `name of cluster ${number}`,
    value: nameOfCluster(number), maxlength: 200, onchange: keep,
    onkeydown: (event) => event.key === "Enter" && field.blur(),
  });
  return make("span", { class: "naming" }, field, note);
}

/** The button that saves names.csv. */
function exportButton() {
  const button = make("button", { onclick: () => download("names.csv", namesAsCsv()) });
  const show = () => {
    const n = overview.clusters.number.filter((number) => nameOfCluster(number)).length;
    button.textContent = n ? `Export ${counted(n, "name")}` : "Export names";
    button.disabled = n === 0;
  };
  show();
  document.addEventListener("named", show);
  return button;
}
