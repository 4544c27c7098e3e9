// Runs once for each panel (Gradio gives `element`, `trigger` and `watch`): sends what is pressed, measures how long
// the answer takes, and fills in what the audit found. Data never becomes markup here: only `textContent`.

const send = (target, more) => {
  const data = { ...target.dataset, ...more };
  const form = target.closest("[data-collect]");
  if (form) {
    data.fields = {};
    for (const field of form.querySelectorAll("[name]")) data.fields[field.name] = field.value;
  }
  window.vlclsAsked = performance.now();
  trigger("click", data);
};

element.addEventListener("click", (event) => {
  const target = event.target.closest("button[data-do]");
  if (!target || target.disabled) return;
  if (target.dataset.slow) {
    target.disabled = true;
    target.dataset.said = target.textContent;
    target.textContent = "Asking …";
  }
  send(target, {});
});

element.addEventListener("change", (event) => {
  const target = event.target.closest("select[data-do]");
  if (target) send(target, { value: target.value });
});

element.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
  const form = event.target.closest("[data-collect]");
  const button = form && (form.querySelector("[data-do=apply]") || form.querySelector("button[data-do]"));
  if (button) send(button, {});
});

const fillVerdicts = () => {
  const said = document.querySelector("[data-verdicts]");
  const places = document.querySelectorAll("[data-audit]");
  if (!said) return;
  const verdicts = JSON.parse(said.dataset.verdicts);
  if (verdicts.length !== places.length) return;
  for (const place of places) {
    const [verdict, why] = verdicts[Number(place.dataset.audit)];
    place.textContent = verdict;
    place.title = why;
    place.dataset.verdict = verdict;
  }
};

// Gradio changes the elements that are there: what was typed would stay, and become another class's.
const resetFields = () => {
  for (const field of element.querySelectorAll("input, textarea")) field.value = field.defaultValue;
  for (const option of element.querySelectorAll("option")) option.selected = option.defaultSelected;
};

const answered = () => {
  for (const button of document.querySelectorAll("[data-said]")) {
    button.disabled = false;
    button.textContent = button.dataset.said;
    delete button.dataset.said;
  }
};

watch("value", () => {
  resetFields();
  if (element.closest("#vx-top")) answered();
  if (element.closest("#vx-top") && window.vlclsAsked) {
    const milliseconds = Math.round(performance.now() - window.vlclsAsked);
    const place = element.querySelector("#vx-answered");
    if (place) place.textContent = String(milliseconds);
    window.vlclsAsked = undefined;
  }
  fillVerdicts();
});
