"""Patient pages in, one after another; PDF files out, of a bounded number of patients each, a new page for each.

Drawn line by line rather than from HTML: ten thousand patients take a minute or two instead of an hour, and no more
memory than one file of them. One font stands in the file, so that a printer needs none: the WenQuanYi Micro Hei that
Debian ships as fonts-wqy-microhei has Latin and Chinese; where it is missing, another is taken and `unknown` counts
the characters that it lacks. Colour is never the only mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas

from recommender.errors import EngineError
from recommender.offered import NotChecked, Warned
from recommender.reports.pages_html import SEVERITY, because, beside_the_name, chance, gaps_of, numbered, sources
from recommender.reports.patient_page import Held, PatientPage, Suggested
from recommender.reports.tables import About

PER_FILE = 1_000  # patients; a file is put together in memory
FONTS = (
    Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"),
    Path("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc"),
    Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
)
BUILT_IN = "Vera.ttf"  # in reportlab itself: Latin letters only
INK, SOFT, LINE = (0.09, 0.13, 0.12), (0.29, 0.35, 0.33), (0.78, 0.82, 0.81)
SERIOUS, CAUTION = (0.64, 0.08, 0.10), (0.48, 0.29, 0.0)
LEFT, RIGHT, TOP, BOTTOM = 15 * mm, A4[0] - 15 * mm, A4[1] - 14 * mm, 17 * mm
NORMAL, SMALL, LARGE, SMALLEST = 8.6, 7.8, 12.0, 6.4
LEADING = 1.3
WHOLE = "Everything on this chart could be read by the rules; what is not known for one drug stands beside it."
LABEL = 22 * mm  # of the lines of a chart
# what may not be torn apart: a word with the sign behind it; a Chinese, Japanese or Korean character is one by itself
WIDE = (
    "\u1100-\u115f\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
TOKENS = re.compile(rf"\s+|[{WIDE}][、。，；：！？）」』】》]*|[^\s{WIDE}]+")


class PdfWriter:
    """`patients-0001.pdf` and on. `unknown`: how many characters the font does not have, shown as □."""

    def __init__(self, folder: Path, about: About, per_file: int = PER_FILE, font: Path | None = None) -> None:
        self._folder, self._about, self._per_file = folder, about, per_file
        self._font = font_of(font)
        self._number, self._in_file = 0, 0
        self._canvas: Canvas | None = None
        self.unknown = 0
        self._width = lru_cache(maxsize=50_000)(self._measured)

    def add(self, page: PatientPage) -> None:
        if self._canvas is None or self._in_file == self._per_file:
            self.close_file()
            self._begin()
        self._in_file += 1
        _Sheet(self, self._canvas, page).draw()

    def close(self) -> None:
        if self._number == 0:
            self._begin()
            assert self._canvas is not None  # noqa: S101  (for the type checker)
            self._canvas.setFont(self._font.fontName, NORMAL)
            self._canvas.drawString(LEFT, TOP - NORMAL, "No patient of this version is in this list.")
            self._canvas.showPage()
        self.close_file()

    def close_file(self) -> None:
        if self._canvas is not None:
            self._canvas.save()
            self._canvas = None

    def _begin(self) -> None:
        self._number += 1
        self._in_file = 0
        path = self._folder / f"patients-{self._number:04d}.pdf"
        self._canvas = Canvas(str(path), pagesize=A4, pageCompression=1, lang="en")
        self._canvas.setTitle(self.text(f"Suggestions: {self._about.cohort}"))
        self._canvas.setSubject(f"version {self._about.version}")
        self._canvas.setCreator("rxrec")

    def text(self, text: str) -> str:
        """Without what the font does not have."""
        known = self._font.face.charToGlyph
        if all(ord(character) in known for character in text):
            return text
        told = [character if ord(character) in known else "□" if ord("□") in known else "?" for character in text]
        self.unknown += sum(a != b for a, b in zip(text, told, strict=True))
        return "".join(told)

    def _measured(self, text: str, size: float) -> float:
        return float(pdfmetrics.stringWidth(text, self._font.fontName, size))

    def lines(self, text: str, width: float, size: float) -> Iterator[str]:
        """The text in lines that are no wider; a longer word is cut."""
        line, used = "", 0.0
        for token in TOKENS.findall(self.text(" ".join(text.split()))):
            wide = self._width(token, size)
            if used + wide > width and line:
                yield line.rstrip()
                line, used = "", 0.0
            if not line and token.isspace():
                continue
            while wide > width:
                cut = next(n for n in range(len(token), 0, -1) if n == 1 or self._width(token[:n], size) <= width)
                if cut == len(token):
                    break
                yield token[:cut]
                token = token[cut:]
                wide = self._width(token, size)
            line, used = line + token, used + wide
        if line.rstrip():
            yield line.rstrip()

    @property
    def font_name(self) -> str:
        return str(self._font.fontName)

    @property
    def about(self) -> About:
        return self._about


def font_of(path: Path | None = None) -> TTFont:
    """The font to draw with: the one asked for, or the first that is there. Raises EngineError for one that is none."""
    for candidate in (path,) if path else (*FONTS, Path(BUILT_IN)):
        try:
            font = TTFont(f"rxrec-{candidate.stem}", str(candidate), subfontIndex=0)
        except (TTFError, OSError) as error:
            if path:
                raise EngineError(f"{path} is no TrueType font that can be embedded: {error}") from error
            continue
        pdfmetrics.registerFont(font)
        return font
    raise EngineError("there is no font for PDF files: install fonts-wqy-microhei, or name one with --font")


class _Sheet:
    """One patient's pages, from the top down; `y` is the baseline of the next line's top."""

    def __init__(self, writer: PdfWriter, canvas: Canvas | None, page: PatientPage) -> None:
        assert canvas is not None  # noqa: S101  (for the type checker)
        self.writer, self.canvas, self.page = writer, canvas, page
        self.y, self.sheet = TOP, 1
        self.rules = numbered(page)

    def draw(self) -> None:
        page = self.page
        self.head()
        self.fact("Conditions", " · ".join(page.conditions) or "none on record")
        self.fact("Allergies", " · ".join(page.allergies) or "none on record")
        self.fact("Measured", " · ".join(page.measured) or "nothing that the rules look at")
        takes = " · ".join(drug.name for drug in page.therapy)
        understood = f" ({page.drugs_checked[0]} of {page.drugs_checked[1]} understood)"
        self.fact("Takes now", takes + understood if takes else "no drug on record")
        for drug in page.therapy:
            if drug.warnings:
                self.put(f"{drug.name}:", LEFT + LABEL, size=SMALL, colour=SOFT)
                self.warnings(drug.warnings, LEFT + LABEL)
        self.rule()
        self.heading("Suggested")
        for one in page.suggestions:
            self.suggestion(one)
        if not page.suggestions:
            self.put("Nothing can be suggested.", LEFT)
        self.heading(f"Withheld ({len(page.withheld)})")
        for held in page.withheld:
            self.withheld(held)
        if not page.withheld:
            self.put("Nothing was withheld.", LEFT, colour=SOFT)
        self.heading(f"Not checked ({len(page.not_checked)})")
        self.gaps(page.not_checked, LEFT)
        if not page.not_checked:
            self.put(WHOLE, LEFT, colour=SOFT)
        if self.rules:
            self.y -= 4
            self.put(f"Sources of the warnings: {sources(self.rules)}", LEFT, size=SMALLEST, colour=SOFT)
        self.foot()
        self.canvas.showPage()

    # --- parts -------------------------------------------------------------------------------------------------------

    def head(self) -> None:
        page = self.page
        age = "age unknown" if page.age is None else f"{page.age} years"
        more = f" · page {self.sheet}" if self.sheet > 1 else ""
        self.put(f"{page.patient_id} · {page.sex} · {age}{more}", LEFT, size=LARGE, bold=True)
        self.rule()

    def suggestion(self, one: Suggested) -> None:
        x, room = LEFT + 8 * mm, RIGHT - 24 * mm
        self.keep(3)  # a name never stands alone at the foot of a page
        self.at(f"{one.rank}", LEFT + 5 * mm, right=True)
        self.at(chance(one), RIGHT, right=True)
        self.put(one.name, x, room, bold=True, then=beside_the_name(one))
        self.put(because(one), x, size=SMALL, colour=SOFT)
        self.warnings(one.warnings, x)
        self.gaps(gaps_of(one), x)
        self.rule(gap=1.6)

    def withheld(self, held: Held) -> None:
        self.keep(2)
        beside = f"contraindicated beside {held.beside}" if held.beside else ""
        instead = f"instead, perhaps: {', '.join(held.alternatives)}" if held.alternatives else ""
        self.put(held.name, LEFT, bold=True, then="; ".join(text for text in (beside, instead) if text))
        self.warnings(held.warnings, LEFT)

    def warnings(self, warnings: Sequence[Warned], x: float) -> None:
        for one in warnings:
            colour = CAUTION if one.severity == "caution" else SERIOUS
            text = f"{SEVERITY[one.severity]}  {one.message} Because of {one.because}. {one.management}"
            self.put(f"{text} [{self.rules[one.rule][0]}]", x + 2 * mm, size=SMALL, bar=colour)

    def gaps(self, gaps: Sequence[NotChecked], x: float) -> None:
        for gap in gaps:
            self.put(f"? not checked  {gap.about}: {gap.mend}", x + 2 * mm, size=SMALL, bar=SOFT, dashed=True)

    def fact(self, label: str, text: str) -> None:
        self.keep(1)
        self.at(label, LEFT, colour=SOFT)
        self.put(text, LEFT + LABEL)

    def heading(self, text: str) -> None:
        self.keep(3)
        self.y -= 4
        self.put(text, LEFT, size=9.4, bold=True)

    def foot(self) -> None:
        about = self.writer.about
        synthetic = " Synthetic patient." if about.synthetic else ""
        text = (
            f"Version {about.version}, data as of {about.data_as_of}, {about.rules}, made {about.printed}.{synthetic} "
            "In 100: of such suggestions, how many began soon after. Supports, does not replace, clinical judgement."
        )
        y = BOTTOM - 5 * mm
        self.canvas.setStrokeColorRGB(*LINE)
        self.canvas.line(LEFT, y + 3 * mm, RIGHT, y + 3 * mm)
        for line in self.writer.lines(text, RIGHT - LEFT, 6.8):
            self._draw(line, LEFT, y, 6.8, SOFT, False)
            y -= 6.8 * 1.25

    # --- drawing -----------------------------------------------------------------------------------------------------

    def keep(self, lines: int) -> None:
        """Turn to a new sheet where so many lines have no room."""
        if self.y - lines * NORMAL * LEADING < BOTTOM + 2 * mm:
            self.foot()
            self.canvas.showPage()
            self.y, self.sheet = TOP, self.sheet + 1
            self.head()

    def put(
        self,
        text: str,
        x: float,
        right: float = RIGHT,
        *,
        size: float = NORMAL,
        colour: tuple[float, float, float] = INK,
        bold: bool = False,
        bar: tuple[float, float, float] | None = None,
        dashed: bool = False,
        then: str = "",
    ) -> None:
        """Text from x on in as many lines as it takes; `bar`: a mark of that colour along them; `then`: what follows,
        small, on its last line where there is room, else on lines of its own."""
        line = ""
        for line in self.writer.lines(text, right - x, size):
            if self.sheet == 1 or self.y < TOP - 2 * LARGE:  # the head itself never turns a page
                self.keep(1)
            step = size * LEADING
            if bar:
                self.canvas.setStrokeColorRGB(*bar)
                self.canvas.setLineWidth(1.4)
                self.canvas.setDash([2, 2] if dashed else [])
                self.canvas.line(x - 1.4 * mm, self.y - step + 1, x - 1.4 * mm, self.y - 0.5)
                self.canvas.setDash([])
            self._draw(line, x, self.y - size, size, colour, bold)
            self.y -= step
        if then:
            start = x + pdfmetrics.stringWidth(line, self.writer.font_name, size) + 4
            rest = next(self.writer.lines(then, max(1.0, right - start), SMALL), "")
            if rest == " ".join(self.writer.text(then).split()):
                self._draw(rest, start, self.y + size * (LEADING - 1), SMALL, SOFT, False)
            else:
                self.put(then, x, right, size=SMALL, colour=SOFT)

    def at(self, text: str, x: float, *, right: bool = False, colour: tuple[float, float, float] = INK) -> None:
        """One short text on the line that comes next, which stays the next."""
        text = self.writer.text(text)
        start = x - pdfmetrics.stringWidth(text, self.writer.font_name, NORMAL) if right else x
        self._draw(text, start, self.y - NORMAL, NORMAL, colour, False)

    def rule(self, gap: float = 2.5) -> None:
        self.canvas.setStrokeColorRGB(*LINE)
        self.canvas.setLineWidth(0.5)
        self.canvas.line(LEFT, self.y - gap / 2, RIGHT, self.y - gap / 2)
        self.y -= gap + 1

    def _draw(self, text: str, x: float, y: float, size: float, colour: tuple[float, float, float], bold: bool) -> None:
        drawn = self.canvas.beginText(x, y)
        drawn.setFont(self.writer.font_name, size)
        drawn.setFillColorRGB(*colour)
        if bold:  # the font has no bold: its outline is drawn as well
            drawn.setStrokeColorRGB(*colour)
            self.canvas.setLineWidth(0.35)
        drawn.setTextRenderMode(2 if bold else 0)
        drawn.textOut(text)
        if bold:
            drawn.setTextRenderMode(0)
        self.canvas.drawText(drawn)
