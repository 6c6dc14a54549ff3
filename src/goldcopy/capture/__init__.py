"""The engine that takes a backup from a live server: redo follower, page copier, plain files, the mending of DDL.

Joins ``server`` (who is asked) and ``image`` (where it goes). Knows no command line.
"""
