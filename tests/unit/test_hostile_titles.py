"""Titles and other words of people who know Markdown, terminals or TeX: they are shown as they
were written, and nothing obeys them.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from analysis import claims, figures, load, report, style
from analysis.sections import table
from campaigns import records
from common.text import markdown, markdown_paragraph, one_line
from tests.unit import analysis_campaign as made_up

TITLES = [
    "[foo]",  # with the caption's colon, the definition of a link
    "[a](b) [c][d] ![e](f) [^1]",
    "<b>bold</b> <!-- gone --> <script>x</script> a < b & c &lt; &#60;",
    "*a* **b** _c_ __d__ `e` ~~f~~ g_h",
    "# heading",
    "> quoted",
    "- a list",
    "12. also a list",
    "= setext",
    "a | b",
    "\\[escaped\\] \\",
    "[bold red]x[/bold red] [/] [link=http]",
    "$x^2$ and $",
    "100 % of {experiment}",
]
RENDER = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def seen(text: str) -> str:
    """What a reader of rendered Markdown sees. Only tags that the report makes by itself go."""
    rendered = RENDER.render(text)
    assert not re.search(r"<(?!/?(?:h1|h2|p|em|strong|img|table|thead|tbody|tr|th|td|code)\b)", rendered), rendered
    return html.unescape(re.sub(r"</?(?:h1|h2|p|img|table|thead|tbody|tr|th|td)\b[^>]*>", "", rendered))


@pytest.mark.parametrize("title", TITLES)
def test_words_are_seen_as_they_were_written(title: str) -> None:
    assert seen(markdown_paragraph(title)).strip() == title
    assert seen(markdown_paragraph(f"{title}: and more")).strip() == f"{title}: and more"
    assert title in seen(table(("a", "b"), [(title, "c")]))
    assert seen(f"x {markdown(title)}").strip() == f"x {title}"


def test_one_line_stays_one() -> None:
    assert one_line("One\n## Claims\n\ttwo\x1b[31m\u202e") == "One ## Claims two\\x1b[31m\\u202e"


@pytest.mark.parametrize("title", ["[foo] <b>x</b> *s* `c` $x$ [/]", "One\n\n## Claims\n\n\x1b[31mtwo"])
def test_a_campaigns_title_comes_through_its_report_and_captions(tmp_path: Path, title: str) -> None:
    """Named after a title in square brackets, which made of the caption's first words the
    definition of a link, so that they vanished.
    """
    directory = made_up.write_campaign(tmp_path, repetitions=1)
    path = directory / records.CAMPAIGN_FILE
    campaign = json.loads(path.read_text())
    campaign["experiment"]["title"] = title
    path.write_text(json.dumps(campaign))
    results = load.load(directory)
    written = report.markdown(results, claims.judge(results), [Path("figures/overview.png")])
    assert one_line(title) in seen(written)
    assert written.count("\n## Claims\n") == 1
    caption = "\n".join(figures.caption(results, "overview", "", style.TWO_COLUMNS))
    assert caption.startswith(one_line(title) + ": (a) ")
    assert "\x1b" not in written + caption
