// Asks both models at once and shows each answer as it grows. Without this script the form is sent
// as it is, and the answers come whole.
"use strict";

(() => {
  const form = document.querySelector("form.playground");
  const panels = [...document.querySelectorAll(".answers article")];
  const stop = document.getElementById("stop");
  const ask = form.querySelector("button:not([type])");
  let asking = null;

  // One server-sent event is lines up to an empty one; ours have one `data:` line each.
  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
    }
  }

  async function problemOf(response) {
    try {
      return (await response.json()).detail;
    } catch {
      return `the service answered ${response.status}`;
    }
  }

  async function follow(response, text, note) {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const [choice] = chunk.choices;
      if (choice?.delta.content) text.textContent += choice.delta.content;
      if (choice?.finish_reason === "length") note.textContent = "Cut at the limit of tokens.";
    }
  }

  async function answer(panel, signal) {
    const text = panel.querySelector(".answer");
    const note = panel.querySelector(".note small");
    text.textContent = note.textContent = "";
    note.classList.remove("problem");
    text.setAttribute("aria-busy", "true");
    try {
      const sent = { method: "POST", body: new URLSearchParams(new FormData(form)), signal };
      const response = await fetch(panel.dataset.address, sent);
      if (response.redirected) return location.reload(); // the session is over: to sign in
      if (!response.ok) throw new Error(await problemOf(response));
      await follow(response, text, note);
      if (!text.textContent) text.textContent = "(an empty answer)";
    } catch (error) {
      note.textContent = signal.aborted ? "Stopped." : error.message;
      note.classList.toggle("problem", !signal.aborted);
    } finally {
      text.removeAttribute("aria-busy");
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    asking?.abort();
    const mine = (asking = new AbortController());
    ask.disabled = true;
    stop.hidden = false;
    await Promise.all(panels.map((panel) => answer(panel, mine.signal)));
    ask.disabled = false;
    stop.hidden = true;
  });
  stop.addEventListener("click", () => asking?.abort());
})();
