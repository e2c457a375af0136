"""What the browser tests share: finding a patient, reading numbers, widths, and what axe-core says of a page."""

from importlib.resources import files

WIDTHS = (320, 360, 600, 899, 900, 1280)
AXE = files("axe_playwright_python").joinpath("axe.min.js")
# every rule is run; what passes is counted rather than told place by place, which took longer than looking
LOOK = """rules => axe.run({ runOnly: { type: 'tag', values: rules }, resultTypes: ['violations'] })
    .then(found => ({ passed: found.passes.length, violations: found.violations }))"""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def search(page, patient_id):
    page.locator("[data-search]").first.fill(patient_id)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def number(text):
    return round(float(text.replace("−", "-").replace("+", "")) * 1000)


def sideways(page):
    """By how many pixels the page is too wide, at each of the widths."""
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found |= {width: over} if over else {}
    return found


def unfold(page, *but):
    """Open all that is folded, but what is in one of these places."""
    page.evaluate(
        """but => document.querySelectorAll('details').forEach(
            details => { details.open = !but.some(place => details.closest(place)); })""",
        but,
    )


def violations(page):
    """What axe-core finds on the page as it stands: rule, and the first places. Nothing is excused."""
    page.evaluate(AXE.read_text(encoding="utf-8"))  # by the debugger, which a page's policy does not bind
    found = page.evaluate(LOOK, RULES)
    assert found["passed"] > 10  # it looked
    return [(one["id"], one["impact"], [node["target"] for node in one["nodes"][:3]]) for one in found["violations"]]
