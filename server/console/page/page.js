// The console: asks for a sample each second and shows it. Who has to log in gets a form instead.

import { $, setText } from "./table.js";
import { show } from "./panels.js";
import * as keys from "./keys.js";

const panels = $("#panels"), form = $("#login"), notice = $("#notice"), door = $("#door"), pause = $("#pause");
let timer = 0, loggedIn = false, asking = 0;

function tell(text) {
  notice.hidden = !text;
  setText(notice, text);
}

/** askLogin shows the form; wanted says that it need not be. */
function askLogin(wanted = false) {
  clearTimeout(timer);
  asking++;
  tell("");
  keys.clear();
  panels.hidden = true;
  pause.hidden = true;
  door.hidden = !wanted;
  setText(door, "Back");
  if (form.hidden) {
    form.hidden = false;
    $("#user").select();
  }
  setText($("#who"), "");
  setText($("#node"), "");
}

/** sample asks for a sample, and then again and again. */
async function sample() {
  clearTimeout(timer);
  const mine = ++asking;
  try {
    const answer = await fetch("sample");
    if (mine !== asking) return; // the page shows the form meanwhile
    if (answer.status === 401) return askLogin();
    if (!answer.ok) throw new Error(await answer.text());
    const data = await answer.json();
    if (mine !== asking) return;
    tell("");
    panels.hidden = false;
    pause.hidden = false;
    form.hidden = true;
    loggedIn = data.login;
    setText($("#who"), data.user);
    setText(door, loggedIn ? "Log out" : "Log in");
    door.hidden = false;
    show(data);
  } catch (error) {
    if (mine !== asking) return;
    tell(error instanceof TypeError ? "The node does not answer. The figures are the last ones." : error.message);
  }
  if (pause.getAttribute("aria-pressed") === "false") timer = setTimeout(sample, 1000);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = $("#password");
  setText($("#login-error"), "");
  try {
    const answer = await fetch("login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user: $("#user").value, password: password.value }),
    });
    if (!answer.ok) throw new Error(answer.status === 401 ? "Wrong user or password." : await answer.text());
  } catch (error) {
    setText($("#login-error"), error instanceof TypeError ? "The node does not answer." : error.message);
    password.focus();
    return;
  }
  password.value = "";
  form.hidden = true;
  keys.clear();
  await sample();
  $("#main").focus();
});

door.addEventListener("click", async () => {
  if (!form.hidden) { // back
    form.hidden = true;
    return sample();
  }
  if (!loggedIn) return askLogin(true);
  try {
    await fetch("logout", { method: "POST" });
  } catch {
    return tell("The node does not answer.");
  }
  keys.clear();
  panels.hidden = true;
  sample();
});

pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(paused));
  if (paused) clearTimeout(timer);
  else if (form.hidden) sample();
});

// Tables that do not fit are scrolled by keyboard as well.
for (const box of document.querySelectorAll(".scroll")) {
  box.tabIndex = 0;
  box.role = "group";
  box.ariaLabel = $("caption", box).textContent;
}

keys.start(() => askLogin());
sample();
