// Logging in: with a token, or with the code of a one-time link, which stands behind the # and so never left this browser.

const form = document.getElementById("login");
const field = document.getElementById("token");
const said = document.getElementById("said");
const button = form.querySelector("button");

async function logIn(body) {
  said.textContent = "";
  button.disabled = true;
  try {
    const response = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.ok) {
      location.replace("/");
      return;
    }
    const problem = await response.json().catch(() => ({}));
    said.textContent = problem.detail ?? `The agent answered with ${response.status}.`;
  } catch {
    said.textContent = "The agent does not answer.";
  }
  button.disabled = false;
  field.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const token = field.value.trim();
  field.value = "";
  if (token) {
    logIn({ token });
  } else {
    said.textContent = "Paste a token first.";
  }
});

// Without this script nothing is sent: a form of the browser's own would not be understood.
button.disabled = false;

const code = location.hash.slice(1);
if (code) {
  // Not kept in the browser's history.
  history.replaceState(null, "", "/login");
  logIn({ code });
} else {
  field.focus();
  // Whoever followed a link from another site came without the cookie, and may be logged in all the same.
  fetch("/session").then((response) => response.ok && location.replace("/")).catch(() => {});
}
