"""Figures in, an SVG each out: drawn for paper and screens, told apart by shape as well as colour, with words to hear.

The colours are two of Okabe and Ito's (Color Universal Design, 2008), which are told apart with every common colour
vision. Each plot carries a title and a description, and stands beside a table of the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

BLUE, ORANGE, INK, SOFT, GRID = "#0072B2", "#B84A00", "#17211f", "#4a5855", "#cfd7d5"
WIDTH, ROW = 640, 22
LABELS = 250  # of a plot whose rows have names
RIGHT = 70  # for the figure behind a row
LETTERS = 32  # of a name; a wide character counts for two
WIDEST = 46  # letters of the longest name that is not shortened beside bars


@dataclass(frozen=True)
class Row:
    """One row of a plot: a value, and the interval it lies in where there is one. text: the figure in words."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One line of a plot: points (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


def bars(title: str, said: str, rows: Sequence[Row], top: float | None = None) -> Markup:
    """A bar a row, all from 0. Long names take room from the bars before they are shortened."""
    highest = top or max((row.value for row in rows), default=0) or 1.0
    letters = max((_wide(row.label) for row in rows), default=0)
    left = LABELS * min(WIDEST, max(LETTERS, letters)) // LETTERS
    parts = []
    for place, row in enumerate(rows):
        y = 8 + place * ROW
        wide = max(0.0, (WIDTH - left - RIGHT) * row.value / highest)
        parts.append(_label(row.label, y, left))
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{wide:.1f}" height="{ROW - 8}" fill="{BLUE}"/>')
        parts.append(_text(left + wide + 6, y + 15, row.text))
    return _svg(title, said, 16 + ROW * len(rows), parts)


def intervals(title: str, said: str, rows: Sequence[Row], mark: float | None = None, marked: str = "") -> Markup:
    """A point and its interval a row; `mark`: a line to compare with, named `marked`."""
    ends = [end for row in rows for end in (row.low, row.high, row.value) if end is not None]
    ends += [mark] if mark is not None else []
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    pad = (high - low or 1.0) * 0.08
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return LABELS + (WIDTH - LABELS - RIGHT) * (value - low) / (high - low)

    bottom = 8 + ROW * len(rows)
    parts = []
    for tick in _ticks(low, high):
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="8" y2="{bottom}" stroke="{GRID}"/>')
        parts.append(_text(x(tick), bottom + 15, f"{tick:g}", anchor="middle"))
    if mark is not None:
        line = f'x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="4" y2="{bottom}" stroke="{ORANGE}" stroke-dasharray="5 3"'
        parts.append(f'<line {line} stroke-width="1.5"/>')
        parts.append(_text(x(mark), bottom + 30, marked, anchor="middle", colour=ORANGE))
    for place, row in enumerate(rows):
        y = 8 + place * ROW + ROW / 2
        parts.append(_label(row.label, y - ROW / 2))
        if row.low is not None and row.high is not None:
            parts.append(
                f'<line x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y}" y2="{y}" stroke="{BLUE}" '
                'stroke-width="3"/>'
            )
        parts.append(f'<circle cx="{x(row.value):.1f}" cy="{y}" r="4.5" fill="{BLUE}" stroke="#fff"/>')
        parts.append(_text(WIDTH - RIGHT + 8, y + 4, row.text))
    return _svg(title, said, bottom + (36 if mark is not None else 22), parts)


