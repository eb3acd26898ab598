"""The pure heart of sweep: specs, spaces, journal entries, state, and what follows from them.

Nothing in this package reads a clock, the environment, a socket or a global random generator.
"""
