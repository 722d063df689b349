# SPDX-License-Identifier: MIT
"""The page that `make trace` writes of a demo, in a headless Chromium: `make test-page`."""

import pytest
import readme
import trace_demo
import trace_page
import trace_read

from browser import Browser

#: Of that run: registrations, requests, outputs
MESSAGES = 10


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The page of the run of Demo 2.2 that its README shows."""
    path = tmp_path_factory.mktemp("page") / "2.2.jsonl"
    path.write_bytes((trace_demo.DIAGRAMS / "2.2.jsonl").read_bytes())
    trace_demo.draw(readme.demos()["2.2"].title, path)
    return path.with_suffix(".html").as_uri()


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(browser, url):
    """The page as a reader has just opened it. In the end nothing may have gone wrong in it."""
    browser.size(1280, 900)
    browser.theme("light")
    browser.events.clear()
    browser.open(url)
    yield browser
    browser.eval("0")  # What is still on its way comes before the answer
    told = [event["method"] for event in browser.events]
    assert not {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"} & set(told)
    asked = {
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert asked == {url}, "the page has asked for something else"


def arrow(page, label):
    """The selector of the arrow with this label."""
    labels = page.eval("[...document.querySelectorAll('.arrow text')].map((e) => e.textContent)")
    numbers = page.eval("[...document.querySelectorAll('.arrow')].map((e) => e.dataset.n)")
    assert labels.count(label) == 1 and len(labels) == len(numbers)
    return f".arrow[data-n='{numbers[labels.index(label)]}']"


def middle(page, selector):
    """Where an element is on the screen."""
    return page.eval(
        "(() => { const e = document.querySelector("
        f"{selector!r}); e.scrollIntoView({{block: 'nearest'}}); const r = e.getBoundingClientRect();"
        " return [r.x + r.width / 2, r.y + r.height / 2] })()"
    )


def side(page):
    return page.eval("document.getElementById('side').innerText")


def shown(page):
    """How many arrows are not faint."""
    return page.eval("document.querySelectorAll('.arrow:not(.later)').length")


def test_it_renders(page):
    assert page.eval("document.title") == "Demo 2.2: two engines, in turn"
    assert page.eval("document.querySelectorAll('.arrow').length") == MESSAGES
    x, y = middle(page, "#diagram svg")
    assert x > 250 and y > 150
    lanes = page.eval("[...document.querySelectorAll('svg .title')].map((e) => e.textContent)")
    assert lanes == ["engine 0", "round_robin_frontend", "engine 1"]
    # Everything is there from the beginning; nothing has been chosen
    assert shown(page) == MESSAGES
    assert "Choose an arrow" in side(page)


def test_click_shows_the_frames_of_an_arrow(page):
    page.click(*middle(page, arrow(page, "[01 00] ADD r3, 5 tokens") + " .area"))
    text = side(page)
    assert text.startswith("[01 00] ADD r3, 5 tokens\n")
    assert "round_robin_frontend → engine 1" in text
    sent, received = text.split("Received")
    # The ROUTER's identity, the type, the request; and what is left of it at the DEALER
    assert "Sent 3 frames, ROUTER at tcp://127.0.0.1:5570" in sent
    assert "identity · 2 bytes" in sent and "0000  01 00" in sent
    assert "type: ADD · 1 byte" in sent
    assert '["r3",[1,15043,3186,29892,590],null,{"max_tokens":2},null,' in sent
    assert " 2 frames, DEALER" in received and "identity · " not in received
    assert "dc 00 14 a2 72 33 95 01" in received  # An array of 20, "r3", an array of 5
    assert "The first frame told the ROUTER which peer to send to." in received
    assert page.eval("document.querySelectorAll('.arrow.chosen').length") == 1


def test_frames_that_are_equal_are_shown_once(page):
    page.click(*middle(page, arrow(page, "r1 r3: +1 token, length") + " .area"))
    assert "Sent and received 1 frame, PUSH → PULL at tcp://127.0.0.1:5571" in side(page)
    assert page.eval("document.querySelectorAll('#side .frame').length") == 1


def test_slider_plays_the_run(page):
    page.eval(
        "(() => { const s = document.getElementById('step'); s.value = 3;"
        " s.dispatchEvent(new Event('input')) })()"
    )
    assert shown(page) == 3
    assert page.eval("document.getElementById('now').textContent").startswith("message 3 of 10 · ")
    # With the focus on it, its own keys move it by one, not by two
    page.eval("document.getElementById('step').focus()")
    page.key("ArrowRight")
    assert (shown(page), page.eval("document.getElementById('step').value")) == (4, "4")
    page.key("Home")
    assert shown(page) == 0


def test_keys_step_through_the_run(page):
    page.key("Home")
    assert shown(page) == 0
    page.key("ArrowLeft")  # No further
    for number in range(1, 4):
        page.key("ArrowRight")
        assert shown(page) == number
        chosen = page.eval("+document.querySelector('.arrow.chosen').dataset.n")
        assert chosen == number - 1
    assert "[00 00] ADD r0, 5 tokens" in side(page)
    page.key("ArrowLeft")
    assert shown(page) == 2
    page.key("End")
    assert shown(page) == MESSAGES
    page.key("ArrowRight")
    assert shown(page) == MESSAGES


def test_tab_and_enter_open_an_arrow(page):
    for _ in range(20):
        page.key("Tab")
        if page.eval("document.activeElement.classList.contains('arrow')"):
            break
    assert page.eval("+document.activeElement.dataset.n") == 0
    assert page.eval("document.activeElement.getAttribute('role')") == "button"
    told = page.eval("document.activeElement.getAttribute('aria-label')")
    first, second = trace_read.read(trace_demo.DIAGRAMS / "2.2.jsonl").messages[:2]
    assert told == f"{first.source.title} to round_robin_frontend: {first.label}"
    page.key("Tab")
    page.key("Enter")
    assert side(page).startswith(f"{second.label}\n\n{second.source.title} → ")


def test_play_button_steps_and_stops(page):
    page.key("Home")
    page.click(*middle(page, "#play"))
    assert page.eval("document.getElementById('play').textContent") == "Pause"
    page.wait("document.querySelectorAll('.arrow:not(.later)').length >= 2")
    page.click(*middle(page, "#play"))
    stopped = shown(page)
    assert stopped >= 2
    assert page.eval("document.getElementById('play').textContent") == "Play"
    page.click(*middle(page, "#next"))
    assert shown(page) == stopped + 1
    page.click(*middle(page, "#back"))
    assert shown(page) == stopped


def test_text_can_be_selected(page):
    chosen = arrow(page, "[01 00] ADD r3, 5 tokens")
    selector = chosen + " text"
    x, y = middle(page, selector)
    half = page.eval(f"document.querySelector({selector!r}).getBoundingClientRect().width / 2")
    page.drag((x - half + 1, y), (x + half - 1, y), (x + half - 1, y))
    assert page.eval("String(getSelection())") == "[01 00] ADD r3, 5 tokens"
    # That was no click on the arrow
    assert "Choose an arrow" in side(page)
    page.eval("getSelection().removeAllRanges()")
    page.click(*middle(page, chosen + " .area"))
    page.eval("getSelection().selectAllChildren(document.querySelector('#side pre'))")
    assert page.eval("String(getSelection())").strip().startswith("0000")


def colours(page):
    """Of the page, the diagram, and the text in both: red, green and blue."""
    return page.eval(
        "[['body', 'backgroundColor'], ['.paper', 'fill'], ['body', 'color'], ['.arrow text', 'fill'],"
        " ['#side', 'backgroundColor'], ['#side .about', 'color'], ['pre', 'backgroundColor']]"
        ".map(([selector, property]) =>"
        " getComputedStyle(document.querySelector(selector))[property].match(/\\d+/g).map(Number))"
    )


def luminance(colour):
    """As WCAG 2 has it."""
    parts = [c / 255 for c in colour[:3]]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_light_and_dark(page, theme):
    page.theme(theme)
    page.key("End")
    body, paper, ink, label, panel, faint, code = colours(page)
    for ground in (body, paper, panel, code):
        assert (luminance(ground) > 0.8) if theme == "light" else (luminance(ground) < 0.05)
    for text, ground in ((ink, body), (label, paper), (ink, panel), (ink, code), (faint, panel)):
        assert contrast(text, ground) > 4.5, (text, ground)


def test_narrow_window(page):
    """On a small screen the frames come below the diagram, and nothing sticks out."""
    page.size(420, 800)
    assert page.eval("document.documentElement.scrollWidth") <= 420
    assert page.eval(
        "document.getElementById('side').getBoundingClientRect().top >="
        " document.getElementById('diagram').getBoundingClientRect().bottom"
    )


def test_hostile_frames_are_only_shown(page, tmp_path):
    """Markup in a message is text, wherever it turns up."""
    text = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    packed = text.encode()
    frames = [{"size": len(packed), "hex": packed.hex(), "text": text}]
    entry = {"t": 1.0, "program": text, "pid": 1, "socket": "PUSH", "peer": text, "dir": "send"}
    path = tmp_path / "hostile.html"
    run = trace_read.Run([{**entry, "frames": frames}, {**entry, "t": 2.0, "note": text}])
    path.write_text(trace_page.html(run, text), "utf-8")
    asked = len(page.events)
    page.open(path.as_uri())
    page.key("Home")
    page.key("ArrowRight")
    assert text in side(page)
    assert page.eval("window.hacked") is None
    assert page.eval("document.title") == text
    assert page.eval("document.images.length") == 0
    del page.events[asked:]  # That was another page than the one that the fixture looks after
