"""Open a page in headless Chromium: what it says once its scripts have run, what went wrong, whom
it asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium to open pages with"
)
# the asker in the log of the network where Chromium asks of itself, which no switch ends for good
OF_ITSELF = "not an origin"
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever is asked for, nothing leaves this machine
)  # fmt: skip
WATCH = """<script>window.problems = [];
addEventListener(
  'error', event => problems.push('error: ' + (event.message || event.target.src)), true);
addEventListener('unhandledrejection', event => problems.push('rejection: ' + event.reason));
console.error = (...words) => problems.push('console: ' + words.join(' '));</script>"""


@dataclass(frozen=True)
class Visit:
    """What a visit to a page found."""

    told: Any  # what the script returned
    problems: list[str]  # uncaught errors and console errors
    asked: set[str]  # hosts that were asked for something


def visit(page: Path, script: str, folder: Path, size: str = "1280,1000", *more: str) -> Visit:
    """Open a page and run a script in it.

    Args:
        page: an HTML file.
        script: the body of an async function; `pause()` waits for the page to draw. What it returns
            becomes JSON.
        folder: an empty one to work in.
        size: of the window, in pixels.
        more: switches of Chromium.
    """
    assert CHROMIUM
    text = page.read_text(encoding="utf-8")
    run = (
        "<script>(async () => { const pause = () => new Promise(done => setTimeout(done, 100));\n"
        "const told = await (async () => {"
        + script
        + "})().catch(error => problems.push('script: ' + error));\nconst pre = "
        "document.createElement('pre'); pre.id = 'told';pre.textContent = "
        "JSON.stringify({told: told ?? null, problems}); document.body.append(pre); "
        "})();</script>"
    )
    head, end = text.index("<head>") + len("<head>"), text.rindex("</body>")
    watched = folder / "page.html"
    watched.write_text(text[:head] + WATCH + text[head:end] + run + text[end:], encoding="utf-8")
    log = folder / "net.json"
    done = subprocess.run(
        [CHROMIUM, *SWITCHES, *more, f"--window-size={size}",
         f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
         "--virtual-time-budget=60000", "--dump-dom", watched.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(unescape(found[1]))
    return Visit(told["told"], told["problems"], _asked(log.read_text(errors="replace")))


def _asked(log: str) -> set[str]:
    """The hosts that the page asked, by the log of the network: an event a line."""
    hosts = set()
    for event in log.splitlines():
        initiator = re.search(r'"initiator":"([^"]*)"', event)
        url = re.search(r'"url":"(?:https?|wss?|ftp)://([^/":]+)', event)
        if initiator and url and initiator[1] != OF_ITSELF:
            hosts.add(url[1])
    return hosts


def screenshot(page: Path, png: Path, folder: Path) -> None:
    """Save what a page looks like in a window of 1280 by 1000 pixels."""
    assert CHROMIUM
    subprocess.run(
        [CHROMIUM, *SWITCHES, "--window-size=1280,1000", f"--user-data-dir={folder / 'profile'}",
         "--virtual-time-budget=10000",
         f"--screenshot={png}", page.as_uri()],
        capture_output=True, timeout=300, check=True,
    )  # fmt: skip
