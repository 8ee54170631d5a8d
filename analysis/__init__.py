"""From the cell directories of a campaign to tidy tables, statistics, figures, claim verdicts and a
report.

Reads `results/<campaign>/` and nothing else: no lab, no network, no clock. The same results give
the same bytes, so that a reader of shipped results can rebuild every table and figure and compare.

What a task calls: `analysis.tables.write`, `analysis.figures.draw`, `analysis.report.summarise`.
The libraries (pandas, scipy, matplotlib, seaborn) are slow to import: a task imports these modules
inside its body.

Rules that hold throughout: a missing value stays missing and never becomes 0; a cell that failed or
was invalid is listed with its reason and enters no figure, total or test; one repetition has no
interval and is not a test.
"""
