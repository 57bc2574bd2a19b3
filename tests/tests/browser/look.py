"""Looks at pages in headless Chromium and says what a reader would see, as JSON on stdout.

look.py CHROMIUM PROFILE-DIRECTORY PAGE SCREENSHOT-PREFIX SECONDS

The page is loaded at two widths in both colour schemes. Chromium is spoken to over its debugging pipe
(descriptors 3 and 4, messages end in a zero byte), so that no port and no library is needed.
"""

import base64
import json
import os
import select
import signal
import subprocess
import sys
import time

# What a reader would see: all figures as they stand in the page, and whether anything is off.
SEEN = """
(() => {
  const root = document.scrollingElement;
  const text = element => element.textContent.replace(/\\s+/g, ' ').trim();
  const seen = element => element.checkVisibility({visibilityProperty: true});
  const box = element => element.getBoundingClientRect();
  const clipped = [];
  for (const label of document.querySelectorAll('svg.plot text')) {
    if (!seen(label)) continue;
    const inner = box(label), outer = box(label.closest('svg'));
    if (inner.left < outer.left - 1 || inner.right > outer.right + 1) clipped.push(text(label));
  }
  return {
    background: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    scroll_width: root.scrollWidth,
    inner_width: innerWidth,
    title: document.title,
    headline: text(document.querySelector('h1')),
    headings: [...document.querySelectorAll('h1,h2,h3')].map(heading => heading.tagName + ' ' + text(heading)),
    figures: [...document.querySelectorAll('dl.figures > div')].map(div => [...div.children].map(text)),
    tables: [...document.querySelectorAll('table')].map(table => ({
      name: text(table.caption),
      rows: [...table.rows].map(row => [...row.cells].map(text)),
    })),
    commands: [...document.querySelectorAll('pre')].map(text),
    plots: [...document.querySelectorAll('svg.plot')].filter(seen).map(plot => ({
      title: text(plot.querySelector('title')),
      description: text(plot.querySelector('desc')),
      labels: [...plot.querySelectorAll('text')].map(text),
      smallest_text_px: Math.min(...[...plot.querySelectorAll('text')]
        .map(label => parseFloat(getComputedStyle(label).fontSize) * box(plot).width / plot.viewBox.baseVal.width)),
    })),
    clipped: clipped,
  };
})()
"""


class Browser:
    """A Chromium of our own. Every wait ends at the deadline; the process group ends with us."""

    def __init__(self, program, profile, deadline):
        self.deadline, self.number, self.buffer = deadline, 0, b""
        self.console = []
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def at_3_and_4():
            # Out of the way first: either may be 3 or 4 already.
            read, write = os.dup(to_browser), os.dup(from_browser)
            os.dup2(read, 3)
            os.dup2(write, 4)

        self.child = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--disable-extensions", "--no-first-run", "--disable-background-networking",
             "--force-device-scale-factor=1", "--remote-debugging-pipe",
             "--user-data-dir=" + profile],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=at_3_and_4, close_fds=False, start_new_session=True)
        os.close(to_browser)
        os.close(from_browser)

    def close(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def message(self):
        while b"\0" not in self.buffer:
            left = self.deadline - time.monotonic()
            ready, _, _ = select.select([self.read_end], [], [], max(left, 0))
            if not ready:
                raise SystemExit("look.py: Chromium did not answer in time")
            piece = os.read(self.read_end, 1 << 16)
            if not piece:
                raise SystemExit("look.py: Chromium ended")
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(line)

    def ask(self, method, session=None, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        os.write(self.write_end, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            self.note(answer)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"look.py: {method}: {answer['error']}")
                return answer["result"]

    def wait_for(self, event, session):
        while True:
            message = self.message()
            self.note(message)
            if message.get("method") == event and message.get("sessionId") == session:
                return

    def note(self, message):
        """Keeps everything that the console would show, and every request that leaves the page."""
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded":
            entry = parameters["entry"]
            self.console.append(f"{entry['level']}: {entry['text']}")
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.console.append(json.dumps(parameters))
        elif method == "Network.requestWillBeSent":
            address = parameters["request"]["url"]
            if not address.startswith(("file:", "data:")):
                self.console.append(f"request: {address}")


def look(browser, page, width, scheme, screenshot):
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.ask(domain + ".enable", session)
    mobile = width < 600
    browser.ask("Emulation.setDeviceMetricsOverride", session, width=width, height=844 if mobile else 900,
                deviceScaleFactor=1, mobile=mobile)
    browser.ask("Emulation.setEmulatedMedia", session,
                features=[{"name": "prefers-color-scheme", "value": scheme}])
    failed = browser.ask("Page.navigate", session, url="file://" + page).get("errorText")
    if failed:
        raise SystemExit(f"look.py: {page}: {failed}")
    browser.wait_for("Page.loadEventFired", session)
    seen = browser.ask("Runtime.evaluate", session, expression=SEEN, returnByValue=True)
    if "exceptionDetails" in seen:
        raise SystemExit(f"look.py: {seen['exceptionDetails']}")
    picture = browser.ask("Page.captureScreenshot", session, format="png", captureBeyondViewport=True)
    name = f"{screenshot}-{width}-{scheme}.png"
    with open(name, "wb") as file:
        file.write(base64.b64decode(picture["data"]))
    browser.ask("Target.closeTarget", targetId=target)
    return {"width": width, "scheme": scheme, "screenshot": name, **seen["result"]["value"]}


def main():
    program, profile, page, screenshot, seconds = sys.argv[1:]
    browser = Browser(program, profile, time.monotonic() + float(seconds))
    try:
        views = [look(browser, page, width, scheme, screenshot)
                 for width in (1280, 390) for scheme in ("light", "dark")]
        json.dump({"views": views, "console": browser.console}, sys.stdout)
    finally:
        browser.close()


main()
