"""From an image to a data directory: files laid down in one pass, then the server's own crash recovery.

Joins ``image`` (what to lay down) and ``server`` (whose binary recovers, on a directory of ours, never the live one).
``target`` and ``materialise`` make a new directory; ``inplace`` lays an increment over a backup where it lies, as the
peers do; ``recovery``, ``redo_only`` and ``inplace_mysql`` are the three ways to have redo applied. Knows no command
line.
"""
