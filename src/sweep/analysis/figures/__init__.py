"""Pictures of a sweep: `prepare` decides what they show, `png` and `web` how it looks."""

from sweep.analysis.figures.write import FORMATS, Format, write_plots

__all__ = ["FORMATS", "Format", "write_plots"]
