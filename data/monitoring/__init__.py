"""Thresholds of measurements that are worth an event by themselves, whatever drugs a patient takes."""
