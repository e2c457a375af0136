"""Who may: the site's secret, its API keys, and the short-lived facts that all server processes share, in one place.

Beneath `api/auth`, which asks at every request, and `jobs/keys.py`, which makes and revokes; it knows no web
framework.
"""

from recommender.access.keys import Key, KeyFile, parse_key
from recommender.access.secret import SiteSecret, seal_of
from recommender.access.shared import Shared

ROLES = ("clinician", "pharmacy", "report", "admin")

__all__ = ["ROLES", "Key", "KeyFile", "Shared", "SiteSecret", "parse_key", "seal_of"]
