// Keeps a page up to date: follows the events that it names, and fetches the page again when one comes. What is shown is
// rendered by the gateway alone.
const live = document.getElementById("live");

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

if (live) {
  const button = live.querySelector("button");
  const status = live.querySelector("[role=status]");
  let paused = false;
  let due = false;
  let busy = false;
  live.hidden = false;

  const refresh = async () => {
    due = true;
    if (busy || paused) return;
    busy = true;
    while (due && !paused) {
      due = false;
      try {
        const reply = await fetch(location.href, { headers: { accept: "text/html" } });
        if (reply.ok) {
          const page = new DOMParser().parseFromString(await reply.text(), "text/html");
          const [now, next] = [document.getElementById("content"), page.getElementById("content")];
          // Nobody loses what they type or where they are: what is due is shown when they go on.
          if (now && next && !now.contains(document.activeElement)) now.replaceWith(document.adoptNode(next));
          else if (now && next) now.addEventListener("focusout", () => setTimeout(refresh), { once: true });
        }
      } catch {
        // Said by what follows the events, which asks again when the gateway is back.
      }
      await wait(400);
    }
    busy = false;
  };

  // What is shown comes from views that may be a moment behind the events.
  let later = 0;
  const soon = () => {
    refresh();
    clearTimeout(later);
    later = setTimeout(refresh, 1000);
  };

  const follow = async () => {
    let last = live.dataset.since;
    for (;;) {
      try {
        const headers = { accept: "text/event-stream", "last-event-id": last };
        const reply = await fetch("/v1/events?" + live.dataset.follow, { headers });
        if (!reply.ok || !reply.body) throw new Error(String(reply.status));
        status.textContent = paused ? "Paused" : "Live";
        const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          const lines = (rest + value).split("\n");
          rest = lines.pop();
          for (const line of lines) {
            if (line.startsWith("id:")) last = line.slice(3).trim();
            else if (line.startsWith("data:")) soon();
          }
        }
      } catch {
        // Said below.
      }
      status.textContent = "Not connected; trying again";
      await wait(2000);
      refresh();
    }
  };

  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    status.textContent = paused ? "Paused" : "Live";
    if (!paused) refresh();
  });
  follow();
}

// What is set up by copying has a button for it. Without script, or where the browser gives no clipboard, it can be selected.
if (navigator.clipboard) {
  for (const block of document.querySelectorAll("pre[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${block.previousElementSibling?.textContent ?? ""}`);
    const text = block.textContent;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select it by hand";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    block.before(button);
  }
}