def lines(
    title: str,
    said: str,
    series: Sequence[Series],
    under: str,
    beside: str,
    *,
    diagonal: bool = False,
    percent: bool = True,
) -> Markup:
    """Lines over a common x; `diagonal`: a line on which both are the same. The first is whole, the others dashed."""
    xs = [x for one in series for x, _ in one.points] or [0.0, 1.0]
    ys = [y for one in series for _, y in one.points] or [0.0, 1.0]
    first, last = (0.0, max(*xs, *ys)) if diagonal else (min(xs), max(xs))
    top = last if diagonal else max(ys)
    first, last, top = first, last if last > first else first + 1, top or 1.0
    left, right, head, foot, height = 60, WIDTH - 20, 26, 250, 300

    def px(x: float) -> float:
        return left + (right - left) * (x - first) / (last - first)

    def py(y: float) -> float:
        return foot - (foot - head) * y / (top * 1.05)

    def figure(value: float) -> str:
        return f"{100 * value:.3g}%" if percent else f"{value:g}"

    parts = []
    for tick in _ticks(0, top * 1.05):
        parts.append(f'<line x1="{left}" x2="{right}" y1="{py(tick):.1f}" y2="{py(tick):.1f}" stroke="{GRID}"/>')
        parts.append(_text(left - 6, py(tick) + 4, figure(tick), anchor="end"))
    for tick in _ticks(first, last):
        parts.append(_text(px(tick), foot + 18, figure(tick) if diagonal else f"{tick:g}", anchor="middle"))
    parts.append(_text((left + right) / 2, foot + 36, under, anchor="middle"))
    parts.append(_text(left - 52, 14, beside, anchor="start"))
    if diagonal:
        end = min(last, top * 1.05)
        across = f'x1="{px(0):.1f}" y1="{py(0):.1f}" x2="{px(end):.1f}" y2="{py(end):.1f}"'
        parts.append(f'<line {across} stroke="{SOFT}" stroke-dasharray="4 4"/>')
    at = float(right)
    for number, one in reversed(list(enumerate(series))):
        colour, dash = (BLUE, "") if number == 0 else (ORANGE, ' stroke-dasharray="7 4"')
        points = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in one.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for x, y in one.points:
            if number == 0:
                parts.append(f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3.5" fill="{colour}"/>')
            else:
                box = f'x="{px(x) - 3:.1f}" y="{py(y) - 3:.1f}" width="6" height="6"'
                parts.append(f'<rect {box} fill="{colour}"/>')
        if len(series) > 1:
            mark = "●" if number == 0 else "■"
            parts.append(_text(at, 14, f"{mark} {one.name}", anchor="end", colour=colour))
            at -= 8 * (len(one.name) + 5)
    return _svg(title, said, height, parts)


def grid(title: str, said: str, names: Sequence[str], values: Sequence[Sequence[float | None]]) -> Markup:
    """A square of shares: the darker, the larger; a number stands in each. None: hidden, shown as a dash."""
    side, left, head = 34, LABELS, 34
    parts = []
    for place, name in enumerate(names):
        y = head + place * side
        parts.append(_text(left - 30, y + side / 2 + 4, _short(name, LETTERS), anchor="end", whole=name))
        parts.append(_text(left - 12, y + side / 2 + 4, str(place + 1), anchor="middle", colour=SOFT))
        parts.append(_text(left + place * side + side / 2, head - 8, str(place + 1), anchor="middle", colour=SOFT))
        for other, value in enumerate(values[place]):
            x = left + other * side
            if place == other:
                parts.append(f'<rect x="{x}" y="{y}" width="{side - 1}" height="{side - 1}" fill="#eef1f0"/>')
                continue
            shade = 0.0 if value is None else min(1.0, value)
            fill = "#fff" if value is None else _mix(shade)
            box = f'x="{x}" y="{y}" width="{side - 1}" height="{side - 1}"'
            parts.append(f'<rect {box} fill="{fill}" stroke="{GRID}"/>')
            text = "–" if value is None else f"{100 * value:.0f}"
            colour = "#fff" if shade > 0.55 else INK
            parts.append(_text(x + side / 2 - 0.5, y + side / 2 + 4, text, anchor="middle", colour=colour))
    return _svg(title, said, head + side * len(names) + 8, parts)


def _mix(share: float) -> str:
    """White to the blue of the other plots."""
    return "#" + "".join(f"{round(255 + (end - 255) * share):02x}" for end in (0x00, 0x72, 0xB2))


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from low to high."""
    step = 10 ** math.floor(math.log10((high - low) / 4 or 1.0))
    step = next((step * by for by in (1, 2, 5, 10) if (high - low) / (step * by) <= 8), step)
    first = math.ceil(low / step - 1e-9)
    return [round(tick * step, 10) for tick in range(first, math.floor(high / step + 1e-9) + 1)]


def _wide(label: str) -> int:
    return sum(2 if ord(character) > 0x2E80 else 1 for character in label)


def _short(label: str, letters: int) -> str:
    kept = label
    while _wide(kept) > letters:
        kept = kept[:-1]
    return kept if kept == label else kept.rstrip() + "…"


def _label(label: str, y: float, left: float = LABELS) -> str:
    return _text(left - 8, y + 15, _short(label, int(LETTERS * left // LABELS)), anchor="end", whole=label)


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK, whole: str = "") -> str:
    title = f"<title>{escape(whole)}</title>" if whole and whole != text else ""
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {at}>{title}{escape(text)}</text>"


def _svg(title: str, said: str, height: float, parts: Sequence[str]) -> Markup:
    head = (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg" '
        'font-family="system-ui, Noto Sans, Noto Sans CJK SC, WenQuanYi Micro Hei, sans-serif" font-size="12.5">'
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>"
    )
    return Markup(head + "".join(parts) + "</svg></figure>")  # noqa: S704  (every text in it was escaped above)


def trend(values: Sequence[float]) -> str:
    """Whether a row of figures rises, in a word, for the description of a plot."""
    up = all(b >= a for a, b in pairwise(values))
    down = all(b <= a for a, b in pairwise(values))
    return "rising" if up and not down else "falling" if down and not up else "level" if up else "up and down"
