"""The report of a sweep: one document with what was done, what came of it, and what of that the record shows.

The rule of this package: a document is a function of `Facts` alone (no store, no clock), and it says nothing that they do not
show. What is not known is called so: "not measured", "not given", "none".
"""

from __future__ import annotations

from sweep.analysis.report.build import report
from sweep.analysis.report.checklist import Item, checklist
from sweep.analysis.report.document import Document
from sweep.analysis.report.facts import Facts, OtherSweep

__all__ = ["Document", "Facts", "Item", "OtherSweep", "checklist", "report"]
