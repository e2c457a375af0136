"""What clinicians made of suggestions: events in, a durable log, a summary and examples for the next fit out."""

from recommender.feedback.events import (
    CHANNELS,
    COMMENT_REASON,
    MAX_COMMENT,
    NEEDS_REASON,
    OUTCOMES,
    REASONS,
    BadFeedback,
    FeedbackEvent,
    standing,
)
from recommender.feedback.learned import HOW, OFF, FeedbackUse, learned
from recommender.feedback.log import FILE, FeedbackConflict, FeedbackLog
from recommender.feedback.summary import FEW, HIDDEN, MIN_PATIENTS, Summary, publishable, summarise

__all__ = [
    "CHANNELS",
    "COMMENT_REASON",
    "FEW",
    "FILE",
    "HIDDEN",
    "HOW",
    "MAX_COMMENT",
    "MIN_PATIENTS",
    "NEEDS_REASON",
    "OFF",
    "OUTCOMES",
    "REASONS",
    "BadFeedback",
    "FeedbackConflict",
    "FeedbackEvent",
    "FeedbackLog",
    "FeedbackUse",
    "Summary",
    "learned",
    "publishable",
    "standing",
    "summarise",
]
