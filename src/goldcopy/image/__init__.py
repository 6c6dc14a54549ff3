"""What a backup looks like: to whoever writes one (``Sink``) and to whoever reads one (``Image``).

Knows manifests, files and pages; knows no server and no SQL.
"""
