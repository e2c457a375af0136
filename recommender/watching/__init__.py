"""A chart and what was measured since in, what holds for the patient now and what has changed out.

`charts`: the chart as it is now. `alarms`: what holds. `telling`: what of it is news, and when. `watcher`: the consumer
that does all that. `webhook`, `detected_issue`: how events leave.
"""
