"""Settings and a store in, the Flask application out: the JSON API for record systems and the pages for clinicians."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask

from api import (
    about,
    cds_hooks,
    errors,
    events,
    feedback,
    fhir_issues,
    live,
    metrics,
    observations,
    openapi,
    ops,
    pages,
    pharmacy,
    recommendations,
)
from api.audit import audit
from api.auth import backend, signin
from api.auth.guard import guard, is_on
from api.compress import compress
from api.exchange import Exchange
from api.formulary_file import FormularyFile
from api.kept import MIB, Kept
from api.observation_types import LONGEST_HOLD
from api.observe import OrjsonProvider, log_failure, observe
from api.reference import Reference
from api.reviews import Reviews
from api.risks import Risks
from api.serving import Serving
from recommender.feedback import FeedbackLog
from recommender.forgotten import FILE as FORGOTTEN
from recommender.settings import Settings
from recommender.store import Store

MAX_FORM_BYTES = 16 * 1024  # a patient id and a number: anything larger is not a form of ours


class App(Flask):
    """Flask that logs a fault without the path, the form or the exception's words: they may be patient content."""

    json_provider_class = OrjsonProvider
    request_class = Exchange

    def ensure_sync(self, func: Any) -> Any:
        """No view or hook of ours is asynchronous: Flask looks at each of them anew for every request."""
        return func

    def log_exception(self, exc_info: Any) -> None:
        log_failure(exc_info[1])


def create_app(settings: Settings | None = None, store: Store | None = None) -> Flask:
    """The application on `store`, or on the store that `settings` (default: the environment) name.

    A store that is handed in stays the caller's to close. One named by settings is opened at the first request, so that
    the pages can say that it is down rather than fail to start, and is closed when the process ends.
    """
    app = App(__name__, root_path=str(Path(__file__).parent))
    app.config.update(PROPAGATE_EXCEPTIONS=False, MAX_CONTENT_LENGTH=MAX_FORM_BYTES, LONGEST_HOLD=LONGEST_HOLD)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}  # a tenth of a page's weight
    app.url_map.merge_slashes = False  # a redirect would repeat the path, which may hold a patient id
    in_service = settings is None and store is None  # started by gunicorn
    settings = settings or Settings.from_environment()
    formulary = FormularyFile(settings.formulary)
    app.extensions["rxrec"] = Serving(settings, store, formulary)
    app.extensions["rxrec_kept"] = Kept(settings.answer_memory * MIB, settings.workdir / FORGOTTEN)
    app.extensions["rxrec_reviews"] = Reviews(settings)
    app.extensions["rxrec_risks"] = Risks(settings)
    app.extensions["rxrec_feedback"] = FeedbackLog(settings.workdir)
    app.extensions["rxrec_reference"] = Reference(settings, formulary)
    metrics.measure(app)
    observe(app)
    compress(app)
    audit(app, settings, is_on(settings))
    guard(app, settings)
    errors.register(app, pages.error_page)
    for room in (
        about,
        recommendations,
        live,
        cds_hooks,
        feedback,
        observations,
        events,
        pharmacy,
        fhir_issues,
        metrics,
        openapi,
        ops,
        pages,
        signin,
        backend,
    ):
        app.register_blueprint(room.blueprint)
    app.jinja_env.globals.update(pages.GLOBALS)
    if in_service:
        templates = app.jinja_env
        app.extensions["rxrec"].warm(lambda: [templates.get_template(name) for name in templates.list_templates()])
    return app
