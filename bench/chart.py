# SPDX-License-Identifier: MIT
"""The results as an SVG: for each case a bar for C, one for Python, one for bare libzmq."""

import math
from xml.sax.saxutils import escape

COLOURS = {"C": "#2b6cb0", "Python": "#c05621", "bare libzmq": "#718096"}
LABELS, BARS, WIDTH = 330, 560, 980
BAR, CASE = 11, 46


def svg(cases):
    """cases: name, unit, what is measured, and microseconds of C, Python and bare."""
    values = [value for *_, each in cases for value in each if value > 0] or [1]
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)

    def x(value):
        return LABELS + BARS * (math.log10(max(value, 10**low)) - low) / (high - low)

    height = 70 + CASE * len(cases)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for at, (name, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{LABELS + 130 * at}" y="12" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{LABELS + 130 * at + 18}" y="22">{name}</text>')
    out.append(f'<text x="10" y="22">microseconds, shorter is better</text>')
    for power in range(low, high + 1):
        at = x(10**power)
        out.append(f'<path d="M{at:.1f} 40V{height - 20}" stroke="#cbd5e0"/>')
        out.append(f'<text x="{at:.1f}" y="38" text-anchor="middle">{10**power:g}</text>')
    for row, (name, unit, what, each) in enumerate(cases):
        top = 48 + CASE * row
        out.append(f'<text x="10" y="{top + 15}">{escape(name)}</text>')
        out.append(f'<text x="10" y="{top + 29}" fill="#718096">{what} a {escape(unit)}</text>')
        for bar, (value, colour) in enumerate(zip(each, COLOURS.values())):
            y, end = top + (BAR + 1) * bar, x(value)
            out.append(
                f'<rect x="{LABELS}" y="{y}" width="{max(end - LABELS, 1):.1f}" height="{BAR}" '
                f'fill="{colour}"/>'
            )
            out.append(f'<text x="{end + 4:.1f}" y="{y + 9}" font-size="10">{value:.2f}</text>')
    return "\n".join([*out, "</svg>", ""])
