"""Exceptions. A user's mistake carries what was found, the rule that it breaks and the remedy.

The command line prints a `UserError` as one message and exits with code 2; any other exception is a
fault of the program and fails loudly with a traceback.
"""

from __future__ import annotations


class EmergelabError(Exception):
    """Base class of every exception that emergelab raises on purpose."""


class UserError(EmergelabError):
    """A mistake that the user can mend. The message says value, rule and remedy in that order."""


class GrammarError(UserError):
    """A grammar file that cannot be read or that breaks a rule; names the file, line and column."""


class StudyError(UserError):
    """A study file, or a `--set` override, that cannot be read or that breaks a rule."""


class ArtifactError(UserError):
    """A stored artifact that is missing, foreign or unreadable."""


class DamagedArtifactError(ArtifactError):
    """A stored artifact whose bytes do not match the digest recorded when it was written."""
