"""A stand-in for the `wandb` module: what a script written for wandb finds when it runs under `sweep agent --wandb`.

Rules of this package:
- The real wandb is never imported. Names, parameters and behaviour follow it; the code is our own.
- What a script does wrong raises as it does in wandb. What has no meaning here is said once on standard error, and the
  script goes on.
- Standard library only, Python 3.8 syntax. A module is imported when the script first uses what is in it.
- No module here imports `sweep` itself: a script may have a file `sweep.py` of its own beside it.

`_names` says where each public name comes from, `_modules` which submodules there are.
"""
