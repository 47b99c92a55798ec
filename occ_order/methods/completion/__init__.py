"""Amodal masks of given masks: what lies behind the instances that occlude one."""
