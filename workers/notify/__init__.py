"""Tells people what is wrong and what is over: by e-mail, Slack or Teams, at once and in a daily summary.

    deciding   what is told now on a channel; pure
    messages   how it reads: e-mail as text and HTML, Slack, Teams
    channels   sends one message
    turn       one look of the schedule stage, one process at a time

What is wrong is decided by workers/overview, for the page, the command line and these messages alike. What Redis or the schedule stage
itself would have to tell, they cannot: that is for Prometheus (deploy/prometheus).
"""

from workers.notify.channels import deliver
from workers.notify.messages import Message, html_of, text_of
from workers.notify.turn import channels_named, digest_now, tell_people, try_channel

__all__ = ["Message", "channels_named", "deliver", "digest_now", "html_of", "tell_people", "text_of", "try_channel"]
