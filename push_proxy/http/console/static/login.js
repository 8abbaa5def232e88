// Asks for the API key, and says plainly when it does not open the console.
import { ApiError, forget, get, remember, usable } from "./api.js";
import { h, put } from "./dom.js";
import { T } from "./texts.js";

/** `onDone` is called with a key that works, which is remembered by then. `why`: shown at once. */
export function login(root, { onDone, why = "" }) {
  const input = h("input", {
    id: "key", name: "key", type: "password", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    required: true, "aria-describedby": "key-note key-error",
  });
  const button = h("button", { type: "submit", class: "primary" }, T.login.submit);
  const error = h("p", { id: "key-error", class: "error", role: "alert" });
  const refuse = (text) => {
    error.textContent = text;
    input.setAttribute("aria-invalid", "true");
    input.select();
    input.focus();
  };
  const submit = async (event) => {
    event.preventDefault();
    const key = input.value.trim();
    error.textContent = "";
    input.removeAttribute("aria-invalid");
    if (!key) return refuse(T.login.empty);
    if (!usable(key)) return refuse(T.errors.unusable);
    button.disabled = true;
    button.textContent = T.login.busy;
    try {
      await get("/v1/overview", {}, { withKey: key });
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      return refuse(problem.message);
    } finally {
      button.disabled = false;
      button.textContent = T.login.submit;
    }
    remember(key);
    onDone();
  };
  forget();
  put(
    root,
    h(
      "form",
      { class: "login panel", novalidate: true, on: { submit } },
      h("h1", { tabindex: "-1" }, T.login.title),
      h("p", { class: "quiet" }, T.login.lead),
      h("label", { for: "key" }, T.login.key),
      input,
      error,
      button,
      h("p", { id: "key-note", class: "quiet small" }, T.login.note),
    ),
  );
  document.title = T.title(T.login.title);
  if (why) error.textContent = why;
  input.focus();
}
