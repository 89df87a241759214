"""What goes, when, and how one knows that it has gone: pruning by age and size, and erasing on request.

    choosing   which recordings may go: by age, size and filters, whole runs only, never open ones or those on hold
    pruning    takes them away in small batches: their content, or all of them
    keeping    the same beside a writer, as settings say
    linking    what a recording to be erased hangs together with
    erasing    takes content away with everything that would bring it back, in the store and beside it
    searching  looks for pieces of it in files: a program of its own

It refuses to know how rows leave the store, and what in a reading is content.
"""

from __future__ import annotations

from recorder.retention.choosing import Wanted
from recorder.retention.erasing import Erased, erase
from recorder.retention.keeping import Keeper, Rules
from recorder.retention.linking import Reached, reached
from recorder.retention.pruning import Pruned, prune, who

__all__ = ["Erased", "Keeper", "Pruned", "Reached", "Rules", "Wanted", "erase", "prune", "reached", "who"]
