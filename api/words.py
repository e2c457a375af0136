"""A key in, the words for it out: everything that the pages and the problems say, in one catalogue a language.

Names of treatments and conditions come from the data and are never translated. `{braces}` are filled in by `Words`.
"""

from __future__ import annotations

EN: dict[str, str] = {
    # frame
    "brand": "rxrec",
    "brand.tagline": "treatment suggestions",
    "title": "Treatment suggestions",
    "title.patient": "Patient · Treatment suggestions",
    "skip": "Skip to the suggestions",
    "search.label": "Patient id",
    "search.button": "Show suggestions",
    "search.short": "Show",
    "search.hint": "Exactly as your record system writes it.",
    "clinical": "Supports, does not replace, clinical judgement.",
    "synthetic": "Synthetic data",
    "synthetic.more": "no real person",
    "help.open": "Keyboard",
    "help.title": "Keyboard",
    "help.search": "search for a patient",
    "help.next": "next suggestion",
    "help.previous": "previous suggestion",
    "help.reasons": "open or close its reasons",
    "help.help": "this help",
    "help.close": "Close",
    # start page
    "start.heading": "Find a patient",
    "start.what": "For each patient, this lists treatments that patients with similar charts were given, with the "
    "reasons. It learns from this hospital’s own records and is computed anew with every nightly run.",
    "start.examples": "Synthetic patients to try",
    "start.served": "What is being served",
    "served.version": "Version",
    "served.as_of": "Data as of",
    "served.created": "Computed",
    "served.patients": "Patients",
    "served.suggestable": "Suggestable treatments",
    "served.safety": "Safety",
    "model.heading": "What this was built on",
    "model.quality": "{metric} {value} on {patients} held-out patients (95% interval {low} to {high})",
    "model.quality.bare": "{metric} {value} on held-out patients",
    "model.baseline": "; always suggesting the most common treatments reaches {baseline}",
    "model.no_quality": "No held-out measurement was published with this version.",
    "model.learned": "Learned from {patients} patients; {suggestable} treatments can be suggested. Model: {name}.",
    "model.uses": "It sees treatments, conditions, allergies, age band and sex. It does not see doses, laboratory "
    "values, notes, or anything recorded after the date above.",
    # intended use
    "use.heading": "Intended use",
    "use.for": "For clinicians who know the patient, as one more look at what others with a similar chart were given.",
    "use.not": "Not for ordering, for triage, for emergencies, or for use by patients. A treatment that is missing "
    "from the list is not advised against.",
    # safety: a state of its own
    "safety.unchecked": "Not safety-checked",
    "safety.statement": "Checked against {rules} rules, reviewed up to {date}: interactions, allergies, duplicate "
    "therapy, conditions, pregnancy, age and laboratory limits. Doses and what is not on the chart are not checked.",
    "safety.todo": "Check each one as you would any order.",
    "item.unchecked": "not checked",
    # patient page
    "patient.heading": "Patient",
    "patient.full_id": "Full id: {id}",
    "patient.no_sex": "sex not on record",
    "patient.no_age": "age not on record",
    "sex.F": "female",
    "sex.M": "male",
    "data.as_of": "Data as of {date}",
    "data.age.0": "today",
    "data.age.one": "1 day old",
    "data.age.other": "{n} days old",
    "data.version": "version {version}",
    "chart.heading": "On record",
    "chart.allergies": "Allergies",
    "chart.conditions": "Conditions",
    "chart.drugs": "Drugs",
    "chart.others": "Procedures and care plans",
    "chart.places": "Departments and visits",
    "chart.none": "None on record",
    "chart.absent": "Not known: the data hold none of any patient",
    "chart.more": "{n} more",
    "chart.fold": "Conditions ({conditions}) and treatments ({treatments})",
    # the list
    "list.heading": "Suggestions",
    "list.kinds": "Kind",
    "kinds.therapies": "All therapies",
    "kinds.drug": "Drugs",
    "kinds.procedure": "Procedures",
    "kinds.care_plan": "Care plans",
    "kinds.care_resource": "Departments and visits",
    "list.length": "Show",
    "list.length.button": "Show {n} suggestions",
    "list.score": "score",
    "list.chance": "began it",
    "list.what_score": "What is a score?",
    "score.explained": "A score says how strongly this chart points to a treatment, compared with the other treatments "
    "on this list. It is the sum of the parts given as reasons, each learned from what patients with that entry on "
    "record were given.",
    "score.not": "It is not a measure of benefit, and not a statement that the treatment is safe. Without a "
    "percentage, the bar compares a score with the highest one on this list.",
    "score.chance": "The percentage and the bar say how often it came true: of suggestions with such a score, made "
    "for patients whom the model had not learned from, so many were begun before their next visit and within {days} "
    "days. That others began it does not make it right for this patient.",
    "reasons.because": "because",
    "reasons.against": "against",
    "reasons.rest": "the rest",
    "reasons.all.one": "The one part",
    "reasons.all.other": "All {n} parts",
    "reasons.tiny.one": "1 smaller part",
    "reasons.tiny.other": "{n} smaller parts",
    "reasons.caption": "Parts of the score for {name}",
    "reasons.part": "On record",
    "reasons.share": "Adds",
    "reasons.sum": "Score",
    "reason.treatments": "has had {name}",
    "reason.care_resource": "visit: {name}",
    "reason.running": "takes {name} now",
    "reason.recent": "{name}, among the last begun",
    "reason.reported": "{name}, as told by the patient or others",
    "reason.class": "has had a drug of the class {name}",
    "reason.running_class": "takes a drug of the class {name} now",
    "reason.condition_group": "{name} (a group of conditions)",
    "reason.conditions": "{name}",
    "reason.allergies": "allergy: {name}",
    "reason.demographics": "{name}",
    "reason.baseline": "how common it is overall",
    "kind.drug": "drug",
    "kind.procedure": "procedure",
    "kind.care_plan": "care plan",
    "kind.care_resource": "department or visit",
    "code": "Code {code}",
    "empty.heading": "Nothing to suggest",
    "empty.no_such_kind": "This version suggests no treatment of the kind that was asked for.",
    "empty.all_on_record": "Every treatment that could be suggested is already on this patient’s record.",
    "empty.withheld": "Every treatment that would be suggested is withheld by a safety rule.",
    "empty.not_scored": "The model could score no treatment beyond those already on this patient’s record.",
    "empty.todo": "This is not advice against any treatment.",
    # states of the pages
    "state.unknown-patient": "No patient with that id in this version",
    "state.unknown-patient.todo": "Check the id. A patient registered after {date} appears with the next nightly run.",
    "state.no-id": "Enter a patient id",
    "state.no-id.todo": "The id as your record system writes it.",
    "state.store-unavailable": "The suggestions cannot be reached just now",
    "state.store-unavailable.todo": "The store that holds them does not answer. Nothing is lost: what was published "
    "is untouched, and this page works again when the store does.",
    "state.nothing-published": "Nothing has been published yet",
    "state.nothing-published.todo": "The first nightly run has not finished. Whoever runs this system starts it with: "
    "rxrec nightly",
    "state.store-corrupt": "This version cannot be trusted, so it is not shown",
    "state.store-corrupt.todo": "What the store holds does not match what was published. Whoever runs this system "
    "should publish again: rxrec nightly",
    "state.rules-missing": "No list is shown: the safety rules are missing",
    "state.rules-missing.todo": "Nothing could be checked. Whoever runs this system finds the reason in its log and with: "
    "rxrec rules check",
    "state.internal": "Something went wrong on our side",
    "state.internal.todo": "The fault was logged. Try again; if it stays, report the request id below.",
    "state.not-found": "There is no page at this address",
    "state.not-found.todo": "Start again from the search.",
    "state.other": "That request could not be answered",
    "state.other.todo": "Start again from the search.",
    "state.bad-parameter": "That list cannot be shown",
    "state.bad-parameter.todo": "Choose one of the kinds and lengths offered above the list.",
    "state.unknown-treatment": "That treatment is not in this version",
    "state.unknown-treatment.todo": "A new version has come since the list was shown. Open the patient again.",
    "state.unknown-condition": "That condition is not in this version",
    "state.unknown-condition.todo": "Start again from the search.",
    "state.formulary-broken": "No list is shown: the formulary cannot be used",
    "state.formulary-broken.todo": "Whoever runs this system finds the file, the row and the field in its log.",
    "state.feedback-conflict": "That was stored before, with another answer",
    "state.feedback-conflict.todo": "Nothing was changed. Open the patient again.",
    "state.feedback-unavailable": "Your answer could not be stored just now",
    "state.feedback-unavailable.todo": "Nothing that was stored before is lost. Try again in a moment.",
    "state.retry": "Try again",
    "state.request": "Request id",
    # problems (RFC 9457)
    "problem.bad-parameter.title": "A parameter cannot be used",
    "problem.unknown-patient.title": "Unknown patient",
    "problem.unknown-patient.detail": "The version being served has no patient of that id.",
    "problem.unknown-treatment.title": "Unknown treatment",
    "problem.unknown-treatment.detail": "The version being served has no treatment of that kind and code.",
    "problem.unknown-condition.title": "Unknown condition",
    "problem.unknown-condition.detail": "The version being served has no condition of that code.",
    "problem.formulary-broken.title": "The formulary cannot be used",
    "problem.formulary-broken.detail": "The file of the formulary is broken or gone, and nothing is answered from an "
    "old one. The server’s log names the file, the row and the field.",
    "problem.feedback-conflict.title": "Stored before with other content",
    "problem.feedback-conflict.detail": "An event of that event_id is stored with other content; nothing was changed. "
    "Give a new event a new id.",
    "problem.feedback-unavailable.title": "Feedback cannot be stored",
    "problem.feedback-unavailable.detail": "The log of feedback cannot be written; what was stored is untouched. Send "
    "it again later, with the same event_id.",
    "problem.nothing-published.title": "Nothing published",
    "problem.nothing-published.detail": "No version is being served yet: run `rxrec nightly` first.",
    "problem.store-unavailable.title": "Store unavailable",
    "problem.store-unavailable.detail": "The store does not answer; what was published is untouched. Try again later.",
    "problem.rules-missing.title": "No safety rules",
    "problem.rules-missing.detail": "The safety rules are missing or broken, so no list is served: nothing would be "
    "checked. Whoever runs this server finds the reason in its log and with `rxrec rules check`.",
    "problem.store-corrupt.title": "Published data cannot be trusted",
    "problem.store-corrupt.detail": "What the store holds does not match what was published, so no list is given: "
    "publish again with `rxrec nightly`.",
    "problem.internal.title": "Internal error",
    "problem.internal.detail": "A fault of ours; it was logged under this request id.",
    "problem.not-found.title": "No such resource",
    "problem.not-found.detail": "No route of this API has that path.",
    "problem.other.detail": "The request cannot be answered as it was made.",
    # what the pharmacy's answers say
    "treatments.none": "Nothing is selected: no name begins so, and none is at least 80% like it.",
    "treatments.no_formulary": "No formulary was imported, so no drug has a status in it.",
    "alternatives.statement": "Drugs of the same class. Doses differ, and so does whom they suit: no statement that "
    "one can stand in for another.",
    "alternatives.no_class": "Its class is not known, so no alternatives are named.",
    "together.not_counted": "This version was published without counts of patients.",
    "together.not_given": "The hospital’s own data hold no patient with it.",
    "together.hidden": "Nothing that may be told: fewer than 11 patients each, or none.",
    "uses.some": "Labelled uses on file. The list is ours, not FDA’s: what is absent may still be labelled.",
    "uses.none": "No labelled use is on file. That is not to say that there is none.",
    "interactions.no_drug": "Not checked: the safety rules cover drugs only.",
    "interactions.unknown_drug": "NOT CHECKED: the vocabulary does not know this drug, so no rule can name it. That is "
    "not to say that it has no interactions.",
    "interactions.none": "No interaction rule names it (rules of {date}, version {version}).",
    "interactions.some": "{n} interactions (rules of {date}, version {version}).",
}

CATALOGUES: dict[str, dict[str, str]] = {"en": EN}


class Words:
    """One language's words: `words("key", name=...)`, and `words.count("key", n)` for one or many."""

    def __init__(self, language: str = "en") -> None:
        self.language, self._words = language, CATALOGUES[language]

    def __call__(self, key: str, **values: object) -> str:
        text = self._words[key]
        return text.format(**values) if values else text

    def count(self, key: str, n: int) -> str:
        return self(f"{key}.one" if n == 1 else f"{key}.other", n=f"{n:,}")

    def or_else(self, key: str, default: str) -> str:
        """For keys made from the data's own words, such as a treatment's kind."""
        return self._words.get(key, default)
