"""A request in; who makes it, and whether that one may, out: before any route runs.

`rules.py` says for each route which roles may; `guard.py` holds every request to it; `bearer.py` and `tokens.py` tell
who a caller is; `signin.py` and `backend.py` are the ways in for a person and for a program. Nothing is imported here:
`api/serving.py` asks `callers.py`, and the guard asks `serving.py`.
"""
