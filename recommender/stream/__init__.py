"""Observations in, in Redis until they are looked at; what was seen of each patient and the events of it out.

What of the stream stands in Redis, and under which keys, is known here alone, beside `store.py` and apart from it: what
`store.py` holds is published once and never changes, what is here changes with every reading, and neither reads the
other's keys. No patient id stands in a key, and in a value only sealed.

    {prefix}:readings:waiting       stream: observations that nobody has dealt with; read by the consumer group `watch`
    {prefix}:readings:dead          stream: those that could not be dealt with, however often it was tried
    {prefix}:readings:seen:{id}     digest of an observation that was taken in, so that a repeat is known; for a day
    {prefix}:readings:of:{who}      hash: `v:{code}` the newest observation of each code, `rev` how often they changed,
                                    `told` what was told of them, `who` the sealed patient id
    {prefix}:readings:people        sorted set of who has such a hash, by the time of the last change
    {prefix}:readings:later         sorted set of who is to be looked at again, by when
    {prefix}:readings:gone:{who}    a person who was forgotten a moment ago: what is still under way of them is dropped
    {prefix}:readings:watching      there as long as a consumer is at work
    {prefix}:events                 stream of events, the last `MOST_EVENTS`
    {prefix}:hooks:due              sorted set of the ids of events to be delivered by webhook, by when
    {prefix}:hooks:events           hash of id -> event and how often it was tried
    {prefix}:hooks:dead             hash of id -> event that could not be delivered
"""

from recommender.stream.events import Delivery, Events, Stored
from recommender.stream.place import Place
from recommender.stream.readings import Person, Readings, Settlement, Waiting

__all__ = ["Delivery", "Events", "Person", "Place", "Readings", "Settlement", "Stored", "Waiting"]
